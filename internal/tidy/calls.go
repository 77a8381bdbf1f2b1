package tidy

import (
	"go/ast"
	"path"
	"strconv"
	"strings"
)

// place says where a ban holds.
type place int

const (
	product  place = iota // packages of the product, their tests aside
	notMain               // everything but commands and tests
	tests                 // tests
	anywhere              // every file
)

// ban is a call with its replacement. An empty name means the whole package.
type ban struct {
	pkg, name string
	where     place
	instead   string
}

var bans = []ban{
	{"fmt", "Print", product, "write to an io.Writer that the caller gives"},
	{"fmt", "Printf", product, "write to an io.Writer that the caller gives"},
	{"fmt", "Println", product, "write to an io.Writer that the caller gives"},
	{"log", "", anywhere, "take an hclog.Logger from the caller"},
	{"io/ioutil", "", anywhere, "use os and io"},
	{"os", "Exit", notMain, "return an error; commands decide on exit codes"},
	{"time", "Sleep", tests, "wait for the condition itself: a channel, an eventfd, a poll with a limit"},
}

// Calls finds what the house does not use, and says what it uses instead.
func Calls(t *Tree) []Finding {
	var found []Finding
	for _, s := range t.Go {
		names := importNames(s.AST)
		for _, d := range s.AST.Decls {
			panics := mayPanic(s, d)
			ast.Inspect(d, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if b := banned(s, names, n); b != nil {
						found = append(found, t.at(s, n, "%s.%s: %s", path.Base(b.pkg), n.Sel.Name, b.instead))
					}
				case *ast.CallExpr:
					if id, ok := n.Fun.(*ast.Ident); ok && id.Name == "panic" && !panics {
						found = append(found, t.at(s, n, "panic: return a typed error; for what "+
							"no outsider can cause there is a function named invariant"))
					}
				}
				return true
			})
		}
	}
	return found
}

// mayPanic says whether a declaration may: an invariant, a function that recovers (it passes
// on what it did not expect), and test code.
func mayPanic(s *Source, d ast.Decl) bool {
	f, ok := d.(*ast.FuncDecl)
	if s.IsTest() || testOnly(s) || ok && strings.HasPrefix(f.Name.Name, "invariant") {
		return true
	}
	recovers := false
	ast.Inspect(d, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			id, ok := call.Fun.(*ast.Ident)
			recovers = recovers || ok && id.Name == "recover"
		}
		return !recovers
	})
	return recovers
}

// importNames maps the names by which a file knows its imports to their paths.
func importNames(f *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range f.Imports {
		target, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(target)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = target
	}
	return names
}

func banned(s *Source, names map[string]string, sel *ast.SelectorExpr) *ban {
	x, ok := sel.X.(*ast.Ident)
	if !ok {
		return nil
	}
	for i := range bans {
		b := &bans[i]
		if names[x.Name] == b.pkg && (b.name == "" || b.name == sel.Sel.Name) && b.holds(s) {
			return b
		}
	}
	return nil
}

func (b *ban) holds(s *Source) bool {
	main := under(s.Package(), "cmd") || under(s.Package(), "tools")
	switch b.where {
	case tests:
		return s.IsTest()
	case product:
		return !s.IsTest() && !under(s.Package(), "tools")
	case notMain:
		return !s.IsTest() && !main
	default:
		return true
	}
}

// testOnly packages are test code without the name.
func testOnly(s *Source) bool {
	for _, pkg := range testSidePackages {
		if s.Package() == pkg {
			return true
		}
	}
	return false
}
