/*
 * engine/slab.h: memory of memtables, in pieces of 2 MiB that are used again.
 *
 * A memtable takes memory only to give it all back at once, over and over: pieces that a flushed
 * one gave back serve the next one without a page fault and without being cleared. A piece asks
 * for huge pages.
 *
 * The first touch of a new page costs the system's clearing of it, up to some milliseconds for a
 * huge one where the machine is a virtual one: too much for who holds acknowledgements up. So a
 * thread may keep a few pieces ready that were touched, and clears tables that were given back.
 *
 * Ownership  the pool is reference-counted; a memtable holds a reference for as long as it lives.
 * Threads    any, at any time: one short lock per piece.
 * Units      bytes.
 */
#ifndef TALLY_ENGINE_SLAB_H
#define TALLY_ENGINE_SLAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TL_SLAB_BYTES = 2 << 20 };

struct tl_slab_pool;

TL_CHECK enum tl_code tl_slab_pool_new(struct tl_slab_pool **out, struct tl_status *st);
struct tl_slab_pool *tl_slab_pool_ref(struct tl_slab_pool *p);
void tl_slab_pool_unref(struct tl_slab_pool *p); /* takes NULL */

/* A piece of TL_SLAB_BYTES, whatever it holds; NULL: no memory. */
void *tl_slab_take(struct tl_slab_pool *p);
void tl_slab_give(struct tl_slab_pool *p, void *slab);
/* A table of zeros, of a power of two of at least TL_SLAB_BYTES; NULL: no memory. */
void *tl_slab_table_take(struct tl_slab_pool *p, size_t size);
void tl_slab_table_give(struct tl_slab_pool *p, void *table, size_t size);
/* Keeps at most so many free pieces from now on, tables counted as pieces, and of these at most
 * half; frees what is beyond. */
void tl_slab_keep(struct tl_slab_pool *p, uint32_t count);

/* Between the two a thread of its own works ahead, once anything was taken. Stop before the last
 * reference goes; it may be called without a start. */
TL_CHECK enum tl_code tl_slab_warm_start(struct tl_slab_pool *p, struct tl_status *st);
void tl_slab_warm_stop(struct tl_slab_pool *p);

/* How many distinct strings a column of a table had in a memtable before: a memtable that tells
 * this when it goes spares the next one growing its tables step by step. A guess; 0: none was told.
 * Any thread. */
void tl_slab_tell_strings(struct tl_slab_pool *p, uint32_t table, uint32_t column,
                          uint32_t strings);
uint32_t tl_slab_likely_strings(struct tl_slab_pool *p, uint32_t table, uint32_t column);

#endif
