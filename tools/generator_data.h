/*
 * tools/generator_data.h: the lists of names that the traffic generator draws from.
 *
 * Ownership  constants.
 * Threads    any.
 */
#ifndef TALLY_TOOLS_GENERATOR_DATA_H
#define TALLY_TOOLS_GENERATOR_DATA_H

#include <stdint.h>

struct tl_gen_country {
    const char *code;
    const char *currency;
    const char *languages; /* "en-US:85,es-US:15": weights in percent */
    const char *places;    /* "Region:City,City;Region:City…", larger ones first */
};

/* In order of weight (Zipf); no city and no region stands in two countries. */
extern const struct tl_gen_country tl_gen_countries[];
extern const uint32_t tl_gen_country_count;

struct tl_gen_referrer {
    const char *url;
    uint32_t weight;
    uint32_t tail; /* > 0: a number below this follows the url */
};
extern const struct tl_gen_referrer tl_gen_referrers[];
extern const uint32_t tl_gen_referrer_count;

struct tl_gen_medium {
    const char *source, *medium, *referrer;
    uint32_t weight;
};
extern const struct tl_gen_medium tl_gen_mediums[];
extern const uint32_t tl_gen_medium_count;

extern const char *const tl_gen_campaigns[];
extern const uint32_t tl_gen_campaign_count;
extern const char *const tl_gen_contents[];
extern const uint32_t tl_gen_content_count;
extern const char *const tl_gen_terms[];
extern const uint32_t tl_gen_term_count;

/* Parts of a product's slug. */
enum { TL_GEN_ADJECTIVES = 60, TL_GEN_COLORS = 24, TL_GEN_NOUNS = 70, TL_GEN_NUMBERS = 130 };
extern const char *const tl_gen_adjectives[TL_GEN_ADJECTIVES];
extern const char *const tl_gen_colors[TL_GEN_COLORS];
extern const char *const tl_gen_nouns[TL_GEN_NOUNS];

extern const char *const tl_gen_android_models[];
extern const uint32_t tl_gen_android_model_count;
extern const char *const tl_gen_samsung_models[];
extern const uint32_t tl_gen_samsung_model_count;

#endif
