/*
 * storage/pack_int.h: what the files of packs, segments and merging share among themselves.
 *
 * The layouts here are those of docs/FORMAT.md, "Pack" to "Merchant index".
 */
#ifndef TALLY_STORAGE_PACK_INT_H
#define TALLY_STORAGE_PACK_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "storage/block.h"
#include "storage/cache.h"
#include "storage/encoding.h"
#include "storage/io.h"
#include "storage/pack.h"
#include "storage/segment.h"

#define PACK_MAGIC     0x014B434150594C54ULL /* "TLYPACK", 1 */
#define PACK_END_MAGIC 0x01444E4550594C54ULL /* "TLYPEND", 1 */

enum {
    PACK_VERSION = 1,
    PACK_HEADER_BYTES = 64,
    PACK_TRAILER_BYTES = 48,
    PACK_FOOTER_HEAD_BYTES = 8,
    PACK_FOOTER_ENTRY_BYTES = 128,
    PACK_KNOWN_FEATURES = 0, /* required feature bits that this reader understands */

    INDEX_HEAD_BYTES = 8 + 16, /* with its checksum */
    INDEX_COLUMN_BYTES = 64,
    /* A segment's index takes no more than this in memory, and less on disk. */
    INDEX_RESIDENT_BYTES_MAX = 64 << 20,
    INDEX_BYTES_MAX = 80 << 20,

    COLUMN_CONSTANT = 1,  /* flags of a column */
    COLUMN_CODE_SETS = 2, /* blocks have code sets */
    COLUMN_MAPPED = 4,    /* by a parent */
    CODE_SET_STRINGS_MAX = 64,

    UNIT_HASH_BYTES = 8,         /* before a string page, a merchant page and an index */
    PAGE_HOT_BYTES = 64 << 10,   /* strings of a page, where blocks have light encodings … */
    PAGE_COLD_BYTES = 128 << 10, /* … and where they are compressed: vocabularies are per page */
    PAGE_ALONE_BYTES = 16 << 10, /* a string from this size on has a page of its own */
    PAGE_BYTES_MAX = TL_STRINGS_BYTES_MAX,

    MINI_MERCHANTS = 128,             /* merchants of one mini-page: widths stay narrow */
    PAGE_MINIS = 16,                  /* mini-pages under one checksum: about 6 KiB */
    MERCHANTS_AHEAD_BYTES = 16 << 10, /* before an index, read and cached with it */
};

/* ---- writing, as merging does it: codes that are already of the new dictionary ---- */

/* The code of a string in the dictionary of the column in flight; a new one for a new string. */
TL_CHECK enum tl_code tl__pack_column_intern(struct tl_pack_writer *w, struct tl_slice value,
                                             uint32_t *code, struct tl_status *st);
/* Rows as tl_block_width says; `validity` may be NULL. Values of NULL rows are not looked at. */
TL_CHECK enum tl_code tl__pack_column_put(struct tl_pack_writer *w, const void *values,
                                          const uint64_t *validity, uint32_t count,
                                          struct tl_status *st);

/* tl_pack_column_begin, for a TEXT column that is mapped by the column `parent_id` (0: by none),
 * which was written before in this segment, and kept; `keep`: others will be mapped by this one. */
TL_CHECK enum tl_code tl__pack_column_begin(struct tl_pack_writer *w, uint32_t column_id,
                                            struct tl_type type, uint32_t parent_id, bool keep,
                                            struct tl_status *st);

/* After it, for ids from TL_COLUMN_NAMED on. */
void tl__pack_column_name(struct tl_pack_writer *w, struct tl_slice name);

/* Copies `count` bits; those of dst around them stay. */
void tl__bits_copy(uint64_t *dst, uint32_t dst_bit, const uint64_t *src, uint32_t src_bit,
                   uint32_t count);
void tl__bits_fill(uint64_t *dst, uint32_t dst_bit, uint32_t count);

/* ---- an open pack ---- */

struct tl_pack {
    struct tl_io *io;
    struct tl_file *file;
    struct tl_cache *cache; /* may be NULL */
    struct tl_pack_id id;
    uint64_t key;
    uint64_t size;
    uint32_t segment_count;
    struct tl_segment_info *infos;
    uint64_t *index_offsets;              /* of each segment */
    uint32_t *index_sizes;                /* with their checksums */
    _Atomic(struct tl_segment *) *loaded; /* released by the loader, acquired by users */
    pthread_mutex_t lock;                 /* held while an index is loaded */
    _Atomic uint32_t references;
};

