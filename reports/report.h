/*
 * The files of a campaign's report, written from its store.
 */
#ifndef BLKREF_REPORTS_REPORT_H
#define BLKREF_REPORTS_REPORT_H

#include "ref/base/error.h"
#include "reports/store.h"

/*
 * Writes DIR/results.json, DIR/junit.xml and DIR/index.html (made by reports/html.py, which reads
 * the store's file store_path).  Makes DIR.  0, or -errno with err; the JSON and XML are there even
 * when the HTML could not be made.
 */
int report_write(struct store *s, const char *store_path, const char *dir, struct error **err);

#endif
