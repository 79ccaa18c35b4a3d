package auth

import (
	"bytes"
	"time"
)

// AuditHead is the newest link of a chain.
type AuditHead struct {
	Seq  int64
	Hash []byte
}

// LinkFault is what is wrong with a link.
type LinkFault string

// What can be wrong.
const (
	// LinkHash: the entry is not what was recorded.
	LinkHash LinkFault = "hash differs"
	// LinkMissing: there is no entry with this number.
	LinkMissing LinkFault = "number missing"
	// LinkPrevious: the entry does not follow the one before it.
	LinkPrevious LinkFault = "previous hash differs"
	// LinkHead: the chain ends elsewhere than its head says.
	LinkHead LinkFault = "head differs"
)

// BrokenLink is the first link of a chain that does not hold.
type BrokenLink struct {
	Seq   int64
	Fault LinkFault
}

// ChainReport is what reading a chain from its beginning found. The zero report
// stands before the first entry.
type ChainReport struct {
	// Verified is the newest entry up to which every link holds, for keeping
	// elsewhere; its number is how many entries those are.
	Verified AuditHead
	// First and Last are the times of the first and the last of them.
	First, Last time.Time
	// Head is where the chain says that it ends.
	Head AuditHead
	// Broken is the first broken link, nil if none was found.
	Broken *BrokenLink
	// Complete says that the chain was read to its head or its first broken link.
	Complete bool
}

// Holds reports whether the whole chain was read and every link holds.
func (r *ChainReport) Holds() bool { return r.Complete && r.Broken == nil }

// Follow takes the next entry. It reports whether the chain holds so far.
func (r *ChainReport) Follow(e AuditEntry) bool {
	next := r.Verified.Seq + 1
	switch {
	case e.Seq != next:
		return r.broken(next, LinkMissing)
	case !bytes.Equal(e.PrevHash, r.Verified.Hash):
		return r.broken(next, LinkPrevious)
	case !bytes.Equal(e.Hash, e.ChainHash(e.PrevHash)):
		return r.broken(next, LinkHash)
	}
	if r.First.IsZero() {
		r.First = e.At
	}
	r.Last, r.Verified = e.At, AuditHead{Seq: e.Seq, Hash: bytes.Clone(e.Hash)}
	return true
}

// End compares the chain's end with its head, once every entry was followed.
func (r *ChainReport) End() {
	r.Complete = true
	switch {
	case r.Broken != nil:
	case r.Head.Seq > r.Verified.Seq:
		r.broken(r.Verified.Seq+1, LinkMissing)
	case r.Head.Seq < r.Verified.Seq:
		r.broken(r.Head.Seq+1, LinkHead)
	case !bytes.Equal(r.Head.Hash, r.Verified.Hash):
		r.broken(r.Head.Seq, LinkHead)
	}
}

func (r *ChainReport) broken(seq int64, fault LinkFault) bool {
	r.Broken, r.Complete = &BrokenLink{Seq: seq, Fault: fault}, true
	return false
}
