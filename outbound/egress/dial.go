package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// dialTimeout bounds one attempt at one address.
const dialTimeout = 5 * time.Second

// maxAddresses bounds how many addresses of one name are tried.
const maxAddresses = 4

// Dial connects to host:port. It resolves the name once, refuses it if any of
// its addresses is refused, and connects to an address it has checked, never to
// the name: an answer that changes between two look-ups changes nothing. It ends
// with the client's timeout: net/http does not end it with the request.
func (c *Client) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("reading the target: %w", err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return nil, refused("The port is not valid.")
	}
	if err := checkHost(host); err != nil {
		return nil, err
	}
	targets, err := c.resolve(ctx, host, uint16(port))
	if err != nil {
		return nil, err
	}
	for _, target := range targets {
		if err := c.judge(host, target); err != nil {
			return nil, err
		}
	}
	var failures []error
	dialer := net.Dialer{Timeout: dialTimeout}
	for _, target := range targets[:min(len(targets), maxAddresses)] {
		conn, err := dialer.DialContext(ctx, "tcp", target.String())
		if err == nil {
			return conn, nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fault.Unavailable("The host "+host+" could not be reached.", errors.Join(failures...))
}

func (c *Client) resolve(ctx context.Context, host string, port uint16) ([]netip.AddrPort, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(addr.Unmap(), port)}, nil
	}
	found, err := c.lookup(ctx, host)
	if err == nil && len(found) == 0 {
		err = errors.New("no addresses")
	}
	if err != nil {
		return nil, fault.Unavailable("The host "+host+" could not be found.", err)
	}
	targets := make([]netip.AddrPort, len(found))
	for i, addr := range found {
		targets[i] = netip.AddrPortFrom(addr.Unmap(), port)
	}
	return targets, nil
}

// judge says no to a target. The text names what was asked for, never the
// address a private name leads to.
func (c *Client) judge(host string, target netip.AddrPort) error {
	if c.allow != nil && c.allow(target) {
		return nil
	}
	cause := fmt.Errorf("%w: %s", ErrRefused, target)
	if !Public(target.Addr()) {
		return fault.Forbidden("The host " + host + " is not on the public internet; only public hosts can be reached.").WithCause(cause)
	}
	if target.Port() != 80 && target.Port() != 443 {
		return fault.Forbidden("Only the ports 80 and 443 can be reached.").WithCause(cause)
	}
	return nil
}
