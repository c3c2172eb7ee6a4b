/*
 * Promise: whatever a client of PostgreSQL's protocol sends, its session neither crashes nor leaks,
 * answers in whole messages, gives back all memory that it charged, and says after each Sync that
 * it is ready, until it is over.
 *
 * The first byte: bit 0, bytes go in as they are; else the input is a row of messages, each a byte
 * that picks a type, two of length, and a body, which get PostgreSQL's framing, so that what is
 * behind the framing is reached at once. Bit 1: the startup packet is the input's beginning. Bit 2:
 * the user must give a password. Over a real engine on simulated I/O, a new one for each input,
 * as statements may write.
 */
#include <stdint.h>

#include "tests/unit/wire/pg_talk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TIMEOUT_MS = 100 };

static void check_answers(struct pg_talk *t, uint32_t syncs)
{
    struct tl_slice at = tl_buffer_slice(&t->got), body;
    char type;
    uint32_t ready = 0;
    while (pg_talk_next(&at, &type, &body)) {
        if (type == 'Z') {
            tl_assert(body.size == 1 && strchr("ITE", body.data[0]));
            ready++;
        }
        if (type == 'E' || type == 'N') {
            tl_assert(body.size > 1 && body.data[body.size - 1] == 0);
            tl_assert(memchr(body.data, 'C', body.size) != NULL);
        }
    }
    tl_assert(t->turn == TL_PG_OVER || ready >= syncs);
}

static void feed_messages(struct pg_talk *t, const uint8_t *data, size_t size)
{
    static const char types[] = "QPBDECHSFXdcfp";
    uint32_t syncs = 0;
    for (size_t at = 0; size - at >= 3 && t->turn != TL_PG_OVER;) {
        char type = types[data[at] % (sizeof(types) - 1)];
        size_t n = (size_t)data[at + 1] << 8 | data[at + 2];
        at += 3;
        n = n < size - at ? n : size - at;
        pg_talk_send(t, type, tl_slice_of(data + at, n));
        at += n;
        pg_talk_run(t);
    }
    /* CopyFail ends a COPY that is open, if one is; a Sync must then be answered. */
    pg_talk_send(t, 'f', tl_slice_of("", 1));
    pg_talk_send(t, 'S', tl_slice_of(NULL, 0));
    pg_talk_run(t);
    if (t->turn != TL_PG_OVER && tl_pg_authenticated(t->session))
        syncs = 1;
    check_answers(t, syncs);
}

static void feed_bytes(struct pg_talk *t, const uint8_t *data, size_t size)
{
    for (size_t at = 0; at < size && t->turn != TL_PG_OVER;) {
        size_t n = (size_t)data[at] % 97 + 1;
        n = n < size - at ? n : size - at;
        if (!tl_pg_feed(t->session, data + at, n))
            t->turn = TL_PG_OVER;
        at += n;
        pg_talk_run(t);
    }
    check_answers(t, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char startup[] = "user\0tally\0database\0tally\0";
    if (size < 2)
        return 0;
    struct pg_world world;
    pg_world_open(&world, TIMEOUT_MS);
    uint8_t flags = *data++;
    size--;
    struct tl_slice packet = tl_slice_of(startup, sizeof(startup));
    if (flags & 2) {
        size_t n = data[0] < size ? data[0] : size;
        packet = tl_slice_of(data, n);
        data += n;
        size -= n;
    }
    struct pg_talk t;
    pg_talk_begin(&t, &world, packet, !(flags & 4));
    pg_talk_run(&t);
    if (flags & 1)
        feed_bytes(&t, data, size);
    else
        feed_messages(&t, data, size);
    pg_talk_end(&t);
    pg_world_close(&world);
    return 0;
}
