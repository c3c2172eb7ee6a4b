/*
 * query/catalog_scan.c: the source over the catalogs.
 *
 * Opening a scan writes all rows as text; a chunk is up to 2,048 of them, of which the columns
 * asked for are cut out and cast to their types. The rows are few, so there is one morsel.
 */
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/assert.h"
#include "base/zone.h"
#include "query/catalog_int.h"
#include "query/function_int.h"

enum { ROWS_BYTES_MAX = 256 << 20, ARENA_CHUNK = 16384 };

struct tl_scan {
    struct tl_catalog_source *source;
    const struct tl__catalog_relation *relation;
    struct tl_arena arena;
    uint32_t column_count;
    const struct tl_scan_column *columns;
    struct tl_buffer text;    /* of the rows that were made */
    const char *const *fixed; /* the next row that is always there */
    const char *next;         /* in `text` */
    const char *end;
    uint64_t rows;
    bool given; /* the morsel */
};

static void scan_close(struct tl_scan *scan)
{
    if (!scan)
        return;
    tl_buffer_deinit(&scan->text);
    tl_arena_deinit(&scan->arena);
    free(scan);
}

static enum tl_code scan_open(struct tl_source *s, const struct tl_scan_spec *spec,
                              struct tl_scan **out, struct tl_status *st)
{
    static const struct tl_session_info nobody;
    struct tl_catalog_source *source = (struct tl_catalog_source *)s;
    const struct tl_table_info *t =
        tl__catalog_by_oid(source->catalog, spec->table_id & ~TL_CATALOG_BIT);
    tl_assert(t != NULL && tl_catalog_owns(t->id));
    struct tl_scan *scan = calloc(1, sizeof(*scan));
    if (!scan)
        return TL_FAIL(st, TL_LIMIT, "no memory for a scan");
    scan->source = source;
    scan->relation = tl__catalog_relation_of(t);
    tl_arena_init(&scan->arena, spec->budget, ARENA_CHUNK);
    tl_buffer_init(&scan->text, "a catalog's rows", ROWS_BYTES_MAX);
    scan->column_count = spec->column_count;
    size_t bytes = spec->column_count * sizeof(*scan->columns);
    void *columns = tl_arena_alloc(&scan->arena, bytes + 1, st);
    if (!columns)
        goto fail;
    if (bytes > 0)
        memcpy(columns, spec->columns, bytes);
    scan->columns = columns;
    struct tl__catalog_rows rows = {.catalog = source->catalog,
                                    .session = source->session ? source->session : &nobody,
                                    .spec = spec,
                                    .out = &scan->text};
    if (scan->relation->make)
        scan->relation->make(&rows);
    tl_buffer_put_u8(&scan->text, 0); /* its rows are read as a string */
    if (tl_buffer_check(&scan->text, st))
        goto fail;
    scan->fixed = scan->relation->rows;
    scan->next = (const char *)scan->text.data;
    scan->end = scan->next + scan->text.size - 1;
    *out = scan;
    return TL_OK;
fail:
    scan_close(scan);
    return st->code;
}

static enum tl_code next_morsel(struct tl_scan *scan, struct tl_morsel *out, bool *found,
                                struct tl_status *st)
{
    (void)st;
    *found = !scan->given;
    scan->given = true;
    *out = (struct tl_morsel){.rows = 1};
    return TL_OK;
}

/* The next row's text, to be ended by a NUL or a newline; NULL: there is none. */
static const char *next_row(struct tl_scan *scan)
{
    if (scan->fixed && *scan->fixed)
        return *scan->fixed++;
    if (scan->next == scan->end)
        return NULL;
    const char *row = scan->next;
    const char *newline = memchr(row, '\n', (size_t)(scan->end - row));
    tl_assert(newline != NULL);
    scan->next = newline + 1;
    return row;
}

/* Unescapes a field in the arena; *null. */
static enum tl_code field_text(const char *at, size_t size, struct tl_arena *arena,
                               struct tl_slice *out, bool *null, struct tl_status *st)
{
    *null = size == 2 && at[0] == '\\' && at[1] == 'N';
    if (!memchr(at, '\\', size) || *null) {
        *out = tl_slice_of(at, size);
        return TL_OK;
    }
    char *copy = tl_arena_alloc(arena, size, st);
    if (!copy)
        return st->code;
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        bool escaped = at[i] == '\\' && i + 1 < size;
        char c = at[i + escaped];
        copy[used++] = (char)(escaped && c == 't' ? '\t' : escaped && c == 'n' ? '\n' : c);
        i += escaped;
    }
    *out = tl_slice_of(copy, used);
    return TL_OK;
}

