/*
 * tools/generator_data.c: the names that generated traffic is made of.
 */
#include "tools/generator_data.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const struct tl_gen_country tl_gen_countries[] = {
    {"US", "USD", "en-US:88,es-US:12",
     "California:Los Angeles,San Francisco,San Diego,San Jose,Sacramento,Fresno,Oakland;"
     "Texas:Houston,Dallas,Austin,San Antonio,Fort Worth,El Paso;"
     "New York:New York City,Buffalo,Rochester,Yonkers,Albany;"
     "Florida:Miami,Orlando,Tampa,Jacksonville;Illinois:Chicago,Aurora,Naperville;"
     "Washington:Seattle,Spokane,Tacoma;Massachusetts:Boston,Worcester,Springfield"},
    {"GB", "GBP", "en-GB:100",
     "England:London,Birmingham,Manchester,Leeds,Liverpool,Bristol,Sheffield,Newcastle,"
     "Nottingham,Leicester;Scotland:Glasgow,Edinburgh,Aberdeen,Dundee;"
     "Wales:Cardiff,Swansea,Newport;Northern Ireland:Belfast,Derry"},
    {"DE", "EUR", "de-DE:94,en-US:6",
     "Nordrhein-Westfalen:Cologne,Dusseldorf,Dortmund,Essen,Bonn;"
     "Bayern:Munich,Nuremberg,Augsburg;Berlin:Berlin;Hamburg:Hamburg;"
     "Baden-Wurttemberg:Stuttgart,Karlsruhe,Mannheim;Hessen:Frankfurt,Wiesbaden,Kassel;"
     "Sachsen:Leipzig,Dresden"},
    {"FR", "EUR", "fr-FR:97,en-US:3",
     "Ile-de-France:Paris,Boulogne-Billancourt,Versailles;"
     "Auvergne-Rhone-Alpes:Lyon,Grenoble,Saint-Etienne;"
     "Provence-Alpes-Cote d'Azur:Marseille,Nice,Toulon;Occitanie:Toulouse,Montpellier;"
     "Nouvelle-Aquitaine:Bordeaux,Limoges,Poitiers"},
    {"CA", "CAD", "en-CA:80,fr-CA:20",
     "Ontario:Toronto,Ottawa,Mississauga,Hamilton ON;Quebec:Montreal,Quebec City,Laval;"
     "British Columbia:Vancouver,Surrey,Victoria BC;Alberta:Calgary,Edmonton;"
     "Manitoba:Winnipeg,Brandon"},
    {"AU", "AUD", "en-AU:100",
     "New South Wales:Sydney,Newcastle NSW,Wollongong;Victoria:Melbourne,Geelong,Ballarat;"
     "Queensland:Brisbane,Gold Coast,Cairns;Western Australia:Perth,Fremantle;"
     "South Australia:Adelaide"},
    {"NL", "EUR", "nl-NL:90,en-US:10",
     "Noord-Holland:Amsterdam,Haarlem,Zaandam;Zuid-Holland:Rotterdam,The Hague,Leiden;"
     "Utrecht:Utrecht City,Amersfoort;Noord-Brabant:Eindhoven,Tilburg,Breda;"
     "Gelderland:Nijmegen,Arnhem"},
    {"ES", "EUR", "es-ES:88,ca-ES:12",
     "Madrid:Madrid City,Alcala de Henares;Cataluna:Barcelona,Girona,Tarragona;"
     "Andalucia:Seville,Malaga,Granada;Comunidad Valenciana:Valencia,Alicante;"
     "Pais Vasco:Bilbao,San Sebastian"},
    {"IT", "EUR", "it-IT:100",
     "Lombardia:Milan,Brescia,Bergamo;Lazio:Rome,Latina;Campania:Naples,Salerno;"
     "Piemonte:Turin,Novara;Emilia-Romagna:Bologna,Parma,Modena"},
    {"SE", "SEK", "sv-SE:92,en-US:8",
     "Stockholm:Stockholm City,Solna;Vastra Gotaland:Gothenburg,Boras;Skane:Malmo,Lund,"
     "Helsingborg;Uppsala:Uppsala City;Ostergotland:Linkoping,Norrkoping"},
    {"PL", "PLN", "pl-PL:100",
     "Mazowieckie:Warsaw,Radom;Malopolskie:Krakow,Tarnow;Dolnoslaskie:Wroclaw,Legnica;"
     "Wielkopolskie:Poznan,Kalisz;Pomorskie:Gdansk,Gdynia,Sopot"},
    {"BR", "BRL", "pt-BR:100",
     "Sao Paulo:Sao Paulo City,Campinas,Santos,Ribeirao Preto;Rio de Janeiro:Rio,Niteroi;"
     "Minas Gerais:Belo Horizonte,Uberlandia;Bahia:Salvador,Feira de Santana;"
     "Parana:Curitiba,Londrina"},
    {"MX", "MXN", "es-MX:100",
     "Ciudad de Mexico:Mexico City;Jalisco:Guadalajara,Zapopan;Nuevo Leon:Monterrey,"
     "San Pedro;Puebla:Puebla City,Cholula;Yucatan:Merida,Valladolid"},
    {"IN", "INR", "en-IN:80,hi-IN:20",
     "Maharashtra:Mumbai,Pune,Nagpur,Nashik;Delhi:New Delhi,Dwarka;Karnataka:Bengaluru,"
     "Mysuru;Tamil Nadu:Chennai,Coimbatore,Madurai;Telangana:Hyderabad,Warangal"},
    {"JP", "JPY", "ja-JP:100",
     "Tokyo:Shinjuku,Shibuya,Minato,Hachioji;Osaka:Osaka City,Sakai;Aichi:Nagoya,Toyota;"
     "Fukuoka:Fukuoka City,Kitakyushu;Hokkaido:Sapporo,Asahikawa"},
    {"KR", "KRW", "ko-KR:100",
     "Seoul:Gangnam,Mapo,Jongno;Gyeonggi:Suwon,Seongnam,Goyang;Busan:Haeundae,Saha;"
     "Incheon:Bupyeong,Namdong;Daegu:Suseong,Dalseo"},
    {"CN", "CNY", "zh-CN:100",
     "Guangdong:Shenzhen,Guangzhou,Dongguan;Shanghai:Pudong,Minhang;Beijing:Haidian,"
     "Chaoyang;Zhejiang:Hangzhou,Ningbo;Sichuan:Chengdu,Mianyang"},
    {"TR", "TRY", "tr-TR:100",
     "Istanbul:Kadikoy,Besiktas,Uskudar;Ankara:Cankaya,Kecioren;Izmir:Konak,Bornova;"
     "Bursa:Nilufer,Osmangazi;Antalya:Muratpasa,Alanya"},
    {"CH", "CHF", "de-CH:70,fr-CH:30",
     "Zurich:Zurich City,Winterthur;Geneva:Geneva City,Carouge;Bern:Bern City,Thun;"
     "Vaud:Lausanne,Montreux;Basel-Stadt:Basel,Riehen"},
    {"AT", "EUR", "de-AT:100",
     "Wien:Vienna;Steiermark:Graz,Leoben;Oberosterreich:Linz,Wels;"
     "Salzburg:Salzburg City,Hallein;Tirol:Innsbruck,Kufstein"},
    {"BE", "EUR", "nl-BE:58,fr-BE:42",
     "Brussels:Brussels City,Ixelles;Antwerpen:Antwerp,Mechelen;Oost-Vlaanderen:Ghent,Aalst;"
     "Liege:Liege City,Verviers;Hainaut:Charleroi,Mons"},
    {"DK", "DKK", "da-DK:100",
     "Hovedstaden:Copenhagen,Frederiksberg;Midtjylland:Aarhus,Randers;"
     "Syddanmark:Odense,Esbjerg;Nordjylland:Aalborg;Sjaelland:Roskilde,Naestved"},
    {"NO", "NOK", "nb-NO:100",
     "Oslo:Oslo City;Vestland:Bergen,Voss;Rogaland:Stavanger,Sandnes;"
     "Trondelag:Trondheim,Steinkjer;Agder:Kristiansand,Arendal"},
    {"FI", "EUR", "fi-FI:100",
     "Uusimaa:Helsinki,Espoo,Vantaa;Pirkanmaa:Tampere,Nokia;Varsinais-Suomi:Turku,Salo;"
     "Pohjois-Pohjanmaa:Oulu,Raahe;Keski-Suomi:Jyvaskyla"},
    {"IE", "EUR", "en-IE:100",
     "Leinster:Dublin,Kilkenny,Drogheda;Munster:Cork,Limerick,Waterford;"
     "Connacht:Galway,Sligo;Ulster:Letterkenny;Midlands:Athlone"},
    {"PT", "EUR", "pt-PT:100",
     "Lisboa:Lisbon,Sintra,Cascais;Norte:Porto,Braga;Centro:Coimbra,Aveiro;Algarve:Faro,"
     "Lagos PT;Alentejo:Evora,Beja"},
    {"CZ", "CZK", "cs-CZ:100",
     "Praha:Prague;Jihomoravsky:Brno,Znojmo;Moravskoslezsky:Ostrava,Opava;Plzensky:Plzen,"
     "Klatovy;Olomoucky:Olomouc,Prostejov"},
    {"ZA", "ZAR", "en-ZA:100",
     "Gauteng:Johannesburg,Pretoria,Soweto;Western Cape:Cape Town,Stellenbosch,Paarl;"
     "KwaZulu-Natal:Durban,Pietermaritzburg;Eastern Cape:Gqeberha,East London;"
     "Free State:Bloemfontein"},
    {"NZ", "NZD", "en-NZ:100",
     "Auckland:Auckland City,Manukau;Wellington:Wellington City,Lower Hutt;"
     "Canterbury:Christchurch,Timaru;Waikato:Hamilton NZ,Taupo;Otago:Dunedin,Queenstown"},
    {"AR", "ARS", "es-AR:100",
     "Buenos Aires:Buenos Aires City,La Plata,Mar del Plata;Cordoba:Cordoba City,Rio Cuarto;"
     "Santa Fe:Rosario,Santa Fe City;Mendoza:Mendoza City,San Rafael;Tucuman:San Miguel"},
};
const uint32_t tl_gen_country_count = COUNT(tl_gen_countries);

