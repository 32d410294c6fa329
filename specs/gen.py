#!/usr/bin/python3
"""Turns a format's specification (YAML) into C: positions, accessors, tables.

    gen.py --header FILE    print <format>_layout.h
    gen.py --check FILE...  validate (schema.json, speclang/check.py); exit status 1 on a finding

The language is described in docs/specs.md.  Leaves out: judging images (specs/runtime does that
with the generated tables) and everything a format computes from more than one structure.
"""
import argparse
import os
import sys

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

# pylint: disable=wrong-import-position
from speclang.layout import emit_accessors, emit_layout, emit_numbers  # noqa: E402
from speclang.model import SpecError, load  # noqa: E402
from speclang.tables import emit_tables  # noqa: E402


def header(spec, path):
    fmt = spec["format"]
    guard = "BLKREF_GEN_%s_LAYOUT_H" % fmt.upper()
    source = os.path.relpath(path, os.path.dirname(HERE))
    out = ["/* Made by specs/gen.py from %s: do not edit. */" % source,
           "#ifndef %s" % guard, "#define %s" % guard, "",
           '#include "ref/base/bytes.h"', '#include "specs/runtime/arith.h"', ""]
    emit_numbers(spec, out)
    for s in spec["structures"]:
        out.append("/* %s: %s */" % (s["name"], s["doc"]))
        emit_layout(spec, s, out)
        emit_accessors(spec, s, out)
        out.append("")
    out.append("/* What the rules know beside the structure that they judge. */")
    out.append("struct %s_params {" % fmt)
    for p in spec.get("parameters", [{"name": "unused", "doc": "this format has none"}]):
        out.append("    uint64_t %s; /* %s */" % (p["name"], p["doc"]))
    out.append("};\n")
    emit_tables(spec, out)
    out.append("#endif")
    return "\n".join(out) + "\n"


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
            from speclang.check import check    # jsonschema is not needed for building
            messages = check(spec)
        except (SpecError, yaml.YAMLError) as e:
            messages = [str(e)]
        for m in messages:
            print("%s: %s" % (path, m), file=sys.stderr)
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
