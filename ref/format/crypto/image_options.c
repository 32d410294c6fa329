/*
 * The options `encrypt.*`: see image_options.h.
 */
#include "ref/format/crypto/image_options.h"

#include <errno.h>
#include "ref/base/mem.h"

#define PREFIX "encrypt."

static const char *const luks_keys[] = {
    "cipher-alg", "cipher-mode", "ivgen-alg", "ivgen-hash-alg", "hash-alg", "iter-time",
};

int crypt_open_options(struct value *opts, const char *in_header, char **secret, struct error **err)
{
    struct value *mine = dict_extract(opts, PREFIX);
    const char *format = dict_get_str(mine, "format");
    struct dict_iter it;
    int ret = 0;
    *secret = NULL;
    if (format && !in_header) {
        ret = error_set(err, EINVAL,
                        "No encryption in image header, but options specified format '%s'", format);
    } else if (format && strcmp(format, in_header) != 0) {
        ret = error_set(err, EINVAL,
                        "Header reported '%s' encryption format but options specify '%s'",
                        in_header, format);
    }
    /* Of an image that is not encrypted nobody asks what else was given. */
    if (ret == 0 && in_header) {
        DICT_FOREACH (it, mine) {
            if (strcmp(it.key, "format") != 0 && strcmp(it.key, "key-secret") != 0) {
                ret = error_set(err, EINVAL, "Parameter '%s' is unexpected", it.key);
                break;
            }
        }
    }
    if (ret == 0) {
        *secret = str_dup(dict_get_str(mine, "key-secret"));
    }
    value_free(mine);
    return ret;
}

void crypt_flatten_options(struct value *opts)
{
    struct value *v = dict_take(opts, "encrypt");
    if (v) {
        struct value *wrapped = value_dict();
        dict_put(wrapped, "encrypt", v);
        dict_flatten(wrapped);
        dict_join(opts, wrapped, true);
        value_free(wrapped);
    }
}

/* A LUKS option that was given, or NULL. */
static const char *given_luks_key(const struct value *opts)
{
    for (size_t i = 0; i < ARRAY_SIZE(luks_keys); i++) {
        char *key = str_fmt(PREFIX "%s", luks_keys[i]);
        bool has = dict_has(opts, key);
        mem_free(key);
        if (has) {
            return luks_keys[i];
        }
    }
    return NULL;
}

static int parse_format(const struct value *opts, bool luks, struct crypt_creation *c,
                        struct error **err)
{
    static const struct opt_desc alias[] = {{.name = "encryption", .type = OPT_BOOL},
                                            {.name = NULL}};
    bool on = false;
    const char *format = dict_get_str(opts, PREFIX "format"), *key = given_luks_key(opts);
    int ret = opts_get_bool(alias, opts, "encryption", &on, err);
    if (ret < 0) {
        return ret;
    }
    if (on && format) {
        return error_set(err, EINVAL,
                         "'encrypt.format' and its alias 'encryption' can't be used at the same "
                         "time");
    }
    if (!on && !format) {
        return key || c->secret ? error_set(err, EINVAL, "Parameter '" PREFIX "format' is missing")
                                : 0;
    }
    c->encrypted = true;
    if (on || strcmp(format, "aes") == 0 || strcmp(format, "qcow") == 0) {
        c->format = CRYPT_QCOW;
        return key ? error_set(err, EINVAL, "Parameter '" PREFIX "%s' is unexpected", key) : 0;
    }
    if (strcmp(format, "luks") != 0) {
        return error_set(err, EINVAL, "Parameter 'format' does not accept value '%s'", format);
    }
    c->format = CRYPT_LUKS;
    return luks ? crypt_parse_params(opts, PREFIX, &c->params, err)
                : error_set(err, EINVAL, "Unsupported encryption format");
}

int crypt_create_options(struct world *w, const struct value *opts, bool luks,
                         struct crypt_creation *c, struct error **err)
{
    *c = (struct crypt_creation){.secret = dict_get_str(opts, PREFIX "key-secret")};
    int ret = parse_format(opts, luks, c, err);
    return ret < 0 || !c->encrypted ? ret : crypt_check_secret(w, c->secret, PREFIX, err);
}
