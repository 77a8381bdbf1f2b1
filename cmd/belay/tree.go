package main

import (
	"slices"

	"github.com/belay-vm/belay/internal/control"
)

// treeRow is one line of the drawn history.
type treeRow struct {
	art   string // what is drawn before the checkpoint
	point control.Point
	now   bool // the row is the state of now, and point is not set
}

// node is a checkpoint with what follows it directly.
type node struct {
	point    control.Point
	children []*node // ascending by number
	now      bool    // the disk's present state follows from here
	main     bool    // on the way to the present state
}

// tree lays a history out for printing: the way from the first checkpoint to now straight down,
// and whatever else follows a checkpoint as branches beside it.
func tree(h control.History) []treeRow {
	root := grow(h)
	var rows []treeRow
	draw(root, "", &rows)
	return rows
}

// grow links the checkpoints to a tree. Its root stands for the empty beginning.
func grow(h control.History) *node {
	lines := map[uint32]control.Line{}
	current := uint32(0)
	for _, l := range h.Lines {
		lines[l.ID] = l
		if l.Current {
			current = l.ID
		}
	}
	g := grower{lines: lines, points: slices.Clone(h.Points), root: &node{}, nodes: map[uint32]*node{}}
	slices.SortFunc(g.points, func(a, b control.Point) int { return int(int64(a.ID) - int64(b.ID)) })
	for _, p := range g.points {
		n := &node{point: p}
		parent := g.before(p.Line, p.ID)
		parent.children = append(parent.children, n)
		g.nodes[p.ID] = n
	}
	tip := g.before(current, ^uint32(0))
	tip.now = true
	markMain(g.root)
	return g.root
}

type grower struct {
	lines  map[uint32]control.Line
	points []control.Point // ascending by number
	root   *node
	nodes  map[uint32]*node // of the points linked so far
}

// before returns the newest linked checkpoint below the number on the way that ends on line.
// Checkpoints on that way that were deleted are passed over.
func (g *grower) before(line, number uint32) *node {
	for range len(g.lines) + 1 {
		for _, p := range slices.Backward(g.points) {
			if n := g.nodes[p.ID]; n != nil && p.Line == line && p.ID < number {
				return n
			}
		}
		parent := g.lines[line].Parent
		if n := g.nodes[parent]; n != nil {
			return n
		}
		if parent == 0 {
			break
		}
		// The point where the line began is gone: look for what came before it, on the line
		// that was the current one then.
		line, number = g.lineOf(parent), parent
	}
	return g.root
}

// lineOf returns the line that a deleted point was on. Lines follow each other in time, so it
// is the line of the nearest point before it.
func (g *grower) lineOf(number uint32) uint32 {
	for _, p := range slices.Backward(g.points) {
		if p.ID < number {
			return p.Line
		}
	}
	return 0
}

func markMain(n *node) bool {
	n.main = n.now
	for _, c := range n.children {
		if markMain(c) {
			n.main = true
		}
	}
	return n.main
}

// draw prints what follows n: side branches first, each with its own stem, then the one child
// that goes on straight down.
func draw(n *node, stem string, rows *[]treeRow) {
	side, straight := split(n)
	for i, c := range side {
		mark, below := "├─ ", "│  "
		if i == len(side)-1 && straight == nil && !n.now {
			mark, below = "└─ ", "   "
		}
		*rows = append(*rows, treeRow{art: stem + mark, point: c.point})
		draw(c, stem+below, rows)
	}
	if n.now {
		*rows = append(*rows, treeRow{art: stem + "* ", now: true})
	}
	if straight != nil {
		*rows = append(*rows, treeRow{art: stem, point: straight.point})
		draw(straight, stem, rows)
	}
}

// split separates the child that continues n from the branches beside it: the one on the way to
// now, else the one on n's own line.
func split(n *node) (side []*node, straight *node) {
	for _, c := range n.children {
		switch {
		case c.main, straight == nil && !n.main && !n.now && c.point.Line == n.point.Line:
			straight = c
		default:
			side = append(side, c)
		}
	}
	return side, straight
}
