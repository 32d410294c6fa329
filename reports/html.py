#!/usr/bin/env python3
"""Makes the HTML report of a campaign: html.py STORE OUT.

Reads the newest run of a result store and fills report.html.j2: one file, no outside resources.
Leaves out: judging; what counts as a failure was decided when the result was stored.
"""
import math
import os
import sqlite3
import sys

import jinja2

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import timeline  # noqa: E402  (stands beside this file, wherever that is)

VERDICTS = ["fail", "subject-error", "divergence", "pass", "skip"]
WORDS = {"fail": "failed", "subject-error": "subject errors", "divergence": "explained",
         "pass": "passed", "skip": "skipped"}
IN_FULL = 300  # findings printed with their programs; beyond that only counted


def rows(db, sql, *args):
    return [dict(r) for r in db.execute(sql, args)]


def in_order(values):
    """Each value once, in the order of first appearance."""
    return list(dict.fromkeys(values))


def matrix(results):
    stages = in_order(r["stage"] for r in results)
    subjects = in_order(r["subject"] for r in results)
    cells = {(s, t): dict.fromkeys(VERDICTS, 0) for s in stages for t in subjects}
    for r in results:
        cells[r["stage"], r["subject"]][r["verdict"]] += 1
    return {"stages": stages, "subjects": subjects, "cells": cells}


def colour(cell):
    """Class of a matrix cell: the worst verdict that is in it."""
    return next((v for v in VERDICTS if cell[v]), "none")


def repro_parts(text):
    """(command, program) of a reproducer: '#' lines are its head."""
    lines = (text or "").splitlines()
    command = next((l[2:] for l in lines if l.startswith("# blkref repro ")), None)
    body = [l for l in lines if not l.startswith("#")]
    return command, "\n".join(body)


def findings(results, verdict):
    found = []
    for r in results:
        if r["verdict"] == verdict:
            command, program = repro_parts(r["repro"])
            drawn = len(found) < IN_FULL
            found.append(dict(r, command=command, program=program,
                              timeline=timeline.timeline(r["repro"]) if drawn else None,
                              maps=timeline.maps(r["repro"]) if drawn else []))
    return found


def explained(results):
    groups = {}
    for r in results:
        if r["verdict"] == "divergence":
            g = groups.setdefault(r["divergence"] or "(no id)",
                                  {"n": 0, "where": [], "detail": r["detail"]})
            g["n"] += 1
            g["where"].append("%s / %s" % (r["stage"], r["subject"]))
    for g in groups.values():
        g["where"] = in_order(g["where"])
    return sorted(groups.items())


def skips(results):
    groups = {}
    for r in results:
        if r["verdict"] == "skip":
            key = (r["stage"], r["subject"], r["detail"] or "no reason given")
            groups[key] = groups.get(key, 0) + 1
    return sorted(groups.items())


def labels(counters):
    """Rows label -> column -> count, over all subjects, from 'label:NAME' and 'fault:NAME:FAULT'.

    NAME has its format before it ("vmdk:l2_load") unless that is qcow2."""
    reached, fired = {}, {}
    for c in counters:
        kind, _, rest = c["key"].partition(":")
        if kind == "label":
            reached[rest] = reached.get(rest, 0) + c["n"]
        elif kind == "fault":
            name, _, fault = rest.rpartition(":")
            per = fired.setdefault(name, {})
            per[fault] = per.get(fault, 0) + c["n"]
            reached.setdefault(name, 0)
    faults = sorted({f for per in fired.values() for f in per})
    names = sorted(reached, key=lambda name: (":" in name, name))
    most = max([n for per in fired.values() for n in per.values()] + list(reached.values()) + [1])
    covered = sum(1 for n in names if reached[n])
    return {"names": names, "faults": faults, "reached": reached, "fired": fired,
            "most": most, "covered": covered}


def heat(n, most):
    """Share of full colour of a count, on a logarithmic scale: 0 to 1."""
    return round(math.log1p(n) / math.log1p(most), 3) if n else 0


def epochs(counters):
    """(subject, stage) -> list of (epoch, states, share of the widest); "31+" is "31 or more"."""
    found = {}
    for c in counters:
        kind, _, rest = c["key"].partition(":")
        if kind == "epoch" and rest.rstrip("+").isdigit():
            found.setdefault((c["stage"], c["subject"]), []).append((rest, c["n"]))
    charts = []
    for (stage, subject), bars in sorted(found.items()):
        bars.sort(key=lambda bar: int(bar[0].rstrip("+")))
        most = max([n for _, n in bars] + [1])
        charts.append({"stage": stage, "subject": subject, "total": sum(n for _, n in bars),
                       "bars": [(e, n, round(100 * n / most, 1)) for e, n in bars]})
    return charts


def timings(measures):
    """Seconds a stage, and each subject's ratio to the first subject measured in it."""
    seconds = [m for m in measures if m["key"] == "seconds"]
    stages = in_order(m["stage"] for m in seconds)
    subjects = in_order(m["subject"] for m in seconds)
    took = {(m["stage"], m["subject"]): m["value"] for m in seconds}
    table = []
    for stage in stages:
        base = next((took[stage, s] for s in subjects if (stage, s) in took), 0)
        cells = []
        for s in subjects:
            t = took.get((stage, s))
            cells.append(None if t is None else {"seconds": t, "ratio": t / base if base else None})
        table.append((stage, cells))
    return {"subjects": subjects, "table": table}


def other_counters(counters):
    known = ("label:", "fault:", "epoch:")
    return [c for c in counters if not c["key"].startswith(known)]


def load(path):
    db = sqlite3.connect("file:%s?mode=ro" % path.replace("?", "%3f").replace("#", "%23"), uri=True)
    db.row_factory = sqlite3.Row
    run = db.execute("SELECT max(id) FROM run").fetchone()[0]
    data = {
        "facts": rows(db, "SELECT key, value FROM fact WHERE run = ? ORDER BY key", run),
        "results": rows(db, "SELECT * FROM result WHERE run = ? ORDER BY seq", run),
        "counters": rows(db, "SELECT * FROM counter WHERE run = ?"
                             " ORDER BY stage, subject, key", run),
        "measures": rows(db, "SELECT * FROM measure WHERE run = ? ORDER BY rowid", run),
    }
    db.close()
    return data


def render(data):
    results, counters = data["results"], data["counters"]
    ordered = sorted(results, key=lambda r: (r["stage"], r["subject"], r["format"], r["name"]))
    total = {v: sum(1 for r in results if r["verdict"] == v) for v in VERDICTS}
    folder = os.path.dirname(os.path.abspath(__file__))
    env = jinja2.Environment(loader=jinja2.FileSystemLoader(folder), autoescape=True,
                             trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    return env.get_template("report.html.j2").render(
        facts=data["facts"], total=total, words=WORDS, verdicts=VERDICTS, matrix=matrix(results),
        colour=colour, failures=findings(ordered, "fail"), in_full=IN_FULL,
        errors=findings(ordered, "subject-error"), explained=explained(ordered),
        skips=skips(ordered), labels=labels(counters), heat=heat, epochs=epochs(counters),
        timings=timings(data["measures"]), counters=other_counters(counters),
        measures=[m for m in data["measures"] if m["key"] != "seconds"])


def main():
    if len(sys.argv) != 3:
        print("usage: html.py STORE OUT", file=sys.stderr)
        return 2
    try:
        page = render(load(sys.argv[1]))
    except sqlite3.Error as error:
        print("html.py: %s: %s" % (sys.argv[1], error), file=sys.stderr)
        return 1
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        out.write(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
