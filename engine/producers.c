#include "engine/producers.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"

enum { WORDS = TL_PRODUCER_WINDOW / 64 };

struct tl_producer {
    struct tl_producer *older, *newer;
    uint64_t greatest;    /* sequence */
    int64_t last_us;      /* log time */
    uint64_t bits[WORDS]; /* bit s % 1024: sequence s in (greatest - 1024, greatest] was seen */
    bool changed;         /* since the last encode */
    uint8_t name_size;
    uint8_t name[];
};

enum tl_code tl_producers_init(struct tl_producers *p, struct tl_status *st)
{
    *p = (struct tl_producers){.mask = 1023, .count_max = TL_PRODUCERS_MAX};
    p->slots = calloc(p->mask + 1, sizeof(struct tl_producer *));
    tl_buffer_init(&p->dropped, "names of forgotten producers",
                   (size_t)TL_PRODUCERS_MAX * 4 * (TL_PRODUCER_BYTES_MAX + 4));
    return p->slots ? TL_OK : TL_FAIL(st, TL_LIMIT, "no memory for the producers' windows");
}

void tl_producers_deinit(struct tl_producers *p)
{
    for (struct tl_producer *e = p->oldest, *next; e; e = next) {
        next = e->newer;
        free(e);
    }
    free(p->slots);
    tl_buffer_deinit(&p->dropped);
    p->slots = NULL;
}

static uint32_t slot_of(const struct tl_producers *p, struct tl_slice name)
{
    uint32_t at = (uint32_t)tl_hash64(name.data, name.size) & p->mask;
    while (p->slots[at] &&
           !tl_slice_eq(tl_slice_of(p->slots[at]->name, p->slots[at]->name_size), name))
        at = (at + 1) & p->mask;
    return at;
}

static void unlink_producer(struct tl_producers *p, struct tl_producer *e)
{
    *(e->older ? &e->older->newer : &p->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &p->newest) = e->older;
}

static void link_newest(struct tl_producers *p, struct tl_producer *e)
{
    e->older = p->newest;
    e->newer = NULL;
    *(p->newest ? &p->newest->newer : &p->oldest) = e;
    p->newest = e;
}

/* Takes an entry out of the table, closing the gap in its run of probes. */
static void remove_producer(struct tl_producers *p, struct tl_producer *e)
{
    uint32_t at = slot_of(p, tl_slice_of(e->name, e->name_size));
    p->slots[at] = NULL;
    for (uint32_t i = (at + 1) & p->mask; p->slots[i]; i = (i + 1) & p->mask) {
        struct tl_producer *moved = p->slots[i];
        p->slots[i] = NULL;
        p->slots[slot_of(p, tl_slice_of(moved->name, moved->name_size))] = moved;
    }
    unlink_producer(p, e);
    p->count--;
    free(e);
}

static void forget(struct tl_producers *p, struct tl_producer *e)
{
    tl_buffer_put_string(&p->dropped, tl_slice_of(e->name, e->name_size));
    remove_producer(p, e);
}

static enum tl_code grow(struct tl_producers *p, struct tl_status *st)
{
    struct tl_producer **old = p->slots;
    uint32_t old_mask = p->mask;
    struct tl_producer **slots = calloc(((size_t)old_mask + 1) * 2, sizeof(*slots));
    if (!slots)
        return TL_FAIL(st, TL_LIMIT, "no memory for the producers' windows");
    p->slots = slots;
    p->mask = old_mask * 2 + 1;
    for (uint32_t i = 0; i <= old_mask; i++)
        if (old[i])
            p->slots[slot_of(p, tl_slice_of(old[i]->name, old[i]->name_size))] = old[i];
    free(old);
    return TL_OK;
}

static enum tl_code put(struct tl_producers *p, struct tl_slice name, struct tl_producer **out,
                        struct tl_status *st)
{
    tl_assert(name.size <= TL_PRODUCER_BYTES_MAX);
    uint32_t at = slot_of(p, name);
    struct tl_producer *e = p->slots[at];
    if (e) {
        unlink_producer(p, e);
    } else {
        e = calloc(1, sizeof(*e) + name.size);
        if (!e)
            return TL_FAIL(st, TL_LIMIT, "no memory for a producer's window");
        e->name_size = (uint8_t)name.size;
        memcpy(e->name, name.data, name.size);
        p->slots[at] = e;
        p->count++;
        if (p->count * 2 > p->mask && grow(p, st)) {
            link_newest(p, e);
            return st->code;
        }
    }
    link_newest(p, e);
    *out = e;
    return TL_OK;
}

