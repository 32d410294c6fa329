/*
 * --object: user-created objects.
 *
 * Models: both syntaxes (key=value, JSON), help, and the type `secret`.  Leaves out: the other
 * types; the ones QEMU's tools know are refused by name.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "ref/base/json.h"
#include "ref/base/mem.h"
#include "ref/base/options.h"
#include "ref/block/graph.h"
#include "ref/format/crypto/secret_object.h"
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

static bool is_identifier(const char *id)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    if (!*id || !strchr(letters, *id)) {
        return false;
    }
    for (; *id; id++) {
        if (!strchr(letters, *id) && !strchr("0123456789-._", *id)) {
            return false;
        }
    }
    return true;
}

static int check_id(const struct value *props, struct error **err)
{
    const char *id = dict_get_str(props, "id");
    if (!id) {
        return error_set(err, EINVAL, "Parameter 'id' is missing");
    }
    if (!is_identifier(id)) {
        error_set(err, EINVAL, "Parameter 'id' expects an identifier");
        error_hint(err, "Identifiers consist of letters, digits, '-', '.', '_', starting with a "
                        "letter.\n");
        return -EINVAL;
    }
    return 0;
}

/* Every key known, every value of its type. */
static int check_secret(const struct value *props, struct error **err)
{
    struct dict_iter it;
    for (const struct opt_desc *o = secret_options; o->name; o++) {
        struct value *v = dict_get(props, o->name);
        enum value_type type = v ? value_type(v) : VALUE_STRING;
        if (type != VALUE_STRING && (o->type != OPT_BOOL || type != VALUE_BOOL)) {
            return error_set(err, EINVAL, "Invalid parameter type for '%s', expected: %s", o->name,
                             o->type == OPT_BOOL ? "boolean" : "string");
        }
        bool on;
        if (v && o->type == OPT_BOOL &&
            opts_get_bool(secret_options, props, o->name, &on, err) < 0) {
            return -EINVAL;
        }
    }
    DICT_FOREACH (it, props) {
        if (strcmp(it.key, "qom-type") != 0 && strcmp(it.key, "id") != 0 &&
            !opts_find(secret_options, it.key)) {
            return error_set(err, EINVAL, "Parameter '%s' is unexpected", it.key);
        }
    }
    return 0;
}

static int add(struct tool *t, const struct value *props, struct error **err)
{
    const char *type = dict_get_str(props, "qom-type");
    if (!type) {
        return error_set(err, EINVAL, "Parameter 'qom-type' is missing");
    }
    if (!is_known(type)) {
        return error_set(err, EINVAL, "Parameter 'qom-type' does not accept value '%s'", type);
    }
    int ret = check_id(props, err);
    if (ret < 0) {
        return ret;
    }
    if (strcmp(type, "secret") != 0) {
        return error_set(err, ENOTSUP, "Objects of type '%s' are not supported by this build",
                         type);
    }
    ret = check_secret(props, err);
    return ret < 0 ? ret : secret_create(t->w, props, err);
}

static void print_help(const char *type)
{
    if (!type || !is_known(type)) {
        printf("List of user creatable objects:\n  secret\n");
        return;
    }
    printf("%s options:\n", type);
    for (const struct opt_desc *o = secret_options; o->name && !strcmp(type, "secret"); o++) {
        if (o->type != OPT_BOOL) {
            printf("  %s=<%s>\n", o->name, o->type == OPT_ENUM ? "QCryptoSecretFormat" : "string");
        }
    }
}

int tool_add_object(struct tool *t, const char *text, struct error **err)
{
    bool help = false;
    struct value *props =
        *text == '{' ? json_parse(text, err) : keyval_parse(text, "qom-type", &help, err);
    if (!props) {
        return -EINVAL;
    }
    int ret = 0;
    if (help) {
        print_help(dict_get_str(props, "qom-type"));
        exit(0); /* as QEMU does, whatever else the command line says */
    } else if (value_type(props) != VALUE_DICT) {
        ret = error_set(err, EINVAL, "Invalid parameter type for 'object', expected: object");
    } else {
        ret = add(t, props, err);
    }
    value_free(props);
    return ret;
}
