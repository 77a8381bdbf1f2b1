package pair

import (
	"sync"
	"time"

	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/qmp"
)

// Status is what a side tells people about itself.
type Status struct {
	Name       string `json:"pair"`
	Role       string `json:"role"`  // primary or secondary
	State      string `json:"state"` // waiting, syncing, protected, alone, ...
	Generation uint64 `json:"generation"`
	Epoch      int64  `json:"epoch"` // the newest that both sides have made current; -1: none
	Peer       bool   `json:"peer_connected"`
	Monitor    bool   `json:"monitor_connected"`

	LagBytes int64   `json:"lag_bytes"`
	LagMs    float64 `json:"lag_ms"`

	Sent Sent `json:"sent"` // of a primary, by this process

	Sync  *SyncStatus `json:"sync,omitempty"`
	Pause *Pause      `json:"last_pause,omitempty"`

	Problem string `json:"problem,omitempty"` // the last one, until it is over

	Unguarded string `json:"unguarded,omitempty"` // why QEMU would outlive this process
}

// Sent is content that went to the partner, in bytes, by the way that it went: carried by the kernel from
// the data file to the socket, or read and written by this process.
type Sent struct {
	Carried uint64 `json:"carried_bytes"`
	Read    uint64 `json:"read_bytes"`
}

func (s *Sent) add(session *mirror.Session) {
	if session != nil && session.Peer().Role == mirror.Secondary {
		st := session.Stats()
		s.Carried, s.Read = s.Carried+st.Carried, s.Read+st.Read
	}
}

// SyncStatus is how far a synchronisation is, of the disk that is being copied.
type SyncStatus struct {
	Disk  int    `json:"disk"`
	Sent  uint64 `json:"sent_bytes"`
	Total int64  `json:"total_bytes"`
}

// Pause is the last checkpoint's, in its parts, as far as belay sees them. QEMU's is from the answer to
// the stop until the rings start again.
type Pause struct {
	Drain       float64 `json:"drain_ms"`
	Tail        float64 `json:"tail_ms"`
	Acknowledge float64 `json:"acknowledge_ms"`
	QEMU        float64 `json:"qemu_ms"`
}

// statusBoard collects it from several goroutines.
type statusBoard struct {
	mu      sync.Mutex
	now     Status
	why     string // the last refusal
	client  *qmp.Client
	session *mirror.Session
	marks   [4]time.Time // began, drained, sent, acknowledged
}

func (b *statusBoard) with(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f()
}

func (b *statusBoard) began(t time.Time)   { b.with(func() { b.marks = [4]time.Time{t} }) }
func (b *statusBoard) drained(t time.Time) { b.with(func() { b.marks[1] = t }) }
func (b *statusBoard) sent(t time.Time)    { b.with(func() { b.marks[2] = t }) }

// acked returns how long the machine has been standing still.
func (b *statusBoard) acked(t time.Time) (pause time.Duration) {
	b.with(func() {
		if b.marks[3] = t; !b.marks[0].IsZero() {
			pause = t.Sub(b.marks[0])
		}
	})
	return pause
}

// started ends a pause.
func (b *statusBoard) started(t time.Time) {
	b.with(func() {
		m := b.marks
		if m[0].IsZero() || m[3].IsZero() {
			return
		}
		ms := func(from, to time.Time) float64 {
			return max(0, float64(to.Sub(from).Microseconds())/1000)
		}
		b.now.Pause = &Pause{ms(m[0], m[1]), ms(m[1], m[2]), ms(m[2], m[3]), ms(m[3], t)}
		b.marks = [4]time.Time{}
	})
}

func (b *statusBoard) committed(e uint64) { b.with(func() { b.now.Epoch = int64(e) }) }

func (b *statusBoard) monitor(c *qmp.Client) { b.with(func() { b.client = c }) }

func (b *statusBoard) refused(why string) { b.with(func() { b.why = why }) }

func (b *statusBoard) lastRefusal() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.why
}

// problem notes an error, or with nil that it is over.
func (b *statusBoard) problem(err error) {
	b.with(func() {
		b.now.Problem = ""
		if err != nil {
			b.now.Problem = err.Error()
		}
	})
}

func (b *statusBoard) syncing(s mirror.SyncProgress) {
	b.with(func() { b.now.Sync = &SyncStatus{s.Disk, s.Sent, s.All} })
}

// publish copies what the loop knows.
func (p *Pair) publish() {
	b := &p.status
	b.with(func() {
		s := &b.now
		s.Name, s.Generation, s.State = p.cfg.Name, p.generation, p.state()
		s.Role = p.role()
		if b.session != p.mirror {
			s.Sent.add(b.session)
			b.session = p.mirror
		}
		s.Peer = p.mirror != nil
		if s.State != "syncing" {
			s.Sync = nil
		}
	})
}

func (p *Pair) role() string {
	if p.secondary {
		return "secondary"
	}
	return "primary"
}

// state is the phase in the words of the status.
func (p *Pair) state() string {
	switch {
	case !p.secondary && p.p.Protected():
		return "protected"
	case p.secondary && p.s.Phase() == colo.SecondaryFollowing:
		return "protected"
	case p.secondary && p.mirror != nil && !p.known:
		return "syncing"
	}
	return p.phase()
}

// Status is what there is to tell now.
func (p *Pair) Status() Status {
	b := &p.status
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.now
	s.Sent.add(b.session)
	s.Monitor = b.client != nil && b.client.Err() == nil
	s.Unguarded = p.cfg.Guard.Missing()
	if b.session != nil && s.Role == "primary" {
		st := b.session.Stats()
		s.LagBytes, s.LagMs = int64(st.InFlight), float64(st.Lag.Microseconds())/1000
	}
	return s
}
