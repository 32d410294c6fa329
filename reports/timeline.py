"""Pictures of a failing power cut, as geometry for the page: a time line and the image's maps.

Both are read from the comment lines that a reproducer of stage crash carries ("# timeline: ...",
"# map ...", written by harness/crash_explore.c).  Leaves out: drawing (report.html.j2).  Lines that
cannot be understood are passed over: what is in a store may come from any version.
"""
TIMELINE = "# timeline: "
MAP = "# map "
LEFT, WIDTH, ROW = 300, 460, 20    # of the picture, in its own units
TORN = ("before", "from", "without", "size")
WORDS = {"before": "torn: only sectors before %s", "from": "torn: only sectors from %s",
         "without": "torn: all but sector %s", "size": "torn: only the new size%s",
         "done": "flushed", "cut": "flush cut off", "there": "there, though not flushed"}
MAPS = {"fresh": "fresh image", "uncut": "without the cut", "left": "left by the cut"}


def host_line(words):
    number, issued, completed, kind, disk, offset, size, label, fate, *more = words
    word = fate if fate not in TORN else "torn"
    text = WORDS.get(fate, fate)
    what = kind if kind == "flush" else "%s %s +%s" % (kind, offset, size)
    return {"from": int(issued), "to": int(completed), "class": word,
            "text": "%s: %s (%s)%s" % (number, what, label, ", disk " + disk if disk != "0" else ""),
            "fate": text % " ".join(more) if "%s" in text else text}


def parse(text):
    """(cut or None, rows of operations, rows of what the host was asked)."""
    cut, ops, host = None, [], []
    for line in (text or "").splitlines():
        if not line.startswith(TIMELINE):
            continue
        try:
            what, *words = line[len(TIMELINE):].split()
            if what == "cut":
                cut = int(words[0])
            elif what == "op":
                ops.append({"from": int(words[0]), "to": int(words[1]), "class": "op",
                            "text": " ".join(words[2:]), "fate": ""})
            elif what == "host":
                host.append(host_line(words))
        except (IndexError, ValueError):
            continue
    return cut, ops, host


def fate_of_op(row, cut):
    if row["from"] >= cut:
        return "not begun"
    return "power goes" if not row["to"] or row["to"] > cut else ""


def timeline(text):
    """Rows with x and width, the cut's x and the height; None when there is nothing to draw."""
    cut, ops, host = parse(text)
    if cut is None:
        return None
    for row in ops:
        row["fate"] = fate_of_op(row, cut)
    rows = ops + host
    for row in rows:
        row["from"] = min(row["from"], cut)
        row["to"] = min(row["to"] or cut, cut)
    stamps = sorted({cut} | {r["from"] for r in rows} | {r["to"] for r in rows})
    step = WIDTH / max(len(stamps) - 1, 1)
    at = {stamp: LEFT + i * step for i, stamp in enumerate(stamps)}
    for i, row in enumerate(rows):
        row["x"], row["y"] = round(at[row["from"]], 1), i * ROW
        row["width"] = round(max(at[row["to"]] - at[row["from"]], 3), 1)
        if row["fate"] == "not begun":
            row["width"] = 0
    return {"rows": rows, "cut": round(at[cut], 1), "split": len(ops) * ROW,
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
