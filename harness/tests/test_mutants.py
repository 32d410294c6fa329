"""Mutants (harness/mutants): every patch still applies, compiles, and says where it comes from."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "harness"))
import mutants  # noqa: E402
BUILD = Path(os.environ.get("BLKREF_BUILD", ROOT / "build")).resolve()
PATCHES = sorted((ROOT / "harness" / "mutants").glob("*.patch"))


def test_there_are_enough():
    assert len(PATCHES) >= 40


@pytest.mark.parametrize("patch", PATCHES, ids=lambda p: p.stem)
def test_applies_and_compiles(patch, tmp_path):
    text = patch.read_text()
    head = text.split("\n\n", 1)[0]
    assert re.match(r"Origin: .+\nSymptom: [^\0]+\nFinds it: .+$", head)
    names = re.findall(r"^\+\+\+ b/(\S+)$", text, re.M)
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    run = subprocess.run(["patch", "-s", "-p1", "-i", str(patch)], cwd=tmp_path,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    run = subprocess.run(["gcc", *mutants.flags(), "-fsyntax-only", f"-I{tmp_path}", "-I.", f"-I{BUILD / 'gen'}",
                          *(str(tmp_path / name) for name in names)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


# Some for each of the cheap explorers, found within a second or two.
SAMPLE = {"raw-probing-unguarded": "probing", "compressed-at-offset-0": "hostile", "lookup-without-lock": "schedules",
          "backing-tail-not-zeroed": "programs", "data-linked-before-refcount": "crash",
          "l2-at-offset-0": "hostile", "flush-queue-not-woken": "schedules"}
BUILD = Path(os.environ.get("BLKREF_BUILD", ROOT / "build")).resolve()


@pytest.mark.skipif(BUILD != ROOT / "build", reason="mutants are linked with a plain build")
def test_a_sample_is_found():
    done = subprocess.run([BUILD / "bin" / "blkref", "mutants", "--json", *SAMPLE], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {m["name"]: m["found_by"] for m in found["mutants"]} == SAMPLE
