/*
 * wire/pg_facts.c: what catalogs and functions tell of a session (query/catalog.h).
 *
 * They ask while a statement of the session runs, which is when its settings do not change but by
 * set_config.
 */
#include "wire/pg_int.h"

static const char *setting(void *arg, const char *name)
{
    const struct tl_pg *s = arg;
    const char *canonical, *value;
    struct tl_status none = TL_STATUS_INIT;
    return tl_pg_settings_show(&s->settings, name, &canonical, &value, &none) ? NULL : value;
}

static bool setting_at(void *arg, size_t index, const char **name, const char **value,
                       const char **help)
{
    const struct tl_pg *s = arg;
    return tl_pg_settings_at(&s->settings, index, name, value, help);
}

static enum tl_code set(void *arg, const char *name, const char *value, bool local,
                        struct tl_status *st)
{
    struct tl_pg *s = arg;
    bool block = s->block != 'I';
    if (local && !block) /* its end is the statement's */
        return TL_OK;
    return tl_pg_settings_set(&s->settings, name, value,
                              local   ? TL_PG_SET_LOCAL
                              : block ? TL_PG_SET_IN_BLOCK
                                      : TL_PG_SET_SESSION,
                              st);
}

void tl__pg_facts(struct tl_pg *s)
{
    s->info = (struct tl_session_info){
        .user = s->user,
        .database = s->database[0] ? s->database : s->user,
        .merchant = !tl__pg_is_operator(s),
        .backend_pid = (int32_t)s->options.process_id,
        .backend_start_us = s->options.now_us,
        .server_start_us = s->options.server_start_us,
        .client_address = s->options.client_address[0] ? s->options.client_address : NULL,
        .client_port = s->options.client_port,
        .server_address = s->options.server_address[0] ? s->options.server_address : NULL,
        .server_port = s->options.server_port,
        .arg = s,
        .setting = setting,
        .setting_at = setting_at,
        .set = set,
    };
}
