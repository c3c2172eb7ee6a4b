/*
 * storage/log.c: the interface of all drivers, and the local log's format.
 */
#include "storage/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/log_int.h"

enum tl_code tl_log_append(struct tl_log *log, uint8_t type, const struct tl_slice *slices,
                           uint32_t count, uint64_t *position, struct tl_status *st)
{
    tl_assert(type >= TL_LOG_TYPE_MIN);
    return log->vtab->append(log, type, slices, count, position, st);
}

enum tl_code tl_log_commit_begin(struct tl_log *log, struct tl_status *st)
{
    return log->vtab->commit_begin(log, st);
}

enum tl_code tl_log_commit_wait(struct tl_log *log, uint64_t *durable, struct tl_status *st)
{
    return log->vtab->commit_wait(log, durable, st);
}

enum tl_code tl_log_read_open(struct tl_log *log, uint64_t after, struct tl_log_reader **out,
                              struct tl_status *st)
{
    return log->vtab->read_open(log, after, out, st);
}

enum tl_code tl_log_read_next(struct tl_log_reader *reader, struct tl_log_record *out, bool *end,
                              struct tl_status *st)
{
    return reader->vtab->next(reader, out, end, st);
}

void tl_log_read_close(struct tl_log_reader *reader)
{
    if (reader)
        reader->vtab->close(reader);
}

bool tl_log_commit_ready(struct tl_log *log)
{
    return log->vtab->commit_ready(log);
}

enum tl_code tl_log_trim_step(struct tl_log *log, uint64_t position, bool *more,
                              struct tl_status *st)
{
    return log->vtab->trim(log, position, more, st);
}

enum tl_code tl_log_trim(struct tl_log *log, uint64_t position, struct tl_status *st)
{
    bool more = true;
    while (more && !tl_log_trim_step(log, position, &more, st))
        ;
    return st->code;
}

void tl_log_close(struct tl_log *log)
{
    if (log)
        log->vtab->close(log);
}

/* ---- the local log's format ---- */

/* File header: one page, little-endian, fields in this order (docs/FORMAT.md, "Log"):
 *   8 bytes "TALLYLOG", u16 version, u16 zero, u32 feature bits, u64 log id, u64 number,
 *   u64 incarnation, u64 incarnation of the file before, u64 first position, u64 first group,
 *   u64 size of the file; zeros; in the page's last 8 bytes the checksum of all before it. */
static const uint8_t file_magic[8] = {'T', 'A', 'L', 'L', 'Y', 'L', 'O', 'G'};
enum { FILE_SUM_AT = TL__LOG_PAGE - 8, FILE_FIELDS_END = 72, GROUP_SUM_AT = 56 };

uint64_t tl__log_key(uint64_t log_id, uint64_t incarnation, uint64_t offset)
{
    uint8_t key[24];
    tl_put_u64le(key, log_id);
    tl_put_u64le(key + 8, incarnation);
    tl_put_u64le(key + 16, offset);
    return tl_hash64(key, sizeof(key));
}

void tl__log_file_header_encode(const struct tl__log_file_header *h, uint8_t out[TL__LOG_PAGE])
{
    memset(out, 0, TL__LOG_PAGE);
    memcpy(out, file_magic, 8);
    tl_put_u16le(out + 8, TL__LOG_VERSION);
    tl_put_u64le(out + 16, h->log_id);
    tl_put_u64le(out + 24, h->number);
    tl_put_u64le(out + 32, h->incarnation);
    tl_put_u64le(out + 40, h->previous_incarnation);
    tl_put_u64le(out + 48, h->first_position);
    tl_put_u64le(out + 56, h->first_group);
    tl_put_u64le(out + 64, h->file_bytes);
    tl_put_u64le(out + FILE_SUM_AT,
                 tl_hash64_seed(out, FILE_SUM_AT, tl__log_key(h->log_id, h->incarnation, 0)));
}

enum tl_code tl__log_file_header_decode(const uint8_t in[TL__LOG_PAGE],
                                        struct tl__log_file_header *out, struct tl_status *st)
{
    struct tl_reader r = tl_reader_of(tl_slice_of(in + 8, FILE_FIELDS_END - 8));
    uint16_t version = tl_read_u16(&r);
    uint16_t zero = tl_read_u16(&r);
    uint32_t features = tl_read_u32(&r);
    struct tl__log_file_header h = {0};
    h.log_id = tl_read_u64(&r);
    h.number = tl_read_u64(&r);
    h.incarnation = tl_read_u64(&r);
    h.previous_incarnation = tl_read_u64(&r);
    h.first_position = tl_read_u64(&r);
    h.first_group = tl_read_u64(&r);
    h.file_bytes = tl_read_u64(&r);
    if (memcmp(in, file_magic, 8) != 0)
        return TL_FAIL(st, TL_CORRUPT, "not a log file");
    /* Magic and checksum lie in the same place in every version: a newer file is told apart from
     * a damaged one. */
    if (tl_get_u64le(in + FILE_SUM_AT) !=
        tl_hash64_seed(in, FILE_SUM_AT, tl__log_key(h.log_id, h.incarnation, 0)))
        return TL_FAIL(st, TL_CORRUPT, "the log file's header does not match its checksum");
    if (version != TL__LOG_VERSION || features != 0)
        return TL_FAIL(st, TL_UNSUPPORTED, "a log file of version %u with features %x, known is %d",
                       version, features, TL__LOG_VERSION);
    if (zero != 0 || h.number == 0 || h.incarnation == 0 || h.first_position == 0 ||
        h.first_group == 0 || h.number > TL__LOG_NUMBER_MAX || h.incarnation > TL__LOG_NUMBER_MAX ||
        h.first_position > TL__LOG_NUMBER_MAX || h.first_group > TL__LOG_NUMBER_MAX ||
        h.file_bytes < TL_LOG_FILE_BYTES_MIN || h.file_bytes > TL__LOG_FILE_BYTES_MAX ||
        h.file_bytes % TL__LOG_PAGE != 0)
        return TL_FAIL(st, TL_CORRUPT, "the log file's header makes no sense");
    *out = h;
    return TL_OK;
}

