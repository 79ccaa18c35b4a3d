package socket

// The codes a socket is closed with. Codes below 4000 are those of RFC 6455 and
// its registry.
const (
	CloseNormal      = 1000
	CloseUnsupported = 1003 // a binary frame
	CloseMalformed   = 1007 // not a frame of the protocol
	CloseTooBig      = 1009 // a frame over the size limit
	CloseInternal    = 1011
	CloseRestart     = 1012 // the node is stopping: connect again at once
	CloseOverloaded  = 1013 // the client did not read
	CloseRevoked     = 4401 // the session ended: sign in before connecting again
	CloseSilent      = 4408 // no heartbeat
	CloseTooMany     = 4429 // far too many messages
)

// maxCloseReason is what a close frame can carry beside its code.
const maxCloseReason = 123

func closeFrame(code int, reason string) []byte {
	if len(reason) > maxCloseReason {
		reason = reason[:maxCloseReason]
	}
	b := appendHeader(nil, opClose, 2+len(reason))
	b = append(b, byte(code>>8), byte(code))
	return append(b, reason...)
}
