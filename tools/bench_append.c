/*
 * tools/bench_append.c: appends encoded batches in this process and tells the CPU time of each
 * thread: log, flusher, merger. No sockets: what is left of durable ingest is the engine's own.
 *
 *     bench_append --batches FILE --dir DIR [--memory MIB] [--rows N] [--in-flight N]
 */
#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/tally.h"
#include "tools/batch_file.h"

struct run {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t open, rows, refused, failed;
};

static void on_done(void *arg, const struct tally_ack *ack)
{
    struct run *r = arg;
    pthread_mutex_lock(&r->lock);
    r->open--;
    r->rows += ack->rows;
    r->refused += ack->refused;
    if (ack->code != TL_OK && r->failed++ == 0)
        fprintf(stderr, "refused: %s\n", ack->text);
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* Seconds on a processor, by thread name, from the scheduler's own count. */
static void print_threads(double millions)
{
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *e; tasks && (e = readdir(tasks));) {
        char path[320], name[64] = "";
        unsigned long long ns = 0;
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", e->d_name);
        FILE *f = fopen(path, "r");
        if (f && fgets(name, sizeof(name), f))
            name[strcspn(name, "\n")] = 0;
        if (f)
            fclose(f);
        snprintf(path, sizeof(path), "/proc/self/task/%.20s/schedstat", e->d_name);
        f = fopen(path, "r");
        if (f && fscanf(f, "%llu", &ns) == 1)
            printf("  %-16s %7.3f CPU s  %7.3f per million\n", name, (double)ns / 1e9,
                   (double)ns / 1e9 / millions);
        if (f)
            fclose(f);
    }
    if (tasks)
        closedir(tasks);
}

static uint64_t option(int argc, char **argv, const char *name, uint64_t otherwise)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return strtoull(argv[i + 1], NULL, 10);
    return otherwise;
}

static const char *text_option(int argc, char **argv, const char *name)
{
    for (int i = 1; i + 1 < argc; i++)
        if (strcmp(argv[i], name) == 0)
            return argv[i + 1];
    return NULL;
}

static enum tl_code append_all(struct tally *db, const struct tl_batch_file *file, uint64_t rows,
                               uint64_t in_flight, struct run *r, struct tl_status *st)
{
    uint64_t sent = 0;
    for (uint64_t i = 0; i < file->count && sent < rows; i++) {
        pthread_mutex_lock(&r->lock);
        while (r->open >= in_flight)
            pthread_cond_wait(&r->changed, &r->lock);
        r->open++;
        pthread_mutex_unlock(&r->lock);
        struct tally_batch b = {
            .producer = tl_slice_str("bench"), .sequence = i + 1, .body = file->batches[i]};
        sent += file->batch_rows[i];
        if (tally_append(db, &b, on_done, r, st))
            return st->code;
    }
    pthread_mutex_lock(&r->lock);
    while (r->open > 0)
        pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
    return TL_OK;
}

int main(int argc, char **argv)
{
    const char *path = text_option(argc, argv, "--batches");
    const char *dir = text_option(argc, argv, "--dir");
    if (!path || !dir) {
        fprintf(stderr, "usage: bench_append --batches FILE --dir DIR [--memory MIB] [--rows N] "
                        "[--in-flight N]\n");
        return 2;
    }
    struct tl_status st = TL_STATUS_INIT;
    struct tl_batch_file file;
    struct tally *db = NULL;
    struct tally_options options = {.memory_bytes = (size_t)option(argc, argv, "--memory", 1024)
                                                    << 20};
    if (tl_batch_file_load(path, &file, &st) || tally_open(dir, &options, &db, &st)) {
        fprintf(stderr, "bench_append: %s\n", st.text);
        return 1;
    }
    struct run r = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    uint64_t begun = tl_clock_mono_ns(tl_clock_system());
    enum tl_code rc = append_all(db, &file, option(argc, argv, "--rows", UINT64_MAX),
                                 option(argc, argv, "--in-flight", 32), &r, &st);
    double acked = (double)(tl_clock_mono_ns(tl_clock_system()) - begun) / 1e9;
    if (!rc && option(argc, argv, "--flush", 1))
        rc = tally_flush(db, &st);
    if (rc)
        fprintf(stderr, "bench_append: %s\n", st.text);
    double millions = (double)r.rows / 1e6;
    printf("%.1f million rows acknowledged in %.2f s: %.0f events/s; refused %llu, failed %llu\n",
           millions, acked, (double)r.rows / acked, (unsigned long long)r.refused,
           (unsigned long long)r.failed);
    print_threads(millions);
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    printf("  user %.3f, system %.3f CPU s; peak %.0f MiB with the batches' file of %.0f MiB\n",
           (double)u.ru_utime.tv_sec + (double)u.ru_utime.tv_usec / 1e6,
           (double)u.ru_stime.tv_sec + (double)u.ru_stime.tv_usec / 1e6, (double)u.ru_maxrss / 1024,
           (double)file.rows / 1e6 * 74);
    struct tl_buffer text;
    tl_buffer_init(&text, "status", 1 << 20);
    if (text_option(argc, argv, "--status") && !tally_status(db, &text, &st))
        printf("%.*s\n", (int)text.size, (const char *)text.data);
    tl_buffer_deinit(&text);
    tally_close(db);
    tl_batch_file_free(&file);
    return rc ? 1 : 0;
}
