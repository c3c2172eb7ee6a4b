#include "engine/rollup.h"

#include "base/assert.h"
#include "query/function.h"

const struct tl_view *tl_view_by_id(const struct tl_schema *s, uint32_t id)
{
    for (uint32_t i = 0; i < s->view_count; i++)
        if (s->views[i]->info.id == id)
            return s->views[i];
    return NULL;
}

const struct tl_view *tl_view_by_name(const struct tl_schema *s, struct tl_slice name)
{
    for (uint32_t i = 0; i < s->view_count; i++)
        if (tl_slice_eq(tl_slice_str(s->views[i]->info.name), name))
            return s->views[i];
    return NULL;
}

bool tl_view_part(const struct tl_rollup_column *c, uint32_t part, struct tl_type *type)
{
    bool real = c->from.kind == TL_DOUBLE;
    *type = tl_type_of(TL_BIGINT);
    switch ((enum tl_rollup_kind)c->kind) {
    case TL_ROLLUP_DIMENSION:
    case TL_ROLLUP_MIN:
    case TL_ROLLUP_MAX:
        *type = c->from;
        return part == 0;
    case TL_ROLLUP_COUNT_STAR:
    case TL_ROLLUP_COUNT:
        return part == 0;
    case TL_ROLLUP_SUM:
    case TL_ROLLUP_AVG:
        if (part == 0 && real)
            *type = c->from;
        return part == 0 || (part == 1 && !real) || (part == 2 && c->kind == TL_ROLLUP_AVG);
    case TL_ROLLUP_COUNT_DISTINCT:
    case TL_ROLLUP_APPROX_DISTINCT:
    case TL_ROLLUP_APPROX_PERCENTILE:
        *type = tl_type_of(TL_TEXT);
        return part == 0;
    default:
        return false;
    }
}

/* ---- what follows from a definition ---- */

static uint32_t slot_of(struct tl_view_slot *slots, uint32_t first, uint32_t *count,
                        const struct tl_rollup_column *c)
{
    for (uint32_t i = first; i < *count; i++)
        if (slots[i].column_id == c->source_id)
            return i;
    slots[*count] = (struct tl_view_slot){c->source_id, c->from};
    return (*count)++;
}

/* Fills in the query's side and the places of dimensions and arguments. */
static enum tl_code derive(struct tl_schema_store *s, struct tl_view *v, struct tl_status *st)
{
    uint32_t n = v->def.column_count;
    struct tl_column_info *columns = tl_arena_calloc(&s->arena, n, sizeof(*columns), st);
    uint32_t *dims = tl_arena_calloc(&s->arena, n, sizeof(*dims), st);
    uint32_t *aggs = tl_arena_calloc(&s->arena, n, sizeof(*aggs), st);
    uint32_t *agg_slot = tl_arena_calloc(&s->arena, n, sizeof(*agg_slot), st);
    struct tl_view_slot *slots = tl_arena_calloc(&s->arena, n, sizeof(*slots), st);
    if (!columns || !dims || !aggs || !agg_slot || !slots)
        return st->code;
    uint32_t buckets = 0;
    uint32_t merchants = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct tl_rollup_column *c = &v->def.columns[i];
        columns[i] =
            (struct tl_column_info){.id = tl_view_part_id(i, 0), .name = c->name, .type = c->type};
        if (c->kind == TL_ROLLUP_BUCKET) {
            columns[i].id = 2;
            v->info.ts_column = i;
            buckets++;
        } else if (c->kind == TL_ROLLUP_MERCHANT) {
            columns[i].id = 1;
            v->info.merchant_column = i;
            merchants++;
        } else if (c->kind == TL_ROLLUP_DIMENSION) {
            slots[v->slot_count++] = (struct tl_view_slot){c->source_id, c->from};
            dims[v->dim_count++] = i;
        }
        columns[i].not_null = columns[i].id <= 2 || c->kind == TL_ROLLUP_COUNT_STAR ||
                              c->kind == TL_ROLLUP_COUNT || c->kind == TL_ROLLUP_COUNT_DISTINCT;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct tl_rollup_column *c = &v->def.columns[i];
        if (!tl_rollup_is_aggregate(c))
            continue;
        agg_slot[v->agg_count] = c->kind == TL_ROLLUP_COUNT_STAR
                                     ? UINT32_MAX
                                     : slot_of(slots, v->dim_count, &v->slot_count, c);
        aggs[v->agg_count++] = i;
    }
    if (buckets != 1 || merchants != 1 || v->agg_count == 0)
        return TL_FAIL(st, TL_CORRUPT, "a stored view has no bucket, merchant or aggregate");
    v->info.name = v->def.name;
    v->info.column_count = n;
    v->info.columns = columns;
    v->info.materialized_view = true;
    v->dims = dims;
    v->aggs = aggs;
    v->agg_slot = agg_slot;
    v->slots = slots;
    return TL_OK;
}

