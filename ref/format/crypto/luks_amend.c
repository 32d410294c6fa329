/*
 * Changing LUKS key slots: activating, deactivating by number or by password, and everything that
 * is refused.
 */
#include "ref/format/crypto/luks.h"

#include <errno.h>
#include <inttypes.h>
#include "ref/base/mem.h"

#define NO_SLOT (-1)

static const char *const states[] = {"active", "inactive", NULL};

static const struct opt_desc amend_options[] = {
    {.name = "state", .type = OPT_ENUM, .values = states},
    {.name = "keyslot", .type = OPT_INT},
    {.name = "new-secret", .type = OPT_STRING},
    {.name = "old-secret", .type = OPT_STRING},
    {.name = "iter-time", .type = OPT_INT},
    {.name = "secret", .type = OPT_STRING},
    {.name = NULL},
};

struct change {
    bool activate, has_slot, has_time;
    int64_t slot;
    int64_t iter_time;
    const char *old_secret, *new_secret, *secret;
};

static int parse(const struct value *opts, struct change *c, struct error **err)
{
    int state = 0;
    *c = (struct change){.iter_time = 2000};
    if (!dict_has(opts, "state")) {
        return error_set(err, EINVAL, "Parameter 'state' is missing");
    }
    int ret = opts_get_enum(amend_options, opts, "state", &state, err);
    ret = ret < 0 ? ret : opts_get_int(amend_options, opts, "keyslot", &c->slot, err);
    ret = ret < 0 ? ret : crypt_parse_time(opts, "", &c->iter_time, err);
    c->activate = state == 0;
    c->has_slot = dict_has(opts, "keyslot");
    c->has_time = dict_has(opts, "iter-time");
    c->old_secret = dict_get_str(opts, "old-secret");
    c->new_secret = dict_get_str(opts, "new-secret");
    c->secret = dict_get_str(opts, "secret");
    return ret;
}

static int check_slot(const struct change *c, struct error **err)
{
    /* The message has it cut to 32 bits. */
    if (c->has_slot && ((int32_t)c->slot < 0 || (int32_t)c->slot >= LUKS_KEY_SLOTS)) {
        return error_set(err, EINVAL, "Invalid keyslot %d specified, must be between 0 and %d",
                         (int32_t)c->slot, LUKS_KEY_SLOTS - 1);
    }
    return 0;
}

static int free_slot(const struct luks *l)
{
    for (int i = 0; i < LUKS_KEY_SLOTS; i++) {
        if (!l->slots[i].active) {
            return i;
        }
    }
    return NO_SLOT;
}

/* The password goes by, and the key comes back: opened_with unlocks it, or another secret. */
static int find_key(struct world *w, const struct luks *l, const char *secret,
                    const struct crypt_io *io, uint8_t *key, struct error **err)
{
    size_t len;
    const uint8_t *password = luks_password(w, secret, &len, err);
    if (!password) {
        return -EINVAL;
    }
    int ret = luks_unlock(w, l, io, password, len, key, err);
    return ret == -EACCES ? error_set(err, EPERM, "Invalid password, cannot unlock any keyslot")
                          : ret;
}

static int activate(struct world *w, struct luks *l, const char *opened_with,
                    const struct change *c, const struct crypt_io *io, bool force,
                    struct error **err)
{
    if (!c->new_secret) {
        return error_set(err, EINVAL, "'new-secret' is required to activate a keyslot");
    }
    if (c->old_secret) {
        return error_set(err, EINVAL, "'old-secret' must not be given when activating keyslots");
    }
    int ret = check_slot(c, err);
    if (ret < 0) {
        return ret;
    }
    int slot = c->has_slot ? (int)c->slot : free_slot(l);
    if (slot == NO_SLOT) {
        return error_set(err, EINVAL, "Can't add a keyslot - all keyslots are in use");
    }
    if (l->slots[slot].active && !force) {
        return error_set(err, EINVAL,
                         "Refusing to overwrite active keyslot %d - please erase it first", slot);
    }
    size_t len;
    uint8_t key[LUKS_MAX_KEY_BYTES];
    const char *secret = c->secret ? c->secret : opened_with;
    const uint8_t *password;
    ret = find_key(w, l, secret, io, key, err);
    if (ret == 0) {
        password = luks_password(w, c->new_secret, &len, err);
        ret = password ? luks_set_slot(w, l, (unsigned)slot, io, password, len,
                                       (uint64_t)c->iter_time, key, err)
                       : -EINVAL;
    }
    explicit_bzero(key, sizeof(key));
    return ret;
}

