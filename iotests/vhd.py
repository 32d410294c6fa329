"""Hand-made VHD images, laid out by Microsoft's "Virtual Hard Disk Image Format Specification" 1.0.

No program on this machine writes differencing disks (type 4), so that the tests make their own: footer, dynamic header
with parent's id and locators, table, blocks with sector bitmaps.  Numbers are big-endian; bitmaps begin at the most
significant bit; locators of Windows are UTF-16LE, the header's own name of the parent is UTF-16BE.
"""
import struct

SECTOR = 512
BLOCK = 2 << 20
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
UNUSED = 0xffffffff


def checksum(data):
    return ~sum(data) & 0xffffffff


def footer(size, kind, unique_id, creator=b"win ", geometry=(65535, 16, 255)):
    """512 bytes; where "win " is the creator the size counts, not the geometry."""
    head = struct.pack(">8sIIQI4sI4sQQHBBI", b"conectix", 2, 0x10000, 0xffffffffffffffff if kind == FIXED else SECTOR,
                       0, creator, 0x60001, b"Wi2k", size, size, *geometry, kind)
    tail = unique_id + bytes(428)
    return head + struct.pack(">I", checksum(head + tail)) + tail


def dynamic_header(entries, table, block=BLOCK, parent_id=bytes(16), parent_name="", locators=()):
    """1024 bytes; locators: (code, bytes of data, its offset in the file)."""
    rows = b"".join(struct.pack(">4sIIIQ", code, -(-len(data) // SECTOR), len(data), 0, at)
                    for code, data, at in locators)
    head = struct.pack(">8sQQIII", b"cxsparse", 0xffffffffffffffff, table, 0x10000, entries, block)
    tail = (parent_id + bytes(8) + parent_name.encode("utf-16-be").ljust(512, b"\0") + rows.ljust(192, b"\0") +
            bytes(256))
    return head + struct.pack(">I", checksum(head + tail)) + tail


def bitmap(owned, block=BLOCK):
    """The bits of sectors that a block has itself."""
    bits = bytearray(-(-block // SECTOR // 8 // SECTOR) * SECTOR)
    for sector in owned:
        bits[sector // 8] |= 0x80 >> sector % 8
    return bytes(bits)


def image(size, blocks, kind=DYNAMIC, unique_id=bytes(16), block=BLOCK, parent_id=bytes(16), parent_name="",
          locators=(), **more):
    """A whole file.  blocks: {number: (sectors it has itself, its data)}; locators: (code, data)."""
    entries = -(-size // block)
    table = 3 * SECTOR
    at = table + -(-4 * entries // SECTOR) * SECTOR
    rows, texts = [], b""
    for code, data in locators:
        rows.append((code, data, at + len(texts)))
        texts += data.ljust(-(-len(data) // SECTOR) * SECTOR, b"\0")
    at += len(texts)
    bat, body = [UNUSED] * entries, b""
    for number, (owned, data) in sorted(blocks.items()):
        bat[number] = (at + len(body)) // SECTOR
        body += bitmap(owned, block) + data.ljust(block, b"\0")
    front = footer(size, kind, unique_id, **more)
    middle = struct.pack(">%dI" % entries, *bat)
    return (front + dynamic_header(entries, table, block, parent_id, parent_name, rows) +
            middle.ljust(-(-len(middle) // SECTOR) * SECTOR, b"\xff") + texts + body + front)


def differencing(size, blocks, parent_id, relative=None, absolute=None, name="", **more):
    """A child; its parent is named relative to it (W2ru), absolutely (W2ku), and in the header."""
    locators = [(code, text.encode("utf-16-le")) for code, text in ((b"W2ku", absolute), (b"W2ru", relative)) if text]
    return image(size, blocks, DIFFERENCING, parent_id=parent_id, parent_name=name, locators=locators, **more)