/* What the index holds for a block; the rest of a tl_block_stat follows from its place. */
struct tl__block {
    uint64_t offset;
    int64_t min, max;
    uint64_t codes;
    uint32_t size;
    uint32_t nulls;
};

/* What is kept of a written column that others are mapped by. */
struct tl__kept_block {
    struct tl__block stat;
    size_t at; /* of its stored bytes in `bytes` */
};
struct tl__kept {
    uint32_t column_id;
    uint32_t distinct;
    uint32_t parent; /* among the kept; UINT32_MAX: it is not mapped */
    struct tl__kept_block *blocks;
    uint32_t block_count;
    struct tl_buffer bytes;
    uint32_t *map; /* when it is mapped: a key for each code of its parent */
    uint32_t map_count;
};

/* Writing maps (pack_map.c): the kept columns of the segment in flight, and the map of the column
 * in flight. */
struct tl__maps {
    struct tl_budget *budget;
    size_t charged;
    uint64_t pack_key;
    uint32_t rows;
    struct tl__kept *kept;
    uint32_t kept_count;
    bool keep;       /* the column in flight is the last of the kept */
    uint32_t parent; /* of the column in flight, among the kept; UINT32_MAX: it is not mapped */
    uint32_t *map;
    uint32_t map_count, map_capacity;
    uint32_t keys[TL_BLOCK_ROWS], scratch[TL_BLOCK_ROWS];
};
/* Frees what was kept; for the next segment, and at the end. */
void tl__maps_reset(struct tl__maps *m);
TL_CHECK enum tl_code tl__maps_column(struct tl__maps *m, uint32_t rows, uint32_t column_id,
                                      uint32_t parent_id, bool keep, struct tl_status *st);
/* The next block of a column that is kept, as its index entry and stored bytes say. */
TL_CHECK enum tl_code tl__maps_keep(struct tl__maps *m, const struct tl__block *b,
                                    struct tl_slice stored, struct tl_status *st);
/* Compares a block's rows with the map, which grows by the parent's new codes: exceptions[row] is
 * 0, or 1 for NULL or the code + 2; *count are not 0. */
TL_CHECK enum tl_code tl__maps_predict(struct tl__maps *m, uint32_t block, const uint32_t *codes,
                                       const uint64_t *validity, uint32_t *exceptions,
                                       uint32_t *count, struct tl_status *st);
void tl__maps_column_end(struct tl__maps *m, uint32_t distinct);

struct tl__page {
    uint64_t offset;
    uint32_t size;
    uint32_t first_code;
};

/* Of a column's map: entries [i * TL_BLOCK_ROWS, …), one for each code of the parent. */
struct tl__map_block {
    uint64_t offset;
    uint32_t size; /* 0: all entries are `value` */
    uint32_t value;
};

struct tl__column {
    struct tl_column pub;
    const struct tl__block *blocks; /* NULL when constant */
    const struct tl__page *pages;   /* page_count + 1: the last has first_code = distinct */
    uint32_t page_count;
    bool code_sets;
    uint32_t index_bytes;

    /* mapped: the parent, and the map */
    const struct tl__column *parent; /* NULL: not mapped */
    const struct tl__map_block *map;
    uint32_t map_entries; /* the parent's strings */
    uint32_t map_blocks;
    uint32_t map_width; /* bytes of an entry in memory: 1, 2 or 4 */
};

struct tl__mini {
    uint32_t first_row;
    uint32_t offset; /* of its bits within its page's body */
    uint8_t merchant_width;
    uint8_t row_width;
};

struct tl_segment {
    struct tl_pack *pack;
    const struct tl_segment_info *info;
    struct tl__column *columns; /* ascending by id */
    uint32_t column_count;

    uint32_t mini_count;
    uint32_t merchant_page_count;
    const int64_t *mini_merchants; /* the first merchant of each mini-page */
    const struct tl__mini *minis;
    const uint64_t *merchant_pages; /* offsets in the pack, merchant_page_count + 1 */
    uint64_t merchant_bytes;

