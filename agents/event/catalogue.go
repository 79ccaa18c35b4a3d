package event

// Entry says what one envelope means. The type CUSTOM has an entry per name.
type Entry struct {
	Type Type
	// Name is the name of a CUSTOM envelope, empty for the other types.
	Name Name
	// Meaning is one sentence for authors of clients.
	Meaning string
	// By is the package that emits it; empty for a reserved entry.
	By string
	// Data is a zero value whose type is the form of the data, or of the value
	// of a CUSTOM envelope; nil means any JSON. A reserved entry has none.
	Data any
	// Reserved says that no part of this version emits it: clients may meet it
	// later.
	Reserved bool
}

// Key names the entry: the type, or the name of a CUSTOM envelope.
func (e Entry) Key() string {
	if e.Type == Custom {
		return string(e.Name)
	}
	return string(e.Type)
}

// Key names the catalogue's entry of an envelope: its type, or the name of a
// CUSTOM one.
func (e Envelope) Key() string {
	if e.Type != Custom {
		return string(e.Type)
	}
	name, _ := e.CustomName()
	return string(name)
}

// The packages that emit envelopes.
const (
	byRun    = "agents/run"
	byGraph  = "agents/graph"
	byAgents = "agents/prebuilt"
)

// Catalogue lists every envelope there is, in the order of the documentation:
// docs/envelopes.md and docs/envelopes.schema.json are generated from it.
func Catalogue() []Entry {
	return append(append(types(), names()...), reserved()...)
}

// types are the emitted types of AG-UI.
func types() []Entry {
	return []Entry{
		{Type: RunStarted, By: byRun, Data: RunStartedData{},
			Meaning: "A run began to execute; the messages it brings, told by message.queued before, are now part of the thread."},
		{Type: RunFinished, By: byRun, Data: RunFinishedData{},
			Meaning: "A run ended without failing."},
		{Type: RunError, By: byRun, Data: RunErrorData{},
			Meaning: "A run failed; the message is safe to show to people."},
		{Type: StepStarted, By: byGraph, Data: StepData{},
			Meaning: "A node of the graph began its step."},
		{Type: StepFinished, By: byGraph, Data: StepData{},
			Meaning: "A node of the graph ended its step without failing."},
		{Type: TextMessageStart, By: byAgents, Data: TextStartData{},
			Meaning: "An answer begins; its text follows in pieces."},
		{Type: TextMessageContent, By: byAgents, Data: TextContentData{},
			Meaning: "The next piece of an answer's text, to be added at its end; pieces of a moment arrive as one."},
		{Type: TextMessageEnd, By: byAgents + ", " + byRun, Data: TextEndData{},
			Meaning: "An answer's text ends: whole, or void with broken, or cut with stopped."},
		{Type: ToolCallStart, By: byAgents, Data: ToolStartData{},
			Meaning: "The model begins to ask for a tool; the message it belongs to may have no text of its own."},
		{Type: ToolCallArgs, By: byAgents, Data: ToolArgsData{},
			Meaning: "The next piece of a tool call's arguments, which are JSON once they are whole."},
		{Type: ToolCallEnd, By: byAgents + ", " + byRun, Data: ToolEndData{},
			Meaning: "A tool call's arguments are whole and the tool will run, or the call is void with broken."},
		{Type: ToolCallResult, By: byAgents + ", " + byRun, Data: ToolResultData{},
			Meaning: "A tool answered; results of calls made together come in any order."},
		{Type: MessagesSnapshot, By: byRun, Data: SnapshotData{},
			Meaning: "A client changed the thread's messages: they are to be read anew. The log carries no state, so the list is empty here."},
	}
}

// names are the emitted events of our own.
func names() []Entry {
	return []Entry{
		{Type: Custom, Name: MessageQueued, By: byRun, Data: QueuedValue{},
			Meaning: "A run was accepted and stands in the thread's line with the messages it brings."},
		{Type: Custom, Name: MessageUnqueued, By: byRun, Data: UnqueuedValue{},
			Meaning: "A run was withdrawn before it began; its messages never become part of the thread."},
		{Type: Custom, Name: RunContinued, By: byRun, Data: ContinuedValue{},
			Meaning: "A new attempt goes on from the last checkpoint after a worker was lost; the discarded messages are void."},
		{Type: Custom, Name: MessagesDiscarded, By: byGraph, Data: DiscardedValue{},
			Meaning: "What a node said is void: it failed and is tried again, or it paused and will start again."},
		{Type: Custom, Name: CheckpointMade, By: byRun, Data: CheckpointValue{},
			Meaning: "The thread's state is stored; what came before survives a crash and is never discarded."},
		{Type: Custom, Name: GraphCustom, By: "nodes of graphs",
			Meaning: "Whatever a graph tells its own clients; the value is the graph's affair."},
		{Type: Custom, Name: ReviewRequested, By: byRun, Data: RequestedValue{},
			Meaning: "A node paused: the run ends as interrupted and another goes on once people have answered."},
		{Type: Custom, Name: ReviewDecided, By: byRun, Data: DecidedValue{},
			Meaning: "A request for review was decided, withdrawn, or ran out."},
		{Type: Custom, Name: Usage, By: byAgents, Data: UsageValue{},
			Meaning: "What one call of a model took."},
		{Type: Custom, Name: ThreadChanged, By: byRun, Data: ThreadValue{},
			Meaning: "Somebody gave the thread another title or moved it to another version of its assistant."},
	}
}

// reserved are those a later version emits; a client passes them over.
func reserved() []Entry {
	return []Entry{
		{Type: ReasoningMessageStart, Reserved: true, Meaning: "A model's reasoning begins."},
		{Type: ReasoningMessageContent, Reserved: true, Meaning: "The next piece of a model's reasoning."},
		{Type: ReasoningMessageEnd, Reserved: true, Meaning: "A model's reasoning ends."},
		{Type: StateDelta, Reserved: true, Meaning: "The graph's state changed, as a JSON patch."},
		{Type: ActivitySnapshot, Reserved: true, Meaning: "A plan or status line, whole."},
		{Type: ActivityDelta, Reserved: true, Meaning: "A plan or status line changed, as a JSON patch."},
		{Type: Custom, Name: NodeUpdate, Reserved: true, Meaning: "What a node wrote into the state."},
		{Type: Custom, Name: TaskStarted, Reserved: true, Meaning: "A task inside a step began."},
		{Type: Custom, Name: TaskFinished, Reserved: true, Meaning: "A task inside a step ended."},
		{Type: Custom, Name: FileChanged, Reserved: true, Meaning: "A file of the thread changed."},
		{Type: Custom, Name: MemoryChanged, Reserved: true, Meaning: "What is remembered changed."},
	}
}
