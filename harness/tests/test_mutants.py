"""Mutants (harness/mutants): every patch still applies and says where it comes from."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATCHES = sorted((ROOT / "harness" / "mutants").glob("*.patch"))


def test_there_are_enough():
    assert len(PATCHES) >= 40


@pytest.mark.parametrize("patch", PATCHES, ids=lambda p: p.stem)
def test_applies(patch, tmp_path):
    text = patch.read_text()
    head = text.split("\n\n", 1)[0]
    assert re.match(r"Origin: .+\nSymptom: [^\0]+\nFinds it: .+$", head)
    for name in re.findall(r"^\+\+\+ b/(\S+)$", text, re.M):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    run = subprocess.run(["patch", "-s", "-p1", "-i", str(patch)], cwd=tmp_path,
                         capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
