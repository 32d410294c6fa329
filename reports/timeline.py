"""Pictures of a finding, as geometry for the page: its time line and the image's maps.

Both are read from the comment lines behind a reproducer's program ("# timeline: ...", "# map ...",
written by harness/explore/timeline.c, which says what they mean).  Leaves out: drawing (report.html.j2).
Lines that cannot be understood are passed over: what is in a store may come from any version.
"""
import errno
import os

TIMELINE = "# timeline: "
MAP = "# map "
LEFT, WIDTH, ROW = 300, 460, 20    # of the picture, in its own units
TORN = ("before", "from", "without", "size")
WORDS = {"before": "torn: only sectors before %s", "from": "torn: only sectors from %s",
         "without": "torn: all but sector %s", "size": "torn: only the new size%s",
         "done": "flushed", "cut": "flush cut off", "there": "there, though not flushed",
         "ok": "", "open": "never completed"}
MAPS = {"fresh": "fresh image", "whole": "without the fault", "uncut": "without the cut",
        "end": "at the end", "left": "left by the cut"}


def host_line(words):
    number, issued, completed, kind, disk, offset, size, label, fate, *more = words
    word = fate if fate not in TORN else "torn"
    text = WORDS.get(fate, fate)
    what = kind if kind == "flush" else "%s %s +%s" % (kind, offset, size)
    return {"from": int(issued), "to": int(completed), "class": word,
            "text": "%s: %s (%s)%s" % (number, what, label, ", disk " + disk if disk != "0" else ""),
            "fate": text % " ".join(more) if "%s" in text else text}


def fault_line(words):
    at, kind, code, io, offset, size, label = words
    where = "" if io in ("flush", "allocation") else " %s +%s" % (offset, size)
    name = errno.errorcode.get(int(code), "") if kind in ("error", "short") else ""
    return {"from": int(at), "to": int(at), "class": "fault",
            "text": "%s%s (%s)" % (io, where, label),
            "fate": "fault: %s %s" % (kind, "%s, %s" % (name, os.strerror(int(code))) if name else "")}


def op_line(words):
    return {"from": int(words[0]), "to": int(words[1]), "class": "op", "text": " ".join(words[2:]),
            "fate": "", "ended": "", "slices": []}


def parse(text):
    """(cut or None, rows of operations, rows of what the host was asked and what failed of it)."""
    cut, ops, host = None, [], []
    for line in (text or "").splitlines():
        if not line.startswith(TIMELINE):
            continue
        try:
            what, *words = line[len(TIMELINE):].split()
            if what == "cut":
                cut = int(words[0])
            elif what == "op":
                ops.append(op_line(words))
            elif what == "ended":
                ops[int(words[0])]["ended"] = " ".join(words[1:])
            elif what == "ran":
                ops[int(words[0])]["slices"].append((int(words[1]), int(words[2])))
            elif what == "host":
                host.append(host_line(words))
            elif what == "fault":
                host.append(fault_line(words))
        except (IndexError, ValueError):
            continue
    host.sort(key=lambda row: row["from"])    # a fault stands where it struck
    return cut, ops, host


def fate_of_op(row, cut):
    if not row["from"] or (cut is not None and row["from"] >= cut):
        return "not begun"
    if cut is not None and (not row["to"] or row["to"] > cut):
        return "power goes"
    return row["ended"] if row["to"] else "never ends"


def end_of(rows, cut):
    """Where the picture ends: at the cut, else behind all there is."""
    if cut is not None:
        return cut
    return max([0] + [max(row["from"], row["to"], *(s[1] for s in row.get("slices", [])), 0) for row in rows]) + 1


def place(row, at, end):
    """x and width of the row, and of the slices in which it ran."""
    def box(start, stop):
        start, stop = min(start or min(at), end), min(stop or end, end)
        return round(at[start], 1), round(max(at[stop] - at[start], 3), 1)
    row["x"], row["width"] = box(row["from"], row["to"])
    if row["fate"] == "not begun":
        row["width"] = 0
    row["slices"] = [dict(zip(("x", "width"), box(*s))) for s in row.get("slices", []) if s[0] < end]


def timeline(text):
    """Rows with x and width, the cut's x (or None) and the height; None when there is nothing to draw."""
    cut, ops, host = parse(text)
    if not ops and not host:
        return None
    for row in ops:
        row["fate"] = fate_of_op(row, cut)
    rows = ops + host
    end = end_of(rows, cut)
    ends = {t for row in rows for span in [(row["from"], row["to"]), *row.get("slices", [])] for t in span}
    stamps = sorted({end} | {min(t, end) for t in ends if t})
    step = WIDTH / max(len(stamps) - 1, 1)
    at = {stamp: LEFT + i * step for i, stamp in enumerate(stamps)}
    for i, row in enumerate(rows):
        place(row, at, end)
        row["y"] = i * ROW
    return {"rows": rows, "cut": round(at[end], 1) if cut is not None else None, "split": len(ops) * ROW,
            "scheduled": any(row["slices"] for row in ops), "faults": any(r["class"] == "fault" for r in host),
            "height": len(rows) * ROW, "left": LEFT, "right": LEFT + WIDTH}


def maps(text):
    """[(title, runs with x, width and kind, note)], all on one scale of offsets."""
    found = {}
    for line in (text or "").splitlines():
        name, _, rest = line[len(MAP):].partition(" ") if line.startswith(MAP) else ("", "", "")
        if name not in MAPS:
            continue
        runs, notes = found.setdefault(name, ([], []))
        words = rest.split()
        if len(words) == 3 and words[0].isdigit() and words[1].isdigit():
            runs.append({"offset": int(words[0]), "bytes": int(words[1]), "kind": words[2]})
        else:
            notes.append(rest)
    end = max([r["offset"] + r["bytes"] for runs, _ in found.values() for r in runs] + [1])
    scale = (LEFT + WIDTH) / end
    for runs, _ in found.values():
        for r in runs:
            r["x"] = round(r["offset"] * scale, 2)
            r["width"] = round(max(r["bytes"] * scale, 0.5), 2)
    return [(MAPS[n], found[n][0], "; ".join(found[n][1])) for n in MAPS if n in found]
