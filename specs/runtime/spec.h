/*
 * A format's specification as tables, and the judge of single structures that runs on them.
 *
 * Models: fields with their place, range and clause; cross-field rules; clauses; the promise after
 * a power cut.  specs/gen.py fills them from a format's YAML; spec_<format>() returns them.  Used
 * by the spec checker, mutators and the crash oracle, never by a driver: driver and checker are two
 * readings of one source. Leaves out: what needs a whole image (specs/runtime/qcow2_check.h).
 */
#ifndef BLKREF_SPECS_SPEC_H
#define BLKREF_SPECS_SPEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spec_class { SPEC_IMAGE, SPEC_READER, SPEC_WRITER, SPEC_ADVISORY };

struct spec_clause {
    const char *id;      /* "HDR-12" */
    const char *section; /* of the source document */
    enum spec_class class;
    const char *text;      /* in our own words */
    const char *unchecked; /* why no check covers an image clause, or NULL */
};

struct spec_value {
    const char *name;
    uint64_t value;
};

/* params is the format's struct <format>_params; p has at least spec_structure.size bytes. */
typedef bool spec_predicate(const uint8_t *p, const void *params);
typedef unsigned spec_bit(const uint8_t *p, const void *params);

struct spec_field {
    const char *name;
    unsigned offset, width; /* bytes, of the integer that holds the field */
    bool big_endian;
    bool bytes;                      /* an array of bytes, not a number */
    bool reserved;                   /* zero */
    bool in_place;                   /* a bit field whose value is not shifted down */
    unsigned low_bit, high_bit;      /* inside that integer, both included */
    spec_bit *low, *high;            /* instead, where they depend on parameters; or NULL */
    uint64_t min, max;               /* both lawful */
    const struct spec_value *values; /* or the only lawful ones; ends with name NULL */
    spec_predicate *present;         /* NULL: always */
    const char *rule;                /* clause, or NULL */
};

/*
 * What is wrong.  A corruption breaks an image clause; a leak wastes space; a tolerated finding is
 * one that another feature of the image excuses (dirty bit); an advisory breaks a recommendation
 * only.
 */
enum spec_severity { SPEC_CORRUPTION, SPEC_LEAK, SPEC_TOLERATED, SPEC_ADVICE, SPEC_NR_SEVERITY };

struct spec_rule {
    const char *clause;
    const char *text;            /* the expression, for messages */
    enum spec_severity severity; /* of a violation */
    spec_predicate *holds;       /* true also where its condition does not apply */
};

struct spec_structure {
    const char *name, *doc;
    unsigned size;  /* bytes up to the end of the last field; 0 for packed arrays */
    unsigned align; /* the whole is padded to this */
    const struct spec_field *fields;
    size_t nr_fields;
    const struct spec_rule *rules;
    size_t nr_rules;
};

/* Lawful contents of a sector after a power cut; or-ed. */
enum spec_content {
    SPEC_OLD = 1,
    SPEC_NEW = 2,
    SPEC_ZERO = 4,
    SPEC_BACKING = 8,
    SPEC_STALE = 16, /* what the host cluster held (or holds) for somebody else */
    SPEC_UNREADABLE = 32,
};

struct spec_unflushed {
    const char *id;
    unsigned contents; /* enum spec_content */
    const char *text;
};

struct spec_atomic {
    const char *id, *object, *text;
};

struct spec_order {
    const char *id, *first, *then;
    const char *unless; /* feature that lifts the obligation, or NULL */
    const char *text;
};

enum spec_repair { SPEC_REPAIR_NONE, SPEC_REPAIR_LEAKS, SPEC_REPAIR_ALL, SPEC_REPAIR_OPEN };

struct spec_after_cut {
    const char *id;
    const char *when;           /* condition on the image, or NULL for always */
    const char *const *clauses; /* that may be violated; ends with NULL */
    enum spec_repair repair;
    const char *text;
};

/* Lost space that an operation leaves without any cut, and nothing can prevent. */
struct spec_leaves {
    const char *id, *after;     /* after: an operation's name (trace/op.h) */
    const char *const *clauses; /* that may be violated then; ends with NULL */
    const char *text;
};

/* What must come first where the last user could not close the image. */
struct spec_before_use {
    enum spec_repair
        repair;          /* NONE: nothing; OPEN: opening for writing does it; ALL: check -r all */
    const char *refused; /* clause: while it is violated opening for writing is refused; or NULL */
    const char *text;
};

