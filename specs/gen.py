#!/usr/bin/python3
"""Turns a format's specification (YAML) into C: offsets, accessors, tables of fields, clauses, promises.

    gen.py --header FILE    print <format>_layout.h
    gen.py --check FILE...  validate against schema.json and the rules below; exit status 1 on a finding

The language is described in docs/specs.md.  Leaves out: judging images (specs/runtime does that with the
generated tables) and everything a format computes from more than one structure.
"""
import argparse
import ast
import glob
import json
import os
import re
import sys

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
MAX64 = (1 << 64) - 1


class SpecError(Exception):
    """The specification itself is wrong."""


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML silently keeps the last of two equal keys; in a specification that is a mistake."""


def _mapping(loader, node):
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise SpecError("line %d: key %r twice" % (key_node.start_mark.line + 1, key))
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(path):
    with open(path, encoding="utf-8") as f:
        return yaml.load(f, Loader=UniqueKeyLoader)


# ---------------------------------------------------------------- expressions
#
# Rules and conditions are written as Python expressions over unsigned 64-bit numbers.  The C made from
# them saturates instead of wrapping and never divides by zero, so a hostile field cannot fool a rule.

CALLS = {ast.Add: "spec_add", ast.Sub: "spec_sub", ast.Mult: "spec_mul", ast.FloorDiv: "spec_div",
         ast.Mod: "spec_mod", ast.LShift: "spec_shl", ast.RShift: "spec_shr"}
INFIX = {ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^"}
COMPARE = {ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


def to_c(text, name_to_c):
    """Translate one expression; name_to_c maps an identifier to its C text or raises SpecError."""
    def walk(n):
        if isinstance(n, ast.Constant) and isinstance(n.value, int) and 0 <= n.value <= MAX64:
            return "UINT64_C(0x%x)" % n.value if n.value > 9 else "UINT64_C(%d)" % n.value
        if isinstance(n, ast.Name):
            return name_to_c(n.id)
        if isinstance(n, ast.BinOp) and type(n.op) in CALLS:
            return "%s(%s, %s)" % (CALLS[type(n.op)], walk(n.left), walk(n.right))
        if isinstance(n, ast.BinOp) and type(n.op) in INFIX:
            return "(%s %s %s)" % (walk(n.left), INFIX[type(n.op)], walk(n.right))
        if isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.Not):
            return "!%s" % walk(n.operand)
        if isinstance(n, ast.BoolOp):
            op = " && " if isinstance(n.op, ast.And) else " || "
            return "(" + op.join(walk(v) for v in n.values) + ")"
        if isinstance(n, ast.Compare) and len(n.ops) == 1 and type(n.ops[0]) in COMPARE:
            return "(%s %s %s)" % (walk(n.left), COMPARE[type(n.ops[0])], walk(n.comparators[0]))
        raise SpecError("expression %r: %s is not in the language" % (text, type(n).__name__))
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError as e:
        raise SpecError("expression %r: %s" % (text, e.msg)) from None
    return walk(tree.body)


# ---------------------------------------------------------------- the model

def find_structure(spec, name):
    for s in spec["structures"]:
        if s["name"] == name:
            return s
    raise SpecError("no structure %s" % name)


def find_field(spec, path):
    """structure.field"""
    structure, _, field = path.partition(".")
    for f in find_structure(spec, structure).get("fields", []):
        if f["name"] == field:
            return f
    raise SpecError("no field %s" % path)


def is_bytes(f):
    return f.get("type") == "bytes"


def is_dynamic(f):
    return "bits" in f and not all(isinstance(b, int) for b in f["bits"])


def container(f):
    """The integer a field is part of: (offset, width) in bytes."""
    return f["offset"], f["width"]


def bit_range(f):
    """First and last bit inside the container, both included."""
    if "bits" in f:
        return f["bits"]
    return [0, 8 * f["width"] - 1]


def mask_of(lo, hi):
    return ((1 << (hi - lo + 1)) - 1) << lo


def c_type(width):
    return "uint%d_t" % (8 if width == 1 else 16 if width == 2 else 32 if width <= 4 else 64)


def c_num(v):
    if v > 0xffffffff:
        return "UINT64_C(0x%x)" % v
    return "0x%xu" % v if v > 9 else "%d" % v


def c_wide(v, width):
    """A mask for a field of width bytes: of the field's own type, so that ~ keeps every bit."""
    return "UINT64_C(0x%x)" % v if width > 4 else "0x%xu" % v


