import { useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link, useNavigate, useParams } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { deliveriesQuery, deliveryQuery, webhookQuery, webhooksQuery } from "../api/queries";
import type { Delivery, DeliveryState, Webhook } from "../api/types";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Dialog } from "../parts/dialog";
import { Field } from "../parts/field";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";
import { instantOf } from "./calendar";
import { Secret } from "./secret";
import { topicsOf } from "./topics";
import { State } from "./webhooks";

const because = {
  by_hand: "Somebody of the firm disabled it.",
  failing: "No attempt had succeeded for five days.",
  gone: "It answered that it is gone (410).",
} as const;

/** One webhook: what it asks for, its secret, its deliveries. */
export default function WebhookPage() {
  const { id = "" } = useParams();
  useTitle("Webhook");
  const webhook = useQuery(webhookQuery(id));
  if (webhook.isPending) return <Skeleton lines={5} height={28} label="Loading the webhook" />;
  if (webhook.isError) return <Failure error={webhook.error} retry={() => webhook.refetch()} />;
  return (
    <>
      <p className="crumbs">
        <Link to="/operate/webhooks">Webhooks</Link>
      </p>
      <h1 className="webhook-title">
        {webhook.data.url} <State webhook={webhook.data} />
      </h1>
      {webhook.data.disabled_because && webhook.data.disabled_at && (
        <p className="caution">
          Nothing is sent to it since {utcSeconds(webhook.data.disabled_at)} UTC.{" "}
          {because[webhook.data.disabled_because]}
        </p>
      )}
      {webhook.data.active && webhook.data.failing_since && (
        <p className="caution">
          No attempt has succeeded since {utcSeconds(webhook.data.failing_since)} UTC. After five days it is
          disabled.
        </p>
      )}
      <Edit key={webhook.data.id} webhook={webhook.data} />
      <Actions webhook={webhook.data} />
      <Deliveries webhook={webhook.data} />
    </>
  );
}

/** Asks the server for a change of one webhook and shows what it says. */
function useChange(id: string) {
  const queries = useQueryClient();
  const notify = useNotify();
  return {
    onError: (refused: unknown) => notify(asApiError(refused).detail, "bad"),
    onSettled: () => queries.invalidateQueries({ queryKey: webhooksQuery.queryKey }),
    params: { path: { id } },
    notify,
  };
}

function Edit({ webhook }: { webhook: Webhook }) {
  const [url, setUrl] = useState(webhook.url);
  const [topics, setTopics] = useState(webhook.topics.join(", "));
  const [description, setDescription] = useState(webhook.description);
  const [errors, setErrors] = useState<{ url?: string; topics?: string; all?: string }>({});
  const { onSettled, params, notify } = useChange(webhook.id);
  const save = useMutation({
    mutationFn: () => {
      const body = { url: url.trim(), topics: topicsOf(topics), description: description.trim() };
      return ask(api.PATCH("/v1/webhooks/{id}", { params, body }));
    },
    onSuccess: () => notify("The changes are kept.", "good"),
    onError: (refused) => {
      const told = asApiError(refused);
      const wrongUrl = told.field("url");
      const wrongTopics = told.field("topics") ?? told.field("topics/0") ?? told.field("topics/1");
      setErrors({
        ...(wrongUrl && { url: wrongUrl }),
        ...(wrongTopics && { topics: wrongTopics }),
        ...(!wrongUrl && !wrongTopics && { all: told.detail }),
      });
    },
    onSettled,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setErrors({});
    save.mutate();
  };
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Change the webhook">
      <div className="fields">
        <Field
          label="Address"
          type="url"
          value={url}
          onChange={(event) => setUrl(event.target.value)}
          error={errors.url}
        />
        <Field
          label="Topics"
          value={topics}
          onChange={(event) => setTopics(event.target.value)}
          error={errors.topics}
          spellCheck={false}
          hint="account.breached, account.* or * for all"
        />
        <Field
          label="Description"
          value={description}
          onChange={(event) => setDescription(event.target.value)}
        />
      </div>
      {errors.all && (
        <p className="form-error" role="alert">
          {errors.all}
        </p>
      )}
      <div className="actions">
        <button type="submit" className="button primary" disabled={save.isPending}>
          {save.isPending ? "Saving…" : "Save"}
        </button>
      </div>
    </form>
  );
}

