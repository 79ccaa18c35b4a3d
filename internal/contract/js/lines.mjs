// A reporter for Node's test runner: one line of JSON per test, for contract_test.go.
const path = (error) => {
  const cause = error?.cause ?? error;
  return String(cause?.stack ?? cause?.message ?? cause) + (cause?.expected === undefined ? "" :
    `\nexpected ${JSON.stringify(cause.expected)}\nactual ${JSON.stringify(cause.actual)}`);
};

export default async function* lines(source) {
  for await (const { type, data } of source) {
    if (type !== "test:pass" && type !== "test:fail") continue;
    // A file is a test of its own; it counts only when it could not be run at all.
    if (data.name.endsWith(".mjs") && type === "test:pass") continue;
    if (data.details?.type === "suite") continue;
    yield JSON.stringify({ name: data.name, pass: type === "test:pass", detail: type === "test:pass" ? "" : path(data.details.error) }) + "\n";
  }
}
