/*
 * tests/unit/wire/pg_talk.h: a client of PostgreSQL's protocol in memory: messages are put into a
 * session over an engine on simulated I/O, turns are run in place, and what comes out is read.
 */
#ifndef TALLY_TESTS_UNIT_WIRE_PG_TALK_H
#define TALLY_TESTS_UNIT_WIRE_PG_TALK_H

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "engine/tally.h"
#include "storage/io_sim.h"
#include "wire/pg_message.h"
#include "wire/pg_session.h"

enum { PG_TALK_FLOOD_BYTES = 16 << 20, PG_TALK_MESSAGE_MAX = 1 << 20 };

struct pg_world {
    struct tl_io_sim *sim;
    struct tally *db;
};

struct pg_talk {
    struct tl_budget budget;
    struct tl_pg *session;
    struct tl_buffer got; /* all that came since it was cleared */
    enum tl_pg_turn turn;
};

static inline void pg_must(enum tl_code code)
{
    if (code != TL_OK)
        abort();
}

/* An engine without background work: what it does follows from what it is asked alone. */
static inline void pg_world_open(struct pg_world *w, uint64_t timeout_ms)
{
    struct tl_status st = TL_STATUS_INIT;
    pg_must(tl_io_sim_new(1, &w->sim, &st));
    struct tally_options options = {.io_door = tl_io_sim_io(w->sim),
                                    .memory_bytes = 64 << 20,
                                    .log_file_bytes = 256 << 10,
                                    .shards = 1,
                                    .query_threads = 1,
                                    .query_memory_bytes = 8 << 20,
                                    .query_timeout_ms = timeout_ms,
                                    .no_background = true};
    pg_must(tally_open("sim", &options, &w->db, &st));
}

static inline void pg_world_close(struct pg_world *w)
{
    tally_close(w->db);
    tl_io_free(tl_io_sim_io(w->sim));
}

/* A session that has had no bytes yet; `open`: the user `tally` needs no password. */
static inline void pg_talk_begin(struct pg_talk *t, struct pg_world *w, struct tl_slice startup,
                                 bool open)
{
    static const uint8_t secret[32] = "thirty-two bytes for strangers.";
    struct tl_status st = TL_STATUS_INIT;
    tl_budget_init(&t->budget, "sessions", 64 << 20, NULL);
    tl_buffer_init(&t->got, "answers", 256 << 20);
    struct tl_pg_options options = {.db = w->db,
                                    .secret = secret,
                                    .process_id = 7,
                                    .key = 0x01020304,
                                    .message_bytes_max = PG_TALK_MESSAGE_MAX,
                                    .budget = &t->budget};
    pg_must(tl_pg_new(&options, &t->session, &st));
    tl_pg_start(t->session, startup, tl_slice_of(NULL, 0), NULL, open);
    t->turn = TL_PG_WAITS;
}

/* Runs turns until the session waits for bytes or is over; a flood of rows is cancelled. */
static inline void pg_talk_run(struct pg_talk *t)
{
    const size_t before = t->got.size;
    while (t->turn != TL_PG_OVER && tl_pg_has_work(t->session)) {
        t->turn = tl_pg_run(t->session);
        struct tl_buffer *out = tl_pg_output(t->session);
        tl_buffer_put(&t->got, out->data, out->size);
        tl_buffer_clear(out);
        if (t->turn == TL_PG_DELAY)
            t->turn = TL_PG_OVER;
        if (t->turn == TL_PG_PAGE && t->got.size - before > PG_TALK_FLOOD_BYTES)
            tl_pg_cancel(t->session);
        if (t->turn == TL_PG_WAITS)
            break;
    }
}

static inline void pg_talk_end(struct pg_talk *t)
{
    tl_pg_free(t->session);
    tl_buffer_deinit(&t->got);
    tl_assert(t->budget.used_bytes == 0);
}

static inline void pg_talk_send(struct pg_talk *t, char type, struct tl_slice body)
{
    uint8_t head[5] = {(uint8_t)type};
    uint32_t size = (uint32_t)body.size + 4;
    for (int i = 0; i < 4; i++)
        head[1 + i] = (uint8_t)(size >> (24 - 8 * i));
    if (!tl_pg_feed(t->session, head, sizeof(head)) ||
        !tl_pg_feed(t->session, body.data, body.size))
        t->turn = TL_PG_OVER;
}

/* The next message of `at`, which is moved behind it; false: none is left. What came out must be
 * whole messages of known types. */
static inline bool pg_talk_next(struct tl_slice *at, char *type, struct tl_slice *body)
{
    if (at->size == 0)
        return false;
    tl_assert(at->size >= 5);
    uint32_t size = tl_pg_get_u32(at->data + 1);
    tl_assert(size >= 4 && size <= at->size - 1);
    *type = (char)at->data[0];
    tl_assert(strchr("RKSZTDCIEN123nstAGHWdc", *type) != NULL);
    *body = tl_slice_of(at->data + 5, size - 4);
    *at = tl_slice_of(at->data + 1 + size, at->size - 1 - size);
    return true;
}

#endif
