/*
 * tools/generator_world.c: places, languages, screens and about 3,000 user agents, with the
 * laws by which a visitor gets them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tools/generator_int.h"

const char *const tl_gen_common_paths[] = {"/",
                                           "/cart",
                                           "/checkout",
                                           "/checkout/thank-you",
                                           "/search",
                                           "/account",
                                           "/collections/all",
                                           "/collections/new",
                                           "/collections/sale",
                                           "/collections/bestsellers",
                                           "/pages/about",
                                           "/pages/contact",
                                           "/pages/faq",
                                           "/pages/shipping",
                                           "/pages/returns",
                                           "/pages/size-guide",
                                           "/blogs/news",
                                           "/account/login",
                                           "/account/register",
                                           "/wishlist",
                                           "/gift-cards",
                                           "/pages/stores",
                                           "/policies/privacy-policy",
                                           "/policies/terms-of-service"};
const uint32_t tl_gen_common_path_count =
    sizeof(tl_gen_common_paths) / sizeof(tl_gen_common_paths[0]);

/* The place of a string in a list, which is lengthened when the string is new. UINT32_MAX: no
 * memory. Lists are short and filled once: a linear search does. */
static uint32_t list_add(struct tl_gen_list *l, const char *text, size_t size, bool search)
{
    struct tl_slice s = tl_slice_of(text, size);
    for (uint32_t i = 0; search && i < l->count; i++)
        if (tl_slice_eq(l->values[i], s))
            return i;
    if (l->count == l->capacity) {
        uint32_t capacity = l->capacity ? l->capacity * 2 : 32;
        struct tl_slice *values = realloc(l->values, capacity * sizeof(*values));
        if (!values)
            return UINT32_MAX;
        l->values = values;
        l->capacity = capacity;
    }
    char *copy = malloc(size + 1);
    if (!copy)
        return UINT32_MAX;
    memcpy(copy, text, size);
    copy[size] = 0;
    l->values[l->count] = tl_slice_of(copy, size);
    return l->count++;
}

static uint32_t list_put(struct tl_gen_list *l, const char *text)
{
    return list_add(l, text, strlen(text), true);
}

static void list_deinit(struct tl_gen_list *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        free((void *)(uintptr_t)l->values[i].data);
    free(l->values);
    free(l->codes);
}

/* ---- places and languages ---- */

static void add_languages(struct tl_gen_world *w, const char *text,
                          struct tl_gen_country_part *part)
{
    double below = 0.0;
    while (*text && part->language_count < 4) {
        size_t size = strcspn(text, ":");
        uint32_t index = list_add(&w->languages, text, size, true);
        below += strtod(text + size + 1, NULL) / 100.0;
        part->language[part->language_count] = (uint16_t)index;
        part->language_below[part->language_count++] =
            below >= 1.0 ? UINT32_MAX : (uint32_t)(below * 4294967296.0);
        text += size;
        text += strcspn(text, ",");
        text += *text == ',';
    }
    tl_assert(part->language_count > 0);
    part->language_below[part->language_count - 1] = UINT32_MAX;
}

static bool add_city(struct tl_gen_world *w, const char *text, size_t size, uint32_t region,
                     uint32_t country)
{
    uint32_t city = list_add(&w->cities, text, size, false);
    if (city == UINT32_MAX)
        return false;
    w->city_region[city] = (uint16_t)region;
    w->city_country[city] = (uint8_t)country;
    w->parts[country].city_count++;
    return true;
}

static bool add_places(struct tl_gen_world *w, const char *text, uint32_t country)
{
    while (*text) {
        size_t size = strcspn(text, ":");
        uint32_t region = list_add(&w->regions, text, size, false);
        if (region == UINT32_MAX)
            return false;
        text += size + 1;
        for (;;) {
            size = strcspn(text, ",;");
            if (!add_city(w, text, size, region, country))
                return false;
            text += size;
            if (*text != ',')
                break;
            text++;
        }
        text += *text == ';';
    }
    return true;
}

/* Cities of a country by Zipf(0.9) in an order that takes each region's first city first. */
static void weigh_cities(struct tl_gen_world *w, const struct tl_gen_country_part *part)
{
    double sum = 0.0;
    uint32_t nth = 0;
    for (uint32_t i = 0; i < part->city_count; i++) {
        uint32_t city = part->city_first + i;
        nth = i && w->city_region[city] == w->city_region[city - 1] ? nth + 1 : 0;
        double place = 1.0 + nth * 2.0 + (w->city_region[city] - w->city_region[part->city_first]);
        sum += tl_gen_exp(-0.9 * tl_gen_log(place));
        w->city_below[city] = sum;
    }
    for (uint32_t i = 0; i < part->city_count; i++)
        w->city_below[part->city_first + i] /= sum;
}

