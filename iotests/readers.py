"""Programs and libraries of others that read what ours write: found, or the test is skipped with a reason."""
import importlib
import os
import random
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


def run(*words):
    """A reader's output; bytes."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    return done.stdout


def source(folder, size):
    """A raw disk of random data, text and holes, with an end that is no whole cluster."""
    rng = random.Random(5)
    path = os.path.join(folder, "source.raw")
    with open(path, "wb") as out:
        out.write(rng.randbytes(700000))
        out.seek(size * 2 // 3)
        out.write(b"the quick brown fox " * 70000)
        out.seek(size - 5000)
        out.write(rng.randbytes(5000))
    return path
