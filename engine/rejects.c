/*
 * engine/rejects.c: rows that were refused are kept, so that nothing that arrived is lost silently.
 *
 * One JSON object per line in rejects/rejects.ndjson: when, table, producer, sequence, row, reason,
 * and the row's values as they came. At half of its limit the file becomes
 * rejects/rejects.old.ndjson, replacing the one of before, so both together stay within the limit.
 * It is not synced: the log has the batch.
 *
 * Threads    the log thread alone.
 * Errors     a failed write is told once in the log lines, and counted; ingestion goes on.
 */
#include <stdio.h>

#include "engine/db_int.h"

#define REJECTS_FILE "rejects/rejects.ndjson"
#define REJECTS_OLD  "rejects/rejects.old.ndjson"

enum { LINE_BYTES_MAX = 1 << 20, TEXT_BYTES_SHOWN = 1024 };

void tl_json_text(struct tl_buffer *b, struct tl_slice s)
{
    tl_buffer_put_u8(b, '"');
    for (size_t i = 0; i < s.size && i < TEXT_BYTES_SHOWN; i++) {
        uint8_t c = s.data[i];
        if (c == '"' || c == '\\')
            tl_buffer_printf(b, "\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            tl_buffer_printf(b, "\\u%04x", c); /* bytes as they came, valid UTF-8 or not */
        else
            tl_buffer_put_u8(b, c);
    }
    tl_buffer_put_u8(b, '"');
}

static void put_value(struct tl_buffer *b, const struct tl_batch_column *c, uint8_t kind,
                      uint32_t row)
{
    if (!tl_batch_valid(c, row))
        tl_buffer_printf(b, "null");
    else if (c->strings)
        tl_json_text(b, c->strings[tl_batch_code(c, row)]);
    else if (kind == TL_DOUBLE)
        tl_buffer_printf(b, "\"%.17g\"", c->doubles[row]);
    else if (kind == TL_BOOLEAN)
        tl_buffer_printf(b, "%s", c->bools[row] ? "true" : "false");
    else
        tl_buffer_printf(b, "%lld", (long long)c->ints[row]);
}

static void put_line(struct tl_buffer *b, const struct tl_item *item, const struct tl_refused *r)
{
    const struct tl_batch *batch = &item->decoded;
    const struct tl_table_info *info = &batch->table->info;
    char reason[160];
    tl_refused_text(batch->table, r, reason, sizeof(reason));
    tl_buffer_printf(b,
                     "{\"received_at_us\":%lld,\"table\":", (long long)item->record.received_at_us);
    tl_json_text(b, tl_slice_str(info->name));
    tl_buffer_printf(b, ",\"producer\":");
    tl_json_text(b, item->record.producer);
    tl_buffer_printf(b, ",\"sequence\":%llu,\"row\":%u,\"reason\":",
                     (unsigned long long)item->record.sequence, r->row);
    tl_json_text(b, tl_slice_str(reason));
    tl_buffer_printf(b, ",\"values\":{");
    bool first = true;
    for (uint32_t i = 0; i < info->column_count; i++) {
        if (!tl_batch_valid(&batch->columns[i], r->row))
            continue;
        tl_buffer_printf(b, first ? "" : ",");
        first = false;
        tl_json_text(b, tl_slice_str(info->columns[i].name));
        tl_buffer_put_u8(b, ':');
        put_value(b, &batch->columns[i], info->columns[i].type.kind, r->row);
    }
    tl_buffer_printf(b, "}}\n");
}

static enum tl_code open_rejects(struct tally *db, struct tl_status *st)
{
    bool exists;
    if (db->rejects)
        return TL_OK;
    if (tl_io_exists(db->io, REJECTS_FILE, &exists, st) ||
        tl_io_open(db->io, REJECTS_FILE, exists ? TL_IO_WRITE : TL_IO_CREATE, &db->rejects, st))
        return st->code;
    return tl_io_size(db->rejects, &db->rejects_size, st);
}

static enum tl_code write_rejects(struct tally *db, struct tl_buffer *b, struct tl_status *st)
{
    if (open_rejects(db, st))
        return st->code;
    if (db->rejects_size > 0 && db->rejects_size + b->size > db->options.rejects_bytes / 2) {
        tl_io_close(db->rejects);
        db->rejects = NULL;
        if (tl_io_rename(db->io, REJECTS_FILE, REJECTS_OLD, st) || open_rejects(db, st))
            return st->code;
    }
    struct tl_slice bytes = tl_buffer_slice(b);
    if (tl_io_write(db->rejects, db->rejects_size, &bytes, 1, st))
        return st->code;
    db->rejects_size += b->size;
    atomic_store_explicit(&db->counters.rejects_bytes, db->rejects_size, memory_order_relaxed);
    return TL_OK;
}

void tl_rejects_write(struct tally *db, const struct tl_item *item)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer b;
    tl_buffer_init(&b, "refused rows", LINE_BYTES_MAX);
    size_t whole = 0;
    for (uint32_t i = 0; i < item->record.refused_count && !b.failed; i++) {
        put_line(&b, item, &item->record.refused[i]);
        if (!b.failed)
            whole = b.size;
    }
    /* Past the bound of one batch the rest is only counted: a collector gone mad must not fill it.
     */
    b.failed = false;
    b.size = whole;
    if (whole > 0 && write_rejects(db, &b, &st))
        tl_db_log(db, TL_LEVEL_WARN, "rejects", "refused rows could not be kept: %s", st.text);
    tl_buffer_deinit(&b);
}
