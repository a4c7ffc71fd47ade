#!/usr/bin/env python3
"""Reads tick zips independently of the platform and prints them merged in the order of time.

Arguments: one or more OFFSET_HOURS:SOURCE:SYMBOL:DECIMALS:ZIP, in the order that decides between equal times. One row
per tick: microseconds since 1970 UTC, source, symbol, bid and ask in points. Python standard library only.
"""

import calendar
import decimal
import pathlib
import sys
import zipfile


def ticks(rank, argument):
    hours, source, symbol, decimals, path = argument.split(":", 4)
    date = pathlib.Path(path).name[:8]
    midnight = calendar.timegm((int(date[:4]), int(date[4:6]), int(date[6:]), 0, 0, 0)) - int(hours) * 3600
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        rows = archive.read(name).decode("ascii").splitlines()
    for line, row in enumerate(rows):
        milliseconds, bid, ask = (decimal.Decimal(column) for column in row.split(","))
        micros = midnight * 1_000_000 + int(milliseconds * 1000)
        points = [price.scaleb(int(decimals)) for price in (bid, ask)]
        assert all(price == price.to_integral_value() for price in points), row
        yield (micros, rank, line), f"{micros} {source} {symbol} {int(points[0])} {int(points[1])}"


for _, text in sorted(tick for rank, argument in enumerate(sys.argv[1:]) for tick in ticks(rank, argument)):
    print(text)
