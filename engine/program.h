/*
 * engine/program.h: the door between the raw columns of a batch and what is published.
 *
 * A program is a version of the processing logic. It derives columns from a batch's raw columns
 * and says which rows to keep. Every batch record names the program version that was in force when
 * it was accepted, and every batch passes this door before its rows reach a memtable, at ingestion
 * and in replay alike. Version 0 is the identity: it derives nothing and keeps every row. A later
 * version changes nothing in the way that batches take.
 *
 * Threads    the log thread alone.
 */
#ifndef TALLY_ENGINE_PROGRAM_H
#define TALLY_ENGINE_PROGRAM_H

#include "engine/batch.h"

struct tl_program {
    uint32_t version;
    /* Derives columns into `batch` (arrays in the arena). NULL: none. */
    enum tl_code (*derive)(const struct tl_program *p, struct tl_batch *batch,
                           struct tl_arena *arena, struct tl_status *st);
};

extern const struct tl_program tl_program_identity;

/* The program of a version; NULL when there is none. */
const struct tl_program *tl_program_find(uint32_t version);
TL_CHECK enum tl_code tl_program_run(const struct tl_program *p, struct tl_batch *batch,
                                     struct tl_arena *arena, struct tl_status *st);

#endif
