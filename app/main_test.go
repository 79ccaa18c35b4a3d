package app_test

import (
	"context"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/agents/event"
	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/testweb"
)

func TestMain(m *testing.M) { testweb.Main(m) }

// gates is a graph whose answers the test writes, piece by piece: each thread
// has a channel, and closing it ends the answer.
type gates struct {
	mu     sync.Mutex
	pieces map[agents.ThreadID]chan string
}

func (g *gates) of(thread string) chan string {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.pieces[agents.ThreadID(thread)]
	if c == nil {
		c = make(chan string)
		g.pieces[agents.ThreadID(thread)] = c
	}
	return c
}

// write lets the thread's answer go on; it returns when the node has taken the
// piece.
func (g *gates) write(thread string, pieces ...string) {
	c := g.of(thread)
	for _, p := range pieces {
		c <- p
	}
}

// end lets the present answer end; the next one has a gate of its own.
func (g *gates) end(thread string) {
	c := g.of(thread)
	g.mu.Lock()
	delete(g.pieces, agents.ThreadID(thread))
	g.mu.Unlock()
	close(c)
}

func newGates(t *testing.T) (*gates, *graph.Graph) {
	t.Helper()
	g := &gates{pieces: map[agents.ThreadID]chan string{}}
	compiled, err := graph.New("gate").Node("gate", func(ctx context.Context, task *graph.Task) (graph.Command, error) {
		m := agents.Message{ID: agents.MessageID(task.NewID()), Role: agents.RoleAssistant, Run: task.Run, CreatedAt: task.Clock.Now()}
		pieces := g.of(string(task.Thread))
		task.Emit(event.TextMessageStart, event.TextStartData{MessageID: string(m.ID), Role: "assistant"})
		for {
			select {
			case p, more := <-pieces:
				if more {
					m.Text += p
					task.Emit(event.TextMessageContent, event.TextContentData{MessageID: string(m.ID), Delta: p})
					continue
				}
				task.Emit(event.TextMessageEnd, event.TextEndData{MessageID: string(m.ID)})
				return graph.Command{Update: []graph.Write{graph.AddMessage(m)}}, nil
			case <-ctx.Done():
				return graph.Command{}, context.Cause(ctx)
			}
		}
	}).Edge(graph.Start, "gate").Edge("gate", graph.End).Compile()
	require.NoError(t, err)
	return g, compiled
}

func threadID(s string) agents.ThreadID { return agents.ThreadID(s) }

// joinOrg makes a person a member of a second organisation.
func joinOrg(t *testing.T, s *testweb.Server, email, slug string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), "set role heddle_system")
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `insert into memberships (org_id, user_id, role)
		select o.id, u.id, 'member' from orgs o, users u where o.slug = $1 and u.email = $2`, slug, email)
	require.NoError(t, err)
}
