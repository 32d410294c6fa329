"""Wrong usage, from generated tables: program x command x option x {missing, unknown, bad value, duplicate,
conflicting, hexadecimal, abbreviated}.

What both programs say and their exit status must be the same; no expectation stands here, so the tests
need QEMU.  Usage texts themselves are left out: each program has its own.
"""
import concurrent.futures
import itertools
import os
import shutil

import pytest

from iotests.blkimg import filter_io

# Good and bad values of options; what is not there takes "1" and "x".
VALUES = {"-f": "qcow2", "-O": "raw", "-F": "raw", "-o": "lazy_refcounts=on", "-b": "b.img", "-B": "b.img",
          "-t": "none", "-T": "none", "-l": "s", "-S": "4k", "-m": "2", "-r": "1M", "-c": "s", "-a": "s",
          "-d": "s", "-s": "0", "-i": "threads", "--output": "json", "--object": "secret,id=x,data=y", "--size": "1M",
          "--preallocation": "off", "--pattern": "1", "--format": "qcow2", "--merge": "s", "--repair": "all",
          "-g": "64k", "--granularity": "64k", "--source-file": "b.img", "--source-format": "qcow2"}
BAD = {"-f": "nope", "-O": "nope", "-F": "nope", "-o": "nope=1", "-b": "none.img", "-B": "none.img", "-t": "nope",
       "-T": "nope", "-l": "-1", "-a": "none", "-d": "none", "--output": "xml", "--object": "nope,id=x",
       "--preallocation": "nope", "-i": "nope", "--format": "nope", "--repair": "nope", "--source-file": "none.img",
       "--source-format": "nope"}
SIZES = {"-S", "-r", "-o", "-s", "-l", "--size", "--start-offset", "--max-length", "-g", "--granularity"}

# command: (options with a value, options without, operands)
COMMANDS = {
    "amend": ("-f -t -o --object", "-q -p --image-opts --force", ["t.img"]),
    "bench": ("-c -d -f -i -o -s -S -t --pattern --flush-interval", "-n -q -w -U --no-drain --image-opts", ["t.img"]),
    "bitmap": ("-b -F -f -g --object --merge --granularity --source-file --source-format",
               "--add --remove --clear --enable --disable --image-opts", ["t.img", "b0"]),
    "check": ("-f --format --output -r --repair -T --object", "-q -U --force-share --image-opts", ["t.img"]),
    "commit": ("-f -t -b -r --object", "-d -p -q --image-opts", ["t.img"]),
    "compare": ("-f -F -T --object", "-p -q -s -U --force-share --image-opts", ["t.img", "t.img"]),
    "convert": ("-f --format -O -B -F -o -l -S -m -r -t -T --object",
                "-c -C -n -p -q -U -W --image-opts --target-image-opts --target-is-zero --salvage --bitmaps"
                " --skip-broken-bitmaps --force-share", ["t.img", "n.img"]),
    "create": ("-f -b -F -o --object", "-q -u --image-opts", ["n.img", "1M"]),
    "dd": ("-f -O --object", "-U --image-opts --force-share", ["if=t.img", "of=n.img"]),
    "info": ("-f --format --output --object", "--backing-chain -U --image-opts", ["t.img"]),
    "map": ("-f --output --object -s --start-offset -l --max-length", "-U --image-opts", ["t.img"]),
    "measure": ("-f -O -o -l --size --output --object", "-U --image-opts --force-share", ["t.img"]),
    "rebase": ("-f -t -T -b -F --object", "-p -q -u -U --image-opts", ["t.img"]),
    "resize": ("-f --preallocation --object", "-q --shrink --image-opts", ["t.img", "2M"]),
    "snapshot": ("-a -c -d --object", "-l -q -U --force-share --image-opts", ["t.img"]),
}
FOREIGN = ["--output=json", "--backing-chain", "--shrink", "--salvage", "--size=1M", "--add", "--source-file=b.img",
           "--pattern=1", "--force", "--force-share", "--progress", "--quiet", "--cache=none", "-i", "-g", "-w", "-e"]
SHORTENED = ["--form=qcow2", "--im", "--obj=secret,id=x,data=y", "--out=json", "--fo", "--f", "--h=x"]

