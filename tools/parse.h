/*
 * tools/parse.h: records of access logs, CSV and NDJSON as lists of fields.
 *
 * All three give the same: a field has a kind and a text. Texts are the record's own bytes where
 * nothing in them is escaped, and copies in the parser's scratch space where something is.
 *
 * Ownership  fields live until the next record is parsed or the input's window moves.
 * Threads    one parser belongs to one thread.
 * Errors     a record that is malformed is told with a reason and is not an error of the run.
 */
#ifndef TALLY_TOOLS_PARSE_H
#define TALLY_TOOLS_PARSE_H

#include "base/bytes.h"
#include "tools/input.h"

enum tl_field_kind {
    TL_FIELD_MISSING, /* not there: NULL */
    TL_FIELD_NULL,
    TL_FIELD_TEXT,   /* a string, or a CSV value */
    TL_FIELD_NUMBER, /* JSON's, as it was written */
    TL_FIELD_TRUE,
    TL_FIELD_FALSE,
    TL_FIELD_OBJECT, /* JSON text */
    TL_FIELD_ARRAY   /* JSON text */
};
struct tl_field {
    uint8_t kind; /* enum tl_field_kind */
    struct tl_slice text;
};

/* ---- access logs ---- */

enum tl_log_field {
    TL_LOG_CLIENT,
    TL_LOG_IDENT,
    TL_LOG_AUTH_USER,
    TL_LOG_TIME,
    TL_LOG_REQUEST, /* the whole request line */
    TL_LOG_METHOD,
    TL_LOG_TARGET,
    TL_LOG_PATH,  /* of the target, up to '?' */
    TL_LOG_QUERY, /* what follows '?'; missing where there is none */
    TL_LOG_PROTOCOL,
    TL_LOG_STATUS,
    TL_LOG_BYTES, /* '-' is 0, as the log format says */
    TL_LOG_REFERRER,
    TL_LOG_USER_AGENT,
    TL_LOG_FIELD_COUNT
};
extern const char *const tl_log_field_names[TL_LOG_FIELD_COUNT];

/* One line of Apache's and nginx' common or combined format. NULL: well-formed; else the reason.
 * Escapes in quoted fields (\" \\ \n \t \xhh) are undone in `scratch`. A request without
 * method (as of HTTP/0.9 or garbage) leaves the fields it does not have missing. */
const char *tl_log_parse(struct tl_slice line, bool combined, struct tl_buffer *scratch,
                         struct tl_field fields[TL_LOG_FIELD_COUNT]);

/* ---- CSV ---- */

enum { TL_CSV_FIELDS_MAX = 2048 };

/* The next record (RFC 4180: quotes double inside quotes, line ends allowed there). An unquoted
 * empty field is NULL, a quoted one the empty string. *raw is the record as it stood, without its
 * line end; *lines how many lines it took. *reason is NULL, or why it is malformed: then the
 * input goes on behind the line where it began. */
TL_CHECK enum tl_code tl_csv_next(struct tl_input *in, char delimiter, struct tl_buffer *scratch,
                                  struct tl_field *fields, uint32_t fields_max, uint32_t *count,
                                  struct tl_slice *raw, uint32_t *lines, const char **reason,
                                  bool *found, struct tl_status *st);

/* ---- NDJSON ---- */

/* Members of nested objects by their dotted path, a.b.c. */
struct tl_json_paths {
    uint32_t count, capacity;
    struct tl_slice *names; /* owned copies */
    uint32_t *slots;        /* hash table of index + 1 */
    uint32_t slot_mask;
};
enum { TL_JSON_PATHS_MAX = 4096, TL_JSON_DEPTH_MAX = 64, TL_JSON_PATH_BYTES_MAX = 1024 };

TL_CHECK enum tl_code tl_json_paths_init(struct tl_json_paths *p, struct tl_status *st);
void tl_json_paths_deinit(struct tl_json_paths *p);
/* The index of a path, which is added when `add`; UINT32_MAX: not there, or no room. */
uint32_t tl_json_paths_find(struct tl_json_paths *p, struct tl_slice name, bool add);

/* Parses one object and sets fields[i] for each path i that it holds (count of them; the others
 * are MISSING). Objects and arrays under a known path come as their text. With `discover`
 * leaves at unknown paths are added, down to `depth` levels; deeper ones come as text. */
const char *tl_json_parse(struct tl_slice line, struct tl_json_paths *paths, bool discover,
                          uint32_t depth, struct tl_buffer *scratch, struct tl_field *fields);

/* Walks the members of an object whose text is well-formed: calls `each` with the key unescaped and
 * the value. false: `each` said so, or the text is not an object. */
bool tl_json_each(struct tl_slice object, struct tl_buffer *scratch,
                  bool (*each)(void *arg, struct tl_slice key, const struct tl_field *value),
                  void *arg);

#endif
