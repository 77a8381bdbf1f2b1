package main

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"os"
)

func main() {
	file := flag.String("file", "", "where the records are")
	listen := flag.String("listen", ":7", "address to be called at")
	flag.Parse()
	if *file == "" {
		flag.Usage()
		os.Exit(2)
	}
	fmt.Println("clerk:", run(*file, *listen))
	os.Exit(1)
}

// run takes records until that cannot go on, and says why.
func run(file, listen string) error {
	r, err := openRecords(file)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", listen)
	if err != nil {
		return err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go r.serve(c)
	}
}

// serve answers a client until either has enough.
func (r *records) serve(c net.Conn) {
	defer c.Close()
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		text, more := r.answer(lines.Text())
		if _, err := fmt.Fprintln(c, text); err != nil || !more {
			return
		}
	}
}
