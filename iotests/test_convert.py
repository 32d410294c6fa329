"""convert: every option, between all formats; what comes out is the same disk, and as sparse."""
import os
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from iotests.blkimg import (ALL, BASIC, EVERY, EXT, QCOW2, QCOW2_SETS, RAW, SMALL, V2, ZSTD, able)

variants = pytest.mark.parametrize("variant", ALL, ids=str)
every = pytest.mark.parametrize("variant", EVERY, ids=str)
CONTENT = ["write -P 1 0 64k", "write -P 2 1M 300k", "write -P 3 2096128 1024", "write -P 0 512k 64k",
           "write -P 4 600k 512"]


def disk(lab, variant=QCOW2, name="s.img", size="2M", commands=CONTENT):
    lab.create(variant, name, size)
    lab.io(name, *commands)


def same_disk(lab, variant, name="t.img", source="s.img"):
    lab.watch(name, variant.fmt, local="data" in variant.name)
    lab.look()
    assert lab.bytes(name) == lab.bytes(source)


def options(variant, name="t.img"):
    return ["-o", variant.options(name)] if variant.opts else []


# ---- formats ----

@pytest.mark.parametrize("variant, target", [(a, b) for a in EVERY for b in EVERY
                                             if a in BASIC or b in BASIC or a is b], ids=str)
def test_between_formats(lab, variant, target):
    disk(lab, variant)
    lab.img("convert", "-f", variant.fmt, "-O", target.fmt, *options(target), "s.img", "t.img")
    same_disk(lab, target)


@variants
def test_to_option_sets(lab, variant):
    disk(lab)
    lab.img("convert", "-O", variant.fmt, *options(variant), "s.img", "t.img")
    same_disk(lab, variant)


@variants
def test_from_option_sets(lab, variant):
    disk(lab, variant)
    lab.img("convert", "-O", "raw", "s.img", "t.img")
    same_disk(lab, RAW)
    lab.img("convert", "-O", "qcow2", "s.img", "u.img")
    same_disk(lab, QCOW2, "u.img")


def test_probing_and_default_format(lab):
    """No -f probes, no -O writes raw."""
    disk(lab)
    lab.img("convert", "s.img", "t.img")
    same_disk(lab, RAW)
    lab.img("convert", "-f", "raw", "-O", "qcow2", "s.img", "u.img")
    lab.watch("u.img", "qcow2")
    assert lab.bytes("u.img")[:4] == b"QFI\xfb"


# ---- -c ----

# Not out of order into qcow: QEMU loses data (docs/findings.md).
COMPRESSED = [(v, "-c") for v in able("compress", among=QCOW2_SETS + EVERY[2:])] + \
    [(v, flags) for v in (QCOW2, V2, SMALL, EXT, ZSTD) for flags in ("-c -W -m 4", "-c -S 0")] + \
    [(v, "-c -S 0") for v in EVERY if v.fmt == "qcow"]


@pytest.mark.parametrize("variant, flags", COMPRESSED, ids=str)
def test_compressed(lab, variant, flags):
    flags = flags.split()
    disk(lab)
    fails = "QEMU ends with status 1 and no word after a good conversion" if variant.fmt == "qcow" else None
    done = lab.img("convert", *flags, "-O", variant.fmt, *options(variant), "s.img", "t.img", status=None,
                   same="-W" not in flags, differs=fails)
    if "data" in variant.name:
        assert done.status == 1
        return
    same_disk(lab, variant)
    if variant.fmt == "qcow2":
        checked = lab.img("check", "--output=json", "t.img", look=False, filters=["offset"], same=False).json()
        assert checked["compressed-clusters"] > 0


def test_compressed_wholly_zero_and_incompressible(lab):
    """Zero clusters stay holes; what does not shrink is stored as it is."""
    import random
    noise = random.Random(5).randbytes(256 * 1024)
    lab.write_file("s.img", noise + b"\0" * (256 * 1024) + b"a" * 100000)
    lab.watch("s.img", "raw")
    lab.img("convert", "-c", "-f", "raw", "-O", "qcow2", "s.img", "t.img")
    lab.watch("t.img", "qcow2")
    lab.look()
    assert lab.bytes("t.img")[:len(noise)] == noise
    lab.img("map", "t.img", look=False, status=1)


@pytest.mark.parametrize("target", [v for v in EVERY if v not in able("compress")], ids=str)
def test_compression_is_refused(lab, target):
    disk(lab)
    lab.img("convert", "-c", "-O", target.fmt, *options(target), "s.img", "t.img", status=1)