function Actions({ webhook }: { webhook: Webhook }) {
  const [secret, setSecret] = useState<string | null>(null);
  const [asking, setAsking] = useState<"rotate" | "remove" | "recover" | null>(null);
  const navigate = useNavigate();
  const queries = useQueryClient();
  const { onError, onSettled, params, notify } = useChange(webhook.id);
  const test = useMutation({
    mutationFn: () => ask(api.POST("/v1/webhooks/{id}/test", { params })),
    onSuccess: () => notify("A test event is on its way.", "good"),
    onError,
    onSettled,
  });
  const enable = useMutation({
    mutationFn: (active: boolean) => ask(api.PATCH("/v1/webhooks/{id}", { params, body: { active } })),
    onSuccess: (now) => notify(now.active ? "The webhook is active." : "The webhook is disabled.", "good"),
    onError,
    onSettled,
  });
  const rotate = useMutation({
    mutationFn: () => ask(api.POST("/v1/webhooks/{id}/rotate-secret", { params })),
    onSuccess: (rotated) => setSecret(rotated.secret),
    onError,
    onSettled: () => {
      setAsking(null);
      void onSettled();
    },
  });
  const remove = useMutation({
    mutationFn: () => ask(api.DELETE("/v1/webhooks/{id}", { params })),
    onSuccess: () => {
      notify("The webhook is gone.", "good");
      queries.removeQueries({ queryKey: webhookQuery(webhook.id).queryKey });
      navigate("/operate/webhooks");
    },
    onError,
  });
  return (
    <div className="actions">
      <button
        type="button"
        className="button"
        disabled={!webhook.active || test.isPending}
        onClick={() => test.mutate()}
      >
        Send a test event
      </button>
      <button
        type="button"
        className="button"
        disabled={!webhook.active}
        onClick={() => setAsking("recover")}
      >
        Recover what failed
      </button>
      <button type="button" className="button" onClick={() => setAsking("rotate")}>
        New secret
      </button>
      <button
        type="button"
        className="button"
        disabled={enable.isPending}
        onClick={() => enable.mutate(!webhook.active)}
      >
        {webhook.active ? "Disable" : "Enable"}
      </button>
      <button type="button" className="button danger" onClick={() => setAsking("remove")}>
        Remove
      </button>
      {asking === "rotate" && (
        <Dialog title="A new secret?" onClose={() => setAsking(null)}>
          <p>The present one signs too for a day, so that your system can change over.</p>
          <div className="actions">
            <button
              type="button"
              className="button primary"
              disabled={rotate.isPending}
              onClick={() => rotate.mutate()}
            >
              Make a new secret
            </button>
          </div>
        </Dialog>
      )}
      {asking === "remove" && (
        <Dialog title="Remove this webhook?" onClose={() => setAsking(null)}>
          <p>Its deliveries go with it. What has not been delivered is not sent any more.</p>
          <div className="actions">
            <button
              type="button"
              className="button danger"
              disabled={remove.isPending}
              onClick={() => remove.mutate()}
            >
              Remove it
            </button>
          </div>
        </Dialog>
      )}
      {asking === "recover" && <Recover webhook={webhook} onClose={() => setAsking(null)} />}
      {secret && <Secret secret={secret} onClose={() => setSecret(null)} />}
    </div>
  );
}