/* Installs a schema whose views are the old ones without `id`, and `added` unless it is NULL. */
static enum tl_code install(struct tl_schema_store *s, uint32_t id, const struct tl_view *added,
                            struct tl_status *st)
{
    const struct tl_schema *old = s->current;
    struct tl_schema *next = tl_arena_calloc(&s->arena, 1, sizeof(*next), st);
    const struct tl_view **views =
        tl_arena_calloc(&s->arena, (size_t)old->view_count + 1, sizeof(struct tl_view *), st);
    if (!next || !views)
        return st->code;
    *next = *old;
    next->view_count = 0;
    for (uint32_t i = 0; i < old->view_count; i++)
        if (old->views[i]->info.id != id)
            views[next->view_count++] = old->views[i];
    if (added)
        views[next->view_count++] = added; /* ids ascend */
    next->views = views;
    next->catalog.version = old->catalog.version + 1;
    if (id >= TL_VIEW_ID_FIRST + next->views_made)
        next->views_made = id - TL_VIEW_ID_FIRST + 1;
    s->current = next;
    return TL_OK;
}

enum tl_code tl_view_create(struct tl_schema_store *s, const struct tl_rollup_def *def,
                            struct tl_status *st)
{
    size_t size = strlen(def->name);
    if (size == 0 || size > TL_NAME_BYTES_MAX)
        return TL_FAIL(st, TL_INVALID, "the name of a view has 1 to %d bytes", TL_NAME_BYTES_MAX);
    if (tl_schema_by_name(s->current, tl_slice_str(def->name)) ||
        tl_view_by_name(s->current, tl_slice_str(def->name))) {
        TL_FAIL(st, TL_EXISTS, "relation \"%s\" already exists", def->name);
        return tl_status_sql(st, "42P07", 0);
    }
    if (s->current->view_count >= TL_VIEWS_MAX)
        return TL_FAIL(st, TL_LIMIT, "there are %d views already, the most that can be",
                       TL_VIEWS_MAX);
    struct tl_view *v = tl_arena_calloc(&s->arena, 1, sizeof(*v), st);
    struct tl_rollup_column *columns =
        tl_arena_calloc(&s->arena, def->column_count, sizeof(*columns), st);
    if (!v || !columns)
        return st->code;
    for (uint32_t i = 0; i < def->column_count; i++) {
        columns[i] = def->columns[i];
        columns[i].name = tl_arena_copy(&s->arena, columns[i].name, strlen(columns[i].name), st);
        if (!columns[i].name)
            return st->code;
    }
    v->def = *def;
    v->def.columns = columns;
    v->def.name = tl_arena_copy(&s->arena, def->name, size, st);
    v->info.id = TL_VIEW_ID_FIRST + s->current->views_made;
    if (!v->def.name || derive(s, v, st))
        return st->code;
    return install(s, v->info.id, v, st);
}

enum tl_code tl_view_drop(struct tl_schema_store *s, uint32_t id, struct tl_status *st)
{
    tl_assert(tl_view_by_id(s->current, id) != NULL);
    return install(s, id, NULL, st);
}

/* ---- the built-in one ---- */

static enum tl_code add_source(const struct tl_table *t, const char *name,
                               struct tl_rollup_column *c, struct tl_status *st)
{
    int32_t at = tl_table_column(t, tl_slice_str(name));
    if (at < 0)
        return TL_FAIL(st, TL_INVALID, "table %s has no column %s", t->info.name, name);
    c->source_id = t->info.columns[at].id;
    c->from = t->info.columns[at].type;
    return TL_OK;
}

