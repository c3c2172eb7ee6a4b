/*
 * The k-th smallest of many numbers.
 *
 * Many values are counted by the upper bits of their distance from the least one; those of the
 * place that holds the k-th are moved to the front, and are all that is left to look at. That is
 * three passes in order, whose branches can be foreseen, for almost any distribution; each time the
 * values left span a 2,048th of the range, so it ends. Few values are selected by partitioning.
 */
#include "query/select_kth.h"

#include <stdbool.h>
#include <string.h>

#include "base/assert.h"

enum {
    PLACE_BITS = 11,
    PLACES = 1 << PLACE_BITS,
    FEW = 2 * PLACES /* below, clearing and adding up the counts costs more than it saves */
};

/* By partitioning. */
static int64_t quick_select(int64_t *v, size_t n, size_t k)
{
    size_t lo = 0;
    size_t hi = n - 1;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int64_t a = v[lo];
        int64_t b = v[mid];
        int64_t c = v[hi];
        int64_t pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        size_t i = lo;
        size_t j = hi;
        for (;;) {
            while (v[i] < pivot)
                i++;
            while (v[j] > pivot)
                j--;
            if (i >= j)
                break;
            int64_t t = v[i];
            v[i++] = v[j];
            v[j--] = t;
        }
        /* left of i nothing is greater than the pivot, right of j nothing smaller */
        if (v[j] > pivot && j > lo)
            j--;
        if (k <= j)
            hi = j;
        else
            lo = j + 1;
    }
    return v[k];
}

int64_t tl__select_kth(int64_t *v, size_t n, size_t k)
{
    tl_assert(k < n);
    size_t counts[PLACES];
    while (n >= FEW) {
        int64_t least = v[0];
        int64_t greatest = v[0];
        for (size_t i = 1; i < n; i++) {
            least = v[i] < least ? v[i] : least;
            greatest = v[i] > greatest ? v[i] : greatest;
        }
        if (least == greatest)
            return least;
        uint64_t base = (uint64_t)least;
        uint32_t bits = 64 - (uint32_t)__builtin_clzll((uint64_t)greatest - base);
        uint32_t shift = bits > PLACE_BITS ? bits - PLACE_BITS : 0;
        memset(counts, 0, sizeof(counts));
        for (size_t i = 0; i < n; i++)
            counts[((uint64_t)v[i] - base) >> shift]++;
        size_t place = 0;
        while (k >= counts[place])
            k -= counts[place++];
        if (shift == 0)
            return (int64_t)(base + place);
        size_t kept = 0;
        for (size_t i = 0; i < n; i++) {
            int64_t x = v[i];
            if (((uint64_t)x - base) >> shift == place) {
                v[i] = v[kept];
                v[kept++] = x;
            }
        }
        n = kept;
    }
    return quick_select(v, n, k);
}
