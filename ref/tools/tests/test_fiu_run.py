"""fiu-run switches faults in the image programs by label."""
import os
import shutil
import subprocess

import pytest

BIN = os.path.join(os.environ.get("BLKREF_BUILD", "build"), "bin")

pytestmark = pytest.mark.skipif(not shutil.which("fiu-run"), reason="fiu-run is not installed")


def run(*command):
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=0:verify_asan_link_order=0")
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_label_fails_by_its_name_and_errno(tmp_path):
    image = str(tmp_path / "a.qcow2")
    assert run(BIN + "/blkref-img", "create", "-q", "-f", "qcow2", image, "1M").returncode == 0
    write = [BIN + "/blkref-io", "-f", "qcow2", "-c", "write 0 64k", image]
    failed = run("fiu-run", "-c", "enable name=blkref/io/write_aio,failinfo=28", *write)
    assert failed.returncode == 1
    assert "write failed: No space left on device" in failed.stdout
    other = run("fiu-run", "-c", "enable name=blkref/io/vmstate_save,failinfo=28", *write)
    assert other.returncode == 0, other.stderr


def test_memory_fails_where_its_size_comes_from_an_image(tmp_path):
    image = str(tmp_path / "a.qcow2")
    assert run(BIN + "/blkref-img", "create", "-q", "-f", "qcow2", image, "1M").returncode == 0
    info = [BIN + "/blkref-img", "info", image]
    failed = run("fiu-run", "-c", "enable name=blkref/mem", *info)
    assert failed.returncode == 1 and "Could not allocate memory" in failed.stderr, failed.stderr
    assert run("fiu-run", "-c", "enable name=blkref/io/vmstate_save", *info).returncode == 0