const struct tl_gen_referrer tl_gen_referrers[] = {
    {"", 4200, 0},
    {"https://www.google.com/", 2600, 0},
    {"https://www.bing.com/", 240, 0},
    {"https://duckduckgo.com/", 150, 0},
    {"https://search.yahoo.com/", 70, 0},
    {"https://www.ecosia.org/", 30, 0},
    {"https://yandex.com/", 20, 0},
    {"https://www.baidu.com/", 15, 0},
    {"https://m.facebook.com/", 420, 0},
    {"https://l.facebook.com/", 180, 0},
    {"https://www.facebook.com/", 90, 0},
    {"https://l.instagram.com/", 390, 0},
    {"https://www.instagram.com/", 110, 0},
    {"https://www.tiktok.com/", 160, 0},
    {"https://t.co/", 60, 0},
    {"https://www.pinterest.com/", 120, 0},
    {"https://www.pinterest.com/pin/", 60, 3000},
    {"https://www.youtube.com/", 90, 0},
    {"https://www.youtube.com/watch?v=review", 30, 1000},
    {"https://www.reddit.com/", 60, 0},
    {"https://www.reddit.com/r/deals/comments/", 30, 2000},
    {"https://www.linkedin.com/", 30, 0},
    {"https://news.ycombinator.com/", 10, 0},
    {"https://www.etsy.com/", 20, 0},
    {"https://www.amazon.com/", 25, 0},
    {"https://www.ebay.com/", 15, 0},
    {"https://www.trustpilot.com/", 20, 0},
    {"https://mail.google.com/", 40, 0},
    {"https://outlook.live.com/", 30, 0},
    {"https://web.whatsapp.com/", 25, 0},
    {"https://www.google.co.uk/", 90, 0},
    {"https://www.google.de/", 80, 0},
    {"https://www.google.fr/", 60, 0},
    {"https://www.google.ca/", 40, 0},
    {"https://www.google.com.au/", 40, 0},
    {"https://www.google.nl/", 25, 0},
    {"https://www.google.es/", 25, 0},
    {"https://www.google.it/", 20, 0},
    {"https://www.google.com.br/", 20, 0},
    {"https://www.google.co.in/", 20, 0},
    {"https://www.google.co.jp/", 15, 0},
    {"https://blog.fashionweekly.example/lookbook/", 40, 400},
    {"https://www.dealhunter.example/offers/", 40, 800},
    {"https://homeandliving.example/ideas/", 30, 500},
    {"https://giftguide.example/best-of/", 25, 200},
    {"https://www.outdoorgear.example/reviews/", 20, 300},
    {"https://coupons.example/store/", 35, 600},
    {"https://newsletter.example/issue/", 20, 150},
};
const uint32_t tl_gen_referrer_count = COUNT(tl_gen_referrers);

