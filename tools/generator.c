/*
 * tools/generator.c: the model of the traffic.
 *
 * Sessions are made in the order of their beginnings, all events of a session at once; each
 * event goes into the bucket of the time at which it will arrive. A bucket is sorted and given out
 * when no session that is still to be made can reach into it:
 *
 *   1. A session's beginning is never earlier than that of the session made before it.
 *   2. An event never arrives before its session begins, except in the last minutes, where a
 *      session is moved back to end in time; then it goes into the oldest bucket that is open.
 *   3. Hence a bucket is complete once the next session begins after it, or none is left.
 *
 * Memory follows from the sessions that are open at one time, not from the number of events.
 */
#include "tools/generator.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tools/generator_int.h"

enum {
    HOUR_MS = 3600000,
    DAY_MS = 24 * HOUR_MS,
    CHUNK_EVENTS = 63,
    LENGTH_MAX = 64,
    GAP_MS_MAX = 1500000,
    LATE_MS_MAX = 600000,
    SPAN_MS_MAX = LENGTH_MAX * GAP_MS_MAX + LATE_MS_MAX,
    PATHS_MIN = 20,
    PATHS_MAX = 20000,
    GUIDE = 16384
};

/* Shares that give the promised counts (tests/unit/tools/test_generator.c checks them). */
static const double MERCHANT_ZIPF = 1.05;
static const double PATH_ZIPF = 0.68;
static const double PATHS_DECAY = 0.28;           /* paths of a merchant fall with rank^-this … */
static const double PATHS_SPREAD = 0.9;           /* … and vary by a lognormal factor */
static const double LENGTH_CONTINUE = 0.8;        /* a session of mean length 5 goes on with this */
static const uint32_t RETURN_SHARE = 1503238553u; /* of 2^32: 0.35 of the sessions return */

struct tl_gen_chunk {
    struct tl_gen_chunk *next;
    uint32_t count;
    struct tl_gen_event events[CHUNK_EVENTS];
};

static uint64_t draw(struct tl_generator *g)
{
    return tl_gen_next(&g->random);
}

static uint64_t hash2(const struct tl_generator *g, uint64_t what, uint64_t a, uint64_t b)
{
    return tl_gen_mix(tl_gen_mix(tl_gen_mix(g->options.seed ^ what) + a) + b);
}
enum { H_VISITOR = 1, H_TRAITS, H_PATHS, H_PATH, H_HOME, H_SESSION, H_EVENT };

uint64_t tl__gen_event_hash(const struct tl_generator *g, uint64_t at)
{
    return hash2(g, H_EVENT, at, 0);
}

/* ---- construction ---- */

static bool init_merchants(struct tl_generator *g)
{
    uint32_t count = g->options.merchants;
    double *weights = malloc(count * sizeof(*weights));
    g->merchant_visitors = calloc(count, sizeof(*g->merchant_visitors));
    g->merchant_paths = malloc(count * sizeof(*g->merchant_paths));
    if (!weights || !g->merchant_visitors || !g->merchant_paths) {
        free(weights);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        double rank_log = tl_gen_log((double)(i + 1));
        weights[i] = g->options.even ? 1.0 : tl_gen_exp(-MERCHANT_ZIPF * rank_log);
        double u = tl_gen_unit(hash2(g, H_PATHS, i, 0)) * 0.9998 + 0.0001;
        double paths =
            PATHS_MAX * tl_gen_exp(PATHS_SPREAD * tl_gen_normal(u) - PATHS_DECAY * rank_log);
        g->merchant_paths[i] = paths < PATHS_MIN   ? PATHS_MIN
                               : paths > PATHS_MAX ? PATHS_MAX
                                                   : (uint32_t)paths;
    }
    bool ok = tl_gen_alias_init(&g->merchant_law, weights, count);
    free(weights);
    return ok;
}

