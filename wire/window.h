/*
 * wire/window.h: the server-wide budget of flow-control windows.
 *
 * What a connection may have sent and we have not yet dealt with is bounded by its window. Each
 * connection holds a charge of this budget for its window; larger windows are lent from it, and
 * the sum of all charges never exceeds the limit, so neither does the memory that clients can
 * make us hold. A connection whose message does not fit waits in a line, which is woken when
 * something was given back. While somebody waits, the others' windows shrink to what their messages
 * need. Who needs less may be served before who stands first, so that little room is used while it
 * is too little for a large message; but only so often, that no message waits for ever.
 *
 * Threads    loop.
 */
#ifndef TALLY_WIRE_WINDOW_H
#define TALLY_WIRE_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tl_window_waiter {
    struct tl_window_waiter *prev, *next;
    bool waiting;
    size_t
        least_bytes; /* of the message it waits with; more than can be lent: it holds nobody up */
    size_t passed_bytes;                       /* lent to others while this one stood first */
    void (*retry)(struct tl_window_waiter *w); /* room was given back; may wait again */
};

struct tl_window_budget {
    size_t limit_bytes;
    size_t lent_bytes; /* <= limit_bytes, always */
    size_t base_bytes; /* of these, the windows that connections begin with */
    size_t peak_bytes;
    uint64_t given_back;          /* bytes ever released: it grows when somebody makes room */
    bool released;                /* since the line was woken */
    struct tl_window_waiter line; /* head of a ring, oldest first */
};

void tl_window_budget_init(struct tl_window_budget *b, size_t limit_bytes);
/* A connection's first window. False: it does not fit; nothing was charged. */
bool tl_window_charge_base(struct tl_window_budget *b, size_t size);
/* The connection goes; its window is given back with tl_window_release. */
void tl_window_forget_base(struct tl_window_budget *b, size_t size);
/* Whatever is beyond the first windows, which has at most half of the budget: so many large
 * messages cannot keep new clients out. False: it does not fit. */
bool tl_window_charge(struct tl_window_budget *b, size_t size);
void tl_window_release(struct tl_window_budget *b, size_t size);
/* May `size` bytes be lent to `w` before who stands first in the line? As much as can be lent at
 * all may go past it, and then nothing until it had its turn. Tell with tl_window_note_pass. */
bool tl_window_may_pass(const struct tl_window_budget *b, const struct tl_window_waiter *w,
                        size_t size);
void tl_window_note_pass(struct tl_window_budget *b, const struct tl_window_waiter *w, size_t size);
/* Asks each waiter once again if something was given back since; once per turn of the loop. */
void tl_window_wake(struct tl_window_budget *b);
void tl_window_wait(struct tl_window_budget *b, struct tl_window_waiter *w);
void tl_window_unwait(struct tl_window_waiter *w);
/* What may be charged beyond first windows, and what is. */
static inline size_t tl_window_loan_limit(const struct tl_window_budget *b)
{
    return b->limit_bytes / 2;
}
static inline size_t tl_window_loans(const struct tl_window_budget *b)
{
    return b->lent_bytes - b->base_bytes;
}
static inline bool tl_window_scarce(const struct tl_window_budget *b)
{
    return b->line.next != &b->line;
}

#endif
