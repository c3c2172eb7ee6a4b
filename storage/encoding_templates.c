/*
 * storage/encoding_templates.c: finding the templates of a page of strings, and writing it.
 *
 * Each string is cut into tokens: runs of letters are words, runs of digits numbers, long runs of
 * hexadecimal digits and UUIDs digits of their own, all else is the template itself. Strings of
 * equal templates are gathered; templates of too few strings give them to the template that is one
 * slot. A word slot with one word becomes part of its template; one with too many becomes a slot of
 * any bytes. Two passes of tokens, no state beside the page: same strings, same bytes.
 *
 * Read: Rodrigues et al., "CLP: Efficient and Scalable Search on Compressed Text Logs".
 */
#include "storage/encoding_templates_int.h"

#include <stdlib.h>
#include <zstd.h>

#include "base/assert.h"
#include "base/hash.h"

enum {
    STRING_BYTES_MAX = 1024, /* longer strings are not cut */
    SEEN_MAX = 1024,         /* distinct templates that are counted */
    SEEN_SLOTS = 4096,
    KEY_BYTES_MAX = 1 << 17,
    STRINGS_MIN = 4, /* fewer are not worth a template */
    HEX_RUN_MIN = 8, /* shorter runs are words and numbers */
    WORD_SLOTS = 32768,
    TEXT_LEVEL_MIN = 3
};

_Static_assert(WORD_SLOTS >= 4 * TL__WORDS_MAX, "the hash table of words stays mostly empty");

struct token {
    uint8_t kind; /* 0: part of the template */
    uint8_t parameter;
    uint16_t begin, size;
};

/* A template while strings are counted: its text in `keys`. */
struct seen {
    uint32_t begin, size, strings;
    uint32_t id; /* in the page; UINT32_MAX: not kept */
};

struct slot {
    uint8_t kind, parameter;
    uint32_t words;      /* WORD: the vocabulary's size */
    uint32_t first;      /* of its values in `values` */
    uint32_t text_at;    /* where the marker stands in the template's text */
    uint32_t vocabulary; /* WORD: where its words begin in `order` */
};

struct template
{
    const uint8_t *text;
    uint32_t size, strings, slots, filled;
    struct slot slot[TL__SLOTS_MAX];
};

struct tl__template_space {
    uint8_t classes[256]; /* of bytes */
    uint8_t keys[KEY_BYTES_MAX];
    struct seen seen[SEEN_MAX];
    uint16_t table[SEEN_SLOTS];      /* seen + 1 */
    uint16_t of[TL_ENCODE_ROWS_MAX]; /* per string: seen, or SEEN_MAX */
    struct template templates[TL__TEMPLATES_MAX];
    uint64_t ids[TL_ENCODE_ROWS_MAX];
    uint16_t words[WORD_SLOTS]; /* word + 1 */
    uint32_t order[TL__WORDS_MAX], rank[TL__WORDS_MAX];
    uint64_t word_at[TL__WORDS_MAX];
    uint64_t *values; /* all slots of all templates */
    size_t room;
    struct tl_buffer text, streams, frame;
};

void tl__template_space_free(struct tl__template_space *space)
{
    if (!space)
        return;
    free(space->values);
    tl_buffer_deinit(&space->text);
    tl_buffer_deinit(&space->streams);
    tl_buffer_deinit(&space->frame);
    free(space);
}

enum { IS_DIGIT = 1, IS_LETTER = 2, IS_LOWER_HEX = 4, IS_UPPER_HEX = 8 };

static uint32_t class_of_byte(uint32_t c)
{
    if (c >= '0' && c <= '9')
        return IS_DIGIT | IS_LOWER_HEX | IS_UPPER_HEX;
    if (c >= 'a' && c <= 'z')
        return IS_LETTER | (c <= 'f' ? IS_LOWER_HEX : 0U);
    if (c >= 'A' && c <= 'Z')
        return IS_LETTER | (c <= 'F' ? IS_UPPER_HEX : 0U);
    return c >= 0x80 ? IS_LETTER : 0;
}

