/*
 * FAT names of the names of a host directory.
 *
 * Models: long names as they are, as far as FAT may hold them (LFN-5 to LFN-7); short names made of
 * the letters, digits and signs that they may have, in upper case, with a number where something
 * was left out or the name is taken (LFN-8).  A name that is a short name as it stands keeps it
 * whatever comes before it.  A host name that makes no lawful long name has its short name alone.
 * Leaves out: case of letters other than ASCII, Latin-1, Greek and Cyrillic ones, and code pages:
 * what is no ASCII never gets into a short name.
 */
#include "ref/protocol/vvfat/vvfat.h"

#include <stdio.h>
#include "ref/base/rng.h"
#include "ref/base/utf8.h"

#define BASE 8
#define EXT  (FAT_ENTRY_NAME_WIDTH - BASE)

/* ---- what is taken ---- */

/* A number for each of at most `count` texts, the empty one excluded. */
struct text_map {
    size_t mask;
    struct text_slot {
        char *text; /* NULL: free */
        unsigned number;
    } * slots;
};

static void map_init(struct text_map *m, size_t count)
{
    size_t slots = 8;
    while (slots < count * 2) {
        slots *= 2;
    }
    m->mask = slots - 1;
    m->slots = mem_array(slots, sizeof(*m->slots));
}

static void map_free(struct text_map *m)
{
    for (size_t i = 0; i <= m->mask; i++) {
        mem_free(m->slots[i].text);
    }
    mem_free(m->slots);
}

/* The text's number, 0 when it is new: then it is there from now on. */
static unsigned *map_number(struct text_map *m, const char *text)
{
    size_t i = hash_bytes(text, strlen(text), 0) & m->mask;
    while (m->slots[i].text && strcmp(m->slots[i].text, text) != 0) {
        i = (i + 1) & m->mask;
    }
    if (!m->slots[i].text) {
        m->slots[i].text = str_dup(text);
    }
    return &m->slots[i].number;
}

/* Takes the text; false when it was taken before. */
static bool map_take(struct text_map *m, const char *text)
{
    unsigned *number = map_number(m, text);
    return *number == 0 ? (*number = 1) : false;
}

/* ---- characters ---- */

/* The next character and moves *s behind it; -1: a byte that belongs to none. */
static int32_t next_char(const char **s)
{
    const char *end = *s + strlen(*s);
    size_t n = utf8_len(*s, end);
    int32_t c = utf8_decode(*s, n);
    *s += c < 0 ? 1 : n;
    return c ? c : -1; /* the two bytes that JSON writes for NUL */
}

bool fat_name_is_utf8(const char *host)
{
    while (*host) {
        if (next_char(&host) < 0) {
            return false;
        }
    }
    return true;
}

static uint32_t upper(uint32_t c)
{
    bool down32 = (c >= 'a' && c <= 'z') || (c >= 0xe0 && c <= 0xfe && c != 0xf7) ||
                  (c >= 0x3b1 && c <= 0x3c9 && c != 0x3c2) || (c >= 0x430 && c <= 0x44f);
    return down32 ? c - 32 : c >= 0x450 && c <= 0x45f ? c - 80 : c;
}

/* The character in a short name, or 0 where none may have it. */
static char short_char(int32_t c)
{
    bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    return plain || (c > 0x20 && c < 0x7f && strchr("$%'-_@~`!(){}^#&", c))
               ? (char)upper((uint32_t)c)
               : 0;
}

/* ---- long names ---- */

size_t fat_long_name(const char *host, uint16_t out[FAT_LONG_MAX])
{
    size_t len = 0, kept = 0; /* kept: up to the last character that is no trailing space or dot */
    if (!fat_name_is_utf8(host)) {
        return 0;
    }
    host += strspn(host, " ");
    while (*host) {
        int32_t c = next_char(&host);
        if (c < 0x20 || (c < 0x80 && strchr("\"*/:<>?\\|", c)) ||
            len + (c > 0xffff) >= FAT_LONG_MAX) {
            return 0;
        }
        if (c > 0xffff) {
            out[len++] = (uint16_t)(0xd800 + ((c - 0x10000) >> 10));
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        out[len++] = (uint16_t)c;
        kept = c == ' ' || c == '.' ? kept : len;
    }
    return kept;
}

/* The long name where case does not count, as text; NULL when there is none. */
static char *folded(const char *host)
{
    uint16_t units[FAT_LONG_MAX];
    size_t n = fat_long_name(host, units);
    struct strbuf text = STRBUF_INIT;
    if (n == 0) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        strbuf_printf(&text, "%x ", upper(units[i]));
    }
    return strbuf_take(&text);
}

