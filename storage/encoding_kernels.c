/*
 * storage/encoding_kernels.c: the portable kernels, and which kernels run.
 *
 * A table of function pointers is chosen by a constructor from what the processor reports, once,
 * before any thread exists. (Resolvers that run while the program is being linked, ifunc and
 * target_clones, crash under ThreadSanitizer.) The environment's TALLY_KERNELS names another
 * table for tests; one that the processor cannot run is ignored.
 */
#include "storage/encoding_kernels_int.h"

#include <stdlib.h>

const struct tl__kernels tl__kernels_portable = {
    .name = "portable",
    .unpack_u64 = c_unpack_u64,
    .unpack_u32 = c_unpack_u32,
    .widen_u64 = c_widen_u64,
    .widen_u32 = c_widen_u32,
    .prefix_u64 = c_prefix_u64,
    .prefix_u32 = c_prefix_u32,
    .scale_u64 = c_scale_u64,
    .scale_u32 = c_scale_u32,
    .wrap_u64 = c_wrap_u64,
    .wrap_u32 = c_wrap_u32,
    .gather_u64 = c_gather_u64,
    .gather_u32 = c_gather_u32,
    .max_u32 = c_max_u32,
    .pack = c_pack,
    .stats = c_stats,
    .mini_stats = c_mini_stats,
    .fast_stats = c_fast_stats,
    .range_u32 = c_range_u32,
    .range_i64 = c_range_i64,
    .code_set = c_code_set,
};

const struct tl__kernels *tl__kernels = &tl__kernels_portable;

static bool runs_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2");
}

static bool runs_avx512(void)
{
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vbmi2");
}

bool tl_kernels_use(const char *name)
{
    const struct tl__kernels *chosen = NULL;
    if (strcmp(name, "portable") == 0)
        chosen = &tl__kernels_portable;
    else if (strcmp(name, "avx2") == 0 && runs_avx2())
        chosen = &tl__kernels_avx2;
    else if (strcmp(name, "avx512") == 0 && runs_avx512())
        chosen = &tl__kernels_avx512;
    if (!chosen)
        return false;
    if (chosen->prepare)
        chosen->prepare();
    tl__kernels = chosen;
    return true;
}

const char *tl_kernels_name(void)
{
    return tl__kernels->name;
}

__attribute__((constructor)) static void choose_kernels(void)
{
    __builtin_cpu_init();
    const char *wish = getenv("TALLY_KERNELS");
    if (wish && tl_kernels_use(wish))
        return;
    if (!tl_kernels_use("avx512") && !tl_kernels_use("avx2"))
        tl_kernels_use("portable");
}
