package tidy

import (
	"strings"
	"testing"
	"testing/fstest"
)

// TestRules gives each rule a tree of one or two files and counts what it finds.
func TestRules(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	for _, c := range []struct {
		name  string
		rule  string
		files map[string]string
		finds []string // a part of each finding
	}{
		{"downward import", "layers", goFile("blk/a.go", importing("vhostuser")), nil},
		{"upward import", "layers", goFile("vhostuser/a.go", importing("blk")),
			[]string{"vhostuser/a.go:3: vhostuser may not import blk"}},
		{"sideways import", "layers", goFile("checkpoint/a.go", importing("vhostuser")),
			[]string{"may not import vhostuser"}},
		{"test side from a test", "layers", goFile("blk/a_test.go", importing("vhostuser/vhosttest")), nil},
		{"test side from a tool", "layers", goFile("tools/x/a.go", importing("vhostuser/vhosttest")), nil},
		{"test side from the product", "layers", goFile("cmd/belay/a.go", importing("vhostuser/vhosttest")),
			[]string{"may not import"}},
		{"unplanned package", "layers", goFile("util/a.go", ""),
			[]string{"no row"}},
		{"foreign imports are free", "layers", goFile("blk/a.go", `import _ "fmt"`), nil},

		{"short file", "files", goFile("blk/a.go", strings.Repeat("\n", maxFile-10)), nil},
		{"long file", "files", goFile("blk/a.go", strings.Repeat("\n", maxFile)),
			[]string{"at most 500"}},
		{"long test", "files", goFile("blk/a_test.go", strings.Repeat("\n", maxFile)), nil},
		{"very long test", "files", goFile("blk/a_test.go", strings.Repeat("\n", maxTestFile)),
			[]string{"at most 800"}},

		{"short function", "functions",
			goFile("blk/a.go", "func f() {"+strings.Repeat("\n", maxFunction-1)+"}"), nil},
		{"long function", "functions", goFile("blk/a.go", "func f() {"+strings.Repeat("\n", maxFunction)+"}"),
			[]string{"blk/a.go:3: f has 71 lines"}},

		{"wide line", "lines", goFile("blk/a.go", "// "+long),
			[]string{"blk/a.go:3: 113 columns"}},
		{"address", "lines", goFile("blk/a.go", "// https://"+long), nil},
		{"runes, not bytes", "lines", goFile("blk/a.go", "// "+strings.Repeat("ü", maxLine-3)), nil},

		{"print", "calls", goFile("blk/a.go", using("fmt")+"func f() { fmt.Println() }"),
			[]string{"io.Writer"}},
		{"print in a tool", "calls", goFile("tools/x/a.go", using("fmt")+"func f() { fmt.Println() }"), nil},
		{"log under another name", "calls", goFile("blk/a.go", "import l \"log\"\nfunc f() { l.Fatal() }"),
			[]string{"hclog"}},
		{"a method of that name", "calls", goFile("blk/a.go", "func f(log t) { log.Fatal() }"), nil},
		{"exit", "calls", goFile("blk/a.go", using("os")+"func f() { os.Exit(1) }"),
			[]string{"return an error"}},
		{"exit of a command", "calls", goFile("cmd/belay/a.go", using("os")+"func f() { os.Exit(1) }"), nil},
		{"sleep in a test", "calls", goFile("blk/a_test.go", using("time")+"func f() { time.Sleep(1) }"),
			[]string{"condition"}},
		{"panic", "calls", goFile("blk/a.go", "func f() { panic(1) }"),
			[]string{"typed error"}},
		{"passing a panic on", "calls", goFile("blk/a.go", "func f() { panic(recover()) }"), nil},
		{"invariant", "calls", goFile("blk/a.go", "func invariant(ok bool) { if !ok { panic(1) } }"), nil},

		{"marker", "markers", map[string]string{"Makefile": "all:\n# TO" + "DO later\n"},
			[]string{"Makefile:2"}},
		{"marker with an issue", "markers", map[string]string{"a.md": "TO" + "DO(#12)"}, nil},
		{"part of a word", "markers", map[string]string{"a.md": "HA" + "CKNEY"}, nil},

		{"blob", "blobs", map[string]string{"x.bin": strings.Repeat("x", maxBlob+1)},
			[]string{"at most"}},
		{"built things", "blobs", map[string]string{"build/x.bin": strings.Repeat("x", maxBlob+1)}, nil},

		{"good links", "links", map[string]string{
			"docs/a.md": "[b](b.md#the-way-in) [r](../README.md) [w](https://x/y)",
			"docs/b.md": "## The way in", "README.md": "",
		}, nil},
		{"dead file", "links", map[string]string{"a.md": "\n[b](b.md)"},
			[]string{"a.md:2: link to b.md: no such file"}},
		{"dead heading", "links", map[string]string{"a.md": "# One\n[b](#two)"},
			[]string{"no such heading"}},
		{"code is no link", "links", map[string]string{"a.md": "`[b](b.md)`\n```\n[b](b.md)\n```\n"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, c.rule, c.files, c.finds) })
	}
}

// importing is the import of a package of ours, using that of another's.
func importing(pkg string) string { return using(modulePath + "/" + pkg) }
func using(pkg string) string     { return "import \"" + pkg + "\"\n" }

// goFile is a tree of one Go file; body begins in its third line.
func goFile(name, body string) map[string]string {
	return map[string]string{name: "package p\n\n" + body + "\n"}
}

func expect(t *testing.T, rule string, files map[string]string, want []string) {
	t.Helper()
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	tree, err := Load(root)
	if err != nil {
		t.Fatal(err)
	}
	found, err := rules[rule](tree)
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != len(want) {
		t.Fatalf("found %v, want %q", found, want)
	}
	for i, f := range found {
		if !strings.Contains(f.String(), want[i]) {
			t.Errorf("found %q, want %q", f, want[i])
		}
	}
}
