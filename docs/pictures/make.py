#!/usr/bin/env python3
"""Draws the pictures of docs/event-time.md: make.py, in this folder.

Everything drawn is computed from the events below by the rules of the text,
so a picture cannot show what the rules do not say.
"""
import os

INK, SOFT, GRID = "#1f2933", "#5f6c7b", "#c9d1d9"
BLUE, GREEN, ORANGE, RED = "#2f6fdb", "#2a8f5c", "#c76a15", "#c43131"
FONT = "font-family='Helvetica, Arial, sans-serif'"


class Picture:
    def __init__(self, name, width, height, title):
        self.name, self.width, self.height = name, width, height
        self.parts = [f"<title>{title}</title>",
                      f"<rect width='{width}' height='{height}' fill='#ffffff'/>"]

    def line(self, x1, y1, x2, y2, color=GRID, width=1.0, dash=""):
        style = f" stroke-dasharray='{dash}'" if dash else ""
        self.parts.append(f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' "
                          f"stroke='{color}' stroke-width='{width}'{style}/>")

    def text(self, x, y, words, color=INK, size=13, anchor="start", weight="normal"):
        self.parts.append(f"<text x='{x:.1f}' y='{y:.1f}' {FONT} font-size='{size}' fill='{color}' "
                          f"text-anchor='{anchor}' font-weight='{weight}'>{words}</text>")

    def dot(self, x, y, color=INK, radius=4.5, hollow=False):
        fill = "#ffffff" if hollow else color
        self.parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='{radius}' fill='{fill}' "
                          f"stroke='{color}' stroke-width='1.6'/>")

    def bar(self, x1, x2, y, height, color, words=""):
        self.parts.append(f"<rect x='{x1 + 1:.1f}' y='{y:.1f}' width='{x2 - x1 - 2:.1f}' height='{height}' "
                          f"rx='3' fill='{color}' fill-opacity='0.16' stroke='{color}'/>")
        if words:
            self.text((x1 + x2) / 2, y + height / 2 + 4, words, color, 12, "middle")

    def steps(self, points, color, width=2.0, dash=""):
        path = f"M{points[0][0]:.1f},{points[0][1]:.1f}"
        for x, y in points[1:]:
            path += f" H{x:.1f} V{y:.1f}"
        style = f" stroke-dasharray='{dash}'" if dash else ""
        self.parts.append(f"<path d='{path}' fill='none' stroke='{color}' stroke-width='{width}'{style}/>")

    def write(self):
        here = os.path.dirname(os.path.abspath(__file__))
        with open(os.path.join(here, self.name), "w", encoding="utf-8") as file:
            file.write(f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {self.width} {self.height}' "
                       f"width='{self.width}' height='{self.height}'>\n")
            file.write("\n".join(self.parts))
            file.write("\n</svg>\n")


def sessions_of(events, gap):
    """[start, end) of the sessions: rows at most gap apart; end = last + gap."""
    result = []
    for ts in sorted(events):
        if result and ts <= result[-1][1]:
            result[-1][1] = ts + gap
        else:
            result.append([ts, ts + gap])
    return result


