// Package trace is what belay trace knows without a kernel: it turns readings of counters that only
// grow into intervals, intervals into figures, pictures in characters and recordings, and reads
// recordings back. Where the readings come from is behind the interface Source.
//
// # Words
//
//	part      a stretch of a request's way: ring, store, device, publication; total is all of them
//	snapshot  what was counted up to a moment
//	interval  the difference of two snapshots, with the events between them
//	key       which requests are counted together: queue, type, class of size
//	event     something that happened at one moment: a checkpoint, a rollback, a flush round
//	outlier   an event, too: one request that took longer than the threshold
//	depth     how many requests were under way on average, by Little's law: the sum of their times,
//	          divided by the time
//
// All durations are nanoseconds, in JSON under names that end with _ns.
package trace