/* ---- short names ---- */

/*
 * Copies what a short name may have, up to `room` characters and to `end` or a dot in front of it.
 * Returns whether nothing was left out.
 */
static bool copy_part(const char *from, const char *end, uint8_t *to, size_t room)
{
    size_t n = 0;
    bool all = true;
    while (from < end) {
        int32_t c = next_char(&from);
        if (c == '.') {
            return false;
        }
        char s = short_char(c);
        if (!s) {
            all = false;
        } else if (n == room) {
            return false;
        } else {
            to[n++] = (uint8_t)s;
        }
    }
    return all;
}

/* The short name before it has a number.  Returns whether it says all that the host's does. */
static bool basis_name(const char *host, uint8_t out[FAT_ENTRY_NAME_WIDTH])
{
    bool all = true;
    memset(out, ' ', FAT_ENTRY_NAME_WIDTH);
    for (const char *next = host; *host; host = next) {
        if (short_char(next_char(&next))) {
            break;
        }
        all = false;
    }
    const char *dot = strrchr(host, '.'), *end = host + strlen(host);
    all &= copy_part(host, dot ? dot : end, out, BASE);
    return (dot ? copy_part(dot + 1, end, out + BASE, EXT) : true) && all && out[0] != ' ';
}

/* Puts "~number" behind as much of the basis name as leaves room for it. */
static void put_number(uint8_t *name, const uint8_t *basis, unsigned number)
{
    char tail[BASE + 1];
    size_t len = (size_t)snprintf(tail, sizeof(tail), "~%u", number);
    size_t keep = 0;
    while (keep < BASE - len && basis[keep] != ' ') {
        keep++;
    }
    memcpy(name, basis, FAT_ENTRY_NAME_WIDTH);
    memset(name + keep, ' ', BASE - keep);
    memcpy(name + keep, tail, len);
}

/* As text, "BASE.EXT". */
static void short_text(const uint8_t *name, char out[FAT_ENTRY_NAME_WIDTH + 2])
{
    size_t base = BASE, ext = EXT;
    while (base && name[base - 1] == ' ') {
        base--;
    }
    while (ext && name[BASE + ext - 1] == ' ') {
        ext--;
    }
    snprintf(out, FAT_ENTRY_NAME_WIDTH + 2, "%.*s%s%.*s", (int)base, (const char *)name,
             ext ? "." : "", (int)ext, (const char *)name + BASE);
}

/* Takes the name, long or as text; false when another has it, or when it is no lawful one. */
static bool take_name(struct text_map *taken, const char *name)
{
    char *text = folded(name);
    bool free = text && map_take(taken, text);
    mem_free(text);
    return free;
}

static bool take_short(struct text_map *taken, const uint8_t *name)
{
    char text[FAT_ENTRY_NAME_WIDTH + 2];
    short_text(name, text);
    return take_name(taken, text);
}

/* The lowest number that makes it unique; `numbers` has the last one of names like this. */
static void number_name(struct text_map *taken, struct text_map *numbers, uint8_t *name)
{
    uint8_t basis[FAT_ENTRY_NAME_WIDTH];
    char like[FAT_ENTRY_NAME_WIDTH + 1];
    memcpy(basis, name, sizeof(basis));
    snprintf(like, sizeof(like), "%.6s%.3s", (const char *)basis, (const char *)basis + BASE);
    unsigned *number = map_number(numbers, like);
    do {
        put_number(name, basis, ++*number);
    } while (!take_short(taken, name));
}

/*
 * Names that are short names as they stand come first, then long names, then numbers: no short name
 * with a number is then somebody's long one (LFN-7).
 */
void fat_choose_names(struct fat_name *names, size_t count)
{
    struct text_map taken, numbers;
    bool *done = mem_array(count + 1, sizeof(*done));
    map_init(&taken, count * 2);
    map_init(&numbers, count);
    for (size_t i = 0; i < count; i++) {
        done[i] = basis_name(names[i].host, names[i].short_name) &&
                  take_short(&taken, names[i].short_name);
    }
    for (size_t i = 0; i < count; i++) {
        /* What is done has the same name, in its own letters. */
        names[i].has_long = done[i] || take_name(&taken, names[i].host);
    }
    for (size_t i = 0; i < count; i++) {
        if (!done[i]) {
            number_name(&taken, &numbers, names[i].short_name);
        }
    }
    mem_free(done);
    map_free(&taken);
    map_free(&numbers);
}
