import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { NavLink } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { failedMessagesQuery, jobsQuery, meQuery, operationsQuery } from "../api/queries";
import type { FailedMessage, Job, JobQueue, JobState, MessageGroup } from "../api/types";
import { ageWords, lateness, utcSeconds } from "../lib/time";
import { useTitle } from "../lib/title";
import { More } from "../parts/more";
import { Empty, Failure, Skeleton } from "../parts/states";
import { Asking, useDo } from "./asking";
import { JobFacts, MessageFacts } from "./details";
import { Expander } from "./expander";
import { may } from "./roles";
import { counted, firstLine, kindsOf, standing, whole } from "./work";

/** Around each screen of the operations. */
export function OperationsNav() {
  return (
    <nav className="subnav" aria-label="Behind the requests">
      <NavLink to="/operate/operations" end>
        Jobs and messages
      </NavLink>
      <NavLink to="/operate/operations/provider-events">Provider events</NavLink>
    </nav>
  );
}

/** What waits, runs and failed behind the requests. */
export default function OperationsPage() {
  useTitle("Operations");
  const overview = useQuery(operationsQuery);
  const { data: me } = useQuery(meQuery);
  const operator = may(me, "operate");
  return (
    <>
      <h1>Operations</h1>
      <OperationsNav />
      <p className="lead">
        Work behind the requests of this firm. The figures are read anew every few seconds.
        {!operator && " You may look; sending again, cancelling and pausing are for the firm's admins."}
      </p>
      {overview.isPending && <Skeleton lines={4} height={28} label="Loading the figures" />}
      {overview.isError && !overview.data && (
        <Failure error={overview.error} retry={() => overview.refetch()} />
      )}
      {overview.isError && overview.data && (
        <p className="stale-note" role="status">
          The figures could not be read anew: {asApiError(overview.error).detail} Trying again.
        </p>
      )}
      {overview.data && (
        <>
          <h2>Queues of jobs</h2>
          {overview.data.queues.length === 0 ? (
            <p className="muted">No job waits, runs or was given up.</p>
          ) : (
            <Queues queues={overview.data.queues} operator={operator} />
          )}
          <h2>Groups that take messages</h2>
          {overview.data.groups.length === 0 ? (
            <p className="muted">Nobody takes messages on this installation.</p>
          ) : (
            <Groups groups={overview.data.groups} operator={operator} />
          )}
          <Jobs operator={operator} />
          <Messages groups={overview.data.groups} operator={operator} />
        </>
      )}
    </>
  );
}

function Age({ seconds }: { seconds: number | null }) {
  if (seconds === null) return <span className="muted">–</span>;
  return <span className={lateness(seconds)}>{ageWords(seconds)}</span>;
}

function DeadCount({ dead }: { dead: number }) {
  return <span className={dead > 0 ? "some-dead" : undefined}>{whole(dead)}</span>;
}