/* One slot, with the password it must have, if one is given. */
static int erase_one(struct world *w, struct luks *l, const struct change *c,
                     const uint8_t *password, size_t len, const struct crypt_io *io, bool force,
                     struct error **err)
{
    unsigned slot = (unsigned)c->slot;
    if (password) {
        uint8_t key[LUKS_MAX_KEY_BYTES];
        int ret = luks_unlock_slot(w, l, slot, io, password, len, key, err);
        explicit_bzero(key, sizeof(key));
        if (ret == -EACCES) {
            return error_set(
                err, EINVAL,
                "Given keyslot %u doesn't contain the given old password for erase operation",
                slot);
        }
        if (ret < 0) {
            return ret;
        }
    }
    if (!force && !l->slots[slot].active) {
        return error_set(err, EINVAL, "Given keyslot %u is already erased (inactive) ", slot);
    }
    if (!force && luks_active_slots(l) == 1) {
        return error_set(err, EINVAL,
                         "Attempt to erase the only active keyslot %u which will erase all the "
                         "data in the image irreversibly - refusing operation",
                         slot);
    }
    return luks_erase_slot(w, l, slot, io, err);
}

static int erase_matching(struct world *w, struct luks *l, const uint8_t *password, size_t len,
                          const struct crypt_io *io, bool force, struct error **err)
{
    bool match[LUKS_KEY_SLOTS] = {false};
    unsigned n = 0;
    for (unsigned i = 0; i < LUKS_KEY_SLOTS; i++) {
        uint8_t key[LUKS_MAX_KEY_BYTES];
        int ret = luks_unlock_slot(w, l, i, io, password, len, key, err);
        explicit_bzero(key, sizeof(key));
        if (ret < 0 && ret != -EACCES) {
            return ret;
        }
        match[i] = ret == 0;
        n += match[i];
    }
    if (n == 0) {
        return error_set(err, EINVAL, "No keyslots match given (old) password for erase operation");
    }
    if (!force && n == luks_active_slots(l)) {
        return error_set(err, EINVAL,
                         "All the active keyslots match the (old) password that was given and "
                         "erasing them will erase all the data in the image irreversibly - "
                         "refusing operation");
    }
    int ret = 0;
    for (unsigned i = 0; i < LUKS_KEY_SLOTS && ret == 0; i++) {
        ret = match[i] ? luks_erase_slot(w, l, i, io, err) : 0;
    }
    return ret;
}

static int deactivate(struct world *w, struct luks *l, const struct change *c,
                      const struct crypt_io *io, bool force, struct error **err)
{
    const uint8_t *password = NULL;
    size_t len = 0;
    if (c->new_secret) {
        return error_set(err, EINVAL, "'new-secret' must not be given when erasing keyslots");
    }
    if (c->has_time) {
        return error_set(err, EINVAL, "'iter-time' must not be given when erasing keyslots");
    }
    if (c->old_secret) {
        password = luks_password(w, c->old_secret, &len, err);
        if (!password) {
            return -EINVAL;
        }
    }
    int ret = check_slot(c, err);
    if (ret < 0) {
        return ret;
    }
    if (c->has_slot) {
        return erase_one(w, l, c, password, len, io, force, err);
    }
    if (!password) {
        return error_set(err, EINVAL,
                         "To erase keyslot(s), either explicit keyslot index or the password "
                         "currently contained in them must be given");
    }
    return erase_matching(w, l, password, len, io, force, err);
}

int luks_amend(struct world *w, struct luks *l, const char *opened_with, const struct value *opts,
               const struct crypt_io *io, bool force, struct error **err)
{
    struct change c;
    int ret = parse(opts, &c, err);
    if (ret < 0) {
        return ret;
    }
    return c.activate ? activate(w, l, opened_with, &c, io, force, err)
                      : deactivate(w, l, &c, io, force, err);
}
