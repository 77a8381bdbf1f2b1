package aio

// fifo is a queue that keeps its memory: once it has been as long as it gets, nothing is allocated.
type fifo[T any] struct {
	items []T
	head  int // items[:head] were taken
}

func newFifo[T any](size int) fifo[T] { return fifo[T]{items: make([]T, 0, size)} }

func (q *fifo[T]) len() int { return len(q.items) - q.head }

func (q *fifo[T]) push(item T) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		n := copy(q.items, q.items[q.head:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, item)
}

// front is the oldest item; the queue must not be empty.
func (q *fifo[T]) front() *T { return &q.items[q.head] }

// drop takes n items from the front.
func (q *fifo[T]) drop(n int) {
	q.head += n
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
}

// take moves items from the front to out, as many as fit.
func (q *fifo[T]) take(out []T) int {
	n := copy(out, q.items[q.head:])
	q.drop(n)
	return n
}
