package tidy

import (
	"os"
	"testing"
)

// TestHouse holds this checkout to the rules.
func TestHouse(t *testing.T) {
	tree, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.Go) < 10 {
		t.Fatalf("only %d Go files were found: this is not the checkout", len(tree.Go))
	}
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			found, err := rule(tree)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				t.Error(f)
			}
		})
	}
}

var rules = map[string]func(*Tree) ([]Finding, error){
	"layers":    always(Layers),
	"files":     always(Files),
	"functions": always(Functions),
	"lines":     always(Lines),
	"calls":     always(Calls),
	"markers":   Markers,
	"blobs":     Blobs,
	"links":     always(Links),
}

// always gives a rule that reads nothing more the shape of one that does.
func always(rule func(*Tree) []Finding) func(*Tree) ([]Finding, error) {
	return func(t *Tree) ([]Finding, error) { return rule(t), nil }
}
