"""qemu-io: every command with its flags, on every kind of image; sizes, patterns and refusals."""
import os

import pytest

from iotests.blkimg import ALL, BASIC, QCOW2, QCOW2_SETS, RAW, Variant

EXT16K = Variant("qcow2-ext16k", "qcow2", ("extended_l2=on", "cluster_size=16384"))
variants = pytest.mark.parametrize("variant", ALL, ids=str)
basic = pytest.mark.parametrize("variant", BASIC, ids=str)


@variants
def test_writes_of_every_kind(lab, variant):
    """Writes that split clusters, cross them and overlap: bytes as written, in lockstep."""
    lab.create(variant, "t.img", "4M")
    def step(*commands, **more):
        lab.io("t.img", *commands, **more)

    step("write -P 1 0 512", "read -P 1 0 512", "read -P 0 512 64k")
    step("write -P 2 65000 2000", "read -P 2 65000 2000")
    step("write -P 3 4194303 1", "read -P 3 4194303 1")
    step("writev -P 4 1M 512 1k 4k", "readv -P 4 1M 512 1k 4k")
    step("aio_write -P 5 2M 64k", "aio_write -P 6 2200000 1000", "aio_flush", same=False)
    step("aio_read -P 5 2M 64k", "aio_flush")
    step("write -z 1M 64k", "read -P 0 1M 64k")
    step("write -z -u 2M 1M", "read -P 0 2M 1M")
    step("write -f -P 7 3M 4k", "write -z -n 3M 4k", status=None)
    step("write 300k 100", "read -P 0xcd 300k 100", "discard 256k 128k")
    step("flush", "length", "write -P 8 0 4M", "discard 0 4M", "discard 1000 100000")


@variants
def test_reads_show(lab, variant):
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 0x41 100 50", "write -P 0x42 200000 60")
    out = lab.io("t.img", "read -v 96 64", "readv -v 199990 16 32").out
    assert "AAAA" in out and "BBBB" in out
    lab.io("t.img", "read -q 0 1k", "read -C 0 1k", "read -P 0x41 0 1k", "read -P 0x41 -s 100 -l 50 0 1k",
           "read -P 0x41 -s 99 -l 50 0 1k", "read -P 0x41 -l 10 100 50", status=None)


@pytest.mark.parametrize("variant", QCOW2_SETS, ids=str)
def test_compressed(lab, variant):
    lab.create(variant, "t.img", "1M")
    done = lab.io("t.img", "write -c -P 9 0 %d" % variant.cluster, status=None)
    if done.status == 0:
        lab.io("t.img", "read -P 9 0 %d" % variant.cluster)
        lab.io("t.img", "write -P 8 100 100", "read -P 9 0 100", "read -P 8 100 100")
    lab.io("t.img", "write -c -P 9 512 512", status=None)
    lab.io("t.img", "write -c -P 9 1000k 24k", status=None)


@basic
def test_vmstate(lab, variant):
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -b -P 5 0 64k", "read -b -P 5 0 64k", "write -b -P 6 1000k 100k",
           "read -b -P 6 1000k 100k", status=None)