static enum tl_code cast_column(struct tl_scan *scan, struct tl_arena *arena,
                                const struct tl_vector *texts, struct tl_type type,
                                struct tl_vector *out, struct tl_status *st)
{
    if (type.kind == TL_TEXT) {
        *out = *texts;
        out->type = type;
        return TL_OK;
    }
    if (type.flavour == TL_FLAVOUR_INT2VECTOR || type.flavour == TL_FLAVOUR_OIDVECTOR) {
        struct tl_slice *values = tl_arena_calloc(arena, texts->count, sizeof(*values), st);
        const struct tl_slice *from = texts->data;
        for (uint32_t i = 0; values && i < texts->count; i++)
            if (tl_vector_valid(texts, i) && tl__vector_parse(from[i], type, arena, &values[i], st))
                return st->code;
        *out = *texts;
        out->type = type;
        out->data = values;
        return st->code;
    }
    /* OIDs stand as numbers whatever they name. */
    struct tl_type plain = type;
    if (tl_flavour_is_reg(type.flavour))
        plain.flavour = TL_PLAIN;
    uint16_t *selection = tl_arena_alloc(arena, texts->count * sizeof(*selection) + 2, st);
    const struct tl_function *f = tl_function_cast(tl_type_of(TL_TEXT), plain);
    if (!selection)
        return st->code;
    tl_assert(f != NULL);
    uint32_t selected = 0;
    for (uint32_t i = 0; i < texts->count; i++)
        if (tl_vector_valid(texts, i))
            selection[selected++] = (uint16_t)i;
    struct tl_eval_context ctx = {.arena = arena,
                                  .zone = tl_zone_utc(),
                                  .zone_name = "UTC",
                                  .catalog = scan->source->catalog,
                                  .session = scan->source->session};
    *out = (struct tl_vector){.type = plain, .shape = TL_FLAT, .count = texts->count};
    if (f->kernel(&ctx, texts, 1, texts->count, selection, selected, out, st))
        return st->code;
    out->type = type;
    out->shape = TL_FLAT;
    out->count = texts->count;
    out->validity = texts->validity;
    return TL_OK;
}

/* Cuts the fields of the columns asked for out of one row. */
static enum tl_code cut_row(struct tl_scan *scan, const char *row, uint32_t at,
                            struct tl_arena *arena, struct tl_slice **texts, uint64_t **valid,
                            struct tl_status *st)
{
    uint32_t number = 1;
    for (;; number++) {
        size_t size = strcspn(row, "\t\n");
        for (uint32_t c = 0; c < scan->column_count; c++) {
            if (scan->columns[c].column_id != number)
                continue;
            bool null;
            if (field_text(row, size, arena, &texts[c][at], &null, st))
                return st->code;
            if (null)
                tl_bit_clear(valid[c], at);
        }
        row += size;
        if (*row != '\t')
            break;
        row++;
    }
    tl_assert(number == scan->relation->info.column_count);
    return TL_OK;
}

static enum tl_code next_chunk(struct tl_scan *scan, struct tl_morsel *m, struct tl_arena *arena,
                               struct tl_chunk *out, struct tl_status *st)
{
    (void)m;
    uint32_t n = scan->column_count;
    struct tl_slice **texts = tl_arena_calloc(arena, n + 1u, sizeof(struct tl_slice *), st);
    uint64_t **valid = tl_arena_calloc(arena, n + 1u, sizeof(uint64_t *), st);
    struct tl_vector *columns = tl_arena_calloc(arena, n + 1u, sizeof(*columns), st);
    if (!texts || !valid || !columns)
        return st->code;
    size_t bitmap = tl_bit_words(TL_VECTOR_ROWS_MAX) * sizeof(uint64_t);
    for (uint32_t c = 0; c < n; c++) {
        texts[c] = tl_arena_calloc(arena, TL_VECTOR_ROWS_MAX, sizeof(struct tl_slice), st);
        valid[c] = tl_arena_alloc(arena, bitmap, st);
        if (!texts[c] || !valid[c])
            return st->code;
        memset(valid[c], 0xff, bitmap);
    }
    uint32_t count = 0;
    const char *row;
    while (count < TL_VECTOR_ROWS_MAX && (row = next_row(scan)))
        if (cut_row(scan, row, count++, arena, texts, valid, st))
            return st->code;
    for (uint32_t c = 0; c < n && count > 0; c++) {
        struct tl_vector text = {.type = tl_type_of(TL_TEXT),
                                 .shape = TL_FLAT,
                                 .count = count,
                                 .data = texts[c],
                                 .validity = valid[c]};
        if (cast_column(scan, arena, &text, scan->columns[c].type, &columns[c], st))
            return st->code;
    }
    scan->rows += count;
    *out = (struct tl_chunk){.count = count, .columns = columns};
    return TL_OK;
}

static void close_morsel(struct tl_scan *scan, struct tl_morsel *m)
{
    (void)scan;
    (void)m;
}

static void scan_stats(const struct tl_scan *scan, struct tl_scan_stats *out)
{
    *out = (struct tl_scan_stats){.rows_scanned = scan->rows};
}

void tl_catalog_source_init(struct tl_catalog_source *s, const struct tl_catalog *catalog,
                            const struct tl_session_info *session)
{
    static const struct tl_source_vtable vtable = {scan_open,    next_morsel, next_chunk,
                                                   close_morsel, scan_stats,  scan_close};
    *s = (struct tl_catalog_source){.source = {&vtable}, .catalog = catalog, .session = session};
}
