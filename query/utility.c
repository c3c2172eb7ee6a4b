/*
 * query/utility.c: cutting a text into statements, and the statements of sessions.
 *
 * The grammar is libpg_query's (query/parse.c says how its tree is read and why no function of
 * PostgreSQL's may be called on it). Text that is one SELECT is the usual case and is not read
 * twice: the lexer sees that it is one statement and begins with a word of queries. Where the
 * grammar gives no place (the query of DECLARE), a keyword is looked for.
 */
#include <postgres.h>

#include <nodes/parsenodes.h>
#include <nodes/pg_list.h>
#include <nodes/value.h>
#include <utils/memutils.h>

#include "query/utility.h"

#include <limits.h>

#include "base/assert.h"
#include "base/text.h"
#include "query/parse.h"

/* From pg_query.h, which cannot be included beside postgres.h (both say PG_VERSION). */
struct pg_error {
    char *message;
    char *funcname;
    char *filename;
    int lineno;
    int cursorpos;
    char *context;
};
struct pg_raw_tree {
    List *tree;
    char *stderr_buffer;
    struct pg_error *error;
};
struct pg_raw_tree pg_query_raw_parse(const char *input);
MemoryContext pg_query_enter_memory_context(void);
void pg_query_exit_memory_context(MemoryContext ctx);
void pg_query_free_error(struct pg_error *error);

#define LIST_COUNT(l) ((l) ? (uint32_t)(l)->length : 0U)
#define LIST_AT(l, i) ((void *)(l)->elements[i].ptr_value)

/* ---- tokens ---- */

struct token {
    size_t start, size;
    char first; /* 'a' a word or a number, 'q' anything quoted, else the character */
};

struct scan {
    const uint8_t *text;
    size_t size, next;
};

static bool is_word(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c >= 0x80;
}

static void skip_quoted(struct scan *s, uint8_t quote, bool escapes)
{
    s->next++;
    while (s->next < s->size) {
        uint8_t c = s->text[s->next++];
        if (escapes && c == '\\' && s->next < s->size)
            s->next++;
        else if (c == quote) {
            if (s->next >= s->size || s->text[s->next] != quote)
                return;
            s->next++;
        }
    }
}

static bool skip_dollar(struct scan *s)
{
    size_t end = s->next + 1;
    if (end < s->size && s->text[end] >= '0' && s->text[end] <= '9')
        return false;
    while (end < s->size && is_word(s->text[end]))
        end++;
    if (end >= s->size || s->text[end] != '$')
        return false;
    size_t tag = end + 1 - s->next;
    const uint8_t *close = memmem(s->text + end + 1, s->size - end - 1, s->text + s->next, tag);
    s->next = close ? (size_t)(close - s->text) + tag : s->size;
    return true;
}

static void skip_comment(struct scan *s)
{
    uint32_t level = 0;
    do {
        bool pair = s->next + 1 < s->size;
        if (pair && s->text[s->next] == '/' && s->text[s->next + 1] == '*') {
            level++;
            s->next += 2;
        } else if (pair && s->text[s->next] == '*' && s->text[s->next + 1] == '/') {
            level--;
            s->next += 2;
        } else {
            s->next++;
        }
    } while (level > 0 && s->next < s->size);
}

static bool next_token(struct scan *s, struct token *out)
{
    while (s->next < s->size) {
        size_t start = s->next;
        uint8_t c = s->text[start];
        uint8_t after = start + 1 < s->size ? s->text[start + 1] : 0;
        char first = (char)c;
        if (c == ' ' || (c >= '\t' && c <= '\r')) {
            s->next++;
            continue;
        }
        if (c == '-' && after == '-') {
            while (s->next < s->size && s->text[s->next] != '\n' && s->text[s->next] != '\r')
                s->next++;
            continue;
        }
        if (c == '/' && after == '*') {
            skip_comment(s);
            continue;
        }
        if (c == '\'' || c == '"') {
            skip_quoted(s, c, false);
            first = 'q';
        } else if ((c == 'e' || c == 'E') && after == '\'') {
            s->next++;
            skip_quoted(s, '\'', true);
            first = 'q';
        } else if (is_word(c)) {
            while (s->next < s->size && (is_word(s->text[s->next]) || s->text[s->next] == '$'))
                s->next++;
            first = 'a';
        } else if (c == '$' && skip_dollar(s)) {
            first = 'q';
        } else {
            s->next++;
        }
        *out = (struct token){start, s->next - start, first};
        return true;
    }
    return false;
}

