/*
 * tools/generator_out.c: generated events as encoded batches, CSV and NDJSON.
 *
 * In a batch no string is hashed: values of fixed lists keep their code of the current batch beside
 * them, a session keeps those of its own values, and visitors, paths, query strings and referrers
 * go through small tables of 64-bit keys. A new batch is a new epoch, which makes all of them
 * unknown at once. The text forms write what is the same for all events of a session once.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tools/generator_int.h"

enum tl_gen_column {
    C_MERCHANT,
    C_TS,
    C_NAME,
    C_VISITOR,
    C_SESSION,
    C_HOST,
    C_PATH,
    C_QUERY,
    C_REFERRER,
    C_SOURCE,
    C_MEDIUM,
    C_CAMPAIGN,
    C_CONTENT,
    C_TERM,
    C_COUNTRY,
    C_REGION,
    C_CITY,
    C_BROWSER,
    C_VERSION,
    C_OS,
    C_DEVICE,
    C_SCREEN,
    C_LANGUAGE,
    C_AGENT,
    C_METHOD,
    C_STATUS,
    C_BYTES,
    C_DURATION,
    C_REVENUE,
    C_CURRENCY,
    C_IP,
    C_BOT,
    C_EVENT_ID,
    C_PROPS
};
_Static_assert(C_PROPS + 1 == TL_GEN_COLUMNS, "one name per column");

static const struct tl_batch_column_def columns[TL_GEN_COLUMNS] = {
    [C_MERCHANT] = {"merchant_id", {TL_BIGINT, 0}},
    [C_TS] = {"ts", {TL_TIMESTAMPTZ, 0}},
    [C_NAME] = {"event_name", {TL_TEXT, 0}},
    [C_VISITOR] = {"visitor_id", {TL_TEXT, 0}},
    [C_SESSION] = {"session_id", {TL_TEXT, 0}},
    [C_HOST] = {"hostname", {TL_TEXT, 0}},
    [C_PATH] = {"path", {TL_TEXT, 0}},
    [C_QUERY] = {"query", {TL_TEXT, 0}},
    [C_REFERRER] = {"referrer", {TL_TEXT, 0}},
    [C_SOURCE] = {"utm_source", {TL_TEXT, 0}},
    [C_MEDIUM] = {"utm_medium", {TL_TEXT, 0}},
    [C_CAMPAIGN] = {"utm_campaign", {TL_TEXT, 0}},
    [C_CONTENT] = {"utm_content", {TL_TEXT, 0}},
    [C_TERM] = {"utm_term", {TL_TEXT, 0}},
    [C_COUNTRY] = {"country", {TL_TEXT, 0}},
    [C_REGION] = {"region", {TL_TEXT, 0}},
    [C_CITY] = {"city", {TL_TEXT, 0}},
    [C_BROWSER] = {"browser", {TL_TEXT, 0}},
    [C_VERSION] = {"browser_version", {TL_TEXT, 0}},
    [C_OS] = {"os", {TL_TEXT, 0}},
    [C_DEVICE] = {"device", {TL_TEXT, 0}},
    [C_SCREEN] = {"screen", {TL_TEXT, 0}},
    [C_LANGUAGE] = {"language", {TL_TEXT, 0}},
    [C_AGENT] = {"user_agent", {TL_TEXT, 0}},
    [C_METHOD] = {"method", {TL_TEXT, 0}},
    [C_STATUS] = {"status", {TL_BIGINT, 0}},
    [C_BYTES] = {"bytes", {TL_BIGINT, 0}},
    [C_DURATION] = {"duration_ms", {TL_BIGINT, 0}},
    [C_REVENUE] = {"revenue", {TL_DECIMAL64, 4}},
    [C_CURRENCY] = {"currency", {TL_TEXT, 0}},
    [C_IP] = {"ip_prefix", {TL_TEXT, 0}},
    [C_BOT] = {"is_bot", {TL_BOOLEAN, 0}},
    [C_EVENT_ID] = {"event_id", {TL_TEXT, 0}},
    [C_PROPS] = {"props", {TL_PROPS, 0}},
};

/* ---- strings from identities ---- */

