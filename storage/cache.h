/*
 * storage/cache.h: blocks that were read, kept in memory up to a limit of bytes.
 *
 * An entry is an immutable run of bytes known by (pack key, offset). A reader asks with get; on a
 * miss it begins an entry, fills its buffer from the disk, verifies it, and publishes it, or
 * cancels. Whoever holds an entry has pinned it: it stays until the unpin, whatever the cache does
 * meanwhile. Two readers may load the same block at once; the first to publish wins and both get
 * that entry. Behind the bytes of each entry lie TL_PAYLOAD_PAD zero bytes, so that the kernels of
 * storage/encoding.h may read them.
 *
 * Eviction is a clock per shard (16, by the hash of the key): a hand passes over the entries, takes
 * the mark of use off those that have it and drops those that have none; pinned ones stay. All
 * bytes count against one limit, also those of entries that are being filled.
 *
 * Ownership  get, begin and publish hand out a pin; unpin or cancel gives it back. Freeing the
 * cache wants all pins back. Threads    any. Units      bytes; what an entry takes beside its bytes
 * counts as well. Errors     TL_LIMIT: pinned entries leave no room for the new one, or no memory.
 */
#ifndef TALLY_STORAGE_CACHE_H
#define TALLY_STORAGE_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

struct tl_cache;

/* What a holder of a pin sees; the rest is the cache's. */
struct tl_cached {
    uint8_t *data; /* written between begin and publish alone; aligned to 16 */
    size_t size;   /* bytes, the pad not counted */
    uint64_t
        note[2]; /* the loader's, set before publish: what it proved or parsed; zeros at first */
};

TL_CHECK enum tl_code tl_cache_new(size_t limit_bytes, struct tl_cache **out, struct tl_status *st);
/* Nothing may be pinned. NULL is fine. */
void tl_cache_free(struct tl_cache *c);

/* The entry, pinned, or NULL. */
struct tl_cached *tl_cache_get(struct tl_cache *c, uint64_t pack_key, uint64_t offset);
/* A private entry to be filled: `size` bytes, not zeroed, and the zeroed pad. Evicts as needed. */
TL_CHECK enum tl_code tl_cache_begin(struct tl_cache *c, uint64_t pack_key, uint64_t offset,
                                     size_t size, struct tl_cached **out, struct tl_status *st);
/* Makes the entry known. Returns the entry to use from now on, pinned: this one, or the one that
 * another thread published meanwhile, and then this one is gone. */
struct tl_cached *tl_cache_publish(struct tl_cache *c, struct tl_cached *entry);
/* Gives up an entry that was begun and not published. NULL is fine. */
void tl_cache_cancel(struct tl_cache *c, struct tl_cached *entry);
/* NULL is fine. */
void tl_cache_unpin(struct tl_cache *c, struct tl_cached *entry);

/* Forgets all entries of a pack that is being removed; pinned ones go with their last unpin.
 * Walks the whole cache: for the rare removal of a pack. */
void tl_cache_drop_pack(struct tl_cache *c, uint64_t pack_key);
/* A new limit; evicts down to it as far as pins allow. */
void tl_cache_set_limit(struct tl_cache *c, size_t limit_bytes);

struct tl_cache_stats {
    uint64_t hits, misses; /* answers of tl_cache_get */
    uint64_t evictions;    /* entries that the clock dropped */
    uint64_t entries;      /* known now */
    uint64_t pinned;       /* pins held now, begun entries included */
    uint64_t bytes, limit_bytes;
};
/* Each number is true of some moment; together they need not be of one. */
void tl_cache_stats(struct tl_cache *c, struct tl_cache_stats *out);

#endif
