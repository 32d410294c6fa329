"""vvfat: directories of the host as FAT disks, read only.

The same directory is shown by our programs and by QEMU's.  QEMU's takes names in the order in which the host
keeps them, so its readdir() is sorted for the comparison (sorted_readdir.c).  What we show is read by fsck.vfat
and mtools, and by a reader of a few lines here.
"""
import os
import shutil
import struct
import subprocess

import pytest

from iotests.blkimg import Session
from iotests.test_hostile import limited

SECTOR, TRACK = 512, 63
START = 3 << 20  # all that these trees take
KINDS = ["", "12:", "16:", "floppy:", "floppy:12:"]  # where QEMU's volumes are lawful
OURS = ["32:", "floppy:16:"]                         # where they are not
FILES = {
    "a.txt": b"hello\n", "BIG.BIN": b"0123456789abcdef" * 3000, "empty": b"", "Mixed Case.Text": b"m" * 8192,
    "archive.tar.gz": b"z" * 100, "sub/inner": b"inside", "sub/deep/er/a rather long name.extension": b"deep" * 5000,
    "sub/longname_1.txt": b"1", "sub/longname_2.txt": b"22", "zz/last": b"x" * 8193,
    "\u00fcml\u00e4ut \u65e5\u672c.txt": b"not ASCII", ".hidden": b".",
}


def put_tree(root, files):
    """The files, old enough that reading changes no time of access; what was read before stays so."""
    for name, data in files.items():
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as out:
            out.write(data)
    for folder, folders, names in os.walk(root, topdown=False):
        for name in [*names, *folders]:
            os.utime(os.path.join(folder, name), (1700000000, 1577934246), follow_symlinks=False)
    os.utime(root, (1700000000, 1577934246))
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb") as source:
                source.read(1)
    return root


@pytest.fixture
def tree(folder):
    root = os.path.join(folder, "tree")
    put_tree(root, FILES)
    os.mkdir(os.path.join(root, "bare"))
    return root


@pytest.fixture(scope="session")
def sorted_readdir(tmp_path_factory):
    library = str(tmp_path_factory.mktemp("preload") / "sorted_readdir.so")
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "sorted_readdir.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-D_FILE_OFFSET_BITS=64", "-o", library, source, "-ldl"], check=True)
    return library


def disk(subject, name, target, before=()):
    """(the start of the disk, its length, what was said); behind the start there are only zeroes."""
    done = subject.run("img", "convert", "-f", "raw", "-O", "raw", name, target, before=before)
    assert done.status == 0, done.err
    with open(target, "rb") as image:
        data, length = image.read(START), os.fstat(image.fileno()).st_size
        with pytest.raises(OSError):
            if length > START:
                os.lseek(image.fileno(), START, os.SEEK_DATA)
            os.lseek(image.fileno(), length, os.SEEK_DATA)
        return data, length, done.err


# ---- a reader ----