@pytest.mark.parametrize("kind", ["zlib", "zstd"])
def test_compression_types(lab, kind):
    disk(lab)
    lab.img("convert", "-c", "-O", "qcow2", "-o", "compression_type=" + kind, "s.img", "t.img")
    same_disk(lab, QCOW2)
    assert lab.info("t.img")["format-specific"]["data"]["compression-type"] == kind
    lab.img("convert", "-O", "qcow2", "t.img", "u.img")
    same_disk(lab, QCOW2, "u.img")


# ---- -B, -F ----

@pytest.mark.parametrize("variant", able("backing", among=QCOW2_SETS + EVERY[2:]), ids=str)
def test_onto_a_backing_file(lab, variant):
    """With -B only what differs from the backing file is copied."""
    disk(lab, RAW, "b.img")
    lab.create(QCOW2, "s.img", None, backing="b.img")
    lab.io("s.img", "write -P 9 64k 64k", "write -z 1M 64k")
    done = lab.img("convert", "-O", variant.fmt, "-B", "b.img", "-F", "raw", *options(variant), "s.img", "t.img",
                   status=None)
    if done.status == 0:
        same_disk(lab, variant)


def test_backing_of_other_sizes(lab):
    """A shorter backing file reads as zeroes behind its end, a longer one is cut."""
    disk(lab, RAW, "b.img", "1M", ["write -P 1 0 1M"])
    disk(lab, RAW, "l.img", "4M", ["write -P 1 0 4M"])
    disk(lab, QCOW2, "s.img", "2M", ["write -P 1 0 512k", "write -P 2 1536k 64k"])
    lab.img("convert", "-O", "qcow2", "-B", "b.img", "-F", "raw", "s.img", "t.img")
    same_disk(lab, QCOW2)
    lab.img("convert", "-O", "qcow2", "-B", "l.img", "-F", "raw", "s.img", "u.img")
    same_disk(lab, QCOW2, "u.img")


def test_backing_options_that_do_not_fit(lab):
    disk(lab)
    disk(lab, RAW, "b.img")
    for args in (["-B", "none.img", "-F", "raw", "-O", "qcow2"], ["-B", "b.img", "-O", "qcow2"],
                 ["-B", "b.img", "-F", "nope", "-O", "qcow2"], ["-F", "raw", "-O", "qcow2"],
                 ["-B", "b.img", "-F", "raw", "-O", "raw"], ["-B", "b.img", "-F", "qcow2", "-O", "qcow2"],
                 ["-B", "b.img", "-F", "raw", "-O", "qcow2", "-o", "backing_file=b.img"],
                 ["-B", "b.img", "-F", "raw", "-O", "qcow2", "-o", "backing_fmt=raw"],
                 ["-O", "qcow2", "-o", "backing_file=b.img"],
                 ["-O", "qcow2", "-o", "backing_file=b.img,backing_fmt=raw"],
                 ["-c", "-B", "b.img", "-F", "raw", "-O", "qcow2"],
                 ["-B", "b.img", "-F", "raw", "-C", "-O", "qcow2"]):
        lab.img("convert", *args, "s.img", "t.img", status=None)


# ---- -S ----

@pytest.mark.parametrize("target", [RAW, QCOW2, SMALL], ids=str)
@pytest.mark.parametrize("sparse", ["0", "512", "64k", "1M"])
def test_sparse_size(lab, target, sparse):
    """Runs of zeroes shorter than -S are written, longer ones left out."""
    lab.create(RAW, "s.img", "1M")
    lab.io("s.img", "write -P 1 0 512", "write -P 1 4k 512", "write -P 1 64k 512", "write -P 0 128k 64k",
           "write -P 2 192k 512", "write -P 2 300k 2k", "write -P 0 512k 512k")
    lab.img("convert", "-S", sparse, "-f", "raw", "-O", target.fmt, *options(target), "s.img", "t.img")
    same_disk(lab, target)


@pytest.mark.parametrize("sparse", ["x", "-1", "", "1", "100", "513", "3G", "4097"])
def test_wrong_sparse_size(lab, sparse):
    disk(lab)
    lab.img("convert", "-S", sparse, "-O", "raw", "s.img", "t.img", status=None)


# ---- -n, --target-is-zero ----

@every
def test_into_an_existing_target(lab, variant):
    disk(lab)
    lab.create(variant, "t.img", "2M")
    lab.io("t.img", "write -P 9 0 2M")
    lab.img("convert", "-n", "-O", variant.fmt, "s.img", "t.img")
    same_disk(lab, variant)


