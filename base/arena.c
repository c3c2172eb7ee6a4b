/*
 * Chunks are a singly linked list, newest first; only the first one is allocated from. A request
 * that would waste most of a chunk gets one of its own, linked behind the first so that the
 * first's free space stays in use.
 */
#include "base/arena.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif

#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define POISON(p, size)   ASAN_POISON_MEMORY_REGION((p), (size))
#define UNPOISON(p, size) ASAN_UNPOISON_MEMORY_REGION((p), (size))
enum { RED_ZONE_BYTES = 32 };
#else
#define POISON(p, size)   ((void)(p), (void)(size))
#define UNPOISON(p, size) ((void)(p), (void)(size))
enum { RED_ZONE_BYTES = 0 };
#endif

enum { ALIGN = 16, CHUNK_BYTES_MIN = 256 };

struct tl_arena_chunk {
    struct tl_arena_chunk *older;
    size_t size; /* of the whole chunk, as charged */
};

_Static_assert(sizeof(struct tl_arena_chunk) % ALIGN == 0, "the space after the header is aligned");
_Static_assert(RED_ZONE_BYTES % ALIGN == 0, "red zones keep the alignment");

void tl_budget_init(struct tl_budget *b, const char *name, size_t limit_bytes,
                    struct tl_budget *parent)
{
    tl_assert(b != NULL && name != NULL);
    atomic_init(&b->used_bytes, 0);
    atomic_init(&b->peak_bytes, 0);
    b->limit_bytes = limit_bytes;
    b->parent = parent;
    b->name = name;
}

static void budget_give_back(struct tl_budget *from, const struct tl_budget *until, size_t size)
{
    for (struct tl_budget *b = from; b != until; b = b->parent) {
        size_t before = atomic_fetch_sub_explicit(&b->used_bytes, size, memory_order_relaxed);
        tl_assert(before >= size);
    }
}

static bool budget_take(struct tl_budget *b, size_t size)
{
    size_t used = atomic_load_explicit(&b->used_bytes, memory_order_relaxed);
    size_t want;
    do {
        if (!tl_add_size(used, size, &want) || (b->limit_bytes != 0 && want > b->limit_bytes))
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&b->used_bytes, &used, want,
                                                    memory_order_relaxed, memory_order_relaxed));
    size_t peak = atomic_load_explicit(&b->peak_bytes, memory_order_relaxed);
    while (want > peak &&
           !atomic_compare_exchange_weak_explicit(&b->peak_bytes, &peak, want, memory_order_relaxed,
                                                  memory_order_relaxed))
        ;
    return true;
}

enum tl_code tl_budget_charge(struct tl_budget *budget, size_t size, struct tl_status *st)
{
    for (struct tl_budget *b = budget; b; b = b->parent) {
        if (!budget_take(b, size)) {
            budget_give_back(budget, b, size);
            return TL_FAIL(st, TL_LIMIT, "%s limit of %zu bytes is met (%zu more were asked for)",
                           b->name, b->limit_bytes, size);
        }
    }
    return TL_OK;
}

void tl_budget_release(struct tl_budget *b, size_t size)
{
    budget_give_back(b, NULL, size);
}

void tl_arena_init(struct tl_arena *a, struct tl_budget *budget, size_t chunk_bytes)
{
    tl_assert(a != NULL);
    if (chunk_bytes < CHUNK_BYTES_MIN)
        chunk_bytes = CHUNK_BYTES_MIN;
    *a = (struct tl_arena){
        .chunk_bytes = (chunk_bytes + ALIGN - 1) & ~(size_t)(ALIGN - 1),
        .budget = budget,
    };
}

static void chunk_free(struct tl_arena *a, struct tl_arena_chunk *chunk)
{
    size_t size = chunk->size;
    UNPOISON(chunk, size);
    free(chunk);
    if (a->budget)
        tl_budget_release(a->budget, size);
}

void tl_arena_deinit(struct tl_arena *a)
{
    if (!a)
        return;
    while (a->chunks) {
        struct tl_arena_chunk *older = a->chunks->older;
        chunk_free(a, a->chunks);
        a->chunks = older;
    }
    a->next = a->end = NULL;
}

static void chunk_use(struct tl_arena *a, struct tl_arena_chunk *chunk)
{
    a->next = (uint8_t *)(chunk + 1);
    a->end = (uint8_t *)chunk + chunk->size;
    POISON(a->next, (size_t)(a->end - a->next));
}

