"""The test runner: what it counts, and what it leaves out."""
import subprocess
import sys


def program(folder, name, lines, status=0):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n" + "".join("echo '%s'\n" % line for line in lines) + "exit %d\n" % status)
    path.chmod(0o755)


def check(build, *options):
    done = subprocess.run([sys.executable, "harness/check.py", "--build", build, "--only", "unit", *options],
                          capture_output=True, text=True)
    return done.returncode, done.stdout


def test_programs_are_counted_or_left_out(tmp_path):
    program(tmp_path / "tests/a/tests", "test_good", ["[  PASSED  ] 3 test(s)."])
    program(tmp_path / "tests/b/tests", "test_bad", ["[  PASSED  ] 1 test(s).", "[  FAILED  ] 2 test(s)"], status=2)
    program(tmp_path / "tests/b/tests", "test_dies", [], status=1)
    status, out = check(tmp_path)
    assert status == 1 and out.endswith("\n4 passed, 3 failed, 0 skipped\n")
    status, out = check(tmp_path, "--leave-out", "none,b/tests")
    assert status == 0 and out.endswith("\n3 passed, 0 failed, 2 skipped\n")
    assert out.count("SKIPPED") == 2 and "b/tests/test_dies: --leave-out" in out
    status, out = check(tmp_path, "--wrap", "false")
    assert status == 1 and out.endswith("\n0 passed, 3 failed, 0 skipped\n")
