/*
 * Breakpoints (blkdebug's), sleep, and violent ends.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "ref/base/sizes.h"
#include "ref/base/strbuf.h"
#include "ref/block/breakpoint.h"
#include "ref/engine/clock.h"
#include "ref/tools/io/io.h"

/* Words behind the tag are filters: "EVENT,label=GLOB,nth=N,sector=S" is what drivers take. */
int io_cmd_break(struct io_session *s, int argc, char **argv)
{
    struct strbuf event = STRBUF_INIT;
    strbuf_puts(&event, argv[1]);
    for (int i = 3; i < argc; i++) {
        strbuf_printf(&event, ",%s", argv[i]);
    }
    int ret = node_break_set(blk_node(s->blk), event.s, argv[2]);
    strbuf_free(&event);
    if (ret < 0) {
        printf("Could not set breakpoint: %s\n", strerror(-ret));
    }
    return ret;
}

int io_cmd_remove_break(struct io_session *s, int argc, char **argv)
{
    int ret = node_break_remove(blk_node(s->blk), argv[1]);
    if (ret < 0) {
        printf("Could not remove breakpoint %s: %s\n", argv[1], strerror(-ret));
    }
    return ret;
}

int io_cmd_resume(struct io_session *s, int argc, char **argv)
{
    int ret = node_break_resume(blk_node(s->blk), argv[1]);
    if (ret < 0) {
        printf("Could not resume request: %s\n", strerror(-ret));
    }
    co_yield (s->w);
    return ret;
}

int io_cmd_wait_break(struct io_session *s, int argc, char **argv)
{
    s->polling = true;
    io_poll(s);
    int ret = node_break_wait(blk_node(s->blk), argv[1]);
    s->polling = false;
    return ret;
}

int io_cmd_sleep(struct io_session *s, int argc, char **argv)
{
    int64_t ms;
    if (parse_int64(argv[1], NULL, 0, &ms) < 0 || ms < 0 || ms > INT64_MAX / 1000000) {
        printf("%s is not a valid number\n", argv[1]);
        return -EINVAL;
    }
    s->polling = true;
    io_poll(s);
    co_sleep(s->w, CLOCK_HOST, ms * 1000000);
    s->polling = false;
    return 0;
}

int io_cmd_sigraise(struct io_session *s, int argc, char **argv)
{
    int64_t sig = io_parse_number(s, argv[1]);
    if (sig < 0) {
        return -EINVAL;
    }
    if (sig > NSIG) {
        printf("signal argument '%s' is too large to be a valid signal\n", argv[1]);
        return -EINVAL;
    }
    /* What was printed must not be lost with the process. */
    fflush(stdout);
    raise((int)sig);
    return 0;
}

int io_cmd_abort(struct io_session *s, int argc, char **argv)
{
    abort(); /* as in a crash, what stands in buffers is lost */
}
