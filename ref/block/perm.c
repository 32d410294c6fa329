/*
 * Cumulative permissions.
 *
 * What a node may be used for is the union of what its parents' edges use, which must lie within
 * what every other edge shares.  The driver's child_perm translates the sum into what the node
 * needs of each child, and so on down, parents before children.  A node whose sums did not change
 * and which nobody marked dirty is skipped. Leaves out: edges themselves (graph.c), host locks (the
 * drivers' check_perm/set_perm).
 */
#include "ref/block/perm.h"

#include <assert.h>
#include <errno.h>
#include "ref/base/strbuf.h"
#include "ref/block/block_state.h"
#include "ref/block/open.h"

static const char *const names[] = {"consistent read", "write", "write unchanged", "resize"};

const char *perm_name(enum perm p)
{
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (p == 1u << i) {
            return names[i];
        }
    }
    return "unknown";
}

char *perm_names(unsigned perm)
{
    struct strbuf b = STRBUF_INIT;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (perm & (1u << i)) {
            strbuf_printf(&b, "%s%s", b.len ? ", " : "", names[i]);
        }
    }
    return strbuf_take(&b);
}

static int conflict(const struct child *a, const struct child *b, struct error **err)
{
    char *what = perm_names(a->perm & ~b->shared);
    char *user = a->class->describe(a), *other = b->class->describe(b);
    const char *name = a->node->node_name;
    error_set(err, EPERM,
              "Permission conflict on node '%s': permissions '%s' are both required by %s (uses "
              "node '%s' as '%s' "
              "child) and unshared by %s (uses node '%s' as '%s' child).",
              name, what, user, name, a->name, other, name, b->name);
    mem_free(what);
    mem_free(user);
    mem_free(other);
    return -EPERM;
}

/* Sums up the parents' edges; any two of them must agree. */
static int sum_parents(struct node *n, unsigned *perm, unsigned *shared, struct error **err)
{
    struct child *a, *b;
    unsigned p = 0, s = PERM_ALL;
    LIST_FOREACH (a, &n->parents, parents_link) {
        p |= a->perm;
        s &= a->shared;
    }
    *perm = p;
    *shared = s;
    if (!(p & ~s)) {
        return 0;
    }
    LIST_FOREACH (a, &n->parents, parents_link) {
        LIST_FOREACH (b, &n->parents, parents_link) {
            if (a != b && (a->perm & ~b->shared)) {
                return conflict(a, b, err);
            }
        }
    }
    return 0;
}

/* ---- steps ---- */

struct edge_step {
    struct child *c;
    unsigned perm, shared;
};

static void edge_abort(void *arg)
{
    struct edge_step *s = arg;
    s->c->perm = s->perm;
    s->c->shared = s->shared;
}

static const struct graph_action edge_action = {.abort = edge_abort};

void perm_set_edge(struct graph_tx *tx, struct child *c, unsigned perm, unsigned shared)
{
    assert(!(perm & ~PERM_ALL) && !(shared & ~PERM_ALL));
    if (tx) {
        struct edge_step s = {c, c->perm, c->shared};
        graph_tx_add(tx, &edge_action, &s, sizeof(s));
    }
    c->perm = perm;
    c->shared = shared;
    c->node->perm_dirty = true;
}

struct node_step {
    struct node *n;
    unsigned perm, shared; /* before */
    bool driver;           /* its check_perm agreed */
};

static void node_commit(void *arg)
{
    struct node_step *s = arg;
    if (s->driver && s->n->drv && s->n->drv->set_perm) {
        s->n->drv->set_perm(s->n, s->n->used_perm, s->n->shared_perm);
    }
}

static void node_abort(void *arg)
{
    struct node_step *s = arg;
    s->n->used_perm = s->perm;
    s->n->shared_perm = s->shared;
    s->n->perm_dirty = true; /* the edges below may have to change back */
    if (s->driver && s->n->drv && s->n->drv->abort_perm) {
        s->n->drv->abort_perm(s->n);
    }
}

