package checkpoint

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Dump prints a volume's metadata for people and for comparing: superblock, catalog, journal,
// history, and the map as it is after replay. Each item is a line: a word for its kind and pairs
// of name and value, or with asJSON an object of the same. Nobody may have the volume open.
func Dump(dir string, out io.Writer, asJSON bool) error { return dumpOn(Dir(dir), out, asJSON) }

func dumpOn(fs FS, out io.Writer, asJSON bool) error {
	s := newStore(fs, Options{ReadOnly: true, LockWait: checkWait})
	defer func() { s.background.end(); _ = s.closeFiles() }()
	if err := s.openFiles(); err != nil {
		return err
	}
	c, err := readCatalog(s.files.pages, s.super.catalog)
	if err != nil {
		return err
	}
	d := newDumper(out, asJSON)
	d.superblock(&s.super)
	d.catalog(c)
	err = s.recoverWith(func(h recordHeader, payload []byte) error {
		d.record(h, payload)
		return s.apply(h, payload)
	})
	if err == nil {
		d.intents(s)
		err = d.state(&s.state)
	}
	return errors.Join(err, d.end())
}

// Dump prints the metadata of a volume while it is served: those of a snapshot made for it, so that
// the journal has nothing to add.
func (s *Store) Dump(out io.Writer, asJSON bool) error {
	s.admin.Lock()
	defer s.admin.Unlock()
	if !s.opts.ReadOnly {
		if err := s.snapshot(); err != nil {
			return err
		}
	}
	c, st, err := s.loadSnapshot()
	if err != nil {
		return err
	}
	defer st.close()
	d := newDumper(out, asJSON)
	d.superblock(&s.super)
	d.catalog(c)
	return errors.Join(d.state(st), d.end())
}

// dumper prints items. The first error stays.
type dumper struct {
	w      *bufio.Writer
	asJSON bool
	err    error
}

func newDumper(out io.Writer, asJSON bool) *dumper {
	return &dumper{w: bufio.NewWriter(out), asJSON: asJSON}
}

func (d *dumper) end() error { return errors.Join(d.err, d.w.Flush()) }

// item prints one item: pairs are names, each followed by its value.
func (d *dumper) item(kind string, pairs ...any) {
	if d.err != nil {
		return
	}
	if !d.asJSON {
		_, _ = d.w.WriteString(kind) // the writer keeps its error for Flush
		for i := 0; i < len(pairs); i += 2 {
			_, _ = fmt.Fprintf(d.w, " %v %v", pairs[i], pairs[i+1])
		}
		_ = d.w.WriteByte('\n')
		return
	}
	_, _ = fmt.Fprintf(d.w, `{"kind":%q`, kind)
	for i := 0; i < len(pairs); i += 2 {
		value, err := json.Marshal(pairs[i+1])
		if err != nil {
			d.err = err
			return
		}
		_, _ = fmt.Fprintf(d.w, ",%q:%s", pairs[i], value)
	}
	_, _ = d.w.WriteString("}\n")
}

func (d *dumper) superblock(b *superblock) {
	d.item("superblock", "id", fmt.Sprintf("%x", b.id), "sequence", b.sequence, "generation", b.generation,
		"created", stamp(b.created), "checksums", b.flags&flagChecksums != 0, "slack_percent", b.slack)
	if b.base != baseNone {
		d.item("base", "path", b.basePath, "bytes", b.baseSize)
	}
	if b.dataPath != "" {
		d.item("data", "path", b.dataPath)
	}
}

func (d *dumper) catalog(c *catalog) {
	d.item("catalog", "generation", c.gen, "sequence", c.seq, "epoch", c.epoch, "line", c.line, "bytes", c.size,
		"slots", c.slots, "journal_from", c.start.pos, "map_pages", c.mapPages)
	for _, x := range c.free {
		d.item("free", "page", x.page, "n", x.n)
	}
}

func stamp(nano int64) string { return time.Unix(0, nano).UTC().Format(time.RFC3339Nano) }

// record prints a journal record and what it says. A payload that cannot be decoded is reported
// by who applies it.
func (d *dumper) record(h recordHeader, p []byte) {
	d.item("record", "position", h.pos, "sequence", h.seq, "line", h.line, "epoch", h.epoch,
		"does", h.kind.String())
	switch h.kind {
	case recordWrite, recordStage:
		places, sums, _ := decodeWrite(p, nil, nil)
		for _, e := range places {
			d.item(h.kind.String(), "block", e.block, "n", e.n, "slot", e.slot.String())
		}
		if len(sums) > 0 {
			d.item("checksums", "crcs", sums)
		}
	case recordStart:
		r, _ := decodeStart(p)
		d.item("start", "point", r.id, "name", r.name, "time", stamp(r.time))
	case recordLoad:
		r, _ := decodeLoad(p)
		d.item("load", "base", r.base, "blocks", r.blocks, "point", r.start.id, "name", r.start.name,
			"time", stamp(r.start.time))
	case recordRollback:
		r, _ := decodeRollback(p)
		d.item("rollback", "to", r.to, "left", r.left, "line", r.line)
	case recordSweep:
		r, _ := decodeSweep(p)
		d.item("sweep", "run", r.run, "blocks", r.count)
	case recordRetire, recordDelete, recordResize:
		v, _ := decodeWord(p, 1<<63)
		d.item(h.kind.String(), "value", v)
	}
}

// intents prints where intents are, and what they add to the journal.
func (d *dumper) intents(s *Store) {
	if ring := s.journal.hdr.ring; ring.n > 0 {
		d.item("ring", "slot", ring.first, "n", ring.n, "passed", s.journal.passed)
	}
	for _, e := range s.recalled.places {
		d.item("intended", "block", e.block, "n", e.n, "slot", e.slot.String())
	}
}

// state prints what the journal determines.
func (d *dumper) state(st *state) error {
	for _, b := range st.branches {
		d.item("line", "id", b.id, "from_line", b.from, "at_point", b.at)
	}
	for _, p := range st.points {
		d.item("point", "id", p.id, "name", p.name, "line", p.line, "bytes", p.size,
			"retired", p.retired, "keep", p.keep, "left", p.left)
		if err := d.runs(st, p.runs); err != nil {
			return err
		}
	}
	if err := d.runs(st, st.orphans); err != nil {
		return err
	}
	return d.mapped(st)
}

func (d *dumper) runs(st *state, runs []*run) error {
	for _, r := range runs {
		d.item("run", "id", r.id, "blocks", r.blocks, "sweep", r.sweep)
		err := r.stored().read(st.pages, func(x death) {
			d.item("death", "block", x.block, "n", x.n, "slot", x.slot.String(), "birth", x.birth,
				"death", x.death, "line", x.line)
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) mapped(st *state) error {
	end := block(st.diskBlocks())
	for at := block(0); at < end; {
		b, e, n, err := st.blocks.next(at, end)
		if err != nil || n == 0 {
			return err
		}
		d.item("map", "block", b, "n", n, "slot", e.slot().String(), "birth", e.birth())
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
		return "unwritten"
	}
	return fmt.Sprint(uint64(s))
}
