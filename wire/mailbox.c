#include "wire/mailbox.h"

#include "base/assert.h"

static void on_async(uv_async_t *async)
{
    tl_mailbox_drain(async->data);
}

enum tl_code tl_mailbox_init(struct tl_mailbox *m, uv_loop_t *loop, struct tl_status *st)
{
    *m = (struct tl_mailbox){.open = true};
    int rc = uv_async_init(loop, &m->async, on_async);
    if (rc)
        return TL_FAIL(st, TL_LIMIT, "no handle for the mailbox: %s", uv_strerror(rc));
    m->async.data = m;
    pthread_mutex_init(&m->lock, NULL);
    return TL_OK;
}

void tl_mailbox_post(struct tl_mailbox *m, struct tl_mail *mail)
{
    tl_mailbox_post_all(m, mail, mail);
}

void tl_mailbox_post_all(struct tl_mailbox *m, struct tl_mail *first, struct tl_mail *last)
{
    tl_assert(last->deliver != NULL);
    last->next = NULL;
    pthread_mutex_lock(&m->lock);
    bool wake = !m->first && m->open;
    if (m->last)
        m->last->next = first;
    else
        m->first = first;
    m->last = last;
    if (wake) /* under the lock: the handle cannot be closed in between */
        uv_async_send(&m->async);
    pthread_mutex_unlock(&m->lock);
}

void tl_mailbox_drain(struct tl_mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    struct tl_mail *mail = m->first;
    m->first = m->last = NULL;
    pthread_mutex_unlock(&m->lock);
    while (mail) {
        struct tl_mail *next = mail->next; /* deliver may free it */
        mail->deliver(mail);
        mail = next;
    }
}

void tl_mailbox_close(struct tl_mailbox *m)
{
    pthread_mutex_lock(&m->lock);
    bool was_open = m->open;
    m->open = false;
    pthread_mutex_unlock(&m->lock);
    if (was_open)
        uv_close((uv_handle_t *)&m->async, NULL);
}

void tl_mailbox_deinit(struct tl_mailbox *m)
{
    tl_assert(!m->open && !m->first);
    pthread_mutex_destroy(&m->lock);
}
