// The playground: one conversation, or two side by side with the same words. Kept in this tab alone.
(() => {
  const root = document.getElementById("playground");
  if (!root) return;
  const KEPT = "modelyard.playground";
  const FIELDS = ["system", "temperature", "top_p", "max_tokens", "seed"];
  const part = (id) => document.getElementById(id);
  const LEFT = "The page was left before the answer was complete.";
  const BROKEN_OFF = "interrupted";
  const MARKS = { stopped: "stopped", length: "cut off: max tokens reached" };
  let isComparing = false;

  class Pane {
    constructor(name) {
      this.name = name;
      this.turns = []; // { role, content } as the API wants them
      this.running = null; // the AbortController of the answer that streams
      this.select = () => part(`deployment-${name}`);
      this.box = part(`turns-${name}`);
      this.measured = part(`measured-${name}`);
      this.wanted = this.select()?.value ?? "";
      this.isChosen = false; // by a person, not by the page
    }

    get deployment() {
      const option = this.select()?.selectedOptions[0];
      return option?.value ? { id: option.value, name: option.dataset.name } : null;
    }

    choose(id) {
      const select = this.select();
      if (!select || ![...select.options].some((option) => option.value === id)) return;
      this.wanted = id;
      if (select.value !== id) select.value = id;
    }

    // The socket renders the choices anew when a deployment changes: what a person chose, or has talked to, stays;
    // otherwise the page's own choice follows what has become ready.
    keepChoice() {
      if (this.isChosen || this.turns.length) {
        if (this.select()?.value !== this.wanted) this.choose(this.wanted);
      } else this.wanted = this.select()?.value ?? "";
    }

    // What the model is told: no question without its answer, but for the last, which is asked now or again.
    get messages() {
      const system = part("system").value.trim();
      const told = this.turns.filter((turn) => !turn.error || turn === this.turns.at(-1)).map(({ role, content }) => ({ role, content }));
      return [...(system ? [{ role: "system", content: system }] : []), ...told];
    }

    body() {
      const body = { model: this.deployment?.name ?? "MODEL", messages: this.messages };
      for (const field of ["temperature", "top_p", "max_tokens", "seed"]) {
        if (part(field).value !== "") body[field] = Number(part(field).value);
      }
      return body;
    }

    show(role, text, by = null, mark = "") {
      this.box.querySelector(".no-turns").hidden = true;
      const turn = document.createElement("article");
      turn.className = `turn turn-${role}`;
      const who = document.createElement("h3");
      who.textContent = role === "user" ? "You" : role === "error" ? "Error" : by ?? "Model";
      const words = document.createElement("div");
      words.className = "words";
      words.textContent = text;
      turn.append(who, words);
      if (mark) this.mark(words, mark);
      this.box.append(turn);
      this.box.scrollTop = this.box.scrollHeight;
      return words;
    }

    // Says beside a turn how it ended.
    mark(words, text) {
      const mark = document.createElement("p");
      mark.className = "turn-mark text-secondary";
      mark.textContent = text;
      words.after(mark);
    }

    // A turn as it was kept: a question with the words that came before it failed, and why it did.
    recall(turn) {
      this.show(turn.role, turn.content, turn.by, turn.mark);
      if (turn.part) this.show("assistant", turn.part, turn.by, BROKEN_OFF);
      if (turn.error) this.refuse(turn);
    }

    clear() {
      this.running?.abort();
      this.turns = [];
      this.box.querySelectorAll(".turn").forEach((turn) => turn.remove());
      this.box.querySelector(".no-turns").hidden = false;
      this.measured.textContent = "";
    }

    say(text) {
      // Only the last question can be asked again: those before it were left as they are.
      this.box.querySelectorAll(".turn-error button").forEach((button) => button.remove());
      this.turns.push({ role: "user", content: text });
      this.show("user", text);
      return this.answer();
    }

    measure(numbers, isStopped = false) {
      const words = [];
      if (numbers.firstMs !== null) words.push(`TTFT ${Math.round(numbers.firstMs)} ms`);
      if (numbers.perSecond !== null) words.push(`${numbers.perSecond.toFixed(1)} tokens/s`);
      words.push(`${numbers.tokens} token${numbers.tokens === 1 ? "" : "s"}${numbers.isCounted ? "" : " so far"}`);
      if (numbers.prompt) words.push(`${numbers.prompt} prompt tokens`);
      if (isStopped) words.push("stopped");
      this.measured.textContent = words.join(" · ");
    }

    async answer() {
      const chosen = this.deployment;
      if (!chosen) return;
      const asked = this.turns.at(-1);
      const talk = this.turns;
      this.running = new AbortController();
      this.measured.textContent = "waiting for first token …";
      this.box.setAttribute("aria-busy", "true");
      busy();
      let words = null;
      try {
        const body = this.body();
        // Left now, or reloaded, it has no answer; what comes takes this away.
        Object.assign(asked, { by: chosen.name, error: LEFT });
        const { text, numbers, end } = await window.chat.ask({
          tokenUrl: root.dataset.tokenUrl,
          id: chosen.id,
          body,
          signal: this.running.signal,
          heard: (piece, numbersSoFar) => {
            words ??= this.show("assistant", "", chosen.name);
            words.append(document.createTextNode(piece));
            asked.part = words.textContent;
            const isAtEnd = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 80;
            if (isAtEnd) this.box.scrollTop = this.box.scrollHeight;
            this.measure(numbersSoFar);
          },
        });
        this.measure(numbers, end === "stopped");
        if (talk === this.turns) this.finish(asked, words, text, end);
      } catch (error) {
        this.measured.textContent = "";
        if (talk === this.turns) this.fail(asked, words, error.message);
      } finally {
        this.running = null;
        this.box.setAttribute("aria-busy", "false");
        busy();
        keep();
        asCode();
      }
    }

    finish(asked, words, text, end) {
      if (!text) {
        this.fail(asked, words, end === "stopped" ? "Stopped before the first token." : "The model returned an empty reply.");
        return;
      }
      delete asked.error;
      delete asked.part;
      const turn = { role: "assistant", content: text, by: asked.by };
      if (MARKS[end]) {
        turn.mark = MARKS[end];
        this.mark(words, turn.mark);
      }
      this.turns.push(turn);
      // Read out once, whole: a live region that grows by words cannot be listened to.
      part("read-out").textContent = `${turn.by}: ${text}${turn.mark ? ` (${turn.mark})` : ""}`;
    }

    // The question stays with why it has no answer, and with what came of one.
    fail(asked, words, message) {
      asked.error = message;
      if (words?.textContent) this.mark(words, BROKEN_OFF);
      else words?.closest("article").remove();
      this.refuse(asked);
    }

    refuse(asked) {
      const words = this.show("error", asked.error);
      words.setAttribute("role", "alert");
      if (asked !== this.turns.at(-1)) return;
      const again = document.createElement("button");
      again.type = "button";
      again.className = "btn btn-sm";
      again.textContent = "Try again";
      again.addEventListener("click", () => {
        if (this.running) return;
        const article = words.closest("article");
        if (asked.part) article.previousElementSibling.remove();
        article.remove();
        delete asked.error;
        delete asked.part;
        this.answer();
      });
      words.after(again);
    }
  }

  const panes = { a: new Pane("a"), b: new Pane("b") };
  const shown = () => (isComparing ? [panes.a, panes.b] : [panes.a]);

  function busy() {
    const isBusy = shown().some((pane) => pane.running);
    part("send").disabled = isBusy || shown().some((pane) => !pane.deployment);
    part("stop").hidden = !isBusy;
  }

  function compare(isWanted) {
    isComparing = isWanted;
    part("compare").checked = isWanted;
    part("pane-b").hidden = !isWanted;
    root.classList.toggle("comparing", isWanted);
    if (isWanted && panes.b.wanted === panes.a.wanted) {
      const other = [...panes.b.select().options].find((option) => option.value && !option.disabled && option.value !== panes.a.wanted);
      if (other) panes.b.choose(other.value);
    }
    if (!isWanted) panes.b.running?.abort();
    busy();
  }

  function asCode() {
    const body = panes.a.body();
    if (!body.messages.some((each) => each.role === "user")) {
      body.messages = [...body.messages, { role: "user", content: part("text").value.trim() || "Hello!" }];
    }
    for (const [name, text] of Object.entries(window.chat.asCode(root.dataset.baseUrl, body))) {
      part(`code-${name}`).textContent = text;
    }
  }

  // ---- kept in this tab -------------------------------------------------------------------------------------------

  function keep() {
    const fields = Object.fromEntries(FIELDS.map((field) => [field, part(field).value]));
    const kept = { isComparing, fields, panes: {} };
    for (const pane of Object.values(panes)) {
      kept.panes[pane.name] = { wanted: pane.wanted, isChosen: pane.isChosen, turns: pane.turns };
    }
    try {
      sessionStorage.setItem(KEPT, JSON.stringify(kept));
    } catch { /* storage is off or full: the conversation lasts as long as the page */ }
  }

  function recall() {
    let kept = null;
    try {
      kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    } catch { /* nothing kept, or nothing readable */ }
    if (!kept) return;
    for (const field of FIELDS) if (kept.fields?.[field] !== undefined) part(field).value = kept.fields[field];
    const asked = new URLSearchParams(window.location.search);
    for (const [name, pane] of Object.entries(panes)) {
      const before = kept.panes?.[name];
      if (!before) continue;
      // A link that names a deployment knows better than yesterday's choice.
      pane.turns = before.turns ?? [];
      if (!asked.has(name === "a" ? "deployment" : "with") && (before.isChosen || pane.turns.length)) {
        pane.choose(before.wanted);
        pane.isChosen = before.isChosen ?? false;
      }
      for (const turn of pane.turns) pane.recall(turn);
    }
    if (kept.isComparing) compare(true);
  }

  // ---- what people do ---------------------------------------------------------------------------------------------

  part("say").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = part("text").value.trim();
    if (!text || shown().some((pane) => pane.running || !pane.deployment)) return;
    part("text").value = "";
    for (const pane of shown()) pane.say(text);
    keep();
  });
  part("text").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      part("say").requestSubmit();
    }
  });
  part("stop").addEventListener("click", () => {
    for (const pane of Object.values(panes)) pane.running?.abort();
    part("text").focus();
  });
  part("clear").addEventListener("click", () => {
    for (const pane of Object.values(panes)) pane.clear();
    keep();
    asCode();
    part("text").focus();
  });
  part("compare").addEventListener("change", (event) => {
    compare(event.target.checked);
    keep();
  });
  root.addEventListener("change", (event) => {
    for (const pane of Object.values(panes)) {
      if (event.target !== pane.select()) continue;
      pane.wanted = event.target.value;
      pane.isChosen = true;
    }
    busy();
    keep();
    asCode();
  });
  root.addEventListener("input", asCode);
  // With what became ready, or ceased to be, the button follows.
  const follow = () => { Object.values(panes).forEach((pane) => pane.keepChoice()); busy(); };
  new MutationObserver(follow).observe(part("panes"), {
    subtree: true, childList: true, attributeFilter: ["selected", "value"],
  });

  // What came so far is kept when the page is left in the middle of an answer.
  window.addEventListener("pagehide", keep);

  recall();
  if (new URLSearchParams(window.location.search).has("with")) compare(true);
  busy();
  asCode();
})();
