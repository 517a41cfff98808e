// Keys, copy buttons and what only makes sense with scripts.
(() => {
  document.querySelectorAll("[data-js]").forEach((part) => { part.hidden = false; });
  document.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = false; });

  async function copy(button) {
    const place = document.getElementById(button.dataset.copy);
    // A prompt in front of a command is there to be read, not to be run.
    const text = place.dataset.language === "console" ? place.textContent.replace(/^\$ /gm, "") : place.textContent;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = false; // no permission, or not a secure context: select it, so that Ctrl+C does
      const range = document.createRange();
      range.selectNodeContents(place);
      window.getSelection().removeAllRanges();
      window.getSelection().addRange(range);
    }
    button.dataset.said = done ? "copied" : "press Ctrl+C (⌘C on a Mac)";
    setTimeout(() => { delete button.dataset.said; }, 1500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (button) copy(button);
  });

  // What was said of a click is true for a while; then the page itself says how things are. Faults stay until they are read.
  const SAID_MS = 12000;
  const said = () => document.querySelectorAll("#messages .alert-success");
  function forget(alert) {
    if (alert.matches(":hover, :focus-within")) alert.addEventListener("mouseleave", () => alert.remove(), { once: true });
    else alert.remove();
  }
  const passing = new WeakSet();
  function pass() {
    for (const alert of said()) {
      if (passing.has(alert)) continue;
      passing.add(alert);
      setTimeout(() => forget(alert), SAID_MS);
    }
  }
  const messages = document.getElementById("messages");
  if (messages) new MutationObserver(pass).observe(messages, { childList: true });
  pass();
  // Gone back to: what was said then is long over.
  window.addEventListener("pageshow", (event) => { if (event.persisted) said().forEach((alert) => alert.remove()); });

  // One click to a better value: put into its field, which tells the form as typing does. Without scripts it is sent.
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-set]");
    const field = button && document.getElementById(button.dataset.set);
    if (!field) return;
    event.preventDefault();
    field.value = button.dataset.value;
    field.dispatchEvent(new Event("change", { bubbles: true }));
    field.focus();
  });

  // Enter in the search box of a long choice goes to what was found; it does not send the form.
  document.addEventListener("keydown", (event) => {
    const list = event.key === "Enter" && event.target.dataset?.pick && document.getElementById(event.target.dataset.pick);
    if (!list) return;
    event.preventDefault();
    list.focus();
  });

  // ---- keys -------------------------------------------------------------------------------------------------------

  let wentAt = 0;
  const goal = (key) => document.querySelector(`[data-go="${CSS.escape(key)}"]`);
  // Whatever a page's own head offers to make: a new deployment, a new key, an import.
  const maker = () => document.querySelector(".page-header .actions :is(a[href$='/new/'], a[href$='/import/'])");

  function focus(field) {
    if (!field) return;
    field.focus();
    field.select();
  }

  function showKeys() {
    const keys = document.getElementById("keys");
    if (!keys) return;
    if (keys.open) return keys.close();
    const rows = [...document.querySelectorAll("[data-go]")].map((link) => {
      const row = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      for (const each of ["g", link.dataset.go]) {
        const key = document.createElement("kbd");
        key.textContent = each;
        head.append(key, " ");
      }
      const where = document.createElement("td");
      where.textContent = link.title;
      row.append(head, where);
      return row;
    });
    document.getElementById("keys-go").replaceChildren(...rows);
    keys.showModal();
  }

  const KEYS = {
    "/": () => focus(document.querySelector("[data-find]")),
    f: () => focus(document.querySelector("[data-search]")),
    n: () => maker()?.click(),
    g: () => { wentAt = Date.now(); },
    "?": showKeys,
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    if (event.key !== "?" && event.target.closest?.("dialog")) return;
    const link = Date.now() - wentAt < 1500 ? goal(event.key) : null;
    wentAt = 0;
    if (link) link.click();
    else if (event.key in KEYS) KEYS[event.key]();
    else return;
    event.preventDefault();
  });

  // ---- what scrolls must be reachable by keyboard ------------------------------------------------------------------

  function reachable() {
    for (const box of document.querySelectorAll(".table-responsive")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  }
  reachable();
  window.addEventListener("resize", reachable);
  document.addEventListener("toggle", reachable, true);
  document.addEventListener("htmx:after:swap", reachable);
})();
