"""The templates of docs/ci: they are YAML, their scripts parse, and what they call exists; the gate's
step does what it says, played with a program that only notes how it was called."""
import os
import re
import shlex
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
