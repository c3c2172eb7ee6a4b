/*
 * Promise: any bytes given as an AppendEventsRequest or an AppendRequest are decoded or refused,
 * within their limits; what the row decoder makes is a Batch that protobuf-c reads, with one entry
 * per row in every column.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "tally.pb-c.h"
#include "tests/unit/wire/fake_tally.h"
#include "wire/append_request.h"
#include "wire/events.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct tl_schema *schema(void *arg, struct tl_slice table)
{
    static struct tl_schema_column columns[] = {
        {(char *)(uintptr_t) "i", 1, {TL_BIGINT, 0}},
        {(char *)(uintptr_t) "d", 1, {TL_DOUBLE, 0}},
        {(char *)(uintptr_t) "b", 1, {TL_BOOLEAN, 0}},
        {(char *)(uintptr_t) "t", 1, {TL_TEXT, 0}},
        {(char *)(uintptr_t) "p", 1, {TL_PROPS, 0}},
        {(char *)(uintptr_t) "m", 1, {TL_DECIMAL64, 4}},
    };
    static const struct tl_schema s = {sizeof(columns) / sizeof(columns[0]), columns};
    (void)arg;
    return table.size == 1 ? NULL : &s;
}

static void check(const struct tl_events *e)
{
    Tally__V1__Batch *b = tally__v1__batch__unpack(NULL, e->body.size, e->body.data);
    tl_assert(b != NULL && b->rows == e->rows && e->rows + e->refused == e->events);
    for (size_t i = 0; i < b->n_columns; i++) {
        const Tally__V1__Column *c = b->columns[i];
        size_t texts = c->n_codes ? c->n_codes : c->n_lengths;
        size_t entries = c->n_ints + c->n_doubles + c->bools.len + texts;
        tl_assert(entries == b->rows);
        tl_assert(c->validity.len == 0 || c->validity.len == (b->rows + 7) / 8);
        uint64_t blob = 0;
        for (size_t k = 0; k < c->n_lengths; k++)
            blob += c->lengths[k];
        tl_assert(blob == c->blob.len);
        for (size_t k = 0; k < c->n_codes; k++)
            tl_assert(c->codes[k] < c->n_lengths);
    }
    for (uint32_t i = 0; e->event_of && i < e->rows; i++)
        tl_assert(e->event_of[i] < e->events && (i == 0 || e->event_of[i] > e->event_of[i - 1]));
    tally__v1__batch__free_unpacked(b, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_events e;
    if (tl_events_decode(tl_slice_of(data, size), schema, NULL, &e, &st) == TL_OK)
        check(&e);
    else
        tl_assert(st.code == TL_INVALID || st.code == TL_LIMIT);
    tl_events_deinit(&e);

    struct tally_batch batch;
    tl_status_clear(&st);
    if (tl_append_request_decode(tl_slice_of(data, size), &batch, &st) == TL_OK) {
        tl_assert(batch.body.data >= data && batch.body.size <= size);
        tl_assert(batch.producer.size <= TALLY_PRODUCER_BYTES_MAX);
    }
    return 0;
}
