import { useQuery } from "@tanstack/react-query";
import { NavLink } from "react-router-dom";
import { unreadQuery } from "../api/queries";
import { BellIcon } from "./icons";

/** Leads to the notifications and says how many are unread. Without an answer it just leads there. */
export function Bell() {
  const { data: unread = 0 } = useQuery(unreadQuery);
  const told = unread > 0 ? `Notifications, ${unread} unread` : "Notifications";
  return (
    <NavLink to="/notifications" end className="icon-button bell" aria-label={told} title={told}>
      <BellIcon />
      {unread > 0 && (
        <span className="badge" aria-hidden="true">
          {unread > 99 ? "99+" : unread}
        </span>
      )}
    </NavLink>
  );
}
