// The graphs of the peer: what Heddle's own development graphs of the same names do.
import { randomUUID } from "node:crypto";
import { AIMessage, AIMessageChunk } from "@langchain/core/messages";
import { BaseChatModel } from "@langchain/core/language_models/chat_models";
import { ChatGenerationChunk } from "@langchain/core/outputs";
import { END, MessagesAnnotation, START, StateGraph } from "@langchain/langgraph";

const textOf = ({ content }) => (typeof content === "string" ? content : content.map((block) => block.text ?? "").join(""));

export const echo = new StateGraph(MessagesAnnotation)
  .addNode("echo", async ({ messages }) => ({
    messages: [new AIMessage({ id: randomUUID(), content: `echo: ${textOf(messages.at(-1))}` })],
  }))
  .addEdge(START, "echo")
  .addEdge("echo", END)
  .compile();

// A model that says 50 tokens without a pause, so that the server is measured.
class Tokens extends BaseChatModel {
  _llmType() {
    return "tokens";
  }
  async _generate(messages, options, manager) {
    let whole;
    for await (const chunk of this._streamResponseChunks(messages, options, manager)) {
      whole = whole ? whole.concat(chunk) : chunk;
    }
    return { generations: [{ text: whole.text, message: whole.message }] };
  }
  async *_streamResponseChunks(_messages, _options, manager) {
    const id = randomUUID();
    for (let i = 0; i < 50; i++) {
      const text = `token${i} `;
      const chunk = new ChatGenerationChunk({ text, message: new AIMessageChunk({ id, content: text }) });
      yield chunk;
      await manager?.handleLLMNewToken(text, undefined, undefined, undefined, undefined, { chunk });
    }
  }
}

const tokens = new Tokens({});

export const stream50 = new StateGraph(MessagesAnnotation)
  .addNode("stream50", async ({ messages }, config) => ({ messages: [await tokens.invoke(messages, config)] }))
  .addEdge(START, "stream50")
  .addEdge("stream50", END)
  .compile();
