/*
 * tools/bench.c: tally-bench, the timed parts of tools/bench.
 *
 *     ingest     sends encoded batches over gRPC and reads the server's CPU time from /proc
 *     query      runs prepared statements on a directory in this process, many times each
 *     replay     opens a directory and times the recovery
 *     freshness  appends, waits for the acknowledgement, and asks at once whether the row is there
 *     load, ack  many small connections, and one against the disk itself: bench_load.c
 *
 * Each prints one JSON object.
 */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/random.h"
#include "engine/tally.h"
#include "tools/batch_file.h"
#include "tools/batch_writer.h"
#include "tools/bench_int.h"
#include "tools/command.h"

enum { CONNECTIONS_MAX = 64, RUNS_MAX = 200000 };

uint64_t tl_bench_now_ns(void)
{
    return tl_clock_mono_ns(tl_clock_system());
}

int tl_bench_fail(const char *what, const struct tl_status *st)
{
    fprintf(stderr, "tally-bench %s: %s\n", what, st->text);
    return TL_EXIT_FAILED;
}

/* Clock ticks of CPU, user and system, by a stat file of /proc; its name in brackets when asked. */
static unsigned long long stat_ticks(const char *path, char name[64])
{
    char text[1024];
    FILE *f = fopen(path, "r");
    if (!f)
        return 0;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = 0;
    /* The name in brackets may hold anything: count the fields behind it. */
    char *p = strrchr(text, ')');
    unsigned long long user = 0, system = 0;
    if (!p ||
        sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) != 2)
        return 0;
    const char *open = strchr(text, '(');
    if (name && open)
        snprintf(name, 64, "%.*s", (int)(p - open - 1), open + 1);
    return user + system;
}

/* Seconds of CPU that a server has used, compaction's threads apart. */
static double cpu_seconds(uint64_t pid, double *merge)
{
    char path[512], name[64] = "";
    unsigned long long merging = 0;
    *merge = 0;
    if (!pid)
        return 0;
    snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
    unsigned long long ticks = stat_ticks(path, NULL);
    snprintf(path, sizeof(path), "/proc/%llu/task", (unsigned long long)pid);
    DIR *tasks = opendir(path);
    for (struct dirent *e; tasks && (e = readdir(tasks));) {
        snprintf(path, sizeof(path), "/proc/%llu/task/%.20s/stat", (unsigned long long)pid,
                 e->d_name);
        unsigned long long one = stat_ticks(path, name);
        if (strcmp(name, "tally-merge") == 0 || strcmp(name, "tally-level0") == 0)
            merging += one < ticks ? one : ticks;
        name[0] = 0;
    }
    if (tasks)
        closedir(tasks);
    *merge = (double)merging / (double)sysconf(_SC_CLK_TCK);
    return (double)(ticks - merging) / (double)sysconf(_SC_CLK_TCK);
}

double tl_bench_cpu_seconds(uint64_t pid)
{
    double merge;
    return cpu_seconds(pid, &merge);
}

/* A line of /proc/PID/status in kB. */
uint64_t tl_bench_status_kb(uint64_t pid, const char *name)
{
    char path[64], line[256];
    uint64_t kb = 0;
    snprintf(path, sizeof(path), "/proc/%llu/status", (unsigned long long)pid);
    FILE *f = pid ? fopen(path, "r") : NULL;
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, name, strlen(name)) == 0)
            kb = strtoull(line + strlen(name) + 1, NULL, 10);
    if (f)
        fclose(f);
    return kb;
}

/* ---- ingest ---- */

struct ingest {
    const char *server, *batches, *producer;
    uint64_t connections, in_flight, pid, limit_s, shuffle;
    uint64_t rows, duplicate_rows, refused, failed, duplicates, batches_acked;
    uint64_t latency_sum_ns, latency_max_ns;
    char reason[200];
};

static void on_ingest_ack(void *arg, const struct tl_client_ack *ack)
{
    struct ingest *in = arg;
    uint64_t latency = tl_bench_now_ns() - (uint64_t)(uintptr_t)ack->tag;
    in->latency_sum_ns += latency;
    in->latency_max_ns = latency > in->latency_max_ns ? latency : in->latency_max_ns;
    in->rows += ack->rows;
    in->duplicate_rows += ack->duplicate_rows;
    in->refused += ack->refused;
    in->duplicates += ack->duplicate;
    in->failed += ack->code != TL_ACK_OK;
    in->batches_acked++;
    if (ack->code != TL_ACK_OK && !in->reason[0])
        snprintf(in->reason, sizeof(in->reason), "%.*s", (int)ack->message.size,
                 (const char *)ack->message.data);
}

