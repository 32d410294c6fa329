/*
 * Libraries of ours that are preloaded into programs under test (harness/preload/).
 *
 * They stand in lib/ beside our programs.  Where one is not there, all works without it, slower.
 */
#ifndef BLKREF_HARNESS_PRELOAD_H
#define BLKREF_HARNESS_PRELOAD_H

/* "DIR/lib/blkref-NAME.so" with DIR beside or above our own program; mem_free().  NULL: none. */
char *preload_library(const char *name);
/*
 * Our environment with the library preloaded (before what is preloaded already) and, unless NULL,
 * one more "VARIABLE=value"; preload_environment_free().  lib NULL: just ours.
 */
char **preload_environment(const char *lib, const char *more);
void preload_environment_free(char **env); /* NULL is fine */

#endif
