import { useQuery } from "@tanstack/react-query";
import { lazy, type ReactNode } from "react";
import { createBrowserRouter, Link, Navigate, useLocation, useRouteError } from "react-router-dom";
import { meQuery } from "./api/queries";
import { Shell } from "./parts/shell";
import { Empty, Failure, Skeleton } from "./parts/states";
import { Catalogue } from "./screens/catalogue";
import { CertificatePage } from "./screens/certificate";
import { Challenges } from "./screens/challenges";
import { Checkout } from "./screens/checkout";
import { ErasedPage } from "./screens/erased";
import { IdentityPage } from "./screens/identity";
import { Leaderboard } from "./screens/leaderboard";
import { NotificationsPage } from "./screens/notifications";
import { PayoutPage } from "./screens/payout";
import { PayoutsPage } from "./screens/payouts";
import { PreferencesPage } from "./screens/preferences";
import { ProgramPage } from "./screens/program";
import { PurchasePage } from "./screens/purchase";
import { ReceiptPage } from "./screens/receipt";
import { Register, SignIn } from "./screens/sign-in";
import { TermsPage } from "./screens/terms";
import { UnsubscribePage } from "./screens/unsubscribe";

// The chart library is half of the code; only the trading page loads it.
const TradingPage = lazy(() => import("./trading/page"));
const StatisticsPage = lazy(() => import("./statistics/page"));
// Few people open the screens of the firm's desk.
const OperateFrame = lazy(() => import("./operate/frame"));
const WhatIfPage = lazy(() => import("./operate/what-if"));
const ReleasesPage = lazy(() => import("./operate/releases"));
const OverridesPage = lazy(() => import("./operate/overrides"));
const OperationsPage = lazy(() => import("./operate/operations"));
const BusinessPage = lazy(() => import("./operate/business"));
const FinancePage = lazy(() => import("./operate/finance"));
const FinanceReportPage = lazy(() => import("./operate/finance-report"));
const AccountLinesPage = lazy(() => import("./operate/account-lines"));
const DifferencesPage = lazy(() => import("./operate/differences"));
const RunsPage = lazy(() => import("./operate/runs"));
const RefundsPage = lazy(() => import("./operate/refunds"));
const DisputesPage = lazy(() => import("./operate/disputes"));
const DisputePage = lazy(() => import("./operate/dispute"));
const DisputeRatesPage = lazy(() => import("./operate/dispute-rates"));
const ProviderEventsPage = lazy(() => import("./operate/provider-events"));
const ShelfPage = lazy(() => import("./operate/shelf"));
const CouponsPage = lazy(() => import("./operate/coupons"));
const WebhooksPage = lazy(() => import("./operate/webhooks"));
const WebhookPage = lazy(() => import("./operate/webhook"));
const PayoutReviewsPage = lazy(() => import("./operate/payouts"));
const PayoutReviewPage = lazy(() => import("./operate/payout"));
const BankFilesPage = lazy(() => import("./operate/bank-files"));
const PayoutSettingsPage = lazy(() => import("./operate/payout-settings"));
const IdentityReviewsPage = lazy(() => import("./operate/identities"));
const IdentityReviewPage = lazy(() => import("./operate/identity"));
const PeoplePage = lazy(() => import("./operate/people"));
const PersonPage = lazy(() => import("./operate/person"));
const AuditPage = lazy(() => import("./operate/audit"));
const AuditEntryPage = lazy(() => import("./operate/audit-entry"));
const CheckpointsPage = lazy(() => import("./operate/checkpoints"));
const AuditExportPage = lazy(() => import("./operate/audit-export"));
const YourDataPage = lazy(() => import("./screens/your-data"));

function SignedIn({ children }: { children: ReactNode }) {
  const me = useQuery(meQuery);
  const { pathname, search } = useLocation();
  if (me.isPending) return <Skeleton lines={6} height={28} />;
  if (me.isError) return <Failure error={me.error} retry={() => me.refetch()} />;
  if (!me.data) return <Navigate to={`/sign-in?next=${encodeURIComponent(pathname + search)}`} replace />;
  return children;
}

function RouteFailure() {
  return <Failure error={useRouteError()} retry={() => location.reload()} />;
}