static struct tl__template_space *space_of(struct tl_encoder *e)
{
    struct tl__template_space **place = tl__encoder_templates(e);
    if (!*place) {
        *place = calloc(1, sizeof(**place));
        if (!*place)
            return NULL;
        for (uint32_t c = 0; c < 256; c++)
            (*place)->classes[c] = (uint8_t)class_of_byte(c);
        tl_buffer_init(&(*place)->text, "text of templates", 2 * TL_STRINGS_BYTES_MAX);
        tl_buffer_init(&(*place)->streams, "slots of templates", 8 * TL_STRINGS_BYTES_MAX);
        tl_buffer_init(&(*place)->frame, "frame of templates",
                       ZSTD_COMPRESSBOUND(2 * TL_STRINGS_BYTES_MAX));
    }
    return *place;
}

/* ---- Tokens ---- */

/* Classes that all of `n` bytes share, and in *any those that some have. */
static uint32_t classes_of(const uint8_t *classes, const uint8_t *s, size_t n, uint32_t *any)
{
    uint32_t all = UINT32_MAX;
    *any = 0;
    for (size_t i = 0; i < n; i++) {
        all &= classes[s[i]];
        *any |= classes[s[i]];
    }
    return all;
}

static bool is_uuid(const uint8_t *classes, const uint8_t *s, size_t n, uint32_t hex)
{
    if (n < 36)
        return false;
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? s[i] != '-' : !(classes[s[i]] & hex))
            return false;
    }
    return n == 36 || !(classes[s[36]] & (IS_DIGIT | IS_LETTER));
}

struct tokens {
    uint32_t count, slots;
    struct token of[2 * TL__SLOTS_MAX + 1];
};

static inline bool put_token(struct tokens *t, uint32_t kind, uint32_t parameter, size_t begin,
                             size_t size)
{
    if (kind && t->slots == TL__SLOTS_MAX)
        return false;
    struct token *last = t->count ? &t->of[t->count - 1] : NULL;
    if (!kind && last && !last->kind) {
        last->size = (uint16_t)(last->size + size);
        return true;
    }
    t->slots += kind != 0;
    t->of[t->count++] =
        (struct token){(uint8_t)kind, (uint8_t)parameter, (uint16_t)begin, (uint16_t)size};
    return true;
}

/* Digits in pieces of at most `most`. */
static bool put_pieces(struct tokens *t, uint32_t kind, size_t begin, size_t size, size_t most)
{
    while (size) {
        size_t n = size < most ? size : most;
        if (!put_token(t, kind, (uint32_t)n, begin, n))
            return false;
        begin += n;
        size -= n;
    }
    return true;
}

static bool put_digits(struct tokens *t, const uint8_t *s, size_t begin, size_t size)
{
    if (size <= TL__DIGITS_MAX && (size == 1 || s[begin] != '0'))
        return put_token(t, TL__SLOT_NUMBER, 0, begin, size);
    return put_pieces(t, TL__SLOT_DIGITS, begin, size, TL__DIGITS_MAX);
}

/* A run of letters and digits: words and numbers in turn. */
static bool put_run(const uint8_t *classes, struct tokens *t, const uint8_t *s, size_t begin,
                    size_t end)
{
    while (begin < end) {
        bool digit = classes[s[begin]] & IS_DIGIT;
        size_t i = begin + 1;
        while (i < end && ((classes[s[i]] & IS_DIGIT) != 0) == digit)
            i++;
        size_t size = i - begin;
        if (digit ? !put_digits(t, s, begin, size)
                  : size > TL__WORD_BYTES_MAX || !put_token(t, TL__SLOT_WORD, 0, begin, size))
            return false;
        begin = i;
    }
    return true;
}

