/*
 * wire/call.h: one gRPC call, as the services see it.
 *
 * A call is an HTTP/2 stream of a connection. h2.c moves its bytes and windows, grpc.c its
 * messages and status, a service its meaning:
 *
 *     method->open ── message … ── half_close ── (tl_call_send …) ── tl_call_finish ── close
 *
 * `close` comes exactly once for each `open`, also when the client went away, the deadline passed
 * or the connection broke: after it the service does not touch the call. Messages that came too
 * fast wait unread while the service holds the call paused; the client's window then closes.
 *
 * Ownership  a message is the service's from its delivery until tl_message_free, which gives its
 *            bytes back to the client's window: late, where backpressure is wanted.
 * Threads    loop.
 */
#ifndef TALLY_WIRE_CALL_H
#define TALLY_WIRE_CALL_H

#include "base/bytes.h"
#include "base/status.h"
#include "wire/limits.h"

struct tl_call;
struct tl_h2;
struct tl_principal;
struct tl_server;

enum tl_grpc_code {
    TL_GRPC_OK = 0,
    TL_GRPC_CANCELLED = 1,
    TL_GRPC_UNKNOWN = 2,
    TL_GRPC_INVALID_ARGUMENT = 3,
    TL_GRPC_DEADLINE_EXCEEDED = 4,
    TL_GRPC_NOT_FOUND = 5,
    TL_GRPC_ALREADY_EXISTS = 6,
    TL_GRPC_PERMISSION_DENIED = 7,
    TL_GRPC_RESOURCE_EXHAUSTED = 8,
    TL_GRPC_FAILED_PRECONDITION = 9,
    TL_GRPC_ABORTED = 10,
    TL_GRPC_OUT_OF_RANGE = 11,
    TL_GRPC_UNIMPLEMENTED = 12,
    TL_GRPC_INTERNAL = 13,
    TL_GRPC_UNAVAILABLE = 14,
    TL_GRPC_DATA_LOSS = 15,
    TL_GRPC_UNAUTHENTICATED = 16,
    TL_GRPC_CODE_COUNT
};

/* What a client is told for a status of ours (docs/WIRE.md, "Status codes"). */
enum tl_grpc_code tl_grpc_code_of(enum tl_code code);
const char *tl_grpc_code_name(enum tl_grpc_code code);

/* One request message. */
struct tl_message {
    struct tl_message *next; /* for the service */
    uint8_t *data;
    size_t size;
    size_t capacity;
    /* Bytes of the client's window that this message holds. */
    struct tl_h2 *h2; /* NULL: the connection is gone */
    struct tl_message *hold_prev, *hold_next;
    int32_t stream_id;
    size_t held;
    /* Bytes charged beyond them: inflated, or rows made columns. */
    struct tl_server *server;
    size_t charged;
};

void tl_message_free(struct tl_message *m); /* takes NULL */
/* Charges memory that stands beside the message; false: the budget is met. */
bool tl_message_charge(struct tl_message *m, size_t size);

/* What a method wants of who calls it (wire/authorize.h). */
enum tl_need { TL_NEEDS_NOTHING, TL_NEEDS_INGEST, TL_NEEDS_READ, TL_NEEDS_OPERATOR };

struct tl_method {
    const char *path; /* "/tally.v1.Ingest/Append" */
    bool client_stream;
    uint8_t needs;                      /* enum tl_need */
    bool early_headers;                 /* answers with headers before the first message */
    size_t message_bytes;               /* limit; 0: the configured one */
    void (*open)(struct tl_call *call); /* may be NULL */
    void (*message)(struct tl_call *call, struct tl_message *m);
    void (*half_close)(struct tl_call *call); /* of client streams */
    void (*writable)(struct tl_call *call);   /* the answers that waited went out; may be NULL */
    void (*drain)(struct tl_call *call);      /* the server wants to end; may be NULL */
    void (*close)(struct tl_call *call);      /* may be NULL */
};

/* All methods, NULL path last; the index is the number of their metrics. */
extern const struct tl_method tl_methods[];
extern const size_t tl_method_count;
const struct tl_method *tl_method_find(const char *path);

/* Bytes on their way out. */
struct tl_out_chunk {
    struct tl_out_chunk *next;
    uint8_t *data;
    size_t size, offset, capacity;
};

enum tl_call_reject {
    TL_REJECT_NONE,
    TL_REJECT_HEADERS,     /* too large */
    TL_REJECT_METHOD,      /* not POST */
    TL_REJECT_CONTENT_TYPE /* not application/grpc */
};

