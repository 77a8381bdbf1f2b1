package pair

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/belay-vm/belay/qmp"
)

// Card is a network card of the guest whose packets QEMU compares: what the primary's guest says reaches
// the world when the secondary's says the same, or at the next checkpoint. So nobody is told what a
// takeover would forget.
type Card struct {
	Netdev string // QEMU's id of what the card is connected to
	Port   int    // the first of two TCP ports on the secondary's host
}

// ParseCard reads NETDEV=PORT.
func ParseCard(s string) (Card, error) {
	netdev, text, ok := strings.Cut(s, "=")
	port, err := strconv.Atoi(text)
	switch {
	case !ok || err != nil || port < 1 || port > 65534:
		return Card{}, fmt.Errorf("want NETDEV=PORT, with a port up to 65534, not %q", s)
	case !wellFormed(netdev):
		return Card{}, fmt.Errorf("%q is no id of QEMU's", netdev)
	}
	return Card{netdev, port}, nil
}

// wellFormed is QEMU's rule for ids (util/id.c), and no longer than a socket's path has room for.
func wellFormed(id string) bool {
	for i, r := range id {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789-._", r)) {
			return false
		}
	}
	return id != "" && len(id) <= 32
}

// cards makes and removes what QEMU needs to compare packets, as its guide says (docs/COLO-FT.txt). All
// of it has names of ours, by which it is found again, whoever made it.
//
// On the primary, seen from the guest's end of the wire:
//
//	from the world  mirror copies a packet to the secondary
//	to the world    held takes it off the wire, and compare has it until it may go on by released
//
// On the secondary, whose own connection to the world is shut by the wall until it takes over:
//
//	to the guest    copied puts the primary's packets in
//	from the guest  told sends what it says to compare
//	both            rewrite makes the sequence numbers of TCP those of the primary. It stays after a
//	                takeover, for the connections that have lived through it
//
// QEMU switches off what is on the secondary, but for rewrite, when it leaves COLO.
type cards struct {
	list  []Card
	local string // beginning of the paths of sockets within one QEMU
	log   hclog.Logger

	mu    sync.Mutex
	stage cardStage
}

// cardStage is how far a primary's cards are.
type cardStage int

const (
	cardsOff       cardStage = iota // packets go straight
	cardsConnected                  // the streams stand
	cardsCompared                   // packets are held back
)

// The ends of our names in QEMU; a name begins with belay- and the card's. Objects are listed in the
// order of their removal.
const rewriteName = "rewrite"

var (
	cardObjects = []string{"compare", "thread", "mirror", "released", "held", "told", "copied", "wall"}
	cardBetween = []string{"mirror", "theirs", "told", "copied"} // the hosts
	cardWithin  = []string{"back", "front", "out", "in"}         // the primary's QEMU
)

func (c Card) name(end string) string { return "belay-" + c.Netdev + "-" + end }

// address is where the primary's QEMU finds one of the secondary's two streams.
func (c Card) address(host string, second int) string {
	return net.JoinHostPort(host, strconv.Itoa(c.Port+second))
}

// cardTimeout bounds what is done to a QEMU at once, but for connecting.
const cardTimeout = 5 * time.Second

// follow prepares a secondary's QEMU, which waits for its guest. An earlier belay may have done so before.
func (c *cards) follow(ctx context.Context, q *qmp.Client, host string) error {
	if len(c.list) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.clear(ctx, q, append(slices.Clone(cardObjects), rewriteName)); err != nil {
		return err
	}
	for _, card := range c.list {
		wall := map[string]any{"netdev": card.Netdev, "queue": "all", "outdev": card.name("wall")}
		for _, err := range []error{
			q.AddSink(ctx, card.name("wall")),
			q.AddSocket(ctx, card.name("copied"), qmp.SocketChardev{Address: card.address(host, 0), Server: true}),
			q.AddSocket(ctx, card.name("told"), qmp.SocketChardev{Address: card.address(host, 1), Server: true}),
			card.addFilter(ctx, q, "filter-redirector", "wall", wall),
			card.addFilter(ctx, q, "filter-redirector", "copied", map[string]any{
				"queue": "tx", "indev": card.name("copied")}),
			card.addFilter(ctx, q, "filter-redirector", "told", map[string]any{
				"queue": "rx", "outdev": card.name("told")}),
			card.addFilter(ctx, q, "filter-rewriter", rewriteName, map[string]any{"queue": "all"}),
		} {
			if err != nil {
				return fmt.Errorf("card %s: %w", card.Netdev, err)
			}
		}
	}
	return nil
}

// addFilter puts a filter at the end of a card's wire, or where props says.
func (c Card) addFilter(ctx context.Context, q *qmp.Client, kind, name string, props map[string]any) error {
	props["netdev"], props["vnet_hdr_support"] = c.Netdev, true
	return q.AddObject(ctx, kind, c.name(name), props)
}

