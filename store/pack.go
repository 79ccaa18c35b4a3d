package store

import (
	"bytes"
	_ "embed" // the dictionary
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/flate"

	"github.com/heddle/heddle/agents"
)

// The log keeps envelopes that are appended together as one row, compressed
// against a dictionary: most of an envelope is the same text each time. It is
// read back byte for byte.
//
// A pack is one byte, the version of its form, and DEFLATE (RFC 1951) of the
// bodies, each on a line of its own, in which the ids of thread and run are one
// byte each. Those bytes, like line feeds, never stand in JSON.
const (
	packVersion = 1
	threadMark  = "\x01"
	runMark     = "\x02"
)

// dictionary is what version 1 is compressed against, with <thread> and <run> for
// the marks. It must never change: what is stored is read with it. A better one is
// a new version.
//
//go:embed pack.dict
var dictionary string

// packers bounds how many compressors are kept for the next pack: each holds
// about a megabyte.
const packers = 4

// packLevel: beyond it packs of a few envelopes do not get smaller, only slower.
const packLevel = 6

// maxUnpacked bounds what one row may unpack to; a run hands at most 500
// envelopes to the log at once.
const maxUnpacked = 256 << 20

// packs compresses and reads rows of the log. Safe for concurrent use.
type packs struct {
	dictionary []byte
	free       chan *packer
}

type packer struct {
	buffer bytes.Buffer
	writer *flate.Writer
}

func newPacks() *packs {
	marked := strings.NewReplacer("<thread>", threadMark, "<run>", runMark).Replace(dictionary)
	return &packs{dictionary: []byte(marked), free: make(chan *packer, packers)}
}

// pack makes one row of bodies that belong to a thread and a run.
func (p *packs) pack(thread, run string, bodies []string) ([]byte, error) {
	var c *packer
	select {
	case c = <-p.free:
	default:
		c = &packer{}
		var err error
		if c.writer, err = flate.NewWriterDict(io.Discard, packLevel, p.dictionary); err != nil {
			return nil, fmt.Errorf("making a compressor: %w", err)
		}
	}
	c.buffer.Reset()
	c.buffer.WriteByte(packVersion)
	c.writer.Reset(&c.buffer)
	marks := marksOf(thread, run)
	for i, body := range bodies {
		if i > 0 {
			body = "\n" + body
		}
		if _, err := marks.WriteString(c.writer, body); err != nil {
			return nil, fmt.Errorf("compressing envelopes: %w", err)
		}
	}
	if err := c.writer.Close(); err != nil {
		return nil, fmt.Errorf("compressing envelopes: %w", err)
	}
	out := bytes.Clone(c.buffer.Bytes())
	select {
	case p.free <- c:
	default: // enough are kept
	}
	return out, nil
}

// marksOf puts marks in place of ids.
func marksOf(thread, run string) *strings.Replacer {
	if run == "" {
		return strings.NewReplacer(thread, threadMark)
	}
	return strings.NewReplacer(thread, threadMark, run, runMark)
}

// unpack gives the bodies of a row.
func (p *packs) unpack(thread, run string, packed []byte) ([]string, error) {
	if len(packed) == 0 || packed[0] != packVersion {
		return nil, errors.New("reading a row of the log: it is of a form that this version does not know")
	}
	r := flate.NewReaderDict(bytes.NewReader(packed[1:]), p.dictionary)
	raw, err := io.ReadAll(io.LimitReader(r, maxUnpacked))
	if err != nil {
		return nil, fmt.Errorf("reading a row of the log: %w", err)
	}
	text := strings.NewReplacer(threadMark, thread, runMark, run).Replace(string(raw))
	return strings.Split(text, "\n"), nil
}

// logRow is a row of the log as it is stored: a pack, or one body of those that
// were written before there were packs.
type logRow struct {
	Seq, From int64
	RunID     *string
	Type      *string
	Body      *string
	Pack      []byte
}

// unfold gives the rows that watchers know, after a number.
func (p *packs) unfold(r logRow, thread string, after int64) ([]agents.LogRow, error) {
	if r.Body != nil {
		return []agents.LogRow{{Seq: r.Seq, From: r.From, Type: *r.Type, Body: *r.Body}}, nil
	}
	run := ""
	if r.RunID != nil {
		run = *r.RunID
	}
	bodies, err := p.unpack(thread, run, r.Pack)
	if err != nil {
		return nil, err
	}
	if int64(len(bodies)) != r.Seq-r.From+1 {
		return nil, fmt.Errorf("reading a row of the log: numbers %d to %d have %d envelopes", r.From, r.Seq, len(bodies))
	}
	var out []agents.LogRow
	for i, body := range bodies {
		if seq := r.From + int64(i); seq > after {
			out = append(out, agents.LogRow{Seq: seq, From: seq, Type: typeOf(body), Body: body})
		}
	}
	return out, nil
}

// typeOf reads the type off the beginning of a body, where it always stands.
func typeOf(body string) string {
	rest, ok := strings.CutPrefix(body, `{"type":"`)
	if !ok {
		return ""
	}
	kind, _, _ := strings.Cut(rest, `"`)
	return kind
}
