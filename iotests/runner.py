#!/usr/bin/env python3
"""Runs an upstream tests/qemu-iotests tree against our programs or any other set.

The tree is copied to a scratch folder and never modified.  Every test runs in folders of its own, several at
a time; the report is a table by format, the cases of unittest files, a diff of each failure, and JUnit XML.
With --pair-with each test runs on two sets of programs, one right after the other, and their times are compared.
Leaves out: judging results; the tree's own `check` says what passed.
"""
import argparse
import ast
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field

PROGRAMS = {"QEMU_IMG_PROG": "qemu-img", "QEMU_IO_PROG": "qemu-io", "QEMU_NBD_PROG": "qemu-nbd",
            "QSD_PROG": "qemu-storage-daemon", "QEMU_PROG": "qemu-system-x86_64"}
MARKS = {".": "passed", "s": "skipped", "x": "passed"}  # of unittest's line of dots
WORDS = {"pass": "passed", "fail": "failed", "not run": "skipped"}


@dataclass
class Outcome:
    fmt: str
    test: str
    result: str  # passed, failed, skipped
    seconds: float  # of the test itself, without the start of `check`
    text: str  # diff or reason
    cases: dict = field(default_factory=dict)  # case of a unittest file -> passed, failed, skipped
    peer: "Outcome" = None  # the same test on the programs it is paired with


def default_programs():
    """The folder of our drop-in programs: beside this file's tree, or installed beside `blkref`."""
    here = os.path.dirname(os.path.abspath(__file__))
    build = os.environ.get("BLKREF_BUILD", os.path.join(os.path.dirname(here), "build"))
    return os.path.join(build, "drop-in")


def programs_of(subject):
    name, _, folder = subject.partition("=")
    if folder:
        return name, os.path.abspath(folder)
    if name == "blkref":
        return name, os.path.abspath(default_programs())
    if name == "qemu" and shutil.which("qemu-img"):
        return name, os.path.dirname(os.path.abspath(shutil.which("qemu-img")))
    raise SystemExit("blkref iotests: subject '%s' is not on this machine: give NAME=DIR" % subject)


def copy_tree(source, scratch):
    """A tree whose tests can write beside themselves; everything else is linked."""
    tests = os.path.join(source, "tests", "qemu-iotests")
    if not os.path.exists(os.path.join(tests, "check")):
        raise SystemExit("blkref iotests: %s has no tests/qemu-iotests/check" % source)
    os.mkdir(os.path.join(scratch, "tests"))
    for entry in os.listdir(source):
        if entry != "tests":
            os.symlink(os.path.abspath(os.path.join(source, entry)), os.path.join(scratch, entry))
    copy = os.path.join(scratch, "tests", "qemu-iotests")
    shutil.copytree(tests, copy, symlinks=True)
    for folder, _, names in os.walk(copy):
        os.chmod(folder, 0o755)
        for name in names:
            if not os.path.islink(os.path.join(folder, name)):
                os.chmod(os.path.join(folder, name), os.stat(os.path.join(folder, name)).st_mode | 0o200)
    return copy


class Suite:
    """A copied tree and one set of programs to run it on."""

    def __init__(self, tree, name, programs, scratch, limit):
        self.tree, self.name, self.limit = tree, name, limit
        self.scratch = tempfile.mkdtemp(prefix="run-", dir=scratch)
        self.env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1")
        for variable, program in PROGRAMS.items():
            path = os.path.join(programs, program)
            if os.access(path, os.X_OK):
                self.env[variable] = path
        if "QEMU_IMG_PROG" not in self.env:
            raise SystemExit("blkref iotests: no qemu-img in %s" % programs)

    def check(self, env, *args):
        process = subprocess.Popen([sys.executable, "./check", *args], cwd=self.tree, env=env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, start_new_session=True)
        try:
            out, _ = process.communicate(timeout=self.limit)
            return process.returncode, out.decode(errors="replace")
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, _ = process.communicate()
            return 124, out.decode(errors="replace") + "\nhung: ended after %d s\n" % self.limit

    def folders(self, fmt, test):
        base = os.path.join(self.scratch, "%s-%s" % (fmt, test.replace("/", "-")))
        env = dict(self.env, TEST_DIR=os.path.join(base, "t"), SOCK_DIR=os.path.join(base, "s"))
        os.makedirs(env["TEST_DIR"])
        os.makedirs(env["SOCK_DIR"])
        return base, env

    def names(self, fmt):
        """All tests of the tree that its `check` would run."""
        base, env = self.folders(fmt, "list")
        status, out = self.check(env, "-n", "-" + fmt)
        shutil.rmtree(base, ignore_errors=True)
        if status:
            raise SystemExit("blkref iotests: check -n -%s failed:\n%s" % (fmt, out))
        return [w for w in out.split() if os.path.exists(os.path.join(self.tree, w))
                or os.path.exists(os.path.join(self.tree, "tests", w))]

    def run(self, fmt, test):
        base, env = self.folders(fmt, test)
        started = time.monotonic()
        status, out = self.check(env, "-" + fmt, test)
        seconds = time.monotonic() - started
        shutil.rmtree(base, ignore_errors=True)
        return outcome(self.tree, fmt, test, status, out, seconds)


