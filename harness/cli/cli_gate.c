/*
 * `blkref gate`: a campaign, or a store of one, held against an earlier one; exit status 1 on new
 * failures only.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "harness/cli/cli.h"
#include "harness/cli/cli_campaign.h"
#include "ref/base/mem.h"
#include "reports/gate.h"

/* A fact of the baseline that a campaign is about to have, too: better refused before it runs. */
static int expect(const char *baseline, const char *key, uint64_t n, struct error **err)
{
    char *value = NULL, *ours = str_fmt("%llu", (unsigned long long)n);
    int ret = gate_run_of(baseline, key, &value, err) < 0 ? -1 : 0;
    if (ret == 0 && (!value || strcmp(value, ours))) {
        ret = error_set(err, EINVAL,
                        "the baseline's %s is %s, not %s: give --%s %s, or --allow-different", key,
                        value ? value : "not set", ours, key, value ? value : "N");
    }
    mem_free(value);
    mem_free(ours);
    return ret;
}

/* Runs the campaign; its store's path in *store (mem_free()).  0, or < 0 with err. */
static int run(struct campaign_request *r, char **store, struct error **err)
{
    int ret = 0;
    if (!r->allow_different) {
        ret = expect(r->baseline, "seed", r->seed, err);
        ret = ret ? ret : expect(r->baseline, "count", r->count, err);
    }
    if (ret < 0) {
        return ret;
    }
    char *report = r->report ? str_dup(r->report) : str_fmt("%s/gate", r->build);
    r->quiet = r->json;
    r->json = false;
    r->report = report;
    int status = campaign_run(r);
    r->json = r->quiet;
    *store = str_fmt("%s/results.sqlite", report);
    r->report = NULL;
    mem_free(report);
    return status > 1 ? error_set(err, EIO, "the campaign could not run to its end") : 0;
}

static int compare(const struct campaign_request *r, const struct gate_options *o,
                   struct error **err)
{
    struct gate g;
    struct strbuf text = STRBUF_INIT;
    int ret = gate_compare(o, &g, err);
    if (ret == 0) {
        if (r->json) {
            gate_json(&g, &text);
        } else {
            gate_text(&g, &text);
        }
        fputs(text.s, stdout);
        ret = g.count[GATE_NEW] > 0;
    }
    strbuf_free(&text);
    gate_free(&g);
    return ret;
}

static const char *refusal(const struct campaign_request *r, int surplus)
{
    return !r->baseline              ? "needs --baseline STORE"
           : r->first                ? "--first ends before everything is judged"
           : r->current && r->report ? "--report is of a campaign: not with --current"
           : r->current &&
                   (r->n_only || r->n_named || r->in_process || r->planted || r->format || r->image)
               ? "--current compares two stores and runs nothing: no options of a campaign"
           : surplus ? "surplus argument"
                     : NULL;
}

int gate_main(int argc, char **argv)
{
    struct campaign_request r = {.gate = true};
    struct error *err = NULL;
    char *store = NULL;
    int ended = campaign_parse(&r, argc, argv), ret = 0;
    if (ended) {
        return ended - 1;
    }
    const char *wrong = refusal(&r, argc - optind);
    if (wrong) {
        fprintf(stderr, "blkref gate: %s\n", wrong);
        return 2;
    }
    struct gate_options o = {.baseline = r.baseline, .allow_different = r.allow_different};
    /* Before the campaign adds a run to what may be the same file. */
    o.baseline_run = gate_run_of(r.baseline, NULL, NULL, &err);
    ret = o.baseline_run < 0 ? -1 : r.current ? 0 : run(&r, &store, &err);
    o.current = r.current ? r.current : store;
    ret = ret < 0 ? ret : compare(&r, &o, &err);
    if (ret < 0) {
        fprintf(stderr, "blkref gate: %s\n", err ? err->msg : "failed");
    }
    error_clear(&err);
    mem_free(store);
    return ret < 0 ? 2 : ret;
}
