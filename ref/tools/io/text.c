/*
 * Numbers in and out of qemu-io: sizes, patterns, statistics, dumps, buffers.
 */
#include "ref/tools/io/io.h"

#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include "ref/base/mem.h"
#include "ref/base/sizes.h"
#include "ref/engine/clock.h"

int64_t io_parse_number(struct io_session *s, const char *text)
{
    uint64_t value = 0;
    int ret = parse_size(text, NULL, 'B', &value);
    if (ret == 0 && value > INT64_MAX) {
        ret = -ERANGE;
    }
    if (ret == -ERANGE) {
        printf("Parsing error: argument too large -- %s\n", text);
        return ret;
    }
    if (ret == 0 && size_has_hex_suffix(text)) {
        world_report(s->w, REPORT_WARNING,
                     "Using a multiplier suffix on hex numbers is deprecated: %s", text);
    }
    if (ret < 0) {
        printf("Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- %s\n",
               text);
        return ret;
    }
    return (int64_t)value;
}

int io_parse_pattern(const char *text)
{
    int64_t value;
    if (parse_int64(text, NULL, 0, &value) < 0 || value < 0 || value > 255) {
        printf("%s is not a valid pattern byte\n", text);
        return -EINVAL;
    }
    return (int)value;
}

void io_size_text(char out[40], double value)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    const char *zeroes;
    if (value < 1024) {
        snprintf(out, 40, "%f bytes", value);
        zeroes = ".000000";
    } else {
        size_t unit = 0;
        value /= 1024;
        while (value >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
            value /= 1024;
            unit++;
        }
        snprintf(out, 40, "%.3f %s", value, units[unit]);
        zeroes = ".000";
    }
    char *found = strstr(out, zeroes);
    if (found && found[strlen(zeroes)] == ' ') {
        memmove(found, found + strlen(zeroes), strlen(found + strlen(zeroes)) + 1);
    }
}

void io_report_done(struct io_session *s, const struct io_report *r, const char *verb,
                    int64_t offset, int64_t count, int64_t total, int ops)
{
    int64_t ns = clock_now(s->w, CLOCK_REAL) - r->start;
    double seconds = ns > 0 ? (double)ns / 1e9 : 1e-9;
    unsigned long whole = (unsigned long)(ns / 1000000000),
                  hundredths = (unsigned long)(ns / 10000000 % 100);
    char size[40], rate[40], time[40];
    if (r->quiet) {
        return;
    }
    if (r->machine || whole >= 60) {
        snprintf(time, sizeof(time), "%lu:%02lu:%02lu.%02lu", whole / 3600, whole / 60 % 60,
                 whole % 60, hundredths);
    } else {
        snprintf(time, sizeof(time), "%02lu.%02lu sec", whole, hundredths);
    }
    if (r->machine) {
        printf("%lld,%d,%s,%.3f,%.3f\n", (long long)total, ops, time, (double)total / seconds,
               ops / seconds);
        return;
    }
    io_size_text(size, (double)total);
    io_size_text(rate, (double)total / seconds);
    printf("%s %lld/%lld bytes at offset %lld\n", verb, (long long)total, (long long)count,
           (long long)offset);
    printf("%s, %d ops; %s (%s/sec and %.4f ops/sec)\n", size, ops, time, rate, ops / seconds);
}

void io_dump(const uint8_t *buf, int64_t offset, int64_t len)
{
    static const char digits[] = "0123456789abcdef";
    for (int64_t i = 0; i < len; i += 16) {
        int64_t n = MIN(16, len - i);
        char line[16 * 4 + 2], *p = line;
        for (int64_t j = 0; j < n; j++) {
            *p++ = digits[buf[i + j] >> 4];
            *p++ = digits[buf[i + j] & 15];
            *p++ = ' ';
        }
        *p++ = ' ';
        for (int64_t j = 0; j < n; j++) {
            *p++ = isalnum(buf[i + j]) ? (char)buf[i + j] : '.';
        }
        *p++ = '\n';
        printf("%08llx:  ", (unsigned long long)(offset + i));
        fwrite(line, 1, (size_t)(p - line), stdout);
    }
}

uint8_t *io_alloc(struct io_session *s, size_t len, int byte)
{
    size_t extra = s->misalign ? 16 : 0;
    uint8_t *buf = node_try_blockalign(blk_node(s->blk), len + extra + 1);
    if (!buf) {
        printf("out of memory: %zu bytes for a request\n", len);
        return NULL;
    }
    buf += extra;
    memset(buf, byte, len);
    return buf;
}

void io_free(struct io_session *s, uint8_t *buf)
{
    if (buf) {
        mem_free(buf - (s->misalign ? 16 : 0));
    }
}

struct kept_tag {
    struct list link;
    char *text;
};

const char *io_tag(struct io_session *s, const char *tag)
{
    struct kept_tag *k;
    LIST_FOREACH (k, &s->tags, link) {
        if (!strcmp(k->text, tag)) {
            return k->text;
        }
    }
    k = mem_zalloc(sizeof(*k) + strlen(tag) + 1);
    k->text = (char *)(k + 1);
    strcpy(k->text, tag);
    list_push(&s->tags, &k->link);
    return k->text;
}

bool io_tag_known(const struct io_session *s, const char *glob)
{
    const struct kept_tag *k;
    LIST_FOREACH (k, &s->tags, link) {
        if (!fnmatch(glob, k->text, 0)) {
            return true;
        }
    }
    return false;
}