COMMANDS = [
    "read 0 1M", "read 1M 1", "read 1048575 2", "read -1 1", "read 0 0", "read 0 -1", "read 0 x",
    "read x 1", "read 0", "read", "read 0 1 2", "read -P 0 512", "read -P x 0 512", "read -P 256 0 512",
    "read -P -1 0 512", "read -s 1 0 512", "read -l 1 0 512", "read -P 0 -s 513 0 512",
    "read -P 0 -l 513 0 512", "read -P 0 -s 1 -l 512 0 512", "read -P 0 -s x 0 512", "read -Z 0 512",
    "read -b 0 512", "read 1 1", "read 0 9E", "read 0 3G", "read 8E 1", "read 0x200 0x200", "read 0200 512",
    "read -q -v 0 16", "read -p 0 512",
    "write 1M 1", "write 1048575 2", "write -P", "write -P x 0 512", "write -z -P 1 0 512", "write -n 0 512",
    "write -u 0 512", "write -z -c 0 64k", "write -b -c 0 64k", "write -b -z 0 64k", "write -z -s f 0 512",
    "write -s none 0 512", "write -s f -P 1 0 512", "write -s f 0 100", "write -c 0 512", "write -z -n 0 64k",
    "write 0 0", "write -z 0 0", "write -z 0 3G", "write -f -b 0 512", "write -zu 0 64k", "write -Z 0 1",
    "writev 0", "writev 0 512 x", "writev 0 1M 1", "writev -P 1 0 1 2 3", "writev 0 -1",
    "readv 0", "readv 0 512 x", "readv 0 1M 1", "readv -P 0 0 1 2 3", "readv -P 1 0 512", "readv 0 0",
    "aio_read 0", "aio_read 0 x", "aio_read -P 1 0 512", "aio_read -v 0 16", "aio_read -q 0 512",
    "aio_read -i 0 512", "aio_read 1M 512", "aio_read x 512", "aio_read -Z 0 512",
    "aio_write 0", "aio_write 0 x", "aio_write 1M 512", "aio_write -z 0 64k", "aio_write -z -P 1 0 64k",
    "aio_write -u 0 64k", "aio_write -z -u 0 64k", "aio_write -z 0 64k 64k", "aio_write -i 0 512",
    "aio_write -f -q 0 512", "aio_flush", "aio_flush x",
    "flush", "flush x", "truncate", "truncate x", "truncate 2M", "truncate -m off 2M",
    "truncate -m falloc 2M", "truncate -m nope 2M", "truncate -m 2M", "truncate 1000", "truncate -1",
    "length", "length x", "info", "info x",
    "discard", "discard 0", "discard 0 64k", "discard 0 x", "discard x 1", "discard 1M 1", "discard 0 0",
    "discard -q 0 64k", "discard -C 0 64k", "discard -Z 0 1", "discard 0 3G", "discard -1 1", "discard 0 -1",
    "alloc", "alloc 0", "alloc 0 1M", "alloc 0 x", "alloc x", "alloc 2M", "alloc 1M 1", "alloc 512k 1M",
    "alloc 1", "alloc 0 0", "alloc -1",
    "map", "map x", "map 1", "map x y",
    "break", "break x", "break read_aio A", "resume", "resume A", "remove_break", "remove_break A",
    "wait_break", "sleep", "sleep x", "sleep 0", "sleep 1 2",
    "sigraise", "sigraise x", "sigraise 0", "abort x", "quit", "quit x y", "close", "close x",
    "reopen", "reopen -r", "reopen -w", "reopen -r -w", "reopen -c none", "reopen -c nope", "reopen -o x=y",
    "reopen -o read-only=on", "reopen -Z", "reopen x", "open", "open none", "open -Z", "open -o x=y t.img",
    "help", "help nope", "help x y", "nope", "?", "r 0 512", "w 0 512", "rv 0 512", "wv 0 512", "d 0 64k",
    "f", "l", "i", "a 0", "q", "c", "  read   0   512  ", "#", "",
]


@basic
@pytest.mark.parametrize("part", range(3))
def test_single_commands(lab, variant, part):
    """The same words, status and effect of every command, whether it is right or wrong."""
    lab.write_file("f", b"abc")
    lab.create(variant, "t.img", "1M")
    different = []
    for command in COMMANDS[part::3]:
        try:
            lab.io("t.img", command, status=None, same=command not in ("help", "?", "info", "i"),
                   filters=["usage", "node"])
        except AssertionError as error:
            different.append("after %s: %s" % (command, error))
    assert not different, "\n".join(different)


@pytest.mark.parametrize("name", ["abort", "aio_flush", "aio_read", "alloc", "break", "close", "quit"])
def test_help_names_the_command(lab, name):
    """Synopses are interface; the longer texts are each program's own."""
    results = lab.each("io", "-c", "help " + name)
    first = [done.out.splitlines()[0] for _, done in results]
    assert all(line == first[0] and line.startswith(name) for line in first)


def test_stdin(lab):
    """Commands from a pipe: a prompt each, the end of input ends the program."""
    lab.create(QCOW2, "t.img", "1M")
    script = "write -P 1 0 64k\nread -P 1 0 64k\n\nnope\nlength\nquit\nread 0 1\n"
    done = lab.run("io", "t.img", stdin=script, status=None)
    assert "1 MiB" in done.out
    lab.run("io", stdin="open t.img\nread -P 1 0 64k\nclose\nread 0 1\nopen -r t.img\nwrite 0 1\n", status=None)
    lab.run("io", stdin="", status=None)
    lab.run("io", "-s", "t.img", stdin="write -P 9 0 1k\nread -P 9 0 1k\n", status=None)
    assert lab.runs("t.img")[0] == (0, 65536, 1)


