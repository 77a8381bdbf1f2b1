//go:build nobpf

package main

import "errors"

// A program built with the tag nobpf has no eBPF in it: nothing that it does needs any.

var errNoBPF = errors.New("missing: eBPF in this program (it was built with the tag nobpf); " +
	"belay top and /metrics work without it")

func attach(traced, *traceOptions) (attached, error) { return nil, errNoBPF }

func unpin(string) error { return errNoBPF }

func pinDir(string) string { return "" }

func sharedCounters(string, int) (m counterMemory, note string, err error) { return m, "", errNoBPF }
