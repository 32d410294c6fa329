/*
 * CRC-32C (Castagnoli), which VHDX uses for headers, region tables and log entries, a byte at a
 * time by a table that is made when needed.  zlib's CRC-32 has another polynomial.
 */
#include "ref/base/bytes.h"
#include "ref/format/vhdx/vhdx.h"

/* Of one byte; the polynomial is 0x1edc6f41 with its bits turned round. */
static uint32_t step(uint32_t v)
{
    for (int i = 0; i < 8; i++) {
        v = v >> 1 ^ (v & 1 ? 0x82f63b78u : 0);
    }
    return v;
}

static void make_table(uint32_t table[256])
{
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = step(i);
    }
}

uint32_t vhdx_crc32c(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t table[256];
    make_table(table);
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc = table[(crc ^ p[i]) & 0xff] ^ crc >> 8;
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
