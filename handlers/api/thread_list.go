package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents"
	"github.com/heddle/heddle/handlers/middleware"
	"github.com/heddle/heddle/internal/fault"
)

// maxExtracts is how many paths one search takes.
const maxExtracts = 10

// searchThreads is the body of a search; its limit, offset and select are those of
// every list.
type searchThreads struct {
	Metadata  json.RawMessage   `json:"metadata"`
	IDs       []string          `json:"ids"`
	Status    string            `json:"status"`
	Values    json.RawMessage   `json:"values"`
	SortBy    string            `json:"sort_by"`
	SortOrder string            `json:"sort_order"`
	Extract   map[string]string `json:"extract"`
}

func (in searchThreads) query(c *fiber.Ctx) (agents.ThreadSearch, error) {
	q := agents.ThreadSearch{Status: agents.ThreadStatus(strings.Clone(in.Status)), Sort: agents.ThreadSort(strings.Clone(in.SortBy))}
	if err := storable(c.Body()); err != nil {
		return q, err
	}
	metadata, err := object("metadata", in.Metadata)
	if err != nil {
		return q, err
	}
	if len(metadata) > 0 && string(metadata) != "{}" {
		q.Metadata = metadata
	}
	values, err := object("values", in.Values)
	if err != nil {
		return q, err
	}
	if len(values) > 0 && json.Unmarshal(values, &q.Values) != nil {
		return q, fault.Invalid("values", "must be an object")
	}
	if in.IDs != nil {
		if len(in.IDs) > agents.MaxThreads {
			return q, fault.Invalid("ids", fmt.Sprintf("must be at most %d", agents.MaxThreads))
		}
		if q.IDs, err = canonicalThreads("ids", in.IDs); err != nil {
			return q, err
		}
	}
	switch in.SortOrder {
	case "", "desc":
	case "asc":
		q.Ascending = true
	default:
		return q, fault.Invalid("sort_order", "must be asc or desc")
	}
	return q, nil
}

// SearchThreads is POST /threads/search.
func (a *API) SearchThreads(c *fiber.Ctx) error {
	var in searchThreads
	if err := decode(c, &in); err != nil {
		return err
	}
	q, err := in.query(c)
	if err != nil {
		return err
	}
	if q.Limit, q.Offset, err = page(c); err != nil {
		return err
	}
	names, err := fields(c)
	if err != nil {
		return err
	}
	paths, err := extracts(in.Extract)
	if err != nil {
		return err
	}
	sel := selectionOf(names)
	q.States = parts(sel, paths)
	scope := middleware.Scope(c)
	found, total, err := a.threads.SearchThreads(c.UserContext(), scope, q)
	if err != nil {
		return err
	}
	for _, t := range found {
		// Only who asked by id may have found what is neither theirs nor shared.
		if err := a.threads.Opened(c.UserContext(), scope, t.Thread, time.Now().UTC()); err != nil {
			return err
		}
	}
	var out bytes.Buffer
	err = list(&out, found, func(t agents.FoundThread) error {
		e := newEncoder()
		raw, err := e.thread(t, sel, false)
		if err != nil {
			return err
		}
		if len(paths) > 0 {
			if raw, err = withExtracted(e, raw, t, paths); err != nil {
				return err
			}
		}
		out.Write(raw)
		return nil
	})
	if err != nil {
		return err
	}
	paged(c, total, q.Offset, len(found))
	return sendJSON(c, out.Bytes())
}

// CountThreads is POST /threads/count.
func (a *API) CountThreads(c *fiber.Ctx) error {
	var in searchThreads
	if err := decode(c, &in); err != nil {
		return err
	}
	q, err := in.query(c)
	if err != nil {
		return err
	}
	n, err := a.threads.CountThreads(c.UserContext(), middleware.Scope(c), q)
	if err != nil {
		return err
	}
	return c.JSON(n)
}

// parts says how much of the states has to be loaded.
func parts(sel selection, paths map[string]path) agents.StateParts {
	need := agents.NoState
	if sel.wants("interrupts") || sel.values() {
		need = agents.Outline
	}
	if sel.messages() {
		return agents.WholeState
	}
	for _, p := range paths {
		switch {
		case p[0].key == "values" && (len(p) == 1 || p[1].key == "messages"):
			return agents.WholeState
		case p[0].key == "values" || p[0].key == "interrupts":
			need = agents.Outline
		}
	}
	return need
}

