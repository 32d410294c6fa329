"""Options and fixtures of the end-to-end suite.

--subject blkref|qemu|NAME=DIR runs on those subjects (default: all there are, in lockstep).
--format raw|qcow2 leaves out tests of other formats.
A test marked only("blkref", "reason") runs on that subject alone; a command that is known to answer
otherwise says differs="reason".  The closing summary counts both.
"""
import os
import tempfile

import pytest

from iotests import blkimg


def pytest_addoption(parser):
    parser.addoption("--subject", action="append", default=[], metavar="NAME[=DIR]",
                     help="blkref, qemu, or NAME=DIR of another set of programs (repeatable)")
    parser.addoption("--format", action="append", default=[], dest="formats",
                     help="leave out tests of other formats (repeatable)")


def pytest_configure(config):
    config.addinivalue_line("markers", "only(subject, reason): runs on one subject alone")
    config.only_reasons, config.differ_reasons = {}, {}
    config.answers = {}  # what equal files hold (Lab.once)


def chosen(config):
    there = blkimg.find_subjects()
    wanted = config.getoption("--subject")
    if not wanted:
        return blkimg.same_release(there) if there else there
    known = {s.name: s for s in there}
    found = []
    for word in wanted:
        name, _, folder = word.partition("=")
        if folder:
            found.append(blkimg.Subject(name, os.path.abspath(folder)))
        elif name in known:
            found.append(known[name])
        else:
            raise pytest.UsageError("subject %s is not on this machine" % name)
    return blkimg.same_release(found)


def sample(items):
    """Short runs (BLKREF_SAMPLE=N) take every N-th test of a file; the others count as skipped."""
    every = int(os.environ.get("BLKREF_SAMPLE") or 1)
    for n, item in enumerate(items):
        if n % every:
            item.add_marker(pytest.mark.skip(reason="a short run takes every %d. test" % every))


def pytest_collection_modifyitems(config, items):
    sample(items)
    formats = config.getoption("formats")
    if not formats:
        return
    kept = []
    for item in items:
        variant = getattr(item, "callspec", None) and item.callspec.params.get("variant")
        if not variant or variant.fmt in formats:
            kept.append(item)
    items[:] = kept


@pytest.fixture(scope="session")
def subjects(request):
    found = chosen(request.config)
    if not found:
        pytest.skip("no programs to test: build them (make)")
    return found


@pytest.fixture
def ours(subjects):
    """Our programs, for tests of what they alone write or show."""
    found = [s for s in subjects if s.name == "blkref"]
    if not found:
        pytest.skip("only what our programs write or show is judged here")
    return found[0]


@pytest.fixture
def folder():
    """A folder in memory where there is one: programs that flush would wait for the disk otherwise."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="blkref-iotests-", dir=memory) as name:
        yield name


@pytest.fixture
def lab(request, subjects, folder):
    """The lab of this test; all its images are looked at once more when the test has passed."""
    only = request.node.get_closest_marker("only")
    if only:
        name, reason = only.args
        subjects = [s for s in subjects if s.name == name]
        if not subjects:
            pytest.skip("only on %s: %s" % (name, reason))
        request.config.only_reasons.setdefault((name, reason), []).append(request.node.nodeid)
    lab = blkimg.Lab(subjects, folder, request.config.answers)
    yield lab
    for reason in lab.reasons:
        request.config.differ_reasons.setdefault(reason, []).append(request.node.nodeid)
    if getattr(request.node, "passed", False):
        lab.look(everything=True)


@pytest.fixture
def both(subjects):
    """Both subjects, for tests between programs of one and the other."""
    if len(subjects) < 2:
        pytest.skip("needs two subjects: ours and an installed QEMU")
    return subjects[:2]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.passed = report.passed


def pytest_terminal_summary(terminalreporter, config):
    only, differ = config.only_reasons, config.differ_reasons
    for (name, reason), tests in sorted(only.items()):
        terminalreporter.write_line("ONLY %s [%d] %s" % (name, len(tests), reason))
    for reason, tests in sorted(differ.items()):
        terminalreporter.write_line("DIFFERS [%d] %s" % (len(tests), reason))
