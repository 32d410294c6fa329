"""Discards and zeroes: the matrix of options x ranges x what is there before x kinds of images.

Each test makes one kind of image in one state and opens it with one set of options after the other, in
sessions of qemu-io that stay open.  Every operation has a place of two clusters of its own; after each one
both subjects must tell the same allocation and the same bytes, and at the end the images are looked at.
"""
import os

import pytest

from iotests.blkimg import (DATA, DATA_RAW, EVERY, EXT, QCOW2, RAW, SMALL, V2, Variant)

C4K = Variant("qcow2-4k", "qcow2", ("cluster_size=4096",))
EXT16K = Variant("qcow2-ext16k", "qcow2", ("extended_l2=on", "cluster_size=16384"))
LAZY = Variant("qcow2-lazy", "qcow2", ("lazy_refcounts=on", "cluster_size=4096"))
RC1 = Variant("qcow2-rc1", "qcow2", ("refcount_bits=1", "cluster_size=4096"))

ALL_OPENS = [
    "discard=ignore",
    "discard=unmap",
    "discard=ignore,detect-zeroes=on",
    "discard=unmap,detect-zeroes=on",
    "discard=unmap,detect-zeroes=unmap",
    "discard=unmap,pass-discard-request=off,pass-discard-other=on",
    "discard=unmap,pass-discard-request=on,pass-discard-snapshot=on",
]
FEW_OPENS = ["discard=unmap", "discard=ignore,detect-zeroes=on"]

# In units of a cluster (c): what is done at the place's start.
OPERATIONS = [
    ("discard", 0, 1), ("discard", 0, 0.5), ("discard", 0.5, 1.5), ("discard", 0, 2),
    ("write -z", 0, 1), ("write -z", 0.25, 0.25), ("write -z", 0.5, 1.5),
    ("write -z -u", 0, 1), ("write -z -u", 0.5, 1), ("write -z -u", 0, 2),
    ("write -z -n", 0, 1),
    ("write -P 0", 0, 1), ("write -P 0", 0.25, 0.5), ("write -P 0", 0.5, 1.5),
    ("write -P 7", 0.5, 0.25),
]
PLACES = 2 * len(OPERATIONS)

# state: commands of qemu-io over the whole image, "@" is its size and "%" a cluster
STATES = {
    "empty": [],
    "data": ["write -P 1 0 @"],
    "zeroes": ["write -z 0 @"],
    "discarded": ["write -P 1 0 @", "discard 0 @"],
    "mixed": ["write -P 1 0 %"] + ["write -P 1 %d*%% %%" % n for n in range(1, PLACES, 2)],
    "compressed": ["write -c -P %d %d*%% %%" % (n % 5 + 1, n) for n in range(PLACES)],
}


def unit(variant):
    return variant.cluster if variant.fmt != "raw" else 4096


def spelled(variant, commands):
    c = unit(variant)
    def number(word):
        if word == "@":
            return str(c * PLACES)
        return str(int(word[:-2]) * c) if word.endswith("*%") else str(c) if word == "%" else word
    return [" ".join(number(w) for w in command.split()) for command in commands]


def prepare(lab, variant, state, backing, snapshot):
    size = unit(variant) * PLACES
    if backing:
        lab.create(RAW, "b.img", size)
        lab.io("b.img", "write -P 9 0 %d" % size)
    lab.create(variant, "t.img", size, backing="b.img" if backing else None)
    if STATES[state]:
        lab.io("t.img", *spelled(variant, STATES[state]))
    if snapshot:
        lab.img("snapshot", "-c", "one", "t.img")


def each_operation(lab, variant, session):
    c = unit(variant)
    for number, (what, start, length) in enumerate(OPERATIONS):
        place = 2 * c * number
        at, n = place + int(start * c), int(length * c)
        session.do("%s %d %d" % (what, at, n), filters=["io"])
        session.do("read -P 0 %d %d" % (at, n), "read -P 1 %d %d" % (place, 2 * c), "map")


def run(lab, variant, state, opens, backing=False, snapshot=False):
    prepare(lab, variant, state, backing, snapshot)
    files = [f for f in os.listdir(lab.dirs()[0]) if f.startswith("t.img")]
    for name in files:
        lab.copy(name, name.replace("t.img", "keep.img"))
    with lab.session() as session:
        for options in opens:
            for name in files:
                lab.copy(name.replace("t.img", "keep.img"), name)
            if variant.fmt != "qcow2":
                options = ",".join(o for o in options.split(",") if "pass-" not in o)
            session.do("open -o driver=%s,file.filename=t.img,%s" % (variant.fmt, options))
            each_operation(lab, variant, session)
            session.do("close")
            lab.look()


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("backing", [False, True], ids=["alone", "backing"])
@pytest.mark.parametrize("variant", [QCOW2, V2, EXT16K, C4K], ids=str)
def test_all_options(lab, variant, backing, state):
    run(lab, variant, state, ALL_OPENS, backing=backing)


