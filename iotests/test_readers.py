"""Second opinions: programs of others on what ours write, and ours on what others write.

7-Zip, libvhdi and libqcow read the guest's bytes of our images; cryptsetup reads the headers of our LUKS volumes and
takes our passwords, and makes volumes that we must read.  VMware disks: test_readers_vmdk.py; differencing VHD images:
test_vhd_differencing.py.  docs/formats.md has the whole list.  Skipped, with a reason, where a reader is missing.
"""
import os
import subprocess

import pytest

from iotests import readers

SIZE = 5 << 20
WRITTEN = {
    "vdi": ("vdi", ""),
    "vdi-static": ("vdi", "static=on"),
    "vhd": ("vpc", "force_size=on"),
    "vhd-fixed": ("vpc", "force_size=on,subformat=fixed"),
    "vhdx": ("vhdx", "block_size=1M"),
    "vhdx-fixed": ("vhdx", "subformat=fixed"),
    "qcow2": ("qcow2", ""),
    "qcow2-v2": ("qcow2", "compat=0.10,cluster_size=512"),
    "qcow2-packed": ("qcow2", "cluster_size=16k"),
    "qcow2-lazy": ("qcow2", "lazy_refcounts=on,refcount_bits=64"),
    "qcow": ("qcow", ""),
    "qcow-packed": ("qcow", ""),
}


@pytest.fixture
def source(folder):
    return readers.source(folder, SIZE)


def convert(ours, source, folder, what):
    """Our image of the source; "-packed" stands for convert -c."""
    fmt, options = WRITTEN[what]
    target = os.path.join(folder, "disk." + what.split("-")[0])
    words = ["convert", "-f", "raw", "-O", fmt, *(["-o", options] if options else []),
             *(["-c"] if what.endswith("-packed") else []), source, target]
    done = ours.run("img", *words)
    assert done.status == 0, done.err
    return target


def contents(source):
    with open(source, "rb") as raw:
        return raw.read()


@pytest.mark.parametrize("what", [w for w in WRITTEN if not w.startswith("qcow-") and w != "qcow"])
def test_seven_zip_reads_the_same_bytes(ours, source, folder, what):
    program = readers.program("7z", "p7zip-full")
    assert readers.run(program, "x", "-so", convert(ours, source, folder, what)) == contents(source)


@pytest.mark.parametrize("what", [w for w in WRITTEN if w.startswith("vhd")])
def test_libvhdi_reads_the_same_bytes(ours, source, folder, what):
    image = readers.module("pyvhdi", "python3-libvhdi").file()
    image.open(convert(ours, source, folder, what))
    assert image.get_media_size() == SIZE
    assert image.read_buffer_at_offset(SIZE, 0) == contents(source)
    image.close()


@pytest.mark.parametrize("what", [w for w in WRITTEN if w.startswith("qcow")])
def test_libqcow_reads_the_same_bytes(ours, source, folder, what):
    image = readers.module("pyqcow", "python3-libqcow").file()
    image.open(convert(ours, source, folder, what))
    assert image.get_media_size() == SIZE
    assert image.read_buffer_at_offset(SIZE, 0) == contents(source)
    image.close()


@pytest.mark.parametrize("fmt", ["qcow", "qcow2"])
def test_libqcow_decrypts(ours, source, folder, fmt):
    """AES images; the password is the key."""
    image = readers.module("pyqcow", "python3-libqcow").file()
    target = os.path.join(folder, "disk." + fmt)
    done = ours.run("img", "convert", "--object", "secret,id=pw,data=open sesame", "-f", "raw", "-O", fmt, "-o",
                    "encrypt.format=aes,encrypt.key-secret=pw", source, target)
    assert done.status == 0, done.err
    image.set_password("open sesame")
    image.open(target)
    assert image.read_buffer_at_offset(SIZE, 0) == contents(source)
    image.close()


def test_libqcow_reads_an_overlay(ours, source, folder):
    """qcow2 alone: in a qcow image libqcow 20201213 takes an L1 entry of 0 for a table at offset 0."""
    module = readers.module("pyqcow", "python3-libqcow")
    below, above = os.path.join(folder, "base.qcow2"), os.path.join(folder, "top.qcow2")
    for words in (["convert", "-f", "raw", "-O", "qcow2", source, below],
                  ["create", "-f", "qcow2", "-b", below, "-F", "qcow2", above]):
        assert ours.run("img", *words).status == 0
    assert ours.run("io", "-f", "qcow2", "-c", "write -P 9 300k 5k", "-c", "write -P 9 2M 64k", above).status == 0
    parent, child = module.file(), module.file()
    parent.open(below)
    child.open(above)
    child.set_parent(parent)
    expected = bytearray(contents(source))
    expected[300 << 10:305 << 10] = b"\t" * (5 << 10)
    expected[2 << 20:(2 << 20) + (64 << 10)] = b"\t" * (64 << 10)
    assert child.get_backing_filename() == below
    # Piece by piece: what libqcow 20201213 begins in the parent it reads to its end there.
    got = b"".join(child.read_buffer_at_offset(4096, at) for at in range(0, SIZE, 4096))
    assert got == bytes(expected)
    child.close()
    parent.close()


