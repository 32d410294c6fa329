/*
 * CRC-32C (Castagnoli), which VHDX uses for headers, region tables and log entries, eight bytes at
 * a time.  zlib's CRC-32 has another polynomial.
 */
#include "ref/base/bytes.h"
#include "ref/format/vhdx/vhdx.h"

/* The sixteen sums of four of them. */
#define ROW(a, b, c, d)                                                                            \
    {                                                                                              \
        0, (a), (b), (a) ^ (b), (c), (a) ^ (c), (b) ^ (c), (a) ^ (b) ^ (c), (d), (a) ^ (d),        \
            (b) ^ (d), (a) ^ (b) ^ (d), (c) ^ (d), (a) ^ (c) ^ (d), (b) ^ (c) ^ (d),               \
            (a) ^ (b) ^ (c) ^ (d)                                                                  \
    }

uint32_t vhdx_crc32c(uint32_t crc, const void *data, size_t len)
{
    /* What each four bits of eight bytes, the first byte's low ones first, leave at their end; the
     * polynomial is 0x1edc6f41 with its bits turned round. */
    static const uint32_t table[16][16] = {
        ROW(0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da),
        ROW(0x847609b4, 0x0d006599, 0x1a00cb32, 0x34019664),
        ROW(0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53),
        ROW(0x9c5bfaa6, 0x3d5b83bd, 0x7ab7077a, 0xf56e0ef4),
        ROW(0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f),
        ROW(0xc00c303e, 0x85f4168d, 0x0e045beb, 0x1c08b7d6),
        ROW(0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91),
        ROW(0x8f2261d3, 0x1ba8b557, 0x37516aae, 0x6ea2d55c),
        ROW(0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6),
        ROW(0xe964b13d, 0xd725148b, 0xaba65fe7, 0x52a0c93f),
        ROW(0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5),
        ROW(0x70a27d8a, 0xe144fb14, 0xc76580d9, 0x8b277743),
        ROW(0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8),
        ROW(0x3fc5f181, 0x7f8be302, 0xff17c604, 0xfbc3faf9),
        ROW(0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf),
        ROW(0x105ec76f, 0x20bd8ede, 0x417b1dbc, 0x82f63b78),
    };
    const uint8_t *p = data;
    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word = load_le64(p) ^ crc;
        crc = 0;
        for (unsigned i = 0; i < 16; i++) {
            crc ^= table[i][word >> (4 * i) & 15];
        }
    }
    for (; len > 0; p++, len--) {
        uint8_t byte = (uint8_t)(crc ^ *p);
        crc = table[14][byte & 15] ^ table[15][byte >> 4] ^ crc >> 8;
    }
    return ~crc;
}

static uint32_t checksum(const uint8_t *p, size_t len)
{
    static const uint8_t none[4];
    uint32_t crc = vhdx_crc32c(0, p, 4);
    crc = vhdx_crc32c(crc, none, 4);
    return vhdx_crc32c(crc, p + 8, len - 8);
}

void vhdx_seal(uint8_t *p, size_t len)
{
    store_le32(p + 4, checksum(p, len));
}

bool vhdx_sealed(const uint8_t *p, size_t len)
{
    return load_le32(p + 4) == checksum(p, len);
}
