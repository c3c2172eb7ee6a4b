#include "wire/events.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "wire/batch_builder.h"
#include "wire/limits.h"
#include "wire/pb.h"

enum {
    REQUEST_PRODUCER = 1,
    REQUEST_SEQUENCE = 2,
    REQUEST_TABLE = 3,
    REQUEST_EVENTS = 4,
    EVENT_FIELDS = 1,
    FIELD_NAME = 1,
    FIELD_INT = 2,
    FIELD_DOUBLE = 3,
    FIELD_BOOL = 4,
    FIELD_TEXT = 5,
    FIELD_PROPS = 6,
    HINTS = 128
};

struct column {
    enum tl_batch_form form;
    bool known;
    struct tl_type type; /* when known */
};

struct decoder {
    struct tl_events *out;
    struct tl_batch_builder *builder;
    const struct tl_schema *schema;
    struct tl_arena arena; /* of parsed texts, reset per row */
    struct column columns[TL_BATCH_COLUMNS_MAX];
    uint32_t column_count;
    uint32_t hints[HINTS]; /* the column that field i of the last event had */
    char reason[120];      /* why the row at hand is left out; "": it is not */
};

static void refuse(struct decoder *d, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void refuse(struct decoder *d, const char *format, ...)
{
    if (d->reason[0])
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(d->reason, sizeof(d->reason), format, args);
    va_end(args);
}

/* The value of a field: one of the five forms. */
struct value {
    uint32_t number; /* 0: none, the column is NULL */
    int64_t i;
    double d;
    struct tl_slice bytes;
};

static bool decode_field(struct tl_slice bytes, struct tl_slice *name, struct value *out)
{
    struct tl_pb_reader r = tl_pb_reader_of(bytes);
    struct tl_pb_field f;
    *name = tl_slice_of(NULL, 0);
    *out = (struct value){0};
    while (tl_pb_next(&r, &f)) {
        static const uint8_t wires[] = {
            [FIELD_NAME] = TL_PB_BYTES,  [FIELD_INT] = TL_PB_VARINT, [FIELD_DOUBLE] = TL_PB_FIXED64,
            [FIELD_BOOL] = TL_PB_VARINT, [FIELD_TEXT] = TL_PB_BYTES, [FIELD_PROPS] = TL_PB_BYTES};
        if (f.number > FIELD_PROPS)
            continue; /* of a newer protocol */
        if (f.wire != wires[f.number])
            return false;
        if (f.number == FIELD_NAME) {
            *name = f.bytes;
            continue;
        }
        *out = (struct value){.number = f.number, .bytes = f.bytes};
        if (f.number == FIELD_INT)
            out->i = tl_pb_unzigzag(f.varint);
        else if (f.number == FIELD_BOOL)
            out->i = f.varint != 0;
        else if (f.number == FIELD_DOUBLE)
            memcpy(&out->d, &f.varint, sizeof(out->d));
    }
    return !r.failed && name->size > 0;
}

static enum tl_batch_form form_of_value(uint32_t number)
{
    switch (number) {
    case FIELD_INT:
        return TL_BATCH_INT;
    case FIELD_DOUBLE:
        return TL_BATCH_DOUBLE;
    case FIELD_BOOL:
        return TL_BATCH_BOOL;
    default:
        return TL_BATCH_TEXT;
    }
}

static enum tl_batch_form form_of_type(struct tl_type type)
{
    switch (type.kind) {
    case TL_BOOLEAN:
        return TL_BATCH_BOOL;
    case TL_DOUBLE:
        return TL_BATCH_DOUBLE;
    case TL_TEXT:
    case TL_PROPS:
        return TL_BATCH_TEXT;
    default:
        return TL_BATCH_INT;
    }
}

/* The column of a field, made when it is new. */
static enum tl_code find_column(struct decoder *d, struct tl_slice name, uint32_t position,
                                const struct value *v, uint32_t *out, struct tl_status *st)
{
    if (position < HINTS &&
        tl_slice_eq(tl_batch_builder_name(d->builder, d->hints[position]), name)) {
        *out = d->hints[position];
        return TL_OK;
    }
    enum tl_batch_form form;
    if (!tl_batch_builder_find(d->builder, name, out, &form)) {
        struct column c = {.form = form_of_value(v->number)};
        if (d->schema && tl_schema_find(d->schema, name, &c.type)) {
            c.known = true;
            c.form = form_of_type(c.type);
        }
        enum tl_code rc = tl_batch_builder_column(d->builder, name, c.form, out, st);
        if (rc)
            return rc;
        d->columns[*out] = c;
    }
    if (position < HINTS)
        d->hints[position] = *out;
    return TL_OK;
}

/* A text for a column of another type: read as PostgreSQL would. */
static void put_parsed(struct decoder *d, uint32_t column, const struct column *c,
                       struct tl_slice text)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_vector v;
    if (tally_param_parse(c->type, text, "UTC", &d->arena, &v, &st)) {
        struct tl_slice name = tl_batch_builder_name(d->builder, column);
        refuse(d, "%.*s: %s", (int)(name.size < 32 ? name.size : 32), (const char *)name.data,
               st.text);
        return;
    }
    switch (c->type.kind) {
    case TL_BOOLEAN:
        tl_batch_put_bool(d->builder, column, *(const uint8_t *)v.data);
        break;
    case TL_DOUBLE:
        tl_batch_put_double(d->builder, column, *(const double *)v.data);
        break;
    case TL_DATE:
        tl_batch_put_int(d->builder, column, *(const int32_t *)v.data);
        break;
    default:
        tl_batch_put_int(d->builder, column, *(const int64_t *)v.data);
    }
}

