// Command walker takes a step for each line that it reads.
package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	for lines, n := bufio.NewScanner(os.Stdin), 1; lines.Scan(); n++ {
		step(n)
	}
}

// step is where the trap is; what it prints says that it was passed. Without room for its stack it
// would be entered twice for one call.
//
//go:noinline
//go:nosplit
func step(n int) { fmt.Println("step", n) }