static bool token_is(const struct scan *s, const struct token *t, const char *word)
{
    return t->first == 'a' && tl_text_eq_nocase(tl_slice_of(s->text + t->start, t->size), word);
}

static uint32_t count_chars(const uint8_t *text, size_t size)
{
    uint32_t n = 0;
    for (size_t i = 0; i < size; i++)
        n += (text[i] & 0xC0) != 0x80;
    return n;
}

/* ---- the text as a whole ---- */

struct split {
    const char *sql; /* NUL-terminated copy */
    struct tl_slice given;
    struct tl_arena *arena;
    struct tl_status *st;
    struct tl_utility *out;
    uint32_t count;
};

static enum tl_code fail_at(struct split *s, enum tl_code code, const char *state, size_t byte,
                            const char *text)
{
    TL_FAIL(s->st, code, "%s", text);
    return tl_status_sql(s->st, state,
                         (int32_t)count_chars(s->given.data, byte) + (byte < s->given.size));
}

/* Size, encoding and nesting, before the grammar may see it. *plain: one statement, a query. */
static enum tl_code check_shape(struct split *s, bool *plain)
{
    struct scan l = {s->given.data, s->given.size, 0};
    size_t valid = tl_utf8_valid_size(s->given, false);
    if (valid < s->given.size)
        return fail_at(s, TL_INVALID, "22021", valid, "the statement is not valid UTF-8");
    struct token t;
    uint32_t tokens = 0, brackets = 0, semicolons = 0;
    bool after = false, query = false;
    while (next_token(&l, &t)) {
        if (tokens == 0)
            query = t.first == '(' || token_is(&l, &t, "select") || token_is(&l, &t, "with") ||
                    token_is(&l, &t, "values") || token_is(&l, &t, "insert");
        if (++tokens > TL_SQL_TOKENS_MAX)
            return fail_at(s, TL_LIMIT, "54000", t.start, "the statement has too many tokens");
        after = after || (semicolons > 0 && t.first != ';');
        semicolons += t.first == ';';
        if (t.first == '(' || t.first == '[') {
            if (++brackets > TL_SQL_BRACKETS_MAX)
                return fail_at(s, TL_LIMIT, "54001", t.start,
                               "the statement nests too many brackets");
        } else if ((t.first == ')' || t.first == ']') && brackets > 0) {
            brackets--;
        }
    }
    *plain = query && !after;
    return TL_OK;
}

static const char *copy(struct split *s, const char *text)
{
    return text ? tl_arena_copy(s->arena, text, strlen(text), s->st) : NULL;
}

/* The first token `word` of the statement outside of brackets. */
static bool find_word(const struct tl_utility *u, const char *word, size_t from, struct token *out)
{
    struct scan l = {u->text.data, u->text.size, from};
    uint32_t depth = 0;
    while (next_token(&l, out)) {
        if (out->first == '(' || out->first == '[')
            depth++;
        else if (out->first == ')' || out->first == ']')
            depth -= depth > 0;
        else if (depth == 0 && token_is(&l, out, word))
            return true;
    }
    return false;
}

static void set_query(struct split *s, struct tl_utility *u, size_t start, size_t end)
{
    while (start < end && (u->text.data[start] == ' ' ||
                           (u->text.data[start] >= '\t' && u->text.data[start] <= '\r')))
        start++;
    u->query = tl_slice_of(u->text.data + start, end - start);
    u->query_chars = count_chars(s->given.data, (size_t)(u->query.data - s->given.data));
}

static enum tl_code refuse(struct split *s, struct tl_utility *u, const char *what)
{
    TL_FAIL(s->st, TL_UNSUPPORTED, "%s is not supported", what);
    return tl_status_sql(s->st, "0A000", (int32_t)u->chars + 1);
}

