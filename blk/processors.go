package blk

import (
	"runtime"
	"sync"
)

// processors counts the workers' threads into GOMAXPROCS: a worker keeps its processor while it
// waits for the device (package park), and everybody else needs the others.
var processors processorCount

type processorCount struct{ mu sync.Mutex }

// add gives the process more processors, or takes some back.
func (p *processorCount) add(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}
