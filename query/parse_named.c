/*
 * Arguments given by name: make_interval(days => 3). The functions whose parameters have names that
 * people write are listed here; what is left out of make_interval is 0.
 */
#include "query/parse_int.h"

#include <string.h>

enum { PARAMETERS_MAX = 7 };

static const struct signature {
    const char *function;
    bool zero; /* what is left out is 0; else it must be given */
    const char *parameters[PARAMETERS_MAX];
} signatures[] = {
    {"make_interval", true, {"years", "months", "weeks", "days", "hours", "mins", "secs"}},
    {"make_date", false, {"year", "month", "day"}},
    {"make_timestamp", false, {"year", "month", "mday", "hour", "min", "sec"}},
    {"make_timestamptz", false, {"year", "month", "mday", "hour", "min", "sec", "timezone"}},
};

static const struct signature *find_signature(const char *function)
{
    for (size_t i = 0; i < sizeof(signatures) / sizeof(signatures[0]); i++)
        if (strcmp(signatures[i].function, function) == 0)
            return &signatures[i];
    return NULL;
}

static enum tl_code place_of(struct conv *c, const struct signature *s, const NamedArgExpr *n,
                             uint32_t *out)
{
    for (uint32_t i = 0; i < PARAMETERS_MAX && s->parameters[i]; i++) {
        *out = i;
        if (strcmp(s->parameters[i], n->name) == 0)
            return TL_OK;
    }
    return FAIL_AT(c, TL_INVALID, "42883", tl__position_of(c, n->location),
                   "function %s has no parameter named \"%s\"", s->function, n->name);
}

enum tl_code tl__conv_named(struct conv *c, const List *list, struct tl_ast *call)
{
    uint32_t count = LIST_COUNT(list), end = 0;
    const NamedArgExpr *first = NULL;
    for (uint32_t i = 0; i < count; i++) {
        const NamedArgExpr *n = LIST_AT(list, i);
        if (nodeTag(n) == T_NamedArgExpr)
            first = first ? first : n;
        else if (first)
            return FAIL_AT(c, TL_INVALID, "42601", tl__position_of(c, first->location),
                           "positional argument cannot follow named argument");
    }
    if (!first)
        return tl__conv_args(c, list, call, 0);
    const struct signature *s = find_signature(call->name);
    if (!s)
        return REFUSE(c, tl__position_of(c, first->location), "a named argument of this function");
    struct tl_ast *args[PARAMETERS_MAX] = {NULL};
    for (uint32_t i = 0; i < count; i++) {
        const NamedArgExpr *n = LIST_AT(list, i);
        bool named = nodeTag(n) == T_NamedArgExpr;
        uint32_t at = i;
        if (named && place_of(c, s, n, &at))
            return c->st->code;
        if (at >= PARAMETERS_MAX || args[at])
            return FAIL_AT(c, TL_INVALID, "42601", tl__position_of(c, first->location),
                           "an argument of %s is given twice", call->name);
        if (tl__conv_expr(c, named ? (const void *)n->arg : (const void *)n, &args[at]))
            return c->st->code;
        end = at + 1 > end ? at + 1 : end;
    }
    call->args = tl_arena_calloc(c->arena, end, sizeof(struct tl_ast *), c->st);
    if (!call->args)
        return c->st->code;
    for (uint32_t i = 0; i < end; i++) {
        if (!args[i] && !s->zero)
            return FAIL_AT(c, TL_INVALID, "42883", call->position,
                           "function %s needs its argument \"%s\"", call->name, s->parameters[i]);
        if (!args[i] && !(args[i] = tl__new_ast(c, TL_AST_INT, -1, 0)))
            return c->st->code;
        call->args[i] = args[i];
    }
    call->arg_count = end;
    return TL_OK;
}
