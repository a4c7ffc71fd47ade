import { chromium } from "playwright-core";
import { readFileSync } from "node:fs";
import { execSync } from "node:child_process";
const base = "http://127.0.0.1:18100";
const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--headless","--no-sandbox","--disable-gpu"] });
const context = await browser.newContext({ baseURL: base, viewport: { width: 1280, height: 800 }, colorScheme: "dark", reducedMotion: "reduce" });
const page = await context.newPage();
page.on("console", (m) => { if (m.type() === "error") console.log("   console:", m.text().slice(0,160)); });
page.on("pageerror", (e) => console.log("   uncaught:", e.message));
const shot = (name) => page.screenshot({ path: `/tmp/ts/shots2/${name}.png` });
const logins = JSON.parse(readFileSync("/tmp/ts/d-ui/logins.json", "utf8"));
const trader = logins.find((l) => l.title === "trader");
const api = async (method, path, data, key = true) => {
  const r = await context.request.fetch(base + path, { method, data, headers: { "content-type": "application/json", ...(key ? { "idempotency-key": crypto.randomUUID() } : {}) } });
  return { status: r.status(), body: await r.json().catch(() => null) };
};
const step = process.argv.slice(2);
const want = (s) => step.length === 0 || step.includes(s);
await page.goto("/sign-in");
await page.getByLabel("E-mail").fill(trader.email);
await page.getByLabel("Password").fill(trader.password);
await page.getByRole("button", { name: "Sign in" }).click();
await page.getByRole("heading", { name: /challenge/i }).first().waitFor();
async function buy(slug) {
  const program = (await api("GET", `/v1/programs/${slug}`)).body;
  const purchase = (await api("POST", "/v1/purchases", { program: slug, version: program.version })).body;
  const paid = await context.request.post(`${base}/sandbox/pay/${purchase.id}/pay`, { maxRedirects: 0 });
  console.log("paid", paid.status());
  for (;;) {
    const c = (await api("GET", "/v1/challenges")).body.items.find((x) => x.program.slug === slug && x.accounts.some((a) => a.status === "active"));
    if (c) return c.accounts.find((a) => a.status === "active").id;
    await new Promise((r) => setTimeout(r, 200));
  }
}
if (want("routes")) {
  for (const path of ["/nope", "/programs/nope", "/accounts/xyz", `/accounts/${crypto.randomUUID()}`, `/accounts/${crypto.randomUUID()}/receipts/1`, "/purchases/nope", "/sandbox/pay/nope", "/v1/nope"]) {
    const r = await page.goto(path);
    await page.waitForTimeout(600);
    console.log(path, r.status(), (await page.locator("main, body").first().innerText()).replaceAll("\n", " | ").slice(0, 220));
    await shot("route" + path.replaceAll("/", "_").slice(0, 20));
  }
}
const account = await buy("sprint-25k");
console.log("account", account);
if (want("errors")) {
  const q = (await api("GET", "/v1/market/quotes")).body.items.find((x) => x.symbol === "EURUSD");
  const base_ = { symbol: "EURUSD", side: "buy", kind: "market", quantity: "0.10" };
  for (const o of [{ ...base_, quantity: "0" }, { ...base_, quantity: "abc" }, { ...base_, quantity: "50.01" }, { ...base_, stop_loss: "1.5" }, { ...base_, kind: "limit" }, { ...base_, kind: "limit", price: "1.5" }, { ...base_, symbol: "XXX" }, { ...base_, symbol: "ABCDEF" }, { ...base_, side: "long" }, { ...base_, quantity: "50" }, { ...base_, extra: 1 }]) {
    const r = await api("POST", `/v1/accounts/${account}/orders`, o);
    console.log(r.status, r.body.code, r.body.detail, JSON.stringify(r.body.errors ?? null));
  }
  await page.goto(`/accounts/${account}`);
  await page.locator(".link-state.live").first().waitFor();
  await page.getByLabel("Stop loss").fill("1.9");
  await page.keyboard.press("Enter");
  await page.locator(".ticket .field-error, .ticket .form-error").first().waitFor();
  await shot("error-sl");
  await page.getByLabel("Stop loss").fill("");
  await page.getByRole("textbox", { name: /^Lots/ }).fill("40");
  await page.keyboard.press("Enter");
  await page.locator(".ticket .form-error").first().waitFor();
  await shot("error-margin");
}
if (want("more")) {
  for (let i = 0; i < 105; i += 1) {
    const o = await api("POST", `/v1/accounts/${account}/orders`, { symbol: "EURUSD", side: "buy", kind: "market", quantity: "0.01" });
    if (o.status !== 201) { console.log("order", o); break; }
    await api("POST", `/v1/accounts/${account}/positions/${o.body.position}/close`, {});
  }
  await page.goto(`/accounts/${account}`);
  await page.locator(".link-state.live").first().waitFor();
  for (const tab of ["Closed", "Order history", "Fills"]) {
    await page.getByRole("tab", { name: tab }).click();
    const more = page.getByRole("button", { name: "Load more" });
    await more.waitFor();
    const before = await page.locator("#tables-panel tbody tr").count();
    await more.scrollIntoViewIfNeeded();
    if (tab === "Order history") await shot("more");
    await more.click();
    await page.waitForFunction((n) => document.querySelectorAll("#tables-panel tbody tr").length > n, before);
    console.log(tab, before, await page.locator("#tables-panel tbody tr").count(), await page.getByRole("button", { name: "Load more" }).count());
  }
}
if (want("down")) {
  await api("POST", `/v1/accounts/${account}/orders`, { symbol: "EURUSD", side: "buy", kind: "market", quantity: "0.10" });
  await page.goto(`/accounts/${account}`);
  await page.locator(".link-state.live").first().waitFor();
  await page.waitForTimeout(1000);
  execSync("bash /tmp/ts/ui-stop.sh");
  await page.locator(".link-state.reconnecting").first().waitFor();
  await page.waitForTimeout(2500);
  await page.keyboard.press("b"); await page.keyboard.press("Enter");
  await page.waitForTimeout(1000);
  await shot("down");
  execSync("bash /tmp/ts/ui-start.sh", { stdio: "inherit" });
  const t = Date.now();
  await page.locator(".link-state.live").first().waitFor();
  console.log("live after", Date.now() - t, "ms; positions", await page.locator("#tables-panel tr[data-ticket]").count());
  await page.waitForTimeout(4000);
  await shot("back");
}
await browser.close();
