#!/usr/bin/env python3
"""Times our programs against Debian's QEMU, as ratios: `make bench`.

Every measurement runs both sides in turn on the same files and takes medians, so that a busy machine moves both.
The files stand in memory (/dev/shm) where there is room, so that no disk is measured.  Costs of worlds and crash states come from `blkref bench`.
Leaves out: optimized builds; the programs of the build folder are measured as they are.
"""
import argparse
import functools
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
RANDOM_WRITES = 20000
COPY_MIB = 512
ROOM = 6 << 30  # bytes that all files together stay below
SMALL_CALLS = 20  # calls timed together, since one takes a few milliseconds

# Formats that can be written beside raw and qcow2: (name of the rows, format, create options).
SECRET = ["--object", "secret,id=key,data=letmein"]
FORMATS = [("qcow", "qcow", ""), ("qed", "qed", ""), ("vdi", "vdi", ""), ("vpc", "vpc", ""),
           ("vhdx", "vhdx", ""), ("parallels", "parallels", ""), ("vmdk", "vmdk", ""),
           ("vmdk-flat", "vmdk", "subformat=monolithicFlat"),
           ("vmdk-split", "vmdk", "subformat=twoGbMaxExtentSparse"),
           ("luks", "luks", "key-secret=key,iter-time=10")]
# (name, largest lawful ratio to QEMU) and (key of `blkref bench`, name, bound, comparison)
RATIO_TARGETS = {"random-writes": 0.6, "convert-to-qcow2": 1.0, "convert-to-raw": 1.0,
                 "create": 0.6, "info": 0.6, "check": 0.6,
                 **{f"convert-{way}-{name}": 1.1 for name, _, _ in FORMATS for way in ("to", "from")},
                 "qcow2-compressed-cpu": 0.8, "qcow2-compressed-size": 1.02,
                 "vmdk-stream-cpu": 0.8, "vmdk-stream-size": 1.02}
# Rows that are no seconds, with the unit their two values are told in.
UNITS = {"qcow2-compressed-size": "bytes", "vmdk-stream-size": "bytes"}
OWN_TARGETS = [("world_us", "world create + destroy, us", 10, "<="),
               ("crash_states_reference", "crash states/s, reference", 50000, ">="),
               ("crash_states_optimized", "crash states/s, optimized", 50000, ">=")]


class Side:
    """One pair of programs, and the names of its files."""

    def __init__(self, name, img, io, folder):
        self.name, self.img, self.io, self.folder = name, img, io, folder

    def path(self, name):
        return os.path.join(self.folder, self.name + "-" + name)

    def call(self, *args, stdin=None):
        done = subprocess.run(args, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False)
        if done.returncode:
            raise RuntimeError("%s: status %d\n%s" % (" ".join(args), done.returncode,
                                                      done.stdout.decode(errors="replace")[-2000:]))
        return done.stdout


def remove(path):
    if os.path.exists(path):
        os.unlink(path)


def timed(action):
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def write_script():
    rng = random.Random(1)
    lines = ["write -q -P %d %d 4k\n" % (rng.randrange(1, 256), rng.randrange(0, 1 << 18) * 4096)
             for _ in range(RANDOM_WRITES)]
    return "".join(lines).encode()


def random_writes(side, script):
    image = side.path("random.qcow2")
    remove(image)
    side.call(side.img, "create", "-q", "-f", "qcow2", image, "1G")
    return timed(lambda: side.call(side.io, "-f", "qcow2", image, stdin=script))


def make_source(path):
    """COPY_MIB of data, a tenth of it zeroes, in page cache."""
    rng = random.Random(2)
    with open(path, "wb") as out:
        for _ in range(COPY_MIB):
            out.write(bytes(1 << 20) if rng.random() < 0.1 else rng.randbytes(1 << 20))
    with open(path, "rb") as source:
        while source.read(1 << 20):
            pass