void tl_arena_reset(struct tl_arena *a)
{
    struct tl_arena_chunk *kept = NULL;
    while (a->chunks) {
        struct tl_arena_chunk *chunk = a->chunks;
        a->chunks = chunk->older;
        if (!kept && chunk->size == a->chunk_bytes)
            kept = chunk;
        else
            chunk_free(a, chunk);
    }
    a->next = a->end = NULL;
    if (kept) {
        kept->older = NULL;
        a->chunks = kept;
        chunk_use(a, kept);
    }
}

static struct tl_arena_chunk *chunk_new(struct tl_arena *a, size_t size, struct tl_status *st)
{
    if (a->budget && tl_budget_charge(a->budget, size, st) != TL_OK)
        return NULL;
    struct tl_arena_chunk *chunk = malloc(size);
    if (!chunk) {
        if (a->budget)
            tl_budget_release(a->budget, size);
        (void)TL_FAIL(st, TL_LIMIT, "no memory for an arena chunk of %zu bytes", size);
        return NULL;
    }
    chunk->size = size;
    chunk->older = NULL;
    return chunk;
}

/* The slow way in: the newest chunk has no room for `need` bytes. */
static void *alloc_in_new_chunk(struct tl_arena *a, size_t size, size_t need, struct tl_status *st)
{
    size_t room = a->chunk_bytes - sizeof(struct tl_arena_chunk);
    if (need > room / 4 && (need > room || a->next != NULL)) {
        size_t whole;
        if (!tl_add_size(need, sizeof(struct tl_arena_chunk), &whole)) {
            (void)TL_FAIL(st, TL_LIMIT, "an allocation of %zu bytes is beyond any limit", size);
            return NULL;
        }
        struct tl_arena_chunk *own = chunk_new(a, whole, st);
        if (!own)
            return NULL;
        if (a->chunks) {
            own->older = a->chunks->older;
            a->chunks->older = own;
        } else {
            a->chunks = own; /* next and end stay NULL: it is full */
        }
        POISON((uint8_t *)(own + 1) + size, need - size);
        return own + 1;
    }
    struct tl_arena_chunk *chunk = chunk_new(a, a->chunk_bytes, st);
    if (!chunk)
        return NULL;
    chunk->older = a->chunks;
    a->chunks = chunk;
    chunk_use(a, chunk);
    void *p = a->next;
    a->next += need;
    UNPOISON(p, size);
    return p;
}

void *tl_arena_alloc(struct tl_arena *a, size_t size, struct tl_status *st)
{
    size_t need;
    if (!tl_add_size(size, ALIGN - 1 + RED_ZONE_BYTES, &need)) {
        (void)TL_FAIL(st, TL_LIMIT, "an allocation of %zu bytes is beyond any limit", size);
        return NULL;
    }
    need &= ~(size_t)(ALIGN - 1);
    if (need == 0)
        need = ALIGN; /* each allocation has an address of its own */
    if (need > (size_t)(a->end - a->next))
        return alloc_in_new_chunk(a, size, need, st);
    void *p = a->next;
    a->next += need;
    UNPOISON(p, size);
    return p;
}

void *tl_arena_calloc(struct tl_arena *a, size_t count, size_t size, struct tl_status *st)
{
    size_t bytes;
    if (!tl_mul_size(count, size, &bytes)) {
        (void)TL_FAIL(st, TL_LIMIT, "an array of %zu elements of %zu bytes is beyond any limit",
                      count, size);
        return NULL;
    }
    void *p = tl_arena_alloc(a, bytes, st);
    if (p)
        memset(p, 0, bytes);
    return p;
}

void *tl_arena_copy(struct tl_arena *a, const void *data, size_t size, struct tl_status *st)
{
    size_t with_nul;
    if (!tl_add_size(size, 1, &with_nul)) {
        (void)TL_FAIL(st, TL_LIMIT, "an allocation of %zu bytes is beyond any limit", size);
        return NULL;
    }
    uint8_t *p = tl_arena_alloc(a, with_nul, st);
    if (!p)
        return NULL;
    if (size)
        memcpy(p, data, size);
    p[size] = 0;
    return p;
}

size_t tl_arena_bytes(const struct tl_arena *a)
{
    size_t sum = 0;
    for (const struct tl_arena_chunk *c = a->chunks; c; c = c->older)
        sum += c->size;
    return sum;
}
