"""Discard and zeroing: image options x granularity x backing x snapshot, compared step by step with QEMU.

After every step output, guest bytes and map agree; at the end each program's check accepts the other's image.
"""
import pytest

from iotests.blkimg import same_on_both

OPTIONS = ["", "compat=0.10", "extended_l2=on"]
# (offset, length): a cluster, several, parts of one, across a border, up to the end
RANGES = {"cluster": ("64k", "64k"), "clusters": ("64k", "192k"), "inside": ("68k", "4k"),
          "across": ("60k", "8k"), "tail": ("960k", "64k")}
ACTIONS = {"discard": "discard {0} {1}", "zero": "write -z {0} {1}", "unmap": "write -z -u {0} {1}"}


def script(options, backing, snapshot, action, where):
    """The image's making, the action on data, once more on what it left, and on a hole."""
    make = ["create", "-q", "-f", "qcow2"] + (["-o", options] if options else [])
    steps = []
    if backing:
        steps += [("img", "create", "-q", "-f", "raw", "base.raw", "1M")]
        make += ["-b", "base.raw", "-F", "raw"]
    steps += [("img", *make, "t.qcow2", "1M"), ("io", "write -q -P 17 0 512k", "write -q -P 18 960k 64k")]
    if snapshot:
        steps += [("img", "snapshot", "-c", "s", "t.qcow2")]
    command = ACTIONS[action].format(*RANGES[where])
    steps += [("io", command), ("io", command, "write -q -P 19 {0} {1}".format(*RANGES[where]))]
    steps += [("io", ACTIONS[action].format("640k", RANGES[where][1]))]
    if snapshot:
        steps += [("img", "snapshot", "-a", "s", "t.qcow2"), ("img", "snapshot", "-d", "s", "t.qcow2")]
    return steps


@pytest.mark.parametrize("where", RANGES)
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("backing, snapshot", [(False, False), (True, True)],
                         ids=["alone", "backing+snapshot"])
@pytest.mark.parametrize("options", OPTIONS, ids=[o or "default" for o in OPTIONS])
def test_as_qemu_does(pair, options, backing, snapshot, action, where):
    same_on_both(*pair, script(options, backing, snapshot, action, where))