def is_big(spec, f):
    return f.get("byte_order", spec["byte_order"]) == "big"


def load_c(spec, f, p):
    off, width = container(f)
    at = p if off == 0 else "%s + %d" % (p, off)
    if width == 1:
        return "(*(const uint8_t *)(%s))" % at if off else "(*(const uint8_t *)%s)" % p
    if width in (2, 4, 8):
        return "load_%s%d(%s)" % ("be" if is_big(spec, f) else "le", 8 * width, at)
    return "(%s)load_uint(%s, %d, %d)" % (c_type(width), at, width, is_big(spec, f))


def store_c(spec, f, p, v):
    off, width = container(f)
    at = p if off == 0 else "%s + %d" % (p, off)
    if width == 1:
        return "*(uint8_t *)(%s) = %s" % (at, v)
    if width in (2, 4, 8):
        return "store_%s%d(%s, %s)" % ("be" if is_big(spec, f) else "le", 8 * width, at, v)
    return "store_uint(%s, %d, %d, %s)" % (at, width, is_big(spec, f), v)


def values(spec):
    """Every named number of the format: name (without prefix) -> value."""
    out = {}
    for c in spec.get("constants", []):
        out[c["name"]] = c["value"]
    for e in spec.get("enums", []):
        for v in e["values"]:
            out["%s_%s" % (e["prefix"], v["name"])] = v["value"]
    for g in spec.get("flags", []):
        for b in g["bits"]:
            out["%s_%s" % (g["prefix"], b["name"])] = 1 << b["bit"]
    return out


# ---------------------------------------------------------------- C: numbers

def emit_numbers(spec, out):
    up = spec["format"].upper()
    if spec.get("constants"):
        out.append("/* Constants. */")
        for c in spec["constants"]:
            out.append("#define %s_%s %s" % (up, c["name"], c_num(c["value"])))
        out.append("")
    for e in spec.get("enums", []):
        out.append("/* %s */" % e["doc"])
        for v in e["values"]:
            out.append("#define %s_%s_%s %s" % (up, e["prefix"], v["name"], c_num(v["value"])))
        out.append("")
    for g in spec.get("flags", []):
        width = find_field(spec, g["field"])["width"]
        out.append("/* %s */" % g["doc"])
        for b in g["bits"]:
            name = "%s_%s_%s" % (up, g["prefix"], b["name"])
            out.append("#define %s_BIT %d" % (name, b["bit"]))
            out.append("#define %s %s" % (name, c_wide(1 << b["bit"], width)))
        known = sum(1 << b["bit"] for b in g["bits"])
        out.append("#define %s_%s_KNOWN %s" % (up, g["prefix"], c_wide(known, width)))
        out.append("")


def emit_layout(spec, s, out):
    up = "%s_%s" % (spec["format"].upper(), s["name"].upper())
    for suffix, size in s.get("sizes", {}).items():
        out.append("#define %s%s_SIZE %d" % (up, "_" + suffix if suffix != "fixed" else "", size))
    reserved = 0
    for f in s.get("fields", []):
        name = "%s_%s" % (up, f["name"].upper())
        out.append("#define %s_OFF %d" % (name, f["offset"]))
        out.append("#define %s_WIDTH %d" % (name, f["width"]))
        if "bits" in f and not is_dynamic(f):
            lo, hi = f["bits"]
            out.append("#define %s_SHIFT %d" % (name, 0 if f.get("in_place") else lo))
            out.append("#define %s_MASK %s" % (name, c_wide(mask_of(lo, hi), f["width"])))
            if f.get("reserved"):
                reserved |= mask_of(lo, hi)
    if reserved:
        out.append("#define %s_RESERVED_MASK %s" % (up, c_wide(reserved, f["width"])))


# ---------------------------------------------------------------- C: accessors

def emit_plain(spec, fn, f, out):
    t = c_type(f["width"])
    out.append("static inline %s %s_get_%s(const void *p) { return %s; }"
               % (t, fn, f["name"], load_c(spec, f, "p")))
    out.append("static inline void %s_set_%s(void *p, %s v) { %s; }"
               % (fn, f["name"], t, store_c(spec, f, "p", "v")))


