#!/usr/bin/env python3
"""Checks the folder order of the design: no file includes one from a room that stands above its own.

Also refuses include circles, and files that stand in no room or have no opening comment.  Prints one line a
finding; exit status 1 when there is one.
"""
import os
import re
import subprocess
import sys

# From the bottom up; folders of one line are peers that may include each other's headers.
ORDER = [
    ["ref/base"],
    ["specs"],
    ["fault"],
    ["ref/engine"],
    ["ref/block"],
    ["ref/protocol"],
    ["ref/filter"],
    ["ref/format"],
    ["ref/job"],
    ["ref/export"],
    ["ref/device"],
    ["ref/monitor"],
    ["ref/tools"],
    ["trace"],
    ["fuzz"],
    ["reports"],
    ["harness/sim"],
    ["harness/subject"],
    ["harness/oracle"],
    ["harness/programs"],
    ["harness/sandbox"],
    ["harness/explore"],
    ["harness/outside"],
    ["harness/campaign"],
    ["harness/cli"],
    ["harness/main"],
    ["harness/preload"],
    ["iotests"],
]
# By the design's table: what includes only little of what stands below it.
ONLY = {
    "fault": {"ref/base", "fault"},
    "reports": {"ref/base", "reports"},
    "harness/sim": {"ref/base", "fault", "harness/sim"},
    "harness/preload": {"harness/preload"},
}


def room(path):
    best = None
    for level, rooms in enumerate(ORDER):
        for name in rooms:
            if path.startswith(name + "/") and (best is None or len(name) > len(best[1])):
                best = (level, name)
    return best


def includes(path):
    with open(path, encoding="utf-8") as source:
        for number, line in enumerate(source, 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
            if found:
                yield number, found.group(1)


def find_circles(graph):
    state, stack, circles = {}, [], []

    def visit(node):
        state[node] = 1
        stack.append(node)
        for target in graph.get(node, ()):
            if state.get(target) == 1:
                circles.append(" -> ".join(stack[stack.index(target):] + [target]))
            elif target not in state:
                visit(target)
        stack.pop()
        state[node] = 2

    for node in sorted(graph):
        if node not in state:
            visit(node)
    return circles


def check(files):
    findings, graph = [], {}
    for path in files:
        own = room(path)
        if own is None:
            findings.append("%s: stands in no room" % path)
        with open(path, encoding="utf-8") as source:
            if not source.read(3).startswith("/*"):
                findings.append("%s: does not open with a comment that says what it models" % path)
        for number, target in includes(path):
            graph.setdefault(path, set()).add(target)
            other = room(target)
            if own is None or other is None:
                continue
            where = "%s:%d: includes %s" % (path, number, target)
            if other[0] > own[0]:
                findings.append("%s, which stands above %s" % (where, own[1]))
            allowed = ONLY.get(own[1])
            if allowed and other[1] not in allowed and "/tests/" not in path:
                findings.append("%s, but %s may include only %s" % (where, own[1], sorted(allowed)))
    return findings + ["include circle: " + c for c in find_circles(graph)]


def main():
    listed = subprocess.run(["git", "ls-files", "*.c", "*.h"], capture_output=True, text=True, check=True)
    files = [f for f in listed.stdout.split() if os.path.exists(f)]
    findings = check(files)
    for line in findings:
        print(line)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
