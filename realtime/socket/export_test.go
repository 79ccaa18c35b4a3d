package socket

// DecodeAndEcho decodes a frame and encodes a reply to it.
func DecodeAndEcho(data []byte) (topic, event string, echo []byte, err error) {
	f, err := decodeFrame(data)
	if err != nil {
		return "", "", nil, err
	}
	e := entry{head: f.joinRef, tail: encodeTail(f.ref, f.topic, f.event, f.payload)}
	b := e.appendTo(nil)
	return f.topic, f.event, b[len(appendHeader(nil, opText, 1+len(e.head)+len(e.tail))):], nil
}
