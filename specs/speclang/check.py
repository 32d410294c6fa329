"""What can be wrong with a specification itself: its shape, places, names, clauses, promise."""
import glob
import json
import os
import re

import jsonschema

from speclang.expr import evaluate, resolver, to_c
from speclang.model import (MAX64, SpecError, bit_range, clauses, container, find_field, is_bytes,
                            is_dynamic, mask_of)

SPECS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

def parameter_cases(spec, s):
    """Environments to try a structure's bit ranges in."""
    known = {p["name"]: p for p in spec.get("parameters", [])}
    cases = [{}]
    for name in s.get("parameters", []):
        if name not in known or "min" not in known[name] or "max" not in known[name]:
            raise SpecError("%s: parameter %s has no range" % (s["name"], name))
        span = range(known[name]["min"], known[name]["max"] + 1)
        cases = [dict(c, **{name: v}) for c in cases for v in span]
    for c in cases:
        for name, e in s.get("let", {}).items():
            c[name] = evaluate(e, c)
    return cases


def check_bits(spec, s, found):
    """Inside an integer, bit fields neither overlap nor leave bits out."""
    groups = {}
    for f in s["fields"]:
        if "bits" in f:
            groups.setdefault(container(f), []).append(f)
    for (off, width), fields in groups.items():
        for env in parameter_cases(spec, s):
            used = 0
            for f in fields:
                lo, hi = [b if isinstance(b, int) else evaluate(b, env) for b in f["bits"]]
                if not 0 <= lo <= hi < 8 * width:
                    found.append("%s.%s: bits %d to %d are not in %d bytes"
                                 % (s["name"], f["name"], lo, hi, width))
                    return
                if used & mask_of(lo, hi):
                    found.append("%s.%s: bits overlap another field" % (s["name"], f["name"]))
                    return
                used |= mask_of(lo, hi)
            if used != mask_of(0, 8 * width - 1):
                found.append("%s: bits of the integer at %d are left out" % (s["name"], off))
                return


def check_places(spec, s, found):
    """Fields neither overlap nor leave gaps, and a stated size is the end of a field."""
    spans = sorted({container(f) for f in s["fields"]})
    end = 0
    for off, width in spans:
        if off < end:
            found.append("%s: fields overlap at byte %d" % (s["name"], off))
        elif off > end:
            found.append("%s: bytes %d to %d are left out" % (s["name"], end, off - 1))
        end = max(end, off + width)
    whole = [container(f) for f in s["fields"] if "bits" not in f]
    for c in set(whole):
        if whole.count(c) > 1 or any(container(f) == c for f in s["fields"] if "bits" in f):
            found.append("%s: fields overlap at byte %d" % (s["name"], c[0]))
    ends = {o + w for o, w in spans}
    if not any(size in ends for size in s["sizes"].values()):
        found.append("%s: no size is the end of a field" % s["name"])
    if "fixed" in s["sizes"] and s["sizes"]["fixed"] not in ends:
        found.append("%s: size %d is not the end of a field" % (s["name"], s["sizes"]["fixed"]))
    check_bits(spec, s, found)


def check_field(spec, s, f, found):
    where = "%s.%s" % (s["name"], f["name"])
    if is_bytes(f):
        if "bits" in f or "min" in f or "max" in f:
            found.append("%s: an array of bytes has no bits and no range" % where)
        return
    if f["width"] > 8:
        found.append("%s: a number has at most 8 bytes" % where)
        return
    top = MAX64 if is_dynamic(f) else mask_of(0, bit_range(f)[1] if f.get("in_place")
                                              else bit_range(f)[1] - bit_range(f)[0])
    if f.get("min", 0) > f.get("max", top) or f.get("max", 0) > top:
        found.append("%s: range %s to %s is empty or too wide"
                     % (where, f.get("min", 0), f.get("max", top)))
    if "values" in f and f["values"] not in [e["prefix"] for e in spec.get("enums", [])]:
        found.append("%s: no enum %s" % (where, f["values"]))
    judged = f.get("reserved") or {"min", "max", "values"} & set(f)
    if judged and "clause" not in f:
        found.append("%s: a range or a reserved field names its clause" % where)


