"""The generator: shipped specifications are sound, planted mistakes are found, its C works.

Run with: python3 -m pytest -q specs
"""
import copy
import glob
import os
import subprocess
import sys

import pytest
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
SPECS = os.path.dirname(HERE)
ROOT = os.path.dirname(SPECS)
sys.path.insert(0, SPECS)

import gen  # noqa: E402  (the path comes first)
from speclang.check import check  # noqa: E402
from speclang.model import find_field, find_structure  # noqa: E402

QCOW2 = os.path.join(SPECS, "qcow2.yaml")


@pytest.fixture(scope="module")
def good():
    return gen.load(QCOW2)


@pytest.fixture
def spec(good):
    return copy.deepcopy(good)


def field(spec, path):
    return find_field(spec, path)


def structure(spec, name):
    return find_structure(spec, name)


@pytest.mark.parametrize("path", sorted(glob.glob(os.path.join(SPECS, "*.yaml"))))
def test_shipped_specifications_are_sound(path):
    assert check(gen.load(path)) == []


# ---------------------------------------------------------------- planted mistakes

def overlap_bytes(s):
    field(s, "header.version")["offset"] = 2


def gap(s):
    h = structure(s, "header")
    h["fields"] = [f for f in h["fields"] if f["name"] != "size"]


def overlap_bits(s):
    field(s, "l1_entry.offset")["bits"] = [8, 55]


def lost_bits(s):
    field(s, "l1_entry.reserved_high")["bits"] = [57, 62]


def overlap_dynamic_bits(s):
    field(s, "l2_compressed.host_offset")["bits"] = ["0", "x"]


def wrong_size(s):
    structure(s, "bitmap_ext")["sizes"]["fixed"] = 20


def bits_outside(s):
    field(s, "l1_entry.copied")["bits"] = [63, 64]


def field_twice(s):
    field(s, "crypto_ext.length")["name"] = "offset"


def structure_twice(s):
    s["structures"].append(copy.deepcopy(structure(s, "l1_entry")))


def empty_range(s):
    field(s, "header.refcount_order")["min"] = 7


def range_too_wide(s):
    field(s, "feature_name.bit")["max"] = 256


def range_without_clause(s):
    del field(s, "feature_name.bit")["clause"]


def no_such_enum(s):
    field(s, "feature_name.type")["values"] = "NOTHING"


def no_such_clause(s):
    structure(s, "crypto_ext")["rules"][0]["clause"] = "FDE-99"


def no_such_name(s):
    structure(s, "crypto_ext")["rules"][0]["require"] = "offest % cluster_size == 0"


def not_an_expression(s):
    structure(s, "crypto_ext")["rules"][0]["require"] = "offset % == 0"


def a_call(s):
    structure(s, "crypto_ext")["rules"][0]["require"] = "print(offset)"


def a_float(s):
    structure(s, "crypto_ext")["rules"][0]["require"] = "offset * 1.5 == 0"


def clause_twice(s):
    s["clauses"].append(copy.deepcopy(s["clauses"][0]))


def clause_missing(s):
    del s["clauses"][1]["list"][4]


def clause_without_check(s):
    group = s["clauses"][0]["list"]
    group.append({"n": len(group) + 1, "image": "Nobody looks at this."})


def clause_called_unchecked(s):
    s["clauses"][1]["list"][1]["unchecked"] = "but there is a range"


def clause_of_two_classes(s):
    s["clauses"][0]["list"][0]["writer"] = "Also this."


def rule_dropped(s):
    structure(s, "l2_bitmap")["rules"] = []


def promise_of_unknown_clause(s):
    s["promise"]["after_cut"][0]["clauses"] = ["RC-99"]


def promise_leaves_unknown_clause(s):
    s["promise"]["leaves"] = [{"id": "x", "after": "resize", "clauses": ["RC-99"], "text": "t"}]


def promise_refuses_unknown_clause(s):
    s["promise"]["before_use"] = {"repair": "all", "refused": "RC-99", "text": "t"}


def promise_of_unknown_content(s):
    s["promise"]["unflushed"][0]["contents"] = ["anything"]


def promise_twice(s):
    s["promise"]["unflushed"].append(s["promise"]["unflushed"][0])


def no_promise(s):
    del s["promise"]


def unknown_key(s):
    field(s, "header.size")["maximum"] = 5


def flag_outside(s):
    s["flags"][3]["bits"][0]["bit"] = 32


def flag_of_no_field(s):
    s["flags"][0]["field"] = "header.features"


def name_twice(s):
    s["constants"].append({"name": "CRYPT_AES", "value": 5, "doc": "clashes with an enum"})


def variable_without_length(s):
    structure(s, "snapshot")["variable"][1]["length"] = "id_length"


MISTAKES = [
    (overlap_bytes, "overlap"), (gap, "left out"), (overlap_bits, "overlap"),
    (lost_bits, "left out"),
    (overlap_dynamic_bits, "overlap"), (wrong_size, "not the end"), (bits_outside, "64"),
    (field_twice, "twice"), (structure_twice, "twice"), (empty_range, "empty or too wide"),
    (range_too_wide, "too wide"), (range_without_clause, "names its clause"),
    (no_such_enum, "no enum"),
    (no_such_clause, "no clause FDE-99"), (no_such_name, "nothing is called offest"),
    (not_an_expression, "expression"), (a_call, "not in the language"),
    (a_float, "not in the language"), (clause_twice, "twice"), (clause_missing, "not numbered"),
    (clause_without_check, "nothing checks it"),
    (clause_called_unchecked, "called unchecked"), (clause_of_two_classes, "valid under"),
    (rule_dropped, "XL2-8: nothing checks it"),
    (promise_of_unknown_clause, "after_cut.leaks: no clause RC-99"),
    (promise_leaves_unknown_clause, "leaves.x: no clause RC-99"),
    (promise_refuses_unknown_clause, "before_use: no clause RC-99"),
    (promise_of_unknown_content, "anything"), (promise_twice, "an id twice"),
    (no_promise, "promise"),
    (unknown_key, "maximum"), (flag_outside, "not in the field"), (flag_of_no_field, "no field"),
    (name_twice, "CRYPT_AES"), (variable_without_length, "no field id_length"),
]


