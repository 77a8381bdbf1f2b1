package checkpoint

// pageBatch writes the pages of a snapshot in large pieces: pages are collected in a buffer for
// as long as their places are neighbours. One goroutine uses it; it needs no lock of the store.
type pageBatch struct {
	file  *pageFile
	gen   uint32
	room  pageExtent // taken from the file and not used yet
	first uint64     // page number of the buffer's first page
	n     uint64     // pages in the buffer
	buf   []byte
}

// batchPages is the most pages written at once.
const batchPages = 256

func newPageBatch(f *pageFile, gen uint32) *pageBatch {
	return &pageBatch{file: f, gen: gen, buf: mapMemory(batchPages * pageSize)}
}

// next returns the memory of another page, to be filled and then sealed.
func (b *pageBatch) next() ([]byte, error) {
	if b.room.n == 0 {
		b.room = b.file.take(batchPages)
	}
	if b.n == batchPages || b.room.page != b.first+b.n {
		if err := b.flush(); err != nil {
			return nil, err
		}
	}
	return b.buf[b.n*pageSize : (b.n+1)*pageSize], nil
}

// seal accepts the page that next returned and names it.
func (b *pageBatch) seal(kind pageKind) ref {
	content := b.buf[b.n*pageSize : (b.n+1)*pageSize]
	at := ref{page: b.room.page, gen: b.gen}
	at.crc = pageSum(kind, at.gen, at.page, content)
	b.room.page, b.room.n = b.room.page+1, b.room.n-1
	b.n++
	return at
}

// close writes what is left and gives up the room and the memory. After an error of an earlier
// call only the latter two happen.
func (b *pageBatch) close(failed error) error {
	if failed == nil {
		failed = b.flush()
	}
	b.file.unused(b.room)
	unmapMemory(b.buf)
	b.buf = nil
	return failed
}

func (b *pageBatch) flush() error {
	n := b.n
	first := b.first
	b.first, b.n = b.room.page, 0
	if n == 0 {
		return nil
	}
	return b.file.writeAt(first, b.buf[:n*pageSize])
}
