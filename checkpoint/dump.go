package checkpoint

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
)

// Dump prints a volume's metadata as text, for people and for comparing: superblock, catalog,
// points, journal, and the map as it is after replay. Nobody may have the volume open.
func Dump(dir string, out io.Writer) error {
	s := newStore(Dir(dir), Options{ReadOnly: true, LockWait: checkWait})
	defer func() { s.background.end(); _ = s.closeFiles() }()
	w := bufio.NewWriter(out)
	if err := s.openFiles(); err != nil {
		return err
	}
	dumpSuperblock(w, &s.super)
	c, err := readCatalog(s.files.pages, s.super.catalog)
	if err != nil {
		return err
	}
	dumpCatalog(w, c)
	fmt.Fprintln(w, "journal")
	if err := s.recoverWith(func(h recordHeader, p []byte) error {
		fmt.Fprintf(w, "  %-12d seq %-8d line %d epoch %-6d %v%s\n",
			h.pos, h.seq, h.line, h.epoch, h.kind, describe(h, p))
		return s.apply(h, p)
	}); err != nil {
		return err
	}
	return errors.Join(s.dump(w), w.Flush())
}

// Dump prints the metadata of a volume while it is served: those of a snapshot made for it, so that
// the journal has nothing to add.
func (s *Store) Dump(out io.Writer) error {
	s.admin.Lock()
	defer s.admin.Unlock()
	if !s.opts.ReadOnly {
		if err := s.snapshot(); err != nil {
			return err
		}
	}
	c, err := readCatalog(s.files.pages, s.super.catalog)
	if err != nil {
		return err
	}
	st, err := loadState(s.files.pages, c, s.base != nil, s.checksums)
	if err != nil {
		return err
	}
	defer st.close()
	w := bufio.NewWriter(out)
	dumpSuperblock(w, &s.super)
	dumpCatalog(w, c)
	return errors.Join(st.dump(w), w.Flush())
}

// dump prints what the journal determines.
func (s *state) dump(w io.Writer) error {
	if err := s.dumpHistory(w); err != nil {
		return err
	}
	return s.dumpMap(w)
}

func dumpSuperblock(w io.Writer, b *superblock) {
	fmt.Fprintf(w, "superblock\n  id %x\n  sequence %d\n  generation %d\n  created %s\n"+
		"  checksums %v\n  slack %d %%\n",
		b.id, b.sequence, b.generation, stamp(b.created), b.flags&flagChecksums != 0, b.slack)
	if b.basePath != "" {
		fmt.Fprintf(w, "  base %q, %d bytes\n", b.basePath, b.baseSize)
	}
	if b.dataPath != "" {
		fmt.Fprintf(w, "  data %q\n", b.dataPath)
	}
}

func dumpCatalog(w io.Writer, c *catalog) {
	fmt.Fprintf(w, "catalog\n  generation %d\n  sequence %d\n  epoch %d\n  line %d\n"+
		"  size %d\n  slots %d\n  journal from %d\n  map pages %d\n",
		c.gen, c.seq, c.epoch, c.line, c.size, c.slots, c.start.pos, c.mapPages)
	for _, x := range c.free {
		fmt.Fprintf(w, "  free pages %d to %d\n", x.page, x.page+x.n-1)
	}
}

func stamp(nano int64) string { return time.Unix(0, nano).UTC().Format(time.RFC3339Nano) }

// describe prints a record's payload.
func describe(h recordHeader, p []byte) string {
	switch h.kind {
	case recordWrite:
		places, sums, err := decodeWrite(p, nil, nil)
		text := ""
		for _, e := range places {
			if e.slot == slotZero {
				text += fmt.Sprintf(" %d+%d=zeroes", e.block, e.n)
			} else {
				text += fmt.Sprintf(" %d+%d=%d", e.block, e.n, e.slot)
			}
		}
		if len(sums) > 0 {
			text += fmt.Sprintf(" sums %08x", sums)
		}
		return orError(text, err)
	case recordStart:
		r, err := decodeStart(p)
		return orError(fmt.Sprintf(" point %d %q at %s", r.id, r.name, stamp(r.time)), err)
	case recordRollback:
		r, err := decodeRollback(p)
		return orError(fmt.Sprintf(" to %d, leaving %d, line %d", r.to, r.left, r.line), err)
	case recordSweep:
		r, err := decodeSweep(p)
		return orError(fmt.Sprintf(" run %d", r.run), err)
	case recordRetire, recordDelete, recordResize:
		v, err := decodeWord(p, 1<<63)
		return orError(fmt.Sprint(" ", v), err)
	}
	return ""
}

func orError(text string, err error) string {
	if err != nil {
		return " " + err.Error()
	}
	return text
}

func (s *state) dumpHistory(w io.Writer) error {
	fmt.Fprintln(w, "history")
	for _, b := range s.branches {
		fmt.Fprintf(w, "  line %d from point %d of line %d\n", b.id, b.at, b.from)
	}
	for _, p := range s.points {
		fmt.Fprintf(w, "  point %d %q line %d size %d retired %v keep %v left %v\n", p.id, p.name, p.line, p.size,
			p.retired, p.keep, p.left)
		if err := s.dumpRuns(w, p.runs); err != nil {
			return err
		}
	}
	return s.dumpRuns(w, s.orphans)
}

func (s *state) dumpRuns(w io.Writer, runs []*run) error {
	for _, r := range runs {
		fmt.Fprintf(w, "    run %d of %d blocks sweep %v\n", r.id, r.blocks, r.sweep)
		err := r.stored().read(s.pages, func(d death) {
			fmt.Fprintf(w, "      %d+%d=%s [%d, %d) line %d\n", d.block, d.n, d.slot, d.birth, d.death, d.line)
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *state) dumpMap(w io.Writer) error {
	fmt.Fprintln(w, "map")
	end := block(s.diskBlocks())
	for at := block(0); at < end; {
		b, e, n, err := s.blocks.next(at, end)
		if err != nil || n == 0 {
			return err
		}
		fmt.Fprintf(w, "  %d+%d=%s [%d\n", b, n, e.slot(), e.birth())
		at = b + block(n)
	}
	return nil
}

// String prints a slot, or what stands in for one.
func (s slot) String() string {
	switch s {
	case slotZero:
		return "zeroes"
	case slotNone:
		return "never written"
	}
	return fmt.Sprint(uint64(s))
}
