"""Wrong usage: status and messages of every subcommand, compared with the real tools."""
import pytest

COMMANDS = ["amend", "bench", "bitmap", "check", "commit", "compare", "convert", "create", "dd", "info", "map",
            "measure", "rebase", "resize", "snapshot"]
TAKES_FORMAT = [c for c in COMMANDS if c not in ("bitmap",)]
TAKES_OUTPUT = ["check", "info", "map", "measure"]
TAKES_CACHE = ["amend", "bench", "commit", "convert", "rebase"]

# (arguments, ...) with images "t.qcow2" and "t.raw" there.
BAD = [[]] + [["nonsense"], ["--nonsense"], ["-T"]]
BAD += [[c] for c in COMMANDS]
BAD += [[c, "--nonsense", "t.qcow2"] for c in COMMANDS]
BAD += [[c, "-9", "t.qcow2"] for c in COMMANDS]
BAD += [[c, "-f"] for c in TAKES_FORMAT]
BAD += [[c, "-f", "nonsense", "t.qcow2"] for c in ("check", "commit", "info", "map", "rebase")]
BAD += [[c, "-f", "raw", "--image-opts", "t.qcow2"] for c in ("check", "compare", "info", "map")]
BAD += [[c, "--output=nonsense", "t.qcow2"] for c in TAKES_OUTPUT]
BAD += [[c, "-t", "nonsense", "t.qcow2", "x"] for c in TAKES_CACHE]
BAD += [[c, "gone.qcow2"] for c in ("check", "commit", "info", "map")]
BAD += [[c, "t.qcow2", "t.qcow2", "t.qcow2"] for c in ("check", "commit", "compare", "info", "map")]
BAD += [
    ["create", "-f", "nonsense", "x", "1M"],
    ["create", "-f", "qcow2", "x"],
    ["create", "-f", "qcow2", "x", "1Q"],
    ["create", "-f", "qcow2", "x", "-1"],
    ["create", "-f", "qcow2", "x", "1M", "2M"],
    ["create", "-f", "qcow2", "-o", "x", "1M"],
    ["create", "-f", "qcow2", "-o", "cluster_size=64k,cluster_size=0", "x", "1M"],
    ["create", "-f", "qcow2", "-b", "gone.qcow2", "-F", "qcow2", "x"],
    ["create", "-f", "qcow2", "-b", "t.raw", "x"],
    ["create", "-f", "raw", "-b", "t.raw", "-F", "raw", "x"],
    ["create", "-f", "raw", "-o", "preallocation=nonsense", "x", "1M"],
    ["check", "-r", "nonsense", "t.qcow2"],
    ["convert", "t.qcow2"],
    ["convert", "-O", "nonsense", "t.qcow2", "x"],
    ["convert", "-c", "-O", "raw", "t.qcow2", "x"],
    ["convert", "-S", "1000", "t.qcow2", "x"],
    ["convert", "-m", "99", "t.qcow2", "x"],
    ["convert", "-W", "-r", "nonsense", "t.qcow2", "x"],
    ["convert", "-n", "-O", "qcow2", "t.qcow2", "gone"],
    ["convert", "-n", "-o", "compat=0.10", "-O", "qcow2", "t.qcow2", "t.raw"],
    ["convert", "-l", "gone", "t.qcow2", "x"],
    ["convert", "--target-is-zero", "t.qcow2", "x"],
    ["convert", "-B", "gone", "-O", "raw", "t.qcow2", "x"],
    ["compare", "t.qcow2"],
    ["compare", "t.qcow2", "gone"],
    ["dd", "t.qcow2"],
    ["dd", "if=t.qcow2", "of=x", "bs=0"],
    ["dd", "if=t.qcow2", "of=x", "count=nonsense"],
    ["dd", "if=t.qcow2", "of=x", "nonsense=1"],
    ["map", "--start-offset=nonsense", "t.qcow2"],
    ["map", "--max-length=nonsense", "t.qcow2"],
    ["measure", "--size", "nonsense"],
    ["measure", "--size", "1M", "t.qcow2"],
    ["measure", "-O", "nonsense", "--size", "1M"],
    ["rebase", "t.qcow2"],
    ["rebase", "-b", "gone", "-F", "qcow2", "t.qcow2"],
    ["resize", "t.qcow2"],
    ["resize", "t.qcow2", "nonsense"],
    ["resize", "t.qcow2", "-2M"],
    ["resize", "--preallocation=nonsense", "t.qcow2", "2M"],
    ["resize", "--shrink", "--preallocation=full", "t.qcow2", "512k"],
    ["snapshot", "-c", "a", "-d", "b", "t.qcow2"],
    ["snapshot", "-l", "-l", "t.qcow2"],
    ["snapshot", "-c"],
    ["snapshot", "-c", "a", "t.raw"],
    ["snapshot", "-a", "gone", "t.qcow2"],
    ["snapshot", "-d", "gone", "t.qcow2"],
    ["amend", "-f", "qcow2", "t.qcow2"],
    ["amend", "-f", "qcow2", "-o", "nonsense=1", "t.qcow2"],
    ["amend", "-f", "qcow2", "-o", "cluster_size=32k", "t.qcow2"],
    ["amend", "-f", "raw", "-o", "size=2M", "t.raw"],
    ["bench", "-d", "nonsense", "t.qcow2"],
    ["bench", "--flush-interval=1", "t.qcow2"],
    ["bench", "-o", "9E", "-s", "nonsense", "t.qcow2"],
    ["info", "--image-opts", "driver=qcow2,file.filename=t.qcow2,noread-only,nonsense"],
    ["compare", "--image-opts", "driver=qcow2,file.filename=t.qcow2,read-only", "nonsense"],
    ["info", "--image-opts", "driver=qcow2,help"],
]

