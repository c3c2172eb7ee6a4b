/*
 * tools/cmd_import.c: `tally import`.
 *
 * Records become rows of encoded batches; a record that is malformed, or whose value does not
 * fit its column, is counted, told with its line number and kept aside. A file's batches carry
 * a producer's name made of the file's content and of everything that decides what its rows are,
 * and are numbered: importing the same file the same way again stores nothing twice, and
 * an import that was interrupted is completed by running it again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/random.h"
#include "base/text.h"
#include "tools/command.h"
#include "tools/import_plan.h"
#include "tools/values.h"

static const char help[] =
    "usage: tally import --format combined|common|csv|ndjson [OPTION]… FILE…|-\n"
    "\n"
    "Loads web server logs (Apache, nginx), CSV (RFC 4180) and NDJSON, plain, gzip or zstd.\n"
    "\n"
    "  --server HOST:PORT    into a server (default: $TALLY_SERVER, else " TL_SERVER_DEFAULT ")\n"
    "  --data DIR            into a directory that no server holds\n"
    "  --table T             logs: access_log, made when missing; needed for CSV and NDJSON\n"
    "  --merchant N          the merchant_id of all rows; default 1 where no field says it\n"
    "  --map 'col=field,…'   which field goes into which column, beside those of equal names;\n"
    "                        fields of nested JSON objects as a.b.c, col='text' for a constant,\n"
    "                        col= for none\n"
    "  --as-events           logs: as page views in the table events\n"
    "  --create              CSV, NDJSON: make the table after the input's first records\n"
    "  --only-mapped         with --create: columns for the fields in --map alone\n"
    "  --depth N             NDJSON: levels of nested objects that become columns; default 1\n"
    "  --delimiter C         CSV: default ',', or a tab where the first line has tabs only;\n"
    "                        'tab' for a tab\n"
    "  --no-header           CSV: fields are named 1, 2 …\n"
    "  --rejects FILE        where malformed records are kept; default FILE.rejected\n"
    "  --strict              exit code 1 when any record was malformed\n"
    "  --again               store the rows even if this input was imported before\n"
    "  --json                the summary as JSON on standard output\n"
    "  --quiet               no progress\n"
    "\n"
    "An unquoted empty CSV field is NULL, a quoted one is the empty string. Times are ISO 8601,\n"
    "Unix seconds, milliseconds or microseconds, or as in access logs; without a zone they are "
    "UTC.\n"
    "\n"
    "examples:\n"
    "  tally import --format combined /var/log/nginx/access.log*\n"
    "  zcat old.gz | tally import --format common --merchant 7 --data ./tally-data -\n"
    "  tally import --format ndjson --table edits --create --map ts=time edits.json.gz\n";

enum {
    BATCH_ROWS = 10000,
    BATCH_BYTES = 4 << 20,
    REPORTED_MAX = 10,
    RULES_MAX = 256,
    PROPS_MAX = 64,
    PROP_KEY_MAX = 64,
    PROP_VALUE_MAX = 4096
};

struct import_options {
    struct tl_place place;
    struct tl_import_request request;
    struct tl_import_rule rules[RULES_MAX];
    bool has_format, only_mapped, strict, again, json, quiet;
    const char *rejects;
    const char *map_text; /* part of the producer's name */
    char *map_copy;
    const char **files;
    uint32_t file_count;
};

/* A value on its way into a column, staged until the whole row is known to be good. */
struct staged {
    bool has;
    int64_t number;
    double real;
    struct tl_slice text;
};

struct import {
    const struct import_options *o;
    struct tl_door *door;
    struct tl_import_plan *plan;
    struct tl_batch_writer *writer;
    struct staged row[TL_BATCH_WRITER_COLUMNS_MAX];
    struct tl_field *fields;
    struct tl_buffer scratch, text, key_scratch, batch;
    const char *path;
    FILE *rejects;
    char rejects_path[4096];
    uint64_t sequence, line;
    /* what came of it */
    uint64_t records, malformed, short_records, repaired;
    uint64_t stored, refused, duplicates, failed_batches;
    char refusal[256];
    char reason[160];
};

