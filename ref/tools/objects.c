/*
 * --object: user-created objects.
 *
 * Models: parsing and the messages for what cannot be.  Leaves out: every type so far; the ones
 * QEMU's tools know are refused by name.
 */
#include <errno.h>

#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/tools/tool.h"

static const char *const known_types[] = {
    "authz-list",     "authz-listfile", "authz-pam",     "authz-simple",
    "iothread",       "main-loop",      "secret",        "secret_keyring",
    "throttle-group", "tls-creds-anon", "tls-creds-psk", "tls-creds-x509",
};

static bool is_known(const char *type)
{
    for (size_t i = 0; i < ARRAY_SIZE(known_types); i++) {
        if (!strcmp(type, known_types[i])) {
            return true;
        }
    }
    return false;
}

int tool_add_object(struct tool *t, const char *text, struct error **err)
{
    struct value *opts = opts_parse(text, "qom-type", err);
    if (!opts) {
        return -EINVAL;
    }
    const char *type = dict_get_str(opts, "qom-type");
    int ret;
    if (!type) {
        ret = error_set(err, EINVAL, "Parameter 'qom-type' is missing");
    } else if (!is_known(type)) {
        ret = error_set(err, EINVAL, "Parameter 'qom-type' does not accept value '%s'", type);
    } else if (!dict_has(opts, "id")) {
        ret = error_set(err, EINVAL, "Parameter 'id' is missing");
    } else {
        ret = error_set(err, ENOTSUP, "Objects of type '%s' are not supported by this build", type);
    }
    value_free(opts);
    return ret;
}
