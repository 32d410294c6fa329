/*
 * Reading a store that another program, or an earlier campaign, has written.
 *
 * Leaves out: mending one whose writer was killed half way through a commit; it cannot be read.
 */
#include <errno.h>
#include "ref/base/mem.h"
#include "reports/store_int.h"

/* Through queries that need no run: store_query() binds ?1 where there is one. */
static sqlite3_int64 single(struct store *s, const char *sql)
{
    sqlite3_int64 n = 0;
    for (sqlite3_stmt *q = store_query(s, sql); store_next(s, q);) {
        n = sqlite3_column_int64(q, 0);
    }
    return n;
}

static int find_run(struct store *s, sqlite3_int64 run, struct error **err)
{
    sqlite3_int64 version = single(s, "PRAGMA user_version");
    if (!s->broken && version != STORE_VERSION) {
        return version ? error_set(err, EINVAL, "version %lld is not known", (long long)version)
                       : error_set(err, EINVAL, "holds no results");
    }
    s->run = run;
    s->run = s->broken ? 0
             : run     ? single(s, "SELECT id FROM run WHERE id = ?1")
                       : single(s, "SELECT max(id) FROM run");
    if (s->broken) {
        return error_set(err, EIO, "%s", s->broken);
    }
    return s->run ? 0 : error_set(err, EINVAL, "holds no results");
}

struct store *store_open_read(const char *path, int64_t run, struct error **err)
{
    struct store *s = mem_zalloc(sizeof(*s));
    int ret = 0;
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK) {
        ret = error_set(err, EIO, "%s", sqlite3_errmsg(s->db));
    } else {
        ret = find_run(s, run, err);
    }
    if (ret < 0) {
        error_prepend(err, "%s: ", path);
        store_close(s);
        return NULL;
    }
    return s;
}

char *store_read_fact(struct store *s, const char *key)
{
    char *value = NULL;
    sqlite3_stmt *q = store_query(s, "SELECT value FROM fact WHERE run = ?1 AND key = ?2");
    if (q) {
        sqlite3_bind_text(q, 2, key, -1, SQLITE_STATIC);
    }
    while (store_next(s, q)) {
        mem_free(value);
        value = str_dup(store_text(q, 0));
    }
    return value;
}
