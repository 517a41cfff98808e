// Colours and the folded menu before the first paint: the person's choice, else the system's.
(() => {
  const root = document.documentElement;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  // Storage may be off: then a choice lasts as long as the page.
  const memory = {};
  const read = (name) => {
    try {
      return localStorage.getItem(name) ?? memory[name] ?? "";
    } catch {
      return memory[name] ?? "";
    }
  };
  const write = (name, value) => {
    memory[name] = value;
    try {
      if (value) localStorage.setItem(name, value);
      else localStorage.removeItem(name);
    } catch { /* kept in memory */ }
  };

  function show() {
    const chosen = ["light", "dark"].includes(read("theme")) ? read("theme") : "system";
    root.setAttribute("data-bs-theme", chosen === "system" ? (dark.matches ? "dark" : "light") : chosen);
    root.dataset.menu = read("menu") === "folded" ? "folded" : "open";
    for (const button of document.querySelectorAll("[data-theme]")) {
      button.setAttribute("aria-pressed", String(button.dataset.theme === chosen));
    }
    for (const button of document.querySelectorAll("[data-fold]")) {
      button.setAttribute("aria-pressed", String(root.dataset.menu === "folded"));
    }
  }

  show();
  dark.addEventListener("change", show);
  window.addEventListener("storage", show); // another tab chose
  document.addEventListener("DOMContentLoaded", show);
  document.addEventListener("click", (event) => {
    const theme = event.target.closest?.("[data-theme]");
    const fold = event.target.closest?.("[data-fold]");
    if (theme) write("theme", theme.dataset.theme === "system" ? "" : theme.dataset.theme);
    else if (fold) write("menu", root.dataset.menu === "folded" ? "" : "folded");
    else return;
    show();
  });
})();
