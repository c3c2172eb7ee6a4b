/*
 * wire/pg_rows.c: RowDescription, and the rows of the active portal.
 *
 * A vector lives until the next step, and its snapshot may be taken away between two turns: so a
 * turn writes a vector whole, or (where a row limit cuts it) copies what is left of it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/clock.h"
#include "wire/pg_int.h"
#include "wire/pg_types.h"

enum { TURN_NS = 100 * 1000 * 1000 }; /* what there is goes out after this time */

static bool is_binary(const uint16_t *formats, uint32_t count, uint32_t column)
{
    return count == 1 ? formats[0] == 1 : count > column && formats[column] == 1;
}

void tl__pg_put_columns(struct tl_pg *s, const struct tl_output_column *columns, uint32_t count,
                        const uint16_t *formats, uint32_t format_count)
{
    if (count == 0) {
        tl_pg_put_empty(&s->out, 'n');
        return;
    }
    size_t m = tl_pg_begin(&s->out, 'T');
    tl_pg_put_u16(&s->out, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++) {
        tl_pg_put_string(&s->out, columns[i].name);
        tl_pg_put_u32(&s->out, 0); /* no table's column */
        tl_pg_put_u16(&s->out, 0);
        tl_pg_put_u32(&s->out, tl_pg_oid_of(columns[i].type));
        tl_pg_put_u16(&s->out, (uint16_t)tl_pg_size_of(columns[i].type));
        tl_pg_put_u32(&s->out, (uint32_t)tl_pg_typmod_of(columns[i].type));
        tl_pg_put_u16(&s->out, is_binary(formats, format_count, i));
    }
    tl_pg_end(&s->out, m);
}

static const struct tl_output_column show_all_columns[] = {
    {"name", {TL_TEXT, 0}}, {"setting", {TL_TEXT, 0}}, {"description", {TL_TEXT, 0}}};

static enum tl_code columns_of_utility(struct tl_pg *s, const struct tl_pg_statement *p,
                                       const struct tl_output_column **columns, uint32_t *count)
{
    const struct tl_utility *u = p->utility;
    const char *name = NULL, *value = NULL;
    struct tl_output_column *one = NULL;
    *count = 0;
    switch (u->kind) {
    case TL_UTILITY_SHOW:
        if (strcmp(u->name, "all") == 0) {
            *columns = show_all_columns;
            *count = 3;
            return TL_OK;
        }
        if (tl_pg_settings_show(&s->settings, u->name, &name, &value, &s->st))
            return s->st.code;
        tl_arena_reset(&s->scratch);
        one = tl_arena_calloc(&s->scratch, 1, sizeof(*one), &s->st);
        if (!one)
            return s->st.code;
        *one = (struct tl_output_column){name, tl_type_of(TL_TEXT)};
        *columns = one;
        *count = 1;
        return TL_OK;
    case TL_UTILITY_FETCH: {
        const struct tl_pg_portal *cursor = tl__pg_portal_find(s, u->name);
        if (!cursor)
            return tl__pg_error(s, "34000", "cursor \"%.80s\" does not exist", u->name);
        return u->move ? TL_OK : tl__pg_columns_of(s, cursor->statement, columns, count);
    }
    case TL_UTILITY_EXECUTE: {
        const struct tl_pg_statement *prepared = tl__pg_statement_find(s, u->name);
        if (!prepared)
            return tl__pg_error(s, "26000", "prepared statement \"%.80s\" does not exist", u->name);
        if (prepared->utility && prepared->utility->kind != TL_UTILITY_NONE)
            return TL_OK;
        return tl__pg_columns_of(s, prepared, columns, count);
    }
    default:
        return TL_OK;
    }
}

enum tl_code tl__pg_columns_of(struct tl_pg *s, const struct tl_pg_statement *p,
                               const struct tl_output_column **columns, uint32_t *count)
{
    *count = 0;
    if (!p->utility)
        return TL_OK;
    if (!p->plan)
        return columns_of_utility(s, p, columns, count);
    const struct tl_plan *plan = tally_describe(p->plan);
    *columns = plan->outputs;
    *count = plan->output_count;
    return TL_OK;
}

void tl__pg_put_texts(struct tl_pg *s, const char *const *texts, uint32_t count)
{
    size_t m = tl_pg_begin(&s->out, 'D');
    tl_pg_put_u16(&s->out, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++) {
        size_t size = texts[i] ? strlen(texts[i]) : 0;
        tl_pg_put_u32(&s->out, texts[i] ? (uint32_t)size : UINT32_MAX);
        tl_buffer_put(&s->out, texts[i], size);
    }
    tl_pg_end(&s->out, m);
}

