/*
 * wire/turns.h: whose batch goes to the engine next, when more wait than it takes.
 *
 * Each connection has a line of its own; lines take turns. At its turn a line may send a quantum
 * of bytes, and what it does not use because its first batch is larger it keeps for the next turn
 * (deficit round robin: M. Shreedhar, G. Varghese, 1995). So the connections that wait progress
 * by equal bytes, whatever their batches' sizes and however many of them they offer, and a batch
 * waits for at most a quantum, and a batch above it, of each other line per quantum of its own
 * line before it. Within a line batches keep their order. Every step is O(1).
 *
 * Ownership  items and lines are embedded in what waits; a line must be empty when it goes.
 * Threads    loop.
 */
#ifndef TALLY_WIRE_TURNS_H
#define TALLY_WIRE_TURNS_H

#include <stdbool.h>
#include <stddef.h>

enum { TL_TURN_QUANTUM_BYTES = 256 << 10 };

struct tl_turn_line;

struct tl_turn_item {
    struct tl_turn_item *prev, *next;
    struct tl_turn_line *line; /* NULL: does not wait */
    size_t size_bytes;
};

struct tl_turn_line {
    struct tl_turn_line *prev, *next; /* of the ring, while it has items */
    struct tl_turn_item *first, *last;
    size_t credit_bytes;
    bool granted; /* the quantum of this turn */
};

struct tl_turns {
    struct tl_turn_line ring; /* head; the first line's turn it is */
};

void tl_turns_init(struct tl_turns *t);
static inline bool tl_turns_empty(const struct tl_turns *t)
{
    return t->ring.next == &t->ring;
}
/* Joins the end of its line. */
void tl_turns_put(struct tl_turns *t, struct tl_turn_line *line, struct tl_turn_item *item);
/* Takes the item whose turn it is; NULL: none waits. */
struct tl_turn_item *tl_turns_take(struct tl_turns *t);
/* What was taken last could not go: it is the next one again, of the line that it came from. */
void tl_turns_put_back(struct tl_turns *t, struct tl_turn_line *line, struct tl_turn_item *item);
/* Leaves its line, wherever it stands; nothing when it does not wait. */
void tl_turns_remove(struct tl_turn_item *item);

#endif
