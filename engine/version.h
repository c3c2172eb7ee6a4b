/*
 * engine/version.h: what one query sees: an immutable version of the database.
 *
 * A version names, per table, the segments of each shard and the memtables that hold the newer
 * rows. A change (a flush, a merge, a new memtable) clones the current version, edits the
 * clone, and publishes it; versions share the lists that did not change. A snapshot is one
 * reference to a version and one log position.
 *
 * Taking a reference is one atomic addition, without a lock: the pointer to the current version
 * and the number of references taken from it share one word (split reference counting). Files of
 * segments that no version names any more are removed with the last reference to them, by the
 * reaper's thread (engine/reaper.h).
 *
 * Invariants
 *  (1) a published version and all that it points to never change, but for what memtables append;
 *  (2) a row is in exactly one place of a version: one memtable, or one segment;
 *  (3) rows of segments lie at or before `base_position`, rows of memtables after it.
 *
 * Ownership  references: versions hold lists, lists hold segments, segments hold packs.
 * Threads    tl_current_acquire, tl_version_unref: any. Clone, edit, publish: one thread at a time
 *            (under the database's version lock).
 */
#ifndef TALLY_ENGINE_VERSION_H
#define TALLY_ENGINE_VERSION_H

#include <stdatomic.h>

#include "engine/memtable.h"
#include "engine/schema.h"
#include "storage/pack.h"
#include "storage/segment.h"

struct tl_io;
struct tl_reaper;

/* A pack file in use. */
struct tl_live_pack {
    _Atomic uint32_t refs;
    _Atomic bool obsolete; /* no manifest names it: remove the file with the last reference */
    _Atomic uint32_t live; /* of its segments, named by the manifest; changed under the version
                              lock, or before it is known; looked at without it */
    struct tl_pack_id id;
    uint64_t size;
    uint8_t hash[16];
    struct tl_pack *pack;
    struct tl_io *io;
};

/* What a rollup keeps of a segment. */
struct tl_rollup_ref {
    uint32_t view;
    struct tl_live_segment *segment; /* referenced; NULL: no merchant was worth keeping */
};

/* A segment in use, with what the manifest says of it. */
struct tl_live_segment {
    _Atomic uint32_t refs;
    struct tl_live_pack *pack;
    uint32_t index;    /* in the pack */
    uint64_t identity; /* what caches may key by: equal identity, equal rows */
    struct tl_segment_info info;
    uint32_t rollup_count;
    struct tl_rollup_ref *rollups; /* a view that is not there was made later: it is answered from
                                      rows until the segment's rollup is made */
};

/* Level 0 oldest first, then partitions by start and length, runs of one partition oldest first; a
 * run is one or more segments with disjoint ranges of keys, ascending. */
struct tl_segment_list {
    _Atomic uint32_t refs;
    uint32_t count;
    uint32_t level0_count;
    int64_t span_us; /* of the longest partition */
    struct tl_live_segment *segments[];
};

enum { TL_VERSION_MEMTABLES_MAX = 8 };

struct tl_table_version {
    uint32_t table_id;
    uint32_t memtable_count;
    struct tl_memtable *memtables[TL_VERSION_MEMTABLES_MAX]; /* oldest first */
    struct tl_segment_list **shards;                         /* shard_count of them; NULL: none */
};

struct tl_version {
    _Atomic int64_t refs;
    uint32_t shard_count;
    uint64_t base_position;
    const struct tl_schema *schema;
    uint32_t table_count;
    struct tl_table_version *tables; /* ascending by table_id */
    struct tl_reaper *reaper;        /* frees it; NULL: who gives up the last reference does */
    struct tl_version *next_to_free; /* the reaper's */
};

/* The current version and the references taken from it, in one word. */
struct tl_current {
    _Atomic uint64_t word;
};

struct tl_snapshot {
    struct tl_version *version;
    uint64_t position;
};

TL_CHECK enum tl_code tl_version_new(uint32_t shard_count, const struct tl_schema *schema,
                                     struct tl_version **out, struct tl_status *st);
/* A copy to edit, not published yet. */
TL_CHECK enum tl_code tl_version_clone(const struct tl_version *v, struct tl_version **out,
                                       struct tl_status *st);
void tl_version_unref(struct tl_version *v); /* takes NULL */

/* The table's place, made when missing. */
TL_CHECK enum tl_code tl_version_table(struct tl_version *v, uint32_t table_id,
                                       struct tl_table_version **out, struct tl_status *st);
const struct tl_table_version *tl_version_find(const struct tl_version *v, uint32_t table_id);
/* Takes a reference of its own. */
void tl_table_version_add(struct tl_table_version *t, struct tl_memtable *m);
/* Gives up the reference; nothing when it is not there. */
void tl_table_version_remove(struct tl_table_version *t, const struct tl_memtable *m);
/* Replaces a shard's list by one without `removed` and with `added`, in order. References are
 * taken for the new list. */
TL_CHECK enum tl_code tl_table_version_replace(struct tl_table_version *t, uint32_t shard,
                                               struct tl_live_segment *const *removed,
                                               uint32_t removed_count,
                                               struct tl_live_segment *const *added,
                                               uint32_t added_count, struct tl_status *st);

/* The partitions that may hold rows of ts_min_us to ts_max_us are in [*lo, *hi), beside level 0,
 * which is always looked at: two binary searches. */
void tl_segment_list_find(const struct tl_segment_list *l, int64_t ts_min_us, int64_t ts_max_us,
                          uint32_t *lo, uint32_t *hi);

void tl_current_init(struct tl_current *c, struct tl_version *v);    /* takes the reference */
void tl_current_publish(struct tl_current *c, struct tl_version *v); /* takes the reference */
struct tl_version *tl_current_acquire(struct tl_current *c);
/* The version itself, for who holds the version lock. */
struct tl_version *tl_current_peek(struct tl_current *c);
/* Gives up the last version. Nobody acquires any more. */
void tl_current_deinit(struct tl_current *c);

/* Opens the pack (its footer is read) and makes the live objects of all its segments; each
 * with one reference that is the caller's. `segments` has room for tl_pack_segment_count. */
TL_CHECK enum tl_code tl_live_pack_open(struct tl_io *io, struct tl_cache *cache,
                                        const struct tl_pack_id *id, const uint8_t hash[16],
                                        struct tl_live_pack **out, struct tl_status *st);
TL_CHECK enum tl_code tl_live_segment_new(struct tl_live_pack *pack, uint32_t index,
                                          struct tl_live_segment **out, struct tl_status *st);
void tl_live_pack_unref(struct tl_live_pack *p);
void tl_live_segment_unref(struct tl_live_segment *s);

/* The shard of a merchant: the top bits of its hash. */
uint32_t tl_shard_of(int64_t merchant, uint32_t shard_count);

#endif
