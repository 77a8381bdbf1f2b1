package report

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
)

func TestTable(t *testing.T) {
	var out bytes.Buffer
	if err := fake(1).Table(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "table.txt", out.Bytes())
}

func TestShortFormIsNotJudged(t *testing.T) {
	r := fake(1)
	r.Short = true
	for _, o := range r.judge() {
		if o.Verdict != Unjudged && o.Verdict != NoData {
			t.Errorf("%s: %s", o.label(), o.Verdict)
		}
	}
}

func TestCompare(t *testing.T) {
	a, b := fake(1), fake(1.1)
	b.Machine.Kernel = "6.19"
	b.Rows = append(b.Rows, Row{Name: "a new row"})
	var out bytes.Buffer
	if err := Compare(&out, a, b); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", out.Bytes())
}

func TestSaveAndLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "20261121-7e67e80")
	was := fake(1)
	if err := was.Save(dir); err != nil {
		t.Fatal(err)
	}
	is, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(was, is) {
		t.Errorf("saved\n%+v\nloaded\n%+v", was, is)
	}
	text, err := os.ReadFile(filepath.Join(dir, jsonFile))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "result.json", text)
}

func TestLoadRefusesAnotherSchema(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, jsonFile), []byte(`{"schema": 7}`), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(dir); !errors.Is(err, ErrSchema) {
		t.Errorf("got %v", err)
	}
}

func TestPlotIsAPicture(t *testing.T) {
	for _, r := range []*Result{fake(1), {}} {
		picture, err := r.plot()
		if err != nil {
			t.Fatal(err)
		}
		img, err := png.Decode(bytes.NewReader(picture))
		if err != nil {
			t.Fatal(err)
		}
		judged := slices.ContainsFunc(r.Outcomes, func(o Outcome) bool { return o.Ratio.N > 0 })
		if judged != drawn(img) {
			t.Errorf("%d outcomes, bars drawn: %v", len(r.Outcomes), !judged)
		}
	}
}

// drawn reports whether an image has a bar of a ratio, met or missed.
func drawn(img image.Image) bool {
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			c := color.RGBAModel.Convert(img.At(x, y))
			if c == color.Color(belayColor) || c == color.Color(missedColor) {
				return true
			}
		}
	}
	return false
}

func TestNewest(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Newest(dir); !errors.Is(err, ErrTooFew) {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"20261122-0900-b", "20261121-1000-c", "20261121-0900-a"} {
		if err := fake(1).Save(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	older, newer, err := Newest(dir)
	if filepath.Base(older) != "20261121-1000-c" || filepath.Base(newer) != "20261122-0900-b" || err != nil {
		t.Errorf("got %s, %s, %v", older, newer, err)
	}
}
