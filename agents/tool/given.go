package tool

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/heddle/heddle/internal/fault"
)

// Given is a tool whose schema is given as JSON, where there is no Go type to
// infer it from. Make it with [FromSpec].
type Given struct {
	spec   Spec
	schema *checked
	run    func(context.Context, Invocation, json.RawMessage) (Result, error)
}

// FromSpec makes a tool of a whole spec and a function. It is an error if the
// spec is incomplete, or if its schema is none, is not of an object, or asks the
// model for identity.
func FromSpec(spec Spec, run func(context.Context, Invocation, json.RawMessage) (Result, error)) (*Given, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	var given jsonschema.Schema
	if err := json.Unmarshal(spec.Schema, &given); err != nil {
		return nil, fmt.Errorf("making tool %s: reading its schema: %w", spec.Name, err)
	}
	schema, err := newChecked(&given)
	if err != nil {
		return nil, fmt.Errorf("making tool %s: %w", spec.Name, err)
	}
	if spec.Title == "" {
		spec.Title = spec.Name
	}
	return &Given{spec: spec, schema: schema, run: run}, nil
}

// Spec implements [Tool].
func (g *Given) Spec() Spec { return g.spec }

// Check implements [Tool].
func (g *Given) Check(args json.RawMessage) error {
	if len(args) > MaxArgs {
		return fault.Invalid("arguments", fmt.Sprintf("must not be longer than %d bytes", MaxArgs))
	}
	return g.schema.check(orEmpty(args))
}

// Call implements [Tool].
func (g *Given) Call(ctx context.Context, inv Invocation, args json.RawMessage) (Result, error) {
	if err := g.Check(args); err != nil {
		return Result{}, err
	}
	return g.run(ctx, inv, orEmpty(args))
}

// orEmpty reads no arguments at all as none.
func orEmpty(args json.RawMessage) json.RawMessage {
	if len(args) == 0 {
		return json.RawMessage("{}")
	}
	return args
}
