"""From a planted defect to the page: each stage that runs programs makes its finding small and draws it."""
import html
import os
import re
import shutil
import subprocess

import pytest

PROGRAM = os.path.abspath(os.path.join(os.environ.get("BLKREF_BUILD", "build"), "bin", "blkref"))


# What hangs is never freed.
ENV = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}


def campaign(folder, *args):
    done = subprocess.run([PROGRAM, "campaign", "--count", "1", "--divergences", "/dev/null", "--build", str(folder),
                           "--report", str(folder), *args], capture_output=True, text=True, timeout=300, check=False, env=ENV)
    assert done.returncode == 1, done.stdout + done.stderr
    return (folder / "index.html").read_text()


def findings(page, stage):
    """The text of each finding of the stage that stands in full on the page."""
    return re.findall(r"<details.*?<summary><b>%s</b>.*?</details>" % stage, page, re.S)


def program_of(finding):
    return html.unescape(re.search(r'program</div><pre>(.*?)</pre>', finding, re.S).group(1)).splitlines()


# Stage, defect, image, what is drawn of it, operations of the smallest program.
PLANTED = [
    ("programs", "flip-byte", None, ['class="f-op"', 'class="f-ok"', "fresh image", "at the end"], 2),
    ("sequences", "flip-byte", "image raw", ['class="f-op"', "fresh image", "at the end"], 1),
    ("crash", "drop-flush", "image qed", ['class="cut"', 'class="f-absent"', "fresh image", "without the cut", "left by the cut"], 2),
    ("faults", "swallow-error", "image raw", ['class="f-fault"', "fault: error EIO", "fresh image", "without the fault", "at the end"], 1),
    ("schedules", "race", "image raw", ['class="f-ran"', 'class="f-waits"', "when each had its turn", "at the end"], 2),
    ("schedules", "deadlock", "image raw", ['class="f-ran"', "never ends"], 2),
]


@pytest.mark.parametrize("stage, defect, image, drawn, smallest", PLANTED)
def test_a_planted_defect_is_drawn(tmp_path, stage, defect, image, drawn, smallest):
    page = campaign(tmp_path, "--in-process", "--only", stage, "--plant", defect, *(["--image", image] if image else []))
    found = findings(page, stage)
    assert found and all('svg class="time"' in f and "the guest's map" in f for f in found if "overlay" not in f)
    assert any(all(part in f for part in drawn) for f in found), found[0]
    programs = [program_of(f) for f in found]
    assert min(len(re.findall(r"\|\||\n", "\n".join(p))) for p in programs) <= smallest, programs
    ids = re.findall(r"<pre>blkref (repro [\w-]+)</pre>", page)
    again = subprocess.run([PROGRAM, *ids[0].split(), "--in-process", "--report", str(tmp_path), "--plant", defect],
                           capture_output=True, text=True, timeout=60, check=False, env=ENV)
    assert again.returncode == 1, again.stdout + again.stderr


def test_a_fault_s_finding_is_small(tmp_path):
    """A plan of one fault, the first one, once."""
    page = campaign(tmp_path, "--in-process", "--only", "faults", "--plant", "swallow-error", "--image", "image raw")
    text = (tmp_path / "repro" / (re.search(r"blkref repro (faults-[\w-]+)", page).group(1) + ".txt")).read_text()
    assert re.search(r"^# faults: error,label=write_aio$", text, re.M), text


@pytest.mark.skipif(not shutil.which("qemu-img") or not os.access("/dev/fuse", os.R_OK), reason="no QEMU, or no FUSE")
def test_an_unmodified_qemu_is_drawn(tmp_path):
    page = campaign(tmp_path, "--only", "qemu-crash", "--plant", "drop-flush", "--image", "image qcow2 1M cluster_size=4k",
                    "--count", "300")
    found = findings(page, "qemu-crash")
    assert any('class="cut"' in f and "left by the cut" in f and 'class="f-op"' in f for f in found), page[-3000:]


@pytest.mark.skipif(not shutil.which("qemu-img") or not os.access("/dev/fuse", os.R_OK), reason="no QEMU, or no FUSE")
def test_faults_under_an_unmodified_qemu(tmp_path):
    """QEMU's qcow loses what it acknowledged when one write of a table fails; the reproducer holds the log."""
    page = campaign(tmp_path, "--only", "qemu-crash", "--format", "qcow", "--count", "100")
    found = [f for f in findings(page, "qemu-crash") if "[error,io=write" in f or "[short:512,io=write" in f]
    name = re.search(r"blkref repro (qemu-crash-[\w-]+)", found[0]).group(1)
    text = (tmp_path / "repro" / (name + ".txt")).read_text()
    assert re.search(r"^# faults: (error|short:512),io=write", text, re.M) and "\n#| note begin 0\n" in text, text[:2000]
    again = subprocess.run([PROGRAM, "repro", "--build", str(tmp_path), name], capture_output=True, text=True, check=False)
    assert again.returncode == 1 and again.stdout.startswith("fails: "), again.stdout + again.stderr


def test_only_images_that_are_named(tmp_path):
    done = subprocess.run([PROGRAM, "campaign", "--image", "image nothing"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "bad value 'image nothing' for --image" in done.stderr
    page = campaign(tmp_path, "--in-process", "--only", "schedules", "--plant", "race", "--image", "image raw")
    assert {program_of(f)[0].split()[1] for f in findings(page, "schedules")} == {"raw"}
    assert re.search(r"<th>image</th><td>image raw</td>", page)