static enum tl_code send_all(struct ingest *in, const struct tl_batch_file *file,
                             struct tl_appender **appenders, struct tl_status *st)
{
    uint64_t next = 0, sequence[CONNECTIONS_MAX] = {0};
    uint32_t count = (uint32_t)in->connections;
    uint64_t until = in->limit_s ? tl_bench_now_ns() + in->limit_s * 1000000000ULL : UINT64_MAX;
    enum tl_code rc = TL_OK;
    for (;;) {
        bool sent = false;
        for (uint32_t c = 0; c < count && next < file->count && !rc; c++) {
            if (!tl_appender_has_room(appenders[c], file->batches[next].size))
                continue;
            rc = tl_appender_send(appenders[c], ++sequence[c], file->batches[next], true,
                                  (void *)(uintptr_t)tl_bench_now_ns(), st);
            next++;
            sent = true;
        }
        uint32_t in_flight = 0;
        for (uint32_t c = 0; c < count; c++)
            in_flight += tl_appender_in_flight(appenders[c]);
        if (rc || (next == file->count && in_flight == 0) || tl_bench_now_ns() > until)
            return rc;
        if (!sent)
            rc = tl_appender_poll(appenders, count, 100, st);
    }
}

/* Sends the batches in another order, drawn from a seed. */
static void shuffle(struct tl_batch_file *file, uint64_t seed)
{
    struct tl_random random;
    tl_random_init(&random, seed);
    for (uint64_t i = file->count; i > 1; i--) {
        uint64_t k = tl_random_below(&random, i);
        struct tl_slice batch = file->batches[i - 1];
        uint32_t rows = file->batch_rows[i - 1];
        file->batches[i - 1] = file->batches[k];
        file->batch_rows[i - 1] = file->batch_rows[k];
        file->batches[k] = batch;
        file->batch_rows[k] = rows;
    }
}

static int bench_ingest(struct tl_args *a)
{
    struct ingest in = {.connections = 1, .in_flight = 16};
    while (a->next < a->count && !a->failed)
        if (!tl_args_value(a, "--server", &in.server) &&
            !tl_args_value(a, "--batches", &in.batches) &&
            !tl_args_value(a, "--producer", &in.producer) &&
            !tl_args_number(a, "--connections", 1, CONNECTIONS_MAX, &in.connections) &&
            !tl_args_number(a, "--in-flight", 1, 4096, &in.in_flight) &&
            !tl_args_number(a, "--seconds", 1, 100000, &in.limit_s) &&
            !tl_args_number(a, "--shuffle", 1, UINT32_MAX, &in.shuffle) &&
            !tl_args_number(a, "--server-pid", 1, UINT32_MAX, &in.pid))
            return tl_args_unknown(a), TL_EXIT_USAGE;
    if (a->failed || !in.server || !in.batches)
        return TL_EXIT_USAGE;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_batch_file file;
    if (tl_batch_file_load(in.batches, &file, &st))
        return tl_bench_fail("ingest", &st);
    if (in.shuffle)
        shuffle(&file, in.shuffle);
    struct tl_appender *appenders[CONNECTIONS_MAX] = {0};
    char producer[64];
    enum tl_code rc = TL_OK;
    for (uint32_t c = 0; c < in.connections && !rc; c++) {
        snprintf(producer, sizeof(producer), "%s-%u", in.producer ? in.producer : "bench", c);
        struct tl_appender_options o = {.address = in.server,
                                        .producer = tl_slice_str(producer),
                                        .import = true,
                                        .in_flight_max = (uint32_t)in.in_flight,
                                        .in_flight_bytes_max = 64 << 20,
                                        .on_ack = on_ingest_ack,
                                        .arg = &in};
        rc = tl_appender_open(&o, &appenders[c], &st);
    }
    double merge, merge_before;
    double cpu = cpu_seconds(in.pid, &merge_before);
    double own = (double)clock() / CLOCKS_PER_SEC;
    uint64_t begin = tl_bench_now_ns();
    if (!rc)
        rc = send_all(&in, &file, appenders, &st);
    double seconds = (double)(tl_bench_now_ns() - begin) / 1e9;
    cpu = cpu_seconds(in.pid, &merge) - cpu;
    own = (double)clock() / CLOCKS_PER_SEC - own;
    for (uint32_t c = 0; c < in.connections; c++)
        tl_appender_close(appenders[c]);
    uint64_t rows = in.rows + in.duplicate_rows;
    double millions = (double)rows / 1e6;
    printf("{\"rows\":%llu,\"duplicate_rows\":%llu,\"batches\":%llu,\"seconds\":%.4f,\"rows_per_"
           "second\":%.0f,"
           "\"server_cpu_seconds\":%.3f,\"server_cpu_per_million\":%.4f,"
           "\"merge_cpu_seconds\":%.3f,"
           "\"client_cpu_per_million\":%.4f,\"ack_mean_ms\":%.3f,\"ack_max_ms\":%.3f,"
           "\"server_peak_kb\":%llu,\"refused\":%llu,\"duplicates\":%llu,\"failed\":%llu}\n",
           (unsigned long long)in.rows, (unsigned long long)in.duplicate_rows,
           (unsigned long long)in.batches_acked, seconds, (double)rows / seconds, cpu,
           millions > 0 ? cpu / millions : 0, merge - merge_before,
           millions > 0 ? own / millions : 0,
           in.batches_acked ? (double)in.latency_sum_ns / 1e6 / (double)in.batches_acked : 0,
           (double)in.latency_max_ns / 1e6,
           (unsigned long long)tl_bench_status_kb(in.pid, "VmHWM:"), (unsigned long long)in.refused,
           (unsigned long long)in.duplicates, (unsigned long long)in.failed);
    tl_batch_file_free(&file);
    if (rc)
        return tl_bench_fail("ingest", &st);
    if (in.failed)
        fprintf(stderr, "tally-bench ingest: batches were refused: %s\n", in.reason);
    return in.failed ? TL_EXIT_FAILED : TL_EXIT_OK;
}

