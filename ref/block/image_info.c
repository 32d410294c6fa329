/*
 * What is told about an image: the ImageInfo of QMP as a value, and the text of `qemu-img info`
 * made from it.
 */
#include "ref/block/image_info.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include "ref/base/sizes.h"
#include "ref/block/io.h"
#include "ref/block/open.h"
#include "ref/block/snapshot.h"

#define NSEC 1000000000ULL

int node_info(struct node *n, struct image_info *out)
{
    *out = (struct image_info){0};
    if (!n->drv) {
        return -ENOMEDIUM;
    }
    if (n->drv->info) {
        return n->drv->info(n, out);
    }
    struct child *c = node_filtered(n);
    return c ? node_info(c->node, out) : -ENOTSUP;
}

/* ---- values ---- */

static struct value *snapshot_value(const struct snapshot_info *sn)
{
    struct value *v = value_dict();
    dict_put_str(v, "id", sn->id);
    dict_put_str(v, "name", sn->name);
    dict_put_uint(v, "vm-state-size", sn->vm_state_size);
    dict_put_uint(v, "date-sec", sn->date_sec);
    dict_put_uint(v, "date-nsec", sn->date_nsec);
    dict_put_uint(v, "vm-clock-sec", sn->vm_clock_nsec / NSEC);
    dict_put_uint(v, "vm-clock-nsec", sn->vm_clock_nsec % NSEC);
    if (sn->icount != UINT64_MAX) {
        dict_put_uint(v, "icount", sn->icount);
    }
    return v;
}

/* Adds "snapshots" when there are any; nodes that cannot have snapshots have none. */
static int add_snapshots(struct node *n, struct value *v, struct error **err)
{
    struct snapshot_info *list;
    int count = snapshot_list(n, &list);
    if (count == -ENOTSUP || count == 0) {
        mem_free(list);
        return 0;
    }
    if (count == -ENOMEDIUM) {
        return error_set(err, ENOMEDIUM, "Device '%s' is not inserted", node_device_name(n));
    }
    if (count < 0) {
        return error_set_errno(err, -count, "Can't list snapshots of device '%s'",
                               node_device_name(n));
    }
    struct value *l = value_list();
    for (int i = 0; i < count; i++) {
        list_append(l, snapshot_value(&list[i]));
    }
    dict_put(v, "snapshots", l);
    mem_free(list);
    return 0;
}

static void add_backing(struct node *n, struct value *v)
{
    if (!n->backing_file || !*n->backing_file) {
        return;
    }
    dict_put_str(v, "backing-filename", n->backing_file);
    char *full = node_full_backing_filename(n, NULL);
    if (full) {
        dict_put_str(v, "full-backing-filename", full);
        mem_free(full);
    }
    if (n->backing_format && *n->backing_format) {
        dict_put_str(v, "backing-filename-format", n->backing_format);
    }
}

static int fill(struct node *n, int64_t length, struct value *v, struct error **err)
{
    struct image_info info;
    struct error *local = NULL;
    node_refresh_filename(n);
    dict_put_str(v, "filename", n->filename ? n->filename : "");
    dict_put_str(v, "format", node_format_name(n));
    dict_put_int(v, "virtual-size", length);
    int64_t actual = node_allocated_size(n);
    if (actual >= 0) {
        dict_put_int(v, "actual-size", actual);
    }
    if (n->encrypted) {
        dict_put_bool(v, "encrypted", true);
    }
    if (node_info(n, &info) >= 0) {
        if (info.cluster_size) {
            dict_put_int(v, "cluster-size", info.cluster_size);
        }
        dict_put_bool(v, "dirty-flag", info.is_dirty);
    }
    if (n->drv->specific_info) {
        struct value *specific = n->drv->specific_info(n, &local);
        if (local) {
            int code = local->code;
            error_propagate(err, local);
            return -code;
        }
        if (specific) {
            dict_put(v, "format-specific", specific);
        }
    }
    add_backing(n, v);
    return add_snapshots(n, v, err);
}

struct value *image_info(struct node *n, struct error **err)
{
    int64_t length = node_length(n);
    if (length < 0) {
        error_set_errno(err, (int)-length, "Can't get image size '%s'",
                        n->exact_filename ? n->exact_filename : "");
        return NULL;
    }
    struct value *v = value_dict();
    if (fill(n, length, v, err) < 0) {
        value_free(v);
        return NULL;
    }
    return v;
}

/* ---- text ---- */