static bool init_path_law(struct tl_generator *g)
{
    g->path_below = malloc(PATHS_MAX * sizeof(*g->path_below));
    g->path_guide = malloc((GUIDE + 1) * sizeof(*g->path_guide));
    if (!g->path_below || !g->path_guide)
        return false;
    double sum = 0.0;
    for (uint32_t i = 0; i < PATHS_MAX; i++) {
        sum += tl_gen_exp(-PATH_ZIPF * tl_gen_log((double)(i + 1)));
        g->path_below[i] = sum;
    }
    uint32_t at = 0;
    for (uint32_t i = 0; i <= GUIDE; i++) {
        while (at < PATHS_MAX - 1 && g->path_below[at] <= sum * (double)i / GUIDE)
            at++;
        g->path_guide[i] = at;
    }
    return true;
}

static bool init_curve(struct tl_generator *g)
{
    static const uint8_t hours[24] = {30, 22, 17, 14, 13, 15, 22, 35,  52,  66, 76, 82,
                                      86, 85, 83, 82, 84, 90, 98, 104, 102, 88, 64, 44};
    static const uint8_t weekdays[7] = {100, 102, 101, 100, 96, 88, 94}; /* from Monday */
    g->hours = g->options.days * 24;
    g->hour_below = malloc((g->hours + 1) * sizeof(*g->hour_below));
    if (!g->hour_below)
        return false;
    double sum = 0.0;
    for (uint32_t i = 0; i < g->hours; i++) {
        int64_t ms = g->from_ms + (int64_t)i * HOUR_MS;
        int64_t day = ms / DAY_MS - (ms % DAY_MS < 0);
        int64_t hour = (ms - day * DAY_MS) / HOUR_MS;
        int64_t weekday = ((day + 3) % 7 + 7) % 7; /* 1970-01-01 was a Thursday */
        g->hour_below[i] = sum;
        sum += (double)hours[hour] * weekdays[weekday];
    }
    g->hour_below[g->hours] = sum;
    return true;
}

static void init_lengths(struct tl_generator *g)
{
    double left = 1.0;
    for (int i = 0; i < LENGTH_MAX; i++) {
        left *= LENGTH_CONTINUE;
        g->length_below[i] = (uint32_t)((1.0 - left) * 4294967295.0);
    }
    g->length_below[LENGTH_MAX - 1] = UINT32_MAX;
}

/* Buckets hold about 4,096 events; a span of the longest session and lateness must fit the ring. */
static bool init_buckets(struct tl_generator *g)
{
    uint64_t span = (uint64_t)g->options.days * DAY_MS;
    uint64_t events = g->options.events ? g->options.events : 1;
    uint64_t width = span / (events / 4096 + 1);
    g->bucket_shift = 11; /* at least two seconds: the ring stays below 2^16 heads */
    while (g->bucket_shift < 31 && (2ULL << g->bucket_shift) <= width)
        g->bucket_shift++;
    uint32_t ring = 4;
    while (ring < ((uint64_t)SPAN_MS_MAX >> g->bucket_shift) + 4)
        ring *= 2;
    g->ring_mask = ring - 1;
    g->ring = calloc(ring, sizeof(struct tl_gen_chunk *));
    return g->ring != NULL;
}

static bool init_path_sets(struct tl_generator *g)
{
    static const uint32_t sizes[4] = {64, TL_GEN_PRODUCTS, TL_GEN_COLLECTIONS, TL_GEN_BLOGS};
    g->pair_first = malloc(((size_t)g->options.merchants + 1) * sizeof(*g->pair_first));
    if (!g->pair_first)
        return false;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < g->options.merchants; i++) {
        g->pair_first[i] = sum;
        sum += g->merchant_paths[i] + 8; /* the paths of the funnel, beside the catalogue's */
    }
    g->pair_bits = calloc(sum / 64 + 1, sizeof(uint64_t));
    bool ok = g->pair_bits != NULL;
    for (int i = 0; i < 4; i++) {
        g->path_bits[i] = calloc(sizes[i] / 64 + 1, sizeof(uint64_t));
        ok = ok && g->path_bits[i];
    }
    return ok;
}

