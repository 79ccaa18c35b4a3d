package auth

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/internal/fault"
)

func TestNormalizeEmailLowersTheDomainAndKeepsTheRest(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"ada@acme.test":        "ada@acme.test",
		" Ada@ACME.Test ":      "Ada@acme.test",
		"a.b+c@x-y.example.io": "a.b+c@x-y.example.io",
		"o'neil@acme.test":     "o'neil@acme.test",
	} {
		got, ok := NormalizeEmail(in)
		require.True(t, ok, in)
		require.Equal(t, want, got)
	}
	for _, in := range []string{
		"", "@", "ada", "ada@", "@acme.test", "ada@acme", "ada@acme..test", "ada@-acme.test", "ada@acme-.test",
		"ada@127.0.0.1", "ada@[127.0.0.1]", "ada@acme.test.", "a b@acme.test", "a\nb@acme.test", "a@b@acme.test",
		`"a"@acme.test`, "ada@acmé.test", "adá@acme.test", ".a@acme.test", "a.@acme.test", "a..b@acme.test",
		"ada@acme.test\x00", "ada@acme.test,gus@globex.test", strings.Repeat("a", 65) + "@acme.test",
		"a@" + strings.Repeat("a.", 130) + "test", "ada<x>@acme.test", "ada@\u212aacme.test",
	} {
		_, ok := NormalizeEmail(in)
		require.False(t, ok, "%q", in)
	}
}

func TestSameEmailIgnoresAsciiCaseOnly(t *testing.T) {
	t.Parallel()
	require.True(t, SameEmail("Ada@acme.test", "aDA@acme.test"))
	require.False(t, SameEmail("kim@acme.test", "\u212aim@acme.test"))
	require.False(t, SameEmail("", ""))
}

func TestProfileGivesNoFactWithoutVerification(t *testing.T) {
	t.Parallel()
	p := Profile{Email: "ada@acme.test"}
	require.Empty(t, p.VerifiedEmail())
	require.Empty(t, p.VerifiedDomain())
	p.EmailVerified = true
	require.Equal(t, "acme.test", p.VerifiedDomain())
}

func TestCleanNameDropsWhatCouldMislead(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Ada Lovelace", CleanName("  Ada\u202e \n\tLovelace\u200b\x00 "))
	require.Len(t, []rune(CleanName(strings.Repeat("é", 500))), MaxNameLength)
	require.Equal(t, "a", CleanName("a\xff"))
}

func TestPublicMailDomainsCannotBeClaimed(t *testing.T) {
	t.Parallel()
	for _, d := range []string{"gmail.com", "GMail.com", "eu.outlook.com", "users.noreply.github.com", "proton.me."} {
		_, err := ClaimDomain("o", d)
		require.Equal(t, fault.KindInvalid, fault.KindOf(err), d)
		require.Contains(t, fault.FieldsOf(err)["domain"], "public mail service", d)
	}
	for _, d := range []string{"", "test", "acme..test", "10.0.0.1", "https://acme.test", "acme.test/x", "@acme.test"} {
		_, err := ClaimDomain("o", d)
		require.Contains(t, fault.FieldsOf(err)["domain"], "must be a domain", d)
	}
	require.False(t, PublicMailDomain("acme.test"))
	require.False(t, PublicMailDomain("notgmail.com"))
	require.False(t, PublicMailDomain("com"))
}

type dns map[string][]string

func (d dns) LookupTXT(ctx context.Context, name string) ([]string, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("look-up without a deadline")
	}
	if name == "down.test." {
		return nil, &net.DNSError{Err: "timeout", IsTimeout: true}
	}
	r, ok := d[name]
	if !ok {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}
	return r, nil
}

func TestADomainIsProvedByItsOwnRecordOnly(t *testing.T) {
	t.Parallel()
	claim, err := ClaimDomain("o", " Acme.Test. ")
	require.NoError(t, err)
	require.Equal(t, "acme.test", claim.Domain)
	require.False(t, claim.Proved())
	other, err := ClaimDomain("o2", "acme.test")
	require.NoError(t, err)
	require.NotEqual(t, claim.Token, other.Token)

	ctx := context.Background()
	require.NoError(t, ProveByDNS(ctx, dns{"acme.test.": {"v=spf1 -all", claim.TXTRecord()}}, claim))
	require.Equal(t, fault.KindConflict, fault.KindOf(ProveByDNS(ctx, dns{"acme.test.": {other.TXTRecord()}}, claim)))
	require.Equal(t, fault.KindConflict, fault.KindOf(ProveByDNS(ctx, dns{}, claim)))
	claim.Domain = "down.test"
	require.Equal(t, fault.KindUnavailable, fault.KindOf(ProveByDNS(ctx, dns{}, claim)))
	claim.Domain = "gmail.com"
	require.Equal(t, fault.KindInvalid, fault.KindOf(ProveByDNS(ctx, dns{"gmail.com.": {claim.TXTRecord()}}, claim)))
	claim.Domain, claim.Token = "acme.test", ""
	require.Error(t, ProveByDNS(ctx, dns{"acme.test.": {"heddle-verification="}}, claim))
}

func TestInvitationIsOpenUntilUsedRevokedOrOld(t *testing.T) {
	t.Parallel()
	now := time.Now()
	i := Invitation{ExpiresAt: now.Add(time.Second)}
	require.True(t, i.Open(now))
	require.False(t, i.Open(now.Add(time.Second)))
	i.RevokedAt = now
	require.False(t, i.Open(now))
}
