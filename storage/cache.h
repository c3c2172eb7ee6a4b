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
 * What stays is decided per shard (16, by the hash of the key) as S3-FIFO does it: a new entry
 * waits in a short queue (a tenth of the bytes), and only what was used twice while it waited moves
 * to the long one, where a clock with a count of uses keeps it. A key that left the short queue is
 * remembered for as many bytes as the cache holds, and goes straight to the long queue when it
 * comes back. So a scan over more than the cache holds passes through a tenth of it and leaves
 * what is hot alone. A reader that will not come back says so (tl_cache_glance): that is no use.
 * All bytes count against one limit, also those of entries that are being filled.
 *
 * Ownership  get, begin and publish hand out a pin; unpin or cancel gives it back. Freeing the
 *            cache wants all pins back.
 * Threads    any. A hit takes its shard's lock for one look-up, an unpin takes none.
 * Units      bytes; what an entry takes beside its bytes counts as well.
 * Errors     TL_LIMIT: pinned entries leave no room for the new one, or no memory.
 */
#ifndef TALLY_STORAGE_CACHE_H
#define TALLY_STORAGE_CACHE_H

#include <stdbool.h>
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
/* The same for a reader that passes by once, a scan: it does not count as a use. */
struct tl_cached *tl_cache_glance(struct tl_cache *c, uint64_t pack_key, uint64_t offset);
/* Is it there just now? No pin, no use, no count. */
bool tl_cache_has(struct tl_cache *c, uint64_t pack_key, uint64_t offset);
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
    uint64_t hits, misses; /* answers of tl_cache_get and tl_cache_glance */
    uint64_t evictions;    /* entries dropped for room */
    uint64_t returned;     /* entries made for keys that had left not long before */
    uint64_t main_bytes;   /* in the long queue */
    uint64_t entries;      /* known now */
    uint64_t pinned;       /* pins held now, begun entries included */
    uint64_t bytes, limit_bytes;
};
/* Each number is true of some moment; together they need not be of one. */
void tl_cache_stats(struct tl_cache *c, struct tl_cache_stats *out);

#endif
