package witness

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// EtcdConfig says where the witness is and who asks.
type EtcdConfig struct {
	Endpoints []string    // host:port, or http:// and https:// addresses
	TLS       *tls.Config // of https endpoints; nil: the system's authorities, no certificate of ours
	Pair      string      // its name, at most 64 bytes
	Self      string      // which partner this is; the same after a restart, another one than the partner's

	// Lease is how long a lease lasts, in whole seconds; etcd may make it longer (with its defaults at
	// least two seconds). Zero: three seconds.
	Lease time.Duration
	// Timeout bounds each call. Zero: one second.
	Timeout time.Duration
}

// Etcd keeps a pair's state under two keys: belay/pairs/NAME/generation, with the generation and its
// winner, which stays; and belay/pairs/NAME/holder, which goes with the lease.
type Etcd struct {
	config     EtcdConfig
	client     *clientv3.Client
	generation string // keys
	holder     string

	mu    sync.Mutex
	lease clientv3.LeaseID // the one that carries the holder key, if it is ours
}

// record is the value of the generation's key.
type record struct {
	Generation uint64 `json:"generation"`
	Winner     string `json:"winner"`
}

// maxPairName bounds names of pairs, in bytes.
const maxPairName = 64

// NewEtcd returns a witness without asking it anything yet.
func NewEtcd(config EtcdConfig) (*Etcd, error) {
	switch {
	case config.Pair == "" || len(config.Pair) > maxPairName || strings.Contains(config.Pair, "/"):
		return nil, fmt.Errorf("name of a pair %q: want 1 to %d bytes without a slash", config.Pair, maxPairName)
	case config.Self == "":
		return nil, errors.New("etcd: which partner is this?")
	case len(config.Endpoints) == 0:
		return nil, errors.New("etcd: no endpoints")
	}
	if config.Lease == 0 {
		config.Lease = 3 * time.Second
	}
	if config.Timeout == 0 {
		config.Timeout = time.Second
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: config.Endpoints, TLS: config.TLS, DialTimeout: config.Timeout,
		DialKeepAliveTime: config.Lease, DialKeepAliveTimeout: config.Timeout,
		Logger: zap.NewNop(), // what matters comes back as errors
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: %w", err)
	}
	prefix := "belay/pairs/" + config.Pair
	return &Etcd{
		config: config, client: client,
		generation: prefix + "/generation", holder: prefix + "/holder",
	}, nil
}

// snapshot is a state with the revision by which a change of it is found.
type snapshot struct {
	State
	known    bool
	revision int64
}

// State reads both keys, through a majority of etcd.
func (e *Etcd) State(ctx context.Context) (State, error) {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	s, err := e.read(ctx)
	if err == nil && !s.known {
		err = ErrUnknownPair
	}
	return s.State, err
}

func (e *Etcd) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, e.config.Timeout)
}

func (e *Etcd) read(ctx context.Context) (s snapshot, err error) {
	r, err := e.client.Txn(ctx).Then(clientv3.OpGet(e.generation), clientv3.OpGet(e.holder)).Commit()
	if err != nil {
		return s, unreachable(err)
	}
	if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
		var v record
		if err := json.Unmarshal(kvs[0].Value, &v); err != nil {
			return s, fmt.Errorf("etcd: key %s: %w", e.generation, err)
		}
		s.Generation, s.Winner, s.known, s.revision = v.Generation, v.Winner, true, kvs[0].ModRevision
	}
	if kvs := r.Responses[1].GetResponseRange().Kvs; len(kvs) > 0 {
		s.Holder = string(kvs[0].Value)
	}
	return s, nil
}

// Register creates the generation's key.
func (e *Etcd) Register(ctx context.Context, generation uint64) error {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	absent := clientv3.Compare(clientv3.CreateRevision(e.generation), "=", 0)
	_, err := e.client.Txn(ctx).If(absent).Then(e.put(generation)).Commit()
	if err != nil {
		return unreachable(err)
	}
	s, err := e.read(ctx)
	if err == nil && (s.Generation != generation || s.Winner != e.config.Self) {
		err = fmt.Errorf("%w: %d by %q", ErrSuperseded, s.Generation, s.Winner)
	}
	return err
}

