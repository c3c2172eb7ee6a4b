#include "engine/state.h"

#include <stdlib.h>

#include "base/assert.h"
#include "engine/batch_join.h"
#include "engine/rollup.h"

enum { BATCH_RECORD_VERSION = 1, FLAG_IMPORT = 1 };
enum { JOIN_BATCHES_MAX = 1024 };
enum { SEAL_EDITS_BYTES_MAX = 30 << 20 };

/* u8 version, u8 flags, u32 table, u32 schema version, u32 program version, i64 received_at,
 * u64 sequence, u8 size and bytes of the producer, u32 refused, per refused row varint (row -
 * row before), varint column, u8 reason; then the body to the record's end. */
void tl_record_batch_encode(const struct tl_record_batch *r, struct tl_buffer *head)
{
    tl_buffer_put_u8(head, BATCH_RECORD_VERSION);
    tl_buffer_put_u8(head, r->import ? FLAG_IMPORT : 0);
    tl_buffer_put_u32(head, r->table_id);
    tl_buffer_put_u32(head, r->schema_version);
    tl_buffer_put_u32(head, r->program_version);
    tl_buffer_put_u64(head, (uint64_t)r->received_at_us);
    tl_buffer_put_u64(head, r->sequence);
    tl_buffer_put_u8(head, (uint8_t)r->producer.size);
    tl_buffer_put(head, r->producer.data, r->producer.size);
    tl_buffer_put_u32(head, r->refused_count);
    uint32_t before = 0;
    for (uint32_t i = 0; i < r->refused_count; i++) {
        tl_buffer_put_varint(head, r->refused[i].row - before);
        tl_buffer_put_varint(head, r->refused[i].column);
        tl_buffer_put_u8(head, r->refused[i].reason);
        before = r->refused[i].row;
    }
}

enum tl_code tl_record_batch_decode(struct tl_slice record, struct tl_arena *arena,
                                    struct tl_record_batch *out, struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(record);
    if (tl_read_u8(&r) != BATCH_RECORD_VERSION)
        return TL_FAIL(st, TL_CORRUPT, "a batch record has a version that is not known");
    struct tl_record_batch b = {.import = (tl_read_u8(&r) & FLAG_IMPORT) != 0};
    b.table_id = tl_read_u32(&r);
    b.schema_version = tl_read_u32(&r);
    b.program_version = tl_read_u32(&r);
    b.received_at_us = (int64_t)tl_read_u64(&r);
    b.sequence = tl_read_u64(&r);
    b.producer = tl_read_bytes(&r, tl_read_u8(&r));
    b.refused_count = tl_read_u32(&r);
    if (r.failed || b.producer.size > TL_PRODUCER_BYTES_MAX ||
        b.refused_count > TL_BATCH_ROWS_MAX || b.refused_count > tl_reader_left(&r))
        return TL_FAIL(st, TL_CORRUPT, "a batch record has impossible fields");
    struct tl_refused *refused =
        tl_arena_calloc(arena, (size_t)b.refused_count + 1, sizeof(*refused), st);
    if (!refused)
        return st->code;
    uint64_t row = 0;
    for (uint32_t i = 0; i < b.refused_count; i++) {
        uint64_t step = tl_read_varint(&r);
        row += step;
        refused[i].column = (uint32_t)tl_read_varint(&r);
        refused[i].row = (uint32_t)row;
        refused[i].reason = tl_read_u8(&r);
        if (r.failed || row >= TL_BATCH_ROWS_MAX || (i > 0 && step == 0))
            return TL_FAIL(st, TL_CORRUPT, "a batch record lists impossible refused rows");
    }
    b.refused = refused;
    b.body = tl_slice_of(r.next, tl_reader_left(&r));
    *out = b;
    return TL_OK;
}

void tl_seal_free(struct tl_seal *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->count; i++)
        tl_memtable_unref(s->memtables[i]);
    tl_buffer_deinit(&s->tables);
    tl_buffer_deinit(&s->views);
    tl_buffer_deinit(&s->producers);
    free(s);
}

