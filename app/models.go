package app

import (
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/heddle/heddle/agents/model"
	"github.com/heddle/heddle/agents/model/openai"
	"github.com/heddle/heddle/agents/model/retry"
	"github.com/heddle/heddle/agents/model/script"
)

// models builds the registry: the mock, and each provider that is configured.
func (a *App) models() (*model.Registry, error) {
	mock, err := script.New(script.Options{TokensPerSecond: a.o.TokensPerSecond})
	if err != nil {
		return nil, err
	}
	entries := []model.Entry{{ID: script.ID, Title: "Mock model", Model: mock, Tools: true}}
	if cfg := a.o.Config.Models; cfg.OpenAI() {
		provider, err := openai.New(openai.Options{BaseURL: cfg.OpenAIBaseURL, Key: cfg.OpenAIKey.Reveal(), HTTP: a.providerClient()})
		if err != nil {
			return nil, err
		}
		entries = append(entries, model.Entry{
			ID: openai.Family, Title: openAITitle(cfg.OpenAIBaseURL), Model: retry.New(provider, retry.Options{}), Tools: true,
		})
	}
	return model.NewRegistry(entries...)
}

// openAITitle names whose models those are.
func openAITitle(base string) string {
	if u, err := url.Parse(base); err == nil && base != openai.DefaultURL {
		return "OpenAI-compatible at " + u.Host
	}
	return "OpenAI"
}

// The limits of a provider that does not answer. How long a stream may be
// silent is the provider's package's own; the whole call ends with its run.
const (
	connectLimit = 10 * time.Second
	headerLimit  = 60 * time.Second
)

// providerClient gives the client for the base URLs of providers. An operator set
// those, so private addresses are fine, unlike those that tools may reach; a
// redirect to elsewhere is not followed.
func (a *App) providerClient() *http.Client {
	if a.toProviders == nil {
		dialer := &net.Dialer{Timeout: connectLimit, KeepAlive: 30 * time.Second}
		a.toProviders = &http.Client{
			Transport: &http.Transport{
				Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
				TLSHandshakeTimeout: connectLimit, ResponseHeaderTimeout: headerLimit, ExpectContinueTimeout: time.Second,
				MaxIdleConns: 100, MaxIdleConnsPerHost: a.o.Config.Worker.Runs, IdleConnTimeout: 90 * time.Second,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return a.toProviders
}
