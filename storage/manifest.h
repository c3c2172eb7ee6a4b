/*
 * storage/manifest.h: an ordered set of edits that changes by atomic transactions.
 *
 * The manifest says what is true on the disk. To this file an edit is opaque bytes: the engine
 * encodes edits, and applies them in order when it opens. The current file MANIFEST-NNNNNN, named
 * by CURRENT, begins with a checkpoint (edits that state everything true then) and continues with
 * one transaction per append, each durable before the next is written. When the tail outgrows the
 * checkpoint the engine writes a new one, and the file rolls over. Format: docs/FORMAT.md,
 * "Manifest".
 *
 *     manifest_open ── replays edits ──> append … append ── wants_checkpoint? ──> checkpoint
 *
 * Ownership  payloads are borrowed for the call.
 * Threads    one thread at a time.
 * Units      bytes.
 * Errors     TL_CORRUPT: a durable transaction has gone bad (a later one proves that it was
 *            durable); an incomplete last one was never acknowledged and is cut. TL_LIMIT: an
 *            edit beyond TL_MANIFEST_EDIT_BYTES_MAX. After a failed write or sync every append
 *            and checkpoint answers with that status, until the manifest is opened anew.
 */
#ifndef TALLY_STORAGE_MANIFEST_H
#define TALLY_STORAGE_MANIFEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "storage/io.h"

struct tl_manifest;

enum { TL_MANIFEST_EDIT_BYTES_MAX = 32 << 20 };

/* Called for each edit in order. A failure of it ends the open with that failure. */
typedef enum tl_code tl_manifest_edit_fn(void *context, struct tl_slice payload,
                                         struct tl_status *st);

enum tl_manifest_mode {
    TL_MANIFEST_OPEN,      /* must exist: TL_NOT_FOUND otherwise */
    TL_MANIFEST_CREATE,    /* created when it does not exist, with an empty checkpoint */
    TL_MANIFEST_READ_ONLY, /* must exist; nothing is written, append and checkpoint answer
                              TL_UNSUPPORTED; safe beside a process that writes it */
};

/* Files lie directly in the io's directory. `file_id_seed` makes the ids of new files unique:
 * draw it at random. */
TL_CHECK enum tl_code tl_manifest_open(struct tl_io *io, enum tl_manifest_mode mode,
                                       uint64_t file_id_seed, tl_manifest_edit_fn *edit,
                                       void *context, struct tl_manifest **out,
                                       struct tl_status *st);
void tl_manifest_close(struct tl_manifest *m); /* NULL is fine */

/* One transaction of one edit: durable, whole, when this answers TL_OK. */
TL_CHECK enum tl_code tl_manifest_append(struct tl_manifest *m, struct tl_slice payload,
                                         struct tl_status *st);

/* The transactions since the checkpoint exceed max(1 MiB, twice the checkpoint). */
bool tl_manifest_wants_checkpoint(const struct tl_manifest *m);

/* What a checkpoint's writer puts its edits through. */
struct tl_manifest_writer;
TL_CHECK enum tl_code tl_manifest_put(struct tl_manifest_writer *w, struct tl_slice payload,
                                      struct tl_status *st);
typedef enum tl_code tl_manifest_state_fn(void *context, struct tl_manifest_writer *w,
                                          struct tl_status *st);

/* Starts a new file with the state that `write_state` puts, durably; then the old one is removed.
 * When `write_state` itself fails the old file stays the current one and nothing is poisoned. */
TL_CHECK enum tl_code tl_manifest_checkpoint(struct tl_manifest *m,
                                             tl_manifest_state_fn *write_state, void *context,
                                             struct tl_status *st);

struct tl_manifest_info {
    uint64_t file_number; /* NNNNNN */
    uint64_t file_id;
    uint64_t transactions;     /* since the checkpoint */
    uint64_t checkpoint_bytes; /* its size in the file, the header counted */
    uint64_t tail_bytes;       /* size of the transactions since */
    bool cut;                  /* opening cut an incomplete last transaction */
};
void tl_manifest_info(const struct tl_manifest *m, struct tl_manifest_info *out);

#endif
