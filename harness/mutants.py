#!/usr/bin/env python3
"""Mutants: builds historical bugs put back into the reference and hunts them with the explorers.

Usage: blkref mutants [NAME...] [--sample N] [--json] [--list] [--jobs N] [--seed N]

Each patch of harness/mutants is applied to scratch copies of the sources it touches; the objects go in front of libblkref.a, and
the program so made, build/mutants/NAME/blkref, hunts itself: `blkref campaign --in-process --first` with one stage at a time, small counts
first. Budgets are counts, so a run can be repeated; times are CPU seconds of these processes. A process that ends by a signal,
or uses many times the CPU time of the unchanged program, is found too. Leaves out: what a mutant's header expects, which
only stands in the table.
"""
import argparse
import concurrent.futures
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PATCHES = ROOT / "harness" / "mutants"

# Stage, image format and count, in this order; found at the first that fails.  The bugs are of qcow2 and of what stands below all
# formats: images of others would only cost time.
ROUNDS = ("probing:1,schedules/raw:4,crash/raw:1,faults/raw:1,programs/qcow2:12,schedules/qcow2:4,hostile/qcow2:12,"
          "crash/qcow2:1,sequences/qcow2:1,schedules/qcow2:24,faults/qcow2:1,sequences/qcow2:4,crash/qcow2:60")
HANG = 30  # CPU seconds of one stage before it counts as hung: more than any takes unchanged
MEMORY = 4 << 30  # address space: what is not bounded ends there


def flags():
    return ["-D_GNU_SOURCE", "-D_FILE_OFFSET_BITS=64", "-std=gnu17", "-O2", "-g", "-fno-omit-frame-pointer",
            "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror"]


def libraries():
    """As the Makefile links them."""
    return re.search(r"^LIBS\s*:=(.*)$", (ROOT / "Makefile").read_text(), re.M).group(1).split()


class Mutant:
    def __init__(self, patch):
        self.patch = patch
        self.name = patch.stem
        text = patch.read_text()
        self.origin = re.search(r"^Origin: (.*)$", text, re.M).group(1)
        self.expected = re.search(r"^Finds it: (.*)$", text, re.M).group(1)
        self.files = re.findall(r"^\+\+\+ b/(\S+)$", text, re.M)

    def build(self, build, compiler):
        """The program with the bug in it; raises on a patch that does not apply or compile."""
        place = build / "mutants" / self.name
        shutil.rmtree(place, ignore_errors=True)
        for name in self.files:
            (place / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, place / "src" / name)
        run(["patch", "-s", "-p1", "-i", str(self.patch)], place / "src")
        objects = []
        for name in self.files:
            objects.append(str(place / (name.replace("/", "_") + ".o")))
            run([*compiler, *flags(), f"-I{place / 'src'}", "-I.", f"-I{build / 'gen'}", "-c",
                 str(place / "src" / name), "-o", objects[-1]], ROOT)
        program = place / "blkref"
        run([*compiler, "-rdynamic", "-Wl,--as-needed", str(build / "obj/harness/main/blkref.o"), *objects,
             str(build / "libblkref.a"), *libraries(), "-o", str(program)], ROOT)
        return program


def run(command, cwd):
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:2])}...: {done.stdout.strip()}")


def limit():
    resource.setrlimit(resource.RLIMIT_CPU, (HANG, HANG + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def hunt_once(program, stage, image_format, count, seed):
    """(found, why, CPU seconds) of one stage."""
    command = [str(program), "campaign", "--in-process", "--first", "--only", stage, "--count", str(count),
               "--seed", str(seed), "--build", os.devnull, *(["--format", image_format] if image_format else [])]
    child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, preexec_fn=limit)
    output = child.stdout.read().decode(errors="replace").strip()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = 0
    cpu = used.ru_utime + used.ru_stime
    last = output.splitlines()[-1] if output else ""
    if os.WIFSIGNALED(status):
        hung = os.WTERMSIG(status) in (24, 9)
        return True, "hangs" if hung else f"signal {os.WTERMSIG(status)}: {last}", cpu
    if os.WEXITSTATUS(status) == 1:
        return True, last, cpu
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"stage {stage} cannot run: {output[-400:]}")
    return False, "", cpu


