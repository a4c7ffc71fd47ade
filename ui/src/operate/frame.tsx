import { useQuery } from "@tanstack/react-query";
import { NavLink, Outlet, useLocation } from "react-router-dom";
import { meQuery } from "../api/queries";
import { Empty } from "../parts/states";
import { screenAt, screensOf } from "./roles";

/** What the firm's people see around each of their screens. */
export default function OperateFrame() {
  const { data: me } = useQuery(meQuery);
  const { pathname } = useLocation();
  const screens = screensOf(me);
  const here = screenAt(pathname);
  if (screens.length === 0)
    return (
      <div className="page">
        <Empty title="These screens are for the firm's people">
          <p>Your account has no role that may open them.</p>
        </Empty>
      </div>
    );
  return (
    <div className="page operate">
      {screens.length > 1 && (
        <nav className="subnav" aria-label="Operate">
          {screens.map(({ path, name }) => (
            <NavLink key={path} to={path} end={path === "/operate"}>
              {name}
            </NavLink>
          ))}
        </nav>
      )}
      {here && !screens.includes(here) ? (
        <Empty title="This screen is not for your role">
          <p>Your account has none that may open it.</p>
        </Empty>
      ) : (
        <Outlet />
      )}
    </div>
  );
}
