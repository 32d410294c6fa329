/*
 * What is told about a LUKS volume.
 */
#include "ref/format/crypto/luks.h"

static struct value *slot_info(const struct luks_slot *s)
{
    struct value *v = value_dict();
    dict_put_bool(v, "active", s->active);
    dict_put_uint(v, "key-offset", (uint64_t)s->offset * LUKS_SECTOR);
    if (s->active) {
        dict_put_uint(v, "iters", s->iterations);
        dict_put_uint(v, "stripes", LUKS_STRIPES);
    }
    return v;
}

struct value *luks_info(const struct luks *l)
{
    struct value *v = value_dict(), *slots = value_list();
    dict_put_str(v, "cipher-alg", crypt_alg_names[l->suite.alg]);
    dict_put_str(v, "cipher-mode", crypt_mode_names[l->suite.mode]);
    dict_put_str(v, "ivgen-alg", crypt_ivgen_names[l->suite.ivgen]);
    if (l->suite.ivgen == IV_ESSIV) {
        dict_put_str(v, "ivgen-hash-alg", crypt_hash_names[l->suite.ivgen_hash]);
    }
    dict_put_str(v, "hash-alg", crypt_hash_names[l->hash]);
    dict_put_uint(v, "payload-offset", (uint64_t)l->payload * LUKS_SECTOR);
    dict_put_uint(v, "master-key-iters", l->digest_iterations);
    dict_put_str(v, "uuid", l->uuid);
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        list_append(slots, slot_info(&l->slots[i]));
    }
    dict_put(v, "slots", slots);
    return v;
}
