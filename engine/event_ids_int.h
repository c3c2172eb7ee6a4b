/*
 * engine/event_ids_int.h: looking for keys in segments, for event_ids.c.
 */
#ifndef TALLY_ENGINE_EVENT_IDS_INT_H
#define TALLY_ENGINE_EVENT_IDS_INT_H

#include "base/hash.h"
#include "engine/version.h"

/* A key that may be in a segment. */
struct tl__id_suspect {
    int64_t merchant, ts;
    struct tl_slice id;
    uint32_t shard;
    uint32_t key; /* the caller's */
    bool found;
};

/* The hash of a key, from its id's hash. */
static inline uint32_t tl__id_hash(uint64_t id_hash, int64_t merchant, int64_t ts)
{
    uint64_t place = tl_hash_combine((uint64_t)merchant, (uint64_t)ts);
    return (uint32_t)(tl_hash_combine(id_hash, place) >> 32);
}

/* Marks the suspects that a segment of the version has. They are put into another order. */
TL_CHECK enum tl_code tl__ids_in_segments(const struct tl_version *version, uint32_t table_id,
                                          uint32_t column_id, struct tl__id_suspect *suspects,
                                          uint32_t count, struct tl_arena *scratch,
                                          struct tl_status *st);

/* Adds the hashes of all keys of a segment to `hashes`, which has room for its rows. */
TL_CHECK enum tl_code tl__ids_of_segment(struct tl_live_segment *live, uint32_t column_id,
                                         const _Atomic bool *cancel, uint32_t *hashes,
                                         uint32_t *count, struct tl_status *st);

#endif
