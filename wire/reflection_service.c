/*
 * wire/reflection_service.c: server reflection, v1 and v1alpha, which are the same on the wire.
 *
 * The descriptors are those protoc wrote at build time, embedded; at start they are walked once
 * for the names that they define.
 */
#include <stdio.h>
#include <stdlib.h>

#include "wire/pb.h"
#include "wire/server_int.h"
#include "wire/services.h"

extern const unsigned char tl_descriptors[];
extern const size_t tl_descriptors_size;

enum { FILES_MAX = 16, SERVICES_MAX = 16, NAME_BYTES_MAX = 256 };
enum {
    SET_FILE = 1,
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6
};
enum { ANY_NAME = 1, MESSAGE_NESTED = 3, MESSAGE_ENUM = 4, SERVICE_METHOD = 2 };
enum {
    REQUEST_BY_FILENAME = 3,
    REQUEST_BY_SYMBOL = 4,
    REQUEST_BY_EXTENSION = 5,
    REQUEST_EXTENSION_NUMBERS = 6,
    REQUEST_LIST = 7,
    RESPONSE_REQUEST = 2,
    RESPONSE_FILES = 4,
    RESPONSE_LIST = 6,
    RESPONSE_ERROR = 7
};

struct tl_reflection {
    struct tl_slice files[FILES_MAX], names[FILES_MAX], packages[FILES_MAX];
    size_t file_count;
    char services[SERVICES_MAX][NAME_BYTES_MAX];
    size_t service_count;
};

static struct tl_slice field_bytes(struct tl_slice message, uint32_t number)
{
    struct tl_pb_reader r = tl_pb_reader_of(message);
    struct tl_pb_field f;
    while (tl_pb_next(&r, &f)) {
        if (f.number == number && f.wire == TL_PB_BYTES)
            return f.bytes;
    }
    return tl_slice_of(NULL, 0);
}

enum tl_code tl_reflection_new(struct tl_reflection **out, struct tl_status *st)
{
    struct tl_reflection *r = calloc(1, sizeof(*r));
    if (!r)
        return TL_FAIL(st, TL_LIMIT, "no memory for reflection");
    struct tl_pb_reader set = tl_pb_reader_of(tl_slice_of(tl_descriptors, tl_descriptors_size));
    struct tl_pb_field f;
    while (tl_pb_next(&set, &f) && r->file_count < FILES_MAX) {
        size_t n = r->file_count++;
        r->files[n] = f.bytes;
        r->names[n] = field_bytes(f.bytes, FILE_NAME);
        r->packages[n] = field_bytes(f.bytes, FILE_PACKAGE);
        struct tl_pb_reader file = tl_pb_reader_of(f.bytes);
        struct tl_pb_field item;
        while (tl_pb_next(&file, &item)) {
            if (item.number != FILE_SERVICE || r->service_count == SERVICES_MAX)
                continue;
            struct tl_slice name = field_bytes(item.bytes, ANY_NAME);
            snprintf(r->services[r->service_count++], NAME_BYTES_MAX, "%.*s.%.*s",
                     (int)r->packages[n].size, (const char *)r->packages[n].data, (int)name.size,
                     (const char *)name.data);
        }
    }
    *out = r;
    return TL_OK;
}

void tl_reflection_free(struct tl_reflection *r)
{
    free(r);
}

/* Takes `name` and, if more follows, a dot off the front of *rest. */
static bool take_name(struct tl_slice *rest, struct tl_slice name)
{
    if (name.size == 0 || rest->size < name.size || memcmp(rest->data, name.data, name.size) != 0)
        return false;
    if (rest->size > name.size && rest->data[name.size] != '.')
        return false;
    size_t n = name.size + (rest->size > name.size);
    *rest = tl_slice_of(rest->data + n, rest->size - n);
    return true;
}

/* Whether a file's top level, or one level below, defines what is left of a symbol. */
static bool defines(struct tl_slice file, struct tl_slice rest)
{
    struct tl_pb_reader r = tl_pb_reader_of(file);
    struct tl_pb_field f;
    while (tl_pb_next(&r, &f)) {
        if (f.wire != TL_PB_BYTES ||
            (f.number != FILE_MESSAGE && f.number != FILE_ENUM && f.number != FILE_SERVICE))
            continue;
        struct tl_slice left = rest;
        if (!take_name(&left, field_bytes(f.bytes, ANY_NAME)))
            continue;
        if (left.size == 0)
            return true;
        struct tl_pb_reader inner = tl_pb_reader_of(f.bytes);
        struct tl_pb_field g;
        while (tl_pb_next(&inner, &g)) {
            bool named = g.wire == TL_PB_BYTES &&
                         (f.number == FILE_MESSAGE
                              ? g.number == MESSAGE_NESTED || g.number == MESSAGE_ENUM ||
                                    g.number == 2 /* a field */
                              : g.number == SERVICE_METHOD /* of a service; values of an enum */);
            if (named && tl_slice_eq(field_bytes(g.bytes, ANY_NAME), left))
                return true;
        }
    }
    return false;
}

