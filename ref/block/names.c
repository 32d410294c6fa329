/*
 * Names of images as text: protocol prefixes, relative paths, json:{...}.
 *
 * Leaves out: what a node is called (filename.c).
 */
#include <errno.h>
#include <string.h>
#include "ref/base/json.h"
#include "ref/block/open.h"

/* "nbd:..." yes; "dir/a:b" and "./a:b" no. */
bool path_has_protocol(const char *path)
{
    return path[strcspn(path, ":/")] == ':';
}

static bool path_is_absolute(const char *path)
{
    return path[0] == '/';
}

char *path_combine(const char *base, const char *filename)
{
    if (path_is_absolute(filename) || path_has_protocol(filename)) {
        return str_dup(filename);
    }
    const char *keep = base; /* end of the part that stays */
    if (path_has_protocol(base)) {
        keep = strchr(base, ':') + 1;
    }
    const char *slash = strrchr(base, '/');
    if (slash && slash + 1 > keep) {
        keep = slash + 1;
    }
    return str_fmt("%.*s%s", (int)(keep - base), base, filename);
}

char *full_backing_filename(const char *backed, const char *backing, struct error **err)
{
    if (!*backing) {
        return NULL;
    }
    if (path_is_absolute(backing) || path_has_protocol(backing)) {
        return str_dup(backing);
    }
    if (!*backed || strncmp(backed, "json:", 5) == 0) {
        error_set(err, EINVAL, "Cannot use relative backing file names for '%s'", backed);
        return NULL;
    }
    return path_combine(backed, backing);
}

struct value *parse_json_filename(const char *filename, struct error **err)
{
    if (strncmp(filename, "json:", 5) != 0) {
        error_set(err, EINVAL, "Not a json: name: '%s'", filename);
        return NULL;
    }
    struct value *v = json_parse(filename + 5, err);
    if (!v) {
        error_prepend(err, "Could not parse the JSON options: ");
        return NULL;
    }
    if (value_type(v) != VALUE_DICT) {
        value_free(v);
        error_set(err, EINVAL, "Invalid JSON object given");
        return NULL;
    }
    dict_flatten(v);
    return v;
}
