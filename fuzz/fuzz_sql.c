/*
 * fuzz/fuzz_sql.c: any bytes as a statement, through parser, binder, planner and EXPLAIN.
 *
 * The first byte picks the session's zone and whether parameters are declared; the rest is the
 * text. Whatever comes, a plan or a failure with SQLSTATE comes back; a plan can be printed.
 */
#include "base/assert.h"
#include "tests/unit/query/fake_catalog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tl_type types[] = {{TL_BIGINT, 0}, {TL_TEXT, 0}, {TL_TIMESTAMPTZ, 0}};
    if (size == 0)
        return 0;
    struct tl_plan_options options = {.time_zone = data[0] & 1 ? "Europe/Berlin" : NULL};
    if (data[0] & 2) {
        options.param_count = 3;
        options.param_types = types;
    }
    struct tl_status st = TL_STATUS_INIT;
    struct tl_plan *plan = NULL;
    if (tl_plan_new(&fake_catalog, tl_slice_of(data + 1, size - 1), &options, &plan, &st)) {
        tl_assert(plan == NULL && st.code != TL_OK);
        tl_assert(st.text[0] != '\0' && strlen(tl_status_sqlstate(&st)) == 5);
        tl_assert(st.position >= 0 && (size_t)st.position <= size);
        return 0;
    }
    struct tl_buffer text;
    tl_buffer_init(&text, "plan", 1 << 18);
    tl_plan_print(plan, &text);
    tl_buffer_deinit(&text);
    tl_plan_free(plan);
    return 0;
}
