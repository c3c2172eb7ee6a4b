/* Any bytes as the body of a batch, and as a batch record of the log: decoded against `events`,
 * judged, applied to a memtable and read back. Nothing may crash, and what was applied must be as
 * many rows as were judged good. */
#include <stdlib.h>

#include "base/assert.h"
#include "engine/slab.h"
#include "engine/state.h"
#include "engine/tally.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_back(const struct tl_memtable *m, const struct tl_table *table,
                      struct tl_arena *arena)
{
    uint32_t rows = tl_memtable_rows_at(m, 1);
    struct tl_status st = TL_STATUS_INIT;
    for (uint32_t i = 0; rows > 0 && i < table->storage_count; i++) {
        struct tl_memtable_dict dict;
        struct tl_vector v;
        const struct tl_column_info *c = &table->storage[i];
        bool has = tl_memtable_dict(m, c->id, &dict);
        uint32_t n = rows < TL_VECTOR_ROWS_MAX ? rows : TL_VECTOR_ROWS_MAX;
        tl_assert(tl_memtable_read(m, c->id, c->type, has ? &dict : NULL, 0, n, arena, &v, &st) ==
                  TL_OK);
        tl_assert(tl_vector_check(&v));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tl_schema_store schemas;
    static struct tl_slab_pool *slabs;
    struct tl_status st = TL_STATUS_INIT;
    if (!schemas.current) {
        tl_schema_store_init(&schemas);
        tl_assert(tl_slab_pool_new(&slabs, &st) == TL_OK);
        tl_assert(tl_schema_create_events(&schemas, &st) == TL_OK);
    }
    const struct tl_table *table = tl_schema_by_id(schemas.current, 1);
    struct tl_budget budget;
    struct tl_arena arena;
    tl_budget_init(&budget, "fuzz", 256 << 20, NULL);
    tl_arena_init(&arena, &budget, 65536);

    struct tl_slice body = tl_slice_of(data, size);
    struct tl_record_batch record;
    if (!tl_record_batch_decode(body, &arena, &record, &st))
        body = record.body;
    tl_status_clear(&st);

    struct tl_slice name;
    struct tl_batch batch;
    struct tl_refused *refused = NULL;
    uint32_t count = 0;
    struct tl_memtable *m = NULL;
    if (!tl_batch_table(body, &name, &st) && !tl_batch_decode(body, table, &arena, &batch, &st) &&
        !tl_batch_judge(&batch, 0, false, &(struct tally_tenant){.bounded = false}, &arena,
                        &refused, &count, &st) &&
        !tl_memtable_new(table, 4, slabs, &m, &st)) {
        for (uint32_t i = 0; i < count; i++) {
            char text[200];
            tl_refused_text(table, &refused[i], text, sizeof(text));
        }
        if (!tl_memtable_apply(m, &batch, refused, count, 1, 0, &arena, &st)) {
            tl_assert(tl_memtable_rows(m) == batch.rows - count);
            read_back(m, table, &arena);
        }
    }
    tl_memtable_unref(m);
    tl_arena_deinit(&arena);
    return 0;
}
