package tidy

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)(?:\s+"[^"]*")?\)`)
	code    = regexp.MustCompile("`[^`]*`")
	scheme  = regexp.MustCompile(`^[a-z][a-z0-9+.-]*:`)
	heading = regexp.MustCompile(`^#+\s+(.*?)\s*#*$`)
)

// Links finds relative links in Markdown whose file, or heading in it, is not there.
func Links(t *Tree) []Finding {
	var found []Finding
	for _, name := range t.files {
		text, ok := t.pages[name]
		if !ok {
			continue
		}
		for i, line := range proseLines(string(text)) {
			for _, m := range link.FindAllStringSubmatch(line, -1) {
				if why := t.follow(name, m[1]); why != "" {
					found = append(found, Finding{name, i + 1, fmt.Sprintf("link to %s: %s", m[1], why)})
				}
			}
		}
	}
	return found
}

// proseLines are a page's lines, with those of code made empty.
func proseLines(text string) []string {
	lines := strings.Split(text, "\n")
	fenced := false
	for i, line := range lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if fence {
			fenced = !fenced
		}
		if fenced || fence {
			lines[i] = ""
			continue
		}
		lines[i] = code.ReplaceAllString(line, "")
	}
	return lines
}

// follow says why a link leads nowhere; empty if it leads somewhere, or out of the checkout.
func (t *Tree) follow(from, target string) string {
	if scheme.MatchString(target) {
		return ""
	}
	file, anchor, _ := strings.Cut(target, "#")
	name := from
	if file != "" {
		name = path.Join(path.Dir(from), file)
		if _, err := fs.Stat(t.fs, name); err != nil {
			return "no such file"
		}
	}
	if page, ok := t.pages[name]; ok && anchor != "" && !slices.Contains(anchors(string(page)), anchor) {
		return "no such heading"
	}
	return ""
}

// anchors are the names that GitHub gives to a page's headings.
func anchors(text string) []string {
	var names []string
	for _, line := range strings.Split(text, "\n") {
		m := heading.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		names = append(names, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return names
}