enum tl_code tl_view_create_builtin(struct tl_schema_store *s, struct tl_status *st)
{
    static const struct {
        const char *name;
        const char *source;
        uint8_t kind;
    } columns[] = {
        {"bucket", NULL, TL_ROLLUP_BUCKET},
        {"merchant_id", "merchant_id", TL_ROLLUP_MERCHANT},
        {"event_name", "event_name", TL_ROLLUP_DIMENSION},
        {"events", NULL, TL_ROLLUP_COUNT_STAR},
        {"visitors", "visitor_id", TL_ROLLUP_COUNT_DISTINCT},
        {"sessions", "session_id", TL_ROLLUP_COUNT_DISTINCT},
        {"revenue", "revenue", TL_ROLLUP_SUM},
        {"duration_ms", "duration_ms", TL_ROLLUP_SUM},
    };
    enum { COUNT = sizeof(columns) / sizeof(columns[0]) };
    struct tl_rollup_column list[COUNT] = {{.name = NULL}};
    const struct tl_table *t = tl_schema_by_name(s->current, tl_slice_str("events"));
    if (!t)
        return TL_FAIL(st, TL_NOT_FOUND, "there is no table events to roll up");
    for (uint32_t i = 0; i < COUNT; i++) {
        struct tl_rollup_column *c = &list[i];
        c->name = columns[i].name;
        c->kind = columns[i].kind;
        c->type = tl_type_of(TL_BIGINT);
        if (columns[i].source && add_source(t, columns[i].source, c, st))
            return st->code;
        if (c->kind == TL_ROLLUP_BUCKET)
            c->type = tl_type_of(TL_TIMESTAMPTZ);
        else if (c->kind == TL_ROLLUP_MERCHANT || c->kind == TL_ROLLUP_DIMENSION)
            c->type = c->from;
        else if (c->kind == TL_ROLLUP_SUM)
            c->type = tl_sum_type(c->from);
    }
    struct tl_rollup_def def = {
        .name = "events_15m", .table_id = t->info.id, .column_count = COUNT, .columns = list};
    return tl_view_create(s, &def, st);
}

/* ---- bytes ---- */

enum { FLAG_DROPPED = 1 };

/* u32 id, u8 flags, string name, u32 table, u32 columns; per column u8 kind, u32 source, u8 kind
 * and u8 scale of its type, u8 kind and u8 scale of the answer's, u64 bits of the fraction, string
 * name. */
void tl_view_encode(const struct tl_view *v, bool dropped, struct tl_buffer *out)
{
    tl_buffer_put_u32(out, v->info.id);
    tl_buffer_put_u8(out, dropped ? FLAG_DROPPED : 0);
    tl_buffer_put_string(out, tl_slice_str(v->def.name));
    tl_buffer_put_u32(out, v->def.table_id);
    tl_buffer_put_u32(out, v->def.column_count);
    for (uint32_t i = 0; i < v->def.column_count; i++) {
        const struct tl_rollup_column *c = &v->def.columns[i];
        uint64_t fraction;
        memcpy(&fraction, &c->fraction, 8);
        tl_buffer_put_u8(out, c->kind);
        tl_buffer_put_u32(out, c->source_id);
        tl_buffer_put_u8(out, c->from.kind);
        tl_buffer_put_u8(out, c->from.scale);
        tl_buffer_put_u8(out, c->type.kind);
        tl_buffer_put_u8(out, c->type.scale);
        tl_buffer_put_u64(out, fraction);
        tl_buffer_put_string(out, tl_slice_str(c->name));
    }
}

static bool name_ok(struct tl_slice s)
{
    return s.size > 0 && s.size <= TL_NAME_BYTES_MAX && !memchr(s.data, 0, s.size);
}

static enum tl_code read_column(struct tl_schema_store *s, struct tl_reader *r,
                                struct tl_rollup_column *c, struct tl_status *st)
{
    c->kind = tl_read_u8(r);
    c->source_id = tl_read_u32(r);
    c->from.kind = tl_read_u8(r);
    c->from.scale = tl_read_u8(r);
    c->type.kind = tl_read_u8(r);
    c->type.scale = tl_read_u8(r);
    uint64_t fraction = tl_read_u64(r);
    memcpy(&c->fraction, &fraction, 8);
    struct tl_slice name = tl_read_string(r);
    bool sourced = c->kind != TL_ROLLUP_BUCKET && c->kind != TL_ROLLUP_COUNT_STAR;
    if (r->failed || !name_ok(name) || c->kind == 0 || c->kind > TL_ROLLUP_APPROX_PERCENTILE ||
        c->from.kind >= TL_PROPS || c->type.kind >= TL_PROPS || c->type.kind == TL_NULL ||
        c->from.scale > 38 || c->type.scale > 38 || (sourced && c->from.kind == TL_NULL))
        return TL_FAIL(st, TL_CORRUPT, "a stored view has a column with impossible fields");
    c->name = tl_arena_copy(&s->arena, name.data, name.size, st);
    return c->name ? TL_OK : st->code;
}

