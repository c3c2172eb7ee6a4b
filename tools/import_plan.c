/*
 * tools/import_plan.c: schemas of inputs and tables, and how they meet.
 */
#include "tools/import_plan.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/values.h"

enum { SAMPLE_BYTES = 1 << 20, SAMPLE_RECORDS = 2000, FIELDS_MAX = TL_JSON_PATHS_MAX };

/* What the sample told of a field. */
struct seen {
    uint32_t values, ints, numbers, bools, times, any_times;
};

struct sample {
    struct tl_slice *names;
    uint32_t count;
    struct seen *seen;
    struct tl_arena arena;
};

static void note(struct seen *s, const struct tl_field *f)
{
    int64_t i;
    double d;
    if (f->kind == TL_FIELD_MISSING || f->kind == TL_FIELD_NULL)
        return;
    s->values++;
    if (f->kind == TL_FIELD_TRUE || f->kind == TL_FIELD_FALSE) {
        s->bools++;
        return;
    }
    if (f->kind == TL_FIELD_OBJECT || f->kind == TL_FIELD_ARRAY)
        return;
    struct tl_slice t = f->text;
    bool zeros = t.size > 1 && t.data[0] == '0' && t.data[1] != '.'; /* 007 is a name */
    s->ints += !zeros && tl_int_read(t, &i);
    s->numbers += !zeros && tl_double_read(t, &d);
    s->bools += tl_slice_eq(t, tl_slice_str("true")) || tl_slice_eq(t, tl_slice_str("false"));
    s->times += tl_time_read(t, &i);
    s->any_times += tl_any_time_read(t, &i);
}

static struct tl_type type_of(const struct seen *s)
{
    uint32_t n = s->values;
    enum tl_kind kind = TL_TEXT;
    if (n && s->bools == n)
        kind = TL_BOOLEAN;
    else if (n && s->ints == n)
        kind = TL_BIGINT;
    else if (n && s->numbers == n)
        kind = TL_DOUBLE;
    else if (n && s->times == n)
        kind = TL_TIMESTAMPTZ;
    return tl_type_of(kind);
}

/* The beginning of the input as an input of its own. */
static enum tl_code sample_input(struct tl_input *in, struct tl_input *out, struct tl_status *st)
{
    while (!in->ended && in->end - in->begin < SAMPLE_BYTES) {
        enum tl_code rc = tl_input_more(in, st);
        if (rc)
            return rc;
    }
    size_t size = in->end - in->begin;
    /* A last line that is not whole would only look malformed. */
    while (!in->ended && size > 0 && in->window[in->begin + size - 1] != '\n')
        size--;
    if (size == 0)
        size = in->end - in->begin;
    *out = (struct tl_input){.fd = -1, .ended = true, .end = size, .capacity = size};
    out->window = malloc(size + 1);
    if (!out->window)
        return TL_FAIL(st, TL_LIMIT, "no memory for a sample of the input");
    memcpy(out->window, in->window + in->begin, size);
    return TL_OK;
}

