#!/usr/bin/env python3
"""Line coverage by folder from an lcov file: coverage.py FILE.  Exit status 1 below the bound.

Only the folders that every other one stands on are held to a bound; the others are shown.
"""
import os
import sys

BOUND = 85.0  # per cent of lines
HELD = ["ref/base", "ref/engine", "ref/block", "ref/format/qcow2"]


def read_tracefile(lines, top):
    """path below top -> (lines found, lines hit)."""
    found, path, counts = {}, None, {}
    for line in lines:
        line = line.rstrip("\n")
        if line.startswith("SF:"):
            path = os.path.relpath(os.path.join(top, line[3:]), top)
            counts = {}
        elif line.startswith("DA:"):
            number, hits = line[3:].split(",")[:2]
            counts[number] = max(counts.get(number, 0), int(hits))
        elif line == "end_of_record" and path is not None:
            found[path] = (len(counts), sum(1 for hits in counts.values() if hits > 0))
            path = None
    return found


def by_folder(files):
    folders = {}
    for path, (lines, hit) in files.items():
        folder = os.path.dirname(path)
        total = folders.setdefault(folder, [0, 0])
        total[0] += lines
        total[1] += hit
    return folders


def percent(lines, hit):
    return 100.0 * hit / lines if lines else 0.0


def report(files, out):
    """Prints the table; True when every held folder reaches the bound."""
    folders, good = by_folder(files), True
    for folder in sorted(set(folders) | set(HELD)):
        lines, hit = folders.get(folder, (0, 0))
        share = percent(lines, hit)
        verdict = ""
        if folder in HELD:
            good = good and share >= BOUND
            verdict = "  %s %.0f %%" % ("at least" if share >= BOUND else "BELOW", BOUND)
        print("%-24s %6d of %6d lines  %5.1f %%%s" % (folder, hit, lines, share, verdict), file=out)
    worst = sorted((percent(*c), p) for p, c in files.items()
                   if os.path.dirname(p) in HELD and percent(*c) < BOUND)
    for share, path in worst:
        print("  %5.1f %%  %s" % (share, path), file=out)
    return good


def main():
    if len(sys.argv) != 2:
        print("usage: coverage.py TRACEFILE", file=sys.stderr)
        return 2
    with open(sys.argv[1], encoding="utf-8") as source:
        files = read_tracefile(source, os.getcwd())
    return 0 if report(files, sys.stdout) else 1


if __name__ == "__main__":
    sys.exit(main())
