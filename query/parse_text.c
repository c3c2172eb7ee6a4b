/*
 * query/parse_text.c: a statement's text before the grammar sees it: UTF-8, tokens, nesting; and
 * where a byte of it stands in characters.
 */
#include "query/parse_int.h"

/* ---- a light lexer: enough to count tokens, see nesting and find a keyword ---- */

struct lexer {
    const uint8_t *text;
    size_t size;
    size_t next;
};

struct token {
    size_t start;
    size_t size;
    char first; /* 'a' a word or a number, 'q' anything quoted, else the character */
};

static bool is_word(uint8_t ch)
{
    return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') ||
           ch == '_' || ch >= 0x80;
}

static void skip_quoted(struct lexer *l, uint8_t quote, bool escapes)
{
    l->next++;
    while (l->next < l->size) {
        uint8_t ch = l->text[l->next++];
        if (escapes && ch == '\\' && l->next < l->size)
            l->next++;
        else if (ch == quote) {
            if (l->next >= l->size || l->text[l->next] != quote)
                return;
            l->next++;
        }
    }
}

/* $tag$ … $tag$; leaves `next` alone and answers false when there is no such quote here. */
static bool skip_dollar(struct lexer *l)
{
    size_t tag_end = l->next + 1;
    if (tag_end < l->size && l->text[tag_end] >= '0' && l->text[tag_end] <= '9')
        return false;
    while (tag_end < l->size && is_word(l->text[tag_end]))
        tag_end++;
    if (tag_end >= l->size || l->text[tag_end] != '$')
        return false;
    size_t tag_size = tag_end + 1 - l->next;
    const uint8_t *end =
        memmem(l->text + tag_end + 1, l->size - tag_end - 1, l->text + l->next, tag_size);
    l->next = end ? (size_t)(end - l->text) + tag_size : l->size;
    return true;
}

static void skip_comment(struct lexer *l)
{
    uint32_t level = 0;
    do {
        if (l->next + 1 < l->size && l->text[l->next] == '/' && l->text[l->next + 1] == '*') {
            level++;
            l->next += 2;
        } else if (l->next + 1 < l->size && l->text[l->next] == '*' &&
                   l->text[l->next + 1] == '/') {
            level--;
            l->next += 2;
        } else {
            l->next++;
        }
    } while (level > 0 && l->next < l->size);
}

static bool next_token(struct lexer *l, struct token *out)
{
    while (l->next < l->size) {
        size_t start = l->next;
        uint8_t ch = l->text[start];
        uint8_t after = start + 1 < l->size ? l->text[start + 1] : 0;
        char first = (char)ch;
        if (ch == ' ' || (ch >= '\t' && ch <= '\r')) {
            l->next++;
            continue;
        } else if (ch == '-' && after == '-') {
            while (l->next < l->size && l->text[l->next] != '\n' && l->text[l->next] != '\r')
                l->next++;
            continue;
        } else if (ch == '/' && after == '*') {
            skip_comment(l);
            continue;
        } else if (ch == '\'' || ch == '"') {
            skip_quoted(l, ch, false);
            first = 'q';
        } else if ((ch == 'e' || ch == 'E') && after == '\'') {
            l->next++;
            skip_quoted(l, '\'', true);
            first = 'q';
        } else if (is_word(ch)) {
            while (l->next < l->size && (is_word(l->text[l->next]) || l->text[l->next] == '$'))
                l->next++;
            first = 'a';
        } else if (ch == '$' && skip_dollar(l)) {
            first = 'q';
        } else {
            l->next++;
        }
        *out = (struct token){.start = start, .size = l->next - start, .first = first};
        return true;
    }
    return false;
}

/* Length of the well-formed UTF-8 sequence at p, or 0. NUL is refused. */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    uint8_t c = p[0];
    if (c < 0x80)
        return c ? 1 : 0;
    size_t size = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    if (c < 0xC2 || c > 0xF4 || left < size)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    if ((c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] > 0x9F) || (c == 0xF0 && p[1] < 0x90) ||
        (c == 0xF4 && p[1] > 0x8F))
        return 0;
    return size;
}