def emit_bits(spec, fn, s, f, out):
    """get/set on memory, and _of on a container already loaded."""
    t = c_type(f["width"])
    params = s.get("parameters", []) if is_dynamic(f) else []
    par = "".join(", unsigned %s" % p for p in params)
    arg = "".join(", %s" % p for p in params)
    name = "%s_%s" % (fn, f["name"])
    if is_dynamic(f):
        lo, hi = bit_exprs(s, f)
        only = ", ".join("unsigned %s" % p for p in params)
        void = " ".join("(void)%s;" % p for p in params)
        out.append("static inline unsigned %s_shift(%s)\n{\n    %s\n    return (unsigned)%s;\n}"
                   % (name, only, void, lo))
        out.append("static inline %s %s_mask(%s)\n{\n    return (%s)spec_bit_mask((unsigned)%s, (unsigned)%s);\n}"
                   % (t, name, only, t, lo, hi))
        mask = "%s_mask(%s)" % (name, ", ".join(params))
        shift = "0" if f.get("in_place") else "%s_shift(%s)" % (name, ", ".join(params))
    else:
        up = name.upper()
        mask, shift = up + "_MASK", up + "_SHIFT"
    out.append("static inline %s %s_of(%s raw%s) { return (%s)((raw & %s) >> %s); }"
               % (t, name, t, par, t, mask, shift))
    out.append("static inline %s %s_get_%s(const void *p%s) { return %s_of(%s%s); }"
               % (t, fn, f["name"], par, name, load_c(spec, f, "p"), arg))
    out.append("static inline void %s_set_%s(void *p%s, %s v)\n{" % (fn, f["name"], par, t))
    out.append("    %s m = %s;" % (t, mask))
    out.append("    %s raw = (%s)((%s & ~m) | ((v << %s) & m));" % (t, t, load_c(spec, f, "p"), shift))
    out.append("    %s;\n}" % store_c(spec, f, "p", "raw"))


def bit_exprs(s, f):
    def name(n):
        if n in s.get("parameters", []):
            return n
        if n in s.get("let", {}):
            return to_c(s["let"][n], name)
        raise SpecError("%s.%s: %s is neither parameter nor let" % (s["name"], f["name"], n))
    return [to_c(str(b), name) for b in f["bits"]]


def emit_variable(fn, s, out):
    """Parts behind the fixed fields: their positions and the length of the whole."""
    up = fn.upper()
    pos = "(uint64_t)%s_SIZE" % up
    for v in s.get("variable", []):
        out.append("static inline uint64_t %s_%s_pos(const void *p)\n{\n    (void)p;\n    return %s;\n}"
                   % (fn, v["name"], pos))
        pos = "%s_%s_pos(p) + %s_get_%s(p)" % (fn, v["name"], fn, v["length"])
    if s.get("variable"):
        a = s.get("align", 1)
        out.append("/* Bytes of the whole, padding included. */")
        out.append("static inline uint64_t %s_total_size(const void *p)\n{\n    return (%s + %d) / %d * %d;\n}"
                   % (fn, pos, a - 1, a, a))


def emit_packed(spec, fn, s, out):
    """An array of integers of (1 << order) bits; below a byte the first element has the lowest bits."""
    big = 1 if spec["byte_order"] == "big" else 0
    out.append("""static inline uint64_t %(f)s_get(const void *table, uint64_t index, unsigned order)
{
    const uint8_t *p = table;
    if (order >= 3) {
        return load_uint(p + (index << (order - 3)), 1u << (order - 3), %(b)d);
    }
    return (p[index >> (3 - order)] >> ((index << order) & 7)) & ((1u << (1u << order)) - 1);
}
static inline void %(f)s_set(void *table, uint64_t index, unsigned order, uint64_t v)
{
    uint8_t *p = table;
    if (order >= 3) {
        store_uint(p + (index << (order - 3)), 1u << (order - 3), %(b)d, v);
        return;
    }
    unsigned shift = (index << order) & 7, mask = ((1u << (1u << order)) - 1) << shift;
    p += index >> (3 - order);
    *p = (uint8_t)((*p & ~mask) | (((unsigned)v << shift) & mask));
}""" % {"f": fn, "b": big})


