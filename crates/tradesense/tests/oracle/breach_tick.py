#!/usr/bin/env python3
"""Finds the tick at which one position breaches a floor or reaches a target, from the raw file alone.

Shares no code with the platform: Python standard library and exact decimals (an inexact step is an error). The account
holds nothing else, and its currency is the instrument's quote currency.

  ZIP               YYYYMMDD_quote.zip: one CSV of milliseconds since midnight, bid, ask
  opening           at the first tick at or after --open: a buy at its ask, a sell at its bid
  profit            (bid - open) x lots x contract for a buy, (open - ask) x lots x contract for a sell
  equity            --balance (before the position) - --commission (money per side, for all lots) + profit;
                    with --count-closing the commission of the closing side is taken off too
  --floor           answers the first later tick whose equity is below (--when lt) or at or below (--when le) it
  --target          answers the first later tick at which equity - balance is at or above it

Prints one JSON object: the line of the CSV (from 1), the time in UTC cut to microseconds, bid and ask as they stand in
the file, equity, and the same for the opening tick under "opened". If no tick does it, line is null and the exit status
is 1.

Example: breach_tick.py 20140502_quote.zip --side buy --lots 10 --contract 100000 --open 2014-05-02T12:29:00Z \\
             --balance 100000 --commission 35 --floor 95000 --when lt
"""

import argparse
import datetime
import decimal
import json
import pathlib
import sys
import zipfile
from decimal import Decimal


def instant(text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no zone; write 2014-05-02T12:29:00Z")
    return moment


def read(path, offset):
    """Yields (line, time, bid, ask) with the prices as text; `offset` is how far the file's zone is ahead of UTC."""
    date = datetime.datetime.strptime(path.name[:8], "%Y%m%d").replace(tzinfo=datetime.timezone.utc)
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        rows = archive.read(name).decode("ascii").splitlines()
    for line, row in enumerate(rows, start=1):
        milliseconds, bid, ask = row.split(",")
        microseconds = int(Decimal(milliseconds) * 1000)
        yield line, date - offset + datetime.timedelta(microseconds=microseconds), bid, ask


def report(line, time, bid, ask, equity):
    stamp = time.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"line": line, "time": stamp, "bid": bid, "ask": ask, "equity": format(equity, "f")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("zip", type=pathlib.Path)
    parser.add_argument("--utc-offset", type=float, default=0, help="hours of the file's zone ahead of UTC, such as -5")
    parser.add_argument("--side", choices=["buy", "sell"], required=True)
    parser.add_argument("--lots", type=Decimal, required=True)
    parser.add_argument("--contract", type=Decimal, required=True, help="units in a lot, such as 100000")
    parser.add_argument("--open", type=instant, required=True, help="such as 2014-05-02T12:29:00Z")
    parser.add_argument("--balance", type=Decimal, required=True)
    parser.add_argument("--commission", type=Decimal, default=Decimal(0))
    parser.add_argument("--count-closing", action="store_true")
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument("--floor", type=Decimal)
    wanted.add_argument("--target", type=Decimal)
    parser.add_argument("--when", choices=["lt", "le"], default="lt", help="how equity is compared with the floor")
    options = parser.parse_args()
    decimal.getcontext().traps[decimal.Inexact] = True

    def equity_at(price, bid, ask):
        points = Decimal(bid) - price if options.side == "buy" else price - Decimal(ask)
        sides = 2 if options.count_closing else 1
        return options.balance - options.commission * sides + points * options.lots * options.contract

    def found(equity):
        if options.target is not None:
            return equity - options.balance >= options.target
        return equity < options.floor if options.when == "lt" else equity <= options.floor

    answer, price = {"line": None, "opened": None}, None
    for line, time, bid, ask in read(options.zip, datetime.timedelta(hours=options.utc_offset)):
        if price is None:
            if time >= options.open:
                price = Decimal(ask if options.side == "buy" else bid)
                answer["opened"] = report(line, time, bid, ask, equity_at(price, bid, ask))
            continue
        equity = equity_at(price, bid, ask)
        if found(equity):
            answer |= report(line, time, bid, ask, equity)
            break
    print(json.dumps(answer))
    sys.exit(0 if answer["line"] else 1)


if __name__ == "__main__":
    main()
