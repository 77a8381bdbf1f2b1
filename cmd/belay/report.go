package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/belay-vm/belay/internal/trace"
	"github.com/belay-vm/belay/internal/trace/picture"
	"github.com/spf13/cobra"
)

func reportVerb(a *app) *cobra.Command {
	var out string
	var histogram bool
	cmd := &cobra.Command{
		Use:   "report FILE",
		Short: "Print and draw a recording",
		Long: `Print the summary of a recording that 'belay trace --record' has written. With --out, draw it as
SVG, too: a heat map of the latencies with the checkpoints in it, the percentiles over time,
and the parts of the mean latency. A name that ends with .svg is one picture with all three
below each other; any other is a directory, which gets one file for each.`,
		Example: `  belay trace report web.trace
  belay trace report web.trace --out web.svg
  belay trace report web.trace --out pictures/`,
		Args: operands("FILE"),
		RunE: run(a, func(_ *cobra.Command, args []string) error {
			return a.report(args[0], out, histogram)
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "picture, or directory for the pictures")
	cmd.Flags().BoolVar(&histogram, "histogram", false, "print the distribution of each part, too")
	return cmd
}

// report prints a recording and draws it where that is asked for.
func (a *app) report(path, out string, histogram bool) error {
	file, err := os.Open(path)
	if err != nil {
		return reason(err)
	}
	defer file.Close()
	story, err := trace.ReadStory(file, picture.Columns)
	var failed *fs.PathError // which names the file itself
	switch {
	case errors.As(err, &failed):
		return reason(err)
	case err != nil:
		return about(path, err)
	}
	drawn, err := drawStory(story, out)
	if err != nil {
		return err
	}
	answer := struct {
		Header   trace.Header  `json:"recording"`
		Summary  trace.Summary `json:"summary"`
		Pictures []string      `json:"pictures"`
	}{story.Header, trace.Summarize(&story.Total, histogram), drawn}
	return a.print(answer, func(w io.Writer) {
		h := story.Header
		fmt.Fprintf(w, "%s, served by process %d, traced from %s\n", h.Volume, h.PID, clock(h.Begun))
		answer.Summary.Print(w, h.Notes)
		for _, name := range drawn {
			fmt.Fprintf(w, "\ndrawn: %s\n", name)
		}
	})
}

// drawStory writes the pictures and returns their names.
func drawStory(s *trace.Story, out string) ([]string, error) {
	drawn := []string{}
	switch {
	case out == "":
		return drawn, nil
	case filepath.Ext(out) == ".svg":
		return append(drawn, out), drawFile(s, out, picture.Names...)
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return nil, reason(err)
	}
	for _, name := range picture.Names {
		path := filepath.Join(out, name+".svg")
		if err := drawFile(s, path, name); err != nil {
			return nil, err
		}
		drawn = append(drawn, path)
	}
	return drawn, nil
}

func drawFile(s *trace.Story, path string, names ...string) error {
	file, err := os.Create(path)
	if err != nil {
		return reason(err)
	}
	return reason(errors.Join(picture.Write(file, s, names...), file.Close()))
}
