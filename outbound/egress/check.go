package egress

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/heddle/heddle/internal/fault"
)

// ErrRefused is the cause of every refusal by a rule of this package. The
// refusal itself is a forbidden fault whose text may be shown.
var ErrRefused = errors.New("refused by the rules for outbound requests")

func refused(public string) error {
	return fault.Forbidden(public).WithCause(ErrRefused)
}

// maxURL bounds an address, in bytes.
const maxURL = 2000

// CheckURL reports whether an address is one to try at all: http or https, a
// host, no user name. Where its host leads is decided by the dialer alone, so
// two parsers that read a URL differently cannot disagree about the target.
func CheckURL(u *url.URL) error {
	switch {
	case u == nil:
		return refused("There is no address.")
	case len(u.String()) > maxURL:
		return refused("The address is too long.")
	case u.Scheme != "http" && u.Scheme != "https":
		return refused("Only http and https addresses can be reached.")
	case u.Opaque != "" || u.Hostname() == "":
		return refused("The address names no host.")
	case u.User != nil:
		return refused("The address must not hold a user name or password.")
	}
	return checkHost(u.Hostname())
}

// Check refuses an address as far as that is known without asking where its name
// leads: as [CheckURL] does and, of a host that is an address itself, by the rules
// of the dialer, which has the last word on all others.
func (c *Client) Check(u *url.URL) error {
	if err := CheckURL(u); err != nil {
		return err
	}
	port := uint64(443)
	if u.Scheme == "http" {
		port = 80
	}
	if text := u.Port(); text != "" {
		var err error
		if port, err = strconv.ParseUint(text, 10, 16); err != nil || port == 0 {
			return refused("The port is not valid.")
		}
	}
	host := u.Hostname()
	var refusal error
	for _, addr := range literal(host) {
		if refusal = c.judge(host, netip.AddrPortFrom(addr.Unmap(), uint16(port))); refusal == nil {
			return nil
		}
	}
	return refusal
}

// literal gives the addresses that a host is by its spelling alone: none for a
// name, but for localhost (RFC 6761).
func literal(host string) []netip.Addr {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
	}
	return nil
}

// checkHost refuses what is neither a plain name nor an address in its usual
// form: some resolvers read 2130706433, 0x7f.1 or 0177.0.0.1 as 127.0.0.1.
func checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return refused("The address must not name a network interface.")
		}
		return nil
	}
	name := strings.TrimSuffix(host, ".")
	if name == "" || len(name) > 253 {
		return refused("The host’s name is not valid.")
	}
	for _, r := range name {
		if r <= ' ' || r == 0x7f || strings.ContainsRune(`/\%@:?#[]<>^|"`+"`{}", r) {
			return refused("The host’s name is not valid.")
		}
	}
	if last := name[strings.LastIndexByte(name, '.')+1:]; numeric(last) {
		return refused("The host is a number in an unusual form.")
	}
	return nil
}

// numeric reports whether a label, as the last of a name, makes browsers and
// some resolvers read the whole name as an IPv4 address.
func numeric(label string) bool {
	digits, set := label, "0123456789"
	if hex, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		digits, set = hex, "0123456789abcdef"
	}
	return strings.Trim(digits, set) == ""
}