/* ---- query ---- */

struct query_bench {
    struct tally *db;
    uint64_t runs, threads, seconds;
    uint64_t *times;
};

static int by_time(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static enum tl_code run_once(struct tally_statement *statement, uint64_t *rows,
                             struct tl_status *st)
{
    struct tally_cursor *cursor;
    enum tl_code rc = tally_bind(statement, NULL, 0, &cursor, st);
    if (rc)
        return rc;
    struct tl_chunk chunk = {0};
    *rows = 0;
    do {
        rc = tally_step(cursor, &chunk, st);
        *rows += rc ? 0 : chunk.count;
    } while (!rc && chunk.count);
    tally_cursor_close(cursor);
    return rc;
}

/* Warm-up, then runs until there are enough of them or the time is over. */
static enum tl_code bench_statement(struct query_bench *q, const char *name, const char *sql,
                                    bool first, struct tl_status *st)
{
    struct tally_session session = {.threads = (uint32_t)q->threads};
    struct tally_statement *statement = NULL;
    uint64_t prepare_ns = tl_bench_now_ns();
    enum tl_code rc = tally_prepare(q->db, tl_slice_str(sql), &session, &statement, st);
    prepare_ns = tl_bench_now_ns() - prepare_ns;
    uint64_t rows = 0, count = 0;
    for (int i = 0; i < 3 && !rc; i++)
        rc = run_once(statement, &rows, st);
    uint64_t until = tl_bench_now_ns() + q->seconds * 1000000000ULL;
    while (!rc && count < q->runs && (count < 5 || tl_bench_now_ns() < until)) {
        uint64_t begin = tl_bench_now_ns();
        rc = run_once(statement, &rows, st);
        q->times[count++] = tl_bench_now_ns() - begin;
    }
    tally_statement_close(statement);
    if (rc) {
        tl_status_wrap(st, "%s", name);
        return rc;
    }
    qsort(q->times, count, sizeof(*q->times), by_time);
    uint64_t p50 = q->times[count / 2];
    uint64_t p99 = q->times[count * 99 / 100];
    printf("%s\n \"%s\":{\"p50_ms\":%.4f,\"p99_ms\":%.4f,\"min_ms\":%.4f,\"prepare_ms\":%.4f,"
           "\"runs\":%llu,\"rows\":%llu}",
           first ? "" : ",", name, (double)p50 / 1e6, (double)p99 / 1e6, (double)q->times[0] / 1e6,
           (double)prepare_ns / 1e6, (unsigned long long)count, (unsigned long long)rows);
    fflush(stdout);
    return TL_OK;
}

static int bench_query(struct tl_args *a)
{
    struct query_bench q = {.runs = 2000, .seconds = 3};
    const char *data = NULL, *file = NULL;
    uint64_t memory = 0;
    while (a->next < a->count && !a->failed)
        if (!tl_args_value(a, "--data", &data) && !tl_args_value(a, "--statements", &file) &&
            !tl_args_number(a, "--runs", 1, RUNS_MAX, &q.runs) &&
            !tl_args_number(a, "--memory", 1 << 20, UINT64_MAX, &memory) &&
            !tl_args_number(a, "--seconds", 1, 1000, &q.seconds) &&
            !tl_args_number(a, "--threads", 0, 256, &q.threads))
            return tl_args_unknown(a), TL_EXIT_USAGE;
    FILE *f = data && file ? fopen(file, "r") : NULL;
    q.times = calloc(q.runs + 8, sizeof(*q.times));
    if (a->failed || !f || !q.times) {
        fprintf(stderr, "tally-bench query: --data and --statements (lines of NAME<TAB>SQL)\n");
        free(q.times);
        if (f)
            fclose(f);
        return TL_EXIT_USAGE;
    }
    struct tl_status st = TL_STATUS_INIT;
    struct tally_options o = {
        .must_exist = true, .memory_bytes = memory, .query_threads = (uint32_t)q.threads};
    enum tl_code rc = tally_open(data, &o, &q.db, &st);
    char *line = NULL;
    size_t capacity = 0;
    ssize_t size;
    bool first = true;
    if (!rc)
        printf("{");
    while (!rc && (size = getline(&line, &capacity, f)) > 0) {
        line[size - 1] = line[size - 1] == '\n' ? 0 : line[size - 1];
        char *tab = strchr(line, '\t');
        if (!tab)
            continue;
        *tab = 0;
        rc = bench_statement(&q, line, tab + 1, first, &st);
        first = false;
    }
    if (!rc)
        printf("}\n");
    free(line);
    fclose(f);
    free(q.times);
    if (q.db)
        tally_close(q.db);
    return rc ? tl_bench_fail("query", &st) : TL_EXIT_OK;
}

/* ---- replay ---- */

struct replay {
    uint64_t rows, bytes;
};

static void on_replay(void *arg, uint64_t rows, uint64_t bytes_done, uint64_t bytes_total)
{
    struct replay *r = arg;
    r->rows = rows;
    r->bytes = bytes_done;
    (void)bytes_total;
}

static int bench_replay(struct tl_args *a)
{
    const char *data = NULL;
    while (a->next < a->count && !a->failed)
        if (!tl_args_value(a, "--data", &data))
            return tl_args_unknown(a), TL_EXIT_USAGE;
    if (a->failed || !data)
        return TL_EXIT_USAGE;
    struct replay r = {0};
    struct tally_options o = {
        .must_exist = true, .progress = on_replay, .arg = &r, .no_background = true};
    struct tl_status st = TL_STATUS_INIT;
    struct tally *db;
    uint64_t begin = tl_bench_now_ns();
    if (tally_open(data, &o, &db, &st))
        return tl_bench_fail("replay", &st);
    double seconds = (double)(tl_bench_now_ns() - begin) / 1e9;
    uint64_t resident = tl_bench_status_kb((uint64_t)getpid(), "VmRSS:");
    tally_close(db);
    printf("{\"rows\":%llu,\"bytes\":%llu,\"seconds\":%.4f,\"rows_per_second\":%.0f,"
           "\"resident_kb\":%llu}\n",
           (unsigned long long)r.rows, (unsigned long long)r.bytes, seconds,
           (double)r.rows / seconds, (unsigned long long)resident);
    return TL_EXIT_OK;
}

/* ---- freshness ---- */

/* One prober: sends batches of one row under a merchant of its own, many in flight, and whenever
 * acknowledgements have come asks how many rows the merchant has: as many as were acknowledged, at
 * least, and no more than were sent. Each batch is a probe, for it is looked for by the first
 * question after its acknowledgement. A new merchant now and then keeps the question small; before
 * that the count must be exact. */
struct prober {
    pthread_t thread;
    const char *server;
    uint64_t probes, seed;
    uint32_t index;
    uint64_t done, missing, surplus, acked, questions;
    char error[240];
};

enum { PROBES_PER_MERCHANT = 2000, PROBES_IN_FLIGHT = 32 };

static void on_probe_ack(void *arg, const struct tl_client_ack *ack)
{
    struct prober *p = arg;
    p->acked += ack->code == TL_ACK_OK && ack->rows == 1 && !ack->duplicate;
}

struct counted {
    int64_t value;
};

static enum tl_code count_columns(void *arg, const struct tl_door_column *columns, uint32_t count,
                                  struct tl_status *st)
{
    (void)arg;
    return count == 1 && columns[0].type.kind == TL_BIGINT
               ? TL_OK
               : TL_FAIL(st, TL_INVALID, "the count is no number");
}

static enum tl_code count_rows(void *arg, const struct tl_vector *vectors, uint32_t column_count,
                               uint32_t rows, struct tl_status *st)
{
    (void)column_count;
    (void)rows;
    (void)st;
    ((struct counted *)arg)->value = ((const int64_t *)vectors[0].data)[0];
    return TL_OK;
}

static enum tl_code ask(struct tl_door *door, int64_t merchant, int64_t *out, struct tl_status *st)
{
    char sql[128];
    struct counted c = {-1};
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM events WHERE merchant_id = %lld",
             (long long)merchant);
    struct tl_door_query q = {
        .sql = tl_slice_str(sql), .columns = count_columns, .rows = count_rows, .arg = &c};
    uint64_t elapsed;
    enum tl_code rc = tl_door_query(door, &q, &elapsed, st);
    *out = c.value;
    return rc;
}