enum tl_code tl_state_init(struct tl_state *s, struct tl_status *st)
{
    memset(s, 0, sizeof(*s));
    tl_schema_store_init(&s->schemas);
    s->log_time_us = INT64_MIN;
    if (tl_slab_pool_new(&s->slabs, st) || tl_event_ids_new(0, &s->ids, st))
        return st->code;
    return tl_producers_init(&s->producers, st);
}

void tl_state_deinit(struct tl_state *s)
{
    for (uint32_t i = 0; i < s->active_count; i++)
        tl_memtable_unref(s->active[i]);
    tl_slab_pool_unref(s->slabs);
    s->slabs = NULL;
    tl_producers_deinit(&s->producers);
    tl_event_ids_free(s->ids);
    tl_schema_store_deinit(&s->schemas);
}

static uint32_t active_place(const struct tl_state *s, uint32_t table_id)
{
    uint32_t at = 0;
    while (at < s->active_count && tl_memtable_table_id(s->active[at]) < table_id)
        at++;
    return at;
}

static struct tl_memtable *active_find(const struct tl_state *s, uint32_t table_id)
{
    uint32_t at = active_place(s, table_id);
    return at < s->active_count && tl_memtable_table_id(s->active[at]) == table_id ? s->active[at]
                                                                                   : NULL;
}

static enum tl_code active_get(struct tl_state *s, const struct tl_table *table,
                               struct tl_memtable **out, struct tl_status *st)
{
    struct tl_memtable *m = active_find(s, table->info.id);
    if (!m) {
        if (tl_memtable_new(table, s->shard_count, s->slabs, &m, st))
            return st->code;
        uint32_t at = active_place(s, table->info.id);
        memmove(&s->active[at + 1], &s->active[at], (s->active_count - at) * sizeof(s->active[0]));
        s->active[at] = m;
        s->active_count++;
        s->fresh[s->fresh_count++] = m;
    }
    *out = m;
    return TL_OK;
}

bool tl_state_has_room(const struct tl_state *s, uint32_t table_id, uint32_t rows)
{
    const struct tl_memtable *m = active_find(s, table_id);
    return !m || tl_memtable_has_room(m, rows);
}

/* Counts a batch in; *program is what its rows pass. */
static enum tl_code note_batch(struct tl_state *s, const struct tl_state_batch *b,
                               const struct tl_program **program, struct tl_status *st)
{
    const struct tl_record_batch *r = b->record;
    uint32_t rows = b->batch->rows;
    if (r->refused_count > rows ||
        (r->refused_count > 0 && r->refused[r->refused_count - 1].row >= rows))
        return TL_FAIL(st, TL_CORRUPT, "a batch record refuses rows that it does not have");
    *program = tl_program_find(r->program_version);
    if (!*program)
        return TL_FAIL(st, TL_CORRUPT, "a batch record names program %u, which is not known",
                       r->program_version);
    if (r->received_at_us > s->log_time_us)
        s->log_time_us = r->received_at_us;
    s->position = b->position;
    s->batches++;
    s->rows += rows - r->refused_count;
    s->refused += r->refused_count;
    return TL_OK;
}

/* The rows of a batch but those left out enter the memtable of its table. *left_out grows by the
 * events that are stored already. */
static enum tl_code apply_rows(struct tl_state *s, const struct tl_program *program,
                               struct tl_batch *batch, const struct tl_refused **left_out,
                               uint32_t *left_out_count, uint64_t position, int64_t received_at_us,
                               struct tl_arena *scratch, struct tl_status *st)
{
    if (tl_program_run(program, batch, scratch, st))
        return st->code;
    if (batch->rows == *left_out_count)
        return TL_OK;
    struct tl_memtable *m = NULL;
    if (active_get(s, batch->table, &m, st))
        return st->code;
    if (tl_event_ids_has(batch)) {
        uint32_t refused_count = *left_out_count;
        struct tl_version *version = tl_current_acquire(s->current);
        TL_IGNORE(tl_event_ids_filter(s->ids, m, version, batch, *left_out, refused_count, scratch,
                                      left_out, left_out_count, st));
        tl_version_unref(version);
        if (st->code)
            return st->code;
        s->rows -= *left_out_count - refused_count;
        if (batch->rows == *left_out_count)
            return TL_OK;
    }
    return tl_memtable_apply(m, batch, *left_out, *left_out_count, position, received_at_us,
                             scratch, st);
}

