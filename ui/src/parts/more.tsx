/** Loads the next page of a list, and says how much of it is there. */
export function More({
  pages,
  shown,
}: {
  pages: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown };
  shown: number;
}) {
  if (!pages.hasNextPage) return null;
  return (
    <p className="actions">
      <button
        type="button"
        className="button small"
        disabled={pages.isFetchingNextPage}
        onClick={() => pages.fetchNextPage()}
      >
        {pages.isFetchingNextPage ? "Loading…" : "Load more"}
      </button>
      <span className="muted">{shown} shown</span>
    </p>
  );
}