static enum tl_code send_probe(struct tl_appender *appender, int64_t merchant, uint64_t nth,
                               struct tl_batch_writer *w, struct tl_buffer *batch,
                               struct tl_status *st)
{
    tl_buffer_clear(batch);
    tl_batch_put_int(w, &w->columns[0], merchant);
    /* Old and new times: rows go to many partitions, and into memtables and segments. */
    tl_batch_put_int(w, &w->columns[1],
                     1717200000000000 + (int64_t)(nth * 7919 % 2592000) * 1000000);
    tl_batch_end_row(w);
    enum tl_code rc = tl_batch_writer_finish(w, batch, st);
    return rc ? rc : tl_appender_send(appender, nth, tl_buffer_slice(batch), false, NULL, st);
}

/* All probes of one merchant. */
static enum tl_code probe_merchant(struct prober *p, struct tl_door *door,
                                   struct tl_appender *appender, int64_t merchant, uint64_t count,
                                   struct tl_batch_writer *w, struct tl_status *st)
{
    struct tl_buffer batch;
    tl_buffer_init(&batch, "probe", 4096);
    enum tl_code rc = TL_OK;
    uint64_t sent = 0, asked = 0, base = p->acked;
    int64_t have = 0;
    while (!rc && asked < count) {
        while (!rc && sent < count && tl_appender_in_flight(appender) < PROBES_IN_FLIGHT)
            rc = send_probe(appender, merchant, base + ++sent, w, &batch, st);
        if (!rc && p->acked == base + asked)
            rc = tl_appender_poll(&appender, 1, 100, st);
        uint64_t acked = p->acked - base;
        if (rc || acked == asked)
            continue;
        rc = ask(door, merchant, &have, st);
        if (rc)
            break;
        p->missing += have < (int64_t)acked ? acked - (uint64_t)have : 0;
        p->surplus += have > (int64_t)sent;
        p->questions++;
        p->done += acked - asked;
        asked = acked;
    }
    if (!rc && have != (int64_t)count)
        p->surplus++;
    tl_buffer_deinit(&batch);
    return rc;
}

