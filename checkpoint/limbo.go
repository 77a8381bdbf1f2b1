package checkpoint

// limbo holds slots that nothing refers to any more and that may not be written again yet. A
// slot leaves it when
//
//  1. the record that gave it up is durable: the flush round that sealed its batch is done,
//  2. every read that may still use it is done: no reader of its generation or an earlier one,
//  3. where it was discarded, its hole is punched (trim.go takes it from here).
//
// Without 1, a power cut would bring back a map that names an overwritten slot; without 2, a
// read would return somebody else's data. The store's mutex guards it.
type limbo struct {
	open   batch // given up since the last seal
	sealed []batch
	seals  uint64      // number of the newest sealed batch
	spare  [][]givenUp // storage of batches that are gone

	gen     uint64               // generation that a reader starting now belongs to
	oldest  uint64               // no reader belongs to an earlier one
	readers [readerWindow]uint32 // by generation, modulo the window
	blocks  uint64               // slots in here
	left    uint64               // slots that ever left
}

// readerWindow bounds how many generations can have readers at a time.
const readerWindow = 64

// batch is what was given up between two seals.
type batch struct {
	seal    uint64
	gen     uint64
	durable bool
	slots   []givenUp
}

// givenUp is an extent in limbo.
type givenUp struct {
	extent
	discarded bool // the guest does not want the space: punch it before it is free
}

// add takes an extent in.
func (l *limbo) add(x extent, discarded bool) {
	l.blocks += x.n
	if k := len(l.open.slots) - 1; k >= 0 {
		last := &l.open.slots[k]
		if last.discarded == discarded && last.first+slot(last.n) == x.first {
			last.n += x.n
			return
		}
	}
	l.open.slots = append(l.open.slots, givenUp{x, discarded})
}

// enter registers a reader and returns its generation, to be passed to leave.
func (l *limbo) enter() uint64 {
	l.readers[l.gen%readerWindow]++
	return l.gen
}

func (l *limbo) leave(gen uint64) {
	l.readers[gen%readerWindow]--
}

// seal closes the open batch and returns its number: a flush round that begins now makes it
// durable. While a reader lags by the whole window the batch stays open for a later round.
func (l *limbo) seal() uint64 {
	l.advance()
	if len(l.open.slots) == 0 || l.gen-l.oldest >= readerWindow-1 {
		return l.seals
	}
	l.seals++
	l.open.seal, l.open.gen = l.seals, l.gen
	l.gen++
	l.sealed = append(l.sealed, l.open)
	l.open = batch{}
	if k := len(l.spare) - 1; k >= 0 {
		l.open.slots, l.spare = l.spare[k], l.spare[:k]
	}
	return l.seals
}

// durable marks every batch up to number seal.
func (l *limbo) durable(seal uint64) {
	for i := range l.sealed {
		if l.sealed[i].seal <= seal {
			l.sealed[i].durable = true
		}
	}
}

// collect passes on what may leave.
func (l *limbo) collect(release func(givenUp)) {
	l.advance()
	done := 0
	for _, b := range l.sealed {
		if !b.durable || b.gen >= l.oldest {
			break
		}
		for _, x := range b.slots {
			l.blocks -= x.n
			l.left += x.n
			release(x)
		}
		l.recycle(b.slots)
		done++
	}
	l.sealed = append(l.sealed[:0], l.sealed[done:]...)
}

// recycle keeps the storage of a batch for one to come, but not that of an unusually large one.
func (l *limbo) recycle(slots []givenUp) {
	const few, small = 4, 1 << 16
	if len(l.spare) < few && cap(slots) <= small {
		l.spare = append(l.spare, slots[:0])
	}
}

// advance finds the oldest generation that has readers.
func (l *limbo) advance() {
	for l.oldest < l.gen && l.readers[l.oldest%readerWindow] == 0 {
		l.oldest++
	}
}
