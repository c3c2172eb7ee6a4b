/*
 * wire/mailbox.h: how other threads talk to the loop.
 *
 * A mail is embedded in what it is about; posting hands that over. The loop delivers in the order
 * of posting. After tl_mailbox_close posts are still taken (a batch may become durable while the
 * server ends) and are delivered by tl_mailbox_drain.
 *
 * Ownership  a mail belongs to the box from post to delivery, then to `deliver`.
 * Threads    post: any, never blocks for long (a list under a mutex). The rest: loop.
 */
#ifndef TALLY_WIRE_MAILBOX_H
#define TALLY_WIRE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>
#include <uv.h>

#include "base/status.h"

struct tl_mail {
    struct tl_mail *next;
    void (*deliver)(struct tl_mail *mail); /* on the loop */
};

struct tl_mailbox {
    uv_async_t async;
    pthread_mutex_t lock; /* over the three below; nothing else is taken under it */
    struct tl_mail *first;
    struct tl_mail *last;
    bool open; /* the async handle may be signalled */
};

TL_CHECK enum tl_code tl_mailbox_init(struct tl_mailbox *m, uv_loop_t *loop, struct tl_status *st);
void tl_mailbox_post(struct tl_mailbox *m, struct tl_mail *mail);
/* The same of several, linked by `next` from `first` to `last`. */
void tl_mailbox_post_all(struct tl_mailbox *m, struct tl_mail *first, struct tl_mail *last);
/* Delivers what is there. */
void tl_mailbox_drain(struct tl_mailbox *m);
/* Ends the handle; the loop must run once more before it goes. */
void tl_mailbox_close(struct tl_mailbox *m);
void tl_mailbox_deinit(struct tl_mailbox *m);

#endif
