#include "storage/roaring_proof.h"

enum {
    COOKIE_NO_RUNS = 12346,
    COOKIE_RUNS = 12347,
    CONTAINERS_MAX = 65536,
    ARRAY_MAX = 4096,         /* values of an array container; a bitset has more */
    BITSET_BYTES = 8192,      /* 65,536 bits */
    OFFSETS_FROM = 4,         /* with runs, offsets are there from this many containers on */
    CONTAINER_HEAD_BYTES = 4, /* key and cardinality */
};

struct walk {
    const uint8_t *at, *end;
    const uint8_t *begin;
    struct tl_status *st;
};

static bool left(const struct walk *w, uint64_t bytes)
{
    return (uint64_t)(w->end - w->at) >= bytes;
}

static enum tl_code bad(const struct walk *w, const char *what)
{
    return TL_FAIL(w->st, TL_CORRUPT, "a stored set is not one: %s at byte %zu", what,
                   (size_t)(w->at - w->begin));
}

/* Each prove_* leaves w->at behind the container and *last at its greatest value. */
static enum tl_code prove_array(struct walk *w, uint32_t cardinality, uint32_t *last)
{
    if (!left(w, 2 * (uint64_t)cardinality))
        return bad(w, "an array is cut off");
    int32_t before = -1;
    for (uint32_t i = 0; i < cardinality; i++, w->at += 2) {
        int32_t value = tl_get_u16le(w->at);
        if (value <= before)
            return bad(w, "values of an array do not ascend");
        before = value;
    }
    *last = (uint32_t)before;
    return TL_OK;
}

static enum tl_code prove_bitset(struct walk *w, uint32_t cardinality, uint32_t *last)
{
    if (!left(w, BITSET_BYTES))
        return bad(w, "a bitset is cut off");
    uint32_t count = 0;
    for (uint32_t i = 0; i < BITSET_BYTES / 8; i++) {
        uint64_t word = tl_get_u64le(w->at + (size_t)i * 8);
        count += (uint32_t)__builtin_popcountll(word);
        if (word)
            *last = i * 64 + 63 - (uint32_t)__builtin_clzll(word);
    }
    if (count != cardinality)
        return bad(w, "a bitset has another cardinality than it says");
    w->at += BITSET_BYTES;
    return TL_OK;
}

static enum tl_code prove_runs(struct walk *w, uint32_t cardinality, uint32_t *last)
{
    if (!left(w, 2))
        return bad(w, "runs are cut off");
    uint32_t runs = tl_get_u16le(w->at);
    w->at += 2;
    if (runs == 0 || !left(w, 4 * (uint64_t)runs))
        return bad(w, "runs are cut off");
    int64_t before = -2; /* runs that touch would be one */
    uint64_t count = 0;
    for (uint32_t i = 0; i < runs; i++, w->at += 4) {
        int64_t start = tl_get_u16le(w->at);
        int64_t end = start + tl_get_u16le(w->at + 2);
        if (start <= before + 1)
            return bad(w, "runs touch or do not ascend");
        if (end > UINT16_MAX)
            return bad(w, "a run leaves its container");
        count += (uint64_t)(end - start) + 1;
        before = end;
    }
    if (count != cardinality)
        return bad(w, "runs have another cardinality than their container says");
    *last = (uint32_t)before;
    return TL_OK;
}

static enum tl_code prove_containers(struct walk *w, uint32_t containers, const uint8_t *run_bits,
                                     uint64_t limit, uint64_t *cardinality)
{
    const uint8_t *heads = w->at;
    if (!left(w, (uint64_t)containers * CONTAINER_HEAD_BYTES))
        return bad(w, "the heads are cut off");
    w->at += (size_t)containers * CONTAINER_HEAD_BYTES;
    const uint8_t *offsets = NULL;
    if (!run_bits || containers >= OFFSETS_FROM) {
        if (!left(w, (uint64_t)containers * 4))
            return bad(w, "the offsets are cut off");
        offsets = w->at;
        w->at += (size_t)containers * 4;
    }
    int32_t key_before = -1;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < containers; i++) {
        const uint8_t *head = heads + (size_t)i * CONTAINER_HEAD_BYTES;
        int32_t key = tl_get_u16le(head);
        uint32_t count = (uint32_t)tl_get_u16le(head + 2) + 1;
        bool is_run = run_bits && (run_bits[i / 8] >> (i % 8) & 1);
        uint32_t last = 0;
        if (key <= key_before)
            return bad(w, "keys do not ascend");
        if (offsets && tl_get_u32le(offsets + (size_t)i * 4) != (uint64_t)(w->at - w->begin))
            return bad(w, "an offset does not point to its container");
        enum tl_code rc = is_run               ? prove_runs(w, count, &last)
                          : count <= ARRAY_MAX ? prove_array(w, count, &last)
                                               : prove_bitset(w, count, &last);
        if (rc)
            return rc;
        if (((uint64_t)(uint32_t)key << 16 | last) >= limit)
            return bad(w, "a value is out of range");
        sum += count;
        key_before = key;
    }
    *cardinality = sum;
    return TL_OK;
}

enum tl_code tl_roaring_prove(struct tl_slice bytes, uint64_t limit, uint64_t *cardinality,
                              struct tl_status *st)
{
    struct walk w = {bytes.data, bytes.data, bytes.data, st};
    if (bytes.size < 8)
        return bad(&w, "it has no head");
    w.end = bytes.data + bytes.size;
    uint32_t cookie = tl_get_u32le(w.at);
    uint32_t containers;
    const uint8_t *run_bits = NULL;
    w.at += 4;
    if ((cookie & 0xFFFF) == COOKIE_RUNS) {
        containers = (cookie >> 16) + 1;
        uint32_t bitmap = (containers + 7) / 8;
        if (!left(&w, bitmap))
            return bad(&w, "the flags of runs are cut off");
        run_bits = w.at;
        if (containers % 8 && run_bits[bitmap - 1] >> (containers % 8))
            return bad(&w, "flags of runs behind the last container");
        w.at += bitmap;
    } else if (cookie == COOKIE_NO_RUNS) {
        containers = tl_get_u32le(w.at);
        w.at += 4;
    } else {
        return bad(&w, "the cookie is not known");
    }
    if (containers > CONTAINERS_MAX)
        return bad(&w, "more containers than there are keys");
    uint64_t sum = 0;
    enum tl_code rc = prove_containers(&w, containers, run_bits, limit, &sum);
    if (rc)
        return rc;
    if (w.at != w.end)
        return bad(&w, "bytes behind the last container");
    *cardinality = sum;
    return TL_OK;
}