// path leads to a place in a thread: keys and, where key is empty, places in lists;
// negative ones count from the end.
type path []segment

type segment struct {
	key string
	at  int
}

// segmentForm is a key or [N].
var segmentForm = regexp.MustCompile(`^(?:\.?([A-Za-z_][A-Za-z0-9_-]*)|\[(-?\d{1,6})\])`)

// extracts reads the paths that a search wants the values of, by their aliases.
func extracts(in map[string]string) (map[string]path, error) {
	if len(in) > maxExtracts {
		return nil, fault.Invalid("extract", fmt.Sprintf("must have at most %d paths", maxExtracts))
	}
	out := make(map[string]path, len(in))
	for alias, text := range in {
		p, ok := parsePath(text)
		if !ok || !slices.Contains([]string{"values", "metadata", "interrupts", "config"}, p[0].key) || len(p) > 1 && p[0].key == "values" && agents.Hidden(p[1].key) {
			return nil, fault.Invalid("extract."+alias, `must be a path such as values.messages[-1].content, into values, metadata, interrupts or config`)
		}
		out[alias] = p
	}
	return out, nil
}

func parsePath(text string) (path, bool) {
	var out path
	for rest := text; rest != ""; {
		found := segmentForm.FindStringSubmatch(rest)
		if found == nil || (len(out) == 0) != (found[0] == found[1]) {
			return nil, false
		}
		rest = rest[len(found[0]):]
		s := segment{key: found[1]}
		if s.key == "" {
			var err error
			if s.at, err = strconv.Atoi(found[2]); err != nil {
				return nil, false
			}
		}
		out = append(out, s)
	}
	return out, len(out) > 0
}

// withExtracted adds to a thread what its paths lead to; null where they lead to
// nothing.
func withExtracted(e *encoder, raw []byte, t agents.FoundThread, paths map[string]path) ([]byte, error) {
	extracted := fiber.Map{}
	for _, alias := range slices.Sorted(maps.Keys(paths)) {
		value, rest, err := root(e, t, paths[alias])
		if err != nil {
			return nil, err
		}
		extracted[alias] = rest.in(value)
	}
	more, err := json.Marshal(fiber.Map{"extracted": extracted})
	if err != nil {
		return nil, fmt.Errorf("writing what was extracted as JSON: %w", err)
	}
	if len(raw) == 2 {
		return more, nil
	}
	return append(append(slices.Clone(raw[:len(raw)-1]), ','), more[1:]...), nil
}

// root decodes the part of a thread that a path leads into, no more than it must.
func root(e *encoder, t agents.FoundThread, p path) (value any, rest path, err error) {
	if p[0].key == "values" && len(p) > 2 && p[1].key == "messages" && p[2].key == "" {
		at, n := p[2].at, len(t.State.Messages)
		if at < 0 {
			at += n
		}
		if at < 0 || at >= n {
			return nil, nil, nil
		}
		err = json.Unmarshal(e.message(t.State.Messages[at]), &value)
		return value, p[3:], err
	}
	var out bytes.Buffer
	if p[0].key == "values" {
		sel := selection{}
		if len(p) > 1 {
			sel.channels = []string{p[1].key}
		}
		err = e.values(&out, t.State, sel)
	} else {
		err = json.NewEncoder(&out).Encode(threadFields(t.Thread, t.State)[p[0].key])
	}
	if err == nil {
		err = json.Unmarshal(out.Bytes(), &value)
	}
	return value, p[1:], err
}

// in follows a path in decoded JSON.
func (p path) in(value any) any {
	for _, s := range p {
		switch have := value.(type) {
		case map[string]any:
			if s.key == "" {
				return nil
			}
			value = have[s.key]
		case []any:
			at := s.at
			if at < 0 {
				at += len(have)
			}
			if s.key != "" || at < 0 || at >= len(have) {
				return nil
			}
			value = have[at]
		default:
			return nil
		}
	}
	return value
}
