/*
 * tools/generator_int.h: what the model (generator.c), the world (generator_world.c) and the
 * writers (generator_out.c) of generated traffic share. For them alone.
 */
#ifndef TALLY_TOOLS_GENERATOR_INT_H
#define TALLY_TOOLS_GENERATOR_INT_H

#include "tools/batch_writer.h"
#include "tools/generator.h"
#include "tools/generator_data.h"
#include "tools/generator_math.h"

enum tl_gen_name {
    TL_GEN_PAGEVIEW,
    TL_GEN_SCROLL,
    TL_GEN_CLICK,
    TL_GEN_SEARCH,
    TL_GEN_VIEW_ITEM,
    TL_GEN_ADD_TO_CART,
    TL_GEN_BEGIN_CHECKOUT,
    TL_GEN_PURCHASE,
    TL_GEN_SIGN_UP,
    TL_GEN_NAME_COUNT
};

/* A path's identity: kind << 28 | number. Equal identities are equal strings and the other way
 * round, for all merchants. */
enum {
    TL_GEN_PATH_COMMON = 0,
    TL_GEN_PATH_PRODUCT = 1,
    TL_GEN_PATH_COLLECTION = 2,
    TL_GEN_PATH_BLOG = 3,
    TL_GEN_PATH_KIND_SHIFT = 28,
    TL_GEN_PRODUCTS = TL_GEN_ADJECTIVES * TL_GEN_COLORS * TL_GEN_NOUNS * TL_GEN_NUMBERS,
    TL_GEN_COLLECTIONS = TL_GEN_ADJECTIVES * TL_GEN_NOUNS,
    TL_GEN_BLOGS = TL_GEN_ADJECTIVES * TL_GEN_NOUNS * 20,
    TL_GEN_TEXT_MAX = 512 /* of any one string */
};
extern const char *const tl_gen_common_paths[];
extern const uint32_t tl_gen_common_path_count;
enum {
    TL_GEN_PATH_HOME = 0,
    TL_GEN_PATH_CART = 1,
    TL_GEN_PATH_CHECKOUT = 2,
    TL_GEN_PATH_THANKS = 3,
    TL_GEN_PATH_SEARCH = 4,
    TL_GEN_PATH_ACCOUNT = 5
};

/* A query string's identity: kind << 24 | number; 0 is the empty one. */
enum {
    TL_GEN_QUERY_NONE = 0,
    TL_GEN_QUERY_CAMPAIGN = 1, /* medium << 8 | campaign */
    TL_GEN_QUERY_VARIANT = 2,
    TL_GEN_QUERY_PAGE = 3,
    TL_GEN_QUERY_SEARCH = 4,
    TL_GEN_QUERY_KIND_SHIFT = 24
};

enum tl_gen_device { TL_GEN_DESKTOP, TL_GEN_MOBILE, TL_GEN_TABLET };
struct tl_gen_agent {
    uint8_t browser, os, device;
    uint8_t version; /* index into the list of versions */
};

/* A list of strings that is fixed for a run, with its codes in the current batch. */
struct tl_gen_list {
    uint32_t count, capacity;
    struct tl_slice *values;
    uint64_t *codes; /* epoch << 32 | code */
};

struct tl_gen_country_part {
    uint32_t city_first, city_count;
    uint32_t language_count;
    uint16_t language[4];
    uint32_t language_below[4]; /* cumulative, of 2^32 */
};

/* The lists and laws that visitors are drawn from. */
struct tl_gen_world {
    struct tl_gen_list countries, regions, cities, languages, currencies;
    struct tl_gen_list browsers, versions, systems, devices, screens, agent_texts;
    struct tl_gen_list names, mediums, sources, campaigns, contents, terms;
    uint16_t *city_region; /* of city i */
    uint8_t *city_country;
    double *city_below; /* cumulative weight within its country, in [0, 1] */
    struct tl_gen_country_part *parts;
    uint16_t *country_currency;
    struct tl_gen_alias country_law, agent_law, referrer_law, medium_law;
    struct tl_gen_agent *agents;
    uint32_t agent_count, agent_capacity;
    struct tl_gen_alias screen_law[3];
    uint8_t screen_of[3][16];
    uint8_t medium_of[64]; /* of tl_gen_mediums[i] in `mediums` */
    struct tl_gen_quantiles gap_ms, duration_ms, revenue_cents, bytes;
};
TL_CHECK enum tl_code tl__gen_world_init(struct tl_gen_world *w, struct tl_status *st);
void tl__gen_world_deinit(struct tl_gen_world *w);

