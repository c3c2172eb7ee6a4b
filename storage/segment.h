/*
 * storage/segment.h: reading a segment: an immutable run of rows of one shard, sorted by
 * (merchant_id, ts), column by column.
 *
 * A column lies in blocks of TL_BLOCK_ROWS rows (the last one has the rest), so that a row's
 * block is a division. Blocks are fetched through the cache as they lie on disk and decoded slice
 * by slice into vectors. A TEXT column has one dictionary for the segment, its codes given in
 * order of first appearance, its strings in pages that are read alone.
 *
 * A TEXT column may be mapped by another one of its segment, its parent (at most
 * TL_MAP_DEPTH_MAX of them one above the other): instead of its codes a map is stored, from each
 * code of the parent to the child's, and the rows that differ. Cursors read both alike.
 *
 * Ownership  segments and columns belong to their pack and live as long as a reference to it is
 *            held. Cursors and dictionary readers are the caller's and pin what they show.
 * Threads    segments, columns: any. A cursor belongs to one thread. A dictionary reader is
 *            opened and closed by one thread and read by any.
 * Units      rows are counted from 0 within the segment; ranges are [lo, hi).
 * Errors     TL_CORRUPT: a checksum, bound or code that no writer of ours makes; TL_IO: the
 *            disk; TL_LIMIT: the cache or a budget. Outputs are written on success only.
 */
#ifndef TALLY_STORAGE_SEGMENT_H
#define TALLY_STORAGE_SEGMENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "base/vector.h"
#include "storage/pack.h"

struct tl_arena;
struct tl_cached;
struct tl__window;

enum {
    TL_BLOCK_ROWS = 8192,
    TL_BLOCK_SHIFT = 13,
    TL_MAP_DEPTH_MAX = 3, /* parents above a column */
};

/* What a scan touched; added to, never cleared. One per thread that reads. */
struct tl_read_stats {
    uint64_t reads;        /* requests to the disk */
    uint64_t blocks;       /* blocks and pages asked for */
    uint64_t blocks_disk;  /* of these, not found in the cache */
    uint64_t bytes_disk;   /* read from the disk, gaps and rests of pages counted */
    uint64_t rows_decoded; /* values decoded */
};

/* What the index says about one block. */
struct tl_block_stat {
    uint32_t first_row;
    uint32_t rows;
    uint32_t nulls;
    uint32_t size;   /* bytes on disk; 0: constant, all NULL, or all rows as a map says */
    uint64_t offset; /* in the pack */
    int64_t min;     /* of the values that are not NULL; meaningless when all are. BOOLEAN 0/1, */
    int64_t max;     /* DATE days, TEXT dictionary codes, DOUBLE the bits of the double (NaN is
                        the greatest), the others as they lie in vectors */
    uint64_t codes;  /* TEXT with at most 64 strings: bit c set when code c is present; else ~0 */
};

/* A column of a segment; read-only. */
struct tl_column {
    const struct tl_segment *segment;
    uint32_t id;
    struct tl_type type;
    uint32_t rows;
    uint32_t block_count;
    uint32_t nulls;       /* in the whole column */
    bool constant;        /* every row has the same value, or all are NULL; has no blocks on disk */
    int64_t min, max;     /* over the column, as in a block; meaningless when all are NULL */
    uint32_t distinct;    /* TEXT: size of the dictionary; 0 for other types */
    uint64_t dict_id;     /* TEXT: the dictionary's identity in this process */
    uint32_t parent_id;   /* TEXT: the column that it is mapped by; 0: none */
    struct tl_slice name; /* of ids from TL_COLUMN_NAMED on; else empty */
};

const struct tl_segment_info *tl_segment_info(const struct tl_segment *s);
struct tl_pack *tl_segment_pack(const struct tl_segment *s);
uint32_t tl_segment_rows(const struct tl_segment *s);
uint32_t tl_segment_column_count(const struct tl_segment *s);
/* The index-th column in ascending order of id. */
const struct tl_column *tl_segment_column_at(const struct tl_segment *s, uint32_t index);
/* NULL when the segment has no such column: all its rows read as NULL. */
const struct tl_column *tl_segment_column(const struct tl_segment *s, uint32_t column_id);
/* Bytes that the segment's index holds in memory. */
uint64_t tl_segment_resident_bytes(const struct tl_segment *s);

/* The rows of one merchant; lo == hi when there are none (and then they would stand there). */
TL_CHECK enum tl_code tl_segment_find_merchant(const struct tl_segment *s, int64_t merchant,
                                               uint32_t *lo, uint32_t *hi, struct tl_status *st);
/* The merchants [index, index + count) in ascending order and the first row of each; first_rows
 * has count + 1 places, the last for where the rows of the last one end. */
