/*
 * tools/cmd_generate.c: `tally generate`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/random.h"
#include "tools/batch_file.h"
#include "tools/command.h"
#include "tools/generator.h"
#include "tools/values.h"

static const char help[] =
    "usage: tally generate [OPTION]…\n"
    "\n"
    "Makes realistic web traffic of many merchants, the same for the same options: merchants by\n"
    "Zipf's law (merchant_id is the rank), sessions, returning visitors, funnels, a daily curve.\n"
    "Where to, one of:\n"
    "  --server HOST:PORT    a server, over gRPC (also by $TALLY_SERVER)\n"
    "  --data DIR            a directory that no server holds\n"
    "  --format csv|ndjson   text, to standard output or --output FILE\n"
    "  --batches FILE        encoded batches with their lengths, for benchmarks\n"
    "  --discard             nowhere: measures the generator\n"
    "\n"
    "  --seed S              default 1\n"
    "  --merchants M         default 1000\n"
    "  --events N            default 1000000\n"
    "  --from TIME           the first day, default 2024-06-01\n"
    "  --days D              default 30\n"
    "  --batch-rows N        rows of a batch, default 10000\n"
    "  --even                all merchants alike, instead of Zipf's law\n"
    "  --event-ids --props --ip-prefixes --server-fields\n"
    "                        fill event_id; props; ip_prefix; method, status and bytes\n"
    "  --again               send all, also what an earlier run with these options has sent\n"
    "  --stats               print how many sessions, visitors, paths there are\n"
    "  --json                the summary as JSON on standard output\n"
    "  --quiet               no progress\n"
    "\n"
    "A run that was interrupted is completed by the same command: batches that are stored already\n"
    "are recognised and not stored twice.\n"
    "\n"
    "examples:\n"
    "  tally generate --seed 7 --merchants 10000 --events 2000000 --from 2024-06-01 --days 30 \\\n"
    "        --server 127.0.0.1:7070\n"
    "  tally generate --events 1000 --format ndjson | head -3\n";

struct generate_options {
    struct tl_generator_options model;
    struct tl_place place;
    const char *format, *output, *batches;
    bool discard, stats, json, quiet, again;
    bool stored; /* into a database, by a server or a directory */
};

struct outcome {
    uint64_t rows, duplicates, refused, failed_batches;
    char reason[256];
};

static bool parse_one(struct tl_args *a, struct generate_options *o)
{
    uint64_t n = 0;
    const char *text;
    struct tl_generator_options *m = &o->model;
    if (tl_args_place(a, &o->place) || tl_args_value(a, "--format", &o->format) ||
        tl_args_value(a, "--output", &o->output) || tl_args_value(a, "--batches", &o->batches) ||
        tl_args_number(a, "--seed", 0, UINT64_MAX, &m->seed) ||
        tl_args_number(a, "--events", 0, UINT64_MAX / 2, &m->events))
        return true;
    if (tl_args_number(a, "--merchants", 1, TL_GENERATOR_MERCHANTS_MAX, &n)) {
        m->merchants = (uint32_t)n;
        return true;
    }
    if (tl_args_number(a, "--days", 1, TL_GENERATOR_DAYS_MAX, &n)) {
        m->days = (uint32_t)n;
        return true;
    }
    if (tl_args_number(a, "--batch-rows", 1, TALLY_BATCH_ROWS_MAX, &n)) {
        m->batch_rows = (uint32_t)n;
        return true;
    }
    if (tl_args_value(a, "--from", &text)) {
        if (!a->failed && !tl_any_time_read(tl_slice_str(text), &m->from_us)) {
            fprintf(stderr, "tally generate: --from must be a time like 2024-06-01\n");
            a->failed = true;
        }
        return true;
    }
    struct {
        const char *name;
        bool *value;
    } flags[] = {{"--event-ids", &m->event_ids},
                 {"--props", &m->props},
                 {"--ip-prefixes", &m->ip_prefixes},
                 {"--server-fields", &m->server_fields},
                 {"--even", &m->even},
                 {"--stats", &o->stats},
                 {"--discard", &o->discard},
                 {"--json", &o->json},
                 {"--quiet", &o->quiet},
                 {"--again", &o->again}};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (tl_args_flag(a, flags[i].name)) {
            *flags[i].value = true;
            return true;
        }
    }
    return false;
}

static bool parse(struct tl_args *a, struct generate_options *o)
{
    while (a->next < a->count && !a->failed)
        if (!parse_one(a, o))
            return tl_args_unknown(a);
    if (a->failed)
        return false;
    o->stored = o->place.server || o->place.data;
    if (!o->stored && !o->format && !o->batches && !o->discard)
        o->stored = getenv("TALLY_SERVER") || getenv("TALLY_DATA");
    int targets = o->stored + (o->format != NULL) + (o->batches != NULL) + o->discard;
    if (targets != 1) {
        fprintf(stderr, "tally generate: say where to: --server, --data, --format, --batches or "
                        "--discard\n");
        return false;
    }
    if (o->format && strcmp(o->format, "csv") != 0 && strcmp(o->format, "ndjson") != 0) {
        fprintf(stderr, "tally generate: --format is csv or ndjson\n");
        return false;
    }
    return true;
}

