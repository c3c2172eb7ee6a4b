/*
 * tools/batch_file.c: files of encoded batches.
 */
#include "tools/batch_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char MAGIC[8] = "TLBATCH1";
enum { HEAD = 8 };

bool tl_batch_file_begin(FILE *f)
{
    return fwrite(MAGIC, 1, sizeof(MAGIC), f) == sizeof(MAGIC);
}

bool tl_batch_file_put(FILE *f, uint32_t rows, struct tl_slice batch)
{
    uint8_t head[HEAD];
    tl_put_u32le(head, (uint32_t)batch.size);
    tl_put_u32le(head + 4, rows);
    return fwrite(head, 1, HEAD, f) == HEAD && fwrite(batch.data, 1, batch.size, f) == batch.size;
}

static enum tl_code index_batches(struct tl_batch_file *f, size_t size, const char *path,
                                  struct tl_status *st)
{
    uint64_t capacity = 0;
    size_t at = sizeof(MAGIC);
    if (size < at || memcmp(f->bytes, MAGIC, sizeof(MAGIC)) != 0)
        return TL_FAIL(st, TL_CORRUPT, "%s is no file of batches", path);
    while (at < size) {
        if (size - at < HEAD || size - at - HEAD < tl_get_u32le(f->bytes + at))
            return TL_FAIL(st, TL_CORRUPT, "%s is cut off", path);
        if (f->count == capacity) {
            capacity = capacity ? capacity * 2 : 1024;
            struct tl_slice *batches = realloc(f->batches, capacity * sizeof(*batches));
            f->batches = batches ? batches : f->batches;
            uint32_t *rows = realloc(f->batch_rows, capacity * sizeof(*rows));
            f->batch_rows = rows ? rows : f->batch_rows;
            if (!batches || !rows)
                return TL_FAIL(st, TL_LIMIT, "no memory for the batches of %s", path);
        }
        uint32_t batch = tl_get_u32le(f->bytes + at);
        f->batch_rows[f->count] = tl_get_u32le(f->bytes + at + 4);
        f->batches[f->count] = tl_slice_of(f->bytes + at + HEAD, batch);
        f->rows += f->batch_rows[f->count++];
        at += HEAD + batch;
    }
    return TL_OK;
}

enum tl_code tl_batch_file_load(const char *path, struct tl_batch_file *out, struct tl_status *st)
{
    *out = (struct tl_batch_file){0};
    FILE *f = fopen(path, "rb");
    struct stat s;
    if (!f || fstat(fileno(f), &s) != 0) {
        enum tl_code rc = TL_FAIL_OS(st, TL_IO, errno, "%s: %s", path, strerror(errno));
        if (f)
            fclose(f);
        return rc;
    }
    enum tl_code rc = TL_OK;
    size_t size = (size_t)s.st_size;
    out->bytes = malloc(size + 1);
    if (!out->bytes)
        rc = TL_FAIL(st, TL_LIMIT, "no memory for %s", path);
    else if (fread(out->bytes, 1, size, f) != size)
        rc = TL_FAIL(st, TL_IO, "%s cannot be read whole", path);
    else
        rc = index_batches(out, size, path, st);
    fclose(f);
    if (rc)
        tl_batch_file_free(out);
    return rc;
}

void tl_batch_file_free(struct tl_batch_file *f)
{
    free(f->bytes);
    free(f->batches);
    free(f->batch_rows);
    *f = (struct tl_batch_file){0};
}
