#!/usr/bin/env python3
"""Runs an upstream tests/qemu-iotests tree against our programs or any other set.

The tree is copied to a scratch folder and never modified.  Every test runs in folders of its own, several at
a time; the report is a table by format, the cases of unittest files, a diff of each failure, and JUnit XML.
Leaves out: judging results; the tree's own `check` says what passed.
"""
import argparse
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
WORDS = {"pass": "passed", "fail": "failed", "not run": "skipped"}


@dataclass
class Outcome:
    fmt: str
    test: str
    result: str  # passed, failed, skipped
    seconds: float
    text: str  # diff or reason
    cases: dict = field(default_factory=dict)  # case of a unittest file -> passed, failed


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
    def __init__(self, tree, programs, scratch, limit):
        self.tree, self.scratch, self.limit = tree, scratch, limit
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
    if result != "failed" and status not in (0,):
        result = "failed"
    return Outcome(fmt, test, result, seconds, "" if result == "passed" else plain.partition("\n\n")[2] or plain,
                   cases(tree, test, plain, result))


def cases(tree, test, out, result):
    """The cases of a unittest file, from its output."""
    name = os.path.join(tree, test if os.path.exists(os.path.join(tree, test)) else "tests/" + test)
    expected = read(name + ".out")
    count = re.search(r"^[ +-]?Ran (\d+) tests?", expected, re.M)
    if not count or result == "skipped":
        return {}
    total = int(count.group(1))
    failed = re.findall(r"^\+?(?:FAIL|ERROR): (\S+ ?\(?[\w.]*\)?)", out, re.M)
    found = {case: "failed" for case in failed}
    if result == "failed" and not failed:
        return {"(all of %d)" % total: "failed"}
    for i in range(total - len(found)):
        found["case %d" % (i + 1)] = "passed"
    return found


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


def clean(text):
    """XML has no control characters."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd]", "?", text)


def junit(outcomes, subject, path):
    suites = xml.Element("testsuites")
    for fmt in sorted({o.fmt for o in outcomes}):
        mine = [o for o in outcomes if o.fmt == fmt]
        suite = xml.SubElement(suites, "testsuite", name="%s %s" % (subject, fmt), tests=str(len(mine)),
                               failures=str(sum(o.result == "failed" for o in mine)),
                               skipped=str(sum(o.result == "skipped" for o in mine)))
        for o in mine:
            case = xml.SubElement(suite, "testcase", classname=fmt, name=o.test, time="%.3f" % o.seconds)
            if o.result == "failed":
                xml.SubElement(case, "failure", message="output differs").text = clean(o.text)
            elif o.result == "skipped":
                xml.SubElement(case, "skipped", message=clean(o.text.strip()[:200]))
    xml.ElementTree(suites).write(path, encoding="utf-8", xml_declaration=True)


def run_all(suite, plan, jobs):
    terminal = sys.stderr.isatty()
    outcomes = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        pending = [pool.submit(suite.run, fmt, test) for fmt, test in plan]
        for done in concurrent.futures.as_completed(pending):
            o = done.result()
            outcomes.append(o)
            if terminal:
                sys.stderr.write("\r\x1b[K%d/%d, %d failed: %s %s %s" % (
                    len(outcomes), len(plan), sum(x.result == "failed" for x in outcomes), o.fmt, o.test,
                    o.result))
            if o.result == "failed":
                if terminal:
                    sys.stderr.write("\r\x1b[K")
                    sys.stderr.flush()
                print("---- %s %s failed\n%s" % (o.fmt, o.test, o.text.rstrip()), flush=True)
                for case, result in o.cases.items():
                    if result == "failed":
                        print("     case %s failed" % case)
    if terminal:
        sys.stderr.write("\r\x1b[K")
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
    parser.add_argument("--junit", metavar="FILE", help="write JUnit XML")
    parser.add_argument("--limit", type=int, default=300, metavar="SECONDS", help="time a test may take")
    parser.add_argument("tests", nargs="*", metavar="TEST", help="tests to run (default: all)")
    return parser.parse_args(argv)


def main(argv):
    args = arguments(argv)
    name, programs = programs_of(args.subject)
    with tempfile.TemporaryDirectory(prefix="blkref-iotests-") as scratch:
        suite = Suite(copy_tree(args.qemu_src, scratch), programs, scratch, args.limit)
        plan = [(fmt, test) for fmt in args.format or ["raw", "qcow2"]
                for test in args.tests or suite.names(fmt)]
        outcomes = run_all(suite, plan, max(args.jobs, 1))
    print(table(outcomes))
    if args.junit:
        junit(outcomes, name, args.junit)
    return 1 if not outcomes or any(o.result == "failed" for o in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