/* ---- SET ---- */

static const char *const_text(struct split *s, const Node *n)
{
    if (nodeTag(n) == T_TypeCast)
        n = ((const TypeCast *)n)->arg;
    if (nodeTag(n) != T_A_Const || ((const A_Const *)n)->isnull)
        return NULL;
    const A_Const *k = (const A_Const *)n;
    char number[TL_INT64_TEXT_MAX];
    switch (nodeTag(&k->val.node)) {
    case T_Integer:
        (void)tl_print_int64(k->val.ival.ival, number);
        return copy(s, number);
    case T_Float:
        return copy(s, k->val.fval.fval);
    case T_String:
        return copy(s, k->val.sval.sval);
    case T_Boolean:
        return k->val.boolval.boolval ? "true" : "false";
    default:
        return NULL;
    }
}

static enum tl_code conv_set(struct split *s, const VariableSetStmt *v, struct tl_utility *u)
{
    u->local = v->is_local;
    u->name = copy(s, v->name);
    if (v->kind == VAR_SET_MULTI) {
        u->kind = TL_UTILITY_SET_NOTHING;
        return s->st->code;
    }
    u->kind = v->kind == VAR_RESET || v->kind == VAR_RESET_ALL ? TL_UTILITY_RESET : TL_UTILITY_SET;
    if (v->kind == VAR_SET_CURRENT)
        return refuse(s, u, "SET FROM CURRENT");
    if (v->kind == VAR_RESET_ALL)
        u->name = NULL;
    if (v->kind != VAR_SET_VALUE)
        return s->st->code;
    struct tl_buffer joined;
    tl_buffer_init(&joined, "value of a setting", 1 << 16);
    for (uint32_t i = 0; i < LIST_COUNT(v->args); i++) {
        const char *text = const_text(s, LIST_AT(v->args, i));
        if (!text) {
            tl_buffer_deinit(&joined);
            return s->st->code ? s->st->code : refuse(s, u, "this value of a setting");
        }
        tl_buffer_printf(&joined, "%s%s", i ? ", " : "", text);
    }
    if (tl_buffer_check(&joined, s->st) == TL_OK)
        u->value = tl_arena_copy(s->arena, joined.data ? (const char *)joined.data : "",
                                 joined.size, s->st);
    tl_buffer_deinit(&joined);
    return s->st->code;
}

/* ---- COPY ---- */

static bool one_byte(const DefElem *d, char *out)
{
    if (!d->arg || nodeTag(d->arg) != T_String)
        return false;
    const char *v = ((const String *)d->arg)->sval;
    if (strlen(v) != 1 || v[0] == '\n' || v[0] == '\r' || (uint8_t)v[0] >= 0x80)
        return false;
    *out = v[0];
    return true;
}

static bool truth(const DefElem *d)
{
    if (!d->arg)
        return true;
    if (nodeTag(d->arg) == T_Boolean)
        return ((const Boolean *)d->arg)->boolval;
    if (nodeTag(d->arg) == T_Integer)
        return ((const Integer *)d->arg)->ival != 0;
    bool value = true;
    struct tl_status ignored = TL_STATUS_INIT;
    if (nodeTag(d->arg) == T_String)
        TL_IGNORE(tl_parse_bool(tl_slice_str(((const String *)d->arg)->sval), &value, &ignored));
    return value;
}

static enum tl_code bad_copy(struct split *s, struct tl_utility *u, const DefElem *d,
                             const char *text)
{
    TL_FAIL(s->st, TL_INVALID, "COPY %s %s", d->defname, text);
    return tl_status_sql(s->st, "22023", (int32_t)u->chars + 1);
}

