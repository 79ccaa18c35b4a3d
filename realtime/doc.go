// Package realtime moves messages from whoever commits them to whoever
// watches, on every node: a hub over Redis pub/sub in front of a log.
//
// Its invariants:
//
//   - The log is the truth, Redis is the wire. A message is committed before it
//     is published, so whatever Redis loses is read again from the log, and a
//     node that lost Redis still serves its watchers, only later.
//   - A watcher gets every number after its start once and in order. A topic
//     keeps that order for the whole node; a hole is filled from the log.
//   - A publisher never waits for a watcher: queues are bounded, and whoever
//     does not keep up is told so or reads the log at its own pace.
//   - Payloads are opaque bytes and reach watchers byte for byte.
//
// The package knows no domain type: topics are strings, the log is the
// interface [LogReader], and what a page sees is made by a [Projector].
// Package socket, below, speaks the Phoenix protocol to browsers and is the
// only part that knows the HTTP server.
//
// handlers, app and cmd may import it; agents and store never do. It imports
// the standard library, internal leaves and the Redis client.
package realtime
