package openai

import (
	"maps"
	"slices"
	"sync"
)

// refusals are the parameters that a model does not take.
type refusals map[string]bool

func (r refusals) has(name string) bool { return r[name] }

// optional are the parameters that a request does without, or has another name
// for, when a model takes none. Reasoning models refuse a temperature, some
// servers know no stream_options.
func optional(name string) bool {
	return slices.Contains([]string{
		"temperature", "stop", "reasoning_effort", "stream_options", paramMaxTokens, paramMaxCompletion,
	}, name)
}

// lessons remember the refusals of each model, so that a request is sent again
// only once for each. They hold what servers said, not who asked, and are bounded.
type lessons struct {
	mu      sync.Mutex
	byModel map[string]refusals
}

// maxLessons is how many models are remembered; at one more all are forgotten.
const maxLessons = 100

func (l *lessons) about(model string) refusals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.byModel[model])
}

func (l *lessons) learn(model, param string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.byModel[model]
	if known == nil {
		if l.byModel == nil || len(l.byModel) >= maxLessons {
			l.byModel = map[string]refusals{}
		}
		known = refusals{}
		l.byModel[model] = known
	}
	known[param] = true
}

// adapted says that a request was refused for one parameter, and that the next
// one will leave it out.
type adapted struct{ param string }

// Error names the parameter.
func (a *adapted) Error() string { return "the model does not take " + a.param }
