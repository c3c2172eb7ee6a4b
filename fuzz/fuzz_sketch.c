/*
 * fuzz/fuzz_sketch.c: any bytes as a stored sketch. The first byte says of which kind. What is
 * accepted is exactly what the sketch is encoded to again, and merges with itself to the same.
 */
#include "query/sketch.h"

#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_hll(struct tl_slice bytes, struct tl_sketch_memory *m)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_hll h = {0};
    if (tl_hll_merge_bytes(&h, m, bytes, &st) != TL_OK) {
        tl_assert(st.code == TL_CORRUPT && !h.data);
        return;
    }
    struct tl_buffer again;
    tl_buffer_init(&again, "sketch", TL_HLL_ENCODED_BYTES_MAX);
    (void)tl_hll_estimate(&h);
    tl_assert(tl_hll_merge_bytes(&h, m, bytes, &st) == TL_OK);
    tl_assert(tl_hll_check(&h));
    tl_assert(tl_hll_encode(&h, m, &again, &st) == TL_OK);
    tl_assert(tl_slice_eq(tl_buffer_slice(&again), bytes));
    tl_buffer_deinit(&again);
}

static void try_quantile(struct tl_slice bytes, struct tl_sketch_memory *m)
{
    static const double fractions[] = {0, 0.5, 1};
    struct tl_status st = TL_STATUS_INIT;
    struct tl_quantile q = {0};
    if (tl_quantile_merge_bytes(&q, m, bytes, &st) != TL_OK) {
        tl_assert(st.code == TL_CORRUPT && !q.slots);
        return;
    }
    struct tl_buffer again;
    double out[3];
    tl_buffer_init(&again, "sketch", TL_QUANTILE_ENCODED_BYTES_MAX);
    tl_assert(tl_quantile_check(&q));
    tl_assert(tl_quantile_get(&q, m, fractions, 3, out, &st) == TL_OK);
    tl_assert(tl_quantile_encode(&q, m, &again, &st) == TL_OK);
    tl_assert(tl_slice_eq(tl_buffer_slice(&again), bytes));
    tl_buffer_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tl_arena arena;
    struct tl_sketch_memory memory;
    if (size == 0)
        return 0;
    tl_arena_init(&arena, NULL, 0);
    tl_sketch_memory_init(&memory, &arena);
    if (data[0] & 1)
        try_hll(tl_slice_of(data + 1, size - 1), &memory);
    else
        try_quantile(tl_slice_of(data + 1, size - 1), &memory);
    tl_arena_deinit(&arena);
    return 0;
}