function Queues({ queues, operator }: { queues: readonly JobQueue[]; operator: boolean }) {
  const turn = useDo(
    ({ name, paused }: JobQueue) => {
      const params = { path: { queue: name } };
      return paused
        ? ask(api.POST("/v1/operations/queues/{queue}/resume", { params }))
        : ask(api.POST("/v1/operations/queues/{queue}/pause", { params }));
    },
    (_, queue) => (queue.paused ? `${queue.name} goes on.` : `${queue.name} is paused.`),
  );
  return (
    <section className="table-scroll panel work" tabIndex={0} aria-label="Queues of jobs">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Queue</th>
            <th scope="col" className="num">
              Waiting
            </th>
            <th scope="col" className="num">
              Running
            </th>
            <th scope="col" className="num">
              Dead
            </th>
            <th scope="col" className="num">
              Longest due for
            </th>
            <th scope="col">
              <span className="hidden">Pause or resume</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {queues.map((queue) => (
            <tr key={queue.name}>
              <th scope="row">
                {queue.name} {queue.paused && <span className="tag paused">Paused</span>}
              </th>
              <td className="num">{whole(queue.waiting)}</td>
              <td className="num">{whole(queue.running)}</td>
              <td className="num">
                <DeadCount dead={queue.dead} />
              </td>
              <td className="num">
                <Age seconds={queue.oldest_seconds} />
              </td>
              <td className="num">
                {operator && (
                  <button
                    type="button"
                    className="button small"
                    disabled={turn.isPending}
                    onClick={() => turn.mutate(queue)}
                  >
                    {queue.paused ? "Resume" : "Pause"}
                    <span className="hidden"> {queue.name}</span>
                  </button>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Groups({ groups, operator }: { groups: readonly MessageGroup[]; operator: boolean }) {
  const send = useDo(
    (group: string) =>
      ask(api.POST("/v1/operations/messages/{group}/send-again", { params: { path: { group } } })),
    ({ sent }, group) => `${group} tries ${counted(sent, "message")} again.`,
  );
  return (
    <section className="table-scroll panel work" tabIndex={0} aria-label="Groups that take messages">
      <table className="data">
        <thead>
          <tr>
            <th scope="col">Group</th>
            <th scope="col" className="num">
              Waiting
            </th>
            <th scope="col" className="num">
              Failing
            </th>
            <th scope="col" className="num">
              Dead
            </th>
            <th scope="col" className="num">
              Oldest waits for
            </th>
            <th scope="col">
              <span className="hidden">Send again</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {groups.map((group) => (
            <tr key={group.name}>
              <th scope="row">{group.name}</th>
              <td className="num">{whole(group.waiting)}</td>
              <td className="num">{whole(group.failing)}</td>
              <td className="num">
                <DeadCount dead={group.dead} />
              </td>
              <td className="num">
                <Age seconds={group.oldest_seconds} />
              </td>
              <td className="num">
                {operator && group.dead > 0 && (
                  <Asking
                    label="Send all again"
                    about={`of ${group.name}`}
                    title="Send all dead messages again?"
                    confirm="Send them again"
                    busy={send.isPending}
                    onConfirm={() => send.mutate(group.name)}
                  >
                    {group.name} tries {counted(group.dead, "message")} again, the oldest first, each with all
                    its attempts. Do this once the cause is mended.
                  </Asking>
                )}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

const states = [
  ["dead", "Dead"],
  ["waiting", "Waiting"],
  ["running", "Running"],
  ["done", "Done"],
  ["cancelled", "Cancelled"],
] as const satisfies readonly (readonly [JobState, string])[];

function Jobs({ operator }: { operator: boolean }) {
  const [state, setState] = useState<JobState>("dead");
  const pages = useInfiniteQuery(jobsQuery(state));
  const jobs = pages.data?.pages.flatMap((page) => page.items) ?? [];
  const sendKind = useDo(
    (kind: string) => ask(api.POST("/v1/operations/jobs/send-again", { body: { kind } })),
    ({ sent }, kind) => `${counted(sent, "job")} of ${kind} sent again.`,
  );
  return (
    <>
      <div className="work-head">
        <h2>Jobs</h2>
        <fieldset className="segments small" aria-label="Jobs in which state">
          {states.map(([word, label]) => (
            <button key={word} type="button" aria-pressed={state === word} onClick={() => setState(word)}>
              {label}
            </button>
          ))}
        </fieldset>
      </div>
      {operator && state === "dead" && jobs.length > 1 && (
        <div className="actions">
          {kindsOf(jobs).map((kind) => (
            <Asking
              key={kind}
              label={`Send all ${kind} again`}
              about=""
              title="Send all dead jobs of a kind again?"
              confirm="Send them again"
              busy={sendKind.isPending}
              onConfirm={() => sendKind.mutate(kind)}
            >
              All dead jobs of the kind {kind} wait again, the oldest first, each with all its attempts. Do
              this once the cause is mended.
            </Asking>
          ))}
        </div>
      )}
      {pages.isPending && <Skeleton lines={3} height={28} label="Loading the jobs" />}
      {pages.isError && !pages.data && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && jobs.length === 0 && (
        <Empty title={state === "dead" ? "No job was given up" : `No job is ${state}`}>
          {(state === "done" || state === "cancelled") && <p>Jobs that are over are kept for a day.</p>}
        </Empty>
      )}
      {jobs.length > 0 && (
        <section className="table-scroll panel work" tabIndex={0} aria-label="Jobs">
          <table className="data">
            <thead>
              <tr>
                <th scope="col">Kind</th>
                <th scope="col">Queue</th>
                <th scope="col">State</th>
                <th scope="col" className="num">
                  Attempt
                </th>
                <th scope="col">{state === "waiting" ? "Due, UTC" : "Enqueued, UTC"}</th>
                <th scope="col">Last error</th>
                <th scope="col">
                  <span className="hidden">Send again or cancel</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {jobs.map((job) => (
                <JobRow key={job.id} job={job} operator={operator} />
              ))}
            </tbody>
          </table>
        </section>
      )}
      <More pages={pages} shown={jobs.length} />
    </>
  );
}

function JobRow({ job, operator }: { job: Job; operator: boolean }) {
  const [open, setOpen] = useState(false);
  const params = { path: { id: job.id } };
  const send = useDo(
    () => ask(api.POST("/v1/operations/jobs/{id}/send-again", { params })),
    () => `${job.kind} is sent again.`,
  );
  const cancel = useDo(
    () => ask(api.POST("/v1/operations/jobs/{id}/cancel", { params })),
    ({ outcome }) => (outcome === "asked" ? `${job.kind} is asked to stop.` : `${job.kind} is cancelled.`),
  );
  const details = `job-${job.id}`;
  const cancellable = (job.state === "waiting" || job.state === "running") && !job.stop;
  return (
    <>
      <tr data-job={job.id}>
        <th scope="row">
          <Expander open={open} controls={details} onToggle={() => setOpen(!open)} about={job.id}>
            {job.kind}
          </Expander>
        </th>
        <td>{job.queue}</td>
        <td>
          <span className={`tag ${job.state}`}>{job.stop ? "Stopping" : wordOf(job.state)}</span>
        </td>
        <td className="num">{job.attempt}</td>
        <td className="tab">{utcSeconds(job.state === "waiting" ? job.run_at : job.enqueued_at)}</td>
        <td className="error">{firstLine(job.last_error) || "–"}</td>
        <td className="num">
          {operator && job.state === "dead" && (
            <Asking
              label="Send again"
              about={`job ${job.id}`}
              title="Send this job again?"
              confirm="Send it again"
              busy={send.isPending}
              onConfirm={() => send.mutate(undefined)}
            >
              {job.kind} waits again with all its attempts.
            </Asking>
          )}
          {operator && cancellable && (
            <Asking
              label="Cancel"
              about={`job ${job.id}`}
              title="Cancel this job?"
              confirm="Cancel the job"
              danger
              busy={cancel.isPending}
              onConfirm={() => cancel.mutate(undefined)}
            >
              {job.state === "waiting"
                ? `${job.kind} will not run.`
                : `${job.kind} is asked to stop; what it has done until then is done.`}
            </Asking>
          )}
        </td>
      </tr>
      {open && (
        <tr className="details" id={details}>
          <td colSpan={7}>
            <JobFacts id={job.id} operator={operator} />
          </td>
        </tr>
      )}
    </>
  );
}

function wordOf(state: JobState): string {
  return states.find(([word]) => word === state)?.[1] ?? state;
}

function Messages({ groups, operator }: { groups: readonly MessageGroup[]; operator: boolean }) {
  const [group, setGroup] = useState("");
  const pages = useInfiniteQuery(failedMessagesQuery(group));
  const messages = pages.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <div className="work-head">
        <h2>Messages that failed</h2>
        {groups.length > 1 && (
          <label className="select">
            Group
            <select value={group} onChange={(event) => setGroup(event.target.value)}>
              <option value="">All</option>
              {groups.map(({ name }) => (
                <option key={name} value={name}>
                  {name}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      {pages.isPending && <Skeleton lines={3} height={28} label="Loading the messages" />}
      {pages.isError && !pages.data && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && messages.length === 0 && (
        <Empty title="No message failed">
          <p>Every message was taken, or is on its way.</p>
        </Empty>
      )}
      {messages.length > 0 && (
        <section className="table-scroll panel work" tabIndex={0} aria-label="Messages that failed">
          <table className="data">
            <thead>
              <tr>
                <th scope="col">Topic</th>
                <th scope="col">Group</th>
                <th scope="col">State</th>
                <th scope="col" className="num">
                  Attempts
                </th>
                <th scope="col">Happened, UTC</th>
                <th scope="col">Last error</th>
                <th scope="col">
                  <span className="hidden">Send again</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {messages.map((message) => (
                <MessageRow key={`${message.group}/${message.id}`} message={message} operator={operator} />
              ))}
            </tbody>
          </table>
        </section>
      )}
      <More pages={pages} shown={messages.length} />
    </>
  );
}

function MessageRow({ message, operator }: { message: FailedMessage; operator: boolean }) {
  const [open, setOpen] = useState(false);
  const { group, id } = message;
  const send = useDo(
    () =>
      ask(api.POST("/v1/operations/messages/{group}/{id}/send-again", { params: { path: { group, id } } })),
    () => `${group} tries message ${id} again.`,
  );
  const details = `message-${group}-${id}`;
  const dead = message.dead_at !== null;
  return (
    <>
      <tr data-message={`${group}/${id}`}>
        <th scope="row">
          <Expander
            open={open}
            controls={details}
            onToggle={() => setOpen(!open)}
            about={`${id} of ${group}`}
          >
            {message.topic}
          </Expander>
        </th>
        <td>{group}</td>
        <td>
          <span className={`tag ${dead ? "dead" : "failing"}`}>{standing(message)}</span>
        </td>
        <td className="num">{message.attempts}</td>
        <td className="tab">{utcSeconds(message.at)}</td>
        <td className="error">{firstLine(message.last_error) || "–"}</td>
        <td className="num">
          {operator && dead && (
            <Asking
              label="Send again"
              about={`message ${id} to ${group}`}
              title="Send this message again?"
              confirm="Send it again"
              busy={send.isPending}
              onConfirm={() => send.mutate(undefined)}
            >
              {group} tries {message.topic} of {utcSeconds(message.at)} UTC again, with all its attempts.
            </Asking>
          )}
        </td>
      </tr>
      {open && (
        <tr className="details" id={details}>
          <td colSpan={7}>
            <MessageFacts group={group} id={id} operator={operator} />
          </td>
        </tr>
      )}
    </>
  );
}