@pytest.mark.parametrize("variant", able("backing"), ids=str)
def test_into_a_target_with_backing(lab, variant):
    """Zeroes of the source must hide the backing file's data."""
    disk(lab, commands=["write -P 1 0 64k", "write -z 64k 64k"])
    disk(lab, RAW, "b.img", commands=["write -P 7 0 2M"])
    lab.create(variant, "t.img", None, backing="b.img")
    lab.img("convert", "-n", "-O", variant.fmt, "s.img", "t.img")
    same_disk(lab, variant)


def test_existing_target_of_other_sizes(lab):
    disk(lab)
    lab.create(RAW, "t.img", "4M")
    lab.io("t.img", "write -P 9 0 4M")
    lab.img("convert", "-n", "-O", "raw", "s.img", "t.img")
    assert lab.runs("t.img")[-1] == (2097152, 2097152, 9)
    lab.create(RAW, "u.img", "1M")
    lab.img("convert", "-n", "-O", "raw", "s.img", "u.img", status=1)
    lab.img("convert", "-n", "-O", "qcow2", "s.img", "none.img", status=1)
    lab.img("convert", "-n", "-O", "qcow2", "s.img", "u.img", status=1)
    lab.img("convert", "-n", "-O", "raw", "-o", "preallocation=off", "s.img", "t.img", status=None)
    lab.img("convert", "-n", "-B", "s.img", "-F", "qcow2", "-O", "qcow2", "s.img", "t.img", status=None)


@pytest.mark.parametrize("target", [RAW, QCOW2, V2, EXT], ids=str)
def test_target_is_zero(lab, target):
    """The promise is believed: nothing is written where the source is zero."""
    disk(lab)
    lab.create(target, "t.img", "2M")
    lab.io("t.img", "write -P 9 512k 64k")
    lab.img("convert", "-n", "--target-is-zero", "-O", target.fmt, "s.img", "t.img")
    assert lab.bytes("t.img")[524288:524290] in (b"\t\t", b"\0\0")
    lab.img("convert", "--target-is-zero", "-O", target.fmt, "s.img", "u.img", status=1)


# ---- --salvage ----

def broken(lab, sector, extra=""):
    disk(lab, RAW, commands=["write -P 1 0 2M"])
    text = '[inject-error]\nevent = "none"\nerrno = "5"\nsector = "%d"\n%s' % (sector, extra)
    lab.write_file("rules", text.encode())
    return "blkdebug:rules:s.img"


@pytest.mark.parametrize("sector", [0, 100, 4095])
def test_salvage(lab, sector):
    """What cannot be read becomes zeroes, with a warning each; without --salvage it is the end."""
    source = broken(lab, sector)
    lab.img("convert", "-f", "raw", "-O", "raw", source, "t.img", status=1)
    lab.img("convert", "--salvage", "-f", "raw", "-O", "raw", source, "t.img")
    lab.watch("t.img", "raw")
    runs = lab.runs("t.img")
    assert (sector * 512, 512, 0) in runs, runs
    assert lab.img("convert", "-q", "--salvage", "-f", "raw", "-O", "raw", source, "t.img").err == ""
    lab.img("convert", "--salvage", "-f", "raw", "-O", "qcow2", source, "u.img")
    lab.watch("u.img", "qcow2")
    lab.look()


def test_salvage_of_lost_status(lab):
    """A block status that fails counts as data."""
    source = broken(lab, 64, 'iotype = "block-status"\n')
    lab.img("convert", "-O", "raw", source, "t.img", status=1)
    lab.img("convert", "--salvage", "-O", "raw", source, "t.img", status=None)


@pytest.mark.only("blkref", "QEMU ends with status 0 when what it kept back could not be written")
def test_entries_that_cannot_be_written(lab):
    """The table goes to the file at the end: a failure there is one of the whole command."""
    disk(lab, RAW, commands=["write -P 1 0 2M"])
    lab.img("create", "-f", "parallels", "t.img", "4M")
    lab.write_file("rules", b'[inject-error]\nevent = "table_update"\nerrno = "5"\nonce = "off"\n')
    done = lab.img("convert", "-n", "-f", "raw", "-O", "parallels", "s.img", "blkdebug:rules:t.img", status=1)
    assert "error while flushing the target: Input/output error" in done.err


def test_salvage_does_not_go_with(lab):
    disk(lab)
    for flags in (["-C"], ["-c"], ["-W"], ["-m", "4"]):
        lab.img("convert", "--salvage", *flags, "-O", "qcow2", "s.img", "t.img", status=None)


