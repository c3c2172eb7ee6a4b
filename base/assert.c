#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void tl_assert_failed(const char *condition, const char *where)
{
    fprintf(stderr, "tally: assertion failed: %s (%s)\n", condition, where);
    fflush(stderr);
    abort();
}