static enum tl_code conv_copy_option(struct split *s, const DefElem *d, struct tl_utility *u,
                                     bool *format_seen)
{
    struct tl_utility_copy *c = u->copy;
    const char *text = d->arg && nodeTag(d->arg) == T_String ? ((const String *)d->arg)->sval : "";
    if (strcmp(d->defname, "format") == 0) {
        if (*format_seen)
            return bad_copy(s, u, d, "is given twice");
        *format_seen = true;
        if (strcmp(text, "binary") == 0)
            return refuse(s, u, "COPY in binary format");
        if (strcmp(text, "csv") != 0 && strcmp(text, "text") != 0)
            return bad_copy(s, u, d, "is text or csv");
        c->csv = strcmp(text, "csv") == 0;
    } else if (strcmp(d->defname, "header") == 0) {
        c->header = truth(d);
    } else if (strcmp(d->defname, "delimiter") == 0) {
        if (!one_byte(d, &c->delimiter))
            return bad_copy(s, u, d, "must be a single one-byte character");
    } else if (strcmp(d->defname, "quote") == 0) {
        if (!one_byte(d, &c->quote))
            return bad_copy(s, u, d, "must be a single one-byte character");
    } else if (strcmp(d->defname, "escape") == 0) {
        if (!one_byte(d, &c->escape))
            return bad_copy(s, u, d, "must be a single one-byte character");
    } else if (strcmp(d->defname, "null") == 0) {
        if (strpbrk(text, "\r\n"))
            return bad_copy(s, u, d, "cannot hold a newline or carriage return");
        c->null = copy(s, text);
    } else if (strcmp(d->defname, "force_quote") == 0) {
        if (d->arg && nodeTag(d->arg) == T_List)
            return refuse(s, u, "COPY FORCE_QUOTE of single columns");
        c->force_all = true;
    } else if (strcmp(d->defname, "encoding") == 0) {
        if (!tl_text_eq_nocase(tl_slice_str(text), "utf8") &&
            !tl_text_eq_nocase(tl_slice_str(text), "utf-8"))
            return refuse(s, u, "COPY in an encoding other than UTF8");
    } else if (strcmp(d->defname, "freeze") != 0) {
        TL_FAIL(s->st, TL_UNSUPPORTED, "COPY option %.40s is not supported", d->defname);
        return tl_status_sql(s->st, "0A000", (int32_t)u->chars + 1);
    }
    return s->st->code;
}

static enum tl_code conv_copy(struct split *s, const CopyStmt *v, struct tl_utility *u)
{
    u->kind = TL_UTILITY_COPY;
    struct tl_utility_copy *c = u->copy = tl_arena_calloc(s->arena, 1, sizeof(*c), s->st);
    if (!c)
        return s->st->code;
    if (v->is_program || v->filename)
        return refuse(s, u, "COPY with a file or a program of the server");
    if (v->whereClause)
        return refuse(s, u, "COPY FROM … WHERE");
    c->from = v->is_from;
    bool format_seen = false;
    for (uint32_t i = 0; i < LIST_COUNT(v->options); i++)
        if (conv_copy_option(s, LIST_AT(v->options, i), u, &format_seen))
            return s->st->code;
    if (c->delimiter == 0)
        c->delimiter = c->csv ? ',' : '\t';
    if (c->quote == 0)
        c->quote = '"';
    if (c->escape == 0)
        c->escape = c->quote;
    if (!c->null)
        c->null = c->csv ? "" : "\\N";
    if (c->delimiter == c->quote && c->csv)
        return refuse(s, u, "COPY with one character as delimiter and quote");
    if (!c->csv && (c->delimiter == '\\' ||
                    strchr("abcdefghijklmnopqrstuvwxyz0123456789.", c->delimiter) != NULL))
        return refuse(s, u, "COPY with this delimiter");
    if (v->relation) {
        const char *schema = v->relation->schemaname;
        if (schema && strcmp(schema, "public") != 0)
            return refuse(s, u, "COPY of another schema's table");
        c->table = copy(s, v->relation->relname);
        c->column_count = LIST_COUNT(v->attlist);
        c->columns = tl_arena_calloc(s->arena, c->column_count + 1, sizeof(*c->columns), s->st);
        for (uint32_t i = 0; c->columns && i < c->column_count; i++)
            c->columns[i] = copy(s, ((const String *)LIST_AT(v->attlist, i))->sval);
        return s->st->code;
    }
    /* COPY ( query ) TO: the brackets are there, or the grammar would have refused. */
    struct scan l = {u->text.data, u->text.size, 0};
    struct token t;
    size_t open = 0, close = 0;
    uint32_t depth = 0;
    while (close == 0 && next_token(&l, &t)) {
        if (t.first == '(' || t.first == '[') {
            if (depth++ == 0 && open == 0)
                open = t.start + 1;
        } else if ((t.first == ')' || t.first == ']') && depth > 0 && --depth == 0) {
            close = t.start;
        }
    }
    tl_assert(open > 0 && close >= open);
    set_query(s, u, open, close);
    return s->st->code;
}