TL_CHECK enum tl_code tl_segment_merchants(const struct tl_segment *s, uint32_t index,
                                           uint32_t count, int64_t *merchants, uint32_t *first_rows,
                                           struct tl_status *st);
/* The first row in [lo, hi), which are rows of one merchant, with a ts of at least ts_us; hi when
 * there is none. */
TL_CHECK enum tl_code tl_segment_find_ts(const struct tl_segment *s, uint32_t lo, uint32_t hi,
                                         int64_t ts_us, uint32_t *row, struct tl_status *st);

/* The index's word on the block `index` < block_count. Reads nothing. */
void tl_column_block(const struct tl_column *c, uint32_t index, struct tl_block_stat *out);

/* ---- dictionaries ---- */

/* The dictionary of a TEXT column for the length of a scan: `dict` goes into vectors, its `get`
 * loads pages through the cache and pins them until the close. */
struct tl_dict_reader {
    struct tl_dict dict; /* first: get finds its reader from it */
    const struct tl_column *column;
    _Atomic(struct tl_cached *) *pages; /* one place per page; stored with release */
    struct tl_read_stats *stats;        /* may be NULL; touched under the reader's lock */
    struct tl_budget *budget;           /* NULL, or set after the open: charged for pages that a
                                           cache full of pinned ones could not hold */
    size_t charged;
    void *lock; /* held while a page is loaded */
};

TL_CHECK enum tl_code tl_dict_reader_open(struct tl_dict_reader *r, const struct tl_column *c,
                                          struct tl_read_stats *stats, struct tl_status *st);
/* Loads every page in one batch and sets dict.values (count × 16 bytes from the arena). Called
 * before vectors of this dictionary are shared between threads. */
TL_CHECK enum tl_code tl_dict_reader_load_all(struct tl_dict_reader *r, struct tl_arena *arena,
                                              struct tl_status *st);
/* Unpins every page; strings handed out are gone. No other thread may be inside `get`. */
void tl_dict_reader_trim(struct tl_dict_reader *r);
void tl_dict_reader_close(struct tl_dict_reader *r);
/* The code of a string, by reading the pages; false when the column never holds it. For columns
 * of few strings, where a predicate becomes a set of codes. */
TL_CHECK enum tl_code tl_dict_reader_find(struct tl_dict_reader *r, struct tl_slice value,
                                          bool *found, uint32_t *code, struct tl_status *st);

/* ---- values ---- */

/* The codes of the columns that others are mapped by, as the cursors of one scan of one segment
 * share them: each parent is decoded once per slice, however many of its children are read.
 * Zeroed, it is empty; entries are made when they are first needed. Belongs to one thread. */
struct tl_parents {
    struct tl__parent *first;
    struct tl_read_stats *stats; /* may be NULL */
    bool once;                   /* as in a cursor */
    bool past_cache;             /* for merging and verifying */
};
/* Frees the entries. */
void tl_parents_close(struct tl_parents *p);

/* Reads slices of one column; keeps the block that it stands on pinned. Caller's memory. */
struct tl_cursor {
    const struct tl_column *column;
    const struct tl_dict *dict;  /* goes into DICT vectors */
    struct tl_read_stats *stats; /* may be NULL */
    struct tl__window *window;   /* read past the cache through it; NULL: through the cache */
    bool once;                   /* set after init by a scan, which the cache need not remember */
    struct tl_cached *pin;       /* the block's image, or NULL */
    const uint8_t *image;        /* of the block */
    uint32_t block;              /* its index; UINT32_MAX: none */
    void *values;                /* own buffers, taken from the arena at init; NULL: none */
    uint64_t *validity;
    struct tl_parents *parents; /* set after the init to share them; NULL: it makes its own */
    struct tl__map_reader *map; /* of a mapped column */
};

/* Where tl_cursor_read puts values that do not lie in the cursor's own buffers. */
struct tl_vector_buffer {
    void *values;       /* TL_VECTOR_ROWS_MAX × 8 bytes (TEXT: × 4), aligned to 8 */
    uint64_t *validity; /* TL_VECTOR_ROWS_MAX / 64 words */
};

/* `dict` goes into the vectors of a TEXT column: the dict of a reader of this column, or NULL
 * where only codes are looked at. Takes ~16 KiB from the arena; with a NULL arena every read
 * must bring a buffer. */
TL_CHECK enum tl_code tl_cursor_init(struct tl_cursor *cur, const struct tl_column *c,
                                     const struct tl_dict *dict, struct tl_arena *arena,
                                     struct tl_read_stats *stats, struct tl_status *st);
/* The rows [lo, hi), at least one and at most TL_VECTOR_ROWS_MAX, as a FLAT, DICT (TEXT) or CONST
 * vector. Equal TEXT comes as DICT all the same, so that no string is loaded: only all NULL is
 * CONST. It lies in `buffer`, or, when that is NULL, in the cursor until its next read. */