static bool init_places(struct tl_gen_world *w)
{
    enum { CITIES_MAX = 1024 };
    w->city_region = calloc(CITIES_MAX, sizeof(*w->city_region));
    w->city_country = calloc(CITIES_MAX, sizeof(*w->city_country));
    w->city_below = calloc(CITIES_MAX, sizeof(*w->city_below));
    w->parts = calloc(tl_gen_country_count, sizeof(*w->parts));
    w->country_currency = calloc(tl_gen_country_count, sizeof(*w->country_currency));
    double *weights = calloc(tl_gen_country_count, sizeof(*weights));
    bool ok = w->city_region && w->city_country && w->city_below && w->parts &&
              w->country_currency && weights;
    for (uint32_t i = 0; ok && i < tl_gen_country_count; i++) {
        const struct tl_gen_country *c = &tl_gen_countries[i];
        list_put(&w->countries, c->code);
        w->country_currency[i] = (uint16_t)list_put(&w->currencies, c->currency);
        w->parts[i].city_first = w->cities.count;
        add_languages(w, c->languages, &w->parts[i]);
        ok = add_places(w, c->places, i);
        if (ok)
            weigh_cities(w, &w->parts[i]);
        weights[i] = tl_gen_exp(-1.1 * tl_gen_log((double)(i + 1)));
    }
    ok = ok && tl_gen_alias_init(&w->country_law, weights, tl_gen_country_count);
    free(weights);
    return ok;
}

/* ---- user agents ---- */

enum { CHROME, SAFARI, FIREFOX, EDGE, SAMSUNG, OPERA, CHROME_IOS, FACEBOOK };
static const char *const browser_names[] = {"Chrome",           "Safari", "Firefox",    "Edge",
                                            "Samsung Internet", "Opera",  "Chrome iOS", "Facebook"};
enum { WINDOWS, MACOS, LINUX, ANDROID, IOS, IPADOS, CHROME_OS, UBUNTU };
static const char *const system_names[] = {"Windows", "macOS",  "Linux",     "Android",
                                           "iOS",     "iPadOS", "Chrome OS", "Ubuntu"};
static const char *const device_names[] = {"desktop", "mobile", "tablet"};

static bool add_agent(struct tl_gen_world *w, double **weights, const char *text, int browser,
                      const char *version, int os, int device, double weight)
{
    if (w->agent_count == w->agent_capacity) {
        uint32_t capacity = w->agent_capacity ? w->agent_capacity * 2 : 1024;
        struct tl_gen_agent *agents = realloc(w->agents, capacity * sizeof(*agents));
        if (!agents)
            return false;
        w->agents = agents;
        double *grown = realloc(*weights, capacity * sizeof(*grown));
        if (!grown)
            return false;
        *weights = grown;
        w->agent_capacity = capacity;
    }
    uint32_t index = list_add(&w->agent_texts, text, strlen(text), false);
    uint32_t v = list_put(&w->versions, version);
    if (index == UINT32_MAX || v > 255)
        return false;
    w->agents[w->agent_count] = (struct tl_gen_agent){.browser = (uint8_t)browser,
                                                      .os = (uint8_t)os,
                                                      .device = (uint8_t)device,
                                                      .version = (uint8_t)v};
    (*weights)[w->agent_count++] = weight;
    return true;
}

/* The share of the i-th newest of several versions: most people update. */
static double recency(int i)
{
    return tl_gen_exp(-0.45 * i);
}

enum { CHROME_NEWEST = 131, CHROME_VERSIONS = 16, IOS_VERSIONS = 14 };
static const char *const ios_versions[IOS_VERSIONS] = {"18.1", "18.0", "17.6", "17.5", "17.4",
                                                       "17.3", "17.2", "17.1", "17.0", "16.7",
                                                       "16.6", "16.5", "16.3", "15.8"};

