package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// modulePath is what our own import paths begin with.
const modulePath = "github.com/belay-vm/belay"

// skipped directories hold nothing that is ours to keep tidy.
var skipped = []string{".git", "bin", "build"}

// Finding is one place where a rule is broken.
type Finding struct {
	File string // relative to the root, with slashes
	Line int    // 0 if the whole file is meant
	Text string
}

func (f Finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.File, f.Text)
	}
	return fmt.Sprintf("%s:%d: %s", f.File, f.Line, f.Text)
}

// Tree is a checkout.
type Tree struct {
	fs    fs.FS
	files []string // all of them
	pages map[string][]byte
	Go    []*Source
	set   *token.FileSet
}

// Source is one Go file.
type Source struct {
	Path string
	Text []byte
	AST  *ast.File
}

// Load reads a checkout.
func Load(root fs.FS) (*Tree, error) {
	t := &Tree{fs: root, pages: map[string][]byte{}, set: token.NewFileSet()}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains(skipped, name):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		return t.add(name)
	})
	return t, err
}

func (t *Tree) add(name string) error {
	t.files = append(t.files, name)
	ext := path.Ext(name)
	if ext != ".go" && ext != ".md" {
		return nil
	}
	text, err := fs.ReadFile(t.fs, name)
	if err != nil {
		return err
	}
	if ext == ".md" {
		t.pages[name] = text
		return nil
	}
	file, err := parser.ParseFile(t.set, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.Go = append(t.Go, &Source{name, text, file})
	return nil
}

// Package is the file's directory, "." for the root.
func (s *Source) Package() string { return path.Dir(s.Path) }

// IsTest says whether only `go test` sees the file.
func (s *Source) IsTest() bool { return strings.HasSuffix(s.Path, "_test.go") }

func (t *Tree) line(n ast.Node) int { return t.set.Position(n.Pos()).Line }

// at makes a finding for a place in a source.
func (t *Tree) at(s *Source, n ast.Node, format string, args ...any) Finding {
	return Finding{s.Path, t.line(n), fmt.Sprintf(format, args...)}
}

// under says whether a package is dir or lies below it.
func under(pkg, dir string) bool {
	return pkg == dir || strings.HasPrefix(pkg, dir+"/")
}
