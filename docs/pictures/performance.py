#!/usr/bin/env python3
"""Draws the picture of docs/performance.md, and prints its table, from what
bench/compare has measured: performance.py [FILE], bench/compare.json if none."""
import json
import os
import sys

from make import BLUE, GRID, INK, ORANGE, SOFT, Picture

HERE = os.path.dirname(os.path.abspath(__file__))
WORKS = {"view": "count, sum, avg, max per auction and 10 s window", "rows": "the raw rows stored, nothing else"}


def thousands(value):
    return f"{value / 1000:,.0f} k"


def picture(results):
    rows = results["rows"]
    works = [w for w in WORKS if any(r["work"] == w for r in rows)]
    left, right, step = 300, 700, 42
    height = 74 + step * len(rows) + 34 * len(works)
    top = max(max(r["events_per_cpu_s"], r["warm"]) for r in rows)
    p = Picture("performance.svg", 780, height, "Events per CPU-second of tidemark and the alternatives")
    p.text(16, 24, "Events per CPU-second, of the system and all of PostgreSQL", INK, 15, weight="bold")
    p.bar(left, left + 26, 36, 10, BLUE)
    p.text(left + 32, 45, "whole pass", SOFT, 12)
    p.bar(left + 120, left + 146, 36, 10, ORANGE)
    p.text(left + 152, 45, "warm: the second half", SOFT, 12)
    y = 56
    for work in works:
        y += 24
        p.text(16, y, WORKS[work], INK, 13, weight="bold")
        p.line(16, y + 6, 764, y + 6, GRID)
        y += 10
        for r in (r for r in rows if r["work"] == work):
            own = r["system"].startswith("tidemark")
            p.text(16, y + 16, r["system"].split(",")[0], INK, 13, weight="bold" if own else "normal")
            p.text(16, y + 31, r["setting"], SOFT, 12)
            for dy, color, value in ((3, BLUE, r["events_per_cpu_s"]), (20, ORANGE, r["warm"])):
                end = left + max(4.0, value / top * (right - left))
                p.bar(left, end, y + dy, 14, color)
                p.text(end + 6, y + dy + 11, thousands(value), INK, 12)
            y += step
    p.write()


def table(results):
    print("| system | setting | whole | warm | tidemark is: whole | warm | events/s | its table |")
    print("|---|---|--:|--:|--:|--:|--:|---|")
    for r in results["rows"]:
        print(f"| {r['system']} | {r['setting']} | {thousands(r['events_per_cpu_s'])} | {thousands(r['warm'])} "
              f"| {r['ratio']:.2f} x | {r['warm_ratio']:.2f} x | {thousands(r['events_per_s'])} "
              f"| {'equal' if r['differences'] == 0 else str(r['differences']) + ' differ'} |")


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "..", "..", "bench", "compare.json")
    with open(path, encoding="utf-8") as f:
        results = json.load(f)
    picture(results)
    table(results)


if __name__ == "__main__":
    main()
