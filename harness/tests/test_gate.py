"""`blkref gate` from outside: exit statuses, on campaigns in process and between stores."""
import json
import os
import subprocess

import pytest

PROGRAM = os.path.abspath(os.path.join(os.environ.get("BLKREF_BUILD", "build"), "bin", "blkref"))
SMALL = ("--in-process", "--count", "4", "--only", "programs", "--divergences", "/dev/null")


def blkref(*args):
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True, timeout=300,
                          check=False)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A clean campaign's store, and one with a planted defect."""
    made = {}
    for name, more in (("clean", ()), ("planted", ("--plant", "flip-byte")), ("seed2", ("--seed", 2))):
        folder = tmp_path_factory.mktemp(name)
        done = blkref("campaign", *SMALL, "--build", folder, "--report", folder, *more)
        assert done.returncode == (1 if name == "planted" else 0), done.stdout + done.stderr
        made[name] = folder / "results.sqlite"
    return made


def test_two_stores(stores):
    def gate(old, now, *more):
        return blkref("gate", "--baseline", stores[old], "--current", stores[now], *more)
    worse = gate("clean", "planted")
    assert worse.returncode == 1
    assert "NEW programs, optimized" in worse.stdout or "NEW programs, reference" in worse.stdout
    assert "again: blkref repro " in worse.stdout
    better = gate("planted", "clean")
    assert better.returncode == 0
    assert "gone programs" in better.stdout and " 0 new failures, 0 known, " in better.stdout
    found = json.loads(gate("clean", "planted", "--json").stdout)
    assert len(found["new"]) > 0 and found["known"] == []


def test_other_programs_are_refused(stores):
    gate = ("gate", "--baseline", stores["clean"], "--current", stores["seed2"])
    refused = blkref(*gate)
    assert refused.returncode == 2
    assert "the baseline's seed is 1, this run's is 2" in refused.stderr
    assert blkref(*gate, "--allow-different").returncode == 0


def test_runs_the_campaign_first(stores, tmp_path):
    gate = ("gate", *SMALL, "--build", tmp_path)
    same = blkref(*gate, "--baseline", stores["clean"])
    assert same.returncode == 0, same.stdout + same.stderr
    assert " 0 new failures" in same.stdout
    assert (tmp_path / "gate" / "index.html").exists()
    report = tmp_path / "report"
    worse = blkref(*gate, "--baseline", stores["clean"], "--plant", "flip-byte", "--report", report, "--json")
    assert worse.returncode == 1
    found = json.loads(worse.stdout)
    again = found["new"][0]["again"].split()[-1]
    assert (report / "repro" / (again + ".txt")).exists()
    # The same failures again, into the baseline's own file: known.
    known = blkref(*gate, "--baseline", report / "results.sqlite", "--plant", "flip-byte", "--report", report)
    assert known.returncode == 0, known.stdout + known.stderr
    assert " 0 new failures, %d known" % len(found["new"]) in known.stdout
    # Another seed is refused before anything runs.
    refused = blkref(*gate, "--baseline", stores["clean"], "--seed", 3, "--report", tmp_path / "none")
    assert refused.returncode == 2 and "the baseline's seed is 1, not 3" in refused.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("args, says", [
    ((), "needs --baseline"),
    (("--baseline", "/nonexistent"), "/nonexistent"),
    (("--baseline", "x", "--first"), "--first"),
    (("--baseline", "x", "--current", "y", "--only", "read"), "runs nothing"),
    (("--baseline", "x", "--current", "y", "--report", "z"), "not with --current"),
    (("--baseline", "x", "y"), "surplus")])
def test_usage(args, says):
    done = blkref("gate", *args)
    assert done.returncode == 2 and says in done.stderr


def test_gate_options_are_of_the_gate_only():
    done = blkref("campaign", "--baseline", "x")
    assert done.returncode == 2 and "--baseline is an option of blkref gate" in done.stderr
    assert blkref("gate", "--help").returncode == 0