const struct tl_gen_medium tl_gen_mediums[] = {
    {"google", "cpc", "https://www.google.com/", 38},
    {"facebook", "paid_social", "https://m.facebook.com/", 18},
    {"instagram", "paid_social", "https://l.instagram.com/", 12},
    {"newsletter", "email", "", 14},
    {"tiktok", "paid_social", "https://www.tiktok.com/", 5},
    {"bing", "cpc", "https://www.bing.com/", 4},
    {"pinterest", "social", "https://www.pinterest.com/", 3},
    {"affiliate", "affiliate", "https://www.dealhunter.example/", 3},
    {"youtube", "video", "https://www.youtube.com/", 2},
    {"klaviyo", "email", "", 1},
};
const uint32_t tl_gen_medium_count = COUNT(tl_gen_mediums);

const char *const tl_gen_campaigns[] = {
    "spring_sale",    "summer_sale",    "winter_sale",       "black_friday",   "cyber_monday",
    "new_arrivals",   "brand",          "brand_exact",       "retargeting",    "abandoned_cart",
    "welcome_series", "back_in_stock",  "loyalty",           "mothers_day",    "fathers_day",
    "valentines",     "back_to_school", "halloween",         "holiday_gifts",  "clearance",
    "bestsellers",    "free_shipping",  "prospecting_broad", "lookalike_1pct", "shopping_all",
    "shopping_top",   "dynamic_ads",    "influencer",        "giveaway",       "weekly_digest",
    "product_launch", "vip_early",      "refer_a_friend",    "outlet",         "limited_edition",
    "competitor",     "generic",        "performance_max",   "video_reach",    "reactivation",
};
const uint32_t tl_gen_campaign_count = COUNT(tl_gen_campaigns);