func (e *Etcd) put(generation uint64) clientv3.Op {
	text, err := json.Marshal(record{generation, e.config.Self})
	if err != nil { // of a number and a string
		text = nil
	}
	return clientv3.OpPut(e.generation, string(text))
}

// Claim compares and swaps the generation.
func (e *Etcd) Claim(ctx context.Context, from uint64) error {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	s, err := e.readFor(ctx, e.winner(from))
	if err != nil {
		return err
	}
	return e.swap(ctx, s, e.put(from+1))
}

// Win does so and takes the lease in the same transaction.
func (e *Etcd) Win(ctx context.Context, from uint64) (time.Duration, error) {
	return e.take(ctx, from+1, e.winner(from))
}

// Hold takes the lease for a generation that stays.
func (e *Etcd) Hold(ctx context.Context, generation uint64) (time.Duration, error) {
	return e.take(ctx, generation, func(s snapshot) error {
		return judge(s.State, e.config.Self, generation)
	})
}

func (e *Etcd) winner(from uint64) func(snapshot) error {
	return func(s snapshot) error {
		_, err := judgeWin(s.State, e.config.Self, from)
		return err
	}
}

// readFor reads a state that may allows.
func (e *Etcd) readFor(ctx context.Context, may func(snapshot) error) (snapshot, error) {
	s, err := e.read(ctx)
	switch {
	case err != nil:
		return s, err
	case !s.known:
		return s, ErrUnknownPair
	}
	return s, may(s)
}

// take writes both keys if the state that may allows has not changed meanwhile.
//
// The holder's key gets a new lease each time, instead of one that is kept alive: a lease is granted
// by a majority, but kept alive by one member alone, and in older versions that can be a
// leader whom the others have replaced (etcd-io/etcd#15247). His word would outlive the lease.
func (e *Etcd) take(ctx context.Context, generation uint64, may func(snapshot) error) (time.Duration, error) {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.readFor(ctx, may)
	if err != nil {
		return 0, err
	}
	lease, err := e.client.Grant(ctx, int64((e.config.Lease+time.Second-1)/time.Second))
	if err != nil {
		return 0, unreachable(err)
	}
	hold := clientv3.OpPut(e.holder, e.config.Self, clientv3.WithLease(lease.ID))
	if err := e.swap(ctx, s, e.put(generation), hold); err != nil {
		e.drop(lease.ID)
		return 0, err
	}
	old := e.lease
	e.lease = lease.ID
	e.drop(old)
	return time.Duration(lease.TTL) * time.Second, nil
}

// swap is the transaction: nobody wrote the generation since it was read, and nobody else holds.
func (e *Etcd) swap(ctx context.Context, s snapshot, ops ...clientv3.Op) error {
	same := clientv3.Compare(clientv3.ModRevision(e.generation), "=", s.revision)
	free := clientv3.Compare(clientv3.CreateRevision(e.holder), "=", 0)
	if s.Holder == e.config.Self {
		free = clientv3.Compare(clientv3.Value(e.holder), "=", e.config.Self)
	}
	r, err := e.client.Txn(ctx).If(same, free).Then(ops...).Commit()
	if err != nil {
		return unreachable(err)
	}
	if r.Succeeded {
		return nil
	}
	return fmt.Errorf("%w: it was faster", ErrHeld)
}

// drop revokes a lease that carries nothing any more. If that fails, it runs out.
func (e *Etcd) drop(lease clientv3.LeaseID) {
	if lease == clientv3.NoLease {
		return
	}
	ctx, cancel := e.bound(context.Background())
	defer cancel()
	_, _ = e.client.Revoke(ctx, lease)
}

// Resign deletes the holder's key, if it is ours.
func (e *Etcd) Resign(ctx context.Context) error {
	ctx, cancel := e.bound(ctx)
	defer cancel()
	e.mu.Lock()
	defer e.mu.Unlock()
	ours := clientv3.Compare(clientv3.Value(e.holder), "=", e.config.Self)
	_, err := e.client.Txn(ctx).If(ours).Then(clientv3.OpDelete(e.holder)).Commit()
	if err != nil {
		return unreachable(err)
	}
	e.drop(e.lease)
	e.lease = clientv3.NoLease
	return nil
}

// Close ends the connections.
func (e *Etcd) Close() error { return e.client.Close() }

func unreachable(err error) error { return fmt.Errorf("%w: %w", ErrUnreachable, err) }
