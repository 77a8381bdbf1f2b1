package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Config is what a session needs of its owner.
type Config struct {
	Hello Hello // this side's

	// Timeout bounds silence of the peer, each read and write, and how long what is in flight may make
	// no progress. A peer that lives says something four times as often. Zero: DefaultTimeout.
	Timeout time.Duration

	// Admit is asked after both hellos were judged, and before this side says welcome: what the session
	// brings (pair, disks, generation) must be durable when it returns. Its error refuses the peer.
	Admit func(peer *Hello) error

	// Event hears what the peer says. It must not wait, nor write to the session or close it.
	Event func(Event)

	Sink   Sink   // of a secondary
	Reader Reader // for verification; may be nil on a secondary that cannot
	Clock  Clock  // of a primary, for promises; nil: BootClock
}

// DefaultTimeout is long enough for a busy host and a switch that learns a new path.
const DefaultTimeout = 2 * time.Second

// ErrVisited is Open's error when the peer only asked who is there.
var ErrVisited = errors.New("the peer was a visitor")

// Session is a connection between partners that accepted each other. It lives as long as the
// partnership: when it ends, for whatever reason, the pair is given up and begins again with a
// synchronisation.
type Session struct {
	cfg  Config
	conn *conn
	peer Hello

	stop chan struct{} // closed by the first failure
	hear sync.Mutex    // one event at a time
	once sync.Once
	err  error       // why; set before stop is closed
	bye  atomic.Bool // this side has said its last words, or is about to
	done chan struct{}
	work sync.WaitGroup // goroutines that use the session
	part sync.Mutex     // guards over, and that no part begins when all are waited for
	over bool
	read chan struct{} // closed when nothing is read any more

	out *primary   // if this side is one
	in  *secondary // if this side is one
}

// Open greets the peer at the other end of c, which it owns from now on. Errors say why the two do
// not belong together: ErrWrongPeer, ErrVersion, …; a *RefusedError is the peer's own judgement.
func Open(ctx context.Context, c net.Conn, cfg Config) (*Session, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Event == nil {
		cfg.Event = func(Event) {}
	}
	if cfg.Clock == nil {
		cfg.Clock = BootClock
	}
	s := &Session{cfg: cfg, stop: make(chan struct{}), done: make(chan struct{}), read: make(chan struct{})}
	s.conn = newConn(c, cfg.Timeout, s.stop)
	s.conn.cause = s.cause
	cancel := context.AfterFunc(ctx, func() { c.Close() })
	err := s.handshake()
	if !cancel() && err == nil {
		err = ctx.Err()
	}
	if err == nil && (cfg.Hello.Role == Visitor || s.peer.Role == Visitor) {
		err = ErrVisited
	}
	if err != nil {
		c.Close()
		return nil, explain(err)
	}
	s.start()
	return s, nil
}

// Ask greets a peer as a visitor and returns what it said of itself.
func Ask(ctx context.Context, c net.Conn, cfg Config) (Hello, error) {
	cfg.Hello.Role = Visitor
	var peer Hello
	cfg.Admit = func(p *Hello) error { peer = *p; return nil }
	_, err := Open(ctx, c, cfg)
	if errors.Is(err, ErrVisited) {
		err = nil
	}
	return peer, err
}

