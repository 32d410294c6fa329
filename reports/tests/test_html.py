"""The HTML report: every verdict shows, nothing comes from outside, hostile text stays text."""
import importlib.util
import os
import re
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(HERE, "..", "html.py")
spec = importlib.util.spec_from_file_location("report_html", SCRIPT)
report = importlib.util.module_from_spec(spec)
spec.loader.exec_module(report)


def result(verdict, name="a", stage="read", subject="qemu", **more):
    row = {"stage": stage, "subject": subject, "format": "qcow2", "name": name, "verdict": verdict,
           "detail": None, "repro": None, "divergence": None}
    row.update(more)
    return row


def page(results=(), counters=(), measures=(), facts=()):
    return report.render({"results": list(results), "counters": list(counters),
                          "measures": list(measures), "facts": list(facts)})


def count(key, n, stage="faults", subject="reference"):
    return {"stage": stage, "subject": subject, "key": key, "n": n}


def test_a_failure_shows_with_its_program_and_command():
    text = page([result("pass"), result("fail", "b", detail="bytes differ at 65536",
                 repro="# blkref repro read-qemu-77\n# stage read\nimage qcow2 1M\nwrite 0 512 3\n")])
    assert "<title>blkref campaign: 1 failed</title>" in text
    assert "bytes differ at 65536" in text
    assert "<pre>image qcow2 1M\nwrite 0 512 3</pre>" in text
    assert "<pre>blkref repro read-qemu-77</pre>" in text
    assert 'class="fail"' in text


def test_a_clean_campaign_says_so():
    text = page([result("pass")])
    assert "No unexplained failure" in text
    assert "<h2>Failures" not in text


def test_an_empty_store_is_no_success_by_silence():
    assert "No results were stored." in page()


@pytest.mark.parametrize("verdict, word, shown", [
    ("subject-error", "subject errors", "qemu-img was killed"),
    ("divergence", "explained", "zero-tail"),
    ("skip", "skipped", "qemu-img was killed")])
def test_other_verdicts_show(verdict, word, shown):
    text = page([result(verdict, detail="qemu-img was killed", divergence="zero-tail")])
    assert "1 " + word in text
    assert shown in text
    assert "No unexplained failure" in text


def test_nothing_comes_from_outside():
    text = page([result("fail", detail="x")], [count("label:l2_load", 3)])
    assert not re.search(r"(src|href)\s*=|@import|url\(|<script", text)


def test_hostile_text_stays_text():
    text = page([result("fail", name="<script>alert(1)</script>", detail="</pre><img src=x>",
                        repro="# blkref repro <b>\n<i>")])
    assert "<script" not in text and "<img" not in text and "<i>" not in text
    assert "&lt;/pre&gt;&lt;img src=x&gt;" in text


def test_labels_are_counted_and_the_unreached_stand_out():
    found = report.labels([count("label:l2_load", 5), count("label:l2_load", 2, subject="qemu"),
                           count("label:cor_write", 0), count("fault:l2_load:EIO", 4),
                           count("fault:l2_load:ENOSPC", 1), count("programs", 9)])
    assert found["names"] == ["cor_write", "l2_load"]
    assert found["reached"] == {"l2_load": 7, "cor_write": 0}
    assert found["fired"] == {"l2_load": {"EIO": 4, "ENOSPC": 1}}
    assert found["faults"] == ["EIO", "ENOSPC"]
    assert found["covered"] == 1
    text = page(counters=[count("label:l2_load", 5), count("label:cor_write", 0)])
    assert "1 of 2 labels reached" in text
    assert re.search(r'class="never"><td><code>cor_write</code></td>\s*<td[^>]*>never', text)


def test_labels_of_other_formats_are_rows_of_their_own():
    found = report.labels([count("label:l2_load", 5), count("label:vmdk:l2_load", 2),
                           count("fault:l2_load:EIO", 1), count("fault:vmdk:l2_load:EIO+", 3)])
    assert found["names"] == ["l2_load", "vmdk:l2_load"]
    assert found["fired"] == {"l2_load": {"EIO": 1}, "vmdk:l2_load": {"EIO+": 3}}
    assert found["faults"] == ["EIO", "EIO+"]