def emit_accessors(spec, s, out):
    fn = "%s_%s" % (spec["format"], s["name"])
    if s.get("packed"):
        emit_packed(spec, fn, s, out)
        return
    for f in s["fields"]:
        if is_bytes(f):
            continue
        if "bits" in f:
            emit_bits(spec, fn, s, f, out)
        else:
            emit_plain(spec, fn, f, out)
    whole = {container(f) for f in s["fields"]}
    if len(whole) == 1 and all("bits" in f for f in s["fields"]):
        f = s["fields"][0]
        out.append("static inline %s %s_load(const void *p) { return %s; }"
                   % (c_type(f["width"]), fn, load_c(spec, f, "p")))
        out.append("static inline void %s_store(void *p, %s v) { %s; }"
                   % (fn, c_type(f["width"]), store_c(spec, f, "p", "v")))
    emit_variable(fn, s, out)



# ---------------------------------------------------------------- C: tables

CLASSES = ["image", "reader", "writer", "advisory"]


def c_str(text):
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def resolver(spec, s):
    """Names in the expressions of a structure: its fields, its lets, parameters, constants."""
    fn = "%s_%s" % (spec["format"], s["name"])
    fields = {f["name"]: f for f in s.get("fields", [])}
    params = {p["name"] for p in spec.get("parameters", [])}
    numbers = values(spec)

    def name(n):
        if n in fields and not is_bytes(fields[n]):
            extra = "".join(", (unsigned)q->%s" % p for p in s.get("parameters", [])
                            if is_dynamic(fields[n]))
            return "(uint64_t)%s_get_%s(p%s)" % (fn, n, extra)
        if n in s.get("let", {}):
            return to_c(s["let"][n], name)
        if n in params:
            return "q->%s" % n
        if n in numbers:
            return "(uint64_t)%s_%s" % (spec["format"].upper(), n)
        raise SpecError("%s: nothing is called %s" % (s["name"], n))
    return name


def emit_function(spec, kind, name, body, out):
    out.append("static %s %s(const uint8_t *p, const void *params)\n{" % (kind, name))
    out.append("    const struct %s_params *q = params;" % spec["format"])
    out.append("    (void)p;\n    (void)q;\n    return %s;\n}" % body)


def emit_field_functions(spec, s, out):
    res = resolver(spec, s)
    fn = "%s_%s" % (spec["format"], s["name"])
    for f in s.get("fields", []):
        if "when" in f:
            emit_function(spec, "bool", "%s_%s_present" % (fn, f["name"]), to_c(f["when"], res), out)
        if is_dynamic(f):
            for end, e in zip(("low", "high"), f["bits"]):
                emit_function(spec, "unsigned", "%s_%s_%s" % (fn, f["name"], end),
                              "(unsigned)%s" % to_c(str(e), res), out)


def field_entry(spec, s, f):
    fn = "%s_%s" % (spec["format"], s["name"])
    dyn = is_dynamic(f)
    lo, hi = (0, 63) if is_bytes(f) or dyn else bit_range(f)
    parts = [".name = %s" % c_str(f["name"]), ".offset = %d" % f["offset"], ".width = %d" % f["width"],
             ".big_endian = %s" % str(is_big(spec, f)).lower(), ".low_bit = %d" % lo, ".high_bit = %d" % hi,
             ".min = %s" % c_num(f.get("min", 0)), ".max = %s" % c_num(f.get("max", MAX64))]
    for flag, on in (("bytes", is_bytes(f)), ("reserved", f.get("reserved")), ("in_place", f.get("in_place"))):
        if on:
            parts.append(".%s = true" % flag)
    if dyn:
        parts += [".low = %s_%s_low" % (fn, f["name"]), ".high = %s_%s_high" % (fn, f["name"])]
    if "values" in f:
        parts.append(".values = %s_values_%s" % (spec["format"], f["values"].lower()))
    if "when" in f:
        parts.append(".present = %s_%s_present" % (fn, f["name"]))
    parts.append(".rule = %s" % c_str(f.get("clause")))
    return "    {%s}," % ", ".join(parts)


def emit_structure_tables(spec, s, out):
    fn = "%s_%s" % (spec["format"], s["name"])
    res = resolver(spec, s)
    emit_field_functions(spec, s, out)
    if s.get("fields"):
        out.append("static const struct spec_field %s_fields[] = {" % fn)
        out += [field_entry(spec, s, f) for f in s["fields"]]
        out.append("};")
    for i, r in enumerate(s.get("rules", [])):
        body = to_c(r["require"], res)
        if "when" in r:
            body = "!%s || %s" % (to_c(r["when"], res), body)
        emit_function(spec, "bool", "%s_rule_%d" % (fn, i), body, out)
    if s.get("rules"):
        out.append("static const struct spec_rule %s_rules[] = {" % fn)
        for i, r in enumerate(s["rules"]):
            out.append("    {%s, %s, SPEC_%s, %s_rule_%d}," % (c_str(r["clause"]), c_str(r["require"]),
                                                             r.get("severity", "corruption").upper(), fn, i))
        out.append("};")


