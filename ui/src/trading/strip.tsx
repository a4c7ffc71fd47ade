import { Link } from "react-router-dom";
import type { Link as LinkStatus } from "../api/live-state";
import type { Account } from "../api/types";
import { money, signed, tone } from "../lib/format";
import { KeyboardIcon } from "../parts/icons";
import { LinkState, StatusTag } from "../parts/status";

interface StripProps {
  account: Account;
  link: LinkStatus;
  onShortcuts: () => void;
}

export function Strip({ account, link, onShortcuts }: StripProps) {
  return (
    <section className="strip panel" aria-label="Account">
      <div className="strip-account">
        <h1>
          {account.number} <StatusTag status={account.status} />
        </h1>
        <p className="muted">
          <Link to="/challenges">{account.program.name}</Link> · {account.phase.name}{" "}
          {account.phase.index + 1}/{account.phase.of} · {account.leverage} ·{" "}
          <Link to={`/accounts/${account.id}/statistics`}>Statistics</Link>
        </p>
      </div>
      <dl className="figures">
        <Figure name="Equity" strong>
          {money(account.equity)}
        </Figure>
        <Figure name="Balance">{money(account.balance)}</Figure>
        <Figure name="Floating" className={tone(account.floating)}>
          {signed(account.floating)}
        </Figure>
        <Figure name="Room" title={nearest(account)}>
          {money(account.room)}
        </Figure>
        <Figure name="Margin used">{money(account.margin_used)}</Figure>
        <Figure name="Free margin">{money(account.margin_free)}</Figure>
      </dl>
      <div className="strip-end">
        <span className="muted currency">{account.currency}</span>
        <LinkState link={link} what="Account data" />
        <button
          type="button"
          className="icon-button"
          onClick={onShortcuts}
          aria-label="Keyboard shortcuts"
          title="Keyboard shortcuts (?)"
        >
          <KeyboardIcon />
        </button>
      </div>
    </section>
  );
}

function nearest(account: Account): string {
  const floor = account.floors.find((found) => found.room === account.room);
  return floor ? `To the floor of ${floor.label.toLowerCase()}` : "To the nearest floor";
}

function Figure({
  name,
  children,
  className = "",
  strong = false,
  title,
}: {
  name: string;
  children: string;
  className?: string;
  strong?: boolean;
  title?: string;
}) {
  return (
    <div title={title}>
      <dt>{name}</dt>
      <dd className={`${className} ${strong ? "strong" : ""}`}>{children}</dd>
    </div>
  );
}