static enum tl_code read_view(struct tl_schema_store *s, struct tl_reader *r, struct tl_view **out,
                              bool *dropped, struct tl_status *st)
{
    struct tl_view *v = tl_arena_calloc(&s->arena, 1, sizeof(*v), st);
    if (!v)
        return st->code;
    v->info.id = tl_read_u32(r);
    *dropped = (tl_read_u8(r) & FLAG_DROPPED) != 0;
    struct tl_slice name = tl_read_string(r);
    v->def.table_id = tl_read_u32(r);
    v->def.column_count = tl_read_u32(r);
    if (r->failed || v->info.id < TL_VIEW_ID_FIRST || v->info.id == UINT32_MAX || !name_ok(name) ||
        v->def.column_count == 0 || v->def.column_count > TL_ROLLUP_COLUMNS_MAX)
        return TL_FAIL(st, TL_CORRUPT, "a stored view has impossible fields");
    v->def.name = tl_arena_copy(&s->arena, name.data, name.size, st);
    struct tl_rollup_column *columns =
        tl_arena_calloc(&s->arena, v->def.column_count, sizeof(*columns), st);
    if (!v->def.name || !columns)
        return st->code;
    for (uint32_t i = 0; i < v->def.column_count; i++)
        if (read_column(s, r, &columns[i], st))
            return st->code;
    v->def.columns = columns;
    *out = v;
    return derive(s, v, st);
}

enum tl_code tl_view_apply(struct tl_schema_store *s, struct tl_reader *r, struct tl_status *st)
{
    struct tl_view *v;
    bool dropped;
    if (read_view(s, r, &v, &dropped, st))
        return st->code;
    bool known = tl_view_by_id(s->current, v->info.id) != NULL;
    if (dropped)
        return known ? install(s, v->info.id, NULL, st) : TL_OK;
    if (known || v->info.id < TL_VIEW_ID_FIRST + s->current->views_made)
        return TL_OK; /* replayed: known already, or made and dropped since */
    return install(s, v->info.id, v, st);
}

void tl_views_encode(const struct tl_schema *s, struct tl_buffer *out)
{
    tl_buffer_put_u32(out, s->views_made);
    tl_buffer_put_u32(out, s->view_count);
    for (uint32_t i = 0; i < s->view_count; i++)
        tl_view_encode(s->views[i], false, out);
}

enum tl_code tl_views_apply(struct tl_schema_store *s, struct tl_reader *r, struct tl_status *st)
{
    uint32_t made = tl_read_u32(r);
    uint32_t count = tl_read_u32(r);
    if (r->failed || count > TL_VIEWS_MAX || made >= UINT32_MAX - TL_VIEW_ID_FIRST)
        return TL_FAIL(st, TL_CORRUPT, "a stored list of views has impossible fields");
    struct tl_schema *next = tl_arena_calloc(&s->arena, 1, sizeof(*next), st);
    const struct tl_view **views =
        tl_arena_calloc(&s->arena, (size_t)count + 1, sizeof(struct tl_view *), st);
    if (!next || !views)
        return st->code;
    for (uint32_t i = 0; i < count; i++) {
        struct tl_view *v;
        bool dropped;
        if (read_view(s, r, &v, &dropped, st))
            return st->code;
        if (dropped || v->info.id >= TL_VIEW_ID_FIRST + made ||
            (i > 0 && v->info.id <= views[i - 1]->info.id))
            return TL_FAIL(st, TL_CORRUPT, "a stored list of views is not in order");
        views[i] = v;
    }
    *next = *s->current;
    next->views = views;
    next->view_count = count;
    next->views_made = made;
    next->catalog.version++;
    s->current = next;
    return TL_OK;
}