static enum tl_code apply_one(struct tl_state *s, const struct tl_state_batch *b,
                              const struct tl_program *program, struct tl_arena *scratch,
                              struct tl_status *st)
{
    const struct tl_record_batch *r = b->record;
    const struct tl_refused *left_out = r->refused;
    uint32_t count = r->refused_count;
    if (apply_rows(s, program, b->batch, &left_out, &count, b->position, r->received_at_us, scratch,
                   st))
        return st->code;
    b->batch->duplicates = count - r->refused_count;
    return TL_OK;
}

enum tl_code tl_state_apply_batch(struct tl_state *s, const struct tl_record_batch *r,
                                  struct tl_batch *batch, uint64_t position,
                                  struct tl_arena *scratch, struct tl_status *st)
{
    const struct tl_state_batch b = {r, batch, position};
    const struct tl_program *program;
    if (note_batch(s, &b, &program, st))
        return st->code;
    return apply_one(s, &b, program, scratch, st);
}

/* How many batches from the first one on go in together. */
static uint32_t joined_count(const struct tl_state_batch *b, uint32_t count)
{
    uint32_t rows = 0;
    uint32_t n = 0;
    for (; n < count && n < JOIN_BATCHES_MAX; n++) {
        rows += b[n].batch->rows;
        if (b[n].batch->rows > TL_JOIN_BATCH_ROWS_MAX || rows > TL_JOIN_ROWS_MAX ||
            b[n].batch->table != b->batch->table ||
            b[n].record->program_version != b->record->program_version)
            break;
    }
    return n > 0 ? n : 1;
}

/* Tells each batch how many of its rows were stored already. */
static void share_duplicates(const struct tl_state_batch *b, const struct tl_refused *left_out,
                             uint32_t count)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (left_out[i].reason != TL_ROW_DUPLICATE)
            continue;
        for (; left_out[i].row - first >= b->batch->rows; b++)
            first += b->batch->rows;
        b->batch->duplicates++;
    }
}

/* At least two batches. *joined is false when there is no memory to join them. */
static enum tl_code apply_joined(struct tl_state *s, const struct tl_state_batch *b, uint32_t count,
                                 const struct tl_program *program, struct tl_arena *scratch,
                                 bool *joined, struct tl_status *st)
{
    struct tl_batch_part parts[JOIN_BATCHES_MAX];
    struct tl_status no_memory = TL_STATUS_INIT;
    int64_t received_at_us = 0;
    for (uint32_t i = count; i-- > 0;) {
        const struct tl_record_batch *r = b[i].record;
        parts[i] = (struct tl_batch_part){b[i].batch, r->refused, r->refused_count};
        if (r->refused_count < b[i].batch->rows)
            received_at_us = r->received_at_us;
    }
    struct tl_batch batch;
    struct tl_refused *refused;
    uint32_t left_out_count;
    *joined = tl_batch_join(parts, count, scratch, &batch, &refused, &left_out_count, &no_memory) ==
              TL_OK;
    if (!*joined)
        return TL_OK;
    const struct tl_refused *left_out = refused;
    uint32_t before = left_out_count;
    if (apply_rows(s, program, &batch, &left_out, &left_out_count, b[count - 1].position,
                   received_at_us, scratch, st))
        return st->code;
    if (left_out_count > before)
        share_duplicates(b, left_out, left_out_count);
    return TL_OK;
}

enum tl_code tl_state_apply_batches(struct tl_state *s, const struct tl_state_batch *batches,
                                    uint32_t count, struct tl_arena *scratch, struct tl_status *st)
{
    for (uint32_t lo = 0; lo < count;) {
        const struct tl_state_batch *b = batches + lo;
        uint32_t n = joined_count(b, count - lo);
        lo += n;
        const struct tl_program *program = NULL;
        for (uint32_t i = 0; i < n; i++)
            if (note_batch(s, &b[i], &program, st))
                return st->code;
        bool joined = false;
        if (n > 1 && apply_joined(s, b, n, program, scratch, &joined, st))
            return st->code;
        for (uint32_t i = 0; i < n && !joined; i++)
            if (apply_one(s, &b[i], program, scratch, st))
                return st->code;
    }
    return TL_OK;
}

