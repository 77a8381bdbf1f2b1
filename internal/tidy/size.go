package tidy

import (
	"bytes"
	"fmt"
	"go/ast"
	"strings"
	"unicode/utf8"
)

// The longest that things may be, in lines, and of a line, in columns. They only go down.
const (
	maxFile     = 500
	maxTestFile = 800
	maxFunction = 70
	maxLine     = 110
)

// Files finds Go files that are too long.
func Files(t *Tree) []Finding {
	var found []Finding
	for _, s := range t.Go {
		limit := maxFile
		if s.IsTest() {
			limit = maxTestFile
		}
		if n := bytes.Count(s.Text, []byte("\n")); n > limit {
			found = append(found, Finding{s.Path, 0, fmt.Sprintf("%d lines, at most %d", n, limit)})
		}
	}
	return found
}

// Functions finds functions that are too long. Those of tests may be as long as their story,
// within the file's limit.
func Functions(t *Tree) []Finding {
	var found []Finding
	for _, s := range t.Go {
		if s.IsTest() {
			continue
		}
		for _, d := range s.AST.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			n := t.set.Position(f.End()).Line - t.line(f) + 1
			if n > maxFunction {
				found = append(found, t.at(s, f, "%s has %d lines, at most %d", f.Name.Name, n, maxFunction))
			}
		}
	}
	return found
}

// Lines finds lines that are too wide. A tab has one column, as in a count of characters; a
// line with an address in it, or that the compiler reads as one, cannot be broken.
func Lines(t *Tree) []Finding {
	var found []Finding
	for _, s := range t.Go {
		for i, line := range strings.Split(string(s.Text), "\n") {
			n := utf8.RuneCountInString(line)
			if n > maxLine && !strings.Contains(line, "://") && !strings.HasPrefix(line, "//go:") {
				found = append(found, Finding{s.Path, i + 1, fmt.Sprintf("%d columns, at most %d", n, maxLine)})
			}
		}
	}
	return found
}
