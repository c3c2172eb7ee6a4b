/*
 * tools/bench_int.h: what the parts of tally-bench share; for tools/bench*.c alone.
 *
 * Threads    the main thread, unless said.
 */
#ifndef TALLY_TOOLS_BENCH_INT_H
#define TALLY_TOOLS_BENCH_INT_H

#include <stdint.h>

#include "base/status.h"
#include "tools/command.h"

/* Seconds of CPU that a process has used, compaction's threads left out: the figures tell it
 * apart. 0 for pid 0. */
double tl_bench_cpu_seconds(uint64_t pid);
/* A line of /proc/PID/status in kB, "VmHWM:". */
uint64_t tl_bench_status_kb(uint64_t pid, const char *name);
uint64_t tl_bench_now_ns(void); /* any thread */
int tl_bench_fail(const char *what, const struct tl_status *st);

/* The parts that stand in bench_load.c. */
int tl_bench_load(struct tl_args *a);
int tl_bench_ack(struct tl_args *a);

#endif
