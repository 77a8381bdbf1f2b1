package main

import (
	"fmt"
	"io"

	"github.com/belay-vm/belay/internal/control"
	"github.com/belay-vm/belay/internal/pairview"
	"github.com/spf13/cobra"
)

func statusVerb(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status VOLUME",
		Short: "Show the state of a volume",
		Long: `Show what a volume is, who serves it, where its space is, and what it works on in the
background.`,
		Example: `  belay status /var/lib/belay/web
  belay status /var/lib/belay/web --json`,
		Args:              operands("VOLUME"),
		ValidArgsFunction: volumeArgs,
		RunE: run(a, func(cmd *cobra.Command, args []string) error {
			return a.with(args[0], toRead, func(v control.Volume) error {
				st, err := v.Status(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(st, func(w io.Writer) { printStatus(w, st) })
			})
		}),
	}
}

func printStatus(w io.Writer, st control.Status) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	row("volume", "%s", st.Path)
	row("uuid", "%s", st.UUID)
	row("created", "%s", clock(st.Created))
	row("disk", "%s%s", amount(st.Size), note(st.Checksums, " (data checksums)"))
	if st.Base != "" {
		row("base", "%s", st.Base)
	}
	row("served", "%s", servedBy(st.Server))
	if st.Pair != nil {
		printPair(row, st.Pair)
	}
	if st.Error != "" {
		row("error", "%s", st.Error)
	}
	waiting := fmt.Sprintf(" (%d not retired)", st.Unretired)
	row("checkpoints", "%d%s", st.Points, note(st.Unretired > 0, waiting))
	row("position", "line %d, epoch %d, generation %d", st.Line, st.Epoch, st.Generation)
	row("data", "%s, live and retained, in %s", amount(st.Space.Used), st.Data)
	row("data area", "%s: %s free, %s given up and not free yet", amount(st.Space.Data),
		amount(st.Space.Free), amount(st.Space.Limbo))
	row("on the host", "%s", amount(st.Space.Allocated))
	row("in memory", "%s, %s of it the block map", amount(st.Space.Memory), amount(st.Space.MapMemory))
	row("journal", "%s of %s used", amount(st.Journal.Used), amount(st.Journal.Size))
	row("background", "%s", st.Background)
}

// printPair shows a side of a pair.
func printPair(row func(name, format string, args ...any), p *pairview.Status) {
	row("pair", "%s of %q, %s, generation %d", p.Role, p.Name, p.State, p.Generation)
	if p.Common != "" {
		row("pair's checkpoint", "%s, of %s", p.Common, clock(*p.At))
	}
	if p.Epoch >= 0 && p.Common == "" {
		row("pair's epoch", "%d, %s not arrived", p.Epoch, amount(p.LagBytes))
	}
	if p.Sent != (pairview.Sent{}) {
		row("sent", "%s carried from the data file, %s read", amount(int64(p.Sent.Carried)),
			amount(int64(p.Sent.Read)))
	}
	if p.Sync != nil {
		row("synchronising", "disk %d, %s sent", p.Sync.Disk, amount(int64(p.Sync.Sent)))
	}
	if p.Pause != nil {
		row("last pause", "%.1f ms drain, %.1f ms tail, %.1f ms acknowledgement, %.1f ms QEMU", p.Pause.Drain,
			p.Pause.Tail, p.Pause.Acknowledge, p.Pause.QEMU)
	}
	if p.Problem != "" {
		row("pair's problem", "%s", p.Problem)
	}
	if p.Unguarded != "" {
		row("unguarded", "%s: QEMU would go on if belay was killed", p.Unguarded)
	}
	for _, f := range p.Checks {
		if f.Result == pairview.Missing {
			row("pair lacks", "%s", f)
		}
	}
}

func servedBy(s *control.Serving) string {
	if s == nil {
		return "no"
	}
	front := "no front end"
	if s.Connected {
		front = "front end connected"
	}
	socket := ""
	if s.Socket != "" {
		socket = " on " + s.Socket
	}
	return fmt.Sprintf("by process %d%s since %s, %d queues%s, %s (%s)",
		s.PID, socket, clock(s.Since), s.Queues, note(s.ReadOnly, ", read-only"), front, s.Engine)
}

// note returns the text where it applies and nothing otherwise.
func note(applies bool, text string) string {
	if applies {
		return text
	}
	return ""
}