# (command, arguments after it): what the two do differently on purpose, and why.
KNOWN = {}
for action in ("--add", "--add --add", "--add --remove", "--add --clear", "--add --enable", "--add --disable",
               "-f qcow2 --add", "-g 64k --add", "--granularity=64k --add", "--object=secret,id=x,data=y --add"):
    KNOWN["img", "bitmap %s t.img b0" % action] = "persistent bitmaps are refused"
for share in ("-U", "--force-share"):
    KNOWN["img", "snapshot %s --image-opts t.img" % share] = "two mistakes at once: QEMU names the other one"
KNOWN["io", "sleep 99999999999999999999"] = "wraps to no time at all in QEMU"


def joined(option, value):
    return [option + "=" + value] if option.startswith("--") else [option, value]


def cases(command):
    """(class, argument list) of one subcommand of qemu-img."""
    valued, plain, operands = COMMANDS[command]
    yield "missing", [command]
    yield "missing", [command, *operands[:-1]]
    yield "conflicting", [command, *operands, "x", "y", "z"]
    yield "unknown", [command, "-Z", *operands]
    yield "unknown", [command, "--nope", *operands]
    yield "unknown", [command, "-qZ", *operands]
    yield "unknown", [command, "--image-opts", *operands]
    for option in FOREIGN:
        yield "unknown", [command, option, *operands]
    for option in SHORTENED:
        yield "abbreviated", [command, option, *operands]
    for option in valued.split():
        good, bad = VALUES.get(option, "1"), BAD.get(option, "x")
        yield "missing", [command, *operands, option]
        yield "bad", [command, *joined(option, bad), *operands]
        yield "bad", [command, *joined(option, ""), *operands]
        yield "duplicate", [command, *joined(option, good), *joined(option, good), *operands]
        yield "duplicate", [command, *joined(option, good), *joined(option, bad), *operands]
        yield "conflicting", [command, "--image-opts", *joined(option, good), *operands]
        if option in SIZES:
            for size in ("0x10k", "-1", "9E", "99999999999999999999", "1.5", "0x200"):
                yield "bad", [command, *joined(option, size), *operands]
    for option in plain.split():
        yield "duplicate", [command, option, option, *operands]
        if option.startswith("--"):
            yield "bad", [command, option + "=x", *operands]


def pairs(command):
    """Every two options of one subcommand, with good values."""
    valued, plain, operands = COMMANDS[command]
    first = ["-c", "10"] if command == "bench" else []
    options = [joined(o, VALUES.get(o, "1")) for o in valued.split()] + [[o] for o in plain.split()]
    for a, b in itertools.combinations(options, 2):
        yield "conflicting", [command, *first, *a, *b, *operands]


class Bench:
    """Folders that are made anew from a template for each case; both programs run at once."""

    def __init__(self, lab):
        self.lab, self.pool = lab, concurrent.futures.ThreadPoolExecutor(len(lab.subjects))
        lab.each("img", "create", "-q", "-f", "qcow2", "b.img", "1M")
        lab.each("img", "create", "-q", "-f", "qcow2", "t.img", "1M")
        self.template = {}
        for subject in lab.subjects:
            self.template[subject.name] = {name: open(lab.path(subject, name), "rb").read()
                                           for name in ("b.img", "t.img")}

    def reset(self):
        for subject in self.lab.subjects:
            folder = self.lab.dir(subject)
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
            for name, data in self.template[subject.name].items():
                with open(os.path.join(folder, name), "wb") as out:
                    out.write(data)

    def difference(self, tool, args, stdin=""):
        """What the programs do differently with these arguments, or None."""
        self.reset()
        results = list(self.pool.map(lambda s: self.lab.one(s, tool, *args, stdin=stdin,
                                                            filters=["usage", "bench", "node"]), self.lab.subjects))
        try:
            self.lab.agree(" ".join(args), list(zip(self.lab.subjects, results)))
        except AssertionError as error:
            return str(error)
        return None