    struct tl_arena arena; /* all of the above */
};

static inline const struct tl__column *tl__column_of(const struct tl_column *c)
{
    return (const struct tl__column *)(const void *)c;
}
static inline uint32_t tl__block_count(uint32_t rows)
{
    return (uint32_t)(((uint64_t)rows + TL_BLOCK_ROWS - 1) >> TL_BLOCK_SHIFT);
}
static inline uint32_t tl__block_rows(uint32_t rows, uint32_t block)
{
    uint32_t left = rows - (block << TL_BLOCK_SHIFT);
    return left < TL_BLOCK_ROWS ? left : TL_BLOCK_ROWS;
}
struct tl_block_expect tl__column_expect(const struct tl__column *c, uint32_t block);
struct tl_block_expect tl__map_expect(const struct tl__column *c, uint32_t block);
/* Bytes in memory of an entry of a map into a dictionary of so many strings. */
static inline uint32_t tl__map_width(uint32_t distinct)
{
    return distinct < UINT8_MAX ? 1 : distinct < UINT16_MAX ? 2 : 4;
}

/* Bytes of memory that an index of this shape takes; what INDEX_RESIDENT_BYTES_MAX bounds. */
static inline uint64_t tl__index_column_bytes(uint32_t blocks, bool constant, uint32_t pages,
                                              uint32_t map_blocks)
{
    return sizeof(struct tl__column) +
           (constant ? 0 : (uint64_t)blocks * sizeof(struct tl__block)) +
           ((uint64_t)pages + 1) * sizeof(struct tl__page) +
           (uint64_t)map_blocks * sizeof(struct tl__map_block);
}
static inline uint64_t tl__index_minis_bytes(uint32_t minis)
{
    return (uint64_t)minis * (sizeof(int64_t) + sizeof(struct tl__mini)) +
           ((uint64_t)minis / PAGE_MINIS + 2) * sizeof(uint64_t);
}

/* Loads one segment's index. Holds the pack's lock. */
TL_CHECK enum tl_code tl__segment_load(struct tl_pack *p, uint32_t index, struct tl_segment **out,
                                       struct tl_status *st);
void tl__segment_free(struct tl_segment *s);

/* ---- units: what is read, verified and cached alone ---- */

/* Gives back what one of the following pinned. */
void tl__pin_release(struct tl_pack *p, struct tl_cached *pin);
/* The memory is the holder's alone, not the cache's. */
bool tl__pin_private(const struct tl_cached *pin);

/* The image of a block with bytes on disk, through the cache. `once`: a scan passes by. */
TL_CHECK enum tl_code tl__block_pin(const struct tl__column *c, uint32_t block, bool once,
                                    struct tl_read_stats *stats, struct tl_cached **out,
                                    struct tl_status *st);
/* The entries of a block of a map, c->map_width bytes each, padded. */
TL_CHECK enum tl_code tl__map_pin(const struct tl__column *c, uint32_t block, bool once,
                                  bool past_cache, struct tl_read_stats *stats,
                                  struct tl_cached **out, struct tl_status *st);
/* The inflated page of strings. */
TL_CHECK enum tl_code tl__page_pin(const struct tl__column *c, uint32_t page,
                                   struct tl_read_stats *stats, struct tl_cached **out,
                                   struct tl_status *st);
/* The body of a page of the merchant index, padded by 16 bytes. */
TL_CHECK enum tl_code tl__merchant_page_pin(const struct tl_segment *s, uint32_t page,
                                            struct tl_cached **out, struct tl_status *st);

/* Puts a page that was read already into the cache, if there is one with room. */
TL_CHECK enum tl_code tl__merchant_page_put(const struct tl_segment *s, uint32_t page,
                                            struct tl_slice stored, struct tl_status *st);

/* The page that a merchant would stand in; false when the index alone says that he is not there. */
bool tl__merchant_page_of(const struct tl_segment *s, int64_t merchant, uint32_t *page);

/* Brings pages of strings into the cache, in few reads; NULL: [0, count). */
TL_CHECK enum tl_code tl__pages_prefetch(const struct tl__column *c, const uint32_t *pages,
                                         uint32_t count, struct tl_read_stats *stats,
                                         struct tl_status *st);

