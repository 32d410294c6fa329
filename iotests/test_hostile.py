"""Hostile images: fields of headers at their extremes, damaged tables; errors are clear and cost little.

The fields come from the format's specification (specs/*.yaml).  Every program runs with a limit on its
memory and its CPU time; it must end by itself, and an error names the file.
"""
import os
import random
import shutil
import struct

import pytest
import yaml

from iotests import blkimg
from iotests.blkimg import EVERY, NO_CHECK, QCOW2, RAW, Variant
from iotests.test_check import DAMAGES, be64, planted

MEMORY, SECONDS = 1 << 30, 5
SPECS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "specs")
V2 = Variant("qcow2-v2", "qcow2", ("compat=0.10",))


def limited(subject):
    limits = ["prlimit", "--cpu=%d" % SECONDS]
    return limits if subject.sanitized else [*limits, "--as=%d" % MEMORY]


def fields(fmt):
    """(name, offset, width) of the format's first structure, and the byte order."""
    with open(os.path.join(SPECS, fmt + ".yaml"), encoding="utf-8") as text:
        spec = yaml.safe_load(text)
    first = spec["structures"][0]
    return [(f["name"], f["offset"], f["width"]) for f in first["fields"]
            if f["width"] in (1, 2, 4, 8) and f.get("type") != "bytes" and isinstance(f["offset"], int)], \
        first.get("byte_order", spec["byte_order"])


