package eventtest

import (
	"encoding/json"
	"fmt"

	"github.com/google/jsonschema-go/jsonschema"
)

// Validator holds envelopes against the schema. Safe for concurrent use.
type Validator struct{ schema *jsonschema.Resolved }

// NewValidator makes a validator of the catalogue as it is compiled.
func NewValidator() (*Validator, error) {
	s, err := Schema()
	if err != nil {
		return nil, err
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("resolving the schema of envelopes: %w", err)
	}
	return &Validator{resolved}, nil
}

// Check says what is wrong with a payload, an envelope as its receivers get it.
func (v *Validator) Check(payload []byte) error {
	var value any
	if err := json.Unmarshal(payload, &value); err != nil {
		return fmt.Errorf("an envelope is no JSON: %w", err)
	}
	if err := v.schema.Validate(value); err != nil {
		return fmt.Errorf("%s: %w", payload, err)
	}
	return nil
}
