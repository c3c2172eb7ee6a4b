#include "wire/control.h"

#include "wire/limits.h"

void tl_control_init(struct tl_control *c)
{
    tl_budget_init(&c->budget, "memory of a control message", TL_CONTROL_MEMORY_MAX, NULL);
    tl_arena_init(&c->arena, &c->budget, 4096);
}

void tl_control_deinit(struct tl_control *c)
{
    tl_arena_deinit(&c->arena);
}

struct source {
    struct tl_control *control;
    bool failed;
};

static void *arena_alloc(void *arg, size_t size)
{
    struct source *s = arg;
    struct tl_status st = TL_STATUS_INIT;
    void *p = tl_arena_alloc(&s->control->arena, size, &st);
    s->failed = s->failed || !p;
    return p;
}

static void arena_free(void *arg, void *p)
{
    (void)arg;
    (void)p; /* all at once, with the arena */
}

enum tl_code tl_control_decode(struct tl_control *c, const ProtobufCMessageDescriptor *type,
                               struct tl_slice bytes, ProtobufCMessage **out, struct tl_status *st)
{
    struct source source = {c, false};
    ProtobufCAllocator allocator = {arena_alloc, arena_free, &source};
    static const uint8_t nothing[1];
    ProtobufCMessage *m =
        protobuf_c_message_unpack(type, &allocator, bytes.size, bytes.size ? bytes.data : nothing);
    if (!m && source.failed)
        return TL_FAIL(st, TL_LIMIT, "a %s needs more than %d bytes of memory", type->name,
                       TL_CONTROL_MEMORY_MAX);
    if (!m)
        return TL_FAIL(st, TL_INVALID, "these bytes are no %s", type->name);
    *out = m;
    return TL_OK;
}

const char *tl_control_string(struct tl_control *c, ProtobufCBinaryData b)
{
    struct tl_status st = TL_STATUS_INIT;
    if (b.len && memchr(b.data, 0, b.len))
        return NULL;
    return tl_arena_copy(&c->arena, b.data, b.len, &st);
}
