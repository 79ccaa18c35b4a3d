package middleware

import (
	"bytes"
	"net/netip"

	"github.com/gofiber/fiber/v2"
)

// ClientAddress notes which address a request comes from. Behind one of the
// trusted proxies that is the last entry of X-Forwarded-For that is not a
// trusted proxy itself: what stands before it was written by the client, who
// may write anything.
func ClientAddress(trusted []netip.Prefix) fiber.Handler {
	isProxy := func(a netip.Addr) bool {
		for _, p := range trusted {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	return func(c *fiber.Ctx) error {
		addr := peer(c)
		if isProxy(addr) {
			hops := bytes.Split(bytes.Join(c.Request().Header.PeekAll(fiber.HeaderXForwardedFor), []byte(",")), []byte(","))
			for i := len(hops) - 1; i >= 0 && isProxy(addr); i-- {
				hop, err := netip.ParseAddr(string(bytes.TrimSpace(hops[i])))
				if err != nil {
					break
				}
				addr = hop.Unmap().WithZone("")
			}
		}
		c.Locals(localAddress, addr)
		return c.Next()
	}
}

// AddressOf gives the address the request comes from: that of the connection
// when [ClientAddress] did not run.
func AddressOf(c *fiber.Ctx) netip.Addr {
	if addr, ok := c.Locals(localAddress).(netip.Addr); ok {
		return addr
	}
	return peer(c)
}

// AddressText is [AddressOf] in words, "" when there is none.
func AddressText(c *fiber.Ctx) string {
	if addr := AddressOf(c); addr.IsValid() {
		return addr.String()
	}
	return ""
}

// peer is the other end of the connection; the zero address when that is no
// network's.
func peer(c *fiber.Ctx) netip.Addr {
	addr, _ := netip.AddrFromSlice(c.Context().RemoteIP())
	return addr.Unmap()
}