static enum tl_code sample_csv(struct tl_import_plan *plan, const struct tl_import_request *r,
                               struct tl_input *in, struct sample *s, struct tl_status *st)
{
    struct tl_field *fields = tl_arena_calloc(&s->arena, TL_CSV_FIELDS_MAX, sizeof(*fields), st);
    if (!fields)
        return st->code;
    plan->delimiter = r->delimiter;
    if (!plan->delimiter) {
        const uint8_t *end = in->end ? memchr(in->window, '\n', in->end) : NULL;
        size_t size = end ? (size_t)(end - in->window) : in->end;
        bool tab = size && memchr(in->window, '\t', size) && !memchr(in->window, ',', size);
        plan->delimiter = tab ? '\t' : ',';
    }
    struct tl_buffer scratch;
    tl_buffer_init(&scratch, "record", TL_INPUT_RECORD_MAX * 2);
    enum tl_code rc = TL_OK;
    for (uint32_t record = 0; !rc && record < SAMPLE_RECORDS; record++) {
        uint32_t count = 0, lines;
        struct tl_slice raw;
        const char *reason = NULL;
        bool found;
        rc = tl_csv_next(in, plan->delimiter, &scratch, fields, TL_CSV_FIELDS_MAX, &count, &raw,
                         &lines, &reason, &found, st);
        if (rc || !found)
            break;
        if (reason && record == 0)
            rc = TL_FAIL(st, TL_INVALID, "the first record is malformed: %s", reason);
        if (reason)
            continue;
        if (record > 0 || !r->header)
            for (uint32_t i = 0; s->names && i < count && i < s->count; i++)
                note(&s->seen[i], &fields[i]);
        if (record > 0)
            continue;
        s->count = count;
        s->names = tl_arena_calloc(&s->arena, count, sizeof(*s->names), st);
        s->seen = tl_arena_calloc(&s->arena, count, sizeof(*s->seen), st);
        if (!s->names || !s->seen)
            rc = st->code;
        for (uint32_t i = 0; !rc && i < count; i++) {
            char number[16];
            snprintf(number, sizeof(number), "%u", i + 1);
            struct tl_slice name = r->header ? fields[i].text : tl_slice_str(number);
            bool mark = i == 0 && name.size >= 3 && memcmp(name.data, "\xef\xbb\xbf", 3) == 0;
            if (mark)
                name = tl_slice_of(name.data + 3, name.size - 3);
            uint8_t *copy = tl_arena_copy(&s->arena, name.data, name.size, st);
            if (!copy)
                rc = st->code;
            s->names[i] = tl_slice_of(copy, name.size);
            if (!r->header)
                note(&s->seen[i], &fields[i]);
        }
    }
    tl_buffer_deinit(&scratch);
    plan->field_count = s->count;
    plan->skip_lines = r->header;
    if (!rc && s->count == 0)
        rc = TL_FAIL(st, TL_INVALID, "the input is empty");
    return rc;
}

static enum tl_code sample_json(struct tl_import_plan *plan, const struct tl_import_request *r,
                                struct tl_input *in, struct sample *s, struct tl_status *st)
{
    struct tl_field *fields = tl_arena_calloc(&s->arena, TL_JSON_PATHS_MAX, sizeof(*fields), st);
    s->seen = tl_arena_calloc(&s->arena, TL_JSON_PATHS_MAX, sizeof(*s->seen), st);
    if (!fields || !s->seen)
        return st->code;
    /* Paths that rules name come first, so that an object named there comes whole. */
    for (uint32_t i = 0; i < r->rule_count; i++)
        if (!r->rules[i].constant && r->rules[i].field[0])
            (void)tl_json_paths_find(&plan->paths, tl_slice_str(r->rules[i].field), true);
    struct tl_buffer scratch;
    tl_buffer_init(&scratch, "record", TL_INPUT_RECORD_MAX * 2);
    enum tl_code rc = TL_OK;
    for (uint32_t record = 0; !rc && record < SAMPLE_RECORDS; record++) {
        struct tl_slice line;
        bool cut, found;
        rc = tl_input_line(in, &line, &cut, &found, st);
        if (rc || !found)
            break;
        if (cut || tl_json_parse(line, &plan->paths, true, r->depth, &scratch, fields))
            continue;
        for (uint32_t i = 0; i < plan->paths.count; i++)
            note(&s->seen[i], &fields[i]);
    }
    tl_buffer_deinit(&scratch);
    s->names = plan->paths.names;
    s->count = plan->paths.count;
    return rc;
}

/* ---- names ---- */

/* Lower-case letters and digits; everything else an underscore. */
static void plain_name(struct tl_slice name, char *out, size_t room)
{
    size_t n = 0;
    if (name.size && name.data[0] >= '0' && name.data[0] <= '9')
        out[n++] = '_';
    for (size_t i = 0; i < name.size && n + 1 < room; i++) {
        int c = tolower(name.data[i]);
        out[n++] = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? (char)c : '_';
    }
    out[n] = 0;
    if (n == 0)
        snprintf(out, room, "field");
}

