package api

import "bytes"

// again makes the frame of a piece of text from the bytes of its envelope, where
// the envelope before was a piece of the same node: most of what a model streams
// is like that, and reading it as JSON would cost more than all the rest. The bytes
// are of our own writing (event.Envelope.Body); what looks different is read the
// slow way.
type again struct {
	// head is what stands between the run and the data of the last piece, name the
	// event of its frame, meta its metadata.
	head, meta []byte
	name       string
	out        [1]frame
}

var (
	textType  = []byte(`"type":"TEXT_MESSAGE_CONTENT"`)
	textData  = []byte(`,"data":{"messageId":`)
	textDelta = []byte(`,"delta":`)
	dataEnd   = []byte(`}}`)
	runName   = []byte(`"run_id":"`)
)

// pieceParts takes a piece apart: what its head says, its message and its text, the
// latter two as JSON.
func pieceParts(payload []byte) (head, message, delta []byte, ok bool) {
	front := payload[:min(len(payload), 2000)]
	kind, run := bytes.Index(front, textType), bytes.Index(front, runName)
	data := bytes.Index(front, textData)
	if kind < 0 || run < kind || data < run || !bytes.HasSuffix(payload, dataEnd) {
		return nil, nil, nil, false
	}
	rest := payload[data+len(textData) : len(payload)-len(dataEnd)]
	end := bytes.Index(rest[:min(len(rest), 300)], textDelta)
	if end < 0 || end < 2 || bytes.IndexByte(rest[1:end-1], '\\') >= 0 {
		return nil, nil, nil, false
	}
	return payload[run:data], rest[:end], rest[end+len(textDelta):], true
}

// note remembers a piece that was projected the slow way.
func (a *again) note(p *projector, payload []byte, made []frame) {
	a.head = a.head[:0]
	if len(made) != 1 || made[0].mode != modeTuple || p.modes.any(modeMessages, modeEvents) {
		return
	}
	if head, _, _, ok := pieceParts(payload); ok && p.words.meta.raw != nil {
		a.head, a.meta, a.name = append(a.head, head...), p.words.meta.raw, made[0].event
	}
}

// piece gives the frame of a piece like the last one.
func (a *again) piece(p *projector, payload []byte) ([]frame, bool) {
	if len(a.head) == 0 || p.quiet {
		return nil, false
	}
	head, message, delta, ok := pieceParts(payload)
	if !ok || !bytes.Equal(head, a.head) {
		return nil, false
	}
	p.words.of(string(message[1 : len(message)-1]))
	a.out[0] = frame{mode: modeTuple, event: a.name, data: tuple(message, delta, "", a.meta)}
	return a.out[:], true
}
