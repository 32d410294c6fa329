"""Wrong usage, from a generated table: subcommand x option x {missing, unknown, bad, duplicate, conflicting}.

What both programs say and their exit status must be the same; no expectation stands here, so the tests
need QEMU.  Usage texts themselves are left out: each program has its own.
"""
import os

import pytest

VALUES = {"-f": "qcow2", "-O": "raw", "-F": "raw", "-o": "lazy_refcounts=on", "-b": "b.img", "-B": "b.img",
          "-t": "none", "-T": "none", "-l": "s", "-S": "4k", "-m": "2", "-r": "1M", "-c": "s", "-a": "s",
          "-d": "s", "-s": "0", "--output": "json", "--object": "secret,id=x,data=y", "--size": "1M",
          "--preallocation": "off", "-i": "threads"}
BAD = {"-f": "nope", "-O": "nope", "-F": "nope", "-o": "nope=1", "-b": "none.img", "-B": "none.img",
       "-t": "nope", "-T": "nope", "-l": "-1", "-S": "x", "-m": "x", "-r": "x", "-c": "x", "-a": "none",
       "-d": "none", "-s": "x", "--output": "xml", "--object": "nope,id=x", "--size": "x",
       "--preallocation": "nope", "-i": "nope"}

# subcommand: (options with a value, options without, operands)
COMMANDS = {
    "amend": ("-f -t -o --object", "-q -p --image-opts --force", ["t.img"]),
    "check": ("-f --output -r -T --object", "-q -U --image-opts", ["t.img"]),
    "compare": ("-f -F -T --object", "-p -q -s -U --image-opts", ["t.img", "t.img"]),
    "create": ("-f -b -F -o --object", "-q -u", ["n.img", "1M"]),
    "info": ("-f --output --object", "--backing-chain -U --image-opts", ["t.img"]),
    "map": ("-f --output --object -s -l", "-U --image-opts", ["t.img"]),
    "snapshot": ("-a -c -d --object", "-l -q -U --image-opts", ["t.img"]),
    "resize": ("-f --preallocation --object", "-q --shrink --image-opts", ["t.img", "2M"]),
    "convert": ("-f -O -B -F -o -l -S -m -r -t -T --object",
                "-c -C -n -p -q -U -W --image-opts --target-image-opts --target-is-zero --salvage",
                ["t.img", "n.img"]),
    "commit": ("-f -t -b -r --object", "-d -p -q --image-opts", ["t.img"]),
    "rebase": ("-f -t -T -b -F --object", "-p -q -u -U --image-opts", ["t.img"]),
    "measure": ("-f -O -o -l --size --output --object", "-U --image-opts", ["t.img"]),
    "dd": ("-f -O", "-U --image-opts", ["if=t.img", "of=n.img"]),
    "bench": ("-c -d -f -i -o -s -S -t --pattern --flush-interval", "-n -q -w -U --no-drain", ["t.img"]),
}

def known(command, kind, option, args):
    """Why a difference is known and left, or None."""
    if command == "measure" and kind in ("unknown", "missing", "bad"):
        return "QEMU prints its help and succeeds; a wrong option of measure fails here"
    if "--image-opts" in args:
        return "a lone word is a node's name for QEMU, and no driver here: another message, same status"
    if (command, option) == ("snapshot", "-U"):
        return "QEMU opens for writing when there is no action and refuses -U"
    if (command, option) == ("commit", "-p"):
        return "QEMU shows a progress of 0 before it refuses"
    return None


def joined(option, value):
    return [option + "=" + value] if option.startswith("--") else [option, value]


def cases(command):
    """(class, option, argument list)."""
    valued, plain, operands = COMMANDS[command]
    yield "missing", "operands", [command]
    yield "missing", "last operand", [command, *operands[:-1]]
    yield "conflicting", "too many operands", [command, *operands, "x", "y", "z"]
    yield "unknown", "-Z", [command, "-Z", *operands]
    yield "unknown", "--nope", [command, "--nope", *operands]
    for option in valued.split():
        good, bad = VALUES.get(option, "1"), BAD.get(option, "x")
        yield "missing", option, [command, *operands, option]
        yield "bad", option, [command, *joined(option, bad), *operands]
        yield "bad", option + " empty", [command, *joined(option, ""), *operands]
        if option == "--object":
            continue  # our programs have no object types yet
        yield "duplicate", option, [command, *joined(option, good), *joined(option, good), *operands]
        yield "conflicting", option, [command, "--image-opts", *joined(option, good), *operands]
    for option in plain.split():
        yield "duplicate", option, [command, option, option, *operands]
        if option.startswith("--"):
            yield "bad", option, [command, option + "=x", *operands]


def test_standard_options(lab, both):
    for args in ([], ["nope"], ["--nope"], ["-Z"], ["-T"], ["--trace"], ["Create"], ["create "]):
        lab.run("img", *args, status=1, filters=["usage"])


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage(lab, both, command):
    different = []
    for kind, option, args in cases(command):
        for folder in lab.dirs():
            for name in ("t.img", "b.img", "n.img"):
                lab_remove(folder, name)
        lab.each("img", "create", "-q", "-f", "qcow2", "b.img", "1M")
        lab.each("img", "create", "-q", "-f", "qcow2", "t.img", "1M")
        results = lab.each("img", *args, filters=["usage", "bench"])
        try:
            lab.agree(" ".join(args), results)
        except AssertionError as error:
            if not known(command, kind, option, args):
                different.append("[%s %s] %s" % (kind, option, error))
    assert not different, "%d differences\n%s" % (len(different), "\n".join(different))


def lab_remove(folder, name):
    try:
        os.unlink(os.path.join(folder, name))
    except FileNotFoundError:
        pass
