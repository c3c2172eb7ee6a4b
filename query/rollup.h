/*
 * query/rollup.h: what a rollup keeps: the bound form of
 *
 *     CREATE MATERIALIZED VIEW name WITH (tally.rollup) AS
 *         SELECT time_bucket('15 minutes', ts) AS bucket, merchant_id, <dimensions>, <aggregates>
 *         FROM table GROUP BY bucket, merchant_id, <dimensions>
 *
 * A definition says nothing about storage; the engine keeps it in the catalog, computes it and
 * answers from it. Its columns stand in the order of the SELECT list.
 *
 * Ownership  whoever made it says where its memory lives (a plan's arena, a catalog's).
 * Threads    read-only: any.
 */
#ifndef TALLY_QUERY_ROLLUP_H
#define TALLY_QUERY_ROLLUP_H

#include "base/vector.h"

#define TL_ROLLUP_BUCKET_US (15LL * 60 * 1000000) /* divides every time zone's hour and day */

enum { TL_ROLLUP_COLUMNS_MAX = 64 };

/* Numbers stand in the log and the manifest: never reused. */
enum tl_rollup_kind {
    TL_ROLLUP_BUCKET = 1,
    TL_ROLLUP_MERCHANT = 2,
    TL_ROLLUP_DIMENSION = 3,
    TL_ROLLUP_COUNT_STAR = 4,
    TL_ROLLUP_COUNT = 5,
    TL_ROLLUP_SUM = 6,
    TL_ROLLUP_AVG = 7,
    TL_ROLLUP_MIN = 8,
    TL_ROLLUP_MAX = 9,
    TL_ROLLUP_COUNT_DISTINCT = 10,    /* exact; of TEXT */
    TL_ROLLUP_APPROX_DISTINCT = 11,   /* query/sketch.h */
    TL_ROLLUP_APPROX_PERCENTILE = 12, /* the same; `fraction` */
};

struct tl_rollup_column {
    const char *name;
    uint8_t kind;        /* enum tl_rollup_kind */
    uint32_t source_id;  /* column of the table that it is computed from; 0: none */
    struct tl_type from; /* that column's type */
    struct tl_type type; /* of the answer */
    double fraction;
};

struct tl_rollup_def {
    const char *name;
    uint32_t table_id; /* what it is computed from */
    uint32_t column_count;
    const struct tl_rollup_column *columns;
};

static inline bool tl_rollup_is_aggregate(const struct tl_rollup_column *c)
{
    return c->kind >= TL_ROLLUP_COUNT_STAR;
}

#endif