static uint32_t find_field(const struct sample *s, const char *name)
{
    char wanted[160], have[160];
    for (uint32_t i = 0; i < s->count; i++)
        if (tl_slice_eq(s->names[i], tl_slice_str(name)))
            return i;
    plain_name(tl_slice_str(name), wanted, sizeof(wanted));
    for (uint32_t i = 0; i < s->count; i++) {
        plain_name(s->names[i], have, sizeof(have));
        if (strcmp(wanted, have) == 0)
            return i;
    }
    return UINT32_MAX;
}

static const struct tl_import_rule *find_rule(const struct tl_import_request *r, const char *column)
{
    for (uint32_t i = 0; i < r->rule_count; i++)
        if (strcmp(r->rules[i].column, column) == 0)
            return &r->rules[i];
    return NULL;
}

/* ---- tables ---- */

static enum tl_code add_column(struct tl_import_plan *plan, const char *name, struct tl_type type,
                               struct tl_status *st)
{
    if (plan->column_count == TL_BATCH_WRITER_COLUMNS_MAX)
        return TL_FAIL(st, TL_LIMIT, "more than %d columns; name those you want with --map",
                       TL_BATCH_WRITER_COLUMNS_MAX);
    char *copy = strdup(name);
    if (!copy)
        return TL_FAIL(st, TL_LIMIT, "no memory for a column's name");
    plan->columns[plan->column_count++] = (struct tl_import_column){copy, type, UINT32_MAX, NULL};
    return TL_OK;
}

static bool has_column(const struct tl_import_plan *plan, const char *name)
{
    for (uint32_t i = 0; i < plan->column_count; i++)
        if (strcmp(plan->columns[i].name, name) == 0)
            return true;
    return false;
}

static enum tl_code on_columns(void *arg, const struct tl_door_column *columns, uint32_t count,
                               struct tl_status *st)
{
    enum tl_code rc = TL_OK;
    for (uint32_t i = 0; i < count && !rc; i++)
        rc = add_column(arg, columns[i].name, columns[i].type, st);
    return rc;
}

static enum tl_code on_rows(void *arg, const struct tl_vector *vectors, uint32_t column_count,
                            uint32_t rows, struct tl_status *st)
{
    (void)arg;
    (void)vectors;
    (void)column_count;
    (void)rows;
    (void)st;
    return TL_OK;
}

static enum tl_code run_sql(struct tl_door *door, struct tl_import_plan *plan,
                            const struct tl_buffer *sql, struct tl_status *st)
{
    enum tl_code rc = tl_buffer_check(sql, st);
    struct tl_door_query q = {
        .sql = tl_buffer_slice(sql), .columns = on_columns, .rows = on_rows, .arg = plan};
    uint64_t elapsed;
    return rc ? rc : tl_door_query(door, &q, &elapsed, st);
}

static void put_name(struct tl_buffer *b, const char *name)
{
    tl_buffer_put_u8(b, '"');
    for (; *name; name++) {
        if (*name == '"')
            tl_buffer_put_u8(b, '"');
        tl_buffer_put_u8(b, (uint8_t)*name);
    }
    tl_buffer_put_u8(b, '"');
}

/* The columns of a table that exists; TL_NOT_FOUND with a clean status: it does not. */
static enum tl_code describe(struct tl_import_plan *plan, struct tl_door *door,
                             struct tl_status *st)
{
    struct tl_buffer sql;
    tl_buffer_init(&sql, "statement", 4096);
    tl_buffer_printf(&sql, "SELECT * FROM ");
    put_name(&sql, plan->table);
    tl_buffer_printf(&sql, " LIMIT 0");
    enum tl_code rc = run_sql(door, plan, &sql, st);
    tl_buffer_deinit(&sql);
    if (rc && (rc == TL_NOT_FOUND || strcmp(st->sqlstate, "42P01") == 0)) {
        tl_status_clear(st);
        return TL_NOT_FOUND;
    }
    if (!rc && strcmp(plan->table, "events") == 0 && !has_column(plan, "props"))
        rc = add_column(plan, "props", tl_type_of(TL_PROPS), st);
    return rc;
}

