// A small chat by useStream, written as programs for the hosted platform are:
// nothing in it knows this server. What it needs stands in its address: api, key,
// assistant, thread, and history, which is on or off.
import { useState } from "react";
import { createRoot } from "react-dom/client";
import { useStream } from "@langchain/langgraph-sdk/react";

const given = new URLSearchParams(location.search);

const textOf = (content) => (typeof content === "string" ? content : content.map((block) => block.text ?? "").join(""));

function Chat() {
  const [threadId, setThreadId] = useState(given.get("thread"));
  const keep = (id) => {
    setThreadId(id);
    given.set("thread", id);
    history.replaceState(null, "", "?" + given);
  };
  const stream = useStream({
    apiUrl: given.get("api"), apiKey: given.get("key"), assistantId: given.get("assistant"),
    threadId, onThreadId: keep, reconnectOnMount: true, fetchStateHistory: given.get("history") === "on",
  });
  const before = (message) => stream.getMessagesMetadata(message)?.firstSeenState?.parent_checkpoint;

  const send = (event) => {
    event.preventDefault();
    const message = { id: crypto.randomUUID(), type: "human", content: [{ type: "text", text: event.target.text.value }] };
    event.target.reset();
    stream.submit({ messages: [message] }, {
      streamMode: ["values"], streamSubgraphs: true, streamResumable: true,
      optimisticValues: (old) => ({ ...old, messages: [...(old.messages ?? []), message] }),
    });
  };
  const edit = (message) => (event) => {
    event.preventDefault();
    stream.submit({ messages: [{ type: "human", content: event.target.text.value }] }, { checkpoint: before(message), streamMode: ["values"] });
  };
  const regenerate = (message) => stream.submit(undefined, { checkpoint: before(message), streamMode: ["values"] });
  const decide = (...decisions) => stream.submit(undefined, { command: { resume: { decisions } } });

  return (
    <main data-loading={stream.isLoading || stream.isThreadLoading}>
      <ol>
        {stream.messages.map((message, at) => (
          <li key={message.id ?? at} id={message.id} className={message.type}>
            <p>{textOf(message.content)}</p>
            {(message.tool_calls ?? []).map((call) => <code key={call.id}>{call.name}</code>)}
            {message.type === "human" && <form className="edit" onSubmit={edit(message)}><input name="text" /></form>}
            {message.type === "ai" && <button className="regenerate" onClick={() => regenerate(message)}>Again</button>}
            <Branches {...stream.getMessagesMetadata(message)} choose={stream.setBranch} />
          </li>
        ))}
      </ol>
      {stream.interrupt && (
        <section>
          <pre>{JSON.stringify(stream.interrupt.value)}</pre>
          <button className="approve" onClick={() => decide({ type: "approve" })}>Approve</button>
          <button className="reject" onClick={() => decide({ type: "reject", message: "Not today." })}>Reject</button>
        </section>
      )}
      {stream.error != null && <output>{stream.error.message ?? String(stream.error)}</output>}
      <form className="send" onSubmit={send}><input name="text" /></form>
      {stream.isLoading && <button className="stop" onClick={() => stream.stop()}>Stop</button>}
    </main>
  );
}

// Branches are the other versions of a message.
function Branches({ branch, branchOptions, choose }) {
  if (!branchOptions) return null;
  return branchOptions.map((option) => <button key={option} className="branch" aria-pressed={option === branch} onClick={() => choose(option)}>Version</button>);
}

createRoot(document.getElementById("root")).render(<Chat />);
