import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { useNavigate, useSearchParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { providerEventsQuery } from "../api/money-queries";
import { meQuery } from "../api/queries";
import type { ProviderEvent, ProviderEventState } from "../api/types";
import { utcExact, utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Empty, Failure, Skeleton } from "../parts/states";
import { oneOf, withQuery } from "./address";
import { Asking, useDo } from "./asking";
import { Expander } from "./expander";
import { OperationsNav } from "./operations";
import { may } from "./roles";
import { firstLine } from "./work";

const states = ["stuck", "waiting", "done", "kept"] as const satisfies readonly ProviderEventState[];
const words: Record<ProviderEventState, readonly [string, string]> = {
  stuck: ["Stuck", "dead"],
  waiting: ["Waiting", "waiting"],
  done: ["Done", "done"],
  kept: ["Kept", ""],
};
const nothing: Record<ProviderEventState | "all", string> = {
  all: "No provider has told anything yet",
  stuck: "No event is stuck",
  waiting: "No event waits",
  done: "No event is done",
  kept: "No event was kept without effect",
};

/** What providers of money have told, and how far it has come. */
export default function ProviderEventsPage() {
  useTitle("Provider events");
  const [address] = useSearchParams();
  const navigate = useNavigate();
  const { data: me } = useQuery(meQuery);
  const operator = may(me, "operate");
  const said = address.get("state") ?? "stuck";
  const state = said === "all" ? undefined : (oneOf(said, states) ?? "stuck");
  const events = useQuery(providerEventsQuery(state));
  return (
    <>
      <h1>Provider events</h1>
      <OperationsNav />
      <p className="lead">
        What Stripe and PayPal told, the last 200. What an event is about is pulled from the provider; one
        that could not be pulled for three days is stuck.
        {!operator && " You may look; pulling again is for the firm's admins."}
      </p>
      <div className="filters">
        <fieldset className="segments" aria-label="Events in which state">
          {([...states, undefined] as const).map((word) => (
            <button
              key={word ?? "all"}
              type="button"
              aria-pressed={state === word}
              onClick={() =>
                navigate(withQuery("/operate/operations/provider-events", { state: word ?? "all" }))
              }
            >
              {word ? words[word][0] : "All"}
            </button>
          ))}
        </fieldset>
      </div>
      {events.isPending && <Skeleton lines={4} height={28} label="Loading the events" />}
      {events.isError && !events.data && <Failure error={events.error} retry={() => events.refetch()} />}
      {events.isError && events.data && (
        <p className="stale-note" role="status">
          The events could not be read anew: {asApiError(events.error).detail} Trying again.
        </p>
      )}
      {events.data?.length === 0 && <Empty title={nothing[state ?? "all"]} />}
      {events.data && events.data.length > 0 && (
        <section className="table-scroll panel work" tabIndex={0} aria-label="Provider events">
          <h2 className="hidden">The events</h2>
          <table className="data">
            <thead>
              <tr>
                <th scope="col">What</th>
                <th scope="col">Provider</th>
                <th scope="col">About</th>
                <th scope="col">State</th>
                <th scope="col" className="num">
                  Attempts
                </th>
                <th scope="col">Came, UTC</th>
                <th scope="col">Last error</th>
                <th scope="col">
                  <span className="hidden">Pull again</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {events.data.map((event) => (
                <Row key={`${event.provider} ${event.event}`} event={event} operator={operator} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </>
  );
}

function Row({ event, operator }: { event: ProviderEvent; operator: boolean }) {
  const [open, setOpen] = useState(false);
  const { provider } = event;
  const again = useDo(
    () =>
      ask(
        api.POST("/v1/operations/provider-events/{provider}/{event}/again", {
          params: { path: { provider, event: event.event } },
        }),
      ),
    () => `${event.kind} is pulled again.`,
  );
  const [word, tone] = words[event.state];
  const details = `event-${provider}-${event.event}`;
  return (
    <>
      <tr data-event={event.event}>
        <th scope="row">
          <Expander open={open} controls={details} onToggle={() => setOpen(!open)} about={event.event}>
            {event.kind}
          </Expander>
        </th>
        <td>{provider}</td>
        <td>
          {event.about} {event.thing !== "" && <code>{event.thing}</code>}
        </td>
        <td>
          <span className={`tag ${tone}`}>{word}</span>
        </td>
        <td className="num">{event.attempts}</td>
        <td className="tab">{utcSeconds(event.received_at)}</td>
        <td className="error">{firstLine(event.error) || "–"}</td>
        <td className="num">
          {operator && event.state === "stuck" && (
            <Asking
              label="Pull again"
              about={`event ${event.event}`}
              title="Pull this event again?"
              confirm="Pull it again"
              busy={again.isPending}
              onConfirm={() => again.mutate(undefined)}
            >
              What {event.kind} is about is pulled from {provider} again. Do this once the cause is mended.
            </Asking>
          )}
        </td>
      </tr>
      {open && (
        <tr className="details" id={details}>
          <td colSpan={8}>
            <div className="work-details">
              <dl className="work-facts">
                <div>
                  <dt>Event</dt>
                  <dd>
                    <code>{event.event}</code>
                  </dd>
                </div>
                <div>
                  <dt>Happened</dt>
                  <dd className="tab">{utcExact(event.happened_at)}</dd>
                </div>
                <div>
                  <dt>Came</dt>
                  <dd className="tab">{utcExact(event.received_at)}</dd>
                </div>
              </dl>
              {event.error && (
                <div>
                  <h3>What stood in the way the last time</h3>
                  <pre tabIndex={0}>{event.error}</pre>
                </div>
              )}
            </div>
          </td>
        </tr>
      )}
    </>
  );
}
