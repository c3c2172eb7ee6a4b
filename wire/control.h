/*
 * wire/control.h: control messages through protobuf-c, with bounds.
 *
 * protobuf-c allocates as the bytes tell it to; here it takes from an arena with a limit, and the
 * schemas it is used for do not nest into themselves. Ingest never passes through it.
 *
 * Ownership  the decoded message lives as long as the arena.
 * Threads    an arena belongs to one thread at a time.
 * Errors     TL_INVALID: no such message. TL_LIMIT: more memory than TL_CONTROL_MEMORY_MAX.
 */
#ifndef TALLY_WIRE_CONTROL_H
#define TALLY_WIRE_CONTROL_H

#include <protobuf-c/protobuf-c.h>

#include "base/arena.h"
#include "base/bytes.h"

struct tl_control {
    struct tl_arena arena;
    struct tl_budget budget;
};

void tl_control_init(struct tl_control *c);
void tl_control_deinit(struct tl_control *c);
TL_CHECK enum tl_code tl_control_decode(struct tl_control *c,
                                        const ProtobufCMessageDescriptor *type,
                                        struct tl_slice bytes, ProtobufCMessage **out,
                                        struct tl_status *st);
static inline struct tl_slice tl_control_slice(ProtobufCBinaryData b)
{
    return tl_slice_of(b.data, b.len);
}
/* A copy that ends with a NUL; NULL: it holds one within, or there is no memory. */
const char *tl_control_string(struct tl_control *c, ProtobufCBinaryData b);

#endif