def extent(s):
    return max([f["offset"] + f["width"] for f in s.get("fields", [])] or [0])


def emit_structure_list(spec, out):
    fmt = spec["format"]
    out.append("static const struct spec_structure %s_structures[] = {" % fmt)
    for s in spec["structures"]:
        fn = "%s_%s" % (fmt, s["name"])
        parts = [c_str(s["name"]), c_str(s["doc"]), str(extent(s)), str(s.get("align", 1))]
        for what in ("fields", "rules"):
            name = "%s_%s" % (fn, what)
            parts += ([name, "sizeof(%s) / sizeof(%s[0])" % (name, name)] if s.get(what) else ["NULL", "0"])
        out.append("    {%s}," % ", ".join(parts))
    out.append("    {0},\n};")


def clauses(spec):
    """Every clause: (id, section, class, text, unchecked)."""
    for g in spec["clauses"]:
        for c in g["list"]:
            cls = [k for k in CLASSES if k in c][0]
            yield "%s-%d" % (g["id"], c["n"]), g["section"], cls, c[cls], c.get("unchecked")


def emit_clauses(spec, out):
    out.append("static const struct spec_clause %s_clauses[] = {" % spec["format"])
    for cid, section, cls, text, unchecked in clauses(spec):
        out.append("    {%s, %s, SPEC_%s, %s, %s}," % (c_str(cid), c_str(section), cls.upper(), c_str(text),
                                                      c_str(unchecked)))
    out.append("    {0},\n};")


def contents_c(names):
    return " | ".join("SPEC_" + n.upper() for n in names)


def emit_promise(spec, out):
    fmt, pr = spec["format"], spec["promise"]
    out.append("static const struct spec_unflushed %s_unflushed[] = {" % fmt)
    for u in pr["unflushed"]:
        out.append("    {%s, %s, %s}," % (c_str(u["id"]), contents_c(u["contents"]), c_str(u["text"])))
    out.append("    {0},\n};\nstatic const struct spec_atomic %s_atomic[] = {" % fmt)
    for a in pr["atomic"]:
        out.append("    {%s, %s, %s}," % (c_str(a["id"]), c_str(a["object"]), c_str(a["text"])))
    out.append("    {0},\n};\nstatic const struct spec_order %s_ordering[] = {" % fmt)
    for o in pr["ordering"]:
        out.append("    {%s}," % ", ".join(c_str(o.get(k)) for k in ("id", "first", "then", "unless", "text")))
    out.append("    {0},\n};")
    for a in pr["after_cut"]:
        out.append("static const char *const %s_after_%s[] = {%s, NULL};"
                   % (fmt, a["id"], ", ".join(c_str(c) for c in a["clauses"])))
    out.append("static const struct spec_after_cut %s_after_cut[] = {" % fmt)
    for a in pr["after_cut"]:
        out.append("    {%s, %s, %s_after_%s, SPEC_REPAIR_%s, %s},"
                   % (c_str(a["id"]), c_str(a.get("when")), fmt, a["id"], a["repair"].upper(), c_str(a["text"])))
    out.append("    {0},\n};\nstatic const struct spec_promise %s_promise = {" % fmt)
    out.append("    %d, %s, %s_unflushed, %s_atomic, %s_ordering, %s_after_cut,\n};"
               % (pr["atomic_unit"], contents_c(pr["flushed"]["contents"]), fmt, fmt, fmt, fmt))


def emit_tables(spec, out):
    fmt = spec["format"]
    out += ["#ifdef SPEC_TABLES", '#include "specs/runtime/spec.h"', ""]
    for e in spec.get("enums", []):
        if any(f.get("values") == e["prefix"] for s in spec["structures"] for f in s.get("fields", [])):
            out.append("static const struct spec_value %s_values_%s[] = {" % (fmt, e["prefix"].lower()))
            out += ["    {%s, %s}," % (c_str(v["name"]), c_num(v["value"])) for v in e["values"]]
            out.append("    {0},\n};")
    for s in spec["structures"]:
        emit_structure_tables(spec, s, out)
    emit_structure_list(spec, out)
    emit_clauses(spec, out)
    emit_promise(spec, out)
    out.append("static const struct spec_format %s_spec = {" % fmt)
    out.append("    %s, %s, %s_structures, %s_clauses, &%s_promise,\n};\n#endif"
               % (c_str(fmt), c_str(spec["title"]), fmt, fmt, fmt))