# ---- how it copies ----

@pytest.mark.parametrize("flags", [
    ["-m", "1"], ["-m", "16"], ["-m", "0x4"], ["-m", "010"], ["-W"], ["-W", "-m", "8"], ["-C"], ["-r", "100M"], ["-r", "100M", "-m", "4", "-W"],
    ["-t", "none"], ["-t", "writethrough"], ["-T", "none"], ["-T", "unsafe", "-t", "unsafe"], ["-t", "directsync"],
    ["-p"], ["-q", "-p"], ["-q"], ["-U"],
], ids=" ".join)
@pytest.mark.parametrize("target", [RAW, QCOW2], ids=str)
def test_ways_of_copying(lab, target, flags):
    disk(lab, target, commands=[c for c in CONTENT if "-P 0" not in c])
    lab.img("convert", *flags, "-O", target.fmt, "s.img", "t.img", filters=["progress"])
    same_disk(lab, target)


@pytest.mark.parametrize("flags", [
    ["-m", "0"], ["-m", "17"], ["-m", "x"], ["-m", "-1"], ["-r", "x"], ["-r", "-1"], ["-t", "x"], ["-T", "x"],
    ["-C", "-S", "4k"], ["-C", "-c"], ["-O", "x"], ["-f", "x"], ["-o", "x=1"], ["-o", "help"],
    ["-l", "x"], ["--object", "x"], ["--object", "nope,id=a"], ["--image-opts", "-f", "raw"],
    ["--target-image-opts"], ["--target-image-opts", "-O", "raw"],
    ["-o", ""], ["-o", ","], ["-f", "qcow2", "--image-opts"],
], ids=" ".join)
def test_wrong_flags(lab, flags):
    disk(lab, RAW)
    lab.img("convert", *flags, "s.img", "t.img", status=None, filters=["usage"])


@pytest.mark.parametrize("names", [[], ["t.img"], ["s.img", "t.img"], ["nodir:x", "nodir:y"]], ids=" ".join)
def test_help_of_options(lab, names):
    """Only behind a source does a target say which protocol it would be."""
    for word in ("help", "?"):
        lab.img("convert", "-O", "vdi", "-o", word, *names, status=None, look=False)


def test_options_of_the_target(lab):
    """-o may come several times; a size in it is refused or taken alike."""
    disk(lab)
    lab.img("convert", "-O", "qcow2", "-o", "cluster_size=4k", "-o", "compat=0.10", "s.img", "t.img")
    same_disk(lab, QCOW2)
    info = lab.info("t.img")
    assert info["cluster-size"] == 4096 and info["format-specific"]["data"]["compat"] == "0.10"
    for opts in ("size=4M", "size=1M", "preallocation=metadata", "preallocation=full", "data_file=d.data"):
        lab.img("convert", "-O", "qcow2", "-o", opts, "s.img", "u.img", status=None)
        lab.unwatch("u.img")


# ---- several sources, snapshots, image options ----

def test_several_sources(lab):
    """Sources stand one behind the other in the target, at sector boundaries."""
    disk(lab, QCOW2, "a.img", "1M", ["write -P 1 0 1M"])
    disk(lab, RAW, "b.img", "64k", ["write -P 2 0 64k"])
    disk(lab, QCOW2, "c.img", "512k", ["write -P 3 100k 100k"])
    lab.img("convert", "-O", "qcow2", "a.img", "b.img", "c.img", "t.img")
    lab.watch("t.img", "qcow2")
    assert lab.runs("t.img") == [(0, 1048576, 1), (1048576, 65536, 2), (1114112, 102400, 0),
                                 (1216512, 102400, 3), (1318912, 319488, 0)]
    lab.img("convert", "-f", "qcow2", "-O", "raw", "a.img", "b.img", "t2.img", status=1)
    lab.img("convert", "-O", "raw", "a.img", "none.img", "t2.img", status=1)
    lab.img("convert", "-O", "qcow2", "-B", "a.img", "-F", "qcow2", "a.img", "c.img", "t2.img", status=1)
    lab.img("convert", "-C", "-O", "raw", "a.img", "c.img", "t2.img")
    lab.img("convert", "-W", "-m", "8", "-O", "raw", "a.img", "c.img", "b.img", "t3.img")
    lab.watch("t3.img", "raw")
    lab.look()


