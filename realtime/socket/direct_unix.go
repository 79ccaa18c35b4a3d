//go:build unix

package socket

import (
	"net"
	"syscall"
)

const errAgain = syscall.EAGAIN

// directWriter returns a write that takes what fits into the socket's buffer
// and never waits; nil if the connection has no descriptor of its own (TLS).
func directWriter(sock net.Conn) func([]byte) (int, error) {
	sc, ok := sock.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return func(p []byte) (n int, err error) {
		cerr := rc.Write(func(fd uintptr) bool {
			for {
				n, err = syscall.Write(int(fd), p)
				if err != syscall.EINTR {
					return true // one attempt, whatever it gave
				}
			}
		})
		if cerr != nil {
			err = cerr
		}
		return max(n, 0), err
	}
}
