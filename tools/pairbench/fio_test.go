package main

import "testing"

func TestParseFio(t *testing.T) {
	const text = `fio: a note
{"jobs": [{"write": {"iops": 559.5}, "sync": {"lat_ns": {"N": 7, "percentile": {"50.000000": 1450000}}}}]}`
	r, err := parseFio(text)
	if err != nil {
		t.Fatal(err)
	}
	if r.Write.IOPS != 559.5 || r.Sync.Lat.N != 7 || r.Sync.Lat.millis("50.000000") != 1.45 {
		t.Errorf("got %+v", r)
	}
	for _, bad := range []string{"", "no such file", `{"jobs": []}`, `{"jobs": [`} {
		if r, err := parseFio(bad); err == nil {
			t.Errorf("%q gave %+v", bad, r)
		}
	}
}
