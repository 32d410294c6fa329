"""The model of a specification: loading the YAML, finding things in it, how numbers look in C."""
import yaml

MAX64 = (1 << 64) - 1
CLASSES = ["image", "reader", "writer", "advisory"]

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

def extent(s):
    return max([f["offset"] + f["width"] for f in s.get("fields", [])] or [0])

def clauses(spec):
    """Every clause: (id, section, class, text, unchecked)."""
    for g in spec["clauses"]:
        for c in g["list"]:
            cls = [k for k in CLASSES if k in c][0]
            yield "%s-%d" % (g["id"], c["n"]), g["section"], cls, c[cls], c.get("unchecked")

def c_str(text):
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