const char *const tl_gen_contents[] = {"hero",     "banner_a", "banner_b",  "carousel", "story",
                                       "text_ad",  "footer",   "button",    "image_1",  "image_2",
                                       "video_15", "video_30", "logo_link", "grid",     "headline"};
const uint32_t tl_gen_content_count = COUNT(tl_gen_contents);

const char *const tl_gen_terms[] = {
    "running shoes", "summer dress", "leather bag",     "gift ideas",   "coffee beans",
    "wool sweater",  "yoga mat",     "desk lamp",       "phone case",   "linen shirt",
    "winter boots",  "face cream",   "protein bar",     "garden tools", "kids toys",
    "office chair",  "ceramic mug",  "silver earrings", "rain jacket",  "dog bed"};
const uint32_t tl_gen_term_count = COUNT(tl_gen_terms);

const char *const tl_gen_adjectives[TL_GEN_ADJECTIVES] = {
    "classic",    "modern",    "vintage",  "organic",  "premium",  "slim-fit", "relaxed",
    "cozy",       "soft",      "light",    "heavy",    "compact",  "travel",   "everyday",
    "essential",  "signature", "limited",  "handmade", "recycled", "natural",  "brushed",
    "woven",      "knitted",   "quilted",  "padded",   "hooded",   "cropped",  "oversized",
    "tailored",   "striped",   "printed",  "plain",    "textured", "ribbed",   "stretch",
    "waterproof", "insulated", "foldable", "wireless", "smart",    "mini",     "maxi",
    "double",     "triple",    "deluxe",   "studio",   "urban",    "alpine",   "coastal",
    "nordic",     "desert",    "forest",   "royal",    "retro",    "sport",    "active",
    "summer",     "winter",    "spring",   "autumn"};