/* ---- reading past the cache: for merging and verifying, which touch everything once ---- */

/* Inflated units that are kept as long as there is room, for a reader that comes back to them. */
struct tl__image {
    uint64_t pack_key, offset;
    uint8_t *data; /* NULL: a free place */
};
struct tl__images {
    struct tl__image *slots;
    uint32_t count, slot_count;
    size_t bytes, limit;
    struct tl_budget *budget; /* may be NULL; when it is met, nothing more is kept */
};
/* NULL: it is not kept. */
const uint8_t *tl__images_find(const struct tl__images *x, uint64_t pack_key, uint64_t offset);
/* Copies it, if there is room. */
void tl__images_put(struct tl__images *x, uint64_t pack_key, uint64_t offset, const uint8_t *data,
                    size_t size);
void tl__images_deinit(struct tl__images *x);

/* A window over a run of units of one column: neighbours come with one read. */
struct tl__window {
    struct tl_pack *pack;
    struct tl_buffer bytes; /* the window itself */
    struct tl_buffer image; /* the unit inflated last, padded */
    uint64_t offset;
    uint32_t ahead;          /* bytes read at once */
    struct tl__images *kept; /* NULL: none */
};
void tl__window_init(struct tl__window *w, struct tl_pack *p, uint32_t ahead);
void tl__window_deinit(struct tl__window *w);
/* `size` stored bytes at `offset`; what is read ahead ends before `end`. Valid until the next. */
TL_CHECK enum tl_code tl__window_read(struct tl__window *w, uint64_t offset, uint32_t size,
                                      uint64_t end, struct tl_slice *out, struct tl_status *st);
/* The image of a block with bytes on disk; valid until the next call. */
TL_CHECK enum tl_code tl__window_block(struct tl__window *w, const struct tl__column *c,
                                       uint32_t block, const uint8_t **image, struct tl_status *st);
TL_CHECK enum tl_code tl__window_page(struct tl__window *w, const struct tl__column *c,
                                      uint32_t page, const uint8_t **image, struct tl_status *st);

/* ---- mapped columns ----
 * A key is what a row has of a column in the terms of maps: 0 for NULL, else its code + 1. */

/* What the index knows of a block: constant with a value, constant NULL, or neither. */
struct tl__told {
    bool constant, null;
    int64_t value;
};
struct tl__told tl__told_of(const struct tl__column *c, uint32_t block);
/* Stands the cursor on `block`, which has bytes on disk. */
TL_CHECK enum tl_code tl__cursor_move(struct tl_cursor *cur, const struct tl__column *c,
                                      uint32_t block, struct tl_status *st);
/* The keys of rows [lo, hi) of the cursor's column, which is mapped. */
TL_CHECK enum tl_code tl__mapped_keys(struct tl_cursor *cur, uint32_t lo, uint32_t hi,
                                      uint32_t *keys, struct tl_status *st);
/* Turns keys into codes, 0 for NULL, and validity (not touched without NULLs); how many are NULL.
 */
uint32_t tl__keys_to_codes(uint32_t *keys, uint32_t count, uint64_t *validity);
/* Unpins its map; what the cursor keeps for mapped columns is freed. */
void tl__map_reader_close(struct tl_cursor *cur);

/* Fills `rows` places with one index entry's value. */
void tl__fill_constant(enum tl_kind kind, int64_t value, void *out, uint32_t rows);

/* Entry i of a bit-packed array; reads up to 16 bytes from the entry's first byte on. */
static inline uint64_t tl__bits_at(const uint8_t *bits, uint64_t index, uint32_t width)
{
    if (width == 0)
        return 0;
    uint64_t bit = index * width;
    const uint8_t *p = bits + (bit >> 3);
    uint32_t shift = (uint32_t)(bit & 7);
    uint64_t v = tl_get_u64le(p) >> shift;
    if (shift + width > 64)
        v |= (uint64_t)p[8] << (64 - shift);
    return width == 64 ? v : v & ((1ULL << width) - 1);
}
static inline uint32_t tl__bits_bytes(uint32_t count, uint32_t width)
{
    return (uint32_t)(((uint64_t)count * width + 7) / 8);
}

#endif