enum tl_code tl_state_apply_table(struct tl_state *s, struct tl_slice record, uint64_t position,
                                  struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(record);
    if (tl_schema_apply(&s->schemas, &r, st))
        return st->code;
    s->position = position;
    s->tables_changed = true;
    for (uint32_t i = 0; i < s->active_count; i++)
        tl_memtable_set_table(
            s->active[i], tl_schema_by_id(s->schemas.current, tl_memtable_table_id(s->active[i])));
    return TL_OK;
}

enum tl_code tl_state_apply_view(struct tl_state *s, struct tl_slice record, uint64_t position,
                                 struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(record);
    if (tl_view_apply(&s->schemas, &r, st))
        return st->code;
    s->position = position;
    s->tables_changed = true;
    return TL_OK;
}

void tl_state_encode_tables(const struct tl_state *s, struct tl_buffer *out)
{
    const struct tl_schema *schema = s->schemas.current;
    tl_buffer_put_u32(out, schema->table_count);
    for (uint32_t i = 0; i < schema->table_count; i++)
        tl_table_encode(schema->tables[i], out);
}

enum tl_code tl_state_apply_seal(struct tl_state *s, struct tl_slice record, uint64_t position,
                                 struct tl_seal **out, struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(record);
    uint64_t number = tl_read_u64(&r);
    if (r.failed || number != s->seal_number + 1)
        return TL_FAIL(st, TL_CORRUPT, "seal record %llu follows seal %llu",
                       (unsigned long long)number, (unsigned long long)s->seal_number);
    struct tl_seal *seal = calloc(1, sizeof(*seal));
    if (!seal)
        return TL_FAIL(st, TL_LIMIT, "no memory for a seal");
    seal->number = number;
    seal->position = position;
    seal->log_time_us = s->log_time_us;
    tl_buffer_init(&seal->tables, "table definitions of a seal", SEAL_EDITS_BYTES_MAX);
    tl_buffer_init(&seal->producers, "producers' windows of a seal", SEAL_EDITS_BYTES_MAX);
    tl_buffer_init(&seal->views, "views of a seal", SEAL_EDITS_BYTES_MAX);
    if (s->tables_changed) {
        tl_state_encode_tables(s, &seal->tables);
        tl_views_encode(s->schemas.current, &seal->views);
    }
    tl_producers_encode(&s->producers, false, &seal->producers);
    if (tl_buffer_check(&seal->tables, st) || tl_buffer_check(&seal->views, st) ||
        tl_buffer_check(&seal->producers, st)) {
        tl_seal_free(seal);
        return st->code;
    }
    for (uint32_t i = 0; i < s->active_count; i++)
        seal->memtables[seal->count++] = s->active[i]; /* the reference moves */
    s->active_count = 0;
    s->tables_changed = false;
    s->seal_number = number;
    s->position = position;
    *out = seal;
    return TL_OK;
}

enum tl_code tl_state_apply_compact(struct tl_state *s, struct tl_slice record, uint64_t position,
                                    struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(record);
    uint64_t seal = tl_read_u64(&r);
    if (r.failed || seal > s->seal_number)
        return TL_FAIL(st, TL_CORRUPT, "a compaction request names a seal that is not there");
    s->compact_seal = seal;
    s->compact_log_time_us = s->log_time_us;
    s->compact_schema = s->schemas.current;
    s->position = position;
    return TL_OK;
}

uint64_t tl_state_memtable_bytes(const struct tl_state *s)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < s->active_count; i++)
        bytes += tl_memtable_bytes(s->active[i]);
    return bytes;
}

uint64_t tl_state_memtable_rows(const struct tl_state *s)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < s->active_count; i++)
        rows += tl_memtable_rows(s->active[i]);
    return rows;
}

int64_t tl_state_oldest_us(const struct tl_state *s)
{
    int64_t oldest = INT64_MAX;
    for (uint32_t i = 0; i < s->active_count; i++)
        if (tl_memtable_rows(s->active[i]) > 0 && tl_memtable_oldest_us(s->active[i]) < oldest)
            oldest = tl_memtable_oldest_us(s->active[i]);
    return oldest;
}