enum tl_code tl_generator_new(const struct tl_generator_options *options, struct tl_generator **out,
                              struct tl_status *st)
{
    if (options->merchants < 1 || options->merchants > TL_GENERATOR_MERCHANTS_MAX)
        return TL_FAIL(st, TL_INVALID, "merchants must be 1 … %d", TL_GENERATOR_MERCHANTS_MAX);
    if (options->days < 1 || options->days > TL_GENERATOR_DAYS_MAX)
        return TL_FAIL(st, TL_INVALID, "days must be 1 … %d", TL_GENERATOR_DAYS_MAX);
    if (options->from_us % 1000)
        return TL_FAIL(st, TL_INVALID, "the beginning must be a whole millisecond");
    if (options->batch_rows < 1 || options->batch_rows > 1 << 20)
        return TL_FAIL(st, TL_INVALID, "rows of a batch must be 1 … %d", 1 << 20);
    struct tl_generator *g = calloc(1, sizeof(*g));
    if (!g)
        return TL_FAIL(st, TL_LIMIT, "no memory for the generator");
    g->options = *options;
    g->random = tl_gen_mix(options->seed + 0x74616c6c79ULL);
    g->from_ms = options->from_us / 1000;
    g->end_ms = g->from_ms + (int64_t)options->days * DAY_MS;
    enum tl_code rc = tl__gen_world_init(&g->world, st);
    init_lengths(g);
    if (!rc && !(init_merchants(g) && init_path_law(g) && init_curve(g) && init_buckets(g) &&
                 (!options->count_paths || init_path_sets(g))))
        rc = TL_FAIL(st, TL_LIMIT, "no memory for a generator of %u merchants", options->merchants);
    if (rc) {
        tl_generator_free(g);
        return rc;
    }
    *out = g;
    return TL_OK;
}

static void chunks_free(struct tl_gen_chunk *c)
{
    while (c) {
        struct tl_gen_chunk *next = c->next;
        free(c);
        c = next;
    }
}

void tl_generator_free(struct tl_generator *g)
{
    if (!g)
        return;
    tl__gen_out_deinit(g);
    tl__gen_world_deinit(&g->world);
    tl_gen_alias_deinit(&g->merchant_law);
    for (uint32_t i = 0; g->ring && i <= g->ring_mask; i++)
        chunks_free(g->ring[i]);
    chunks_free(g->free_chunks);
    for (int i = 0; i < 4; i++)
        free(g->path_bits[i]);
    free(g->pair_bits);
    free(g->pair_first);
    free(g->merchant_visitors);
    free(g->merchant_paths);
    free(g->path_below);
    free(g->path_guide);
    free(g->hour_below);
    free(g->sessions);
    free(g->free_sessions);
    free(g->fragments);
    free(g->ring);
    free(g->events);
    free(g->sorted);
    free(g->keys);
    free(g->keys_other);
    free(g);
}

/* ---- sessions ---- */

/* When the next session begins: the place of its first event on the curve of all events. */
static void draw_start(struct tl_generator *g)
{
    uint64_t r = draw(g);
    uint32_t length = 0;
    while ((uint32_t)r > g->length_below[length])
        length++;
    length++;
    uint64_t left = g->options.events - g->created;
    g->next_length = length < left ? length : (uint32_t)left;
    double fraction = ((double)g->created + tl_gen_unit(r & ~0xffffffffULL) * g->next_length) /
                      (double)g->options.events;
    double place = fraction * g->hour_below[g->hours];
    while (g->hour + 1 < g->hours && g->hour_below[g->hour + 1] <= place)
        g->hour++;
    double within =
        (place - g->hour_below[g->hour]) / (g->hour_below[g->hour + 1] - g->hour_below[g->hour]);
    int64_t start = g->from_ms + (int64_t)g->hour * HOUR_MS + (int64_t)(within * HOUR_MS);
    if (start < g->next_start_ms)
        start = g->next_start_ms; /* (1) */
    g->next_start_ms = start;
    g->next_drawn = true;
}

