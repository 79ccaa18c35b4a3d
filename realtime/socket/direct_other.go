//go:build !unix

package socket

import (
	"errors"
	"net"
)

var errAgain = errors.New("no room")

// directWriter has no way to write without blocking here.
func directWriter(net.Conn) func([]byte) (int, error) { return nil }
