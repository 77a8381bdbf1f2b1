package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// screen prints headings, commands and their output, in colours on a terminal.
type screen struct {
	out     *os.File
	colours bool
	steps   int
}

func newScreen(out *os.File) *screen {
	plain := os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb"
	return &screen{out: out, colours: term.IsTerminal(int(out.Fd())) && !plain}
}

// Terminal attributes (ECMA-48, "select graphic rendition").
const (
	bold  = "1;36"
	faint = "2"
	green = "32"
)

func (s *screen) paint(attribute, text string) string {
	if !s.colours {
		return text
	}
	return "\x1b[" + attribute + "m" + text + "\x1b[0m"
}

func (s *screen) heading(text string) {
	s.steps++
	fmt.Fprintf(s.out, "\n%s\n", s.paint(bold, fmt.Sprintf("%d. %s", s.steps, text)))
}

func (s *screen) command(text string) {
	fmt.Fprintf(s.out, "  %s\n", s.paint(green, "$ "+text))
}

func (s *screen) output(text string) {
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if line != "" {
			fmt.Fprintf(s.out, "    %s\n", line)
		}
	}
}

func (s *screen) text(indent, format string, args ...any) {
	fmt.Fprintf(s.out, "%s%s\n", indent, s.paint(faint, fmt.Sprintf(format, args...)))
}
