/*
 * base/zone.h: time zones.
 *
 * IANA zones are read from their TZif files (RFC 8536) under /usr/share/zoneinfo, once, and kept
 * for the life of the process; the footer's rule carries them past the table. The process's own
 * TZ is never looked at. Names are PostgreSQL's: any case; abbreviations ('PST', 'CEST') are
 * fixed offsets and win over files of that name; '+02' and '-05:30' are POSIX and so mean WEST
 * of Greenwich when positive, as they do in AT TIME ZONE. (In a timestamp's text, '+02' is ISO
 * and means east: see base/time.h.)
 *
 * Ownership  a zone is never freed and never changes: keep the pointer.
 * Threads    any, all functions.
 * Units      times in microseconds UTC since 1970; offsets in seconds EAST of Greenwich.
 * Errors     TL_INVALID (22023): no such zone. TL_CORRUPT: its file is not TZif. TL_LIMIT.
 */
#ifndef TALLY_BASE_ZONE_H
#define TALLY_BASE_ZONE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

enum { TL_ZONE_NAME_MAX = 63 };

struct tl_zone;

/* The zone of a name in AT TIME ZONE, date_trunc, time_bucket. */
TL_CHECK enum tl_code tl_zone_get(struct tl_slice name, const struct tl_zone **out,
                                  struct tl_status *st);
/* The zone of SET timezone: as tl_zone_get, but a bare number ('2', '+02', '-5.5') is hours
 * EAST, as PostgreSQL has it. */
TL_CHECK enum tl_code tl_zone_get_session(struct tl_slice name, const struct tl_zone **out,
                                          struct tl_status *st);
const struct tl_zone *tl_zone_utc(void);
/* A fixed offset, in whole minutes within ±15:59. */
TL_CHECK enum tl_code tl_zone_get_fixed(int32_t offset_s, const struct tl_zone **out,
                                        struct tl_status *st);

/* "Europe/Berlin" in the file's own case, "UTC", "<+02>-02". */
const char *tl_zone_name(const struct tl_zone *z);
/* True when the offset never changes; it is then in *offset_s. */
bool tl_zone_is_fixed(const struct tl_zone *z, int32_t *offset_s);
/* XXH3 of the file's bytes (of the name, for fixed offsets): what a program version pins. */
uint64_t tl_zone_content_hash(const struct tl_zone *z);
/* True when every offset in [from_us, until_us) is a multiple of 15 minutes. */
bool tl_zone_is_quarter_hours(const struct tl_zone *z, int64_t from_us, int64_t until_us);

/* A stretch of time with one offset. Keep one beside a loop over rows. */
struct tl_zone_span {
    int64_t from_us;          /* INT64_MIN: since ever */
    int64_t until_us;         /* the first instant after it; INT64_MAX: for ever */
    int32_t offset_s;         /* east */
    bool dst;                 /* daylight saving time */
    const char *abbreviation; /* "CET"; lives as long as the zone */
};

/* The span that holds utc_us. */
void tl_zone_span_at(const struct tl_zone *z, int64_t utc_us, struct tl_zone_span *out);

/* Seconds east at utc_us; *abbreviation, when wanted, lives for ever. */
int32_t tl_zone_offset_at(const struct tl_zone *z, int64_t utc_us, const char **abbreviation);

/* The offset that PostgreSQL gives a local time: in a gap the one before it, in an overlap the
 * one after it. */
int32_t tl_zone_offset_of_local(const struct tl_zone *z, int64_t local_us);

/* Local wall time of an instant and back. Beyond the range of times they saturate. */
static inline int64_t tl_zone_to_local(const struct tl_zone *z, struct tl_zone_span *span,
                                       int64_t utc_us)
{
    if (utc_us < span->from_us || utc_us >= span->until_us)
        tl_zone_span_at(z, utc_us, span);
    int64_t local;
    if (__builtin_add_overflow(utc_us, (int64_t)span->offset_s * 1000000, &local))
        return utc_us < 0 ? INT64_MIN : INT64_MAX;
    return local;
}
/* A span that holds nothing, to start a loop with. */
#define TL_ZONE_SPAN_NONE ((struct tl_zone_span){.from_us = INT64_MAX, .until_us = INT64_MIN})

static inline int64_t tl_zone_to_utc(const struct tl_zone *z, int64_t local_us)
{
    int64_t utc;
    if (__builtin_sub_overflow(local_us, (int64_t)tl_zone_offset_of_local(z, local_us) * 1000000,
                               &utc))
        return local_us < 0 ? INT64_MIN : INT64_MAX;
    return utc;
}

#endif
