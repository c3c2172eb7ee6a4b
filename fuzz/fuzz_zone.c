/*
 * fuzz/fuzz_zone.c: any bytes as a TZif file. A zone that is accepted answers for every time, and
 * its spans hold the time that they were asked for.
 */
#include "base/zone.h"

#include "base/assert.h"
#include "base/time.h"
#include "base/zone_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t times[] = {INT64_MIN,
                                    TL_TIMESTAMP_MIN_US,
                                    -2208988800 * TL_US_PER_SECOND,
                                    -1,
                                    0,
                                    1714557600 * TL_US_PER_SECOND,
                                    4102444800 * TL_US_PER_SECOND,
                                    TL_TIMESTAMP_MAX_US,
                                    INT64_MAX};
    struct tl_status st = TL_STATUS_INIT;
    struct tl_zone *z = NULL;
    if (tl__zone_decode(tl_slice_of(data, size), "Fuzz/Zone", &z, &st) != TL_OK)
        return 0;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct tl_zone_span span;
        tl_zone_span_at(z, times[i], &span);
        tl_assert(span.from_us <= times[i]);
        tl_assert(span.until_us > times[i] || times[i] == INT64_MAX);
        (void)tl_zone_to_utc(z, times[i]);
        for (int f = 0; f <= TL_FIELD_MILLENNIUM; f++)
            (void)tl_date_trunc_zone((enum tl_field)f, times[i], z);
    }
    (void)tl_zone_is_quarter_hours(z, 0, 4102444800 * TL_US_PER_SECOND);
    tl__zone_free(z);
    return 0;
}