@basic
@pytest.mark.parametrize("flags", [
    ["-r"], ["-n"], ["-s"], ["-U"], ["-r", "-U"], ["-C"], ["-k"], ["-m"], ["-d", "unmap"], ["-d", "ignore"],
    ["-d", "nope"], ["-t", "none"], ["-t", "writethrough"], ["-t", "unsafe"], ["-t", "directsync"],
    ["-t", "writeback"], ["-t", "nope"], ["-i", "threads"], ["-i", "native"], ["-i", "io_uring"],
    ["-i", "nope"], ["-t", "none", "-i", "native"], ["-c"], ["-f"],
    ["--discard=unmap"], ["--cache=none"], ["--aio=threads"], ["--read-only"], ["--native-aio"],
    ["--nocache"], ["--snapshot"], ["--force-share"], ["--copy-on-read"],
    ["--object", "nope,id=x"], ["--object", "x"],
])
def test_program_flags(lab, variant, flags):
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 4k", "read -P 1 0 4k", flags=flags, status=None,
           filters=["usage"])


@pytest.mark.parametrize("variant", [RAW, QCOW2], ids=str)
@pytest.mark.parametrize("flags", [(), ("-d", "unmap"), ("-d", "ignore"), ("-C",), ("-r", "-C")], ids=str)
def test_temporary_overlay(lab, variant, flags):
    """What the flags say of discards and of copying on read is said of the overlay."""
    lab.create(variant, "t.img", "1M", look=False)
    lab.io("t.img", "write -P 1 0 256k", look=False)
    lab.io("t.img", "discard 0 64k", "read -P 0 0 64k", "map", "write -P 2 64k 64k", "discard 64k 64k", "read -P 0 64k 64k",
           "read 128k 64k", "map", flags=("-s", *flags), status=None)


def test_wrong_programs_arguments(lab):
    lab.create(RAW, "t.img", "1M")
    lab.run("io", "none.img", "-c", "read 0 1", status=1)
    lab.run("io", "t.img", "t.img", "-c", "read 0 1", status=1, filters=["usage"])
    lab.run("io", "-f", "nope", "t.img", "-c", "read 0 1", status=1)
    lab.run("io", "-f", "qcow2", "t.img", "-c", "read 0 1", status=1)
    lab.run("io", "--image-opts", "driver=raw,file.filename=t.img", "-c", "read 0 512", status=0)
    lab.run("io", "--image-opts", "driver=nope,file.filename=t.img", "-c", "read 0 512", status=1)
    lab.run("io", "--image-opts", "-f", "raw", "driver=raw", "-c", "read 0 512", status=1)
    lab.run("io", "-r", "-f", "raw", "t.img", "-c", "write 0 512", status=1)
    lab.run("io", "-c", "read 0 1", status=1)


def test_open_where_options_name_files(lab):
    """With --image-opts `open` takes options in place of a name, and no -o."""
    lab.create(QCOW2, "t.img", "1M")
    for command in ("open driver=qcow2,file.filename=t.img", "open driver=qcow2,file.filename=t.img,x", "open t.img",
                    "open -o driver=qcow2,file.filename=t.img", "open -r -o x driver=qcow2,file.filename=t.img"):
        lab.run("io", "--image-opts", "-c", command, "-c", "length", status=None)


@pytest.mark.parametrize("options", [
    "driver=null-co,size=1M", "driver=file,filename=t.img", "driver=raw,file.driver=qcow2,file.file.filename=t.img",
    "driver=raw,size=512,file.driver=qcow2,file.file.filename=t.img", "driver=blkdebug,image.driver=null-co"])
def test_info(lab, options):
    """What a driver cannot tell is a failure, though nothing says so; raw tells nothing about what is below."""
    lab.create(QCOW2, "t.img", "1M", look=False)
    lab.run("io", "--image-opts", "-c", "info", options, status=None)


@pytest.mark.parametrize("command", ["length", "info", "map", "alloc 0", "flush", "truncate 2M", "read 2M 1", "write 2M 1",
                                     "write -z 0 512", "discard 0 64k", "read -b 0 512", "aio_write 0 1", "close"])
def test_after_corruption(lab, command):
    """An image that was found corrupt has no medium any more, neither length nor information."""
    lab.create(QCOW2, "t.img", "1M", look=False)
    lab.io("t.img", "write -q 0 64k", look=False)
    lab.share("t.img")
    lab.images.clear()
    with open(lab.path(lab.subjects[0], "t.img"), "rb") as image:
        image.seek(40)
        image.seek(int.from_bytes(image.read(8), "big"))
        table = int.from_bytes(image.read(8), "big") & 0xfffffffffffe00
    lab.patch("t.img", table, (1 << 63 | 65536).to_bytes(8, "big"))  # the guest's first cluster is the refcount table
    lab.io("t.img", "write 0 512", command, "aio_flush", fmt="qcow2", status=1, look=False)


