import { useQuery } from "@tanstack/react-query";
import { meQuery } from "../api/queries";

/** Who: oneself is named, everybody else by their id alone. */
export function Actor({ id }: { id: string | null }) {
  const { data: me } = useQuery(meQuery);
  if (id === null) return <span className="muted">The platform</span>;
  return id === me?.id ? <>You</> : <code>{id}</code>;
}
