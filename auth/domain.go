package auth

import (
	"context"
	"crypto/subtle"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/heddle/heddle/internal/fault"
)

// Proof says how an organisation proved that a domain is its own.
type Proof string

// The ways to prove a domain.
const (
	ProofDNS      Proof = "dns"      // a TXT record, see [ProveByDNS]
	ProofOperator Proof = "operator" // the operator's command on the server
)

// OrgDomain is an e-mail domain an organisation claims. It places new people
// in the organisation only once proved.
type OrgDomain struct {
	Org    OrgID
	Domain string
	// Token is what the TXT record must carry; it is no secret.
	Token    string
	ProvedBy Proof
	ProvedAt time.Time
}

// Proved reports whether the domain may place people.
func (d OrgDomain) Proved() bool { return d.ProvedBy != "" && !d.ProvedAt.IsZero() }

// TXTRecord is the text that the domain's owner publishes.
func (d OrgDomain) TXTRecord() string { return "heddle-verification=" + d.Token }

//go:embed public_mail_domains.txt
var publicMailList string

// publicMailDomains parses the list once; nothing writes to it afterwards.
var publicMailDomains = sync.OnceValue(func() map[string]bool {
	set := make(map[string]bool)
	for line := range strings.Lines(publicMailList) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			set[line] = true
		}
	}
	return set
})

// PublicMailDomain reports whether anyone can get an address at domain, or at
// a domain above it, so that owning one says nothing about an organisation.
func PublicMailDomain(domain string) bool {
	for domain = asciiLower(domain); domain != ""; _, domain, _ = strings.Cut(domain, ".") {
		if publicMailDomains()[domain] {
			return true
		}
	}
	return false
}

// ClaimDomain makes the claim of an organisation on a domain, with a fresh
// token and not proved yet. Public mail domains can never be claimed; the
// fault says so under the field "domain".
func ClaimDomain(org OrgID, domain string) (OrgDomain, error) {
	name, ok := normalizeDomain(strings.TrimSuffix(strings.TrimSpace(domain), "."))
	if !ok {
		return OrgDomain{}, fault.Invalid("domain", "must be a domain such as example.com")
	}
	if PublicMailDomain(name) {
		return OrgDomain{}, fault.Invalid("domain", "is a public mail service, which no organisation can own")
	}
	return OrgDomain{Org: org, Domain: name, Token: NewToken().Reveal()}, nil
}

// TXTResolver looks up TXT records; [net.Resolver] is one.
type TXTResolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// dnsDeadline bounds one look-up of a domain's TXT records.
const dnsDeadline = 5 * time.Second

// ProveByDNS looks for the claim's record at the domain itself. It returns nil
// when it is there, a conflict fault that shows the record when it is not, and
// an unavailable fault when DNS gave no answer.
func ProveByDNS(ctx context.Context, dns TXTResolver, d OrgDomain) error {
	if d.Token == "" || PublicMailDomain(d.Domain) {
		return fault.Invalid("domain", "cannot be proved")
	}
	ctx, cancel := context.WithTimeout(ctx, dnsDeadline)
	defer cancel()
	// The trailing dot keeps the resolver from trying search domains.
	records, err := dns.LookupTXT(ctx, d.Domain+".")
	var lookup *net.DNSError
	if err != nil && (!errors.As(err, &lookup) || !lookup.IsNotFound) {
		return fault.Unavailable("The name servers of "+d.Domain+" did not answer. Try again later.",
			fmt.Errorf("looking up TXT of %s: %w", d.Domain, err))
	}
	want := []byte(d.TXTRecord())
	for _, r := range records {
		if subtle.ConstantTimeCompare([]byte(strings.TrimSpace(r)), want) == 1 {
			return nil
		}
	}
	return fault.Conflict("No TXT record " + d.TXTRecord() + " at " + d.Domain + " yet. New records can take an hour to be seen.")
}
