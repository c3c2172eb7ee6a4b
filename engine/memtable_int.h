/*
 * engine/memtable_int.h: what memtable.c (life, readers) and memtable_write.c share.
 */
#ifndef TALLY_ENGINE_MEMTABLE_INT_H
#define TALLY_ENGINE_MEMTABLE_INT_H

#include "engine/memtable.h"

enum {
    CHUNK_ROWS = TL_MEMTABLE_CHUNK_ROWS,
    CHUNK_SHIFT = 11,
    PAGE_CHUNKS = 64, /* chunk pointers that lie together */
    PAGE_SHIFT = CHUNK_SHIFT + 6,
    PAGES = 1 << (TL_MEMTABLE_SHARD_SHIFT - PAGE_SHIFT),
    PLACE_MASK = (1 << TL_MEMTABLE_SHARD_SHIFT) - 1,
    STRINGS_CHUNK = 4096,
    STRINGS_CHUNKS_MAX = 2 * TL_MEMTABLE_ROWS_MAX / STRINGS_CHUNK,
    ENDS_FIRST = 64, /* entries of the first array of ends; each next one is twice as long */
    ENDS_LEVELS = 17,
    COLUMNS_MAX = 2 * TL_COLUMNS_MAX,
};
_Static_assert(1 << CHUNK_SHIFT == CHUNK_ROWS, "a row's chunk is a shift");
_Static_assert(PAGE_CHUNKS *CHUNK_ROWS == 1 << PAGE_SHIFT, "a page of pointers is a shift");
_Static_assert(TL_MEMTABLE_ROWS_MAX <= 1 << TL_MEMTABLE_SHARD_SHIFT, "a place fits a row's number");
_Static_assert((uint64_t)ENDS_FIRST *((1 << ENDS_LEVELS) - 1) > TL_MEMTABLE_BATCHES_MAX,
               "an end for every batch");

/* Pointers to the chunks of one shard, by place. */
struct chunks_page {
    _Atomic(void *) chunks[PAGE_CHUNKS];
};
struct chunks {
    _Atomic(struct chunks_page *) pages[PAGES];
};

/* Strings to codes. The hash table is the writer's alone; strings are published by `count`. */
struct dict {
    uint64_t id;
    _Atomic uint32_t count; /* stored with release after the string is in place */
    struct tl_slice *_Atomic chunks[STRINGS_CHUNKS_MAX];
    uint64_t *slots; /* high half: hash; low half: code + 1; 0: free */
    uint32_t mask;
    uint32_t likely; /* slots that the strings of the memtable before would need */
};

/* The values of 2,048 rows of one column. Codes are stored + 1, so that 0 is NULL. Other kinds
 * keep one byte per row that is 0 for NULL, from the first NULL on. */
struct chunk {
    _Atomic(uint8_t *) valid;
    uint32_t width; /* bytes of a value */
    bool nulls;     /* TEXT: a row may be NULL; the writer's, and the flush's */
    _Alignas(16) uint8_t values[];
};

struct column {
    uint32_t id;
    uint8_t kind;
    bool narrows;   /* 8-byte integers that a chunk may hold in 4 */
    uint64_t batch; /* the last one that brought it; the writer's */
    _Atomic(struct dict *) dict;
    struct chunks shards[]; /* no chunk: all NULL so far */
};

/* merchant -> its newest row. Readers probe it while the writer inserts: `last` is stored with
 * release after `merchant`. A full table is replaced; old ones stay until the end. */
struct slot {
    _Atomic int64_t merchant;
    _Atomic uint32_t last; /* row + 1; 0: free */
    uint32_t ordinal;      /* of the merchant within its shard; the writer's */
};
struct index {
    struct index *older;
    uint32_t mask, used;
    struct slot slots[];
};

struct end {
    uint64_t position;
    uint32_t rows;
};

struct shard {
    _Atomic uint32_t end_count; /* release: everything before it is in place */
    struct end *ends[ENDS_LEVELS];
    uint32_t rows; /* writer, as is what follows */
    uint32_t merchant_count, merchant_capacity;
    int64_t *merchants;                      /* by ordinal */
    uint32_t *open_previous, *open_ordinals; /* the chunks that are filled */
    struct chunks previous;                  /* u32: the older row of the merchant, + 1 */
    struct chunks ordinals;                  /* u32: of the row's merchant, for the flush */
};

/* What was taken and is freed together. */
struct piece {
    struct piece *next;
    bool slab; /* goes back to the pool */
};

struct tl_memtable {
    _Atomic uint32_t refs;
    uint32_t table_id;
    uint32_t shard_count;
    struct tl_slab_pool *slabs;
    const struct tl_table *table; /* writer */
    uint32_t rows;                /* writer */
    uint64_t batches;             /* writer */
    size_t bytes;                 /* writer */
    _Atomic size_t bytes_shown;
    _Atomic int64_t oldest_us;
    struct piece *pieces; /* all memory below but tables and merchants */
    uint8_t *room;        /* what is left of the newest piece */
    size_t room_bytes, piece_bytes;
    uint8_t *text; /* where the next string's bytes go */
    size_t text_room;
    uint32_t column_count; /* writer */
    uint16_t column_ids[COLUMNS_MAX];
    _Atomic(struct column *) columns[COLUMNS_MAX]; /* by column id */
    _Atomic(struct index *) index;
    struct shard shards[];
};

static inline void *tl__chunk_at(const struct chunks *c, uint32_t place)
{
    const struct chunks_page *p =
        atomic_load_explicit(&c->pages[place >> PAGE_SHIFT], memory_order_acquire);
    return p ? atomic_load_explicit(&p->chunks[place >> CHUNK_SHIFT & (PAGE_CHUNKS - 1)],
                                    memory_order_acquire)
             : NULL;
}

static inline void *tl__chunk_of(const struct column *c, uint32_t row)
{
    return tl__chunk_at(&c->shards[row >> TL_MEMTABLE_SHARD_SHIFT], row & PLACE_MASK);
}

static inline struct tl_slice tl__dict_string(const struct dict *d, uint32_t code)
{
    const struct tl_slice *chunk =
        atomic_load_explicit(&d->chunks[code / STRINGS_CHUNK], memory_order_acquire);
    return chunk[code % STRINGS_CHUNK];
}

void tl__slots_free(struct tl_memtable *m, struct dict *d);

/* Entry i of a shard's ends: array k holds ENDS_FIRST << k of them. */
static inline uint32_t tl__end_level(uint32_t i)
{
    return 31 - (uint32_t)__builtin_clz(i / ENDS_FIRST + 1);
}
static inline struct end *tl__end_at(const struct shard *s, uint32_t i)
{
    uint32_t level = tl__end_level(i);
    return &s->ends[level][i - ENDS_FIRST * ((1U << level) - 1)];
}

/* The place of a merchant in the index. */
static inline uint32_t tl__merchant_hash(int64_t merchant)
{
    uint64_t v = (uint64_t)merchant * 0x9e3779b97f4a7c15ULL;
    return (uint32_t)((v ^ v >> 29) * 0xbf58476d1ce4e5b9ULL >> 32);
}

#endif