static bool add_desktop(struct tl_gen_world *w, double **weights)
{
    static const struct {
        const char *token;
        int os;
        double share;
    } systems[] = {{"Windows NT 10.0; Win64; x64", WINDOWS, 0.68},
                   {"Macintosh; Intel Mac OS X 10_15_7", MACOS, 0.24},
                   {"X11; Linux x86_64", LINUX, 0.04},
                   {"X11; Ubuntu; Linux x86_64", UBUNTU, 0.01},
                   {"X11; CrOS x86_64 14541.0.0", CHROME_OS, 0.03}};
    char text[TL_GEN_TEXT_MAX], version[24];
    bool ok = true;
    for (int s = 0; ok && s < 5; s++) {
        const char *token = systems[s].token;
        double share = systems[s].share;
        for (int i = 0; ok && i < CHROME_VERSIONS; i++) {
            int major = CHROME_NEWEST - i;
            snprintf(version, sizeof(version), "%d.0", major);
            snprintf(text, sizeof(text),
                     "Mozilla/5.0 (%s) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/%d.0.0.0 "
                     "Safari/537.36",
                     token, major);
            ok = add_agent(w, weights, text, CHROME, version, systems[s].os, TL_GEN_DESKTOP,
                           27.0 * share * recency(i));
            if (ok && i < 8 && s < 2) {
                for (int build = 0; ok && build < 6; build++) {
                    snprintf(text, sizeof(text),
                             "Mozilla/5.0 (%s) AppleWebKit/537.36 (KHTML, like Gecko) "
                             "Chrome/%d.0.0.0 Safari/537.36 Edg/%d.0.%d.%d",
                             token, major, major, 2903 - i * 54, 48 + build * 17);
                    ok = add_agent(w, weights, text, EDGE, version, systems[s].os, TL_GEN_DESKTOP,
                                   6.0 * share * recency(i) / 6.0);
                }
            }
            if (ok && i < 8 && s < 4) {
                snprintf(version, sizeof(version), "%d.0", CHROME_NEWEST - 16 - i);
                snprintf(text, sizeof(text),
                         "Mozilla/5.0 (%s) AppleWebKit/537.36 (KHTML, like Gecko) "
                         "Chrome/%d.0.0.0 Safari/537.36 OPR/%d.0.0.0",
                         token, major, CHROME_NEWEST - 16 - i);
                ok = add_agent(w, weights, text, OPERA, version, systems[s].os, TL_GEN_DESKTOP,
                               2.2 * share * recency(i));
            }
        }
        for (int i = 0; ok && i < 12 && s < 4; i++) {
            int major = 133 - i;
            snprintf(version, sizeof(version), "%d.0", major);
            snprintf(text, sizeof(text), "Mozilla/5.0 (%s; rv:%d.0) Gecko/20100101 Firefox/%d.0",
                     token, major, major);
            ok = add_agent(w, weights, text, FIREFOX, version, systems[s].os, TL_GEN_DESKTOP,
                           3.4 * share * recency(i));
        }
    }
    for (int i = 0; ok && i < IOS_VERSIONS; i++) {
        snprintf(
            text, sizeof(text),
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like "
            "Gecko) Version/%s Safari/605.1.15",
            ios_versions[i]);
        ok = add_agent(w, weights, text, SAFARI, ios_versions[i], MACOS, TL_GEN_DESKTOP,
                       5.5 * recency(i));
    }
    return ok;
}

static bool add_ios(struct tl_gen_world *w, double **weights)
{
    char text[TL_GEN_TEXT_MAX], version[24], system[16];
    bool ok = true;
    for (int i = 0; ok && i < IOS_VERSIONS; i++) {
        snprintf(system, sizeof(system), "%s", ios_versions[i]);
        for (char *p = system; *p; p++)
            *p = *p == '.' ? '_' : *p;
        for (int pad = 0; ok && pad < 2; pad++) {
            const char *token = pad ? "iPad; CPU OS" : "iPhone; CPU iPhone OS";
            int os = pad ? IPADOS : IOS;
            int device = pad ? TL_GEN_TABLET : TL_GEN_MOBILE;
            double share = (pad ? 0.09 : 0.91) * recency(i);
            snprintf(text, sizeof(text),
                     "Mozilla/5.0 (%s %s like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
                     "Version/%s Mobile/15E148 Safari/604.1",
                     token, system, ios_versions[i]);
            ok = add_agent(w, weights, text, SAFARI, ios_versions[i], os, device, 26.0 * share);
            for (int c = 0; ok && c < 12; c++) {
                snprintf(version, sizeof(version), "%d.0", CHROME_NEWEST - c);
                snprintf(text, sizeof(text),
                         "Mozilla/5.0 (%s %s like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
                         "Gecko) CriOS/%d.0.6778.%d Mobile/15E148 Safari/604.1",
                         token, system, CHROME_NEWEST - c, 73 + c * 9);
                ok = add_agent(w, weights, text, CHROME_IOS, version, os, device,
                               3.0 * share * recency(c) / 2.7);
            }
            for (int c = 0; ok && c < 6; c++) {
                snprintf(version, sizeof(version), "%d.0", 490 - c * 2);
                snprintf(text, sizeof(text),
                         "Mozilla/5.0 (%s %s like Mac OS X) AppleWebKit/605.1.15 (KHTML, like "
                         "Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/%d.0.0.32.%d;FBRV/0]",
                         token, system, 490 - c * 2, 100 + c);
                ok = add_agent(w, weights, text, FACEBOOK, version, os, device,
                               2.4 * share * recency(c) / 2.5);
            }
        }
    }
    return ok;
}

