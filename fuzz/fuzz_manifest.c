/*
 * fuzz/fuzz_manifest.c: any bytes as a manifest and its CURRENT.
 *
 * The input patches a manifest of eight pages: byte 0 holds flags (bit 0: begin with a good one,
 * else with zeros; bit 1: make the checksums right again after patching; bit 2: the patches to page
 * 15 go to CURRENT), then patches follow: u8 page, u16 place in the page, u8 count, that many
 * bytes.
 *
 * What must hold: nothing crashes; opening for reading and for writing agree and replay the same
 * edits; an opened manifest takes an edit and a checkpoint, which are there when it is opened
 * again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/io_sim.h"
#include "storage/manifest.h"

enum { PAGE = 4096, PAGES = 8, FILE_BYTES = PAGE * PAGES, CURRENT_BYTES = 33 };

static const char name[] = "MANIFEST-000002";
static uint8_t good[FILE_BYTES], file[FILE_BYTES];
static uint8_t good_current[CURRENT_BYTES], current[CURRENT_BYTES];
static size_t good_size;

struct seen {
    uint64_t count, hash;
};

static void check(enum tl_code rc)
{
    tl_assert(rc == TL_OK);
}

static enum tl_code see(void *context, struct tl_slice payload, struct tl_status *st)
{
    struct seen *s = context;
    (void)st;
    s->count++;
    s->hash = tl_hash64_seed(payload.data, payload.size, s->hash + payload.size);
    return TL_OK;
}

static enum tl_code put_state(void *context, struct tl_manifest_writer *w, struct tl_status *st)
{
    (void)context;
    enum tl_code rc = tl_manifest_put(w, tl_slice_str("state one"), st);
    return rc ? rc : tl_manifest_put(w, tl_slice_str("state two"), st);
}

static struct tl_io_sim *new_sim(void)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim;
    check(tl_io_sim_new(1, &sim, &st));
    return sim;
}

static size_t copy_file(struct tl_io_sim *sim, const char *from, uint8_t *to, size_t room)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_buffer b;
    tl_buffer_init(&b, "file", room);
    check(tl_io_sim_get(sim, from, &b, &st));
    memcpy(to, b.data, b.size);
    size_t size = b.size;
    tl_buffer_deinit(&b);
    return size;
}

static void make_good(void)
{
    static const uint8_t edit[5000];
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim = new_sim();
    struct seen seen = {0};
    struct tl_manifest *m;
    check(tl_manifest_open(tl_io_sim_io(sim), TL_MANIFEST_CREATE, 3, see, &seen, &m, &st));
    check(tl_manifest_checkpoint(m, put_state, NULL, &st));
    for (uint32_t i = 0; i < 4; i++)
        check(tl_manifest_append(m, tl_slice_of(edit, i * 1500), &st));
    tl_manifest_close(m);
    good_size = copy_file(sim, name, good, FILE_BYTES);
    tl_assert(copy_file(sim, "CURRENT", good_current, CURRENT_BYTES) == CURRENT_BYTES);
    tl_io_free(tl_io_sim_io(sim));
}

static uint64_t key_of(uint64_t offset)
{
    uint8_t key[24];
    memcpy(key, file + 16, 16); /* id and number */
    tl_put_u64le(key + 16, offset);
    return tl_hash64(key, sizeof(key));
}

static void fix_checksums(void)
{
    tl_put_u64le(file + PAGE - 8, tl_hash64_seed(file, PAGE - 8, key_of(0)));
    for (uint64_t at = PAGE; at < FILE_BYTES; at += PAGE) {
        uint8_t *t = file + at;
        if (memcmp(t, "TXN1", 4) != 0)
            continue;
        uint64_t size = (40 + (uint64_t)tl_get_u32le(t + 4) + PAGE - 1) / PAGE * PAGE;
        uint64_t key = key_of(at);
        if (size <= FILE_BYTES - at)
            tl_put_u64le(t + 24, tl_hash64_seed(t + 40, (size_t)size - 40, key));
        tl_put_u64le(t + 32, tl_hash64_seed(t, 32, key));
    }
}

static void patch(const uint8_t *data, size_t size, bool with_current)
{
    struct tl_reader r = tl_reader_of(tl_slice_of(data, size));
    while (tl_reader_left(&r) > 4) {
        uint8_t page = tl_read_u8(&r);
        uint16_t place = tl_read_u16(&r);
        size_t n = tl_read_u8(&r);
        uint8_t *to = file + (size_t)(page % PAGES) * PAGE + place % PAGE;
        size_t room = (size_t)(file + FILE_BYTES - to);
        if (with_current && page == 15) {
            to = current + place % CURRENT_BYTES;
            room = (size_t)(current + CURRENT_BYTES - to);
        }
        if (n > tl_reader_left(&r))
            n = tl_reader_left(&r);
        if (n > room)
            n = room;
        memcpy(to, r.next, n);
        (void)tl_read_bytes(&r, n);
    }
}

static enum tl_code open_and_see(struct tl_io *io, enum tl_manifest_mode mode, struct seen *seen,
                                 struct tl_manifest **m)
{
    struct tl_status st = TL_STATUS_INIT;
    *seen = (struct seen){0};
    *m = NULL;
    return tl_manifest_open(io, mode, 4, see, seen, m, &st);
}

static void run(struct tl_io *io)
{
    struct tl_status st = TL_STATUS_INIT;
    struct seen read_only, before, after, expected = {0};
    struct tl_manifest *m;
    enum tl_code readable = open_and_see(io, TL_MANIFEST_READ_ONLY, &read_only, &m);
    tl_manifest_close(m);
    tl_assert(open_and_see(io, TL_MANIFEST_OPEN, &before, &m) == readable);
    if (readable)
        return;
    tl_assert(before.count == read_only.count && before.hash == read_only.hash);
    check(tl_manifest_append(m, tl_slice_str("one more"), &st));
    check(see(&before, tl_slice_str("one more"), &st));
    tl_manifest_close(m);
    check(open_and_see(io, TL_MANIFEST_OPEN, &after, &m));
    tl_assert(before.count == after.count && before.hash == after.hash);
    check(tl_manifest_checkpoint(m, put_state, NULL, &st));
    tl_manifest_close(m);
    check(open_and_see(io, TL_MANIFEST_OPEN, &after, &m));
    tl_manifest_close(m);
    check(see(&expected, tl_slice_str("state one"), &st));
    check(see(&expected, tl_slice_str("state two"), &st));
    tl_assert(after.count == expected.count && after.hash == expected.hash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    if (!made) {
        make_good();
        made = true;
    }
    if (size < 1)
        return 0;
    uint8_t flags = data[0];
    memset(file, 0, sizeof(file));
    memcpy(current, good_current, sizeof(current));
    if (flags & 1)
        memcpy(file, good, good_size);
    patch(data + 1, size - 1, (flags & 4) != 0);
    if (flags & 2)
        fix_checksums();
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io_sim *sim = new_sim();
    check(tl_io_sim_put(sim, name, tl_slice_of(file, sizeof(file)), &st));
    check(tl_io_sim_put(sim, "CURRENT", tl_slice_of(current, sizeof(current)), &st));
    run(tl_io_sim_io(sim));
    tl_io_free(tl_io_sim_io(sim));
    return 0;
}