static enum tl_code create(struct tl_import_plan *plan, struct tl_door *door, struct tl_status *st)
{
    struct tl_buffer *sql = &plan->created;
    char type[32];
    tl_buffer_printf(sql, "CREATE TABLE IF NOT EXISTS ");
    put_name(sql, plan->table);
    tl_buffer_printf(sql, " (");
    for (uint32_t i = 0; i < plan->column_count; i++) {
        const struct tl_import_column *c = &plan->columns[i];
        tl_buffer_printf(sql, i ? ", " : "");
        put_name(sql, c->name);
        tl_buffer_printf(sql, " %s", tl_type_name(c->type, type, sizeof(type)));
        if (strcmp(c->name, "merchant_id") == 0 || strcmp(c->name, "ts") == 0)
            tl_buffer_printf(sql, " NOT NULL");
    }
    tl_buffer_printf(sql, ")");
    uint32_t columns = plan->column_count;
    enum tl_code rc = run_sql(door, plan, sql, st);
    while (plan->column_count > columns) /* whatever a CREATE answers with */
        free(plan->columns[--plan->column_count].name);
    if (rc)
        tl_status_wrap(st, "creating table %s", plan->table);
    return rc;
}

static enum tl_code access_log_columns(struct tl_import_plan *plan, struct tl_status *st)
{
    static const struct {
        const char *name;
        enum tl_kind kind;
    } columns[] = {{"merchant_id", TL_BIGINT}, {"ts", TL_TIMESTAMPTZ}, {"client", TL_TEXT},
                   {"auth_user", TL_TEXT},     {"method", TL_TEXT},    {"target", TL_TEXT},
                   {"path", TL_TEXT},          {"query", TL_TEXT},     {"protocol", TL_TEXT},
                   {"status", TL_BIGINT},      {"bytes", TL_BIGINT},   {"referrer", TL_TEXT},
                   {"user_agent", TL_TEXT}};
    enum tl_code rc = TL_OK;
    for (size_t i = 0; i < sizeof(columns) / sizeof(columns[0]) && !rc; i++)
        rc = add_column(plan, columns[i].name, tl_type_of(columns[i].kind), st);
    return rc;
}

/* The field that is the time of an event: the one of a telling name, or the only kind of time. */
static uint32_t time_field(const struct sample *s)
{
    static const char *const names[] = {"ts",       "timestamp", "time",       "@timestamp",
                                        "datetime", "date",      "created_at", "event_time"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        uint32_t f = find_field(s, names[i]);
        if (f != UINT32_MAX && s->seen[f].values && s->seen[f].any_times == s->seen[f].values)
            return f;
    }
    for (uint32_t i = 0; i < s->count; i++)
        if (s->seen[i].values && s->seen[i].times == s->seen[i].values)
            return i;
    return UINT32_MAX;
}

