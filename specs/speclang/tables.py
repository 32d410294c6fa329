"""C for checkers, mutators and oracles: tables of fields, rules, clauses and the promise."""
from speclang.expr import resolver, to_c
from speclang.model import (MAX64, bit_range, c_num, c_str, clauses, extent, is_big, is_bytes,
                            is_dynamic)

def emit_function(spec, kind, name, body, out):
    out.append("static %s %s(const uint8_t *p, const void *params)\n{" % (kind, name))
    out.append("    const struct %s_params *q = params;" % spec["format"])
    out.append("    (void)p;\n    (void)q;\n    return %s;\n}" % body)


def emit_field_functions(spec, s, out):
    res = resolver(spec, s)
    fn = "%s_%s" % (spec["format"], s["name"])
    for f in s.get("fields", []):
        if "when" in f:
            emit_function(spec, "bool", "%s_%s_present" % (fn, f["name"]), to_c(f["when"], res),
                          out)
        if is_dynamic(f):
            for end, e in zip(("low", "high"), f["bits"]):
                emit_function(spec, "unsigned", "%s_%s_%s" % (fn, f["name"], end),
                              "(unsigned)%s" % to_c(str(e), res), out)


def field_entry(spec, s, f):
    fn = "%s_%s" % (spec["format"], s["name"])
    dyn = is_dynamic(f)
    lo, hi = (0, 63) if is_bytes(f) or dyn else bit_range(f)
    parts = [".name = %s" % c_str(f["name"]), ".offset = %d" % f["offset"],
             ".width = %d" % f["width"], ".big_endian = %s" % str(is_big(spec, f)).lower(),
             ".low_bit = %d" % lo, ".high_bit = %d" % hi,
             ".min = %s" % c_num(f.get("min", 0)), ".max = %s" % c_num(f.get("max", MAX64))]
    for flag in ("bytes", "reserved", "in_place"):
        if is_bytes(f) if flag == "bytes" else f.get(flag):
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
            severity = "SPEC_" + r.get("severity", "corruption").upper()
            out.append("    {%s, %s, %s, %s_rule_%d},"
                       % (c_str(r["clause"]), c_str(r["require"]), severity, fn, i))
        out.append("};")

def emit_structure_list(spec, out):
    fmt = spec["format"]
    out.append("static const struct spec_structure %s_structures[] = {" % fmt)
    for s in spec["structures"]:
        fn = "%s_%s" % (fmt, s["name"])
        parts = [c_str(s["name"]), c_str(s["doc"]), str(extent(s)), str(s.get("align", 1))]
        for what in ("fields", "rules"):
            name = "%s_%s" % (fn, what)
            count = "sizeof(%s) / sizeof(%s[0])" % (name, name)
            parts += [name, count] if s.get(what) else ["NULL", "0"]
        out.append("    {%s}," % ", ".join(parts))
    out.append("    {0},\n};")

def emit_clauses(spec, out):
    out.append("static const struct spec_clause %s_clauses[] = {" % spec["format"])
    for cid, section, cls, text, unchecked in clauses(spec):
        out.append("    {%s, %s, SPEC_%s, %s, %s},"
                   % (c_str(cid), c_str(section), cls.upper(), c_str(text), c_str(unchecked)))
    out.append("    {0},\n};")


def contents_c(names):
    return " | ".join("SPEC_" + n.upper() for n in names)


def emit_clause_lists(fmt, part, entries, out):
    for a in entries:
        out.append("static const char *const %s_%s_%s[] = {%s, NULL};"
                   % (fmt, part, a["id"], ", ".join(c_str(c) for c in a["clauses"])))


def emit_use(fmt, pr, out):
    """What the next user must do first, and what operations leave."""
    use, leaves = pr.get("before_use", {}), pr.get("leaves", [])
    emit_clause_lists(fmt, "leaves", leaves, out)
    out.append("static const struct spec_leaves %s_leaves[] = {" % fmt)
    for a in leaves:
        out.append("    {%s, %s, %s_leaves_%s, %s},"
                   % (c_str(a["id"]), c_str(a["after"]), fmt, a["id"], c_str(a["text"])))
    out.append("    {0},\n};\nstatic const struct spec_before_use %s_before_use = {" % fmt)
    out.append("    SPEC_REPAIR_%s, %s, %s,\n};"
               % (use.get("repair", "none").upper(), c_str(use.get("refused")),
                  c_str(use.get("text"))))


def emit_promise(spec, out):
    fmt, pr = spec["format"], spec["promise"]
    out.append("static const struct spec_unflushed %s_unflushed[] = {" % fmt)
    for u in pr["unflushed"]:
        out.append("    {%s, %s, %s},"
                   % (c_str(u["id"]), contents_c(u["contents"]), c_str(u["text"])))
    out.append("    {0},\n};\nstatic const struct spec_atomic %s_atomic[] = {" % fmt)
    for a in pr["atomic"]:
        out.append("    {%s, %s, %s}," % (c_str(a["id"]), c_str(a["object"]), c_str(a["text"])))
    out.append("    {0},\n};\nstatic const struct spec_order %s_ordering[] = {" % fmt)
    for o in pr["ordering"]:
        parts = [c_str(o.get(k)) for k in ("id", "first", "then", "unless", "text")]
        out.append("    {%s}," % ", ".join(parts))
    out.append("    {0},\n};")
    emit_clause_lists(fmt, "after", pr["after_cut"], out)
    out.append("static const struct spec_after_cut %s_after_cut[] = {" % fmt)
    for a in pr["after_cut"]:
        out.append("    {%s, %s, %s_after_%s, SPEC_REPAIR_%s, %s},"
                   % (c_str(a["id"]), c_str(a.get("when")), fmt, a["id"], a["repair"].upper(),
                      c_str(a["text"])))
    out.append("    {0},\n};")
    emit_use(fmt, pr, out)
    out.append("static const struct spec_promise %s_promise = {" % fmt)
    out.append("    %d, %s, " % (pr["atomic_unit"], contents_c(pr["flushed"]["contents"]))
               + ", ".join("%s_%s" % (fmt, part) for part in (
                   "unflushed", "atomic", "ordering", "after_cut", "leaves"))
               + ", &%s_before_use,\n};" % fmt)


def emit_tables(spec, out):
    fmt = spec["format"]
    out += ["#ifdef SPEC_TABLES", '#include "specs/runtime/spec.h"', ""]
    used = {f.get("values") for s in spec["structures"] for f in s.get("fields", [])}
    for e in spec.get("enums", []):
        if e["prefix"] in used:
            out.append("static const struct spec_value %s_values_%s[] = {"
                       % (fmt, e["prefix"].lower()))
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
