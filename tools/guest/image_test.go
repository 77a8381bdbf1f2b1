package guest

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestCPIOIsWhatTheKernelReads checks the archive against the format's description, entry
// by entry.
func TestCPIOIsWhatTheKernelReads(t *testing.T) {
	var buf bytes.Buffer
	c := newCPIO(&buf)
	c.file("usr/bin/tool", 0o755, []byte("#!x\n1"))
	c.link("bin", "usr/bin")
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	var names []string
	for p := buf.Bytes(); len(p) > 0; {
		if string(p[:6]) != "070701" {
			t.Fatalf("no header after %v: %q", names, p[:6])
		}
		size, nameLen := field(t, p, 6), field(t, p, 11)
		name := string(p[110 : 110+nameLen-1])
		names = append(names, name)
		body := (110 + nameLen + 3) &^ 3
		if name == "usr/bin/tool" && string(p[body:body+size]) != "#!x\n1" {
			t.Errorf("contents %q", p[body:body+size])
		}
		p = p[min(len(p), (body+size+3)&^3):]
	}
	want := []string{"usr", "usr/bin", "usr/bin/tool", "bin", "TRAILER!!!"}
	if !slices.Equal(names, want) {
		t.Errorf("entries %q, want %q", names, want)
	}
}

// field is number n of a header's hexadecimal fields.
func field(t *testing.T, p []byte, n int) int {
	t.Helper()
	v := 0
	for _, digit := range string(p[6+8*n : 14+8*n]) {
		v = v<<4 | strings.IndexRune("0123456789ABCDEF", digit)
	}
	return v
}

func TestClosureFindsALibraryAndItsLoader(t *testing.T) {
	libs, err := closure([]string{"/bin/sh"})
	if err != nil {
		t.Fatal(err)
	}
	has := func(part string) bool {
		return slices.ContainsFunc(libs, func(lib string) bool { return strings.Contains(lib, part) })
	}
	if !has("libc.so") || !has("ld-linux") {
		t.Errorf("/bin/sh needs %q", libs)
	}
}

func TestScriptsNeedNoLibraries(t *testing.T) {
	path := t.TempDir() + "/script"
	if err := os.WriteFile(path, []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	if libs, err := closure([]string{path}); err != nil || len(libs) != 0 {
		t.Errorf("got %q, %v", libs, err)
	}
}

func TestLibrariesGoBelowUsr(t *testing.T) {
	for path, want := range map[string]string{
		"/lib64/ld-linux-x86-64.so.2":         "usr/lib64/ld-linux-x86-64.so.2",
		"/usr/lib/x86_64-linux-gnu/libc.so.6": "usr/lib/x86_64-linux-gnu/libc.so.6",
		"/usr/lib/x/../libx.so":               "usr/lib/libx.so",
	} {
		if got := libraryName(path); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
}

func TestArgumentsNameEveryDisk(t *testing.T) {
	c, err := Config{Accel: accelTCG, ImageDir: "/x", Args: []string{"-S"}, Disks: []Disk{
		{Socket: "/a", Queues: 2, Packed: true}, {Socket: "/b", ID: "second", QueueSize: 256},
	}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	args := strings.Join(c.arguments(image{"k", "i"}, "/s"), " ")
	for _, want := range []string{
		"socket,id=disk0-socket,path=/a,reconnect=1",
		"vhost-user-blk-pci,id=disk0,chardev=disk0-socket,packed=on,num-queues=2 ",
		"vhost-user-blk-pci,id=second,chardev=second-socket,packed=off,queue-size=256 -S",
		"share=on,size=524296K",
	} {
		if !strings.Contains(args, want) {
			t.Errorf("no %q in %s", want, args)
		}
	}
	if _, err := (Config{Disks: []Disk{{Socket: "/a,b"}}}).withDefaults(); err == nil {
		t.Error("a comma in a path went into QEMU's options")
	}
}

func TestConsoleNoticesAPanicOnce(t *testing.T) {
	panics := 0
	c := &console{onPanic: func() { panics++ }}
	for _, part := range []string{
		strings.Repeat("x\n", 20000), "Kernel panic - not", " syncing: oh\n", "end\n",
	} {
		if _, err := c.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if panics != 1 || len(c.tail) > consoleTail || !strings.HasSuffix(c.lastLines(), "end") {
		t.Errorf("%d panics, %d bytes kept", panics, len(c.tail))
	}
}
