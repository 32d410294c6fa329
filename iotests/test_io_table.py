"""qemu-io's commands used rightly, one by one, over a table: same lines, same status, same image.

Wrong usage has a table of its own (test_usage_table.py).  What is not compared, and why: help texts
(each program has its own), the order of requests that run beside each other on a raw file (the
host's), and `truncate -m off` without a size (QEMU 7.2 crashes).
"""
import pytest

from iotests.blkimg import QCOW2, RAW

SIZE = "1M"
#: one command each; the image has 64 KiB of 0x11 at 64 KiB, the files pat and empty stand beside it
READS = """
read 0 512|read 0 0|read -v 0 32|read -v 512 17|read -q 0 4k|read -C 0 4k|read -P 0 0 4k|read -P 1 0 4k
read -P 0x11 65536 64k|read -P 010 0 1|read -P 0 -s 0 -l 512 0 4k|read -P 0 -s 5k 0 4k|read -P 0 -s 4095 -l 1 0 4k
read -P 0 -s 4095 -l 2 0 4k|read -s 1 0 4k|read -p 0 4k|read -b 0 512|read -b 1 512|read -vq 0 16|read 1M 512
read 1048064 1k|read 0x200 0x200|read 0x200k 1|read 1.5k 0.5k|read -- 0 512|read 0 512 -q|r 0 512|readv 0 512 512 1k
readv -v 0 16 16|readv -C 0 1k 1k|readv -q 0 1k|readv -P 0 0 1k 1k|readv -P 5 0 1k 1k|readv 0 0 0|readv 1M 512
readv 1048064 512 512|alloc 0|alloc 0 1M|alloc 64k|alloc 64k 128k|alloc 0 2M|alloc 2M|a 0 0|map|length|l|info|i|flush|f
help nosuch|break write_aio A|remove_break A|resume A|sleep 0|sleep 1|sleep 0x1|sigraise 0|quit 1 2|close|c
aio_read 0 512|aio_read -v 0 16|aio_read -P 1 0 512|aio_read -C 0 512|aio_read -q 0 512|aio_read -i x y|aio_read 1M 1
"""
WRITES = """
write 0 512|write 0 0|write -P 0x55 512 1k|write -z 0 64k|write -zu 64k 64k|write -zn 0 64k|write -f 0 4k|write -fz 0 4k
write -c 0 64k|write -c 0 4k|write -c 1 1|write -b 0 512|write -s pat 0 4k|write -s pat 0 10|write -s empty 0 0
write -zn 0 4G|write 0 2147483137|write 1M 512|write 1048064 1k|write -q 0 4k|write -C 0 4k|write -p 0 4k|write 511 2
write 4095 4098|w 0 1k|writev 0 512 512|writev -P 3 0 512 1k|writev -f 0 1k|writev -C 0 1k|writev -q 0 1k|writev 1M 1
discard 0 64k|discard 64k 64k|discard 0 1|discard 1M 1|discard -C 64k 64k|discard -q 64k 64k|d 0 1k
truncate 512k|truncate 2M|truncate 0|truncate -m off 2M|truncate -m full 2M|truncate -m falloc 2M|truncate -m metadata 2M
truncate -m full 512k|truncate 1000|t 2M|reopen -r|reopen -w|reopen -c none|reopen -c writeback|reopen -o read-only=on
reopen -o discard=unmap|reopen -o x=y|aio_write 0 512|aio_write -P 5 0 512|aio_write -z 0 4k|aio_write -zu 0 4k
aio_write -f 0 4k|aio_write -C 0 4k|aio_write -q 0 4k|aio_write -ui 0 4k|aio_write -zi 0 4k 4k|aio_write 1M 1
aio_write 0 512 512 512|aio_write -z 0 4G
"""
OPEN_FLAGS = ["-r", "-s", "-n", "-C", "-k", "-U", "-t none", "-t writethrough", "-t directsync", "-t unsafe", "-t x",
              "-d on", "-d unmap", "-d ignore", "-d x", "-i threads", "-i native", "-i io_uring", "-i x", "-i native -n",
              "-k -n", "-r -s", "-r -C", "-r -U", "-s -n -C"]
STDIN = ["", "\n", "length", "length\r\n", "length\n\nlength\n", "  length  \n", "nosuch\nlength\n", "length\nquit 1\nlength\n",
         "close\nlength\nopen disk\nlength\n", "length; length\n", "read\t0\t512\n", "aio_write 0 64k\naio_flush\n",
         "aio_write 0 512\nlength\n", "aio_read 0 512\nquit\n", "aio_write 0 512\nsleep 10\nlength\n",
         "aio_write 0 512\nclose\nlength\n"]
