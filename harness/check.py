#!/usr/bin/env python3
"""Runs the project's tests against one build folder and sums them up in one line.

Runs every cmocka program under BUILD/tests and every pytest suite; several programs at a time.
Prints failures in full, everything else in one line a suite.  Leaves out: building (the Makefile does it).
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import time

PYTEST_DIRS = ["specs", "fault", "ref", "harness", "reports", "trace", "fuzz", "iotests"]
PROGRAM_LIMIT = 1800  # seconds for one test program before it counts as hung


def environment(build):
    env = dict(os.environ)
    env["BLKREF_BUILD"] = os.path.abspath(build)
    env["PYTHONPATH"] = os.getcwd()
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:allocator_may_return_null=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    return env


def run(command, env):
    started = time.monotonic()
    try:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=PROGRAM_LIMIT, errors="replace")
        status, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as hung:
        status, output = 124, (hung.stdout or b"").decode(errors="replace") + "\nhung"
    return status, output, time.monotonic() - started


def count_cmocka(output, status):
    """(passed, failed, skipped) of a cmocka program's closing lines."""
    passed = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output))
    failed = sum(int(n) for n in re.findall(r"\[  FAILED  \] (?:.*: )?(\d+) test", output))
    skipped = sum(int(n) for n in re.findall(r"\[  SKIPPED \] (?:.*: )?(\d+) test", output))
    if status != 0 and failed == 0:
        failed = 1
    return passed, failed, skipped


def count_pytest(output, status):
    closing = output.strip().splitlines()[-1] if output.strip() else ""
    def number(word):
        found = re.search(r"(\d+) " + word, closing)
        return int(found.group(1)) if found else 0
    passed, failed, skipped = number("passed"), number("failed") + number("error"), number("skipped")
    if status not in (0, 5) and failed == 0:
        failed = 1
    return passed, failed, skipped


def unit_programs(build):
    found = []
    for folder, _, files in os.walk(os.path.join(build, "tests")):
        found += [os.path.join(folder, f) for f in files if f.startswith("test_")]
    return sorted(found)


def pytest_suites():
    found = []
    for top in PYTEST_DIRS:
        for folder, _, files in os.walk(top):
            found += [os.path.join(folder, f) for f in files
                      if f.startswith("test_") and f.endswith(".py")]
    return sorted(found)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--build", default="build", help="build folder to test")
    args.add_argument("--only", choices=["unit", "pytest"], help="one kind of tests")
    args.add_argument("--wrap", default="", help="command put before every test program")
    args.add_argument("--leave-out", default="", metavar="TEXT,...",
                      help="skip the cmocka programs whose paths contain one of these; each counts "
                           "as one skipped test")
    args.add_argument("--sample", type=int, default=1, metavar="N",
                      help="of iotests/ only every N-th test of a file; the others count as skipped")
    args.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = args.parse_args()

    env = environment(args.build)
    env["BLKREF_SAMPLE"] = str(args.sample)
    jobs = []
    left_out = [t for t in args.leave_out.split(",") if t]
    totals = [0, 0, 0]
    for p in unit_programs(args.build) if args.only != "pytest" else []:
        if any(text in p for text in left_out):
            print("  SKIPPED %s: --leave-out" % p)
            totals[2] += 1
        else:
            jobs.append((args.wrap.split() + [p], count_cmocka, p))
    if args.only != "unit":
        jobs += [([sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", s],
                  count_pytest, s) for s in pytest_suites()]
    if not jobs:
        print("no tests found: build them first (make unit-tests)", file=sys.stderr)
        return 1
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        pending = {pool.submit(run, command, env): (count, name) for command, count, name in jobs}
        for done in concurrent.futures.as_completed(pending):
            count, name = pending[done]
            status, output, seconds = done.result()
            result = count(output, status)
            totals = [a + b for a, b in zip(totals, result)]
            if result[1]:
                print(output)
            for reason in re.findall(r"^(?:SKIPPED|ONLY|DIFFERS) .*$", output, re.M):
                print("  " + reason)
            word = "FAILED" if result[1] else "ok"
            print("%-6s %s: %d passed, %d failed, %d skipped, %.1f s"
                  % (word, name, *result, seconds), flush=True)
    print("%d passed, %d failed, %d skipped" % tuple(totals))
    return 1 if totals[1] or not totals[0] else 0


if __name__ == "__main__":
    sys.exit(main())
