/*
 * What differs between QEMU releases: texts and behaviours as data, keyed by release.
 */
#ifndef BLKREF_TOOLS_RELEASE_H
#define BLKREF_TOOLS_RELEASE_H

struct release {
    const char *version;       /* "7.2.0" */
    const char *machine_alias; /* alias of the default machine */
    const char *machine;       /* its versioned name */
};

/* The release that texts follow: BLKREF_RELEASE in the environment, or 7.2.0.  NULL when unknown.
 */
const struct release *release_current(void);

#endif
