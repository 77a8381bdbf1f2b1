package pair

// rule is one thing that a pair insists on, beside those of package colo, because of its disks. They exist
// as names so that the simulation can leave one out and show that it is needed; a product never does.
type rule uint

const (
	// ruleDropOwn: a load drops what the secondary's guest wrote itself.
	ruleDropOwn rule = 1 << iota
	// ruleDropStaged: who takes over drops what is staged.
	ruleDropStaged
	// ruleSyncFirst: who takes over makes the disks durable before the guest runs on.
	ruleSyncFirst
	// ruleClaimDurable: a generation that was won is durable before anybody counts on it.
	ruleClaimDurable
	// ruleMarkSyncing: a disk that is being synchronised says so, durably.
	ruleMarkSyncing
	// ruleAllChanged: everything that changed since a common checkpoint is sent.
	ruleAllChanged
	// ruleOwnLine: only checkpoints of the current line are common ones.
	ruleOwnLine
	// ruleFreshMarks: no two runs have marks of one generation.
	ruleFreshMarks
	// ruleWholePlan: a synchronisation goes on in another session only if all of it is known.
	ruleWholePlan
)
