"""The helpers themselves: filters as shell scripts use them, runs of bytes, sessions, the format table."""
import os
import subprocess
import sys

from iotests import blkimg
from iotests.blkimg import EVERY, QCOW2, RAW, Session, able

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def helper(*args, stdin=""):
    return subprocess.run([sys.executable, "-m", "iotests.blkimg", *args], input=stdin, capture_output=True, text=True,
                          cwd=ROOT, env={**os.environ, "PYTHONPATH": ROOT}, check=False)


def test_filters_of_shell_scripts():
    done = helper("filter", "io", "size", "testdir=/tmp/x",
                  stdin="4 KiB, 1 ops; 00.00 sec (1.7 MiB/sec and 3.4 ops/sec)\ndisk size: 196 KiB\nimage: /tmp/x/t.img\n")
    assert done.returncode == 0
    assert done.stdout == "X bytes, X ops; XX:XX:XX.X (X)\ndisk size: SIZE\nimage: TEST_DIR/t.img\n"
    assert helper("filter", "nope").returncode == 1
    assert "usage" in helper().stderr


def test_every_filter_leaves_plain_text_alone():
    for name in blkimg.FILTERS:
        assert helper("filter", name, stdin="plain\n").stdout.strip() == "plain"


def test_progress_and_uuids():
    assert blkimg.filter_progress("    (0.00/100%)\r    (100.00/100%)\r\n") == "    (PROGRESS)\r\n"
    assert blkimg.filter_uuid("id 01234567-89ab-cdef-0123-456789abcdef.") == "id UUID."


def test_runs_of_bytes():
    assert blkimg.byte_runs(b"") == []
    assert blkimg.byte_runs(b"\0" * 100000 + b"\1\1\2") == [(0, 100000, 0), (100000, 2, 1), (100002, 1, 2)]


def test_formats_by_ability():
    assert QCOW2 in able("backing", "snapshot") and RAW not in able("backing")
    assert able() == EVERY


def test_sessions_answer_each_command(lab):
    lab.create(QCOW2, "t.img", "1M")
    for subject in lab.subjects:
        with Session(subject, "t.img", cwd=lab.dir(subject)) as session:
            assert "wrote 512/512" in session.do("write 0 512")
            assert session.do("length") == "1 MiB\n"
            assert "not found" in session.do("nope")
        assert session.program.returncode in (0, 1)


def test_digests_see_bytes_and_holes(tmp_path):
    path = str(tmp_path / "f")
    seen = set()
    for data, size in ((b"", 8192), (b"\0" * 4096, 8192), (b"x", 8192), (b"x", 8193)):
        with open(path, "wb") as file:
            file.write(data)
            file.truncate(size)
        seen.add(blkimg.digest(path))
    assert len(seen) >= 3 and blkimg.digest(path + "none") is None
