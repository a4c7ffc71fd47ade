import { useSyncExternalStore } from "react";

export type Theme = "dark" | "light";

const system = window.matchMedia("(prefers-color-scheme: light)");
const watchers = new Set<() => void>();

function current(): Theme {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "dark" || chosen === "light") return chosen;
  return system.matches ? "light" : "dark";
}

function tell() {
  for (const watcher of watchers) watcher();
}

system.addEventListener("change", tell);

/** The person's choice, kept for the next visit. Without one the system's theme is used. */
export function chooseTheme(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
  remember("theme", theme);
  tell();
}

export function useTheme(): Theme {
  return useSyncExternalStore((watcher) => {
    watchers.add(watcher);
    return () => watchers.delete(watcher);
  }, current);
}

/** Settings of this browser. Storage may be refused, then they last until the page is closed. */
export function remember(name: string, value: string): void {
  try {
    localStorage.setItem(name, value);
  } catch {
    // Refused by the browser's settings.
  }
}

export function recall(name: string): string | null {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}
