/*
 * Making a file for an image.
 *
 * Models: create or empty the file under the locks of a writer that does not share resizing, set
 * attributes of file systems that have them, then give it its size.  Leaves out: removing the file
 * when its size is refused: who creates an image in it does that.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include "ref/protocol/file_internal.h"

#define SECTOR         512
#define DEFAULT_EXTENT (1 * MiB) /* hint for file systems that take one */

/* Without defaults: what is not given is not shown in "Formatting ..." either. */
/* Defaults are not in the table: `create` prints those, and these it does not. */
const struct opt_desc file_create_options[] = {
    {.name = "size", .type = OPT_SIZE, .help = "Virtual disk size"},
    {.name = "nocow", .type = OPT_BOOL, .help = "Turn off copy-on-write (valid only on btrfs)"},
    {.name = "preallocation",
     .type = OPT_STRING,
     .help = "Preallocation mode (allowed values: off, falloc, full)"},
    {.name = "extent_size_hint",
     .type = OPT_SIZE,
     .help = "Extent size hint for the image file, 0 to disable"},
    {.name = NULL},
};

struct create_options {
    int64_t size;
    enum prealloc prealloc;
    bool nocow, extent_given;
    uint64_t extent_size;
};

static int parse_create_options(const struct value *opts, struct create_options *o,
                                struct error **err)
{
    const struct opt_desc *t = file_create_options;
    uint64_t size = 0;
    const char *prealloc = opts_get_str(t, opts, "preallocation");
    o->nocow = false;
    o->extent_size = DEFAULT_EXTENT;
    o->extent_given = dict_has(opts, "extent_size_hint");
    int ret = opts_get_size(t, opts, "size", &size, err);
    if (ret == 0) {
        ret = opts_get_bool(t, opts, "nocow", &o->nocow, err);
    }
    if (ret == 0) {
        ret = opts_get_size(t, opts, "extent_size_hint", &o->extent_size, err);
    }
    if (ret == 0) {
        ret = prealloc_parse(prealloc, &o->prealloc, err);
    }
    if (ret < 0) {
        return ret;
    }
    if (size > INT64_MAX - SECTOR) {
        return error_set(err, EFBIG, "Image size is too large");
    }
    if (o->extent_size > UINT32_MAX) {
        return error_set(err, EINVAL, "Extent size hint is too large");
    }
    o->size = (int64_t)ROUND_UP(size, SECTOR);
    return 0;
}

struct attr_call {
    int fd;
    const struct create_options *o;
};

/* Best effort: most file systems have neither attribute.  -errno when the hint was not taken. */
static int set_attributes(void *arg)
{
    const struct attr_call *c = arg;
    struct fsxattr fsx;
    int attr, ret = 0;
    if (c->o->extent_size && ioctl(c->fd, FS_IOC_FSGETXATTR, &fsx) == 0) {
        fsx.fsx_xflags |= FS_XFLAG_EXTSIZE;
        fsx.fsx_extsize = (uint32_t)c->o->extent_size;
        ret = ioctl(c->fd, FS_IOC_FSSETXATTR, &fsx) == 0 ? 0 : -errno;
    }
    if (c->o->nocow && ioctl(c->fd, FS_IOC_GETFLAGS, &attr) == 0) {
        attr |= FS_NOCOW_FL;
        ioctl(c->fd, FS_IOC_SETFLAGS, &attr);
    }
    return ret;
}

static int fill_file(struct world *w, int fd, const char *filename, const struct create_options *o,
                     struct error **err)
{
    unsigned used = PERM_WRITE | PERM_RESIZE, unshared = PERM_RESIZE;
    struct attr_call attrs = {.fd = fd, .o = o};
    int ret = 0;

    if (file_locks_work(fd)) {
        ret = file_lock(fd, used, unshared, err);
        if (ret == 0) {
            ret = file_lock_check(fd, used, unshared, filename, err);
        }
    }
    if (ret < 0) {
        return ret;
    }
    ret = file_resize(w, fd, 0, PREALLOC_OFF, err); /* whatever it held is gone */
    if (ret < 0) {
        return ret;
    }
    ret = host_call(w, set_attributes, &attrs);
    if (ret < 0 && o->extent_given) {
        world_warn(w, "Failed to set extent size hint: %s", strerror(-ret));
    }
    return file_resize(w, fd, o->size, o->prealloc, err);
}

static int create_at(struct world *w, const char *filename, const struct value *opts,
                     struct error **err)
{
    struct create_options o = {.prealloc = PREALLOC_OFF, .extent_size = 1 * MiB};
    int ret = parse_create_options(opts, &o, err);
    if (ret < 0) {
        return ret;
    }
    int fd = host_open(w, filename, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) {
        return error_set_errno(err, -fd, "Could not create '%s'", filename);
    }
    ret = fill_file(w, fd, filename, &o, err);
    int closed = host_close(w, fd);
    if (ret == 0 && closed < 0) {
        ret = error_set_errno(err, -closed, "Could not close the new file");
    }
    return ret;
}

int file_create(struct world *w, const char *filename, struct value *opts, struct error **err)
{
    return create_at(w, strncmp(filename, "file:", 5) ? filename : filename + 5, opts, err);
}

int file_create_json(struct world *w, struct value *opts, struct error **err)
{
    const char *filename = dict_get_str(opts, "filename");
    struct value *hint = dict_take(opts, "extent-size-hint");
    if (hint) {
        dict_put(opts, "extent_size_hint", hint);
    }
    if (!filename) {
        return error_set(err, EINVAL, "Parameter 'filename' is missing");
    }
    return create_at(w, filename, opts, err);
}
