// Tells two texts apart word by word, as the server does. Long texts are told
// apart as wholes: this runs at every key.
const most = 250000;

export function words(before, after) {
  const a = split(before);
  const b = split(after);
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head++;
  let tail = 0;
  while (tail < a.length - head && tail < b.length - head && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const parts = [];
  push(parts, "same", a.slice(0, head));
  middle(parts, a.slice(head, a.length - tail), b.slice(head, b.length - tail));
  push(parts, "same", a.slice(a.length - tail));
  return parts;
}

function split(text) {
  return text.match(/[\p{L}\p{N}\p{M}_'’]+|\n|[^\S\n]+|[^]/gu) ?? [];
}

function push(parts, kind, pieces) {
  const text = pieces.join("");
  if (!text) return;
  const last = parts.at(-1);
  if (last?.kind === kind) last.text += text;
  else parts.push({ kind, text });
}

// middle walks along the longest common sequence of what differs.
function middle(parts, a, b) {
  if (a.length * b.length > most) {
    push(parts, "del", a);
    push(parts, "ins", b);
    return;
  }
  const width = b.length + 1;
  const best = new Uint32Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i * width + j] = a[i] === b[j] ? best[(i + 1) * width + j + 1] + 1 : Math.max(best[(i + 1) * width + j], best[i * width + j + 1]);
    }
  }
  let i = 0;
  let j = 0;
  let gone = [];
  let come = [];
  const flush = () => {
    push(parts, "del", gone);
    push(parts, "ins", come);
    gone = [];
    come = [];
  };
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      flush();
      push(parts, "same", [a[i]]);
      i++;
      j++;
    } else if (j >= b.length || (i < a.length && best[(i + 1) * width + j] >= best[i * width + j + 1])) {
      gone.push(a[i++]);
    } else {
      come.push(b[j++]);
    }
  }
  flush();
}
