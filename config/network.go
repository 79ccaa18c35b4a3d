package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// EgressRule lets tools reach one private network on one port.
type EgressRule struct {
	Net  netip.Prefix
	Port uint16 // 0 means every port
}

// Allows reports whether the rule covers the target.
func (r EgressRule) Allows(target netip.AddrPort) bool {
	return r.Net.Contains(target.Addr().Unmap()) && (r.Port == 0 || r.Port == target.Port())
}

// String returns the rule as it is written.
func (r EgressRule) String() string {
	port := "*"
	if r.Port != 0 {
		port = strconv.Itoa(int(r.Port))
	}
	return r.Net.String() + ":" + port
}

// EgressRules is a list of rules, separated by commas; the word "none" is an
// empty list, which differs from the default in development.
type EgressRules []EgressRule

// UnmarshalText reads the list; its error names the entry.
func (rs *EgressRules) UnmarshalText(text []byte) error {
	*rs = nil
	if strings.TrimSpace(string(text)) == "none" {
		return nil
	}
	for _, entry := range items(string(text)) {
		at := strings.LastIndexByte(entry, ':')
		if at < 0 || !strings.Contains(entry[:at], "/") {
			return fmt.Errorf("%q is not CIDR:port, such as 10.1.0.0/16:443 or 10.1.0.7/32:*", entry)
		}
		prefix, err := netip.ParsePrefix(entry[:at])
		if err != nil {
			return fmt.Errorf("%q: %q is not a network in CIDR notation", entry, entry[:at])
		}
		rule := EgressRule{Net: prefix.Masked()}
		if port := entry[at+1:]; port != "*" {
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil || n == 0 {
				return fmt.Errorf("%q: the port must be 1 to 65535 or *", entry)
			}
			rule.Port = uint16(n)
		}
		*rs = append(*rs, rule)
	}
	return nil
}

// String returns the list as it is written.
func (rs EgressRules) String() string { return joined(rs) }

// Prefixes is a list of networks; a bare address is a network of one.
type Prefixes []netip.Prefix

// UnmarshalText reads the list; its error names the entry.
func (ps *Prefixes) UnmarshalText(text []byte) error {
	*ps = nil
	for _, entry := range items(string(text)) {
		if addr, err := netip.ParseAddr(entry); err == nil {
			*ps = append(*ps, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(entry)
		if err != nil {
			return fmt.Errorf("%q is neither an IP address nor a network in CIDR notation", entry)
		}
		*ps = append(*ps, prefix.Masked())
	}
	return nil
}

// String returns the list as it is written.
func (ps Prefixes) String() string { return joined(ps) }

// Origin is scheme, host and, unless it is the scheme's own, port.
type Origin string

// String returns the origin as a browser sends it.
func (o Origin) String() string { return string(o) }

// Origins is a list of web origins, each in the form a browser sends.
type Origins []Origin

// UnmarshalText reads the list; its error names the entry.
func (list *Origins) UnmarshalText(text []byte) error {
	*list = nil
	for _, entry := range items(string(text)) {
		origin, err := parseOrigin(entry)
		if err != nil {
			return err
		}
		*list = append(*list, origin)
	}
	return nil
}

// String returns the list as it is written.
func (list Origins) String() string { return joined(list) }

// parseOrigin accepts an http or https URL of nothing but a host and port and
// returns it in the form browsers use: lower case, no default port.
func parseOrigin(text string) (Origin, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return "", fmt.Errorf("%q is not an origin such as https://heddle.example.org", text)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return "", fmt.Errorf("%q must be an origin alone: no path, query or user name", text)
	}
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "80" && u.Scheme == "http" || port == "443" && u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return Origin(u.Scheme + "://" + host), nil
}

// LocalURL returns the origin under which a browser on this machine reaches a
// server that listens on addr, as in http://localhost:8080. It is what
// HEDDLE_BASE_URL means in development when unset; a server that listened on
// port 0 calls it again with the port it got. It is empty for a bad addr.
func LocalURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = "localhost"
	}
	if port == "80" {
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return "http://" + host
	}
	return "http://" + net.JoinHostPort(host, port)
}

// loopback reports whether host is this machine: localhost or an address of
// the loopback networks.
func loopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// items splits a list at commas and drops blanks.
func items(text string) []string {
	var list []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

func joined[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, item := range list {
		texts[i] = item.String()
	}
	return strings.Join(texts, ",")
}