function Recover({ webhook, onClose }: { webhook: Webhook; onClose: () => void }) {
  const [day, setDay] = useState("");
  const [time, setTime] = useState("00:00");
  const [error, setError] = useState<string | null>(null);
  const { onSettled, params, notify } = useChange(webhook.id);
  const recover = useMutation({
    mutationFn: (since: string) => ask(api.POST("/v1/webhooks/{id}/recover", { params, body: { since } })),
    onSuccess: ({ count }) => {
      notify(count === 1 ? "1 delivery is sent again." : `${count} deliveries are sent again.`, "good");
      onClose();
    },
    onError: (refused) => setError(asApiError(refused).detail),
    onSettled,
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    const since = instantOf(day, time);
    if (since === null) setError("Give a day and a time, both in UTC.");
    else recover.mutate(since);
  };
  return (
    <Dialog title="Recover what failed" onClose={onClose}>
      <form className="form" onSubmit={submit} noValidate>
        <p>Sends everything again that failed and happened since then.</p>
        <Field label="Day, UTC" type="date" value={day} onChange={(event) => setDay(event.target.value)} />
        <Field
          label="Time, UTC"
          type="time"
          value={time}
          onChange={(event) => setTime(event.target.value)}
          error={error}
        />
        <div className="actions">
          <button type="submit" className="button primary" disabled={recover.isPending}>
            {recover.isPending ? "Sending…" : "Send again"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

const states = ["all", "waiting", "delivered", "failed"] as const;
const stateNames = { all: "All", waiting: "Waiting", delivered: "Delivered", failed: "Failed" } as const;
const stateTones = { waiting: "active", delivered: "passed", failed: "failed" } as const;

function StateOf({ state }: { state: DeliveryState }) {
  return <span className={`tag ${stateTones[state]}`}>{stateNames[state]}</span>;
}

function Deliveries({ webhook }: { webhook: Webhook }) {
  const [state, setState] = useState<(typeof states)[number]>("all");
  const [open, setOpen] = useState<string | null>(null);
  const pages = useInfiniteQuery(deliveriesQuery(webhook.id, state));
  const items = pages.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <div className="page-head">
        <h2>Deliveries</h2>
        <fieldset className="segments" aria-label="Which deliveries">
          {states.map((one) => (
            <button key={one} type="button" aria-pressed={state === one} onClick={() => setState(one)}>
              {stateNames[one]}
            </button>
          ))}
        </fieldset>
      </div>
      {pages.isPending && <Skeleton lines={4} height={28} label="Loading the deliveries" />}
      {pages.isError && items.length === 0 && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && items.length === 0 && (
        <Empty title={state === "all" ? "Nothing has been sent yet" : "None of these"}>
          {state === "all" && <p>Send a test event to try the connection.</p>}
        </Empty>
      )}
      {items.length > 0 && <DeliveryTable deliveries={items} open={setOpen} />}
      {pages.hasNextPage && (
        <div className="actions">
          <button
            type="button"
            className="button"
            disabled={pages.isFetchingNextPage}
            onClick={() => pages.fetchNextPage()}
          >
            {pages.isFetchingNextPage ? "Loading…" : "Show older ones"}
          </button>
        </div>
      )}
      {open && <Detail webhook={webhook} id={open} onClose={() => setOpen(null)} />}
    </>
  );
}

function DeliveryTable({
  deliveries,
  open,
}: {
  deliveries: readonly Delivery[];
  open: (id: string) => void;
}) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Deliveries">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Time, UTC</th>
            <th scope="col">Topic</th>
            <th scope="col">State</th>
            <th scope="col" className="num">
              Attempts
            </th>
            <th scope="col">Next attempt, UTC</th>
            <th scope="col">
              <span className="hidden">Details</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {deliveries.map((delivery) => (
            <tr key={delivery.id}>
              <td className="tab">{utcSeconds(delivery.created_at)}</td>
              <th scope="row">{delivery.topic}</th>
              <td>
                <StateOf state={delivery.state} />
              </td>
              <td className="num">{delivery.attempts}</td>
              <td className="tab">{delivery.next_at ? utcSeconds(delivery.next_at) : "–"}</td>
              <td className="num">
                <button type="button" className="button small" onClick={() => open(delivery.id)}>
                  Look<span className="hidden"> at {delivery.message_id}</span>
                </button>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Detail({ webhook, id, onClose }: { webhook: Webhook; id: string; onClose: () => void }) {
  const detail = useQuery(deliveryQuery(webhook.id, id));
  const { onError, onSettled, notify } = useChange(webhook.id);
  const resend = useMutation({
    mutationFn: () => {
      const params = { path: { id: webhook.id, delivery: id } };
      return ask(api.POST("/v1/webhooks/{id}/deliveries/{delivery}/resend", { params }));
    },
    onSuccess: () => notify("It is on its way again.", "good"),
    onError,
    onSettled,
  });
  return (
    <Dialog title="Delivery" onClose={onClose}>
      {detail.isPending && <Skeleton lines={5} label="Loading the delivery" />}
      {detail.isError && <Failure error={detail.error} retry={() => detail.refetch()} />}
      {detail.data && (
        <div className="delivery">
          <p>
            {detail.data.delivery.topic} <StateOf state={detail.data.delivery.state} />
          </p>
          <p className="muted">
            <code>{detail.data.delivery.message_id}</code>
          </p>
          <h3>Sent</h3>
          <section className="bytes" tabIndex={0} aria-label="What is sent">
            <pre>{pretty(detail.data.body)}</pre>
          </section>
          <h3>Attempts</h3>
          {detail.data.attempts.length === 0 && <p className="muted">None yet.</p>}
          <ol className="attempts">
            {detail.data.attempts.map((attempt) => (
              <li key={attempt.number}>
                <b>{attempt.status ?? "No answer"}</b> {utcSeconds(attempt.at)} UTC,{" "}
                {Math.round(attempt.took_us / 1000)} ms
                {attempt.error && <p>{attempt.error}</p>}
                {attempt.answer && (
                  <section className="bytes" tabIndex={0} aria-label={`Answer to attempt ${attempt.number}`}>
                    <pre>{attempt.answer}</pre>
                  </section>
                )}
              </li>
            ))}
          </ol>
          <div className="actions">
            <button
              type="button"
              className="button"
              disabled={!webhook.active || resend.isPending}
              onClick={() => resend.mutate()}
            >
              Send again
            </button>
          </div>
        </div>
      )}
    </Dialog>
  );
}

/** A body with line breaks, for reading; what was signed has none. */
function pretty(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body;
  }
}
