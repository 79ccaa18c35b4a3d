package socket

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/heddle/heddle/realtime"
)

// Events of the Phoenix protocol.
const (
	eventJoin      = "phx_join"
	eventLeave     = "phx_leave"
	eventReply     = "phx_reply"
	eventError     = "phx_error"
	eventClose     = "phx_close"
	eventHeartbeat = "heartbeat"
	// eventLag tells that frames of a topic were dropped.
	eventLag = "lag"

	topicPhoenix = "phoenix"
)

// Longest names a client may send, in bytes.
const (
	maxRef   = 64
	maxTopic = 256
	maxEvent = 64
)

// frame is what a client sent: [join_ref, ref, topic, event, payload]. The refs
// stay JSON, since they are only ever sent back.
type frame struct {
	joinRef json.RawMessage
	ref     json.RawMessage
	topic   string
	event   string
	payload json.RawMessage
}

var null = json.RawMessage("null")

// decodeFrame reads one text frame. The payload must be an object.
func decodeFrame(data []byte) (frame, error) {
	var parts []json.RawMessage
	if !utf8.Valid(data) {
		return frame{}, errors.New("frame: must be UTF-8")
	}
	if err := json.Unmarshal(data, &parts); err != nil {
		return frame{}, errors.New("frame: must be a JSON array")
	}
	if len(parts) != 5 {
		return frame{}, fmt.Errorf("frame: must have 5 elements, has %d", len(parts))
	}
	f := frame{payload: parts[4]}
	var err error
	if f.joinRef, err = decodeRef("join_ref", parts[0]); err != nil {
		return frame{}, err
	}
	if f.ref, err = decodeRef("ref", parts[1]); err != nil {
		return frame{}, err
	}
	if f.topic, err = decodeName("topic", parts[2], maxTopic); err != nil {
		return frame{}, err
	}
	if f.event, err = decodeName("event", parts[3], maxEvent); err != nil {
		return frame{}, err
	}
	return f, nil
}

// decodeRef accepts null, a string or an integer.
func decodeRef(name string, raw json.RawMessage) (json.RawMessage, error) {
	if len(raw) > maxRef {
		return nil, fmt.Errorf("%s: must have at most %d bytes", name, maxRef)
	}
	switch c := raw[0]; {
	case c == '"', bytes.Equal(raw, null), c == '-', c >= '0' && c <= '9':
		return raw, nil
	}
	return nil, fmt.Errorf("%s: must be a string or null", name)
}

func decodeName(name string, raw json.RawMessage, most int) (string, error) {
	if raw[0] != '"' {
		return "", fmt.Errorf("%s: must be a string", name)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil || s == "" || len(s) > most {
		return "", fmt.Errorf("%s: must have 1 to %d bytes", name, most)
	}
	return s, nil
}

// tail encodes what follows the join_ref of a message to wire topic; it is the
// same for every socket that joined under that name.
func tail(topic string, m *realtime.Message) []byte {
	return encodeTail(null, topic, m.Event, m.Payload)
}

// encodeTail builds `,ref,"topic","event",payload]`. The payload is spliced in
// byte for byte.
func encodeTail(ref json.RawMessage, topic, event string, payload []byte) []byte {
	name := quote(topic)
	ev := quote(event)
	b := make([]byte, 0, len(ref)+len(name)+len(ev)+len(payload)+5)
	b = append(b, ',')
	b = append(b, ref...)
	b = append(b, ',')
	b = append(b, name...)
	b = append(b, ',')
	b = append(b, ev...)
	b = append(b, ',')
	b = append(b, payload...)
	return append(b, ']')
}

func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`) // a string always encodes
	}
	return b
}

// reply is the payload of phx_reply.
type reply struct {
	Status   string `json:"status"`
	Response any    `json:"response"`
}

// Opcodes of RFC 6455, section 5.2, with the final bit.
const (
	opText  = 0x81
	opClose = 0x88
	opPong  = 0x8a
)

// appendHeader begins an unmasked server frame of n bytes.
func appendHeader(b []byte, op byte, n int) []byte {
	b = append(b, op)
	switch {
	case n < 126:
		return append(b, byte(n))
	case n < 1<<16:
		return append(b, 126, byte(n>>8), byte(n))
	}
	b = append(b, 127)
	for shift := 56; shift >= 0; shift -= 8 {
		b = append(b, byte(uint64(n)>>shift))
	}
	return b
}