/* ---- arguments ---- */

/* "col=field,col='text',…"; the copy is cut into pieces. */
static bool parse_map(struct import_options *o, const char *text)
{
    o->map_text = text;
    o->map_copy = strdup(text);
    char *p = o->map_copy;
    while (p && *p) {
        if (o->request.rule_count == RULES_MAX)
            return false;
        struct tl_import_rule *r = &o->rules[o->request.rule_count++];
        r->column = p;
        char *equals = strchr(p, '=');
        if (!equals || equals == p)
            return false;
        *equals = 0;
        p = equals + 1;
        if (*p == '\'') {
            r->constant = true;
            r->field = ++p;
            p = strchr(p, '\'');
            if (!p)
                return false;
            *p++ = 0;
            if (*p && *p != ',')
                return false;
            p += *p == ',';
            continue;
        }
        r->field = p;
        p += strcspn(p, ",");
        if (*p)
            *p++ = 0;
    }
    return o->map_copy != NULL;
}

static bool parse_format(struct tl_args *a, struct import_options *o, const char *text)
{
    static const char *const names[] = {"combined", "common", "csv", "ndjson"};
    for (int i = 0; !a->failed && i < 4; i++) {
        if (strcmp(text, names[i]) == 0) {
            o->request.format = (enum tl_import_format)i;
            o->has_format = true;
            return true;
        }
    }
    fprintf(stderr, "tally import: --format is combined, common, csv or ndjson\n");
    a->failed = true;
    return true;
}

static bool parse_flag(struct tl_args *a, struct import_options *o)
{
    bool no_header = false;
    struct {
        const char *name;
        bool *value;
    } flags[] = {{"--as-events", &o->request.as_events},
                 {"--create", &o->request.create},
                 {"--only-mapped", &o->only_mapped},
                 {"--no-header", &no_header},
                 {"--strict", &o->strict},
                 {"--again", &o->again},
                 {"--json", &o->json},
                 {"--quiet", &o->quiet}};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        if (tl_args_flag(a, flags[i].name)) {
            *flags[i].value = true;
            if (no_header)
                o->request.header = false;
            return true;
        }
    }
    return false;
}

static bool parse_one(struct tl_args *a, struct import_options *o)
{
    const char *text;
    uint64_t n;
    if (tl_args_place(a, &o->place) || tl_args_value(a, "--table", &o->request.table) ||
        tl_args_value(a, "--rejects", &o->rejects) || parse_flag(a, o))
        return true;
    if (tl_args_value(a, "--format", &text))
        return parse_format(a, o, text);
    if (tl_args_number(a, "--depth", 0, 16, &n)) {
        o->request.depth = (uint32_t)n;
        return true;
    }
    if (tl_args_value(a, "--merchant", &text)) {
        o->request.has_merchant = true;
        if (!a->failed && !tl_int_read(tl_slice_str(text), &o->request.merchant)) {
            fprintf(stderr, "tally import: --merchant is a number\n");
            a->failed = true;
        }
        return true;
    }
    if (tl_args_value(a, "--map", &text)) {
        if (!a->failed && (o->map_copy || !parse_map(o, text))) {
            fprintf(stderr, "tally import: --map is 'column=field,column=field', given once\n");
            a->failed = true;
        }
        return true;
    }
    if (tl_args_value(a, "--delimiter", &text)) {
        bool tab = !a->failed && (strcmp(text, "tab") == 0 || strcmp(text, "\\t") == 0);
        if (!a->failed && !tab && (strlen(text) != 1 || *text == '"' || *text == '\n')) {
            fprintf(stderr, "tally import: --delimiter is one character\n");
            a->failed = true;
        }
        o->request.delimiter = tab ? '\t' : a->failed ? 0 : text[0];
        return true;
    }
    return false;
}

