/*
 * Creating LUKS volumes: options, layout, a new master key in slot 0.
 */
#include "ref/format/crypto/luks.h"

#include <errno.h>
#include <stdio.h>
#include "ref/base/mem.h"

#define DEFAULT_MS 2000

/* The master key's digest gets this part of the time. */
#define DIGEST_PART 8

static int word(const struct value *opts, const char *prefix, const char *name,
                const char *const *words, int *out, struct error **err)
{
    char *key = str_fmt("%s%s", prefix, name);
    const char *v = dict_get_str(opts, key);
    mem_free(key);
    for (int i = 0; v && words[i]; i++) {
        if (strcmp(v, words[i]) == 0) {
            *out = i;
            return 1;
        }
    }
    return v ? error_set(err, EINVAL, "Parameter '%s' does not accept value '%s'", name, v) : 0;
}

int crypt_parse_time(const struct value *opts, const char *prefix, int64_t *ms, struct error **err)
{
    char *key = str_fmt("%siter-time", prefix);
    struct opt_desc table[] = {{.name = key, .type = OPT_INT}, {.name = NULL}};
    int ret = 0;
    if (dict_has(opts, key) && opts_get_int(table, opts, key, ms, NULL) < 0) {
        ret = error_set(err, EINVAL, "Parameter 'iter-time' expects integer");
    }
    mem_free(key);
    return ret;
}

int crypt_parse_params(const struct value *opts, const char *prefix, struct crypt_params *p,
                       struct error **err)
{
    int alg = ALG_AES_256, mode = MODE_XTS, ivgen = IV_PLAIN64, hash = HASH_SHA256,
        iv_hash = HASH_SHA256;
    int64_t ms = DEFAULT_MS;
    int ret = word(opts, prefix, "cipher-alg", crypt_alg_names, &alg, err);
    ret = ret < 0 ? ret : word(opts, prefix, "cipher-mode", crypt_mode_names, &mode, err);
    ret = ret < 0 ? ret : word(opts, prefix, "ivgen-alg", crypt_ivgen_names, &ivgen, err);
    int given =
        ret < 0 ? ret : word(opts, prefix, "ivgen-hash-alg", crypt_hash_names, &iv_hash, err);
    ret = given < 0 ? given : word(opts, prefix, "hash-alg", crypt_hash_names, &hash, err);
    ret = ret < 0 ? ret : crypt_parse_time(opts, prefix, &ms, err);
    if (ret < 0) {
        return ret;
    }
    *p = (struct crypt_params){.suite = {.alg = (enum crypt_alg)alg,
                                         .mode = (enum crypt_mode)mode,
                                         .ivgen = (enum crypt_ivgen)ivgen,
                                         .ivgen_hash = (enum crypt_hash)iv_hash,
                                         .has_ivgen_hash = given > 0 || ivgen == IV_ESSIV},
                               .hash = (enum crypt_hash)hash,
                               .iter_time = (uint64_t)ms}; /* negative: more than can be had */
    return 0;
}

static uint32_t slot_sectors(const struct crypt_params *p)
{
    return ROUND_UP(luks_material_sectors(crypt_suite_key_size(&p->suite)), LUKS_HEADER_SECTORS);
}

uint64_t crypt_luks_payload_offset(const struct crypt_params *p)
{
    return (uint64_t)(LUKS_HEADER_SECTORS + LUKS_KEY_SLOTS * slot_sectors(p)) * LUKS_SECTOR;
}

uint64_t crypt_luks_header_bytes(const struct crypt_params *p)
{
    return crypt_luks_payload_offset(p);
}

static void make_uuid(struct world *w, char *text, size_t size)
{
    uint8_t u[16];
    world_uuid(w, u);
    snprintf(text, size, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13],
             u[14], u[15]);
}

/* The header but for its keys. */
static void lay_out(struct world *w, const struct crypt_params *p, struct luks *l)
{
    const struct crypt_suite *s = &p->suite;
    *l = (struct luks){.suite = *s,
                       .hash = p->hash,
                       .payload = (uint32_t)(crypt_luks_payload_offset(p) / LUKS_SECTOR),
                       .key_bytes = (uint32_t)crypt_suite_key_size(s)};
    snprintf(l->mode, sizeof(l->mode), "%s-%s%s%s", crypt_mode_names[s->mode],
             crypt_ivgen_names[s->ivgen], s->has_ivgen_hash ? ":" : "",
             s->has_ivgen_hash ? crypt_hash_names[s->ivgen_hash] : "");
    make_uuid(w, l->uuid, sizeof(l->uuid));
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        l->slots[i].offset = LUKS_HEADER_SECTORS + i * slot_sectors(p);
    }
}

static int make_digest(struct world *w, struct luks *l, const uint8_t *key, uint64_t ms,
                       struct error **err)
{
    world_secret_bytes(w, l->digest_salt, sizeof(l->digest_salt));
    int ret =
        luks_iterations(w, l->hash, sizeof(l->digest), ms, DIGEST_PART, &l->digest_iterations, err);
    if (ret == 0) {
        crypt_derive(w, l->hash, key, l->key_bytes, l->digest_salt, sizeof(l->digest_salt),
                     l->digest_iterations, l->digest, sizeof(l->digest));
    }
    return ret;
}

int crypt_luks_check(struct world *w, const struct crypt_params *p, const char *secret,
                     const char *prefix, struct error **err)
{
    int ret = crypt_check_secret(w, secret, prefix, err);
    if (ret == 0 && !crypt_alg_family(p->suite.alg)) {
        ret = error_set(err, EINVAL, "Algorithm '%s' not supported", crypt_alg_names[p->suite.alg]);
    }
    ret = ret < 0 ? ret : crypt_suite_check_ivgen(&p->suite, err);
    return ret < 0 ? ret : crypt_suite_check_mode(&p->suite, err);
}

int crypt_luks_create(struct world *w, const struct crypt_params *p, const char *secret,
                      const char *prefix, const struct crypt_io *io, struct error **err)
{
    struct luks l;
    uint8_t key[LUKS_MAX_KEY_BYTES];
    size_t len;
    int ret = crypt_luks_check(w, p, secret, prefix, err);
    if (ret < 0) {
        return ret;
    }
    lay_out(w, p, &l);
    world_secret_bytes(w, key, l.key_bytes);
    ret = make_digest(w, &l, key, p->iter_time, err);
    if (ret == 0 && io->init) {
        ret = io->init(io->opaque, crypt_luks_header_bytes(p), err);
    }
    if (ret == 0) {
        const uint8_t *password = luks_password(w, secret, &len, err);
        ret = luks_set_slot(w, &l, 0, io, password, len, p->iter_time, key, err);
    }
    explicit_bzero(key, sizeof(key));
    return ret;
}
