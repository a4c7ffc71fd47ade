// Runs before the first paint, from a file because inline scripts are forbidden by the content security policy.
(() => {
  let theme = null;
  try {
    theme = localStorage.getItem("theme");
  } catch {
    // Storage may be refused; the system's theme is used.
  }
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
})();