def outcome(tree, fmt, test, status, out, seconds):
    """What `check` printed, as one result."""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", out)
    found = re.findall(r"(?:^|\s)%s\s+(pass|fail|not run)\b" % re.escape(test), plain)
    result = WORDS[found[-1]] if found else "failed"
    took = re.findall(r"(?:^|\s)%s\s+(?:pass|fail)\b[^\n]*?\s([0-9.]+)s\b" % re.escape(test), plain)
    seconds = float(took[-1]) if took else seconds
    if result != "failed" and status not in (0,):
        result = "failed"
    return Outcome(fmt, test, result, seconds, "" if result == "passed" else plain.partition("\n\n")[2] or plain,
                   cases(tree, test, plain, result))


def cases(tree, test, out, result):
    """The cases of a unittest file, from its output: the line of dots, and the reports of failures."""
    name = os.path.join(tree, test if os.path.exists(os.path.join(tree, test)) else "tests/" + test)
    expected = read(name + ".out")
    count = re.search(r"^[ +-]?Ran (\d+) tests?", expected, re.M)
    if not count or result == "skipped":
        return {}
    total = int(count.group(1))
    names = case_names(read(name))
    if len(names) != total:
        names = ["case %d" % (i + 1) for i in range(total)]
    if result == "passed":
        return dict.fromkeys(names, "passed")
    marks = re.findall(r"^\+([.FEsxu]{%d})$" % total, out, re.M)
    if marks:
        return {n: MARKS.get(m, "failed") for n, m in zip(names, marks[-1])}
    failed = re.findall(r"^\+?(?:FAIL|ERROR): (\S+ ?\(?[\w.]*\)?)", out, re.M)
    if not failed:
        return {"(all of %d)" % total: "failed"}
    found = dict.fromkeys(failed, "failed")
    for i in range(total - len(found)):
        found["case %d" % (i + 1)] = "passed"
    return found


def case_names(source):
    """Cases of a unittest file in the order in which they run: classes by name, then methods by name."""
    try:
        classes = {n.name: n for n in ast.parse(source).body if isinstance(n, ast.ClassDef)}
    except (SyntaxError, ValueError):
        return []

    def methods(name, seen=()):
        node, found = classes.get(name), {}
        for base in node.bases if node and name not in seen else ():
            found.update(methods(getattr(base, "id", ""), (*seen, name)))
        for entry in node.body if node else ():
            if isinstance(entry, ast.FunctionDef):
                found[entry.name] = True
            elif isinstance(entry, ast.Assign):  # `test_x = None` takes an inherited case away
                found.update({t.id: False for t in entry.targets if isinstance(t, ast.Name)})
        return found

    def is_case(name, seen=()):
        node = classes.get(name)
        return name not in seen and (name.endswith("TestCase") or bool(node) and any(
            is_case(getattr(b, "attr", getattr(b, "id", "")), (*seen, name)) for b in node.bases))

    return ["%s.%s" % (c, m) for c in sorted(classes) if is_case(c)
            for m, there in sorted(methods(c).items()) if there and m.startswith("test")]


def read(path):
    try:
        with open(path, errors="replace") as text:
            return text.read()
    except OSError:
        return ""


# ---- reports ----

def table(outcomes):
    rows = ["%-10s %7s %7s %7s %8s %9s" % ("format", "passed", "failed", "skipped", "cases", "of them -")]
    for fmt in sorted({o.fmt for o in outcomes}):
        mine = [o for o in outcomes if o.fmt == fmt]
        count = lambda result: sum(o.result == result for o in mine)
        rows.append("%-10s %7d %7d %7d %8d %9d" % (
            fmt, count("passed"), count("failed"), count("skipped"), sum(len(o.cases) for o in mine),
            sum(v == "failed" for o in mine for v in o.cases.values())))
    return "\n".join(rows)


def ratio_table(outcomes, name, peer):
    """Times of the tests that passed on both sets of programs."""
    width = max(len(name), len(peer), 7) + 2
    rows = ["%-10s %7s %*s %*s %7s" % ("format", "tests", width, name, width, peer, "ratio")]
    formats = sorted({o.fmt for o in outcomes})
    for fmt in [*formats, "all"] if len(formats) > 1 else formats:
        both = [o for o in outcomes if fmt in (o.fmt, "all") and o.result == o.peer.result == "passed"]
        ours, theirs = sum(o.seconds for o in both), sum(o.peer.seconds for o in both)
        rows.append("%-10s %7d %*s %*s %7s" % (fmt, len(both), width, "%.1f s" % ours, width, "%.1f s" % theirs,
                                               "%.2fx" % (ours / theirs) if theirs else "-"))
    rows.append("longest:")
    both = [o for o in outcomes if o.result == o.peer.result == "passed"]
    for o in sorted(both, key=lambda o: -o.seconds - o.peer.seconds)[:10]:
        rows.append("%-10s %7s %*s %*s" % (o.fmt, o.test, width, "%.1f s" % o.seconds, width,
                                           "%.1f s" % o.peer.seconds))
    return "\n".join(rows)


