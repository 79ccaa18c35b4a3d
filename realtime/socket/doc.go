// Package socket lets browsers and programs watch topics over a WebSocket that
// speaks Phoenix Channels, serializer 2.0.0, so that existing Phoenix clients
// connect unchanged. docs/realtime.md is the protocol for client authors.
//
// Its invariants:
//
//   - One writer per connection, and none after the connection's handler has
//     returned: fasthttp and the websocket wrapper reuse what they lent us.
//   - A socket that reads too slowly loses its place, is told so and comes back
//     for the rest; it never makes a publisher or another socket wait.
//   - Nothing a client sends ends more than its own connection.
//   - Who a socket acts for is decided once, by the injected Authenticate, and
//     is asked again before every join and push and every few seconds.
//
// The package knows no domain type: topics are mapped by the [Channel]s that
// handlers register. It is the only part of realtime that knows Fiber. handlers
// and app import it.
package socket