// handshake sends this side's hello while it reads the peer's, then the same with the judgements.
func (s *Session) handshake() error {
	own := &s.cfg.Hello
	if err := own.validate(); err != nil {
		return err
	}
	c := s.conn
	if err := c.net.SetDeadline(time.Now().Add(s.cfg.Timeout)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() { sent <- writeAll(c.net, own.encode()) }()
	peer, err := readHello(c.r)
	if sendErr := <-sent; err == nil && sendErr != nil {
		err = fmt.Errorf("sending hello: %w", sendErr)
	}
	if err != nil {
		return err
	}
	s.peer = peer
	if s.conn.generation = own.Generation; peer.Role == Primary {
		s.conn.generation = peer.Generation
	}
	return s.agree()
}

func writeAll(w io.Writer, p []byte) error { _, err := w.Write(p); return err }

// agree exchanges judgements.
func (s *Session) agree() error {
	verdict := Judge(&s.cfg.Hello, &s.peer)
	if verdict == nil && s.cfg.Admit != nil {
		if err := s.cfg.Admit(&s.peer); err != nil {
			verdict = fmt.Errorf("%w: %w", ErrNotAdmitted, err)
		}
	}
	sent := make(chan error, 1)
	go func() {
		if verdict != nil {
			sent <- s.conn.write(kindRefuse, 0, &words{refusalCode(verdict), []byte(verdict.Error())})
			return
		}
		sent <- s.conn.write(kindWelcome, 0, &empty{})
	}()
	f, err := s.conn.read()
	sendErr := <-sent
	switch {
	case verdict != nil:
		return verdict
	case err != nil:
		return fmt.Errorf("waiting for the peer's welcome: %w", err)
	case sendErr != nil:
		return fmt.Errorf("welcoming the peer: %w", sendErr)
	}
	return welcomed(f)
}

// welcomed judges the peer's judgement.
func welcomed(f frame) error {
	f.bulk.free()
	switch b := f.body.(type) {
	case *words:
		reason := refusals[b.code]
		if f.kind != kindRefuse {
			break
		}
		if reason == nil {
			reason = ErrNotAdmitted
		}
		return &RefusedError{reason, printable(b.text)}
	case *empty:
		if f.kind == kindWelcome {
			return nil
		}
	}
	return &FrameError{f.kind, "", 0, ErrSequence}
}

// start begins the session's goroutines. Each ends when stop is closed.
func (s *Session) start() {
	s.conn.spoke.Store(true)
	if s.cfg.Hello.Role == Primary {
		s.out = newPrimary(s.peer.Window)
	} else {
		s.in = newSecondary(s.cfg.Hello)
		s.spawn(s.apply)
		s.spawn(s.answerVerify)
	}
	s.spawn(s.watch)
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		defer close(s.read)
		s.readFrames()
	}()
	go func() {
		<-s.stop
		s.conn.net.Close()
		s.part.Lock()
		s.over = true
		s.part.Unlock()
		s.work.Wait()
		s.conn.closePipes()
		if s.out != nil {
			s.out.window.abandon()
		}
		close(s.done)
	}()
}

// spawn runs a part of the session whose error ends it. One that has ended gets no more parts.
func (s *Session) spawn(f func() error) {
	s.part.Lock()
	defer s.part.Unlock()
	if s.over {
		return
	}
	s.work.Add(1)
	go func() {
		defer s.work.Done()
		if err := f(); err != nil {
			s.fail(err)
		}
	}()
}

// fail ends the session; the first reason counts.
func (s *Session) fail(err error) {
	s.once.Do(func() {
		if s.err = explain(err); s.bye.Load() {
			s.err = ErrClosed
		}
		close(s.stop)
	})
}

// say writes a frame. On a secondary a connection that broke is left to the reader: what the peer
// said before still counts, and is to be applied first.
func (s *Session) say(kind Kind, disk int, b body) error {
	err := s.conn.write(kind, disk, b)
	if s.in != nil && !errors.Is(err, ErrSlow) {
		return nil
	}
	return err
}

// cause is why the session ended, for those who find stop closed.
func (s *Session) cause() error { return s.err }

// explain gives what the network says the session's words.
func explain(err error) error {
	switch {
	case isCertificate(err):
		return fmt.Errorf("%w: %w", ErrCertificate, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrSilent, err)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), isNetwork(err):
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return err
}

// readFrames reads until the connection ends. A primary hears of it at once, a secondary after
// everything that came before: a seal that is complete counts, and so does a shutdown.
func (s *Session) readFrames() {
	for {
		f, err := s.next()
		if err == nil {
			err = s.dispatch(f)
		}
		if err != nil {
			if s.in != nil {
				s.in.queue.end(err)
			} else {
				s.fail(err)
			}
			return
		}
	}
}

// next reads a frame and judges what every frame must get right.
func (s *Session) next() (frame, error) {
	f, err := s.conn.read()
	if err != nil {
		return f, err
	}
	r := &rows[f.kind]
	switch {
	case r.handshake || r.from&s.other() == 0:
		err = &FrameError{f.kind, "from the " + s.peer.Role.String(), 0, ErrSequence}
	case f.generation < s.conn.generation:
		err = &FrameError{f.kind, "generation", f.generation, ErrOlderGeneration}
	case f.generation != s.conn.generation:
		err = &FrameError{f.kind, "generation", f.generation, ErrFormat}
	case int(f.disk) >= len(s.cfg.Hello.Disks):
		err = f.bad("disk", uint64(f.disk))
	}
	if err != nil {
		f.bulk.free()
	}
	return f, err
}

