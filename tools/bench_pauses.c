/*
 * tools/bench_pauses.c: how long reads and durable writes wait while everything else goes on.
 *
 * One thread asks a small merchant's count, one appends batches of 10 rows and waits until each is
 * durable, both at a fixed rate: what is measured is the time from the moment at which an operation
 * was due to its end, so that a pause counts for all that it delayed. Two rounds on the same
 * database: alone, and beside a bulk load with its flushes and merges, ALTER TABLE ADD COLUMN,
 * requests to compact, and the manifest's checkpoints.
 *
 *     bench_pauses --load FILE --small FILE --dir DIR [--seconds N] [--reads N] [--writes N]
 *                  [--load-rate N] [--preload N] [--memory MIB] [--compact-every S]
 *                  [--alter-every S] [--json]
 *
 * FILEs hold encoded batches (tools/batch_file.h): of the load, and of 10 rows each.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/tally.h"
#include "tools/batch_file.h"

enum { SAMPLES_MAX = 1 << 22, OPERATIONS = 3 };

struct bench {
    struct tally *db;
    struct tl_batch_file load, small;
    const char *dir;
    uint64_t seconds, rates[OPERATIONS], load_rate, preload, compact_every, alter_every;
    uint64_t next_load, next_small; /* batches of the files */
    bool json;
    _Atomic bool stop, failed;
};

/* One kind of operation, in one round. */
struct lane {
    struct bench *b;
    const char *name;
    bool (*run)(struct lane *l);
    uint64_t rate;
    uint64_t *us;
    uint32_t count;
    uint64_t longest_gap_us; /* between two ends */
    int file;
    struct tally_statement *statement;
    uint64_t random;
};

static uint64_t now_ns(void)
{
    return tl_clock_mono_ns(tl_clock_system());
}

static void sleep_until(uint64_t ns)
{
    struct timespec t = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}

static bool fail(struct bench *b, const char *what, const struct tl_status *st)
{
    if (!atomic_exchange(&b->failed, true))
        fprintf(stderr, "bench_pauses: %s: %s\n", what, st->text);
    atomic_store(&b->stop, true);
    return false;
}

/* ---- operations ---- */

static bool read_once(struct lane *l)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tally_cursor *cursor = NULL;
    struct tl_chunk chunk;
    l->random = l->random * 6364136223846793005ULL + 1442695040888963407ULL;
    int64_t merchant = 20000 + (int64_t)((l->random >> 33) % 80000);
    uint64_t valid = 1;
    struct tl_vector param = {.type = tl_type_of(TL_BIGINT),
                              .shape = TL_CONST,
                              .count = 1,
                              .data = &merchant,
                              .validity = &valid};
    if (!tally_bind(l->statement, &param, 1, &cursor, &st))
        TL_IGNORE(tally_step(cursor, &chunk, &st));
    tally_cursor_close(cursor);
    return st.code ? fail(l->b, "reading", &st) : true;
}

static bool write_once(struct lane *l)
{
    struct bench *b = l->b;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t n = b->next_small++;
    struct tally_batch batch = {.producer = tl_slice_str("small"),
                                .sequence = n + 1,
                                .body = b->small.batches[n % b->small.count]};
    return tally_append_wait(b->db, &batch, NULL, &st) ? fail(b, "writing", &st) : true;
}

/* What the disk alone answers to a small write, so that its own pauses can be told apart. */
static bool sync_once(struct lane *l)
{
    static char page[4096];
    struct tl_status st = TL_STATUS_INIT;
    if (pwrite(l->file, page, sizeof(page), (off_t)(l->count % 1024) * 4096) !=
            (ssize_t)sizeof(page) ||
        fdatasync(l->file)) {
        TL_FAIL(&st, TL_IO, "a probe of the disk failed");
        return fail(l->b, "syncing", &st);
    }
    return true;
}

static void *lane_main(void *arg)
{
    struct lane *l = arg;
    uint64_t step = 1000000000 / l->rate;
    uint64_t due = now_ns() + step;
    uint64_t last = due;
    while (!atomic_load(&l->b->stop) && l->count < SAMPLES_MAX) {
        if (now_ns() < due)
            sleep_until(due);
        if (!l->run(l))
            break;
        uint64_t now = now_ns();
        if ((now - last) / 1000 > l->longest_gap_us)
            l->longest_gap_us = (now - last) / 1000;
        last = now;
        l->us[l->count++] = (now - due) / 1000;
        due += step;
    }
    return NULL;
}

/* ---- what goes on beside them ---- */

