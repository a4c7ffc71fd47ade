import type { components as analytics } from "./analytics-schema";
import type { components, operations } from "./schema";

type Schemas = components["schemas"];

export type Person = Schemas["Person"];
export type Program = Schemas["Program"];
export type Rule = Schemas["Rule"];
export type Purchase = Schemas["Purchase"];
export type PurchaseDetail = Schemas["PurchaseDetail"];
export type PurchaseEvent = Schemas["PurchaseEvent"];
export type PurchaseQuote = Schemas["PurchaseQuote"];
export type PriceLine = Schemas["PriceLine"];
export type NewPurchase = Schemas["NewPurchase"];
export type ResetOffer = Schemas["ResetOffer"];
export type Shelf = Schemas["Shelf"];
export type OfferedAddon = Schemas["OfferedAddon"];
export type ProgramShelf = Schemas["ProgramShelf"];
export type StockedAddon = Schemas["StockedAddon"];
export type OtherPrice = Schemas["OtherPrice"];
export type AddonChange = Schemas["AddonChange"];
export type NewAddon = Schemas["NewAddon"];
export type NewPrice = Schemas["NewPrice"];
export type NewTerms = Schemas["NewTerms"];
export type Portion = Schemas["Portion"];
export type Coupon = Schemas["Coupon"];
export type NewCoupon = Schemas["NewCoupon"];
export type CountryTax = Schemas["CountryTax"];
export type NewTax = Schemas["NewTax"];
export type GroupMember = Schemas["GroupMember"];
export type Challenge = Schemas["Challenge"];
export type AccountSummary = Schemas["AccountSummary"];
export type Account = Schemas["Account"];
export type Floor = Schemas["Floor"];
export type Objective = Schemas["Objective"];
export type Position = Schemas["Position"];
export type Order = Schemas["Order"];
export type Fill = Schemas["Fill"];
export type Verdict = Schemas["Verdict"];
export type Receipt = Schemas["Receipt"];
export type Instrument = Schemas["Instrument"];
export type Quote = Schemas["Quote"];
export type Candle = Schemas["Candle"];
export type Ranked = Schemas["Ranked"];
export type NewOrder = Schemas["NewOrder"];
export type OrderChange = Schemas["OrderChange"];
export type PositionChange = Schemas["PositionChange"];
export type Side = Schemas["Side"];
export type OrderKind = Schemas["OrderKind"];
export type Effect = Schemas["Effect"];
export type FloorAfter = Schemas["FloorAfter"];
export type PayoutCheck = Schemas["PayoutCheck"];
export type Condition = Schemas["Condition"];
export type Payout = Schemas["Payout"];
export type PayoutState = Schemas["PayoutState"];
export type PayoutMethod = Schemas["PayoutMethod"];
export type PayoutEvent = Schemas["PayoutEvent"];
export type PayoutStory = Schemas["PayoutStory"];
export type PayoutRequest = Schemas["PayoutRequest"];
export type PayoutAttempt = Schemas["PayoutAttempt"];
export type PayoutSettings = Schemas["PayoutSettings"];
export type PayoutBatch = Schemas["PayoutBatch"];
export type NewPayoutSettings = Schemas["NewPayoutSettings"];
export type Payee = Schemas["Payee"];
export type Dossier = Schemas["Dossier"];
export type IdentityCheck = Schemas["IdentityCheck"];
export type IdentityStanding = Schemas["IdentityStanding"];
export type IdentityDocument = Schemas["IdentityDocument"];
export type DocumentKind = Schemas["IdentityDocumentKind"];
export type Figure = Schemas["Number"];
export type Phase = Schemas["Phase"];
export type KeptVersion = Schemas["KeptVersion"];
export type ProgramChange = Schemas["ProgramChange"];
export type WhatIf = Schemas["WhatIf"];
export type ProgramColumn = Schemas["ProgramColumn"];
export type Override = Schemas["Override"];
export type Release = Schemas["Release"];
export type JobQueue = Schemas["JobQueue"];
export type MessageGroup = Schemas["MessageGroup"];
export type Job = Schemas["Job"];
export type JobState = Schemas["JobState"];
export type FailedMessage = Schemas["FailedMessage"];
export type FailedAttempt = Schemas["FailedAttempt"];
export type Notification = Schemas["Notification"];
export type Preference = Schemas["Preference"];
export type Webhook = Schemas["Webhook"];
export type Delivery = Schemas["Delivery"];
export type DeliveryState = Schemas["DeliveryState"];
export type DeliveryDetail = Schemas["DeliveryDetail"];
export type AuditCheckpoint = Schemas["AuditCheckpoint"];
export type AuditConsistency = Schemas["AuditConsistency"];
export type AuditKey = Schemas["AuditKey"];
export type AuditLogEntry = Schemas["AuditLogEntry"];
export type ProvenEntry = Schemas["ProvenEntry"];
export type Subject = Schemas["Subject"];

/** What would come next. */
export type Forecast = Schemas["Forecast"];

/** One `account` event of the account's stream: the account with what is open on it. */
export type AccountSnapshot = Schemas["LiveAccount"];

/** A quote of the list or of the market's stream, as far as screens use it. */
export type Tick = Pick<Quote, "symbol" | "bid" | "ask" | "at" | "stale">;

export type Interval = operations["candles"]["parameters"]["query"]["interval"];
export const intervals = ["5s", "1m", "5m", "15m"] as const satisfies readonly Interval[];

type AnalyticsSchemas = analytics["schemas"];

export type Board = AnalyticsSchemas["Leaderboard"];
export type BoardPeriod = AnalyticsSchemas["Period"];
export type MyRank = AnalyticsSchemas["MyRank"];
export type Statistics = AnalyticsSchemas["Statistics"];
export type Trades = AnalyticsSchemas["TradesView"];
export type Curve = AnalyticsSchemas["Curve"];
export type Business = AnalyticsSchemas["Business"];
export type Happened = AnalyticsSchemas["Happened"];
export type What = AnalyticsSchemas["What"];