FORMATS = pytest.mark.parametrize("variant", [RAW, QCOW2], ids=str)


def words(table):
    return [c for line in table.strip().split("\n") for c in line.split("|")]


def make(lab, variant):
    lab.create(variant, "disk", SIZE, look=False)
    lab.io("disk", "write -q -P 17 64k 64k", look=False)
    lab.write_file("pat", b"0123456789abcdef")
    lab.write_file("empty", b"")


def test_list_of_commands(lab):
    """The same, but for the one that we have besides."""
    said = [done.out.split("\n") for _, done in lab.each("io", "-c", "help")]
    ours = [line for line in said[0] if not line.startswith("wait label -- ")]
    assert all(ours == other for other in said[1:])
    for command in ("help wait_break", "help length", "?", "wait_break", "wait_break a b", "help a b"):
        lab.io("", command, status=None, same=not command.startswith(("help l", "help w", "?")))


@FORMATS
def test_reads(lab, variant):
    make(lab, variant)
    for command in words(READS):
        lab.io("disk", command, "length", "read -q 0 512", "aio_flush", status=None, look=False)
    lab.look()


@FORMATS
@pytest.mark.parametrize("part", range(4))
def test_writes(lab, variant, part):
    make(lab, variant)
    for command in words(WRITES)[part::4]:
        lab.copy("disk", "fresh")
        lab.watch("fresh", variant.fmt)
        lab.io("fresh", command, "aio_flush", "length", "read -v 0 16", "map", status=None, look=False,
               filters=("node",))
        if not command.startswith("truncate -m"):  # where QEMU lays preallocated tables is its own matter
            lab.look(everything=True)
        lab.unwatch("fresh")


@FORMATS
@pytest.mark.parametrize("flags", OPEN_FLAGS)
def test_open_flags(lab, variant, flags):
    make(lab, variant)
    commands = ("read -P 17 64k 512", "write -P 3 100 512", "read -P 3 100 512", "length")
    lab.io("disk", *commands, flags=tuple(flags.split()), status=None)
    args = [w for c in ("open %s -o driver=%s disk" % (flags, variant.fmt), *commands) for w in ("-c", c)]
    lab.run("io", *args, status=None)


@FORMATS
@pytest.mark.parametrize("text", STDIN, ids=range(len(STDIN)))
def test_standard_input(lab, variant, text):
    """Text on standard input; when a request in the background ends is a matter of time."""
    make(lab, variant)
    lab.io("disk", stdin=text, status=None, filters=("prompt", "sorted") if "aio" in text else ())


@pytest.mark.only("blkref", "an extension of ours")
def test_wait_for_a_label(lab):
    """`wait` reports what is labelled so, although another request is still held."""
    lab.create(QCOW2, "disk", SIZE, look=False)
    done = lab.io("blkdebug::disk", "break write_aio HELD label=slow", "aio_write -q -L fast 0 64k", "aio_write -L slow 64k 64k",
                  "aio_write -L fast 128k 64k", "wait_break HELD", "wait f*", "length", "resume HELD", "wait slow", "quit",
                  fmt="qcow2", look=False)
    wrote = [l for l in done.out.split("\n") if "X ops" not in l and l]
    assert wrote == ["blkdebug: Suspended request 'HELD'", "wrote 65536/65536 bytes at offset 131072", "1 MiB",
                     "blkdebug: Resuming request 'HELD'", "wrote 65536/65536 bytes at offset 65536"]
    lab.look(everything=True)


@pytest.mark.only("blkref", "an extension of ours")
def test_break_filters(lab):
    lab.create(RAW, "disk", SIZE, look=False)
    held = lab.io("blkdebug::disk", "break pwritev B nth=2", "aio_write -q 0 512", "aio_write -q 512 512", "wait_break B", "resume B",
                  "break - C label=x*", "aio_write -q -L xy 0 512", "wait_break C", "resume C", "wait xy",
                  "break pwritev D sector=8", "aio_write -q 0 512", "aio_write -q 4096 512", "wait_break D", "resume D",
                  fmt="raw", look=False)
    assert [l.split("'")[1] for l in held.out.split("\n") if "Suspended" in l] == ["B", "C", "D"]
    for wrong in ("break nosuch A label=x", "break - A nth=1", "break write_aio A foo=1", "break write_aio A nth=x"):
        assert "Could not set breakpoint" in lab.io("blkdebug::disk", wrong, fmt="raw", status=1, look=False).out
    assert "No request is labelled 'q'" in lab.io("disk", "wait q", fmt="raw", status=1, look=False).out