static bool session_slot(struct tl_generator *g, uint32_t *out)
{
    if (g->free_count > 0) {
        *out = g->free_sessions[--g->free_count];
        return true;
    }
    if (g->session_used == g->session_capacity) {
        uint32_t capacity = g->session_capacity ? g->session_capacity * 2 : 1024;
        struct tl_gen_session *sessions = realloc(g->sessions, capacity * sizeof(*sessions));
        if (!sessions)
            return false;
        g->sessions = sessions;
        uint32_t *free_sessions = realloc(g->free_sessions, capacity * sizeof(*free_sessions));
        if (!free_sessions)
            return false;
        g->free_sessions = free_sessions;
        if (!g->batch) {
            char *fragments = realloc(g->fragments, (size_t)capacity * 2 * TL_GEN_FRAGMENT_MAX);
            if (!fragments)
                return false;
            g->fragments = fragments;
        }
        g->session_capacity = capacity;
    }
    *out = g->session_used++;
    return true;
}

static uint16_t draw_city(const struct tl_gen_world *w, uint32_t country, uint64_t r)
{
    const struct tl_gen_country_part *part = &w->parts[country];
    double u = tl_gen_unit(r);
    uint32_t city = part->city_first;
    uint32_t last = city + part->city_count - 1;
    while (city < last && w->city_below[city] <= u)
        city++;
    return (uint16_t)city;
}

/* What stays with a visitor follows from the visitor's id alone. */
static void set_traits(struct tl_generator *g, struct tl_gen_session *s)
{
    const struct tl_gen_world *w = &g->world;
    uint64_t state = hash2(g, H_TRAITS, s->visitor_id, 0);
    uint64_t r = tl_gen_next(&state);
    uint32_t home = tl_gen_alias_draw(&w->country_law, hash2(g, H_HOME, s->merchant, 0));
    uint32_t country =
        (r & 0xff) < 160 ? home : tl_gen_alias_draw(&w->country_law, tl_gen_next(&state));
    s->city = draw_city(w, country, tl_gen_next(&state));
    const struct tl_gen_country_part *part = &w->parts[country];
    uint32_t l = 0, wanted = (uint32_t)(r >> 16);
    while (wanted > part->language_below[l])
        l++;
    s->language = part->language[l];
    s->bot = ((r >> 8) & 0xff) == 0; /* 0.4 % */
    s->agent = (uint16_t)tl_gen_alias_draw(&w->agent_law, tl_gen_next(&state));
    uint32_t device = w->agents[s->agent].device;
    r = tl_gen_next(&state);
    s->screen = w->screen_of[device][tl_gen_alias_draw(&w->screen_law[device], r)];
    s->ip_prefix = (uint32_t)(tl_gen_next(&state) >> 40);
}

static void draw_visitor(struct tl_generator *g, struct tl_gen_session *s)
{
    uint64_t r = draw(g);
    s->merchant = tl_gen_alias_draw(&g->merchant_law, r);
    uint32_t known = g->merchant_visitors[s->merchant];
    r = draw(g);
    uint32_t visitor;
    if (known > 0 && (uint32_t)r < RETURN_SHARE) {
        double u = tl_gen_unit(r & ~0xffffffffULL); /* those who came lately come more often */
        uint32_t back = (uint32_t)((double)known * u * u);
        visitor = known - 1 - (back < known ? back : known - 1);
    } else {
        visitor = g->merchant_visitors[s->merchant]++;
        g->stats.visitors++;
        if (visitor == 0)
            g->stats.merchants++;
    }
    s->visitor_id = hash2(g, H_VISITOR, s->merchant, visitor);
    set_traits(g, s);
}