struct out {
    char *p;
};

static void put(struct out *o, const char *s)
{
    size_t size = strlen(s);
    memcpy(o->p, s, size);
    o->p += size;
}

static void put_slice(struct out *o, struct tl_slice s)
{
    memcpy(o->p, s.data, s.size);
    o->p += s.size;
}

static void put_char(struct out *o, char c)
{
    *o->p++ = c;
}

static void put_number(struct out *o, uint64_t v)
{
    char digits[20];
    int n = 0;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v);
    while (n)
        *o->p++ = digits[--n];
}

static void put_padded(struct out *o, uint32_t v, int width)
{
    for (int i = width - 1; i >= 0; i--) {
        o->p[i] = (char)('0' + v % 10);
        v /= 10;
    }
    o->p += width;
}

static void put_hex(struct out *o, uint64_t v)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 15; i >= 0; i--) {
        o->p[i] = digits[v & 15];
        v >>= 4;
    }
    o->p += 16;
}

uint32_t tl__gen_path_text(uint32_t path, char *out)
{
    struct out o = {out};
    uint32_t n = path & ((1u << TL_GEN_PATH_KIND_SHIFT) - 1);
    switch (path >> TL_GEN_PATH_KIND_SHIFT) {
    case TL_GEN_PATH_PRODUCT:
        put(&o, "/products/");
        put(&o, tl_gen_adjectives[n % TL_GEN_ADJECTIVES]);
        n /= TL_GEN_ADJECTIVES;
        put_char(&o, '-');
        put(&o, tl_gen_colors[n % TL_GEN_COLORS]);
        n /= TL_GEN_COLORS;
        put_char(&o, '-');
        put(&o, tl_gen_nouns[n % TL_GEN_NOUNS]);
        n /= TL_GEN_NOUNS;
        put_char(&o, '-');
        put_number(&o, 10 + n);
        break;
    case TL_GEN_PATH_COLLECTION:
        put(&o, "/collections/");
        put(&o, tl_gen_adjectives[n % TL_GEN_ADJECTIVES]);
        put_char(&o, '-');
        put(&o, tl_gen_nouns[n / TL_GEN_ADJECTIVES]);
        break;
    case TL_GEN_PATH_BLOG:
        put(&o, "/blogs/news/");
        put_number(&o, 2 + n / (TL_GEN_ADJECTIVES * TL_GEN_NOUNS));
        put(&o, "-ways-to-wear-a-");
        put(&o, tl_gen_adjectives[n % TL_GEN_ADJECTIVES]);
        put_char(&o, '-');
        put(&o, tl_gen_nouns[n / TL_GEN_ADJECTIVES % TL_GEN_NOUNS]);
        break;
    default:
        put(&o, tl_gen_common_paths[n]);
    }
    return (uint32_t)(o.p - out);
}

uint32_t tl__gen_query_text(const struct tl_gen_world *w, uint32_t query, char *out)
{
    struct out o = {out};
    uint32_t n = query & ((1u << TL_GEN_QUERY_KIND_SHIFT) - 1);
    switch (query >> TL_GEN_QUERY_KIND_SHIFT) {
    case TL_GEN_QUERY_CAMPAIGN:
        put(&o, "utm_source=");
        put(&o, tl_gen_mediums[n >> 8].source);
        put(&o, "&utm_medium=");
        put(&o, tl_gen_mediums[n >> 8].medium);
        put(&o, "&utm_campaign=");
        put_slice(&o, w->campaigns.values[n & 0xff]);
        break;
    case TL_GEN_QUERY_VARIANT:
        put(&o, "variant=");
        put_number(&o, 4100 + n);
        break;
    case TL_GEN_QUERY_PAGE:
        put(&o, "page=");
        put_number(&o, n);
        break;
    case TL_GEN_QUERY_SEARCH:
        put(&o, "q=");
        for (const char *s = tl_gen_terms[n]; *s; s++)
            put_char(&o, *s == ' ' ? '+' : *s);
        break;
    default:
        break;
    }
    return (uint32_t)(o.p - out);
}

