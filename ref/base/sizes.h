/*
 * Numbers in text: sizes with suffixes, integers, and human-readable sizes as QEMU prints them.
 */
#ifndef BLKREF_BASE_SIZES_H
#define BLKREF_BASE_SIZES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * "10", "64k", "1.5G", "0x200"; suffix b k K m M g G t T p P e E (base 1024), else default_suffix
 * ('B' for bytes).  Returns 0, -EINVAL, or -ERANGE when it does not fit; *end (if not NULL) points
 * behind the number, and without end trailing text is -EINVAL.
 */
int parse_size(const char *s, const char **end, char default_suffix, uint64_t *out);
/*
 * True for a hexadecimal number with a suffix: accepted, and QEMU 7.2 warns that it is deprecated.
 */
bool size_has_hex_suffix(const char *s);
/*
 * As strtoull() and strtoll(): blanks, a sign (a negative number wraps), and errors as
 * parse_size().
 */
int parse_uint64(const char *s, const char **end, int base, uint64_t *out);
int parse_int64(const char *s, const char **end, int base, int64_t *out);
/* on/off/yes/no/true/false/y/n; false when it is none of these. */
bool parse_bool(const char *s, bool *out);

/*
 * "1 GiB", "1.5 MiB", "0 B": %.3g and a binary unit, as in `qemu-img info`.  Static length, own the
 * buffer.
 */
void format_size(char buf[32], uint64_t bytes);

#endif