def test_crash_states_stand_in_the_order_of_their_epochs():
    charts = report.epochs([count("epoch:10+", 4), count("epoch:2", 8), count("states", 12)])
    assert charts[0]["bars"] == [("2", 8, 100.0), ("10+", 4, 50.0)]
    assert charts[0]["total"] == 12


def test_times_are_ratios_to_the_first_subject():
    def took(subject, value, stage="read"):
        return {"stage": stage, "subject": subject, "key": "seconds", "value": value}
    found = report.timings([took("reference", 2.0), took("qemu", 5.0), took("qemu", 1.0, "write")])
    assert found["subjects"] == ["reference", "qemu"]
    assert found["table"][0][1][1]["ratio"] == 2.5
    assert found["table"][1][1] == [None, {"seconds": 1.0, "ratio": 1.0}]
    assert "2.50x" in page(measures=[took("reference", 2.0), took("qemu", 5.0)])


def test_more_findings_than_the_page_holds_are_counted():
    many = [result("fail", "p%04d" % i) for i in range(report.IN_FULL + 3)]
    assert "3 more stand only in the store" in page(many)


def test_a_missing_store_is_an_error(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, str(tmp_path / "none"), str(tmp_path / "out")],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("html.py: ")
    assert not (tmp_path / "out").exists()


CUT = """# blkref repro crash-reference-1
# crash: state c9:-2,4p1 sector 512
image qcow2 64k
write 0 4096 1
# timeline: op 2 7 write 0 4096 1
# timeline: op 9 12 flush
# timeline: cut 9
# timeline: host 0 2 3 write 0 65536 4096 data durable
# timeline: host 1 4 5 flush 0 0 0 none done
# timeline: host 2 6 0 write 0 <b> 8 l2_update absent
# timeline: host 4 7 8 write 1 0 1024 data before 1
# timeline: host garbage
# map fresh 0 65536 hole
# map uncut 0 4096 data
# map uncut 4096 61440 zero
# map left does not open: <i>
"""


def test_a_power_cut_is_drawn():
    drawn = report.timeline.timeline(CUT)
    rows = drawn["rows"]
    assert [r["class"] for r in rows] == ["op", "op", "durable", "done", "absent", "torn"]
    assert [r["fate"] for r in rows[:2]] == ["", "not begun"]
    assert rows[5]["fate"] == "torn: only sectors before 1"
    assert "disk 1" in rows[5]["text"] and "disk" not in rows[2]["text"]
    assert drawn["cut"] == max(r["x"] + r["width"] for r in rows)
    assert rows[0]["x"] < rows[4]["x"]
    assert rows[4]["x"] + rows[4]["width"] == pytest.approx(drawn["cut"], abs=0.2)
    titles = [(title, [r["kind"] for r in runs], note) for title, runs, note in report.timeline.maps(CUT)]
    assert titles == [("fresh image", ["hole"], ""), ("without the cut", ["data", "zero"], ""),
                      ("left by the cut", [], "does not open: <i>")]
    text = page([result("fail", repro=CUT)])
    assert text.count("<svg") == 3
    assert 'class="f-absent"' in text and 'class="k-zero"' in text
    assert "<i>" not in text and "<b> " not in text
    assert not re.search(r"(src|href)\s*=|@import|url\(|<script", text)


FAULT = """# blkref repro faults-reference-1
# faults: error,errno=28,label=l2_update
image qcow2 64k
write 0 4096 1
flush
# timeline: op 1 7 write 0 4096 1
# timeline: ended 0 No space left on device
# timeline: op 7 9 flush
# timeline: host 0 1 2 write 0 65536 4096 data ok
# timeline: host 1 5 6 write 0 0 8 l2_update failed
# timeline: host 2 7 8 flush 0 0 0 none done
# timeline: fault 3 error 28 write 8192 4096 l2_update
# timeline: fault 4 lost 0 flush 0 0 flush_to_disk
# timeline: fault x
# map fresh 0 65536 hole
# map whole 0 4096 data
# map end 0 65536 hole
"""