def hunt(mutant, build, compiler, seed, rounds):
    result = {"name": mutant.name, "origin": mutant.origin, "expected": mutant.expected, "found_by": None, "why": ""}
    try:
        program = mutant.build(build, compiler)
        total = 0.0
        for stage, image_format, count in rounds:
            found, why, cpu = hunt_once(program, stage, image_format, count, seed)
            total += cpu
            if found:
                result.update(found_by=stage, count=count, why=why[:300])
                break
        result["cpu_seconds"] = round(total, 2)
    except RuntimeError as error:
        result["error"] = str(error)
    return result


def show(result):
    where = result.get("error") and "CANNOT RUN" or result["found_by"] or "NOT FOUND"
    print(f"{result['name']:36} {where:10} {result.get('cpu_seconds', 0):7.2f} s  "
          f"{result.get('error', result['why'])[:110]}", flush=True)


def parse_rounds(text):
    """[(stage, format or None, count)]"""
    parts = [re.fullmatch(r"([\w-]+)(?:/(\w+))?:(\d+)", part) for part in text.split(",")]
    if not all(parts):
        sys.exit(f"blkref mutants: rounds are STAGE[/FORMAT]:COUNT,..., not '{text}'")
    return [(m.group(1), m.group(2), int(m.group(3))) for m in parts]


def choose(names, sample):
    mutants = [Mutant(p) for p in sorted(PATCHES.glob("*.patch"))]
    if names:
        known = {m.name for m in mutants}
        for name in names:
            if name not in known:
                sys.exit(f"blkref mutants: no mutant '{name}'")
        return [m for m in mutants if m.name in names]
    if sample:
        step = max(len(mutants) // sample, 1)
        return mutants[::step][:sample]
    return mutants


def main():
    args = argparse.ArgumentParser(prog="blkref mutants", description=__doc__.splitlines()[0])
    args.add_argument("names", nargs="*", metavar="NAME")
    args.add_argument("--sample", type=int, default=0, metavar="N", help="only N of them, evenly chosen")
    args.add_argument("--json", action="store_true", help="results as JSON")
    args.add_argument("--list", action="store_true", help="names and origins, nothing is run")
    args.add_argument("--jobs", type=int, default=1, metavar="N", help="so many at a time")
    args.add_argument("--seed", type=int, default=1, metavar="N")
    args.add_argument("--rounds", default=ROUNDS, metavar="STAGE[/FORMAT]:COUNT,...", help=f"the hunt ({ROUNDS})")
    args.add_argument("--cc", default="gcc", help="compiler")
    args = args.parse_args()
    build = Path(os.environ.get("BLKREF_BUILD", ROOT / "build")).resolve()
    mutants = choose(args.names, args.sample)
    if args.list:
        for m in mutants:
            print(f"{m.name:36} {m.origin}")
        return 0
    if not (build / "libblkref.a").exists():
        sys.exit(f"blkref mutants: {build} holds no plain build: make all")
    rounds = parse_rounds(args.rounds)
    results = []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        hunts = [pool.submit(hunt, m, build, args.cc.split(), args.seed, rounds) for m in mutants]
        for done in concurrent.futures.as_completed(hunts):
            results.append(done.result())
            if not args.json:
                show(results[-1])
    results.sort(key=lambda r: r["name"])
    return finish(results, args.json)


def finish(results, as_json):
    found = [r for r in results if r["found_by"]]
    cpu = round(sum(r.get("cpu_seconds", 0) for r in results), 1)
    if as_json:
        json.dump({"mutants": results, "found": len(found), "of": len(results), "cpu_seconds": cpu}, sys.stdout,
                  indent=1)
        print()
        return 0 if len(found) == len(results) else 1
    by = {}
    for r in found:
        by[r["found_by"]] = by.get(r["found_by"], 0) + 1
    print(f"\n{len(found)} of {len(results)} found in {cpu} CPU seconds: "
          + ", ".join(f"{n} by {stage}" for stage, n in sorted(by.items())))
    return 0 if len(found) == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
