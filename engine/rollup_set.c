#include "engine/rollup_set.h"

#include <stdlib.h>

#include <roaring/roaring.h>

#include "base/assert.h"
#include "storage/roaring_proof.h"

enum {
    FORM_LIST = 1,
    FORM_ROARING = 2,
    ROARING_FROM = 64, /* smaller sets are smaller as lists */
};

static enum tl_code encode_roaring(const uint32_t *codes, uint32_t count, size_t list_size,
                                   struct tl_buffer *out, bool *written, struct tl_status *st)
{
    roaring_bitmap_t *r = roaring_bitmap_of_ptr(count, codes);
    if (!r)
        return TL_FAIL(st, TL_LIMIT, "no memory for a set of %u values", count);
    (void)roaring_bitmap_run_optimize(r);
    size_t size = roaring_bitmap_portable_size_in_bytes(r);
    *written = size + 1 < list_size;
    if (*written) {
        tl_buffer_put_u8(out, FORM_ROARING);
        uint8_t *at = tl_buffer_reserve(out, size);
        if (at) {
            size_t put = roaring_bitmap_portable_serialize(r, (char *)at);
            tl_assert(put == size);
            out->size += size;
        }
    }
    roaring_bitmap_free(r);
    return TL_OK;
}

enum tl_code tl_rollup_set_encode(const uint32_t *codes, uint32_t count, struct tl_buffer *out,
                                  struct tl_status *st)
{
    tl_assert(count >= 1 && count <= TL_ROLLUP_SET_CODES_MAX);
    size_t begin = out->size;
    tl_buffer_put_u8(out, FORM_LIST);
    uint64_t before = 0;
    for (uint32_t i = 0; i < count; i++) {
        tl_assert(i == 0 || codes[i] >= before);
        tl_buffer_put_varint(out, codes[i] - before);
        before = (uint64_t)codes[i] + 1;
    }
    if (tl_buffer_check(out, st))
        return st->code;
    if (count < ROARING_FROM)
        return TL_OK;
    struct tl_buffer bitmap;
    bool written = false;
    tl_buffer_init(&bitmap, "a rollup's set", 1 << 20);
    if (!encode_roaring(codes, count, out->size - begin, &bitmap, &written, st) &&
        !tl_buffer_check(&bitmap, st) && written) {
        out->size = begin;
        tl_buffer_put(out, bitmap.data, bitmap.size);
        TL_IGNORE(tl_buffer_check(out, st));
    }
    tl_buffer_deinit(&bitmap);
    return st->code;
}

static enum tl_code count_list(struct tl_slice bytes, uint64_t limit, uint32_t *count,
                               struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(bytes);
    uint64_t next = 0; /* least code that may follow */
    uint32_t n = 0;
    (void)tl_read_u8(&r);
    for (; tl_reader_left(&r) > 0 && !r.failed; n++) {
        uint64_t step = tl_read_varint(&r);
        if (r.failed || step >= limit || next + step >= limit)
            return TL_FAIL(st, TL_CORRUPT, "a stored set is not one: a value is out of range");
        next += step + 1;
    }
    if (n == 0)
        return TL_FAIL(st, TL_CORRUPT, "a stored set is empty");
    *count = n;
    return TL_OK;
}

enum tl_code tl_rollup_set_count(struct tl_slice bytes, uint64_t limit, uint32_t *count,
                                 struct tl_status *st)
{
    uint8_t form = bytes.size > 0 ? bytes.data[0] : 0;
    if (form == FORM_LIST)
        return count_list(bytes, limit, count, st);
    if (form != FORM_ROARING)
        return TL_FAIL(st, TL_CORRUPT, "a stored set has form %u, which is not known", form);
    uint64_t n = 0;
    if (tl_roaring_prove(tl_slice_of(bytes.data + 1, bytes.size - 1), limit, &n, st))
        return st->code;
    if (n == 0 || n > UINT32_MAX)
        return TL_FAIL(st, TL_CORRUPT, "a stored set is empty, or too large");
    *count = (uint32_t)n;
    return TL_OK;
}

enum tl_code tl_rollup_set_codes(struct tl_slice bytes, uint32_t count, uint32_t *codes,
                                 struct tl_status *st)
{
    if (bytes.data[0] == FORM_LIST) {
        struct tl_reader r = tl_reader_of(bytes);
        uint64_t next = 0;
        (void)tl_read_u8(&r);
        for (uint32_t i = 0; i < count; i++) {
            next += tl_read_varint(&r);
            codes[i] = (uint32_t)next++;
        }
        return TL_OK;
    }
    roaring_bitmap_t *r =
        roaring_bitmap_portable_deserialize_safe((const char *)bytes.data + 1, bytes.size - 1);
    if (!r)
        return TL_FAIL(st, TL_LIMIT, "no memory for a set of %u values", count);
    tl_assert(roaring_bitmap_get_cardinality(r) == count);
    roaring_bitmap_to_uint32_array(r, codes);
    roaring_bitmap_free(r);
    return TL_OK;
}
