"""Image locks between programs: who may open what beside whom, with messages; nobody sleeps.

One program holds an image open, at the other end of a pipe; then another tries.  Both roles are played by
both subjects, so each understands the other's locks.
"""
import pytest

from iotests.blkimg import ALWAYS, RAW, QCOW2, Session, apply_filters

WRITE = ["io", "-f", "@F", "-c", "write -P 3 0 512", "t.img"]
READ = ["io", "-r", "-f", "@F", "-c", "read 0 512", "t.img"]
TRIES = [
    WRITE, READ,
    ["io", "-U", "-r", "-f", "@F", "-c", "read 0 512", "t.img"],
    ["io", "-U", "-f", "@F", "-c", "read 0 512", "t.img"],
    ["img", "info", "-f", "@F", "t.img"], ["img", "info", "-U", "-f", "@F", "t.img"],
    ["img", "map", "-f", "@F", "t.img"], ["img", "map", "-U", "-f", "@F", "t.img"],
    ["img", "check", "-f", "@F", "t.img"], ["img", "check", "-U", "-f", "@F", "t.img"],
    ["img", "compare", "-f", "@F", "-F", "@F", "t.img", "t.img"],
    ["img", "compare", "-U", "-f", "@F", "-F", "@F", "t.img", "t.img"],
    ["img", "convert", "-f", "@F", "-O", "raw", "t.img", "x.img"],
    ["img", "convert", "-U", "-f", "@F", "-O", "raw", "t.img", "x.img"],
    ["img", "convert", "-n", "-f", "@F", "-O", "@F", "o.img", "t.img"],
    ["img", "dd", "-f", "@F", "if=t.img", "of=x.img"], ["img", "dd", "-U", "-f", "@F", "if=t.img", "of=x.img"],
    ["img", "measure", "-f", "@F", "t.img"], ["img", "measure", "-U", "-f", "@F", "t.img"],
    ["img", "resize", "-f", "@F", "t.img", "2M"], ["img", "commit", "-f", "@F", "t.img"],
    ["img", "amend", "-f", "@F", "-o", "size=2M", "t.img"], ["img", "rebase", "-u", "-f", "@F", "-b", "", "t.img"],
    ["img", "snapshot", "-c", "a", "t.img"], ["img", "snapshot", "-l", "t.img"], ["img", "snapshot", "-U", "-l", "t.img"],
    ["img", "create", "-f", "@F", "t.img", "1M"], ["img", "bench", "-f", "@F", "-c", "1", "t.img"],
    ["img", "bench", "-U", "-f", "@F", "-c", "1", "t.img"],
]
HOLDERS = {
    "writer": ["-f", "@F", "t.img"],
    "reader": ["-r", "-f", "@F", "t.img"],
    "sharing reader": ["-r", "-U", "-f", "@F", "t.img"],
}


def restore(folder):
    """t.img as it was made, in the same file: somebody holds it."""
    with open(folder + "/o.img", "rb") as old, open(folder + "/t.img", "r+b") as new:
        new.truncate(0)
        new.write(old.read())


def spelled(words, fmt):
    return [w.replace("@F", fmt) for w in words]


@pytest.fixture
def image(lab, both):
    """t.img of a format, with a lab folder that all programs of a test share."""
    def make(variant):
        subject = lab.subjects[0]
        for name in ("t.img", "o.img"):
            assert subject.run("img", "create", "-q", "-f", variant.fmt, name, "1M", cwd=lab.dir(subject)).status == 0
        return lab.dir(subject)
    return make


@pytest.mark.parametrize("held", ["writer", "reader", "sharing reader"])
@pytest.mark.parametrize("variant", [RAW, QCOW2], ids=str)
def test_beside(image, both, lab, variant, held):
    """All pairs of programs: the same answers whoever holds and whoever tries."""
    folder = image(variant)
    answers = {}
    for holder in both:
        with Session(holder, *spelled(HOLDERS[held], variant.fmt), cwd=folder) as session:
            session.do("read 0 512")
            for seeker in both:
                answers[holder.name, seeker.name] = []
                restore(folder)
                for words in TRIES:
                    if variant is RAW and "snapshot" in words:
                        continue
                    if held != "writer" and "create" in words:
                        continue
                    done = seeker.run(words[0], *spelled(words[1:], variant.fmt), cwd=folder)
                    said = apply_filters(done.out + done.err, (*ALWAYS, "offset", "bench", "usage"))
                    answers[holder.name, seeker.name].append((words, done.status, said))
    first, *rest = answers.items()
    for who, other in rest:
        for a, b in zip(first[1], other):
            assert a == b, "%s and %s" % (first[0], who)


