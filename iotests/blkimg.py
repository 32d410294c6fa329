"""Helpers of the end-to-end tests: subjects, running their programs, and what images hold.

A *subject* is one set of programs (ours, or QEMU's).  A *lab* runs every command on all subjects at
once, each in a folder of its own with the same file names, and demands the same answers; after every
command it looks at the images: same map, same guest bytes, and each accepted by the other's check.  What equal files
hold is looked up once in a run.
Output filters are usable from shell scripts:  python3 -m iotests.blkimg filter io testdir=DIR < text

Leaves out: anything about one format; judging whether an answer is right (the tests do that).
"""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field

TOOLS = {"img": "qemu-img", "io": "qemu-io", "nbd": "qemu-nbd", "qsd": "qemu-storage-daemon",
         "system": "qemu-system-x86_64"}
LIMIT = 120  # seconds after which a program counts as hung
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|runtime error:")
NO_CHECK = 63  # exit status of `check` on a format that has none


class SanitizerReport(AssertionError):
    """A program printed a sanitizer's report."""


@dataclass
class Result:
    """What one program did: exit status (negative: signal) and its two outputs."""
    status: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)


# ---- filters ----

def filter_io(text):
    """Timings of qemu-io's statistics."""
    text = re.sub(r"[0-9.]+ \w+, \d+ ops; [0-9:.]+(?: sec)? \([^)]*\)", "X bytes, X ops; XX:XX:XX.X (X)", text)
    return re.sub(r"^(\d+),(\d+),[0-9:.]+,[0-9.]+,[0-9.]+$", r"\1,\2,X,X,X", text, flags=re.M)


def filter_size(text):
    """Host sizes: they depend on the file system."""
    text = re.sub(r"disk size: .*", "disk size: SIZE", text)
    return re.sub(r'("actual-size": )\d+', r"\g<1>0", text)


def filter_date(text):
    """Dates of snapshots."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE TIME          ", text)
    return re.sub(r'("date-(?:n?sec)": )\d+', r"\g<1>0", text)


def filter_offset(text):
    """Host offsets in JSON maps, and the image's end in JSON checks."""
    text = re.sub(r', "offset": \d+', "", text)
    text = re.sub(r'("image-end-offset": )\d+', r"\g<1>0", text)
    return re.sub(r"Image end offset: \d+", "Image end offset: N", text)


def filter_pid(text):
    """Process numbers in front of a shell's report of a killed program."""
    return re.sub(r"^(.*: line \d+: +)\d+ ", r"\1PID ", text, flags=re.M)


def filter_testdir(text, folder):
    """A folder's path; programs print it where they resolve names."""
    return text.replace(folder, "TEST_DIR")


def filter_usage(text):
    """Usage texts, with the version in front of them: each program has its own."""
    return re.sub(r"^(qemu-\S+ version [^\n]*\n[^\n]*\n)?usage: .*", "USAGE\n", text, flags=re.I | re.M | re.S)


def filter_sorted(text):
    """Lines in alphabetical order, where requests may end in any."""
    return "\n".join(sorted(text.split("\n")))


def filter_prompt(text):
    """Prompts of qemu-io: requests may end in front of one or behind it."""
    return text.replace("qemu-io> ", "")


def filter_bench(text):
    """The time that bench took."""
    return re.sub(r"Run completed in [0-9.]+ seconds", "Run completed in X seconds", text)


def filter_node(text):
    """Numbers of nodes that got their names by themselves."""
    return re.sub(r"#block\d+", "#blockN", text)


def filter_uuid(text):
    """UUIDs that creators draw."""
    return re.sub(r"\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", "UUID", text, flags=re.I)


def filter_progress(text):
    """Progress lines: how often they are printed is a matter of time."""
    return re.sub(r"(?: +\([0-9.]+/100%\)\r)+", "    (PROGRESS)\r", text)


FILTERS = {"io": filter_io, "size": filter_size, "date": filter_date, "offset": filter_offset,
           "pid": filter_pid, "usage": filter_usage, "prompt": filter_prompt, "sorted": filter_sorted,
           "bench": filter_bench, "node": filter_node, "uuid": filter_uuid, "progress": filter_progress}
ALWAYS = ("io", "size", "date")


def apply_filters(text, names=ALWAYS, folder=None):
    for name in names:
        text = FILTERS[name](text)
    return filter_testdir(text, folder) if folder else text


# ---- subjects ----

