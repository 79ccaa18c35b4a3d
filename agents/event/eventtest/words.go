package eventtest

// The words of docs/envelopes.md that the catalogue cannot know.
const (
	introduction = `# Envelopes

<!-- Generated from agents/event by agents/event/eventtest. Do not edit: run make generate. -->

Everything that happens to a thread is one stream of envelopes: logged first, then numbered, then told to whoever
watches. [The socket](realtime.md) sends them as they are; pages, the API and other protocols are projections of them.

[envelopes.schema.json](envelopes.schema.json) is their JSON Schema, draft 2020-12. It describes this version exactly
and refuses what it does not know, for tests; a client should pass over types, names and fields that are new to it, for
they can be added without a new ` + "`v`" + `.

## The envelope

`
	types = `The types are those of [AG-UI](https://docs.ag-ui.com), and so are the names of their fields. What AG-UI has no word
for is CUSTOM: its data is ` + "`{\"name\": …, \"value\": …}`" + `, and the table lists the fields of the value. All types but
CUSTOM have ` + "`run_id`" + ` and ` + "`attempt`" + `. Durations are in milliseconds.

`
	agui = `
## As AG-UI

An AG-UI event is flat. A projection of an envelope to one takes ` + "`type`" + `, the fields of ` + "`data`" + ` beside it, and
` + "`ts`" + ` as ` + "`timestamp`" + `, in milliseconds since 1970. Every field that @ag-ui/core 1.0.0 requires of the types above is
in the data, and every field that is not AG-UI's may stay, for its objects are open. Beyond that:

- **RUN_FINISHED**: ` + "`outcome`" + ` is a word here and an object there: ` + "`\"cancelled\"` becomes `{\"type\": \"cancelled\"}`" + `. An
  interrupt also names what is waited for, in ` + "`interrupts`" + `.
- **A message that was taken back**: AG-UI knows no ` + "`broken`" + ` and no run.continued. After a continued attempt a projection
  sends MESSAGES_SNAPSHOT without the discarded messages.
- **What a person did outside a run**, such as message.queued or thread.changed, has no place before RUN_STARTED or after
  the run's end. A projection leaves it out there.
- ` + "`seq`, `epoch`, `step`, `node` and `ns`" + ` go into ` + "`metadata`" + ` if the receiver wants them.
`
)
