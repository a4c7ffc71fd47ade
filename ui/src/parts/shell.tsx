import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Suspense, useEffect, useRef } from "react";
import { Link, NavLink, Outlet, useLocation, useNavigate } from "react-router-dom";
import { api, ask } from "../api/client";
import { firmQuery, meQuery } from "../api/queries";
import { chooseTheme, useTheme } from "../lib/theme";
import { reasons } from "../operate/reasons";
import { screensOf } from "../operate/roles";
import { Bell } from "./bell";
import { ExitIcon, Mark, MoonIcon, SunIcon } from "./icons";
import { useNotify } from "./notify";
import { Skeleton } from "./states";

function ThemeButton() {
  const theme = useTheme();
  const other = theme === "dark" ? "light" : "dark";
  return (
    <button
      type="button"
      className="icon-button"
      onClick={() => chooseTheme(other)}
      aria-label={`Switch to ${other} theme`}
      title={`Switch to ${other} theme`}
    >
      {theme === "dark" ? <SunIcon /> : <MoonIcon />}
    </button>
  );
}

function PersonArea() {
  const { data: me, isPending } = useQuery(meQuery);
  const queries = useQueryClient();
  const navigate = useNavigate();
  const notify = useNotify();
  const signOut = useMutation({
    mutationFn: () => ask(api.POST("/v1/auth/sign-out", { body: {} })),
    onSuccess: () => {
      queries.clear();
      reasons.forgetAll();
      queries.setQueryData(meQuery.queryKey, null);
      navigate("/");
    },
    onError: (error) => notify(error.message, "bad"),
  });
  if (isPending) return <span className="person-space" />;
  if (!me) {
    return (
      <>
        <Link className="button quiet" to="/sign-in">
          Sign in
        </Link>
        <Link className="button primary" to="/register">
          Register
        </Link>
      </>
    );
  }
  return (
    <>
      <Bell />
      <NavLink className="person" to="/your-data" title={`${me.email}: your data`}>
        {me.display_name}
      </NavLink>
      <button
        type="button"
        className="icon-button"
        onClick={() => signOut.mutate()}
        disabled={signOut.isPending}
        aria-label="Sign out"
        title="Sign out"
      >
        <ExitIcon />
      </button>
    </>
  );
}

/** Moves the focus to the new screen's content, so that a keyboard or screen reader starts there and not where the old link was. */
function useRouteFocus() {
  const { pathname } = useLocation();
  const last = useRef(pathname);
  useEffect(() => {
    if (last.current === pathname) return;
    last.current = pathname;
    window.scrollTo(0, 0);
    document.getElementById("content")?.focus({ preventScroll: true });
  }, [pathname]);
}

export function Shell() {
  const { data: firm } = useQuery(firmQuery);
  const { data: me } = useQuery(meQuery);
  const { pathname } = useLocation();
  const desk = screensOf(me)[0];
  const trading = /^\/accounts\/[^/]+\/?$/.test(pathname);
  useRouteFocus();
  return (
    <div className={trading ? "shell trading-shell" : "shell"}>
      <a className="skip" href="#content">
        Skip to content
      </a>
      <header className="top">
        <Link className="brand" to="/">
          <Mark />
          <span>{firm?.name ?? "TradeSense"}</span>
          {firm?.demo && <span className="tag demo">Demo</span>}
        </Link>
        <nav aria-label="Main">
          <NavLink to="/" end>
            Programs
          </NavLink>
          {me && <NavLink to="/challenges">My challenges</NavLink>}
          {me && <NavLink to="/payouts">Payouts</NavLink>}
          <NavLink to="/leaderboard">Leaderboard</NavLink>
          {desk && <NavLink to={desk.path}>{desk.path === "/operate" ? "Operate" : desk.name}</NavLink>}
        </nav>
        <div className="top-end">
          <ThemeButton />
          <PersonArea />
        </div>
      </header>
      <main id="content" tabIndex={-1}>
        <Suspense fallback={<Skeleton lines={6} height={28} />}>
          <Outlet />
        </Suspense>
      </main>
      <footer className="bottom">
        <span>Prices and accounts are simulated. Charts by </span>
        <a href="https://www.tradingview.com/" rel="noreferrer">
          TradingView
        </a>
        <span> Lightweight Charts™.</span>
      </footer>
    </div>
  );
}
