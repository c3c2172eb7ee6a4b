/*
 * engine/rollup_rows.h: some columns of a segment as arrays of 64-bit values, window by window.
 *
 * Both raw segments (the columns that a view reads) and rollups (the parts that it stored) are
 * read so. TEXT comes as codes, the strings behind them from dict().
 *
 * Ownership  caller's memory; arrays come from the arena given at the start. What a window shows
 *            lives until the next read.
 * Threads    one.
 * Errors     TL_CORRUPT: a column has another type than asked for; what reading says.
 */
#ifndef TALLY_ENGINE_ROLLUP_ROWS_H
#define TALLY_ENGINE_ROLLUP_ROWS_H

#include "base/arena.h"
#include "engine/rollup_cell.h"
#include "storage/segment.h"

struct tl_rollup_reader_column {
    const struct tl_column *column; /* NULL: the segment lacks it, all NULL */
    struct tl_cursor cursor;
    struct tl_dict_reader dict;
    bool cursor_open, dict_open;
};

struct tl_rollup_reader {
    const struct tl_view_slot *slots; /* what is read; borrowed */
    uint32_t count;
    struct tl_rollup_reader_column *columns;
    struct tl_vector *vectors;
    struct tl_rollup_values *values;
    uint64_t *buffers; /* TL_VECTOR_ROWS_MAX per slot */
    uint64_t *bits;    /* validity where a constant is NULL: zeros */
    uint32_t lo, hi;   /* the window: row r is at r - lo */
};

/* Makes room for `count` columns; no segment yet. */
TL_CHECK enum tl_code tl_rollup_reader_init(struct tl_rollup_reader *r,
                                            const struct tl_view_slot *slots, uint32_t count,
                                            struct tl_arena *arena, struct tl_status *st);
/* Opens the columns in a segment; the pack must be held. */
TL_CHECK enum tl_code tl_rollup_reader_open(struct tl_rollup_reader *r, struct tl_segment *segment,
                                            struct tl_arena *arena, struct tl_read_stats *stats,
                                            struct tl_status *st);
/* Fills the window with the rows [lo, hi), at most TL_VECTOR_ROWS_MAX. */
TL_CHECK enum tl_code tl_rollup_reader_read(struct tl_rollup_reader *r, uint32_t lo, uint32_t hi,
                                            struct tl_status *st);
/* Shows vectors that came from elsewhere (a memtable) in the same way: r->vectors were set. */
void tl_rollup_reader_show(struct tl_rollup_reader *r, uint32_t count);
/* The dictionary of a TEXT column; NULL: it has none. */
const struct tl_dict *tl_rollup_reader_dict(const struct tl_rollup_reader *r, uint32_t slot);
void tl_rollup_reader_close(struct tl_rollup_reader *r);

/* The dictionaries of a reader of the view's slots as a cell's source; what sketches learn of
 * their strings is kept in the arena. */
TL_CHECK enum tl_code tl_rollup_source_of(struct tl_rollup_source *out, const struct tl_view *view,
                                          const struct tl_rollup_reader *r, struct tl_arena *arena,
                                          struct tl_status *st);
/* The second half of that, when the dictionaries were set. */
TL_CHECK enum tl_code tl_rollup_source_hashes(struct tl_rollup_source *s,
                                              const struct tl_view *view, struct tl_arena *arena,
                                              struct tl_status *st);

#endif
