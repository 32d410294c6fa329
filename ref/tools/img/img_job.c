/*
 * The one loop that runs a job in qemu-img: progress on the terminal until it has ended.
 *
 * SIGUSR1 reports how far it is when there is no -p; SIGINT and SIGTERM end the program as QEMU's,
 * and leave the images as a crash would.
 */
#include "ref/tools/img/img.h"

static void show_progress(struct job *j, void *opaque)
{
    img_progress(opaque, j->total ? 100.0f * (float)j->done / (float)j->total : 100);
}

int img_run_job(struct job *j, struct img_progress *p, struct error **err)
{
    j->watch = (struct job_watch){.progress = show_progress, .opaque = p};
    int ret = job_run(j, err);
    if (ret == 0) {
        img_progress(p, 100);
    }
    return ret;
}