static void draw_origin(struct tl_generator *g, struct tl_gen_session *s)
{
    const struct tl_gen_world *w = &g->world;
    uint64_t r = draw(g);
    s->campaign = (r & 0xff) < 40; /* 16 % of the sessions */
    if (s->campaign) {
        s->medium = (uint8_t)tl_gen_alias_draw(&w->medium_law, draw(g));
        /* A merchant runs some five of the campaigns, with two texts each. */
        uint64_t own = hash2(g, H_HOME, s->merchant, 1 + ((r >> 8) & 0xff) % 5);
        s->campaign_name = (uint8_t)(own % tl_gen_campaign_count);
        s->content = (uint8_t)((own >> 16) + ((r >> 16) & 1)) % (uint8_t)tl_gen_content_count;
        s->term = (uint8_t)((own >> 24) + ((r >> 17) & 3)) % (uint8_t)tl_gen_term_count;
        s->referrer = UINT32_MAX; /* the medium's */
        return;
    }
    uint32_t index = tl_gen_alias_draw(&w->referrer_law, draw(g));
    uint32_t tail = tl_gen_referrers[index].tail;
    double u = tl_gen_unit(r);
    uint32_t number = tail ? 1 + (uint32_t)((double)tail * u * u * u) : 0;
    s->referrer = index << 16 | number;
}

/* ---- events ---- */

static uint32_t draw_path_index(const struct tl_generator *g, uint32_t paths, uint64_t r)
{
    double all = g->path_below[PATHS_MAX - 1];
    double u = tl_gen_unit(r) * g->path_below[paths - 1];
    uint32_t at = g->path_guide[(uint32_t)(u / all * GUIDE)];
    while (at > 0 && g->path_below[at - 1] > u)
        at--;
    while (at < paths - 1 && g->path_below[at] <= u)
        at++;
    return at;
}

/* The string of a merchant's path: the first ones are the same in every shop, the others come from
 * a space that is wide enough for most, not all, to be the only ones of their name. */
static uint32_t path_of(const struct tl_generator *g, uint32_t merchant, uint32_t index)
{
    if (index == 0)
        return TL_GEN_PATH_HOME;
    if (index <= 4)
        return 5 + index; /* collections/all … */
    if (index % 5 == 0 && 9 + index / 5 < tl_gen_common_path_count)
        return 9 + index / 5;
    uint64_t h = hash2(g, H_PATH, merchant, index);
    uint32_t what = (uint32_t)h & 0xff;
    uint32_t r = (uint32_t)(h >> 32);
    /* Two indexes of one merchant never name one collection or one article. */
    uint32_t own = (uint32_t)(hash2(g, H_PATH, merchant, 0) >> 32);
    if (what < 16 && index < TL_GEN_COLLECTIONS)
        return (uint32_t)TL_GEN_PATH_COLLECTION << TL_GEN_PATH_KIND_SHIFT |
               (own % TL_GEN_COLLECTIONS + index) % TL_GEN_COLLECTIONS;
    if (what >= 16 && what < 28)
        return (uint32_t)TL_GEN_PATH_BLOG << TL_GEN_PATH_KIND_SHIFT |
               (own % TL_GEN_BLOGS + index) % TL_GEN_BLOGS;
    return (uint32_t)TL_GEN_PATH_PRODUCT << TL_GEN_PATH_KIND_SHIFT |
           tl_gen_below(r, TL_GEN_PRODUCTS);
}

static bool is_product(uint32_t path)
{
    return path >> TL_GEN_PATH_KIND_SHIFT == TL_GEN_PATH_PRODUCT;
}

static void count_path(struct tl_generator *g, uint32_t merchant, uint32_t index, uint32_t path)
{
    uint64_t pair = g->pair_first[merchant] + index;
    if (!(g->pair_bits[pair / 64] >> (pair & 63) & 1)) {
        g->pair_bits[pair / 64] |= 1ULL << (pair & 63);
        g->stats.merchant_paths++;
    }
    uint64_t *bits = g->path_bits[path >> TL_GEN_PATH_KIND_SHIFT];
    uint32_t number = path & ((1u << TL_GEN_PATH_KIND_SHIFT) - 1);
    if (!(bits[number / 64] >> (number & 63) & 1)) {
        bits[number / 64] |= 1ULL << (number & 63);
        g->stats.paths++;
    }
}

static struct tl_gen_chunk *chunk_new(struct tl_generator *g, struct tl_gen_chunk *next)
{
    struct tl_gen_chunk *c = g->free_chunks;
    if (c)
        g->free_chunks = c->next;
    else
        c = malloc(sizeof(*c));
    if (c) {
        c->next = next;
        c->count = 0;
    }
    return c;
}

