"""compare: all exit statuses, -s, differences of all kinds between all formats."""
import pytest

from iotests.blkimg import ALL, BASIC, EVERY, EXT, QCOW2, RAW, SMALL

EQUAL, DIFFERENT, ERROR = 0, 1, 2
CONTENT = ["write -P 1 0 64k", "write -P 2 512k 100k", "write -z 700k 64k"]


def two(lab, a=QCOW2, b=RAW, size_a="1M", size_b="1M", more_a=(), more_b=()):
    lab.create(a, "a.img", size_a)
    lab.io("a.img", *CONTENT, *more_a)
    lab.create(b, "b.img", size_b)
    lab.io("b.img", *CONTENT, *more_b)


def compare(lab, *flags, status, formats=None):
    fmts = formats or (lab.images["a.img"].fmt, lab.images["b.img"].fmt)
    return lab.img("compare", *flags, "-f", fmts[0], "-F", fmts[1], "a.img", "b.img", status=status)


@pytest.mark.parametrize("a, b", [(a, b) for a in EVERY for b in EVERY if a in BASIC or b in BASIC or a is b], ids=str)
def test_between_formats(lab, a, b):
    two(lab, a, b)
    compare(lab, status=EQUAL)
    lab.io("b.img", "write -P 3 612k 512")
    assert "offset 626688" in compare(lab, status=DIFFERENT).out


@pytest.mark.parametrize("variant", ALL, ids=str)
def test_option_sets(lab, variant):
    two(lab, variant, QCOW2)
    compare(lab, status=EQUAL)
    compare(lab, "-s", status=None)
    lab.io("a.img", "write -P 2 1023k 1k")
    compare(lab, status=DIFFERENT)


@pytest.mark.parametrize("offset", [0, 1, 511, 512, 65535, 65536, 524287, 1048575])
def test_where_they_differ(lab, offset):
    """The sector of the first byte that differs."""
    two(lab, RAW, RAW, more_b=["write -P 9 %d 1" % offset])
    out = compare(lab, status=DIFFERENT).out
    assert "Content mismatch at offset %d!" % (offset // 512 * 512) in out


@pytest.mark.parametrize("sizes", [("1M", "2M"), ("2M", "1M"), ("1M", "1048577"), ("1000k", "1M")], ids="-".join)
@pytest.mark.parametrize("tail", ["", "write -z 1030k 64k", "write -P 0 1030k 64k", "write -P 5 1030k 64k",
                                  "write -P 5 1000k 1k"])
def test_tails(lab, sizes, tail):
    """What one of them has more must read as zeroes, and with -s there may be none."""
    two(lab, QCOW2, QCOW2, *sizes)
    if tail:
        longer = "a.img" if sizes[0] == "2M" else "b.img"
        lab.io(longer, tail, status=None)
    compare(lab, status=None)
    compare(lab, "-s", status=DIFFERENT)
    compare(lab, "-q", status=None)


@pytest.mark.parametrize("command", ["write -z 256k 64k", "write -P 0 256k 64k", "discard 0 64k", "write -z 0 64k",
                                     "write -z -u 0 64k", "write -P 0 0 64k"])
@pytest.mark.parametrize("variant", [QCOW2, SMALL, EXT], ids=str)
def test_strict_allocation(lab, variant, command):
    """With -s zeroes that are there and zeroes that are not differ."""
    two(lab, variant, variant, more_b=[command])
    compare(lab, status=None)
    compare(lab, "-s", status=None)


def test_chains(lab):
    """Strict mode looks at the whole chain, not at one layer."""
    two(lab, QCOW2, QCOW2)
    lab.create(QCOW2, "c.img", None, backing="a.img")
    lab.img("compare", "a.img", "c.img")
    lab.img("compare", "-s", "a.img", "c.img", status=None)
    lab.io("c.img", "write -P 1 0 64k")
    lab.img("compare", "-s", "a.img", "c.img", status=None)
    lab.io("c.img", "write -P 7 200k 512")
    lab.img("compare", "c.img", "b.img", status=DIFFERENT)


def test_compressed(lab):
    two(lab)
    lab.img("convert", "-c", "-O", "qcow2", "a.img", "c.img")
    lab.img("compare", "a.img", "c.img")
    lab.img("compare", "-s", "a.img", "c.img", status=None)


def test_read_errors(lab):
    """An error is status 2 or more, and says where."""
    two(lab, RAW, RAW)
    lab.write_file("rules", b'[inject-error]\nevent = "none"\nsector = "1030"\n')
    lab.img("compare", "-f", "raw", "-F", "raw", "a.img", "blkdebug:rules:b.img", status=None)
    lab.img("compare", "-f", "raw", "-F", "raw", "blkdebug:rules:a.img", "b.img", status=None)
    lab.write_file("rules", b'[inject-error]\nevent = "none"\niotype = "block-status"\n')
    lab.img("compare", "-f", "raw", "-F", "raw", "a.img", "blkdebug:rules:b.img", status=None)


@pytest.mark.parametrize("args", [
    "", "a.img", "a.img b.img a.img", "none.img b.img", "a.img none.img", "-f nope a.img b.img", "-F nope a.img b.img",
    "-f qcow2 -F qcow2 a.img b.img", "-T nope a.img b.img", "-T none -f qcow2 -F raw a.img b.img", "-Z a.img b.img",
    "-U a.img b.img", "-p a.img a.img", "-q a.img a.img", "-s -s a.img a.img", "a.img a.img",
    "--image-opts driver=qcow2,file.filename=a.img driver=raw,file.filename=b.img",
    "--image-opts driver=qcow2,file.filename=a.img driver=nope", "--object nope,id=x a.img b.img",
])
def test_arguments(lab, args):
    two(lab)
    lab.img("compare", *args.split(), status=None, filters=["usage", "progress"])


def test_progress(lab):
    two(lab)
    lab.img("compare", "-p", "-f", "qcow2", "-F", "raw", "a.img", "b.img", filters=["progress"])