const char *const tl_gen_colors[TL_GEN_COLORS] = {
    "black", "white",  "navy",  "grey",   "red",  "blue",  "green",  "beige",
    "brown", "pink",   "olive", "yellow", "teal", "ivory", "purple", "orange",
    "khaki", "silver", "gold",  "coral",  "mint", "rust",  "indigo", "charcoal"};

const char *const tl_gen_nouns[TL_GEN_NOUNS] = {
    "shirt",    "t-shirt",  "jacket",    "hoodie",    "jeans",      "trousers",   "shorts",
    "dress",    "skirt",    "sweater",   "cardigan",  "coat",       "blazer",     "socks",
    "sneakers", "boots",    "sandals",   "loafers",   "backpack",   "tote-bag",   "wallet",
    "belt",     "cap",      "beanie",    "scarf",     "gloves",     "watch",      "sunglasses",
    "necklace", "earrings", "bracelet",  "ring",      "mug",        "bottle",     "lunch-box",
    "notebook", "pen-set",  "lamp",      "candle",    "vase",       "cushion",    "blanket",
    "rug",      "towel",    "bed-linen", "curtain",   "chair",      "desk",       "shelf",
    "mirror",   "clock",    "poster",    "plant-pot", "knife-set",  "pan",        "teapot",
    "coffee",   "tea",      "chocolate", "soap",      "shampoo",    "face-cream", "perfume",
    "yoga-mat", "dumbbell", "tent",      "lantern",   "headphones", "speaker",    "phone-case"};

const char *const tl_gen_android_models[] = {
    "SM-S928B",         "SM-S918B",    "SM-S911B",       "SM-G991B",    "SM-G998B",
    "SM-G781B",         "SM-A546B",    "SM-A536B",       "SM-A528B",    "SM-A346B",
    "SM-A336B",         "SM-A256B",    "SM-A155F",       "SM-A146P",    "SM-A137F",
    "SM-A125F",         "SM-M336B",    "SM-F946B",       "Pixel 8 Pro", "Pixel 8",
    "Pixel 8a",         "Pixel 7 Pro", "Pixel 7",        "Pixel 7a",    "Pixel 6 Pro",
    "Pixel 6",          "Pixel 6a",    "Pixel 5",        "2201116SG",   "2201117TG",
    "2203129G",         "22101316G",   "23021RAA2Y",     "23049PCD8G",  "2312DRA50G",
    "M2101K6G",         "M2102J20SG",  "M2007J20CG",     "CPH2581",     "CPH2449",
    "CPH2357",          "CPH2211",     "RMX3630",        "RMX3511",     "RMX3363",
    "RMX3085",          "V2318",       "V2203",          "V2111",       "NE2213",
    "LE2113",           "DN2103",      "IV2201",         "XQ-DQ54",     "XQ-CT54",
    "motorola edge 40", "moto g84 5G", "moto g54 5G",    "moto g(30)",  "Nokia G60 5G",
    "Nokia X30 5G",     "TECNO KI5k",  "Infinix X6833B", "HUAWEI P30"};
const uint32_t tl_gen_android_model_count = COUNT(tl_gen_android_models);

const char *const tl_gen_samsung_models[] = {
    "SM-S928B", "SM-S926B", "SM-S921B", "SM-S918B", "SM-S916B", "SM-S911B", "SM-S901B", "SM-G998B",
    "SM-G996B", "SM-G991B", "SM-G781B", "SM-A556B", "SM-A546B", "SM-A536B", "SM-A528B", "SM-A346B",
    "SM-A336B", "SM-A256B", "SM-A155F", "SM-A146P", "SM-A137F", "SM-A125F", "SM-M336B", "SM-F946B"};
const uint32_t tl_gen_samsung_model_count = COUNT(tl_gen_samsung_models);