/* ---- rows ---- */

void tl__pg_send(struct tl_pg *s, struct tl_pg_portal *p, enum tl_pg_how how, int64_t rows)
{
    tl_assert(!s->active);
    p->started = true;
    s->active = p;
    s->how = how;
    s->left = rows;
    s->sent = 0;
}

static void put_row(struct tl_pg *s, const struct tl_vector *columns, uint32_t count, uint32_t row,
                    const struct tl_zone *zone, struct tl_zone_span *span)
{
    struct tl_buffer *out = &s->out;
    size_t m = tl_pg_begin(out, 'D');
    tl_pg_put_u16(out, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++) {
        size_t at = out->size;
        if (!tl_vector_valid(&columns[i], row)) {
            tl_pg_put_u32(out, UINT32_MAX);
            continue;
        }
        tl_pg_put_u32(out, 0);
        tl_pg_put_value(out, &columns[i], row, is_binary(s->formats, s->format_count, i), zone,
                        span);
        if (out->failed)
            return;
        uint32_t size = (uint32_t)(out->size - at - 4);
        for (int k = 0; k < 4; k++)
            out->data[at + (size_t)k] = (uint8_t)(size >> (24 - 8 * k));
    }
    tl_pg_end(out, m);
}

/* Writes `count` rows from `first`. */
static void put_rows(struct tl_pg *s, const struct tl_vector *columns, uint32_t first,
                     uint32_t count)
{
    const struct tl_zone *zone = tl_zone_utc();
    struct tl_zone_span span = TL_ZONE_SPAN_NONE;
    struct tl_status ignored = TL_STATUS_INIT;
    const char *name = tl_pg_settings_get(&s->settings, "TimeZone");
    TL_IGNORE(tl_zone_get_session(tl_slice_str(name), &zone, &ignored));
    uint32_t width = tally_describe(s->active->statement->plan)->output_count;
    for (uint32_t i = 0; i < count && !s->out.failed; i++) {
        if (s->how == TL_PG_COPY_OUT)
            tl__pg_copy_row(s, columns, width, first + i, zone, &span);
        else if (s->how != TL_PG_MOVE)
            put_row(s, columns, width, first + i, zone, &span);
    }
    s->sent += count;
    if (s->left != INT64_MAX)
        s->left -= count;
}

/* A copy of rows from `first` on, for later. */
static enum tl_code keep_rest(struct tl_pg *s, struct tl_pg_portal *p,
                              const struct tl_vector *columns, uint32_t width, uint32_t first,
                              uint32_t count)
{
    tl_arena_reset(&p->arena);
    p->columns = tl_arena_calloc(&p->arena, (size_t)width + 1, sizeof(*p->columns), &s->st);
    for (uint32_t i = 0; i < width && !s->st.code; i++) {
        const struct tl_vector *from = &columns[i];
        struct tl_vector *to = &p->columns[i];
        uint32_t size = tl_kind_width((enum tl_kind)from->type.kind);
        uint32_t values = from->shape == TL_CONST ? 1 : count;
        *to = *from;
        if (from->data)
            to->data = tl_arena_copy(&p->arena, from->data, (size_t)values * size, &s->st);
        if (from->validity)
            to->validity =
                tl_arena_copy(&p->arena, from->validity, tl_bit_words(values) * 8, &s->st);
        if (!tl_kind_is_bytes(from->type.kind) || s->st.code)
            continue;
        struct tl_slice *texts = (struct tl_slice *)(uintptr_t)to->data;
        for (uint32_t k = from->shape == TL_CONST ? 0 : first; k < values && !s->st.code; k++) {
            if (tl_vector_valid(to, k))
                texts[k].data = tl_arena_copy(&p->arena, texts[k].data, texts[k].size, &s->st);
        }
    }
    p->rest_at = first;
    p->rest_count = count;
    return s->st.code;
}

