package api

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"github.com/heddle/heddle/agents/graph"
	"github.com/heddle/heddle/internal/fault"
)

// graphOf reads the route's assistant's graph.
func (a *API) graphOf(c *fiber.Ctx) (*graph.Graph, error) {
	found, err := a.assistant(c)
	if err != nil {
		return nil, err
	}
	g, ok := a.workshop.Graph(found.Graph)
	if !ok {
		return nil, fault.NotFound("Graph")
	}
	return g, nil
}

// AssistantGraph is GET /assistants/:assistant/graph?xray: nodes and edges from
// __start__ to __end__. xray opens subgraphs: all of them, or so many levels.
func (a *API) AssistantGraph(c *fiber.Ctx) error {
	g, err := a.graphOf(c)
	if err != nil {
		return err
	}
	depth, err := xray(c.Query("xray"))
	if err != nil {
		return err
	}
	d := drawing{nodes: []fiber.Map{}, edges: []fiber.Map{}}
	d.add(g, "", depth)
	return c.JSON(fiber.Map{"nodes": d.nodes, "edges": d.edges})
}

func xray(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	if levels, err := strconv.Atoi(text); err == nil && levels >= 0 {
		return levels, nil
	}
	all, err := strconv.ParseBool(text)
	switch {
	case err != nil:
		return 0, fault.Invalid("xray", "must be true, false or how many levels of subgraphs to open")
	case all:
		return math.MaxInt, nil
	default:
		return 0, nil
	}
}

// drawing collects a graph for clients that draw it.
type drawing struct{ nodes, edges []fiber.Map }

// add draws a graph whose nodes' ids begin with prefix. A subgraph that is opened
// stands there with its own nodes, from its start to its end, in place of the
// node that it is.
func (d *drawing) add(g *graph.Graph, prefix string, depth int) {
	opened := func(name string) *graph.Graph {
		if depth == 0 {
			return nil
		}
		return g.Subgraph(name)
	}
	for _, name := range slices.Concat([]string{graph.Start}, g.Nodes(), []string{graph.End}) {
		if sub := opened(name); sub != nil {
			d.add(sub, prefix+name+":", depth-1)
			continue
		}
		node := fiber.Map{"id": prefix + name, "name": name, "type": "runnable", "data": fiber.Map{"id": []string{g.Name(), name}, "name": name}}
		if name == graph.Start || name == graph.End {
			node["type"], node["data"] = "schema", name
		}
		d.nodes = append(d.nodes, node)
	}
	for _, e := range g.Edges() {
		from, to := prefix+e.From, prefix+e.To
		if opened(e.From) != nil {
			from += ":" + graph.End
		}
		if opened(e.To) != nil {
			to += ":" + graph.Start
		}
		edge := fiber.Map{"source": from, "target": to}
		if e.Conditional() {
			edge["conditional"] = true
		}
		if e.Kind != graph.EdgePlain && e.Kind != graph.EdgeBranch {
			edge["data"] = string(e.Kind)
		}
		d.edges = append(d.edges, edge)
	}
}

// AssistantSchemas is GET /assistants/:assistant/schemas.
func (a *API) AssistantSchemas(c *fiber.Ctx) error {
	g, err := a.graphOf(c)
	if err != nil {
		return err
	}
	return c.JSON(a.schemasOf(g))
}

// AssistantSubgraphs is GET /assistants/:assistant/subgraphs and
// /subgraphs/:ns, ?recurse: the schemas of subgraphs by their namespace, the
// names of the nodes from the outside joined by "|". Without a namespace they are
// those of the graph itself, with one it is that one; recurse adds those inside.
func (a *API) AssistantSubgraphs(c *fiber.Ctx) error {
	g, err := a.graphOf(c)
	if err != nil {
		return err
	}
	recurse, err := yes(c, "recurse", false)
	if err != nil {
		return err
	}
	ns, err := url.PathUnescape(param(c, "ns"))
	if err != nil {
		return fault.Invalid("namespace", "must be written as a part of an address")
	}
	out := fiber.Map{}
	a.subgraphs(out, g, "", func(at string) bool {
		inside, below := strings.CutPrefix(at, ns+namespaceMark)
		switch {
		case ns == "":
			return recurse || !strings.Contains(at, namespaceMark)
		case at == ns:
			return true
		default:
			return recurse && below && inside != ""
		}
	})
	return c.JSON(out)
}

// namespaceMark stands between the names of nodes in a namespace.
const namespaceMark = "|"

func (a *API) subgraphs(into fiber.Map, g *graph.Graph, prefix string, wanted func(ns string) bool) {
	for _, name := range g.Nodes() {
		sub := g.Subgraph(name)
		if sub == nil {
			continue
		}
		ns := prefix + name
		if wanted(ns) {
			into[ns] = a.schemasOf(sub)
		}
		a.subgraphs(into, sub, ns+namespaceMark, wanted)
	}
}

// schemasOf describes a graph's data: what runs bring, what clients see, what is
// stored (which is the same, but for what is private), and what an assistant and
// a run can be configured with.
func (a *API) schemasOf(g *graph.Graph) fiber.Map {
	s := g.Schemas()
	state := fiber.Map{"messages": messagesSchema()}
	for name, schema := range s.Channels {
		state[name] = schema
	}
	needed := make([]string, 0, len(s.Context))
	for name := range s.Context {
		needed = append(needed, name)
	}
	slices.Sort(needed)
	context := objectSchema("Context", s.Context)
	if len(needed) > 0 {
		context["required"] = needed
	}
	input := objectSchema("Input", state)
	if len(s.Channels) == 0 {
		input["required"] = []string{"messages"} // else another channel will do
	}
	return fiber.Map{
		"graph_id": g.Name(), "input_schema": input, "output_schema": objectSchema("Output", state), "state_schema": objectSchema("State", state),
		"config_schema": objectSchema("Configurable", settingSchemas(a.workshop.Models(), a.workshop.Tools())), "context_schema": context,
	}
}

func objectSchema[V any, M ~map[string]V](title string, properties M) fiber.Map {
	return fiber.Map{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "type": "object", "properties": properties}
}

// messagesSchema describes messages as clients send and read them.
func messagesSchema() fiber.Map {
	text := fiber.Map{"type": "string"}
	return fiber.Map{"title": "Messages", "type": "array", "items": fiber.Map{
		"title": "Message", "type": "object", "required": []string{"content"},
		"properties": fiber.Map{
			"id": fiber.Map{"type": "string", "maxLength": 200}, "name": text, "tool_call_id": text,
			"type":    fiber.Map{"type": "string", "enum": []string{"human", "ai", "system", "tool"}},
			"role":    fiber.Map{"type": "string", "enum": []string{"user", "assistant", "system", "developer", "tool"}},
			"content": fiber.Map{"anyOf": []fiber.Map{text, {"type": "array", "items": fiber.Map{"type": "object"}}}},
			"tool_calls": fiber.Map{"type": "array", "items": fiber.Map{"type": "object", "required": []string{"name", "args"},
				"properties": fiber.Map{"id": text, "name": text, "args": fiber.Map{"type": "object"}}}},
		},
		"anyOf": []fiber.Map{{"required": []string{"type"}}, {"required": []string{"role"}}},
	}}
}
