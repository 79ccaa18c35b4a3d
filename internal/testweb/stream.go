package testweb

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Event is one server-sent event.
type Event struct{ ID, Name, Data string }

// Stream is an answer of server-sent events that is being read.
type Stream struct {
	*http.Response
	lines *bufio.Reader
	// Beats counts the comments so far.
	Beats int
}

// Stream asks with a key and reads the answer as server-sent events. The caller
// closes it. Headers are pairs of name and value.
func (s *Site) Stream(ctx context.Context, key, method, path, body string, headers ...string) (*Stream, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Api-Key", key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		raw, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close() // the status says what was wrong
		return nil, fmt.Errorf("%d %s", resp.StatusCode, raw)
	}
	return &Stream{Response: resp, lines: bufio.NewReader(resp.Body)}, nil
}

// Next reads the next event; io.EOF at the end of a whole answer.
func (r *Stream) Next() (Event, error) {
	var e Event
	var data []string
	for {
		line, err := r.lines.ReadString('\n')
		if err != nil {
			return Event{}, err
		}
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if e.Name != "" {
				e.Data = strings.Join(data, "\n")
				return e, nil
			}
		case name == "":
			r.Beats++
		case name == "event":
			e.Name = value
		case name == "id":
			e.ID = value
		case name == "data":
			data = append(data, value)
		}
	}
}

// Rest reads to the end.
func (r *Stream) Rest() ([]Event, error) {
	var out []Event
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, e)
	}
}

// Close ends the reading.
func (r *Stream) Close() error { return r.Body.Close() }
