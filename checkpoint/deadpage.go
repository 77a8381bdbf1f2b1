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
	encodeDeadPage(page, prev, records)
	return f.write(kindDead, gen, page)
}

func readDeadPage(f *pageFile, at ref) (prev ref, records []death, err error) {
	page := make([]byte, pageSize)
	if err := f.read(at, kindDead, page); err != nil {
		return ref{}, nil, err
	}
	return decodeDeadPage(page, int64(at.page)*pageSize)
}

// encodeDeadPage fills a zeroed page.
func encodeDeadPage(page []byte, prev ref, records []death) {
	le := binary.LittleEndian
	putRef(page, prev)
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
}

// decodeDeadPage reads the page at byte off of the map file.
func decodeDeadPage(page []byte, off int64) (prev ref, records []death, err error) {
	le := binary.LittleEndian
	n := int(le.Uint32(page[16:]))
	if n == 0 || n > deadPerPage {
		return ref{}, nil, corrupt(mapName, off+16, "death records of a page", n, fmt.Sprint("1 to ", deadPerPage))
	}
	if err := checkZero(page[20:deadHeader], mapName, off+20); err != nil {
		return ref{}, nil, err
	}
	end := deadHeader + n*deadRecord
	if err := checkZero(page[end:], mapName, off+int64(end)); err != nil {
		return ref{}, nil, err
	}
	records = make([]death, n)
	for i := range records {
		at := deadHeader + i*deadRecord
		p := page[at:]
		records[i] = death{
			block: block(le.Uint64(p[0:])), slot: slot(le.Uint64(p[8:])), n: le.Uint32(p[16:]),
			birth: epoch(le.Uint32(p[20:])), death: epoch(le.Uint32(p[24:])), line: line(le.Uint32(p[28:])),
		}
		if !records[i].valid() {
			return ref{}, nil, corrupt(mapName, off+int64(at), "death record", fmt.Sprintf("%+v", records[i]),
				"a lifetime of blocks on the disk")
		}
	}
	return getRef(page), records, nil
}

// valid judges what a checksum cannot: values that no program of this version writes.
func (d death) valid() bool {
	n := uint64(d.n)
	onDisk := n > 0 && n <= maxBlock && uint64(d.block) <= maxBlock-n
	placed := d.slot == slotZero || d.slot == slotNone || uint64(d.slot) <= maxSlots-n
	return onDisk && placed && d.birth < d.death && d.death <= maxEpoch && d.line > 0
}
