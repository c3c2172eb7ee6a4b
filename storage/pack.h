/*
 * storage/pack.h: the file that holds one or more segments of one log; written once, never changed.
 *
 *     header | blocks, string pages and merchant pages of each segment, its index | footer |
 * trailer
 *
 * A pack is written segment by segment, a segment column by column, and each column row by row
 * in order, so that the writer holds one block and one dictionary, never a segment's rows. The
 * same rows in the same order make the same bytes. docs/FORMAT.md describes each byte.
 *
 *     tl_pack_create
 *       tl_pack_segment_begin            columns in any order, each once; merchant_id (1) and
 *         tl_pack_column_begin           ts (2) come first and are never NULL, unless the pack
 *           tl_pack_column_append …      holds derived columns alone; rows are sorted by them
 *         tl_pack_column_end
 *       tl_pack_segment_end
 *     tl_pack_finish  or, after any failure, tl_pack_abort
 *
 * Durability  tl_pack_finish returns when the file's bytes are synced. Its name is durable only
 *             after the caller synced the directory TL_PACK_DIR, and it must be before a manifest
 *             transaction names the pack.
 * Ownership   a writer copies what it needs from each vector before the call returns. A pack is
 *             reference-counted; its segments, columns and their indexes live as long as it does.
 * Threads     a writer belongs to one thread. An open pack is immutable: any thread.
 * Units       sizes in bytes, rows in rows, times in microseconds UTC.
 * Errors      TL_CORRUPT: bytes that no writer of ours makes. TL_IO, TL_FULL: the disk.
 *             TL_LIMIT: a budget or a bound of the format. TL_UNSUPPORTED: a newer format.
 *             After a failed call a writer answers with that failure until tl_pack_abort.
 */
#ifndef TALLY_STORAGE_PACK_H
#define TALLY_STORAGE_PACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "base/vector.h"

struct tl_budget;
struct tl_cache;
struct tl_io;
struct tl_pack;
struct tl_pack_writer;
struct tl_segment;

#define TL_PACK_DIR "packs"

enum {
    TL_PACK_NAME_MAX = 64,        /* bytes of a file name with its folder and its NUL */
    TL_PACK_SEGMENTS_MAX = 65536, /* in one pack */
    TL_SEGMENT_COLUMNS_MAX = 4096,
    TL_COLUMN_MERCHANT = 1, /* merchant_id BIGINT: the first sort key of every table */
    TL_COLUMN_TS = 2,       /* ts: the second sort key */
};
#define TL_PACK_SHARD_ALL UINT32_MAX
/* Column ids from here on have a name instead of a meaning in the schema (storage/props.h). */
#define TL_COLUMN_NAMED    0x80000000u
#define TL_COLUMN_NAME_MAX 255

/* Numbers stand in file names and files: never reused. */
enum tl_pack_kind {
    TL_PACK_SEAL = 1,         /* the flush of a sealed memtable; number = seal number of the log */
    TL_PACK_MERGE = 2,        /* compaction; number = merge number of the log */
    TL_PACK_DERIVED = 3,      /* derived columns of one generation beside raw ones */
    TL_PACK_SEAL_ROLLUP = 4,  /* a rollup of a SEAL pack's segments; table = the view */
    TL_PACK_MERGE_ROLLUP = 5, /* the same of a MERGE pack; number and shard are those of the pack */
};

/* Equal ids hold equal bytes. */
struct tl_pack_id {
    uint64_t number;
    uint32_t log;
    uint32_t table; /* MERGE and DERIVED; 0 for a seal, which holds all tables */
    uint32_t shard; /* TL_PACK_SHARD_ALL where the pack holds several */
    uint8_t kind;   /* enum tl_pack_kind */
};

/* What checksums and cache entries of the pack are keyed by; never 0. */
uint64_t tl_pack_key(const struct tl_pack_id *id);
/* "packs/s-<log>-<table>-<shard>-<number>.pack" (hexadecimal, kind s, m, d, r or q) into buf. */
const char *tl_pack_name(const struct tl_pack_id *id, char buf[TL_PACK_NAME_MAX]);
/* The other way, with or without the folder; false when no pack is named so. */
bool tl_pack_name_parse(const char *name, struct tl_pack_id *out);

/* What the caller says about a segment; stands in the footer and comes back from it. */
struct tl_segment_meta {
    uint32_t table;
    uint32_t shard;
    uint32_t schema_version;
    uint8_t level;    /* 0: whatever hours its flush held; above: one partition */
    int64_t start_us; /* the partition: [start_us, end_us); INT64_MIN, INT64_MAX at level 0 */
    int64_t end_us;
    uint64_t provenance[4]; /* opaque here: log range, source numbers, program, … */
};

struct tl_segment_info {
    struct tl_segment_meta meta;
    uint32_t rows;
    uint32_t columns;
    uint32_t merchants; /* distinct; 0 in a pack of derived columns, also the next four */
    int64_t min_merchant;
    int64_t max_merchant;
    int64_t min_ts;
    int64_t max_ts;
    uint64_t offset; /* of the segment's first byte in the pack */
    uint64_t size;   /* bytes, its index included */
};

struct tl_pack_info {
    uint64_t size;    /* bytes of the file */
    uint8_t hash[16]; /* XXH3-128 of the file's bytes, canonical (big-endian) form */
    uint32_t segment_count;
    struct tl_segment_info *segments; /* freed by tl_pack_info_deinit */
};
void tl_pack_info_deinit(struct tl_pack_info *info);