/* Columns for a table made after the sample: merchant_id, ts, then the fields in their order. */
static enum tl_code infer_columns(struct tl_import_plan *plan, const struct tl_import_request *r,
                                  const struct sample *s, struct tl_status *st)
{
    enum tl_code rc = add_column(plan, "merchant_id", tl_type_of(TL_BIGINT), st);
    if (!rc)
        rc = add_column(plan, "ts", tl_type_of(TL_TIMESTAMPTZ), st);
    const struct tl_import_rule *rule = find_rule(r, "ts");
    uint32_t time = rule ? find_field(s, rule->field) : time_field(s);
    if (!rc && time == UINT32_MAX && !(rule && rule->constant))
        rc = TL_FAIL(st, TL_INVALID,
                     "no field looks like the time of an event; name it: --map ts=FIELD");
    if (rc)
        return rc;
    plan->columns[1].field = time;
    for (uint32_t i = 0; i < s->count && !rc; i++) {
        char name[120], unique[140];
        const struct tl_import_rule *own = NULL;
        for (uint32_t k = 0; k < r->rule_count; k++)
            if (!r->rules[k].constant && find_field(s, r->rules[k].field) == i)
                own = &r->rules[k];
        if (i == time || (own && strcmp(own->column, "merchant_id") == 0) ||
            (!own && r->only_mapped))
            continue;
        plain_name(s->names[i], name, sizeof(name));
        if (own)
            snprintf(name, sizeof(name), "%s", own->column);
        if (strcmp(name, "merchant_id") == 0 && s->seen[i].ints == s->seen[i].values)
            continue; /* bound by its name */
        snprintf(unique, sizeof(unique), "%s", name);
        for (int n = 2; has_column(plan, unique); n++)
            snprintf(unique, sizeof(unique), "%s_%d", name, n);
        rc = add_column(plan, unique, type_of(&s->seen[i]), st);
        if (!rc)
            plan->columns[plan->column_count - 1].field = i;
    }
    for (uint32_t k = 0; k < r->rule_count && !rc; k++)
        if (r->rules[k].constant && !has_column(plan, r->rules[k].column))
            rc = add_column(plan, r->rules[k].column, tl_type_of(TL_TEXT), st);
    return rc;
}

/* ---- binding ---- */

static uint32_t log_field(const char *name, bool as_events)
{
    static const struct {
        const char *column;
        uint32_t field;
    } aliases[] = {{"ts", TL_LOG_TIME},
                   {"visitor", TL_DERIVED_VISITOR},
                   {"client_prefix", TL_DERIVED_CLIENT_PREFIX},
                   {"bot", TL_DERIVED_IS_BOT}},
      events[] = {{"visitor_id", TL_DERIVED_VISITOR},
                  {"ip_prefix", TL_DERIVED_CLIENT_PREFIX},
                  {"is_bot", TL_DERIVED_IS_BOT}};
    for (uint32_t i = 0; i < TL_LOG_FIELD_COUNT; i++)
        if (strcmp(tl_log_field_names[i], name) == 0)
            return i;
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (strcmp(aliases[i].column, name) == 0)
            return aliases[i].field;
    for (size_t i = 0; as_events && i < sizeof(events) / sizeof(events[0]); i++)
        if (strcmp(events[i].column, name) == 0)
            return events[i].field;
    return UINT32_MAX;
}

static bool is_log(enum tl_import_format format)
{
    return format == TL_IMPORT_COMBINED || format == TL_IMPORT_COMMON;
}

static enum tl_code bind_rules(struct tl_import_plan *plan, const struct tl_import_request *r,
                               const struct sample *s, struct tl_status *st)
{
    for (uint32_t k = 0; k < r->rule_count; k++)
        if (!has_column(plan, r->rules[k].column))
            return TL_FAIL(st, TL_INVALID, "--map: table %s has no column %s", plan->table,
                           r->rules[k].column);
    for (uint32_t i = 0; i < plan->column_count; i++) {
        struct tl_import_column *c = &plan->columns[i];
        const struct tl_import_rule *rule = find_rule(r, c->name);
        if (rule && rule->constant) {
            c->field = UINT32_MAX;
            c->constant = rule->field;
            continue;
        }
        if (rule && !rule->field[0]) {
            c->field = UINT32_MAX;
            continue;
        }
        const char *wanted = rule ? rule->field : c->name;
        if (rule || c->field == UINT32_MAX)
            c->field = is_log(r->format) ? log_field(wanted, r->as_events) : find_field(s, wanted);
        if (rule && c->field == UINT32_MAX)
            return TL_FAIL(st, TL_INVALID, "--map: the input has no field %s", rule->field);
        if (c->field == UINT32_MAX && !is_log(r->format) && strcmp(c->name, "ts") == 0)
            c->field = time_field(s);
        if (r->as_events && !rule && strcmp(c->name, "event_name") == 0)
            c->constant = "pageview";
    }
    return TL_OK;
}

