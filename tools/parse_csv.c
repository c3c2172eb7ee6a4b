/*
 * tools/parse_csv.c: records of RFC 4180, with any one-byte delimiter.
 */
#include "tools/parse.h"

/* The end of the record that begins at p: where its line end stands. NULL: not in these bytes.
 * Only a quote at a field's beginning opens a quoted field. */
static const uint8_t *record_end(const uint8_t *p, const uint8_t *end, char delimiter, bool ended,
                                 uint32_t *lines, const char **reason)
{
    uint32_t count = 1;
    *reason = NULL;
    while (p <= end) {
        if (p < end && *p == '"') {
            p++;
            for (;; p++) {
                if (p == end) {
                    *reason = "a quoted field is never closed";
                    return ended ? end : NULL;
                }
                if (*p == '\n')
                    count++;
                if (*p == '"' && p + 1 < end && p[1] == '"')
                    p++;
                else if (*p == '"')
                    break;
            }
            p++;
            if (p < end && *p != (uint8_t)delimiter && *p != '\n' && *p != '\r') {
                *reason = "text follows a closing quote";
                return end;
            }
        }
        while (p < end && *p != (uint8_t)delimiter && *p != '\n')
            p++;
        if (p == end) {
            *lines = count;
            return ended ? end : NULL;
        }
        if (*p == '\n') {
            *lines = count;
            return p;
        }
        p++;
    }
    *lines = count;
    return end;
}

static struct tl_slice unquote(struct tl_slice s, struct tl_buffer *scratch)
{
    size_t at = scratch->size;
    for (size_t i = 0; i < s.size; i++) {
        tl_buffer_put_u8(scratch, s.data[i]);
        i += s.data[i] == '"'; /* the second of a pair */
    }
    return tl_slice_of(scratch->data + at, scratch->size - at);
}

static const char *split(struct tl_slice raw, char delimiter, struct tl_buffer *scratch,
                         struct tl_field *fields, uint32_t fields_max, uint32_t *count)
{
    const uint8_t *p = raw.data, *end = raw.data + raw.size;
    uint32_t n = 0;
    for (;;) {
        if (n == fields_max)
            return "too many fields";
        struct tl_field *f = &fields[n++];
        if (p < end && *p == '"') {
            const uint8_t *begin = ++p;
            bool doubled = false;
            while (*p != '"' || (p + 1 < end && p[1] == '"')) {
                doubled = doubled || *p == '"';
                p += *p == '"' ? 2 : 1;
            }
            struct tl_slice text = tl_slice_of(begin, (size_t)(p - begin));
            *f = (struct tl_field){TL_FIELD_TEXT, doubled ? unquote(text, scratch) : text};
            p++;
        } else {
            const uint8_t *begin = p;
            while (p < end && *p != (uint8_t)delimiter)
                p++;
            *f = (struct tl_field){p == begin ? TL_FIELD_NULL : TL_FIELD_TEXT,
                                   tl_slice_of(begin, (size_t)(p - begin))};
        }
        if (p >= end)
            break;
        p++; /* the delimiter */
    }
    *count = n;
    return NULL;
}

enum tl_code tl_csv_next(struct tl_input *in, char delimiter, struct tl_buffer *scratch,
                         struct tl_field *fields, uint32_t fields_max, uint32_t *count,
                         struct tl_slice *raw, uint32_t *lines, const char **reason, bool *found,
                         struct tl_status *st)
{
    for (;;) {
        const uint8_t *begin = in->window + in->begin;
        const uint8_t *end = in->window + in->end;
        if (begin == end && in->ended) {
            *found = false;
            return TL_OK;
        }
        const char *why = NULL;
        uint32_t taken = 1;
        bool too_long = (size_t)(end - begin) > TL_INPUT_RECORD_MAX;
        const uint8_t *stop =
            begin < end ? record_end(begin, end, delimiter, in->ended, &taken, &why) : NULL;
        if (!stop && !too_long) {
            enum tl_code rc = tl_input_more(in, st);
            if (rc)
                return rc;
            continue;
        }
        *found = true;
        if (why || !stop) {
            /* Malformed: this line alone is given up, the next one may be good. */
            bool cut;
            *reason = why ? why : "the record is too long";
            *lines = 1;
            return tl_input_line(in, raw, &cut, found, st);
        }
        in->begin += (size_t)(stop - begin) + (stop < end);
        size_t size = (size_t)(stop - begin);
        if (size && begin[size - 1] == '\r')
            size--;
        *raw = tl_slice_of(begin, size);
        *lines = taken;
        tl_buffer_clear(scratch);
        if (!tl_buffer_reserve(scratch, size + 1)) /* copies must not move while they are made */
            *reason = "the record is too long";
        else
            *reason = split(*raw, delimiter, scratch, fields, fields_max, count);
        return TL_OK;
    }
}