def check_structures(spec, found):
    names = [s["name"] for s in spec["structures"]]
    known = {cid for cid, *_ in clauses(spec)}
    for s in spec["structures"]:
        if names.count(s["name"]) > 1:
            found.append("structure %s twice" % s["name"])
        fields = [f["name"] for f in s.get("fields", [])]
        if len(set(fields)) != len(fields):
            found.append("%s: a field twice" % s["name"])
        for f in s.get("fields", []):
            check_field(spec, s, f, found)
        if s.get("fields"):
            check_places(spec, s, found)
        for v in s.get("variable", []):
            if v["length"] not in fields:
                found.append("%s.%s: no field %s" % (s["name"], v["name"], v["length"]))
        res = resolver(spec, s)
        exprs = [f["when"] for f in s.get("fields", []) if "when" in f]
        for r in s.get("rules", []):
            exprs += [r["require"]] + ([r["when"]] if "when" in r else [])
        for e in exprs:
            try:
                to_c(e, res)
            except SpecError as err:
                found.append("%s: %s" % (s["name"], err))
        for user in s.get("fields", []) + s.get("rules", []):
            if user.get("clause", "") and user["clause"] not in known:
                found.append("%s: no clause %s" % (s["name"], user["clause"]))


def check_names(spec, found):
    seen = set()
    names = [c["name"] for c in spec.get("constants", [])]
    for kind, parts in (("enums", "values"), ("flags", "bits")):
        names += ["%s_%s" % (e["prefix"], v["name"]) for e in spec.get(kind, []) for v in e[parts]]
    for n in names:
        if n in seen:
            found.append("%s is defined twice" % n)
        seen.add(n)
    for g in spec.get("flags", []):
        try:
            f = find_field(spec, g["field"])
        except SpecError as e:
            found.append("flags %s: %s" % (g["prefix"], e))
            continue
        bits = [b["bit"] for b in g["bits"]]
        if len(set(bits)) != len(bits) or max(bits) >= 8 * f["width"]:
            found.append("flags %s: a bit twice, or not in the field" % g["prefix"])


def cited(pattern):
    """Clause ids in the strings of C files."""
    ids = set()
    for path in glob.glob(pattern):
        with open(path, encoding="utf-8") as f:
            ids |= set(re.findall(r'"([A-Z][A-Z0-9]*-[0-9]+)"', f.read()))
    return ids


def check_clauses(spec, found, runtime):
    ids = [c[0] for c in clauses(spec)]
    for i in sorted(set(ids)):
        if ids.count(i) > 1:
            found.append("clause %s twice" % i)
    for g in spec["clauses"]:
        if [c["n"] for c in g["list"]] != list(range(1, len(g["list"]) + 1)):
            found.append("clauses %s are not numbered 1, 2, 3 ..." % g["id"])
    used = {x["clause"] for s in spec["structures"] for x in s.get("rules", [])}
    for s in spec["structures"]:
        used |= {f["clause"] for f in s.get("fields", [])
                 if "clause" in f and (f.get("reserved") or {"min", "max", "values"} & set(f))}
    walked = cited(os.path.join(runtime, "%s_check*.c" % spec["format"]))
    for c in sorted(walked - set(ids)):
        found.append("%s_check.c cites clause %s, which does not exist" % (spec["format"], c))
    for cid, _, cls, _, unchecked in clauses(spec):
        covered = cid in used or cid in walked
        if cls == "image" and not covered and not unchecked:
            found.append("image clause %s: nothing checks it, and no reason is given" % cid)
        if unchecked and covered:
            found.append("clause %s: called unchecked, but something checks it" % cid)


def check_promise(spec, found):
    pr = spec["promise"]
    known = {c[0] for c in clauses(spec)}
    names = {s["name"] for s in spec["structures"]}
    for part in ("unflushed", "atomic", "ordering", "after_cut", "leaves"):
        ids = [x["id"] for x in pr.get(part, [])]
        if len(set(ids)) != len(ids):
            found.append("promise.%s: an id twice" % part)
    for a in pr["atomic"]:
        if a["object"] not in names:
            found.append("promise.atomic.%s: no structure %s" % (a["id"], a["object"]))
    for part in ("after_cut", "leaves"):
        for a in pr.get(part, []):
            for c in a["clauses"]:
                if c not in known:
                    found.append("promise.%s.%s: no clause %s" % (part, a["id"], c))
    refused = pr.get("before_use", {}).get("refused")
    if refused and refused not in known:
        found.append("promise.before_use: no clause %s" % refused)


def check(spec, runtime=os.path.join(SPECS, "runtime")):
    """Everything wrong with a specification, as a list of messages."""
    with open(os.path.join(SPECS, "schema.json"), encoding="utf-8") as f:
        schema = json.load(f)
    found = ["%s: %s" % ("/".join(map(str, e.absolute_path)) or "top", e.message)
             for e in jsonschema.Draft202012Validator(schema).iter_errors(spec)]
    if found:
        return found            # the rest relies on the shape
    try:
        check_names(spec, found)
        check_structures(spec, found)
        check_clauses(spec, found, runtime)
        check_promise(spec, found)
    except SpecError as e:
        found.append(str(e))
    return found