def judge(lab, tool, rows):
    """Fails with all differences that KNOWN does not explain, and with rows of KNOWN that agree."""
    bench, different, seen = Bench(lab), [], set()
    for kind, args in rows:
        line = " ".join(args)
        if (tool, line) in seen:
            continue
        seen.add((tool, line))
        difference = bench.difference(tool, args)
        if difference and (tool, line) not in KNOWN:
            different.append("[%s] %s" % (kind, difference))
        if not difference and (tool, line) in KNOWN:
            different.append("[%s] %s: known as different, but is not" % (kind, line))
    assert not different, "%d of %d differ\n%s" % (len(different), len(seen), "\n".join(different))


def test_standard_options(lab, both):
    judge(lab, "img", [("standard", args) for args in (
        [], ["nope"], ["--nope"], ["-Z"], ["-T"], ["--trace"], ["Create"], ["create "], ["--tr"], ["-T", "help=x"])])


@pytest.mark.parametrize("command", COMMANDS)
def test_wrong_usage(lab, both, command):
    judge(lab, "img", cases(command))


def test_convert_with_all_that_conflicts(lab, both):
    """Which of several conflicts is the one that is told."""
    parts = [["-C"], ["-c"], ["-S", "4k"], ["--salvage"], ["--skip-broken-bitmaps"], ["--target-image-opts"],
             ["--target-is-zero"], ["-n", "-o", "size=1M"]]
    judge(lab, "img", [("conflicting", ["convert", *sum(some, []), "t.img", "n.img"])
                       for count in (3, 4) for some in itertools.combinations(parts, count)])


@pytest.mark.parametrize("command", COMMANDS)
def test_two_options(lab, both, command):
    judge(lab, "img", pairs(command))


# ---- qemu-io ----

IO_VALUED = "-c --cmd -f --format -i --aio -d --discard -t --cache --object"
IO_PLAIN = ("-r --read-only -s --snapshot -n --nocache -C --copy-on-read -m --misalign -k --native-aio -U"
            " --force-share --image-opts")
IO_VALUES = {"-c": "length", "--cmd": "length", "-f": "qcow2", "--format": "qcow2", "-i": "threads",
             "--aio": "threads", "-d": "unmap", "--discard": "unmap", "-t": "writeback", "--cache": "writeback",
             "--object": "secret,id=x,data=y"}


def io_cases():
    """Options of the program."""
    end = ["-c", "length", "t.img"]
    yield "missing", ["-c", "length"]
    yield "missing", ["-c", "length", "none.img"]
    yield "conflicting", [*end, "b.img"]
    yield "conflicting", ["--image-opts", "-f", "qcow2", *end]
    yield "conflicting", ["--image-opts", *end]
    yield "conflicting", ["--image-opts", "-c", "length", "driver=qcow2"]
    yield "conflicting", ["--image-opts", "-c", "length", "nope"]
    for option in ("-Z", "--nope", "-rZ", "-Zr", "--nope=1", "-e", "--read", "--c=length", "--n", "-T"):
        yield "unknown", [option, *end]
    for option in IO_VALUED.split():
        good = IO_VALUES[option]
        yield "missing", [*end, option]
        yield "bad", [*joined(option, "nope"), *end]
        yield "bad", [*joined(option, ""), *end]
        yield "duplicate", [*joined(option, good), *joined(option, good), *end]
    for option in IO_PLAIN.split():
        yield "duplicate", [option, option, *end]
        if option.startswith("--"):
            yield "bad", [option + "=x", *end]


# command: (flags without a value, flags with one and a good value, operands)
IO_COMMANDS = {
    "read": ("bCpqUv", {"P": "1", "s": "0", "l": "512"}, ["0", "512"]),
    "readv": ("Cqv", {"P": "1"}, ["0", "512"]),
    "write": ("bcCfnpquz", {"P": "1", "s": "f.bin"}, ["0", "512"]),
    "writev": ("Cfq", {"P": "1"}, ["0", "512"]),
    "aio_read": ("Cqv", {"P": "1"}, ["0", "512"]),
    "aio_write": ("Cfqiuz", {"P": "1"}, ["0", "512"]),
    "aio_flush": ("q", {}, []),
    "discard": ("Cq", {}, ["0", "512"]),
    "alloc": ("q", {}, ["0", "512"]),
    "map": ("q", {}, []),
    "flush": ("q", {}, []),
    "length": ("q", {}, []),
    "info": ("q", {}, []),
    "truncate": ("", {"m": "off"}, ["1M"]),
    "break": ("q", {}, ["read_aio", "A"]),
    "remove_break": ("q", {}, ["A"]),
    "resume": ("q", {}, ["A"]),
    "wait_break": ("", {}, []),
    "reopen": ("", {"c": "writeback", "o": "lazy-refcounts=on"}, []),
    "open": ("Crsnku", {"d": "unmap", "t": "none", "o": "driver=qcow2"}, ["t.img"]),
    "close": ("q", {}, []),
    "help": ("q", {}, ["read"]),
    "sleep": ("q", {}, ["1"]),
    "sigraise": ("q", {}, ["0"]),
}
NUMBERS = ["x", "-1", "", "1x", "9E", "8E", "2G", "99999999999999999999", "1.5", "0x10k", "513", "0x200", "+1", " 1",
           "1 1", "1e2", "0x"]


