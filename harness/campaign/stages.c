/*
 * The stages of a campaign, in their order.
 */
#include "harness/campaign/campaign.h"

#include <string.h>
#include "harness/campaign/explore_stages.h"
#include "harness/campaign/stage_programs.h"

const struct stage campaign_stages[] = {
    {"read", "images made by QEMU, read by the reference", stage_read, read_repro},
    {"write", "images made by the reference, read and checked by QEMU", stage_write, write_repro},
    {"programs", "seeded programs on all subjects, compared after every operation", stage_programs,
     programs_repro},
    {"sequences", "all programs of up to two operations, once each", stage_sequences,
     repro_sequences},
    {"faults", "the k-th I/O of each label fails, k rising", stage_faults, repro_faults},
    {"crash", "every state a power cut may leave", stage_crash, repro_crash},
    {"schedules", "operations beside each other in every order within a bound", stage_schedules,
     repro_schedules},
    {"qemu-crash", "every state a power cut may leave of an unmodified QEMU's images",
     stage_qemu_crash, repro_qemu_crash},
    {"trace", "fio iologs replayed on each subject", stage_trace, programs_repro},
    {"probing", "headers that a guest writes to a raw disk whose format was guessed", stage_probing,
     repro_probing},
    {"hostile", "seeded damage to images of every format", stage_hostile, repro_fuzz},
    {"fuzz", "AFL++ on images of every format, a minute in all", stage_fuzz, repro_fuzz},
    {NULL, NULL, NULL, NULL},
};

const struct stage *stage_find(const char *name)
{
    for (const struct stage *s = campaign_stages; s->name; s++) {
        if (!strcmp(s->name, name)) {
            return s;
        }
    }
    return NULL;
}