void snapshot_text(struct strbuf *out, const struct snapshot_info *sn)
{
    static const char row[] = "%-9s %-16s %8s%20s%13s%11s";
    if (!sn) {
        strbuf_printf(out, row, "ID", "TAG", "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
        return;
    }
    char size[32], date[64] = "", clock[64], icount[32] = "";
    struct tm tm;
    time_t t = (time_t)sn->date_sec;
    uint64_t ms = sn->vm_clock_nsec / 1000000, s = ms / 1000;

    format_size(size, sn->vm_state_size);
    if (localtime_r(&t, &tm)) {
        strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
    }
    snprintf(clock, sizeof(clock), "%02" PRIu64 ":%02u:%02u.%03u", s / 3600,
             (unsigned)(s / 60 % 60), (unsigned)(s % 60), (unsigned)(ms % 1000));
    if (sn->icount != UINT64_MAX) {
        snprintf(icount, sizeof(icount), "%" PRIu64, sn->icount);
    }
    strbuf_printf(out, row, sn->id, sn->name, size, date, clock, icount);
}

static uint64_t get_uint(const struct value *d, const char *key, uint64_t def)
{
    struct value *v = dict_get(d, key);
    return v ? value_get_uint(v) : def;
}

static void snapshot_of_value(struct snapshot_info *sn, const struct value *v)
{
    *sn = (struct snapshot_info){
        .vm_state_size = get_uint(v, "vm-state-size", 0),
        .date_sec = get_uint(v, "date-sec", 0),
        .vm_clock_nsec = get_uint(v, "vm-clock-sec", 0) * NSEC + get_uint(v, "vm-clock-nsec", 0),
        .icount = get_uint(v, "icount", UINT64_MAX),
    };
    snprintf(sn->id, sizeof(sn->id), "%s", dict_get_str(v, "id"));
    snprintf(sn->name, sizeof(sn->name), "%s", dict_get_str(v, "name"));
}

static void value_text(struct strbuf *out, const struct value *v, int level);

static bool is_compound(const struct value *v)
{
    return value_type(v) == VALUE_LIST || value_type(v) == VALUE_DICT;
}

static void member_text(struct strbuf *out, const struct value *v, int level)
{
    strbuf_puts(out, is_compound(v) ? "\n" : " ");
    value_text(out, v, level + 1);
    if (!is_compound(v)) {
        strbuf_putc(out, '\n');
    }
}

/* "key with blanks: value" lines, four blanks a level; a list's members are called [0], [1], ... */
static void value_text(struct strbuf *out, const struct value *v, int level)
{
    struct dict_iter it;
    switch (value_type(v)) {
    case VALUE_NULL:
        strbuf_puts(out, "null");
        return;
    case VALUE_BOOL:
        strbuf_puts(out, value_get_bool(v) ? "true" : "false");
        return;
    case VALUE_INT:
        strbuf_printf(out, "%" PRId64, value_get_int(v));
        return;
    case VALUE_UINT:
        strbuf_printf(out, "%" PRIu64, value_get_uint(v));
        return;
    case VALUE_DOUBLE:
        strbuf_printf(out, "%.17g", value_get_double(v));
        return;
    case VALUE_STRING:
        strbuf_puts(out, value_get_str(v));
        return;
    case VALUE_LIST:
        for (size_t i = 0; i < list_len(v); i++) {
            strbuf_printf(out, "%*s[%zu]:", level * 4, "", i);
            member_text(out, list_at(v, i), level);
        }
        return;
    case VALUE_DICT:
        DICT_FOREACH (it, v) {
            strbuf_printf(out, "%*s", level * 4, "");
            for (const char *p = it.key; *p; p++) {
                strbuf_putc(out, *p == '-' ? ' ' : *p);
            }
            strbuf_putc(out, ':');
            member_text(out, it.value, level);
        }
        return;
    }
}

void image_info_specific_text(struct strbuf *out, const struct value *specific, int indent)
{
    const struct value *data = dict_get(specific, "data");
    if (data) {
        value_text(out, data, indent + 1);
    }
}

static void backing_text(struct strbuf *out, const struct value *info)
{
    const char *name = dict_get_str(info, "backing-filename");
    const char *full = dict_get_str(info, "full-backing-filename");
    const char *format = dict_get_str(info, "backing-filename-format");
    if (!name) {
        return;
    }
    strbuf_printf(out, "backing file: %s", name);
    if (!full) {
        strbuf_puts(out, " (cannot determine actual path)");
    } else if (strcmp(name, full) != 0) {
        strbuf_printf(out, " (actual path: %s)", full);
    }
    strbuf_putc(out, '\n');
    if (format) {
        strbuf_printf(out, "backing file format: %s\n", format);
    }
}

void image_info_text(struct strbuf *out, const struct value *info)
{
    char virtual_size[32], disk_size[32] = "unavailable";
    uint64_t length = get_uint(info, "virtual-size", 0);
    format_size(virtual_size, length);
    if (dict_has(info, "actual-size")) {
        format_size(disk_size, get_uint(info, "actual-size", 0));
    }
    strbuf_printf(
        out, "image: %s\nfile format: %s\nvirtual size: %s (%" PRIu64 " bytes)\ndisk size: %s\n",
        dict_get_str(info, "filename"), dict_get_str(info, "format"), virtual_size, length,
        disk_size);
    if (dict_get_bool(info, "encrypted", false)) {
        strbuf_puts(out, "encrypted: yes\n");
    }
    if (dict_has(info, "cluster-size")) {
        strbuf_printf(out, "cluster_size: %" PRIu64 "\n", get_uint(info, "cluster-size", 0));
    }
    if (dict_get_bool(info, "dirty-flag", false)) {
        strbuf_puts(out, "cleanly shut down: no\n");
    }
    backing_text(out, info);

    const struct value *snapshots = dict_get(info, "snapshots");
    if (snapshots && list_len(snapshots)) {
        strbuf_puts(out, "Snapshot list:\n");
        snapshot_text(out, NULL);
        strbuf_putc(out, '\n');
        for (size_t i = 0; i < list_len(snapshots); i++) {
            struct snapshot_info sn;
            snapshot_of_value(&sn, list_at(snapshots, i));
            snapshot_text(out, &sn);
            strbuf_putc(out, '\n');
        }
    }
    const struct value *specific = dict_get(info, "format-specific");
    if (specific) {
        strbuf_puts(out, "Format specific information:\n");
        image_info_specific_text(out, specific, 0);
    }
}