static void put_value(struct decoder *d, uint32_t column, const struct value *v)
{
    static const char *const forms[] = {"int", "double", "bool", "text"};
    const struct column *c = &d->columns[column];
    switch (v->number) {
    case 0:
        tl_batch_put_null(d->builder, column);
        return;
    case FIELD_INT:
        if (c->form == TL_BATCH_INT) {
            tl_batch_put_int(d->builder, column, v->i);
            return;
        }
        if (c->form == TL_BATCH_DOUBLE) {
            tl_batch_put_double(d->builder, column, (double)v->i);
            return;
        }
        break;
    case FIELD_DOUBLE:
        if (c->form == TL_BATCH_DOUBLE) {
            tl_batch_put_double(d->builder, column, v->d);
            return;
        }
        break;
    case FIELD_BOOL:
        if (c->form == TL_BATCH_BOOL) {
            tl_batch_put_bool(d->builder, column, v->i != 0);
            return;
        }
        break;
    case FIELD_TEXT:
        if (c->form == TL_BATCH_TEXT && !(c->known && c->type.kind == TL_PROPS)) {
            tl_batch_put_text(d->builder, column, v->bytes);
            return;
        }
        if (c->known && c->form != TL_BATCH_TEXT) {
            put_parsed(d, column, c, v->bytes);
            return;
        }
        break;
    default:
        if (c->form == TL_BATCH_TEXT && !(c->known && c->type.kind == TL_TEXT)) {
            tl_batch_put_text(d->builder, column, v->bytes);
            return;
        }
    }
    struct tl_slice name = tl_batch_builder_name(d->builder, column);
    char type[32];
    refuse(d, "%.*s takes %s, not %s", (int)(name.size < 48 ? name.size : 48),
           (const char *)name.data,
           c->known ? tl_type_name(c->type, type, sizeof(type)) : forms[c->form],
           v->number == FIELD_PROPS ? "props" : forms[form_of_value(v->number)]);
}

static void leave_out(struct decoder *d, uint32_t event)
{
    struct tl_events *e = d->out;
    if (e->told < TALLY_REFUSALS_TOLD_MAX) {
        struct tally_refusal *r = &e->refusals[e->told++];
        r->row = event;
        memcpy(r->reason, d->reason, sizeof(r->reason));
    }
    e->refused++;
    tl_batch_row_drop(d->builder);
}

