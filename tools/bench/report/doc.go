// Package report is what a run of `make bench` found: the raw samples with the machine they
// come from, their judgement, and the ways to show them: table, plot, JSON, and two results
// side by side. It starts nothing and measures nothing.
//
//	result.go    the result and its file
//	stats.go     quantiles, paired ratios
//	judge.go     targets against samples
//	table.go     one result as text
//	compare.go   two results as text
//	newest.go    which two
//	plot.go      one result as a picture
//	describe.go  where and of what a run is
//
// # Glossary
//
//	row       a workload in a placement, with everything that is measured under it
//	entry     one of the things measured in a row: a back end, or a program beside it
//	round     every entry of a row once, in an order that rotates from round to round
//	sample    what one entry showed in one round
//	A/A       the ratio of an entry to a second measurement of itself in the same round: what
//	          the machine makes of no difference at all
//	figure    a number about the store itself, which its own tests measure
package report