static bool add_android(struct tl_gen_world *w, double **weights)
{
    char text[TL_GEN_TEXT_MAX], version[24];
    bool ok = true;
    for (uint32_t m = 0; ok && m < tl_gen_android_model_count; m++) {
        double model = tl_gen_exp(-0.8 * tl_gen_log((double)(m + 2)));
        for (int a = 0; ok && a < 2; a++) {
            int android = 14 - (int)(m % 4) - a;
            for (int i = 0; ok && i < CHROME_VERSIONS - 2; i++) {
                snprintf(version, sizeof(version), "%d.0", CHROME_NEWEST - i);
                snprintf(text, sizeof(text),
                         "Mozilla/5.0 (Linux; Android %d; %s) AppleWebKit/537.36 (KHTML, like "
                         "Gecko) Chrome/%d.0.0.0 Mobile Safari/537.36",
                         android, tl_gen_android_models[m], CHROME_NEWEST - i);
                ok = add_agent(w, weights, text, CHROME, version, ANDROID, TL_GEN_MOBILE,
                               1.4 * model * recency(i) * (a ? 0.35 : 0.65));
            }
        }
    }
    for (uint32_t m = 0; ok && m < tl_gen_samsung_model_count; m++) {
        double model = tl_gen_exp(-0.8 * tl_gen_log((double)(m + 2)));
        for (int i = 0; ok && i < 8; i++) {
            snprintf(version, sizeof(version), "%d.0", 27 - i);
            snprintf(text, sizeof(text),
                     "Mozilla/5.0 (Linux; Android %d; SAMSUNG %s) AppleWebKit/537.36 (KHTML, like "
                     "Gecko) SamsungBrowser/%d.0 Chrome/%d.0.0.0 Mobile Safari/537.36",
                     14 - (int)(m % 3), tl_gen_samsung_models[m], 27 - i, 125 - i * 4);
            ok = add_agent(w, weights, text, SAMSUNG, version, ANDROID, TL_GEN_MOBILE,
                           0.33 * model * recency(i));
        }
    }
    for (int i = 0; ok && i < 10; i++) {
        for (int tablet = 0; ok && tablet < 6; tablet++) {
            snprintf(version, sizeof(version), "%d.0", CHROME_NEWEST - i);
            snprintf(text, sizeof(text),
                     "Mozilla/5.0 (Linux; Android 13; SM-X%d00) AppleWebKit/537.36 (KHTML, like "
                     "Gecko) Chrome/%d.0.0.0 Safari/537.36",
                     tablet + 2, CHROME_NEWEST - i);
            ok = add_agent(w, weights, text, CHROME, version, ANDROID, TL_GEN_TABLET,
                           0.2 * recency(i));
        }
    }
    return ok;
}

static bool init_agents(struct tl_gen_world *w)
{
    double *weights = NULL;
    for (int i = 0; i < 8; i++) {
        list_put(&w->browsers, browser_names[i]);
        list_put(&w->systems, system_names[i]);
    }
    for (int i = 0; i < 3; i++)
        list_put(&w->devices, device_names[i]);
    bool ok = add_desktop(w, &weights) && add_ios(w, &weights) && add_android(w, &weights) &&
              tl_gen_alias_init(&w->agent_law, weights, w->agent_count);
    free(weights);
    return ok;
}

/* ---- the rest ---- */

