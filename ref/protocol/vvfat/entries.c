/*
 * Entries of FAT directories.
 *
 * Models: short entries with the host's times (creation has the time of the last change of the
 * inode, as in QEMU; local time, as FAT wants it), long names, the volume's label.  Times that FAT
 * cannot say become the nearest that it can.
 */
#include "ref/protocol/vvfat/vvfat.h"

#include <time.h>

#define FIRST_YEAR (int)FAT_YEAR_0
#define LAST_YEAR  2107

static void put_time(time_t t, uint16_t *date, uint16_t *time)
{
    struct tm tm;
    uint8_t d[FAT_DATE_SIZE] = {0}, c[FAT_TIME_SIZE] = {0};
    int year = localtime_r(&t, &tm) ? tm.tm_year + 1900 : 0;
    if (year < FIRST_YEAR) {
        tm = (struct tm){.tm_year = FIRST_YEAR - 1900, .tm_mday = 1};
    } else if (year > LAST_YEAR) {
        tm = (struct tm){.tm_year = LAST_YEAR - 1900,
                         .tm_mon = 11,
                         .tm_mday = 31,
                         .tm_hour = 23,
                         .tm_min = 59,
                         .tm_sec = 59};
    }
    fat_date_set_year(d, (uint16_t)(tm.tm_year + 1900 - FIRST_YEAR));
    fat_date_set_month(d, (uint16_t)(tm.tm_mon + 1));
    fat_date_set_day(d, (uint16_t)tm.tm_mday);
    fat_time_set_hour(c, (uint16_t)tm.tm_hour);
    fat_time_set_minute(c, (uint16_t)tm.tm_min);
    fat_time_set_half_seconds(c, (uint16_t)(MIN(tm.tm_sec, 59) / 2)); /* 60: a leap second */
    *date = fat_date_load(d);
    *time = fat_time_load(c);
}

void fat_add_entry(struct strbuf *dir, const uint8_t *short_name, uint8_t attributes,
                   const struct stat *st, uint32_t size)
{
    uint8_t e[FAT_ENTRY_SIZE] = {0};
    uint16_t date, time;
    memcpy(e + FAT_ENTRY_NAME_OFF, short_name, FAT_ENTRY_NAME_WIDTH);
    fat_entry_set_attributes(e, attributes);
    put_time(st->st_ctime, &date, &time);
    fat_entry_set_created_date(e, date);
    fat_entry_set_created_time(e, time);
    put_time(st->st_mtime, &date, &time);
    fat_entry_set_written_date(e, date);
    fat_entry_set_written_time(e, time);
    put_time(st->st_atime, &date, &time);
    fat_entry_set_accessed_date(e, date);
    fat_entry_set_size(e, size);
    strbuf_add(dir, e, sizeof(e));
}

/* LFN-3 */
static uint8_t checksum(const uint8_t *short_name)
{
    uint8_t sum = 0;
    for (int i = 0; i < FAT_ENTRY_NAME_WIDTH; i++) {
        sum = (uint8_t)((sum >> 1 | sum << 7) + short_name[i]);
    }
    return sum;
}

static void put_chars(uint8_t *to, const uint16_t *chars, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        store_le16(to + 2 * i, chars[i]);
    }
}

void fat_add_long_name(struct strbuf *dir, const struct fat_name *name)
{
    uint16_t chars[FAT_LONG_MAX + FAT_LONG_CHARS];
    size_t len = name->has_long ? fat_long_name(name->host, chars) : 0;
    unsigned parts = (unsigned)DIV_ROUND_UP(len, FAT_LONG_CHARS);
    for (size_t i = len; i < (size_t)parts * FAT_LONG_CHARS; i++) {
        chars[i] = i == len ? 0 : 0xffff; /* LFN-4 */
    }
    for (unsigned part = parts; part > 0; part--) {
        const uint16_t *from = chars + (part - 1) * FAT_LONG_CHARS;
        uint8_t e[FAT_LONG_ENTRY_SIZE] = {0};
        fat_long_entry_set_order(e, (uint8_t)part);
        fat_long_entry_set_last(e, part == parts);
        fat_long_entry_set_attributes(e, FAT_LONG_ATTRIBUTES);
        fat_long_entry_set_checksum(e, checksum(name->short_name));
        put_chars(e + FAT_LONG_ENTRY_FIRST_CHARS_OFF, from, 5);
        put_chars(e + FAT_LONG_ENTRY_MIDDLE_CHARS_OFF, from + 5, 6);
        put_chars(e + FAT_LONG_ENTRY_LAST_CHARS_OFF, from + 11, 2);
        strbuf_add(dir, e, sizeof(e));
    }
}

void fat_add_label(struct strbuf *dir, const uint8_t *label)
{
    uint8_t e[FAT_ENTRY_SIZE] = {0};
    memcpy(e + FAT_ENTRY_NAME_OFF, label, FAT_ENTRY_NAME_WIDTH);
    e[0] = e[0] == FAT_FREE_NAME ? FAT_KANJI_NAME : e[0];
    fat_entry_set_attributes(e, FAT_ATTR_VOLUME | FAT_ATTR_ARCHIVE);
    strbuf_add(dir, e, sizeof(e));
}

void fat_set_cluster(uint8_t *entry, uint32_t cluster)
{
    fat_entry_set_cluster_high(entry, (uint16_t)(cluster >> 16));
    fat_entry_set_cluster_low(entry, (uint16_t)cluster);
}