/* Group header: 64 bytes, little-endian:
 *   u32 magic, u32 size of the payload, u64 number, u64 incarnation, u64 known durable position,
 *   u64 first position, u32 records, u32 flags, u64 checksum of what follows the header up to the
 *   end of the group, u64 checksum of the 56 bytes before it. */
void tl__log_group_header_encode(const struct tl__log_group_header *h, uint64_t key,
                                 uint8_t out[TL__LOG_GROUP_HEADER])
{
    tl_put_u32le(out, TL__LOG_GROUP_MAGIC);
    tl_put_u32le(out + 4, h->payload_size);
    tl_put_u64le(out + 8, h->number);
    tl_put_u64le(out + 16, h->incarnation);
    tl_put_u64le(out + 24, h->known_durable);
    tl_put_u64le(out + 32, h->first_position);
    tl_put_u32le(out + 40, h->records);
    tl_put_u32le(out + 44, h->flags);
    tl_put_u64le(out + 48, h->payload_sum);
    tl_put_u64le(out + GROUP_SUM_AT, tl_hash64_seed(out, GROUP_SUM_AT, key));
}

bool tl__log_group_header_decode(const uint8_t in[TL__LOG_GROUP_HEADER], uint64_t key,
                                 struct tl__log_group_header *out)
{
    struct tl_reader r = tl_reader_of(tl_slice_of(in, TL__LOG_GROUP_HEADER));
    if (tl_read_u32(&r) != TL__LOG_GROUP_MAGIC)
        return false;
    struct tl__log_group_header h = {0};
    h.payload_size = tl_read_u32(&r);
    h.number = tl_read_u64(&r);
    h.incarnation = tl_read_u64(&r);
    h.known_durable = tl_read_u64(&r);
    h.first_position = tl_read_u64(&r);
    h.records = tl_read_u32(&r);
    h.flags = tl_read_u32(&r);
    h.payload_sum = tl_read_u64(&r);
    if (tl_read_u64(&r) != tl_hash64_seed(in, GROUP_SUM_AT, key))
        return false;
    *out = h;
    return true;
}

/* ---- names ---- */

void tl__log_name(char out[TL__LOG_NAME_MAX], const char *dir, uint64_t number)
{
    snprintf(out, TL__LOG_NAME_MAX, "%.*s/%010" PRIu64 ".log", TL_LOG_DIR_MAX, dir, number);
}

void tl__log_spare_name(char out[TL__LOG_NAME_MAX], const char *dir, uint64_t number)
{
    snprintf(out, TL__LOG_NAME_MAX, "%.*s/spare-%010" PRIu64 ".log", TL_LOG_DIR_MAX, dir, number);
}

/* The number in a name of that form; 0 when it is none of ours. Ten digits at least, and no zero
 * in front of more, so that one number has one name. */
static uint64_t parse_name(const char *name, const char *prefix)
{
    size_t skip = strlen(prefix);
    if (strncmp(name, prefix, skip) != 0)
        return 0;
    const char *digits = name + skip;
    size_t n = strspn(digits, "0123456789");
    if (n < 10 || n > 18 || (n > 10 && digits[0] == '0') || strcmp(digits + n, ".log") != 0)
        return 0;
    uint64_t number = strtoull(digits, NULL, 10);
    return number <= TL__LOG_NUMBER_MAX ? number : 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum tl_code tl__log_list(struct tl_io *io, const char *dir, struct tl__log_listing *out,
                          struct tl_status *st)
{
    struct tl_io_names names = {0};
    enum tl_code rc = tl_io_list(io, dir, &names, st);
    if (rc)
        return rc;
    struct tl__log_listing l = {0};
    l.files = calloc((size_t)names.count + 1, sizeof(*l.files));
    l.spares = calloc((size_t)names.count + 1, sizeof(*l.spares));
    if (!l.files || !l.spares) {
        tl_io_names_free(&names);
        tl__log_listing_free(&l);
        return TL_FAIL(st, TL_LIMIT, "no memory to list the log's files");
    }
    for (uint32_t i = 0; i < names.count; i++) {
        uint64_t number = parse_name(names.names[i], "");
        uint64_t spare = parse_name(names.names[i], "spare-");
        if (number)
            l.files[l.file_count++] = number;
        else if (spare)
            l.spares[l.spare_count++] = spare;
    }
    tl_io_names_free(&names);
    /* Names sort as numbers up to ten digits; beyond, this does. */
    qsort(l.files, l.file_count, sizeof(*l.files), compare_numbers);
    *out = l;
    return TL_OK;
}

void tl__log_listing_free(struct tl__log_listing *l)
{
    free(l->files);
    free(l->spares);
    *l = (struct tl__log_listing){0};
}
