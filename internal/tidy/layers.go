package tidy

import (
	"slices"
	"strconv"
	"strings"
)

// layer is a row of the house's plan: a package, or with a trailing slash every package
// below a directory, and what of ours it may import.
type layer struct {
	name string
	may  []string
}

// everything stands for any package of ours that is not for tests only.
const everything = "*"

// layers is the table of docs/ARCHITECTURE.md. Nothing imports sideways.
var layers = []layer{
	{"internal/bio", nil},
	{"internal/park", nil},
	{"internal/uring", []string{"internal/park"}},
	{"internal/aio", []string{"internal/bio", "internal/park", "internal/uring"}},
	{"internal/certtest", nil},
	{"internal/control", []string{"internal/pairview"}},
	{"internal/disktest", []string{"checkpoint", "internal/bio"}},
	{"internal/guard", nil},
	{"internal/hist", nil},
	{"internal/pair", []string{"blk", "vhostuser", "checkpoint", "colo", "mirror", "mirror/witness", "qmp",
		"internal/guard", "internal/pairview", "internal/preflight", "internal/probe"}},
	{"internal/pairview", nil},
	{"internal/preflight", []string{"mirror", "mirror/witness", "qmp", "internal/pairview"}},
	{"internal/probe", nil},
	{"internal/screen", nil},
	{"internal/size", nil},
	{"internal/tidy", nil},
	{"internal/trace", []string{"internal/hist", "internal/screen"}},
	{"internal/trace/picture", []string{"internal/hist", "internal/trace"}},
	{"vhostuser", nil},
	{"vhostuser/vhosttest", nil},
	{"blk", []string{"vhostuser", "internal/bio", "internal/aio", "internal/hist", "internal/probe"}},
	{"checkpoint", []string{"internal/bio", "internal/uring", "internal/aio", "internal/probe"}},
	{"mirror", nil},
	{"mirror/witness", nil},
	{"mirror/witness/witnesstest", nil},
	{"colo", nil},
	{"colo/sim", []string{"colo"}},
	{"qmp", nil},
	{"qmp/qmptest", nil},
	{"bpf", []string{"internal/hist", "internal/probe"}},
	{"bpf/testdata/target", []string{"internal/probe", "internal/uring"}},
	{"cmd/", []string{everything}},
	{"tools/", []string{everything, testSide}},
	{"e2e", []string{"tools/guest", "tools/daemon", "tools/freeze", "tools/pair", "mirror/witness/witnesstest",
		"internal/certtest"}},
}

// testSide packages are imported by tests, tools and each other's, never by the product.
const testSide = "test side"

var testSidePackages = []string{
	"vhostuser/vhosttest", "qmp/qmptest", "internal/disktest", "mirror/witness/witnesstest", "colo/sim",
	"internal/certtest",
}

// vocabulary may be imported by the tests of any package, beside what the package imports.
var vocabulary = []string{"internal/bio", "internal/aio", "internal/uring"}

// Layers finds imports that the plan does not allow, and packages without a place in it.
func Layers(t *Tree) []Finding {
	var found []Finding
	for _, s := range t.Go {
		l, ok := layerOf(s.Package())
		if !ok {
			found = append(found, Finding{s.Path, 0,
				"package " + s.Package() + " has no row in the table of layers (internal/tidy/layers.go)"})
			continue
		}
		for _, spec := range s.AST.Imports {
			target, ours := ourPackage(spec.Path.Value)
			if ours && !l.allows(s, target) {
				found = append(found, t.at(s, spec, "%s may not import %s", s.Package(), target))
			}
		}
	}
	return found
}

func layerOf(pkg string) (layer, bool) {
	i := slices.IndexFunc(layers, func(l layer) bool {
		return l.name == pkg || strings.HasSuffix(l.name, "/") && strings.HasPrefix(pkg+"/", l.name)
	})
	if i < 0 {
		return layer{}, false
	}
	return layers[i], true
}

// ourPackage turns a quoted import path into a directory of this module.
func ourPackage(quoted string) (string, bool) {
	name, err := strconv.Unquote(quoted)
	if err != nil || !under(name, modulePath) {
		return "", false
	}
	if name == modulePath {
		return ".", true
	}
	return strings.TrimPrefix(name, modulePath+"/"), true
}

func (l layer) allows(s *Source, target string) bool {
	if target == s.Package() { // an external test of the package
		return true
	}
	if slices.Contains(testSidePackages, target) {
		return s.IsTest() || slices.Contains(l.may, testSide)
	}
	if s.IsTest() && slices.Contains(vocabulary, target) {
		return true
	}
	return slices.Contains(l.may, everything) || slices.Contains(l.may, target)
}