uint32_t tl__gen_host_text(const struct tl_generator *g, uint32_t merchant, char *out)
{
    struct out o = {out};
    uint64_t h = tl_gen_mix(g->options.seed * 31 + merchant);
    if (h & 1)
        put(&o, "www.");
    put(&o, tl_gen_adjectives[(h >> 8) % TL_GEN_ADJECTIVES]);
    put(&o, tl_gen_nouns[(h >> 24) % TL_GEN_NOUNS]);
    put_char(&o, '-');
    put_number(&o, merchant + 1);
    put(&o, h & 2 ? ".example" : ".shop.example");
    return (uint32_t)(o.p - out);
}

uint32_t tl__gen_referrer_text(uint32_t referrer, char *out)
{
    struct out o = {out};
    put(&o, tl_gen_referrers[referrer >> 16].url);
    if (referrer & 0xffff)
        put_number(&o, 100000 + (uint64_t)(referrer & 0xffff) * 7919);
    return (uint32_t)(o.p - out);
}

static uint32_t session_referrer_text(const struct tl_gen_session *s, char *out)
{
    if (!s->campaign)
        return tl__gen_referrer_text(s->referrer, out);
    struct out o = {out};
    put(&o, tl_gen_mediums[s->medium].referrer);
    return (uint32_t)(o.p - out);
}

/* Up to three properties of one event in three. Answers how many. */
uint32_t tl__gen_props(const struct tl_generator *g, const struct tl_gen_event *e, uint64_t at,
                       const char *keys[4], char values[4][24])
{
    static const char *const plans[] = {"free", "basic", "pro", "enterprise"};
    uint64_t h = tl__gen_event_hash(g, at);
    if (h % 3)
        return 0;
    uint32_t count = 0;
    keys[count] = "plan";
    struct out plan = {values[count++]};
    put(&plan, plans[(e->session ^ (uint32_t)(h >> 40)) & 3]);
    put_char(&plan, 0);
    if (h & 0x100) {
        struct out o = {values[count]};
        keys[count++] = "experiment";
        put(&o, h & 0x200 ? "checkout-b" : "checkout-a");
        put_char(&o, 0);
    }
    if (h & 0x400) {
        struct out o = {values[count]};
        keys[count++] = "position";
        put_number(&o, 1 + (h >> 16) % 24);
        put_char(&o, 0);
    }
    return count;
}

static uint32_t ip_text(uint32_t prefix, char *out)
{
    struct out o = {out};
    put_number(&o, 1 + (prefix >> 16) % 223);
    put_char(&o, '.');
    put_number(&o, prefix >> 8 & 0xff);
    put_char(&o, '.');
    put_number(&o, prefix & 0xff);
    put(&o, ".0/24");
    return (uint32_t)(o.p - out);
}

static uint32_t event_id_text(const struct tl_generator *g, uint64_t at, char *out)
{
    struct out o = {out};
    put_hex(&o, tl__gen_event_hash(g, at * 2 + 1));
    put_hex(&o, tl__gen_event_hash(g, at * 2));
    return 32;
}

struct server_fields {
    const char *method;
    uint32_t status;
    uint32_t bytes;
};

/* What a web server would have written: a page's size stays with its path, most answers are 200. */
static struct server_fields server_fields(const struct tl_generator *g,
                                          const struct tl_gen_event *e, uint64_t at)
{
    uint32_t r = (uint32_t)tl__gen_event_hash(g, at) & 0x3ff;
    if (e->name != TL_GEN_PAGEVIEW)
        return (struct server_fields){"POST", r < 3 ? 500 : 204, 0};
    if (r < 30)
        return (struct server_fields){"GET",
                                      r < 14   ? 304
                                      : r < 26 ? 404
                                      : r < 29 ? 301
                                               : 500,
                                      r < 14 ? 0 : 512};
    uint32_t size = tl_gen_quantile(&g->world.bytes, (uint32_t)tl_gen_mix(e->path));
    return (struct server_fields){"GET", 200, size};
}

/* ---- codes of the current batch ---- */