@pytest.mark.parametrize("size", [1, 511, 513, 1000, 65537])
def test_sizes_that_are_no_sectors(lab, size):
    lab.write_file("s.img", bytes([7]) * size)
    lab.watch("s.img", "raw")
    lab.img("convert", "-f", "raw", "-O", "raw", "s.img", "t.img")
    lab.img("convert", "-f", "raw", "-O", "qcow2", "s.img", "u.img")
    lab.watch("t.img", "raw")
    lab.watch("u.img", "qcow2")
    lab.look()
    lab.img("convert", "-f", "raw", "-O", "raw", "s.img", "s.img", "v.img")
    lab.watch("v.img", "raw")
    lab.look()


@pytest.mark.parametrize("flag", ["-l"])
def test_snapshots(lab, flag):
    """-l takes a name, an id, or options; the disk is the snapshot's."""
    disk(lab, commands=["write -P 1 0 1M"])
    lab.img("snapshot", "-c", "one", "s.img")
    lab.io("s.img", "write -P 2 0 64k", "discard 512k 64k")
    lab.img("snapshot", "-c", "two", "s.img")
    lab.io("s.img", "write -P 3 0 2M")
    for name, byte in (("one", 1), ("two", 2), ("1", 1), ("snapshot.name=two", 2), ("snapshot.id=1", 1),
                       ("snapshot.id=2,snapshot.name=two", 2)):
        lab.img("convert", flag, name, "-O", "qcow2", "s.img", "t.img")
        lab.watch("t.img", "qcow2")
        assert lab.bytes("t.img")[0] == byte
    for name in ("none", "3", "snapshot.id=3", "snapshot.name=1", "snapshot.nope=1", "", "snapshot.id", "snapshot."):
        lab.img("convert", flag, name, "-O", "raw", "s.img", "u.img", status=1)
    disk(lab, RAW, "r.img")
    lab.img("convert", flag, "one", "-O", "raw", "r.img", "u.img", status=1)
    lab.img("convert", flag, "one", "-O", "raw", "s.img", "s.img", "u.img", status=1)


def test_image_options(lab):
    disk(lab)
    lab.img("convert", "--image-opts", "-O", "raw", "driver=qcow2,file.driver=file,file.filename=s.img", "t.img")
    same_disk(lab, RAW)
    lab.create(QCOW2, "u.img", "2M")
    lab.img("convert", "-n", "--image-opts", "--target-image-opts",
            "driver=qcow2,file.filename=s.img", "driver=qcow2,file.filename=u.img,lazy-refcounts=on")
    lab.look()
    lab.img("convert", "--image-opts", "-O", "raw", "driver=raw,offset=64k,size=64k,file.filename=t.img", "v.img")
    lab.watch("v.img", "raw")
    assert len(lab.bytes("v.img")) == 65536
    lab.img("convert", "--target-image-opts", "-n", "s.img", "driver=raw,size=1M,file.filename=t.img", status=1)


def test_from_a_chain(lab):
    """Everything below is read too; -B down the chain keeps only the top's differences."""
    disk(lab, RAW, "a.img", "1M", ["write -P 1 0 1M"])
    lab.create(QCOW2, "b.img", "2M", backing="a.img")
    lab.io("b.img", "write -P 2 64k 64k", "write -z 128k 64k")
    lab.create(QCOW2, "s.img", "3M", backing="b.img")
    lab.io("s.img", "write -P 3 192k 64k", "write -P 4 2560k 64k")
    lab.img("convert", "-O", "qcow2", "s.img", "t.img")
    same_disk(lab, QCOW2)
    lab.img("convert", "-O", "qcow2", "-B", "b.img", "-F", "qcow2", "s.img", "u.img")
    same_disk(lab, QCOW2, "u.img")
    lab.img("convert", "-O", "qcow2", "-B", "a.img", "-F", "raw", "s.img", "v.img")  # b.img's is not copied
    lab.watch("v.img", "qcow2")
    lab.look()


def test_errors_of_files(lab):
    disk(lab)
    for folder in lab.dirs():
        os.mkdir(os.path.join(folder, "dir"))
    lab.img("convert", "-T", "none", "dir", "t.img", status=1)
    lab.img("convert", "none.img", "t.img", status=1)
    lab.img("convert", "s.img", "nodir/t.img", status=1)
    lab.img("convert", "-O", "qcow2", "s.img", "s.img", status=None, same=True, look=False)
    lab.images.clear()


