package disktest

import "testing"

// BenchmarkCut: a disk of 1 MiB of data, a mapped journal of 140 KiB and some unsynced writes.
func BenchmarkCut(b *testing.B) {
	for name, kind := range map[string]Kind{"kill": Kill, "power": PowerCut} {
		b.Run(name, func(b *testing.B) {
			d := New(1)
			defer d.Close()
			data, _ := d.Create("data")
			data.WriteAt(fill(1<<20, 1), 0)
			journal, _ := d.Create("journal")
			journal.WriteAt(fill(140<<10, 0), 0)
			data.Sync()
			journal.Sync()
			mem, _ := journal.Map(140 << 10)
			for i := range 32 {
				data.WriteAt(fill(4096, byte(i)), int64(i*8192))
				mem[i*100] = byte(i)
			}
			b.ReportAllocs()
			for b.Loop() {
				d.Cut(kind)
			}
		})
	}
}