static bool parse(struct tl_args *a, struct import_options *o)
{
    o->request.header = true;
    o->request.depth = 1;
    o->request.rules = o->rules;
    o->files = calloc((size_t)a->count + 1, sizeof(*o->files));
    const char *file;
    while (a->next < a->count && !a->failed) {
        if (parse_one(a, o))
            continue;
        if (!o->files || !(file = tl_args_positional(a)))
            return tl_args_unknown(a);
        o->files[o->file_count++] = file;
    }
    if (a->failed)
        return false;
    if (!o->has_format || !o->file_count) {
        fprintf(stderr, "tally import: --format and a FILE (or -) are needed; see tally import "
                        "--help\n");
        return false;
    }
    for (uint32_t i = 0; i < o->request.rule_count; i++) {
        uint32_t dots = 0;
        for (const char *p = o->rules[i].field; !o->rules[i].constant && *p; p++)
            dots += *p == '.';
        o->request.depth = dots > o->request.depth ? dots : o->request.depth;
    }
    o->request.only_mapped = o->only_mapped;
    return true;
}

/* ---- acknowledgements and rejects ---- */

static void on_ack(void *arg, const struct tl_client_ack *ack)
{
    struct import *im = arg;
    im->stored += ack->duplicate ? 0 : ack->rows;
    im->refused += ack->duplicate ? 0 : ack->refused;
    struct tl_slice why = {0};
    if (ack->duplicate || ack->code == TL_ACK_TOO_OLD) {
        /* Sequences ascend, so that one older than the window was stored when it was sent. */
        im->duplicates++;
    } else if (ack->code != TL_ACK_OK) {
        im->failed_batches++;
        why = ack->message;
    } else if (ack->refused) {
        why = ack->first_reason;
    }
    if (why.size && !im->refusal[0])
        snprintf(im->refusal, sizeof(im->refusal), "%.*s", (int)why.size, (const char *)why.data);
}

static enum tl_code reject(struct import *im, struct tl_slice raw, const char *reason,
                           struct tl_status *st)
{
    if (im->malformed++ < REPORTED_MAX)
        fprintf(stderr, "%s:%llu: %s\n", im->path, (unsigned long long)im->line, reason);
    else if (im->malformed == REPORTED_MAX + 1)
        fprintf(stderr, "%s: further malformed records are only kept and counted\n", im->path);
    if (!im->rejects) {
        if (im->o->rejects)
            snprintf(im->rejects_path, sizeof(im->rejects_path), "%s", im->o->rejects);
        else
            snprintf(im->rejects_path, sizeof(im->rejects_path), "%s.rejected",
                     strcmp(im->path, "-") == 0 ? "stdin" : im->path);
        im->rejects = fopen(im->rejects_path, "wb");
    }
    if (!im->rejects || fwrite(raw.data, 1, raw.size, im->rejects) != raw.size ||
        fputc('\n', im->rejects) == EOF)
        return TL_FAIL_OS(st, TL_IO, errno, "keeping malformed records in %s: %s; see --rejects",
                          im->rejects_path, strerror(errno));
    return TL_OK;
}

/* ---- values ---- */

/* Text as a TEXT column takes it: whole UTF-8, no NUL. */
static bool stage_text(struct import *im, struct tl_slice s, struct staged *out)
{
    if (!tl_utf8_valid(s, false)) {
        size_t at = im->text.size;
        im->repaired += tl_utf8_repair(s, &im->text);
        if (im->text.failed)
            return false;
        s = tl_slice_of(im->text.data + at, im->text.size - at);
    }
    out->text = s;
    return s.size <= TL_TEXT_BYTES_MAX;
}

struct props {
    struct import *im;
    uint32_t count;
    bool too_long;
};

