#include "wire/window.h"

#include "base/assert.h"

void tl_window_budget_init(struct tl_window_budget *b, size_t limit_bytes)
{
    *b = (struct tl_window_budget){.limit_bytes = limit_bytes};
    b->line.prev = b->line.next = &b->line;
}

static bool charge(struct tl_window_budget *b, size_t size)
{
    if (size > b->limit_bytes - b->lent_bytes)
        return false;
    b->lent_bytes += size;
    if (b->lent_bytes > b->peak_bytes)
        b->peak_bytes = b->lent_bytes;
    return true;
}

bool tl_window_charge_base(struct tl_window_budget *b, size_t size)
{
    if (!charge(b, size))
        return false;
    b->base_bytes += size;
    return true;
}

void tl_window_forget_base(struct tl_window_budget *b, size_t size)
{
    tl_assert(size <= b->base_bytes);
    b->base_bytes -= size;
}

bool tl_window_charge(struct tl_window_budget *b, size_t size)
{
    size_t loans = tl_window_loans(b), limit = tl_window_loan_limit(b);
    if (loans > limit || size > limit - loans)
        return false;
    return charge(b, size);
}

/* Who stands first, unless that is `w` or waits for what will never be. */
static struct tl_window_waiter *first_of(const struct tl_window_budget *b,
                                         const struct tl_window_waiter *w)
{
    struct tl_window_waiter *first = b->line.next;
    bool held_up = first != &b->line && first != w && first->least_bytes <= tl_window_loan_limit(b);
    return held_up ? first : NULL;
}

bool tl_window_may_pass(const struct tl_window_budget *b, const struct tl_window_waiter *w,
                        size_t size)
{
    const struct tl_window_waiter *first = first_of(b, w);
    return !first || first->passed_bytes + size <= tl_window_loan_limit(b);
}

void tl_window_note_pass(struct tl_window_budget *b, const struct tl_window_waiter *w, size_t size)
{
    struct tl_window_waiter *first = first_of(b, w);
    if (first)
        first->passed_bytes += size;
}

void tl_window_wait(struct tl_window_budget *b, struct tl_window_waiter *w)
{
    if (w->waiting)
        return;
    w->waiting = true;
    w->prev = b->line.prev;
    w->next = &b->line;
    w->prev->next = w;
    w->next->prev = w;
}

void tl_window_unwait(struct tl_window_waiter *w)
{
    if (!w->waiting)
        return;
    w->waiting = false;
    w->prev->next = w->next;
    w->next->prev = w->prev;
}

void tl_window_release(struct tl_window_budget *b, size_t size)
{
    tl_assert(size <= b->lent_bytes);
    b->lent_bytes -= size;
    b->given_back += size;
    b->released = b->released || size > 0;
}

void tl_window_wake(struct tl_window_budget *b)
{
    if (!b->released)
        return;
    b->released = false;
    struct tl_window_waiter woken = {.prev = b->line.prev, .next = b->line.next};
    if (!tl_window_scarce(b))
        return;
    /* Moves the line aside: who waits again stands in the new one. */
    woken.next->prev = &woken;
    woken.prev->next = &woken;
    b->line.prev = b->line.next = &b->line;
    while (woken.next != &woken) {
        struct tl_window_waiter *w = woken.next;
        tl_window_unwait(w);
        w->retry(w);
    }
}