static bool put_event(struct tl_generator *g, const struct tl_gen_event *e)
{
    int64_t arrival = e->ts_ms + e->late_ms - g->from_ms;
    uint64_t bucket = arrival < 0 ? 0 : (uint64_t)arrival >> g->bucket_shift;
    if (bucket < g->bucket)
        bucket = g->bucket; /* (2) */
    tl_assert(bucket - g->bucket <= g->ring_mask);
    struct tl_gen_chunk **head = &g->ring[bucket & g->ring_mask];
    if (!*head || (*head)->count == CHUNK_EVENTS) {
        struct tl_gen_chunk *c = chunk_new(g, *head);
        if (!c)
            return false;
        *head = c;
    }
    (*head)->events[(*head)->count++] = *e;
    return true;
}

static uint32_t draw_late(uint64_t r)
{
    uint32_t what = (uint32_t)r & 0x3ff;
    uint32_t u = (uint32_t)(r >> 32);
    if (what < 973) /* 95 % */
        return tl_gen_below(u, 2000);
    if (what < 1014) /* 4 % */
        return 2000 + tl_gen_below(u, 58000);
    return 60000 + tl_gen_below(u, LATE_MS_MAX - 60000);
}

/* The walk of one session: where it stands, and the index of its path in the merchant's list. */
struct walk {
    uint32_t path, index, cart;
    uint32_t paths; /* of the merchant */
};

static void walk_to_page(struct tl_generator *g, struct walk *w, uint32_t merchant, uint64_t r,
                         struct tl_gen_event *e)
{
    w->index = draw_path_index(g, w->paths, r);
    w->path = path_of(g, merchant, w->index);
    e->name = TL_GEN_PAGEVIEW;
    uint32_t what = (uint32_t)r & 0x3ff;
    if (is_product(w->path) && what < 60)
        e->query = (uint32_t)TL_GEN_QUERY_VARIANT << TL_GEN_QUERY_KIND_SHIFT | (w->index % 40);
    else if (!is_product(w->path) && what < 40 && w->index)
        e->query = (uint32_t)TL_GEN_QUERY_PAGE << TL_GEN_QUERY_KIND_SHIFT | (2 + what % 4);
}

static void walk_to_common(struct walk *w, uint32_t path, struct tl_gen_event *e, int name)
{
    w->path = path;
    w->index = w->paths + path; /* beside the catalogue, for the count of pairs */
    e->name = (uint8_t)name;
}

/* One step of the walk. The shares follow from the last event: who looks at an item may put it
 * into the cart, who has a cart may go to the checkout, who is there may buy. */
static void walk_on(struct tl_generator *g, struct walk *w, const struct tl_gen_session *s,
                    int last, struct tl_gen_event *e)
{
    uint64_t r = draw(g);
    uint32_t what = (uint32_t)r & 0xff;
    e->name = TL_GEN_PAGEVIEW;
    if (last == TL_GEN_VIEW_ITEM && what < 70) {
        w->cart++;
        e->name = TL_GEN_ADD_TO_CART;
    } else if (last == TL_GEN_ADD_TO_CART && what < 95) {
        walk_to_common(w, TL_GEN_PATH_CHECKOUT, e, TL_GEN_BEGIN_CHECKOUT);
    } else if (last == TL_GEN_BEGIN_CHECKOUT && what < 160) {
        walk_to_common(w, TL_GEN_PATH_THANKS, e, TL_GEN_PURCHASE);
        e->revenue_cents = 100 + tl_gen_quantile(&g->world.revenue_cents, (uint32_t)draw(g));
        w->cart = 0;
    } else if (last == TL_GEN_PAGEVIEW && is_product(w->path) && what < 46) {
        e->name = TL_GEN_VIEW_ITEM;
    } else if (what >= 224) {
        e->name = what < 240 ? TL_GEN_SCROLL : TL_GEN_CLICK;
    } else if (what >= 220) {
        walk_to_common(w, TL_GEN_PATH_SEARCH, e, TL_GEN_SEARCH);
        e->query = (uint32_t)TL_GEN_QUERY_SEARCH << TL_GEN_QUERY_KIND_SHIFT |
                   tl_gen_below((uint32_t)(r >> 32), tl_gen_term_count);
    } else if (what == 219) {
        walk_to_common(w, TL_GEN_PATH_ACCOUNT, e, TL_GEN_SIGN_UP);
    } else if (w->cart && what < 20) {
        walk_to_common(w, TL_GEN_PATH_CART, e, TL_GEN_PAGEVIEW);
    } else {
        walk_to_page(g, w, s->merchant, draw(g), e);
    }
}

