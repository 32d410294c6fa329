/*
 * Signals as events: blocked in the world's thread and read from a signalfd.
 *
 * Models: one handler a signal and world, called by the scheduler.  The signal stays blocked until
 * the handler is taken away or the world is freed, so a program must unblock it in children it
 * starts.  Two worlds of a process should not ask for one signal: either may get it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "ref/engine/eventq.h"
#include "ref/engine/hostio.h"

struct signals {
    int fd;
    sigset_t wanted;  /* in the signalfd */
    sigset_t blocked; /* by us */
    struct {
        void (*fn)(void *arg, int signo);
        void *arg;
    } handler[_NSIG];
};

static struct signals *signals_get(struct world *w)
{
    struct signals *s = w->signals;

    if (!s) {
        s = w->signals = mem_zalloc(sizeof(*s));
        s->fd = -1;
        sigemptyset(&s->wanted);
        sigemptyset(&s->blocked);
    }
    return s;
}

static int catch_signal(struct signals *s, int signo)
{
    sigset_t one, old;
    int fd;

    sigaddset(&s->wanted, signo);
    fd = signalfd(s->fd, &s->wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) {
        return -errno;
    }
    s->fd = fd;
    sigemptyset(&one);
    sigaddset(&one, signo);
    pthread_sigmask(SIG_BLOCK, &one, &old);
    if (!sigismember(&old, signo)) {
        sigaddset(&s->blocked, signo);
    }
    return 0;
}

int host_on_signal(struct world *w, int signo, void (*fn)(void *arg, int signo), void *arg)
{
    struct signals *s = signals_get(w);
    int ret = 0;

    if (signo <= 0 || signo >= _NSIG || signo == SIGKILL || signo == SIGSTOP) {
        return -EINVAL;
    }
    if (!replaying(w) && !sigismember(&s->wanted, signo)) {
        ret = catch_signal(s, signo);
    }
    if (ret == 0) {
        s->handler[signo].fn = fn;
        s->handler[signo].arg = arg;
    }
    return ret;
}

int signals_fd(const struct world *w)
{
    return w->signals ? w->signals->fd : -1;
}

void signals_deliver(struct world *w, int signo)
{
    struct signals *s = w->signals;

    if (s && signo > 0 && signo < _NSIG && s->handler[signo].fn) {
        s->handler[signo].fn(s->handler[signo].arg, signo);
    }
}

bool signals_take(struct world *w)
{
    struct signalfd_siginfo info;
    bool any = false;

    if (signals_fd(w) < 0) {
        return false;
    }
    while (read(w->signals->fd, &info, sizeof(info)) == sizeof(info)) {
        event_note(w, EVENT_SIGNAL, info.ssi_signo, 0);
        signals_deliver(w, (int)info.ssi_signo);
        any = true;
    }
    return any;
}

void signals_free(struct world *w)
{
    struct signalfd_siginfo info;
    struct signals *s = w->signals;

    if (!s) {
        return;
    }
    if (s->fd >= 0) {
        while (read(s->fd, &info, sizeof(info)) == sizeof(info)) {
            /* too late to matter, and must not kill the process when it is let in */
        }
        close(s->fd);
        pthread_sigmask(SIG_UNBLOCK, &s->blocked, NULL);
    }
    mem_free(s);
    w->signals = NULL;
}