def test_packed_images_end_at_a_sector(ours, source, folder):
    """Readers go by sectors; 7-Zip refuses another length."""
    assert os.path.getsize(convert(ours, source, folder, "qcow2-packed")) % 512 == 0


# ---- LUKS ----

CIPHERS = ["aes-xts-plain64", "aes-cbc-essiv:sha256", "aes-cbc-plain"]
SECRET = ("--object", "secret,id=pw,data=open sesame")


@pytest.fixture
def key(folder):
    path = os.path.join(folder, "key")
    with open(path, "w", encoding="ascii") as out:
        out.write("open sesame")
    return path


def cryptsetup(*words):
    """Its output; skips where the kernel has none of the ciphers that it borrows there."""
    program = readers.program("cryptsetup", "cryptsetup-bin")
    done = subprocess.run([program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, check=False)
    if b"device-mapper" in done.stderr:
        pytest.skip("cryptsetup finds no AES in this kernel, and no device mapper")
    return done


def parts(cipher):
    """"aes-cbc-essiv:sha256" as creation options."""
    name, mode, iv = cipher.split("-", 2)
    iv, _, digest = iv.partition(":")
    words = ["cipher-alg=%s-256" % name, "cipher-mode=" + mode, "ivgen-alg=" + iv, "hash-alg=sha256"]
    return ",".join(words + (["ivgen-hash-alg=" + digest] if digest else []))


@pytest.mark.parametrize("cipher", CIPHERS)
def test_cryptsetup_opens_our_volume(ours, folder, key, cipher):
    volume = os.path.join(folder, "disk.luks")
    options = "key-secret=pw,iter-time=10," + parts(cipher)
    done = ours.run("img", "create", "-f", "luks", *SECRET, "-o", options, volume, "1M")
    assert done.status == 0, done.err
    dump = cryptsetup("luksDump", volume)
    assert dump.returncode == 0, dump.stderr
    said = dict(line.split(":", 1) for line in dump.stdout.decode().splitlines() if ":" in line)
    said = {name: value.strip() for name, value in said.items()}
    assert said["Version"] == "1"
    assert (said["Cipher name"], said["Cipher mode"]) == tuple(cipher.split("-", 1))
    assert (said["Hash spec"], said["Key Slot 0"], said["Key Slot 1"]) == ("sha256", "ENABLED", "DISABLED")
    assert cryptsetup("open", "--test-passphrase", "--key-file", key, volume).returncode == 0
    with open(key, "a", encoding="ascii") as out:
        out.write("!")
    wrong = cryptsetup("open", "--test-passphrase", "--key-file", key, volume)
    assert wrong.returncode == 2 and b"No key available" in wrong.stderr


def luks_format(folder, key, cipher, bits):
    """A volume of 3 MiB that cryptsetup made; what is behind its header is nobody's plain text."""
    volume = os.path.join(folder, "made.luks")
    with open(volume, "wb") as out:
        out.truncate(3 << 20)
    made = cryptsetup("luksFormat", "--type", "luks1", "--batch-mode", "--pbkdf-force-iterations", "1000", "--hash",
                      "sha256", "--cipher", cipher, "--key-size", str(bits), "--key-file", key, volume)
    assert made.returncode == 0, made.stderr
    with open(volume, "rb") as made:
        return made.read()


OPTS = "driver=luks,key-secret=pw,file.filename=made.luks"


def use_volume(lab, key):
    """The disk before and behind a write; the header stays one of cryptsetup's."""
    disks = []
    for _ in range(2):
        lab.img("convert", *SECRET, "--image-opts", OPTS, "-O", "raw", "plain.raw")
        disks.append(lab.bytes("plain.raw", "raw"))
        lab.io("", "write -P 7 64k 128k", "read -P 7 64k 128k", flags=(*SECRET, "--image-opts", OPTS))
    assert len(set(disks[0])) == 256
    assert disks[1] == disks[0][:64 << 10] + b"\7" * (128 << 10) + disks[0][192 << 10:]
    for subject in lab.subjects:
        path = lab.path(subject, "made.luks")
        assert cryptsetup("open", "--test-passphrase", "--key-file", key, path).returncode == 0


@pytest.mark.parametrize("cipher", CIPHERS)
def test_we_open_what_cryptsetup_made(lab, folder, key, cipher):
    lab.write_file("made.luks", luks_format(folder, key, cipher, 512 if "xts" in cipher else 256))
    info = lab.img("info", "--output=json", "made.luks", filters=["uuid"]).json()
    data = info["format-specific"]["data"]
    assert (data["cipher-alg"], data["cipher-mode"]) == ("aes-256", cipher.split("-")[1])
    use_volume(lab, key)


@pytest.mark.only("blkref", "QEMU ends with an assertion where a key slot is no whole number of sectors")
def test_we_open_a_volume_with_192_bits(lab, folder, key):
    lab.write_file("made.luks", luks_format(folder, key, "aes-cbc-plain64", 192))
    use_volume(lab, key)
