package graph_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/heddle/heddle/agents/graph"
)

func spread(graph.State) ([]graph.Send, error) { return nil, nil }

// declared is a graph of one node, to be spoilt.
func declared() *graph.Builder {
	return graph.New("g").Node("a", nothing).Edge(graph.Start, "a").Edge("a", graph.End)
}

func TestCompileNamesTheNodeAndTheRule(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		build      *graph.Builder
		rule       error
		code, node string
	}{
		"NameTwice":       {declared().Node("a", nothing), graph.ErrBadName, "bad_name", "a"},
		"Reserved":        {declared().Node(graph.Start, nothing), graph.ErrBadName, "bad_name", graph.Start},
		"ReservedEnd":     {declared().Node(graph.End, nothing), graph.ErrBadName, "bad_name", graph.End},
		"Empty":           {declared().Node("", nothing), graph.ErrBadName, "bad_name", ""},
		"SubgraphTwice":   {declared().Subgraph("a", compile(t, declared())), graph.ErrBadName, "bad_name", "a"},
		"ChannelTwice":    {declared().Channels(log, graph.Sum("log")), graph.ErrBadChannel, "bad_channel", "log"},
		"ChannelMessages": {declared().Channels(graph.Sum("messages")), graph.ErrBadChannel, "bad_channel", "messages"},
		"ChannelEmpty":    {declared().Channels(graph.Sum("")), graph.ErrBadChannel, "bad_channel", ""},
		"ChannelDigit":    {declared().Channels(graph.Sum("1a")), graph.ErrBadChannel, "bad_channel", "1a"},
		"ChannelSpace":    {declared().Channels(graph.Sum("a b")), graph.ErrBadChannel, "bad_channel", "a b"},
		"ChannelEngine":   {declared().Channels(graph.Sum("__join")), graph.ErrBadChannel, "bad_channel", "__join"},
		"ChannelLong":     {declared().Channels(graph.Sum(strings.Repeat("a", 65))), graph.ErrBadChannel, "bad_channel", strings.Repeat("a", 65)},
		"SlotVersion":     {declared().Channels(graph.NewKey[int]("n", "k", 0)), graph.ErrBadChannel, "bad_channel", "n:k:v0"},
		"SlotName":        {declared().Channels(graph.NewKey[int]("n", "k:x", 1)), graph.ErrBadChannel, "bad_channel", "n:k:x:v1"},
		"NoNode":          {graph.New("g").Node("a", nil).Edge(graph.Start, "a").Edge("a", graph.End), graph.ErrNoBody, "no_body", "a"},
		"NoSubgraph":      {graph.New("g").Subgraph("a", nil).Edge(graph.Start, "a").Edge("a", graph.End), graph.ErrNoBody, "no_body", "a"},
		"NoIsolatedIn":    {graph.New("g").Isolated("a", compile(t, declared()), nil, nil).Edge(graph.Start, "a").Edge("a", graph.End), graph.ErrNoBody, "no_body", "a"},
		"NoRouter":        {declared().Branch("a", nil, "a"), graph.ErrNoBody, "no_body", "a"},
		"NoTargets":       {declared().Branch("a", to()), graph.ErrNoBody, "no_body", "a"},
		"NoSpread":        {declared().Fan("a", nil, "a"), graph.ErrNoBody, "no_body", "a"},
		"NoFanTargets":    {declared().Fan("a", spread), graph.ErrNoBody, "no_body", "a"},
		"NoEntry":         {graph.New("g").Node("a", nothing).Edge("a", graph.End), graph.ErrNoEntry, "no_entry", graph.Start},
		"UnknownTo":       {declared().Edge("a", "b"), graph.ErrUnknownNode, "unknown_node", "b"},
		"UnknownFrom":     {declared().Edge("b", "a"), graph.ErrUnknownNode, "unknown_node", "b"},
		"UnknownRoute":    {declared().Branch("a", to("b"), "b"), graph.ErrUnknownNode, "unknown_node", "b"},
		"UnknownFan":      {declared().Fan("a", spread, "b"), graph.ErrUnknownNode, "unknown_node", "b"},
		"UnknownSource":   {declared().Join("a", "a", "b"), graph.ErrUnknownNode, "unknown_node", "b"},
		"UnknownJoined":   {declared().Node("c", nothing).Edge("a", "c").Edge("c", graph.End).Join("b", "a", "c"), graph.ErrUnknownNode, "unknown_node", "b"},
		"UnknownHandler":  {graph.New("g").Node("a", nothing, graph.OnError("b")).Edge(graph.Start, "a").Edge("a", graph.End), graph.ErrUnknownNode, "unknown_node", "b"},
		"UnknownEnds":     {graph.New("g").Node("a", nothing, graph.Ends("b")).Edge(graph.Start, "a").Edge("a", graph.End), graph.ErrUnknownNode, "unknown_node", "b"},
		"FromEnd":         {declared().Edge(graph.End, "a"), graph.ErrEdgeFromEnd, "edge_from_end", "a"},
		"BranchFromEnd":   {declared().Branch(graph.End, to("a"), "a"), graph.ErrEdgeFromEnd, "edge_from_end", graph.End},
		"FanFromEnd":      {declared().Fan(graph.End, spread, "a"), graph.ErrEdgeFromEnd, "edge_from_end", graph.End},
		"JoinFromEnd":     {declared().Join("a", "a", graph.End), graph.ErrEdgeFromEnd, "edge_from_end", "a"},
		"ToStart":         {declared().Edge("a", graph.Start), graph.ErrEdgeToStart, "edge_to_start", "a"},
		"BranchToStart":   {declared().Branch("a", to(graph.Start), graph.Start), graph.ErrEdgeToStart, "edge_to_start", "a"},
		"FanToStart":      {declared().Fan("a", spread, graph.Start), graph.ErrEdgeToStart, "edge_to_start", "a"},
		"EndsAtStart":     {graph.New("g").Node("a", nothing, graph.Ends(graph.Start)).Edge(graph.Start, "a").Edge("a", graph.End), graph.ErrEdgeToStart, "edge_to_start", "a"},
		"HandledByStart":  {graph.New("g").Node("a", nothing, graph.OnError(graph.Start)).Edge(graph.Start, "a").Edge("a", graph.End), graph.ErrEdgeToStart, "edge_to_start", "a"},
		"EdgeTwice":       {declared().Edge("a", graph.End), graph.ErrDuplicateEdge, "duplicate_edge", "a → __end__"},
		"JoinTwice": {graph.New("g").Node("a", nothing).Node("b", nothing).Node("c", nothing).Edge(graph.Start, "a").Edge(graph.Start, "b").Edge("c", graph.End).
			Join("c", "a", "b").Join("c", "b", "a"), graph.ErrDuplicateEdge, "duplicate_edge", "c"},
		"JoinOfOne":       {declared().Join("a", "a"), graph.ErrBadJoin, "bad_join", "a"},
		"JoinOfTheSame":   {declared().Join("a", "a", "a"), graph.ErrBadJoin, "bad_join", "a"},
		"JoinOfNone":      {declared().Join("a"), graph.ErrBadJoin, "bad_join", "a"},
		"JoinOfTheStart":  {declared().Join("a", "a", graph.Start), graph.ErrBadJoin, "bad_join", "a"},
		"HandlerOfItself": {graph.New("g").Node("a", nothing, graph.OnError("a")).Edge(graph.Start, "a").Edge("a", graph.End), graph.ErrBadHandler, "bad_handler", "a"},
		"HandledHandler": {graph.New("g").Node("a", nothing, graph.OnError("b")).Node("b", nothing, graph.OnError("c")).Node("c", nothing).
			Edge(graph.Start, "a").Edge("a", graph.End).Edge("b", graph.End).Edge("c", graph.End), graph.ErrBadHandler, "bad_handler", "b"},
		"HandledByTheEnd": {graph.New("g").Node("a", nothing, graph.OnError(graph.End)).Edge(graph.Start, "a").Edge("a", graph.End), graph.ErrBadHandler, "bad_handler", graph.End},
		"Unreachable":     {declared().Node("b", nothing).Edge("b", graph.End), graph.ErrUnreachable, "unreachable", "b"},
		"NoWayOut":        {declared().Node("b", nothing).Edge("a", "b"), graph.ErrNoPathToEnd, "no_path_to_end", "b"},
		"Cycle":           {declared().Node("b", nothing).Edge("a", "b").Edge("b", "a"), graph.ErrCycle, "cycle", "a → b → a"},
		"CycleOfOne":      {declared().Edge("a", "a"), graph.ErrCycle, "cycle", "a → a"},
		"CycleOfAJoin": {graph.New("g").Node("a", nothing).Node("b", nothing).Node("c", nothing).Edge(graph.Start, "a").Edge("a", "b").
			Edge("c", "a").Join("c", "a", "b").Edge("b", graph.End), graph.ErrCycle, "cycle", "a → b → c → a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.build.Compile()
			require.ErrorIs(t, err, c.rule)
			var at *graph.CompileError
			require.ErrorAs(t, err, &at)
			require.Contains(t, err.Error(), "graph g, node "+c.node+": "+c.rule.Error())
			require.Contains(t, places(err, c.code), c.node)
		})
	}
}