/* False when the string is not to be cut. */
static bool tokenize(const uint8_t *classes, const uint8_t *s, size_t n, struct tokens *t)
{
    t->count = t->slots = 0;
    if (n > STRING_BYTES_MAX)
        return false;
    for (size_t i = 0; i < n;) {
        if (s[i] == 0)
            return false; /* marks slots */
        size_t end = i;
        while (end < n && (classes[s[end]] & (IS_DIGIT | IS_LETTER)))
            end++;
        if (end == i) {
            if (!put_token(t, 0, 0, i, 1))
                return false;
            i++;
            continue;
        }
        uint32_t any, all = classes_of(classes, s + i, end - i, &any);
        uint32_t hex = all & IS_LOWER_HEX ? IS_LOWER_HEX : all & IS_UPPER_HEX ? IS_UPPER_HEX : 0;
        uint32_t kind = hex == IS_UPPER_HEX ? TL__SLOT_HEX_UPPER : TL__SLOT_HEX;
        bool ok;
        if (end - i == 8 && (is_uuid(classes, s + i, n - i, IS_LOWER_HEX) ||
                             is_uuid(classes, s + i, n - i, IS_UPPER_HEX))) {
            static const uint8_t groups[] = {8, 4, 4, 4, 12};
            kind = is_uuid(classes, s + i, n - i, IS_LOWER_HEX) ? TL__SLOT_HEX : TL__SLOT_HEX_UPPER;
            ok = true;
            for (uint32_t g = 0; g < 5 && ok; g++) {
                ok = (g == 0 || put_token(t, 0, 0, i - 1, 1)) &&
                     put_token(t, kind, groups[g], i, groups[g]);
                i += groups[g] + 1U;
            }
            end = i - 1;
        } else if (hex && end - i >= HEX_RUN_MIN && (any & IS_LETTER) && (any & IS_DIGIT)) {
            ok = put_pieces(t, kind, i, end - i, TL__HEX_MAX);
        } else {
            ok = put_run(classes, t, s, i, end);
        }
        if (!ok)
            return false;
        i = end;
    }
    return true;
}

/* The template's text of tokens; 0 when there is no room. */
static size_t key_of(const uint8_t *s, const struct tokens *t, uint8_t *out, size_t room)
{
    size_t size = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct token *k = &t->of[i];
        size_t n = k->kind ? 3 : k->size;
        if (size + n > room || size + n > TL__TEMPLATE_BYTES_MAX)
            return 0;
        if (k->kind) {
            out[size] = 0;
            out[size + 1] = k->kind;
            out[size + 2] = k->parameter;
        } else {
            memcpy(out + size, s + k->begin, n);
        }
        size += n;
    }
    return size;
}

/* ---- First pass: which templates ---- */

/* Sets of[i] per string; returns how many templates were seen. */
static uint32_t find_templates(struct tl__template_space *p, const struct tl_slice *values,
                               uint32_t count)
{
    struct tokens t;
    uint32_t found = 0, used = 0;
    memset(p->table, 0, sizeof(p->table));
    for (uint32_t i = 0; i < count; i++) {
        p->of[i] = SEEN_MAX;
        if (values[i].size == 0 || !tokenize(p->classes, values[i].data, values[i].size, &t))
            continue;
        uint8_t *key = p->keys + used;
        size_t size = key_of(values[i].data, &t, key, KEY_BYTES_MAX - used);
        if (size == 0)
            continue;
        uint32_t at = (uint32_t)tl_hash64(key, size) & (SEEN_SLOTS - 1);
        for (; p->table[at]; at = (at + 1) & (SEEN_SLOTS - 1)) {
            const struct seen *s = &p->seen[p->table[at] - 1];
            if (s->size == size && memcmp(p->keys + s->begin, key, size) == 0)
                break;
        }
        if (!p->table[at]) {
            if (found == SEEN_MAX)
                continue;
            p->seen[found] = (struct seen){used, (uint32_t)size, 0, UINT32_MAX};
            p->table[at] = (uint16_t)++found;
            used += (uint32_t)size;
        }
        p->of[i] = (uint16_t)(p->table[at] - 1);
        p->seen[p->of[i]].strings++;
    }
    return found;
}

static void template_init(struct template *t, const uint8_t *text, uint32_t size)
{
    *t = (struct template){.text = text, .size = size};
    for (uint32_t i = 0; i < size; i++) {
        if (text[i])
            continue;
        t->slot[t->slots++] =
            (struct slot){.kind = text[i + 1], .parameter = text[i + 2], .text_at = i};
        i += 2;
    }
}

static const uint8_t LITERAL[3] = {0, TL__SLOT_LITERAL, 0};

/* Keeps the templates of enough strings, in order of first appearance; the literal one comes last
 * where a string needs it. Sets ids; returns the number of templates. */
static uint32_t keep_templates(struct tl__template_space *p, uint32_t found, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < found && kept < TL__TEMPLATES_MAX - 1; k++) {
        struct seen *s = &p->seen[k];
        if (s->strings < STRINGS_MIN || s->strings * 512 < count)
            continue;
        s->id = kept;
        template_init(&p->templates[kept++], p->keys + s->begin, s->size);
    }
    bool literal = false;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t id = p->of[i] == SEEN_MAX ? UINT32_MAX : p->seen[p->of[i]].id;
        literal |= id == UINT32_MAX;
        p->ids[i] = id == UINT32_MAX ? kept : id;
    }
    if (literal)
        template_init(&p->templates[kept++], LITERAL, sizeof(LITERAL));
    for (uint32_t i = 0; i < count; i++)
        p->templates[p->ids[i]].strings++;
    return kept;
}

