/*
 * tools/command.h: what the subcommands of `tally` share: arguments, progress, exit codes.
 *
 * Ownership  arguments are main's.
 * Threads    the main thread.
 */
#ifndef TALLY_TOOLS_COMMAND_H
#define TALLY_TOOLS_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "tools/door.h"

enum { TL_EXIT_OK = 0, TL_EXIT_FAILED = 1, TL_EXIT_USAGE = 2, TL_EXIT_INTERRUPTED = 130 };

/* The arguments behind the subcommand's name. */
struct tl_args {
    int count;
    char **values;
    int next;
    const char *command;
    bool failed; /* an option without its value, or a value that is none; told already */
};

/* True when the next argument is `name` ("--events"); takes it. */
bool tl_args_flag(struct tl_args *a, const char *name);
/* The same with a value, as "--events 5" or "--events=5". */
bool tl_args_value(struct tl_args *a, const char *name, const char **out);
bool tl_args_number(struct tl_args *a, const char *name, uint64_t min, uint64_t max, uint64_t *out);
/* The next argument that is no option, or NULL; "-" is none. */
const char *tl_args_positional(struct tl_args *a);
/* For whatever is left: tells of an unknown option. Always false. */
bool tl_args_unknown(struct tl_args *a);
/* "1GiB", "64MiB", "1000000" */
bool tl_size_read(const char *text, uint64_t *out);

/* --server and --data, and --tls and --ca, which hold for all connections; without either
 * TALLY_SERVER, TALLY_DATA, or the server's default place. */
struct tl_place {
    const char *server, *data;
};
#define TL_SERVER_DEFAULT "127.0.0.1:7070"
bool tl_args_place(struct tl_args *a, struct tl_place *place);
TL_CHECK enum tl_code tl_place_open(const struct tl_place *place, bool read_only, bool must_exist,
                                    struct tl_door **out, struct tl_status *st);

/* Prints "tally COMMAND: sentence"; answers the exit code. */
int tl_command_fail(const char *command, const struct tl_status *st);

/* ---- progress on a terminal; nothing into a pipe ---- */

struct tl_progress {
    const char *label;
    bool terminal;
    bool shown;
    uint64_t begin_us, shown_us;
};
void tl_progress_init(struct tl_progress *p, const char *label, bool quiet);
/* done of total (0: unknown) in units for the bar, and rows with bytes for the rates. */
void tl_progress_show(struct tl_progress *p, uint64_t done, uint64_t total, uint64_t rows,
                      uint64_t bytes);
void tl_progress_end(struct tl_progress *p); /* clears the line */
double tl_progress_seconds(const struct tl_progress *p);
/* "12.3 MB" into buf, which is returned. */
const char *tl_bytes_text(double bytes, char *buf, size_t size);
/* "1,234,567" */
const char *tl_count_text(uint64_t n, char *buf, size_t size);

/* A JSON string with its quotes. */
void tl_json_string(struct tl_buffer *out, struct tl_slice s);

/* ---- the subcommands ---- */

int tl_command_import(struct tl_args *a);
int tl_command_generate(struct tl_args *a);
int tl_command_query(struct tl_args *a);
int tl_command_inspect(struct tl_args *a);
int tl_command_verify(struct tl_args *a);
int tl_command_compact(struct tl_args *a);
int tl_command_status(struct tl_args *a);
int tl_command_token(struct tl_args *a);

#endif