static const struct graph_action node_action = {.commit = node_commit, .abort = node_abort};

/* ---- one node ---- */

static bool writable_after(const struct node *n)
{
    return n->reopening ? (n->reopening->flags & OPEN_RDWR) != 0 : !n->read_only;
}

static int check_writers(struct node *n, unsigned perm, struct error **err)
{
    if (!(perm & (PERM_WRITE | PERM_WRITE_UNCHANGED)) || writable_after(n)) {
        return 0;
    }
    if (!n->read_only) {
        return error_set(err, EPERM, "Read-only block node '%s' cannot support read-write users",
                         n->node_name);
    }
    return error_set(err, EPERM, "Block node is read-only");
}

static void child_needs(struct node *n, struct child *c, unsigned perm, unsigned shared,
                        unsigned *np, unsigned *ns)
{
    if (n->drv->child_perm) {
        n->drv->child_perm(n, c, c->role, n->reopening, perm, shared, np, ns);
    } else {
        child_perm_default(n, c, c->role, n->reopening, perm, shared, np, ns);
    }
}

/* A write to an unaligned tail would grow the image. */
static int check_alignment(const struct node *n, unsigned perm, struct error **err)
{
    uint32_t align = n->limits.request_alignment;
    if ((perm & (PERM_WRITE | PERM_WRITE_UNCHANGED)) && !(perm & PERM_RESIZE) && align &&
        n->length % align) {
        return error_set(
            err, EPERM,
            "Cannot get 'write' permission without 'resize': Image size is not a multiple of "
            "request alignment");
    }
    return 0;
}

static int refresh_node(struct graph_tx *tx, struct node *n, struct error **err)
{
    unsigned perm, shared;
    int r = sum_parents(n, &perm, &shared, err);
    if (r == 0) {
        r = check_writers(n, perm, err);
    }
    if (r == 0) {
        r = check_alignment(n, perm, err);
    }
    if (r < 0) {
        return r;
    }
    struct node_step before = {n, n->used_perm, n->shared_perm, false};
    struct node_step *s = graph_tx_add(tx, &node_action, &before, sizeof(before));
    n->used_perm = perm;
    n->shared_perm = shared;
    if (!n->drv) {
        return 0;
    }
    if (n->drv->check_perm) {
        r = n->drv->check_perm(n, perm, shared, err);
        if (r < 0) {
            return r;
        }
    }
    s->driver = true;
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        unsigned np = c->perm, ns = c->shared;
        child_needs(n, c, perm, shared, &np, &ns);
        if (np != c->perm || ns != c->shared) {
            perm_set_edge(tx, c, np, ns);
        }
    }
    return 0;
}

/* ---- order ---- */

struct walk {
    struct node **v;
    size_t n, cap;
    struct node *small[16];
    unsigned mark;
};

/* Children first; the caller goes through it backwards. */
static void visit(struct walk *k, struct node *n)
{
    if (n->perm_mark == k->mark) {
        return;
    }
    n->perm_mark = k->mark;
    struct child *c;
    LIST_FOREACH (c, &n->children, children_link) {
        visit(k, c->node);
    }
    if (k->n == k->cap) {
        struct node **v = mem_alloc(2 * k->cap * sizeof(*v));
        memcpy(v, k->v, k->n * sizeof(*v));
        if (k->v != k->small) {
            mem_free(k->v);
        }
        k->v = v;
        k->cap *= 2;
    }
    k->v[k->n++] = n;
}

int perm_refresh(struct graph_tx *tx, struct node *const *nodes, size_t count, struct error **err)
{
    if (count == 0) {
        return 0;
    }
    struct walk k = {.cap = ARRAY_SIZE(k.small), .mark = ++block_state(nodes[0]->w)->perm_walks};
    int r = 0;
    k.v = k.small;
    for (size_t i = 0; i < count; i++) {
        nodes[i]->perm_dirty = true;
        visit(&k, nodes[i]);
    }
    for (size_t i = k.n; i-- > 0 && r == 0;) {
        struct node *n = k.v[i];
        if (n->perm_dirty) {
            n->perm_dirty = false;
            r = refresh_node(tx, n, err);
        }
    }
    if (k.v != k.small) {
        mem_free(k.v);
    }
    return r;
}