static void put_member(struct tl_buffer *b, uint8_t field, struct tl_slice s)
{
    tl_buffer_put_u8(b, (uint8_t)(field << 3 | 2));
    tl_buffer_put_varint(b, s.size);
    tl_buffer_put(b, s.data, s.size);
}

static bool put_prop(void *arg, struct tl_slice key, const struct tl_field *value)
{
    struct props *p = arg;
    struct tl_buffer *out = &p->im->text;
    if (value->kind == TL_FIELD_NULL)
        return true;
    p->too_long = p->count++ == PROPS_MAX || key.size > PROP_KEY_MAX || key.size == 0 ||
                  value->text.size > PROP_VALUE_MAX;
    if (p->too_long || !tl_utf8_valid(key, false) || !tl_utf8_valid(value->text, false))
        return false;
    size_t key_head = 2, value_head = value->text.size < 128 ? 2 : 3;
    tl_buffer_put_u8(out, 1 << 3 | 2);
    tl_buffer_put_varint(out, key_head + key.size + value_head + value->text.size);
    put_member(out, 1, key);
    put_member(out, 2, value->text);
    return !out->failed;
}

static bool stage_props(struct import *im, const struct tl_field *f, struct staged *out)
{
    if (f->kind != TL_FIELD_OBJECT && f->kind != TL_FIELD_TEXT)
        return false;
    struct props p = {.im = im};
    size_t at = im->text.size;
    tl_buffer_clear(&im->key_scratch);
    if (!tl_buffer_reserve(&im->key_scratch, f->text.size + 1) ||
        !tl_json_each(f->text, &im->key_scratch, put_prop, &p))
        return false;
    out->text = tl_slice_of(im->text.data + at, im->text.size - at);
    return true;
}

static bool stage_value(struct import *im, struct tl_type type, const struct tl_field *f,
                        struct staged *out)
{
    bool yes;
    switch (type.kind) {
    case TL_TEXT:
        return stage_text(im, f->text, out);
    case TL_PROPS:
        return stage_props(im, f, out);
    case TL_BIGINT:
        return tl_int_read(f->text, &out->number);
    case TL_DOUBLE:
        return tl_double_read(f->text, &out->real);
    case TL_DECIMAL64:
        return tl_decimal_read(f->text, type.scale, &out->number);
    case TL_BOOLEAN:
        if (!tl_bool_read(f->text, &yes))
            return false;
        out->number = yes;
        return true;
    case TL_TIMESTAMP:
    case TL_TIMESTAMPTZ:
        return tl_any_time_read(f->text, &out->number);
    case TL_DATE: {
        int64_t us;
        if (!tl_any_time_read(f->text, &us))
            return false;
        out->number = us / 86400000000 - (us % 86400000000 < 0);
        return true;
    }
    default:
        return false;
    }
}

/* What an access log does not say but follows from it. */
static struct tl_field derived(const struct import *im, uint32_t field, char *text, size_t room)
{
    struct tl_slice client = im->fields[TL_LOG_CLIENT].text;
    struct tl_slice agent = im->fields[TL_LOG_USER_AGENT].text;
    if (field == TL_DERIVED_VISITOR) {
        uint64_t h =
            XXH3_64bits_withSeed(agent.data, agent.size, XXH3_64bits(client.data, client.size));
        snprintf(text, room, "%016llx", (unsigned long long)h);
    } else if (field == TL_DERIVED_IS_BOT) {
        static const char *const words[] = {"bot",   "crawl", "spider",  "slurp",  "feed",
                                            "curl/", "wget",  "python-", "monitor"};
        char lower[512];
        size_t n = agent.size < sizeof(lower) - 1 ? agent.size : sizeof(lower) - 1;
        for (size_t i = 0; i < n; i++) {
            uint8_t c = agent.data[i];
            lower[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c ? c : ' ');
        }
        lower[n] = 0;
        bool bot = false;
        for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
            bot = bot || strstr(lower, words[i]);
        snprintf(text, room, "%s", bot ? "true" : "false");
    } else {
        char host[64];
        size_t n = client.size < sizeof(host) - 1 ? client.size : sizeof(host) - 1;
        memcpy(host, client.data, n);
        host[n] = 0;
        unsigned a, b, c, d;
        int end = 0;
        unsigned v6[3];
        if (sscanf(host, "%3u.%3u.%3u.%3u%n", &a, &b, &c, &d, &end) == 4 && host[end] == 0)
            snprintf(text, room, "%u.%u.%u.0/24", a & 255, b & 255, c & 255);
        else if (sscanf(host, "%4x:%4x:%4x:", &v6[0], &v6[1], &v6[2]) == 3)
            snprintf(text, room, "%x:%x:%x::/48", v6[0], v6[1], v6[2]);
        else
            return (struct tl_field){TL_FIELD_NULL, {0}}; /* a name, not an address */
    }
    return (struct tl_field){TL_FIELD_TEXT, tl_slice_str(text)};
}

