"""Faults: blkdebug's rule files on both programs, libfiu on ours; images are left as the format promises."""
import os
import shutil

import pytest

from iotests.blkimg import EXT, QCOW2, RAW, SMALL, V2

# What is done to a prepared image, and at which events it may fail.  Left out: events that the two programs
# fire at different requests (flush_to_disk, pwritev_zero, l2_update_compressed), see docs/findings.md.
OPERATIONS = {
    "allocate": (["write -P 5 256k 64k"],
                 "cluster_alloc refblock_load refblock_update_part refblock_alloc l2_load l2_update write_aio flush_to_os"),
    "copy on write": (["write -P 5 300k 1k"], "cluster_alloc cow_write l2_update write_aio refblock_alloc"),
    "overwrite": (["write -P 5 0 4k"], "write_aio l2_load l2_update flush_to_os"),
    "zero": (["write -z 0 64k"], "l2_update cluster_free refblock_load l2_load"),
    "discard": (["discard 0 64k"], "l2_update cluster_free refblock_load refblock_update_part"),
    "read": (["read 0 128k"], "read_aio l2_load"),
    "read compressed": (["read 128k 64k"], "read_compressed l2_load read_aio"),
    "vmstate": (["write -b -P 5 0 64k", "read -b 0 64k"], "vmstate_save vmstate_load l2_alloc_write l1_update write_aio"),
    "grow": (["truncate 1G", "write -P 5 1000M 64k"],
             "l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_alloc_write l1_update cluster_alloc"),
    "partial": (["write -P 5 100 1000"], "pwritev_rmw_head pwritev_rmw_tail write_aio"),
}

#: all of qapi's BlkdebugEvent
EVENTS = """
l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update
l2_update_compressed l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio read_compressed write_aio
write_compressed vmstate_load vmstate_save cow_read cow_write reftable_load reftable_grow reftable_update
refblock_load refblock_update refblock_update_part refblock_alloc refblock_alloc_hookup
refblock_alloc_write refblock_alloc_write_blocks refblock_alloc_write_table refblock_alloc_switch_table
cluster_alloc cluster_alloc_bytes cluster_free flush_to_os flush_to_disk pwritev_rmw_head
pwritev_rmw_after_head pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_zero pwritev_done
empty_image_prepare l1_shrink_write_table l1_shrink_free_l2_clusters cor_write cluster_alloc_space
""".split()


def rules(event, once=True, errno=5, state=None):
    text = '[inject-error]\nevent = "%s"\nerrno = "%d"\nonce = "%s"\n' % (event, errno, "on" if once else "off")
    return (text + ('state = "%d"\n' % state if state else "")).encode()


def prepared(lab, variant=QCOW2, snapshot=False):
    lab.create(variant, "t.img", "1M")
    lab.io("t.img", "write -P 1 0 128k", "write -c -P 2 128k 128k" if variant is EXT else
           "write -c -P 2 128k 64k" if variant is not SMALL else "flush")
    if snapshot:
        lab.img("snapshot", "-c", "one", "t.img")
    lab.images["t.img"].clean = False
    lab.images["t.img"].map = False


def after_the_fault(lab):
    """No corruption, at most leaks; they go away, and the guest's bytes are the same on both."""
    for subject, done in lab.each("img", "check", "-q", "t.img"):
        assert done.status in (0, 3), "%s: %s%s" % (subject.name, done.out, done.err)
    lab.each("img", "check", "-q", "-r", "all", "t.img")
    lab.images["t.img"].clean = True
    lab.look(everything=True)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_once(lab, operation):
    """One request fails at the event: the same words, and nothing worse than leaks."""
    commands, events = OPERATIONS[operation]
    prepared(lab)
    lab.copy("t.img", "keep.img")
    for event in events.split():
        lab.copy("keep.img", "t.img")
        lab.images["t.img"].clean = False
        lab.write_file("rules", rules(event))
        lab.run("io", "-f", "qcow2", *[w for c in commands for w in ("-c", c)], "blkdebug:rules:t.img",
                status=None, look=False, filters=["node"])
        after_the_fault(lab)


