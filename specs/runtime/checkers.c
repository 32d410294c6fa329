/*
 * The list of whole-image checkers, and what is special about each one's conditions of the promise.
 */
#include "specs/runtime/checkers.h"

#include <string.h>
#include "specs/luks_layout.h"
#include "specs/runtime/format_checks.h"
#include "specs/runtime/luks_check.h"
#include "specs/runtime/qcow2_check.h"
#include "specs/runtime/vmdk_check.h"

/* No condition of the promise depends on the image. */
static bool holds_never(void *opaque, const char *when)
{
    return false;
}

static void judge(const struct spec_format *f, const struct spec_report *r,
                  bool (*holds)(void *, const char *), void *opaque, const char **clause)
{
    *clause = NULL;
    spec_report_allowed(r, f->promise, holds, opaque, clause);
}

static bool begins(const uint8_t *head, size_t len, const char *magic, size_t n)
{
    return len >= n && !memcmp(head, magic, n);
}

static bool probe_qcow2(const uint8_t *head, size_t len)
{
    return begins(head, len, "QFI\xfb", 4) && len >= 8 && head[7] >= 2;
}

static int check_qcow2(const struct spec_image *image, const struct spec_limits *limits,
                       struct spec_report *r, const char **clause)
{
    struct spec_qcow2_info info = {0};
    int ret = spec_qcow2_check(image, limits, &info, r);
    judge(spec_qcow2(), r, spec_qcow2_holds, &info, clause);
    return ret;
}

static bool probe_vmdk(const uint8_t *head, size_t len)
{
    return begins(head, len, "KDMV", 4) || begins(head, len, "COWD", 4);
}

static int check_vmdk(const struct spec_image *image, const struct spec_limits *limits,
                      struct spec_report *r, const char **clause)
{
    int ret = spec_vmdk_check(image, limits, NULL, r);
    judge(spec_vmdk(), r, holds_never, NULL, clause);
    return ret;
}

static bool probe_luks(const uint8_t *head, size_t len)
{
    return begins(head, len, "LUKS\xba\xbe", 6);
}

/* As a file of its own with its payload behind the header. */
static int check_luks(const struct spec_image *image, const struct spec_limits *limits,
                      struct spec_report *r, const char **clause)
{
    uint8_t header[LUKS_HEADER_SIZE] = {0};
    size_t n = image->size < sizeof(header) ? (size_t)image->size : sizeof(header);
    int ret = image->read(image->opaque, 0, header, n);
    if (ret == 0) {
        spec_luks_check(header, image->size, false, r);
    }
    judge(spec_luks(), r, holds_never, NULL, clause);
    return ret;
}

/* ---- formats of format_checks.h ---- */

static bool holds_condition(void *opaque, const char *when)
{
    const struct spec_state *state = opaque;
    return state->condition && !strcmp(state->condition, when);
}

static int check_format(const struct spec_format *f, spec_format_check *walk,
                        const struct spec_image *image, const struct spec_limits *limits,
                        struct spec_report *r, const char **clause)
{
    struct spec_state state = {0};
    int ret = walk(image, limits, &state, r);
    judge(f, r, holds_condition, &state, clause);
    return ret;
}

#define FORMAT(name, probes)                                                                       \
    static bool probe_##name(const uint8_t *head, size_t len)                                      \
    {                                                                                              \
        return probes;                                                                             \
    }                                                                                              \
    static int check_##name(const struct spec_image *image, const struct spec_limits *limits,      \
                            struct spec_report *r, const char **clause)                            \
    {                                                                                              \
        return check_format(spec_##name(), spec_##name##_check, image, limits, r, clause);         \
    }

FORMAT(qed, begins(head, len, "QED", 4))
FORMAT(qcow, begins(head, len, "QFI\xfb\0\0\0\1", 8))
FORMAT(vdi, len >= 68 && !memcmp(head + 64, "\x7f\x10\xda\xbe", 4))
FORMAT(vpc, begins(head, len, "conectix", 8)) /* of fixed images the format must be named */
FORMAT(vhdx, begins(head, len, "vhdxfile", 8))
FORMAT(parallels,
       begins(head, len, "WithoutFreeSpace", 16) || begins(head, len, "WithouFreSpacExt", 16))
FORMAT(bochs, begins(head, len, "Bochs Virtual HD Image", 23))
FORMAT(cloop, begins(head, len, "#!/bin/sh\n#V2.0 Format\n", 23))
FORMAT(dmg, false) /* its magic is at the end: the format must be named */

static const struct spec_checker checkers[] = {
    {"qcow2", spec_qcow2, probe_qcow2, check_qcow2},
    {"vmdk", spec_vmdk, probe_vmdk, check_vmdk},
    {"luks", spec_luks, probe_luks, check_luks},
    {"qed", spec_qed, probe_qed, check_qed},
    {"qcow", spec_qcow, probe_qcow, check_qcow},
    {"vdi", spec_vdi, probe_vdi, check_vdi},
    {"vpc", spec_vpc, probe_vpc, check_vpc},
    {"vhdx", spec_vhdx, probe_vhdx, check_vhdx},
    {"parallels", spec_parallels, probe_parallels, check_parallels},
    {"bochs", spec_bochs, probe_bochs, check_bochs},
    {"cloop", spec_cloop, probe_cloop, check_cloop},
    {"dmg", spec_dmg, probe_dmg, check_dmg},
};

const struct spec_checker *spec_checker_find(const char *format)
{
    for (size_t i = 0; i < sizeof(checkers) / sizeof(checkers[0]); i++) {
        if (!strcmp(checkers[i].format, format)) {
            return &checkers[i];
        }
    }
    return NULL;
}

const struct spec_checker *spec_checker_probe(const uint8_t *head, size_t len)
{
    for (size_t i = 0; i < sizeof(checkers) / sizeof(checkers[0]); i++) {
        if (checkers[i].probe(head, len)) {
            return &checkers[i];
        }
    }
    return NULL;
}