static struct tl_field field_of(const struct import *im, const struct tl_import_column *c,
                                char *text, size_t room)
{
    if (c->field != UINT32_MAX) {
        if (c->field >= TL_LOG_FIELD_COUNT && im->o->request.format <= TL_IMPORT_COMMON)
            return derived(im, c->field, text, room);
        return im->fields[c->field];
    }
    if (c->constant)
        return (struct tl_field){TL_FIELD_TEXT, tl_slice_str(c->constant)};
    return (struct tl_field){0};
}

/* Stages every column; NULL, or the reason why the record is no row of this table. */
static const char *stage_row(struct import *im, size_t record_size)
{
    tl_buffer_clear(&im->text);
    /* Repaired text is at most three times as long as what it was; nothing may move. */
    if (!tl_buffer_reserve(&im->text, record_size * 4 + (1 << 16)))
        return "the record is too long";
    for (uint32_t i = 0; i < im->plan->column_count; i++) {
        const struct tl_import_column *c = &im->plan->columns[i];
        char text[64];
        struct tl_field f = field_of(im, c, text, sizeof(text));
        bool null = f.kind == TL_FIELD_MISSING || f.kind == TL_FIELD_NULL;
        im->row[i].has = !null;
        if (null) {
            if (strcmp(c->name, "ts") == 0 || strcmp(c->name, "merchant_id") == 0) {
                snprintf(im->reason, sizeof(im->reason), "%s is missing", c->name);
                return im->reason;
            }
            continue;
        }
        if (f.text.data == (const uint8_t *)text) { /* derived: keep it beside the row */
            size_t at = im->text.size;
            tl_buffer_put(&im->text, text, f.text.size);
            f.text.data = im->text.data + at;
        }
        if (!stage_value(im, c->type, &f, &im->row[i])) {
            int shown = f.text.size > 40 ? 40 : (int)f.text.size;
            char type[32];
            snprintf(im->reason, sizeof(im->reason), "%s: '%.*s%s' is no %s", c->name, shown,
                     (const char *)f.text.data, f.text.size > 40 ? "…" : "",
                     c->type.kind == TL_TEXT    ? "text of at most 64 KiB"
                     : c->type.kind == TL_PROPS ? "object of at most 64 short members"
                                                : tl_type_name(c->type, type, sizeof(type)));
            return im->reason;
        }
    }
    return im->text.failed ? "the record is too long" : NULL;
}

static void put_row(struct import *im)
{
    struct tl_batch_writer *w = im->writer;
    for (uint32_t i = 0; i < im->plan->column_count; i++) {
        struct tl_batch_column *c = &w->columns[i];
        const struct staged *v = &im->row[i];
        if (!v->has)
            continue;
        switch (c->type.kind) {
        case TL_TEXT:
        case TL_PROPS:
            tl_batch_put_text(w, c, v->text);
            break;
        case TL_DOUBLE:
            tl_batch_put_double(w, c, v->real);
            break;
        case TL_BOOLEAN:
            tl_batch_put_bool(w, c, v->number != 0);
            break;
        default:
            tl_batch_put_int(w, c, v->number);
        }
    }
    tl_batch_end_row(w);
}

