import { useInfiniteQuery, useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "react-router-dom";
import { api, ask } from "../api/client";
import { asApiError } from "../api/error";
import { notificationsQuery } from "../api/queries";
import type { Notification } from "../api/types";
import { localShort, withReadableTimes } from "../lib/time";
import { useTitle } from "../lib/title";
import { useNotify } from "../parts/notify";
import { Empty, Failure, Skeleton } from "../parts/states";

/** What one was told, the newest first. */
export function NotificationsPage() {
  useTitle("Notifications");
  const pages = useInfiniteQuery(notificationsQuery);
  const queries = useQueryClient();
  const notify = useNotify();
  const changed = () => queries.invalidateQueries({ queryKey: ["notifications"] });
  const refused = (error: unknown) => notify(asApiError(error).detail, "bad");
  const read = useMutation({
    mutationFn: (id: string) => ask(api.POST("/v1/notifications/{id}/read", { params: { path: { id } } })),
    onError: refused,
    onSettled: changed,
  });
  const readAll = useMutation({
    mutationFn: () => ask(api.POST("/v1/notifications/read-all")),
    onSuccess: () => notify("All notifications are marked as read.", "good"),
    onError: refused,
    onSettled: changed,
  });
  const items = pages.data?.pages.flatMap((page) => page.items) ?? [];
  const unread = pages.data?.pages[0]?.unread ?? 0;
  return (
    <div className="page">
      <div className="page-head">
        <h1>Notifications</h1>
        <div className="actions">
          {unread > 0 && (
            <button
              type="button"
              className="button"
              disabled={readAll.isPending}
              onClick={() => readAll.mutate()}
            >
              Mark all {unread} as read
            </button>
          )}
          <Link className="button quiet" to="/notifications/preferences">
            Choose what you are told
          </Link>
        </div>
      </div>
      {pages.isPending && <Skeleton lines={5} height={56} label="Loading your notifications" />}
      {pages.isError && items.length === 0 && <Failure error={pages.error} retry={() => pages.refetch()} />}
      {pages.data && items.length === 0 && (
        <Empty title="Nothing yet">
          <p>When an account opens, passes or meets a limit, you read it here.</p>
        </Empty>
      )}
      {items.length > 0 && (
        <ul className="notes panel" aria-label="Notifications">
          {items.map((note) => (
            <Note key={note.id} note={note} read={() => read.mutate(note.id)} />
          ))}
        </ul>
      )}
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
    </div>
  );
}

function Note({ note, read }: { note: Notification; read: () => void }) {
  const unread = note.read_at === null;
  return (
    <li className={unread ? "note unread" : "note"}>
      <div className="note-head">
        <Link to={note.path} onClick={() => unread && read()}>
          {unread && <span className="hidden">Unread: </span>}
          {note.title}
        </Link>
        <time dateTime={note.at}>{localShort(note.at)}</time>
      </div>
      {note.sentences.length > 0 && (
        <details>
          <summary>
            How it came about<span className="hidden">: {note.title}</span>
          </summary>
          {note.sentences.map((sentence) => (
            <p key={sentence}>{withReadableTimes(sentence)}</p>
          ))}
        </details>
      )}
      {unread && (
        <button type="button" className="button small" onClick={read}>
          Mark as read<span className="hidden">: {note.title}</span>
        </button>
      )}
    </li>
  );
}