static bool run_sql(struct bench *b, const char *sql, struct tl_status *st)
{
    struct tally_statement *statement = NULL;
    struct tally_cursor *cursor = NULL;
    if (!tally_prepare(b->db, tl_slice_str(sql), NULL, &statement, st))
        TL_IGNORE(tally_bind(statement, NULL, 0, &cursor, st));
    tally_cursor_close(cursor);
    tally_statement_close(statement);
    return st->code == TL_OK;
}

static bool load_one(struct bench *b, struct tl_status *st)
{
    uint64_t n = b->next_load++;
    struct tally_batch batch = {.producer = tl_slice_str("load"),
                                .sequence = n + 1,
                                .body = b->load.batches[n % b->load.count]};
    return !tally_append_wait(b->db, &batch, NULL, st);
}

static void *load_main(void *arg)
{
    struct bench *b = arg;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t due = now_ns();
    while (!atomic_load(&b->stop)) {
        uint64_t rows = b->load.batch_rows[b->next_load % b->load.count];
        if (!load_one(b, &st)) {
            fail(b, "loading", &st);
            break;
        }
        due += rows * 1000000000 / b->load_rate;
        if (now_ns() < due)
            sleep_until(due);
    }
    return NULL;
}

static void *alter_main(void *arg)
{
    static _Atomic uint32_t made;
    struct bench *b = arg;
    struct tl_status st = TL_STATUS_INIT;
    char sql[96];
    uint64_t due = now_ns();
    while (!atomic_load(&b->stop)) {
        snprintf(sql, sizeof(sql), "ALTER TABLE events ADD COLUMN extra_%u TEXT", made++);
        if (made < 900 && !run_sql(b, sql, &st)) {
            fail(b, sql, &st);
            break;
        }
        due += b->alter_every * 1000000000;
        while (!atomic_load(&b->stop) && now_ns() < due)
            sleep_until(now_ns() + 50000000);
    }
    return NULL;
}

static void *compact_main(void *arg)
{
    struct bench *b = arg;
    struct tl_status st = TL_STATUS_INIT;
    while (!atomic_load(&b->stop)) {
        uint64_t due = now_ns() + b->compact_every * 1000000000;
        while (!atomic_load(&b->stop) && now_ns() < due)
            sleep_until(now_ns() + 50000000);
        if (!atomic_load(&b->stop) && tally_compact(b->db, NULL, NULL, &st) &&
            st.code != TL_CANCELLED) {
            fail(b, "compacting", &st);
            break;
        }
    }
    return NULL;
}

/* ---- rounds ---- */

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double at_ms(const struct lane *l, double share)
{
    if (l->count == 0)
        return 0;
    uint32_t at = (uint32_t)((double)l->count * share);
    return (double)l->us[at < l->count ? at : l->count - 1] / 1000;
}

static void print_lane(struct bench *b, const char *round, struct lane *l)
{
    qsort(l->us, l->count, sizeof(*l->us), by_size);
    double max = at_ms(l, 1);
    if (b->json)
        printf("{\"round\":\"%s\",\"what\":\"%s\",\"count\":%u,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
               "\"p999_ms\":%.3f,\"max_ms\":%.3f,\"gap_ms\":%.3f}\n",
               round, l->name, l->count, at_ms(l, 0.5), at_ms(l, 0.99), at_ms(l, 0.999), max,
               (double)l->longest_gap_us / 1000);
    else
        printf("%-8s %-7s %8u  p50 %8.3f  p99 %8.3f  p99.9 %8.3f  max %8.3f ms  longest gap "
               "%8.3f ms\n",
               round, l->name, l->count, at_ms(l, 0.5), at_ms(l, 0.99), at_ms(l, 0.999), max,
               (double)l->longest_gap_us / 1000);
    fflush(stdout);
}

static void print_counters(struct bench *b, const char *round)
{
    static const char *const wanted[] = {"tally_flushes_total ", "tally_merges_total ",
                                         "tally_log_groups_total ",
                                         "tally_ingest_backpressure_seconds_total "};
    struct tl_buffer text;
    tl_buffer_init(&text, "metrics", 1 << 20);
    tally_metrics(b->db, &text);
    tl_buffer_put_u8(&text, 0);
    fprintf(stderr, "# %s:", round);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        char line[64];
        snprintf(line, sizeof(line), "\n%s", wanted[i]);
        const char *at = strstr((const char *)text.data, line);
        if (at)
            fprintf(stderr, " %.*s", (int)strcspn(at + 1, "\n"), at + 1);
    }
    fputc('\n', stderr);
    tl_buffer_deinit(&text);
}

