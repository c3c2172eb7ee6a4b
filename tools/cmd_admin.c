/*
 * tools/cmd_admin.c: `tally inspect`, `verify`, `compact` and `status`.
 *
 * The database answers in JSON; --json prints it as it came, otherwise it is laid out for people:
 * members as "name: value", arrays of flat objects as tables.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/command.h"

enum { JSON_BYTES_MAX = 1 << 30, DEPTH_MAX = 16 };

struct admin_options {
    struct tl_place place;
    bool json;
    bool cancel; /* compact */
    const char *pack;
};

static bool parse(struct tl_args *a, enum tl_door_work work, struct admin_options *o)
{
    bool with_pack = work == TL_DOOR_INSPECT;
    while (a->next < a->count && !a->failed) {
        if (tl_args_place(a, &o->place))
            continue;
        if (tl_args_flag(a, "--json"))
            o->json = true;
        else if (work == TL_DOOR_COMPACT && tl_args_flag(a, "--cancel"))
            o->cancel = true;
        else if (!with_pack || o->pack || !(o->pack = tl_args_positional(a)))
            return tl_args_unknown(a);
    }
    return !a->failed;
}

/* ---- JSON for people ---- */

static bool is_flat(const json_t *v)
{
    return !json_is_object(v) && !json_is_array(v);
}

static void flat_text(const json_t *v, char *out, size_t size)
{
    if (json_is_string(v))
        snprintf(out, size, "%s", json_string_value(v));
    else if (json_is_integer(v)) {
        long long n = json_integer_value(v);
        char count[32];
        snprintf(out, size, "%s%s", n < 0 ? "-" : "",
                 tl_count_text((uint64_t)(n < 0 ? -n : n), count, sizeof(count)));
    } else if (json_is_real(v))
        snprintf(out, size, "%.3g", json_real_value(v));
    else
        snprintf(out, size, "%s", json_is_true(v) ? "yes" : json_is_false(v) ? "no" : "-");
}

static void indent(int depth)
{
    for (int i = 0; i < depth; i++)
        fputs("  ", stdout);
}

/* All elements are objects with flat members alone. */
static bool is_table(const json_t *array)
{
    size_t i;
    const json_t *row, *cell;
    const char *key;
    json_array_foreach(array, i, row)
    {
        if (!json_is_object(row))
            return false;
        json_object_foreach((json_t *)(uintptr_t)row, key, cell) if (!is_flat(cell)) return false;
    }
    return json_array_size(array) > 0;
}

static void print_table(const json_t *array, int depth)
{
    enum { COLUMNS_MAX = 24 };
    char text[256];
    const char *key;
    const char *keys[COLUMNS_MAX];
    size_t widths[COLUMNS_MAX];
    bool numbers[COLUMNS_MAX];
    size_t columns = 0, i;
    const json_t *row, *cell;
    json_object_foreach(json_array_get(array, 0), key, cell)
    {
        if (columns == COLUMNS_MAX)
            break;
        keys[columns] = key;
        numbers[columns] = json_is_number(cell);
        widths[columns++] = strlen(key);
    }
    json_array_foreach(array, i, row) for (size_t c = 0; c < columns; c++)
    {
        flat_text(json_object_get(row, keys[c]), text, sizeof(text));
        widths[c] = strlen(text) > widths[c] ? strlen(text) : widths[c];
    }
    indent(depth);
    for (size_t c = 0; c < columns; c++)
        printf(numbers[c] ? "%*s  " : "%-*s  ", (int)widths[c], keys[c]);
    putchar('\n');
    json_array_foreach(array, i, row)
    {
        indent(depth);
        for (size_t c = 0; c < columns; c++) {
            flat_text(json_object_get(row, keys[c]), text, sizeof(text));
            printf(numbers[c] ? "%*s  " : "%-*s  ", (int)widths[c], text);
        }
        putchar('\n');
    }
}

/* Bounded by DEPTH_MAX; jansson has bounded the text already. */
static void print_value(const json_t *v, int depth)
{
    char text[256];
    const char *key;
    size_t i;
    json_t *member;
    if (depth >= DEPTH_MAX)
        return;
    if (json_is_array(v)) {
        if (is_table(v)) {
            print_table(v, depth);
            return;
        }
        json_array_foreach(v, i, member)
        {
            if (is_flat(member)) {
                flat_text(member, text, sizeof(text));
                indent(depth);
                printf("%s\n", text);
            } else {
                print_value(member, depth);
                if (i + 1 < json_array_size(v))
                    putchar('\n');
            }
        }
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)v, key, member)
    {
        indent(depth);
        if (is_flat(member)) {
            flat_text(member, text, sizeof(text));
            printf("%s: %s\n", key, text);
        } else if (json_is_array(member) && json_array_size(member) == 0) {
            printf("%s: none\n", key);
        } else {
            printf("%s:\n", key);
            print_value(member, depth + 1);
        }
    }
}