static void on_ack(void *arg, const struct tl_client_ack *ack)
{
    struct outcome *o = arg;
    o->rows += ack->rows;
    o->refused += ack->refused;
    if (ack->duplicate || ack->code == TL_ACK_TOO_OLD) {
        o->duplicates++;
    } else if (ack->code != TL_ACK_OK) {
        o->failed_batches++;
        if (!o->reason[0])
            snprintf(o->reason, sizeof(o->reason), "%.*s", (int)ack->message.size,
                     (const char *)ack->message.data);
    } else if (ack->refused && !o->reason[0]) {
        snprintf(o->reason, sizeof(o->reason), "%.*s", (int)ack->first_reason.size,
                 (const char *)ack->first_reason.data);
    }
}

/* The same options are the same producer: a run is continued, not repeated. */
static enum tl_code producer_name(const struct generate_options *o, char out[64], size_t *size,
                                  struct tl_status *st)
{
    uint64_t h = XXH3_64bits(&o->model.seed, sizeof(o->model.seed));
    uint64_t parts[] = {o->model.merchants, o->model.events,      (uint64_t)o->model.from_us,
                        o->model.days,      o->model.batch_rows,  o->model.event_ids,
                        o->model.props,     o->model.ip_prefixes, o->model.server_fields};
    h = XXH3_64bits_withSeed(parts, sizeof(parts), h + o->model.even);
    uint64_t chance = 0;
    if (o->again && tl_random_seed_from_os(&chance, st))
        return st->code;
    *size = o->again ? (size_t)snprintf(out, 64, "generate-%016llx-%llx", (unsigned long long)h,
                                        (unsigned long long)chance)
                     : (size_t)snprintf(out, 64, "generate-%016llx", (unsigned long long)h);
    return TL_OK;
}

struct sink {
    struct tl_door *door;
    FILE *file;
    bool text;
    enum tl_generator_text format;
    bool batches;
};

static enum tl_code open_sink(const struct generate_options *o, struct sink *s,
                              struct outcome *outcome, struct tl_status *st)
{
    if (o->stored) {
        char producer[64];
        size_t size = 0;
        enum tl_code rc = producer_name(o, producer, &size, st);
        if (!rc)
            rc = tl_place_open(&o->place, false, false, &s->door, st);
        if (!rc)
            rc = tl_door_append_open(s->door, tl_slice_of(producer, size), true, on_ack, outcome,
                                     st);
        return rc;
    }
    const char *path = o->batches ? o->batches : o->output;
    s->text = o->format != NULL;
    s->batches = o->batches != NULL;
    s->format =
        o->format && strcmp(o->format, "ndjson") == 0 ? TL_GENERATOR_NDJSON : TL_GENERATOR_CSV;
    if (o->discard)
        return TL_OK;
    s->file = path && strcmp(path, "-") != 0 ? fopen(path, "wb") : stdout;
    if (!s->file)
        return TL_FAIL_OS(st, TL_IO, errno, "%s: %s", path, strerror(errno));
    return TL_OK;
}

static enum tl_code put(struct sink *s, uint64_t sequence, uint32_t rows,
                        const struct tl_buffer *out, struct tl_status *st)
{
    if (s->door)
        return tl_door_append(s->door, sequence, tl_buffer_slice(out), NULL, st);
    if (!s->file)
        return TL_OK;
    if (s->batches && !tl_batch_file_put(s->file, rows, tl_buffer_slice(out)))
        return TL_FAIL_OS(st, TL_IO, errno, "writing: %s", strerror(errno));
    if (!s->batches && fwrite(out->data, 1, out->size, s->file) != out->size)
        return TL_FAIL_OS(st, TL_IO, errno, "writing: %s", strerror(errno));
    return TL_OK;
}

static enum tl_code generate(struct tl_generator *g, const struct generate_options *o,
                             struct sink *s, uint64_t *bytes, struct tl_status *st)
{
    struct tl_buffer out;
    tl_buffer_init(&out, "generated batch", 1u << 31);
    struct tl_progress progress;
    tl_progress_init(&progress, "generating", o->quiet || o->discard);
    enum tl_code rc = TL_OK;
    if (s->batches && s->file)
        rc = tl_batch_file_begin(s->file)
                 ? TL_OK
                 : TL_FAIL_OS(st, TL_IO, errno, "writing: %s", strerror(errno));
    if (s->text && s->format == TL_GENERATOR_CSV) {
        tl_generator_csv_header(&out);
        rc = put(s, 0, 0, &out, st);
    }
    uint64_t rows_done = 0;
    for (uint64_t sequence = 1; !rc; sequence++) {
        uint32_t rows = 0;
        tl_buffer_clear(&out);
        rc = s->text ? tl_generator_text(g, s->format, &out, &rows, st)
                     : tl_generator_batch(g, &out, &rows, st);
        if (rc || rows == 0)
            break;
        rc = put(s, sequence, rows, &out, st);
        rows_done += rows;
        *bytes += out.size;
        if (!rc && tl_client_interrupted)
            rc = TL_FAIL(st, TL_CANCELLED, "interrupted");
        tl_progress_show(&progress, rows_done, o->model.events, rows_done, *bytes);
    }
    if (!rc && s->door)
        rc = tl_door_append_finish(s->door, st);
    if (!rc && s->file && fflush(s->file) != 0)
        rc = TL_FAIL_OS(st, TL_IO, errno, "writing: %s", strerror(errno));
    tl_progress_end(&progress);
    tl_buffer_deinit(&out);
    return rc;
}