static bool codes_init(struct tl_gen_codes *t, uint32_t rows)
{
    uint32_t count = 64;
    while (count < rows * 2)
        count *= 2;
    t->slots = calloc(count, sizeof(*t->slots));
    t->mask = count - 1;
    return t->slots != NULL;
}

/* The slot of a key; its epoch tells whether the code in it holds. */
static struct tl_gen_code *codes_find(struct tl_gen_codes *t, uint64_t key, uint32_t epoch)
{
    uint32_t at = (uint32_t)(tl_gen_mix(key) >> 20) & t->mask;
    while (t->slots[at].epoch == epoch && t->slots[at].key != key)
        at = (at + 1) & t->mask;
    return &t->slots[at];
}

static void codes_set(struct tl_gen_code *slot, uint64_t key, uint32_t epoch, uint32_t code)
{
    *slot = (struct tl_gen_code){key, epoch, code};
}

static inline void put_listed(struct tl_generator *g, int column, struct tl_gen_list *l,
                              uint32_t index)
{
    struct tl_batch_column *c = &g->batch->columns[column];
    uint64_t known = l->codes[index];
    if ((uint32_t)(known >> 32) != g->epoch) {
        known = (uint64_t)g->epoch << 32 | tl_batch_intern_new(g->batch, c, l->values[index]);
        l->codes[index] = known;
    }
    tl_batch_put_code(g->batch, c, (uint32_t)known);
}

static void session_codes(struct tl_generator *g, struct tl_gen_session *s)
{
    char text[TL_GEN_TEXT_MAX];
    struct tl_batch_column *columns_of = g->batch->columns;
    s->epoch = g->epoch;
    struct out o = {text};
    put_hex(&o, s->session_id);
    s->session_code = tl_batch_intern_new(g->batch, &columns_of[C_SESSION], tl_slice_of(text, 16));

    struct tl_gen_code *slot = codes_find(&g->visitor_codes, s->visitor_id, g->epoch);
    if (slot->epoch != g->epoch) {
        o.p = text;
        put_hex(&o, s->visitor_id);
        codes_set(slot, s->visitor_id, g->epoch,
                  tl_batch_intern_new(g->batch, &columns_of[C_VISITOR], tl_slice_of(text, 16)));
    }
    s->visitor_code = slot->code;

    uint64_t *host = &g->host_codes[s->merchant];
    if ((uint32_t)(*host >> 32) != g->epoch) {
        uint32_t size = tl__gen_host_text(g, s->merchant, text);
        *host = (uint64_t)g->epoch << 32 |
                tl_batch_intern_new(g->batch, &columns_of[C_HOST], tl_slice_of(text, size));
    }
    s->host_code = (uint32_t)*host;
    /* Campaigns share referrers with others: found by their text. */
    uint32_t size = session_referrer_text(s, text);
    s->referrer_code = tl_batch_intern(g->batch, &columns_of[C_REFERRER], tl_slice_of(text, size));
}

static void put_path(struct tl_generator *g, uint32_t path)
{
    struct tl_batch_column *c = &g->batch->columns[C_PATH];
    struct tl_gen_code *slot = codes_find(&g->path_codes, path, g->epoch);
    if (slot->epoch != g->epoch) {
        char text[TL_GEN_TEXT_MAX];
        uint32_t size = tl__gen_path_text(path, text);
        codes_set(slot, path, g->epoch, tl_batch_intern_new(g->batch, c, tl_slice_of(text, size)));
    }
    tl_batch_put_code(g->batch, c, slot->code);
}

static void put_query(struct tl_generator *g, uint32_t query)
{
    struct tl_batch_column *c = &g->batch->columns[C_QUERY];
    struct tl_gen_code *slot = codes_find(&g->query_codes, query, g->epoch);
    if (slot->epoch != g->epoch) {
        char text[TL_GEN_TEXT_MAX];
        uint32_t size = tl__gen_query_text(&g->world, query, text);
        codes_set(slot, query, g->epoch, tl_batch_intern_new(g->batch, c, tl_slice_of(text, size)));
    }
    tl_batch_put_code(g->batch, c, slot->code);
}