@pytest.mark.only("blkref", "after a compressed write that fails QEMU keeps an entry to data that were never written")
@pytest.mark.parametrize("event", ["write_compressed", "refblock_load", "refblock_alloc", "cluster_alloc_bytes", "l2_update",
                                   "l2_update_compressed"])
def test_compressed_once(lab, event):
    prepared(lab)
    lab.write_file("rules", rules(event))
    lab.run("io", "-f", "qcow2", "-c", "write -c -P 5 512k 64k", "blkdebug:rules:t.img", status=None, look=False)
    after_the_fault(lab)
    assert lab.bytes("t.img")[524288] in (0, 5)


EVENTS = ["write_aio", "l2_update", "refblock_alloc", "read_aio", "none"]


@pytest.mark.parametrize("event, errno", [(e, n) for e in EVENTS for n in (5, 28)] +
                         [("write_aio", n) for n in (12, 22, 95)] + [("read_aio", 95)])
def test_errors(lab, event, errno):
    """The error's own words come through; a lasting fault stays."""
    prepared(lab)
    lab.write_file("rules", rules(event, once=False, errno=errno))
    lab.run("io", "-f", "qcow2", "-c", "read 0 4k", "-c", "write -P 5 300k 1k", "-c", "write -P 6 0 1k", "-c", "flush",
            "blkdebug:rules:t.img", status=None, look=False)


@pytest.mark.parametrize("variant", [V2, SMALL, EXT], ids=str)
@pytest.mark.parametrize("event", ["l2_update", "refblock_alloc", "cow_write", "l1_grow_activate_table"])
def test_other_sets(lab, variant, event):
    prepared(lab, variant)
    lab.write_file("rules", rules(event))
    for commands in (["write -P 5 300k 1k"], ["write -z 0 64k"], ["truncate 8M", "write -P 5 7M 4k"]):
        lab.run("io", "-f", "qcow2", *[w for c in commands for w in ("-c", c)], "blkdebug:rules:t.img",
                status=None, look=False)
    after_the_fault(lab)


@pytest.mark.parametrize("event", ["l1_update", "refblock_update", "cluster_alloc", "refblock_alloc", "flush_to_disk", "write_aio"])
@pytest.mark.parametrize("args", [["snapshot", "-c", "two"], ["snapshot", "-a", "one"], ["snapshot", "-d", "one"],
                                  ["check", "-r", "all"], ["amend", "-o", "refcount_bits=8"], ["resize", "--shrink", "512k"]],
                         ids=lambda a: " ".join(a[:2]))
def test_images_tools(lab, event, args):
    """Snapshots, repairs, amends and resizes that fail in the middle leave a good image."""
    prepared(lab, snapshot=True)
    lab.write_file("rules", rules(event))
    name = "blkdebug:rules:t.img"
    words = [*args, name] if args[0] != "resize" else ["resize", "--shrink", name, "512k"]
    statuses = {done.status for _, done in lab.each("img", *words, filters=["offset"])}
    if len(statuses) == 1:
        return after_the_fault(lab)
    for subject, done in lab.each("img", "check", "-q", "t.img"):  # labels of ours hit requests that no event of QEMU's does
        assert done.status in (0, 3) or "OFLAG_COPIED" in done.err, "%s: %s%s" % (subject.name, done.out, done.err)
    lab.images.clear()


STATES = b"""
[set-state]
event = "l2_load"
state = "1"
new_state = "2"

[set-state]
event = "write_aio"
state = "2"
new_state = "3"

[inject-error]
event = "write_aio"
state = "3"
errno = "28"
once = "on"
"""


def test_states(lab):
    """Rules that wait for others."""
    prepared(lab)
    lab.write_file("rules", STATES)
    lab.run("io", "-f", "qcow2", *[w for n in range(5) for w in ("-c", "write -P 5 %dk 4k" % (n * 16))],
            "blkdebug:rules:t.img", status=None, look=False)
    after_the_fault(lab)


