import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useState } from "react";
import { Link } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { webhooksQuery } from "../api/queries";
import type { Webhook } from "../api/types";
import { utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { Field } from "../parts/field";
import { Empty, Failure, Skeleton } from "../parts/states";
import { Secret } from "./secret";
import { topicsOf } from "./topics";

/** Where the firm's own systems are told what happens. */
export default function WebhooksPage() {
  useTitle("Webhooks");
  const webhooks = useQuery(webhooksQuery);
  return (
    <>
      <h1>Webhooks</h1>
      <p className="lead">
        Your own systems are told what happens: each message as a signed POST, in the form of Standard
        Webhooks. What is not answered with 2xx is sent again over a day and a half.
      </p>
      <NewWebhook />
      {webhooks.isPending && <Skeleton lines={3} height={28} label="Loading the webhooks" />}
      {webhooks.isError && <Failure error={webhooks.error} retry={() => webhooks.refetch()} />}
      {webhooks.data?.length === 0 && (
        <Empty title="No webhooks">
          <p>Add the first one above.</p>
        </Empty>
      )}
      {webhooks.data && webhooks.data.length > 0 && <List webhooks={webhooks.data} />}
    </>
  );
}

interface Draft {
  url: string;
  description: string;
  topics: string;
}

const empty: Draft = { url: "", description: "", topics: "account.*, purchase.*" };

function NewWebhook() {
  const [draft, setDraft] = useState(empty);
  const [errors, setErrors] = useState<Partial<Record<keyof Draft | "all", string>>>({});
  const [secret, setSecret] = useState<string | null>(null);
  const queries = useQueryClient();
  const add = useMutation({
    mutationFn: () =>
      ask(
        api.POST("/v1/webhooks", {
          body: {
            url: draft.url.trim(),
            description: draft.description.trim(),
            topics: topicsOf(draft.topics),
          },
        }),
      ),
    onSuccess: (added) => {
      setDraft(empty);
      setSecret(added.secret);
      void queries.invalidateQueries({ queryKey: webhooksQuery.queryKey });
    },
    onError: (refused) => {
      const told = asApiError(refused);
      const found = {
        url: told.field("url") ?? undefined,
        description: told.field("description") ?? undefined,
        topics: told.field("topics") ?? told.field("topics/0") ?? told.field("topics/1") ?? undefined,
      };
      setErrors(Object.values(found).some(Boolean) ? found : { all: told.detail });
    },
  });
  const change = (field: keyof Draft) => (event: { target: { value: string } }) => {
    setDraft((held) => ({ ...held, [field]: event.target.value }));
    setErrors((held) => ({ ...held, [field]: undefined, all: undefined }));
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setErrors({});
    add.mutate();
  };
  return (
    <form className="form panel operate-form" onSubmit={submit} noValidate aria-label="Add a webhook">
      <div className="fields">
        <Field
          label="Address"
          type="url"
          value={draft.url}
          onChange={change("url")}
          error={errors.url}
          autoComplete="off"
          placeholder="https://example.com/hooks"
        />
        <Field
          label="Topics"
          value={draft.topics}
          onChange={change("topics")}
          error={errors.topics}
          autoComplete="off"
          spellCheck={false}
          hint="account.breached, account.* or * for all"
        />
        <Field
          label="Description"
          value={draft.description}
          onChange={change("description")}
          error={errors.description}
          autoComplete="off"
          placeholder="Our data warehouse"
        />
      </div>
      {errors.all && (
        <p className="form-error" role="alert">
          {errors.all}
        </p>
      )}
      <div className="actions">
        <button type="submit" className="button primary" disabled={add.isPending}>
          {add.isPending ? "Adding…" : "Add the webhook"}
        </button>
      </div>
      {secret && <Secret secret={secret} onClose={() => setSecret(null)} />}
    </form>
  );
}

export function State({ webhook }: { webhook: Webhook }) {
  if (!webhook.active) return <span className="tag failed">Disabled</span>;
  if (webhook.failing_since) return <span className="tag expired">Failing</span>;
  return <span className="tag passed">Active</span>;
}

function List({ webhooks }: { webhooks: readonly Webhook[] }) {
  return (
    <section className="table-scroll panel" tabIndex={0} aria-label="Webhooks">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Address</th>
            <th scope="col">State</th>
            <th scope="col">Topics</th>
            <th scope="col">Description</th>
            <th scope="col">Added, UTC</th>
          </tr>
        </thead>
        <tbody>
          {webhooks.map((webhook) => (
            <tr key={webhook.id}>
              <th scope="row">
                <Link to={`/operate/webhooks/${webhook.id}`}>{webhook.url}</Link>
              </th>
              <td>
                <State webhook={webhook} />
              </td>
              <td>{webhook.topics.join(", ")}</td>
              <td>{webhook.description || "–"}</td>
              <td className="tab">{utcSeconds(webhook.created_at)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