static void put_props(struct tl_generator *g, const struct tl_gen_event *e, uint64_t at)
{
    const char *keys[4];
    char values[4][24];
    uint32_t count = tl__gen_props(g, e, at, keys, values);
    if (count == 0)
        return;
    uint8_t bytes[256]; /* 3 × (2 + 2 + 10 + 2 + 23) at most */
    uint8_t *p = bytes;
    for (uint32_t i = 0; i < count; i++) {
        size_t key = strlen(keys[i]), value = strlen(values[i]);
        *p++ = 1 << 3 | 2; /* Props.props */
        *p++ = (uint8_t)(2 + key + 2 + value);
        *p++ = 1 << 3 | 2; /* Prop.key */
        *p++ = (uint8_t)key;
        memcpy(p, keys[i], key);
        p += key;
        *p++ = 2 << 3 | 2; /* Prop.value */
        *p++ = (uint8_t)value;
        memcpy(p, values[i], value);
        p += value;
    }
    tl_batch_put_text(g->batch, &g->batch->columns[C_PROPS],
                      tl_slice_of(bytes, (size_t)(p - bytes)));
}

static void put_rare(struct tl_generator *g, const struct tl_gen_event *e,
                     const struct tl_gen_session *s, uint64_t at)
{
    char text[TL_GEN_TEXT_MAX];
    struct tl_batch_column *c = g->batch->columns;
    if (g->options.server_fields) {
        struct server_fields f = server_fields(g, e, at);
        tl_batch_put_text(g->batch, &c[C_METHOD], tl_slice_str(f.method));
        tl_batch_put_int(g->batch, &c[C_STATUS], f.status);
        tl_batch_put_int(g->batch, &c[C_BYTES], f.bytes);
    }
    if (g->options.ip_prefixes)
        tl_batch_put_text(g->batch, &c[C_IP], tl_slice_of(text, ip_text(s->ip_prefix, text)));
    if (g->options.event_ids)
        tl_batch_put_text(g->batch, &c[C_EVENT_ID], tl_slice_of(text, event_id_text(g, at, text)));
    if (g->options.props)
        put_props(g, e, at);
}

static void put_row(struct tl_generator *g, const struct tl_gen_event *e)
{
    struct tl_gen_world *w = &g->world;
    struct tl_gen_session *s = &g->sessions[e->session];
    struct tl_batch_writer *b = g->batch;
    struct tl_batch_column *c = b->columns;
    if (s->epoch != g->epoch)
        session_codes(g, s);
    const struct tl_gen_agent *agent = &w->agents[s->agent];

    tl_batch_put_int(b, &c[C_MERCHANT], (int64_t)s->merchant + 1);
    tl_batch_put_int(b, &c[C_TS], e->ts_ms * 1000);
    put_listed(g, C_NAME, &w->names, e->name);
    tl_batch_put_code(b, &c[C_VISITOR], s->visitor_code);
    tl_batch_put_code(b, &c[C_SESSION], s->session_code);
    tl_batch_put_code(b, &c[C_HOST], s->host_code);
    put_path(g, e->path);
    put_query(g, e->query);
    tl_batch_put_code(b, &c[C_REFERRER], s->referrer_code);
    if (s->campaign) {
        put_listed(g, C_SOURCE, &w->sources, s->medium);
        put_listed(g, C_MEDIUM, &w->mediums, w->medium_of[s->medium]);
        put_listed(g, C_CAMPAIGN, &w->campaigns, s->campaign_name);
        put_listed(g, C_CONTENT, &w->contents, s->content);
        put_listed(g, C_TERM, &w->terms, s->term);
    }
    put_listed(g, C_COUNTRY, &w->countries, w->city_country[s->city]);
    put_listed(g, C_REGION, &w->regions, w->city_region[s->city]);
    put_listed(g, C_CITY, &w->cities, s->city);
    put_listed(g, C_BROWSER, &w->browsers, agent->browser);
    put_listed(g, C_VERSION, &w->versions, agent->version);
    put_listed(g, C_OS, &w->systems, agent->os);
    put_listed(g, C_DEVICE, &w->devices, agent->device);
    put_listed(g, C_SCREEN, &w->screens, s->screen);
    put_listed(g, C_LANGUAGE, &w->languages, s->language);
    put_listed(g, C_AGENT, &w->agent_texts, s->agent);
    if (e->duration_ms)
        tl_batch_put_int(b, &c[C_DURATION], e->duration_ms);
    if (e->revenue_cents) {
        tl_batch_put_int(b, &c[C_REVENUE], (int64_t)e->revenue_cents * 100);
        put_listed(g, C_CURRENCY, &w->currencies, w->country_currency[w->city_country[s->city]]);
    }
    tl_batch_put_bool(b, &c[C_BOT], s->bot);
    put_rare(g, e, s, g->emitted);
    tl_batch_end_row(b);
}

