/*
 * tools/generator.h: deterministic, realistic web traffic of many merchants.
 *
 * Sessions begin along a daily and weekly curve; each belongs to a merchant (Zipf 1.05; merchant_id
 * is the rank) and to a visitor of that merchant, new or returning, whose place, language, device
 * and browser stay with them. A session walks the merchant's paths and a funnel from the view of an
 * item to its purchase. Events come out in the order of their arrival, which is late by a little
 * more than their ts says. The same options give the same bytes on every machine: all chance comes
 * from one seed, and logarithms and exponentials are computed here, not by the C library.
 *
 * Columns that a tracker in a browser does not know (method, status, bytes) are NULL unless
 * `server_fields`; ip_prefix, event_id and props are NULL unless asked for.
 *
 * Ownership  a generator owns everything; outputs are appended to the caller's buffer.
 * Threads    one generator belongs to one thread.
 * Units      microseconds UTC at the door, milliseconds inside (every ts is a whole millisecond).
 * Errors     TL_LIMIT: no memory, or the output does not fit its buffer. TL_INVALID: options.
 */
#ifndef TALLY_TOOLS_GENERATOR_H
#define TALLY_TOOLS_GENERATOR_H

#include "base/bytes.h"
#include "base/status.h"

enum { TL_GENERATOR_MERCHANTS_MAX = 50000000, TL_GENERATOR_DAYS_MAX = 36500 };

struct tl_generator_options {
    uint64_t seed;
    uint32_t merchants;
    uint64_t events;
    int64_t from_us; /* the first day's beginning; a whole millisecond */
    uint32_t days;
    bool event_ids;
    bool props;
    bool ip_prefixes;
    bool server_fields;
    bool even;           /* all merchants alike, instead of Zipf's law */
    bool count_paths;    /* keeps the sets that stats need (a bit per possible path) */
    uint32_t batch_rows; /* at most, of one encoded batch */
};

struct tl_generator_stats {
    uint64_t events, sessions, visitors, purchases;
    uint64_t merchants;      /* with at least one event */
    uint64_t paths;          /* distinct strings; 0 unless count_paths */
    uint64_t merchant_paths; /* distinct pairs; 0 unless count_paths */
};

struct tl_generator;

TL_CHECK enum tl_code tl_generator_new(const struct tl_generator_options *options,
                                       struct tl_generator **out, struct tl_status *st);
void tl_generator_free(struct tl_generator *g); /* takes NULL */

/* Appends the next rows as one encoded tally.v1.Batch. *rows 0: all events are out, nothing
 * was appended. */
TL_CHECK enum tl_code tl_generator_batch(struct tl_generator *g, struct tl_buffer *out,
                                         uint32_t *rows, struct tl_status *st);

enum tl_generator_text { TL_GENERATOR_CSV, TL_GENERATOR_NDJSON };
/* Appends up to batch_rows rows as text. One generator makes either batches or one kind of
 * text. */
TL_CHECK enum tl_code tl_generator_text(struct tl_generator *g, enum tl_generator_text format,
                                        struct tl_buffer *out, uint32_t *rows,
                                        struct tl_status *st);
/* The header line of the CSV form. */
void tl_generator_csv_header(struct tl_buffer *out);

void tl_generator_stats(const struct tl_generator *g, struct tl_generator_stats *out);

#endif
