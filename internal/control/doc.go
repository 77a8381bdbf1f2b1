// Package control is how a person or a program speaks with a volume that is being served:
// HTTP and JSON over the UNIX socket control.sock in the volume's directory.
//
//	curl --unix-socket VOLUME/control.sock http://belay/v1/status
//
// The package has two halves. A Server offers a Volume to that socket; a Client reaches one
// through it, and is a Volume itself. A verb of the command line therefore does not care
// whether the volume is served by another process or was opened by itself: it speaks to a
// Volume, and gets the same answers and the same errors from both.
//
// # Paths of version 1
//
//	GET  /v1/status                                   Status
//	GET  /v1/checkpoints                              History
//	POST /v1/start       {"name":"..."}               Point
//	POST /v1/retire                                   Point
//	POST /v1/checkpoint  {"name":"..."}               Point
//	POST /v1/rollback    {"to":"..."} or {"undo":true}  Rollback
//	POST /v1/delete      {"checkpoint":"..."}         Point
//	POST /v1/resize      {"size":n,"force":false}     Resized
//	POST /v1/failover                                 {}
//	POST /v1/reprotect   {"peer":"...","migrate_uri":"..."}  {}
//	POST /v1/verify-pair                              PairReport
//	POST /v1/check                                    JSON lines, see below
//	GET  /v1/export?at=CHECKPOINT                     pieces, see stream.go
//	GET  /v1/load                                     Load
//	GET  /v1/dump?json=false                          text or JSON lines, see below
//	GET  /metrics                                     Prometheus text
//
// A failure is an HTTP error status with the body {"error":{"code":"...","message":"..."}}.
// The code is for machines and never changes its meaning; the message is the line that a
// person reads. A long operation answers 200 at once and streams JSON lines: any number of
// {"progress":{"done":n,"total":n}}, then one {"result":...} or {"error":...}. A stream
// without that last line was cut off and is a failure. A dump that fails after its first line
// says so in the trailer field Belay-Error, as JSON.
//
// # Words
//
// A checkpoint is named by its number or its name wherever a string says "checkpoint", "to"
// or "at". Names are never all digits, so the two cannot be confused.
//
// The package knows no store and no device: they are given to it as interfaces, so that a
// change in either cannot change what is spoken here unnoticed.
package control