static enum tl_code probe(struct prober *p, struct tl_door *door, struct tl_appender *appender,
                          struct tl_batch_writer *w, struct tl_status *st)
{
    int64_t base = (int64_t)(1000000000 + (p->seed % 1000000) * 1000000 + p->index * 100000ULL);
    enum tl_code rc = TL_OK;
    for (int64_t n = 0; !rc && p->done < p->probes; n++) {
        uint64_t left = p->probes - p->done;
        rc = probe_merchant(p, door, appender, base + n,
                            left < PROBES_PER_MERCHANT ? left : PROBES_PER_MERCHANT, w, st);
    }
    return rc;
}

static void *prober_main(void *arg)
{
    struct prober *p = arg;
    static const struct tl_batch_column_def defs[] = {{"merchant_id", {TL_BIGINT, 0}},
                                                      {"ts", {TL_TIMESTAMPTZ, 0}}};
    struct tl_status st = TL_STATUS_INIT;
    struct tl_door *door = NULL;
    struct tl_appender *appender = NULL;
    struct tl_batch_writer *w = NULL;
    char producer[64];
    snprintf(producer, sizeof(producer), "probe-%llx-%u", (unsigned long long)p->seed, p->index);
    struct tl_door_options d = {.server = p->server};
    struct tl_appender_options o = {.address = p->server,
                                    .producer = tl_slice_str(producer),
                                    .import = true,
                                    .in_flight_max = PROBES_IN_FLIGHT,
                                    .on_ack = on_probe_ack,
                                    .arg = p};
    enum tl_code rc = tl_door_open(&d, &door, &st);
    if (!rc)
        rc = tl_appender_open(&o, &appender, &st);
    if (!rc)
        rc = tl_batch_writer_new("events", defs, 2, 16, &w, &st);
    if (!rc)
        rc = probe(p, door, appender, w, &st);
    if (rc)
        snprintf(p->error, sizeof(p->error), "%s", st.text);
    tl_batch_writer_free(w);
    tl_appender_close(appender);
    tl_door_close(door);
    return NULL;
}

