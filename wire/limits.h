/*
 * wire/limits.h: every limit of the servers, in one place.
 *
 * What a client meets at each limit stands beside it and in docs/WIRE.md. Constants are relations
 * of the protocol; the struct holds what an operator may change.
 */
#ifndef TALLY_WIRE_LIMITS_H
#define TALLY_WIRE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

enum {
    /* A flow-control window as HTTP/2 begins it (RFC 9113, 6.9.2). A connection's own can not be
     * smaller, so that this much is charged for each connection that is accepted. */
    TL_WINDOW_BASE_BYTES = 65535,
    /* Lent to a stream and to its connection once a message larger than this is announced. */
    TL_WINDOW_LEND_MESSAGE_BYTES = 16 << 10,
    TL_WINDOW_STREAM_BYTES = 4 << 20,
    TL_WINDOW_CONNECTION_BYTES = 16 << 20,
    /* SETTINGS_MAX_FRAME_SIZE: fewer frames for large messages. Chunks are never buffered whole. */
    TL_FRAME_BYTES_MAX = 256 << 10,
    /* Control messages (all but Append and AppendEvents): RESOURCE_EXHAUSTED. */
    TL_CONTROL_BYTES_MAX = 1 << 20,
    /* Memory of one decoded control message. */
    TL_CONTROL_MEMORY_MAX = 8 << 20,
    /* A page of a result; clients take 4 MiB by default. */
    TL_PAGE_BYTES = 1 << 20,
    /* Any answer message. */
    TL_ANSWER_BYTES_MAX = 16 << 20,
    /* Bytes of answers that wait in a stream before its requests are left unread. */
    TL_STREAM_OUT_BYTES = 256 << 10,
    /* Bytes handed to a socket at once; a connection has at most this much unsent. */
    TL_SOCKET_OUT_BYTES = 256 << 10,
    TL_SOCKET_IN_BYTES = 256 << 10,
    /* Batches handed to the engine and not done: four groups of the log, one in flight, one being
     * gathered, two waiting. What comes beyond waits here, connection by connection in turns, so
     * that nobody's batches wait behind all that another one has offered: a small batch waits for
     * about that much to be decoded and applied, some 15 ms on a core of today. */
    TL_ENGINE_BYTES = 4 << 20,
    TL_ENGINE_BATCH_BYTES = 512, /* what a batch counts beside its bytes */
    TL_PATH_BYTES_MAX = 128,     /* of :path; longer: UNIMPLEMENTED */
    TL_MESSAGE_TEXT_BYTES = 512, /* of grpc-message before its encoding */
    /* nghttp2's defences: RST_STREAM frames in a burst and per second, CONTINUATION frames of one
     * header block, entries of one SETTINGS frame, unsent PING and SETTINGS acknowledgements.
     * Met: the connection ends. */
    TL_RESET_BURST = 1000,
    TL_RESET_RATE = 33,
    TL_CONTINUATIONS_MAX = 8,
    TL_SETTINGS_MAX = 32,
    TL_OUTBOUND_ACKS_MAX = 1000,
    /* HTTP/1.1 of --http. Met: 431 or 413, then the end. */
    TL_HTTP_HEADER_BYTES_MAX = 16 << 10,
    TL_HTTP_BODY_BYTES_MAX = 64 << 10
};

struct tl_wire_limits {
    uint32_t connections_max;            /* further ones are closed at once */
    uint32_t streams_per_connection_max; /* SETTINGS_MAX_CONCURRENT_STREAMS */
    uint32_t streams_max;                /* of all connections: REFUSED_STREAM */
    size_t message_bytes_max;            /* one request message: RESOURCE_EXHAUSTED */
    size_t header_bytes_max;             /* of one request's headers: RESOURCE_EXHAUSTED */
    size_t window_budget_bytes;          /* sum of all connections' windows: streams wait */
    uint32_t appends_per_stream_max;     /* batches in flight: the stream is left unread */
    uint32_t appends_max;                /* the same of all streams */
    uint32_t queries_max;                /* running and waiting: RESOURCE_EXHAUSTED */
    uint32_t admin_max;                  /* the same of administration */
    uint64_t handshake_ms;               /* from accept to the first request: closed */
    uint64_t idle_ms;                    /* a connection without streams: GOAWAY */
    uint64_t stall_ms;                   /* a client that takes no bytes: closed */
    uint64_t message_stall_ms;           /* half a message and no more of it, while its client may
                                            send: ABORTED, or RESOURCE_EXHAUSTED when it waits
                                            for a window that nobody will give back */
    uint64_t drain_ms;                   /* from SIGTERM until calls are ended: UNAVAILABLE */
};

static inline struct tl_wire_limits tl_wire_limits_default(void)
{
    return (struct tl_wire_limits){
        .connections_max = 4096,
        .streams_per_connection_max = 256,
        .streams_max = 16384,
        .message_bytes_max = 16u << 20,
        .header_bytes_max = 16u << 10,
        .window_budget_bytes = 256u << 20,
        .appends_per_stream_max = 256,
        .appends_max = 65536,
        .queries_max = 256,
        .admin_max = 16,
        .handshake_ms = 10 * 1000,
        .idle_ms = 15 * 60 * 1000,
        .stall_ms = 30 * 1000,
        .message_stall_ms = 30 * 1000,
        .drain_ms = 10 * 1000,
    };
}

#endif
