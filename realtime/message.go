package realtime

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
)

// channelPrefix stands before the topic in the name of a Redis channel.
const channelPrefix = "heddle:"

// Message is one thing said on a topic.
type Message struct {
	// Event names the frame clients see, such as "envelope" or "notice". No
	// spaces.
	Event string
	// Seq is the message's number in the topic's log; 0 marks a notice, which
	// is not in the log, may be lost, and is never replayed.
	Seq int64
	// From is the first number a compacted message covers; 0 means Seq alone.
	From int64
	// Epoch names the incarnation of the log that gave the number; "" for a
	// notice. No spaces.
	Epoch string
	// Payload is one JSON value, passed on byte for byte. Nobody changes it.
	Payload []byte
}

// First is the first number the message covers.
func (m Message) First() int64 {
	if m.From > 0 {
		return m.From
	}
	return m.Seq
}

// Position is a place in a log: everything up to Seq of the log's incarnation
// Epoch has been seen.
type Position struct {
	Seq   int64
	Epoch string
}

// check reports a message that could not be told apart again on the wire.
func (m Message) check() error {
	switch {
	case m.Event == "" || strings.ContainsAny(m.Event, " \r\n"):
		return fmt.Errorf("message event %q: must be one word", m.Event)
	case strings.ContainsAny(m.Epoch, " \r\n"):
		return fmt.Errorf("message epoch %q: must be one word", m.Epoch)
	case m.Seq < 0 || m.From < 0 || m.From > m.Seq:
		return fmt.Errorf("message numbers %d-%d: must be positive and ascending", m.From, m.Seq)
	case m.Seq > 0 && m.Epoch == "":
		return fmt.Errorf("message %d: a numbered message needs an epoch", m.Seq)
	}
	return nil
}

// bundled begins a body that holds several messages, and no event.
const bundled = '*'

// maxBundle is about how long a body gets that holds several messages, in bytes:
// what tells of a step fits, and no subscriber has to take a step of any size at once.
const maxBundle = 64 << 10

// bundles makes bodies of messages, in their order: one of its own for a message, or
// "*" and, for each, LENGTH SP and the message. Redis and every node that hears
// handle a body at once, however many messages it holds.
func bundles(ms []Message) [][]byte {
	var out [][]byte
	for len(ms) > 0 {
		n, size := 0, 0
		for n < len(ms) && (n == 0 || size+ms[n].size() <= maxBundle) {
			size += ms[n].size()
			n++
		}
		if n == 1 {
			out = append(out, ms[0].encode(make([]byte, 0, size)))
		} else {
			body := append(make([]byte, 0, size+8*n), bundled)
			var one []byte
			for _, m := range ms[:n] {
				one = m.encode(one[:0])
				body = strconv.AppendInt(body, int64(len(one)), 10)
				body = append(append(body, ' '), one...)
			}
			out = append(out, body)
		}
		ms = ms[n:]
	}
	return out
}

// unbundle is the reverse of bundles for one body. The payloads are parts of body.
func unbundle(body []byte) ([]Message, error) {
	if len(body) == 0 || body[0] != bundled {
		m, err := decode(body)
		return []Message{m}, err
	}
	var out []Message
	for rest := body[1:]; len(rest) > 0; {
		length, after, ok := bytes.Cut(rest, []byte{' '})
		n, err := strconv.Atoi(string(length))
		if !ok || err != nil || n < 0 || n > len(after) {
			return out, fmt.Errorf("message %d of a bundle of %d bytes: its length is not readable", len(out)+1, len(body))
		}
		m, err := decode(after[:n])
		if err != nil {
			return out, err
		}
		out, rest = append(out, m), after[n:]
	}
	return out, nil
}

// size is about how long the message is when encoded.
func (m Message) size() int { return len(m.Event) + len(m.Epoch) + len(m.Payload) + 24 }

// encode appends EVENT SP SEQ SP EPOCH SP PAYLOAD. SEQ is "from-to" for a
// compacted message; a notice has 0 and the epoch "-".
func (m Message) encode(b []byte) []byte {
	b = append(b, m.Event...)
	b = append(b, ' ')
	if m.From > 0 && m.From != m.Seq {
		b = strconv.AppendInt(b, m.From, 10)
		b = append(b, '-')
	}
	b = strconv.AppendInt(b, m.Seq, 10)
	b = append(b, ' ')
	if m.Seq == 0 {
		b = append(b, '-')
	} else {
		b = append(b, m.Epoch...)
	}
	b = append(b, ' ')
	return append(b, m.Payload...)
}

// decode is the reverse of encode. The result's payload is a part of body.
func decode(body []byte) (Message, error) {
	event, rest, ok1 := bytes.Cut(body, []byte{' '})
	number, rest, ok2 := bytes.Cut(rest, []byte{' '})
	epoch, payload, ok3 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 || !ok3 {
		return Message{}, fmt.Errorf("message of %d bytes: four parts expected", len(body))
	}
	m := Message{Event: string(event), Payload: payload}
	from, to, ranged := strings.Cut(string(number), "-")
	if !ranged {
		from, to = "0", from
	}
	var err error
	if m.From, err = strconv.ParseInt(from, 10, 64); err != nil {
		return Message{}, fmt.Errorf("message number: %w", err)
	}
	if m.Seq, err = strconv.ParseInt(to, 10, 64); err != nil {
		return Message{}, fmt.Errorf("message number: %w", err)
	}
	if m.Seq > 0 {
		m.Epoch = string(epoch)
	}
	return m, m.check()
}

// Delivery is one message on its way to every watcher of this node, with the
// encodings they share.
type Delivery struct {
	Message
	encoded atomic.Pointer[encoding]
}

type encoding struct {
	key  string
	data []byte
	next *encoding
}

// Encoded returns what encode makes of the message under key, made once for
// all watchers that ask with the same key. Nobody may change the result. Safe
// for concurrent use.
func (d *Delivery) Encoded(key string, encode func(key string, m *Message) []byte) []byte {
	first := d.encoded.Load()
	for e := first; e != nil; e = e.next {
		if e.key == key {
			return e.data
		}
	}
	made := &encoding{key: key, data: encode(key, &d.Message), next: first}
	d.encoded.CompareAndSwap(first, made)
	return made.data
}