/* ---- the others ---- */

static enum tl_code conv_transaction(struct split *s, const TransactionStmt *v,
                                     struct tl_utility *u)
{
    u->name = copy(s, v->savepoint_name);
    u->chain = v->chain;
    switch (v->kind) {
    case TRANS_STMT_BEGIN:
    case TRANS_STMT_START:
        u->kind = TL_UTILITY_BEGIN;
        break;
    case TRANS_STMT_COMMIT:
        u->kind = TL_UTILITY_COMMIT;
        break;
    case TRANS_STMT_ROLLBACK:
        u->kind = TL_UTILITY_ROLLBACK;
        break;
    case TRANS_STMT_SAVEPOINT:
        u->kind = TL_UTILITY_SAVEPOINT;
        break;
    case TRANS_STMT_RELEASE:
        u->kind = TL_UTILITY_RELEASE;
        break;
    case TRANS_STMT_ROLLBACK_TO:
        u->kind = TL_UTILITY_ROLLBACK_TO;
        break;
    default:
        return refuse(s, u, "two-phase commit");
    }
    return s->st->code;
}

static enum tl_code conv_declare(struct split *s, const DeclareCursorStmt *v, struct tl_utility *u)
{
    struct token t;
    u->kind = TL_UTILITY_DECLARE;
    u->name = copy(s, v->portalname);
    u->hold = v->options & CURSOR_OPT_HOLD;
    u->binary = v->options & CURSOR_OPT_BINARY;
    if (v->options & CURSOR_OPT_SCROLL)
        return refuse(s, u, "a SCROLL cursor");
    size_t from = 0;
    if (find_word(u, "cursor", 0, &t))
        from = t.start + t.size;
    if (!find_word(u, "for", from, &t))
        return refuse(s, u, "this form of DECLARE");
    set_query(s, u, t.start + t.size, u->text.size);
    return s->st->code;
}

static enum tl_code conv_fetch(struct split *s, const FetchStmt *v, struct tl_utility *u)
{
    u->kind = TL_UTILITY_FETCH;
    u->name = copy(s, v->portalname);
    u->move = v->ismove;
    u->count = v->howMany == FETCH_ALL ? INT64_MAX : v->howMany;
    bool forward = v->direction == FETCH_FORWARD && u->count >= 0;
    /* FETCH RELATIVE 1 and FETCH BACKWARD -n are forward, too. */
    if (v->direction == FETCH_RELATIVE && u->count == 1)
        forward = true;
    if (v->direction == FETCH_BACKWARD && u->count <= 0 && u->count > INT64_MIN) {
        u->count = -u->count;
        forward = true;
    }
    if (!forward) {
        TL_FAIL(s->st, TL_UNSUPPORTED, "cursor can only scan forward");
        return tl_status_sql(s->st, "55000", 0);
    }
    return s->st->code;
}

static enum tl_code conv_prepare(struct split *s, const PrepareStmt *v, struct tl_utility *u)
{
    struct token t;
    u->kind = TL_UTILITY_PREPARE;
    u->name = copy(s, v->name);
    u->value_count = LIST_COUNT(v->argtypes);
    u->values = tl_arena_calloc(s->arena, u->value_count + 1, sizeof(*u->values), s->st);
    for (uint32_t i = 0; u->values && i < u->value_count; i++) {
        const TypeName *type = LIST_AT(v->argtypes, i);
        const List *names = type->names;
        if (LIST_COUNT(names) == 0 || type->arrayBounds)
            return refuse(s, u, "this type of a parameter");
        u->values[i] = copy(s, ((const String *)LIST_AT(names, LIST_COUNT(names) - 1))->sval);
    }
    if (!find_word(u, "as", 0, &t))
        return refuse(s, u, "this form of PREPARE");
    set_query(s, u, t.start + t.size, u->text.size);
    return s->st->code;
}

