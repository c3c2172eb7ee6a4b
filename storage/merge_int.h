/*
 * storage/merge_int.h: what the files of merging share among themselves: merge.c (the order of
 * rows), merge_columns.c (the columns), merge_plan.c (which columns are mapped by which others).
 */
#ifndef TALLY_STORAGE_MERGE_INT_H
#define TALLY_STORAGE_MERGE_INT_H

#include "storage/interner_int.h"
#include "storage/merge.h"
#include "storage/pack_int.h"

enum {
    TOKEN_LENGTH_BITS = 13,
    TOKEN_SKIP_BITS = 11,
    TOKEN_LENGTH_MAX = (1 << TOKEN_LENGTH_BITS) - 1,
    TOKEN_SKIP_FAR = (1 << TOKEN_SKIP_BITS) - 1, /* the number follows */
    MERGE_SLICE_ROWS = TL_VECTOR_ROWS_MAX,
};
#define CODE_NONE   UINT32_MAX       /* not mapped yet */
#define CODE_WANTED (UINT32_MAX - 1) /* of the sample */

_Static_assert(TL_MERGE_INPUTS_MAX <= 255, "an input's number fits a token");
_Static_assert(TL_BLOCK_ROWS % MERGE_SLICE_ROWS == 0, "a slice lies in one block");

/* The tokens of one partition. */
struct tl__sequence {
    uint32_t *tokens;
    uint32_t count, capacity;
    uint32_t rows;
    uint32_t last;      /* place of the last token's word */
    uint8_t last_input; /* its input; meaningless when count is 0 */
    uint32_t *next;     /* per input: the row after the last one taken */
};

/* One input while a column is streamed. */
struct tl__stream {
    const struct tl__column *column; /* NULL: the input has no such column */
    bool derived;                    /* rows are asked for (merge_props_int.h) */
    struct tl__window blocks, pages;
    struct tl_cursor cursor;
    uint32_t row;    /* next row to take */
    uint32_t lo, hi; /* the slice in hand */
    bool has_nulls;
    uint32_t *map; /* TEXT: code to new code */
    uint32_t map_capacity;
    const uint8_t *page; /* the strings in hand, of codes [page_first, page_end) */
    uint32_t page_first, page_end;
    uint64_t values[MERGE_SLICE_ROWS];
    uint64_t validity[MERGE_SLICE_ROWS / 64];
};

/* A column of the merged segments. */
struct tl__merge_column {
    uint32_t id;
    struct tl_type type;
    struct tl_slice name; /* of ids from TL_COLUMN_NAMED on */
    uint32_t parent_id;   /* of the segment in hand: what it is mapped by; 0: by none */
    uint32_t depth;       /* parents above it */
    bool keep;            /* others are mapped by it */
};

struct tl__merge {
    const struct tl_merge_input *inputs;
    uint32_t input_count;
    const struct tl_segment_meta *partitions;
    uint32_t partition_count;
    const struct tl_merge_options *options;
    struct tl__sequence *sequences;
    uint32_t *nexts;
    struct tl__keys *keys;
    struct tl__stream *streams;
    struct tl__merge_column *columns; /* ascending by id */
    uint32_t column_count;            /* of the segment in hand */
    uint32_t column_capacity;
    uint32_t schema_count;         /* of these, without names: the same in all segments */
    struct tl__props_merge *props; /* of the segment in hand; NULL: no maps */
    bool count_shapes;             /* rows go to props and nowhere else */
    struct tl_pack_writer *writer;
    size_t charged;
    uint32_t partition; /* the one found last */
    uint32_t heap[TL_MERGE_INPUTS_MAX];
    uint32_t heap_count;

    uint64_t out[MERGE_SLICE_ROWS];
    uint64_t out_validity[MERGE_SLICE_ROWS / 64];
    uint32_t out_count;
    bool out_nulls;

    struct tl__images
        images; /* pages, which the sample needs too; blocks, for several partitions */

    /* while a sample is taken, or shapes are counted */
    struct tl__interner *sample_dict; /* NULL: rows go to the writer */
    uint32_t *sample; /* keys; grows by what goes out; NULL: shapes are counted, or strings taken */
};

TL_CHECK enum tl_code tl__merge_charge(struct tl__merge *m, size_t size, struct tl_status *st);
void tl__merge_uncharge(struct tl__merge *m, size_t size);
/* Zeroed and charged until the merge ends; NULL with st set. */
void *tl__merge_take(struct tl__merge *m, size_t count, size_t size, struct tl_status *st);
bool tl__merge_cancelled(const struct tl__merge *m);
uint32_t tl__merge_ahead_bytes(uint32_t input_count);
/* Pass 2: writes the pack. */
TL_CHECK enum tl_code tl__merge_columns(struct tl__merge *m, struct tl_io *io,
                                        const struct tl_pack_id *id, struct tl_pack_info *out,
                                        struct tl_status *st);
void tl__merge_streams_close(struct tl__merge *m);

/* ---- which columns are mapped ----
 * Decided from a sample of the segment's rows, whose places follow from their number alone, so
 * that equal rows are written alike however the inputs of the merge were cut. */

enum {
    TL__SAMPLE_SPAN_ROWS = 8192, /* rows that follow each other */
    TL__SAMPLE_SPANS_MAX = 8,
    TL__SAMPLE_ROWS_MAX = TL__SAMPLE_SPAN_ROWS * TL__SAMPLE_SPANS_MAX,
};
/* More rows than that are not mapped: what the writer keeps stays bounded. */
#define TL__MAPPED_ROWS_MAX (32u << 20)

/* The spans of a segment's sample: the first row of each; they do not overlap. */
uint32_t tl__sample_spans(uint32_t rows, uint32_t first_rows[TL__SAMPLE_SPANS_MAX]);

/* A TEXT column of the sample. */
struct tl__plan_column {
    uint32_t id;
    uint32_t distinct;    /* strings in the sample */
    const uint32_t *keys; /* of the sample's rows: 0 for NULL, else a code + 1; codes are given in
                             order of first appearance in the sample */
    uint32_t parent;      /* out: its index among the columns; UINT32_MAX: stored as it is */
    uint32_t depth;       /* out: parents above it */
    bool keep;            /* out: others are mapped by it */
};
/* Finds for each column the parent that saves most, if one saves enough. */
TL_CHECK enum tl_code tl__plan(struct tl__plan_column *columns, uint32_t count, uint32_t rows,
                               struct tl_status *st);

#endif
