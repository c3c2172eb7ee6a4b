/*
 * tools/import_plan.h: which field of the input goes into which column of which table.
 *
 * A column takes the field of its own name (letters and digits compared, case ignored) unless a
 * rule says otherwise. A table that is missing is made: access logs have one of their own shape,
 * other inputs get one inferred from their first records when `create` is set.
 *
 * Ownership  a plan owns its names.
 * Threads    one at a time.
 * Errors     TL_INVALID: rules that fit neither input nor table; TL_NOT_FOUND: the table is
 *            missing and not to be made.
 */
#ifndef TALLY_TOOLS_IMPORT_PLAN_H
#define TALLY_TOOLS_IMPORT_PLAN_H

#include "tools/batch_writer.h"
#include "tools/door.h"
#include "tools/parse.h"

enum tl_import_format { TL_IMPORT_COMBINED, TL_IMPORT_COMMON, TL_IMPORT_CSV, TL_IMPORT_NDJSON };

/* Fields of access logs that are made from others. */
enum tl_derived_field {
    TL_DERIVED_VISITOR = TL_LOG_FIELD_COUNT, /* 16 hexadecimal digits of client and agent */
    TL_DERIVED_CLIENT_PREFIX,                /* 203.0.113.0/24, 2001:db8:1::/48 */
    TL_DERIVED_IS_BOT,                       /* told by the agent's words */
    TL_DERIVED_END
};

struct tl_import_rule {
    const char *column, *field; /* field "" : the column stays NULL */
    bool constant;              /* field is a literal text */
};

struct tl_import_request {
    enum tl_import_format format;
    const char *table; /* NULL: access_log, events with as_events; needed for CSV and NDJSON */
    bool as_events;
    bool create;
    bool only_mapped; /* of a table that is made: no columns but those in rules */
    bool header;      /* CSV: the first record names the fields; else they are 1, 2 … */
    char delimiter;   /* 0: comma, or tab where the first line says so */
    bool has_merchant;
    int64_t merchant;
    struct tl_import_rule *rules;
    uint32_t rule_count;
    uint32_t depth; /* NDJSON: levels of objects that become columns of their own */
};

struct tl_import_column {
    char *name;
    struct tl_type type;
    uint32_t field;       /* UINT32_MAX: none */
    const char *constant; /* or NULL */
};

struct tl_import_plan {
    char *table;
    char delimiter;
    uint32_t field_count; /* CSV: of the header */
    uint32_t skip_lines;  /* CSV: 1 with a header */
    uint32_t column_count;
    struct tl_import_column columns[TL_BATCH_WRITER_COLUMNS_MAX];
    struct tl_json_paths paths; /* NDJSON */
    struct tl_buffer created;   /* the CREATE TABLE that was run; empty: the table stood */
};

/* Looks at the input's beginning, which stays unread. */
TL_CHECK enum tl_code tl_import_plan_make(struct tl_import_plan *plan,
                                          const struct tl_import_request *request,
                                          struct tl_door *door, struct tl_input *in,
                                          struct tl_status *st);
void tl_import_plan_deinit(struct tl_import_plan *plan);

#endif
