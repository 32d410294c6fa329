"""The runner of upstream trees, on a tiny fake tree: a planted failure must be reported everywhere."""
import os
import subprocess
import sys

import pytest

from iotests import runner

CHECK = '''#!/usr/bin/env python3
import os, sys
if "-n" in sys.argv:
    print("001 002 003 004")
    sys.exit()
test = sys.argv[-1]
for variable in ("TEST_DIR", "SOCK_DIR", "QEMU_IMG_PROG"):
    assert os.path.exists(os.environ[variable]), variable
open(test + ".out.bad", "w").close()
if test == "001":
    print("IMGFMT -- raw\\n\\n001   ...     [1]     ...        \\r001   pass  [1] [2]  0.%ds" % (4 if "peer" in os.environ["QEMU_IMG_PROG"] else 1))
elif test == "003":
    print("003   not run  [1] [2]  ...  no suitable weather")
else:
    if "peer" in os.environ["QEMU_IMG_PROG"]:
        print(test + "   pass  [1] [2]  0.4s")
        sys.exit()
    print(test + "   fail  [1] [2]  0.1s  output mismatch")
    print("--- expected\\n+++ got\\n-right\\n+wrong\\x01")
    if test == "004":
        print("-...\\n+.Fs\\n+FAIL: test_b (__main__.TestX)")
    sys.exit(1)
'''


CASES = """
import iotests
class Base(iotests.QMPTestCase):
    def setUp(self): pass
    def test_b(self): pass
    def test_c(self): pass
class A(Base):
    test_c = None
"""


@pytest.fixture
def tree(tmp_path):
    tests = tmp_path / "src" / "tests" / "qemu-iotests"
    tests.mkdir(parents=True)
    (tests / "check").write_text(CHECK)
    for name in ("001", "002", "003", "004"):
        (tests / name).write_text("")
    (tests / "004").write_text(CASES)
    (tests / "004.out").write_text("..\n-----\nRan 3 tests\n\nOK\n")
    for name in ("bin", "peer"):
        programs = tmp_path / name
        programs.mkdir()
        (programs / "qemu-img").write_text("#!/bin/sh\n")
        (programs / "qemu-img").chmod(0o755)
    return tmp_path


def run(tree, *args):
    return subprocess.run([sys.executable, runner.__file__, "--qemu-src", str(tree / "src"), "--subject",
                           "fake=" + str(tree / "bin"), *args], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)


def test_planted_failure_is_reported(tree):
    done = run(tree, "--format", "raw", "-j", "2", "--junit", str(tree / "j.xml"))
    assert done.returncode == 1
    assert "---- raw 002 failed" in done.stdout and "+wrong" in done.stdout
    assert "case Base.test_b failed" in done.stdout
    row = done.stdout.splitlines()[-1].split()
    assert row == ["raw", "1", "2", "1", "3", "1"]
    text = (tree / "j.xml").read_text()
    assert 'tests="7" failures="3" skipped="2"' in text and "+wrong?" in text
    assert 'classname="raw.004" name="Base.test_b"' in text


def test_pairs(tree):
    """Only what passes on both counts, and in what way they differ is said."""
    done = run(tree, "--format", "raw", "--pair-with", "peer=" + str(tree / "peer"))
    assert done.returncode == 1
    assert "---- raw 002: failed, and passed on peer" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[-3] == ["raw", "1", "0.1", "s", "0.4", "s", "0.25x"]
    assert lines[-1] == ["raw", "001", "0.1", "s", "0.4", "s"]


def test_case_names():
    assert runner.case_names(CASES) == ["A.test_b", "Base.test_b", "Base.test_c"]
    assert runner.case_names("#!/bin/bash\necho $((") == []


def test_progress_line(tree):
    """On a terminal one line says how far it is; elsewhere there is none."""
    script = "%s %s --qemu-src %s --subject fake=%s --format raw 001 003" % (
        sys.executable, runner.__file__, tree / "src", tree / "bin")
    done = subprocess.run(["script", "-qec", script, "/dev/null"], stdout=subprocess.PIPE,
                          stdin=subprocess.DEVNULL, text=True)
    assert "2/2, 0 failed: raw 00" in done.stdout
    assert "2/2" not in run(tree, "--format", "raw", "001", "003").stdout


def test_all_pass(tree):
    done = run(tree, "--format", "raw", "--format", "qcow2", "001", "003")
    assert done.returncode == 0
    assert [line.split()[:4] for line in done.stdout.splitlines()[1:]] == [
        ["qcow2", "1", "0", "1"], ["raw", "1", "0", "1"]]


def test_the_tree_is_not_modified(tree):
    before = sorted(os.listdir(tree / "src" / "tests" / "qemu-iotests"))
    run(tree, "--format", "raw")
    assert sorted(os.listdir(tree / "src" / "tests" / "qemu-iotests")) == before


def test_refusals(tree):
    assert run(tree, "--subject", "none=/nonexistent").returncode == 1
    assert run(tree, "--qemu-src", "/nonexistent").returncode == 1
    assert "usage: blkref iotests" in run(tree, "--help").stdout