/* ---- Second pass: the values of the slots ---- */

static uint64_t decimal_of(const uint8_t *s, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value = value * 10 + (uint64_t)(s[i] - '0');
    return value;
}

static uint64_t hex_of(const uint8_t *s, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t c = s[i];
        value = value << 4 | (c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    return value;
}

/* Words stand for now as where they lie in the text of all strings, and their size. */
enum { WORD_SIZE_BITS = 24 };

static bool fill_slots(struct tl__template_space *p, const struct tl_slice *values, uint32_t count,
                       const uint8_t *text, uint32_t templates)
{
    size_t total = 0;
    for (uint32_t k = 0; k < templates; k++)
        for (uint32_t s = 0; s < p->templates[k].slots; s++) {
            p->templates[k].slot[s].first = (uint32_t)total;
            total += p->templates[k].strings;
        }
    if (total > p->room) {
        uint64_t *more = realloc(p->values, total * sizeof(*more));
        if (!more)
            return false;
        p->values = more;
        p->room = total;
    }
    size_t offset = 0;
    for (uint32_t i = 0; i < count; offset += values[i].size, i++) {
        struct template *k = &p->templates[p->ids[i]];
        uint32_t at = k->filled++;
        if (k->slots == 1 && k->slot[0].kind == TL__SLOT_LITERAL) {
            p->values[k->slot[0].first + at] = (uint64_t)offset << WORD_SIZE_BITS | values[i].size;
            continue;
        }
        struct tokens t;
        bool cut = tokenize(p->classes, values[i].data, values[i].size, &t);
        tl_assert(cut && t.slots == k->slots);
        for (uint32_t j = 0, s = 0; j < t.count; j++) {
            const struct token *x = &t.of[j];
            const uint8_t *from = text + offset + x->begin;
            if (!x->kind)
                continue;
            uint64_t value = x->kind == TL__SLOT_WORD
                                 ? (uint64_t)(offset + x->begin) << WORD_SIZE_BITS | x->size
                             : x->kind == TL__SLOT_HEX || x->kind == TL__SLOT_HEX_UPPER
                                 ? hex_of(from, x->size)
                                 : decimal_of(from, x->size);
            p->values[k->slot[s++].first + at] = value;
        }
    }
    return true;
}

/* ---- Vocabularies ---- */

static struct tl_slice word_of(const uint8_t *text, uint64_t value)
{
    return tl_slice_of(text + (value >> WORD_SIZE_BITS), value & ((1U << WORD_SIZE_BITS) - 1));
}

static int compare_words(struct tl_slice a, struct tl_slice b)
{
    size_t n = a.size < b.size ? a.size : b.size;
    int order = memcmp(a.data, b.data, n);
    return order ? order : (a.size > b.size) - (a.size < b.size);
}

/* Heap sort: in place, and its order follows from the words alone. */
static void sort_words(const struct tl__template_space *p, const uint8_t *text, uint32_t *v,
                       uint32_t n)
{
    for (uint32_t start = n / 2, end = n; end > 1;) {
        if (start > 0) {
            start--;
        } else {
            end--;
            uint32_t swap = v[end];
            v[end] = v[0];
            v[0] = swap;
        }
        uint32_t root = start, value = v[root];
        for (uint32_t child; (child = 2 * root + 1) < end; root = child) {
            if (child + 1 < end && compare_words(word_of(text, p->word_at[v[child]]),
                                                 word_of(text, p->word_at[v[child + 1]])) < 0)
                child++;
            if (compare_words(word_of(text, p->word_at[value]),
                              word_of(text, p->word_at[v[child]])) >= 0)
                break;
            v[root] = v[child];
        }
        v[root] = value;
    }
}

/* The slot's values become codes of its vocabulary, which is sorted so that those of several slots
 * look alike to zstd, and which is appended to the text. Many words for few strings: the slot
 * becomes one of any bytes, and its values lengths. */
static void make_words(struct tl__template_space *p, const uint8_t *text, struct slot *slot,
                       uint32_t strings, bool *inlined)
{
    uint64_t *values = p->values + slot->first;
    uint32_t found = 0;
    *inlined = false;
    memset(p->words, 0, sizeof(p->words));
    uint32_t most = strings / 2 + 8 < TL__WORDS_MAX ? strings / 2 + 8 : TL__WORDS_MAX;
    uint32_t i = 0;
    for (; i < strings; i++) {
        struct tl_slice word = word_of(text, values[i]);
        uint32_t at = (uint32_t)tl_hash64(word.data, word.size) & (WORD_SLOTS - 1);
        while (p->words[at] && !tl_slice_eq(word_of(text, p->word_at[p->words[at] - 1]), word))
            at = (at + 1) & (WORD_SLOTS - 1);
        if (!p->words[at]) {
            if (found == most)
                break;
            p->word_at[found] = values[i];
            p->words[at] = (uint16_t)++found;
        }
    }
    if (i < strings) {
        slot->kind = TL__SLOT_LITERAL;
        return;
    }
    if (found == 1) {
        *inlined = true;
        slot->words = 1;
        return;
    }
    for (uint32_t k = 0; k < found; k++)
        p->order[k] = k;
    sort_words(p, text, p->order, found);
    tl_buffer_put_u16(&p->text, (uint16_t)found);
    for (uint32_t k = 0; k < found; k++) {
        p->rank[p->order[k]] = k;
        tl_buffer_put_u8(&p->text, (uint8_t)word_of(text, p->word_at[p->order[k]]).size);
    }
    for (uint32_t k = 0; k < found; k++) {
        struct tl_slice word = word_of(text, p->word_at[p->order[k]]);
        tl_buffer_put(&p->text, word.data, word.size);
    }
    for (i = 0; i < strings; i++) {
        struct tl_slice word = word_of(text, values[i]);
        uint32_t at = (uint32_t)tl_hash64(word.data, word.size) & (WORD_SLOTS - 1);
        while (!tl_slice_eq(word_of(text, p->word_at[p->words[at] - 1]), word))
            at = (at + 1) & (WORD_SLOTS - 1);
        values[i] = p->rank[p->words[at] - 1];
    }
}

/* ---- Writing ---- */

/* The template as the page has it: slots of one word are part of it. */
static void put_template(struct tl_buffer *out, const struct template *t, const bool *inlined,
                         const struct tl_slice *only)
{
    size_t size = t->size;
    for (uint32_t s = 0; s < t->slots; s++)
        size += inlined[s] ? only[s].size - 3 : 0;
    tl_buffer_put_u16(out, (uint16_t)size);
    uint32_t from = 0;
    for (uint32_t s = 0; s < t->slots; s++) {
        const struct slot *slot = &t->slot[s];
        tl_buffer_put(out, t->text + from, slot->text_at - from);
        if (inlined[s]) {
            tl_buffer_put(out, only[s].data, only[s].size);
        } else {
            tl_buffer_put_u8(out, 0);
            tl_buffer_put_u8(out, slot->kind);
            tl_buffer_put_u8(out, slot->parameter);
        }
        from = slot->text_at + 3;
    }
    tl_buffer_put(out, t->text + from, t->size - from);
}

static enum tl_code put_stream(struct tl_encoder *e, const uint64_t *values, uint32_t count,
                               const struct tl_encode_options *opt, struct tl_buffer *out,
                               struct tl_status *st)
{
    size_t at = out->size;
    tl_buffer_put_u32(out, 0);
    enum tl_code rc = tl_encode_i64(e, (const int64_t *)values, count, opt, out, st);
    if (!rc)
        tl_put_u32le(out->data + at, (uint32_t)(out->size - at - 4));
    return rc;
}

/* Fills `text` and `streams`: vocabularies and literals behind the templates, streams in the order
 * of the slots. */
static enum tl_code write_parts(struct tl_encoder *e, struct tl__template_space *p,
                                uint32_t templates, uint32_t count, const uint8_t *text,
                                const struct tl_encode_options *opt, struct tl_status *st)
{
    static const bool NONE[TL__SLOTS_MAX];
    bool inlined[TL__SLOTS_MAX];
    struct tl_slice only[TL__SLOTS_MAX];
    struct tl_buffer *heads = &p->frame; /* the templates' texts, which come first */
    tl_buffer_clear(&p->text);
    tl_buffer_clear(&p->streams);
    tl_buffer_clear(heads);
    enum tl_code rc = TL_OK;
    if (templates > 1)
        rc = put_stream(e, p->ids, count, opt, &p->streams, st);
    for (uint32_t k = 0; k < templates && !rc; k++) {
        struct template *t = &p->templates[k];
        memcpy(inlined, NONE, sizeof(inlined));
        for (uint32_t s = 0; s < t->slots && !rc; s++) {
            struct slot *slot = &t->slot[s];
            uint64_t *values = p->values + slot->first;
            if (slot->kind == TL__SLOT_WORD)
                make_words(p, text, slot, t->strings, &inlined[s]);
            if (inlined[s]) {
                only[s] = word_of(text, values[0]);
                continue;
            }
            if (slot->kind == TL__SLOT_LITERAL)
                for (uint32_t i = 0; i < t->strings; i++) {
                    struct tl_slice bytes = word_of(text, values[i]);
                    if (bytes.size)
                        tl_buffer_put(&p->text, bytes.data, bytes.size);
                    values[i] = bytes.size;
                }
            rc = put_stream(e, values, t->strings, opt, &p->streams, st);
        }
        if (!rc)
            put_template(heads, t, inlined, only);
    }
    return rc;
}

enum tl_code tl__templates_encode(struct tl_encoder *e, const struct tl_slice *values,
                                  uint32_t count, const uint8_t *text, uint32_t bytes,
                                  const struct tl_encode_options *opt, size_t worth,
                                  struct tl_buffer *out, size_t *size, struct tl_status *st)
{
    *size = 0;
    struct tl__template_space *p = space_of(e);
    if (!p)
        return TL_FAIL(st, TL_LIMIT, "no memory for templates of strings");
    if (count < STRINGS_MIN || bytes >= 1U << 24)
        return TL_OK;
    uint32_t found = find_templates(p, values, count);
    uint32_t templates = keep_templates(p, found, count);
    if (templates == 1 && p->templates[0].text == LITERAL)
        return TL_OK;
    if (!fill_slots(p, values, count, text, templates))
        return TL_FAIL(st, TL_LIMIT, "no memory for templates of strings");
    enum tl_code rc = write_parts(e, p, templates, count, text, opt, st);
    if (rc)
        return rc;

    /* One text: the templates, then the rest. */
    struct tl_buffer *heads = &p->frame;
    size_t head_size = heads->size, text_size = head_size + p->text.size;
    tl_buffer_put(heads, p->text.data, p->text.size);
    rc = tl_buffer_check(heads, st);
    if (!rc)
        rc = tl_buffer_check(&p->streams, st);
    if (rc || text_size > TL_STRINGS_BYTES_MAX)
        return rc;
    size_t room = ZSTD_compressBound(text_size);
    tl_buffer_clear(&p->text);
    uint8_t *frame = tl_buffer_reserve(&p->text, room);
    if (!frame)
        return TL_FAIL(st, TL_LIMIT, "no memory for a page of %u bytes", bytes);
    size_t got = 0;
    if (opt->zstd_level > 0)
        got =
            tl__zstd_deflate(e, opt->zstd_level < TEXT_LEVEL_MIN ? TEXT_LEVEL_MIN : opt->zstd_level,
                             heads->data, text_size, frame, room);
    bool deflated = got && got < text_size;
    size_t stored = deflated ? got : text_size;
    size_t total = TL__STRINGS_HEADER_BYTES + 8 + stored + p->streams.size;
    if (total >= worth)
        return TL_OK;
    uint8_t *to = tl_buffer_reserve(out, total);
    if (!to)
        return tl_buffer_check(out, st);
    to[0] = TL_ENC_STR_TEMPLATES;
    to[1] = deflated ? TL__LAYER_ZSTD : TL__LAYER_NONE;
    to[2] = to[3] = 0;
    tl_put_u32le(to + 4, (uint32_t)text_size);
    tl_put_u32le(to + 8, count);
    tl_put_u32le(to + 12, bytes);
    to += TL__STRINGS_HEADER_BYTES;
    tl_put_u32le(to, templates);
    tl_put_u32le(to + 4, (uint32_t)stored);
    memcpy(to + 8, deflated ? frame : heads->data, stored);
    memcpy(to + 8 + stored, p->streams.data, p->streams.size);
    out->size += total;
    *size = total;
    return TL_OK;
}