static void print_json(struct tl_buffer *json, bool raw)
{
    json_error_t error;
    json_t *value =
        raw ? NULL : json_loadb((const char *)json->data, json->size, JSON_DECODE_ANY, &error);
    if (value && !is_flat(value))
        print_value(value, 0);
    else if (json->size)
        printf("%.*s\n", (int)json->size, (const char *)json->data);
    json_decref(value);
}

/* ---- the commands ---- */

static void show_progress(void *arg, uint64_t done, uint64_t total)
{
    tl_progress_show(arg, done, total, 0, 0);
}

static int administrate(struct tl_args *a, enum tl_door_work work, bool read_only,
                        const char *label, const char *help)
{
    if (tl_args_flag(a, "--help")) {
        fputs(help, stdout);
        return TL_EXIT_OK;
    }
    struct admin_options o = {0};
    if (!parse(a, work, &o))
        return TL_EXIT_USAGE;
    if (o.cancel) {
        if (o.place.data) {
            fputs("tally compact: --cancel is for a server; a directory's compaction ends with "
                  "Ctrl-C\n",
                  stderr);
            return TL_EXIT_USAGE;
        }
        work = TL_DOOR_COMPACT_CANCEL;
    }
    struct tl_status st = TL_STATUS_INIT;
    struct tl_door *door = NULL;
    struct tl_buffer json;
    tl_buffer_init(&json, "answer", JSON_BYTES_MAX);
    struct tl_progress progress;
    tl_progress_init(&progress, label, false);
    enum tl_code rc = tl_place_open(&o.place, read_only, true, &door, &st);
    if (!rc)
        rc = tl_door_admin(door, work, o.pack, show_progress, &progress, &json, &st);
    tl_progress_end(&progress);
    print_json(&json, o.json);
    if (!rc && work == TL_DOOR_COMPACT && json.size == 0 && !o.json)
        printf("compacted in %.1f s\n", tl_progress_seconds(&progress));
    if (!rc && work == TL_DOOR_COMPACT && json.size == 0 && o.json)
        printf("{\"seconds\":%.3f}\n", tl_progress_seconds(&progress));
    if (rc == TL_CANCELLED && work == TL_DOOR_COMPACT && tl_client_interrupted)
        fputs("tally compact: stopped, unless somebody else waits for it; the next one goes on "
              "from here\n",
              stderr);
    tl_buffer_deinit(&json);
    tl_door_close(door);
    return rc ? tl_command_fail(a->command, &st) : TL_EXIT_OK;
}

#define PLACE_HELP                                                                                 \
    "  --server HOST:PORT    a server (default: $TALLY_SERVER, else " TL_SERVER_DEFAULT ")\n"      \
    "  --tls, --ca FILE      TLS to the server; authorities (PEM) other than the system's\n"       \
    "  --data DIR            a directory\n"                                                        \
    "  --json                the answer as JSON\n"

int tl_command_inspect(struct tl_args *a)
{
    return administrate(a, TL_DOOR_INSPECT, true, "reading",
                        "usage: tally inspect [OPTION]… [PACK]\n\n"
                        "Shows what the packs hold: segments, columns, encodings, bytes. Opens a\n"
                        "directory without its lock, also while a server runs on it.\n\n" PLACE_HELP
                        "\nexamples:\n  tally inspect --data ./tally-data\n"
                        "  tally inspect --json | jq '.packs[0]'\n");
}

int tl_command_verify(struct tl_args *a)
{
    return administrate(
        a, TL_DOOR_VERIFY, true, "verifying",
        "usage: tally verify [OPTION]…\n\n"
        "Checks every checksum and invariant of log, manifest and packs. Ends with\n"
        "exit code 1 and the first finding when something is wrong.\n\n" PLACE_HELP
        "\nexample:\n  tally verify --data /var/lib/tally\n");
}

int tl_command_compact(struct tl_args *a)
{
    return administrate(
        a, TL_DOOR_COMPACT, false, "compacting",
        "usage: tally compact [OPTION]…\n\n"
        "Flushes the memtables and merges every partition to one run; waits. Ctrl-C\n"
        "stops it, unless another client of the server waits, too; it keeps what is\n"
        "finished, and goes on from there the next time.\n\n" PLACE_HELP
        "  --cancel              stops a server's compaction: those who wait for it are told,\n"
        "                        and it goes on with the next request, after a restart, or\n"
        "                        when reads would suffer\n"
        "\nexamples:\n  tally compact --server 127.0.0.1:7070\n  tally compact --cancel\n");
}

int tl_command_status(struct tl_args *a)
{
    return administrate(
        a, TL_DOOR_STATUS, true, "asking",
        "usage: tally status [OPTION]…\n\n"
        "Counts, sizes, memory and positions. Opens a directory without its lock.\n\n" PLACE_HELP
        "\nexample:\n  tally status --json\n");
}
