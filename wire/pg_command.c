/*
 * wire/pg_command.c: statements that concern the session: blocks, parameters, and what is refused.
 *
 * A block's end drops portals, the one that runs COMMIT among them: nothing of the utility or the
 * portal is looked at after it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "wire/pg_int.h"

enum { SAVEPOINTS_MAX = 1000 };

/* ---- blocks ---- */

void tl__pg_snapshot_drop(struct tl_pg *s)
{
    tally_snapshot_close(s->snapshot);
    s->snapshot = NULL;
}

enum tl_code tl__pg_snapshot(struct tl_pg *s)
{
    bool shared = s->block == 'T' || (s->simple && s->list_count > 1);
    if (s->snapshot || !shared)
        return TL_OK;
    return tally_snapshot_open(s->options.db, &s->snapshot, &s->st);
}

static void savepoints_drop(struct tl_pg *s, struct tl_pg_savepoint *until)
{
    while (s->savepoints && s->savepoints != until) {
        struct tl_pg_savepoint *next = s->savepoints->next;
        free(s->savepoints);
        s->savepoints = next;
    }
}

void tl__pg_block_end(struct tl_pg *s, bool commit)
{
    savepoints_drop(s, NULL);
    tl__pg_portals_drop(s, false);
    tl__pg_snapshot_drop(s);
    tl_pg_settings_end(&s->settings, commit);
    s->block = 'I';
}

static enum tl_code end_block(struct tl_pg *s, bool commit, bool chain)
{
    bool failed = s->block == 'E';
    if (s->block == 'I') {
        if (chain)
            return tl__pg_error(s, "25P01", "%s AND CHAIN can only be used in transaction blocks",
                                commit ? "COMMIT" : "ROLLBACK");
        tl__pg_notice(s, "WARNING", "25P01", "there is no transaction in progress");
    }
    tl__pg_block_end(s, commit && !failed);
    if (chain)
        s->block = 'T';
    tl_pg_put_complete(&s->out, commit && !failed ? "COMMIT" : "ROLLBACK");
    return TL_OK;
}

static enum tl_code savepoint(struct tl_pg *s, const struct tl_utility *u)
{
    static const char *const words[] = {[TL_UTILITY_SAVEPOINT] = "SAVEPOINT",
                                        [TL_UTILITY_RELEASE] = "RELEASE SAVEPOINT",
                                        [TL_UTILITY_ROLLBACK_TO] = "ROLLBACK TO SAVEPOINT"};
    static const char *const tags[] = {[TL_UTILITY_SAVEPOINT] = "SAVEPOINT",
                                       [TL_UTILITY_RELEASE] = "RELEASE",
                                       [TL_UTILITY_ROLLBACK_TO] = "ROLLBACK"};
    if (s->block == 'I')
        return tl__pg_error(s, "25P01", "%s can only be used in transaction blocks",
                            words[u->kind]);
    uint32_t count = 0;
    struct tl_pg_savepoint *at = s->savepoints, *found = NULL;
    for (; at; at = at->next, count++) {
        if (!found && strncmp(at->name, u->name, sizeof(at->name) - 1) == 0)
            found = at;
    }
    if (u->kind == TL_UTILITY_SAVEPOINT) {
        if (count >= SAVEPOINTS_MAX)
            return tl__pg_error(s, "53400", "a block has at most %d savepoints", SAVEPOINTS_MAX);
        struct tl_pg_savepoint *p = calloc(1, sizeof(*p));
        if (!p)
            return TL_FAIL(&s->st, TL_LIMIT, "no memory for a savepoint");
        snprintf(p->name, sizeof(p->name), "%s", u->name);
        p->next = s->savepoints;
        s->savepoints = p;
    } else if (!found) {
        return tl__pg_error(s, "3B001", "savepoint \"%.60s\" does not exist", u->name);
    } else {
        savepoints_drop(s, u->kind == TL_UTILITY_RELEASE ? found->next : found);
        if (u->kind == TL_UTILITY_ROLLBACK_TO)
            s->block = 'T';
    }
    tl_pg_put_complete(&s->out, tags[u->kind]);
    return TL_OK;
}

/* ---- parameters ---- */

static enum tl_code set(struct tl_pg *s, const struct tl_utility *u, const char *value,
                        const char *tag)
{
    enum tl_pg_set_how how = u->local          ? TL_PG_SET_LOCAL
                             : s->block == 'T' ? TL_PG_SET_IN_BLOCK
                                               : TL_PG_SET_SESSION;
    if (u->local && s->block == 'I' && !(s->simple && s->list_count > 1))
        tl__pg_notice(s, "WARNING", "25P01", "SET LOCAL can only be used in transaction blocks");
    else if (u->name && tl_pg_settings_set(&s->settings, u->name, value, how, &s->st))
        return s->st.code;
    if (!u->name)
        tl_pg_settings_reset_all(&s->settings, s->block == 'T');
    tl_pg_put_complete(&s->out, tag);
    return TL_OK;
}