enum tl_code tl_generator_batch(struct tl_generator *g, struct tl_buffer *out, uint32_t *rows,
                                struct tl_status *st)
{
    if (!g->batch) { /* the first batch */
        if (!codes_init(&g->visitor_codes, g->options.batch_rows) ||
            !codes_init(&g->path_codes, g->options.batch_rows) ||
            !codes_init(&g->query_codes, g->options.batch_rows))
            return TL_FAIL(st, TL_LIMIT, "no memory for the codes of a batch");
        g->host_codes = calloc(g->options.merchants, sizeof(*g->host_codes));
        if (!g->host_codes)
            return TL_FAIL(st, TL_LIMIT, "no memory for the hosts' codes");
        enum tl_code rc = tl_batch_writer_new("events", columns, TL_GEN_COLUMNS,
                                              g->options.batch_rows, &g->batch, st);
        if (rc)
            return rc;
    }
    g->epoch++;
    uint32_t count = 0;
    for (; count < g->options.batch_rows; count++) {
        const struct tl_gen_event *e = tl__gen_next(g, st);
        if (!e) {
            if (st->code)
                return st->code;
            break;
        }
        put_row(g, e);
        tl__gen_release(g, e);
    }
    if (count) {
        enum tl_code rc = tl_batch_writer_finish(g->batch, out, st);
        if (rc)
            return rc;
    }
    *rows = count;
    return TL_OK;
}

/* ---- text ---- */

void tl_generator_csv_header(struct tl_buffer *out)
{
    for (int i = 0; i < TL_GEN_COLUMNS; i++)
        tl_buffer_printf(out, "%s%s", columns[i].name, i + 1 < TL_GEN_COLUMNS ? "," : "\n");
}

static void put_time(struct out *o, int64_t ms)
{
    enum { DAY = 86400000 };
    int64_t days = ms / DAY - (ms % DAY < 0);
    uint32_t in_day = (uint32_t)(ms - days * DAY);
    /* H. Hinnant's civil_from_days */
    int64_t z = days + 719468;
    int64_t era = (z >= 0 ? z : z - 146096) / 146097;
    uint32_t doe = (uint32_t)(z - era * 146097);
    uint32_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint32_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    uint32_t mp = (5 * doy + 2) / 153;
    uint32_t month = mp < 10 ? mp + 3 : mp - 9;
    put_padded(o, (uint32_t)(yoe + era * 400 + (month <= 2)), 4);
    put_char(o, '-');
    put_padded(o, month, 2);
    put_char(o, '-');
    put_padded(o, doy - (153 * mp + 2) / 5 + 1, 2);
    put_char(o, 'T');
    put_padded(o, in_day / 3600000, 2);
    put_char(o, ':');
    put_padded(o, in_day / 60000 % 60, 2);
    put_char(o, ':');
    put_padded(o, in_day / 1000 % 60, 2);
    put_char(o, '.');
    put_padded(o, in_day % 1000, 3);
    put_char(o, 'Z');
}

/* One field. CSV: NULL is nothing, the empty string is "". NDJSON: NULL leaves the key out. None of
 * the generator's strings holds a quote, a backslash or a control character. */
struct field_writer {
    struct out o;
    bool json;
};

