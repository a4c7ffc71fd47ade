import type { Link } from "../api/live-state";
import type { AccountSummary, Challenge } from "../api/types";

const linkWords = {
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
  paused: "Paused",
} as const;

/** Whether what is on the screen is live. */
export function LinkState({ link, what }: { link: Link; what: string }) {
  const word = linkWords[link.status];
  const attempt = link.attempt > 1 ? ` (${link.attempt})` : "";
  return (
    <span className={`link-state ${link.status}`} role="status" aria-label={`${what}: ${word.toLowerCase()}`}>
      <i aria-hidden="true" />
      {word}
      {attempt}
    </span>
  );
}

const statusWords: Record<AccountSummary["status"] | Challenge["state"], string> = {
  active: "Active",
  passed: "Passed",
  breached: "Breached",
  expired: "Expired",
  running: "Running",
  failed: "Failed",
};

export function StatusTag({ status }: { status: AccountSummary["status"] | Challenge["state"] }) {
  return <span className={`tag ${status}`}>{statusWords[status] ?? status}</span>;
}