def extremes(old, width):
    top = 1 << (8 * width)
    return sorted({0, 1, top // 2 - 1, top // 2, top - 1, (old + 1) % top, (old + 512) % top, old * 2 % top,
                   old ^ (top // 4)} - {old})


COMMANDS = [("img", "info", "-f", "@F", "t.img"), ("img", "map", "-f", "@F", "t.img"),
            ("img", "check", "-f", "@F", "t.img"), ("io", "-f", "@F", "-c", "read 0 64k", "-c", "write 64k 4k", "t.img")]


def run_all(subject, fmt, folder, image, commands=tuple(COMMANDS)):
    """[(status, message)] of the commands on a copy of the image; each ended in time, by itself."""
    answers = []
    for tool, *args in commands:
        with open(os.path.join(folder, "t.img"), "wb") as out:
            out.write(image)
        args = [a.replace("@F", fmt) for a in args]
        done = subject.run(tool, *args, cwd=folder, before=limited(subject))
        answers.append((args, done.status, done.out + done.err))
    return answers


def judge(answers):
    for args, status, text in answers:
        assert status in (0, 1, 2, 3, NO_CHECK) or (status == 4 and args[0] == "compare"), "%s: status %d\n%s" % (args, status, text)
        if status == 1 and args[0] in ("info", "map"):
            named = ("t.img", "reading", "compressed", "Could not read file metadata")  # QEMU's words for one file alone
            assert any(word in text for word in named), "%s does not name the file: %s" % (args, text)


@pytest.mark.only("blkref", "QEMU's own answers to damaged headers are upstream's matter")
@pytest.mark.parametrize("variant", [v for v in [*EVERY, V2] if v is not RAW], ids=str)
def test_fields_at_their_extremes(lab, variant):
    subject, folder = lab.subjects[0], lab.dir(lab.subjects[0])
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 64k", "write -P 2 512k 4k")
    lab.images.clear()
    with open(os.path.join(folder, "t.img"), "rb") as file:
        good = file.read()
    listed, order = fields(variant.fmt)
    assert listed
    if variant is V2:
        listed = [f for f in listed if f[1] < 72]  # version 3 has the others
    for name, offset, width in listed:
        for value in extremes(int.from_bytes(good[offset:offset + width], order), width):
            bad = bytearray(good)
            bad[offset:offset + width] = value.to_bytes(width, order)
            try:
                judge(run_all(subject, variant.fmt, folder, bytes(bad)))
            except AssertionError as error:
                raise AssertionError("%s = %#x: %s" % (name, value, error)) from error


@pytest.mark.parametrize("variant", [QCOW2, V2], ids=str)
def test_headers_that_both_refuse(lab, variant):
    """What one subject will not open the other does not open either, with the same words."""
    lab.create(variant, "t.img", "1M")
    lab.images.clear()
    with open(lab.path(lab.subjects[0], "t.img"), "rb") as file:
        good = file.read()
    different = []
    for name, offset, width in fields("qcow2")[0]:
        if variant is V2 and offset >= 72:
            continue
        for value in extremes(int.from_bytes(good[offset:offset + width], "big"), width):
            if name == "crypt_method" and value in (1, 2):
                continue  # needs keys
            bad = bytearray(good)
            bad[offset:offset + width] = value.to_bytes(width, "big")
            lab.write_file("t.img", bytes(bad))
            try:
                lab.img("info", "-f", "qcow2", "t.img", status=None, look=False)
            except AssertionError as error:
                different.append("%s = %#x: %s" % (name, value, error))
    assert not different, "\n".join(different)


# QEMU says EAGAIN where the refcount table would have to grow beyond its limit; a message of ours is missing.
OTHER_WORDS = ("data far behind the end", "second refcount block behind the end")


@pytest.mark.parametrize("name", [n for n in DAMAGES if "dirty" not in n and n not in OTHER_WORDS])
def test_use_of_damaged_tables(lab, name):
    """Reads, writes, discards and snapshots on damaged tables: same words, same image afterwards."""
    commands = ["read 0 128k", "write -P 5 0 4k", "write -P 6 64k 128k", "discard 0 64k", "write -z 0 1M", "read 0 1M"]
    planted(lab, name)
    for command in commands:
        lab.run("io", "-f", "qcow2", "-c", command, "t.img", status=None, before=("prlimit", "--cpu=5"))
    lab.img("info", "t.img", status=None)
    planted(lab, name)
    lab.img("snapshot", "-c", "a", "t.img", status=None)
    lab.img("resize", "--shrink", "t.img", "64k", status=None)


@pytest.mark.parametrize("data", [b"", b"Q", b"QFI\xfb", b"QFI\xfb" + b"\0" * 100, b"\0" * 512, b"conectix", b"QED\0" + b"\0" * 60,
                                  b"LUKS\xba\xbe", b"OOOO VirtualBox", b"<<< Oracle VM", b"#!/bin/sh"],
                         ids=lambda d: repr(d[:16]))
def test_short_files(lab, data):
    """Files that end within a header."""
    lab.write_file("t.img", data)
    for fmt in ("qcow2", "qcow", "qed", "vdi", "vpc", "bochs", "cloop", "raw"):
        lab.img("info", "-f", fmt, "t.img", status=None)
    lab.img("info", "t.img", status=None)


def test_truncated_images(lab):
    """An image cut off anywhere: errors or zeroes, the same for both."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 256k")
    lab.images.clear()
    lab.copy("t.img", "good.img")
    size = os.stat(lab.path(lab.subjects[0], "t.img")).st_size
    for length in (0, 71, 104, 512, 65536, 131072, 131073, 196608, 262144, 262152, 327680, 330000, size - 1):
        lab.copy("good.img", "t.img")
        for folder in lab.dirs():
            os.truncate(folder + "/t.img", length)
        lab.run("io", "-f", "qcow2", "-c", "read -P 1 0 256k", "t.img", status=None)
        lab.img("check", "-f", "qcow2", "t.img", status=None, filters=["offset"])
        lab.img("map", "-f", "qcow2", "--output=json", "t.img", status=None)


def test_extensions(lab):
    """Header extensions: lengths that lead astray, names that do not end, unknown ones, too many."""
    lab.create(QCOW2, "t.img", "1M")
    lab.images.clear()
    lab.copy("t.img", "good.img")
    for offset, data in ((116, b"\xff\xff\xff\xff"), (112, b"\xe2\x79\x2a\xca"), (112, b"\xe2\x79\x2a\xca\0\0\0\xff"),
                         (112, b"\xe2\x79\x2a\xca\0\0\xff\xff"), (112, b"DATA\0\0\0\x04file"), (112, b"UNKN\0\0\0\x10"),
                         (112, b"UNKN\0\0\xff\xf0"), (112, b"\x05\x37\xbe\x77\0\0\0\x10"), (112, b"\x23\x85\x28\x75\0\0\0\x18"),
                         (8, be64(512) + b"\0\0\x03\xff"), (8, be64(512) + b"\0\0\x04\x00"), (8, be64(65530) + b"\0\0\0\x10"),
                         (8, be64(1 << 40) + b"\0\0\0\x10"), (8, be64(8) + b"\0\0\0\x10"), (8, be64(512) + b"\xff\xff\xff\xff")):
        lab.copy("good.img", "t.img")
        lab.patch("t.img", offset, data)
        lab.img("info", "-f", "qcow2", "t.img", status=None)
        lab.img("check", "-f", "qcow2", "t.img", status=None, filters=["offset"])


@pytest.mark.parametrize("variant", [QCOW2, V2], ids=str)
def test_lost_bitmaps(lab, variant):
    """A bitmaps extension without its feature bit: both warn; a reader leaves it, a writer drops it."""
    extension = b"\x23\x85\x28\x75\0\0\0\x18"
    lab.create(variant, "t.img", "1M")
    lab.images.clear()
    lab.patch("t.img", 72 if variant is V2 else 112, extension)
    for flags, kept in ((["-r"], True), ([], False)):
        warned = lab.io("t.img", "read 0 512", fmt="qcow2", flags=flags)
        assert "bitmaps" in warned.err
        for folder in lab.dirs():
            with open(os.path.join(folder, "t.img"), "rb") as image:
                assert (extension in image.read(512)) == kept
    assert not lab.io("t.img", "read 0 512", fmt="qcow2").err


def test_names_in_images(lab):
    """What an image names: data files that are pseudo protocols, devices, or the image itself."""
    for name in ("t.img", "json:{\"driver\":\"file\",\"filename\":\"/etc/hostname\"}", "file:d.data", "nope:x", "./none", "/"):
        lab.create(DATA, "t.img", "64k")
        lab.images.clear()
        lab.img("amend", "-f", "qcow2", "-o", "data_file=" + name.replace(",", ",,"), "t.img", status=None)
        lab.img("info", "t.img", status=None)
        lab.img("map", "t.img", status=None)
        lab.run("io", "-f", "qcow2", "-c", "read 0 512", "t.img", status=None)


@pytest.mark.parametrize("name", ["json:{", "json:[]", "json:" + "[" * 900, 'json:{"driver":"qcow2","file.filename":"t.img"}', "json:{}",
                                  'json:{"driver":"null-co","size":1048576,"read-zeroes":true}', "fat:none", "fat:rw:.", "nope:x", "."],
                         ids=lambda n: n[:24])
def test_backing_names_in_images(lab, name):
    """Backing files that are pseudo protocols, the image itself, or no name at all (CVE-2024-4467)."""
    lab.create(QCOW2, "t.img", "1M")
    lab.images.clear()
    lab.img("rebase", "-u", "-b", name, "-F", "raw", "t.img", status=None)
    for tool, *args in (("img", "info", "t.img"), ("img", "info", "--backing-chain", "t.img"), ("img", "map", "--output=json", "t.img"),
                        ("io", "-f", "qcow2", "-c", "read 0 512", "t.img")):
        lab.run(tool, *args, status=None, before=("prlimit", "--cpu=5"))


DATA = Variant("qcow2-data", "qcow2", ("data_file=@.data",))


@pytest.mark.parametrize("kind", ["zlib", "zstd"])
def test_compressed_streams(lab, kind):
    """Streams that are cut, too long, not streams, or make more or less than a cluster."""
    lab.create(QCOW2, "t.img", "1M", extra=["compression_type=" + kind])
    lab.io("t.img", "write -c -P 1 0 64k", "write -c -P 2 64k 64k")
    lab.images.clear()
    lab.copy("t.img", "good.img")
    with open(lab.path(lab.subjects[0], "t.img"), "rb") as file:
        entry = int.from_bytes(file.read()[4 * 65536:4 * 65536 + 8], "big")
    at = entry & ((1 << 54) - 1)
    for offset, data in ((at, b"\0" * 16), (at, b"\xff" * 16), (at + 2, b"\0\0"), (4 * 65536, be64(1 << 62 | at + 1)),
                         (4 * 65536, be64(1 << 62 | 0xff << 54 | at)), (4 * 65536, be64(1 << 62 | at + 100))):
        lab.copy("good.img", "t.img")
        lab.patch("t.img", offset, data)
        lab.run("io", "-f", "qcow2", "-c", "read -P 1 0 64k", "-c", "read -P 2 64k 64k", "-c", "write 0 512", "t.img",
                status=None)
        lab.img("check", "t.img", status=None, filters=["offset"])


# What a write to them needs, QEMU answers with EAGAIN (OTHER_WORDS): ours end with an error all the same.
@pytest.mark.only("blkref", "QEMU's refcount table would have to grow beyond its limit: other words")
@pytest.mark.parametrize("name", OTHER_WORDS)
def test_references_far_away(lab, name):
    """Refcounts of clusters that no table reaches, and no trust in where the next free one is (CVE-2014-0143, -0147)."""
    ours = lab.subjects[0]
    planted(lab, name)
    for command in ("read 0 128k", "write -P 5 0 4k", "write -P 6 64k 128k", "discard 0 64k", "write -z 0 1M"):
        done = lab.one(ours, "io", "-f", "qcow2", "-c", command, "t.img", before=limited(ours))
        assert done.status in (0, 1), done.err
    for args in (("snapshot", "-c", "a", "t.img"), ("check", "-r", "all", "t.img")):
        done = lab.one(ours, "img", *args, before=limited(ours))
        assert done.status in (0, 1, 2, 3), done.err


def test_snapshots_with_wild_tables(lab):
    """A snapshot's L1 table that is larger than the active one, too large, or nowhere (CVE-2014-0143, -0145, -0146)."""
    lab.create(QCOW2, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 128k")
    lab.img("snapshot", "-c", "one", "t.img")
    lab.images.clear()
    lab.copy("t.img", "good.img")
    with open(lab.path(lab.subjects[0], "t.img"), "rb") as image:
        table = struct.unpack(">Q", image.read(72)[64:])[0]
    commands = [("img", "info", "t.img"), ("img", "convert", "-l", "snapshot.name=one", "-O", "raw", "t.img", "out.raw"),
                ("img", "snapshot", "-a", "one", "t.img"), ("img", "snapshot", "-d", "one", "t.img"), ("img", "check", "t.img")]
    for offset, data in ((table + 8, struct.pack(">I", 2)), (table + 8, struct.pack(">I", 0x10000)),
                         (table + 8, struct.pack(">I", 0x400001)), (table + 8, struct.pack(">I", 0x7fffffff)),
                         (table + 8, struct.pack(">I", 0xffffffff)), (table + 8, struct.pack(">I", 0)),
                         (table, be64(1 << 62)), (table, be64(1 << 40)), (table, be64(513)), (60, struct.pack(">I", 0x10001)),
                         (60, struct.pack(">I", 3)), (64, be64(1 << 50))):
        for tool, *args in commands:
            lab.copy("good.img", "t.img")
            lab.patch("t.img", offset, data)
            told = "-d" in args and data == struct.pack(">I", 0x10000)
            lab.run(tool, *args, status=None, look=False, filters=["offset"], before=("prlimit", "--cpu=5"),
                    same=args[0] != "check" and "-d" not in args,  # a date read as an entry; why clusters stay
                    differs="snapshot -d: clusters that cannot be freed are no error of QEMU's status" if told else None)


def test_requests_beyond_all_sizes(lab):
    """Requests that no int holds, on a disk that has them, and growing beyond what tables may have (CVE-2014-0143)."""
    lab.create(QCOW2, "t.img", "6G")
    lab.images.clear()
    for request in ("read 0 2G", "read 0 4G", "read 0 8E", "read 8E 512", "write 0 3G", "write -z 0 5G", "write -z 0 2G",
                    "discard 0 6G", "discard 0 7G", "readv 0 2G 1", "aio_read 0 3G", "alloc 0 6G", "map"):
        lab.io("t.img", request, fmt="qcow2", status=None, look=False, before=("prlimit", "--cpu=5"))
    for size in ("2P", "64P", "4E", "7E", "8E"):
        lab.img("resize", "t.img", size, status=None, look=False, before=("prlimit", "--cpu=5"))


# Formats with tables of plain entries: where the first entry is, its bytes, their order.
def table_of(fmt, image):
    if fmt == "parallels":
        return 64, 4, "little"
    if fmt == "vdi":
        return int.from_bytes(image[340:344], "little"), 4, "little"
    if fmt == "vpc":
        return int.from_bytes(image[528:536], "big"), 4, "big"
    if fmt == "vmdk":
        directory = int.from_bytes(image[56:64], "little") * 512
        return int.from_bytes(image[directory:directory + 4], "little") * 512, 4, "little"
    if fmt == "vhdx":
        entries = [image[0x30010 + 32 * i:0x30030 + 32 * i] for i in range(2)]
        bat = next(e for e in entries if e[0] == 0x66)  # of {2DC27766-...}, in the order of Windows
        return int.from_bytes(bat[16:24], "little"), 8, "little"
    first = int.from_bytes(image[40:48], "little" if fmt == "qed" else "big")
    return first, 8, "little" if fmt == "qed" else "big"


def wild_entries(rng, width, count):
    """Entries that point at the header, at each other, between clusters, and behind any file."""
    top = (1 << 8 * width) - 1
    some = [0, 1, 2, 3, 5, top, top - 1, top >> 1, (top >> 1) + 1, 1 << 20, (1 << 20) + 6, 7, 512, 65536, 65537, 1 << (8 * width - 9)]
    return [rng.choice(some) if rng.random() < 0.8 else rng.randrange(top) for _ in range(count)]


@pytest.mark.only("blkref", "QEMU's own answers to damaged tables are upstream's matter")
@pytest.mark.parametrize("fmt", ["parallels", "vdi", "vpc", "vmdk", "vhdx", "qed", "qcow"])
def test_wild_tables(lab, fmt):
    """Entries twice, out of bounds, over the metadata: read, written, checked and repaired without harm."""
    subject, folder = lab.subjects[0], lab.dir(lab.subjects[0])
    small = {"parallels": ["-o", "cluster_size=65536"], "vhdx": ["-o", "block_size=1M"]}.get(fmt, [])
    lab.img("create", "-f", fmt, *small, "t.img", "4M", look=False)
    lab.io("t.img", "write -P 1 0 64k", "write -P 2 3M 4k", fmt=fmt, look=False)
    with open(os.path.join(folder, "t.img"), "rb") as file:
        good = file.read()
    at, width, order = table_of(fmt, good)
    assert 0 < at < len(good)
    rng = random.Random(20)
    more = [("img", "check", "-f", "@F", "-r", "leaks", "t.img"), ("img", "check", "-f", "@F", "-r", "all", "t.img"),
            ("img", "compare", "-f", "@F", "-F", "@F", "t.img", "t.img"),
            ("io", "-f", "@F", "-c", "write 0 4M", "-c", "read 0 4M", "-c", "write -z 1M 2M", "-c", "discard 0 3M", "t.img")]
    for _ in range(3):
        entries = wild_entries(rng, width, 1 + rng.randrange(20))
        bad = bytearray(good)
        for i, entry in enumerate(entries):
            bad[at + width * i:at + width * (i + 1)] = entry.to_bytes(width, order)
        try:
            judge(run_all(subject, fmt, folder, bytes(bad), COMMANDS + more))
        except AssertionError as error:
            raise AssertionError("%s: %s" % ([hex(e) for e in entries], error)) from error


def test_limits_are_there(lab):
    """The memory limit of these tests is one: a program that asks for more fails."""
    if not shutil.which("prlimit"):
        pytest.skip("prlimit is not installed")
    ours = lab.subjects[0]
    lab.create(RAW, "r.img", "4M", look=False)
    lab.images.clear()
    if not ours.sanitized:
        done = ours.run("img", "convert", "-O", "raw", "r.img", "x.img", cwd=lab.dir(ours), before=("prlimit", "--as=8000000"))
        assert done.status != 0
    assert blkimg.LIMIT > SECONDS
