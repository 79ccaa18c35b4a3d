// Package embedded runs the Redis inside Heddle that moves envelopes when no
// REDIS_URL is set: miniredis on a loopback port, behind a random password, so
// that every other part uses the same client and commands as with a real one.
//
// Invariants
//   - Expiry follows the wall clock, as leases and presence need.
//   - Nothing here lasts: what must is in PostgreSQL.
//   - A subscriber that stops reading stops the whole server after a few
//     megabytes, so whoever subscribes must never block.
//   - There is no sharded publish, FUNCTION, CLIENT TRACKING, CONFIG or inline command.
//
// Who may import it: app and tests.
package embedded

import (
	"crypto/rand"
	"fmt"
	"net/url"

	"github.com/alicebob/miniredis/v2"
)

// Server is a running in-process Redis.
type Server struct {
	redis    *miniredis.Miniredis
	password string
}

// Start listens on a free port of 127.0.0.1.
func Start() (*Server, error) {
	s := &Server{redis: miniredis.NewMiniRedis(), password: rand.Text()}
	s.redis.RequireAuth(s.password)
	s.redis.ClockTTL(true)
	if err := s.redis.StartAddr("127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("starting the embedded Redis: %w", err)
	}
	return s, nil
}

// URL addresses the server, password included: treat it as a secret.
func (s *Server) URL() string {
	u := url.URL{Scheme: "redis", User: url.UserPassword("", s.password), Host: s.redis.Addr(), Path: "/0"}
	return u.String()
}

// Close cuts all connections and waits for their goroutines. Calling it again
// does nothing.
func (s *Server) Close() { s.redis.Close() }