@pytest.mark.parametrize("kind", ["read", "write", "write-zeroes", "discard", "flush", "block-status", "nope"])
def test_kinds_and_sectors(lab, kind):
    lab.create(RAW, "t.img", "1M")
    for sector in ("", 'sector = "3"\n'):
        lab.write_file("rules", b'[inject-error]\nevent = "none"\niotype = "%s"\n%s' % (kind.encode(), sector.encode()))
        lab.run("io", "-f", "raw", "-c", "read 0 512", "-c", "read 1536 512", "-c", "write 0 4k", "-c", "write 4k 4k",
                "-c", "write -z 0 4k", "-c", "discard 0 4k", "-c", "flush", "-c", "map", "blkdebug:rules:t.img",
                status=None, look=False)


@pytest.mark.parametrize("text", [
    "", "[nope]\n", "[inject-error]\n", '[inject-error]\nevent = "nope"\n', '[inject-error]\nevent = "none"\nnope = "1"\n',
    '[inject-error]\nevent = "none"\nerrno = "x"\n', '[inject-error]\nevent = "none"\nsector = "-2"\n', "event = 1\n",
    "[inject-error\n", '[inject-error]\nevent = none\n', '[set-state]\nevent = "none"\n', "# a comment\n\n",
    '[inject-error]\nevent = "none"\nstate = "99999999999999999999"\n', '[inject-error]\nevent="none"\n',
    '[inject-error]\nevent = "none"\nonce = "maybe"\n', '[inject-error]\nevent = "none"\nimmediately = "on"\n',
])
def test_rule_files(lab, text):
    """What a rule file may hold."""
    lab.create(RAW, "t.img", "64k")
    lab.write_file("rules", text.encode())
    lab.run("io", "-f", "raw", "-c", "read 0 512", "-c", "write 0 512", "blkdebug:rules:t.img", status=None, look=False)


@pytest.mark.parametrize("name", ["blkdebug::t.img", "blkdebug:t.img", "blkdebug:none:t.img", "blkdebug:", "blkdebug::none.img",
                                  "blkdebug:rules:blkdebug:rules:t.img", "blkverify:t.img:u.img", "blkverify:t.img",
                                  "blkverify:none:t.img", "blkverify:"])
def test_names(lab, name):
    lab.create(RAW, "t.img", "64k")
    lab.create(RAW, "u.img", "64k")
    lab.write_file("rules", rules("none"))
    lab.run("io", "-f", "raw", "-c", "read 0 512", "-c", "read 0 512", "-c", "write -P 1 0 512", name, status=None, look=False)


# ---- libfiu ----

FIU = pytest.mark.skipif(not shutil.which("fiu-run"), reason="fiu-run is not installed")
ONLY = pytest.mark.only("blkref", "libfiu's points are in our programs alone")


@FIU
@ONLY
@pytest.mark.parametrize("label", ["write_aio", "l2_update", "refblock_alloc_write", "cluster_alloc", "flush_to_disk", "l2_load"])
@pytest.mark.parametrize("errno", [5, 28])
def test_fiu(lab, label, errno):
    """Any label of any program can be made to fail from outside, with any error."""
    subject, folder = lab.subjects[0], lab.dir(lab.subjects[0])
    prepared(lab)
    before = ("env", "ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0", "fiu-run", "-x", "-c",
              "enable name=blkref/io/%s,failinfo=%d" % (label, errno))
    done = subject.run("io", "-f", "qcow2", "-c", "write -P 5 300k 1k", "-c", "flush", "t.img", cwd=folder, before=before)
    words = "No space left on device" if errno == 28 else "Input/output error"
    if "failed" in done.out + done.err:
        assert words in done.out + done.err and done.status == 1
    after_the_fault(lab)
    assert os.path.exists(os.path.join(folder, "t.img"))


def test_names_of_events(lab):
    """Every event may be broken at, and used in rules; nothing else may."""
    lab.create(QCOW2, "t.img", "1M", look=False)
    names = EVENTS + ["none", "nope", "READ_AIO", ""]
    breaks = [c for name in names for c in ("break %s A" % name, "remove_break A")]
    lab.io("blkdebug::t.img", *breaks, status=None, look=False, fmt="qcow2")
    for name in names:
        lab.write_file("rules", ('[set-state]\nevent = "%s"\nstate = "1"\nnew_state = "2"\n' % name).encode())
        lab.io("blkdebug:rules:t.img", "length", status=None, look=False, fmt="qcow2")
