// Keeps a page's socket honest: where it goes on after a break, whether it is alive, and logs as plain text.
(() => {
  const SILENT_MS = 25000; // the server says something at least every ten seconds
  const KEEP_CHARS = 400000; // of a log on the page
  const FOR_GOOD = { 4401: "You are signed out. Sign in again to continue.", 4404: "" };

  let last = {};
  let heardAt = Date.now();
  let socket = null;
  let isLive = false;

  const carrier = () => document.getElementById("live");

  function state(word, text) {
    const line = document.getElementById("live-state");
    if (!line) return;
    isLive = word === "live";
    document.documentElement.dataset.live = word;
    line.hidden = !text;
    line.textContent = text;
  }

  function begin() {
    const element = carrier();
    if (!element) return;
    const topics = element.dataset.topics.split(",");
    const shown = element.dataset.last.split(",");
    topics.forEach((topic, place) => { last[topic] = shown[place]; });
  }

  // The address says what the page shows by now, so that a new connection begins where the old one broke.
  function point(connection) {
    const url = new URL(connection.url, window.location.href);
    url.searchParams.set("last", url.searchParams.get("topics").split(",").map((topic) => last[topic] ?? "0").join(","));
    url.searchParams.set("view", window.location.search.slice(1));
    url.searchParams.set("acks", "1");
    connection.url = url.toString();
  }

  document.addEventListener("htmx:ws:before:connection", (event) => {
    if (Object.keys(last).length === 0) begin();
    point(event.detail.connection);
  });

  document.addEventListener("htmx:ws:after:connection", (event) => {
    socket = event.detail.connection.socket;
    heardAt = Date.now();
    state("live", "");
  });

  document.addEventListener("htmx:ws:close", (event) => {
    if (event.detail.reason === "removed") return;
    const code = event.detail.code;
    if (code in FOR_GOOD) state("over", FOR_GOOD[code]);
    else if (!leaving) state("reconnecting", "reconnecting…");
  });

  document.addEventListener("htmx:ws:after:message:incoming", (event) => {
    heardAt = Date.now();
    if (!isLive) state("live", "");
    let said;
    try {
      said = JSON.parse(event.detail.message.data);
    } catch {
      return;
    }
    if (said.beat) socket?.send("{}"); // so that the server knows about us, too
    for (const text of said.texts ?? []) append(text);
    if (said.last) {
      Object.assign(last, said.last);
      point(event.detail.connection);
      relate();
      // The page shows it by now. The server waits for this word before it sends more, however slow we are.
      socket?.send('{"shown": true}');
    }
  });

  // A cable that was pulled closes nothing: silence is the only sign.
  setInterval(() => {
    const element = carrier();
    if (!element || document.hidden || !isLive || Date.now() - heardAt < SILENT_MS) return;
    heardAt = Date.now();
    state("reconnecting", "reconnecting…");
    socket?.close();
    const fresh = element.cloneNode(false);
    element.replaceWith(fresh);
    window.htmx.process(fresh);
  }, 2000);

  let leaving = false;
  window.addEventListener("pagehide", () => { leaving = true; });
  window.addEventListener("pageshow", () => { leaving = false; });

  // The list shows something else now: the server renders that from here on.
  for (const name of ["htmx:after:history:push", "htmx:after:history:replace"]) {
    document.addEventListener(name, () => {
      if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ view: window.location.search }));
    });
  }

  // ---- logs -------------------------------------------------------------------------------------------------------

  const logs = new Map(); // topic -> all text that the page holds

  function append({ id, text, fresh }) {
    const place = document.querySelector(`[data-log="${CSS.escape(id)}"]`);
    if (!place) return;
    if (!logs.has(id)) logs.set(id, place.textContent);
    const whole = ((fresh ? "" : logs.get(id)) + text).slice(-KEEP_CHARS);
    logs.set(id, whole);
    const isCut = fresh || whole.length >= KEEP_CHARS || wanted(id);
    if (isCut) showLog(place, id);
    else place.append(document.createTextNode(text));
    const empty = document.querySelector(`[data-log-empty="${CSS.escape(id)}"]`);
    if (empty) empty.hidden = whole.length > 0;
    follow(place, id);
  }

  const wanted = (id) => document.querySelector(`[data-log-search="${CSS.escape(id)}"]`)?.value.toLowerCase() ?? "";

  function showLog(place, id) {
    const word = wanted(id);
    const whole = logs.get(id) ?? "";
    place.textContent = word ? whole.split("\n").filter((line) => line.toLowerCase().includes(word)).join("\n") : whole;
  }

  function follow(place, id) {
    if (document.querySelector(`[data-log-follow="${CSS.escape(id)}"]`)?.checked) place.scrollTop = place.scrollHeight;
  }

  document.addEventListener("input", (event) => {
    const id = event.target.dataset?.logSearch;
    if (!id) return;
    const place = document.querySelector(`[data-log="${CSS.escape(id)}"]`);
    if (!logs.has(id)) logs.set(id, place.textContent);
    showLog(place, id);
  });

  document.addEventListener("change", (event) => {
    const id = event.target.dataset?.logFollow;
    if (id) follow(document.querySelector(`[data-log="${CSS.escape(id)}"]`), id);
  });

  // ---- what changed, and how long ago -----------------------------------------------------------------------------

  new MutationObserver((changes) => {
    for (const { target } of changes) {
      target.classList.remove("tinted");
      void target.offsetWidth; // lets the animation begin anew
      target.classList.add("tinted");
      setTimeout(() => target.classList.remove("tinted"), 1200);
    }
  }).observe(document.documentElement, { subtree: true, attributes: true, attributeFilter: ["data-tint"] });

  const SIZES = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

  function relate() {
    for (const time of document.querySelectorAll("time[data-relative]")) {
      const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
      const [size, name] = SIZES.find(([each]) => Math.abs(seconds) >= each) ?? [0, ""];
      // What comes is rounded: a week from now is not "in 6 d".
      const number = size ? (seconds < 0 ? Math.round : Math.floor)(Math.abs(seconds) / size) : 0;
      const text = !size ? "just now" : seconds < 0 ? `in ${number} ${name}` : `${number} ${name} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
    for (const time of document.querySelectorAll("time[data-running]")) {
      time.textContent = span(Math.max(0, Math.round((Date.now() - Date.parse(time.dateTime)) / 1000)));
    }
  }

  // As the server writes it: 2 d 3 h, 1 h 12 min, 3 min 4 s, 12 s.
  function span(seconds) {
    const names = ["d", "h", "min", "s"];
    const parts = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
    const first = parts.findIndex((part) => part > 0);
    if (first < 0) return "0 s";
    return parts.slice(first, first + 2).map((part, place) => `${part} ${names[first + place]}`).join(" ");
  }
  setInterval(relate, 1000);

  document.addEventListener("DOMContentLoaded", () => {
    for (const place of document.querySelectorAll("[data-log]")) follow(place, place.dataset.log);
  });
})();