static enum tl_code flush(struct import *im, struct tl_status *st)
{
    if (im->writer->rows == 0)
        return TL_OK;
    tl_buffer_clear(&im->batch);
    enum tl_code rc = tl_batch_writer_finish(im->writer, &im->batch, st);
    if (!rc)
        rc = tl_door_append(im->door, ++im->sequence, tl_buffer_slice(&im->batch), NULL, st);
    return rc;
}

/* ---- records ---- */

/* The next record into im->fields; *reason tells a malformed one. */
static enum tl_code next_record(struct import *im, struct tl_input *in, struct tl_slice *raw,
                                const char **reason, bool *found, struct tl_status *st)
{
    enum tl_import_format format = im->o->request.format;
    *reason = NULL;
    im->line++;
    if (format == TL_IMPORT_CSV) {
        uint32_t count = 0, lines = 1;
        enum tl_code rc = tl_csv_next(in, im->plan->delimiter, &im->scratch, im->fields,
                                      TL_CSV_FIELDS_MAX, &count, raw, &lines, reason, found, st);
        if (rc || !*found || *reason)
            return rc;
        if (count > im->plan->field_count)
            *reason = "more fields than the header names";
        if (count < im->plan->field_count && raw->size) {
            im->short_records++;
            memset(im->fields + count, 0, (im->plan->field_count - count) * sizeof(*im->fields));
        }
        im->line += lines - 1;
        return TL_OK;
    }
    bool cut;
    enum tl_code rc = tl_input_line(in, raw, &cut, found, st);
    if (rc || !*found || raw->size == 0)
        return rc;
    if (cut)
        *reason = "the line is too long";
    else if (format == TL_IMPORT_NDJSON)
        *reason = tl_json_parse(*raw, &im->plan->paths, false, im->o->request.depth, &im->scratch,
                                im->fields);
    else
        *reason = tl_log_parse(*raw, format == TL_IMPORT_COMBINED, &im->scratch, im->fields);
    return TL_OK;
}

static enum tl_code import_records(struct import *im, struct tl_input *in, struct tl_status *st)
{
    struct tl_progress progress;
    tl_progress_init(&progress, "importing", im->o->quiet);
    enum tl_code rc = TL_OK;
    uint64_t skip = im->plan->skip_lines;
    for (;;) {
        struct tl_slice raw;
        const char *reason;
        bool found;
        rc = next_record(im, in, &raw, &reason, &found, st);
        if (rc || !found)
            break;
        if (skip) {
            skip--;
            continue;
        }
        if (raw.size == 0) /* an empty line is nothing */
            continue;
        im->records++;
        if (!reason)
            reason = stage_row(im, raw.size);
        if (reason)
            rc = reject(im, raw, reason, st);
        else
            put_row(im);
        if (!rc && (tl_batch_full(im->writer) || (im->writer->rows % 64 == 0 &&
                                                  tl_batch_writer_bytes(im->writer) > BATCH_BYTES)))
            rc = flush(im, st);
        if (!rc && tl_client_interrupted)
            rc = TL_FAIL(st, TL_CANCELLED, "interrupted");
        if (rc)
            break;
        if (im->records % 1024 == 0)
            tl_progress_show(&progress, in->read_bytes, in->total_bytes, im->records,
                             in->read_bytes);
    }
    if (!rc)
        rc = flush(im, st);
    tl_progress_end(&progress);
    return rc;
}

/* ---- files ---- */

