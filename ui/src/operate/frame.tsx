import { useQuery } from "@tanstack/react-query";
import { NavLink, Outlet, useLocation } from "react-router-dom";
import { meQuery } from "../api/queries";
import { Empty } from "../parts/states";
import { may } from "./roles";

/** What the firm's people see around each of their screens. */
export default function OperateFrame() {
  const { data: me } = useQuery(meQuery);
  const { pathname } = useLocation();
  // The firm's bookkeepers see its business and nothing of its traders.
  if (!may(me, "judge") && may(me, "business") && pathname === "/operate/business")
    return (
      <div className="page operate">
        <Outlet />
      </div>
    );
  if (!may(me, "judge"))
    return (
      <div className="page">
        <Empty title="These screens are for the firm's risk desk">
          <p>Your account has no role that may open them.</p>
        </Empty>
      </div>
    );
  return (
    <div className="page operate">
      <nav className="subnav" aria-label="Operate">
        <NavLink to="/operate" end>
          What if
        </NavLink>
        <NavLink to="/operate/releases">Releases</NavLink>
        <NavLink to="/operate/accounts">Overrides</NavLink>
        <NavLink to="/operate/operations">Operations</NavLink>
        <NavLink to="/operate/business">Business</NavLink>
        {may(me, "webhooks") && <NavLink to="/operate/webhooks">Webhooks</NavLink>}
      </nav>
      <Outlet />
    </div>
  );
}
