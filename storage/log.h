/*
 * storage/log.h: the write-ahead log, the only way by which state changes.
 *
 * A log is an ordered sequence of records. Appending copies records into the open group;
 * a commit makes the group durable as one. There is one commit in flight at a time, so that the
 * engine decodes and applies one group while the next gathers:
 *
 *     append … append   commit_begin ──────── commit_wait     (durable: everything up to *durable)
 *                          append … append (next group)   commit_begin …
 *
 * A position names a record. Positions are ordered and grow, and are opaque otherwise: other
 * drivers (a partition of a distributed log) number records in their own way. 0 is before all
 * records. Drivers fill struct tl_log_vtable; the local one (tl_log_open_local) keeps files in a
 * directory, described in docs/FORMAT.md, "Log".
 *
 * Ownership  the caller closes readers before their log. A record read is borrowed until the next
 *            call on its reader.
 * Threads    one thread at a time uses a log (the engine's log thread). A reader of its own
 *            (tl_log_read_open_dir) is independent of it.
 * Units      bytes.
 * Errors     TL_LIMIT: a record larger than the log takes, never written. TL_BUSY: the open group
 *            is full, commit first. TL_CORRUPT: a durable record has gone bad; it is reported and
 *            nothing is cut. TL_TOO_OLD: a position that was trimmed. TL_IO, TL_FULL: the first
 *            failure of a write or sync poisons the log: every later append, commit and trim
 *            answers with it, until it is opened anew.
 */
#ifndef TALLY_STORAGE_LOG_H
#define TALLY_STORAGE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"
#include "storage/io.h"

struct tl_log;
struct tl_log_reader;

enum {
    TL_LOG_RECORD_BYTES_MAX = 32 << 20, /* the body of one record */
    TL_LOG_GROUP_BYTES_MAX = 48 << 20,  /* one group; more than the largest record */
    TL_LOG_FILE_BYTES_MIN = 16 << 10,
    TL_LOG_DIR_MAX = 120, /* bytes of the directory's name */
    TL_LOG_FILE_BYTES_DEFAULT = 64 << 20,
    TL_LOG_TYPE_MIN = 1, /* type 0 is the log's own */
};

struct tl_log_record {
    uint64_t position;
    uint8_t type;         /* TL_LOG_TYPE_MIN … 255, the engine's numbers */
    struct tl_slice body; /* borrowed until the next call on the reader */
};

struct tl_log_vtable {
    enum tl_code (*append)(struct tl_log *log, uint8_t type, const struct tl_slice *slices,
                           uint32_t count, uint64_t *position, struct tl_status *st);
    enum tl_code (*commit_begin)(struct tl_log *log, struct tl_status *st);
    enum tl_code (*commit_wait)(struct tl_log *log, uint64_t *durable, struct tl_status *st);
    bool (*commit_ready)(struct tl_log *log);
    enum tl_code (*read_open)(struct tl_log *log, uint64_t after, struct tl_log_reader **out,
                              struct tl_status *st);
    enum tl_code (*trim)(struct tl_log *log, uint64_t position, bool *more, struct tl_status *st);
    void (*close)(struct tl_log *log);
};

/* A driver's object begins with this. */
struct tl_log {
    const struct tl_log_vtable *vtab;
};

struct tl_log_reader_vtable {
    enum tl_code (*next)(struct tl_log_reader *reader, struct tl_log_record *out, bool *end,
                         struct tl_status *st);
    void (*close)(struct tl_log_reader *reader);
};

struct tl_log_reader {
    const struct tl_log_reader_vtable *vtab;
};

/* ---- the interface ---- */

/* Copies a record (its body is the slices one after the other) into the open group. */
TL_CHECK enum tl_code tl_log_append(struct tl_log *log, uint8_t type, const struct tl_slice *slices,
                                    uint32_t count, uint64_t *position, struct tl_status *st);
/* Closes the open group and starts to make it durable. With an empty group it does nothing, and
 * the wait answers at once. Not while another commit is in flight (asserted). */
TL_CHECK enum tl_code tl_log_commit_begin(struct tl_log *log, struct tl_status *st);
/* *durable: the last position known durable. TL_OK at once when nothing is in flight. */
TL_CHECK enum tl_code tl_log_commit_wait(struct tl_log *log, uint64_t *durable,
                                         struct tl_status *st);
/* Would the wait answer at once? False where that cannot be known. */
bool tl_log_commit_ready(struct tl_log *log);
/* Reads the records after position `after`, in order; 0 reads from the oldest one kept. For
 * replay: before the first append. TL_TOO_OLD when a record after `after` was trimmed. */
