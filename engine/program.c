#include "engine/program.h"

const struct tl_program tl_program_identity = {.version = 0};

const struct tl_program *tl_program_find(uint32_t version)
{
    return version == tl_program_identity.version ? &tl_program_identity : NULL;
}

enum tl_code tl_program_run(const struct tl_program *p, struct tl_batch *batch,
                            struct tl_arena *arena, struct tl_status *st)
{
    return p->derive ? p->derive(p, batch, arena, st) : TL_OK;
}
