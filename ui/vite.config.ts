import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The development server hands every server path to a running TradeSense.
const server = process.env.TRADESENSE_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  server: {
    proxy: Object.fromEntries(["/v1", "/sandbox", "/health"].map((path) => [path, { target: server }])),
  },
  build: {
    target: "es2022",
    // Everything is served from its own origin under a strict content security policy, so nothing is inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      output: {
        manualChunks: {
          chart: ["lightweight-charts"],
          react: ["react", "react-dom", "react-dom/client", "react-router-dom", "@tanstack/react-query"],
        },
      },
    },
  },
  test: { include: ["src/**/*.test.{ts,tsx}"], environment: "node" },
});