def clean(text):
    """XML has no control characters."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]", "?", text)


def junit_case(suite, classname, name, seconds, result, text):
    case = xml.SubElement(suite, "testcase", classname=classname, name=name, time="%.3f" % seconds)
    if result == "failed":
        xml.SubElement(case, "failure", message="output differs").text = clean(text)
    elif result == "skipped":
        xml.SubElement(case, "skipped", message=clean(text.strip()[:200]))


def junit(outcomes, subject, path):
    """A suite for each format; a unittest file's cases follow it, their class being FORMAT.TEST."""
    suites = xml.Element("testsuites")
    for fmt in sorted({o.fmt for o in outcomes}):
        mine = [o for o in outcomes if o.fmt == fmt]
        results = [o.result for o in mine] + [r for o in mine for r in o.cases.values()]
        suite = xml.SubElement(suites, "testsuite", name="%s %s" % (subject, fmt), tests=str(len(results)),
                               failures=str(results.count("failed")), skipped=str(results.count("skipped")))
        for o in mine:
            junit_case(suite, fmt, o.test, o.seconds, o.result, o.text)
            for name, result in o.cases.items():
                junit_case(suite, "%s.%s" % (fmt, o.test), name, 0, result, "see " + o.test)
    xml.ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)


def run_pair(suite, peer, index, fmt, test):
    """One test on one or both sets of programs, whichever begins."""
    if not peer:
        return suite.run(fmt, test)
    first, second = (suite, peer) if index % 2 else (peer, suite)
    a, b = first.run(fmt, test), second.run(fmt, test)
    ours, theirs = (a, b) if first is suite else (b, a)
    ours.peer = theirs
    return ours


class Progress:
    """One line on a terminal, nothing elsewhere."""

    def __init__(self, total):
        self.total, self.done, self.failed, self.shown = total, 0, 0, sys.stderr.isatty()

    def show(self, o):
        self.done += 1
        self.failed += o.result == "failed"
        if self.shown:
            sys.stderr.write("\r\x1b[K%d/%d, %d failed: %s %s %s" % (
                self.done, self.total, self.failed, o.fmt, o.test, o.result))
            sys.stderr.flush()

    def clear(self):
        if self.shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def print_failure(o):
    print("---- %s %s failed\n%s" % (o.fmt, o.test, o.text.rstrip()), flush=True)
    for case, result in o.cases.items():
        if result == "failed":
            print("     case %s failed" % case)


def run_all(suite, peer, plan, jobs):
    progress, outcomes = Progress(len(plan)), []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(run_pair, suite, peer, i, fmt, test) for i, (fmt, test) in enumerate(plan)]
        for done in concurrent.futures.as_completed(pending):
            o = done.result()
            outcomes.append(o)
            progress.show(o)
            if o.result == "failed":
                progress.clear()
                print_failure(o)
            if o.peer and o.peer.result != o.result:
                progress.clear()
                print("---- %s %s: %s, and %s on %s" % (o.fmt, o.test, o.result, o.peer.result, peer.name))
    progress.clear()
    return sorted(outcomes, key=lambda o: (o.fmt, o.test))


def arguments(argv):
    parser = argparse.ArgumentParser(prog="blkref iotests", description=__doc__.splitlines()[0])
    parser.add_argument("--qemu-src", required=True, metavar="DIR", help="source tree with tests/qemu-iotests")
    parser.add_argument("--format", action="append", default=[], metavar="F",
                        help="image format (repeatable; default raw and qcow2)")
    parser.add_argument("-j", "--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="tests at a time")
    parser.add_argument("--subject", default="blkref", metavar="NAME[=DIR]",
                        help="blkref, qemu, or NAME=DIR with programs named qemu-img and so on")
    parser.add_argument("--pair-with", metavar="NAME[=DIR]",
                        help="run each test on these programs too, and compare the times of what passes on both")
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML")
    parser.add_argument("--limit", type=int, default=300, metavar="SECONDS", help="time a test may take")
    parser.add_argument("tests", nargs="*", metavar="TEST", help="tests to run (default: all)")
    return parser.parse_args(argv)


def main(argv):
    args = arguments(argv)
    name, programs = programs_of(args.subject)
    with tempfile.TemporaryDirectory(prefix="blkref-iotests-") as scratch:
        tree = copy_tree(args.qemu_src, scratch)
        suite = Suite(tree, name, programs, scratch, args.limit)
        peer = Suite(tree, *programs_of(args.pair_with), scratch, args.limit) if args.pair_with else None
        plan = [(fmt, test) for fmt in args.format or ["raw", "qcow2"]
                for test in args.tests or suite.names(fmt)]
        outcomes = run_all(suite, peer, plan, max(args.jobs, 1))
    print(table(outcomes))
    if peer and outcomes:
        print(ratio_table(outcomes, suite.name, peer.name))
    if args.junit:
        junit(outcomes, name, args.junit)
    return 1 if not outcomes or any(o.result == "failed" for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