TL_CHECK enum tl_code tl_cursor_read(struct tl_cursor *cur, uint32_t lo, uint32_t hi,
                                     const struct tl_vector_buffer *buffer, struct tl_vector *out,
                                     struct tl_status *st);
void tl_cursor_close(struct tl_cursor *cur);

struct tl_row_range {
    uint32_t lo, hi; /* [lo, hi) */
};

/* Reads the blocks of these columns and rows that the cache does not hold, neighbours as one
 * read, all in one batch. Ids that the segment lacks are skipped. Ranges ascend. A cache too
 * small to hold them is no error. */
TL_CHECK enum tl_code tl_segment_prefetch(const struct tl_segment *s, const uint32_t *column_ids,
                                          uint32_t column_count, const struct tl_row_range *ranges,
                                          uint32_t range_count, struct tl_read_stats *stats,
                                          struct tl_status *st);

/* The same for many segments of one io at once, and ahead of need. Collect, then either run, or
 * begin now and finish when the blocks are needed: then they stay pinned until the clear. One
 * thread at a time; begin and finish may be called by different ones. */
struct tl_prefetch;
struct tl_io_queue;
TL_CHECK enum tl_code tl_prefetch_new(struct tl_prefetch **out, struct tl_status *st);
void tl_prefetch_free(struct tl_prefetch *p); /* NULL is fine */
/* More than 8 MiB of units are read on the way. */
TL_CHECK enum tl_code tl_prefetch_rows(struct tl_prefetch *p, const struct tl_segment *s,
                                       const uint32_t *column_ids, uint32_t column_count,
                                       const struct tl_row_range *ranges, uint32_t range_count,
                                       struct tl_status *st);
/* The page of the merchant index that tl_segment_find_merchant will look into. */
TL_CHECK enum tl_code tl_prefetch_merchant(struct tl_prefetch *p, const struct tl_segment *s,
                                           int64_t merchant, struct tl_status *st);
/* Bytes of what is collected and not in the cache. */
uint64_t tl_prefetch_size(const struct tl_prefetch *p);
TL_CHECK enum tl_code tl_prefetch_run(struct tl_prefetch *p, struct tl_read_stats *stats,
                                      struct tl_status *st);
TL_CHECK enum tl_code tl_prefetch_begin(struct tl_prefetch *p, struct tl_io_queue *queue,
                                        struct tl_read_stats *stats, struct tl_status *st);
/* *late: the reads were not all there yet. */
TL_CHECK enum tl_code tl_prefetch_finish(struct tl_prefetch *p, bool *late, struct tl_status *st);
/* Waits for what is in flight, unpins, and forgets what was collected. */
void tl_prefetch_clear(struct tl_prefetch *p);

/* ---- what a pack holds, for the operator ---- */

enum { TL_INSPECT_ENCODINGS = 16 };

struct tl_column_inspect {
    uint32_t id;
    struct tl_slice name;        /* of ids from TL_COLUMN_NAMED on; lives as long as the segment */
    struct tl_slice parent_name; /* of parent_id */
    struct tl_type type;
    uint32_t nulls;
    uint32_t distinct;
    uint32_t blocks;          /* with bytes on disk */
    uint32_t constant_blocks; /* that stand in the index alone */
    uint64_t block_bytes;     /* headers, validity and values */
    uint64_t validity_bytes;  /* of these */
    uint32_t parent_id;       /* the column that it is mapped by; 0: none */
    uint32_t map_blocks; /* of its map, with bytes on disk; block_bytes are of the exceptions */
    uint64_t map_bytes;
    uint64_t page_bytes;   /* string pages on disk */
    uint64_t string_bytes; /* the strings themselves */
    uint32_t pages;
    uint64_t index_bytes;                     /* the column's share of the segment's index */
    uint32_t encodings[TL_INSPECT_ENCODINGS]; /* blocks per encoding number */
    uint32_t zstd_blocks;
};
struct tl_segment_inspect {
    uint64_t index_bytes;             /* of the whole index */
    uint64_t merchant_bytes;          /* merchant pages */
    uint64_t resident_bytes;          /* the index in memory */
    uint64_t merchant_resident_bytes; /* of these, the top of the merchant index */
};
/* Reads the blocks' headers of one segment; columns has tl_segment_column_count places. */
TL_CHECK enum tl_code tl_segment_inspect(const struct tl_segment *s, struct tl_segment_inspect *out,
                                         struct tl_column_inspect *columns, struct tl_status *st);
/* The name of an encoding number in `encodings`: "for", "delta", …; NULL past the last. */
const char *tl_inspect_encoding_name(uint32_t encoding);

#endif