@dataclass
class Subject:
    """One set of programs under test."""
    name: str
    folder: str  # where qemu-img and the others are
    env: tuple = ()  # (variable, value)s of its programs

    def program(self, tool):
        return os.path.join(self.folder, TOOLS[tool])

    def has(self, tool):
        return os.access(self.program(tool), os.X_OK)

    @property
    def sanitized(self):
        with open(self.program("img"), "rb") as program:
            return b"__asan_init" in program.read()

    def environment(self):
        return {**os.environ, **dict(self.env)}

    def command(self, tool, args, before=()):
        return [*before, self.program(tool), *[str(a) for a in args]]

    def run(self, tool, *args, cwd=None, stdin="", before=(), limit=LIMIT):
        """Runs a tool to its end; text in, text out.  A sanitizer's report is an error of the test."""
        done = subprocess.run(self.command(tool, args, before), cwd=cwd, input=stdin.encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=limit,
                              env=self.environment())
        result = Result(done.returncode, done.stdout.decode(errors="replace"),
                        done.stderr.decode(errors="replace"))
        if SANITIZER.search(result.err) or SANITIZER.search(result.out):
            raise SanitizerReport("%s %s\n%s" % (tool, " ".join(map(str, args)), result.err))
        return result

    def start(self, tool, *args, cwd=None, before=()):
        """Starts a tool that takes its commands from a pipe (see Session)."""
        return subprocess.Popen(self.command(tool, args, before), cwd=cwd, env=self.environment(),
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def find_subjects():
    """The subjects of this machine: ours from BLKREF_BUILD (default build), QEMU's from PATH."""
    found = []
    ours = os.path.abspath(os.path.join(os.environ.get("BLKREF_BUILD", "build"), "drop-in"))
    if os.access(os.path.join(ours, "qemu-img"), os.X_OK):
        found.append(Subject("blkref", ours))
    theirs = shutil.which("qemu-img")
    if theirs:
        found.append(Subject("qemu", os.path.dirname(os.path.abspath(theirs))))
    return found


def same_release(subjects):
    """Ours speak as the release of the QEMU beside them, where it is in their table."""
    release = re.search(r"version ([0-9.]+)", subjects[-1].run("img", "--version").out)
    if subjects[0].name == "blkref" and len(subjects) > 1 and release:
        old = Subject("blkref", subjects[0].folder, (("BLKREF_RELEASE", release.group(1)),))
        if old.run("img", "--version").status == 0:
            return [old, *subjects[1:]]
    return subjects


# ---- what an image holds ----

MAP_KEYS = ("depth", "present", "zero", "data")


def normal_map(entries, below=False):
    """[(start, length, facts)] of `map --output=json`, without host offsets, neighbours merged.

    With `below`, holes that the host's file has under data clusters are left out as well: whether
    zeroes around a small write are written or left a hole is the host's matter.
    """
    runs = []
    for entry in entries:
        if "offset" in entry and below:
            entry = {**entry, "zero": entry["zero"] and not entry["data"]}
        facts = tuple(entry[k] for k in MAP_KEYS)
        if runs and runs[-1][2] == facts and runs[-1][0] + runs[-1][1] == entry["start"]:
            runs[-1] = (runs[-1][0], runs[-1][1] + entry["length"], facts)
        else:
            runs.append((entry["start"], entry["length"], facts))
    return runs


def normal_info(info):
    """`info --output=json` without what differs between hosts and runs."""
    if isinstance(info, list):
        return [normal_info(i) for i in info]
    drop = {"actual-size", "dirty-flag", "date-sec", "date-nsec", "vm-clock-sec", "vm-clock-nsec"}
    return {k: normal_info(v) if isinstance(v, dict) or k == "snapshots" else v
            for k, v in info.items() if k not in drop}


def normal_check(report):
    """`check --output=json` without host offsets and names."""
    return {k: v for k, v in report.items() if k not in {"image-end-offset", "filename"}}


def image_map(subject, image, fmt, cwd=None):
    done = subject.run("img", "map", "-U", "-f", fmt, "--output=json", image, cwd=cwd)
    assert done.status == 0, "%s map %s: %s" % (subject.name, image, done.err)
    return normal_map(done.json(), below=fmt != "raw")


def guest_bytes(subject, image, fmt, cwd=None):
    """All of the guest's disk, read by the subject."""
    out = os.path.join(cwd or ".", ".guest-bytes")
    done = subject.run("img", "convert", "-U", "-f", fmt, "-O", "raw", image, ".guest-bytes", cwd=cwd)
    assert done.status == 0, "%s convert %s: %s" % (subject.name, image, done.err)
    with open(out, "rb") as raw:
        data = raw.read()
    os.unlink(out)
    return data


def byte_runs(data):
    """[(offset, length, byte)] of a disk's contents."""
    runs, at = [], 0
    while at < len(data):
        byte = data[at:at + 1]
        end = at
        while data[end:end + 65536] == byte * 65536:
            end += 65536
        tail = data[end:end + 65536]
        end += len(tail) - len(tail.lstrip(byte))
        if end == at:
            end = at + 1
        runs.append((at, end - at, byte[0]))
        at = end
    return runs


# ---- option sets ----

@dataclass(frozen=True)
class Variant:
    """A format with creation options: what images of a test are made as."""
    name: str
    fmt: str
    opts: tuple = ()

    def options(self, image):
        return ",".join(o.replace("@", image) for o in self.opts)

    @property
    def cluster(self):
        for option in self.opts:
            if option.startswith("cluster_size="):
                return int(option[13:])
        return 65536

    def __str__(self):
        return self.name


# A row a format: what its images can do.  A new format is a row here; tests ask for abilities.
#   backing   has backing files (create -b, commit, rebase)
#   check     `check` works; repair: so do -r leaks and -r all
#   snapshot  internal snapshots
#   compress  compressed clusters
#   zero      cluster that read as zeroes without data; discard: clusters can be given back
#   grow, shrink: `resize` works
#   amend     `amend` works; measure: `measure` works
FORMATS = [
    ("raw", (), "zero discard grow shrink measure"),
    ("qcow2", (), "backing check repair snapshot compress zero discard grow shrink amend measure"),
    ("qed", (), "backing check repair zero grow"),
    ("qcow", (), "backing compress"),
    ("vdi", (), "check"),
    ("vpc", ("force_size=on",), ""),
]
ABILITIES = {name: frozenset(can.split()) for name, _, can in FORMATS}
EVERY = [Variant(name, name, opts) for name, opts, _ in FORMATS]
RAW, QCOW2 = EVERY[0], EVERY[1]


def able(*wanted, among=None):
    """The variants whose format has all of these abilities: able("backing", "zero")."""
    return [v for v in among or EVERY if ABILITIES[v.fmt].issuperset(wanted)]


V2 = Variant("qcow2-v2", "qcow2", ("compat=0.10",))
EXT = Variant("qcow2-ext", "qcow2", ("extended_l2=on", "cluster_size=131072"))
DATA = Variant("qcow2-data", "qcow2", ("data_file=@.data",))
DATA_RAW = Variant("qcow2-data-raw", "qcow2", ("data_file=@.data", "data_file_raw=on"))
SMALL = Variant("qcow2-512", "qcow2", ("cluster_size=512",))
ZSTD = Variant("qcow2-zstd", "qcow2", ("compression_type=zstd",))
QCOW2_SETS = [
    QCOW2,
    V2,
    SMALL,
    Variant("qcow2-2M", "qcow2", ("cluster_size=2097152",)),
    EXT,
    Variant("qcow2-rc1", "qcow2", ("refcount_bits=1",)),
    Variant("qcow2-rc64", "qcow2", ("refcount_bits=64", "cluster_size=4096")),
    DATA,
    DATA_RAW,
    ZSTD,
    Variant("qcow2-lazy", "qcow2", ("lazy_refcounts=on",)),
]
BASIC = [RAW, QCOW2]
ALL = [RAW] + QCOW2_SETS


# ---- the lab ----

@dataclass
class Watched:
    """An image that is looked at after every command."""
    name: str
    fmt: str
    clean: bool = True  # check must find nothing
    map: bool = True  # the map must be the same, too
    local: bool = False  # opens only from its own folder (data file names are relative to it)
    seen: dict = field(default_factory=dict)


class Lab:
    """Runs commands on all subjects in lockstep, see the head of this file."""

    def __init__(self, subjects, root, answers=None):
        self.subjects = subjects
        self.root = str(root)
        self.images = {}
        self.steps = 0
        self.reasons = []
        self.answers = {} if answers is None else answers
        self.digests = {}
        for subject in subjects:
            os.mkdir(self.dir(subject))

    def dir(self, subject):
        return os.path.join(self.root, subject.name)

    def dirs(self):
        return [self.dir(s) for s in self.subjects]

    def path(self, subject, name):
        return os.path.join(self.dir(subject), name)

    # -- files --

    def write_file(self, name, data):
        """The same file for every subject."""
        for folder in self.dirs():
            with open(os.path.join(folder, name), "wb") as out:
                out.write(data)

    def patch(self, name, offset, data):
        """Overwrites bytes of a file of every subject."""
        for folder in self.dirs():
            with open(os.path.join(folder, name), "r+b") as out:
                out.seek(offset)
                out.write(data)

    def copy(self, source, target):
        for folder in self.dirs():
            shutil.copyfile(os.path.join(folder, source), os.path.join(folder, target))

    def share(self, name, giver=0):
        """Every subject gets the first one's file: for tests of what readers say."""
        for folder in self.dirs():
            if folder != self.dirs()[giver]:
                shutil.copyfile(os.path.join(self.dirs()[giver], name), os.path.join(folder, name))

    # -- commands --

    def one(self, subject, tool, *args, stdin="", filters=(), before=()):
        """Runs the command on one subject, in its folder; the filtered result."""
        folder = self.dir(subject)
        done = subject.run(tool, *[str(a).replace("@DIR", folder) for a in args], cwd=folder,
                           stdin=stdin.replace("@DIR", folder), before=before)
        names = (*ALWAYS, *filters)
        done.out = apply_filters(done.out, names, folder)
        done.err = apply_filters(done.err, names, folder).replace(subject.folder + "/", "")
        return done

    def each(self, tool, *args, **more):
        """Runs the command on every subject; [(subject, filtered result)]."""
        return [(subject, self.one(subject, tool, *args, **more)) for subject in self.subjects]

    def run(self, tool, *args, status=0, look=True, same=True, differs=None, **more):
        """One command on all subjects: same status and output, then a look at the images.

        same=False: the output is no interface.  differs="reason": what they say differs, and must; the
        closing summary counts it.
        """
        results = self.each(tool, *args, **more)
        line = "%s %s" % (TOOLS[tool], " ".join(str(a) for a in args))
        if differs:
            self.differ(line, results, differs)
            status, same = None, False
        for subject, done in results:
            if status is not None:
                assert done.status == status, "%s: %s: status %d, not %d\n%s%s" % (
                    subject.name, line, done.status, status, done.out, done.err)
        if same:
            self.agree(line, results)
        if look:
            self.look()
        return results[0][1]

    def differ(self, line, results, reason):
        """Notes a known difference; one that is gone must leave the test."""
        self.reasons.append(reason)
        answers = {(done.status, done.out, done.err) for _, done in results}
        assert len(results) < 2 or len(answers) > 1, "%s: no difference any more: %s" % (line, reason)

    def agree(self, line, results):
        first_subject, first = results[0]
        for subject, done in results[1:]:
            for what in ("status", "out", "err"):
                a, b = getattr(first, what), getattr(done, what)
                assert a == b, "%s: %s differs\n--- %s\n%s\n--- %s\n%s" % (
                    line, what, first_subject.name, a, subject.name, b)

    def img(self, *args, **more):
        return self.run("img", *args, **more)

    def io(self, image, *commands, fmt=None, flags=(), **more):
        """qemu-io with one -c for each command."""
        name = image if isinstance(image, str) else image.name
        fmt = fmt or (self.images[name].fmt if name in self.images else None)
        args = [*(("-f", fmt) if fmt else ()), *flags]
        for command in commands:
            args += ["-c", command]
        return self.run("io", *args, *([name] if name else []), **more)

    def session(self, *args):
        """qemu-io on every subject, kept open: `with lab.session() as s: s.do("open t.img", ...)`."""
        return Sessions(self, *args)

    # -- images --

    def create(self, variant, name, size, backing=None, backing_fmt=None, extra=(), **more):
        """Creates and watches an image."""
        args = ["create", "-f", variant.fmt]
        options = [o for o in [variant.options(name), *extra] if o]
        if options:
            args += ["-o", ",".join(options)]
        if backing:
            args += ["-b", backing, "-F", backing_fmt or self.images[backing].fmt]
        args += [name] + ([str(size)] if size is not None else [])
        self.watch(name, variant.fmt, local="data_file" in " ".join(args))
        return self.img(*args, **more)

    def watch(self, name, fmt, clean=True, local=False):
        self.images[name] = Watched(name, fmt, clean, local=local)

    def unwatch(self, name):
        self.images.pop(name, None)

    def look(self, everything=False):
        """Compares every watched image whose file changed since it was looked at last."""
        self.steps += 1
        state = self.state()
        for image in list(self.images.values()):
            now = {s.name: state[s.name].get(image.name) for s in self.subjects}
            if None in now.values():
                assert set(now.values()) == {None}, "%s: only some made %s" % (now, image.name)
                continue
            if everything or now != image.seen:
                image.seen = now
                self.once(state, ("look", image.name, image.fmt, image.clean, image.map), lambda: self.look_at(image))

    def state(self):
        """{subject: {file: digest}} of all files there are."""
        return {s.name: {name: self.digest(self.path(s, name)) for name in sorted(os.listdir(self.dir(s)))}
                for s in self.subjects}

    def digest(self, path):
        """As digest(), but files whose times have not changed are not read again."""
        try:
            stat = os.stat(path)
        except FileNotFoundError:
            return None
        now = stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_blocks
        if self.digests.get(path, (None,))[0] == now:
            return self.digests[path][1]
        found = digest(path)
        if time.time_ns() - stat.st_mtime_ns > SETTLED:
            self.digests[path] = now, found
        return found

    def once(self, state, what, work):
        """work()'s answer; equal files are looked at once in a run, in whichever test."""
        key = (what, tuple(sorted((n, tuple(sorted(files.items()))) for n, files in state.items())))
        if key not in self.answers:
            self.answers[key] = work()
        return self.answers[key]

    def look_at(self, image):
        maps = [image_map(s, image.name, image.fmt, self.dir(s)) for s in self.subjects if image.map]
        for subject, other in zip(self.subjects[1:], maps[1:]):
            assert maps[0] == other, "map of %s: %s %s, %s %s" % (
                image.name, self.subjects[0].name, maps[0], subject.name, other)
        if image.local:
            self.bytes(image.name)
        elif len(self.subjects) > 1:
            judge = self.subjects[self.steps % len(self.subjects)]
            names = [os.path.join(s.name, image.name) for s in self.subjects[:2]]
            done = judge.run("img", "compare", "-U", "-f", image.fmt, "-F", image.fmt, *names,
                             cwd=self.root)
            assert done.status == 0, "%s: guest bytes: %s says %s%s" % (
                image.name, judge.name, done.out, done.err)
        if image.clean:
            self.cross_check(image)

    def cross_check(self, image):
        """Every image is checked by the next subject's program (by its own where there is one)."""
        for i, subject in enumerate(self.subjects):
            judge = self.subjects[(i + 1) % len(self.subjects)]
            done = judge.run("img", "check", "-U", "-f", image.fmt, image.name, cwd=self.dir(subject))
            assert done.status in (0, NO_CHECK), "check of %s's %s by %s: status %d\n%s%s" % (
                subject.name, image.name, judge.name, done.status, done.out, done.err)

    def map(self, name, fmt=None):
        """The normalised map, the same on all subjects."""
        fmt = fmt or self.images[name].fmt
        maps = self.once(self.state(), ("map", name, fmt),
                         lambda: [image_map(s, name, fmt, self.dir(s)) for s in self.subjects])
        assert all(m == maps[0] for m in maps), maps
        return maps[0]

    def bytes(self, name, fmt=None):
        """The guest's bytes, the same on all subjects."""
        fmt = fmt or self.images[name].fmt
        data = self.once(self.state(), ("bytes", name, fmt),
                         lambda: [guest_bytes(s, name, fmt, self.dir(s)) for s in self.subjects])
        for other in data[1:]:
            assert data[0] == other, (byte_runs(data[0]), byte_runs(other))
        return data[0]

    def runs(self, name, fmt=None):
        """[(offset, length, byte)] of the guest's disk."""
        return byte_runs(self.bytes(name, fmt))

    def info(self, name, fmt=None):
        args = ["info", "-U", "--output=json"] + (["-f", fmt] if fmt else [])
        return normal_info(self.img(*args, name, look=False, same=False).json())


SETTLED = 50_000_000  # nanoseconds after which another write surely gives a file another time
LARGE = 64 << 20  # bytes of data from which on a file is known by its times instead


def digest(path):
    """Changes whenever the file's bytes or holes do; None for what is no file."""
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    if not os.path.isfile(path) or stat.st_blocks * 512 > LARGE:
        return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_blocks
    sum, at = hashlib.blake2b(b"%d" % stat.st_size, digest_size=16), 0
    with open(path, "rb", buffering=0) as file:
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
                end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            except OSError:  # no data behind `at`
                return sum.hexdigest()
            sum.update(b"%d+%d" % (at, end))
            sum.update(os.pread(file.fileno(), end - at, at))
            at = end


class Session:
    """A qemu-io that stays open: commands go in one by one, and answers are waited for, not slept for."""
    PROMPT = b"qemu-io> "

    def __init__(self, subject, *args, cwd=None, before=()):
        self.subject, self.cwd = subject, cwd
        self.program = subject.start("io", *args, cwd=cwd, before=before)
        self.ended = False
        self.greeting = self.answer()

    def do(self, *commands):
        """Runs commands one after the other and returns all they printed."""
        return "".join(self.one(c) for c in commands)

    def one(self, command):
        """The next command goes in behind the prompt: qemu-io does not look for more that one line."""
        try:
            self.program.stdin.write(command.encode() + b"\n")
            self.program.stdin.flush()
        except BrokenPipeError:
            self.ended = True
        return self.answer()

    def answer(self):
        """What is printed until the next prompt, or the end."""
        text = b""
        while not self.ended and not text.endswith(self.PROMPT):
            more = os.read(self.program.stdout.fileno(), 1 << 16)
            self.ended = not more
            text += more
        said = text.decode(errors="replace").replace(self.PROMPT.decode(), "")
        if SANITIZER.search(said):
            raise SanitizerReport(said)
        return said

    def close(self):
        """Ends the program and returns its status."""
        try:
            self.program.communicate(b"quit\n", timeout=LIMIT)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self.program.kill()
            self.program.wait()
        return self.program.returncode

    def kill(self):
        """Ends the program without a chance to write anything more."""
        self.program.kill()
        self.program.wait()
        self.program.stdin.close()
        self.program.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.program.poll() is None:
            self.close()


class Sessions:
    """A session on every subject of a lab, in lockstep."""

    def __init__(self, lab, *args):
        self.lab = lab
        self.all = [Session(s, *args, cwd=lab.dir(s)) for s in lab.subjects]

    def do(self, *commands, filters=(), same=True):
        """Each command on all subjects, answers compared; returns the first subject's."""
        said = []
        for command in commands:
            results = []
            for session in self.all:
                out = apply_filters(session.do(command), (*ALWAYS, *filters), session.cwd)
                results.append((session.subject, Result(0, out, "")))
            if same:
                self.lab.agree(command, results)
            said.append(results[0][1].out)
        return "".join(said)

    def close(self):
        return [s.close() for s in self.all]

    def kill(self):
        for session in self.all:
            session.kill()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for session in self.all:
            session.__exit__()


# ---- for shell scripts ----

def main(argv):
    usage = ("usage: python3 -m iotests.blkimg filter {%s|testdir=DIR}... < text\n"
             "       python3 -m iotests.blkimg {map|info|check|runs|sha256} FORMAT IMAGE\n"
             % "|".join(FILTERS))
    if len(argv) >= 2 and argv[0] == "filter":
        text = sys.stdin.read()
        for name in argv[1:]:
            if name.startswith("testdir="):
                text = filter_testdir(text, name[8:])
            elif name in FILTERS:
                text = FILTERS[name](text)
            else:
                sys.stderr.write("no filter '%s'\n%s" % (name, usage))
                return 1
        sys.stdout.write(text)
        return 0
    if len(argv) == 3 and argv[0] in ("map", "info", "check", "runs", "sha256"):
        return show(*argv)
    sys.stderr.write(usage)
    return 1


def show(what, fmt, image):
    subject = find_subjects()[0]
    if what == "map":
        rows = [(s, n, dict(zip(MAP_KEYS, f))) for s, n, f in image_map(subject, image, fmt)]
    elif what in ("runs", "sha256"):
        data = guest_bytes(subject, image, fmt)
        rows = byte_runs(data) if what == "runs" else hashlib.sha256(data).hexdigest()
    else:
        done = subject.run("img", what, "-U", "-f", fmt, "--output=json", image)
        if not done.out:
            sys.stderr.write(done.err)
            return done.status
        rows = (normal_info if what == "info" else normal_check)(done.json())
    print(json.dumps(rows, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
