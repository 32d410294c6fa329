/*
 * I/O vectors: building them, copying through them, comparing them.
 */
#include "ref/base/iov.h"

#include <assert.h>
#include <string.h>
#include "ref/base/mem.h"

void iov_single(struct iov *q, void *base, size_t len)
{
    *q = (struct iov){.n = 1, .size = len, .one = {base, len}};
    q->v = &q->one;
}

void iov_init(struct iov *q)
{
    *q = (struct iov){.v = NULL};
}

void iov_borrow(struct iov *q, struct iovec *v, int n)
{
    *q = (struct iov){.v = v, .n = n};
    for (int i = 0; i < n; i++) {
        q->size += v[i].iov_len;
    }
}

/* A borrowed vector becomes an own copy before it grows. */
static void reserve(struct iov *q)
{
    if (q->n < q->cap) {
        return;
    }
    int cap = MAX(4, 2 * q->n);
    struct iovec *own = mem_realloc(q->cap ? q->v : NULL, (size_t)cap * sizeof(*own));
    if (!q->cap && q->n) {
        memcpy(own, q->v, (size_t)q->n * sizeof(*own));
    }
    q->v = own;
    q->cap = cap;
}

void iov_add(struct iov *q, void *base, size_t len)
{
    reserve(q);
    q->v[q->n++] = (struct iovec){base, len};
    q->size += len;
}

/* One stretch of memory of a walk over [offset, offset + len). */
struct walk {
    const struct iov *q;
    int i;
    size_t skip, left;
};

static struct walk walk_start(const struct iov *q, size_t offset, size_t len)
{
    struct walk w = {q, 0, offset, 0};

    assert(offset <= q->size);
    w.left = MIN(len, q->size - offset);
    return w;
}

static bool walk_next(struct walk *w, char **base, size_t *len)
{
    while (w->left > 0) {
        assert(w->i < w->q->n);
        const struct iovec *v = &w->q->v[w->i++];
        if (w->skip >= v->iov_len) {
            w->skip -= v->iov_len;
            continue;
        }
        *base = (char *)v->iov_base + w->skip;
        *len = MIN(v->iov_len - w->skip, w->left);
        w->skip = 0;
        w->left -= *len;
        return true;
    }
    return false;
}

void iov_add_slice(struct iov *q, const struct iov *src, size_t offset, size_t len)
{
    struct walk w = walk_start(src, offset, len);
    char *base;
    size_t n;

    assert(q != src && w.left == len);
    while (walk_next(&w, &base, &n)) {
        iov_add(q, base, n);
    }
}

void iov_destroy(struct iov *q)
{
    if (q->cap) {
        mem_free(q->v);
    }
    iov_init(q);
}

void iov_reset(struct iov *q)
{
    if (!q->cap) {
        q->v = NULL;
    }
    q->n = 0;
    q->size = 0;
}

size_t iov_from_buf(const struct iov *q, size_t offset, const void *buf, size_t len)
{
    struct walk w = walk_start(q, offset, len);
    size_t done = 0, n;
    char *base;

    while (walk_next(&w, &base, &n)) {
        memcpy(base, (const char *)buf + done, n);
        done += n;
    }
    return done;
}

size_t iov_to_buf(const struct iov *q, size_t offset, void *buf, size_t len)
{
    struct walk w = walk_start(q, offset, len);
    size_t done = 0, n;
    char *base;

    while (walk_next(&w, &base, &n)) {
        memcpy((char *)buf + done, base, n);
        done += n;
    }
    return done;
}

void iov_fill(const struct iov *q, size_t offset, int byte, size_t len)
{
    struct walk w = walk_start(q, offset, len);
    char *base;
    size_t n;

    while (walk_next(&w, &base, &n)) {
        memset(base, byte, n);
    }
}

bool iov_is_zero(const struct iov *q, size_t offset, size_t len)
{
    struct walk w = walk_start(q, offset, len);
    char *base;
    size_t n;

    while (walk_next(&w, &base, &n)) {
        if (!buf_is_zero(base, n)) {
            return false;
        }
    }
    return true;
}

int64_t iov_compare(const struct iov *a, const struct iov *b)
{
    struct walk wa = walk_start(a, 0, a->size), wb = walk_start(b, 0, b->size);
    char *pa = NULL, *pb = NULL;
    size_t na = 0, nb = 0, done = 0;

    assert(a->size == b->size);
    while ((na || walk_next(&wa, &pa, &na)) && (nb || walk_next(&wb, &pb, &nb))) {
        size_t n = MIN(na, nb);
        if (memcmp(pa, pb, n) != 0) {
            size_t i = 0;
            while (pa[i] == pb[i]) {
                i++;
            }
            return (int64_t)(done + i);
        }
        pa += n;
        pb += n;
        na -= n;
        nb -= n;
        done += n;
    }
    return -1;
}

static uint64_t word_at(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, 8);
    return v;
}

bool buf_is_zero(const void *p, size_t len)
{
    const unsigned char *b = p;

    if (len < 8) {
        unsigned char any = 0;
        for (size_t i = 0; i < len; i++) {
            any |= b[i];
        }
        return any == 0;
    }
    /* Both ends first: data that is not zero mostly shows there. */
    if (word_at(b) | word_at(b + len - 8)) {
        return false;
    }
    size_t i = 0;
    for (; i + 64 <= len; i += 64) {
        uint64_t any = 0;
        for (size_t k = 0; k < 64; k += 8) {
            any |= word_at(b + i + k);
        }
        if (any) {
            return false;
        }
    }
    for (; i + 8 <= len; i += 8) {
        if (word_at(b + i)) {
            return false;
        }
    }
    return true; /* the last word was seen above */
}