def io_lines(name):
    """Command lines of one command of qemu-io."""
    plain, valued, operands = IO_COMMANDS[name]
    rest = " ".join(operands)
    if name != "help":
        yield name  # the list of commands has one of our own
    yield "%s %s x y z" % (name, rest)
    if name == "wait_break":
        return  # any word is a tag, and waited for
    yield "%s -Z %s" % (name, rest)
    yield "%s --nope %s" % (name, rest)
    yield "%s -- %s" % (name, rest)
    for i, operand in enumerate(operands):
        if i:
            yield "%s %s" % (name, " ".join(operands[:i]))
        for number in NUMBERS:
            changed = [*operands[:i], '"%s"' % number if " " in number or not number else number, *operands[i + 1:]]
            yield "%s %s" % (name, " ".join(changed))
    for flag in plain:
        yield "%s -%s" % (name, flag)
        yield "%s -%s -%s %s" % (name, flag, flag, rest)
        yield "%s -%sZ %s" % (name, flag, rest)
        for other in plain:
            if other != flag:
                yield "%s -%s%s %s" % (name, flag, other, rest)
        for other, good in valued.items():
            yield "%s -%s -%s %s %s" % (name, flag, other, good, rest)
    for flag, good in valued.items():
        yield "%s %s -%s" % (name, rest, flag)
        yield "%s -%s %s -%s %s %s" % (name, flag, good, flag, good, rest)
        for bad in ["nope", *NUMBERS]:
            yield "%s -%s %s %s" % (name, flag, '"%s"' % bad if " " in bad or not bad else bad, rest)


@pytest.mark.parametrize("subject", ["options"])
def test_wrong_usage_of_io(lab, both, subject):
    judge(lab, "io", io_cases())


@pytest.mark.parametrize("name", IO_COMMANDS)
def test_wrong_commands(lab, both, name):
    """All lines of one command in one session, a mark behind each."""
    bench, different = Bench(lab), []
    bench.reset()
    lines = list(dict.fromkeys(io_lines(name)))
    said = []
    for subject in lab.subjects:
        lab.write_file("f.bin", b"\1" * 512)
        stdin = "".join("%s\naio_flush\nmark-%d\n" % (line, i) for i, line in enumerate(lines)) + "quit\n"
        said.append(lab.one(subject, "io", "-f", "qcow2", "t.img", stdin=stdin, filters=["node"],
                            before=("sh", "-c", 'exec "$0" "$@" 2>&1')))
    parts = [split_marks(s, len(lines)) for s in said]
    for i, line in enumerate(lines):
        if parts[0][i] != parts[1][i] and ("io", line) not in KNOWN:
            different.append("%s\n--- %s\n%s\n--- %s\n%s" % (line, lab.subjects[0].name, parts[0][i],
                                                             lab.subjects[1].name, parts[1][i]))
    assert said[0].status == said[1].status
    assert not different, "%d of %d differ\n%s" % (len(different), len(lines), "\n".join(different))


def split_marks(done, n):
    """What each line of the session printed, as far as the program came."""
    parts, rest = [], done.out
    for i in range(n):
        head, mark, tail = rest.partition('command "mark-%d" not found\n' % i)
        parts.append(filter_io(head.replace("qemu-io> ", "")) if mark else "(not reached)")
        rest = tail
    return parts