// dispatch handles what was read. It never writes: two sides that both write and do not read
// would wait for each other.
func (s *Session) dispatch(f frame) error {
	switch f.kind {
	case kindPing:
		return nil
	case kindRenew:
		s.askedToRenew(f.body.(*renew))
		return nil
	case kindVerify:
		return s.askedToVerify(f)
	}
	if s.in != nil {
		return s.in.queue.put(f)
	}
	return s.heard(f)
}

// watch keeps the peer from thinking that this side is gone, and finds a peer that takes nothing.
func (s *Session) watch() error {
	tick := time.NewTicker(s.cfg.Timeout / 4)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return nil
		case <-tick.C:
		}
		if s.out != nil && !s.syncing() && s.out.window.stalled(s.cfg.Timeout) {
			return fmt.Errorf("%w: nothing arrived for %v", ErrSlow, s.cfg.Timeout)
		}
		if !s.conn.spoke.Swap(false) {
			if err := s.say(kindPing, 0, &empty{}); err != nil {
				return err
			}
		}
	}
}

// Peer is what the other side said of itself.
func (s *Session) Peer() Hello { return s.peer }

// Generation is that of every frame of the session.
func (s *Session) Generation() uint64 { return s.conn.generation }

// Done is closed when the session is over and neither Event nor the Sink is called any more.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is why the session ended, nil before Done is closed.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close ends the session at once and waits until it is over.
func (s *Session) Close() {
	s.fail(ErrClosed)
	<-s.done
}

// GiveUp tells the secondary that this side goes on alone, and ends the session. It does not wait:
// from now on nothing is heard of the peer, which gets all that was said before; the session is over
// when the peer has hung up, after two time-outs at most. Done tells.
func (s *Session) GiveUp(reason Reason, text string) { s.lastWords(kindGiveUp, reason, text) }

// HandOver tells the secondary to take over, because this side serves no more, and ends the session as
// GiveUp does.
func (s *Session) HandOver(reason Reason, text string) { s.lastWords(kindHandOver, reason, text) }

// Leave tells the primary that this side is out, and ends the session as GiveUp does. The Sink may still
// be busy until Done is closed.
func (s *Session) Leave(reason Reason, text string) { s.lastWords(kindLeave, reason, text) }

func (s *Session) lastWords(kind Kind, reason Reason, text string) {
	invariant(rows[kind].from&s.self() != 0, "last words of the other side")
	if s.bye.Swap(true) {
		return
	}
	s.spawn(func() error {
		s.depart(kind, 0, &words{uint16(reason), []byte(text)})
		return ErrClosed
	})
}

// depart says the last that there is to say and waits for the peer to hang up: one who hangs up first may
// take it along.
func (s *Session) depart(kind Kind, disk int, b body) {
	if s.conn.write(kind, disk, b) != nil {
		return
	}
	half, ok := s.conn.net.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	timer := time.NewTimer(s.cfg.Timeout)
	defer timer.Stop()
	select {
	case <-s.read:
	case <-timer.C:
	case <-s.stop:
	}
}

// heardLast takes the peer's last words.
func (s *Session) heardLast(kind Kind, w *words) error {
	reason, text := Reason(w.code), printable(w.text)
	err := ErrGivenUp
	switch kind {
	case kindGiveUp:
		s.emit(GaveUp{reason, text})
	case kindHandOver:
		s.emit(HandedOver{reason, text})
		err = ErrHandedOver
	case kindLeave:
		s.emit(Left{reason, text})
		err = ErrLeft
	}
	return fmt.Errorf("%w: %v: %s", err, reason, text)
}

func (s *Session) emit(e Event) {
	s.hear.Lock()
	defer s.hear.Unlock()
	if !s.bye.Load() {
		s.cfg.Event(e)
	}
}

// self and other say from which side frames are.
func (s *Session) self() sender  { return sideOf(s.cfg.Hello.Role) }
func (s *Session) other() sender { return sideOf(s.peer.Role) }

func sideOf(r Role) sender {
	if r == Primary {
		return fromPrimary
	}
	return fromSecondary
}