static void summarize(const struct generate_options *o, const struct tl_generator *g,
                      const struct outcome *outcome, bool stored, uint64_t bytes, double seconds)
{
    struct tl_generator_stats s;
    tl_generator_stats(g, &s);
    double rate = (double)s.events / seconds;
    FILE *out = o->json ? stdout : stderr;
    if (o->json) {
        fprintf(out,
                "{\"events\":%llu,\"stored\":%llu,\"duplicate_batches\":%llu,\"refused\":%llu,"
                "\"seconds\":%.3f,\"events_per_second\":%.0f,\"bytes\":%llu,\"sessions\":%llu,"
                "\"visitors\":%llu,\"merchants\":%llu,\"purchases\":%llu",
                (unsigned long long)s.events, (unsigned long long)outcome->rows,
                (unsigned long long)outcome->duplicates, (unsigned long long)outcome->refused,
                seconds, rate, (unsigned long long)bytes, (unsigned long long)s.sessions,
                (unsigned long long)s.visitors, (unsigned long long)s.merchants,
                (unsigned long long)s.purchases);
        if (o->model.count_paths)
            fprintf(out, ",\"paths\":%llu,\"merchant_paths\":%llu", (unsigned long long)s.paths,
                    (unsigned long long)s.merchant_paths);
        fputs("}\n", out);
        return;
    }
    char a[32], b[32], c[32];
    if (!o->quiet || o->stats)
        fprintf(out, "%s events in %.2f s, %s a second, %s\n",
                tl_count_text(s.events, a, sizeof(a)), seconds,
                tl_count_text((uint64_t)rate, b, sizeof(b)),
                tl_bytes_text((double)bytes, c, sizeof(c)));
    if (stored && outcome->duplicates)
        fprintf(out, "%s batches were stored before and were not stored again (see --again)\n",
                tl_count_text(outcome->duplicates, a, sizeof(a)));
    if (o->stats) {
        fprintf(out, "sessions %llu\nvisitors %llu\nmerchants %llu\npurchases %llu\n",
                (unsigned long long)s.sessions, (unsigned long long)s.visitors,
                (unsigned long long)s.merchants, (unsigned long long)s.purchases);
        fprintf(out, "distinct paths %llu\n(merchant, path) pairs %llu\n",
                (unsigned long long)s.paths, (unsigned long long)s.merchant_paths);
    }
}

int tl_command_generate(struct tl_args *a)
{
    if (tl_args_flag(a, "--help")) {
        fputs(help, stdout);
        return TL_EXIT_OK;
    }
    struct generate_options o = {.model = {.seed = 1,
                                           .merchants = 1000,
                                           .events = 1000000,
                                           .from_us = 1717200000000000, /* 2024-06-01 */
                                           .days = 30,
                                           .batch_rows = 10000}};
    if (!parse(a, &o))
        return TL_EXIT_USAGE;
    o.model.count_paths = o.stats;
    struct tl_status st = TL_STATUS_INIT;
    struct outcome outcome = {0};
    struct sink sink = {0};
    struct tl_generator *g = NULL;
    struct tl_progress clock;
    tl_progress_init(&clock, "", true);
    uint64_t bytes = 0;
    enum tl_code rc = tl_generator_new(&o.model, &g, &st);
    if (!rc)
        rc = open_sink(&o, &sink, &outcome, &st);
    if (!rc)
        rc = generate(g, &o, &sink, &bytes, &st);
    double seconds = tl_progress_seconds(&clock);
    bool stored = sink.door != NULL;
    if (sink.file && sink.file != stdout && fclose(sink.file) != 0 && !rc)
        rc = TL_FAIL_OS(&st, TL_IO, errno, "writing: %s", strerror(errno));
    tl_door_close(sink.door);
    if (!rc && (outcome.failed_batches || outcome.refused))
        rc = TL_FAIL(&st, TL_INVALID, "%llu batches and %llu rows were refused: %s",
                     (unsigned long long)outcome.failed_batches,
                     (unsigned long long)outcome.refused, outcome.reason);
    if (!rc)
        summarize(&o, g, &outcome, stored, bytes, seconds);
    tl_generator_free(g);
    return rc ? tl_command_fail("generate", &st) : TL_EXIT_OK;
}
