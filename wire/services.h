/*
 * wire/services.h: the gRPC methods, and what the server asks of their services.
 *
 * Threads    loop.
 */
#ifndef TALLY_WIRE_SERVICES_H
#define TALLY_WIRE_SERVICES_H

#include "base/status.h"
#include "wire/call.h"

struct tl_server;

/* ingest_service.c */
void tl_append_open(struct tl_call *call);
void tl_append_message(struct tl_call *call, struct tl_message *m);
void tl_append_events_message(struct tl_call *call, struct tl_message *m);
void tl_append_half_close(struct tl_call *call);
void tl_append_writable(struct tl_call *call);
void tl_append_drain(struct tl_call *call);
void tl_append_close(struct tl_call *call);
/* Submits what waits for room in the engine's queue. */
void tl_append_retry(struct tl_server *server);
/* Drops what the engine never took; nobody was told that it is durable. */
void tl_append_drop_waiting(struct tl_server *server);

/* query_service.c */
void tl_execute_message(struct tl_call *call, struct tl_message *m);
void tl_execute_writable(struct tl_call *call);
void tl_execute_close(struct tl_call *call);

/* admin_service.c */
void tl_admin_status_message(struct tl_call *call, struct tl_message *m);
void tl_admin_inspect_message(struct tl_call *call, struct tl_message *m);
void tl_admin_flush_message(struct tl_call *call, struct tl_message *m);
void tl_admin_compact_message(struct tl_call *call, struct tl_message *m);
void tl_admin_verify_message(struct tl_call *call, struct tl_message *m);
void tl_admin_close(struct tl_call *call);

/* health_service.c */
void tl_health_check_message(struct tl_call *call, struct tl_message *m);
void tl_health_watch_message(struct tl_call *call, struct tl_message *m);
void tl_health_close(struct tl_call *call);
/* Tells those who watch when what they would be told has changed. */
void tl_health_changed(struct tl_server *server);

/* reflection_service.c */
struct tl_reflection;
TL_CHECK enum tl_code tl_reflection_new(struct tl_reflection **out, struct tl_status *st);
void tl_reflection_free(struct tl_reflection *r);
void tl_reflection_message(struct tl_call *call, struct tl_message *m);
void tl_reflection_half_close(struct tl_call *call);
void tl_reflection_writable(struct tl_call *call);
void tl_reflection_drain(struct tl_call *call);

/* schema_cache.c */
struct tl_schema_cache;
void tl_schema_cache_free(struct tl_schema_cache *c); /* takes NULL */

#endif
