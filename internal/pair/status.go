package pair

import (
	"sync"
	"time"

	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/internal/pairview"
	"github.com/belay-vm/belay/mirror"
	"github.com/belay-vm/belay/qmp"
)

// addSent adds what a session has sent.
func addSent(s *pairview.Sent, session *mirror.Session) {
	if session != nil && session.Peer().Role == mirror.Secondary {
		st := session.Stats()
		s.Carried, s.Read = s.Carried+st.Carried, s.Read+st.Read
	}
}

// statusBoard collects it from several goroutines.
type statusBoard struct {
	mu      sync.Mutex
	now     pairview.Status
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
		b.now.Pause = &pairview.Pause{Drain: ms(m[0], m[1]), Tail: ms(m[1], m[2]), Acknowledge: ms(m[2], m[3]),
			QEMU: ms(m[3], t)}
		b.marks = [4]time.Time{}
	})
}

func (b *statusBoard) committed(e uint64) { b.with(func() { b.now.Epoch = int64(e) }) }

func (b *statusBoard) checked(found []pairview.Finding) { b.with(func() { b.now.Checks = found }) }

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
	b.with(func() { b.now.Sync = &pairview.Sync{Disk: s.Disk, Sent: s.Sent, Total: s.All} })
}

// publish copies what the loop knows.
func (p *Pair) publish() {
	b := &p.status
	b.with(func() {
		s := &b.now
		s.Name, s.Generation, s.State = p.cfg.Name, p.generation, p.state()
		s.Role = p.role()
		if b.session != p.mirror {
			addSent(&s.Sent, b.session)
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
func (p *Pair) Status() pairview.Status {
	b := &p.status
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.now
	addSent(&s.Sent, b.session)
	s.Monitor = b.client != nil && b.client.Err() == nil
	s.Unguarded = p.cfg.Guard.Missing()
	if b.session != nil && s.Role == "primary" {
		st := b.session.Stats()
		s.LagBytes, s.LagMs = int64(st.InFlight), float64(st.Lag.Microseconds())/1000
	}
	return s
}
