/*
 * tools/bench_load.c: many connections with small batches, and one whose acknowledgements are
 * compared with the disk itself.
 *
 *     load  N connections, each with an Append stream; closed loop (a number of batches in flight
 *           on each) or paced (batch k is due at k / rate, on connection k mod N, and its time
 *           counts from then, whether or not the server was ready). Beside them may stand a few
 *           connections with large batches, always in closed loop: who gets how much is told.
 *     ack   one connection, one batch in flight; before each append an empty unary call, and a
 *           write and fdatasync of the same bytes to a file that was zeroed before. Medians of
 *           the three, from the same minutes of the same disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tools/batch_file.h"
#include "tools/bench_int.h"
#include "tools/load_conn.h"

enum { CONNECTIONS_MAX = 4096, EVENTS_MAX = 1024, TICK_MS = 1 };

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double own_cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Times in microseconds. */
struct times {
    uint32_t *us;
    uint64_t count, room;
};

static void times_add(struct times *t, uint64_t ns)
{
    if (t->count == t->room) {
        uint64_t room = t->room ? t->room * 2 : 65536;
        uint32_t *grown = realloc(t->us, room * sizeof(*grown));
        if (!grown)
            return; /* the percentiles are then of fewer */
        t->us = grown;
        t->room = room;
    }
    uint64_t us = ns / 1000;
    t->us[t->count++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static double percentile_ms(struct times *t, double share)
{
    if (t->count == 0)
        return 0;
    uint64_t at = (uint64_t)((double)t->count * share);
    return t->us[at < t->count ? at : t->count - 1] / 1000.0;
}

/* ---- load ---- */

/* The connections that send from one file. */
struct party {
    const char *path;
    struct tl_batch_file file;
    struct tl_load_conn *conns;
    uint64_t count, in_flight;
    uint64_t next; /* batch of the file, counted on when it is sent again */
    uint64_t rows, acked, failed, duplicates;
    uint64_t *bytes; /* acknowledged, of each connection */
    struct times times;
};

struct load {
    const char *server, *producer;
    struct party small, big;
    uint64_t rate, seconds, pid;
    bool repeat;
    int epoll;
    uint64_t begin_ns, end_ns;
};

struct owner { /* what an acknowledgement counts for */
    struct party *party;
    uint64_t index;
};

static void on_ack(void *arg, const struct tl_load_ack *ack)
{
    struct owner *o = arg;
    struct party *p = o->party;
    p->acked++;
    p->rows += ack->rows;
    p->duplicates += ack->duplicate;
    p->failed += ack->code != 0;
    p->bytes[o->index] += ack->bytes;
    times_add(&p->times, tl_bench_now_ns() - ack->due_ns);
}

static enum tl_code open_party(struct load *l, struct party *p, struct owner *owners,
                               const char *kind, struct tl_status *st)
{
    enum tl_code rc = tl_batch_file_load(p->path, &p->file, st);
    p->conns = calloc(p->count, sizeof(*p->conns));
    p->bytes = calloc(p->count, sizeof(*p->bytes));
    if (!rc && (!p->conns || !p->bytes))
        rc = TL_FAIL(st, TL_LIMIT, "no memory for %llu connections", (unsigned long long)p->count);
    for (uint64_t i = 0; i < p->count && !rc; i++) {
        char producer[64];
        snprintf(producer, sizeof(producer), "%s-%s-%llu", l->producer ? l->producer : "load", kind,
                 (unsigned long long)i);
        owners[i] = (struct owner){p, i};
        rc = tl_load_conn_open(&p->conns[i], l->server, producer, false, on_ack, &owners[i], st);
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &p->conns[i]};
        if (!rc && epoll_ctl(l->epoll, EPOLL_CTL_ADD, p->conns[i].fd, &e) != 0)
            rc = TL_FAIL_OS(st, TL_IO, errno, "epoll: %s", strerror(errno));
    }
    return rc;
}

/* Writes, and says to epoll when it must be told of room. */
static enum tl_code flush(struct load *l, struct tl_load_conn *c, struct tl_status *st)
{
    bool was = c->blocked;
    enum tl_code rc = tl_load_conn_write(c, st);
    if (!rc && was != c->blocked) {
        struct epoll_event e = {.events = EPOLLIN | (c->blocked ? (unsigned)EPOLLOUT : 0),
                                .data.ptr = c};
        (void)epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &e);
    }
    return rc;
}

static bool more(const struct load *l, const struct party *p)
{
    return p->next < p->file.count || (l->repeat && p->file.count > 0);
}

