/*
 * engine/rollup_scan.h: the rows of a materialized view, over one snapshot.
 *
 * Each shard is one morsel. Its segments and memtables give streams of rows that are sorted by
 * merchant and time: what rollups stored, raw rows of merchants and segments that have no rollup,
 * and rows of memtables. The streams are merged; what meets in one merchant's quarter of an hour
 * is put together (engine/rollup_cell.h), and handed out when all streams are past it. So the
 * answer is what GROUP BY over the table would give, and memory is that of one bucket, a window
 * of 2,048 rows per stream, and the order of the memtables' rows.
 *
 * Time range and merchants are exact; predicates are left to the filter above.
 *
 * The functions are those of query/source.h, for a scan of a view; see there.
 */
#ifndef TALLY_ENGINE_ROLLUP_SCAN_H
#define TALLY_ENGINE_ROLLUP_SCAN_H

#include "engine/rollup.h"
#include "engine/version.h"

struct tl_rollup_scan;

/* The specification's merchants are those that the tenant may see. */
TL_CHECK enum tl_code tl_rollup_scan_open(const struct tl_snapshot *snapshot,
                                          const struct tl_view *view,
                                          const struct tl_scan_spec *spec,
                                          struct tl_rollup_scan **out, struct tl_status *st);
TL_CHECK enum tl_code tl_rollup_scan_next_morsel(struct tl_rollup_scan *scan, struct tl_morsel *out,
                                                 bool *found, struct tl_status *st);
TL_CHECK enum tl_code tl_rollup_scan_next_chunk(struct tl_rollup_scan *scan, struct tl_morsel *m,
                                                struct tl_chunk *out, struct tl_status *st);
void tl_rollup_scan_close_morsel(struct tl_rollup_scan *scan, struct tl_morsel *m);
void tl_rollup_scan_stats(const struct tl_rollup_scan *scan, struct tl_scan_stats *out);
void tl_rollup_scan_close(struct tl_rollup_scan *scan); /* takes NULL */

#endif