class Fat:
    """A volume as its document says, without mercy: anything unexpected is an error of the test."""

    def __init__(self, data, start):
        self.data, self.start = data, start * SECTOR
        boot = self.at(0, SECTOR)
        assert boot[510:] == b"\x55\xaa"
        sector, self.spc, reserved, fats, root, s16, self.media, spf = struct.unpack_from("<HBHBHHBH", boot, 11)
        hidden, s32 = struct.unpack_from("<II", boot, 28)
        self.sectors = s16 or s32
        spf = spf or struct.unpack_from("<I", boot, 36)[0]
        assert (sector, fats, hidden) == (SECTOR, 2, start)
        self.fat = self.at(reserved * SECTOR, spf * SECTOR)
        assert self.fat == self.at((reserved + spf) * SECTOR, spf * SECTOR)
        self.first_data = (reserved + 2 * spf) * SECTOR + root * 32
        self.clusters = (self.sectors - self.first_data // SECTOR) // self.spc
        self.bits = 12 if self.clusters < 4085 else 16 if self.clusters < 65525 else 32
        self.slack = []   # (begin, end) of the disk: behind a file's end, in its last cluster
        self.used = set()
        top = [struct.unpack_from("<I", boot, 44)[0]] if self.bits == 32 else None
        self.root = self.cluster_bytes(self.chain(top[0])) if top else self.at(self.first_data - root * 32, root * 32)
        self.names = dict(self.walk(self.root, ""))

    def at(self, offset, length):
        return self.data[self.start + offset:self.start + offset + length]

    def place(self, cluster):
        assert 2 <= cluster < self.clusters + 2
        return self.first_data + (cluster - 2) * self.spc * SECTOR

    def next(self, cluster):
        bit = cluster * self.bits
        value = int.from_bytes(self.fat[bit // 8:bit // 8 + 4], "little") >> bit % 8
        return value & ((1 << min(self.bits, 28)) - 1)

    def chain(self, cluster):
        found = []
        while cluster < (1 << min(self.bits, 28)) - 8:
            assert cluster not in self.used
            self.used.add(cluster)
            found.append(cluster)
            cluster = self.next(cluster)
        return found

    def cluster_bytes(self, chain):
        return b"".join(self.at(self.place(c), self.spc * SECTOR) for c in chain)

    def walk(self, entries, path):
        """(path, (short name, attributes, time and date written, contents or None)) of everything."""
        long, shorts = "", set()
        for at in range(0, len(entries), 32):
            e = entries[at:at + 32]
            if e[0] == 0:
                assert not any(entries[at:])
                break
            if e[11] == 0x0f:
                part = (e[1:11] + e[14:26] + e[28:32]).decode("utf-16-le").split("\0")[0]
                long, checksum = part + long, e[13]
                continue
            short = e[:11]
            assert short not in shorts
            shorts.add(short)
            if long:
                total = 0
                for byte in short:
                    total = ((total >> 1 | total << 7) + byte) & 0xff
                assert total == checksum
            name = long or short[:8].decode().rstrip() + ("." + short[8:].decode() if short[8:].strip() else "").rstrip()
            long = ""
            if short[:1] != b"." and not e[11] & 8:
                yield from self.one(e, path + name)

    def one(self, e, path):
        cluster = e[20] << 16 | e[21] << 24 | e[26] | e[27] << 8
        size = struct.unpack_from("<I", e, 28)[0]
        chain = self.chain(cluster) if cluster else []
        data = self.cluster_bytes(chain)
        facts = (e[:11], e[11], e[22:26])
        if e[11] & 0x10:
            yield path, (*facts, None)
            yield from self.walk(data, path + "/")
            return
        assert len(chain) == -(-size // (self.spc * SECTOR))
        if chain:
            end = self.start + self.place(chain[-1]) + self.spc * SECTOR
            self.slack.append((end - (len(data) - size), end))
        yield path, (*facts, data[:size])


def start_of(kind):
    return 0 if "floppy" in kind else TRACK


# ---- bytes ----

@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k or "plain")
def test_the_same_disk_as_qemu(both, tree, folder, sorted_readdir, kind):
    """Byte for byte, except behind the ends of files: there QEMU shows what it read before."""
    name = "fat:%s%s" % (kind, tree)
    mine, *facts = disk(both[0], name, os.path.join(folder, "a.raw"))
    theirs, *other = disk(both[1], name, os.path.join(folder, "b.raw"), ["env", "LD_PRELOAD=" + sorted_readdir])
    assert facts == other
    volume = Fat(mine, start_of(kind))
    masked = bytearray(theirs)
    for begin, end in volume.slack:
        assert not any(mine[begin:end])
        masked[begin:end] = bytes(end - begin)
    assert bytes(masked) == mine
    assert disk(both[0], name, os.path.join(folder, "a.raw"))[0] == mine


@pytest.mark.parametrize("kind", KINDS + OURS, ids=lambda k: k or "plain")
def test_the_files_are_there(ours, tree, folder, kind):
    """By our reader: names, attributes, times and contents; every FAT is as wide as its clusters say."""
    data, _, said = disk(ours, "fat:%s%s" % (kind, tree), os.path.join(folder, "a.raw"))
    volume = Fat(data, start_of(kind))
    wanted = [int(w) for w in kind.split(":") if w.isdigit()]
    assert volume.bits == (wanted[0] if wanted else 12 if kind else 16)
    assert (said != "") == (kind == "32:")
    found = {name: facts[3] for name, facts in volume.names.items() if facts[3] is not None}
    assert found == FILES
    assert {n for n, f in volume.names.items() if f[3] is None} == {"bare", "sub", "sub/deep", "sub/deep/er", "zz"}


def test_local_time(ours, folder):
    """FAT has no time zone: times are the host's local ones."""
    root = put_tree(os.path.join(folder, "t"), {"f": b""})
    for zone, hour in (("UTC", 3), ("UTC-5", 8), ("UTC+2", 1)):
        data, *_ = disk(ours, "fat:floppy:" + root, os.path.join(folder, "a.raw"), ["env", "TZ=" + zone])
        assert Fat(data, 0).names["f"][2] == struct.pack("<HH", hour << 11 | 4 << 5 | 3, 40 << 9 | 1 << 5 | 2)


@pytest.mark.parametrize("kind", KINDS + OURS, ids=lambda k: k or "plain")
def test_second_readers(ours, tree, folder, kind):
    """fsck.vfat has no complaint; mtools copies every file as it is."""
    fsck = shutil.which("fsck.vfat", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not fsck or not shutil.which("mcopy"):
        pytest.skip("fsck.vfat or mtools is not installed (packages dosfstools, mtools)")
    image, volume = os.path.join(folder, "a.raw"), os.path.join(folder, "v.raw")
    data, length, _ = disk(ours, "fat:%s%s" % (kind, tree), image)
    with open(volume, "wb") as out:
        out.write(data[start_of(kind) * SECTOR:])
        out.truncate(length - start_of(kind) * SECTOR)
    done = subprocess.run([fsck, "-n", volume], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) == 2 and "files," in lines[1], done.stdout
    copy = os.path.join(folder, "copy")
    os.mkdir(copy)
    done = subprocess.run(["mcopy", "-s", "-n", "-i", "%s@@%d" % (image, start_of(kind) * SECTOR), "::/*", "::/.hidden", copy],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
                          env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.returncode == 0, done.stdout
    for name, contents in FILES.items():
        with open(os.path.join(copy, name), "rb") as source:
            assert source.read() == contents, name


def test_fsck_sees_a_broken_volume(ours, tree, folder):
    """The planted defect: a chain cut short."""
    fsck = shutil.which("fsck.vfat", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if not fsck:
        pytest.skip("fsck.vfat is not installed (package dosfstools)")
    data = bytearray(disk(ours, "fat:floppy:" + tree, os.path.join(folder, "a.raw"))[0])
    data[SECTOR + 3] = 0
    with open(os.path.join(folder, "v.raw"), "wb") as out:
        out.write(data)
    done = subprocess.run([fsck, "-n", os.path.join(folder, "v.raw")], stdout=subprocess.PIPE, check=False)
    assert done.returncode != 0 or len(done.stdout.splitlines()) != 2


# ---- names ----

# Host names that FAT may have as they are, alone and beside others.
LAWFUL = ["A", "a.b", "abcdefgh.ijk", "abcdefghi", "abcdefg.jklm", "two.dots.txt", ".a.b", "a..b", "+plus+", "[br].x",
          "a^b&c@d!e#f$%", "-_{}()'`", "~", "~1", "x~12", "with space", "a .b", "tar.gz", "x" * 200,
          "\u00e9", "a\u00e9.b", "\u65e5\u672c.a.txt", "\u65e5\u672c.txt", "\U0001f600emoji", "long name 1.text", "long name 2.text",
          *("collide %02d" % i for i in range(12))]
# Host names whose long form is not lawful; QEMU writes it all the same.
UNLAWFUL = {"q?u*o\"t<e>|.c": "QUOTE~1 C  ", "back\\slash": "BACKSL~1   ", "tab\tx": "TABX~1     ", "co:lon": "COLON~1    ",
            "...": "~1         "}


def entries(subject, root, folder, before=()):
    return Fat(disk(subject, "fat:floppy:" + root, os.path.join(folder, "n.raw"), before)[0], 0).names


def test_lawful_names_as_qemu(both, folder, sorted_readdir):
    root = put_tree(os.path.join(folder, "names"), {name: b"" for name in LAWFUL})
    mine = entries(both[0], root, folder)
    theirs = entries(both[1], root, folder, ["env", "LD_PRELOAD=" + sorted_readdir])
    assert mine == theirs
    assert sorted(mine) == sorted(LAWFUL)


def test_unlawful_long_names(both, folder, sorted_readdir):
    """They have their short name alone, which is QEMU's."""
    root = put_tree(os.path.join(folder, "names"), {name: b"" for name in UNLAWFUL})
    mine = entries(both[0], root, folder)
    theirs = entries(both[1], root, folder, ["env", "LD_PRELOAD=" + sorted_readdir])
    assert {f[0].decode() for f in mine.values()} == set(UNLAWFUL.values()) == {f[0].decode() for f in theirs.values()}
    assert sorted(theirs) == sorted(UNLAWFUL)
    assert all(name.replace(".", "").replace("~", "").isalnum() for name in mine)


def test_equal_but_for_case(ours, folder):
    """Each file can be reached by a name of its own."""
    files = {"readme": b"1", "README": b"2", "ReadMe": b"3", "readme.": b"4", " README": b"5"}
    root = put_tree(os.path.join(folder, "names"), files)
    mine = entries(ours, root, folder)
    assert sorted(f[3] for f in mine.values()) == [b"1", b"2", b"3", b"4", b"5"]
    assert len({name.upper() for name in mine}) == 5


def test_names_that_are_no_utf8(lab):
    for place in lab.dirs():
        os.mkdir(os.path.join(place, "d"))
        with open(os.path.join(place.encode(), b"d", b"bad\xff\xfename"), "wb") as out:
            out.write(b"x")
    done = lab.img("info", "fat:d", look=False)
    assert done.err.startswith("vvfat: invalid UTF-8 name: bad")
    lab.io("", "read -v 0x47000 64", flags=["-r", "-f", "raw", "fat:d"], look=False)


def test_links_and_specials(lab):
    """Links are followed, what leads nowhere is not there, pipes are empty files."""
    def change(work, image):
        for place in lab.dirs():
            work(os.path.join(place, "d"))
        lab.img("convert", "-O", "raw", "fat:floppy:d", image, look=False)
        for place in lab.dirs():
            with open(os.path.join(place, image), "rb") as data:
                yield {name: facts[3] for name, facts in Fat(data.read(), 0).names.items()}

    def link(root):
        os.mkdir(root)
        os.symlink("nothing", os.path.join(root, "x"))
        os.symlink("loop", os.path.join(root, "loop"))
        with open(os.path.join(root, "../target"), "wb") as out:
            out.write(b"contents")
        os.symlink("../target", os.path.join(root, "link"))

    def pipe(root):
        os.mkfifo(os.path.join(root, "pipe"))

    assert all(found == {"link": b"contents"} for found in change(link, "link.raw"))
    assert all(found == {"link": b"contents", "pipe": b""} for found in change(pipe, "pipe.raw"))


# ---- programs ----

@pytest.fixture
def shown(lab):
    """A directory "d" with a file of a cluster, in every subject's folder."""
    for place in lab.dirs():
        put_tree(os.path.join(place, "d"), {"hello": b"hello\n".ljust(8192, b".")})
    return lab


def test_info(shown):
    for words in ("", "12:", "16:", "32:", "floppy:", "12:floppy:", "floppy:12:", "floppy:16:", "13:", "foo:", "12:16:", "16:12:",
                  "32:16:", "./d:", "d:floppy:", ":"):
        shown.img("info", "fat:%sd" % words, look=False)
        shown.img("info", "--output=json", "fat:%sd" % words, look=False)
    for name in ("fat:./d", "fat:d/", "fat:@DIR/d"):
        shown.img("info", name, look=False)
    shown.img("info", "-f", "vvfat", "fat:d", look=False)
    shown.img("info", "-U", "fat:d", look=False)


def test_info_by_options(shown):
    for options in ("", ",fat-type=0", ",fat-type=0x10", ",floppy=on", ",label=", ",label=abc", ",rw=off",
                    ",floppy=on,fat-type=12,label=ABCDEFGHIJK"):
        shown.img("info", "--image-opts", "driver=vvfat,dir=d" + options, look=False)
        shown.img("info", "--image-opts", "driver=raw,file.driver=vvfat,file.dir=d" + options.replace(",", ",file."), look=False)
    for name in ('{"driver":"vvfat","dir":"d","fat-type":12,"floppy":true,"label":"X"}',
                 '{"driver":"vvfat","dir":"d","fat-type":"12","floppy":"on","rw":"off"}',
                 '{"driver":"vvfat","dir":"d","label":null}'):
        shown.img("info", "json:" + name, look=False)


def test_refusals(shown):
    for place in shown.dirs():
        with open(os.path.join(place, "file"), "wb"):
            pass
    for name in ("fat:none", "fat:file", "fat:", "fat:floppy:", "fat:16", "fat:16:", "fat:d:12:", "vvfat:d", "fat:rw:d", "fat:x:rw:y"):
        shown.img("info", name, look=False, status=1)
    for options in ("", ",dir=d,fat-type=13", ",dir=d,fat-type=x", ",dir=d,fat-type=-1", ",dir=d,floppy=x",
                    ",dir=d,label=ABCDEFGHIJKL", ",dir=d,rw=on", ",dir=d,bogus=on", ",filename=fat:d", ",filename=fat:d,dir=d",
                    ",fat-type=13,label=ABCDEFGHIJKLM", ",dir=d,fat-type=13,label=ABCDEFGHIJKLM", ",dir=d,fat-type=13,rw=on",
                    ",dir=d,label=ABCDEFGHIJKLM,rw=on", ",dir=none,rw=on", ",dir=none,fat-type=32", ",dir="):
        shown.img("info", "--image-opts", "driver=vvfat" + options, look=False, status=1)
    shown.img("info", "--image-opts", "driver=raw,file.filename=fat:d", look=False, status=1)
    shown.img("info", "-f", "vvfat", "d", look=False, status=1)
    shown.img("info", "-f", "qcow2", "fat:d", look=False, status=1)


def test_nothing_writes(shown):
    for args in (["resize", "-f", "raw", "fat:d", "+1M"], ["snapshot", "-c", "x", "fat:d"], ["commit", "fat:d"],
                 ["bench", "-c", "1", "-w", "-f", "raw", "fat:d"], ["convert", "-n", "-O", "raw", "file", "fat:d"],
                 ["convert", "-O", "raw", "d/hello", "fat:d"], ["convert", "-O", "vvfat", "d/hello", "fat:d"],
                 ["create", "-f", "raw", "fat:d", "1M"], ["create", "-f", "vvfat", "fat:d", "1M"], ["create", "-f", "vvfat", "-o", "help"],
                 ["create", "-f", "qcow2", "fat:d", "1M"]):
        shown.img(*args, look=False, status=1)
    for flags in (["fat:d"], ["-f", "raw", "fat:d"], ["-r", "-f", "raw", "fat:rw:d"], ["--image-opts", "driver=vvfat,dir=d"],
                  ["--image-opts", "driver=vvfat,dir=d,read-only=on"], ["--image-opts", "driver=vvfat,dir=d,auto-read-only=on"]):
        shown.io("", "read 0 512", flags=flags, look=False, status=1)
    shown.io("", "write 0 512", flags=["-r", "-f", "raw", "fat:d"], look=False, status=1)
    shown.io("", "reopen", "reopen -o file.label=x", flags=["-r", "-f", "raw", "fat:d"], look=False, status=1, filters=["node"])


def test_rw_is_refused(shown):
    shown.io("", "read 0 512", flags=["-f", "raw", "fat:rw:d"], look=False, status=None,
             differs="vvfat with rw=on is not there yet: refused")


def test_reading(shown):
    with_file = 0x4b000  # cluster 2 of a disk with a FAT of 16 bits
    shown.io("", "read -v 0 512", "read -v 0x7e00 512", "read -v 0x8000 64", "read -v %d 600" % with_file, "read 31k 3k", "read 503M 1M",
             "read 33 44", "aio_read 0 1M", "aio_flush", "flush", "length", "map", "info", "read 504M 1",
             flags=["-r", "-f", "raw", "fat:d"], look=False, status=1)
    shown.img("map", "fat:d", look=False, status=1)
    for name in ("fat:d", "fat:floppy:12:d"):
        shown.img("map", "--output=json", name, look=False)
        shown.img("measure", "-O", "qcow2", name, look=False)
    shown.img("check", "fat:d", look=False, status=63)
    shown.img("snapshot", "-l", "fat:d", look=False)
    shown.img("compare", "fat:d", "fat:d", look=False)
    shown.img("compare", "fat:d", "fat:12:d", look=False, status=1)
    shown.img("dd", "if=fat:floppy:d", "of=boot", "bs=512", "count=1", look=False)


def test_below_an_overlay(shown):
    """As a backing file, by its name: what is written goes to the overlay."""
    shown.img("create", "-f", "qcow2", "-b", "fat:floppy:12:d", "-F", "raw", "ov.qcow2", look=False)
    shown.img("info", "--backing-chain", "ov.qcow2", look=False, filters=["size"])
    shown.img("map", "--output=json", "ov.qcow2", look=False)
    shown.io("ov.qcow2", "read -P 0x2e 18000 600", "write -P 3 18000 600", "read -P 3 18000 600", "read -P 0x2e 18600 600",
             fmt="qcow2", look=False)
    shown.img("commit", "ov.qcow2", look=False, status=1, filters=["node"])
    shown.img("rebase", "-u", "-b", "fat:12:d", "-F", "raw", "ov.qcow2", look=False)
    shown.img("create", "-f", "qcow2", "-b", "fat:rw:d", "-F", "raw", "no.qcow2", look=False, status=1)


def test_too_much(shown):
    """Sizes that do not fit, and a root directory with too many names."""
    def size_to(size):
        for place in shown.dirs():
            os.truncate(os.path.join(place, "d", "hello"), size)
    for size, words in ((40 << 20, ("12:", "floppy:", "floppy:12:")), (600 << 20, ("", "16:")), (2 << 30, ("", "32:", "floppy:"))):
        size_to(size)
        for word in words:
            shown.img("info", "fat:%sd" % word, look=False, status=1)
    size_to(0)
    for place in shown.dirs():
        for i in range(254):
            with open(os.path.join(place, "d", "f%d" % i), "wb"):
                pass
    shown.img("info", "fat:floppy:d", look=False)
    for place in shown.dirs():
        with open(os.path.join(place, "d", "more"), "wb"):
            pass
    shown.img("info", "fat:floppy:d", look=False, status=1)


# ---- where ours is another ----

def test_a_file_that_went_away(shown):
    """Ours is an error; QEMU shows what it read last."""
    def read(subject):
        with Session(subject, "-r", "-f", "raw", "fat:d", cwd=shown.dir(subject)) as session:
            first = session.do("read -P 0x2e 0x4b200 512")
            os.remove(os.path.join(shown.dir(subject), "d", "hello"))
            return first, session.do("read -P 0 0x47200 512", "read 0x4b400 512")
    for subject in shown.subjects:
        first, then = read(subject)
        assert "512/512" in first and "failed" not in first
        assert ("read failed: No such file or directory" in then) == (subject.name == "blkref"), then


def test_a_tree_that_leads_back(ours, folder):
    root = put_tree(os.path.join(folder, "d"), {"sub/f": b"x"})
    os.symlink("..", os.path.join(root, "sub", "up"))
    done = ours.run("img", "info", "fat:" + root, before=limited(ours))
    assert done.status == 1 and "sub/up leads back to a directory around it" in done.err


def test_a_floppy_is_too_small_for_32_bits(ours, tree):
    done = ours.run("img", "info", "fat:floppy:32:" + tree)
    assert done.status == 1 and "A disk of 2.88 MB has too few clusters for FAT32" in done.err


def test_contents_are_not_held_in_memory(ours, folder):
    root = os.path.join(folder, "d")
    os.mkdir(root)
    with open(os.path.join(root, "f"), "wb") as out:
        out.truncate(480 << 20)
    limits = [] if ours.sanitized else ["prlimit", "--data=%d" % (64 << 20)]
    done = ours.run("img", "compare", "-f", "raw", "-F", "raw", "fat:" + root, "fat:" + root, before=limits)
    assert (done.status, done.out) == (0, "Images are identical.\n"), done.err
