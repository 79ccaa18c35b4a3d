package handlers

import (
	"context"
	"log/slog"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/auth"
	"github.com/heddle/heddle/handlers/middleware"
)

// Disconnector closes the sockets of a browser session or API key on every
// node; socket.Server is one. An error says that other nodes were not reached.
type Disconnector interface {
	Disconnect(ctx context.Context, id, reason string) error
}

// Sockets closes what ended sessions and keys still have open.
type Sockets struct {
	disconnector Disconnector
	log          *slog.Logger
}

// NewSockets makes it.
func NewSockets(d Disconnector, log *slog.Logger) Sockets { return Sockets{disconnector: d, log: log} }

// disconnectLimit bounds telling the other nodes.
const disconnectLimit = 2 * time.Second

// close closes at once the sockets of a session or key that has ended. Other
// nodes that cannot be told find out by their own check within five seconds, so
// the request succeeds all the same.
func (s Sockets) close(c *fiber.Ctx, id, reason string) { s.closeThese(c, []string{id}, reason) }

// closeAll is close for everything a person is connected with.
func (s Sockets) closeAll(c *fiber.Ctx, all auth.Credentials, reason string) {
	var ids []string
	for _, session := range all.Sessions {
		ids = append(ids, string(session))
	}
	for _, key := range all.Keys {
		ids = append(ids, string(key))
	}
	s.closeThese(c, ids, reason)
}

func (s Sockets) closeThese(c *fiber.Ctx, ids []string, reason string) {
	ctx, cancel := context.WithTimeout(c.UserContext(), disconnectLimit)
	defer cancel()
	for _, id := range ids {
		if err := s.disconnector.Disconnect(ctx, id, reason); err != nil {
			s.log.WarnContext(ctx, "other nodes were not told to close sockets", "request_id", middleware.RequestIDOf(c), "err", err)
		}
	}
}
