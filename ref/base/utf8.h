/*
 * UTF-8 as QEMU reads and writes it in JSON: strict, except that U+0000 is the two bytes C0 80.
 */
#ifndef BLKREF_BASE_UTF8_H
#define BLKREF_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "ref/base/strbuf.h"

/* Bytes that belong to the sequence at s (s < end), by its first byte and what continues it. */
size_t utf8_len(const char *s, const char *end);
/* A Unicode scalar value that is no noncharacter. */
bool utf8_is_character(uint32_t c);
/* The character that n bytes at s make, or -1. */
int32_t utf8_decode(const char *s, size_t n);
void utf8_encode(struct strbuf *out, uint32_t c);

#endif