static bool init_screens(struct tl_gen_world *w)
{
    static const struct {
        const char *size;
        double weight;
    } screens[3][12] = {{{"1920x1080", 38},
                         {"1536x864", 14},
                         {"1366x768", 12},
                         {"2560x1440", 9},
                         {"1440x900", 8},
                         {"1280x720", 5},
                         {"1600x900", 4},
                         {"1728x1117", 4},
                         {"3840x2160", 3},
                         {"1680x1050", 3}},
                        {{"390x844", 24},
                         {"393x852", 18},
                         {"360x800", 17},
                         {"412x915", 12},
                         {"430x932", 8},
                         {"414x896", 8},
                         {"375x812", 7},
                         {"375x667", 3},
                         {"384x832", 3}},
                        {{"768x1024", 40}, {"820x1180", 30}, {"834x1194", 15}, {"800x1280", 15}}};
    for (int d = 0; d < 3; d++) {
        double weights[12];
        uint32_t count = 0;
        for (; count < 12 && screens[d][count].size; count++) {
            uint32_t index = list_put(&w->screens, screens[d][count].size);
            if (index == UINT32_MAX)
                return false;
            w->screen_of[d][count] = (uint8_t)index;
            weights[count] = screens[d][count].weight;
        }
        if (!tl_gen_alias_init(&w->screen_law[d], weights, count))
            return false;
    }
    return true;
}

static bool init_sources(struct tl_gen_world *w)
{
    double weights[64];
    tl_assert(tl_gen_referrer_count <= 64 && tl_gen_medium_count <= 64);
    for (uint32_t i = 0; i < tl_gen_referrer_count; i++)
        weights[i] = tl_gen_referrers[i].weight;
    if (!tl_gen_alias_init(&w->referrer_law, weights, tl_gen_referrer_count))
        return false;
    for (uint32_t i = 0; i < tl_gen_medium_count; i++) {
        weights[i] = tl_gen_mediums[i].weight;
        list_put(&w->sources, tl_gen_mediums[i].source);
        w->medium_of[i] = (uint8_t)list_put(&w->mediums, tl_gen_mediums[i].medium);
    }
    for (uint32_t i = 0; i < tl_gen_campaign_count; i++)
        list_put(&w->campaigns, tl_gen_campaigns[i]);
    for (uint32_t i = 0; i < tl_gen_content_count; i++)
        list_put(&w->contents, tl_gen_contents[i]);
    for (uint32_t i = 0; i < tl_gen_term_count; i++)
        list_put(&w->terms, tl_gen_terms[i]);
    static const char *const names[TL_GEN_NAME_COUNT] = {
        "pageview",    "scroll",         "click",    "search", "view_item",
        "add_to_cart", "begin_checkout", "purchase", "sign_up"};
    for (int i = 0; i < TL_GEN_NAME_COUNT; i++)
        list_put(&w->names, names[i]);
    return tl_gen_alias_init(&w->medium_law, weights, tl_gen_medium_count);
}

enum { LISTS = 17 };
static void lists_of(struct tl_gen_world *w, struct tl_gen_list *out[LISTS])
{
    struct tl_gen_list *all[LISTS] = {
        &w->countries, &w->regions, &w->cities,    &w->languages, &w->currencies,  &w->browsers,
        &w->versions,  &w->systems, &w->devices,   &w->screens,   &w->agent_texts, &w->names,
        &w->mediums,   &w->sources, &w->campaigns, &w->contents,  &w->terms};
    memcpy(out, all, sizeof(all));
}

enum tl_code tl__gen_world_init(struct tl_gen_world *w, struct tl_status *st)
{
    bool ok = init_places(w) && init_agents(w) && init_screens(w) && init_sources(w);
    struct tl_gen_list *lists[LISTS];
    lists_of(w, lists);
    for (int i = 0; ok && i < LISTS; i++) {
        lists[i]->codes = calloc(lists[i]->count, sizeof(uint64_t));
        ok = lists[i]->codes != NULL;
    }
    if (!ok)
        return TL_FAIL(st, TL_LIMIT, "no memory for the lists of names");
    tl_gen_exponential(&w->gap_ms, 60000.0, 1500000);
    tl_gen_lognormal(&w->duration_ms, 9000.0, 1.1, 1800000);
    tl_gen_lognormal(&w->revenue_cents, 4800.0, 0.8, 100000000);
    tl_gen_lognormal(&w->bytes, 18000.0, 1.2, 20000000);
    return TL_OK;
}

void tl__gen_world_deinit(struct tl_gen_world *w)
{
    struct tl_gen_list *lists[LISTS];
    lists_of(w, lists);
    for (int i = 0; i < LISTS; i++)
        list_deinit(lists[i]);
    free(w->city_region);
    free(w->city_country);
    free(w->city_below);
    free(w->parts);
    free(w->country_currency);
    free(w->agents);
    tl_gen_alias_deinit(&w->country_law);
    tl_gen_alias_deinit(&w->agent_law);
    tl_gen_alias_deinit(&w->referrer_law);
    tl_gen_alias_deinit(&w->medium_law);
    for (int d = 0; d < 3; d++)
        tl_gen_alias_deinit(&w->screen_law[d]);
}
