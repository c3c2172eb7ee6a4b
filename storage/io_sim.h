/*
 * storage/io_sim.h: a disk in memory that fails on demand, for tests.
 *
 * It keeps two states: what the machine sees (the page cache) and what would survive a power cut.
 * A write reaches the second only by a sync; until then each of its 512-byte sectors may survive
 * or not. Creations, renames and removals reach it by tl_io_sync_dir(). At a crash a seeded die
 * decides about every unsynced sector, size and name by itself, so writes are lost, torn and
 * reordered. Everything follows from the seed and the order of operations.
 *
 * Operations are counted from 0: every open, read request, write, sync, commit (two: its write
 * and its sync, both at the wait), preallocate, zero, truncate, size, rename, remove, exists,
 * mkdir, list, directory sync and lock.
 *
 * Ownership  tl_io_free(tl_io_sim_io(sim)) frees the sim; files are closed before.
 * Threads    any; one lock around everything. A run repeats from its seed only when the order of
 *            the operations does.
 */
#ifndef TALLY_STORAGE_IO_SIM_H
#define TALLY_STORAGE_IO_SIM_H

#include "base/bytes.h"
#include "storage/io.h"

struct tl_io_sim;

TL_CHECK enum tl_code tl_io_sim_new(uint64_t seed, struct tl_io_sim **out, struct tl_status *st);
/* The disk as a door; freeing it frees the sim. */
struct tl_io *tl_io_sim_io(struct tl_io_sim *sim);

/* Operations begun so far. */
uint64_t tl_io_sim_steps(struct tl_io_sim *sim);

/* ---- faults; each stays until tl_io_sim_heal() or, where said, for one operation ---- */

/* The power goes at operation `step`: it takes effect in part or not at all, and it and all later
 * ones answer TL_CLOSED until the reboot. UINT64_MAX: never. */
void tl_io_sim_crash_at(struct tl_io_sim *sim, uint64_t at);
/* Operation `step` answers TL_IO (EIO); with `for_ever` all later ones too. A failed write leaves
 * a part behind. A failed sync of a file drops a part of the data that it should have made durable,
 * and later syncs of the file answer TL_OK without it, as kernels do. A failed sync of a directory
 * makes a part durable; the rest waits for the next one. */
void tl_io_sim_fail_at(struct tl_io_sim *sim, uint64_t at, bool for_ever);
/* The same, counting only syncs of files (commits' included) from 0 on. */
void tl_io_sim_fail_sync(struct tl_io_sim *sim, uint64_t sync);
/* Files together may take `bytes` (in pages of 4096); beyond it TL_FULL. 0: no limit. */
void tl_io_sim_set_capacity(struct tl_io_sim *sim, uint64_t bytes);
/* Reads and writes move a random part of what was asked, so that callers' loops run. */
void tl_io_sim_set_short(struct tl_io_sim *sim, bool on);
void tl_io_sim_heal(struct tl_io_sim *sim);

/* Cuts the power if it is not cut yet, throws the die over all that was not synced, and starts the
 * machine again: locks are free, faults are healed, and file handles from before answer TL_CLOSED
 * for ever. The seed moves on. */
void tl_io_sim_reboot(struct tl_io_sim *sim);
/* How likely an unsynced thing survives the next reboot, in 1/256; -1 (from the start): the die
 * chooses among none, few, half, most and all. */
void tl_io_sim_set_survival(struct tl_io_sim *sim, int in_256);

/* ---- looking and tampering (not counted, never failing by a fault) ---- */

/* A copy of the disk (both states, no handles, no faults) that goes on with its own seed. */
TL_CHECK enum tl_code tl_io_sim_clone(struct tl_io_sim *sim, uint64_t seed, struct tl_io_sim **out,
                                      struct tl_status *st);
/* Makes or replaces a durable file; its directories are made. */
TL_CHECK enum tl_code tl_io_sim_put(struct tl_io_sim *sim, const char *name, struct tl_slice bytes,
                                    struct tl_status *st);
/* The bytes of a file as the machine sees them, appended to out. TL_NOT_FOUND. */
TL_CHECK enum tl_code tl_io_sim_get(struct tl_io_sim *sim, const char *name, struct tl_buffer *out,
                                    struct tl_status *st);
/* Exclusive-ors one byte in both states; false when the file does not reach so far. */
bool tl_io_sim_flip(struct tl_io_sim *sim, const char *name, uint64_t offset, uint8_t mask);
/* TL_OK when both show the same names and bytes; otherwise TL_INVALID naming the first
 * difference. */
TL_CHECK enum tl_code tl_io_sim_compare(struct tl_io_sim *a, struct tl_io_sim *b,
                                        struct tl_status *st);
/* A hash of all names and bytes that the machine sees. */
uint64_t tl_io_sim_hash(struct tl_io_sim *sim);

#endif
