package oauth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/oauth2"
)

const (
	// callDeadline bounds one request to a provider.
	callDeadline = 10 * time.Second
	// stepDeadline bounds all requests of one Begin or Finish together.
	stepDeadline = 20 * time.Second
	// maxAnswer bounds a provider's answer, in bytes.
	maxAnswer = 1 << 20
)

// newClient makes the client for all calls to providers. It follows no
// redirect: a token endpoint that answered 307 would make us send code,
// verifier and client secret elsewhere.
func newClient(rt http.RoundTripper) *http.Client {
	if rt == nil {
		rt = http.DefaultTransport
	}
	return &http.Client{
		Timeout:   callDeadline,
		Transport: boundedTransport{rt},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
}

// boundedTransport cuts answers off at maxAnswer.
type boundedTransport struct{ next http.RoundTripper }

func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = boundedBody{io.LimitReader(resp.Body, maxAnswer), resp.Body}
	return resp, nil
}

type boundedBody struct {
	io.Reader
	io.Closer
}

type roundTripFunc func(*http.Request) (*http.Response, error)

func (f roundTripFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// within makes a client whose requests end with ctx, for goth, whose methods
// take no context.
func within(ctx context.Context, client *http.Client) *http.Client {
	bound := *client
	next := client.Transport
	bound.Transport = roundTripFunc(func(r *http.Request) (*http.Response, error) {
		// The caller's context ends the call, the request's own the client's
		// timeout.
		joined, cancel := context.WithCancel(r.Context())
		stop := context.AfterFunc(ctx, cancel)
		resp, err := next.RoundTrip(r.WithContext(joined))
		if err != nil {
			stop()
			cancel()
			return nil, err
		}
		body := resp.Body
		resp.Body = boundedBody{body, closerFunc(func() error {
			defer cancel()
			stop()
			return body.Close()
		})}
		return resp, nil
	})
	return &bound
}

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

// exchangeError keeps of a refused exchange what is safe to log: never the
// provider's answer, which may quote what we sent.
func exchangeError(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		status := 0
		if refused.Response != nil {
			status = refused.Response.StatusCode
		}
		return fmt.Errorf("exchanging the code: answer %d, error %q", status, cut(refused.ErrorCode, 64))
	}
	return fmt.Errorf("exchanging the code: %w", withoutQuery(err))
}

// withoutQuery drops the query of the URL an error names.
func withoutQuery(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		if u, perr := url.Parse(ue.URL); perr == nil {
			u.RawQuery = ""
			return &url.Error{Op: ue.Op, URL: u.String(), Err: ue.Err}
		}
	}
	return err
}

func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