@pytest.mark.parametrize("variant", [QCOW2], ids=str)
def test_a_killed_holder_frees_its_locks(image, both, variant):
    folder = image(variant)
    for holder in both:
        for seeker in both:
            session = Session(holder, "-f", variant.fmt, "t.img", cwd=folder)
            session.do("read 0 512")
            assert seeker.run("io", *spelled(WRITE[1:], variant.fmt), cwd=folder).status == 1
            session.kill()
            assert seeker.run("io", *spelled(WRITE[1:], variant.fmt), cwd=folder).status == 0


def test_reopening_changes_the_locks(image, both):
    """reopen -r lets readers in, reopen -w wants to be alone again."""
    folder = image(QCOW2)
    for holder in both:
        for seeker in both:
            with Session(holder, "t.img", cwd=folder) as session, Session(seeker, cwd=folder) as other:
                session.do("read 0 512")
                assert "lock" in other.do("open -r t.img")
                session.do("reopen -r")
                assert "lock" not in other.do("open -r t.img")
                assert "lock" in session.do("reopen -w")
                assert "lock" in session.do("reopen -w")
                other.do("close")
                assert "lock" not in session.do("reopen -w")
                assert "wrote" in session.do("write 0 512")


def test_backing_files_are_shared(image, both, lab):
    """Many overlays may read one backing file; nobody may write to it meanwhile."""
    folder = image(QCOW2)
    for name in ("u.img", "v.img"):
        assert both[0].run("img", "create", "-q", "-f", "qcow2", "-b", "t.img", "-F", "qcow2", name, cwd=folder).status == 0
    for holder in both:
        for seeker in both:
            with Session(holder, "u.img", cwd=folder) as session, Session(seeker, "v.img", cwd=folder) as other:
                assert "wrote" in session.do("write 0 512") and "wrote" in other.do("write 0 512")
                for judge in both:
                    assert judge.run("io", "t.img", "-c", "write 0 512", cwd=folder).status == 1
                    assert judge.run("img", "commit", "u.img", cwd=folder).status == 1
                    assert judge.run("img", "info", "t.img", cwd=folder).status == 0


def test_data_files_are_locked(image, both):
    folder = image(QCOW2)
    assert both[0].run("img", "create", "-q", "-f", "qcow2", "-o", "data_file=d.data", "d.img", "1M", cwd=folder).status == 0
    assert both[0].run("img", "create", "-q", "-f", "raw", "r.img", "1M", cwd=folder).status == 0
    for holder in both:
        with Session(holder, "d.img", cwd=folder) as session:
            session.do("write 0 512")
            said = {(done.status, done.err) for done in
                    (judge.run("io", "-f", "raw", "d.data", "-c", "write 0 512", cwd=folder) for judge in both)}
            assert len(said) == 1, said


@pytest.mark.parametrize("locking", ["off", "on", "auto", "x"])
def test_locking_option(image, both, locking):
    """file.locking=off neither takes locks nor heeds them."""
    folder = image(QCOW2)
    said = set()
    for holder in both:
        for seeker in both:
            with Session(holder, "t.img", cwd=folder) as session:
                session.do("read 0 512")
                done = seeker.run("io", "--image-opts", "driver=qcow2,file.filename=t.img,file.locking=" + locking,
                                  "-c", "read 0 512", cwd=folder)
                said.add((done.status, done.err))
            with Session(holder, "--image-opts", "driver=qcow2,file.filename=t.img,file.locking=" + locking,
                         cwd=folder) as session:
                session.do("read 0 512")
                said.add((seeker.run("io", "t.img", "-c", "write 0 512", cwd=folder).status,))
    assert len(said) <= 2, said


def test_one_program_twice(lab):
    """The same file twice in one program: permissions, not locks, say no."""
    lab.create(QCOW2, "t.img", "1M")
    lab.img("convert", "-n", "-O", "qcow2", "t.img", "t.img", status=1)
    lab.img("compare", "t.img", "t.img")
    lab.img("create", "-f", "qcow2", "-b", "t.img", "-F", "qcow2", "t.img", status=1)
    lab.img("convert", "-O", "qcow2", "-B", "t.img", "-F", "qcow2", "t.img", "u.img")
