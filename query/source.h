/*
 * query/source.h: the only door between a query and the data.
 *
 * A source is opened with columns, a time range, merchants and simple predicates, and hands out
 * morsels: runs of rows of one segment or memtable, in vectors. The engine implements it over a
 * snapshot; tests implement it over arrays. The tenant is part of the source: a merchant's
 * session gets a source that cannot answer another's rows, whatever the SQL says.
 *
 *     open ── next_morsel ─┬─ next_chunk … ─ close_morsel      (many morsels may be open at once,
 *                          └─ next_morsel …                     each held by one thread)
 *
 * Ownership  the scan owns everything that it hands out. A chunk's vectors live until the next
 *            call on its morsel; dictionaries live until the scan is closed.
 * Threads    open, next_morsel and close: one thread at a time (the executor serialises
 *            next_morsel). next_chunk and close_morsel: whoever holds the morsel; different morsels
 *            at the same time.
 * Errors     whatever the disk or a limit says; TL_CANCELLED and TL_TIMEOUT never come from here.
 */
#ifndef TALLY_QUERY_SOURCE_H
#define TALLY_QUERY_SOURCE_H

#include "base/arena.h"
#include "base/vector.h"

/* ---- the catalog, as a query sees it ---- */

struct tl_column_info {
    uint32_t id;      /* never reused */
    const char *name; /* lower case unless it was created quoted */
    struct tl_type type;
    bool not_null;
};

struct tl_table_info {
    uint32_t id;
    const char *name;
    uint32_t column_count;
    const struct tl_column_info *columns; /* in the order of SELECT * */
    uint32_t merchant_column; /* index into columns of merchant_id (BIGINT); UINT32_MAX: none */
    uint32_t
        ts_column; /* index into columns of ts (TIMESTAMPTZ); of a rollup its bucket; or none */
    bool materialized_view; /* a rollup: read like a table, never written by a batch */
    /* The SELECT that a view stands for: FROM reads it as a subquery. Of a materialized view it is
     * told to clients alone; NULL: not known, or a table. */
    const char *definition;
    uint32_t key_count;  /* of the primary key; 0: none */
    const uint32_t *key; /* indexes into columns */
};

struct tl_catalog;
struct tl_catalog_vtable {
    /* The table of that name, or NULL. `schema` NULL: along the search path (pg_catalog, public).
     * Lives as long as the catalog object. (query/catalog.h looks into pg_catalog before.) */
    const struct tl_table_info *(*table)(const struct tl_catalog *c, const char *schema,
                                         const char *name);
    /* The one list of relations: tables, rollups, views; pg_catalog is made from it. Ids are below
     * 0x20000000 or from 0x40000000 to 0x7fffffff, and stay with a relation for its life. */
    uint32_t (*table_count)(const struct tl_catalog *c);
    const struct tl_table_info *(*table_at)(const struct tl_catalog *c, uint32_t index);
};
struct tl_catalog {
    const struct tl_catalog_vtable *vtab;
    uint64_t version; /* part of a plan's key */
};

/* ---- what a scan asks for ---- */

struct tl_scan_column {
    uint32_t column_id;
    struct tl_type type;       /* TL_TEXT when props_key is given */
    struct tl_slice props_key; /* size > 0: the TEXT value of this key of a PROPS column */
};

enum tl_predicate_op {
    TL_PRED_EQ,
    TL_PRED_NE,
    TL_PRED_LT,
    TL_PRED_LE,
    TL_PRED_GT,
    TL_PRED_GE,
    TL_PRED_IN, /* any of value_count values */
    TL_PRED_IS_NULL,
    TL_PRED_NOT_NULL
};

/* column <op> constant, of the column's own type; NULL never matches but IS NULL. The source
 * may use it to leave out rows that cannot match, and says per morsel whether it did so exactly. */
struct tl_predicate {
    uint32_t column; /* index into tl_scan_spec.columns */
    uint8_t op;      /* enum tl_predicate_op */
    uint32_t value_count;
    /* FLAT, value_count rows, none NULL, of the column's type (TEXT: struct tl_slice) */
    struct tl_vector values;
};

enum { TL_SCAN_PREDICATES_MAX = 32 };

struct tl_scan_spec {
    uint32_t table_id;
    uint32_t column_count; /* may be 0: only row counts are asked for */
    const struct tl_scan_column *columns;
    int64_t ts_min_us;        /* first microsecond that may match (INT64_MIN: open) */
    int64_t ts_max_us;        /* last one (INT64_MAX: open) */
    uint32_t merchant_count;  /* 0: all merchants that the tenant may see */
    const int64_t *merchants; /* ascending, distinct */
    uint32_t predicate_count;
    const struct tl_predicate *predicates;
    struct tl_budget *budget;
};

/* The time range and the merchants are always exact: no row outside them is ever handed out. */

/* ---- what a scan hands out ---- */

struct tl_morsel {
    uint64_t segment; /* identity; 0 for rows of a memtable */
    uint64_t generation;
    uint64_t row_set_version;                     /* of the kept and erased sets */
    uint64_t rows;                                /* an upper bound for the rows to come */
    bool sorted;                                  /* by (merchant_id, ts) */
    bool predicate_exact[TL_SCAN_PREDICATES_MAX]; /* this predicate need not be checked again */
    void *impl;                                   /* the source's own */
};

struct tl_chunk {
    uint32_t count;                  /* rows, 1 … TL_VECTOR_ROWS_MAX */
    const struct tl_vector *columns; /* column_count vectors in the order of the spec */
};

/* What a scan did, for EXPLAIN ANALYZE and counters. */
struct tl_scan_stats {
    uint64_t segments_total, segments_pruned;
    uint64_t memtable_rows;
    uint64_t rows_scanned; /* rows handed out */
    uint64_t blocks_read;  /* decoded */
    uint64_t blocks_cached, blocks_pruned;
    uint64_t bytes_read;  /* from the disk */
    uint64_t reads;       /* requests that brought them */
    uint64_t rollup_rows; /* of a materialized view: rows that were stored, */
    uint64_t raw_rows;    /* and rows of its table that were aggregated */
};

struct tl_scan;
struct tl_source;

struct tl_source_vtable {
    enum tl_code (*open)(struct tl_source *s, const struct tl_scan_spec *spec, struct tl_scan **out,
                         struct tl_status *st);
    /* *found false: there are no more. */
    enum tl_code (*next_morsel)(struct tl_scan *scan, struct tl_morsel *out, bool *found,
                                struct tl_status *st);
    /* out->count 0: the morsel is done. `arena` is the holder's scratch for decoded values; the
     * caller resets it between chunks. */
    enum tl_code (*next_chunk)(struct tl_scan *scan, struct tl_morsel *m, struct tl_arena *arena,
                               struct tl_chunk *out, struct tl_status *st);
    void (*close_morsel)(struct tl_scan *scan, struct tl_morsel *m);
    void (*stats)(const struct tl_scan *scan, struct tl_scan_stats *out);
    void (*close)(struct tl_scan *scan); /* takes NULL */
};

struct tl_source {
    const struct tl_source_vtable *vtab;
};

#endif
