// A chat with any deployment, straight through the gateway with a five-minute token.
(() => {
  const root = document.getElementById("playground");
  if (!root) return;
  const part = (id) => document.getElementById(id);
  const RENEW_MS = 60000; // before the end of the token

  let turns = [];
  let running = null; // the AbortController of the answer that streams
  let token = { text: "", deployment: "", endsAt: 0 };

  const deployment = () => {
    const option = part("deployment").selectedOptions[0];
    return option?.value ? { id: option.value, name: option.dataset.name } : null;
  };

  async function getToken(id, anew = false) {
    if (!anew && token.deployment === id && token.endsAt - Date.now() > RENEW_MS) return token.text;
    const headers = JSON.parse(document.body.getAttribute("hx-headers:inherited"));
    const reply = await fetch(root.dataset.tokenUrl, { method: "POST", headers, body: new URLSearchParams({ deployment: id }) });
    if (!reply.ok || reply.redirected) throw new Error("You may not ask this model, or you are signed out. Reload the page.");
    const said = await reply.json();
    token = { text: said.token, deployment: id, endsAt: Date.now() + said.expires_in_s * 1000 };
    return token.text;
  }

  function request(name, messages) {
    const body = { model: name, messages, stream: true, stream_options: { include_usage: true } };
    for (const field of ["temperature", "top_p", "max_tokens"]) {
      if (part(field).value !== "") body[field] = Number(part(field).value);
    }
    return body;
  }

  function messages() {
    const system = part("system").value.trim();
    return [...(system ? [{ role: "system", content: system }] : []), ...turns.map(({ role, content }) => ({ role, content }))];
  }

  function show(role, text) {
    part("no-turns").hidden = true;
    const turn = document.createElement("article");
    turn.className = `turn turn-${role}`;
    const who = document.createElement("h3");
    who.textContent = role === "user" ? "You" : role === "error" ? "Not answered" : deployment()?.name ?? "Model";
    const words = document.createElement("div");
    words.className = "words";
    words.textContent = text;
    turn.append(who, words);
    part("turns").append(turn);
    part("turns").scrollTop = part("turns").scrollHeight;
    return words;
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

  async function complain(reply) {
    let text = `The gateway answered ${reply.status}.`;
    try {
      const said = await reply.json();
      text = said.error?.message ?? text;
    } catch { /* the status has to do */ }
    const id = reply.headers.get("x-request-id");
    return new Error(id ? `${text} (request ${id})` : text);
  }

  async function ask(chosen, controller) {
    const body = JSON.stringify(request(chosen.name, messages()));
    for (const anew of [false, true]) {
      const headers = { "Content-Type": "application/json", Authorization: `Bearer ${await getToken(chosen.id, anew)}` };
      const reply = await fetch("/v1/chat/completions", { method: "POST", headers, body, signal: controller.signal });
      if (reply.ok) return reply;
      // A gateway that has not heard of the token's deployment yet, or a clock that is late: once more with a new one.
      if (reply.status !== 401 || anew) throw await complain(reply);
    }
  }

  function measure(begin, first, pieces, usage) {
    const now = performance.now();
    const tokens = usage?.completion_tokens ?? pieces;
    const seconds = (now - first) / 1000;
    const words = [];
    if (first) words.push(`first token after ${Math.round(first - begin)} ms`);
    if (first && tokens > 1 && seconds > 0) words.push(`${((tokens - 1) / seconds).toFixed(1)} tokens/s`);
    words.push(`${tokens} token${tokens === 1 ? "" : "s"}${usage ? "" : " so far"}`);
    if (usage?.prompt_tokens) words.push(`${usage.prompt_tokens} in the prompt`);
    part("measured").textContent = words.join(" · ");
  }

  async function answer() {
    const chosen = deployment();
    if (!chosen) return;
    const controller = new AbortController();
    running = controller;
    busy(true);
    const begin = performance.now();
    let first = 0, pieces = 0, usage = null, words = null, text = "";
    part("measured").textContent = "waiting for the first token …";
    try {
      const reply = await ask(chosen, controller);
      words = show("assistant", "");
      for await (const chunk of chunks(reply.body)) {
        if (chunk.error) throw new Error(chunk.error.message ?? "The stream broke off.");
        const delta = chunk.choices?.[0]?.delta ?? {};
        const piece = (delta.reasoning_content ?? "") + (delta.content ?? "");
        if (piece) {
          first ||= performance.now();
          pieces += 1;
          text += piece;
          words.append(document.createTextNode(piece));
          part("turns").scrollTop = part("turns").scrollHeight;
        }
        usage = chunk.usage ?? usage;
        measure(begin, first, pieces, usage);
      }
    } catch (error) {
      if (error.name === "AbortError") part("measured").textContent += " · stopped";
      else {
        part("measured").textContent = "";
        show("error", error.message);
      }
    } finally {
      running = null;
      busy(false);
      if (text) turns.push({ role: "assistant", content: text });
      else if (words) words.closest("article").remove();
      asCode();
    }
  }

  function busy(is) {
    part("send").disabled = is;
    part("stop").hidden = !is;
    part("turns").setAttribute("aria-busy", String(is));
  }

  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

  function asCode() {
    const chosen = deployment();
    const { stream_options: _unused, ...body } = request(chosen?.name ?? "MODEL", messages());
    part("code-curl").textContent =
      `curl -N ${root.dataset.baseUrl}/v1/chat/completions \\\n  -H 'Authorization: Bearer YOUR_API_KEY' \\\n` +
      `  -H 'Content-Type: application/json' \\\n  -d ${quoted(JSON.stringify(body))}`;
  }

  part("say").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = part("text").value.trim();
    if (!text || running) return;
    turns.push({ role: "user", content: text });
    show("user", text);
    part("text").value = "";
    answer();
  });
  part("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      part("say").requestSubmit();
    }
  });
  part("stop").addEventListener("click", () => running?.abort());
  part("clear").addEventListener("click", () => {
    running?.abort();
    turns = [];
    part("turns").querySelectorAll(".turn").forEach((turn) => turn.remove());
    part("no-turns").hidden = false;
    part("measured").textContent = "";
    asCode();
  });
  root.addEventListener("input", asCode);
  root.addEventListener("change", asCode);
  asCode();
})();
