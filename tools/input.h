/*
 * tools/input.h: a file or standard input, plain, gzip or zstd, as a window of bytes.
 *
 * The kind of compression is told by the first bytes, not by the name. Readers look at the window,
 * ask for more when a record does not end in it, and take what they have used.
 *
 * Ownership  the window lives until the next `more`; taking bytes does not move it.
 * Threads    one input belongs to one thread.
 * Units      bytes. `read_bytes` counts the file's own (compressed) bytes, for progress.
 * Errors     TL_NOT_FOUND, TL_IO; TL_CORRUPT: compressed bytes that do not inflate.
 */
#ifndef TALLY_TOOLS_INPUT_H
#define TALLY_TOOLS_INPUT_H

#include "base/bytes.h"
#include "base/status.h"

/* A record (line) may have this many bytes. */
enum { TL_INPUT_RECORD_MAX = 4 << 20 };

struct tl_input {
    int fd;
    bool owned;
    uint64_t read_bytes;  /* of the file */
    uint64_t total_bytes; /* 0: unknown */
    uint8_t *window;      /* [begin, end) holds bytes that were not taken */
    size_t begin, end, capacity;
    bool ended; /* no more bytes will come */
    int kind;   /* of compression; -1: not known yet */
    void *inflater;
    uint8_t *packed; /* compressed bytes */
    size_t packed_begin, packed_end;
    bool packed_ended;
    bool between_members; /* a compressed stream ended whole: more may follow, or nothing */
};

/* "-" is standard input. */
TL_CHECK enum tl_code tl_input_open(struct tl_input *in, const char *path, struct tl_status *st);
void tl_input_close(struct tl_input *in);
/* Makes the window longer, unless the input has ended. */
TL_CHECK enum tl_code tl_input_more(struct tl_input *in, struct tl_status *st);

/* The next line without its end (LF or CRLF); false at the end. A line longer than
 * TL_INPUT_RECORD_MAX comes cut, with *cut set, and its rest is skipped. */
TL_CHECK enum tl_code tl_input_line(struct tl_input *in, struct tl_slice *line, bool *cut,
                                    bool *found, struct tl_status *st);

#endif