static bool start(pthread_t *threads, uint32_t *count, void *(*run)(void *), void *arg)
{
    if (pthread_create(&threads[*count], NULL, run, arg))
        return false;
    (*count)++;
    return true;
}

static bool run_round(struct bench *b, const char *round, bool busy, int file)
{
    struct lane lanes[OPERATIONS] = {{.name = "reads", .run = read_once},
                                     {.name = "writes", .run = write_once},
                                     {.name = "disk", .run = sync_once}};
    pthread_t threads[OPERATIONS + 3];
    uint32_t count = 0;
    struct tl_status st = TL_STATUS_INIT;
    bool ok = true;
    atomic_store(&b->stop, false);
    for (int i = 0; i < OPERATIONS && ok; i++) {
        struct lane *l = &lanes[i];
        l->b = b;
        l->rate = b->rates[i];
        l->file = file;
        l->random = 7;
        l->us = malloc(SAMPLES_MAX * sizeof(*l->us));
        ok = l->us && (i > 0 || !tally_prepare(b->db,
                                               tl_slice_str("SELECT count(*) FROM events WHERE "
                                                            "merchant_id = $1"),
                                               NULL, &l->statement, &st));
        ok = ok && start(threads, &count, lane_main, l);
    }
    if (busy && ok)
        ok = start(threads, &count, load_main, b) && start(threads, &count, alter_main, b) &&
             start(threads, &count, compact_main, b);
    if (ok)
        sleep_until(now_ns() + b->seconds * 1000000000);
    atomic_store(&b->stop, true);
    tally_compact_cancel(b->db);
    for (uint32_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < OPERATIONS; i++) {
        if (ok)
            print_lane(b, round, &lanes[i]);
        tally_statement_close(lanes[i].statement);
        free(lanes[i].us);
    }
    print_counters(b, round);
    return ok && !atomic_load(&b->failed);
}

static const char *text_option(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return NULL;
}

static uint64_t option(int argc, char **argv, const char *name, uint64_t otherwise)
{
    const char *text = text_option(argc, argv, name);
    uint64_t value = text ? strtoull(text, NULL, 10) : otherwise;
    return value > 0 ? value : 1;
}

static bool measure(struct bench *b)
{
    struct tl_status st = TL_STATUS_INIT;
    char path[4096];
    uint64_t rows = 0;
    while (rows < b->preload) {
        rows += b->load.batch_rows[b->next_load % b->load.count];
        if (!load_one(b, &st))
            return fail(b, "loading", &st);
    }
    if (tally_compact(b->db, NULL, NULL, &st))
        return fail(b, "compacting", &st);
    snprintf(path, sizeof(path), "%s/probe", b->dir);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0)
        return false;
    bool ok = ftruncate(file, 1024 * 4096) == 0 && run_round(b, "alone", false, file) &&
              run_round(b, "busy", true, file);
    close(file);
    unlink(path);
    return ok;
}

int main(int argc, char **argv)
{
    struct tl_status st = TL_STATUS_INIT;
    struct bench b = {
        .dir = text_option(argc, argv, "--dir"),
        .seconds = option(argc, argv, "--seconds", 30),
        .rates = {option(argc, argv, "--reads", 500), option(argc, argv, "--writes", 200), 20},
        .load_rate = option(argc, argv, "--load-rate", 100000),
        .preload = option(argc, argv, "--preload", 1000000),
        .compact_every = option(argc, argv, "--compact-every", 10),
        .alter_every = option(argc, argv, "--alter-every", 1)};
    const char *load = text_option(argc, argv, "--load");
    const char *small = text_option(argc, argv, "--small");
    for (int i = 1; i < argc; i++)
        b.json = b.json || strcmp(argv[i], "--json") == 0;
    if (!b.dir || !load || !small) {
        fprintf(stderr, "usage: bench_pauses --load FILE --small FILE --dir DIR [OPTION]...\n");
        return 2;
    }
    struct tally_options options = {.memory_bytes = (size_t)option(argc, argv, "--memory", 512)
                                                    << 20};
    bool ok = false;
    if (tl_batch_file_load(load, &b.load, &st) || tl_batch_file_load(small, &b.small, &st) ||
        tally_open(b.dir, &options, &b.db, &st))
        fail(&b, "opening", &st);
    else
        ok = measure(&b);
    tally_close(b.db);
    tl_batch_file_free(&b.load);
    tl_batch_file_free(&b.small);
    return ok ? 0 : 1;
}
