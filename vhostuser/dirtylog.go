package vhostuser

// dirtyLog is a mapped bitmap of dirty guest pages, shared with the front end.
type dirtyLog struct{}

// mapDirtyLog maps the bitmap. The descriptor stays the caller's.
func mapDirtyLog(fd int, size, offset uint64) (*dirtyLog, error) { return &dirtyLog{}, nil }

// close unmaps the bitmap: no queue may hold it any more.
func (l *dirtyLog) close() {}
