/*
 * base/int128.h: 128-bit integers under names that a pedantic compiler accepts.
 */
#ifndef TALLY_BASE_INT128_H
#define TALLY_BASE_INT128_H

__extension__ typedef __int128 tl_i128;
__extension__ typedef unsigned __int128 tl_u128;

#endif
