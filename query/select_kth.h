/*
 * query/select_kth.h: the k-th smallest of many numbers, for exact percentiles.
 *
 * Ownership  the values are the caller's and are reordered, none is lost.
 * Threads    no shared state: any thread, any number at once.
 * Units      counts of values; k counts from 0.
 * Errors     none; n must be greater than k.
 */
#ifndef TALLY_QUERY_SELECT_KTH_H
#define TALLY_QUERY_SELECT_KTH_H

#include <stddef.h>
#include <stdint.h>

int64_t tl__select_kth(int64_t *v, size_t n, size_t k);

#endif
