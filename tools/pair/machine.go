package pair

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/belay-vm/belay/qmp"
	"github.com/belay-vm/belay/tools/guest"
)

// ErrDisagree says that a guest's memory and its disk were not of one moment.
var ErrDisagree = errors.New("the guest's memory and disk disagree")

// What the ledger and a kernel in trouble print.
var (
	ledgerRound = regexp.MustCompile(`^ledger: round \d+ ok`)
	ledgerEnd   = regexp.MustCompile(`^ledger: end, \d+ rounds, \d+ failures`)
	trouble     = regexp.MustCompile(`ledger: FAIL|I/O error|EXT4-fs error|Kernel panic|BUG:|soft lockup`)
)

// Machine is a QEMU on a side. Its directory has two QMP sockets for belay.
type Machine struct {
	*guest.VM
	Events *Recorder
	Lines  *Lines
	QMP    qmp.Sockets // belay's

	side *Side
}

// File names in a side's directory.
const (
	linkSocket    = "qmp-link"
	monitorSocket = "qmp-monitor"
	watchSocket   = "qmp-watch"
	traceFile     = "trace"
)

// Sockets are the QMP sockets that a machine on this side has for belay. They are known before the
// machine is there.
func (s *Side) Sockets() qmp.Sockets {
	return qmp.Sockets{Link: s.Path(linkSocket), Monitor: s.Path(monitorSocket)}
}

// Boot starts a machine on the side: a primary, whose guest boots before Boot returns, or with
// conf.Incoming a secondary, which waits for one. What the pair needs is added to conf. An earlier
// machine of the side has to be gone.
func (s *Side) Boot(ctx context.Context, conf guest.Config) (*Machine, error) {
	if err := s.clear(traceFile); err != nil {
		return nil, err
	}
	m := &Machine{Lines: newLines(conf.Console), QMP: s.Sockets(), side: s}
	conf.Console = m.Lines
	conf.Ledger, conf.Migrates = true, true
	conf.Monitors = append(conf.Monitors, m.QMP.Link, m.QMP.Monitor, s.Path(watchSocket))
	conf.Prefix = append(s.Inside(), conf.Prefix...)
	conf.Args = append(conf.Args,
		"-msg", "timestamp=on", "-D", s.Path(traceFile), "-trace", "vm_state_notify")
	var err error
	if m.VM, err = guest.Boot(ctx, conf); err != nil {
		return nil, err
	}
	if m.Events, err = newRecorder(ctx, s.Path(watchSocket)); err != nil {
		m.Kill()
		return nil, err
	}
	return m, nil
}

// StartCOLO makes m the primary of s by hand, as QEMU's COLO guide says. It returns when the
// migration has begun; uri is what s waits at.
func (m *Machine) StartCOLO(ctx context.Context, s *Machine, uri string, delay time.Duration) error {
	colo := qmp.Capability{Name: qmp.CapabilityColo, State: true}
	err := s.monitor(ctx, func(c *qmp.Client) error { return c.SetCapabilities(ctx, colo) })
	if err != nil {
		return fmt.Errorf("secondary: %w", err)
	}
	return m.monitor(ctx, func(c *qmp.Client) error {
		if err := c.SetCapabilities(ctx, colo); err != nil {
			return err
		}
		if err := c.SetCheckpointDelay(ctx, delay); err != nil {
			return err
		}
		return c.Migrate(ctx, uri)
	})
}

// Failover has m go on alone, by hand: whatever still comes from the peer is cut off first,
// since a QEMU that reads does not listen. It returns when m has left COLO.
func (m *Machine) Failover(ctx context.Context) error {
	mark := m.Events.Len()
	err := m.monitor(ctx, func(c *qmp.Client) error {
		// Without a connection left there is no instance to yank; that is as well.
		var refused *qmp.CommandError
		if err := c.YankMigration(ctx); err != nil && !errors.As(err, &refused) {
			return err
		}
		return c.LostHeartbeat(ctx)
	})
	if err != nil {
		return err
	}
	// A peer that died was noticed before.
	for _, e := range m.Events.All()[:mark] {
		if e.Name == qmp.EventColoExit {
			return nil
		}
	}
	_, err = m.Events.Await(ctx, mark, qmp.EventColoExit)
	return err
}

// monitor lends belay's sockets.
func (m *Machine) monitor(ctx context.Context, use func(*qmp.Client) error) error {
	c, err := qmp.Dial(ctx, m.QMP)
	if err != nil {
		return err
	}
	return errors.Join(use(c), c.Close())
}

// AwaitRunning waits until the machine's guest runs, and its monitor says so.
func (m *Machine) AwaitRunning(ctx context.Context) error {
	mark := m.Events.Len()
	for {
		var s qmp.Status
		if err := m.Events.Link().Execute(ctx, "query-status", nil, &s); err != nil {
			return err
		}
		if s.Running {
			return nil
		}
		next, err := m.Events.Await(ctx, mark, qmp.EventResume)
		if err != nil {
			return err
		}
		mark = next
	}
}

// Checkpoints waits until the machine was stopped and resumed n times from now on. It fails at
// once when COLO ends, and when a line on the console tells of trouble.
func (m *Machine) Checkpoints(ctx context.Context, n int) error {
	mark := m.Events.Len()
	exited := make(chan struct{})
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		defer close(exited)
		if _, err := m.Events.Await(ctx, mark, qmp.EventColoExit); err == nil {
			cancel(errors.New("COLO ended"))
		}
	}()
	defer func() { cancel(nil); <-exited }()
	for i := range n {
		for _, name := range []string{qmp.EventStop, qmp.EventResume} {
			next, err := m.Events.Await(ctx, mark, name)
			if err != nil {
				return fmt.Errorf("checkpoint %d of %d: %w", i+1, n, errors.Join(context.Cause(ctx), err))
			}
			mark = next
		}
		if err := m.Healthy(); err != nil {
			return err
		}
	}
	return nil
}

// StartLedger lets the guest compare memory and disk in a directory of its own, from now on.
func (m *Machine) StartLedger(dir string, every time.Duration) error {
	_, err := m.Run(fmt.Sprintf("ledger --dir %s --every %s >/dev/console 2>&1 &", dir, every))
	return err
}

// AwaitRounds waits for n rounds of the ledger, from now on.
func (m *Machine) AwaitRounds(ctx context.Context, n int) error {
	_, err := m.Lines.Await(ctx, m.Lines.Len(), n, ledgerRound)
	return errors.Join(m.Healthy(), err)
}

// StopLedger has the ledger compare everything once more, and end.
func (m *Machine) StopLedger(ctx context.Context) error {
	mark := m.Lines.Len()
	if _, err := m.RunContext(ctx, "killall ledger"); err != nil {
		return err
	}
	_, err := m.Lines.Await(ctx, mark, 1, ledgerEnd)
	return errors.Join(m.Healthy(), err)
}

// Healthy is nil if no line on the console so far tells of trouble.
func (m *Machine) Healthy() error {
	if bad := m.Lines.Matching(trouble); len(bad) > 0 {
		return fmt.Errorf("%w: %q", ErrDisagree, bad[:min(len(bad), 5)])
	}
	return nil
}
