/*
 * base/arena.h: memory by lifetime, and the budgets that bound it.
 *
 * A budget is a number of bytes with a parent: a query's budget is a child of the server's, and
 * a charge must fit into both. An arena takes chunks charged to a budget and gives them all back
 * at once. Nothing in an arena is freed alone.
 *
 *     chunk:  [header | used … | free … ]   newest chunk first; a large request gets its own
 *
 * Under AddressSanitizer free space is poisoned and each allocation is followed by a red zone.
 *
 * Ownership  what an arena hands out lives until its reset or deinit.
 * Threads    budgets: any. An arena belongs to one thread at a time.
 * Units      bytes.
 * Errors     TL_LIMIT, naming the budget that is met.
 */
#ifndef TALLY_BASE_ARENA_H
#define TALLY_BASE_ARENA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct tl_budget {
    _Atomic size_t used_bytes; /* relaxed: a sum, orders nothing */
    _Atomic size_t peak_bytes; /* the greatest used_bytes seen */
    size_t limit_bytes;        /* 0: only the parent limits */
    struct tl_budget *parent;  /* NULL at the root */
    const char *name;          /* for the error: "query memory", "server memory" */
};

void tl_budget_init(struct tl_budget *b, const char *name, size_t limit_bytes,
                    struct tl_budget *parent);
TL_CHECK enum tl_code tl_budget_charge(struct tl_budget *b, size_t size, struct tl_status *st);
void tl_budget_release(struct tl_budget *b, size_t size);

struct tl_arena_chunk;

struct tl_arena {
    struct tl_arena_chunk *chunks; /* newest first */
    uint8_t *next;                 /* free space of the newest chunk */
    uint8_t *end;
    size_t chunk_bytes;       /* size of a chunk unless a request is larger */
    struct tl_budget *budget; /* may be NULL: no limit (tests, start-up) */
};

void tl_arena_init(struct tl_arena *a, struct tl_budget *budget, size_t chunk_bytes);
void tl_arena_deinit(struct tl_arena *a);
/* Gives back everything but one chunk of the usual size. */
void tl_arena_reset(struct tl_arena *a);

/* `size` bytes aligned to 16, not zeroed; NULL with st set when the budget is met. */
void *tl_arena_alloc(struct tl_arena *a, size_t size, struct tl_status *st);
/* count × size bytes, zeroed, overflow checked. */
void *tl_arena_calloc(struct tl_arena *a, size_t count, size_t size, struct tl_status *st);
/* A copy of `size` bytes, followed by a NUL that is not counted. */
void *tl_arena_copy(struct tl_arena *a, const void *data, size_t size, struct tl_status *st);
/* Bytes that the arena holds from its budget. */
size_t tl_arena_bytes(const struct tl_arena *a);

/* Checked arithmetic for sizes that come from outside: false on overflow. */
static inline int tl_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline int tl_add_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

#endif