def header(spec, path):
    fmt = spec["format"]
    guard = "BLKREF_GEN_%s_LAYOUT_H" % fmt.upper()
    out = ["/* Made by specs/gen.py from %s: do not edit. */" % os.path.relpath(path, os.path.dirname(HERE)),
           "#ifndef %s" % guard, "#define %s" % guard, "",
           '#include "ref/base/bytes.h"', '#include "specs/runtime/arith.h"', ""]
    emit_numbers(spec, out)
    for s in spec["structures"]:
        out.append("/* %s: %s */" % (s["name"], s["doc"]))
        emit_layout(spec, s, out)
        emit_accessors(spec, s, out)
        out.append("")
    out.append("/* What the rules know beside the structure that they judge. */\nstruct %s_params {" % fmt)
    for p in spec.get("parameters", [{"name": "unused", "doc": "this format has none"}]):
        out.append("    uint64_t %s; /* %s */" % (p["name"], p["doc"]))
    out.append("};\n")
    emit_tables(spec, out)
    out.append("#endif")
    return "\n".join(out) + "\n"


# ---------------------------------------------------------------- checking a specification

def evaluate(text, env):
    """An expression's value over Python integers, for checking bit ranges that depend on parameters."""
    to_c(text, lambda n: n)     # only the language's own operators
    return eval(compile(ast.parse(text, mode="eval"), "<spec>", "eval"), {"__builtins__": {}}, env)  # noqa: S307


def parameter_cases(spec, s):
    """Environments to try a structure's bit ranges in."""
    known = {p["name"]: p for p in spec.get("parameters", [])}
    cases = [{}]
    for name in s.get("parameters", []):
        if name not in known or "min" not in known[name] or "max" not in known[name]:
            raise SpecError("%s: parameter %s has no range" % (s["name"], name))
        cases = [dict(c, **{name: v}) for c in cases for v in range(known[name]["min"], known[name]["max"] + 1)]
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
                    found.append("%s.%s: bits %d to %d are not in %d bytes" % (s["name"], f["name"], lo, hi, width))
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
        found.append("%s: range %s to %s is empty or too wide" % (where, f.get("min", 0), f.get("max", top)))
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
    for n in [c["name"] for c in spec.get("constants", [])] + \
             ["%s_%s" % (e["prefix"], v["name"]) for e in spec.get("enums", []) for v in e["values"]] + \
             ["%s_%s" % (g["prefix"], b["name"]) for g in spec.get("flags", []) for b in g["bits"]]:
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
    for part in ("unflushed", "atomic", "ordering", "after_cut"):
        ids = [x["id"] for x in pr[part]]
        if len(set(ids)) != len(ids):
            found.append("promise.%s: an id twice" % part)
    for a in pr["atomic"]:
        if a["object"] not in names:
            found.append("promise.atomic.%s: no structure %s" % (a["id"], a["object"]))
    for a in pr["after_cut"]:
        for c in a["clauses"]:
            if c not in known:
                found.append("promise.after_cut.%s: no clause %s" % (a["id"], c))


def check(spec, runtime=os.path.join(HERE, "runtime")):
    """Everything wrong with a specification, as a list of messages."""
    import jsonschema
    with open(os.path.join(HERE, "schema.json"), encoding="utf-8") as f:
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
        if not found:
            header(spec, os.path.join(HERE, "x.yaml"))
    except SpecError as e:
        found.append(str(e))
    return found


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--header", metavar="FILE")
    ap.add_argument("--check", metavar="FILE", nargs="+", default=[])
    args = ap.parse_args()
    bad = 0
    for path in args.check + ([args.header] if args.header else []):
        try:
            spec = load(path)
            if path == args.header:
                sys.stdout.write(header(spec, path))
                continue
            messages = check(spec)
        except (SpecError, yaml.YAMLError) as e:
            messages = [str(e)]
        for m in messages:
            print("%s: %s" % (path, m), file=sys.stderr)
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