static int bench_freshness(struct tl_args *a)
{
    const char *server = NULL;
    uint64_t probes = 20000, count = 4;
    while (a->next < a->count && !a->failed)
        if (!tl_args_value(a, "--server", &server) &&
            !tl_args_number(a, "--probes", 1, 1000000000, &probes) &&
            !tl_args_number(a, "--connections", 1, CONNECTIONS_MAX, &count))
            return tl_args_unknown(a), TL_EXIT_USAGE;
    if (a->failed || !server)
        return TL_EXIT_USAGE;
    struct tl_status st = TL_STATUS_INIT;
    uint64_t seed;
    if (tl_random_seed_from_os(&seed, &st))
        return tl_bench_fail("freshness", &st);
    static struct prober probers[CONNECTIONS_MAX];
    uint64_t begin = tl_bench_now_ns();
    for (uint32_t i = 0; i < count; i++) {
        probers[i] =
            (struct prober){.server = server, .probes = probes / count, .seed = seed, .index = i};
        if (pthread_create(&probers[i].thread, NULL, prober_main, &probers[i])) {
            count = i;
            break;
        }
    }
    struct prober sum = {0};
    for (uint32_t i = 0; i < count; i++) {
        pthread_join(probers[i].thread, NULL);
        sum.done += probers[i].done;
        sum.missing += probers[i].missing;
        sum.surplus += probers[i].surplus;
        sum.questions += probers[i].questions;
        if (probers[i].error[0])
            fprintf(stderr, "tally-bench freshness: %s\n", probers[i].error);
    }
    double seconds = (double)(tl_bench_now_ns() - begin) / 1e9;
    printf("{\"probes\":%llu,\"questions\":%llu,\"missing\":%llu,\"surplus\":%llu,"
           "\"seconds\":%.3f,\"probes_per_second\":%.0f}\n",
           (unsigned long long)sum.done, (unsigned long long)sum.questions,
           (unsigned long long)sum.missing, (unsigned long long)sum.surplus, seconds,
           seconds > 0 ? (double)sum.done / seconds : 0.0);
    return sum.missing || sum.surplus || !count || sum.done < probes / count * count
               ? TL_EXIT_FAILED
               : TL_EXIT_OK;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct tl_args *a);
    } commands[] = {{"ingest", bench_ingest}, {"query", bench_query},
                    {"replay", bench_replay}, {"freshness", bench_freshness},
                    {"load", tl_bench_load},  {"ack", tl_bench_ack}};
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            struct tl_args a = {.count = argc, .values = argv, .next = 2, .command = argv[1]};
            return commands[i].run(&a);
        }
    }
    fprintf(stderr,
            "usage: tally-bench ingest|query|replay|freshness|load|ack …; tools/bench runs it\n");
    return TL_EXIT_USAGE;
}