export const router = createBrowserRouter([
  {
    element: <Shell />,
    children: [
      {
        errorElement: <RouteFailure />,
        children: [
          { path: "/", element: <Catalogue /> },
          { path: "/programs/:slug", element: <ProgramPage /> },
          {
            path: "/programs/:slug/checkout",
            element: (
              <SignedIn>
                <Checkout />
              </SignedIn>
            ),
          },
          { path: "/terms/:hash", element: <TermsPage /> },
          { path: "/register", element: <Register /> },
          { path: "/sign-in", element: <SignIn /> },
          {
            path: "/purchases/:id",
            element: (
              <SignedIn>
                <PurchasePage />
              </SignedIn>
            ),
          },
          {
            path: "/challenges",
            element: (
              <SignedIn>
                <Challenges />
              </SignedIn>
            ),
          },
          {
            path: "/accounts/:id",
            element: (
              <SignedIn>
                <TradingPage />
              </SignedIn>
            ),
          },
          {
            path: "/accounts/:id/statistics",
            element: (
              <SignedIn>
                <StatisticsPage />
              </SignedIn>
            ),
          },
          {
            path: "/accounts/:id/receipts/:number",
            element: (
              <SignedIn>
                <ReceiptPage />
              </SignedIn>
            ),
          },
          {
            path: "/operate",
            element: (
              <SignedIn>
                <OperateFrame />
              </SignedIn>
            ),
            children: [
              { index: true, element: <WhatIfPage /> },
              { path: "releases", element: <ReleasesPage /> },
              { path: "accounts", element: <OverridesPage /> },
              { path: "accounts/:id", element: <OverridesPage /> },
              { path: "operations", element: <OperationsPage /> },
              { path: "operations/provider-events", element: <ProviderEventsPage /> },
              { path: "business", element: <BusinessPage /> },
              { path: "finance", element: <FinancePage /> },
              { path: "finance/reports", element: <FinanceReportPage /> },
              { path: "finance/accounts/:account", element: <AccountLinesPage /> },
              { path: "reconciliation", element: <DifferencesPage /> },
              { path: "reconciliation/runs", element: <RunsPage /> },
              { path: "refunds", element: <RefundsPage /> },
              { path: "disputes", element: <DisputesPage /> },
              { path: "disputes/rates", element: <DisputeRatesPage /> },
              { path: "disputes/:id", element: <DisputePage /> },
              { path: "shelf", element: <ShelfPage /> },
              { path: "shelf/:slug", element: <ShelfPage /> },
              { path: "coupons", element: <CouponsPage /> },
              { path: "payouts", element: <PayoutReviewsPage /> },
              { path: "payouts/files", element: <BankFilesPage /> },
              { path: "payouts/settings", element: <PayoutSettingsPage /> },
              { path: "payouts/:id", element: <PayoutReviewPage /> },
              { path: "identity", element: <IdentityReviewsPage /> },
              { path: "identity/:id", element: <IdentityReviewPage /> },
              { path: "webhooks", element: <WebhooksPage /> },
              { path: "webhooks/:id", element: <WebhookPage /> },
              { path: "people", element: <PeoplePage /> },
              { path: "people/:id", element: <PersonPage /> },
              { path: "audit", element: <AuditPage /> },
              { path: "audit/entries/:index", element: <AuditEntryPage /> },
              { path: "audit/checkpoints", element: <CheckpointsPage /> },
              { path: "audit/export", element: <AuditExportPage /> },
            ],
          },
          {
            path: "/payouts",
            element: (
              <SignedIn>
                <PayoutsPage />
              </SignedIn>
            ),
          },
          {
            path: "/payouts/:id",
            element: (
              <SignedIn>
                <PayoutPage />
              </SignedIn>
            ),
          },
          {
            path: "/identity",
            element: (
              <SignedIn>
                <IdentityPage />
              </SignedIn>
            ),
          },
          { path: "/certificates/:code?", element: <CertificatePage /> },
          { path: "/leaderboard", element: <Leaderboard /> },
          {
            path: "/notifications",
            element: (
              <SignedIn>
                <NotificationsPage />
              </SignedIn>
            ),
          },
          {
            path: "/notifications/preferences",
            element: (
              <SignedIn>
                <PreferencesPage />
              </SignedIn>
            ),
          },
          {
            path: "/your-data",
            element: (
              <SignedIn>
                <YourDataPage />
              </SignedIn>
            ),
          },
          { path: "/erased", element: <ErasedPage /> },
          { path: "/unsubscribe/:token", element: <UnsubscribePage /> },
          {
            path: "*",
            element: (
              <Empty title="There is no such page">
                <p>The address may be mistyped, or the page has moved.</p>
                <Link className="button" to="/">
                  To the programs
                </Link>
              </Empty>
            ),
          },
        ],
      },
    ],
  },
]);
