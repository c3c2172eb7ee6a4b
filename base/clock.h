/*
 * base/clock.h: the only source of time.
 *
 * Whoever needs the time is given a clock; tests and the simulator give a manual one, so that a
 * run is repeated from its seed. Replay of a log reads no clock at all.
 *
 * Ownership  a clock is borrowed for as long as its user lives; the system clock lives for ever.
 * Threads    any.
 * Units      wall: microseconds UTC since 1970. mono: nanoseconds since some start, never back.
 */
#ifndef TALLY_BASE_CLOCK_H
#define TALLY_BASE_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>

struct tl_clock {
    int64_t (*wall_us)(const struct tl_clock *c);
    uint64_t (*mono_ns)(const struct tl_clock *c);
};

static inline int64_t tl_clock_wall_us(const struct tl_clock *c)
{
    return c->wall_us(c);
}
static inline uint64_t tl_clock_mono_ns(const struct tl_clock *c)
{
    return c->mono_ns(c);
}

/* The machine's clock. */
const struct tl_clock *tl_clock_system(void);

/* A clock that stands until it is moved. Pass &m->clock on. */
struct tl_clock_manual {
    struct tl_clock clock;
    _Atomic int64_t wall_us;  /* relaxed: a reading orders nothing */
    _Atomic uint64_t mono_ns; /* relaxed, likewise */
};

void tl_clock_manual_init(struct tl_clock_manual *m, int64_t wall_us);
/* Sets the wall clock, also backwards; the monotonic one stays. */
void tl_clock_manual_set(struct tl_clock_manual *m, int64_t wall_us);
/* Moves both forward. */
void tl_clock_manual_advance(struct tl_clock_manual *m, int64_t by_us);

#endif