def test_a_fault_is_marked_where_it_struck():
    drawn = report.timeline.timeline(FAULT)
    assert drawn["cut"] is None and drawn["faults"] and not drawn["scheduled"]
    assert [r["class"] for r in drawn["rows"]] == ["op", "op", "ok", "fault", "fault", "failed", "done"]
    assert [r["fate"] for r in drawn["rows"][:4]] == ["No space left on device", "", "", "fault: error ENOSPC, No space left on device"]
    assert drawn["rows"][3]["text"] == "write 8192 +4096 (l2_update)"
    assert drawn["rows"][4]["text"] == "flush (flush_to_disk)" and drawn["rows"][4]["fate"] == "fault: lost "
    assert drawn["rows"][0]["x"] < drawn["rows"][3]["x"] < drawn["rows"][0]["x"] + drawn["rows"][0]["width"]
    assert [m[0] for m in report.timeline.maps(FAULT)] == ["fresh image", "without the fault", "at the end"]
    text = page([result("fail", stage="faults", repro=FAULT)])
    assert text.count('class="f-fault"') == 2 and "faults are red" in text
    assert 'class="cut"' not in text and "before power was cut" not in text


SCHEDULE = """# schedules: 2:0
image raw 64k
write 0 8 3 || write 0 16 4 || flush
# timeline: op 3 9 write 0 8 3
# timeline: op 5 0 write 0 16 4
# timeline: op 0 0 flush
# timeline: ran 0 3 5
# timeline: ran 1 5 7
# timeline: ran 0 7 9
# timeline: ran 7 7 9
# timeline: host 0 4 6 write 0 0 512 write_aio open
"""


def test_who_ran_when():
    drawn = report.timeline.timeline(SCHEDULE)
    first, second, third, host = drawn["rows"]
    assert drawn["scheduled"] and drawn["cut"] is None
    assert [len(r["slices"]) for r in drawn["rows"]] == [2, 1, 0, 0]
    assert [r["fate"] for r in drawn["rows"]] == ["", "never ends", "not begun", "never completed"]
    assert first["slices"][0]["x"] == first["x"]
    # Side by side: the second one's turn lies between the first one's two.
    ends = [s["x"] + s["width"] for s in first["slices"]]
    assert ends[0] == pytest.approx(second["slices"][0]["x"], abs=0.2)
    assert second["slices"][0]["x"] + second["slices"][0]["width"] == pytest.approx(first["slices"][1]["x"], abs=0.2)
    assert second["x"] + second["width"] > ends[1] and third["width"] == 0
    text = page([result("fail", stage="schedules", repro=SCHEDULE)])
    assert text.count('class="f-ran"') == 3 and text.count('class="f-waits"') == 2
    assert "when each had its turn" in text


def test_the_report_holds_all_parts_of_a_finding():
    text = page([result("fail", stage="crash", repro=CUT)],
                [count("label:l2_update", 3), count("fault:l2_update:EIO", 2), count("fault:l2_update:lost+", 1),
                 count("epoch:0", 4, stage="crash"), count("epoch:1", 2, stage="crash")])
    heat = text[text.index("Labels and faults"):text.index("Crash states by epoch")]
    assert re.search(r"<th>EIO</th><th>lost\+</th>", heat) and "background: rgba(224, 123, 32, 0." in heat
    assert re.search(r'class="n">0</td>.*class="n">1</td>', text[text.index("Crash states by epoch"):], re.S)
    for part in ("<pre>image qcow2 64k\nwrite 0 4096 1</pre>", 'svg class="time"', "fresh image", "without the cut",
                 "left by the cut"):
        assert part in text


@pytest.mark.parametrize("repro", [None, "", "# timeline: \n# map \n", "# timeline: op x y\n# map left 1 2\n"])
def test_what_is_no_time_line_is_not_drawn(repro):
    assert report.timeline.timeline(repro) is None
    text = page([result("fail", repro=repro)])
    assert "1 failed" in text