struct tl_gen_session {
    uint64_t visitor_id, session_id;
    uint32_t merchant; /* rank from 0 */
    uint32_t refs;     /* events that are not out yet */
    uint32_t referrer; /* index << 16 | number of its tail */
    uint16_t city, agent, language;
    uint8_t screen;
    bool bot;
    bool campaign; /* the five below hold */
    uint8_t medium, campaign_name, content, term;
    uint32_t ip_prefix; /* three bytes of IPv4 */
    uint32_t epoch;     /* of the codes below */
    uint32_t visitor_code, session_code, host_code, referrer_code;
    uint32_t fragment_size[2]; /* text forms: what is the same for all events */
};

struct tl_gen_event {
    int64_t ts_ms;
    uint32_t session; /* slot */
    uint32_t path;
    uint32_t duration_ms;   /* 0: none */
    uint32_t revenue_cents; /* 0: none */
    uint32_t late_ms : 24;
    uint32_t name : 8;
    uint32_t query;
};

/* Keys of 64 bits to codes of the current batch; forgotten by a new epoch. */
struct tl_gen_codes {
    struct tl_gen_code {
        uint64_t key;
        uint32_t epoch, code;
    } * slots;
    uint32_t mask;
};

enum { TL_GEN_FRAGMENT_MAX = 1536, TL_GEN_COLUMNS = 34 };

struct tl_generator {
    struct tl_generator_options options;
    struct tl_gen_world world;
    uint64_t random;
    /* merchants */
    struct tl_gen_alias merchant_law;
    uint32_t *merchant_visitors;
    uint32_t *merchant_paths;
    double *path_below; /* cumulative Zipf weight of path index i */
    uint32_t *path_guide;
    /* the curve of the day: cumulative weight at the beginning of each hour */
    double *hour_below;
    uint32_t hours, hour;
    int64_t from_ms, end_ms;
    uint32_t length_below[64]; /* of a session, cumulative, of 2^32 */
    /* sessions that have events to come */
    struct tl_gen_session *sessions;
    uint32_t *free_sessions;
    uint32_t session_capacity, session_used, free_count;
    char *fragments; /* TL_GEN_FRAGMENT_MAX × 2 per slot; text forms only */
    int64_t next_start_ms;
    uint32_t next_length;
    bool next_drawn;
    /* events by arrival: a ring of buckets, 2^bucket_shift ms each */
    struct tl_gen_chunk **ring;
    struct tl_gen_chunk *free_chunks;
    uint32_t ring_mask, bucket_shift;
    uint64_t bucket; /* that `sorted` was taken from, counted from from_ms; the next to take + 1 */
    struct tl_gen_event *events, *sorted;
    uint64_t *keys, *keys_other;
    uint32_t sorted_count, sorted_next, sorted_capacity;
    uint64_t created, emitted;
    /* statistics */
    struct tl_generator_stats stats;
    uint64_t *pair_bits, *path_bits[4];
    uint64_t *pair_first; /* of merchant i in pair_bits */
    /* batches */
    struct tl_batch_writer *batch;
    uint32_t epoch;
    uint64_t *host_codes; /* per merchant: epoch << 32 | code */
    struct tl_gen_codes visitor_codes, path_codes, query_codes;
};

/* The next event in order of arrival, or NULL when all are out or memory is (told by st). It lives
 * until the next call; tl__gen_release gives its session up. */
const struct tl_gen_event *tl__gen_next(struct tl_generator *g, struct tl_status *st);
void tl__gen_release(struct tl_generator *g, const struct tl_gen_event *e);

/* Strings made from identities; the text is not terminated. Answer the size, at most
 * TL_GEN_TEXT_MAX. */
uint32_t tl__gen_path_text(uint32_t path, char *out);
uint32_t tl__gen_query_text(const struct tl_gen_world *w, uint32_t query, char *out);
uint32_t tl__gen_host_text(const struct tl_generator *g, uint32_t merchant, char *out);
uint32_t tl__gen_referrer_text(uint32_t referrer, char *out);
uint32_t tl__gen_props(const struct tl_generator *g, const struct tl_gen_event *e, uint64_t at,
                       const char *keys[4], char values[4][24]);
uint64_t tl__gen_event_hash(const struct tl_generator *g, uint64_t at);

void tl__gen_out_deinit(struct tl_generator *g);

#endif
