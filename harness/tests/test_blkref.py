"""The blkref program from outside: commands, exit statuses, the same results for the same seed.

Runs the build folder's program (BLKREF_BUILD); other programs than ours are left out here.
"""
import json
import os
import re
import subprocess

import pytest

PROGRAM = os.path.join(os.environ.get("BLKREF_BUILD", "build"), "bin", "blkref")


@pytest.fixture
def blkref(tmp_path):
    def run(*args, stdin=""):
        return subprocess.run([os.path.abspath(PROGRAM), *map(str, args)], input=stdin, capture_output=True,
                              text=True, timeout=300, check=False)
    return run


def campaign(blkref, tmp_path, *args):
    return blkref("campaign", "--in-process", "--count", 8, "--build", tmp_path, "--divergences", "/dev/null", *args)


def test_usage(blkref):
    assert blkref("--help").returncode == 0
    assert "campaign" in blkref("--help").stdout
    assert blkref("--version").stdout.startswith("blkref ")
    assert blkref().returncode == 1
    bad = blkref("frobnicate")
    assert bad.returncode == 1 and "unknown command 'frobnicate'" in bad.stderr
    assert blkref("campaign", "--help").returncode == 0
    assert blkref("campaign", "--seed", "x").returncode == 2
    assert blkref("campaign", "--only", "nothing").returncode == 2
    assert blkref("repro").returncode == 2


def test_same_seed_same_results(blkref, tmp_path):
    args = ("--only", "programs", "--only", "trace", "--seed", 7, "--json")
    first, second = campaign(blkref, tmp_path, *args), campaign(blkref, tmp_path, *args)
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout == second.stdout
    json.loads(first.stdout)


def test_planted_defect_and_its_reproducer(blkref, tmp_path):
    found = campaign(blkref, tmp_path, "--only", "programs", "--plant", "flip-byte")
    assert found.returncode == 1
    name = re.search(r"blkref repro (\S+)", found.stdout).group(1)
    text = (tmp_path / "repro" / (name + ".txt")).read_text()
    operations = [line for line in text.splitlines() if not line.startswith(("#", "image"))]
    assert len(operations) <= 10
    again = ("repro", "--in-process", "--build", tmp_path, name)
    assert blkref(*again[:1], "--plant", "flip-byte", *again[1:]).returncode == 1
    healthy = blkref(*again)
    assert healthy.returncode == 0 and "passes" in healthy.stdout
    assert blkref("repro", "--build", tmp_path, "no-such-id").returncode == 2


def test_stale_divergence_fails(blkref, tmp_path):
    (tmp_path / "list.txt").write_text("id: gone\nwhy: it was\nrepro: gone.txt\n")
    (tmp_path / "gone.txt").write_text("# stage programs\n# subject optimized\nimage raw 64k\nwrite 0 512 1\n")
    done = blkref("campaign", "--in-process", "--count", 1, "--only", "programs", "--build", tmp_path,
                  "--divergences", tmp_path / "list.txt")
    assert done.returncode == 0          # not a full campaign: the list is not judged
    (tmp_path / "list.txt").write_text("id: gone\n")
    bad = blkref("campaign", "--divergences", tmp_path / "list.txt")
    assert bad.returncode == 2 and "needs id and why" in bad.stderr


def test_run(blkref, tmp_path):
    program = "image qcow2 1M cluster_size=4k\nwrite 0 64k 1\nwrite 2M 512 2\nsnapshot a\n"
    done = blkref("run", "--lines", "-", stdin=program + "check\n")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [int(words[0]) for words in lines] == [0, 0, -5, 0, 0]
    assert lines[1][3] == "0+65536:dp0"
    assert lines[4][3:] == ["0", "0", "0"]
    both = [blkref("run", "--profile", name, "-", stdin=program).stdout for name in ("reference", "optimized")]
    assert both[0] == both[1]
    (tmp_path / "bad").write_text("image qcow2 1M\nfrob 1\n")
    bad = blkref("run", tmp_path / "bad")
    assert bad.returncode == 1 and "frob" in bad.stderr
    assert blkref("run").returncode == 1


