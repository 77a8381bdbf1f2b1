package checkpoint

import (
	"encoding/binary"
	"errors"
	"io"
	"time"
)

// pairName is a file that is there while the volume belongs to a pair.
const pairName = "pair"

// Limits and offsets of a copy of the pair file.
const (
	pairLen     = 512 // a sector: it is never torn
	pairGap     = 4096
	maxPairName = 128
	maxPairWhy  = 256

	prID         = 16
	prPeer       = 32
	prSequence   = 48
	prGeneration = 56
	prTime       = 64
	prRole       = 72
	prFlags      = 76
	prCommon     = 80
	prNameLen    = 84
	prWhyLen     = 86
	prEpoch      = 88
	prName       = 96
	prWhy        = prName + maxPairName
	prEnd        = prWhy + maxPairWhy
)

// Flags of a pair record.
const (
	pairSyncing uint32 = 1 << iota
	pairPoisoned
)

// pairRecord is what the pair file holds, twice. A change writes both copies, one after the other.
type pairRecord struct {
	id       [16]byte // of the volume
	sequence uint64   // of records: 1, 2, ...
	PairState
}

// pairOffset is where the record with a sequence number goes.
func pairOffset(sequence uint64) int64 { return int64(sequence%2) * pairGap }

// encodePair returns a copy. The texts are within their limits.
func encodePair(r *pairRecord) []byte {
	le := binary.LittleEndian
	p := make([]byte, pairLen)
	copy(p[prID:], r.id[:])
	copy(p[prPeer:], r.Peer[:])
	le.PutUint64(p[prSequence:], r.sequence)
	le.PutUint64(p[prGeneration:], r.Generation)
	le.PutUint64(p[prTime:], uint64(r.Changed.UnixNano()))
	le.PutUint32(p[prRole:], uint32(r.Role))
	flags := uint32(0)
	if r.Syncing {
		flags |= pairSyncing
	}
	if r.Poisoned {
		flags |= pairPoisoned
	}
	le.PutUint32(p[prFlags:], flags)
	le.PutUint32(p[prCommon:], r.Common)
	le.PutUint16(p[prNameLen:], uint16(len(r.Pair)))
	le.PutUint16(p[prWhyLen:], uint16(len(r.Why)))
	le.PutUint64(p[prEpoch:], r.Epoch)
	copy(p[prName:prWhy], r.Pair)
	copy(p[prWhy:prEnd], r.Why)
	sealHeader(p, magicPair, saltPair)
	return p
}

// decodePair decodes and validates the copy at byte off of the file.
func decodePair(p []byte, off int64) (*pairRecord, error) {
	if len(p) != pairLen {
		return nil, corrupt(pairName, off, "length", len(p), pairLen)
	}
	if err := checkHeader(p, pairName, off, magicPair, saltPair); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	r := &pairRecord{sequence: le.Uint64(p[prSequence:])}
	r.Generation, r.Role = le.Uint64(p[prGeneration:]), Role(le.Uint32(p[prRole:]))
	r.Changed = time.Unix(0, int64(le.Uint64(p[prTime:]))).UTC()
	flags := le.Uint32(p[prFlags:])
	r.Syncing, r.Poisoned = flags&pairSyncing != 0, flags&pairPoisoned != 0
	r.Common, r.Epoch = le.Uint32(p[prCommon:]), le.Uint64(p[prEpoch:])
	copy(r.id[:], p[prID:])
	copy(r.Peer[:], p[prPeer:])
	name, why := le.Uint16(p[prNameLen:]), le.Uint16(p[prWhyLen:])
	bad := func(at int64, what string, found, want any) error {
		return corrupt(pairName, off+at, what, found, want)
	}
	switch {
	case r.sequence == 0 || pairOffset(r.sequence) != off:
		return nil, bad(prSequence, "sequence", r.sequence, "that of this copy's parity")
	case r.Role != RolePrimary && r.Role != RoleSecondary:
		return nil, bad(prRole, "role", uint32(r.Role), "1 or 2")
	case flags&^(pairSyncing|pairPoisoned) != 0:
		return nil, bad(prFlags, "flags", flags, "known flags")
	case r.Common > maxEpoch:
		return nil, bad(prCommon, "common point", r.Common, "at most 2^28-1")
	case name == 0 || name > maxPairName:
		return nil, bad(prNameLen, "length of the pair's name", name, "1 to 128")
	case why > maxPairWhy:
		return nil, bad(prWhyLen, "length of the reason", why, "at most 256")
	}
	r.Pair, r.Why = string(p[prName:prName+name]), string(p[prWhy:prWhy+why])
	return r, errors.Join(checkZero(p[prName+name:prWhy], pairName, off+prName+int64(name)),
		checkZero(p[prWhy+why:], pairName, off+prWhy+int64(why)))
}

// readPair returns the newest valid copy; nil where none was written yet, because who made the file
// did not come to the end of it.
func readPair(f File) (*pairRecord, error) {
	var best *pairRecord
	var damage error
	for off := range int64(2) {
		p := make([]byte, pairLen)
		if _, err := f.ReadAt(p, off*pairGap); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if allZero(p) < 0 {
			continue
		}
		r, err := decodePair(p, off*pairGap)
		if err != nil {
			damage = err
			continue
		}
		if best == nil || r.sequence > best.sequence {
			best = r
		}
	}
	if best == nil {
		return nil, damage
	}
	return best, nil
}
