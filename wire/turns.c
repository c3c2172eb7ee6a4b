#include "wire/turns.h"

#include "base/assert.h"

static void line_join(struct tl_turn_line *line, struct tl_turn_line *before)
{
    line->next = before;
    line->prev = before->prev;
    line->prev->next = line;
    line->next->prev = line;
}

static void line_leave(struct tl_turn_line *line)
{
    line->prev->next = line->next;
    line->next->prev = line->prev;
    line->prev = line->next = NULL;
}

void tl_turns_init(struct tl_turns *t)
{
    *t = (struct tl_turns){0};
    t->ring.prev = t->ring.next = &t->ring;
}

void tl_turns_put(struct tl_turns *t, struct tl_turn_line *line, struct tl_turn_item *item)
{
    tl_assert(!item->line);
    item->line = line;
    item->next = NULL;
    item->prev = line->last;
    if (line->last) {
        line->last->next = item;
    } else {
        line->first = item;
        line_join(line, &t->ring);
    }
    line->last = item;
}

void tl_turns_remove(struct tl_turn_item *item)
{
    struct tl_turn_line *line = item->line;
    if (!line)
        return;
    if (item->prev)
        item->prev->next = item->next;
    else
        line->first = item->next;
    if (item->next)
        item->next->prev = item->prev;
    else
        line->last = item->prev;
    item->line = NULL;
    item->prev = item->next = NULL;
    if (!line->first) { /* who does not wait saves nothing up */
        line_leave(line);
        line->credit_bytes = 0;
        line->granted = false;
    }
}

struct tl_turn_item *tl_turns_take(struct tl_turns *t)
{
    while (!tl_turns_empty(t)) {
        struct tl_turn_line *line = t->ring.next;
        if (!line->granted) {
            line->granted = true;
            line->credit_bytes += TL_TURN_QUANTUM_BYTES;
        }
        struct tl_turn_item *item = line->first;
        if (item->size_bytes <= line->credit_bytes) {
            line->credit_bytes -= item->size_bytes;
            tl_turns_remove(item);
            return item;
        }
        line->granted = false;
        line_leave(line);
        line_join(line, &t->ring);
    }
    return NULL;
}

void tl_turns_put_back(struct tl_turns *t, struct tl_turn_line *line, struct tl_turn_item *item)
{
    tl_assert(!item->line);
    if (line->first)
        line_leave(line);
    line_join(line, t->ring.next);
    item->line = line;
    item->prev = NULL;
    item->next = line->first;
    if (line->first)
        line->first->prev = item;
    else
        line->last = item;
    line->first = item;
    line->credit_bytes += item->size_bytes;
    line->granted = true;
}