// connect makes a primary's streams and waits until they stand. Packets go straight on.
func (c *cards) connect(ctx context.Context, q *qmp.Client, host string) error {
	if len(c.list) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, cardTimeout)
	defer cancel()
	if err := c.clear(ctx, q, cardObjects); err != nil {
		return err
	}
	for _, card := range c.list {
		for _, s := range []struct {
			name string
			qmp.SocketChardev
		}{
			{"mirror", qmp.SocketChardev{Address: card.address(host, 0)}},
			{"theirs", qmp.SocketChardev{Address: card.address(host, 1)}},
			{"front", qmp.SocketChardev{Address: c.path(card, "held"), Server: true}},
			{"back", qmp.SocketChardev{Address: c.path(card, "held")}},
			{"in", qmp.SocketChardev{Address: c.path(card, "released"), Server: true}},
			{"out", qmp.SocketChardev{Address: c.path(card, "released")}},
		} {
			if err := q.AddSocket(ctx, card.name(s.name), s.SocketChardev); err != nil {
				return fmt.Errorf("card %s: %w", card.Netdev, err)
			}
		}
	}
	if err := c.awaitStreams(ctx, q, host); err != nil {
		return err
	}
	c.stage = cardsConnected
	return nil
}

func (c *cards) path(card Card, name string) string { return c.local + "." + card.Netdev + "." + name }

// awaitStreams waits until every stream of a primary has its other end.
func (c *cards) awaitStreams(ctx context.Context, q *qmp.Client, host string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		list, err := q.QueryChardevs(ctx)
		if err != nil {
			return err
		}
		missing := slices.IndexFunc(list, func(d qmp.Chardev) bool { return c.isOurs(d.Label) && !d.Connected() })
		if missing < 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the secondary's QEMU does not take packets at %s (%s): has its belay the same --net?",
				host, list[missing].Filename)
		}
	}
}

func (c *cards) isOurs(id string) bool {
	return slices.ContainsFunc(c.list, func(card Card) bool { return strings.HasPrefix(id, card.name("")) })
}

// compare has packets held back from now on, if a primary's streams stand. Nothing that the guest gets
// from its disk after it returns can be told without comparison.
func (c *cards) compare(ctx context.Context, q *qmp.Client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stage != cardsConnected {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, cardTimeout)
	defer cancel()
	present, err := q.QueryObjects(ctx)
	if err != nil {
		return err
	}
	for _, card := range c.list {
		if err := card.compare(ctx, q, slices.Contains(present, card.name(rewriteName))); err != nil {
			return fmt.Errorf("card %s: %w", card.Netdev, err)
		}
	}
	c.stage = cardsCompared
	c.log.Info("packets are compared")
	return nil
}

// compare puts a card's filters in. A rewrite that an earlier life as a secondary left is nearer to the
// guest: what is compared is what the world sees.
func (c Card) compare(ctx context.Context, q *qmp.Client, rewrites bool) error {
	filter := func(kind, name string, props map[string]any) error {
		if rewrites {
			props["insert"], props["position"] = "before", "id="+c.name(rewriteName)
		}
		return c.addFilter(ctx, q, kind, name, props)
	}
	err := filter("filter-mirror", "mirror", map[string]any{"queue": "tx", "outdev": c.name("mirror")})
	if err == nil {
		err = filter("filter-redirector", "released", map[string]any{"queue": "rx", "indev": c.name("in")})
	}
	if err == nil {
		err = filter("filter-redirector", "held", map[string]any{"queue": "rx", "outdev": c.name("front")})
	}
	if err == nil {
		err = q.AddObject(ctx, "iothread", c.name("thread"), nil)
	}
	if err == nil {
		err = q.AddObject(ctx, "colo-compare", c.name("compare"), map[string]any{
			"primary_in": c.name("back"), "secondary_in": c.name("theirs"), "outdev": c.name("out"),
			"iothread": c.name("thread"), "vnet_hdr_support": true})
	}
	return err
}

// yank cuts streams, so that nothing in QEMU waits for their other ends. Packets do not go on by that, if
// only those between the hosts are cut. A stream that is not there, or is cut already, is as well.
func (c *cards) yank(ctx context.Context, q *qmp.Client, names []string) {
	for _, card := range c.list {
		for _, name := range names {
			err := q.YankChardev(ctx, card.name(name))
			var refused *qmp.CommandError
			if err != nil && !errors.As(err, &refused) {
				c.log.Warn("a packet stream cannot be cut", "stream", card.name(name), "error", err)
				return
			}
		}
	}
}

// open lets packets go straight: whatever compares them, or keeps them from the world, is removed.
func (c *cards) open(ctx context.Context, q *qmp.Client) error {
	if len(c.list) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	return c.clear(ctx, q, cardObjects)
}

// clear removes such objects, and all streams. The mutex is held. The streams are cut first: compare gives
// out what it has when it is removed, and QEMU 7.2 would wait for ever if that were more than a socket takes.
func (c *cards) clear(ctx context.Context, q *qmp.Client, names []string) error {
	c.stage = cardsOff
	c.yank(ctx, q, slices.Concat(cardBetween, cardWithin))
	objects, err := q.QueryObjects(ctx)
	if err != nil {
		return err
	}
	for _, card := range c.list {
		for _, name := range names {
			if slices.Contains(objects, card.name(name)) {
				err = errors.Join(err, q.RemoveObject(ctx, card.name(name)))
			}
		}
	}
	streams, failed := q.QueryChardevs(ctx)
	err = errors.Join(err, failed)
	for _, d := range streams {
		if c.isOurs(d.Label) {
			err = errors.Join(err, q.RemoveChardev(ctx, d.Label))
		}
	}
	return err
}
