/*
 * Inside LUKS: the header in memory, and what its files offer each other.  Layout and clauses:
 * specs/luks.yaml.
 */
#ifndef BLKREF_FORMAT_CRYPTO_LUKS_H
#define BLKREF_FORMAT_CRYPTO_LUKS_H

#include "ref/format/crypto/block.h"
#include "specs/luks_layout.h"

#define LUKS_MAGIC         "LUKS\xba\xbe"
#define LUKS_MAX_KEY_BYTES 64 /* two keys of 256 bits, for XTS */

struct luks_slot {
    bool active;
    uint32_t iterations;
    uint8_t salt[LUKS_SALT_BYTES];
    uint32_t offset; /* sectors */
};

struct luks {
    struct crypt_suite suite;
    enum crypt_hash hash;
    uint32_t payload;   /* sectors */
    uint32_t key_bytes; /* of the master key: those of the suite */
    uint8_t digest[LUKS_DIGEST_BYTES], digest_salt[LUKS_SALT_BYTES];
    uint32_t digest_iterations;
    char uuid[LUKS_HEADER_UUID_WIDTH + 1];
    char mode[LUKS_HEADER_CIPHER_MODE_WIDTH]; /* as the header has it */
    struct luks_slot slots[LUKS_KEY_SLOTS];
};

/* ---- luks_header.c ---- */
/* Sectors that one slot's key material takes. */
static inline uint32_t luks_material_sectors(size_t key_bytes)
{
    return (uint32_t)((key_bytes * LUKS_STRIPES + LUKS_SECTOR - 1) / LUKS_SECTOR);
}
/* From LUKS_HEADER_SIZE bytes, every field checked. */
int luks_parse(struct luks *l, const uint8_t *h, struct error **err);
void luks_store(const struct luks *l, uint8_t *h);

/* ---- luks_keys.c ---- */
/* The master key by a password: 0, -EACCES when no slot has it (no err), or -errno with err. */
int luks_unlock(struct world *w, const struct luks *l, const struct crypt_io *io,
                const uint8_t *password, size_t len, uint8_t *key, struct error **err);
/* The same for one slot. */
int luks_unlock_slot(struct world *w, const struct luks *l, unsigned slot,
                     const struct crypt_io *io, const uint8_t *password, size_t len, uint8_t *key,
                     struct error **err);
/* Key material to disk, then the slot into the header. */
int luks_set_slot(struct world *w, struct luks *l, unsigned slot, const struct crypt_io *io,
                  const uint8_t *password, size_t len, uint64_t iter_time, const uint8_t *key,
                  struct error **err);
/* The slot out of the header, then its key material is overwritten. */
int luks_erase_slot(struct world *w, struct luks *l, unsigned slot, const struct crypt_io *io,
                    struct error **err);
unsigned luks_active_slots(const struct luks *l);
/* Iterations for ms / part milliseconds, lawful ones. */
int luks_iterations(struct world *w, enum crypt_hash h, size_t out_len, uint64_t ms, unsigned part,
                    uint32_t *out, struct error **err);

/* A secret as text (UTF-8), which is what LUKS passwords are.  NULL with err. */
const uint8_t *luks_password(struct world *w, const char *secret, size_t *len, struct error **err);

/* ---- luks_amend.c ---- */
int luks_amend(struct world *w, struct luks *l, const char *opened_with, const struct value *opts,
               const struct crypt_io *io, bool force, struct error **err);
/* ---- luks_create.c ---- */
/* "iter-time" under prefix, in ms; *ms stays when there is none. */
int crypt_parse_time(const struct value *opts, const char *prefix, int64_t *ms, struct error **err);
/* ---- luks_info.c ---- */
struct value *luks_info(const struct luks *l);

#endif