/* The texts between the commas of EXECUTE name (a, b). */
static enum tl_code conv_execute(struct split *s, const ExecuteStmt *v, struct tl_utility *u)
{
    u->kind = TL_UTILITY_EXECUTE;
    u->name = copy(s, v->name);
    u->value_count = LIST_COUNT(v->params);
    u->values = tl_arena_calloc(s->arena, u->value_count + 1, sizeof(*u->values), s->st);
    if (!u->values || u->value_count == 0)
        return s->st->code;
    struct scan l = {u->text.data, u->text.size, 0};
    struct token t;
    uint32_t depth = 0, found = 0;
    size_t start = 0;
    while (found < u->value_count && next_token(&l, &t)) {
        bool opens = t.first == '(' || t.first == '[', closes = t.first == ')' || t.first == ']';
        if (opens && depth++ == 0) {
            start = t.start + 1;
        } else if ((closes && depth > 0 && --depth == 0) || (t.first == ',' && depth == 1)) {
            u->values[found++] =
                tl_arena_copy(s->arena, u->text.data + start, t.start - start, s->st);
            start = t.start + 1;
        }
    }
    if (found != u->value_count)
        return refuse(s, u, "this form of EXECUTE");
    return s->st->code;
}

static enum tl_code conv_statement(struct split *s, const Node *n, struct tl_utility *u)
{
    switch (nodeTag(n)) {
    case T_TransactionStmt:
        return conv_transaction(s, (const TransactionStmt *)n, u);
    case T_VariableSetStmt:
        return conv_set(s, (const VariableSetStmt *)n, u);
    case T_VariableShowStmt:
        u->name = copy(s, ((const VariableShowStmt *)n)->name);
        if (u->name && strcmp(u->name, "tables") != 0) /* the engine's own */
            u->kind = TL_UTILITY_SHOW;
        return s->st->code;
    case T_DeclareCursorStmt:
        return conv_declare(s, (const DeclareCursorStmt *)n, u);
    case T_FetchStmt:
        return conv_fetch(s, (const FetchStmt *)n, u);
    case T_ClosePortalStmt:
        u->kind = TL_UTILITY_CLOSE;
        u->name = copy(s, ((const ClosePortalStmt *)n)->portalname);
        return s->st->code;
    case T_PrepareStmt:
        return conv_prepare(s, (const PrepareStmt *)n, u);
    case T_ExecuteStmt:
        return conv_execute(s, (const ExecuteStmt *)n, u);
    case T_DeallocateStmt:
        u->kind = TL_UTILITY_DEALLOCATE;
        u->name = copy(s, ((const DeallocateStmt *)n)->name);
        return s->st->code;
    case T_DiscardStmt:
        u->kind = TL_UTILITY_DISCARD;
        u->all = ((const DiscardStmt *)n)->target == DISCARD_ALL;
        return TL_OK;
    case T_CopyStmt:
        return conv_copy(s, (const CopyStmt *)n, u);
    case T_ListenStmt:
        u->kind = TL_UTILITY_LISTEN;
        u->name = copy(s, ((const ListenStmt *)n)->conditionname);
        return s->st->code;
    case T_UnlistenStmt:
        u->kind = TL_UTILITY_UNLISTEN;
        return TL_OK;
    case T_NotifyStmt:
        u->kind = TL_UTILITY_NOTIFY;
        u->name = copy(s, ((const NotifyStmt *)n)->conditionname);
        return s->st->code;
    case T_CreateStmt:
        if (((const CreateStmt *)n)->relation->relpersistence == 't')
            u->kind = TL_UTILITY_TEMP_TABLE;
        return TL_OK;
    case T_CreateTableAsStmt:
        if (((const CreateTableAsStmt *)n)->into->rel->relpersistence == 't')
            u->kind = TL_UTILITY_TEMP_TABLE;
        return TL_OK;
    default:
        return TL_OK;
    }
}

