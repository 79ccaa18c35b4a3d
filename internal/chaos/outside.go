package chaos

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/heddle/heddle/agents/model/openai/openaitest"
	"github.com/heddle/heddle/internal/chaos/effect"
)

// task is what a run is asked for; it stands as JSON in the message.
type task struct {
	Tag    string `json:"tag"`
	Canary string `json:"canary"`
	// Hold lets a person look before the plain tool is called.
	Hold bool `json:"hold,omitempty"`
}

// rounds are the tools that the model asks for, answer by answer: six calls of
// the model, four that read, two that write.
var rounds = [][]string{{effect.Look}, {effect.Keyed}, {effect.Look, effect.Look}, {effect.Plain}, {effect.Look}, nil}

// answer is the model: where in its rounds it stands is told by the thread.
func answer(pace time.Duration) func(openaitest.Chat) openaitest.Reply {
	return func(c openaitest.Chat) openaitest.Reply {
		var t task
		round := 0
		for _, m := range c.Messages {
			switch m.Role {
			case "user":
				round = 0
				if json.Unmarshal([]byte(m.Text()), &t) != nil {
					return openaitest.Text("I read nothing but tasks.")
				}
			case "assistant":
				round++
			}
		}
		if round >= len(rounds)-1 {
			r := openaitest.Text("Done with " + t.Tag + " of " + t.Canary + ".")
			r.Pace = pace
			return r
		}
		r := openaitest.Text(fmt.Sprintf("This is answer %d of %s, which belongs to %s and goes on with the next tool after a few more words than it needs.", round+1, t.Tag, t.Canary))
		args, err := json.Marshal(t)
		if err != nil {
			panic("chaos: a task is always JSON: " + err.Error())
		}
		var calls []openaitest.Call
		for _, name := range rounds[round] {
			calls = append(calls, openaitest.Call{ID: "call_" + rand.Text(), Name: name, Args: string(args)})
		}
		asked := openaitest.Calls(calls...)
		r.Pieces, r.Finish, r.Pace = append(r.Pieces, asked.Pieces...), asked.Finish, pace
		// Arguments come in small pieces, whose pauses would outweigh the words'.
		r.Pace = pace / 2
		return r
	}
}

// finalText is how a run's last answer begins.
func finalText(t task) string { return "Done with " + t.Tag + " of " + t.Canary + "." }

// entry is one effect that happened.
type entry struct {
	effect.Request
	At time.Time
}

// ledger is the tool server: it does what it is asked, goes wrong now and then,
// and remembers every effect.
type ledger struct {
	seed     uint64
	perMille int

	mu      sync.Mutex
	entries []entry
	byKey   map[string]int
	asked   map[string]int
	faults  map[string]int
	lookups []effect.Request
}

func newLedger(seed uint64, perMille int) *ledger {
	return &ledger{seed: seed, perMille: perMille, byKey: map[string]int{}, asked: map[string]int{}, faults: map[string]int{}}
}

// The ways in which the tool server goes wrong.
const (
	toolRefuses   = "500"
	toolTimesOut  = "timeout after the effect"
	toolDuplicate = "duplicate answer"
)

// mishap says how this request goes wrong, by the seed and its own number.
func (l *ledger) mishap(r effect.Request) string {
	l.asked[r.Key]++
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s %s %d", l.seed, r.Tag, r.Tool, l.asked[r.Key])
	n := h.Sum64()
	if n%1000 >= uint64(l.perMille) {
		return ""
	}
	kind := []string{toolRefuses, toolTimesOut, toolDuplicate}[n/1000%3]
	l.faults[kind]++
	return kind
}

func (l *ledger) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var r effect.Request
	if json.NewDecoder(http.MaxBytesReader(w, req.Body, 1<<20)).Decode(&r) != nil {
		http.Error(w, "no request", http.StatusBadRequest)
		return
	}
	l.mu.Lock()
	wrong := l.mishap(r)
	if wrong == toolRefuses {
		l.mu.Unlock()
		http.Error(w, "refused", http.StatusInternalServerError)
		return
	}
	switch r.Tool {
	case effect.Look:
		l.lookups = append(l.lookups, r)
	case effect.Keyed:
		if l.byKey[r.Key] == 0 {
			l.byKey[r.Key]++
			l.entries = append(l.entries, entry{r, time.Now()})
		}
	case effect.Plain:
		l.byKey[r.Key]++
		l.entries = append(l.entries, entry{r, time.Now()})
	}
	l.mu.Unlock()
	if wrong == toolTimesOut {
		select {
		case <-req.Context().Done():
		case <-time.After(10 * time.Second):
		}
		return
	}
	out, err := json.Marshal(effect.Answer{Content: "The " + r.Tool + " of " + r.Tag + " for " + r.Canary + " is there."})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(out) // a client that left needs no answer
	if wrong == toolDuplicate {
		_, _ = w.Write(out)
	}
}

// happened reports whether a call had its effect.
func (l *ledger) happened(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byKey[key] > 0
}

// all gives the effects, and how often the server went wrong in which way.
func (l *ledger) all() ([]entry, map[string]int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	faults := map[string]int{}
	for k, n := range l.faults {
		faults[k] = n
	}
	return append([]entry(nil), l.entries...), faults
}

// site is an HTTP server of the harness.
type site struct {
	url    string
	server *http.Server
	ended  chan struct{}
}

func serve(h http.Handler) (*site, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &site{url: "http://" + listener.Addr().String(), server: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		_ = s.server.Serve(listener) // ends with close
	}()
	return s, nil
}

func (s *site) close() {
	_ = s.server.Close()
	<-s.ended
}

// apiError is an answer of the product that is no success.
type apiError struct {
	status int
	body   string
}

// inFlight reports whether another request of the same name is still at work, or
// died with its node.
func (e *apiError) inFlight() bool {
	return e.status == http.StatusConflict && strings.Contains(e.body, "still at work")
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s", e.status, e.body) }

// call asks the API of one node once.
func call(ctx context.Context, client *http.Client, base, key, method, path, once string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	raw := []byte(nil)
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(string(raw)))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Api-Key", key)
	if once != "" {
		// In this spelling, so that the client doesn't send it again by itself.
		req.Header["idempotency-key"] = []string{once}
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var text strings.Builder
	buf := make([]byte, 4<<10)
	for {
		n, err := resp.Body.Read(buf)
		text.Write(buf[:n])
		if err != nil {
			break
		}
	}
	if resp.StatusCode >= 300 {
		return &apiError{status: resp.StatusCode, body: text.String()}
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal([]byte(text.String()), into)
}

// refused gives the answer of the product in an error, nil if it gave none.
func refused(err error) *apiError {
	var e *apiError
	errors.As(err, &e)
	return e
}
