"""Options of opening: every one of qcow2, raw, file and blkdebug with good and wrong values, at opening and at
reopening; what both programs say, and what is there afterwards, must be the same."""
import pytest

from iotests.blkimg import QCOW2, RAW, V2

SWITCH = ["on", "off", "yes", "true", "x", ""]
SIZES = ["0", "1", "512", "4k", "3k", "64k", "100k", "1M", "2M", "1G", "9E", "-1", "x", "18446744073709551616"]
#: of the qcow2 driver
QCOW2_OPTIONS = {
    "lazy-refcounts": SWITCH, "pass-discard-request": SWITCH, "pass-discard-snapshot": SWITCH,
    "pass-discard-other": SWITCH, "overlap-check": ["none", "constant", "cached", "all", "x", ""],
    "overlap-check.template": ["none", "constant", "cached", "all", "x"],
    **{"overlap-check." + part: ["on", "off", "x"] for part in
       ("main-header", "active-l1", "active-l2", "refcount-table", "refcount-block", "snapshot-table", "inactive-l1",
        "inactive-l2", "bitmap-directory", "nope")},
    "cache-size": SIZES, "l2-cache-size": SIZES, "refcount-cache-size": SIZES, "l2-cache-entry-size": SIZES,
    "cache-clean-interval": ["0", "1", "600", "-1", "x", "4294967295", "4294967296", "18446744073709551616"],
    "encrypt.format": ["luks", "aes", "x"], "encrypt.key-secret": ["x"], "data-file": ["x", ""],
    "data-file.driver": ["file", "x"], "backing": ["", "x"], "backing.driver": ["raw", "x"],
    "backing.file.filename": ["b.img", "none"], "nope": ["1"],
}
TOGETHER = [
    "cache-size=1M,l2-cache-size=2M", "cache-size=1M,refcount-cache-size=2M", "cache-size=3M,l2-cache-size=2M",
    "cache-size=1M,l2-cache-size=512k,refcount-cache-size=512k", "cache-size=x,l2-cache-size=2M,refcount-cache-size=9E",
    "cache-size=64k,refcount-cache-size=9E,overlap-check.active-l1=x", "l2-cache-size=8k,l2-cache-entry-size=4k",
    "overlap-check=all,overlap-check.template=none", "overlap-check=none,overlap-check.template=none",
    "overlap-check=none,overlap-check.main-header=on", "overlap-check.template=all,overlap-check.active-l2=off",
]
#: of every node
GENERIC = {
    "read-only": SWITCH, "auto-read-only": ["on", "off", "x"], "cache.direct": ["off", "x"], "cache.no-flush": ["on", "x"],
    "cache.writeback": ["on", "off", "x"], "force-share": ["on", "off", "x"], "discard": ["unmap", "ignore", "on", "off", "x"],
    "detect-zeroes": ["on", "off", "unmap", "x"], "copy-on-read": ["on", "off", "x"], "driver": ["x"],
    "node-name": ["n", "1", "a@b", "x" * 32, ""],
}
#: of the protocol, and of filters around it
FILE = {
    "file.locking": ["on", "off", "auto", "x"], "file.aio": ["threads", "native", "io_uring", "x"],
    "file.aio-max-batch": ["0", "1", "64", "x", "18446744073709551616"], "file.drop-cache": ["on", "off", "x"],
    "file.x-check-cache-dropped": ["off", "x"], "file.pr-manager": ["x"], "file.node-name": ["f", "1"],
    "file.read-only": ["on", "off"], "file.nope": ["1"],
}
RAW_OPTIONS = {"offset": ["0", "512", "64k", "1000", "1M", "2M", "-1", "x"],
               "size": ["0", "512", "64k", "1000", "1M", "2M", "-1", "x"]}
LIMIT = ["0", "512", "4096", "1000", "65536", "1M", "2G", "-1", "x"]
BLKDEBUG = {
    **{"file." + limit: LIMIT for limit in
       ("max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard")},
    "file.align": LIMIT[:5] + LIMIT[6:],  # with 1M QEMU divides by zero at the discard
    "file.config": ["none.cfg"],
    "file.take-child-perms.0": ["consistent-read", "write", "write-unchanged", "resize", "x"],
    "file.unshare-child-perms.0": ["consistent-read", "write", "write-unchanged", "resize", "x"],
}
BLKDEBUG_TOGETHER = [
    "file.align=512,file.max-transfer=1000", "file.align=4096,file.max-transfer=8k,file.opt-write-zero=4k,file.max-write-zero=8k",
    "file.align=x,file.set-state.0.state=1", "file.opt-write-zero=8k,file.max-write-zero=4k",
    "file.align=4096,file.inject-error.0.event=none,file.inject-error.0.iotype=write,file.inject-error.0.once=on",
    "file.take-child-perms.0=write,file.unshare-child-perms.0=resize", "file.max-discard=x,file.inject-error.0.errno=28",
]
COMMANDS = ("length", "read -P 1 0 64k", "write -P 2 1000 100k", "write -z 256k 64k", "discard 0 64k", "map")


def rows(*tables):
    return ["%s=%s" % (key, value) for table in tables for key, values in table.items() for value in values]


def prepared(lab, variant):
    lab.create(variant, "t.img", "1M", look=False)
    lab.io("t.img", "write -P 1 0 64k", look=False)
    lab.create(RAW, "b.img", "1M", look=False)
    lab.copy("t.img", "keep")


def judge(lab, base, table, commands=COMMANDS):
    """Each set of options on a fresh copy; fails with all that differ."""
    different = []
    for options in table:
        lab.copy("keep", "t.img")
        args = [w for c in commands for w in ("-c", c)]
        try:
            lab.run("io", "--image-opts", *args, ",".join((base, options)), status=None, filters=("node",))
        except AssertionError as error:
            different.append(str(error))
    assert not different, "\n".join(different)


