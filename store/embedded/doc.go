// Package embedded runs the private PostgreSQL that Heddle uses when no
// DATABASE_URL is set, so that one command is enough to have durable data.
//
// Invariants
//   - One process owns a data directory: whoever holds its lock. The files of
//     the cluster, its sockets and its stale remains are touched under that lock only.
//   - The server listens on a Unix socket in a directory of mode 0700 and on
//     nothing else; peer authentication admits the account that started it.
//   - The server does not outlive its owner, however that ends.
//   - The bootstrap superuser is used here and nowhere else. The product
//     connects as [Owner], which is no superuser and cannot bypass row-level security.
//   - A data directory never holds a half-made cluster: it is built beside its
//     place and renamed into it.
//
// Inside the data directory: lock, run.json, postgres (the cluster), sock,
// postgres.log. Linux and macOS are supported.
//
// Who may import it: app, cmd and internal/testpg.
package embedded
