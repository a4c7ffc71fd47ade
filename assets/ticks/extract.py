#!/usr/bin/env python3
"""Cuts a stretch of time out of recorded ticks, row by row and unchanged.

Reads DATA/{source}/{symbol}/YYYYMMDD_quote.zip and writes the same path below OUT with only the rows from --from
(included) to --to (excluded). Times are those of the file, in the source's own zone. Rows keep every character and
the file its kind of line ends; there is none after the last row. Python standard library only.

Prints one line per file: path, rows, bytes of the zip, first and last row, and the way from the last bid back to
the first, which is the jump that a looping replay makes.
"""

import argparse
import datetime
import decimal
import pathlib
import zipfile


def milliseconds(text):
    time = datetime.time.fromisoformat(text)
    return (time.hour * 3600 + time.minute * 60 + time.second) * 1000 + decimal.Decimal(time.microsecond) / 1000


def cut(source, target, start, end):
    with zipfile.ZipFile(source) as archive:
        (name,) = archive.namelist()
        csv = archive.read(name).decode("ascii")
    line_end = "\r\n" if "\r\n" in csv else "\n"
    rows = [row for row in csv.split(line_end) if start <= decimal.Decimal(row.split(",", 1)[0]) < end]
    if not rows:
        raise SystemExit(f"{source}: no row in this stretch of time")
    target.parent.mkdir(parents=True, exist_ok=True)
    # A fixed date inside the zip, so that the same rows give the same bytes.
    entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(entry, line_end.join(rows), compresslevel=9)
    first, last = (decimal.Decimal(rows[index].split(",")[1]) for index in (0, -1))
    jump = (first / last - 1) * 100
    print(f"{target}: {len(rows)} rows, {target.stat().st_size} bytes, {rows[0]} .. {rows[-1]}, jump {jump:+.3f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=pathlib.Path, help="folder with the recorded ticks")
    parser.add_argument("--source", default="oanda")
    parser.add_argument("--symbols", nargs="+", default=["eurusd", "xauusd"])
    parser.add_argument("--date", default="20140502", help="YYYYMMDD as in the file name")
    parser.add_argument("--from", dest="start", type=milliseconds, default="11:55:00", help="HH:MM:SS, included")
    parser.add_argument("--to", dest="end", type=milliseconds, default="14:27:00", help="HH:MM:SS, excluded")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    options = parser.parse_args()
    for symbol in options.symbols:
        path = pathlib.Path(options.source, symbol, f"{options.date}_quote.zip")
        cut(options.data / path, options.out / path, options.start, options.end)


if __name__ == "__main__":
    main()