def test_bitmaps_flags(lab):
    disk(lab, RAW)
    lab.img("convert", "--bitmaps", "-O", "raw", "s.img", "t.img", status=1)
    lab.img("convert", "--bitmaps", "-O", "qcow2", "s.img", "t.img", status=1)
    lab.img("convert", "--skip-broken-bitmaps", "-O", "qcow2", "s.img", "t.img", status=1)


def test_bitmaps_that_are_not_there(lab):
    disk(lab)
    lab.img("convert", "--bitmaps", "-f", "qcow2", "-O", "qcow2", "s.img", "t.img")
    lab.watch("t.img", "qcow2")
    lab.img("convert", "--bitmaps", "--skip-broken-bitmaps", "-n", "-O", "qcow2", "s.img", "t.img")
    lab.img("convert", "--bitmaps", "-n", "-O", "qcow2", "s.img", "none.img", status=1)
    for action in ("--remove", "--clear", "--enable", "--disable", "--merge=x"):
        lab.img("bitmap", action, "s.img", "b0", status=1)


def test_bitmaps_that_are(lab, both):
    """Refused before anything is made or changed: QEMU still finds its bitmap afterwards."""
    theirs = lab.subjects[1]
    lab.one(theirs, "img", "create", "-q", "-f", "qcow2", "a.img", "1M")
    lab.one(theirs, "img", "bitmap", "--add", "a.img", "b0")
    lab.share("a.img", giver=1)
    for args in (["convert", "--bitmaps", "-O", "qcow2", "a.img", "t.img"], ["bitmap", "--remove", "a.img", "b0"],
                 ["bitmap", "--add", "a.img", "b1"]):
        done = lab.one(lab.subjects[0], "img", *args)
        assert done.status == 1 and "not supported" in done.err, done
    assert not os.path.exists(lab.path(lab.subjects[0], "t.img"))
    lab.share("a.img")
    assert "flags:\n                [0]: auto\n            name: b0" in lab.one(theirs, "img", "info", "a.img").out
    done = lab.one(lab.subjects[0], "img", "resize", "a.img", "2M")
    assert "bitmaps in 'a.img' are not kept up to date" in done.err


def test_progress_by_signal(lab):
    """Without -p SIGUSR1 prints one line; a rate limit keeps the work from being over before."""
    lab.write_file("s.img", b"\1" * (64 << 20))
    for subject in lab.subjects:
        target = lab.path(subject, "t.img")
        program = subprocess.Popen(subject.command("img", ["convert", "-f", "raw", "-O", "raw", "-r", "8M", "s.img", "t.img"]),
                                   cwd=lab.dir(subject), env=subject.environment(), stderr=subprocess.PIPE)
        while not os.path.exists(target):  # it listens before it makes the target
            os.sched_yield()
        program.send_signal(signal.SIGUSR1)
        line = program.stderr.readline().decode()
        program.kill()
        program.communicate()
        assert re.fullmatch(r"    \(\d+\.\d\d/100%\)\n", line), (subject.name, line)
        os.unlink(target)


def in_cache(path):
    """Bytes of the file in the host's page cache."""
    return int(subprocess.run(["fincore", "-bnr", "-o", "RES", path], check=True, stdout=subprocess.PIPE).stdout)


@pytest.mark.only("blkref", "QEMU leaves what it read in the page cache")
@pytest.mark.skipif(not shutil.which("fincore"), reason="needs fincore")
def test_page_cache(lab, monkeypatch):
    """What convert read once leaves the cache again, but for the last segment; BLKREF_PAGE_CACHE=keep leaves it."""
    with tempfile.NamedTemporaryFile(prefix="blkref-cache-", dir="/var/tmp") as source:
        source.write(b"\1" * (24 << 20))
        source.flush()
        os.fsync(source.fileno())
        os.posix_fadvise(source.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if in_cache(source.name):
            pytest.skip("/var/tmp stands in memory")
        lab.img("convert", "-f", "raw", "-O", "qcow2", source.name, "t.img", look=False)
        assert in_cache(source.name) <= 4 << 20
        monkeypatch.setenv("BLKREF_PAGE_CACHE", "keep")
        lab.img("convert", "-f", "raw", "-O", "qcow2", source.name, "t.img", look=False)
        assert in_cache(source.name) == 24 << 20


def test_zstd_source(lab):
    disk(lab)
    lab.img("convert", "-c", "-O", "qcow2", "-o", ZSTD.options(""), "s.img", "z.img")
    lab.watch("z.img", "qcow2")
    lab.img("convert", "-O", "raw", "-m", "8", "-W", "z.img", "t.img")
    same_disk(lab, RAW)
