"""What our programs and QEMU's write, judged by `blkref check-spec`: every clause of the format's specification holds.

The verdict is compared with the writer's own check, where the format has one.  What QEMU's images break
would be in docs/findings.md; of the options below it is nothing.
"""
import os
import subprocess

import pytest

CASES = [
    ("qed", "", 40), ("qed", "cluster_size=4k,table_size=2", 40), ("qed", "cluster_size=1M,table_size=16", 40),
    ("qcow", "", 40), ("qcow", "", 0),
    ("vdi", "", 40), ("vdi", "static=on", 10), ("vdi", "", 0),
    ("vpc", "", 40), ("vpc", "force_size=on", 40), ("vpc", "subformat=fixed", 10),
    ("vpc", "subformat=fixed,force_size=on", 10),
    ("vhdx", "", 40), ("vhdx", "block_size=1M,log_size=2M", 40), ("vhdx", "subformat=fixed,block_size=2M", 10),
    ("parallels", "", 40), ("parallels", "cluster_size=64k", 40),
    ("vmdk", "", 40), ("vmdk", "subformat=streamOptimized", 40), ("luks", "", 16),
]
WRITES = ("write -P 1 5000 70000", "write -z 1M 128k", "write -P 2 3M 2M", "discard 3M 1M", "write -P 3 0 512",
          "write -P 4 3500k 10k", "write -z 2M 3M", "write -P 5 9M 64k", "flush")
SECRET = ("--object", "secret,id=s,data=abc")


def name(case):
    return "-".join(str(part) for part in case if part != "")


@pytest.fixture
def judge(subjects):
    """Judges a file; the findings, '' when there are none."""
    ours = [s for s in subjects if s.name == "blkref"]
    program = ours and os.path.join(ours[0].folder, os.pardir, "bin", "blkref")
    if not program or not os.access(program, os.X_OK):
        pytest.skip("blkref is not built")

    def run(fmt, path):
        done = subprocess.run([program, "check-spec", "--format", fmt, path], capture_output=True, text=True,
                              timeout=120, check=False)
        assert done.returncode == (2 if "corruption" in done.stdout or "leak" in done.stdout else 0), done.stderr
        return done.stdout
    return run


def create(subject, fmt, options, size, path, *more):
    if fmt == "luks":
        more += SECRET
        options = "key-secret=s,iter-time=10"
    given = ("-o", options) if options else ()
    done = subject.run("img", "create", "-q", "-f", fmt, *given, *more, path, size)
    assert done.status == 0, done.err


def write(subject, fmt, path, commands):
    """One opening for each half, so that images are opened again."""
    for half in (commands[:len(commands) // 2], commands[len(commands) // 2:]):
        words = [w for c in half for w in ("-c", c)]
        where = ("-f", fmt, path)
        if fmt == "luks":
            where = SECRET + ("--image-opts", "driver=luks,key-secret=s,file.filename=" + path)
        done = subject.run("io", *words, *where)
        assert done.status == 0, done.out + done.err


def own_check(subject, fmt, path):
    """Whether the writer's check finds its image sound; true where it has none."""
    return fmt in ("qcow", "vpc", "luks") or subject.run("img", "check", "-f", fmt, path).status == 0


@pytest.mark.parametrize("case", CASES, ids=name)
def test_new_and_written_images(subjects, folder, judge, case):
    fmt, options, megabytes = case
    for subject in subjects:
        if fmt == "luks" and subject.name != "blkref":
            continue    # creating takes it seconds of CPU time, and fails now and then (docs/findings.md)
        path = os.path.join(folder, subject.name)
        create(subject, fmt, options, megabytes << 20 if megabytes else 4096, path)
        assert judge(fmt, path) == "", subject.name
        if "streamOptimized" not in options:
            commands = [c for c in WRITES if megabytes or "512" in c]
            write(subject, fmt, path, commands)
        assert judge(fmt, path) == "", subject.name
        assert own_check(subject, fmt, path)


@pytest.mark.parametrize("fmt", ["qed", "qcow", "vmdk"])
def test_images_with_a_backing_file(subjects, folder, judge, fmt):
    for subject in subjects:
        base, path = (os.path.join(folder, n + subject.name) for n in ("base-", ""))
        create(subject, fmt, "", 20 << 20, base)
        write(subject, fmt, base, WRITES)
        create(subject, fmt, "", 20 << 20, path, "-b", base, "-F", fmt)
        assert judge(fmt, path) == "", subject.name
        write(subject, fmt, path, WRITES)
        assert judge(fmt, path) == "", subject.name


@pytest.mark.parametrize("fmt,options", [("qcow", "-c"), ("vmdk", "-c"), ("vmdk", ""), ("vhdx", ""), ("vpc", ""),
                                         ("vdi", ""), ("qed", ""), ("parallels", "")])
def test_converted_images(subjects, folder, judge, fmt, options):
    raw = os.path.join(folder, "raw")
    with open(raw, "wb") as out:
        out.truncate(12 << 20)
        out.seek(4500)
        out.write(b"the quick brown fox " * 9000)
        out.seek(7 << 20)
        out.write(os.urandom(300000))
    for subject in subjects:
        path = os.path.join(folder, subject.name)
        more = ("-o", "subformat=streamOptimized") if (fmt, options) == ("vmdk", "-c") else ()
        done = subject.run("img", "convert", "-f", "raw", "-O", fmt, *options.split(), *more, raw, path)
        assert done.status == 0 or (fmt, options, subject.name) == ("qcow", "-c", "qemu"), done.err  # docs/findings.md
        assert judge(fmt, path) == "", subject.name
        if options == "-c" and fmt == "qcow":
            write(subject, fmt, path, WRITES)       # compressed clusters are unpacked into new ones
            assert judge(fmt, path) == "", subject.name


@pytest.mark.parametrize("fmt", ["qed", "vhdx", "vpc", "parallels", "qcow"])
def test_a_longer_disk(subjects, folder, judge, fmt):
    """Where a program can resize."""
    for subject in subjects:
        path = os.path.join(folder, subject.name)
        create(subject, fmt, "", 8 << 20, path)
        write(subject, fmt, path, WRITES[:3])
        if subject.run("img", "resize", "-q", "-f", fmt, path, "30M").status == 0:
            write(subject, fmt, path, WRITES)
        assert judge(fmt, path) == "", subject.name
