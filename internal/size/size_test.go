package size

import "testing"

func TestParse(t *testing.T) {
	for text, want := range map[string]int64{
		"512": 512, "4096": 4096, "1K": 1024, "512M": 512 << 20, "20G": 20 << 30, "20g": 20 << 30,
		"20GiB": 20 << 30, "20GB": 20 << 30, "2T": 2 << 40, "7E": 7 << 60,
		// Refused: 0 stands for an error.
		"": 0, "0": 0, "G": 0, "-1": 0, "-512": 0, "1.5G": 0, "513": 0, "8E": 0, "16E": 0, "20 G": 0, "512B": 0,
		"1X": 0, "0x200": 0, "99999999999999999999": 0, "1KK": 0, "512I": 0, "B": 0,
	} {
		got, err := Parse(text)
		if err != nil {
			got = 0
		}
		if got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestSizeFlagPrints(t *testing.T) {
	for n, want := range map[Flag]string{0: "", 512: "512", 1024: "1K", 20 << 30: "20G", 3 << 29: "1536M"} {
		if got := n.String(); got != want {
			t.Errorf("%d prints as %q, want %q", int64(n), got, want)
		}
	}
}
