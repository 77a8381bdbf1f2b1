package tidy

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
)

// maxBlob is the size of a file that nobody would want to fetch for ever, in bytes.
const maxBlob = 256 << 10

// marker is a note of its author to himself. One that names its issue, as in "#12", is a
// reference and may stay.
var (
	marker = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)
	issue  = regexp.MustCompile(`#[0-9]+`)
)

// textual are the endings of files that people write. Files without an ending, such as
// Makefile and scripts, count as well.
var textual = []string{"", ".go", ".md", ".sh", ".c", ".h", ".json", ".in", ".service", ".socket", ".s"}

// Markers finds left-over notes.
func Markers(t *Tree) ([]Finding, error) {
	var found []Finding
	for _, name := range t.files {
		if !slices.Contains(textual, path.Ext(name)) {
			continue
		}
		text, err := fs.ReadFile(t.fs, name)
		if err != nil {
			return nil, err
		}
		if bytes.IndexByte(text, 0) >= 0 { // a program, not a script
			continue
		}
		for i, line := range bytes.Split(text, []byte("\n")) {
			if m := marker.Find(line); m != nil && !issue.Match(line) {
				found = append(found, Finding{name, i + 1, fmt.Sprintf("%s without the number of an issue", m)})
			}
		}
	}
	return found, nil
}

// Blobs finds big files.
func Blobs(t *Tree) ([]Finding, error) {
	var found []Finding
	for _, name := range t.files {
		fi, err := fs.Stat(t.fs, name)
		if err != nil {
			return nil, err
		}
		if fi.Size() > maxBlob {
			found = append(found, Finding{name, 0, fmt.Sprintf("%d bytes, at most %d", fi.Size(), maxBlob)})
		}
	}
	return found, nil
}
