/*
 * tools/bench_encoding.c: what each encoding costs, beside memcpy and zstd.
 *
 * Usage: bench_encoding [portable|avx2|avx512]
 *
 * Blocks of 8,192 rows that stay in the second-level cache, typical columns of web analytics, one
 * thread. Per column: bits a row, encoding speed in millions of rows a second without and with
 * zstd, decoding speed in GB of values a second to 64 and to 32 bits. The first rows are memcpy
 * of the values, and zstd over the values as they lie.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <zstd.h>

#include "storage/encoding.h"

enum { ROWS = TL_ENCODE_ROWS_MAX };

static uint64_t seed = 1;

static uint64_t chance(void)
{
    uint64_t z = seed += 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static const char *const COLUMNS[] = {"one value",
                                      "timestamps, whole ms, sorted",
                                      "timestamps, us, sorted",
                                      "ids, random 64 bits",
                                      "codes of 12 bits, no order",
                                      "codes of 5 bits, no order",
                                      "visitor codes in first-seen order",
                                      "country per session of 5",
                                      "path codes, Zipf, 30 per visitor again",
                                      "status, 5 skewed values",
                                      "prices, 95 % zero",
                                      "flags, 3 % set"};
enum { COLUMN_COUNT = sizeof(COLUMNS) / sizeof(COLUMNS[0]) };

static void make_column(uint32_t column, int64_t *v)
{
    int64_t at = 1704067200000000, run = 0;
    seed = column;
    for (uint32_t i = 0; i < ROWS; i++) {
        uint64_t r = chance();
        switch (column) {
        case 0:
            v[i] = 42;
            break;
        case 1:
            v[i] = at += 1000 * (int64_t)(r % 1000);
            break;
        case 2:
            v[i] = at += (int64_t)(r % 1000000);
            break;
        case 3:
            v[i] = (int64_t)r;
            break;
        case 4:
            v[i] = (int64_t)(r % 4096);
            break;
        case 5:
            v[i] = (int64_t)(r % 32);
            break;
        case 6:
            v[i] = r % 5 == 0 ? run++
                              : run - (int64_t)((r >> 8) % (uint64_t)(run < 50 ? run + 1 : 50));
            break;
        case 7:
            v[i] = run = r % 5 ? run : (int64_t)((r >> 8) % 200);
            break;
        case 8:
            v[i] = i % 60 < 30 || i < 60 ? (int64_t)((r % 3000) * ((r >> 20) % 3000) / 3000)
                                         : v[i - 30];
            break;
        case 9:
            v[i] = r % 20 ? 200 : (int64_t)(300 + r / 20 % 4 * 50);
            break;
        case 10:
            v[i] = r % 20 ? 0 : (int64_t)(r / 20 % 20000) * 100;
            break;
        default:
            v[i] = r % 32 == 0;
            break;
        }
    }
}

/* Rows a second of `step`, the best of several runs of at least 20 ms. */
#define MEASURE(rate, step)                                                                        \
    do {                                                                                           \
        (rate) = 0;                                                                                \
        for (int measure_run = 0; measure_run < 5; measure_run++) {                                \
            double measure_start = now_s(), measure_took;                                          \
            uint64_t measure_rows = 0;                                                             \
            do {                                                                                   \
                for (int measure_i = 0; measure_i < 8; measure_i++, measure_rows += ROWS)          \
                    step;                                                                          \
                measure_took = now_s() - measure_start;                                            \
            } while (measure_took < 0.02);                                                         \
            double measure_rate = (double)measure_rows / measure_took;                             \
            (rate) = measure_rate > (rate) ? measure_rate : (rate);                                \
        }                                                                                          \
    } while (0)

