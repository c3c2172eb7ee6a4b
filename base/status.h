/*
 * base/status.h: how a function says that it failed, and why.
 *
 * A failing function returns an enum tl_code to branch on and explains itself in the
 * caller's struct tl_status: one sentence, the errno met, the place, and, where SQL is
 * concerned, a SQLSTATE and a position in the statement's text.
 *
 * Ownership  the status is the caller's, usually on its stack; nothing here allocates, so
 *            that "no memory" can be told.
 * Threads    a status belongs to one thread at a time.
 * Errors     the first failure wins: TL_FAIL on a status that already holds one leaves it.
 */
#ifndef TALLY_BASE_STATUS_H
#define TALLY_BASE_STATUS_H

#include <stdint.h>

enum tl_code {
    TL_OK = 0,
    TL_INVALID,     /* the input is wrong: a batch, a statement, an option */
    TL_LIMIT,       /* a configured limit or budget is met; the text names it */
    TL_IO,          /* the disk or a socket failed; os_error says how */
    TL_FULL,        /* the disk is full */
    TL_CORRUPT,     /* bytes that no writer of ours makes, or a checksum that does not match */
    TL_BUSY,        /* somebody else holds it (a directory, a lock file) */
    TL_CANCELLED,   /* the caller asked for the end */
    TL_TIMEOUT,     /* the time limit passed */
    TL_UNSUPPORTED, /* understood, and refused: not built */
    TL_NOT_FOUND,   /* no table, no file, no column of that name */
    TL_EXISTS,      /* it is there already */
    TL_TOO_OLD,     /* a batch sequence older than the window, a snapshot too old */
    TL_CLOSED,      /* the object is closed, closing, or poisoned */
    TL_CODE_COUNT
};

struct tl_status {
    enum tl_code code; /* what the caller may branch on; nothing else is */
    int os_error;      /* errno, saved at the call that failed; 0 if none */
    int32_t position;  /* character in the statement, from 1; 0 if none */
    char sqlstate[6];  /* five characters of SQLSTATE, or "" (see tl_status_sqlstate) */
    const char *where; /* "file:line" of the first failure, a literal */
    char text[224];    /* one sentence for a person; outer context first */
};

#define TL_STATUS_INIT                                                                             \
    {                                                                                              \
        .code = TL_OK                                                                              \
    }
#define TL_CHECK __attribute__((warn_unused_result))
/* For a call whose failure stays in its status, which is looked at right after. */
#define TL_IGNORE(call)                                                                            \
    do {                                                                                           \
        if (call) {                                                                                \
        }                                                                                          \
    } while (0)

#define TL__STR2(x) #x
#define TL__STR(x)  TL__STR2(x)
#define TL__WHERE   __FILE__ ":" TL__STR(__LINE__)

/* Sets code, place and sentence if st holds no failure yet; evaluates to the code held. */
#define TL_FAIL(st, code, ...) TL_FAIL_OS(st, code, 0, __VA_ARGS__)
/* The same, with the errno of the call that failed. */
#ifdef __clang_analyzer__ /* cannot see into tl_status_set: tell it that this is a failure */
#define TL_FAIL_OS(st, code, err, ...)                                                             \
    ((void)tl_status_set((st), (code), (err), TL__WHERE, __VA_ARGS__), (code))
#else
#define TL_FAIL_OS(st, code, err, ...) tl_status_set((st), (code), (err), TL__WHERE, __VA_ARGS__)
#endif

enum tl_code tl_status_set(struct tl_status *st, enum tl_code code, int os_error, const char *where,
                           const char *format, ...) __attribute__((format(printf, 5, 6)));

/* Puts "context: " in front of the sentence, once per layer that knows something new. */
void tl_status_wrap(struct tl_status *st, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Sets SQLSTATE and position of a failure just told (position 0 leaves it unknown). */
enum tl_code tl_status_sql(struct tl_status *st, const char *sqlstate, int32_t position);

void tl_status_clear(struct tl_status *st);

/* The SQLSTATE of a failure: the one set, or the one that its code implies. */
const char *tl_status_sqlstate(const struct tl_status *st);

/* A short name of the code for logs: "corrupt", "limit", … */
const char *tl_code_name(enum tl_code code);

#endif
