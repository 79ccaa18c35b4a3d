package tool

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/heddle/heddle/internal/fault"
)

// Typed is a tool whose arguments are the Go struct Args. Make it with [New].
type Typed[Args any] struct {
	spec   Spec
	schema *checked
	run    func(context.Context, Invocation, Args) (Result, error)
}

// MaxArgs bounds the size of one call's arguments, in bytes.
const MaxArgs = 64 << 10

var validName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// New makes a tool from a function. The schema is inferred from Args: field
// names and "omitempty" from the json tags, descriptions from the jsonschema
// tags; refine functions then add bounds such as lengths, ranges and choices.
// Spec.Schema is filled in and must be empty.
//
// Rules that a schema cannot say are Args' own, if it has a method Check() error
// that gives an invalid fault; they hold for a reviewer's edits as well.
//
// It is an error if the spec is incomplete or if the schema asks the model for
// identity.
func New[Args any](spec Spec, run func(context.Context, Invocation, Args) (Result, error), refine ...func(*jsonschema.Schema)) (*Typed[Args], error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	if len(spec.Schema) > 0 {
		return nil, fmt.Errorf("making tool %s: the schema comes from the arguments' type", spec.Name)
	}
	inferred, err := jsonschema.For[Args](nil)
	if err != nil {
		return nil, fmt.Errorf("making tool %s: %w", spec.Name, err)
	}
	for _, change := range refine {
		change(inferred)
	}
	schema, err := newChecked(inferred)
	if err != nil {
		return nil, fmt.Errorf("making tool %s: %w", spec.Name, err)
	}
	if spec.Schema, err = json.Marshal(inferred); err != nil {
		return nil, fmt.Errorf("making tool %s: encoding its schema: %w", spec.Name, err)
	}
	return &Typed[Args]{spec: spec, schema: schema, run: run}, nil
}

func (s Spec) check() error {
	switch {
	case !validName.MatchString(s.Name):
		return fmt.Errorf("making tool %q: the name must be 1 to 64 letters, digits, _ or -", s.Name)
	case s.Description == "":
		return fmt.Errorf("making tool %s: a description is required", s.Name)
	case !s.Effect.Valid():
		return fmt.Errorf("making tool %s: effect %q is unknown", s.Name, s.Effect)
	case !s.Review.Valid():
		return fmt.Errorf("making tool %s: review policy %q is unknown", s.Name, s.Review)
	case s.Effect != EffectRead && s.Consequence == "":
		return fmt.Errorf("making tool %s: a consequence, in words for reviewers, is required", s.Name)
	case s.Timeout < 0:
		return fmt.Errorf("making tool %s: the timeout must not be negative", s.Name)
	}
	return nil
}

// Spec implements [Tool].
func (t *Typed[Args]) Spec() Spec {
	spec := t.spec
	if spec.Title == "" {
		spec.Title = spec.Name
	}
	return spec
}

// Check implements [Tool].
func (t *Typed[Args]) Check(args json.RawMessage) error {
	_, err := t.decode(args)
	return err
}

// Call implements [Tool].
func (t *Typed[Args]) Call(ctx context.Context, inv Invocation, raw json.RawMessage) (Result, error) {
	if err := inv.Scope.Check(); err != nil {
		return Result{}, fmt.Errorf("calling tool %s: %w", t.spec.Name, err)
	}
	args, err := t.decode(raw)
	if err != nil {
		return Result{}, err
	}
	return t.run(ctx, inv, args)
}

func (t *Typed[Args]) decode(raw json.RawMessage) (Args, error) {
	var args Args
	if len(raw) > MaxArgs {
		return args, fault.Invalid("arguments", fmt.Sprintf("must not be longer than %d bytes", MaxArgs))
	}
	raw = orEmpty(raw)
	if err := t.schema.check(raw); err != nil {
		return args, err
	}
	if err := json.Unmarshal(raw, &args); err != nil {
		return args, fault.Invalid("arguments", "do not fit the schema").WithCause(err)
	}
	if own, ok := any(args).(interface{ Check() error }); ok {
		if err := own.Check(); err != nil {
			return args, err
		}
	}
	return args, nil
}
