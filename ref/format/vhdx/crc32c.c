/*
 * CRC-32C (Castagnoli), which VHDX uses for headers, region tables and log entries, four bits at a
 * time.  zlib's CRC-32 has another polynomial.
 */
#include "ref/base/bytes.h"
#include "ref/format/vhdx/vhdx.h"

uint32_t vhdx_crc32c(uint32_t crc, const void *data, size_t len)
{
    /* Of four bits; the polynomial is 0x1edc6f41 with its bits turned round. */
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                       0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                       0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                       0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        crc = table[crc & 15] ^ crc >> 4;
        crc = table[crc & 15] ^ crc >> 4;
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
