package socket

import (
	"context"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	contrib "github.com/gofiber/contrib/websocket"
	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/utils"

	"github.com/heddle/heddle/internal/fault"
)

// localIdentity carries the identity through the upgrade; only string keys
// survive it.
const localIdentity = "heddle.socket.identity"

// Handler serves GET /socket/websocket. Everything is refused with plain HTTP
// before the upgrade: 400 for a wrong vsn or token, 403 for a foreign origin,
// 401 without a valid identity, 426 for a request that is no upgrade, 429 for
// too many sockets, 503 while the server is stopping.
func (s *Server) Handler() fiber.Handler {
	upgrade := contrib.New(s.serve, contrib.Config{
		Subprotocols:    []string{subprotocol},
		ReadBufferSize:  512,
		WriteBufferSize: 256, // the library writes nothing but answers to protocol errors
		WriteBufferPool: &sync.Pool{},
		RecoverHandler: func(*contrib.Conn) {
			if r := recover(); r != nil {
				s.opt.Logger.Error("socket panicked", "err", r, "stack", string(debug.Stack()))
			}
		},
	})
	return func(c *fiber.Ctx) error {
		if !contrib.IsWebSocketUpgrade(c) {
			return refuseHTTP(c, fiber.StatusUpgradeRequired, "This address speaks WebSocket only.")
		}
		if vsn := c.Query("vsn"); vsn != "2.0.0" {
			return refuseHTTP(c, fiber.StatusBadRequest, "vsn: must be 2.0.0")
		}
		h, err := s.handshake(c)
		if err != nil {
			return refuseHTTP(c, status(err), fault.Public(err))
		}
		ctx, cancel := context.WithTimeout(c.UserContext(), s.opt.CommandTimeout)
		id, err := s.opt.Authenticate(ctx, h)
		cancel()
		if err != nil {
			if fault.Is(err, fault.KindInternal) {
				s.opt.Logger.Error("socket could not be authenticated", "err", err)
			}
			return refuseHTTP(c, status(err), fault.Public(err))
		}
		s.mu.Lock()
		open, held := s.open, len(s.byID[id.Key()])
		s.mu.Unlock()
		switch {
		case !open:
			return refuseHTTP(c, fiber.StatusServiceUnavailable, "The server is stopping.")
		case held >= s.opt.PerKey:
			return refuseHTTP(c, fiber.StatusTooManyRequests, "Too many open sockets.")
		}
		c.Locals(localIdentity, id)
		return upgrade(c)
	}
}

// handshake applies the rules of origin and copies what the identity needs:
// the request's memory is reused after the upgrade.
func (s *Server) handshake(c *fiber.Ctx) (Handshake, error) {
	h := Handshake{
		Origin:    utils.CopyString(c.Get(fiber.HeaderOrigin)),
		RemoteIP:  utils.CopyString(s.opt.Address(c)),
		UserAgent: utils.CopyString(c.Get(fiber.HeaderUserAgent)),
	}
	hasOrigin := c.Request().Header.Peek(fiber.HeaderOrigin) != nil
	if hasOrigin && !slices.Contains(s.opt.Origins, h.Origin) {
		return h, fault.Forbidden("This origin may not connect.")
	}
	var err error
	if h.Token, err = bearer(c.Get("Sec-WebSocket-Protocol")); err != nil {
		return h, err
	}
	h.Token = strings.Clone(h.Token)
	if !hasOrigin {
		if h.Token == "" {
			return h, fault.Forbidden("A connection without Origin needs a token.")
		}
		return h, nil
	}
	h.cookies = map[string]string{}
	for name, value := range c.Request().Header.Cookies() {
		h.cookies[string(name)] = string(value)
	}
	return h, nil
}

func status(err error) int {
	switch fault.KindOf(err) {
	case fault.KindUnauthenticated:
		return fiber.StatusUnauthorized
	case fault.KindForbidden, fault.KindNotFound:
		return fiber.StatusForbidden
	case fault.KindInvalid:
		return fiber.StatusBadRequest
	case fault.KindLimited:
		return fiber.StatusTooManyRequests
	case fault.KindUnavailable:
		return fiber.StatusServiceUnavailable
	default:
		return fiber.StatusInternalServerError
	}
}

func refuseHTTP(c *fiber.Ctx, status int, detail string) error {
	return c.Status(status).JSON(fiber.Map{"detail": detail})
}

// serve runs one upgraded connection. It never hands on the wrapper, which is
// someone else's after it returns.
func (s *Server) serve(wrapper *contrib.Conn) {
	id, ok := wrapper.Locals(localIdentity).(Identity)
	if !ok {
		return
	}
	ws := wrapper.Conn
	sock := unwrap(ws.NetConn())
	c := &conn{srv: s, id: id, members: map[string]*member{}, out: &outbox{
		pool: s.pool, sock: sock, write: directWriter(sock),
		frames: s.opt.QueueFrames, bytes: s.opt.QueueBytes, stall: s.opt.Stall,
	}}
	c.saw()
	entered, crowded := s.enter(c)
	if !entered {
		return
	}
	defer s.exit(c)
	c.serve(context.Background(), ws, crowded)
}

// unwrap finds the connection that stays the same object for its whole life.
func unwrap(c net.Conn) net.Conn {
	for {
		inner, ok := c.(interface{ UnsafeConn() net.Conn })
		if !ok {
			return c
		}
		c = inner.UnsafeConn()
	}
}
