/*
 * What differs between QEMU releases: texts and behaviours as data, keyed by release.
 */
#ifndef BLKREF_TOOLS_RELEASE_H
#define BLKREF_TOOLS_RELEASE_H

#include <stdbool.h>

struct release {
    const char *version;       /* "7.2.0" */
    const char *machine_alias; /* alias of the default machine */
    const char *machine;       /* its versioned name */
    bool info_opens_data_file; /* later releases do not open what an untrusted image names */
    bool plain_data_files;     /* ... nor parse it: no protocols, no json: */
};

/* The release that texts follow: BLKREF_RELEASE in the environment, or 7.2.0.  NULL when unknown.
 */
const struct release *release_current(void);

#endif
