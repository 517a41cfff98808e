// Asks a deployment through the gateway and reads the stream: no page in here. Offers window.chat.
(() => {
  const RENEW_MS = 60000; // before the end of a token
  const tokens = new Map(); // deployment id -> { text, url, endsAt }

  async function token(tokenUrl, id, anew) {
    const kept = tokens.get(id);
    if (!anew && kept && kept.endsAt - Date.now() > RENEW_MS) return kept;
    const headers = JSON.parse(document.body.getAttribute("hx-headers:inherited"));
    const reply = await fetch(tokenUrl, { method: "POST", headers, body: new URLSearchParams({ deployment: id }) });
    if (!reply.ok || reply.redirected) throw new Error("No access to this model, or you are signed out. Reload the page.");
    const said = await reply.json();
    const made = { text: said.token, url: said.url, endsAt: Date.now() + said.expires_in_s * 1000 };
    tokens.set(id, made);
    return made;
  }

  async function complaint(reply) {
    let text = `The gateway answered ${reply.status}.`;
    try {
      const said = await reply.json();
      text = said.error?.message ?? text;
    } catch { /* the status has to do */ }
    const id = reply.headers.get("x-request-id");
    return new Error(id ? `${text} (request ${id})` : text);
  }

  async function send(tokenUrl, id, body, signal) {
    for (const anew of [false, true]) {
      const { text, url } = await token(tokenUrl, id, anew);
      const headers = { "Content-Type": "application/json", Authorization: `Bearer ${text}` };
      const reply = await fetch(url, { method: "POST", headers, body: JSON.stringify(body), signal });
      if (reply.ok) return reply;
      // A gateway that has not heard of the token's deployment yet, or a clock that is late: once more with a new one.
      if (reply.status !== 401 || anew) throw await complaint(reply);
    }
  }

  // Server-sent events as OpenAI's API streams them; lines may be cut anywhere.
  async function* chunks(stream) {
    const decoder = new TextDecoder();
    let rest = "";
    const reader = stream.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      rest += decoder.decode(value ?? new Uint8Array(), { stream: !done });
      const lines = rest.split("\n");
      rest = lines.pop();
      for (const line of lines) {
        const data = line.startsWith("data:") ? line.slice(5).trim() : "";
        if (data === "[DONE]") return;
        if (data) yield JSON.parse(data);
      }
      if (done) return;
    }
  }

  // Calls `heard(piece, numbers)` for every piece of text; resolves with { text, numbers, end }: how it ended
  // in the API's words ("stop", "length"), or "stopped" by the person.
  // Throws an Error with words for a person.
  async function ask({ tokenUrl, id, body, signal, heard }) {
    const began = performance.now();
    const numbers = { firstMs: null, tokens: 0, prompt: null, perSecond: null, isCounted: false };
    let text = "", first = 0, pieces = 0, end = "";
    try {
      const reply = await send(tokenUrl, id, { ...body, stream: true, stream_options: { include_usage: true } }, signal);
      for await (const chunk of chunks(reply.body)) {
        if (chunk.error) throw new Error(chunk.error.message ?? "The stream was cut off.");
        end = chunk.choices?.[0]?.finish_reason ?? end;
        const delta = chunk.choices?.[0]?.delta ?? {};
        const piece = (delta.reasoning_content ?? "") + (delta.content ?? "");
        if (piece) {
          first ||= performance.now();
          pieces += 1;
          text += piece;
        }
        numbers.isCounted ||= Boolean(chunk.usage);
        numbers.tokens = chunk.usage?.completion_tokens ?? pieces;
        numbers.prompt = chunk.usage?.prompt_tokens ?? numbers.prompt;
        numbers.firstMs = first ? first - began : null;
        const seconds = (performance.now() - first) / 1000;
        numbers.perSecond = first && numbers.tokens > 1 && seconds > 0 ? (numbers.tokens - 1) / seconds : null;
        heard(piece, numbers);
      }
    } catch (error) {
      if (error.name === "AbortError") return { text, numbers, end: "stopped" };
      const isNetwork = error instanceof TypeError;
      throw isNetwork ? new Error("Connection lost. Is Modelyard running? Try again.") : error;
    }
    return { text, numbers, end };
  }

  // The same request as code. `base` is this Modelyard's address.
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

  function asCode(base, body) {
    const { messages, model, ...rest } = body;
    // JSON's strings and numbers are Python's, too.
    const named = Object.entries(rest).map(([name, value]) => `    ${name}=${JSON.stringify(value)},\n`).join("");
    return {
      curl:
        `curl -N ${base}/v1/chat/completions \\\n  -H 'Authorization: Bearer YOUR_API_KEY' \\\n` +
        `  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify({ ...body, stream: true }))}`,
      python:
        `from openai import OpenAI\n\nclient = OpenAI(base_url=${JSON.stringify(`${base}/v1`)}, api_key="YOUR_API_KEY")\n` +
        `reply = client.chat.completions.create(\n    model=${JSON.stringify(model)},\n` +
        `    messages=${JSON.stringify(messages)},\n${named})\nprint(reply.choices[0].message.content)`,
      javascript:
        `const reply = await fetch(${JSON.stringify(`${base}/v1/chat/completions`)}, {\n  method: "POST",\n` +
        `  headers: { Authorization: "Bearer YOUR_API_KEY", "Content-Type": "application/json" },\n` +
        `  body: JSON.stringify(${JSON.stringify(body)}),\n});\n` +
        "console.log((await reply.json()).choices[0].message.content);",
    };
  }

  window.chat = { ask, asCode };
})();
