/*
 * tools/bench_index.c: would indexes beyond bounds and code sets pay? Prints what they would cost
 * beside what they would save.
 *
 * Usage: bench_index DIR [pack number]
 *
 * DIR holds the packs m-…-<number> of eight shards, as bench_segment leaves them. For each TEXT
 * column of at most 64 strings: a roaring bitmap per value, run-optimized, in bytes per event, and
 * the time to count a value's rows in it, against a scan of the codes from the cache. For the
 * others: what a filter of 9 bits per string would take, and what asking the dictionary takes
 * without one.
 */
#include <roaring/roaring.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/arena.h"
#include "storage/cache.h"
#include "storage/io.h"
#include "storage/segment.h"

enum { SHARDS = 8, FEW_STRINGS = 64, FILTER_BITS = 9 };

static struct tl_status st;

static void check(enum tl_code rc)
{
    if (rc) {
        fprintf(stderr, "%s\n", st.text);
        exit(1);
    }
}

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint64_t scan(const struct tl_column *c, uint32_t wanted, struct tl_arena *arena,
                     roaring_bitmap_t **bitmaps)
{
    struct tl_cursor cur;
    uint64_t found = 0;
    check(tl_cursor_init(&cur, c, NULL, arena, NULL, &st));
    for (uint32_t row = 0; row < c->rows; row += TL_VECTOR_ROWS_MAX) {
        struct tl_vector v;
        uint32_t n = c->rows - row < TL_VECTOR_ROWS_MAX ? c->rows - row : TL_VECTOR_ROWS_MAX;
        check(tl_cursor_read(&cur, row, row + n, NULL, &v, &st));
        if (v.shape == TL_CONST)
            continue;
        if (!bitmaps) {
            uint32_t hits = 0;
            for (uint32_t i = 0; i < n; i++)
                hits += v.codes[i] == wanted;
            found += hits;
            continue;
        }
        for (uint32_t i = 0; i < n; i++)
            if (tl_vector_valid(&v, i))
                roaring_bitmap_add(bitmaps[v.codes[i]], row + i);
    }
    tl_cursor_close(&cur);
    tl_arena_reset(arena);
    return found;
}

struct few {
    uint64_t bytes, rows, found;
    double scan_s, bitmap_s;
};

static void try_bitmaps(const struct tl_column *c, struct tl_arena *arena, struct few *sum)
{
    roaring_bitmap_t *bitmaps[FEW_STRINGS];
    for (uint32_t i = 0; i < c->distinct; i++)
        bitmaps[i] = roaring_bitmap_create();
    (void)scan(c, 0, arena, bitmaps);
    uint64_t hits = 0;
    double begin = cpu_s();
    hits += scan(c, 0, arena, NULL);
    sum->scan_s += cpu_s() - begin;
    for (uint32_t i = 0; i < c->distinct; i++) {
        roaring_bitmap_run_optimize(bitmaps[i]);
        sum->bytes += roaring_bitmap_portable_size_in_bytes(bitmaps[i]);
    }
    begin = cpu_s();
    roaring_uint32_iterator_t *it = roaring_create_iterator(bitmaps[0]);
    uint32_t room[1024], n;
    while ((n = roaring_read_uint32_iterator(it, room, 1024)) > 0)
        sum->found += n;
    roaring_free_uint32_iterator(it);
    sum->bitmap_s += cpu_s() - begin;
    if (hits == UINT64_MAX)
        abort(); /* never: keeps the scan */
    sum->rows += c->rows;
    for (uint32_t i = 0; i < c->distinct; i++)
        roaring_bitmap_free(bitmaps[i]);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: bench_index DIR [pack number]\n");
        return 2;
    }
    struct tl_io *io;
    struct tl_cache *cache;
    struct tl_arena arena;
    struct tl_segment *segments[SHARDS];
    check(tl_io_open_posix(argv[1], &io, &st));
    check(tl_cache_new((size_t)1 << 30, &cache, &st));
    tl_arena_init(&arena, NULL, 1 << 20);
    uint64_t rows = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct tl_pack_id id = {.number = argc > 2 ? strtoull(argv[2], NULL, 10) : 1,
                                .table = 1,
                                .shard = i,
                                .kind = TL_PACK_MERGE};
        struct tl_pack *p;
        check(tl_pack_open(io, &id, cache, &p, &st));
        check(tl_pack_segment(p, 0, &segments[i], &st));
        rows += tl_segment_rows(segments[i]);
    }
    double all_bitmaps = 0, all_filters = 0;
    printf("%-8s %10s %12s %12s %14s\n", "column", "strings", "bytes/event", "scan ns/row",
           "bitmap ns/row");
    for (uint32_t k = 0; k < tl_segment_column_count(segments[0]); k++) {
        uint32_t id = tl_segment_column_at(segments[0], k)->id;
        struct few few = {0};
        uint64_t strings = 0;
        double ask_s = 0;
        for (uint32_t i = 0; i < SHARDS; i++) {
            const struct tl_column *c = tl_segment_column(segments[i], id);
            if (!c || c->type.kind != TL_TEXT || c->constant)
                continue;
            strings += c->distinct;
            if (c->distinct <= FEW_STRINGS) {
                try_bitmaps(c, &arena, &few);
                continue;
            }
            struct tl_dict_reader dict;
            bool found;
            uint32_t code;
            check(tl_dict_reader_open(&dict, c, NULL, &st));
            double begin = cpu_s();
            check(tl_dict_reader_find(&dict, tl_slice_str("no such text"), &found, &code, &st));
            ask_s += cpu_s() - begin;
            tl_dict_reader_close(&dict);
        }
        if (few.rows > 0) {
            printf("%-8u %10llu %12.4f %12.3f %14.3f\n", id, (unsigned long long)strings,
                   (double)few.bytes / (double)rows, few.scan_s / (double)few.rows * 1e9,
                   few.bitmap_s / (double)few.rows * 1e9);
            all_bitmaps += (double)few.bytes / (double)rows;
        } else if (strings > 0) {
            double filter = (double)strings * FILTER_BITS / 8 / (double)rows;
            printf(
                "%-8u %10llu %12.4f filter; without one %.2f ms a segment to find a text absent\n",
                id, (unsigned long long)strings, filter, ask_s / SHARDS * 1e3);
            all_filters += filter;
        }
    }
    printf("bitmaps %.2f, filters %.2f bytes per event\n", all_bitmaps, all_filters);
    return 0;
}