int perm_refresh_now(struct node *n, struct error **err)
{
    struct graph_tx *tx = graph_tx_new(n->w);
    int r = perm_refresh(tx, &n, 1, err);
    if (r < 0) {
        graph_tx_abort(tx);
    } else {
        graph_tx_commit(tx);
    }
    return r;
}

int child_set_perm(struct child *c, unsigned perm, unsigned shared, struct error **err)
{
    struct graph_tx *tx = graph_tx_new(c->node->w);
    perm_set_edge(tx, c, perm, shared);
    int r = perm_refresh(tx, &c->node, 1, err);
    if (r < 0) {
        graph_tx_abort(tx);
    } else {
        graph_tx_commit(tx);
    }
    return r;
}

int node_refresh_perms(struct node *n, struct error **err)
{
    return perm_refresh_now(n, err);
}

void node_cumulative_perms(const struct node *n, unsigned *perm, unsigned *shared)
{
    const struct child *c;
    *perm = 0;
    *shared = PERM_ALL;
    LIST_FOREACH (c, &n->parents, parents_link) {
        *perm |= c->perm;
        *shared &= c->shared;
    }
}

/* ---- the default rules ---- */

static void filter_perm(unsigned perm, unsigned shared, unsigned *np, unsigned *ns)
{
    *np = perm;
    *ns = shared;
}

/* Backing: read as far as the parent is read; who tolerates changing data tolerates a changing
 * backing file. */
static void cow_perm(unsigned perm, unsigned shared, unsigned *np, unsigned *ns)
{
    *np = perm & PERM_CONSISTENT_READ;
    *ns = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
    if (shared & PERM_WRITE) {
        *ns |= PERM_WRITE | PERM_RESIZE;
    }
}

static void storage_perm(struct node *n, unsigned role, unsigned flags, unsigned perm,
                         unsigned shared, unsigned *np, unsigned *ns)
{
    if (role & ROLE_METADATA) {
        /* A writable format writes its metadata whenever it likes, and nobody else may. */
        if ((flags & OPEN_RDWR) && !(flags & OPEN_INACTIVE)) {
            perm |= PERM_WRITE | PERM_RESIZE;
        }
        if (!(flags & OPEN_NO_IO)) {
            perm |= PERM_CONSISTENT_READ;
        }
        shared &= ~(PERM_WRITE | PERM_RESIZE);
    }
    if (role & ROLE_DATA) {
        shared &= ~PERM_RESIZE;
        if (perm & PERM_WRITE_UNCHANGED) {
            perm |= PERM_WRITE; /* the format may have to allocate for it */
        }
        if (perm & PERM_WRITE) {
            perm |= PERM_RESIZE;
        }
    }
    *np = perm;
    *ns = shared;
    (void)n;
}

void child_perm_default(struct node *n, struct child *c, unsigned role, struct reopen *r,
                        unsigned perm, unsigned shared, unsigned *nperm, unsigned *nshared)
{
    unsigned flags = r ? r->flags : n->open_flags;
    (void)c;
    if (!r && n->read_only) {
        flags &= ~(unsigned)OPEN_RDWR;
    }
    if (role & ROLE_FILTERED) {
        filter_perm(perm, shared, nperm, nshared);
    } else if (role & ROLE_COW) {
        cow_perm(perm, shared, nperm, nshared);
    } else {
        assert(role & (ROLE_DATA | ROLE_METADATA));
        storage_perm(n, role, flags, perm, shared, nperm, nshared);
    }
    if (flags & OPEN_INACTIVE) {
        *nshared |= PERM_WRITE | PERM_RESIZE;
    }
    if (flags & OPEN_FORCE_SHARE) {
        *nshared = PERM_ALL;
    }
}
