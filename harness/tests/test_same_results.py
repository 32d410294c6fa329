"""The same seed gives the same results in every build of the program: gcc and clang, optimized, with sanitizers.

Also what is made of failures: the smaller programs, where they fail, and their time lines.  Compares the builds that are there
and not older than their sources with the first of them: `make campaign` has gcc's and clang's, `make check-sanitizers` its own.
"""
import glob
import os
import subprocess

import pytest

BUILDS = [("gcc", "build"), ("gcc-O3", "build/gcc-O3"), ("clang-O3", "build/clang-O3"), ("sanitizers", "build/san")]
ROOMS = ["fault", "fuzz", "harness", "ref", "reports", "specs", "trace"]

PROGRAM = "image qcow2 1M cluster_size=4k\nwrite 0 8k 1\nsnapshot s\nwrite 512 4k 2\ndiscard 8k 4k\nflush\nwrite 64k 4k 3\n"
TOGETHER = "image qcow2 256k cluster_size=4k\nwrite 0 4k 1 || write 2k 4k 2 || flush\n"
PLANTED = ["campaign", "--in-process", "--seed", "1", "--count", "1", "--json", "--divergences", "/dev/null", "--image", "image raw"]
RUNS = [
    (["crash", "-"], PROGRAM),
    (["crash", "--exhaustive", "1", "--image", "vmdk 1M zeroed", "--part", "0/4"], ""),
    (["faults", "--max", "2", "--pairs", "5", "--labels", "-"], PROGRAM),
    (["schedules", "--max", "200", "--random", "20", "-"], TOGETHER),
    (["campaign", "--in-process", "--seed", "7", "--count", "4", "--json", "--divergences", "/dev/null",
      "--only", "programs", "--only", "trace", "--only", "schedules"], ""),
    (["campaign", "--in-process", "--seed", "7", "--count", "4", "--json", "--divergences", "/dev/null", "--image", "image raw",
      "--only", "sequences", "--only", "crash", "--only", "faults", "--only", "probing", "--only", "hostile"], ""),
    # Findings: made smaller, drawn, and reported.
    (PLANTED + ["--plant", "flip-byte", "--only", "programs", "--only", "sequences", "--only", "crash"], ""),
    (PLANTED + ["--plant", "swallow-error", "--only", "faults"], ""),
    (PLANTED + ["--plant", "race", "--only", "schedules"], ""),
]


def fresh():
    sources = [f for room in ROOMS for f in glob.glob(room + "/**/*.[ch]", recursive=True)]
    newest = max(os.path.getmtime(f) for f in sources)
    found = [(name, os.path.abspath(folder + "/bin/blkref")) for name, folder in BUILDS]
    return [(name, program) for name, program in found if os.path.exists(program) and os.path.getmtime(program) >= newest]


def results(program, folder):
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0")
    folder.mkdir()
    return [subprocess.run([program, *args], input=text, capture_output=True, text=True, env=env, cwd=folder, check=False).stdout
            for args, text in RUNS]


def test_every_build_gives_the_same_results(tmp_path):
    builds = fresh()
    if len(builds) < 2:
        pytest.skip("there is one build only, or the others are older than the sources")
    name, program = builds[0]
    expected = results(program, tmp_path / name)
    assert all(expected)
    assert all('"fail"' in text for (args, _), text in zip(RUNS, expected) if "--plant" in args)
    for other, program in builds[1:]:
        for (args, _), want, got in zip(RUNS, expected, results(program, tmp_path / other)):
            assert got == want, f"{args[0]}: {name} and {other} differ"
