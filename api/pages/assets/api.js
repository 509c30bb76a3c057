// Requests to the service, and its errors as sentences.

export const API = "/api/v1";

export async function call(path, options = {}) {
  const response = await fetch(API + path, options);
  const text = await response.text();
  const body = text ? JSON.parse(text) : null;
  if (!response.ok) throw new Error(sentence(body));
  return body;
}

/** A problem (RFC 9457) in words: every field at fault, or the detail. */
export function sentence(problem) {
  const faults = problem.errors.map((fault) => (fault.field ? `${fault.field}: ${fault.message}` : fault.message));
  return faults.length ? faults.join("\n") : problem.detail;
}

const send = (method) => (path, body) =>
  call(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });

export const post = send("POST");
export const patch = send("PATCH");
export const remove = (path) => call(path, { method: "DELETE" });
