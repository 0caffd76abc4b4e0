// Requests to where the page came from, and nowhere else.

// A request that takes longer has failed.
const PATIENT_MS = 10_000;

// ask(path, method) -> {status, body}; status 0 when there was no answer, body {} when it had none
// that is a JSON object.
export function asker(base) {
  return async function ask(path, method = "GET") {
    try {
      const answer = await fetch(new URL(path, base), {
        method,
        credentials: "same-origin",
        cache: "no-store",
        // A redirection would lead elsewhere: there is nobody who redirects.
        redirect: "error",
        headers: { Accept: "application/json", ...xsrf() },
        signal: AbortSignal.timeout(PATIENT_MS),
      });
      return { status: answer.status, body: await object(answer) };
    } catch {
      return { status: 0, body: {} };
    }
  };
}

async function object(answer) {
  try {
    const body = await answer.json();
    return body !== null && typeof body === "object" ? body : {};
  } catch {
    return {};
  }
}

// Jupyter's cookie, which a page of another site cannot read; its handlers want it back.
function xsrf() {
  const value = /(?:^|; )_xsrf=([^;]+)/.exec(document.cookie)?.[1];
  return value === undefined ? {} : { "X-XSRFToken": value };
}