static enum tl_code decode_event(struct decoder *d, struct tl_slice bytes, uint32_t event,
                                 struct tl_status *st)
{
    struct tl_pb_reader r = tl_pb_reader_of(bytes);
    struct tl_pb_field f;
    d->reason[0] = '\0';
    for (uint32_t position = 0; tl_pb_next(&r, &f);) {
        if (f.number != EVENT_FIELDS)
            continue;
        struct tl_slice name;
        struct value v;
        if (f.wire != TL_PB_BYTES || !decode_field(f.bytes, &name, &v))
            return TL_FAIL(st, TL_INVALID, "event %u has a malformed field", event);
        uint32_t column;
        enum tl_code rc = find_column(d, name, position++, &v, &column, st);
        if (rc)
            return rc;
        put_value(d, column, &v);
    }
    if (r.failed)
        return TL_FAIL(st, TL_INVALID, "event %u is malformed", event);
    if (d->reason[0]) {
        leave_out(d, event);
        return TL_OK;
    }
    if (d->out->event_of || d->out->refused) {
        if (!d->out->event_of) {
            /* The first row after one that was left out: rows and events part here. */
            d->out->event_of = malloc(d->out->events * sizeof(*d->out->event_of));
            if (!d->out->event_of)
                return TL_FAIL(st, TL_LIMIT, "no memory for %u events", d->out->events);
            for (uint32_t i = 0; i < tl_batch_builder_rows(d->builder); i++)
                d->out->event_of[i] = i;
        }
        d->out->event_of[tl_batch_builder_rows(d->builder)] = event;
    }
    tl_arena_reset(&d->arena);
    return tl_batch_row_end(d->builder, st);
}

/* The fields beside the events, wherever they stand; counts the events. */
static enum tl_code decode_head(struct tl_slice request, struct tl_events *out,
                                struct tl_slice *table, struct tl_status *st)
{
    struct tl_pb_reader r = tl_pb_reader_of(request);
    struct tl_pb_field f;
    while (tl_pb_next(&r, &f)) {
        if (f.number > REQUEST_EVENTS)
            continue;
        if (f.wire != (f.number == REQUEST_SEQUENCE ? TL_PB_VARINT : TL_PB_BYTES))
            return TL_FAIL(st, TL_INVALID, "this is no AppendEventsRequest");
        if (f.number == REQUEST_PRODUCER)
            out->producer = f.bytes;
        else if (f.number == REQUEST_SEQUENCE)
            out->sequence = f.varint;
        else if (f.number == REQUEST_TABLE)
            *table = f.bytes;
        else if (out->events++ == TL_EVENTS_ROWS_MAX)
            return TL_FAIL(st, TL_LIMIT, "a request has at most %d events", TL_EVENTS_ROWS_MAX);
    }
    if (r.failed)
        return TL_FAIL(st, TL_INVALID, "this is no AppendEventsRequest");
    return TL_OK;
}

static enum tl_code decode_events(struct decoder *d, struct tl_slice request, struct tl_status *st)
{
    struct tl_pb_reader r = tl_pb_reader_of(request);
    struct tl_pb_field f;
    uint32_t event = 0;
    while (tl_pb_next(&r, &f)) {
        if (f.number != REQUEST_EVENTS)
            continue;
        enum tl_code rc = decode_event(d, f.bytes, event++, st);
        if (rc)
            return rc;
    }
    d->out->rows = tl_batch_builder_rows(d->builder);
    return tl_batch_builder_encode(d->builder, &d->out->body, st);
}

enum tl_code tl_events_decode(struct tl_slice request, tl_events_schema *schema, void *arg,
                              struct tl_events *out, struct tl_status *st)
{
    struct tl_slice table = tl_slice_str("events");
    *out = (struct tl_events){0};
    tl_buffer_init(&out->body, "batch made of events", TALLY_BATCH_BYTES_MAX);
    enum tl_code rc = decode_head(request, out, &table, st);
    if (rc)
        return rc;
    struct decoder *d = calloc(1, sizeof(*d));
    if (!d)
        return TL_FAIL(st, TL_LIMIT, "no memory for events");
    d->out = out;
    d->schema = schema ? schema(arg, table) : NULL;
    tl_arena_init(&d->arena, NULL, 4096);
    rc = tl_batch_builder_new(table, TL_EVENTS_ROWS_MAX, TALLY_BATCH_BYTES_MAX, &d->builder, st);
    if (!rc)
        rc = decode_events(d, request, st);
    tl_batch_builder_free(d->builder);
    tl_arena_deinit(&d->arena);
    free(d);
    return rc;
}

void tl_events_deinit(struct tl_events *e)
{
    if (!e)
        return;
    tl_buffer_deinit(&e->body);
    free(e->event_of);
    e->event_of = NULL;
}
