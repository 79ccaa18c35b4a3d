// Drives a Heddle socket with the phoenix client and reports what it saw, one
// JSON object per line. Usage: node client.mjs URL TOKEN TOPIC LAST
import {Socket} from "phoenix"
import WebSocket from "ws"

const [url, authToken, topic, last] = process.argv.slice(2)
const say = (what, more = {}) => console.log(JSON.stringify({what, ...more}))
const fail = why => { say("failed", {why}); process.exit(1) }
setTimeout(() => fail("took too long"), 30_000).unref()

const socket = new Socket(url, {
  transport: WebSocket,
  authToken,
  heartbeatIntervalMs: 200,
  reconnectAfterMs: () => 50,
  rejoinAfterMs: () => 50
})
let opened = 0
socket.onOpen(() => say("open", {times: ++opened}))
socket.onClose(event => say("close", {code: event.code}))
socket.connect()

const push = (channel, event, payload) => new Promise(done => {
  channel.push(event, payload)
    .receive("ok", response => done({status: "ok", response}))
    .receive("error", response => done({status: "error", response}))
    .receive("timeout", () => done({status: "timeout"}))
})

const seqs = []
let at = 0
let epoch = ""
const channel = socket.channel(topic, () => at ? {after: at, epoch} : {after: 0})
channel.onMessage = (event, payload) => {
  if(event === "lag"){ say("lag", payload) }
  return payload
}
channel.on("envelope", ({seq}) => {
  seqs.push(seq)
  at = seq
  say("seq", {seq})
  if(seq === Number(last)){ finish() }
})
channel.join()
  .receive("ok", response => { epoch = response.epoch; say("joined", response) })
  .receive("error", response => fail(JSON.stringify(response)))

async function finish(){
  const echo = await push(channel, "echo", {text: "grüße"})
  const wrong = await push(channel, "dance", {})
  const foreign = socket.channel("room:foreign", {})
  const refused = await new Promise(done => foreign.join().receive("error", done))
  foreign.leave()
  const rtt = await new Promise(done => socket.ping(done))
  const left = await new Promise(done => channel.leave().receive("ok", () => done(true)))
  say("done", {seqs, opened, echo, wrong, refused, left, ping: rtt >= 0})
  socket.disconnect(() => process.exit(0))
}
