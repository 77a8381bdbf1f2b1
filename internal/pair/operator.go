package pair

import (
	"context"
	"errors"
	"fmt"

	"github.com/belay-vm/belay/checkpoint"
	"github.com/belay-vm/belay/colo"
	"github.com/belay-vm/belay/mirror"
)

// Failover is the operator's word that this side goes on alone. It returns why not.
func (p *Pair) Failover(ctx context.Context) error {
	return p.onLoop(ctx, func() error {
		p.status.refused("")
		p.take(colo.Failover{})
		if why := p.status.lastRefusal(); why != "" {
			return errors.New(why)
		}
		p.decide()
		return nil
	})
}

// Reprotect has a side that serves alone look for a partner, which may be a new one.
func (p *Pair) Reprotect(ctx context.Context, peer, migrateURI string) error {
	if err := p.lacks(ctx, false); err != nil {
		return err
	}
	return p.onLoop(ctx, func() error {
		if p.secondary || p.p.Phase() != colo.PrimaryAlone {
			return fmt.Errorf("this side is %s, not alone", p.state())
		}
		if p.seeking {
			return fmt.Errorf("it is looking for %s already", p.cfg.Peer)
		}
		err := updateAll(p.volumes, func(s *checkpoint.PairState) { s.Peer = [16]byte{} })
		if err != nil {
			return err
		}
		p.cfg.Peer, p.cfg.MigrateURI = peer, migrateURI
		p.seek(p.ctx)
		return nil
	})
}

// Difference is a range in which the sides differ, in bytes.
type Difference struct {
	Disk int
	Off  int64
	Len  int64
}

// Report is what a comparison found.
type Report struct {
	At      string
	Bytes   int64
	Differ  []Difference
	Stopped bool // there are more
}

// Bounds of a comparison.
const (
	verifyChunk = 64 << 10
	verifyStep  = 16 << 20
	mostDiffer  = 1000
)

// Verify compares both sides at a common checkpoint, while they go on. It is kept for as long as it
// takes.
func (p *Pair) Verify(ctx context.Context) (Report, error) {
	r := Report{}
	s, at, err := p.common(ctx)
	if err != nil {
		return r, err
	}
	r.At = at.String()
	for disk, v := range p.volumes {
		for off := int64(0); off < v.Size(); off += verifyStep {
			where := mirror.Range{Off: off, Len: min(verifyStep, v.Size()-off)}
			differ, err := s.Verify(ctx, disk, at, where, verifyChunk)
			if err != nil {
				return r, err
			}
			r.Bytes += where.Len
			for _, d := range differ {
				r.Differ = append(r.Differ, Difference{disk, d.Off, d.Len})
			}
			if len(r.Differ) >= mostDiffer {
				r.Stopped = true
				return r, nil
			}
		}
	}
	return r, nil
}

// common finds the newest checkpoint that both sides have, and has both keep it: to read from it does.
// Either side may release one just now, so the next is tried.
func (p *Pair) common(ctx context.Context) (s *mirror.Session, at mirror.Mark, err error) {
	var marks []mirror.Mark
	err = p.onLoop(ctx, func() error {
		if p.secondary || p.mirror == nil || !p.p.Protected() {
			return fmt.Errorf("this side is a %s %s; only a protected primary compares", p.role(), p.state())
		}
		s, marks = p.mirror, commonMarks(p.volumes)
		return nil
	})
	if err != nil {
		return nil, at, err
	}
	err = errors.New("there is no common checkpoint")
	for _, at = range marks {
		if at.Generation != s.Generation() {
			break
		}
		for disk, v := range p.volumes {
			where := mirror.Range{Len: min(least, v.Size())}
			if _, err = s.Verify(ctx, disk, at, where, least); err != nil {
				break
			}
		}
		if err == nil {
			return s, at, nil
		}
	}
	return nil, at, err
}

// least is the shortest range that is compared.
const least = 4096
