/*
 * base/zone_int.h: the reader of zone files, for its fuzz target, and the zone abbreviations that
 * PostgreSQL knows by default.
 *
 * Abbreviations: minutes east of Greenwich, whatever the date; where the meaning of an abbreviation
 * has changed over time, the zone that it belongs to stands in its place. In byte order, for a
 * binary search.
 */
#ifndef TALLY_BASE_ZONE_INT_H
#define TALLY_BASE_ZONE_INT_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

struct tl_zone;

/* A zone from a TZif file's bytes; the caller frees it with tl__zone_free(). */
TL_CHECK enum tl_code tl__zone_decode(struct tl_slice file, const char *name, struct tl_zone **out,
                                      struct tl_status *st);
void tl__zone_free(struct tl_zone *z); /* NULL is fine */

struct tl__zone_abbreviation {
    char name[8];     /* lower case */
    int16_t minutes;  /* of zone NULL */
    const char *zone; /* the abbreviation means this zone */
};

/* clang-format off */
static const struct tl__zone_abbreviation tl__zone_abbreviations[] = {
    {"acdt", 630, 0}, {"acsst", 630, 0}, {"acst", 570, 0}, {"act", -300, 0}, {"acwst", 525, 0},
    {"adt", -180, 0}, {"aedt", 660, 0}, {"aesst", 660, 0}, {"aest", 600, 0}, {"aft", 270, 0},
    {"akdt", -480, 0}, {"akst", -540, 0}, {"almst", 420, 0}, {"almt", 360, 0},
    {"amst", 0, "Asia/Yerevan"}, {"amt", -240, 0}, {"anast", 0, "Asia/Anadyr"},
    {"anat", 0, "Asia/Anadyr"}, {"arst", 0, "America/Argentina/Buenos_Aires"},
    {"art", 0, "America/Argentina/Buenos_Aires"}, {"ast", -240, 0}, {"awsst", 540, 0},
    {"awst", 480, 0}, {"azost", 0, 0}, {"azot", -60, 0}, {"azst", 0, "Asia/Baku"},
    {"azt", 0, "Asia/Baku"}, {"bdst", 120, 0}, {"bdt", 360, 0}, {"bnt", 480, 0}, {"bort", 480, 0},
    {"bot", -240, 0}, {"bra", -180, 0}, {"brst", -120, 0}, {"brt", -180, 0}, {"bst", 60, 0},
    {"btt", 360, 0}, {"cadt", 630, 0}, {"cast", 570, 0}, {"cct", 480, 0}, {"cdt", -300, 0},
    {"cest", 120, 0}, {"cet", 60, 0}, {"cetdst", 120, 0}, {"chadt", 825, 0}, {"chast", 765, 0},
    {"chut", 600, 0}, {"ckt", 0, "Pacific/Rarotonga"}, {"clst", -180, 0},
    {"clt", 0, "America/Santiago"}, {"cot", -300, 0}, {"cst", -360, 0}, {"cxt", 420, 0},
    {"davt", 0, "Antarctica/Davis"}, {"ddut", 600, 0}, {"easst", 0, "Pacific/Easter"},
    {"east", 0, "Pacific/Easter"}, {"eat", 180, 0}, {"edt", -240, 0}, {"eest", 180, 0},
    {"eet", 120, 0}, {"eetdst", 180, 0}, {"egst", 0, 0}, {"egt", -60, 0}, {"est", -300, 0},
    {"fet", 180, 0}, {"fjst", 780, 0}, {"fjt", 720, 0}, {"fkst", 0, "Atlantic/Stanley"},
    {"fkt", 0, "Atlantic/Stanley"}, {"fnst", -60, 0}, {"fnt", -120, 0}, {"galt", -360, 0},
    {"gamt", -540, 0}, {"gest", 0, "Asia/Tbilisi"}, {"get", 0, "Asia/Tbilisi"}, {"gft", -180, 0},
    {"gilt", 720, 0}, {"gmt", 0, 0}, {"gyt", 0, "America/Guyana"}, {"hkt", 480, 0},
    {"hst", -600, 0}, {"ict", 420, 0}, {"idt", 180, 0}, {"iot", 0, "Indian/Chagos"},
    {"irkst", 0, "Asia/Irkutsk"}, {"irkt", 0, "Asia/Irkutsk"}, {"irt", 210, 0}, {"ist", 120, 0},
    {"jayt", 540, 0}, {"jst", 540, 0}, {"kdt", 600, 0}, {"kgst", 360, 0},
    {"kgt", 0, "Asia/Bishkek"}, {"kost", 0, "Pacific/Kosrae"}, {"krast", 0, "Asia/Krasnoyarsk"},
    {"krat", 0, "Asia/Krasnoyarsk"}, {"kst", 540, 0}, {"lhdt", 0, "Australia/Lord_Howe"},
    {"lhst", 630, 0}, {"ligt", 600, 0}, {"lint", 0, "Pacific/Kiritimati"},
    {"lkt", 0, "Asia/Colombo"}, {"magst", 0, "Asia/Magadan"}, {"magt", 0, "Asia/Magadan"},
    {"mart", -570, 0}, {"mawt", 0, "Antarctica/Mawson"}, {"mdt", -360, 0}, {"mest", 120, 0},
    {"mesz", 120, 0}, {"met", 60, 0}, {"metdst", 120, 0}, {"mez", 60, 0}, {"mht", 720, 0},
    {"mmt", 390, 0}, {"mpt", 600, 0}, {"msd", 240, 0}, {"msk", 0, "Europe/Moscow"},
    {"mst", -420, 0}, {"must", 300, 0}, {"mut", 240, 0}, {"mvt", 300, 0}, {"myt", 480, 0},
    {"ndt", -150, 0}, {"nft", -210, 0}, {"novst", 0, "Asia/Novosibirsk"},
    {"novt", 0, "Asia/Novosibirsk"}, {"npt", 345, 0}, {"nst", -210, 0},
    {"nut", 0, "Pacific/Niue"}, {"nzdt", 780, 0}, {"nzst", 720, 0}, {"nzt", 720, 0},
    {"omsst", 0, "Asia/Omsk"}, {"omst", 0, "Asia/Omsk"}, {"pdt", -420, 0}, {"pet", -300, 0},
    {"petst", 0, "Asia/Kamchatka"}, {"pett", 0, "Asia/Kamchatka"}, {"pgt", 600, 0},
    {"pht", 480, 0}, {"pkst", 360, 0}, {"pkt", 300, 0}, {"pmdt", -120, 0}, {"pmst", -180, 0},
    {"pont", 660, 0}, {"pst", -480, 0}, {"pwt", 540, 0}, {"pyst", -180, 0},
    {"pyt", 0, "America/Asuncion"}, {"ret", 240, 0}, {"sadt", 630, 0}, {"sast", 120, 0},
    {"sct", 240, 0}, {"sgt", 0, "Asia/Singapore"}, {"taht", -600, 0}, {"tft", 300, 0},
    {"tjt", 300, 0}, {"tkt", 0, "Pacific/Fakaofo"}, {"tmt", 0, "Asia/Ashgabat"}, {"tot", 780, 0},
    {"trut", 600, 0}, {"tvt", 720, 0}, {"uct", 0, 0}, {"ulast", 540, 0},
    {"ulat", 0, "Asia/Ulaanbaatar"}, {"ut", 0, 0}, {"utc", 0, 0}, {"uyst", -120, 0},
    {"uyt", -180, 0}, {"uzst", 360, 0}, {"uzt", 300, 0}, {"vet", 0, "America/Caracas"},
    {"vlast", 0, "Asia/Vladivostok"}, {"vlat", 0, "Asia/Vladivostok"},
    {"volt", 0, "Europe/Volgograd"}, {"vut", 660, 0}, {"wadt", 480, 0}, {"wakt", 720, 0},
    {"wast", 420, 0}, {"wat", 60, 0}, {"wdt", 540, 0}, {"wet", 0, 0}, {"wetdst", 60, 0},
    {"wft", 720, 0}, {"wgst", -120, 0}, {"wgt", -180, 0}, {"xjt", 360, 0},
    {"yakst", 0, "Asia/Yakutsk"}, {"yakt", 0, "Asia/Yakutsk"}, {"yapt", 600, 0},
    {"yekst", 360, 0}, {"yekt", 0, "Asia/Yekaterinburg"}, {"z", 0, 0}, {"zulu", 0, 0},
};
/* clang-format on */

#endif