static enum tl_code fill(struct load *l, struct party *p, struct tl_load_conn *c, uint64_t now,
                         struct tl_status *st)
{
    while (c->count < p->in_flight && more(l, p))
        tl_load_conn_send(c, p->file.batches[p->next++ % p->file.count], now);
    return flush(l, c, st);
}

/* What is due by now; a connection that has too many in flight is passed over, and its batch is
 * late: the clock of a batch runs from when it was due. */
static enum tl_code send_due(struct load *l, uint64_t now, struct tl_status *st)
{
    struct party *p = &l->small;
    if (p->count == 0)
        return TL_OK;
    double step = 1e9 / (double)l->rate;
    uint64_t first = p->next;
    enum tl_code rc = TL_OK;
    for (;;) {
        uint64_t due = l->begin_ns + (uint64_t)((double)p->next * step);
        struct tl_load_conn *c = &p->conns[p->next % p->count];
        if (due > now || !more(l, p) || c->count == TL_LOAD_IN_FLIGHT_MAX ||
            p->next - first >= p->count)
            break;
        tl_load_conn_send(c, p->file.batches[p->next % p->file.count], due);
        p->next++;
        rc = flush(l, c, st);
        if (rc)
            break;
    }
    return rc;
}

static struct party *party_of(struct load *l, const struct tl_load_conn *c)
{
    return c >= l->small.conns && c < l->small.conns + l->small.count ? &l->small : &l->big;
}

static enum tl_code run_load(struct load *l, struct tl_status *st)
{
    static struct epoll_event events[EVENTS_MAX];
    enum tl_code rc = TL_OK;
    l->begin_ns = tl_bench_now_ns();
    uint64_t until = l->begin_ns + l->seconds * 1000000000ULL;
    for (uint64_t i = 0; i < l->big.count && !rc; i++)
        rc = fill(l, &l->big, &l->big.conns[i], l->begin_ns, st);
    for (uint64_t i = 0; i < l->small.count && !rc && !l->rate; i++)
        rc = fill(l, &l->small, &l->small.conns[i], l->begin_ns, st);
    while (!rc) {
        uint64_t now = tl_bench_now_ns();
        if (l->rate)
            rc = send_due(l, now, st);
        bool over = now >= until;
        if (over || (!more(l, &l->small) && l->small.acked == l->small.next))
            break;
        int n = rc ? 0 : epoll_wait(l->epoll, events, EVENTS_MAX, l->rate ? TICK_MS : 100);
        for (int i = 0; i < n && !rc; i++) {
            struct tl_load_conn *c = events[i].data.ptr;
            struct party *p = party_of(l, c);
            bool any;
            rc = tl_load_conn_read(c, &any, st);
            if (!rc)
                rc = l->rate && p == &l->small ? flush(l, c, st)
                                               : fill(l, p, c, tl_bench_now_ns(), st);
        }
    }
    l->end_ns = tl_bench_now_ns();
    return rc;
}

static void close_party(struct party *p)
{
    for (uint64_t i = 0; p->conns && i < p->count; i++)
        if (p->conns[i].on_ack)
            tl_load_conn_close(&p->conns[i]);
    free(p->conns);
    free(p->bytes);
    free(p->times.us);
    tl_batch_file_free(&p->file);
}

static void print_party(const char *name, struct party *p, double seconds)
{
    qsort(p->times.us, p->times.count, sizeof(*p->times.us), by_value);
    uint64_t sum = 0, least = UINT64_MAX, most = 0;
    for (uint64_t i = 0; i < p->count; i++) {
        sum += p->bytes[i];
        least = p->bytes[i] < least ? p->bytes[i] : least;
        most = p->bytes[i] > most ? p->bytes[i] : most;
    }
    printf("\"%s\":{\"connections\":%llu,\"batches\":%llu,\"rows\":%llu,\"failed\":%llu,"
           "\"duplicates\":%llu,\"rows_per_second\":%.0f,\"batches_per_second\":%.0f,"
           "\"bytes_per_second\":%.0f,\"least_bytes\":%llu,\"most_bytes\":%llu,"
           "\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,\"max_ms\":%.3f}",
           name, (unsigned long long)p->count, (unsigned long long)p->acked,
           (unsigned long long)p->rows, (unsigned long long)p->failed,
           (unsigned long long)p->duplicates, (double)p->rows / seconds, (double)p->acked / seconds,
           (double)sum / seconds, (unsigned long long)(p->count ? least : 0),
           (unsigned long long)most, percentile_ms(&p->times, 0.5), percentile_ms(&p->times, 0.99),
           percentile_ms(&p->times, 0.999), percentile_ms(&p->times, 1));
}

