/*
 * An embedded database in one program: opens (or creates) a directory, stores one batch, asks a
 * question, closes.
 *
 *     cc -std=c17 example.c -o example $(pkg-config --cflags --libs tally)
 *     ./example ./data
 */
#include <stdio.h>
#include <string.h>

#include "engine/tally.h"

/* A batch is a tally.v1.Batch message (docs/WIRE.md). Any protobuf library can build one; two rows
 * of three columns are few enough to write by hand. */
static void put(struct tl_buffer *b, unsigned field, const void *data, size_t size)
{
    tl_buffer_put_varint(b, field << 3 | 2);
    tl_buffer_put_varint(b, size);
    tl_buffer_put(b, data, size);
}

static void put_ints(struct tl_buffer *batch, const char *name, const long long *values, int count)
{
    struct tl_buffer column;
    struct tl_buffer packed;
    tl_buffer_init(&column, "column", 4096);
    tl_buffer_init(&packed, "values", 4096);
    for (int i = 0; i < count; i++) /* zigzag, as sint64 is encoded */
        tl_buffer_put_varint(&packed, (unsigned long long)values[i] << 1 ^
                                          (unsigned long long)(values[i] >> 63));
    put(&column, 1, name, strlen(name));
    put(&column, 3, packed.data, packed.size);
    put(batch, 3, column.data, column.size);
    tl_buffer_deinit(&packed);
    tl_buffer_deinit(&column);
}

static enum tl_code store(struct tally *db, struct tl_status *st)
{
    const long long merchants[] = {7, 7};
    const long long times[] = {1767225600000000, 1767225660000000}; /* microseconds, UTC */
    const long long revenue[] = {199000, 199000};                   /* 19.9000 each */
    struct tl_buffer body;
    tl_buffer_init(&body, "batch", 1 << 16);
    put(&body, 1, "events", 6);
    tl_buffer_put_varint(&body, 2 << 3);
    tl_buffer_put_varint(&body, 2); /* rows */
    put_ints(&body, "merchant_id", merchants, 2);
    put_ints(&body, "ts", times, 2);
    put_ints(&body, "revenue", revenue, 2);
    /* The same (producer, sequence) again would be stored once. */
    struct tally_batch batch = {
        .producer = tl_slice_str("example"), .sequence = 1, .body = tl_buffer_slice(&body)};
    enum tl_code rc = tally_append_wait(db, &batch, NULL, st);
    tl_buffer_deinit(&body);
    return rc;
}

static enum tl_code ask(struct tally *db, struct tl_status *st)
{
    static const char sql[] = "SELECT merchant_id, count(*), sum(revenue) FROM events "
                              "GROUP BY merchant_id ORDER BY merchant_id";
    struct tally_statement *statement = NULL;
    struct tally_cursor *cursor = NULL;
    struct tl_chunk chunk = {.count = 0};
    struct tl_buffer line;
    tl_buffer_init(&line, "line", 4096);
    if (tally_prepare(db, tl_slice_str(sql), NULL, &statement, st) ||
        tally_bind(statement, NULL, 0, &cursor, st))
        goto done;
    unsigned columns = tally_describe(statement)->output_count;
    while (!tally_step(cursor, &chunk, st) && chunk.count > 0)
        for (unsigned row = 0; row < chunk.count; row++) {
            tl_buffer_clear(&line);
            for (unsigned i = 0; i < columns; i++) {
                if (i > 0)
                    tl_buffer_put_u8(&line, '|');
                if (tally_value_print(&chunk.columns[i], row, "UTC", &line, st))
                    goto done;
            }
            printf("%.*s\n", (int)line.size, (const char *)line.data);
        }
done:
    tally_cursor_close(cursor);
    tally_statement_close(statement);
    tl_buffer_deinit(&line);
    return st->code;
}

int main(int argc, char **argv)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tally *db = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: example DIRECTORY\n");
        return 2;
    }
    if (!tally_open(argv[1], NULL, &db, &st) && !store(db, &st) && !ask(db, &st))
        printf("Tally %s\n", tally_version());
    tally_close(db);
    if (st.code)
        fprintf(stderr, "example: %s\n", st.text);
    return st.code != TL_OK;
}