struct tl_call {
    /* ---- the stream (h2.c) ---- */
    struct tl_call *prev, *next; /* of the connection */
    struct tl_h2 *h2;
    struct tl_server *server;
    int32_t id;
    bool remote_closed;   /* the client half-closed */
    bool headers_sent;    /* handed to nghttp2 */
    bool end_sent;        /* trailers handed to nghttp2 */
    bool deferred;        /* nghttp2 waits for tl_h2_resume */
    size_t window;        /* what the client may have unconsumed in this stream */
    size_t held;          /* what it has */
    size_t need;          /* bytes of the incomplete message, 0: none */
    size_t need_got;      /* of these, arrived */
    bool parked;          /* its message waits for a larger window */
    uint64_t parked_at;   /* which of the connection's this was, counted from 1 */
    uint64_t progress_ms; /* since when its client could have sent more of it, and did not */
    uint64_t given_back;  /* what the budget had been given back then, while parked */
    bool suspected;       /* its time is up: one more look at the socket decides */
    struct tl_out_chunk *out_first, *out_last;
    size_t out_bytes;

    /* ---- the request's headers ---- */
    enum tl_call_reject reject;
    size_t header_bytes;
    char path[TL_PATH_BYTES_MAX];
    bool post, grpc_type;
    bool bad_timeout;
    bool bad_encoding; /* one that we do not read */
    bool gzip;
    uint64_t timeout_us; /* UINT64_MAX: none */
    char token[64];      /* of `authorization: Bearer …`, until it was looked up */
    size_t token_size;
    bool bad_token; /* there was such a header, but no token in it */

    /* ---- the call (grpc.c) ---- */
    const struct tl_method *method; /* NULL: not opened, or closed */
    struct tl_principal *principal; /* who calls; NULL: somebody, and nobody is asked for more */
    uint64_t opened_ns;
    uint64_t deadline_ms; /* of the loop's time; UINT64_MAX: none */
    bool finished;        /* status decided: what comes further is thrown away */
    bool closed;          /* the service was told so */
    bool paused;
    bool feeding;
    uint8_t prefix[5];
    uint8_t prefix_fill;
    struct tl_message *incoming; /* being reassembled */
    size_t incoming_size;
    struct tl_message *request; /* of a method with one request message */
    struct tl_buffer backlog;   /* arrived while paused */
    size_t backlog_offset;
    enum tl_grpc_code code;
    char text[TL_MESSAGE_TEXT_BYTES];
    struct tl_status status; /* the failure behind it, for the details */

    /* ---- the service ---- */
    void *state;
};

/* Sends one message, copied. */
void tl_call_send(struct tl_call *call, struct tl_slice message);
/* Sends bytes that hold whole messages with their 5-byte prefixes; takes the buffer's memory. */
void tl_call_send_framed(struct tl_call *call, struct tl_buffer *framed);
/* Appends a prefix whose size is not known yet; tl_frame_end fills it in. For any thread. */
size_t tl_frame_begin(struct tl_buffer *b);
void tl_frame_end(struct tl_buffer *b, size_t begin);

/* Decides the status; what was sent before goes out first. Later ones are ignored. */
void tl_call_finish(struct tl_call *call, enum tl_grpc_code code, const char *text);
void tl_call_fail(struct tl_call *call, const struct tl_status *st);

/* The same for whoever is not the service, which is closed at once; what waited is dropped. */
void tl_call_abort(struct tl_call *call, enum tl_grpc_code code, const char *text);

void tl_call_pause(struct tl_call *call);
void tl_call_resume(struct tl_call *call); /* reads what had waited */

/* ---- between h2.c and grpc.c ---- */

void tl_call_on_headers(struct tl_call *call); /* the request's headers are complete */
void tl_call_on_data(struct tl_call *call, const uint8_t *data, size_t size);
void tl_call_on_half_close(struct tl_call *call);
void tl_call_on_drained(struct tl_call *call); /* out_bytes fell to 0 */
void tl_call_on_close(struct tl_call *call);   /* the stream is gone */
/* What is due at this time of the loop; returns when to come again (UINT64_MAX: never). */
uint64_t tl_call_tick(struct tl_call *call, uint64_t now_ms);

/* grpc-timeout into microseconds; false: malformed. */
bool tl_grpc_timeout_parse(struct tl_slice text, uint64_t *out_us);
/* Text as grpc-message wants it: percent-encoded, NUL-terminated, cut at the buffer's size. */
size_t tl_grpc_message_encode(const char *text, char *out, size_t size);
/* google.rpc.Status with an ErrorInfo of ours, base64 without padding; 0: does not fit. */
size_t tl_grpc_details_encode(enum tl_grpc_code code, const char *text, const struct tl_status *st,
                              char *out, size_t size);

#endif