int tl_bench_load(struct tl_args *a)
{
    struct load l = {
        .seconds = 10, .small = {.count = 1000, .in_flight = 1}, .big = {.in_flight = 1}};
    while (a->next < a->count && !a->failed)
        if (!tl_args_value(a, "--server", &l.server) &&
            !tl_args_value(a, "--batches", &l.small.path) &&
            !tl_args_value(a, "--big-batches", &l.big.path) &&
            !tl_args_value(a, "--producer", &l.producer) &&
            !tl_args_number(a, "--connections", 1, CONNECTIONS_MAX, &l.small.count) &&
            !tl_args_number(a, "--big-connections", 1, CONNECTIONS_MAX, &l.big.count) &&
            !tl_args_number(a, "--in-flight", 1, TL_LOAD_IN_FLIGHT_MAX, &l.small.in_flight) &&
            !tl_args_number(a, "--big-in-flight", 1, TL_LOAD_IN_FLIGHT_MAX, &l.big.in_flight) &&
            !tl_args_number(a, "--rate", 1, 100000000, &l.rate) &&
            !tl_args_number(a, "--seconds", 1, 100000, &l.seconds) &&
            !tl_args_number(a, "--server-pid", 1, UINT32_MAX, &l.pid)) {
            if (tl_args_flag(a, "--repeat"))
                l.repeat = true;
            else
                return tl_args_unknown(a), TL_EXIT_USAGE;
        }
    if (l.big.path && !l.big.count)
        l.big.count = 1;
    if (a->failed || !l.server || !l.small.path || (l.big.count && !l.big.path))
        return TL_EXIT_USAGE;
    struct tl_status st = TL_STATUS_INIT;
    struct owner *owners = calloc(l.small.count + l.big.count, sizeof(*owners));
    enum tl_code rc = TL_OK;
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!owners || l.epoll < 0)
        rc = TL_FAIL(&st, TL_LIMIT, "no memory to begin");
    if (!rc)
        rc = open_party(&l, &l.small, owners, "small", &st);
    if (!rc && l.big.count)
        rc = open_party(&l, &l.big, owners + l.small.count, "big", &st);
    double cpu = tl_bench_cpu_seconds(l.pid), own = own_cpu_seconds();
    if (!rc)
        rc = run_load(&l, &st);
    double seconds = (double)(l.end_ns - l.begin_ns) / 1e9;
    cpu = tl_bench_cpu_seconds(l.pid) - cpu;
    own = own_cpu_seconds() - own;
    if (!rc) {
        double millions = (double)(l.small.rows + l.big.rows) / 1e6;
        printf("{\"seconds\":%.3f,\"offered_per_second\":%llu,", seconds,
               (unsigned long long)l.rate);
        print_party("small", &l.small, seconds);
        if (l.big.count) {
            printf(",");
            print_party("big", &l.big, seconds);
        }
        printf(",\"server_cpu_seconds\":%.3f,\"server_cpu_per_million\":%.4f,"
               "\"client_cpu_seconds\":%.3f,\"server_rss_kb\":%llu,\"server_peak_kb\":%llu}\n",
               cpu, millions > 0 ? cpu / millions : 0, own,
               (unsigned long long)tl_bench_status_kb(l.pid, "VmRSS:"),
               (unsigned long long)tl_bench_status_kb(l.pid, "VmHWM:"));
    }
    uint64_t failed = l.small.failed + l.big.failed;
    close_party(&l.small);
    close_party(&l.big);
    free(owners);
    if (l.epoll >= 0)
        close(l.epoll);
    if (rc)
        return tl_bench_fail("load", &st);
    return failed ? TL_EXIT_FAILED : TL_EXIT_OK;
}

/* ---- ack ---- */

struct ack_bench {
    const char *server, *batches, *dir, *producer;
    uint64_t rounds;
    struct tl_load_conn append, unary;
    int raw; /* the file for the raw write */
    uint64_t raw_offset;
    struct times append_times, unary_times, raw_times;
    uint64_t failed;
};

enum { RAW_BYTES = 16 << 20 };

static void on_one_ack(void *arg, const struct tl_load_ack *ack)
{
    struct ack_bench *b = arg;
    b->failed += ack->code != 0;
    times_add(&b->append_times, tl_bench_now_ns() - ack->due_ns);
}

/* A file whose blocks exist and were written once, as the log's are. */
static enum tl_code open_raw(struct ack_bench *b, struct tl_status *st)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/bench-raw.tmp", b->dir);
    b->raw = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    void *zeros = calloc(1, RAW_BYTES);
    enum tl_code rc = TL_OK;
    if (b->raw < 0 || !zeros || unlink(path) != 0 ||
        pwrite(b->raw, zeros, RAW_BYTES, 0) != RAW_BYTES || fsync(b->raw) != 0)
        rc = TL_FAIL_OS(st, TL_IO, errno, "%s: %s", path, strerror(errno));
    free(zeros);
    return rc;
}

