/*
 * The campaign's command line, for the commands that run one.
 */
#ifndef BLKREF_HARNESS_CLI_CAMPAIGN_H
#define BLKREF_HARNESS_CLI_CAMPAIGN_H

#include <stdbool.h>
#include <stdint.h>
#include "harness/subject/subject.h"

#define MAX_NAMED 8

struct campaign_request {
    uint64_t seed, count, fuzz_seconds;
    const char *build, *report, *divergences;
    const char *format;                             /* --format, NULL: all */
    const char *image;                              /* --image, NULL: all */
    const char *named[MAX_NAMED], *only[MAX_NAMED]; /* --subject NAME=DIR, --only STAGE */
    unsigned n_named, n_only;
    enum planted planted;
    bool json, in_process, first;
    bool quiet; /* no scoreboard */
    /* `blkref gate` takes these, too. */
    bool gate, allow_different;
    const char *baseline, *current;
};

/* 0 to go on, else 1 + exit status.  r->gate must be set before, all else is. */
int campaign_parse(struct campaign_request *r, int argc, char **argv);
/* Runs the stages, prints, writes the report: the exit status of `blkref campaign`. */
int campaign_run(const struct campaign_request *r);

#endif
