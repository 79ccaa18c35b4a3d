package tool

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/heddle/heddle/internal/fault"
)

// checked is a schema ready to judge arguments.
type checked struct {
	schema   *jsonschema.Schema
	resolved *jsonschema.Resolved
}

func newChecked(s *jsonschema.Schema) (*checked, error) {
	if s.Type != "object" {
		return nil, fmt.Errorf("the arguments must be an object, not %q", s.Type)
	}
	if field := identity(s); field != "" {
		return nil, fmt.Errorf("argument %q asks the model for identity, which only the host knows", field)
	}
	resolved, err := s.Resolve(nil)
	if err != nil {
		return nil, fmt.Errorf("resolving the schema: %w", err)
	}
	return &checked{schema: s, resolved: resolved}, nil
}

// check judges raw as a whole by the library and, if it fails, explains each
// broken field in plain words.
func (c *checked) check(raw json.RawMessage) error {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return fault.Invalid("arguments", "must be valid JSON").WithCause(err)
	}
	err := c.resolved.Validate(value)
	if err == nil {
		return nil
	}
	broken := map[string]string{}
	explain(broken, "", c.schema, value)
	if len(broken) == 0 {
		broken["arguments"] = "do not fit the schema: " + err.Error()
	}
	return fault.InvalidFields(broken).WithCause(err)
}

// hostNames are the names, without case and marks, that belong to the host.
// "user", "org" and the like stand alone or before "id", "name" and "key".
var hostNames = func() map[string]bool {
	names := map[string]bool{
		"scope": true, "identity": true, "principal": true, "permissions": true, "role": true, "roles": true,
		"apikey": true, "token": true, "accesstoken": true, "password": true, "secret": true, "sessionid": true,
		"threadid": true, "runid": true, "callid": true, "toolcallid": true, "requestid": true, "idempotencykey": true,
		"onbehalfof": true, "actas": true, "runas": true, "impersonate": true,
	}
	for _, who := range []string{"user", "org", "organisation", "organization", "tenant", "account", "owner", "workspace", "member", "currentuser"} {
		for _, tail := range []string{"", "id", "uuid", "key", "name", "email"} {
			names[who+tail] = true
		}
	}
	return names
}()

// identity finds an argument, at any depth, by whose name a model would say
// who it acts for; "" if there is none.
func identity(s *jsonschema.Schema) string {
	if s == nil {
		return ""
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		bare := strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "", " ", "").Replace(name))
		if hostNames[bare] {
			return name
		}
		if found := identity(s.Properties[name]); found != "" {
			return found
		}
	}
	for _, inner := range slices.Concat([]*jsonschema.Schema{s.Items, s.AdditionalProperties}, s.AllOf, s.AnyOf, s.OneOf) {
		if found := identity(inner); found != "" {
			return found
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Defs)) {
		if found := identity(s.Defs[name]); found != "" {
			return found
		}
	}
	return ""
}