// places lists the nodes at which an error names a rule.
func places(err error, code string) []string {
	var out []string
	joined, _ := err.(interface{ Unwrap() []error })
	for _, e := range joined.Unwrap() {
		var at *graph.CompileError
		if errors.As(e, &at) && at.Code() == code {
			out = append(out, at.Node)
		}
	}
	return out
}

func TestEveryRuleHasACodeAndHelpForPeople(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, rule := range []error{graph.ErrBadName, graph.ErrBadChannel, graph.ErrNoBody, graph.ErrNoEntry, graph.ErrUnknownNode, graph.ErrEdgeFromEnd,
		graph.ErrEdgeToStart, graph.ErrDuplicateEdge, graph.ErrBadJoin, graph.ErrBadHandler, graph.ErrUnreachable, graph.ErrNoPathToEnd, graph.ErrCycle} {
		e := &graph.CompileError{Graph: "g", Node: "a", Rule: rule}
		require.NotEmpty(t, e.Code(), "%v", rule)
		require.False(t, seen[e.Code()], e.Code())
		seen[e.Code()] = true
		require.True(t, unicode.IsUpper([]rune(e.Help())[0]), e.Help())
		require.True(t, strings.HasSuffix(e.Help(), "."), e.Help())
	}
	require.Empty(t, (&graph.CompileError{Rule: errors.New("another")}).Code())
}

func TestAllBrokenRulesAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, err := graph.New("g").Node("", nothing).Edge("x", "y").Compile()
	for _, rule := range []error{graph.ErrBadName, graph.ErrNoEntry, graph.ErrUnknownNode} {
		require.ErrorIs(t, err, rule)
	}
	require.Equal(t, []string{"x", "y"}, places(err, "unknown_node"), "each once")
}

func TestWhatMayLeaveACycleLetsItCompile(t *testing.T) {
	t.Parallel()
	two := func() *graph.Builder { return graph.New("g").Node("b", nothing).Edge(graph.Start, "a").Edge("b", "a") }
	for name, b := range map[string]*graph.Builder{
		"Branch":  two().Node("a", nothing).Branch("a", to(graph.End), "b", graph.End),
		"Fan":     two().Node("a", nothing).Fan("a", spread, "b").Branch("a", to(graph.End), graph.End),
		"Command": two().Node("a", nothing, graph.Ends(graph.End)).Edge("a", "b"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			compile(t, b)
		})
	}
}

func TestWaysOfACommandAndOfAFailureCountAsWays(t *testing.T) {
	t.Parallel()
	compile(t, graph.New("g").Node("a", nothing, graph.Ends("b"), graph.OnError("c")).Node("b", nothing, graph.Ends(graph.End)).Node("c", nothing).
		Edge(graph.Start, "a").Edge("c", graph.End))
}

func TestACompiledGraphDoesNotChangeWithItsBuilder(t *testing.T) {
	t.Parallel()
	b := declared()
	g := compile(t, b)
	hash, edges := g.Hash(), g.Edges()
	b.Channels(log).Node("b", nothing).Edge("a", "b").Edge("b", graph.End)
	require.Equal(t, []string{"a"}, g.Nodes())
	require.Equal(t, edges, g.Edges())
	require.Equal(t, hash, g.Hash())
	require.Empty(t, g.Channels())
	again := compile(t, b)
	require.NotEqual(t, hash, again.Hash())
}

func TestAGraphDescribesItself(t *testing.T) {
	t.Parallel()
	child := compile(t, declared())
	g := compile(t, graph.New("big").Channels(graph.Sum("cost"), log.Private(), graph.Reduce("max", "max/1", func(a, b int) int { return max(a, b) })).
		Node("b", nothing, graph.Ends(graph.End), graph.OnError("h")).Node("a", nothing).Node("h", nothing).Node("j", nothing).Subgraph("s", child).
		Edge(graph.Start, "b").Edge("b", "a").Branch("a", to(graph.End), "b", graph.End).Fan("a", spread, "s").Join("j", "s", "a").
		Edge("j", graph.End).Edge("h", graph.End).Edge("s", graph.End))
	require.Equal(t, "big", g.Name())
	require.Equal(t, []string{"a", "b", "h", "j", "s"}, g.Nodes())
	require.True(t, g.Has("s"))
	require.False(t, g.Has(graph.Start))
	require.Same(t, child, g.Subgraph("s"))
	require.Nil(t, g.Subgraph("a"))
	require.Equal(t, []graph.ChannelInfo{{Name: "_log", Reducer: "append", Private: true}, {Name: "cost", Reducer: "add"}, {Name: "max", Reducer: "reduce:max/1"}}, g.Channels())
	require.Equal(t, []graph.Edge{
		{From: graph.Start, To: "b"},
		{From: "a", To: "b", Kind: graph.EdgeBranch}, {From: "a", To: graph.End, Kind: graph.EdgeBranch},
		{From: "a", To: "s", Kind: graph.EdgeSend}, {From: "a", To: "j", Kind: graph.EdgeJoin},
		{From: "b", To: "a"}, {From: "b", To: graph.End, Kind: graph.EdgeGoto}, {From: "b", To: "h", Kind: graph.EdgeFailure},
		{From: "h", To: graph.End}, {From: "j", To: graph.End},
		{From: "s", To: graph.End}, {From: "s", To: "j", Kind: graph.EdgeJoin},
	}, g.Edges())
	require.Equal(t, []string{"b", graph.End, "s", "j"}, g.Successors("a"))
	for _, e := range g.Edges() {
		require.Equal(t, e.Kind != graph.EdgePlain && e.Kind != graph.EdgeJoin, e.Conditional(), "%v", e)
	}
}
