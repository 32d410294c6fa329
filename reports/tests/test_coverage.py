"""Coverage by folder: bound, missing folders, lines counted once."""
import io

from reports import coverage


def tracefile(**hits):
    lines = []
    for path, counts in hits.items():
        lines += ["TN:", "SF:/top/" + path] + ["DA:%d,%d" % (n, c) for n, c in enumerate(counts, 1)]
        lines += ["end_of_record"]
    return lines


def judged(files):
    out = io.StringIO()
    return coverage.report(coverage.read_tracefile(tracefile(**files), "/top"), out), out.getvalue()


FULL = {folder + "/a.c": [1] * 20 for folder in coverage.HELD}


def test_full_coverage_is_good():
    good, text = judged(FULL)
    assert good
    assert "ref/base                     20 of     20 lines  100.0 %  at least 85 %" in text


def test_one_folder_below_the_bound_fails_and_names_its_file():
    good, text = judged({**FULL, "ref/block/b.c": [0] * 10})
    assert not good
    assert "BELOW 85 %" in text
    assert "0.0 %  ref/block/b.c" in text


def test_a_held_folder_without_lines_fails():
    files = dict(FULL)
    del files["ref/engine/a.c"]
    assert not judged(files)[0]


def test_other_folders_are_shown_not_held():
    good, text = judged({**FULL, "ref/tools/t.c": [0] * 10})
    assert good
    assert "ref/tools" in text


def test_a_line_given_twice_counts_once():
    files = coverage.read_tracefile(["SF:/top/ref/base/a.c", "DA:1,0", "DA:1,3,hash", "DA:2,0",
                                     "end_of_record"], "/top")
    assert files == {"ref/base/a.c": (2, 1)}
