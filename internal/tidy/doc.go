// Package tidy holds the rules of the house that a program can check, and checks them as an
// ordinary test. It reads the checkout's files in-process: a test that asked `go list`
// would be answered from go's cache after a rule was broken.
//
// The rules, each in a file of its own:
//
//	layers.go    who may import whom
//	size.go      lines of a file, lines of a function, columns of a line
//	calls.go     calls that have a better replacement
//	text.go      left-over markers, big files
//	links.go     relative links in Markdown that lead nowhere
//
// A rule is a function from a Tree to its Findings; house_test.go runs all of them on this
// checkout, rules_test.go runs each on small trees that break it.
package tidy
