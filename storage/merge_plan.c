/*
 * Each column is tried under each column that has at least as many strings: is it (nearly) a
 * function of that one? Then what a map and its exceptions take is measured with the fast encoder
 * against the codes themselves, as they would be stored.
 *
 * Columns are looked at in descending order of their strings, ties in ascending order of id, and
 * only by columns before them: no circle can come about. Every parent above a column makes it a
 * little dearer to read, which counts as DEPTH_COST.
 */
#include "storage/merge_int.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/bytes.h"
#include "storage/encoding.h"
#include "storage/segment.h"

enum {
    EXCEPTIONS_SHARE = 8,  /* at most one row of so many */
    EARLY_ROWS = 1024,     /* looked at before a pair is given up */
    DEPTH_COST_ROWS = 256, /* a parent counts as a byte per so many rows */
    LEAST_SAVED_ROWS = 64, /* and at least so much must be saved */
    PARENTS_MAX = 64,      /* the columns with the most strings may be parents */
};

uint32_t tl__sample_spans(uint32_t rows, uint32_t first_rows[TL__SAMPLE_SPANS_MAX])
{
    uint32_t spans = rows / (TL__SAMPLE_SPAN_ROWS * 16);
    if (spans > TL__SAMPLE_SPANS_MAX)
        spans = TL__SAMPLE_SPANS_MAX;
    if (spans == 0)
        spans = 1;
    first_rows[0] = 0;
    for (uint32_t i = 1; i < spans; i++) /* the last one ends with the rows */
        first_rows[i] = (uint32_t)((uint64_t)(rows - TL__SAMPLE_SPAN_ROWS) * i / (spans - 1));
    return spans;
}

struct plan {
    struct tl__plan_column *columns;
    uint32_t rows;
    struct tl_encoder *encoder;
    struct tl_buffer out;
    uint32_t *map;        /* of the pair in hand */
    uint32_t *exceptions; /* of its rows */
};

static enum tl_code measure(struct plan *p, const uint32_t *values, uint32_t count, uint64_t *bytes,
                            struct tl_status *st)
{
    struct tl_encode_options opt = {.zstd_level = 1, .effort = TL_EFFORT_FAST};
    for (uint32_t lo = 0; lo < count; lo += TL_BLOCK_ROWS) {
        uint32_t n = count - lo < TL_BLOCK_ROWS ? count - lo : TL_BLOCK_ROWS;
        tl_buffer_clear(&p->out);
        enum tl_code rc = tl_encode_u32(p->encoder, values + lo, n, &opt, &p->out, st);
        if (rc)
            return rc;
        *bytes += p->out.size;
    }
    return TL_OK;
}

/* Makes the map from `parent` to `child` and the exceptions; false when they are too many. */
static bool try_map(struct plan *p, const struct tl__plan_column *parent,
                    const struct tl__plan_column *child, uint32_t *entries, uint32_t *exceptions)
{
    uint32_t known = 0, found = 0;
    for (uint32_t i = 0; i < p->rows; i++) {
        uint32_t key = parent->keys[i], mine = child->keys[i];
        if (key > known)
            p->map[known++] = mine;
        uint32_t told = key ? p->map[key - 1] : 0;
        p->exceptions[i] = told == mine ? 0 : mine + 1;
        found += told != mine;
        if ((i & (EARLY_ROWS - 1)) == EARLY_ROWS - 1 && found > (i + 1) / EXCEPTIONS_SHARE)
            return false;
    }
    *entries = known;
    *exceptions = found;
    return found <= p->rows / EXCEPTIONS_SHARE;
}

static enum tl_code choose(struct plan *p, const uint32_t *order, uint32_t at, struct tl_status *st)
{
    struct tl__plan_column *child = &p->columns[order[at]];
    uint64_t plain = 0, best = UINT64_MAX;
    uint32_t parent = UINT32_MAX;
    for (uint32_t i = 0; i < at && i < PARENTS_MAX; i++) {
        const struct tl__plan_column *q = &p->columns[order[i]];
        uint32_t entries, exceptions;
        if (q->distinct < 2 || q->depth == TL_MAP_DEPTH_MAX ||
            !try_map(p, q, child, &entries, &exceptions))
            continue;
        uint64_t cost = (uint64_t)(q->depth + 1) * p->rows / DEPTH_COST_ROWS;
        enum tl_code rc = plain == 0 ? measure(p, child->keys, p->rows, &plain, st) : TL_OK;
        if (!rc)
            rc = measure(p, p->map, entries, &cost, st);
        if (!rc && exceptions > 0)
            rc = measure(p, p->exceptions, p->rows, &cost, st);
        if (rc)
            return rc;
        if (cost < best) {
            best = cost;
            parent = order[i];
        }
    }
    if (parent == UINT32_MAX || best >= plain - plain / 8 ||
        plain - best < p->rows / LEAST_SAVED_ROWS)
        return TL_OK;
    child->parent = parent;
    child->depth = p->columns[parent].depth + 1;
    p->columns[parent].keep = true;
    return TL_OK;
}

/* Before: more strings, or as many and a smaller id. */
static void sort_columns(const struct tl__plan_column *columns, uint32_t *order, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint32_t at = i;
        for (; at > 0; at--) {
            const struct tl__plan_column *a = &columns[order[at - 1]];
            if (a->distinct > columns[i].distinct ||
                (a->distinct == columns[i].distinct && a->id < columns[i].id))
                break;
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
}

enum tl_code tl__plan(struct tl__plan_column *columns, uint32_t count, uint32_t rows,
                      struct tl_status *st)
{
    tl_assert(rows <= TL__SAMPLE_ROWS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        columns[i].parent = UINT32_MAX;
        columns[i].depth = 0;
        columns[i].keep = false;
    }
    struct plan p = {.columns = columns, .rows = rows};
    tl_buffer_init(&p.out, "encoding tried", TL_PAYLOAD_BYTES_MAX);
    uint32_t *order = calloc((size_t)count + 1, sizeof(*order));
    p.map = calloc((size_t)rows + 1, sizeof(*p.map));
    p.exceptions = calloc((size_t)rows + 1, sizeof(*p.exceptions));
    enum tl_code rc = order && p.map && p.exceptions ? tl_encoder_new(&p.encoder, st)
                                                     : TL_FAIL(st, TL_LIMIT, "no memory to merge");
    if (!rc)
        sort_columns(columns, order, count);
    for (uint32_t i = 1; !rc && i < count; i++)
        rc = choose(&p, order, i, st);
    tl_encoder_free(p.encoder);
    tl_buffer_deinit(&p.out);
    free(order);
    free(p.map);
    free(p.exceptions);
    return rc;
}
