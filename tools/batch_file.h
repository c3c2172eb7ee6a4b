/*
 * tools/batch_file.h: encoded batches in a file, for benchmarks: made before the clock starts.
 *
 * The file begins with eight bytes, "TLBATCH1"; each batch is u32 size, u32 rows, little-endian,
 * and the bytes of a tally.v1.Batch.
 *
 * Ownership  a loaded file owns its bytes.
 * Threads    no shared state.
 */
#ifndef TALLY_TOOLS_BATCH_FILE_H
#define TALLY_TOOLS_BATCH_FILE_H

#include <stdio.h>

#include "base/bytes.h"
#include "base/status.h"

bool tl_batch_file_begin(FILE *f);
bool tl_batch_file_put(FILE *f, uint32_t rows, struct tl_slice batch);

struct tl_batch_file {
    uint8_t *bytes;
    uint64_t count, rows;
    struct tl_slice *batches;
    uint32_t *batch_rows;
};
/* Reads a whole file into memory. */
TL_CHECK enum tl_code tl_batch_file_load(const char *path, struct tl_batch_file *out,
                                         struct tl_status *st);
void tl_batch_file_free(struct tl_batch_file *f);

#endif