def windows():
    events = [2, 5, 9, 16, 27, 31, 34, 52, 55]
    picture = Picture("windows.svg", 760, 372, "Tumbling, hopping, cumulating and session windows over the same rows")
    left, scale = 196, 8.8

    def x(seconds):
        return left + seconds * scale

    picture.text(16, 34, "rows", INK, 14, weight="bold")
    picture.line(x(0), 30, x(60), 30, SOFT, 1.4)
    for ts in events:
        picture.dot(x(ts), 30)
    for tick in range(0, 61, 10):
        picture.line(x(tick), 44, x(tick), 336, GRID, 1, "3 4")
        picture.text(x(tick), 354, f":{tick:02d}", SOFT, 12, "middle")
    y = 56
    picture.text(16, y + 17, "tumble(ts, '20 s')", BLUE, 13)
    for start in range(0, 60, 20):
        picture.bar(x(start), x(start + 20), y, 24, BLUE, str(sum(start <= e < start + 20 for e in events)))
    y = 96
    picture.text(16, y + 17, "hop(ts, '10 s', '20 s')", GREEN, 13)
    for start in range(0, 41, 10):
        row = (start // 10) % 2
        picture.bar(x(start), x(start + 20), y + row * 30, 24, GREEN,
                    str(sum(start <= e < start + 20 for e in events)))
    y = 172
    picture.text(16, y + 17, "cumulate(ts, '10 s', '30 s')", ORANGE, 13)
    for start in (0, 30):
        for step in range(1, 4):
            end = start + 10 * step
            picture.bar(x(start), x(end), y + (step - 1) * 30, 24, ORANGE,
                        str(sum(start <= e < end for e in events)))
    y = 280
    picture.text(16, y + 17, "sessions, gap '8 s'", RED, 13)
    for start, end in sessions_of(events, 8):
        picture.bar(x(start), min(x(end), x(60) + 20), y, 24, RED,
                    str(sum(start <= e < end for e in events)))
    picture.text(16, y + 44, "numbers: count(*) of the window", SOFT, 12)
    picture.write()


def watermark():
    # (event time in s, in the order of offsets); delay 4 s, window 10 s
    rows = [4, 6, 5, 9, 7, 12, 10, 15, 11, 5, 19, 17, 23, 14, 26, 8, 29]
    delay, size, lateness = 4, 10, 2
    picture = Picture("watermark.svg", 760, 440, "Event times of a partition, its watermark, and the rows that are late")
    left, top, bottom = 70, 56, 392
    dx, dy = 38, (392 - 56) / 32

    def x(i):
        return left + 20 + i * dx

    def y(seconds):
        return bottom - seconds * dy

    for tick in range(0, 31, size):
        picture.line(left, y(tick), 735, y(tick), GRID, 1, "3 4")
        picture.text(left - 8, y(tick) + 4, f":{tick:02d}", SOFT, 12, "end")
    picture.line(left, top, left, bottom, SOFT, 1.4)
    picture.line(left, bottom, 735, bottom, SOFT, 1.4)
    picture.text(left + 4, top - 8, "event time", SOFT, 12)
    picture.text(735, bottom + 36, "offset of the row in its partition", SOFT, 12, "end")
    highest, marks = None, []
    for i, ts in enumerate(rows):
        mark = None if highest is None else highest - delay
        if mark is not None:
            marks.append((x(i) - dx / 2, y(mark)))
        end = (ts // size + 1) * size
        late = mark is not None and end + lateness <= mark
        picture.dot(x(i), y(ts), RED if late else INK, hollow=late)
        if late:
            picture.text(x(i) - 10, y(ts) + 4, "late", RED, 12, "end")
        picture.text(x(i), bottom + 16, str(i), SOFT, 11, "middle")
        highest = ts if highest is None else max(highest, ts)
    marks.append((x(len(rows)) - dx / 2, y(highest - delay)))
    picture.steps(marks, BLUE)
    picture.text(x(9) + 14, y(2), "watermark = highest event time before the row - 4 s", BLUE, 13, "middle")
    picture.text(16, 22, "tumble(ts, '10 s'), allowed_lateness '2 s': a row is late when "
                 "window_end + 2 s &lt;= watermark", INK, 13)
    picture.write()


def closing():
    # watermark of each partition at its commits: (moment, event time)
    first = [(0, 0), (1, 3), (2, 9), (2.7, 15), (4, 24), (5, 31), (6, 34)]
    second = [(0, 2), (0.6, 6), (1.5, 12), (3.4, 14), (4.5, 17), (5.3, 22), (6.4, 27)]
    picture = Picture("closing.svg", 760, 360, "The stream's watermark is the lowest of its partitions; windows close behind it")
    left, bottom, dx = 70, 318, 92
    dy = (318 - 40) / 36

    def x(moment):
        return left + 10 + moment * dx

    def y(seconds):
        return bottom - seconds * dy

    for tick in range(0, 31, 10):
        picture.line(left, y(tick), 735, y(tick), GRID, 1, "3 4")
        picture.text(left - 8, y(tick) + 4, f":{tick:02d}", SOFT, 12, "end")
    picture.line(left, 30, left, bottom, SOFT, 1.4)
    picture.line(left, bottom, 735, bottom, SOFT, 1.4)
    picture.text(left + 4, 22, "event time", SOFT, 12)
    picture.text(735, bottom + 30, "wall clock", SOFT, 12, "end")
    moments = sorted({m for m, _ in first + second})
    low = []
    for moment in moments:
        low.append((moment, min(max(t for m, t in p if m <= moment) for p in (first, second))))
    for points, color, name in ((first, GREEN, "partition 0"), (second, ORANGE, "partition 1")):
        picture.steps([(x(m), y(t)) for m, t in points] + [(x(7), y(points[-1][1]))], color, 1.6)
        picture.text(x(7) + 4, y(points[-1][1]) - 6, name, color, 12, "end")
    picture.steps([(x(m), y(t) + 3) for m, t in low] + [(x(7), y(low[-1][1]) + 3)], BLUE, 2.6, "7 4")
    picture.text(x(4) + 8, y(10) + 4, "dashed: stream = minimum", BLUE, 12)
    for end in (10, 20):
        moment = next(m for m, t in low if t >= end)
        picture.line(x(moment), y(end), x(moment), bottom, RED, 1.2, "4 3")
        picture.dot(x(moment), y(end), RED)
        picture.text(x(moment) + 6, bottom - 8, f"window [:{end - 10:02d}, :{end:02d}) closes", RED, 12)
    picture.write()


def sessions():
    before, bridge, gap = [3, 8, 12, 31, 37], 22, 10
    picture = Picture("sessions.svg", 760, 236, "A row between two sessions makes them one")
    left, scale = 150, 11

    def x(seconds):
        return left + seconds * scale

    def draw(y, events, label):
        picture.text(16, y + 4, label, INK, 13)
        picture.line(x(0), y, x(52), y, SOFT, 1.2)
        for start, end in sessions_of(events, gap):
            picture.bar(x(start), x(end), y + 14, 24, GREEN,
                        f"[:{start:02d}, :{end:02d})  {sum(start <= e < end for e in events)} rows")
        for ts in events:
            picture.dot(x(ts), y, RED if ts == bridge else INK)

    for tick in range(0, 51, 10):
        picture.line(x(tick), 28, x(tick), 204, GRID, 1, "3 4")
        picture.text(x(tick), 222, f":{tick:02d}", SOFT, 12, "middle")
    draw(44, before, "before")
    picture.text(x(bridge), 108, "a row at :22 arrives", RED, 12, "middle")
    draw(140, before + [bridge], "after")
    picture.text(16, 22, "session_start(ts, '10 s'), session_end(ts, '10 s') OVER (PARTITION BY key ORDER BY ts)", INK, 13)
    picture.write()


if __name__ == "__main__":
    windows()
    watermark()
    closing()
    sessions()