# QEMU prints its help and succeeds.
HELPS = ["measure --nonsense t.qcow2", "measure -9 t.qcow2", "measure -f"]

BAD_IO = ["read", "read 0", "read x 512", "read 0 x", "read -P", "read -P 999 0 512", "read -l 512 0 512",
          "read -s 0 0 512", "read -P 1 -s 512 -l 512 0 512", "read 2M 512", "read 0 2M", "write", "write 0",
          "write -c 0 512", "write -z -P 1 0 512", "write -u 0 512", "write -n 0 512", "write -zc 0 64k",
          "write -f 0 x", "writev 0", "writev 0 x", "readv 0 x", "discard", "discard 0", "discard 2M 512",
          "truncate", "truncate x", "alloc", "alloc 2M", "alloc 0 2M", "flush 1", "length 1", "open a b",
          "reopen -o nonsense=1", "reopen -r -w", "break", "break nonsense a", "resume nonsense",
          "wait_break", "remove_break nonsense", "sleep", "sleep x", "sigraise", "sigraise x", "aio_read",
          "aio_write", "aio_write -u 0 512", "nonsense", "help nonsense", "map 1"]


# -p where nothing comes of it: what was printed of the progress before, and the end of its line.
PROGRESS = [
    "amend -o nope=1 t.qcow2", "amend t.qcow2", "amend -o size=1M", "amend -o size=2M -t nope t.qcow2", "amend -f qcow2 -o help",
    "amend -f nope -o help", "amend -q -o nope=1 t.qcow2", "amend -o size=1M t.qcow2 x", "amend -Z t.qcow2",
    "amend -o size=2M t.qcow2", "convert none x", "convert -q none x", "convert -T nope t.qcow2 x", "convert -t nope t.qcow2 x",
    "convert -S 3 t.qcow2 x", "convert -n -o size=1M t.qcow2 x", "convert t.qcow2", "convert -c -C t.qcow2 x",
    "convert -n --target-is-zero -B x t.qcow2 x", "convert -n t.qcow2 none", "convert -l none t.qcow2 x", "convert t.qcow2 x",
    "commit t.qcow2", "commit -b none t.qcow2", "commit none", "commit -t nope t.qcow2", "compare t.qcow2 none",
    "compare none t.qcow2", "compare t.qcow2", "compare -T nope t.qcow2 t.raw", "compare -q t.qcow2 none",
    "compare t.qcow2 t.raw", "rebase -b none t.qcow2", "rebase -b none none", "rebase -F nope -b none t.qcow2",
    "rebase -t nope -b none t.qcow2", "rebase -u -b none t.qcow2", "rebase -u -b none -F qcow2 t.qcow2", "rebase t.qcow2",
]


@pytest.fixture
def made(lab):
    lab.img("create", "-q", "-f", "qcow2", "t.qcow2", "1M", look=False)
    lab.img("create", "-q", "-f", "raw", "t.raw", "1M", look=False)
    return lab


@pytest.mark.parametrize("args", BAD, ids=" ".join)
def test_qemu_img_refuses_as_qemu_does(made, args):
    """On all subjects: same status, same words."""
    done = made.img(*args, status=None, filters=["usage"])
    assert (done.status != 0) == (" ".join(args) not in HELPS)


@pytest.mark.parametrize("line", PROGRESS)
def test_progress_of_what_fails(made, line):
    command, *args = line.split()
    made.img(command, "-p", *args, status=None, filters=["usage"])


@pytest.mark.parametrize("command", BAD_IO)
def test_qemu_io_refuses_as_qemu_does(made, command):
    made.io("t.qcow2", command, fmt="qcow2", status=None)
