#include "base/clock.h"

#include <time.h>

#include "base/assert.h"

static int64_t system_wall_us(const struct tl_clock *c)
{
    (void)c;
    struct timespec ts;
    int rc = clock_gettime(CLOCK_REALTIME, &ts);
    tl_assert(rc == 0);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static uint64_t system_mono_ns(const struct tl_clock *c)
{
    (void)c;
    struct timespec ts;
    int rc = clock_gettime(CLOCK_MONOTONIC, &ts);
    tl_assert(rc == 0);
    return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

const struct tl_clock *tl_clock_system(void)
{
    static const struct tl_clock system_clock = {system_wall_us, system_mono_ns};
    return &system_clock;
}

static int64_t manual_wall_us(const struct tl_clock *c)
{
    const struct tl_clock_manual *m = (const struct tl_clock_manual *)(const void *)c;
    return atomic_load_explicit(&m->wall_us, memory_order_relaxed);
}

static uint64_t manual_mono_ns(const struct tl_clock *c)
{
    const struct tl_clock_manual *m = (const struct tl_clock_manual *)(const void *)c;
    return atomic_load_explicit(&m->mono_ns, memory_order_relaxed);
}

void tl_clock_manual_init(struct tl_clock_manual *m, int64_t wall_us)
{
    m->clock = (struct tl_clock){manual_wall_us, manual_mono_ns};
    atomic_init(&m->wall_us, wall_us);
    atomic_init(&m->mono_ns, 0);
}

void tl_clock_manual_set(struct tl_clock_manual *m, int64_t wall_us)
{
    atomic_store_explicit(&m->wall_us, wall_us, memory_order_relaxed);
}

void tl_clock_manual_advance(struct tl_clock_manual *m, int64_t by_us)
{
    tl_assert(by_us >= 0);
    atomic_fetch_add_explicit(&m->wall_us, by_us, memory_order_relaxed);
    atomic_fetch_add_explicit(&m->mono_ns, (uint64_t)by_us * 1000, memory_order_relaxed);
}