static const char *tag_of(const struct tl_pg *s, char *buf, size_t size)
{
    const struct tl_plan *plan = tally_describe(s->active->statement->plan);
    const char *word = s->how == TL_PG_FETCH      ? "FETCH"
                       : s->how == TL_PG_MOVE     ? "MOVE"
                       : s->how == TL_PG_COPY_OUT ? "COPY"
                                                  : "SELECT";
    if (s->how == TL_PG_SELECT) {
        switch (plan->kind) {
        case TL_STMT_EXPLAIN:
            return "EXPLAIN";
        case TL_STMT_CREATE_TABLE:
            return "CREATE TABLE";
        case TL_STMT_ADD_COLUMN:
        case TL_STMT_SET_OPTIONS:
            return "ALTER TABLE";
        case TL_STMT_SHOW_TABLES:
            return "SHOW";
        case TL_STMT_CREATE_ROLLUP:
            return "CREATE MATERIALIZED VIEW";
        case TL_STMT_DROP_VIEW:
            return "DROP MATERIALIZED VIEW";
        case TL_STMT_REFRESH_VIEW:
            return "REFRESH MATERIALIZED VIEW";
        default:
            break;
        }
    }
    snprintf(buf, size, "%s %" PRIu64, word, s->sent);
    return buf;
}

/* The limit is met or the rows are out. */
static void finish(struct tl_pg *s, bool suspended)
{
    char buf[48];
    if (s->how == TL_PG_COPY_OUT)
        tl_pg_put_empty(&s->out, 'c');
    if (suspended && s->how == TL_PG_SELECT)
        tl_pg_put_empty(&s->out, 's');
    else
        tl_pg_put_complete(&s->out, tag_of(s, buf, sizeof(buf)));
    struct tl_pg_portal *owned = s->owned;
    s->active = NULL;
    s->owned = NULL;
    s->copy = NULL;
    tl__pg_portal_free(s, owned);
}

static enum tl_code step(struct tl_pg *s, struct tl_chunk *chunk)
{
    struct tl_pg_portal *p = s->active;
    pthread_mutex_lock(&s->lock);
    s->stepping = p->cursor;
    bool cancelled = atomic_load_explicit(&s->cancelled, memory_order_relaxed);
    pthread_mutex_unlock(&s->lock);
    if (cancelled) {
        TL_FAIL(&s->st, TL_CANCELLED, "canceling statement due to user request");
        TL_IGNORE(tl_status_sql(&s->st, "57014", 0));
    } else {
        TL_IGNORE(tally_step(p->cursor, chunk, &s->st));
    }
    pthread_mutex_lock(&s->lock);
    s->stepping = NULL;
    pthread_mutex_unlock(&s->lock);
    if (s->st.code && s->st.position > 0)
        s->st.position += (int32_t)p->statement->chars;
    return s->st.code;
}

static enum tl_code send_chunk(struct tl_pg *s, const struct tl_chunk *chunk)
{
    struct tl_pg_portal *p = s->active;
    const struct tl_plan *plan = tally_describe(p->statement->plan);
    uint32_t width = plan->output_count;
    tl_arena_reset(&s->scratch);
    struct tl_vector *flat = tl_arena_calloc(&s->scratch, (size_t)width + 1, sizeof(*flat), &s->st);
    for (uint32_t i = 0; i < width && !s->st.code; i++) {
        flat[i] = chunk->columns[i];
        if (flat[i].shape == TL_DICT)
            TL_IGNORE(tl_vector_flatten(&chunk->columns[i], &s->scratch, &flat[i], &s->st));
        if (tl_type_eq(flat[i].type, plan->outputs[i].type)) /* as it was described */
            flat[i].type = plan->outputs[i].type;
    }
    if (s->st.code)
        return s->st.code;
    uint32_t now = s->left < (int64_t)chunk->count ? (uint32_t)s->left : chunk->count;
    put_rows(s, flat, 0, now);
    return now < chunk->count ? keep_rest(s, p, flat, width, now, chunk->count) : TL_OK;
}

void tl__pg_send_more(struct tl_pg *s)
{
    struct tl_pg_portal *p = s->active;
    uint64_t begin = tl_clock_mono_ns(tl_clock_system());
    while (!s->out.failed) {
        if (p->rest_at < p->rest_count && s->left > 0) {
            uint32_t rest = p->rest_count - p->rest_at;
            uint32_t now = s->left < (int64_t)rest ? (uint32_t)s->left : rest;
            put_rows(s, p->columns, p->rest_at, now);
            p->rest_at += now;
        }
        if (s->left == 0 || (p->at_end && p->rest_at == p->rest_count)) {
            finish(s, s->left == 0);
            return;
        }
        if (s->out.size >= TL_PG_PAGE_BYTES ||
            (s->out.size > 0 && tl_clock_mono_ns(tl_clock_system()) - begin > TURN_NS))
            return;
        struct tl_chunk chunk = {0};
        if (step(s, &chunk) || (chunk.count > 0 && send_chunk(s, &chunk))) {
            tl__pg_fail(s);
            return;
        }
        p->at_end = p->at_end || chunk.count == 0;
    }
}
