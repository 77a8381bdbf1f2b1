package main

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	dir := flag.String("dir", "", "an empty directory on the disk, or one to be made")
	every := flag.Duration("every", 50*time.Millisecond, "from one round to the next")
	files := flag.Int("files", 4, "how many files")
	blocks := flag.Int("blocks", 16, "blocks of each file")
	flag.Parse()
	if *dir == "" || *files < 1 || *blocks < 1 {
		flag.Usage()
		os.Exit(2)
	}
	l, err := open(*dir, os.Stdout, *files, *blocks)
	if err == nil {
		err = l.run(*every)
	}
	if err != nil {
		fmt.Printf("ledger: FAIL %v\n", err)
		os.Exit(1)
	}
	if l.fails > 0 {
		os.Exit(1)
	}
}

// run goes from round to round until SIGTERM.
func (l *ledger) run(every time.Duration) error {
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := l.round(); err != nil {
				return err
			}
		case <-end:
			if err := l.everything(); err != nil {
				return err
			}
			l.say("end, %d rounds, %d failures", l.rounds, l.fails)
			return nil
		}
	}
}
