/*
 * fuzz/fuzz_log.c: any bytes as the files of a log, through verification, readers and recovery.
 *
 * The input patches two log files of eight pages each: byte 0 holds flags (bit 0: begin with a good
 * log, else with zeros; bit 1: make the checksums right again after patching, so that what lies
 * behind them is reached; bit 2: the second file exists too; bit 3: the good log's groups are
 * compressed), then patches follow: u8 page (bit 3: second file), u16 place in the page, u8 count,
 * that many bytes.
 *
 * What must hold: nothing crashes; verification, reading and opening agree; an opened log takes a
 * record, and has exactly one more when it is opened again. Fields and checksums are written here
 * from docs/FORMAT.md, not with the log's own functions.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/io_sim.h"
#include "storage/log.h"

enum { PAGE = 4096, PAGES = 8, FILE_BYTES = PAGE * PAGES };

static const char *const names[2] = {"log/0000000001.log", "log/0000000002.log"};
static uint8_t good[2][2][FILE_BYTES], files[2][FILE_BYTES];

static void check(enum tl_code rc)
{
    tl_assert(rc == TL_OK);
}

static struct tl_io_sim *new_sim(void)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim;
    check(tl_io_sim_new(1, &sim, &st));
    return sim;
}

static void make_good(bool compressed)
{
    static const uint8_t body[10500];
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim = new_sim();
    struct tl_log_options options = {.file_bytes = FILE_BYTES,
                                     .compression = compressed ? TL_LOG_COMPRESSION_ON
                                                               : TL_LOG_COMPRESSION_OFF,
                                     .log_id = 7};
    struct tl_log *log;
    check(tl_log_open_local(tl_io_sim_io(sim), "log", &options, NULL, &log, &st));
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t position, durable;
        struct tl_slice s = tl_slice_of(body, i * (compressed ? 1500u : 700u));
        check(tl_log_append(log, (uint8_t)(i + 1), &s, 1, &position, &st));
        check(tl_log_append(log, 9, NULL, 0, &position, &st));
        check(tl_log_commit_begin(log, &st));
        check(tl_log_commit_wait(log, &durable, &st));
    }
    tl_log_close(log);
    for (int i = 0; i < 2; i++) {
        struct tl_buffer b;
        tl_buffer_init(&b, "file", FILE_BYTES);
        check(tl_io_sim_get(sim, names[i], &b, &st));
        tl_assert(b.size == FILE_BYTES);
        memcpy(good[compressed][i], b.data, FILE_BYTES);
        tl_buffer_deinit(&b);
    }
    tl_io_free(tl_io_sim_io(sim));
}

static uint64_t key_of(const uint8_t *file, uint64_t offset)
{
    uint8_t key[24];
    memcpy(key, file + 16, 8);     /* the log's id */
    memcpy(key + 8, file + 32, 8); /* the incarnation */
    tl_put_u64le(key + 16, offset);
    return tl_hash64(key, sizeof(key));
}

static void fix_checksums(uint8_t *file)
{
    tl_put_u64le(file + PAGE - 8, tl_hash64_seed(file, PAGE - 8, key_of(file, 0)));
    for (uint64_t at = PAGE; at < FILE_BYTES; at += PAGE) {
        uint8_t *g = file + at;
        if (memcmp(g, "GRP1", 4) != 0)
            continue;
        uint64_t size = 64 + (uint64_t)tl_get_u32le(g + 4), key = key_of(file, at);
        size = (size + PAGE - 1) / PAGE * PAGE;
        if (size <= FILE_BYTES - at)
            tl_put_u64le(g + 48, tl_hash64_seed(g + 64, (size_t)size - 64, key));
        tl_put_u64le(g + 56, tl_hash64_seed(g, 56, key));
    }
}

static void patch(const uint8_t *data, size_t size)
{
    struct tl_reader r = tl_reader_of(tl_slice_of(data, size));
    while (tl_reader_left(&r) > 4) {
        uint8_t page = tl_read_u8(&r);
        size_t at = (size_t)(page % PAGES) * PAGE + tl_read_u16(&r) % PAGE;
        size_t n = tl_read_u8(&r);
        if (n > tl_reader_left(&r))
            n = tl_reader_left(&r);
        if (n > FILE_BYTES - at)
            n = FILE_BYTES - at;
        memcpy(files[(page >> 3) & 1] + at, r.next, n);
        (void)tl_read_bytes(&r, n);
    }
}

/* Reads all records; the count, or UINT64_MAX when reading fails. */
static uint64_t read_all(struct tl_io *io)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_log_reader *reader;
    uint64_t n = 0, last = 0;
    if (tl_log_read_open_dir(io, "log", 0, &reader, &st))
        return UINT64_MAX;
    for (bool end = false;;) {
        struct tl_log_record record;
        if (tl_log_read_next(reader, &record, &end, &st)) {
            n = UINT64_MAX;
            break;
        }
        if (end)
            break;
        tl_assert(record.position > last && record.type != 0);
        last = record.position;
        for (size_t i = 0; i < record.body.size; i++) /* all of it can be read */
            (void)*(const volatile uint8_t *)&record.body.data[i];
        n++;
    }
    tl_log_read_close(reader);
    return n;
}

static void run(struct tl_io *io)
{
    struct tl_status st = TL_STATUS_INIT, open_st = TL_STATUS_INIT;
    struct tl_log_report report, after;
    struct tl_log_options options = {.file_bytes = FILE_BYTES, .log_id = 8};
    struct tl_log *log;
    enum tl_code verified = tl_log_verify(io, "log", &report, &st);
    uint64_t n = read_all(io);
    tl_assert((n == UINT64_MAX) == (verified != TL_OK));
    tl_assert(verified != TL_OK || n == report.records);
    tl_assert(verified != TL_CORRUPT || report.bad_file[0] != '\0');
    enum tl_code opened = tl_log_open_local(io, "log", &options, NULL, &log, &open_st);
    tl_assert(opened == verified);
    if (opened)
        return;
    struct tl_slice s = tl_slice_str("one more");
    uint64_t position, durable;
    enum tl_code appended = tl_log_append(log, 1, &s, 1, &position, &st);
    if (appended == TL_LIMIT) { /* positions at the end of their range */
        tl_log_close(log);
        return;
    }
    check(appended);
    check(tl_log_commit_begin(log, &st));
    check(tl_log_commit_wait(log, &durable, &st));
    tl_assert(durable == position);
    tl_log_close(log);
    check(tl_log_verify(io, "log", &after, &st));
    tl_assert(after.records == n + 1 && after.last_position == position);
    tl_assert(read_all(io) == n + 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    if (!made) {
        make_good(false);
        make_good(true);
        made = true;
    }
    if (size < 1)
        return 0;
    uint8_t flags = data[0];
    if (flags & 1)
        memcpy(files, good[(flags >> 3) & 1], sizeof(files));
    else
        memset(files, 0, sizeof(files));
    patch(data + 1, size - 1);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim = new_sim();
    for (int i = 0; i < (flags & 4 ? 2 : 1); i++) {
        if (flags & 2)
            fix_checksums(files[i]);
        check(tl_io_sim_put(sim, names[i], tl_slice_of(files[i], FILE_BYTES), &st));
    }
    run(tl_io_sim_io(sim));
    tl_io_free(tl_io_sim_io(sim));
    return 0;
}