struct tl_pack_options {
    int text_level;           /* zstd level of string pages; 0: not compressed */
    int block_level;          /* zstd level tried on blocks (cold packs); 0: light encodings only */
    struct tl_budget *budget; /* charged for dictionaries in flight; NULL: no limit */
    bool omit_empty;          /* leave out columns that hold NULL alone */
    bool map_columns;         /* a merge stores columns that follow others as maps */
};
/* What a flush uses (its packs are merged soon: blocks get light encodings, strings zstd's fastest
 * level, which takes 2 to 3 ns a byte and leaves a third), and what a merge into a partition uses.
 */
#define TL_PACK_OPTIONS_HOT ((struct tl_pack_options){.text_level = 1, .block_level = 0})
/* What a merge uses whose packs are merged again: a third of the CPU, and less to read them. */
#define TL_PACK_OPTIONS_RUN                                                                        \
    ((struct tl_pack_options){.text_level = 1, .block_level = 0, .map_columns = true})
#define TL_PACK_OPTIONS_COLD                                                                       \
    ((struct tl_pack_options){.text_level = 3, .block_level = 1, .map_columns = true})

/* Creates the file named by *id (the folder must exist; a leftover of that name is replaced). */
TL_CHECK enum tl_code tl_pack_create(struct tl_io *io, const struct tl_pack_id *id,
                                     const struct tl_pack_options *options,
                                     struct tl_pack_writer **out, struct tl_status *st);
/* `rows` > 0 is known before the first column: every column must bring as many. */
TL_CHECK enum tl_code tl_pack_segment_begin(struct tl_pack_writer *w,
                                            const struct tl_segment_meta *meta, uint32_t rows,
                                            struct tl_status *st);
/* BOOLEAN, BIGINT, DOUBLE, DECIMAL64, DATE, TIMESTAMP, TIMESTAMPTZ or TEXT; TL_UNSUPPORTED for
 * others. A column that is left out reads as NULL. */
TL_CHECK enum tl_code tl_pack_column_begin(struct tl_pack_writer *w, uint32_t column_id,
                                           struct tl_type type, struct tl_status *st);
/* A TEXT column of id TL_COLUMN_NAMED or above, with a name of 1 to TL_COLUMN_NAME_MAX bytes. */
TL_CHECK enum tl_code tl_pack_named_begin(struct tl_pack_writer *w, uint32_t column_id,
                                          struct tl_slice name, struct tl_status *st);
/* The next rows, in any shape, of the column's type (a CONST vector of kind TL_NULL stands for
 * NULLs of any type). A DICT vector's codes are mapped through an array kept per dictionary id:
 * a distinct string is loaded and hashed once, a row costs one look-up. */
TL_CHECK enum tl_code tl_pack_column_append(struct tl_pack_writer *w, const struct tl_vector *v,
                                            struct tl_status *st);
TL_CHECK enum tl_code tl_pack_column_end(struct tl_pack_writer *w, struct tl_status *st);

/* A column whose values all lie in memory, for a flush. */
struct tl_pack_column {
    const void *values; /* as base/vector.h says, and codes of TEXT; NULL: all rows are NULL */
    const uint64_t *validity; /* NULL: no row is */
    /* TEXT: the strings by code. Each is used by a row, their codes ascend by first appearance,
     * and no two are equal. */
    const struct tl_slice *strings;
    uint32_t string_count;
};
/* Begin, append of all rows, and end: the same bytes, without a copy, a look-up or a hash. */
TL_CHECK enum tl_code tl_pack_column_write(struct tl_pack_writer *w, uint32_t column_id,
                                           struct tl_type type, const struct tl_pack_column *column,
                                           struct tl_status *st);
TL_CHECK enum tl_code tl_pack_segment_end(struct tl_pack_writer *w, struct tl_status *st);
/* Writes footer and trailer, syncs, closes and frees the writer. On failure the writer is still
 * there, for tl_pack_abort. */
TL_CHECK enum tl_code tl_pack_finish(struct tl_pack_writer *w, struct tl_pack_info *out,
                                     struct tl_status *st);
/* Closes and removes the file, frees the writer. NULL is fine. */
void tl_pack_abort(struct tl_pack_writer *w);

/* Opens the pack of *id, verifies header, trailer and footer, and answers with one reference.
 * `cache` may be NULL: every read then goes to the disk. */
TL_CHECK enum tl_code tl_pack_open(struct tl_io *io, const struct tl_pack_id *id,
                                   struct tl_cache *cache, struct tl_pack **out,
                                   struct tl_status *st);
struct tl_pack *tl_pack_ref(struct tl_pack *p);
/* The last one closes the file. NULL is fine. */
void tl_pack_unref(struct tl_pack *p);

const struct tl_pack_id *tl_pack_get_id(const struct tl_pack *p);
uint64_t tl_pack_size(const struct tl_pack *p);
uint32_t tl_pack_segment_count(const struct tl_pack *p);
/* From the footer, without reading the segment's index. */
const struct tl_segment_info *tl_pack_segment_info(const struct tl_pack *p, uint32_t index);
/* The segment with its index, which is read, verified and kept at the first call. Any thread. */
TL_CHECK enum tl_code tl_pack_segment(struct tl_pack *p, uint32_t index, struct tl_segment **out,
                                      struct tl_status *st);

struct tl_pack_counts {
    uint64_t segments, columns, rows; /* rows counted once per segment */
    uint64_t blocks, values, nulls;
    uint64_t pages, strings;
    uint64_t merchants;
    uint64_t bytes;
};
/* Reads everything: each checksum, the content hash (compared when `hash` is not NULL), each
 * block and page decodes, codes are in range, minima, maxima, null counts and code sets are
 * true, rows are sorted, and the merchant index agrees with the merchant column. */
TL_CHECK enum tl_code tl_pack_verify(struct tl_pack *p, const uint8_t hash[16],
                                     struct tl_pack_counts *out, struct tl_status *st);

#endif
