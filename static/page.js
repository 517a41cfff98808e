// Keys, copy buttons and what only makes sense with scripts.
(() => {
  document.querySelectorAll("[data-js]").forEach((part) => { part.hidden = false; });
  document.querySelectorAll("[data-copy]").forEach((button) => { button.hidden = false; });

  async function copy(button) {
    const text = document.getElementById(button.dataset.copy).textContent;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      done = false; // no permission, or not a secure context: select it, so that Ctrl+C does
      const range = document.createRange();
      range.selectNodeContents(document.getElementById(button.dataset.copy));
      window.getSelection().removeAllRanges();
      window.getSelection().addRange(range);
    }
    button.dataset.said = done ? "copied" : "press Ctrl+C";
    setTimeout(() => { delete button.dataset.said; }, 1500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (button) copy(button);
  });

  const GO = { h: "/", d: "/deployments/", p: "/playground/", m: "/models/", j: "/jobs/" };
  let wentAt = 0;

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) return;
    const keys = document.getElementById("keys");
    if (event.key === "/") {
      const search = document.querySelector("[data-search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
      search.select();
    } else if (event.key === "?") {
      if (keys.open) keys.close();
      else keys.showModal();
    } else if (event.key === "g") {
      wentAt = Date.now();
    } else if (GO[event.key] && Date.now() - wentAt < 1500) {
      window.location.assign(GO[event.key]);
    }
  });
})();