static enum tl_code write_raw(struct ack_bench *b, struct tl_slice bytes, struct tl_status *st)
{
    /* The next page, as a log's next group. */
    uint64_t room = (bytes.size + 4095) / 4096 * 4096;
    if (b->raw_offset + room > RAW_BYTES)
        b->raw_offset = 0;
    uint64_t begin = tl_bench_now_ns();
    if (pwrite(b->raw, bytes.data, bytes.size, (off_t)b->raw_offset) != (ssize_t)bytes.size ||
        fdatasync(b->raw) != 0)
        return TL_FAIL_OS(st, TL_IO, errno, "the raw write: %s", strerror(errno));
    times_add(&b->raw_times, tl_bench_now_ns() - begin);
    b->raw_offset += room;
    return TL_OK;
}

static enum tl_code one_round(struct ack_bench *b, struct tl_slice batch, struct tl_status *st)
{
    uint64_t begin = tl_bench_now_ns();
    enum tl_code rc = tl_load_conn_ping(&b->unary, st);
    times_add(&b->unary_times, tl_bench_now_ns() - begin);
    if (!rc)
        rc = write_raw(b, batch, st);
    if (rc)
        return rc;
    tl_load_conn_send(&b->append, batch, tl_bench_now_ns());
    rc = tl_load_conn_write(&b->append, st);
    while (!rc && b->append.count > 0) {
        bool any;
        rc = tl_load_conn_wait(&b->append, st);
        if (!rc)
            rc = tl_load_conn_read(&b->append, &any, st);
        if (!rc)
            rc = tl_load_conn_write(&b->append, st);
    }
    return rc;
}

int tl_bench_ack(struct tl_args *a)
{
    struct ack_bench b = {.rounds = 2000, .raw = -1, .append.fd = -1, .unary.fd = -1};
    while (a->next < a->count && !a->failed)
        if (!tl_args_value(a, "--server", &b.server) &&
            !tl_args_value(a, "--batches", &b.batches) && !tl_args_value(a, "--dir", &b.dir) &&
            !tl_args_value(a, "--producer", &b.producer) &&
            !tl_args_number(a, "--rounds", 1, 10000000, &b.rounds))
            return tl_args_unknown(a), TL_EXIT_USAGE;
    if (a->failed || !b.server || !b.batches || !b.dir)
        return TL_EXIT_USAGE;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_batch_file file;
    if (tl_batch_file_load(b.batches, &file, &st))
        return tl_bench_fail("ack", &st);
    enum tl_code rc = open_raw(&b, &st);
    if (!rc)
        rc = tl_load_conn_open(&b.unary, b.server, NULL, true, NULL, NULL, &st);
    if (!rc)
        rc = tl_load_conn_open(&b.append, b.server, b.producer ? b.producer : "ack", false,
                               on_one_ack, &b, &st);
    uint64_t bytes = 0, n = 0;
    for (; n < b.rounds && n < file.count && !rc; n++) {
        rc = one_round(&b, file.batches[n], &st);
        bytes += file.batches[n].size;
    }
    if (!rc) {
        struct times *all[] = {&b.unary_times, &b.raw_times, &b.append_times};
        for (int i = 0; i < 3; i++)
            qsort(all[i]->us, all[i]->count, sizeof(*all[i]->us), by_value);
        double unary = percentile_ms(all[0], 0.5), raw = percentile_ms(all[1], 0.5),
               append = percentile_ms(all[2], 0.5);
        printf("{\"rounds\":%llu,\"batch_bytes\":%.0f,\"unary_p50_ms\":%.3f,\"raw_p50_ms\":%.3f,"
               "\"raw_p99_ms\":%.3f,\"ack_p50_ms\":%.3f,\"ack_p99_ms\":%.3f,\"ratio\":%.3f,"
               "\"failed\":%llu}\n",
               (unsigned long long)n, n ? (double)bytes / (double)n : 0, unary, raw,
               percentile_ms(all[1], 0.99), append, percentile_ms(all[2], 0.99),
               unary + raw > 0 ? append / (unary + raw) : 0, (unsigned long long)b.failed);
        for (int i = 0; i < 3; i++)
            free(all[i]->us);
    }
    tl_load_conn_close(&b.append);
    tl_load_conn_close(&b.unary);
    if (b.raw >= 0)
        close(b.raw);
    tl_batch_file_free(&file);
    if (rc)
        return tl_bench_fail("ack", &st);
    return b.failed ? TL_EXIT_FAILED : TL_EXIT_OK;
}