@pytest.mark.only("blkref", "QEMU ends with assertions")
def test_copy_on_read_of_subclusters(lab):
    lab.create(EXT16K, "t.img", "1M", look=False)
    lab.io("t.img", "write -P 7 32k 512", "read -P 0 1 32767", "read -P 7 32k 512", "write -P 8 491008 3584",
           "read -P 0 417568 73440", "read 417568 100000", "read -P 8 491008 3584", "read -P 0 494592 70000",
           flags=("-C",))


def test_grains_of_streams(lab):
    """A grain is written once and whole; the cause of a refusal is the first of the two that holds."""
    stream = Variant("vmdk-stream", "vmdk", ("subformat=streamOptimized",))
    lab.create(stream, "t.img", "1M", look=False)
    lab.io("t.img", "write -P 1 64k 64k", "write 64k 64k", "write 65k 512", "write 127k 2k", "write 63k 2k", "write 0 512",
           "write -z 100k 1k", "write 960k 64k", "read -P 1 64k 64k", "read -P 0 0 64k", "map", fmt="vmdk", status=1,
           look=False)


def test_status_is_of_any_failed_command(lab):
    lab.create(RAW, "t.img", "1M")
    lab.io("t.img", "read -P 1 0 512", "read 0 512", status=1)
    lab.io("t.img", "read 0 512", "nope", status=1)
    lab.io("t.img", "aio_write 2M 512", "aio_flush", status=None)


def test_signals(lab):
    lab.create(QCOW2, "t.img", "1M", extra=["lazy_refcounts=on"])
    lab.images["t.img"].clean = False
    lab.io("t.img", "write -P 1 0 64k", "abort", status=-6, same=False)
    lab.io("t.img", "write -P 1 0 64k", "sigraise 9", status=-9, same=False)
    lab.img("info", "t.img", look=False)
    lab.img("check", "-r", "all", "t.img", status=0, filters=["offset"])
    lab.images["t.img"].clean = True
    lab.io("t.img", "read -P 1 0 64k")


@variants
def test_truncate(lab, variant):
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 1M")
    for size in ("2M", "1536k", "512k", "3M"):
        done = lab.io("t.img", "truncate " + size, "length", status=None)
        if done.status:
            break
    lab.io("t.img", "read -P 1 0 512k")


def test_truncate_to_any_size(lab):
    """A raw file gets exactly the size that was said, also when it was empty."""
    for first in ("0", "1000", "64k"):
        for size in ("100", "1000", "3001", "5001", "100001"):
            lab.create(RAW, "t.img", "1M", look=False)
            lab.io("t.img", "truncate " + first, "truncate " + size, "length")
            assert len({os.stat(os.path.join(d, "t.img")).st_size for d in lab.dirs()}) == 1, (first, size)


def test_alloc_and_map(lab):
    lab.create(RAW, "b.img", "1M")
    lab.io("b.img", "write -P 1 0 128k")
    lab.create(QCOW2, "t.img", "1M", backing="b.img")
    lab.io("t.img", "write -P 2 64k 64k", "write -z 512k 64k")
    lab.io("t.img", "alloc 0 1M", "alloc 64k 64k", "alloc 0", "alloc 512k 64k", "map")
    lab.io("b.img", "alloc 0 1M", "map")


def test_reopen(lab):
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "reopen -r", "write 0 64k", "reopen -w", "write -P 1 0 64k", "reopen -o lazy-refcounts=on",
           "write -P 2 64k 64k", "reopen -c writethrough", "reopen -c unsafe", "read -P 1 0 64k",
           "reopen -o cache-size=1", "reopen -o overlap-check=all", "reopen -o overlap-check=nope",
           "reopen -o driver=raw", "reopen -o discard=unmap", "discard 0 64k", status=None)


def test_breakpoints(lab):
    lab.create(QCOW2, "t.img", "1M")
    lab.run("io", "-c", "open -o driver=qcow2,file.driver=blkdebug,file.image.filename=t.img",
            "-c", "break write_aio A", "-c", "aio_write -P 1 0 64k", "-c", "wait_break A",
            "-c", "aio_write -P 2 256k 64k", "-c", "resume A", "-c", "aio_flush", "-c", "read -P 1 0 64k",
            "-c", "break l2_update B", "-c", "remove_break B", "-c", "break nope C", "-c", "resume nope",
            status=None, filters=["sorted"])
    assert lab.runs("t.img")[0] == (0, 65536, 1)


def test_shrinking_below_vm_state(lab):
    """VM state that no snapshot has is leaked when the size shrinks, by both programs."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -b 0 64k")
    lab.images["t.img"].clean = False
    lab.io("t.img", "truncate 512k")
    lab.img("check", "t.img", status=3, filters=["offset"])
    lab.img("check", "-q", "-r", "leaks", "t.img", status=0)
