/*
 * What stages share: finding subjects, handing results to the store, progress.
 *
 * Leaves out: which stages there are (stages.c), the command line (cli.c).
 */
#include "harness/campaign/campaign.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include "harness/campaign/divergence.h"
#include "harness/campaign/repro.h"
#include "harness/explore/timeline.h"
#include "harness/programs/image_kinds.h"
#include "ref/base/mem.h"

struct subject *campaign_subject(struct campaign *c, const char *name)
{
    for (unsigned i = 0; i < c->n_subjects; i++) {
        if (!strcmp(c->subjects[i]->name, name)) {
            return c->subjects[i];
        }
    }
    return NULL;
}

char *campaign_scratch(struct campaign *c, const char *name)
{
    char *path = str_fmt("%s/%s", c->dir, name);
    mkdir(path, 0777);
    return path;
}

void campaign_report(struct campaign *c, const char *stage, const struct subject *s,
                     const char *format, const char *name, int verdict, const char *detail,
                     const char *repro)
{
    const char *subject = s ? s->name : "-";
    struct result r = {.stage = stage,
                       .subject = subject,
                       .format = format,
                       .name = name,
                       .verdict = (enum verdict)verdict,
                       .detail = detail};
    char *id = NULL, *text = NULL;
    if (verdict == VERDICT_FAIL) {
        char *program = repro ? str_ndup(repro, timeline_start(repro)) : NULL;
        struct difference_facts facts = {stage,  subject, s ? s->version : NULL,
                                         format, detail,  program};
        const struct divergence *known = divergences_match(c->divergences, &facts);
        mem_free(program);
        r.verdict = known ? VERDICT_DIVERGENCE : VERDICT_FAIL;
        r.divergence = known ? known->id : NULL;
    }
    if (repro && (verdict == VERDICT_FAIL || verdict == VERDICT_SUBJECT_ERROR)) {
        text = repro_text(stage, subject, detail, repro, &id);
        repro_save(c, id, text);
        r.repro = text;
    }
    store_result(c->store, &r);
    if (c->failed && (r.verdict == VERDICT_FAIL || r.verdict == VERDICT_SUBJECT_ERROR)) {
        c->failed(c, stage, name, detail);
    }
    mem_free(text);
    mem_free(id);
}

const struct image_kind *campaign_kind(const struct campaign *c)
{
    return c->format ? image_kind_named(c->format) : NULL;
}

const char *campaign_special_format(const struct campaign *c)
{
    const struct image_kind *kind = campaign_kind(c);
    return kind ? kind->format : "qcow2";
}

/* "crypt" is qcow2, encrypted. */
bool campaign_wants_format(const struct campaign *c, const char *format, const char *text)
{
    bool crypt = c->format && !strcmp(c->format, "crypt");
    return !c->format || !strcmp(c->format, format) ||
           (crypt && !strcmp(format, "qcow2") && strstr(text, "encrypt.format="));
}

bool campaign_wants_image(const struct campaign *c, const char *line)
{
    char format[16] = "";
    sscanf(line, "image %15s", format);
    return campaign_wants_format(c, format, line) && (!c->image || strstr(line, c->image));
}

bool campaign_wants_special(const struct campaign *c, const struct program *p)
{
    return !c->image && campaign_wants_format(c, p->format, p->options);
}

double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void campaign_progress(struct campaign *c, const char *stage, uint64_t done, uint64_t total)
{
    double t = c->progress ? clock_seconds() : 0;
    if (!c->progress || (done && done < total && t - c->progress_last < 0.2)) {
        return;
    }
    if (!done) {
        c->progress_start = t;
    }
    c->progress_last = t;
    double seconds = t - c->progress_start, rate = seconds > 0 ? (double)done / seconds : 0;
    fprintf(stderr, "\r%-9s %llu of %llu, %.0f/s, %.0f s left   ", stage, (unsigned long long)done,
            (unsigned long long)total, rate, rate > 0 ? (double)(total - done) / rate : 0);
    if (done >= total) {
        fputc('\n', stderr);
    }
}