static bool find_file(const struct tl_reflection *r, const struct tl_pb_field *ask, size_t *out)
{
    for (size_t i = 0; i < r->file_count; i++) {
        struct tl_slice rest = ask->bytes;
        if (ask->number == REQUEST_BY_FILENAME
                ? tl_slice_eq(rest, r->names[i])
                : take_name(&rest, r->packages[i]) && rest.size && defines(r->files[i], rest)) {
            *out = i;
            return true;
        }
    }
    return false;
}

static void put_error(struct tl_buffer *out, uint32_t code, const char *text)
{
    struct tl_buffer error;
    tl_buffer_init(&error, "error", 1024);
    tl_pb_put_uint(&error, 1, code);
    tl_pb_put_str(&error, 2, text);
    tl_pb_put_bytes(out, RESPONSE_ERROR, tl_buffer_slice(&error));
    tl_buffer_deinit(&error);
}

static void put_services(const struct tl_reflection *r, struct tl_buffer *out)
{
    struct tl_buffer list;
    tl_buffer_init(&list, "services", 64 << 10);
    for (size_t i = 0; i < r->service_count; i++) {
        size_t n = strlen(r->services[i]);
        tl_pb_put_head(&list, 1, 1 + tl_pb_varint_size(n) + n);
        tl_pb_put_str(&list, 1, r->services[i]);
    }
    tl_pb_put_bytes(out, RESPONSE_LIST, tl_buffer_slice(&list));
    tl_buffer_deinit(&list);
}

void tl_reflection_message(struct tl_call *call, struct tl_message *m)
{
    struct tl_reflection *reflection = call->server->reflection;
    struct tl_slice request = tl_slice_of(m->data, m->size);
    struct tl_pb_reader r = tl_pb_reader_of(request);
    struct tl_pb_field f, ask = {0};
    while (tl_pb_next(&r, &f)) {
        if (f.number >= REQUEST_BY_FILENAME && f.number <= REQUEST_LIST && f.wire == TL_PB_BYTES)
            ask = f;
    }
    struct tl_buffer out;
    tl_buffer_init(&out, "descriptors", TL_ANSWER_BYTES_MAX);
    tl_pb_put_bytes(&out, RESPONSE_REQUEST, request);
    size_t file;
    switch (ask.number) {
    case REQUEST_BY_FILENAME:
    case REQUEST_BY_SYMBOL:
        if (find_file(reflection, &ask, &file)) {
            struct tl_slice bytes = reflection->files[file];
            tl_pb_put_head(&out, RESPONSE_FILES, 1 + tl_pb_varint_size(bytes.size) + bytes.size);
            tl_pb_put_bytes(&out, 1, bytes);
        } else {
            put_error(&out, TL_GRPC_NOT_FOUND, "there is no such file or symbol");
        }
        break;
    case REQUEST_LIST:
        put_services(reflection, &out);
        break;
    case REQUEST_BY_EXTENSION:
    case REQUEST_EXTENSION_NUMBERS:
        put_error(&out, TL_GRPC_NOT_FOUND, "there are no extensions");
        break;
    default:
        put_error(&out, TL_GRPC_INVALID_ARGUMENT, "the request asks for nothing");
    }
    tl_message_free(m);
    if (r.failed)
        tl_call_finish(call, TL_GRPC_INVALID_ARGUMENT,
                       "these bytes are no ServerReflectionRequest");
    else
        tl_call_send(call, tl_buffer_slice(&out));
    tl_buffer_deinit(&out);
    if (call->out_bytes >= TL_STREAM_OUT_BYTES)
        tl_call_pause(call);
}

void tl_reflection_half_close(struct tl_call *call)
{
    tl_call_finish(call, TL_GRPC_OK, "");
}

void tl_reflection_writable(struct tl_call *call)
{
    tl_call_resume(call);
}

void tl_reflection_drain(struct tl_call *call)
{
    tl_call_finish(call, TL_GRPC_UNAVAILABLE, "the server is shutting down");
}
