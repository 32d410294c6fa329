#!/usr/bin/python3
"""Turns a format's specification (YAML) into C: offsets, accessors, tables of fields, clauses, promises.

    gen.py --header FILE    print <format>_layout.h
    gen.py --check FILE...  validate against schema.json and the rules below; exit status 1 on a finding

The language is described in docs/specs.md.  Leaves out: judging images (specs/runtime does that with the
generated tables) and everything a format computes from more than one structure.
"""
import argparse
import ast
import json
import os
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
    out.append("#endif")
    return "\n".join(out) + "\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    ap.add_argument("--header", metavar="FILE")
    ap.add_argument("--check", metavar="FILE", nargs="+")
    args = ap.parse_args()
    try:
        if args.header:
            sys.stdout.write(header(load(args.header), args.header))
    except SpecError as e:
        print("%s: %s" % (args.header, e), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