static void begin_field(struct field_writer *w, int column)
{
    if (w->json) {
        put_char(&w->o, ',');
        put_char(&w->o, '"');
        put(&w->o, columns[column].name);
        put(&w->o, "\":");
    } else {
        put_char(&w->o, ',');
    }
}

static void text_field(struct field_writer *w, int column, struct tl_slice s)
{
    begin_field(w, column);
    bool quoted = w->json || s.size == 0 || memchr(s.data, ',', s.size);
    if (quoted)
        put_char(&w->o, '"');
    put_slice(&w->o, s);
    if (quoted)
        put_char(&w->o, '"');
}

static void null_field(struct field_writer *w)
{
    if (!w->json)
        put_char(&w->o, ',');
}

static void number_field(struct field_writer *w, int column, uint64_t v)
{
    begin_field(w, column);
    put_number(&w->o, v);
}

static void list_field(struct field_writer *w, int column, const struct tl_gen_list *l,
                       uint32_t index)
{
    text_field(w, column, l->values[index]);
}

/* What stands before and after the path and the query, the same for a session's events. */
static void make_fragments(struct tl_generator *g, struct tl_gen_session *s, char *first,
                           char *second, bool json)
{
    const struct tl_gen_world *world = &g->world;
    char text[TL_GEN_TEXT_MAX];
    struct field_writer w = {{first}, json};
    struct out o = {text};
    put_hex(&o, s->visitor_id);
    text_field(&w, C_VISITOR, tl_slice_of(text, 16));
    o.p = text;
    put_hex(&o, s->session_id);
    text_field(&w, C_SESSION, tl_slice_of(text, 16));
    text_field(&w, C_HOST, tl_slice_of(text, tl__gen_host_text(g, s->merchant, text)));
    s->fragment_size[0] = (uint32_t)(w.o.p - first);

    w.o.p = second;
    text_field(&w, C_REFERRER, tl_slice_of(text, session_referrer_text(s, text)));
    if (s->campaign) {
        list_field(&w, C_SOURCE, &world->sources, s->medium);
        list_field(&w, C_MEDIUM, &world->mediums, world->medium_of[s->medium]);
        list_field(&w, C_CAMPAIGN, &world->campaigns, s->campaign_name);
        list_field(&w, C_CONTENT, &world->contents, s->content);
        list_field(&w, C_TERM, &world->terms, s->term);
    } else {
        for (int i = 0; i < 5; i++)
            null_field(&w);
    }
    const struct tl_gen_agent *agent = &world->agents[s->agent];
    list_field(&w, C_COUNTRY, &world->countries, world->city_country[s->city]);
    list_field(&w, C_REGION, &world->regions, world->city_region[s->city]);
    list_field(&w, C_CITY, &world->cities, s->city);
    list_field(&w, C_BROWSER, &world->browsers, agent->browser);
    list_field(&w, C_VERSION, &world->versions, agent->version);
    list_field(&w, C_OS, &world->systems, agent->os);
    list_field(&w, C_DEVICE, &world->devices, agent->device);
    list_field(&w, C_SCREEN, &world->screens, s->screen);
    list_field(&w, C_LANGUAGE, &world->languages, s->language);
    list_field(&w, C_AGENT, &world->agent_texts, s->agent);
    s->fragment_size[1] = (uint32_t)(w.o.p - second);
    s->epoch = 1;
}

static void props_field(struct tl_generator *g, struct field_writer *w,
                        const struct tl_gen_event *e, uint64_t at)
{
    const char *keys[4];
    char values[4][24];
    uint32_t count = g->options.props ? tl__gen_props(g, e, at, keys, values) : 0;
    if (count == 0) {
        null_field(w);
        return;
    }
    const char *quote = w->json ? "\"" : "\"\"";
    begin_field(w, C_PROPS);
    put(&w->o, w->json ? "{" : "\"{");
    for (uint32_t i = 0; i < count; i++) {
        put(&w->o, i ? "," : "");
        put(&w->o, quote);
        put(&w->o, keys[i]);
        put(&w->o, quote);
        put_char(&w->o, ':');
        put(&w->o, quote);
        put(&w->o, values[i]);
        put(&w->o, quote);
    }
    put(&w->o, w->json ? "}" : "}\"");
}

