package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/belay-vm/belay/blk"
	"github.com/belay-vm/belay/internal/aio"
	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/vhostuser"
	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
)

// controlPerm is for the volume's owner alone: who reaches the control socket can roll back.
const controlPerm = 0o600

// counterMemory is memory for a device's counters that other programs can read; without any the
// device has its own.
type counterMemory struct {
	count, latency []byte
	close          func() error
}

// server is one volume being served: the device on the store, the front end's connection, and
// the control socket. All fields are set before the first goroutine starts.
type server struct {
	volume  volume
	options serveOptions
	log     hclog.Logger
	since   time.Time

	counts counterMemory
	engine aio.Kind
	device *blk.Device
	front  *vhostuser.Server
	gate   *gate // nil for a front end that came with the process
	where  endpoint

	pair *pairSide // nil: the volume is served by itself
}

// run serves until the context ends; everything that it made is gone when it returns, and every
// request that it took is done.
func (s *server) run(ctx context.Context, at endpointMaker, ready func(name string) error) (err error) {
	defer s.openCounters()()
	if err := s.build(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.device.Close()) }()
	if s.where, err = at.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.where.Close()) }()
	if s.where.listener != nil {
		s.gate = &gate{Listener: s.pair.watched(s.where.listener)}
	}
	end, err := s.control()
	if err != nil {
		return err
	}
	defer end()
	s.log.Info("serving", "volume", s.volume.dir, "socket", s.where.name, "engine", s.engine,
		"queues", s.options.queues, "bytes", s.volume.Size())
	if err := ready(s.where.name); err != nil {
		return err
	}
	stopping := context.AfterFunc(ctx, func() {
		s.log.Info("draining: a second signal ends the process at once")
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) // systemd watches the process anyway
	})
	defer stopping()
	if s.gate == nil {
		return s.front.ServeConn(ctx, s.where.conn)
	}
	return s.front.Serve(ctx, s.gate)
}

// openCounters makes memory for the device's counters that bpftool can read, where the kernel has
// it and lets us. Nothing depends on it: without, the device counts in memory of its own. The
// function that it returns is for when the device is closed.
func (s *server) openCounters() func() {
	c, note, err := sharedCounters(pinName(s.volume.dir), s.options.queues)
	if err != nil {
		s.log.Debug("counters are not visible as maps", "reason", err)
		return func() {}
	}
	s.counts = c
	if note != "" {
		s.log.Debug("counters have no names below /sys/fs/bpf", "reason", note)
	}
	return func() {
		if err := c.close(); err != nil {
			s.log.Debug("maps of the counters", "error", err)
		}
	}
}

// build makes the device and the server in front of it.
func (s *server) build() (err error) {
	why := "asked for"
	if s.engine = aio.Kind(s.options.engine); s.engine == "auto" {
		s.engine, why = aio.Pick(s.volume.store.DataFD())
	}
	if s.engine == aio.Threads {
		s.log.Warn("io_uring is not used; requests are slower", "reason", why)
	}
	serial := s.options.serial
	if serial == "" {
		serial = s.volume.serial()
	}
	s.device, err = blk.New(s.volume.store, blk.Options{
		Queues: s.options.queues, Depth: s.options.queueSize, SegMax: s.options.segMax,
		Serial: serial, Engine: s.engine,
		Spin:       time.Duration(s.options.pollUs) * time.Microsecond,
		SpinDevice: time.Duration(s.options.pollDeviceUs) * time.Microsecond,
		Count:      s.counts.count, Latency: s.counts.latency, Fence: s.pair.fence(),
	})
	if err != nil {
		return err
	}
	s.front = vhostuser.NewServer(s.pair.before(s.device), s.log.Named("vhost"),
		vhostuser.Options{MemSlots: s.options.memorySlots})
	return nil
}

// control opens the control socket; end closes it when the requests under way are answered.
func (s *server) control() (end func(), err error) {
	l, err := control.Listen(filepath.Join(s.volume.dir, control.SocketName), controlPerm)
	if err != nil {
		return nil, err
	}
	offered := &served{Volume: &s.volume, gate: s.gate, changed: s.front.ConfigChanged, serving: s.serving,
		stats: s.device.Stats}
	metrics := control.NewMetrics(control.Sources{
		Version: programVersion().Version,
		Status:  offered.Status,
		Traffic: func() []control.Traffic { return traffic(s.device.Stats()) },
		More:    s.counters,
	})
	c := control.NewServer(s.pair.offered(offered), metrics, s.log.Named("control"))
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := c.Serve(l); err != nil {
			s.log.Error("the control socket is closed; the disk is served on", "error", err)
		}
	})
	return func() {
		if err := errors.Join(c.Close(), l.Close()); err != nil {
			s.log.Warn("control socket", "error", err)
		}
		serving.Wait()
	}, nil
}

// serving is what status says about this process.
func (s *server) serving() control.Serving {
	st := s.front.Stats()
	return control.Serving{
		PID: os.Getpid(), Version: programVersion().Version, Since: s.since,
		Socket: s.where.path, Queues: s.options.queues, Engine: string(s.engine),
		ReadOnly: s.options.readOnly, Connected: s.gate == nil || s.gate.connected(),
		Sessions: st.Sessions,
	}
}

// counters are what the transport has counted.
func (s *server) counters() []control.Counter {
	st := s.front.Stats()
	return append(s.pair.counters(), []control.Counter{
		{Name: "vhost_messages_total", Help: "Messages from front ends.", Value: float64(st.Messages)},
		{Name: "vhost_messages_refused_total", Help: "Messages that could not be obeyed.",
			Value: float64(st.Refused)},
		{Name: "ring_starts_total", Help: "Rings started.", Value: float64(st.RingStarts)},
		{Name: "ring_errors_total", Help: "Rings that broke.", Value: float64(st.RingErrors)},
		{Name: "malformed_chains_total", Help: "Descriptor chains that were no requests.",
			Value: float64(malformed(s.device.Stats()))},
	}...)
}
