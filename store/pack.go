package store

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"strings"

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

// packDictionary is what version 1 is compressed against. It must never change:
// what is stored is read with it. A better one is a new version.
const packDictionary = `{"type":"MESSAGES_SNAPSHOT","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","data":{"messages":[]}}
{"type":"CUSTOM","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","data":{"name":"review.decided","value":{"review_id":"","tool_call_id":"","status":"approved","by":"","text":"","args":{},"resumed_by":""}}}
{"type":"CUSTOM","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":3,"node":"tools","data":{"name":"review.requested","value":{"interrupt_id":"","kind":"review","node":"tools","value":{"action_requests":[{"name":"","args":{},"description":""}],"review_configs":[{"action_name":"","allowed_decisions":["approve","edit","reject","respond"]}]},"reviews":[{"review_id":"","tool_call_id":"","tool":"","reason":"","rule":"","due_at":""}]}}}
{"type":"CUSTOM","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","data":{"name":"message.queued","value":{"run_id":"` + runMark + `","ahead":0,"messages":[{"id":"019a","role":"user","text":"","author":"019a","run_id":"` + runMark + `","created_at":"2026-01-02T03:04:05.678901234Z"}],"assistant":"Heddle guide","title":""}}}
{"type":"RUN_ERROR","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"data":{"message":"","code":"node_failed","node":"agent"}}
{"type":"RUN_STARTED","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":1,"data":{"threadId":"` + threadMark + `","runId":"` + runMark + `","messageIds":["019a"],"assistantId":"","assistantVersion":1,"graph":"chat","line":"","model":"mock","memory":["items"],"graphHash":"","configHash":""}}
{"type":"TOOL_CALL_START","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"node":"agent","data":{"toolCallId":"call_","toolCallName":"","parentMessageId":"019a"}}
{"type":"TOOL_CALL_ARGS","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"node":"agent","data":{"toolCallId":"call_","delta":"{}"}}
{"type":"TOOL_CALL_END","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"node":"agent","data":{"toolCallId":"call_"}}
{"type":"TOOL_CALL_RESULT","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":3,"node":"tools","data":{"messageId":"","toolCallId":"call_","name":"","content":"","role":"tool","summary":"","durationMs":1}}
{"type":"CUSTOM","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"node":"agent","data":{"name":"usage","value":{"message_id":"019a","model":"mock","input_tokens":10,"output_tokens":10,"duration_ms":1}}}
{"type":"TEXT_MESSAGE_START","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"node":"agent","data":{"messageId":"019a","role":"assistant"}}
{"type":"TEXT_MESSAGE_CONTENT","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"node":"agent","data":{"messageId":"019a","delta":" the and of to "}}
{"type":"TEXT_MESSAGE_END","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"node":"agent","data":{"messageId":"019a","durationMs":1}}
{"type":"RUN_FINISHED","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"data":{"threadId":"` + threadMark + `","runId":"` + runMark + `","outcome":"success"}}
{"type":"STEP_STARTED","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"node":"agent","data":{"stepName":"agent"}}
{"type":"STEP_FINISHED","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"node":"agent","data":{"stepName":"agent"}}
{"type":"CUSTOM","ts":"2026-01-02T03:04:05.678Z","thread_id":"` + threadMark + `","run_id":"` + runMark + `","attempt":1,"step":2,"data":{"name":"checkpoint","value":{"step":2,"source":"loop","next":["agent"]}}}
`

// packers bounds how many compressors are kept for the next pack: each holds
// about a megabyte.
const packers = 4

// maxUnpacked bounds what one row may unpack to; a run hands at most 500
// envelopes to the log at once.
const maxUnpacked = 256 << 20

// packs compresses and reads rows of the log. Safe for concurrent use.
type packs struct{ free chan *packer }

type packer struct {
	buffer bytes.Buffer
	writer *flate.Writer
}

func newPacks() *packs { return &packs{free: make(chan *packer, packers)} }

// pack makes one row of bodies that belong to a thread and a run.
func (p *packs) pack(thread, run string, bodies []string) ([]byte, error) {
	var c *packer
	select {
	case c = <-p.free:
	default:
		c = &packer{}
		var err error
		if c.writer, err = flate.NewWriterDict(io.Discard, flate.BestCompression, []byte(packDictionary)); err != nil {
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
func unpack(thread, run string, packed []byte) ([]string, error) {
	if len(packed) == 0 || packed[0] != packVersion {
		return nil, errors.New("reading a row of the log: it is of a form that this version does not know")
	}
	r := flate.NewReaderDict(bytes.NewReader(packed[1:]), []byte(packDictionary))
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
func (r logRow) unfold(thread string, after int64) ([]agents.LogRow, error) {
	if r.Body != nil {
		return []agents.LogRow{{Seq: r.Seq, From: r.From, Type: *r.Type, Body: *r.Body}}, nil
	}
	run := ""
	if r.RunID != nil {
		run = *r.RunID
	}
	bodies, err := unpack(thread, run, r.Pack)
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