def test_check_spec(blkref, tmp_path):
    blkref("run", "--dir", tmp_path, "-", stdin="image qcow2 1M\nwrite 0 64k 1\n")
    image = tmp_path / "layer0.img"
    assert blkref("check-spec", image).returncode == 0
    with open(image, "r+b") as f:
        f.seek(9)
        f.write(b"\xff")                 # backing file offset far behind the file's end
    broken = blkref("check-spec", image)
    assert broken.returncode == 2 and broken.stdout
    assert blkref("check-spec", tmp_path / "none").returncode == 1
    assert blkref("check-spec").returncode == 1


WRITES = "image qcow2 1M cluster_size=4k\nwrite 0 8k 1\nflush\nwrite 64k 4k 2\n"


def test_crash_of_a_write_log(blkref, tmp_path):
    program, log = tmp_path / "program", tmp_path / "log"
    program.write_text(WRITES)
    assert blkref("crash", "--write-log", log, program).returncode == 0
    walked = blkref("crash", log)
    assert walked.returncode == 0 and re.search(r"[1-9]\d* judged, 0 findings", walked.stdout), walked.stderr
    no_mark = blkref("crash", "--from", "no such mark", log)
    assert no_mark.returncode == 2 and "no mark 'no such mark'" in no_mark.stderr
    log.write_bytes(log.read_bytes()[:600])
    assert blkref("crash", log).returncode == 2


def test_crash_of_an_unmodified_qemu(blkref, tmp_path):
    program, saved, state = tmp_path / "program", tmp_path / "saved", tmp_path / "state"
    program.write_text(WRITES)
    on_qemu = ("crash", "--subject", "qemu", "--max", 40)
    quiet = blkref(*on_qemu, program)
    if quiet.returncode == 2:
        pytest.skip(quiet.stderr)
    assert quiet.returncode == 0, quiet.stdout
    found = blkref(*on_qemu, "--drop-flushes", "--save", saved, program)
    assert found.returncode == 1
    name = re.search(r"FAIL (c\S+): ", found.stdout).group(1)
    assert f"# crash: state {name} " in saved.read_text()
    again = blkref("crash", "--subject", "qemu", "--state", name, saved)
    assert again.returncode == 1 and f"FAIL {name}: " in again.stdout
    assert blkref("crash", "--subject", "qemu", "--state", name, "--dump", state, saved).returncode == 0
    assert (state / "layer0.img").stat().st_size > 0
    assert blkref("crash", "--subject", "qemu", "--frob", program).returncode == 2
    assert blkref("faults", "--subject", "qemu", "--modes", "frob", program).returncode == 2


def test_sets_on_an_unmodified_qemu(blkref, tmp_path):
    entry = "id: reuse\nwhy: the map alone is stable\nstage: qemu-crash\nsubject: qemu\nformat: vdi\ndetail: used further: *\n"
    every, writes = tmp_path / "every.txt", tmp_path / "writes.txt"
    every.write_text(entry)
    writes.write_text(entry + "program: *write *\n")
    rest = ("--exhaustive", 1, "--image", "vdi 4M", "--part", "0/4", "--divergences")

    def cuts(known):
        done = blkref("crash", "--subject", "qemu", "--all", *rest, known)
        if done.returncode == 2:
            pytest.skip(done.stderr)
        told = done.stdout.count("\nknown reuse used further: ") + done.stdout.startswith("known reuse ")
        found, explained = map(int, re.search(r"(\d+) findings, (\d+) of them known$", done.stdout.strip()).groups())
        assert told == explained and done.stdout.count("FAIL ") == found - explained
        assert (f"\nknown reuse: {explained}\n" in done.stdout) == (explained > 0)
        return done.returncode, found, explained

    status, found, explained = cuts(every)
    assert status == 0 and found == explained > 0
    status, again, explained = cuts(writes)
    assert status == 1 and again == found > explained > 0
    assert cuts("/dev/null") == (1, found, 0)
    faults = blkref("faults", "--subject", "qemu", "--modes", "EIO", *rest, every)
    assert re.search(r"qemu \S+: [1-9]\d* runs, [1-9]\d* faults fired, ", faults.stdout), faults.stdout + faults.stderr


