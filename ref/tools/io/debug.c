/*
 * Breakpoints (blkdebug's), sleep, and violent ends.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "ref/base/sizes.h"
#include "ref/block/breakpoint.h"
#include "ref/engine/clock.h"
#include "ref/tools/io/io.h"

int io_cmd_break(struct io_session *s, int argc, char **argv)
{
    int ret = node_break_set(blk_node(s->blk), argv[1], argv[2]);
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
    return node_break_wait(blk_node(s->blk), argv[1]);
}

int io_cmd_sleep(struct io_session *s, int argc, char **argv)
{
    int64_t ms;
    if (parse_int64(argv[1], NULL, 0, &ms) < 0 || ms < 0 || ms > INT64_MAX / 1000000) {
        printf("%s is not a valid number\n", argv[1]);
        return -EINVAL;
    }
    co_sleep(s->w, CLOCK_HOST, ms * 1000000);
    return 0;
}

int io_cmd_sigraise(struct io_session *s, int argc, char **argv)
{
    int64_t sig = io_parse_number(argv[1]);
    if (sig < 0) {
        return -EINVAL;
    }
    if (sig > NSIG) {
        printf("signal argument '%s' is too large to be a valid signal number\n", argv[1]);
        return -EINVAL;
    }
    /* What was printed must not be lost with the process. */
    fflush(stdout);
    raise((int)sig);
    return 0;
}

int io_cmd_abort(struct io_session *s, int argc, char **argv)
{
    fflush(stdout);
    abort();
}