/* Everything that decides what the rows are. Standard input has no identity before it is read. */
static enum tl_code producer_name(const struct import *im, char out[64], size_t *size,
                                  struct tl_status *st)
{
    uint64_t h;
    if (tl_random_seed_from_os(&h, st))
        return st->code;
    if (strcmp(im->path, "-") != 0 && !im->o->again) {
        FILE *f = fopen(im->path, "rb");
        XXH3_state_t *state = XXH3_createState();
        char *bytes = malloc(1 << 20);
        enum tl_code rc = TL_OK;
        if (!f || !state || !bytes) {
            rc = TL_FAIL_OS(st, TL_IO, errno, "%s: %s", im->path, strerror(errno));
        } else {
            size_t n;
            (void)XXH3_64bits_reset(state);
            while ((n = fread(bytes, 1, 1 << 20, f)) > 0)
                (void)XXH3_64bits_update(state, bytes, n);
            const struct tl_import_request *r = &im->o->request;
            char rules[4096];
            int length = snprintf(rules, sizeof(rules), "%d %s %d %lld %d %d %s %u %d", r->format,
                                  im->plan->table, r->has_merchant, (long long)r->merchant,
                                  r->as_events, r->header, im->o->map_text ? im->o->map_text : "",
                                  r->depth, im->plan->delimiter);
            (void)XXH3_64bits_update(
                state, rules, (size_t)length < sizeof(rules) ? (size_t)length : sizeof(rules));
            h = XXH3_64bits_digest(state);
        }
        free(bytes);
        XXH3_freeState(state);
        if (f)
            fclose(f);
        if (rc)
            return rc;
    }
    *size = (size_t)snprintf(out, 64, "import-%016llx", (unsigned long long)h);
    return TL_OK;
}

static enum tl_code make_writer(struct import *im, struct tl_status *st)
{
    struct tl_batch_column_def *defs = calloc(im->plan->column_count, sizeof(*defs));
    if (!defs)
        return TL_FAIL(st, TL_LIMIT, "no memory for the columns");
    for (uint32_t i = 0; i < im->plan->column_count; i++)
        defs[i] =
            (struct tl_batch_column_def){im->plan->columns[i].name, im->plan->columns[i].type};
    enum tl_code rc = tl_batch_writer_new(im->plan->table, defs, im->plan->column_count, BATCH_ROWS,
                                          &im->writer, st);
    free(defs);
    return rc;
}

static enum tl_code import_file(struct import *im, struct tl_status *st)
{
    struct tl_input in;
    enum tl_code rc = tl_input_open(&in, im->path, st);
    if (rc)
        return rc;
    im->line = 0;
    im->sequence = 0;
    rc = tl_import_plan_make(im->plan, &im->o->request, im->door, &in, st);
    if (!rc && im->plan->created.size && !im->o->quiet)
        fprintf(stderr, "made the table: %.*s\n", (int)im->plan->created.size,
                (const char *)im->plan->created.data);
    char producer[64];
    size_t producer_size = 0;
    if (!rc)
        rc = producer_name(im, producer, &producer_size, st);
    if (!rc)
        rc = make_writer(im, st);
    if (!rc)
        rc = tl_door_append_open(im->door, tl_slice_of(producer, producer_size), true, on_ack, im,
                                 st);
    if (!rc)
        rc = import_records(im, &in, st);
    /* Whatever happened, what was sent is waited for: its rows are then counted rightly. */
    struct tl_status later = TL_STATUS_INIT;
    if (im->writer && tl_door_append_finish(im->door, rc ? &later : st) && !rc)
        rc = st->code;
    tl_batch_writer_free(im->writer);
    im->writer = NULL;
    tl_import_plan_deinit(im->plan);
    tl_input_close(&in);
    if (im->rejects && !im->o->rejects) {
        fclose(im->rejects);
        im->rejects = NULL;
    }
    if (rc)
        tl_status_wrap(st, "%s", im->path);
    return rc;
}

