"""The templates of docs/ci: they are YAML, their scripts parse, and what they call exists; the gate's
step does what it says, played with a program that only notes how it was called, and with the
program itself on a tiny campaign."""
import os
import re
import shlex
import shutil
import subprocess

import pytest
import yaml

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PROGRAM = os.path.abspath(os.path.join(os.environ.get("BLKREF_BUILD", "build"), "bin", "blkref"))


def read(name):
    with open(os.path.join(ROOT, name), encoding="utf-8") as f:
        return f.read()


def github():
    job = yaml.safe_load(read("docs/ci/github.yml"))["jobs"]["campaign"]
    assert job["container"]["image"] == "debian:12"
    return job["env"]["CAMPAIGN"], [step["run"] for step in job["steps"] if "run" in step]


def gitlab():
    job = yaml.safe_load(read("docs/ci/gitlab.yml"))["campaign"]
    return job["variables"]["CAMPAIGN"], job["before_script"] + job["script"]


TEMPLATES = pytest.mark.parametrize("template", [github, gitlab])


@TEMPLATES
def test_scripts_parse(template):
    for script in template()[1]:
        done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, script + done.stderr


@TEMPLATES
def test_targets_exist(template):
    targets = set(re.findall(r"^([a-z][a-z-]*):", read("Makefile"), re.M))
    called = set(re.findall(r"^\s*make ([a-z-]+)$", "\n".join(template()[1]), re.M))
    assert called == {"deps", "all", "optimized", "fuzz-target"} and called <= targets


@TEMPLATES
def test_options_exist(template):
    more, scripts = template()
    calls = re.findall(r"build/bin/blkref (\w+)(.*?)(?:\|\||$)", "\n".join(scripts), re.M)
    assert {command for command, _ in calls} == {"gate", "campaign"}
    for command, rest in calls:
        known = subprocess.run([PROGRAM, command, "--help"], capture_output=True, text=True,
                               check=True).stdout
        for word in shlex.split(rest.replace("$CAMPAIGN", more)):
            assert not word.startswith("--") or re.search(r"^  %s\b" % word, known, re.M), word


@TEMPLATES
@pytest.mark.parametrize("baseline, status, passes", [
    (False, 0, True), (False, 1, True), (False, 2, False),
    (True, 0, True), (True, 1, False), (True, 2, False)])
def test_the_gate_s_step(template, tmp_path, baseline, status, passes):
    more, scripts = template()
    step = next(s for s in scripts if "blkref gate" in s)
    (tmp_path / "build/bin").mkdir(parents=True)
    program = tmp_path / "build/bin/blkref"
    program.write_text('#!/bin/sh\necho "$1"\nexit %d\n' % status)
    program.chmod(0o755)
    if baseline:
        (tmp_path / "baseline").mkdir()
        (tmp_path / "baseline/results.sqlite").write_text("")
    done = subprocess.run(["sh", "-e", "-c", step], cwd=tmp_path, env={**os.environ, "CAMPAIGN": more},
                          capture_output=True, text=True, check=False)
    assert done.stdout == ("gate\n" if baseline else "campaign\n")
    assert (done.returncode == 0) == passes


# ---- with the program itself ----

TINY = "--seed 1 --count 1 --in-process --only programs --only crash --image raw"


def github_job():
    """(folder of the baseline, files of the report, the scripts from the gate on): a shell for each step."""
    steps = yaml.safe_load(read("docs/ci/github.yml"))["jobs"]["campaign"]["steps"]
    names = [step.get("name") for step in steps]
    after = steps[names.index("Campaign and gate"):]
    caches = {step["with"]["path"] for step in steps if "cache" in step.get("uses", "")}
    kept = next(step for step in after if "upload-artifact" in step.get("uses", ""))
    assert kept["if"] == "always()" and len(caches) == 1
    assert all("success()" in step["if"] for step in after[1:] if step is not kept)
    return caches.pop(), [kept["with"]["path"] + "/index.html"], [step["run"] for step in after if "run" in step]


def gitlab_job():
    """The same: one shell for all."""
    job = yaml.safe_load(read("docs/ci/gitlab.yml"))["campaign"]
    at = next(i for i, line in enumerate(job["script"]) if "blkref gate" in line)
    artifacts = job["artifacts"]
    assert artifacts["when"] == "always" and len(job["cache"]["paths"]) == 1
    return (job["cache"]["paths"][0], [artifacts["paths"][0] + "index.html", artifacts["reports"]["junit"]],
            ["\n".join(job["script"][at:])])


def run_job(scripts, folder, campaign):
    """Exit status and output of a job on a fresh tree; what is cached stays in the folder."""
    shutil.rmtree(folder / "build", ignore_errors=True)
    (folder / "build/bin").mkdir(parents=True)
    (folder / "build/bin/blkref").symlink_to(PROGRAM)
    if not (folder / "docs").exists():
        (folder / "docs").symlink_to(os.path.abspath(os.path.join(ROOT, "docs")))
    output = ""
    for script in scripts:
        done = subprocess.run(["sh", "-e", "-c", script], cwd=folder, env={**os.environ, "CAMPAIGN": campaign},
                              capture_output=True, text=True, timeout=120, check=False)
        output += done.stdout + done.stderr
        if done.returncode:
            return done.returncode, output
    return 0, output


def play(job, folder):
    """A pipeline's life: no baseline, the same again, a defect, and the defect as a known failure."""
    cache, kept, scripts = job
    baseline = folder / cache / "results.sqlite"
    status, output = run_job(scripts, folder, TINY)
    assert status == 0 and baseline.exists() and "new failures" not in output, output
    status, output = run_job(scripts, folder, TINY)
    assert status == 0 and " 0 new failures" in output, output
    before = baseline.read_bytes()
    status, output = run_job(scripts, folder, TINY + " --plant flip-byte")
    assert status == 1 and "NEW programs" in output, output
    assert baseline.read_bytes() == before
    assert all((folder / name).exists() for name in kept)
    baseline.unlink()
    assert run_job(scripts, folder, TINY + " --plant flip-byte")[0] == 0
    status, output = run_job(scripts, folder, TINY + " --plant flip-byte")
    assert status == 0 and re.search(r" 0 new failures, [1-9][0-9]* known", output), output


@pytest.mark.parametrize("job", [github_job, gitlab_job])
def test_the_job_with_the_program(job, tmp_path):
    play(job(), tmp_path)


@pytest.mark.parametrize("right, wrong", [
    ("--baseline", "--basline"), ("[ -f baseline", "[ -f basline"), ("cp build/report", "cp build/reports"),
    ("--report build/report", "--report build/out"), ("blkref gate", "blkref campaign")])
def test_a_typo_is_noticed(right, wrong, tmp_path):
    cache, kept, scripts = gitlab_job()
    assert right in scripts[0]
    with pytest.raises(AssertionError):
        play((cache, kept, [scripts[0].replace(right, wrong)]), tmp_path)