enum tl_producer_answer tl_producers_ask(const struct tl_producers *p, struct tl_slice name,
                                         uint64_t sequence)
{
    if (name.size == 0)
        return TL_PRODUCER_NEW;
    const struct tl_producer *e = p->slots[slot_of(p, name)];
    if (!e || sequence > e->greatest)
        return TL_PRODUCER_NEW;
    if (e->greatest - sequence >= TL_PRODUCER_WINDOW)
        return TL_PRODUCER_TOO_OLD;
    uint64_t bit = sequence % TL_PRODUCER_WINDOW;
    return e->bits[bit / 64] >> (bit % 64) & 1 ? TL_PRODUCER_SEEN : TL_PRODUCER_NEW;
}

enum tl_code tl_producers_note(struct tl_producers *p, struct tl_slice name, uint64_t sequence,
                               int64_t log_time_us, struct tl_status *st)
{
    if (name.size == 0)
        return TL_OK;
    struct tl_producer *e;
    if (put(p, name, &e, st))
        return st->code;
    if (sequence > e->greatest) {
        /* The window moves up: what it newly covers was not seen. */
        uint64_t moved = sequence - e->greatest;
        if (moved >= TL_PRODUCER_WINDOW)
            memset(e->bits, 0, sizeof(e->bits));
        else
            for (uint64_t s = e->greatest + 1; s <= sequence; s++)
                e->bits[s % TL_PRODUCER_WINDOW / 64] &= ~(1ULL << (s % 64));
        e->greatest = sequence;
    }
    e->bits[sequence % TL_PRODUCER_WINDOW / 64] |= 1ULL << (sequence % 64);
    e->last_us = log_time_us;
    e->changed = true;
    while (p->count > p->count_max ||
           (p->oldest != e && p->oldest->last_us < log_time_us - TL_PRODUCER_AGE_US))
        forget(p, p->oldest);
    return TL_OK;
}

static void encode_window(struct tl_producer *e, struct tl_buffer *out)
{
    tl_buffer_put_string(out, tl_slice_of(e->name, e->name_size));
    tl_buffer_put_u64(out, e->greatest);
    tl_buffer_put_u64(out, (uint64_t)e->last_us);
    for (int i = 0; i < WORDS; i++)
        tl_buffer_put_u64(out, e->bits[i]);
}

void tl_producers_encode(struct tl_producers *p, bool everything, struct tl_buffer *out)
{
    uint32_t dropped = 0;
    struct tl_reader r = tl_reader_of(tl_buffer_slice(&p->dropped));
    while (!everything && tl_reader_left(&r) > 0) {
        tl_read_string(&r);
        dropped++;
    }
    tl_buffer_put_u32(out, dropped);
    if (dropped > 0)
        tl_buffer_put(out, p->dropped.data, p->dropped.size);
    uint32_t windows = 0;
    for (struct tl_producer *e = p->oldest; e; e = e->newer)
        windows += everything || e->changed;
    tl_buffer_put_u32(out, windows);
    for (struct tl_producer *e = p->oldest; e; e = e->newer)
        if (everything || e->changed)
            encode_window(e, out);
    if (everything)
        return; /* a checkpoint tells all, and does not stand for the next change */
    for (struct tl_producer *e = p->newest; e; e = e->older)
        e->changed = false;
    tl_buffer_clear(&p->dropped);
}

enum tl_code tl_producers_decode(struct tl_producers *p, struct tl_reader *r, struct tl_status *st)
{
    uint32_t dropped = tl_read_u32(r);
    for (uint32_t i = 0; i < dropped && !r->failed; i++) {
        struct tl_slice name = tl_read_string(r);
        if (r->failed)
            break;
        struct tl_producer *e = p->slots[slot_of(p, name)];
        if (e)
            remove_producer(p, e);
    }
    uint32_t windows = tl_read_u32(r);
    for (uint32_t i = 0; i < windows && !r->failed; i++) {
        struct tl_slice name = tl_read_string(r);
        if (r->failed || name.size == 0 || name.size > TL_PRODUCER_BYTES_MAX)
            return TL_FAIL(st, TL_CORRUPT, "a stored producer's name has %zu bytes", name.size);
        struct tl_producer *e;
        if (put(p, name, &e, st))
            return st->code;
        e->greatest = tl_read_u64(r);
        e->last_us = (int64_t)tl_read_u64(r);
        for (int k = 0; k < WORDS; k++)
            e->bits[k] = tl_read_u64(r);
        e->changed = false;
    }
    return r->failed ? TL_FAIL(st, TL_CORRUPT, "the stored producers' windows are cut off") : TL_OK;
}