static enum tl_code show(struct tl_pg *s, const struct tl_utility *u)
{
    const char *texts[3] = {NULL, NULL, NULL};
    if (strcmp(u->name, "all") == 0) {
        for (size_t i = 0; tl_pg_settings_at(&s->settings, i, &texts[0], &texts[1], &texts[2]); i++)
            tl__pg_put_texts(s, texts, 3);
    } else {
        if (tl_pg_settings_show(&s->settings, u->name, &texts[0], &texts[1], &s->st))
            return s->st.code;
        tl__pg_put_texts(s, &texts[1], 1);
    }
    tl_pg_put_complete(&s->out, "SHOW");
    return TL_OK;
}

static enum tl_code discard(struct tl_pg *s, bool all)
{
    if (all && s->block != 'I')
        return tl__pg_error(s, "25001", "DISCARD ALL cannot run inside a transaction block");
    if (all) {
        tl__pg_portals_drop(s, true);
        tl__pg_statement_drop(s, NULL);
        tl_pg_settings_reset_all(&s->settings, false);
    }
    tl_pg_put_complete(&s->out, all ? "DISCARD ALL" : "DISCARD PLANS");
    return TL_OK;
}

static enum tl_code deallocate(struct tl_pg *s, const char *name)
{
    if (name && !tl__pg_statement_find(s, name))
        return tl__pg_error(s, "26000", "prepared statement \"%.80s\" does not exist", name);
    const char *tag = name ? "DEALLOCATE" : "DEALLOCATE ALL";
    tl__pg_statement_drop(s, name);
    tl_pg_put_complete(&s->out, tag);
    return TL_OK;
}

enum tl_code tl__pg_command(struct tl_pg *s, struct tl_pg_portal *portal,
                            const struct tl_utility *u)
{
    switch (u->kind) {
    case TL_UTILITY_BEGIN:
        if (s->block != 'I')
            tl__pg_notice(s, "WARNING", "25001", "there is already a transaction in progress");
        else
            s->block = 'T';
        tl_pg_put_complete(&s->out, u->text.size && (u->text.data[0] | 0x20) == 's'
                                        ? "START TRANSACTION"
                                        : "BEGIN");
        return TL_OK;
    case TL_UTILITY_COMMIT:
    case TL_UTILITY_ROLLBACK:
        return end_block(s, u->kind == TL_UTILITY_COMMIT, u->chain);
    case TL_UTILITY_SAVEPOINT:
    case TL_UTILITY_RELEASE:
    case TL_UTILITY_ROLLBACK_TO:
        return savepoint(s, u);
    case TL_UTILITY_SET:
        return set(s, u, u->value, "SET");
    case TL_UTILITY_SET_NOTHING:
        tl_pg_put_complete(&s->out, "SET");
        return TL_OK;
    case TL_UTILITY_RESET:
        return set(s, u, NULL, "RESET");
    case TL_UTILITY_SHOW:
        return show(s, u);
    case TL_UTILITY_DECLARE:
        return tl__pg_declare(s, u);
    case TL_UTILITY_FETCH:
        return tl__pg_fetch(s, portal, u);
    case TL_UTILITY_CLOSE:
        return tl__pg_close_cursor(s, u);
    case TL_UTILITY_PREPARE:
        return tl__pg_prepare(s, u);
    case TL_UTILITY_EXECUTE:
        return tl__pg_run_prepared(s, portal, u);
    case TL_UTILITY_DEALLOCATE:
        return deallocate(s, u->name);
    case TL_UTILITY_DISCARD:
        return discard(s, u->all);
    case TL_UTILITY_COPY:
        return u->copy->from ? tl__pg_copy_in(s, u) : tl__pg_copy_out(s, u);
    case TL_UTILITY_UNLISTEN:
        tl_pg_put_complete(&s->out, "UNLISTEN");
        return TL_OK;
    case TL_UTILITY_LISTEN:
    case TL_UTILITY_NOTIFY:
        return tl__pg_error(s, "0A000", "LISTEN and NOTIFY are not supported");
    case TL_UTILITY_TEMP_TABLE:
        return tl__pg_error(s, "0A000", "temporary tables are not supported");
    default:
        return tl__pg_error(s, "0A000", "this statement is not supported");
    }
}