/* Without white space, comments in front and semicolons around it. */
static struct tl_slice trim(struct tl_slice text)
{
    struct scan l = {text.data, text.size, 0};
    struct token t;
    size_t start = text.size, end = text.size;
    while (next_token(&l, &t)) {
        if (start == text.size)
            start = t.start;
        if (t.first != ';')
            end = t.start + t.size;
    }
    return tl_slice_of(text.data + start, start < end ? end - start : 0);
}

static enum tl_code conv_all(struct split *s, const List *tree)
{
    s->count = LIST_COUNT(tree);
    if (s->count > TL_UTILITY_STATEMENTS_MAX)
        return fail_at(s, TL_LIMIT, "54000", 0, "more than 1024 statements in one text");
    s->out = tl_arena_calloc(s->arena, s->count + 1, sizeof(*s->out), s->st);
    if (!s->out)
        return s->st->code;
    for (uint32_t i = 0; i < s->count; i++) {
        const RawStmt *raw = LIST_AT(tree, i);
        struct tl_utility *u = &s->out[i];
        size_t start = raw->stmt_location > 0 ? (size_t)raw->stmt_location : 0;
        size_t size = raw->stmt_len > 0 ? (size_t)raw->stmt_len : s->given.size - start;
        tl_assert(start <= s->given.size && size <= s->given.size - start);
        u->text = trim(tl_slice_of(s->given.data + start, size));
        u->chars = count_chars(s->given.data, (size_t)(u->text.data - s->given.data));
        if (conv_statement(s, raw->stmt, u))
            return s->st->code;
    }
    return TL_OK;
}

enum tl_code tl_utility_split(struct tl_slice sql, struct tl_arena *arena, struct tl_utility **out,
                              uint32_t *out_count, struct tl_status *st)
{
    struct split s = {.given = sql, .arena = arena, .st = st};
    if (sql.size > TL_SQL_BYTES_MAX) {
        TL_FAIL(st, TL_LIMIT, "the statement has %zu bytes, the limit is %d", sql.size,
                TL_SQL_BYTES_MAX);
        return tl_status_sql(st, "54000", 0);
    }
    bool plain = false;
    if (check_shape(&s, &plain))
        return st->code;
    if (plain) {
        struct tl_utility *u = tl_arena_calloc(arena, 1, sizeof(*u), st);
        if (!u)
            return st->code;
        u->text = trim(sql);
        u->chars = count_chars(sql.data, (size_t)(u->text.data - sql.data));
        *out = u;
        *out_count = 1;
        return TL_OK;
    }
    s.sql = tl_arena_copy(arena, sql.data ? (const void *)sql.data : "", sql.size, st);
    if (!s.sql)
        return st->code;
    MemoryContext ctx = pg_query_enter_memory_context();
    struct pg_raw_tree raw = pg_query_raw_parse(s.sql);
    if (raw.error) {
        TL_FAIL(st, TL_INVALID, "%s", raw.error->message ? raw.error->message : "syntax error");
        TL_IGNORE(tl_status_sql(st, "42601", raw.error->cursorpos > 0 ? raw.error->cursorpos : 0));
        pg_query_free_error(raw.error);
    } else {
        TL_IGNORE(conv_all(&s, raw.tree));
    }
    free(raw.stderr_buffer);
    pg_query_exit_memory_context(ctx);
    if (st->code)
        return st->code;
    *out = s.out;
    *out_count = s.count;
    return TL_OK;
}

const char *tl_utility_quote(const char *name, struct tl_arena *arena, struct tl_status *st)
{
    size_t size = strlen(name), at = 0;
    char *out = tl_arena_alloc(arena, 2 * size + 3, st);
    if (!out)
        return NULL;
    out[at++] = '"';
    for (size_t i = 0; i < size; i++) {
        if (name[i] == '"')
            out[at++] = '"';
        out[at++] = name[i];
    }
    out[at++] = '"';
    out[at] = '\0';
    return out;
}