@pytest.mark.parametrize("plant,message", MISTAKES, ids=[m[0].__name__ for m in MISTAKES])
def test_planted_mistake_is_found(spec, plant, message):
    plant(spec)
    found = check(spec)
    assert any(message in f for f in found), found


def test_equal_keys_are_refused(tmp_path):
    p = tmp_path / "x.yaml"
    p.write_text("format: a\nformat: b\n")
    with pytest.raises(gen.SpecError):
        gen.load(str(p))


def test_command_line(tmp_path, spec):
    ok = subprocess.run([sys.executable, os.path.join(SPECS, "gen.py"), "--check", QCOW2],
                        capture_output=True, text=True, check=False)
    assert (ok.returncode, ok.stdout, ok.stderr) == (0, "", "")
    overlap_bytes(spec)
    bad = tmp_path / "bad.yaml"
    bad.write_text(yaml.safe_dump(spec))
    no = subprocess.run([sys.executable, os.path.join(SPECS, "gen.py"), "--check", str(bad)],
                        capture_output=True, text=True, check=False)
    assert no.returncode == 1 and "fields overlap at byte 2" in no.stderr


# ---------------------------------------------------------------- the C

TINY = """
format: tiny
title: a little-endian format for the test
byte_order: little
source: none
parameters:
  - {name: limit, doc: a parameter}
constants:
  - {name: BIG, value: 0x123456789abc, doc: more than 32 bits}
structures:
  - name: thing
    doc: odd widths and bit fields
    sizes: {fixed: 12}
    fields:
      - {name: three, offset: 0, width: 3}
      - {name: swapped, offset: 3, width: 2, byte_order: big}
      - {name: low, offset: 5, width: 2, bits: [0, 3]}
      - {name: high, offset: 5, width: 2, bits: [4, 15]}
      - {name: six, offset: 7, width: 5, max: 5, clause: T-1}
    rules:
      - {clause: T-2, when: three > 0, require: not (three * 2 > limit) or six == BIG}
clauses:
  - {id: T, section: all, list: [{n: 1, image: one}, {n: 2, image: two}]}
promise:
  atomic_unit: 512
  flushed: {contents: [new], text: x}
  unflushed: [{id: any, contents: [old, new], text: x}]
  atomic: []
  ordering: []
  after_cut: []
"""

TINY_C = r"""
#include <assert.h>
#define SPEC_TABLES
#include "tiny_layout.h"
int main(void)
{
    uint8_t p[12] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x21, 0x43, 1, 2, 3, 4, 5};
    struct tiny_params q = {.limit = 0x60402};
    assert(tiny_thing_get_three(p) == 0x030201);
    assert(tiny_thing_get_swapped(p) == 0x0405);
    assert(tiny_thing_get_low(p) == 1 && tiny_thing_get_high(p) == 0x432);
    assert(tiny_thing_get_six(p) == 0x0504030201);
    tiny_thing_set_high(p, 0xabc);
    assert(p[5] == 0xc1 && p[6] == 0xab);
    assert(TINY_BIG == 0x123456789abc);
    assert(TINY_THING_HIGH_MASK == 0xfff0u && TINY_THING_HIGH_SHIFT == 4);
    assert(tiny_thing_rules[0].holds(p, &q));
    q.limit--;
    assert(!tiny_thing_rules[0].holds(p, &q));
    return tiny_spec.structures[0].size != 12;
}
"""


def test_a_format_of_its_own(tmp_path):
    """Little-endian, odd widths, one field of the other order; compiled and run."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    spec = gen.load(str(path))
    assert check(spec) == []
    (tmp_path / "tiny_layout.h").write_text(gen.header(spec, str(path)))
    (tmp_path / "t.c").write_text(TINY_C)
    exe = tmp_path / "t"
    subprocess.run(["cc", "-std=gnu17", "-Wall", "-Wextra", "-Werror", "-I", ROOT, "-I",
                    str(tmp_path), str(tmp_path / "t.c"), "-o", str(exe)], check=True)
    subprocess.run([str(exe)], check=True)


def test_names_stay(good):
    """Names that drivers use."""
    text = gen.header(good, QCOW2)
    for line in ["#define QCOW2_HEADER_MAGIC_OFF 0", "#define QCOW2_HEADER_MAGIC_WIDTH 4",
                 "#define QCOW2_HEADER_V2_SIZE 72", "#define QCOW2_INCOMPAT_DIRTY UINT64_C(0x1)",
                 "#define QCOW2_EXT_BITMAPS 0x23852875u",
                 "static inline uint32_t qcow2_header_get_magic(const void *p)",
                 "static inline void qcow2_header_set_magic(void *p, uint32_t v)"]:
        assert line in text


def test_output_is_deterministic(good):
    assert gen.header(good, QCOW2) == gen.header(gen.load(QCOW2), QCOW2)
