/*
 * Options: tables that declare them, and the comma syntax of command lines.
 *
 * One table per driver (name, type, default, help) serves command lines, `-o help`, checking and
 * reopen. Messages are QEMU's ("Parameter 'size' expects a non-negative number below 2^64", ...).
 */
#ifndef BLKREF_BASE_OPTIONS_H
#define BLKREF_BASE_OPTIONS_H

#include "ref/base/error.h"
#include "ref/base/value.h"

enum opt_type {
    OPT_STRING,
    OPT_BOOL,   /* on/off (also yes/no, true/false, y/n) */
    OPT_NUMBER, /* unsigned 64-bit, decimal, 0x or 0 octal */
    OPT_SIZE,   /* bytes, suffixes b k K M G T P E, fractions */
    OPT_INT,    /* signed 64-bit; also JSON integers */
    OPT_ENUM,   /* one of `values` */
    OPT_DICT,   /* anything nested under this name; only presence is known here */
};

struct opt_desc {
    const char *name; /* NULL ends the table */
    enum opt_type type;
    const char *def; /* default as text, or NULL for "not set" */
    const char *help;
    const char *const *values; /* OPT_ENUM: NULL-terminated */
    bool runtime;              /* may change on reopen of an open node */
};

/*
 * Parses "key=value,key,nokey,..."; ",," is a literal comma.  With implied_key the first element
 * without '=' is its value.  All values are strings; a lone key means "on", a lone noKEY means
 * KEY=off. Repeated keys: the last wins.  Returns a dict, or NULL with err.
 */
struct value *opts_parse(const char *text, const char *implied_key, struct error **err);
/*
 * As opts_parse(); also appends to the list `short_forms` one string for each "key" or "nokey"
 * without '=', the text of the warning that QEMU gives where these are deprecated (-drive,
 * --image-opts, ...).
 */
struct value *opts_parse_noting(const char *text, const char *implied_key,
                                struct value *short_forms, struct error **err);
/*
 * The stricter syntax of --blockdev, --export, --object, ...: "a.b=1,a.c.0=2" makes nested dicts
 * and lists; '=' is required and names are checked ("Expected '=' after parameter 'x'", "Invalid
 * parameter 'x'", "Parameters 'a.*' used inconsistently", "Parameter 'a.0' missing").  *help is set
 * by a lone "help" or "?"; with help == NULL that is an error.  In keyval.c.
 */
struct value *keyval_parse(const char *text, const char *implied_key, bool *help,
                           struct error **err);

/* True when text has "help" or "?" as a whole element. */
bool opts_has_help(const char *text);
/*
 * One comma-element of text, with ",," unescaped; moves *text behind it.  For parsers of special
 * keys.
 */
char *opts_next_value(const char **text);

/* Unknown keys: error "Invalid parameter 'X'".  Values are checked against their types. */
int opts_validate(const struct opt_desc *table, const struct value *d, struct error **err);
/* The same for the text of `-o`: the first offence in the order of the text is the one reported. */
int opts_validate_text(const struct opt_desc *table, const char *text, struct error **err);
/* Values of the table's names against their types, in the order of the table; other keys are not
 * looked at.  Drivers call it before they ask what the values mean. */
int opts_check_types(const struct opt_desc *table, const struct value *d, struct error **err);
/*
 * The entry of a name; an OPT_DICT entry "x" also answers for every "x.*".  NULL when there is
 * none.
 */
const struct opt_desc *opts_find(const struct opt_desc *table, const char *name);

/*
 * Typed access to a dict whose values are JSON-typed or strings; the default of the table applies
 * when the key is absent.  *out is untouched when absent without a default; returns 0 or -EINVAL.
 */
int opts_get_bool(const struct opt_desc *t, const struct value *d, const char *name, bool *out,
                  struct error **err);
int opts_get_size(const struct opt_desc *t, const struct value *d, const char *name, uint64_t *out,
                  struct error **err);
int opts_get_number(const struct opt_desc *t, const struct value *d, const char *name,
                    uint64_t *out, struct error **err);
int opts_get_int(const struct opt_desc *t, const struct value *d, const char *name, int64_t *out,
                 struct error **err);
/* Index into desc->values. */
int opts_get_enum(const struct opt_desc *t, const struct value *d, const char *name, int *out,
                  struct error **err);
/* Borrowed string, the default, or NULL. */
const char *opts_get_str(const struct opt_desc *t, const struct value *d, const char *name);

/*
 * The table's entries of d as drivers want to find them: numbers and booleans of JSON are text
 * where the option is text; what is no option value (null, a list, a dict) is gone.  OPT_DICT
 * stays.
 */
void opts_settle(const struct opt_desc *table, struct value *d);
/*
 * Moves the keys that the table knows out of d into a new dict, settled: what is left in d nobody
 * asked for.
 */
struct value *opts_take(const struct opt_desc *table, struct value *d);

/* "  name=<type>  - help" lines, aligned and sorted as QEMU prints them for `-o help`. */
struct strbuf;
void opts_print_help(struct strbuf *out, const struct opt_desc *table, const char *title);

#endif