TL_CHECK enum tl_code tl_log_read_open(struct tl_log *log, uint64_t after,
                                       struct tl_log_reader **out, struct tl_status *st);
/* *end is set, and *out left alone, when there is no further record. */
TL_CHECK enum tl_code tl_log_read_next(struct tl_log_reader *reader, struct tl_log_record *out,
                                       bool *end, struct tl_status *st);
void tl_log_read_close(struct tl_log_reader *reader); /* NULL is fine */
/* Records up to `position` are needed no more. What says so (the manifest) is durable already. */
TL_CHECK enum tl_code tl_log_trim(struct tl_log *log, uint64_t position, struct tl_status *st);
/* The same a step at a time, for who cannot wait for all of it: *more says that another one is
 * needed. Also while a commit is in flight. */
TL_CHECK enum tl_code tl_log_trim_step(struct tl_log *log, uint64_t position, bool *more,
                                       struct tl_status *st);
/* Groups not committed are dropped; a commit in flight is waited for. NULL is fine. */
void tl_log_close(struct tl_log *log);

/* ---- the local driver ---- */

/* Of whole groups; which of them are compressed is their own affair, no reader's. */
enum tl_log_compression {
    TL_LOG_COMPRESSION_AUTO, /* when it costs less time than the disk needs for what it saves */
    TL_LOG_COMPRESSION_ON,   /* whenever it saves a page */
    TL_LOG_COMPRESSION_OFF,
};

struct tl_clock;

struct tl_log_options {
    uint64_t file_bytes;         /* of each new file; 0: TL_LOG_FILE_BYTES_DEFAULT */
    uint32_t spare_files;        /* trimmed files kept for reuse; 0: 2 */
    uint32_t spare_files_closed; /* of these, kept when the log is closed; 0: all */
    enum tl_log_compression compression;
    const struct tl_clock *clock; /* for AUTO to measure by; NULL: it never compresses */
    uint64_t log_id;        /* keys all checksums; drawn at random by whoever creates the log */
    uint64_t known_durable; /* a position somebody else (the manifest) knows durable, or 0:
                               a log that ends before it is TL_CORRUPT, never cut */
};

/* What opening found. */
struct tl_log_recovered {
    uint64_t log_id;         /* as stored */
    uint64_t first_position; /* the oldest record kept; durable_position + 1 when there is none */
    uint64_t durable_position;
    bool created;
    bool cut;            /* an unacknowledged tail was found and overwritten */
    uint64_t cut_offset; /* where, in the newest file */
};

/* Opens or creates the log in directory `dir` of io (made when missing). Recovers: finds the end,
 * cuts an unacknowledged tail durably, makes the last groups durable once more (a process that
 * died of a failed sync may have left them in the page cache alone). On an existing log log_id is
 * ignored. */
TL_CHECK enum tl_code tl_log_open_local(struct tl_io *io, const char *dir,
                                        const struct tl_log_options *options,
                                        struct tl_log_recovered *recovered, struct tl_log **out,
                                        struct tl_status *st);

struct tl_log_local_info {
    uint32_t files;       /* holding records that are not trimmed, the newest counted */
    uint32_t spare_files; /* ready for reuse */
    uint64_t bytes;       /* of both on the disk */
    uint64_t first_position, durable_position;
    uint64_t group_bytes_max;   /* what one commit holds at most */
    uint64_t compressed_groups; /* begun since it was opened */
};
/* `log` is one that tl_log_open_local made. */
void tl_log_local_info(const struct tl_log *log, struct tl_log_local_info *out);
uint64_t tl_log_local_compressed(const struct tl_log *log); /* the last of them alone */

/* Reads a log's directory without opening the log and without writing, also while another process
 * writes and trims it: the reader ends where the log ends now. */
TL_CHECK enum tl_code tl_log_read_open_dir(struct tl_io *io, const char *dir, uint64_t after,
                                           struct tl_log_reader **out, struct tl_status *st);

struct tl_log_report {
    uint64_t log_id;
    uint32_t files;
    uint64_t groups;
    uint64_t records;
    uint64_t record_bytes;                  /* bodies */
    uint64_t file_bytes;                    /* all files, spares counted */
    uint64_t first_position, last_position; /* 0, 0 when there is no record */
    uint64_t tail_offset;                   /* end of the last valid group in the newest file */
    char bad_file[64];                      /* where the first corruption is, or "" */
    uint64_t bad_offset;
};

/* Walks the whole log, read-only. *out is filled in as far as the walk came, also with
 * TL_CORRUPT. */
TL_CHECK enum tl_code tl_log_verify(struct tl_io *io, const char *dir, struct tl_log_report *out,
                                    struct tl_status *st);

#endif
