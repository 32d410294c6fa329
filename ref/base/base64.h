/*
 * Base64 (RFC 4648), as it stands in options and secret files.
 */
#ifndef BLKREF_BASE_BASE64_H
#define BLKREF_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>
#include "ref/base/error.h"

/*
 * The bytes of a text that has only the alphabet, '=' and line ends; *len is their number.  An
 * incomplete group of four at the end is dropped.  Ends with a NUL that is not counted.  NULL with
 * err, else by mem_free().
 */
uint8_t *base64_decode(const char *text, size_t text_len, size_t *len, struct error **err);

#endif
