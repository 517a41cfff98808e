// Light or dark before the first paint: the person's choice, else the system's.
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null; // storage is off: the system decides
    }
  };
  const show = () => {
    const theme = chosen() || (dark.matches ? "dark" : "light");
    document.documentElement.setAttribute("data-bs-theme", theme);
    document.querySelectorAll("[data-theme-label]").forEach((label) => {
      label.textContent = theme === "dark" ? "Light" : "Dark";
    });
  };
  const choose = () => {
    const next = document.documentElement.getAttribute("data-bs-theme") === "dark" ? "light" : "dark";
    try {
      // Back to what the system says means: follow the system again.
      if ((next === "dark") === dark.matches) localStorage.removeItem("theme");
      else localStorage.setItem("theme", next);
    } catch {
      document.documentElement.setAttribute("data-bs-theme", next);
      return;
    }
    show();
  };
  show();
  dark.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.querySelectorAll("[data-theme-switch]").forEach((button) => {
      button.hidden = false;
      button.addEventListener("click", choose);
    });
  });
})();