def test_sets_of_programs_with_an_operation(blkref):
    """The alphabet has one commit, only for images with a backing file; each program twice, once behind flushed data."""
    done = blkref("faults", "--subject", "qemu", "--modes", "EIO", "--max", 1, "--exhaustive", 1, "--with", "commit")
    if done.returncode == 2:
        pytest.skip(done.stderr)
    images = [line.split(": ")[0] for line in done.stdout.splitlines() if line.startswith("image ")]
    assert len(images) == 3 and all(" backing " in image for image in images)
    assert ": 0 runs" not in done.stdout
    assert blkref("crash", "--subject", "qemu", "--exhaustive", 1, "--with", "frob").returncode == 2
    assert blkref("crash", "--subject", "qemu", "--with", "commit", "program").returncode == 2


@pytest.mark.parametrize("stage,defect", [("schedules", "race"), ("schedules", "deadlock"), ("hostile", "flip-byte"), ("sequences", "leak-cluster")])
def test_stage_sees_its_planted_defect(blkref, tmp_path, stage, defect):
    args = ("campaign", "--in-process", "--first", "--count", 16, "--only", stage, "--build", tmp_path)
    done = blkref(*args, "--plant", defect)
    assert done.returncode == 1 and done.stdout.startswith(stage + ": "), done.stdout + done.stderr


@pytest.mark.parametrize("fmt", ["vhdx", "bochs", "crypt"])
def test_hostile_images_of_one_format(blkref, tmp_path, fmt):
    args = ("--in-process", "--count", 1, "--only", "hostile", "--format", fmt, "--build", tmp_path)
    found = blkref("campaign", *args, "--plant", "flip-byte")
    assert found.returncode == 1 and f"reference, {fmt}: " in found.stdout, found.stdout + found.stderr
    name = re.search(r"blkref repro (hostile-reference-\S+)", found.stdout).group(1)
    assert f"# fuzz: hex {fmt} " in (tmp_path / "repro" / (name + ".txt")).read_text()
    again = ("--in-process", "--build", tmp_path, name)
    assert blkref("repro", "--plant", "flip-byte", *again).returncode == 1
    assert blkref("repro", *again).returncode == 0
    healthy = blkref("campaign", *args, "--json")
    assert healthy.returncode == 0 and '"stage": "hostile"' in healthy.stdout


def test_fuzz_without_a_target_says_so_for_each_format(blkref, tmp_path):
    done = blkref("campaign", "--in-process", "--only", "fuzz", "--fuzz-seconds", 5, "--build", tmp_path)
    assert done.returncode == 0 and "no fuzz target: make fuzz-target" in done.stdout, done.stdout + done.stderr
    assert blkref("campaign", "--fuzz-seconds", 0).returncode == 2
    assert blkref("campaign", "--format", "vvfat").returncode == 2


def test_schedules_of_a_program(blkref):
    program = "image qcow2 256k cluster_size=4k\nwrite 0 4k 1 || write 2k 4k 2 || flush\n"
    done = blkref("schedules", "--max", 50, "--random", 5, "--profile", "optimized", "-", stdin=program)
    assert done.returncode == 0 and re.match(r"optimized: \d+ schedules \(5 random", done.stdout), done.stdout + done.stderr
    again = blkref("schedules", "--schedule", "3:1", "--profile", "optimized", "-", stdin=program)
    assert again.returncode == 0 and again.stdout.startswith("optimized: 1 schedules")
    assert blkref("schedules", "--schedule", "x", "-", stdin=program).returncode == 2
    assert blkref("schedules", "--preemptions", "many", "-", stdin=program).returncode == 2
