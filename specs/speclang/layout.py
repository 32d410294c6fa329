"""C for drivers: constants, positions, accessors."""
from speclang.expr import to_c
from speclang.model import (SpecError, c_num, c_type, c_wide, container, find_field, is_bytes,
                            is_dynamic, load_c, mask_of, store_c)

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
        out.append("static inline %s %s_mask(%s)\n{" % (t, name, only))
        out.append("    return (%s)spec_bit_mask((unsigned)%s, (unsigned)%s);\n}" % (t, lo, hi))
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
    out.append("    %s raw = (%s)((%s & ~m) | ((v << %s) & m));"
               % (t, t, load_c(spec, f, "p"), shift))
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
        out.append("static inline uint64_t %s_%s_pos(const void *p)\n{" % (fn, v["name"]))
        out.append("    (void)p;\n    return %s;\n}" % pos)
        pos = "%s_%s_pos(p) + %s_get_%s(p)" % (fn, v["name"], fn, v["length"])
    if s.get("variable"):
        a = s.get("align", 1)
        out.append("/* Bytes of the whole, padding included. */")
        out.append("static inline uint64_t %s_total_size(const void *p)\n{" % fn)
        out.append("    return (%s + %d) / %d * %d;\n}" % (pos, a - 1, a, a))


def emit_packed(spec, fn, s, out):
    """An array of integers of (1 << order) bits; below a byte the first has the lowest bits."""
    big = 1 if spec["byte_order"] == "big" else 0
    out.append("""
static inline uint64_t %(f)s_get(const void *table, uint64_t index, unsigned order)
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
}""".lstrip() % {"f": fn, "b": big})


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