static void land(struct tl_generator *g, struct walk *w, const struct tl_gen_session *s,
                 struct tl_gen_event *e)
{
    uint64_t r = draw(g);
    walk_to_page(g, w, s->merchant, r, e);
    if ((r & 0xff) < 40) {
        w->index = 0;
        w->path = TL_GEN_PATH_HOME;
        e->query = 0;
    }
    if (s->campaign)
        e->query = (uint32_t)TL_GEN_QUERY_CAMPAIGN << TL_GEN_QUERY_KIND_SHIFT |
                   (uint32_t)s->medium << 8 | s->campaign_name;
}

static bool make_events(struct tl_generator *g, uint32_t slot, int64_t start_ms, uint32_t length)
{
    struct tl_gen_session *s = &g->sessions[slot];
    struct tl_gen_event events[LENGTH_MAX];
    struct walk walk = {.paths = g->merchant_paths[s->merchant]};
    int64_t ts = start_ms;
    int last = TL_GEN_PAGEVIEW;
    for (uint32_t i = 0; i < length; i++) {
        struct tl_gen_event *e = &events[i];
        uint64_t r = draw(g);
        if (i > 0)
            ts += 1 + tl_gen_quantile(&g->world.gap_ms, (uint32_t)r);
        *e = (struct tl_gen_event){.session = slot, .ts_ms = ts};
        if (i == 0)
            land(g, &walk, s, e);
        else
            walk_on(g, &walk, s, last, e);
        last = (int)e->name;
        e->path = walk.path;
        if (last == TL_GEN_PAGEVIEW)
            e->duration_ms = 1 + tl_gen_quantile(&g->world.duration_ms, (uint32_t)(r >> 32));
        e->late_ms = draw_late(draw(g)) & 0xffffff;
        if (g->options.count_paths)
            count_path(g, s->merchant, walk.index, walk.path);
        g->stats.purchases += last == TL_GEN_PURCHASE;
    }
    int64_t back = ts >= g->end_ms ? ts - g->end_ms + 1 : 0;
    for (uint32_t i = 0; i < length; i++) {
        events[i].ts_ms -= back;
        if (events[i].ts_ms < g->from_ms) /* a run shorter than the session */
            events[i].ts_ms = g->from_ms;
        if (!put_event(g, &events[i]))
            return false;
    }
    return true;
}

static bool make_session(struct tl_generator *g)
{
    uint32_t slot;
    if (!session_slot(g, &slot))
        return false;
    struct tl_gen_session *s = &g->sessions[slot];
    *s = (struct tl_gen_session){.refs = g->next_length};
    draw_visitor(g, s);
    draw_origin(g, s);
    s->session_id = hash2(g, H_SESSION, g->stats.sessions, 0);
    if (!make_events(g, slot, g->next_start_ms, g->next_length))
        return false;
    g->stats.sessions++;
    g->created += g->next_length;
    g->next_drawn = false;
    return true;
}

/* ---- order ---- */

