import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "react-router-dom";
import { verdictsQuery } from "../api/queries";
import type { Account, Forecast } from "../api/types";
import { countdown, utcSeconds } from "../lib/time";
import { outcomeSentence, outcomeTitle } from "./ahead";

/** Says that a rule holds the account back, until when, and which verdict did it. */
export function Locked({ account, until }: { account: Account; until: string }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 1000);
    return () => clearInterval(timer);
  }, []);
  const verdicts = useQuery(verdictsQuery(account.id));
  const cause = verdicts.data?.find((found) => found.kind === "soft_breach");
  return (
    <section className="ended locked" role="alert">
      <div>
        <h2>Locked until the next reset</h2>
        <p>
          {cause ? `${cause.headline}. ` : ""}No position may be opened until {utcSeconds(until)} UTC. The
          account goes on after that.
        </p>
      </div>
      <div className="actions">
        <span className="lock-timer">
          <span className="muted">Opens in</span>{" "}
          <b role="timer" aria-live="off">
            {countdown(Date.parse(until), now)}
          </b>
        </span>
        {cause && (
          <Link className="button" to={`/accounts/${account.id}/receipts/${cause.number}`}>
            See the receipt
          </Link>
        )}
      </div>
    </section>
  );
}

/** Says that the account is on hold, why, and what is still possible. */
export function OnHold() {
  return (
    <section className="ended locked" role="alert">
      <div>
        <h2>This account is on hold</h2>
        <p>
          A payment for this challenge is disputed. Until that is settled no position can be opened, nothing
          is paid out and the phase cannot be passed. Positions can be closed, their stops moved, and every
          rule of the program still applies.
        </p>
      </div>
    </section>
  );
}

/** Told before it happens: what is held would not survive the next reset. */
export function WouldBreach({ forecast, onShow }: { forecast: Forecast; onShow: () => void }) {
  return (
    <section className="ended" role="alert">
      <div>
        <h2>{outcomeTitle(forecast)}</h2>
        <p>{outcomeSentence(forecast)}</p>
      </div>
      <div className="actions">
        <button type="button" className="button" onClick={onShow}>
          Show the forecast
        </button>
      </div>
    </section>
  );
}
