/*
 * storage/log_int.h: the local log's format, and the walk over its groups; for storage/log*.c
 * alone. docs/FORMAT.md, "Log", is the authority.
 */
#ifndef TALLY_STORAGE_LOG_INT_H
#define TALLY_STORAGE_LOG_INT_H

#include "storage/log.h"

/* A group starts a page of its own. Were it to share one with an older group, the page cache would
 * write that one back again, and a disk of 4 KiB sectors would rewrite it in place: a torn write
 * of the new group could take the old, durable one with it. The log is trimmed, so the bytes of
 * padding are not kept. */
enum {
    TL__LOG_PAGE = TL_IO_PAGE_BYTES,
    TL__LOG_FILE_HEADER = TL__LOG_PAGE,
    TL__LOG_GROUP_HEADER = 64,
    TL__LOG_RECORD_HEADER = 16,
    TL__LOG_VERSION = 1,
    TL__LOG_GROUP_MAGIC = 0x31505247, /* "GRP1" */
    TL__LOG_GROUP_ZSTD = 1,           /* flag of a group: its records are compressed */
    TL__LOG_MARK = 0,                 /* record type: an empty record of the log's own */
    TL__LOG_NAME_MAX = TL_LOG_DIR_MAX + 32,
};
#define TL__LOG_FILE_BYTES_MAX (1ULL << 40)
#define TL__LOG_NUMBER_MAX     (1ULL << 56) /* of positions, groups, files: sums do not overflow */

_Static_assert(TL_LOG_RECORD_BYTES_MAX + TL__LOG_GROUP_HEADER + TL__LOG_RECORD_HEADER <=
                   TL_LOG_GROUP_BYTES_MAX,
               "a group holds the largest record");
_Static_assert(TL_LOG_GROUP_BYTES_MAX % TL__LOG_PAGE == 0, "groups are whole pages");

struct tl__log_file_header {
    uint64_t log_id;
    uint64_t number; /* also in the file's name */
    uint64_t incarnation;
    uint64_t previous_incarnation; /* of the file before; 0 in the first file of a log */
    uint64_t first_position, first_group;
    uint64_t file_bytes; /* groups lie below this offset */
};

struct tl__log_group_header {
    uint32_t payload_size;
    uint64_t number;
    uint64_t incarnation;
    uint64_t known_durable; /* position known durable when the group was written */
    uint64_t first_position;
    uint32_t records;
    uint32_t flags; /* TL__LOG_GROUP_ZSTD */
    uint64_t payload_sum;
};

/* The seed of the checksums of what lies at `offset` of the file in this incarnation. */
uint64_t tl__log_key(uint64_t log_id, uint64_t incarnation, uint64_t offset);

void tl__log_file_header_encode(const struct tl__log_file_header *h, uint8_t out[TL__LOG_PAGE]);
TL_CHECK enum tl_code tl__log_file_header_decode(const uint8_t in[TL__LOG_PAGE],
                                                 struct tl__log_file_header *out,
                                                 struct tl_status *st);
void tl__log_group_header_encode(const struct tl__log_group_header *h, uint64_t key,
                                 uint8_t out[TL__LOG_GROUP_HEADER]);
/* False: not a group of this key. */
bool tl__log_group_header_decode(const uint8_t in[TL__LOG_GROUP_HEADER], uint64_t key,
                                 struct tl__log_group_header *out);
static inline uint64_t tl__log_group_size(uint32_t payload_size)
{
    uint64_t size = (uint64_t)TL__LOG_GROUP_HEADER + payload_size;
    return (size + TL__LOG_PAGE - 1) / TL__LOG_PAGE * TL__LOG_PAGE;
}

void tl__log_name(char out[TL__LOG_NAME_MAX], const char *dir, uint64_t number);
void tl__log_spare_name(char out[TL__LOG_NAME_MAX], const char *dir, uint64_t number);

/* What lies in a log's directory. */
struct tl__log_listing {
    uint64_t *files; /* numbers, ascending */
    uint32_t file_count;
    uint64_t *spares;
    uint32_t spare_count;
};
TL_CHECK enum tl_code tl__log_list(struct tl_io *io, const char *dir, struct tl__log_listing *out,
                                   struct tl_status *st);
void tl__log_listing_free(struct tl__log_listing *l);

/* ---- the walk ---- */

struct tl__log_walker {
    struct tl_io *io;
    const char *dir; /* borrowed */
    bool live;       /* another process may be writing and trimming */
    struct tl__log_listing listing;
    uint32_t index;                      /* of the open file */
    struct tl__log_file_header *entered; /* every file walked through, the open one last */
    uint32_t entered_count, entered_room;
    struct tl_file *file;
    struct tl__log_file_header header;
    uint64_t limit;  /* min(header.file_bytes, the file's real size) */
    uint64_t offset; /* of the next group */
    uint64_t next_group, next_position;
    /* From here to the end of the file nothing later proves that it was durable. */
    uint64_t proven_offset;
    uint64_t known_durable;  /* the greatest seen */
    uint64_t retried_offset; /* where a bad group was read twice */
    uint32_t restarts;       /* live: files were trimmed under the walk */
    /* A window of the file's bytes. */
    uint8_t *window;
    size_t window_size, window_room;
    uint64_t window_offset;
    uint8_t *inflated; /* records of a compressed group */
    size_t inflated_room;
    /* The group last answered. */
    struct tl__log_group_header group;
    struct tl_slice payload;
    /* The end: group headers of this incarnation behind it, to be overwritten. */
    uint64_t *stale;
    uint32_t stale_count;
    bool tail; /* bytes of this incarnation lie behind the end */
    /* Where a corruption was found. */
    char bad_file[64];
    uint64_t bad_offset;
};

/* Opens the file in which the records after `after` begin; 0: the oldest. TL_NOT_FOUND: no log
 * there. TL_TOO_OLD. */
TL_CHECK enum tl_code tl__log_walk_open(struct tl__log_walker *w, struct tl_io *io, const char *dir,
                                        uint64_t after, bool live, struct tl_status *st);
/* The next group, checked, in w->group and w->payload; *end at the log's end. */
TL_CHECK enum tl_code tl__log_walk_next(struct tl__log_walker *w, bool *end, struct tl_status *st);
void tl__log_walk_close(struct tl__log_walker *w);

/* Takes one record off a payload whose checksum matched. */
TL_CHECK enum tl_code tl__log_record_decode(struct tl_slice *payload, uint64_t position,
                                            struct tl_log_record *out, struct tl_status *st);

/* A reader over a directory. */
TL_CHECK enum tl_code tl__log_reader_new(struct tl_io *io, const char *dir, uint64_t after,
                                         bool live, struct tl_log_reader **out,
                                         struct tl_status *st);

#endif