struct spec_promise {
    unsigned atomic_unit;                   /* bytes that a power cut leaves old or new */
    unsigned flushed;                       /* enum spec_content */
    const struct spec_unflushed *unflushed; /* lists end with id NULL */
    const struct spec_atomic *atomic;
    const struct spec_order *ordering;
    const struct spec_after_cut *after_cut;
    const struct spec_leaves *leaves;
    const struct spec_before_use *before_use; /* never NULL */
};

struct spec_format {
    const char *name, *title;
    const struct spec_structure *structures; /* ends with name NULL */
    const struct spec_clause *clauses;       /* ends with id NULL */
    const struct spec_promise *promise;
};

/* NULL when there is none. */
const struct spec_structure *spec_structure_find(const struct spec_format *f, const char *name);
const struct spec_field *spec_field_find(const struct spec_structure *s, const char *name);
const struct spec_clause *spec_clause_find(const struct spec_format *f, const char *id);
const struct spec_unflushed *spec_unflushed_find(const struct spec_format *f, const char *id);

/* Where the field's bits are in its integer. */
void spec_field_bits(const struct spec_field *f, const uint8_t *p, const void *params,
                     unsigned *low, unsigned *high);
/* The field's value as the accessors give it; 0 for bytes. */
uint64_t spec_field_get(const struct spec_field *f, const uint8_t *p, const void *params);
/* Bits of v that do not fit are dropped; no-op for bytes. */
void spec_field_set(const struct spec_field *f, uint8_t *p, const void *params, uint64_t v);
/* Whether the present field is within its range. */
bool spec_field_valid(const struct spec_field *f, const uint8_t *p, const void *params);

struct spec_finding {
    const char *clause;
    enum spec_severity severity;
    uint64_t offset;          /* in the image file */
    uint64_t found, expected; /* what they are depends on the clause; message says it */
    char message[120];
};

enum { SPEC_MAX_FINDINGS = 64, SPEC_MAX_CLAUSES = 128 };

struct spec_tally {
    const char *clause;
    enum spec_severity worst;
    uint64_t count;
};

/* Set to zero, or by spec_report_init(), before use.  Holds the first findings in full and counts
 * all. */
struct spec_report {
    uint64_t count[SPEC_NR_SEVERITY];
    struct spec_finding findings[SPEC_MAX_FINDINGS];
    unsigned nr_findings;
    struct spec_tally tally[SPEC_MAX_CLAUSES];
    unsigned nr_tally;
};

/* Nothing found yet; what is not counted is left as it is (a report is large). */
void spec_report_init(struct spec_report *r);
void spec_report_add(struct spec_report *r, const char *clause, enum spec_severity severity,
                     uint64_t offset, uint64_t found, uint64_t expected, const char *fmt, ...)
    __attribute__((format(printf, 7, 8)));
/* How often the clause was found violated, whatever the severity. */
uint64_t spec_report_count(const struct spec_report *r, const char *clause);
/*
 * Whether every finding is one that the promise allows after a power cut.  holds(opaque, when)
 * tells whether a condition of an after_cut entry applies to the image.  Advisories are no
 * obstacle.  *clause is the first unlawful one, when not NULL.
 */
bool spec_report_allowed(const struct spec_report *r, const struct spec_promise *promise,
                         bool (*holds)(void *opaque, const char *when), void *opaque,
                         const char **clause);

/* Judge one structure, p having s->size bytes; findings get offset + the field's own. Returns their
 * number. */
unsigned spec_structure_check(const struct spec_structure *s, const uint8_t *p, const void *params,
                              uint64_t offset, struct spec_report *r);

/* The formats. */
const struct spec_format *spec_qcow2(void);
const struct spec_format *spec_luks(void);
const struct spec_format *spec_bochs(void);
const struct spec_format *spec_cloop(void);
const struct spec_format *spec_qcow(void);
const struct spec_format *spec_qed(void);
const struct spec_format *spec_vdi(void);
const struct spec_format *spec_dmg(void);
const struct spec_format *spec_vpc(void);
const struct spec_format *spec_parallels(void);
const struct spec_format *spec_vhdx(void);
const struct spec_format *spec_vmdk(void);
const struct spec_format *spec_fat(void);

#endif
