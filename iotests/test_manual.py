"""Manual pages and help texts name the same commands and options."""
import os
import re
import subprocess
import sys

import pytest

from iotests.test_usage_table import COMMANDS, IO_COMMANDS, IO_PLAIN, IO_VALUED

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def page(name):
    with open(os.path.join(HERE, "docs", "man", name)) as text:
        return text.read()


def flags(text):
    """Options that a piece of a page names: {"-f", "--image-opts"}."""
    return {"-" + word for word in re.findall(r"\bFl ([-\w]+)", text)}


def sections(text):
    parts = re.split(r"^\.S[sh] (.*)$", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_img(lab, command):
    """The page has each option of the help's line, and none that the command does not take."""
    line = re.search(r"^  %s (.*)$" % command, lab.one(lab.subjects[0], "img", "--help").out, re.M).group(1)
    told = {o for o in re.findall(r"(?<![\w-])--?[a-zA-Z][-\w]*", line)}
    section = sections(page("blkref-img.1"))[command]
    synopsis = flags(section.split(".Pp")[0])
    assert told <= synopsis, told - synopsis
    takes = set(" ".join(COMMANDS[command][:2]).split()) | told
    assert synopsis <= takes, synopsis - takes
    assert flags(section.split(".Pp")[1]) <= takes


def test_options_of_io(lab):
    text = page("blkref-io.1")
    for option in IO_VALUED.split() + IO_PLAIN.split() + ["-T", "-c"]:
        if option.startswith("--") and option not in ("--object", "--image-opts"):
            continue  # a long form of a letter
        assert option in flags(text.replace("Fl rsnCmkU", " ".join("Fl " + c for c in "rsnCmkU"))), option
    told = re.findall(r"^\.It Cm (\w+)", text, re.M)
    helped = re.findall(r"^(\w+) (?:.* )?-- ", lab.one(lab.subjects[0], "io", "-c", "help").out, re.M)
    assert sorted(set(told)) == sorted(set(helped) | set(told) & {"wait"})
    assert set(IO_COMMANDS) <= set(told)


def test_options_of_the_runner():
    helped = subprocess.run([sys.executable, os.path.join(HERE, "iotests", "runner.py"), "--help"], check=True,
                            stdout=subprocess.PIPE).stdout.decode()
    told = flags(page("blkref-iotests.1"))
    options = {o for o in re.findall(r"(?<![\w-])--[a-z][-\w]*", helped)} - {"--help", "--jobs"}
    assert options == {o for o in told if o.startswith("--")}
    assert "-j" in told