/* UTF-8, and the table that turns byte offsets into characters. */
enum tl_code tl__check_text(struct conv *c)
{
    const uint8_t *p = (const uint8_t *)c->sql;
    size_t ascii = 0;
    while (ascii < c->sql_size && p[ascii] && p[ascii] < 0x80)
        ascii++;
    if (ascii == c->sql_size)
        return TL_OK;
    uint32_t *points =
        tl_arena_calloc(c->arena, c->sql_size / CHECKPOINT_BYTES + 1, sizeof(*points), c->st);
    if (!points)
        return c->st->code;
    uint32_t chars = 0;
    for (size_t i = 0; i < c->sql_size;) {
        size_t size = utf8_length(p + i, c->sql_size - i);
        if (size == 0)
            return FAIL_AT(c, TL_INVALID, "22021", (int32_t)chars + 1,
                           "the statement is not valid UTF-8 (byte %u)", (unsigned)p[i]);
        /* A checkpoint within this character counts it as not yet passed. */
        for (size_t k = i; k < i + size; k++)
            if (k % CHECKPOINT_BYTES == 0)
                points[k / CHECKPOINT_BYTES] = chars + (k > i);
        chars++;
        i += size;
    }
    c->checkpoints = points;
    return TL_OK;
}

/* Byte offset (from 0, -1 unknown) -> character (from 1, 0 unknown). */
int32_t tl__position_of(const struct conv *c, int location)
{
    if (location < 0 || (size_t)location > c->sql_size)
        return 0;
    if (!c->checkpoints)
        return location + 1;
    size_t point = (size_t)location / CHECKPOINT_BYTES;
    uint32_t chars = c->checkpoints[point];
    for (size_t i = point * CHECKPOINT_BYTES; i < (size_t)location; i++) {
        /* Continuation bytes before the first lead byte were counted by the checkpoint. */
        if (((uint8_t)c->sql[i] & 0xC0) != 0x80)
            chars++;
    }
    return (int32_t)chars + 1;
}

enum tl_code tl__check_shape(struct conv *c)
{
    struct lexer l = {(const uint8_t *)c->sql, c->sql_size, 0};
    struct token t;
    uint32_t tokens = 0, brackets = 0;
    while (next_token(&l, &t)) {
        if (++tokens > TL_SQL_TOKENS_MAX)
            return FAIL_AT(c, TL_LIMIT, "54000", tl__position_of(c, (int)t.start),
                           "the statement has more than %d tokens", TL_SQL_TOKENS_MAX);
        if (t.first == '(' || t.first == '[') {
            if (++brackets > TL_SQL_BRACKETS_MAX)
                return FAIL_AT(c, TL_LIMIT, "54001", tl__position_of(c, (int)t.start),
                               "the statement nests more than %d brackets", TL_SQL_BRACKETS_MAX);
        } else if ((t.first == ')' || t.first == ']') && brackets > 0) {
            brackets--;
        }
    }
    return TL_OK;
}

/* Where the keyword stands first at or after byte `from`: for refusing what has no location. */
int32_t tl__keyword_position(const struct conv *c, const char *word, int from)
{
    struct lexer l = {(const uint8_t *)c->sql, c->sql_size, from > 0 ? (size_t)from : 0};
    struct token t;
    size_t size = strlen(word);
    while (next_token(&l, &t))
        if (t.first == 'a' && t.size == size && strncasecmp(c->sql + t.start, word, size) == 0)
            return tl__position_of(c, (int)t.start);
    return 0;
}

int32_t tl__first_token_position(const struct conv *c, int from)
{
    struct lexer l = {(const uint8_t *)c->sql, c->sql_size, from > 0 ? (size_t)from : 0};
    struct token t;
    return next_token(&l, &t) ? tl__position_of(c, (int)t.start) : 0;
}
