package report

import (
	"errors"
	"fmt"
	"path/filepath"
)

// ErrTooFew is returned where a comparison lacks a side.
var ErrTooFew = errors.New("fewer than two results")

// Newest returns the two latest results below a directory, the older one first. Their names
// begin with their date, so order is by name.
func Newest(dir string) (older, newer string, err error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", jsonFile)) // sorted
	switch {
	case err != nil:
		return "", "", err
	case len(found) < 2:
		return "", "", fmt.Errorf("%w in %s: make bench, or name both", ErrTooFew, dir)
	}
	return filepath.Dir(found[len(found)-2]), filepath.Dir(found[len(found)-1]), nil
}
