package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

// options are the command line's.
type options struct {
	belay   string
	command string
	dir     string
	rounds  int
	queues  int
	packed  bool
	guest   bool
	fresh   bool
	seed    uint64
}

// maxQueues keeps the requests' buffers within the front end's memory.
const maxQueues = 16

func main() {
	var o options
	flag.StringVar(&o.belay, "belay", "bin/belay", "the binary under test")
	flag.StringVar(&o.command, "command", "",
		"another backend's command line, with {volume}, {socket} and {queues} in it")
	flag.StringVar(&o.dir, "dir", "", "where to put the volume (default: the system's temporary directory)")
	flag.IntVar(&o.rounds, "rounds", 10, "how often to kill")
	flag.IntVar(&o.queues, "queues", 2, "number of queues")
	flag.BoolVar(&o.packed, "packed", false, "use packed rings")
	flag.BoolVar(&o.guest, "guest", false, "let a QEMU guest make the load")
	flag.BoolVar(&o.fresh, "fresh", false, "always come back with a new front end")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano())&0xffffffff, "what the choices are drawn from")
	flag.Parse()
	if flag.NArg() != 0 || o.rounds < 1 || o.queues < 1 || o.queues > maxQueues {
		fmt.Fprintln(os.Stderr, "crashtest: bad arguments")
		flag.Usage()
		os.Exit(2)
	}
	fmt.Printf("crashtest: seed %d, %d rounds, %d queues, packed %v, guest %v\n",
		o.seed, o.rounds, o.queues, o.packed, o.guest)
	run := runLoop
	if o.guest {
		run = runGuest
	}
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "crashtest: FAILED with seed", o.seed)
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
