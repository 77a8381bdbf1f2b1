// Package screen shows one page on a whole terminal and draws it anew whenever it changes.
package screen

import (
	"context"
	"errors"
	"io"
	"strings"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/colorprofile"
)

// Page is what is shown. Its methods are called by one goroutine at a time.
type Page interface {
	// Render returns the page's lines for a terminal of that size.
	Render(width, height int, colored bool) string
	// Press is told of each key but those that end the show: q, escape and ctrl+c.
	Press(key string)
}

// Work feeds a page: it calls change with functions that alter it, until the context ends.
type Work func(ctx context.Context, change func(func())) error

// Show shows the page on the terminal out, with keys from in, while work is under way. It returns
// work's error, after the user has left, the context has ended or work has.
func Show(ctx context.Context, in io.Reader, out io.Writer, page Page, work Work,
	options ...tea.ProgramOption) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	m := &model{page: page, width: 80, height: 24, colored: true}
	options = append([]tea.ProgramOption{tea.WithInput(in), tea.WithOutput(out),
		tea.WithoutSignalHandler()}, options...) // signals end ctx
	program := tea.NewProgram(m, options...)
	done := make(chan error, 1)
	go func() {
		err := work(ctx, func(f func()) { program.Send(changed(f)) })
		program.Quit()
		done <- err
	}()
	_, shown := program.Run()
	stop()
	if err := <-done; err != nil {
		return err
	}
	if errors.Is(shown, tea.ErrInterrupted) {
		return nil
	}
	return shown
}

// Fit makes one text of lines, without what does not fit on a terminal of that size.
func Fit(lines []string, width, height int) string {
	fitting := make([]string, min(len(lines), max(height, 1)))
	for i := range fitting {
		fitting[i] = lipgloss.NewStyle().Inline(true).MaxWidth(width).Render(lines[i])
	}
	return strings.Join(fitting, "\n")
}

// changed alters the page.
type changed func()

// model is the page as bubbletea sees it.
type model struct {
	page          Page
	width, height int
	colored       bool
}

func (m *model) Init() tea.Cmd { return nil }

func (m *model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case changed:
		msg()
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.ColorProfileMsg:
		m.colored = msg.Profile > colorprofile.ASCII
	case tea.KeyPressMsg:
		switch key := msg.String(); key {
		case "q", "esc", "ctrl+c":
			return m, tea.Quit
		default:
			m.page.Press(key)
		}
	}
	return m, nil
}

func (m *model) View() tea.View {
	v := tea.NewView(m.page.Render(m.width, m.height, m.colored))
	v.AltScreen = true
	return v
}