@pytest.mark.parametrize("state", ["data", "zeroes", "mixed", "compressed"])
@pytest.mark.parametrize("backing", [False, True], ids=["alone", "backing"])
@pytest.mark.parametrize("variant", [QCOW2, V2, EXT16K, LAZY], ids=str)
def test_under_a_snapshot(lab, variant, backing, state):
    """Clusters that a snapshot shares are left to it."""
    run(lab, variant, state, ALL_OPENS, backing=backing, snapshot=True)
    lab.img("snapshot", "-a", "one", "t.img")
    lab.img("snapshot", "-d", "one", "t.img")


@pytest.mark.parametrize("state", ["empty", "data", "zeroes", "mixed"])
@pytest.mark.parametrize("variant", [DATA, DATA_RAW], ids=str)
def test_data_files(lab, variant, state):
    run(lab, variant, state, ALL_OPENS)


@pytest.mark.parametrize("state", ["empty", "data"])
def test_data_file_over_a_backing_file(lab, state):
    run(lab, DATA, state, FEW_OPENS, backing=True)


@pytest.mark.parametrize("state", ["empty", "data", "zeroes", "mixed"])
@pytest.mark.parametrize("variant", [SMALL, EXT, LAZY, RC1], ids=str)
def test_other_granularities(lab, variant, state):
    run(lab, variant, state, FEW_OPENS, backing=state != "zeroes")


@pytest.mark.parametrize("state", ["empty", "data", "zeroes"])
@pytest.mark.parametrize("variant", [v for v in EVERY if v.fmt != "qcow2"], ids=str)
def test_other_formats(lab, variant, state):
    run(lab, variant, state, FEW_OPENS)


@pytest.mark.parametrize("variant", [v for v in EVERY if v.fmt in ("qed", "qcow")], ids=str)
def test_other_formats_over_a_backing_file(lab, variant):
    run(lab, variant, "empty", FEW_OPENS, backing=True)


@pytest.mark.parametrize("options", [
    "discard=ignore,detect-zeroes=unmap", "discard=nope", "detect-zeroes=nope", "discard=on", "discard=off",
    "pass-discard-request=x", "discard=unmap,discard=ignore",
])
def test_wrong_options(lab, options):
    lab.create(QCOW2, "t.img", "1M")
    with lab.session() as session:
        session.do("open -o driver=qcow2,file.filename=t.img,%s" % options, "discard 0 64k", "write -P 0 0 64k", "map")


def test_holes_of_the_host(lab):
    """What is discarded is given back to the host; what only became free is not, unless asked for."""
    def blocks(name):
        return [os.stat(os.path.join(d, name)).st_blocks for d in lab.dirs()]
    for options, shrinks in (("", True), (",pass-discard-request=off", False), (",pass-discard-request=on", True)):
        lab.create(QCOW2, "t.img", "4M")
        lab.io("t.img", "write -P 1 0 4M")
        full = blocks("t.img")
        lab.run("io", "-c", "open -o driver=qcow2,file.filename=t.img,discard=unmap" + options, "-c", "discard 0 4M")
        assert [now < before - 4096 for now, before in zip(blocks("t.img"), full)] == [shrinks] * len(full)


def test_requests_that_are_odd(lab):
    """Nothing, everything, the last bytes, and behind the end."""
    for variant in (RAW, QCOW2, EXT):
        lab.create(variant, "t.img", "1000001" if variant is RAW else "1000448")
        lab.io("t.img", "write -P 1 0 1000000")
        for command in ("discard 0 0", "write -z 0 0", "discard 999999 1", "write -z 999999 1", "discard 0 1",
                        "write -z -u 1 1", "discard 1000000 512", "write -z 1000000 512", "discard 900k 200k",
                        "write -z 65535 2", "discard 65535 131074", "write -z -u 0 1000000", "discard 0 1000000"):
            lab.io("t.img", command, status=None)


@pytest.mark.parametrize("state", ["empty", "data"])
@pytest.mark.parametrize("backing", [False, True], ids=["alone", "backing"])
@pytest.mark.parametrize("start", [32768, 34816], ids=["whole", "part"])
def test_zeroes_up_to_the_end(lab, start, backing, state):
    """From a cluster's start on: of all its subclusters, those behind the end too, which growth shows."""
    size = 32768 + 6 * 512
    if backing:
        lab.create(RAW, "b.img", size)
        lab.io("b.img", "write -P 9 0 %d" % size)
    lab.create(EXT16K, "t.img", size, backing="b.img" if backing else None)
    if state == "data":
        lab.io("t.img", "write -P 1 0 %d" % size)
    lab.io("t.img", "write -z %d %d" % (start, size - start))
    lab.img("resize", "-f", "qcow2", "t.img", "80k")
    lab.img("map", "--output=json", "t.img")
    lab.look()
