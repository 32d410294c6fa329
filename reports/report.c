/*
 * Writing a campaign's report.
 *
 * The HTML comes from a Python program.  It is looked for beside the sources when the running
 * program stands in a build folder, below share/blkref when it is installed, and in the current
 * folder's reports/.
 */
#include "reports/report.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ref/base/mem.h"
#include "ref/base/strbuf.h"

#define PYTHON "/usr/bin/python3"

/* The path of html.py, or NULL; mem_free(). */
static char *find_script(void)
{
    static const char *const places[] = {"%s/../../reports/html.py", "%s/../../../reports/html.py",
                                         "%s/../share/blkref/html.py", "reports/html.py"};
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    exe[MAX(n, 0)] = '\0';
    const char *dir = dirname(exe);
    for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
        const char *tail = strchr(places[i], '/');
        char *path = places[i][0] == '%' ? str_fmt("%s%s", dir, tail) : str_dup(places[i]);
        if (!access(path, R_OK)) {
            return path;
        }
        mem_free(path);
    }
    return NULL;
}

static int write_file(struct store *s, const char *dir, const char *name,
                      void (*make)(struct store *s, struct strbuf *out), struct error **err)
{
    struct strbuf text = STRBUF_INIT;
    char *path = str_fmt("%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    make(s, &text);
    bool ok = f && fwrite(text.s, 1, text.len, f) == text.len;
    ok = (!f || !fclose(f)) && ok;
    int ret = ok ? 0 : error_set_errno(err, errno ? errno : EIO, "%s", path);
    strbuf_free(&text);
    mem_free(path);
    return ret;
}

static int run_python(const char *script, const char *store_path, const char *out,
                      struct error **err)
{
    const char *argv[] = {PYTHON, script, store_path, out, NULL};
    pid_t pid;
    int status = 0;
    int ret = posix_spawn(&pid, PYTHON, NULL, NULL, (char *const *)argv, environ);
    if (ret) {
        return error_set_errno(err, ret, PYTHON);
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return error_set_errno(err, errno, "waiting for %s", script);
        }
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        return error_set(err, EIO, "%s could not write %s", script, out);
    }
    return 0;
}

int report_write(struct store *s, const char *store_path, const char *dir, struct error **err)
{
    if (mkdir(dir, 0777) < 0 && errno != EEXIST) {
        return error_set_errno(err, errno, "%s", dir);
    }
    int ret = write_file(s, dir, "results.json", store_export_json, err);
    ret = ret < 0 ? ret : write_file(s, dir, "junit.xml", store_export_junit, err);
    if (ret < 0) {
        return ret;
    }
    if (store_commit(s) < 0) {
        return error_set(err, EIO, "%s: could not be written", store_path);
    }
    char *script = find_script(), *out = str_fmt("%s/index.html", dir);
    ret = script ? run_python(script, store_path, out, err)
                 : error_set(err, ENOENT, "reports/html.py is not there: no HTML was written");
    mem_free(script);
    mem_free(out);
    return ret;
}
