// Keeps relative times true and counts the seconds of what is going on.
export function start() {
  setInterval(elapsed, 1000);
  setInterval(relative, 20000);
}

function elapsed() {
  for (const time of document.querySelectorAll("time[data-elapsed]")) {
    const seconds = Math.max(0, Math.floor((Date.now() - Date.parse(time.dateTime)) / 1000));
    if (Number.isNaN(seconds)) continue;
    put(time, seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`);
  }
}

function relative() {
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const text = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (text) put(time, text);
  }
  for (const time of document.querySelectorAll("time[data-until]")) {
    const { text, state } = until((Date.parse(time.dateTime) - Date.now()) / 1000);
    put(time, text);
    if (time.dataset.until !== state) time.dataset.until = state;
  }
}

// until says how long is left, as the server does.
function until(seconds) {
  if (seconds <= 0) return { text: "due now", state: "late" };
  if (seconds < 60) return { text: "due in less than a minute", state: "soon" };
  const state = seconds < 900 ? "soon" : "";
  if (seconds < 3600) return { text: `due in ${Math.floor(seconds / 60)} min`, state };
  if (seconds < 172800) return { text: `due in ${Math.floor(seconds / 3600)} h`, state };
  return { text: `due in ${Math.floor(seconds / 86400)} days`, state };
}

// ago says how long ago something was; beyond a day the server's words stay.
function ago(seconds) {
  if (Number.isNaN(seconds) || seconds >= 86400) return "";
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return `${Math.floor(seconds / 3600)} h ago`;
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
