import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { failedMessageQuery, jobQuery } from "../api/queries";
import type { FailedAttempt } from "../api/types";
import { utcExact } from "../lib/time";
import { Failure, Skeleton } from "../parts/states";

/** Everything that is known of a job. */
export function JobFacts({ id, operator }: { id: string; operator: boolean }) {
  const found = useQuery(jobQuery(id));
  if (found.isError) return <Failure error={found.error} retry={() => found.refetch()} />;
  if (!found.data) return <Skeleton lines={3} height={20} label="Loading the job" />;
  const { job, payload, errors } = found.data;
  return (
    <Facts payload={payload} errors={errors} operator={operator}>
      <Fact name="Job">
        <code>{job.id}</code>
      </Fact>
      <Fact name="Enqueued">{utcExact(job.enqueued_at)}</Fact>
      <Fact name="Due">{utcExact(job.run_at)}</Fact>
      {job.ended_at && <Fact name="Ended">{utcExact(job.ended_at)}</Fact>}
      <Fact name="Attempts that may fail">{job.most_attempts}</Fact>
      <Fact name="Priority">{job.priority}</Fact>
    </Facts>
  );
}

/** Everything that is known of a message that a group could not take. */
export function MessageFacts({ group, id, operator }: { group: string; id: number; operator: boolean }) {
  const found = useQuery(failedMessageQuery(group, id));
  if (found.isError) return <Failure error={found.error} retry={() => found.refetch()} />;
  if (!found.data) return <Skeleton lines={3} height={20} label="Loading the message" />;
  const { message, payload, errors } = found.data;
  return (
    <Facts payload={payload} errors={errors} operator={operator}>
      <Fact name="Message">{message.id}</Fact>
      <Fact name="About">
        <code>{message.aggregate}</code>
      </Fact>
      <Fact name="Happened">{utcExact(message.at)}</Fact>
      {message.next_at && <Fact name="Tried again at">{utcExact(message.next_at)}</Fact>}
      {message.dead_at && <Fact name="Given up">{utcExact(message.dead_at)}</Fact>}
      {message.sent_again_at && <Fact name="Sent again">{utcExact(message.sent_again_at)}</Fact>}
    </Facts>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Facts({
  payload,
  errors,
  operator,
  children,
}: {
  payload: unknown;
  errors: readonly FailedAttempt[];
  operator: boolean;
  children: ReactNode;
}) {
  return (
    <div className="work-details">
      <dl className="work-facts">{children}</dl>
      <div>
        <h3>Payload</h3>
        {operator ? (
          <>
            <p className="fine muted">That you saw it is in the audit log.</p>
            {/* It scrolls by keyboard too. */}
            <pre tabIndex={0}>{JSON.stringify(payload, null, 2)}</pre>
          </>
        ) : (
          <p className="muted">It may name people; the firm's admins see it.</p>
        )}
      </div>
      <div>
        <h3>Errors, the newest first</h3>
        {errors.length === 0 ? (
          <p className="muted">None.</p>
        ) : (
          <ol>
            {[...errors].reverse().map((failure) => (
              <li key={`${failure.attempt}-${failure.at}`}>
                <span className="tab muted">
                  Attempt {failure.attempt}, {utcExact(failure.at)}
                </span>
                <pre tabIndex={0}>{failure.error}</pre>
              </li>
            ))}
          </ol>
        )}
      </div>
    </div>
  );
}
