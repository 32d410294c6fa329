"""Hand-made images as other programs than QEMU lay them out: VDI, VHDX and Parallels disks.

Written from the descriptions alone (notes on VirtualBox's VDI 1.1, [MS-VHDX], Parallels' disk format): sizes, orders
and states that QEMU's writers never choose.  VHD images: vhd.py.
"""
import struct
import uuid

MIB = 1 << 20
SECTOR = 512


def pieces(disk, block):
    """The blocks of a disk, the last one filled up."""
    return [disk[at:at + block].ljust(block, b"\0") for at in range(0, len(disk), block)]


# ---- VDI: blocks in any order, all geometry told, a header with more behind it ----

def vdi(disk, order, gone=()):
    """Block order[i] of the file is the i-th that is stored; blocks in `gone` were given up."""
    blocks = pieces(disk, MIB)
    entries = [0xffffffff] * len(blocks)
    for place, block in enumerate(order):
        entries[block] = place
    for block in gone:
        entries[block] = 0xfffffffe
    ids = b"".join(uuid.UUID(int=i).bytes_le if i else bytes(16) for i in (7, 8, 0, 0))
    head = b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0")
    head += struct.pack("<IIIII", 0xbeda107f, 0x10001, 0x190, 1, 0) + b"made by hand".ljust(256, b"\0")
    head += struct.pack("<IIIIIIIQIIII", 0x400, 0x2000, 10, 16, 63, SECTOR, 0, len(disk), MIB, 0, len(blocks),
                        len(order))
    head += ids + struct.pack("<IIII", 10, 16, 63, SECTOR)
    table = struct.pack("<%dI" % len(entries), *entries)
    return head.ljust(0x400, b"\0") + table.ljust(0x2000 - 0x400, b"\0") + b"".join(blocks[b] for b in order)


# ---- VHDX ----

def crc32c(data):
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
        table.append(n)
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def sealed(data, size):
    """Padded, with the checksum in its place behind four bytes of signature."""
    data = data.ljust(size, b"\0")
    return data[:4] + struct.pack("<I", crc32c(data)) + data[8:]


def guid(text):
    return uuid.UUID(text).bytes_le


NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, PRESENT = 0, 1, 2, 3, 6
REQUIRED, DISK = 4, 2


def metadata(size, block, sector, parent):
    items = [("caa16737-fa36-4d43-b3b6-33f0aa44e76b", REQUIRED, struct.pack("<II", block, 2 if parent else 0)),
             ("cda348c7-445d-4471-9cc9-e9885251c556", DISK | REQUIRED, struct.pack("<I", 4096)),
             ("8141bf1d-a96f-4709-ba47-f233a8faab5f", DISK | REQUIRED, struct.pack("<I", sector)),
             ("beca12ab-b2e6-4523-93ef-c309e000c746", DISK | REQUIRED, uuid.UUID(int=9).bytes_le),
             ("2fa54224-cd1b-4876-b211-5dbed83bf4b8", DISK | REQUIRED, struct.pack("<Q", size))]
    if parent:
        items.append(("a8d35f2d-b30b-454d-abf7-d3d84834ab0c", REQUIRED, parent_locator(parent)))
    table, data = b"metadata" + struct.pack("<HH", 0, len(items)) + bytes(20), b""
    for item, flags, text in items:
        table += guid(item) + struct.pack("<IIII", 65536 + len(data), len(text), flags, 0)
        data += text
    return (table.ljust(65536, b"\0") + data).ljust(MIB, b"\0")


def parent_locator(path):
    """One pair of key and value, UTF-16LE, behind its places and lengths."""
    key, value = "relative_path".encode("utf-16-le"), path.encode("utf-16-le")
    return (guid("b04aefb7-d19e-4a81-b789-25b8e9445913") + struct.pack("<HHIIHH", 0, 1, 32, 32 + len(key), len(key),
                                                                     len(value)) + key + value)


def vhdx(disk, states, order, sector=512, parent=None):
    """Blocks of 1 MiB with these states; those that are present lie in the file in this order."""
    blocks = pieces(disk, MIB)
    bat = [state if state != PRESENT else 4 + order.index(i) << 20 | PRESENT for i, state in enumerate(states)]
    regions = (("2dc27766-f623-4200-9d64-115e9bfd4a08", 3 * MIB), ("8b7ca206-4790-4b9a-b8fe-575f050f886e", 2 * MIB))
    table = b"regi" + struct.pack("<III", 0, len(regions), 0)
    for region, offset in regions:
        table += guid(region) + struct.pack("<QII", offset, MIB, 1)
    table = sealed(table, 65536)

    def header(sequence):
        ids = uuid.UUID(int=1).bytes_le + uuid.UUID(int=2).bytes_le + bytes(16)
        return sealed(b"head" + struct.pack("<IQ", 0, sequence) + ids + struct.pack("<HHIQ", 0, 1, MIB, MIB),
                      4096).ljust(65536, b"\0")
    front = (b"vhdxfile" + "made by hand".encode("utf-16-le")).ljust(65536, b"\0")
    front += header(12) + header(11) + table + table
    bat = struct.pack("<%dQ" % len(bat), *bat).ljust(MIB, b"\0")
    return (front.ljust(2 * MIB, b"\0") + metadata(len(disk), MIB, sector, parent) + bat +
            b"".join(blocks[b] for b in order))


# ---- Parallels ----

def parallels(disk, cluster, order, extended):
    """Both magics: entries count sectors in old disks, clusters in extended ones; order as for vdi()."""
    blocks = pieces(disk, cluster)
    unit = cluster if extended else SECTOR
    start = -(-(64 + 4 * len(blocks)) // unit) * unit
    bat = [0] * len(blocks)
    for place, block in enumerate(order):
        bat[block] = (start + place * cluster) // unit
    head = struct.pack("<16sIIIIIQIIIQ", b"WithouFreSpacExt" if extended else b"WithoutFreeSpace", 2, 16,
                       len(disk) // SECTOR // 16 // 32, cluster // SECTOR, len(blocks), len(disk) // SECTOR, 0,
                       start // SECTOR, 0, 0)
    head += struct.pack("<%dI" % len(bat), *bat)
    return head.ljust(start, b"\0") + b"".join(blocks[b] for b in order)
