/*
 * tools/command.c: arguments and progress.
 */
#include "tools/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/client_tls.h"

bool tl_args_flag(struct tl_args *a, const char *name)
{
    if (a->next >= a->count || strcmp(a->values[a->next], name) != 0)
        return false;
    a->next++;
    return true;
}

bool tl_args_value(struct tl_args *a, const char *name, const char **out)
{
    if (a->next >= a->count || a->failed)
        return false;
    const char *arg = a->values[a->next];
    size_t size = strlen(name);
    if (strncmp(arg, name, size) != 0 || (arg[size] != 0 && arg[size] != '='))
        return false;
    a->next++;
    if (arg[size] == '=') {
        *out = arg + size + 1;
        return true;
    }
    if (a->next >= a->count) {
        fprintf(stderr, "tally %s: %s needs a value\n", a->command, name);
        a->failed = true;
        return true;
    }
    *out = a->values[a->next++];
    return true;
}

bool tl_size_read(const char *text, uint64_t *out)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long long v = strtoull(text, &end, 10);
    static const struct {
        const char *unit;
        int shift;
    } units[] = {{"", 0},   {"B", 0},    {"KiB", 10}, {"K", 10},  {"MiB", 20},
                 {"M", 20}, {"GiB", 30}, {"G", 30},   {"TiB", 40}};
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(end, units[i].unit) == 0 && v <= UINT64_MAX >> units[i].shift) {
            *out = (uint64_t)v << units[i].shift;
            return true;
        }
    }
    return false;
}

bool tl_args_number(struct tl_args *a, const char *name, uint64_t min, uint64_t max, uint64_t *out)
{
    const char *text = NULL;
    if (!tl_args_value(a, name, &text))
        return false;
    if (a->failed)
        return true;
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || v < min || v > max) {
        fprintf(stderr, "tally %s: %s must be %llu … %llu, not '%s'\n", a->command, name,
                (unsigned long long)min, (unsigned long long)max, text);
        a->failed = true;
        return true;
    }
    *out = v;
    return true;
}

const char *tl_args_positional(struct tl_args *a)
{
    if (a->next >= a->count)
        return NULL;
    const char *arg = a->values[a->next];
    if (arg[0] == '-' && arg[1] != 0)
        return NULL;
    a->next++;
    return arg;
}

bool tl_args_unknown(struct tl_args *a)
{
    if (!a->failed && a->next < a->count)
        fprintf(stderr, "tally %s: '%s' is not known here; see tally %s --help\n", a->command,
                a->values[a->next], a->command);
    a->failed = true;
    return false;
}

bool tl_args_place(struct tl_args *a, struct tl_place *place)
{
    const char *ca = NULL;
    if (tl_args_flag(a, "--tls") || tl_args_value(a, "--ca", &ca)) {
        tl_client_tls_use(ca);
        return true;
    }
    return tl_args_value(a, "--server", &place->server) || tl_args_value(a, "--data", &place->data);
}

enum tl_code tl_place_open(const struct tl_place *place, bool read_only, bool must_exist,
                           struct tl_door **out, struct tl_status *st)
{
    struct tl_place p = *place;
    if (p.server && p.data)
        return TL_FAIL(st, TL_INVALID, "either --server or --data, not both");
    if (!p.server && !p.data)
        p.server = getenv("TALLY_SERVER");
    if (!p.server && !p.data)
        p.data = getenv("TALLY_DATA");
    if (!p.server && !p.data)
        p.server = TL_SERVER_DEFAULT;
    struct tl_door_options o = {
        .server = p.server, .data = p.data, .read_only = read_only, .must_exist = must_exist};
    return tl_door_open(&o, out, st);
}

int tl_command_fail(const char *command, const struct tl_status *st)
{
    if (st->code == TL_CANCELLED && tl_client_interrupted) {
        fprintf(stderr, "tally %s: interrupted\n", command);
        return TL_EXIT_INTERRUPTED;
    }
    fprintf(stderr, "tally %s: %s\n", command, st->text);
    return TL_EXIT_FAILED;
}

/* ---- progress ---- */

static uint64_t now_us(void)
{
    return tl_clock_mono_ns(tl_clock_system()) / 1000;
}

void tl_progress_init(struct tl_progress *p, const char *label, bool quiet)
{
    *p = (struct tl_progress){
        .label = label, .terminal = !quiet && isatty(STDERR_FILENO), .begin_us = now_us()};
}

double tl_progress_seconds(const struct tl_progress *p)
{
    double s = (double)(now_us() - p->begin_us) / 1e6;
    return s > 1e-6 ? s : 1e-6;
}

const char *tl_bytes_text(double bytes, char *buf, size_t size)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    int u = 0;
    for (; bytes >= 1000 && u < 4; u++)
        bytes /= 1000;
    snprintf(buf, size, u ? "%.1f %s" : "%.0f %s", bytes, units[u]);
    return buf;
}

const char *tl_count_text(uint64_t n, char *buf, size_t size)
{
    char digits[24];
    int count = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)n);
    size_t at = 0;
    for (int i = 0; i < count && at + 2 < size; i++) {
        if (i && (count - i) % 3 == 0)
            buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = 0;
    return buf;
}

void tl_progress_show(struct tl_progress *p, uint64_t done, uint64_t total, uint64_t rows,
                      uint64_t bytes)
{
    enum { INTERVAL_US = 200000, BAR = 24 };
    if (!p->terminal)
        return;
    uint64_t now = now_us();
    if (now - p->shown_us < INTERVAL_US)
        return;
    p->shown_us = now;
    p->shown = true;
    double seconds = tl_progress_seconds(p);
    char count[32], size[32], rate[32];
    fprintf(stderr, "\r\033[K%s ", p->label);
    if (total) {
        double share = done >= total ? 1.0 : (double)done / (double)total;
        int filled = (int)(share * BAR);
        fputc('[', stderr);
        for (int i = 0; i < BAR; i++)
            fputc(i < filled ? '#' : '.', stderr);
        fprintf(stderr, "] %3.0f%% ", share * 100);
        if (share > 0.001 && share < 1.0) {
            uint64_t left = (uint64_t)(seconds / share * (1 - share) + 0.5);
            fprintf(stderr, "%llu:%02llu left ", (unsigned long long)(left / 60),
                    (unsigned long long)(left % 60));
        }
    }
    if (rows)
        fprintf(stderr, "%s rows, %s rows/s ", tl_count_text(rows, count, sizeof(count)),
                tl_count_text((uint64_t)((double)rows / seconds), rate, sizeof(rate)));
    if (bytes)
        fprintf(stderr, "%s", tl_bytes_text((double)bytes, size, sizeof(size)));
    fflush(stderr);
}

void tl_progress_end(struct tl_progress *p)
{
    if (p->shown)
        fputs("\r\033[K", stderr);
    p->shown = false;
}

void tl_json_string(struct tl_buffer *out, struct tl_slice s)
{
    tl_buffer_put_u8(out, '"');
    size_t run = 0;
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        tl_buffer_put(out, s.data + run, i - run);
        run = i + 1;
        if (c == '"' || c == '\\') {
            tl_buffer_put_u8(out, '\\');
            tl_buffer_put_u8(out, c);
        } else if (c == '\n') {
            tl_buffer_put(out, "\\n", 2);
        } else if (c == '\t') {
            tl_buffer_put(out, "\\t", 2);
        } else if (c == '\r') {
            tl_buffer_put(out, "\\r", 2);
        } else {
            tl_buffer_printf(out, "\\u%04x", c);
        }
    }
    tl_buffer_put(out, s.data + run, s.size - run);
    tl_buffer_put_u8(out, '"');
}