static enum tl_code bind_merchant(struct tl_import_plan *plan, const struct tl_import_request *r,
                                  struct tl_status *st)
{
    static char number[24];
    for (uint32_t i = 0; i < plan->column_count; i++) {
        struct tl_import_column *c = &plan->columns[i];
        if (strcmp(c->name, "ts") == 0 && c->field == UINT32_MAX && !c->constant)
            return TL_FAIL(st, TL_INVALID, "no field for ts; name it: --map ts=FIELD");
        if (strcmp(c->name, "merchant_id") != 0)
            continue;
        if (r->has_merchant || (c->field == UINT32_MAX && !c->constant)) {
            snprintf(number, sizeof(number), "%lld",
                     (long long)(r->has_merchant ? r->merchant : 1));
            c->field = UINT32_MAX;
            c->constant = number;
        }
    }
    return TL_OK;
}

enum tl_code tl_import_plan_make(struct tl_import_plan *plan,
                                 const struct tl_import_request *request, struct tl_door *door,
                                 struct tl_input *in, struct tl_status *st)
{
    memset(plan, 0, sizeof(*plan));
    tl_buffer_init(&plan->created, "statement", 1 << 20);
    struct sample sample = {0};
    struct tl_input beginning = {.fd = -1};
    tl_arena_init(&sample.arena, NULL, 1 << 16);
    bool log = is_log(request->format);
    const char *table = request->table       ? request->table
                        : request->as_events ? "events"
                        : log                ? "access_log"
                                             : NULL;
    enum tl_code rc = TL_OK;
    if (!table)
        rc = TL_FAIL(st, TL_INVALID, "--table is needed for CSV and NDJSON");
    plan->table = strdup(table ? table : "");
    if (!rc && !plan->table)
        rc = TL_FAIL(st, TL_LIMIT, "no memory for a plan");
    if (!rc && request->format == TL_IMPORT_NDJSON)
        rc = tl_json_paths_init(&plan->paths, st);
    bool stands = false;
    if (!rc) {
        rc = describe(plan, door, st);
        stands = rc == TL_OK;
        if (rc == TL_NOT_FOUND && st->code == TL_OK)
            rc = TL_OK;
    }
    /* An object under a column's own name comes whole. */
    for (uint32_t i = 0; !rc && request->format == TL_IMPORT_NDJSON && i < plan->column_count; i++)
        (void)tl_json_paths_find(&plan->paths, tl_slice_str(plan->columns[i].name), true);
    if (!rc && !log)
        rc = sample_input(in, &beginning, st);
    if (!rc && request->format == TL_IMPORT_CSV)
        rc = sample_csv(plan, request, &beginning, &sample, st);
    if (!rc && request->format == TL_IMPORT_NDJSON)
        rc = sample_json(plan, request, &beginning, &sample, st);
    if (!rc && !stands) {
        if (log && strcmp(table, "events") != 0)
            rc = access_log_columns(plan, st);
        else if (request->create)
            rc = infer_columns(plan, request, &sample, st);
        else
            rc = TL_FAIL(st, TL_NOT_FOUND,
                         "there is no table %s; --create makes one after the input", table);
        if (!rc)
            rc = create(plan, door, st);
    }
    if (!rc)
        rc = bind_rules(plan, request, &sample, st);
    if (!rc)
        rc = bind_merchant(plan, request, st);
    tl_arena_deinit(&sample.arena);
    tl_input_close(&beginning);
    return rc;
}

void tl_import_plan_deinit(struct tl_import_plan *plan)
{
    for (uint32_t i = 0; i < plan->column_count; i++)
        free(plan->columns[i].name);
    free(plan->table);
    tl_json_paths_deinit(&plan->paths);
    tl_buffer_deinit(&plan->created);
    plan->table = NULL;
    plan->column_count = 0;
}
