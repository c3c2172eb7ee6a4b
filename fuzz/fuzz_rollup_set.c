/* Any bytes as a rollup's set: what the proof lets through, CRoaring reads without harm, and has as
 * many values as were counted, all below the limit. */
#include <stdlib.h>

#include "base/assert.h"
#include "engine/rollup_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { LIMIT = 1 << 22 };
    struct tl_status st = TL_STATUS_INIT;
    uint32_t count;
    if (tl_rollup_set_count(tl_slice_of(data, size), LIMIT, &count, &st))
        return 0;
    uint32_t *codes = malloc((size_t)count * sizeof(*codes));
    tl_assert(codes && count <= LIMIT);
    tl_assert(tl_rollup_set_codes(tl_slice_of(data, size), count, codes, &st) == TL_OK);
    for (uint32_t i = 0; i < count; i++)
        tl_assert(codes[i] < LIMIT && (i == 0 || codes[i] > codes[i - 1]));
    free(codes);
    return 0;
}
