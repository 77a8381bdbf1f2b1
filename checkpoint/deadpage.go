package checkpoint

import (
	"encoding/binary"
	"fmt"
)

// A dead page holds up to deadPerPage death records behind a header that names the page before
// it (docs/FORMAT.md, "Dead pages").
const (
	deadHeader  = 32
	deadRecord  = 32
	deadPerPage = (pageSize - deadHeader) / deadRecord
)

func writeDeadPage(f *pageFile, gen uint32, prev ref, records []death) (ref, error) {
	page := make([]byte, pageSize)
	le := binary.LittleEndian
	le.PutUint64(page[0:], prev.page)
	le.PutUint32(page[8:], prev.gen)
	le.PutUint32(page[12:], prev.crc)
	le.PutUint32(page[16:], uint32(len(records)))
	for i, d := range records {
		p := page[deadHeader+i*deadRecord:]
		le.PutUint64(p[0:], uint64(d.block))
		le.PutUint64(p[8:], uint64(d.slot))
		le.PutUint32(p[16:], d.n)
		le.PutUint32(p[20:], uint32(d.birth))
		le.PutUint32(p[24:], uint32(d.death))
		le.PutUint32(p[28:], uint32(d.line))
	}
	return f.write(kindDead, gen, page)
}

func readDeadPage(f *pageFile, at ref) (prev ref, records []death, err error) {
	page := make([]byte, pageSize)
	if err := f.read(at, kindDead, page); err != nil {
		return ref{}, nil, err
	}
	le := binary.LittleEndian
	prev = ref{page: le.Uint64(page[0:]), gen: le.Uint32(page[8:]), crc: le.Uint32(page[12:])}
	n := le.Uint32(page[16:])
	if n == 0 || n > deadPerPage {
		return ref{}, nil, corrupt("map", int64(at.page)*pageSize+16, "death records of a page",
			fmt.Sprint(n), fmt.Sprintf("1 to %d", deadPerPage))
	}
	records = make([]death, n)
	for i := range records {
		p := page[deadHeader+i*deadRecord:]
		records[i] = death{
			block: block(le.Uint64(p[0:])), slot: slot(le.Uint64(p[8:])), n: le.Uint32(p[16:]),
			birth: epoch(le.Uint32(p[20:])), death: epoch(le.Uint32(p[24:])), line: line(le.Uint32(p[28:])),
		}
		if d := records[i]; d.n == 0 || d.block > maxDisk/blockSize || d.slot > slotZero || d.birth >= d.death {
			return ref{}, nil, corrupt("map", int64(at.page)*pageSize+int64(deadHeader+i*deadRecord),
				"death record", fmt.Sprintf("%+v", d), "a lifetime of blocks on the disk")
		}
	}
	return prev, records, nil
}