static void summarize(const struct import *im, double seconds)
{
    if (im->o->json) {
        printf("{\"records\":%llu,\"stored\":%llu,\"malformed\":%llu,\"refused\":%llu,"
               "\"duplicate_batches\":%llu,\"repaired\":%llu,\"short\":%llu,\"seconds\":%.3f}\n",
               (unsigned long long)im->records, (unsigned long long)im->stored,
               (unsigned long long)im->malformed, (unsigned long long)im->refused,
               (unsigned long long)im->duplicates, (unsigned long long)im->repaired,
               (unsigned long long)im->short_records, seconds);
        return;
    }
    char a[32], b[32];
    fprintf(stderr, "%s rows stored of %s records in %.2f s\n",
            tl_count_text(im->stored, a, sizeof(a)), tl_count_text(im->records, b, sizeof(b)),
            seconds);
    if (im->duplicates)
        fprintf(stderr,
                "%s batches were stored by an earlier import and were not stored again (see "
                "--again)\n",
                tl_count_text(im->duplicates, a, sizeof(a)));
    if (im->malformed)
        fprintf(stderr, "%s malformed records, kept in %s\n",
                tl_count_text(im->malformed, a, sizeof(a)), im->rejects_path);
    if (im->short_records)
        fprintf(stderr, "%s records had fewer fields than the header; those are NULL\n",
                tl_count_text(im->short_records, a, sizeof(a)));
    if (im->repaired)
        fprintf(stderr, "%s places were no UTF-8 and hold U+FFFD now\n",
                tl_count_text(im->repaired, a, sizeof(a)));
    if (im->refused || im->failed_batches)
        fprintf(stderr, "%s rows and %llu whole batches were refused: %s\n",
                tl_count_text(im->refused, a, sizeof(a)), (unsigned long long)im->failed_batches,
                im->refusal);
}

static int run(struct import *im)
{
    struct tl_status st = TL_STATUS_INIT;
    tl_buffer_init(&im->scratch, "record", TL_INPUT_RECORD_MAX * 2);
    tl_buffer_init(&im->text, "record", 64u << 20);
    tl_buffer_init(&im->key_scratch, "record", TL_INPUT_RECORD_MAX * 2);
    tl_buffer_init(&im->batch, "batch", TALLY_BATCH_BYTES_MAX);
    im->plan = calloc(1, sizeof(*im->plan));
    im->fields = calloc(TL_JSON_PATHS_MAX, sizeof(*im->fields));
    struct tl_progress clock;
    tl_progress_init(&clock, "", true);
    enum tl_code rc = im->plan && im->fields ? TL_OK : TL_FAIL(&st, TL_LIMIT, "no memory");
    if (!rc)
        rc = tl_place_open(&im->o->place, false, false, &im->door, &st);
    for (uint32_t i = 0; i < im->o->file_count && !rc; i++) {
        im->path = im->o->files[i];
        rc = import_file(im, &st);
    }
    tl_door_close(im->door);
    if (im->rejects)
        fclose(im->rejects);
    if (!rc || im->stored)
        summarize(im, tl_progress_seconds(&clock));
    free(im->plan);
    free(im->fields);
    tl_buffer_deinit(&im->scratch);
    tl_buffer_deinit(&im->text);
    tl_buffer_deinit(&im->key_scratch);
    tl_buffer_deinit(&im->batch);
    if (rc)
        return tl_command_fail("import", &st);
    return im->failed_batches || im->refused || (im->o->strict && im->malformed) ? TL_EXIT_FAILED
                                                                                 : TL_EXIT_OK;
}

int tl_command_import(struct tl_args *a)
{
    if (tl_args_flag(a, "--help")) {
        fputs(help, stdout);
        return TL_EXIT_OK;
    }
    struct import_options *o = calloc(1, sizeof(*o));
    struct import *im = calloc(1, sizeof(*im));
    int code = TL_EXIT_FAILED;
    if (o && im) {
        im->o = o;
        code = parse(a, o) ? run(im) : TL_EXIT_USAGE;
    }
    if (o) {
        free(o->map_copy);
        free(o->files);
    }
    free(o);
    free(im);
    return code;
}