@pytest.mark.parametrize("variant", [QCOW2, V2], ids=str)
@pytest.mark.parametrize("part", range(3))
def test_qcow2(lab, variant, part):
    prepared(lab, variant)
    table = rows(QCOW2_OPTIONS) if variant is not QCOW2 else rows(QCOW2_OPTIONS, GENERIC, FILE) + TOGETHER
    judge(lab, "driver=qcow2,file.filename=t.img", table[part::3])


def test_raw(lab):
    prepared(lab, RAW)
    table = rows(RAW_OPTIONS) + ["offset=64k,size=64k", "offset=64k,size=1M", "offset=1M,size=0"]
    odd = [options for options in table if options == "offset=1000"]  # QEMU's map ends before the disk
    judge(lab, "driver=raw,file.filename=t.img", [options for options in table if options not in odd])
    judge(lab, "driver=raw,file.filename=t.img", odd, COMMANDS[:-1])
    assert odd


def test_blkdebug(lab):
    prepared(lab, QCOW2)
    judge(lab, "driver=qcow2,file.driver=blkdebug,file.image.filename=t.img", rows(BLKDEBUG) + BLKDEBUG_TOGETHER)


@pytest.mark.parametrize("variant", [QCOW2, V2], ids=str)
def test_reopened(lab, variant):
    """The same options given to an image that is open."""
    prepared(lab, variant)
    lab.images.clear()
    different = []
    with lab.session() as session:
        for options in rows(QCOW2_OPTIONS, GENERIC) + TOGETHER:
            try:
                session.do("open -o driver=qcow2,file.filename=t.img", "reopen -o %s" % options, "read -q 0 512",
                           "write -q -P 3 128k 64k", filters=("node",))
            except AssertionError as error:
                different.append(str(error))
            session.do("close")
    assert not different, "\n".join(different)


def test_reopening_what_cannot(lab):
    prepared(lab, QCOW2)
    for options, command in (("driver=raw,file.driver=blkverify,file.raw.filename=b.img,file.test.filename=t.img",
                              "reopen -o discard=unmap"),
                             ("copy-on-read=on", "reopen -r"), ("copy-on-read=on", "reopen -o read-only=on"),
                             ("copy-on-read=on", "reopen -w"), ("read-only=on", "reopen -w")):
        base = "driver=qcow2,file.filename=t.img" if "driver" not in options else "read-only=off"
        judge(lab, base, [options], (command, "write -q 0 64k", "read -P 0 64k 64k"))


@pytest.mark.parametrize("first", ["cache-size=16k", "cache-size=1M,l2-cache-size=512k", "l2-cache-size=64k"])
def test_reopened_with_other_cache_sizes(lab, first):
    """What one reopen said is not held against what the next one says."""
    prepared(lab, QCOW2)
    for second in ("l2-cache-size=64k", "refcount-cache-size=2M", "cache-size=32k", "l2-cache-size=4k"):
        judge(lab, "driver=qcow2,file.filename=t.img", ["read-only=off"],
              ("reopen -o " + first, "reopen -o " + second, "read -P 1 0 64k", "write -q 512k 64k"))


@pytest.mark.parametrize("options", [
    "backing.file.filename=other.img", "backing.driver=raw,backing.file.filename=other.img", "backing.filename=other.img",
    "backing.file.driver=file,backing.file.filename=other.img", "backing.driver=raw", "backing=", "backing.read-only=off"])
@pytest.mark.parametrize("variant", [RAW, QCOW2], ids=str)
def test_another_backing_file(lab, variant, options):
    """The format that the image gives for its backing file is not guessed anew when options name another file."""
    lab.create(variant, "b.img", "1M", look=False)
    lab.create(RAW, "other.img", "1M", look=False)
    lab.io("other.img", "write -P 9 0 64k", look=False)
    lab.create(QCOW2, "t.img", "1M", backing="b.img", backing_fmt=variant.fmt, look=False)
    lab.run("io", "-c", "open -o %s t.img" % options, "-c", "read -P 9 0 64k", "-c", "read -P 0 0 64k", "-c", "map", status=None)


#: values of JSON that are not the strings of command lines; numbers are text where an option is text
TYPES = ["null", "true", "false", "1", "-1", "1.5", '""', "[]", "{}", "[1]", '{"a":1}', "1e3", "18446744073709551616"]
WINDOW = '"driver":"raw","file":{"driver":"file","filename":"t.img"}'
TYPED = {
    WINDOW: ["size", "offset", "node-name", "discard", "detect-zeroes", "read-only", "auto-read-only", "nope"],
    '"driver":"raw","file.filename":"t.img"': ["file.node-name", "file.discard"],
    '"driver":"blkdebug","image":{"driver":"file","filename":"t.img"}':
        ["align", "max-transfer", "config", "inject-error", "set-state", "take-child-perms"],
    '"driver":"qcow2","file":{"driver":"file","filename":"q.img"}':
        ["lazy-refcounts", "overlap-check", "l2-cache-size", "cache-size", "cache-clean-interval", "discard", "backing"],
}


@pytest.mark.parametrize("base", TYPED, ids=range(len(TYPED)))
def test_types_of_json(lab, base):
    """In one session; none of `file`, after whose refusal QEMU has no standard input."""
    prepared(lab, RAW)
    lab.create(QCOW2, "q.img", "1M", look=False)
    different = []
    with lab.session() as session:
        for key in TYPED[base]:
            for value in TYPES:
                try:
                    session.do('open json:{%s,"%s":%s}' % (base, key, value), "length", "close", filters=("node",))
                except AssertionError as error:
                    different.append(str(error))
    assert not different, "\n".join(different)