def convert(side, source, source_format, target, target_format):
    target = side.path(target)
    remove(target)
    return timed(lambda: side.call(side.img, "convert", "-f", source_format, "-O", target_format,
                                   source, target))


def make(side, img, source, fmt, options, target):
    side.call(img, "convert", *SECRET, "-f", "raw", "-O", fmt, *(["-o", options] if options else []),
              source, target)


def convert_to(side, source, name, fmt, options):
    target = side.path("out." + name)
    remove(target)
    return timed(lambda: make(side, side.img, source, fmt, options, target))


def convert_from(side, source, fmt):
    target = side.path("out.raw")
    remove(target)
    image = "driver=%s,file.filename=%s" % (fmt, source)
    if fmt == "luks":
        image += ",key-secret=key"
    return timed(lambda: side.call(side.img, "convert", *SECRET, "--image-opts", image, "-O", "raw", target))


def cpu_of(action):
    """Seconds of processor time of the programs that action runs."""
    def spent():
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime
    started = spent()
    action()
    return spent() - started


def make_text(path):
    """Half of it random, half words, for what compresses."""
    rng = random.Random(3)
    words = [rng.randbytes(rng.randrange(2, 9)).hex().encode() for _ in range(2000)]
    with open(path, "wb") as out:
        for mib in range(COPY_MIB // 4):
            text = b" ".join(rng.choice(words) for _ in range(110000)) if mib % 2 else b""
            out.write((text + rng.randbytes(1 << 20))[:1 << 20])


def compressed(side, source, fmt, *options):
    """A compressed copy; its name."""
    target = side.path("compressed." + fmt)
    remove(target)
    side.call(side.img, "convert", "-c", "-f", "raw", "-O", fmt, *options, source, target)
    return target


def stream(side, source):
    return compressed(side, source, "vmdk", "-o", "subformat=streamOptimized")


def small(side, *args):
    def calls():
        for _ in range(SMALL_CALLS):
            side.call(side.img, *args)
    return timed(calls) / SMALL_CALLS


def compare(ours, qemu, measure, rounds):
    """Median seconds of both sides, rounds taken in turn; one unmeasured round warms up."""
    took = {ours.name: [], qemu.name: []}
    for turn in range(rounds + 1):
        order = (ours, qemu) if turn % 2 else (qemu, ours)
        for side in order:
            seconds = measure(side)
            if turn:
                took[side.name].append(seconds)
    return statistics.median(took[ours.name]), statistics.median(took[qemu.name])


def measurements(folder, qemu_img):
    """name -> function of a side that returns seconds."""
    script = write_script()
    raw, qcow2 = os.path.join(folder, "source.raw"), os.path.join(folder, "source.qcow2")
    text = os.path.join(folder, "text.raw")
    tiny = os.path.join(folder, "small.qcow2")
    make_source(raw)
    make_text(text)

    def set_up(qemu):
        qemu.call(qemu.img, "convert", "-f", "raw", "-O", "qcow2", raw, qcow2)
        qemu.call(qemu.img, "create", "-q", "-f", "qcow2", tiny, "64M")
        qemu.call(qemu.io, "-f", "qcow2", "-c", "write 0 4M", tiny)

    def from_format(side, name, fmt, options):
        """Reads a source that QEMU makes in the round that is not measured."""
        source = os.path.join(folder, "source." + name)
        if not os.path.exists(source):
            make(side, qemu_img, raw, fmt, options, source)
        return convert_from(side, source, fmt)

    formats = {}
    for name, fmt, options in FORMATS:
        formats["convert-to-" + name] = functools.partial(convert_to, source=raw, name=name, fmt=fmt,
                                                          options=options)
        formats["convert-from-" + name] = functools.partial(from_format, name=name, fmt=fmt,
                                                            options=options)

    return set_up, {
        "random-writes": lambda s: random_writes(s, script),
        "convert-to-qcow2": lambda s: convert(s, raw, "raw", "out.qcow2", "qcow2"),
        "convert-to-raw": lambda s: convert(s, qcow2, "qcow2", "out.raw", "raw"),
        "create": lambda s: small(s, "create", "-q", "-f", "qcow2", s.path("small.qcow2"), "64M"),
        "info": lambda s: small(s, "info", tiny),
        "check": lambda s: small(s, "check", "-q", tiny),
        **formats,
        "qcow2-compressed-cpu": lambda s: cpu_of(lambda: compressed(s, text, "qcow2")),
        "qcow2-compressed-size": lambda s: os.path.getsize(compressed(s, text, "qcow2")),
        "vmdk-stream-cpu": lambda s: cpu_of(lambda: stream(s, text)),
        "vmdk-stream-size": lambda s: os.path.getsize(stream(s, text)),
    }


def ratio_rows(ours, qemu, folder, only):
    set_up, measure = measurements(folder, qemu.img)
    set_up(qemu)
    sources = set(os.listdir(folder))
    for name, target in RATIO_TARGETS.items():
        if only and name not in only:
            continue
        mine, theirs = compare(ours, qemu, measure[name], ROUNDS)
        for made in set(os.listdir(folder)) - sources:
            remove(os.path.join(folder, made))
        ratio = mine / theirs
        yield {"name": name, "value": round(ratio, 3), "unit": "x", "target": target,
               "comparison": "<=", "ok": ratio <= target, "seconds": round(mine, 4),
               "qemu_seconds": round(theirs, 4), "of": UNITS.get(name, "s")}


def own_rows(blkref):
    done = subprocess.run([blkref, "bench"], stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout)
    for key, name, bound, comparison in OWN_TARGETS:
        value = found[key]
        yield {"name": name, "value": value, "unit": "", "target": bound, "comparison": comparison,
               "ok": value <= bound if comparison == "<=" else value >= bound}


def show(row):
    detail = ""
    if "seconds" in row:
        detail = "  %g %s, QEMU %g %s" % (row["seconds"], row["of"], row["qemu_seconds"], row["of"])
    print("%-28s %10s  target %s %-6g %s%s"
          % (row["name"], "%g%s" % (row["value"], row["unit"]), row["comparison"], row["target"],
             "PASS" if row["ok"] else "MISS", detail), flush=True)


def scratch(args):
    """A fresh folder for the files."""
    place = args.dir
    if not place:
        room = shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else 0
        place = "/dev/shm" if room > ROOM else args.build
    return tempfile.mkdtemp(prefix="blkref-bench-", dir=place)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--build", default="build", help="build folder with our programs")
    args.add_argument("--qemu-img", default=shutil.which("qemu-img"), help="the other side")
    args.add_argument("--qemu-io", default=shutil.which("qemu-io"))
    args.add_argument("--dir", help="where the files stand (/dev/shm, else the build folder)")
    args.add_argument("--json", action="store_true", help="print results as JSON")
    args.add_argument("--only", action="append", help="one measurement by name, or 'own'; may repeat")
    args = args.parse_args()
    rows = []
    folder = scratch(args)
    try:
        if args.qemu_img and args.qemu_io:
            ours = Side("blkref", os.path.join(args.build, "bin/blkref-img"),
                        os.path.join(args.build, "bin/blkref-io"), folder)
            qemu = Side("qemu", args.qemu_img, args.qemu_io, folder)
            for row in ratio_rows(ours, qemu, folder, args.only):
                rows.append(row)
                if not args.json:
                    show(row)
        else:
            print("qemu-img and qemu-io are not installed: no ratios (make deps)", file=sys.stderr)
        if not args.only or "own" in args.only:
            for row in own_rows(os.path.join(args.build, "bin/blkref")):
                rows.append(row)
                if not args.json:
                    show(row)
    finally:
        shutil.rmtree(folder)
    if args.json:
        print(json.dumps(rows, indent=2))
    return 0 if rows and all(r["ok"] for r in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