static bool sorted_reserve(struct tl_generator *g, uint32_t count)
{
    if (count <= g->sorted_capacity)
        return true;
    uint32_t capacity = g->sorted_capacity ? g->sorted_capacity : 8192;
    while (capacity < count)
        capacity *= 2;
    struct tl_gen_event *events = realloc(g->events, capacity * sizeof(*events));
    g->events = events ? events : g->events;
    struct tl_gen_event *sorted = realloc(g->sorted, capacity * sizeof(*sorted));
    g->sorted = sorted ? sorted : g->sorted;
    uint64_t *keys = realloc(g->keys, capacity * sizeof(*keys));
    g->keys = keys ? keys : g->keys;
    uint64_t *other = realloc(g->keys_other, capacity * sizeof(*other));
    g->keys_other = other ? other : g->keys_other;
    if (!events || !sorted || !keys || !other)
        return false;
    g->sorted_capacity = capacity;
    return true;
}

/* Sorts keys (arrival << 32 | place) by the arrival's low `bits` bits, keeping ties in order. */
static void sort_keys(struct tl_generator *g, uint32_t count, uint32_t bits)
{
    enum { DIGIT = 11, CELLS = 1 << DIGIT };
    for (uint32_t shift = 32; shift < 32 + bits; shift += DIGIT) {
        uint32_t at[CELLS] = {0};
        for (uint32_t i = 0; i < count; i++)
            at[g->keys[i] >> shift & (CELLS - 1)]++;
        uint32_t sum = 0;
        for (uint32_t i = 0; i < CELLS; i++) {
            uint32_t n = at[i];
            at[i] = sum;
            sum += n;
        }
        for (uint32_t i = 0; i < count; i++)
            g->keys_other[at[g->keys[i] >> shift & (CELLS - 1)]++] = g->keys[i];
        uint64_t *keys = g->keys;
        g->keys = g->keys_other;
        g->keys_other = keys;
    }
}

static bool take_bucket(struct tl_generator *g)
{
    struct tl_gen_chunk **head = &g->ring[g->bucket & g->ring_mask];
    uint32_t count = 0;
    for (struct tl_gen_chunk *c = *head; c; c = c->next)
        count += c->count;
    if (!sorted_reserve(g, count))
        return false;
    /* Chunks stand newest first: fill from the end, so that ties keep the order of their making. */
    uint32_t end = count;
    while (*head) {
        struct tl_gen_chunk *c = *head;
        end -= c->count;
        memcpy(g->events + end, c->events, c->count * sizeof(*g->events));
        *head = c->next;
        c->next = g->free_chunks;
        g->free_chunks = c;
    }
    int64_t from = g->from_ms + (int64_t)(g->bucket << g->bucket_shift);
    for (uint32_t i = 0; i < count; i++) {
        int64_t at = g->events[i].ts_ms + g->events[i].late_ms - from;
        g->keys[i] = (at < 0 ? 0 : (uint64_t)at) << 32 | i;
    }
    sort_keys(g, count, g->bucket_shift);
    for (uint32_t i = 0; i < count; i++)
        g->sorted[i] = g->events[(uint32_t)g->keys[i]];
    g->sorted_count = count;
    g->sorted_next = 0;
    g->bucket++;
    return true;
}

const struct tl_gen_event *tl__gen_next(struct tl_generator *g, struct tl_status *st)
{
    while (g->sorted_next == g->sorted_count) {
        if (g->emitted == g->options.events)
            return NULL;
        int64_t bucket_end = g->from_ms + (int64_t)((g->bucket + 1) << g->bucket_shift);
        bool ok = true;
        while (ok && g->created < g->options.events) {
            if (!g->next_drawn)
                draw_start(g);
            if (g->next_start_ms >= bucket_end)
                break; /* (3) */
            ok = make_session(g);
        }
        if (!ok || !take_bucket(g)) {
            (void)TL_FAIL(st, TL_LIMIT, "no memory for the sessions that are open at one time");
            return NULL;
        }
    }
    g->emitted++;
    return &g->sorted[g->sorted_next++];
}

void tl__gen_release(struct tl_generator *g, const struct tl_gen_event *e)
{
    struct tl_gen_session *s = &g->sessions[e->session];
    tl_assert(s->refs > 0);
    if (--s->refs == 0)
        g->free_sessions[g->free_count++] = e->session;
}

void tl_generator_stats(const struct tl_generator *g, struct tl_generator_stats *out)
{
    *out = g->stats;
    out->events = g->emitted;
}
