/*
 * engine/scan_int.h: what the files of a scan share: its segments (scan_segments.c), its morsels
 * (scan.c).
 */
#ifndef TALLY_ENGINE_SCAN_INT_H
#define TALLY_ENGINE_SCAN_INT_H

#include <pthread.h>

#include "engine/db_int.h"
#include "engine/scan_ahead.h"
#include "engine/tenant.h"

enum { TL__MORSEL_ROWS = 65536 };

struct tl_db_source {
    struct tl_source source; /* first */
    struct tally *db;
    struct tl_snapshot snapshot; /* borrowed from the cursor */
    struct tally_tenant tenant;  /* its merchants are borrowed from the statement */
};

/* One requested column in one segment; PROPS have a second one for the values. */
struct segment_column {
    const struct tl_column *column; /* NULL: all NULL */
    struct tl_dict_reader reader;   /* TEXT */
    bool reader_open;
    bool own;                       /* of one key of a PROPS column: it has this column to itself */
    const struct tl_props_hot *hot; /* PROPS, when it has not: the keys that have */
    struct tl_read_stats stats;     /* of the reader */
};

struct segment_scan {
    struct tl_live_segment *live;
    struct tl_segment *segment;
    struct segment_column *columns; /* 2 × column_count */
    bool check_ts;                  /* some rows of the ranges may lie outside the time range */
    bool fetched;                   /* its blocks were read when the scan was opened */
    struct tl_row_range *ranges;    /* of the wanted merchants, at the open */
    uint32_t range_count, shard;
};

struct memtable_scan {
    struct tl_memtable *memtable;
    struct tl_memtable_dict *dicts; /* 2 × column_count */
    bool *has_dict;
};

/* A unit of work: rows [lo, hi) of a segment or memtable, or a list of memtable rows. */
struct work {
    struct segment_scan *segment;
    struct memtable_scan *memtable;
    const uint32_t *rows;
    uint32_t lo, hi; /* for a list: indexes into it */
};

struct tl_scan {
    struct tl_db_source *source;
    struct tl_arena arena;
    const struct tl_table *table;
    uint32_t column_count;
    struct tl_scan_column *columns;
    int64_t ts_min_us, ts_max_us;
    bool all_merchants; /* blocks are passed once */
    uint32_t predicate_count;
    const struct tl_predicate *predicates;
    struct segment_scan **segments; /* for closing */
    uint32_t segment_count, segment_capacity;
    struct work *work;
    uint32_t work_count, work_capacity, next_work;
    struct tl_ahead *ahead; /* NULL: nothing to be read ahead */
    pthread_mutex_t lock;   /* free morsels, stats */
    struct morsel_state *free_morsels;
    struct tl_scan_stats stats;
    struct tl_budget *budget;
    struct tl_rollup_scan *rollup; /* of a view: it does all; else NULL */
};

/* The stored columns of a requested one: itself, or the two of a PROPS key. */
static inline uint32_t column_ids(const struct tl_scan *scan, uint32_t i, uint32_t ids[2])
{
    ids[0] = scan->columns[i].column_id;
    ids[1] = ids[0] + 1;
    return scan->columns[i].props_key.size > 0 ? 2 : 1;
}
static inline bool inside_time(const struct tl_scan *scan, const struct tl_segment_info *info)
{
    return info->min_ts >= scan->ts_min_us && info->max_ts <= scan->ts_max_us;
}

/* Where the requested columns lie in the segment; again is fine. */
TL_CHECK enum tl_code tl__scan_locate_columns(struct tl_scan *scan, struct segment_scan *s,
                                              struct tl_status *st);
/* Rows that the block's bounds exclude. */
bool tl__scan_block_may_match(const struct tl_scan *scan, const struct segment_scan *s,
                              uint32_t block);
/* The segment goes onto the scan's list, unless it cannot hold a wanted row. */
TL_CHECK enum tl_code tl__scan_add_segment(struct tl_scan *scan, const struct tl_scan_spec *spec,
                                           struct tl_live_segment *live, uint32_t shard,
                                           struct tl_status *st);
/* With merchants given: their exact rows in each segment of the list. */
TL_CHECK enum tl_code tl__scan_find_ranges(struct tl_scan *scan, const struct tl_scan_spec *spec,
                                           struct tl_status *st);
/* Starts the reading ahead, where there are morsels whose blocks are not here yet. */
TL_CHECK enum tl_code tl__scan_open_ahead(struct tl_scan *scan, struct tl_status *st);

#endif
