"""The folder order (lint.py): each kind of finding on a planted one, and none in this tree."""
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "harness"))
import lint  # noqa: E402


@pytest.mark.parametrize("path, text, finding", [
    ("harness/oracle/a.c", '/* */\n#include "harness/campaign/campaign.h"\n', "stands above harness/oracle"),
    ("harness/sandbox/tests/test_a.c", '/* */\n#include "harness/explore/x.h"\n', "stands above harness/sandbox"),
    ("reports/a.c", '/* */\n#include "ref/block/backend.h"\n', "may include only"),
    ("harness/a.c", "/* */\n", "stands in no room"),
    ("harness/cli/a.c", "int x;\n", "does not open with a comment"),
    ("fault/a.h", '/* */\n#include "fault/a.h"\n', "include circle"),
    ("harness/cli/a.c", '/* */\n#include "harness/sim/sim_nbd.h"\n#include <stdio.h>\n', None),
])
def test_findings(tmp_path, monkeypatch, path, text, finding):
    monkeypatch.chdir(tmp_path)
    Path(path).parent.mkdir(parents=True)
    Path(path).write_text(text)
    found = lint.check([path])
    assert len(found) == (1 if finding else 0) and (not finding or finding in found[0]), found


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the tree's files are listed by git")
def test_this_tree():
    run = subprocess.run([sys.executable, "harness/lint.py"], cwd=ROOT, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "")