static void text_tail(struct tl_generator *g, struct field_writer *w, const struct tl_gen_event *e,
                      const struct tl_gen_session *s)
{
    char text[64];
    uint64_t at = g->emitted;
    if (g->options.server_fields) {
        struct server_fields f = server_fields(g, e, at);
        text_field(w, C_METHOD, tl_slice_str(f.method));
        number_field(w, C_STATUS, f.status);
        number_field(w, C_BYTES, f.bytes);
    } else {
        null_field(w);
        null_field(w);
        null_field(w);
    }
    if (e->duration_ms)
        number_field(w, C_DURATION, e->duration_ms);
    else
        null_field(w);
    if (e->revenue_cents) {
        number_field(w, C_REVENUE, e->revenue_cents / 100);
        put_char(&w->o, '.');
        put_padded(&w->o, e->revenue_cents % 100, 2);
        const struct tl_gen_world *world = &g->world;
        list_field(w, C_CURRENCY, &world->currencies,
                   world->country_currency[world->city_country[s->city]]);
    } else {
        null_field(w);
        null_field(w);
    }
    if (g->options.ip_prefixes)
        text_field(w, C_IP, tl_slice_of(text, ip_text(s->ip_prefix, text)));
    else
        null_field(w);
    begin_field(w, C_BOT);
    put(&w->o, s->bot ? "true" : "false");
    if (g->options.event_ids)
        text_field(w, C_EVENT_ID, tl_slice_of(text, event_id_text(g, at, text)));
    else
        null_field(w);
    props_field(g, w, e, at);
}

enum tl_code tl_generator_text(struct tl_generator *g, enum tl_generator_text format,
                               struct tl_buffer *out, uint32_t *rows, struct tl_status *st)
{
    enum { ROW_BYTES_MAX = 2 * TL_GEN_FRAGMENT_MAX + 2048 };
    bool json = format == TL_GENERATOR_NDJSON;
    tl_assert(!g->batch);
    uint32_t count = 0;
    for (; count < g->options.batch_rows; count++) {
        const struct tl_gen_event *e = tl__gen_next(g, st);
        if (!e) {
            if (st->code)
                return st->code;
            break;
        }
        struct tl_gen_session *s = &g->sessions[e->session];
        char *first = g->fragments + (size_t)e->session * 2 * TL_GEN_FRAGMENT_MAX;
        char *second = first + TL_GEN_FRAGMENT_MAX;
        if (!s->epoch)
            make_fragments(g, s, first, second, json);
        uint8_t *room = tl_buffer_reserve(out, ROW_BYTES_MAX);
        if (!room)
            return tl_buffer_check(out, st);
        struct field_writer w = {{(char *)room}, json};
        put(&w.o, json ? "{\"merchant_id\":" : "");
        put_number(&w.o, (uint64_t)s->merchant + 1);
        put(&w.o, json ? ",\"ts\":\"" : ",");
        put_time(&w.o, e->ts_ms);
        put(&w.o, json ? "\"" : "");
        list_field(&w, C_NAME, &g->world.names, e->name);
        memcpy(w.o.p, first, s->fragment_size[0]);
        w.o.p += s->fragment_size[0];
        char text[TL_GEN_TEXT_MAX];
        text_field(&w, C_PATH, tl_slice_of(text, tl__gen_path_text(e->path, text)));
        text_field(&w, C_QUERY, tl_slice_of(text, tl__gen_query_text(&g->world, e->query, text)));
        memcpy(w.o.p, second, s->fragment_size[1]);
        w.o.p += s->fragment_size[1];
        text_tail(g, &w, e, s);
        put(&w.o, json ? "}\n" : "\n");
        out->size += (size_t)(w.o.p - (char *)room);
        tl__gen_release(g, e);
    }
    *rows = count;
    return TL_OK;
}

void tl__gen_out_deinit(struct tl_generator *g)
{
    tl_batch_writer_free(g->batch);
    free(g->host_codes);
    free(g->visitor_codes.slots);
    free(g->path_codes.slots);
    free(g->query_codes.slots);
}
