"""Programs and libraries of others that read what ours write: found, or the test is skipped with a reason."""
import importlib
import shutil
import subprocess

import pytest


def program(name, package):
    path = shutil.which(name)
    if not path:
        pytest.skip("%s is not installed (package %s)" % (name, package))
    return path


def module(name, package):
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip("Python module %s is not installed (package %s)" % (name, package))


def ours(subjects):
    """Our programs, for tests of what they write alone."""
    found = [s for s in subjects if s.name == "blkref"]
    if not found:
        pytest.skip("only what our programs write is judged here")
    return found[0]


def run(*words):
    """A reader's output; bytes."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    return done.stdout
