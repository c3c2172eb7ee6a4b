/*
 * storage/interner_int.h: the dictionary of a column while it is written: gives each distinct
 * string a code, in order of first appearance, and maps the codes of vectors to its own.
 *
 * Ownership  strings are copied. Memory is charged to the budget until the deinit.
 * Threads    one thread at a time.
 * Errors     TL_LIMIT: the budget, or no memory. TL_INVALID: a text beyond TL_TEXT_BYTES_MAX.
 */
#ifndef TALLY_STORAGE_INTERNER_INT_H
#define TALLY_STORAGE_INTERNER_INT_H

#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "base/vector.h"

struct tl_budget;

/* Dictionaries whose codes are mapped at once; beyond it the one used longest ago is forgotten. */
enum { TL__INTERNER_SOURCES_MAX = 64 };

/* How the codes of one source dictionary map to ours. */
struct tl__interner_source {
    uint64_t id; /* 0: none */
    uint32_t *map;
    uint32_t size, capacity;
    uint64_t last_use;
};

struct tl__interner {
    struct tl_slice *values; /* the strings by code */
    uint32_t count;

    uint32_t capacity;
    uint64_t *slots;     /* tag << 32 | code + 1; 0: free */
    uint32_t slot_count; /* in use, a power of two */
    uint32_t slot_capacity;
    uint64_t *spare; /* the table before or after the next growth */
    uint32_t spare_capacity;
    struct tl__interner_chunk *chunks; /* of copied strings, newest first */
    struct tl_budget *budget;          /* may be NULL */
    size_t charged;

    struct tl__interner_source sources[TL__INTERNER_SOURCES_MAX];
    uint32_t source_count;
    uint64_t uses;

    uint32_t wanted[TL_VECTOR_ROWS_MAX]; /* of the call in flight */
    uint32_t tags[TL_VECTOR_ROWS_MAX];
    struct tl_slice strings[TL_VECTOR_ROWS_MAX];
};

void tl__interner_init(struct tl__interner *d, struct tl_budget *budget);
void tl__interner_deinit(struct tl__interner *d);
/* Empties it for the next column, and keeps what a usual column needs. Needed before the first. */
TL_CHECK enum tl_code tl__interner_reset(struct tl__interner *d, struct tl_status *st);
/* The code of a string; a new one for a new string. */
TL_CHECK enum tl_code tl__interner_intern(struct tl__interner *d, struct tl_slice value,
                                          uint32_t *code, struct tl_status *st);
/* The codes of a DICT or FLAT vector of TEXT, 0 for NULL rows. With a dictionary a distinct
 * string is loaded and hashed once for the column, and a row costs one look-up. */
TL_CHECK enum tl_code tl__interner_map(struct tl__interner *d, const struct tl_vector *v,
                                       uint32_t *codes, struct tl_status *st);

#endif
