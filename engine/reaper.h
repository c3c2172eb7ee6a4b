/*
 * engine/reaper.h: frees versions on a thread of its own.
 *
 * The last reference to a version may be given up by a query, by the log thread or under a lock;
 * with it go lists, memtables (memory by the tens of MiB) and files of packs that were replaced.
 * None of these is to wait for that, so the version is handed over here.
 *
 * Ownership  a version that was put is the reaper's. Whoever made the reaper frees it when nobody
 *            puts any more.
 * Threads    put: any. The rest: one.
 * Errors     none: where there is no thread (before the start, after the stop) put frees at once.
 */
#ifndef TALLY_ENGINE_REAPER_H
#define TALLY_ENGINE_REAPER_H

#include "base/status.h"

struct tl_reaper;
struct tl_version;

TL_CHECK enum tl_code tl_reaper_new(struct tl_reaper **out, struct tl_status *st);
TL_CHECK enum tl_code tl_reaper_start(struct tl_reaper *r, struct tl_status *st);
/* `free_fn` may not put. */
void tl_reaper_put(struct tl_reaper *r, struct tl_version *v,
                   void (*free_fn)(struct tl_version *v));
/* Frees what is left and ends the thread. Takes NULL, as free does. */
void tl_reaper_stop(struct tl_reaper *r);
void tl_reaper_free(struct tl_reaper *r);

#endif