#define MUST(call)                                                                                 \
    do {                                                                                           \
        if (call) {                                                                                \
            fprintf(stderr, "%s\n", st.text);                                                      \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static struct tl_status st;
static struct tl_encoder *encoder;
static struct tl_decoder *decoder;

static void encode(const int64_t *v, int level, enum tl_encode_effort effort, struct tl_buffer *out)
{
    struct tl_encode_options opt = {.zstd_level = level, .effort = effort};
    tl_buffer_clear(out);
    MUST(tl_encode_i64(encoder, v, ROWS, &opt, out, &st));
}

static void check(struct tl_slice inflated)
{
    MUST(tl_payload_check(decoder, inflated, ROWS, &st));
}

static void bench_column(uint32_t column, int64_t *v, int64_t *out64, uint32_t *out32)
{
    struct tl_buffer light, deep;
    double encode_fast, encode_light, encode_deep, checks, decode64, decode32, slices;
    tl_buffer_init(&light, "light", 1 << 20);
    tl_buffer_init(&deep, "deep", 1 << 20);
    make_column(column, v);
    MEASURE(encode_fast, encode(v, 0, TL_EFFORT_FAST, &light));
    double fast_bits = 8.0 * (double)light.size / ROWS;
    MEASURE(encode_light, encode(v, 0, TL_EFFORT_BEST, &light));
    MEASURE(encode_deep, encode(v, 1, TL_EFFORT_BEST, &deep));
    if (!tl_buffer_reserve(&light, TL_PAYLOAD_PAD))
        exit(1);
    struct tl_slice inflated = tl_buffer_slice(&light);
    MEASURE(checks, check(inflated));
    MEASURE(decode64, tl_decode_i64(decoder, inflated, ROWS, 0, ROWS, out64));
    MEASURE(decode32, tl_decode_u32(decoder, inflated, ROWS, 0, ROWS, out32));
    MEASURE(slices, tl_decode_i64(decoder, inflated, ROWS, 4000, 4020, out64));
    printf("%-40s %6.2f %-9s %6.2f %-15s %6.2f %8.1f %8.0f %8.0f %8.0f %8.1f %8.1f %8.0f\n",
           COLUMNS[column], fast_bits, tl_payload_name(inflated), 8.0 * (double)light.size / ROWS,
           tl_payload_name(tl_buffer_slice(&deep)), 8.0 * (double)deep.size / ROWS,
           encode_fast * 8 / 1e9, encode_light / 1e6, encode_deep / 1e6, checks / 1e6,
           decode64 * 8 / 1e9, decode32 * 4 / 1e9, ROWS / slices * 1e9);
    tl_buffer_deinit(&light);
    tl_buffer_deinit(&deep);
}

int main(int argc, char **argv)
{
    if (argc > 1 && !tl_kernels_use(argv[1])) {
        fprintf(stderr, "no kernels %s on this processor\n", argv[1]);
        return 2;
    }
    MUST(tl_encoder_new(&encoder, &st));
    MUST(tl_decoder_new(&decoder, &st));
    int64_t *v = malloc(ROWS * 8), *out64 = malloc(ROWS * 8);
    uint32_t *out32 = malloc(ROWS * 4);
    uint8_t *frame = malloc(ZSTD_COMPRESSBOUND(ROWS * 8));
    if (!v || !out64 || !out32 || !frame)
        abort();
    double rate, back;
    make_column(2, v);
    MEASURE(rate, memcpy(out64, v, ROWS * 8));
    printf("kernels %s\nmemcpy: %.1f GB/s\n", tl_kernels_name(), rate * 8 / 1e9);
    size_t size = 0;
    MEASURE(rate, size = ZSTD_compress(frame, ZSTD_COMPRESSBOUND(ROWS * 8), v, ROWS * 8, 1));
    MEASURE(back, ZSTD_decompress(out64, ROWS * 8, frame, size));
    printf("zstd 1 over timestamps: %.2f bits a row, %.0f M rows/s, back %.1f GB/s\n\n",
           8.0 * (double)size / ROWS, rate / 1e6, back * 8 / 1e9);
    printf("%-40s %6s %-9s %6s %-15s %6s %8s %8s %8s %8s %8s %8s %8s\n", "column", "fast", "light",
           "bits", "with zstd", "bits", "fast GB/s", "enc M/s", "+zstd", "chk M/s", "GB/s 64",
           "GB/s 32", "20 r ns");
    for (uint32_t column = 0; column < COLUMN_COUNT; column++)
        bench_column(column, v, out64, out32);
    free(v);
    free(out64);
    free(out32);
    free(frame);
    tl_encoder_free(encoder);
    tl_decoder_free(decoder);
    return 0;
}
