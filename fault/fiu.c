/*
 * libfiu as a source of verdicts: found with dlsym, never linked.
 */
#include "fault/fiu.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdint.h>
#include "ref/base/mem.h"

static bool no_memory(size_t size, void *fiu)
{
    const struct fault_fiu *f = fiu;
    return f->fail("blkref/mem");
}

bool fault_fiu_install(struct fault_fiu *f, bool load)
{
    int (*init)(unsigned int flags);
    int (*fail)(const char *name);
    void *from = RTLD_DEFAULT;

    assert(!f->fail && !f->handle);
    fail = dlsym(from, "fiu_fail");
    if (!fail && load) {
        /* It may keep threads and tables of its own: once loaded it stays. */
        f->handle = dlopen("libfiu.so.0", RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
        from = f->handle;
        fail = from ? dlsym(from, "fiu_fail") : NULL;
    }
    if (!fail) {
        fault_fiu_uninstall(f);
        return false;
    }
    init = dlsym(from, "fiu_init");
    f->failinfo = dlsym(from, "fiu_failinfo");
    if (!init || !f->failinfo || init(0) < 0) {
        fault_fiu_uninstall(f);
        return false;
    }
    for (int i = 0; i < LABEL_COUNT; i++) {
        f->names[i] = str_fmt("blkref/io/%s", label_name(i));
    }
    f->fail = fail;
    mem_set_fail_hook(no_memory, f);
    return true;
}

void fault_fiu_uninstall(struct fault_fiu *f)
{
    if (f->fail) {
        mem_set_fail_hook(NULL, NULL);
    }
    for (int i = 0; i < LABEL_COUNT; i++) {
        mem_free(f->names[i]);
    }
    if (f->handle) {
        dlclose(f->handle);
    }
    *f = (struct fault_fiu){.fail = NULL};
}

int fault_fiu_ask(struct fault_fiu *f, enum label label)
{
    assert((unsigned)label < LABEL_COUNT);
    if (!f->fail(f->names[label])) {
        return 0;
    }
    intptr_t info = (intptr_t)f->failinfo();
    return info > 0 && info < 4096 ? (int)info : EIO;
}
