/*
 * Promise: the three makers of the I/O door behave alike.
 * Method: one body of tests runs over uring, posix and sim; uring's also in threads, and in a
 * process that may not use io_uring, where the default must become posix.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/io.h"
#include "storage/io_sim.h"
#include "tests/test.h"

struct bed {
    struct tl_io *io;
    char dir[64];
};

static void remove_tree(const char *dir)
{
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

static int setup(void **state, enum tl_io_maker maker)
{
    struct tl_status st = TL_STATUS_INIT;
    struct bed *bed = calloc(1, sizeof(*bed));
    const char *tmp = getenv("TMPDIR");
    snprintf(bed->dir, sizeof(bed->dir), "%.40s/tally-io-XXXXXX", tmp ? tmp : P_tmpdir);
    assert_non_null(mkdtemp(bed->dir));
    if (maker == TL_IO_SIM) {
        struct tl_io_sim *sim;
        assert_ok(&st, tl_io_sim_new(1, &sim, &st));
        tl_io_sim_set_short(sim, true);
        bed->io = tl_io_sim_io(sim);
    } else if (maker == TL_IO_POSIX) {
        assert_ok(&st, tl_io_open_posix(bed->dir, &bed->io, &st));
    } else {
        enum tl_code rc = tl_io_open_uring(bed->dir, &bed->io, &st);
        if (rc == TL_UNSUPPORTED)
            print_message("io_uring is denied here: %s\n", st.text);
        else
            assert_ok(&st, rc);
    }
    *state = bed;
    return 0;
}

static int setup_uring(void **state)
{
    return setup(state, TL_IO_URING);
}
static int setup_posix(void **state)
{
    return setup(state, TL_IO_POSIX);
}
static int setup_sim(void **state)
{
    return setup(state, TL_IO_SIM);
}

static int teardown(void **state)
{
    struct bed *bed = *state;
    tl_io_free(bed->io);
    remove_tree(bed->dir);
    free(bed);
    return 0;
}

static struct tl_io *io_of(void **state)
{
    struct tl_io *io = ((struct bed *)*state)->io;
    if (!io)
        skip();
    return io;
}

static void fill(uint8_t *p, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525 + 1013904223;
        p[i] = (uint8_t)(seed >> 24);
    }
}

static void what_is_written_is_read(void **state)
{
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *f;
    assert_ok(&st, tl_io_open(io, "a", TL_IO_CREATE, &f, &st));
    assert_string_equal(tl_io_name(f), "a");
    static uint8_t data[100000], back[100000];
    fill(data, sizeof(data), 1);
    struct tl_slice slices[] = {tl_slice_of(data, 1), tl_slice_of(NULL, 0),
                                tl_slice_of(data + 1, 70000), tl_slice_of(data + 70001, 29999)};
    assert_ok(&st, tl_io_write(f, 777, slices, 4, &st));
    assert_ok(&st, tl_io_sync(f, &st));
    uint64_t size;
    assert_ok(&st, tl_io_size(f, &size, &st));
    assert_int_equal(size, 100777);
    assert_ok(&st, tl_io_read(f, 777, back, sizeof(back), &st));
    assert_memory_equal(data, back, sizeof(back));
    assert_ok(&st, tl_io_read(f, 0, back, 777, &st)); /* the hole */
    for (int i = 0; i < 777; i++)
        assert_int_equal(back[i], 0);

    size_t got;
    assert_ok(&st, tl_io_read_some(f, 100000, back, 5000, &got, &st));
    assert_int_equal(got, 777);
    assert_ok(&st, tl_io_read_some(f, 200000, back, 5000, &got, &st));
    assert_int_equal(got, 0);
    assert_code(&st, TL_CORRUPT, tl_io_read(f, 100000, back, 5000, &st));
    tl_io_close(f);

    assert_ok(&st, tl_io_open(io, "a", TL_IO_READ, &f, &st));
    assert_ok(&st, tl_io_read(f, 777, back, sizeof(back), &st));
    assert_memory_equal(data, back, sizeof(back));
    tl_io_close(f);
    const struct tl_io_counters *c = tl_io_counters(io);
    assert_int_equal(c->writes, 1);
    assert_int_equal(c->written_bytes, 100000);
    assert_int_equal(c->syncs, 1);
    assert_int_equal(c->reads, 6);
    assert_int_equal(c->read_batches, 6);
    assert_int_equal(c->read_bytes, 100000 + 777 + 777 + 0 + 777 + 100000);
}

static void batches_read_everything(void **state)
{
    enum { COUNT = 700, SIZE = 300 }; /* more than one round of requests */
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *f[2];
    static uint8_t data[2][COUNT * SIZE], back[COUNT][SIZE];
    static struct tl_io_read reads[COUNT];
    for (int i = 0; i < 2; i++) {
        fill(data[i], sizeof(data[i]), (uint32_t)i + 5);
        assert_ok(&st, tl_io_open(io, i ? "x" : "y", TL_IO_CREATE, &f[i], &st));
        struct tl_slice s = tl_slice_of(data[i], sizeof(data[i]));
        assert_ok(&st, tl_io_write(f[i], 0, &s, 1, &st));
    }
    for (uint32_t n = 1; n <= COUNT; n = n < 4 ? n + 1 : n * 3) {
        memset(back, 0, sizeof(back));
        for (uint32_t i = 0; i < n; i++)
            reads[i] = (struct tl_io_read){.file = f[i & 1],
                                           .offset = (uint64_t)(n - 1 - i) * SIZE,
                                           .size = SIZE,
                                           .buffer = back[i]};
        assert_ok(&st, tl_io_read_batch(io, reads, n, &st));
        for (uint32_t i = 0; i < n; i++)
            assert_memory_equal(back[i], data[i & 1] + (size_t)(n - 1 - i) * SIZE, SIZE);
    }
    /* One request beyond the end fails alone, and says what it got. */
    reads[2].offset = sizeof(data[0]) - 100;
    assert_code(&st, TL_CORRUPT, tl_io_read_batch(io, reads, 5, &st));
    assert_int_equal(reads[2].code, TL_CORRUPT);
    assert_int_equal(reads[2].got, 100);
    assert_int_equal(reads[1].code, TL_OK);
    assert_int_equal(reads[4].got, SIZE);
    assert_ok(&st, tl_io_read_batch(io, reads, 0, &st));
    tl_io_close(f[0]);
    tl_io_close(f[1]);
}

static void commits_fly_while_others_read(void **state)
{
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *f, *g;
    assert_ok(&st, tl_io_open(io, "log", TL_IO_CREATE, &f, &st));
    assert_ok(&st, tl_io_open(io, "other", TL_IO_CREATE, &g, &st));
    static uint8_t data[200000], back[200000];
    fill(data, sizeof(data), 9);
    struct tl_slice all = tl_slice_of(data, sizeof(data));
    assert_ok(&st, tl_io_write(g, 0, &all, 1, &st));
    uint64_t at = 0;
    for (uint32_t i = 0; i < 50; i++) {
        struct tl_slice s[3] = {tl_slice_of(data + i, 100), tl_slice_of(data, i * 10),
                                tl_slice_of(data + 7, 3000)};
        struct tl_io_commit *c, *d;
        assert_ok(&st, tl_io_commit_begin(f, at, s, 3, &c, &st));
        struct tl_io_read reads[8];
        for (uint32_t k = 0; k < 8; k++)
            reads[k] = (struct tl_io_read){
                .file = g, .offset = k * 1000, .size = 1000, .buffer = back + k * 1000};
        assert_ok(&st, tl_io_read_batch(io, reads, 8, &st));
        assert_memory_equal(back, data, 8000);
        assert_ok(&st, tl_io_commit_begin(g, 150000, &s[2], 1, &d, &st));
        assert_ok(&st, tl_io_commit_wait(c, &st));
        assert_ok(&st, tl_io_commit_wait(d, &st));
        at += 100 + i * 10 + 3000;
    }
    at = 0;
    for (uint32_t i = 0; i < 50; i++) {
        assert_ok(&st, tl_io_read(f, at, back, 3100 + i * 10, &st));
        assert_memory_equal(back, data + i, 100);
        assert_memory_equal(back + 100, data, i * 10);
        assert_memory_equal(back + 100 + i * 10, data + 7, 3000);
        at += 3100 + i * 10;
    }
    struct tl_io_commit *none;
    assert_ok(&st, tl_io_commit_begin(f, 0, NULL, 0, &none, &st)); /* a sync alone */
    assert_ok(&st, tl_io_commit_wait(none, &st));
    tl_io_close(f);
    tl_io_close(g);
}

/* Whole pages go around the page cache, anything else through it; readers see one file. */
static void direct_commits_and_the_page_cache_agree(void **state)
{
    enum { PAGE = TL_IO_PAGE_BYTES, PAGES = 64 };
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *f;
    assert_ok(&st, tl_io_open(io, "log", TL_IO_CREATE, &f, &st));
    tl_io_commit_direct(f);
    tl_io_commit_direct(f); /* twice is fine */
    static _Alignas(PAGE) uint8_t data[PAGES * PAGE], expected[PAGES * PAGE], back[PAGES * PAGE];
    memset(expected, 0, sizeof(expected));
    assert_ok(&st, tl_io_preallocate(f, sizeof(data), &st));
    assert_ok(&st, tl_io_zero(f, 0, sizeof(data), &st));
    assert_ok(&st, tl_io_sync(f, &st));
    uint32_t seed = 7;
    for (uint32_t i = 0; i < 200; i++) {
        seed = seed * 1664525 + 1013904223;
        fill(data, sizeof(data), i);
        uint32_t page = (seed >> 8) % PAGES, count = 1 + (seed >> 16) % (PAGES - page);
        size_t offset = (size_t)page * PAGE, size = (size_t)count * PAGE;
        if (i % 3 == 0) { /* neither aligned nor whole */
            offset += 100;
            size -= 300;
        }
        struct tl_slice s[2] = {
            tl_slice_of(data, size / 2 / PAGE * PAGE),
            tl_slice_of(data + size / 2 / PAGE * PAGE, size - size / 2 / PAGE * PAGE)};
        if (i % 5 == 0) {
            assert_ok(&st, tl_io_write(f, offset, s, 2, &st));
            assert_ok(&st, tl_io_sync(f, &st));
        } else {
            struct tl_io_commit *c;
            assert_ok(&st, tl_io_commit_begin(f, offset, s, 2, &c, &st));
            assert_ok(&st, tl_io_commit_wait(c, &st));
        }
        memcpy(expected + offset, data, size);
        assert_ok(&st, tl_io_read(f, 0, back, sizeof(back), &st));
        assert_memory_equal(back, expected, sizeof(back));
    }
    tl_io_close(f);
}

static void names_are_kept(void **state)
{
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *f;
    bool there;
    assert_code(&st, TL_NOT_FOUND, tl_io_open(io, "none", TL_IO_READ, &f, &st));
    assert_code(&st, TL_NOT_FOUND, tl_io_open(io, "none", TL_IO_WRITE, &f, &st));
    assert_code(&st, TL_NOT_FOUND, tl_io_open(io, "d/x", TL_IO_CREATE, &f, &st));
    assert_ok(&st, tl_io_mkdir(io, "d", &st));
    assert_code(&st, TL_EXISTS, tl_io_mkdir(io, "d", &st));
    assert_ok(&st, tl_io_ensure_dir(io, "d", &st));
    assert_ok(&st, tl_io_ensure_dir(io, "e", &st));
    const char *names[] = {"d/b", "d/a", "d/c"};
    for (int i = 0; i < 3; i++) {
        assert_ok(&st, tl_io_open(io, names[i], TL_IO_CREATE, &f, &st));
        tl_io_close(f);
    }
    assert_code(&st, TL_EXISTS, tl_io_open(io, "d/a", TL_IO_CREATE, &f, &st));
    assert_ok(&st, tl_io_sync_dir(io, "d", &st));
    assert_ok(&st, tl_io_sync_dir(io, "", &st));
    struct tl_io_names list;
    assert_ok(&st, tl_io_list(io, "d", &list, &st));
    assert_int_equal(list.count, 3);
    assert_string_equal(list.names[0], "a");
    assert_string_equal(list.names[1], "b");
    assert_string_equal(list.names[2], "c");
    tl_io_names_free(&list);
    assert_ok(&st, tl_io_rename(io, "d/a", "d/b", &st));
    assert_ok(&st, tl_io_remove(io, "d/c", &st));
    assert_code(&st, TL_NOT_FOUND, tl_io_remove(io, "d/c", &st));
    assert_code(&st, TL_NOT_FOUND, tl_io_rename(io, "d/c", "d/e", &st));
    assert_ok(&st, tl_io_exists(io, "d/a", &there, &st));
    assert_false(there);
    assert_ok(&st, tl_io_exists(io, "d/b", &there, &st));
    assert_true(there);
    assert_ok(&st, tl_io_list(io, "", &list, &st));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.names[0], "d");
    tl_io_names_free(&list);
    assert_code(&st, TL_NOT_FOUND, tl_io_list(io, "f", &list, &st));

    char longest[TL_IO_NAME_MAX + 2];
    memset(longest, 'n', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    const char *bad[] = {"", "/etc/passwd", "../x", "d/../../x", "d//a", ".", "d/.", "d/", longest};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_code(&st, TL_INVALID, tl_io_open(io, bad[i], TL_IO_CREATE, &f, &st));
        assert_code(&st, TL_INVALID, tl_io_rename(io, "d/b", bad[i], &st));
        assert_code(&st, TL_INVALID, tl_io_remove(io, bad[i], &st));
    }
}

static void space_is_reserved_zeroed_and_cut(void **state)
{
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *f;
    uint64_t size;
    static uint8_t back[5000], zeros[5000], ones[5000];
    memset(ones, 1, sizeof(ones));
    struct tl_slice s = tl_slice_of(ones, sizeof(ones));
    assert_ok(&st, tl_io_open(io, "f", TL_IO_CREATE, &f, &st));
    assert_ok(&st, tl_io_preallocate(f, 3 << 20, &st));
    assert_ok(&st, tl_io_size(f, &size, &st));
    assert_int_equal(size, 3 << 20);
    assert_ok(&st, tl_io_write(f, 2000000, &s, 1, &st));
    assert_ok(&st, tl_io_zero(f, 0, (2 << 20) + 123, &st));
    assert_ok(&st, tl_io_read(f, 2000000, back, sizeof(back), &st));
    assert_memory_equal(back, zeros, sizeof(back));
    assert_ok(&st, tl_io_write(f, 1000, &s, 1, &st));
    assert_ok(&st, tl_io_truncate(f, 2000, &st));
    assert_ok(&st, tl_io_truncate(f, 4000, &st));
    assert_ok(&st, tl_io_size(f, &size, &st));
    assert_int_equal(size, 4000);
    assert_ok(&st, tl_io_read(f, 0, back, 4000, &st));
    assert_memory_equal(back, zeros, 1000);
    assert_memory_equal(back + 1000, ones, 1000);
    assert_memory_equal(back + 2000, zeros, 2000);
    tl_io_close(f);
}

static void a_lock_has_one_holder(void **state)
{
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *lock, *second;
    char pid[32];
    assert_ok(&st, tl_io_lock(io, "LOCK", &lock, &st));
    assert_int_equal(tl_io_lock(io, "LOCK", &second, &st), TL_BUSY);
    snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    assert_non_null(strstr(st.text, pid));
    tl_status_clear(&st);
    tl_io_close(lock);
    assert_ok(&st, tl_io_lock(io, "LOCK", &lock, &st));
    tl_io_close(lock);
    tl_io_close(NULL);
    tl_io_free(NULL);
}

/* ---- threads ---- */

enum { THREADS = 4, BLOCKS = 64, BLOCK = 4096 };

struct reader {
    struct tl_io *io;
    struct tl_file *shared;
    const uint8_t *data;
    int index;
    bool failed;
};

static void *read_and_commit(void *arg)
{
    struct reader *r = arg;
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *own;
    char name[16];
    snprintf(name, sizeof(name), "own%d", r->index);
    r->failed = true;
    if (tl_io_open(r->io, name, TL_IO_CREATE, &own, &st))
        return NULL;
    uint8_t *back = malloc(BLOCKS * BLOCK);
    bool bad = back == NULL;
    for (int round = 0; round < 10 && !bad; round++) {
        struct tl_io_read reads[BLOCKS];
        for (int i = 0; i < BLOCKS; i++)
            reads[i] = (struct tl_io_read){.file = r->shared,
                                           .offset = (uint64_t)i * BLOCK,
                                           .size = BLOCK,
                                           .buffer = back + i * BLOCK};
        struct tl_slice s = tl_slice_of(r->data, BLOCK);
        struct tl_io_commit *c;
        bad |= tl_io_commit_begin(own, (uint64_t)round * BLOCK, &s, 1, &c, &st) != TL_OK;
        if (bad)
            break;
        bad |= tl_io_read_batch(r->io, reads, BLOCKS, &st) != TL_OK;
        bad |= tl_io_commit_wait(c, &st) != TL_OK;
        bad |= memcmp(back, r->data, BLOCKS * BLOCK) != 0;
    }
    free(back);
    tl_io_close(own);
    r->failed = bad;
    return NULL;
}

static void threads_share_an_io(void **state)
{
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *f;
    static uint8_t data[BLOCKS * BLOCK];
    fill(data, sizeof(data), 3);
    struct tl_slice s = tl_slice_of(data, sizeof(data));
    assert_ok(&st, tl_io_open(io, "shared", TL_IO_CREATE, &f, &st));
    assert_ok(&st, tl_io_write(f, 0, &s, 1, &st));
    pthread_t threads[THREADS];
    struct reader readers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        readers[i] = (struct reader){io, f, data, i, false};
        assert_int_equal(pthread_create(&threads[i], NULL, read_and_commit, &readers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(readers[i].failed);
    }
    tl_io_close(f);
}

/* ---- the default ---- */

/* A container's sandbox: one of io_uring's system calls answers EPERM. */
static bool deny(unsigned int call)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(filter) / sizeof(filter[0]), filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Exit code: 0 as expected, 2 the sandbox itself is denied, 1 otherwise. */
static int default_without(unsigned int call, const char *dir)
{
    struct tl_status st = TL_STATUS_INIT, why = TL_STATUS_INIT;
    struct tl_io *io;
    enum tl_io_maker maker;
    if (!deny(call))
        return 2;
    if (tl_io_open_default(dir, &io, &maker, &why, &st) != TL_OK)
        return 1;
    bool good = maker == TL_IO_POSIX && tl_io_maker_of(io) == TL_IO_POSIX &&
                why.code == TL_UNSUPPORTED && why.text[0] != '\0';
    tl_io_free(io);
    return good ? 0 : 1;
}

static void a_denied_ring_becomes_posix(void **state)
{
    struct bed *bed = *state;
    if (!bed->io)
        skip();
    const unsigned int calls[] = {SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register};
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(default_without(calls[i], bed->dir));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 2)
            skip();
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

static void the_default_is_uring(void **state)
{
    struct bed *bed = *state;
    struct tl_status st = TL_STATUS_INIT, why = TL_STATUS_INIT;
    struct tl_io *io;
    enum tl_io_maker maker;
    if (!bed->io)
        skip();
    assert_ok(&st, tl_io_open_default(bed->dir, &io, &maker, &why, &st));
    assert_int_equal(maker, TL_IO_URING);
    assert_int_equal(why.code, TL_OK);
    tl_io_free(io);
    assert_code(&st, TL_NOT_FOUND,
                tl_io_open_default("/nonexistent-directory", &io, &maker, &why, &st));
}

/* A file of `size` bytes, opened for direct reads. */
static struct tl_file *direct_file(struct tl_io *io, const uint8_t *data, size_t size)
{
    struct tl_status st = TL_STATUS_INIT;
    struct tl_file *f;
    struct tl_slice all = tl_slice_of(data, size);
    assert_ok(&st, tl_io_open(io, "direct", TL_IO_CREATE, &f, &st));
    assert_ok(&st, tl_io_write(f, 0, &all, 1, &st));
    assert_ok(&st, tl_io_sync(f, &st));
    tl_io_close(f);
    assert_ok(&st, tl_io_open(io, "direct", TL_IO_DIRECT, &f, &st));
    return f;
}

static void direct_reads_are_reads(void **state)
{
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    enum { SIZE = 100777, READS = 40 };
    static uint8_t data[SIZE], back[READS][9000];
    static _Alignas(TL_IO_PAGE_BYTES) uint8_t pages[32 * TL_IO_PAGE_BYTES];
    fill(data, SIZE, 5);
    struct tl_file *f = direct_file(io, data, SIZE);
    /* Any offset and size, by way of a buffer. */
    struct tl_io_read reads[READS];
    for (uint32_t i = 0; i < READS; i++)
        reads[i] = (struct tl_io_read){
            .file = f, .offset = i * 2291, .size = 1 + i * 211, .buffer = back[i]};
    assert_ok(&st, tl_io_read_batch(io, reads, READS, &st));
    for (uint32_t i = 0; i < READS; i++) {
        assert_int_equal(reads[i].got, reads[i].size);
        assert_memory_equal(back[i], data + reads[i].offset, reads[i].size);
    }
    /* Whole pages, straight; the last one ends where the file does. */
    struct tl_io_read page = {.file = f,
                              .offset = 4 * TL_IO_PAGE_BYTES,
                              .size = SIZE - 4 * TL_IO_PAGE_BYTES,
                              .buffer = pages,
                              .whole_pages = true};
    assert_ok(&st, tl_io_read_batch(io, &page, 1, &st));
    assert_int_equal(page.got, page.size);
    assert_memory_equal(pages, data + page.offset, page.size);
    /* The end of the file is told as ever. */
    size_t got;
    assert_ok(&st, tl_io_read_some(f, 100000, back[0], 5000, &got, &st));
    assert_int_equal(got, 777);
    assert_ok(&st, tl_io_read_some(f, 200001, back[0], 5000, &got, &st));
    assert_int_equal(got, 0);
    assert_code(&st, TL_CORRUPT, tl_io_read(f, 100000, back[0], 5000, &st));
    page.size = SIZE;
    assert_code(&st, TL_CORRUPT, tl_io_read_batch(io, &page, 1, &st));
    assert_int_equal(page.got, SIZE - page.offset);
    tl_io_close(f);
}

static void reads_in_flight_arrive(void **state)
{
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    enum { PAGES = 600, FLIGHTS = 4, READS = 60 };
    static uint8_t data[PAGES * TL_IO_PAGE_BYTES];
    static _Alignas(TL_IO_PAGE_BYTES) uint8_t back[FLIGHTS][READS][TL_IO_PAGE_BYTES];
    struct tl_io_flight flights[FLIGHTS];
    struct tl_io_read reads[FLIGHTS][READS];
    struct tl_io_queue *q;
    fill(data, sizeof(data), 6);
    struct tl_file *f = direct_file(io, data, sizeof(data));
    assert_ok(&st, tl_io_queue_new(io, &q, &st));
    for (uint32_t round = 0; round < 3; round++) {
        memset(back, 0, sizeof(back));
        for (uint32_t k = 0; k < FLIGHTS; k++) {
            for (uint32_t i = 0; i < READS; i++) /* more than the queue's ring takes at once */
                reads[k][i] = (struct tl_io_read){
                    .file = f,
                    .offset = (uint64_t)((k * READS + i) * 7 % PAGES) * TL_IO_PAGE_BYTES,
                    .size = TL_IO_PAGE_BYTES - (i % 2) * 100,
                    .buffer = back[k][i],
                    .whole_pages = i % 3 != 0};
            tl_io_queue_begin(q, &flights[k], reads[k], READS);
        }
        for (uint32_t k = FLIGHTS; k-- > 0;) {
            assert_ok(&st, tl_io_queue_wait(q, &flights[k], NULL, &st));
            for (uint32_t i = 0; i < READS; i++) {
                assert_int_equal(reads[k][i].got, reads[k][i].size);
                assert_memory_equal(back[k][i], data + reads[k][i].offset, reads[k][i].size);
            }
        }
    }
    /* A failure is that of the reading itself. */
    reads[0][0] = (struct tl_io_read){.file = f,
                                      .offset = sizeof(data) - TL_IO_PAGE_BYTES,
                                      .size = 2 * TL_IO_PAGE_BYTES,
                                      .buffer = back[0],
                                      .whole_pages = true};
    tl_io_queue_begin(q, &flights[0], reads[0], 1);
    assert_code(&st, TL_CORRUPT, tl_io_queue_wait(q, &flights[0], NULL, &st));
    tl_io_queue_begin(q, &flights[0], NULL, 0);
    assert_ok(&st, tl_io_queue_wait(q, &flights[0], NULL, &st));
    tl_io_queue_free(q);
    tl_io_queue_free(NULL);
    tl_io_close(f);
}

enum { WAITERS = 4, WAITED = 2, WAITED_READS = 8, ROUNDS = 40 };
struct waiter {
    struct tl_io_queue *queue;
    struct tl_io_flight flights[WAITED];
    struct tl_io_read reads[WAITED][WAITED_READS];
    uint8_t *back[WAITED];
    enum tl_code code;
};

static void *wait_for_flights(void *arg)
{
    struct waiter *w = arg;
    struct tl_status st = TL_STATUS_INIT;
    for (uint32_t k = 0; k < WAITED && !w->code; k++)
        w->code = tl_io_queue_wait(w->queue, &w->flights[k], NULL, &st);
    return NULL;
}

/* One thread begins, four wait at once for what they did not begin. */
static void others_wait_for_a_flight(void **state)
{
    struct tl_io *io = io_of(state);
    struct tl_status st = TL_STATUS_INIT;
    enum { PAGES = 64 };
    static uint8_t data[PAGES * TL_IO_PAGE_BYTES];
    static struct waiter waiters[WAITERS];
    fill(data, sizeof(data), 7);
    struct tl_file *f = direct_file(io, data, sizeof(data));
    struct tl_io_queue *q;
    assert_ok(&st, tl_io_queue_new(io, &q, &st));
    for (uint32_t round = 0; round < ROUNDS; round++) {
        pthread_t threads[WAITERS];
        for (uint32_t t = 0; t < WAITERS; t++) {
            struct waiter *w = &waiters[t];
            w->queue = q;
            w->code = TL_OK;
            for (uint32_t k = 0; k < WAITED; k++) {
                w->back[k] = aligned_alloc(TL_IO_PAGE_BYTES, WAITED_READS * TL_IO_PAGE_BYTES);
                assert_non_null(w->back[k]);
                for (uint32_t i = 0; i < WAITED_READS; i++)
                    w->reads[k][i] = (struct tl_io_read){
                        .file = f,
                        .offset = (uint64_t)((t * 31 + k * 17 + i) % PAGES) * TL_IO_PAGE_BYTES,
                        .size = TL_IO_PAGE_BYTES,
                        .buffer = w->back[k] + i * TL_IO_PAGE_BYTES,
                        .whole_pages = true};
                tl_io_queue_begin(q, &w->flights[k], w->reads[k], WAITED_READS);
            }
            assert_int_equal(pthread_create(&threads[t], NULL, wait_for_flights, w), 0);
        }
        for (uint32_t t = 0; t < WAITERS; t++) {
            pthread_join(threads[t], NULL);
            assert_int_equal(waiters[t].code, TL_OK);
            for (uint32_t k = 0; k < WAITED; k++) {
                for (uint32_t i = 0; i < WAITED_READS; i++)
                    assert_memory_equal(waiters[t].reads[k][i].buffer,
                                        data + waiters[t].reads[k][i].offset, TL_IO_PAGE_BYTES);
                free(waiters[t].back[k]);
            }
        }
    }
    tl_io_queue_free(q);
    tl_io_close(f);
}

static uint32_t open_descriptors(void)
{
    uint32_t n = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Far more files than descriptors: alone, in one batch, and in flight. */
static void few_descriptors_serve_many_files(void **state)
{
    enum { FILES = 60, BOUND = 5 };
    struct bed *bed = *state;
    if (!bed->io)
        skip();
    struct tl_status st = TL_STATUS_INIT;
    struct tl_io *io = bed->io;
    struct tl_file *files[FILES];
    struct tl_io_read reads[FILES];
    struct tl_io_queue *q;
    struct tl_io_flight flight;
    uint8_t *pages = aligned_alloc(TL_IO_PAGE_BYTES, FILES * TL_IO_PAGE_BYTES);
    char name[32];
    assert_non_null(pages);
    bool counted = tl_io_maker_of(io) != TL_IO_SIM;
    uint32_t before = open_descriptors();
    tl_io_bound_files(io, BOUND);
    for (uint32_t i = 0; i < FILES; i++) {
        memset(pages, (int)i + 1, TL_IO_PAGE_BYTES);
        struct tl_slice slice = tl_slice_of(pages, TL_IO_PAGE_BYTES);
        snprintf(name, sizeof(name), "many-%u", i);
        assert_ok(&st, tl_io_open(io, name, TL_IO_CREATE, &files[i], &st));
        assert_ok(&st, tl_io_write(files[i], 0, &slice, 1, &st));
        tl_io_close(files[i]);
        assert_ok(&st, tl_io_open(io, name, TL_IO_DIRECT, &files[i], &st));
    }
    if (counted)
        assert_true(open_descriptors() <= before + BOUND);
    for (uint32_t i = 0; i < 4 * FILES; i++) {
        uint32_t k = i * 37 % FILES;
        uint8_t some[100];
        uint64_t size = 0;
        assert_ok(&st, tl_io_size(files[k], &size, &st));
        assert_int_equal(size, TL_IO_PAGE_BYTES);
        assert_ok(&st, tl_io_read(files[k], 1000, some, sizeof(some), &st));
        assert_int_equal(some[99], k + 1);
    }
    for (int in_flight = 0; in_flight < 2; in_flight++) {
        memset(pages, 0, FILES * TL_IO_PAGE_BYTES);
        for (uint32_t i = 0; i < FILES; i++)
            reads[i] = (struct tl_io_read){.file = files[i],
                                           .size = TL_IO_PAGE_BYTES,
                                           .buffer = pages + i * TL_IO_PAGE_BYTES,
                                           .whole_pages = true};
        if (in_flight) {
            assert_ok(&st, tl_io_queue_new(io, &q, &st));
            tl_io_queue_begin(q, &flight, reads, FILES);
            assert_ok(&st, tl_io_queue_wait(q, &flight, NULL, &st));
            tl_io_queue_free(q);
        } else {
            assert_ok(&st, tl_io_read_batch(io, reads, FILES, &st));
        }
        for (uint32_t i = 0; i < FILES; i++)
            assert_int_equal(pages[i * TL_IO_PAGE_BYTES + 5], i + 1);
        if (counted)
            assert_true(open_descriptors() <= before + BOUND + 1); /* the queue's ring is closed */
    }
    if (counted) { /* a name that another file took is not read in its place */
        struct tl_file *other;
        uint8_t byte;
        assert_ok(&st, tl_io_read(files[FILES - 1], 0, &byte, 1, &st));
        for (uint32_t i = 1; i <= BOUND; i++) /* file 0 loses its descriptor */
            assert_ok(&st, tl_io_read(files[i], 0, &byte, 1, &st));
        assert_ok(&st, tl_io_open(io, "other", TL_IO_CREATE, &other, &st));
        tl_io_close(other);
        assert_ok(&st, tl_io_rename(io, "other", "many-0", &st));
        assert_int_equal(tl_io_read(files[0], 0, &byte, 1, &st), TL_IO);
        tl_status_clear(&st);
    }
    for (uint32_t i = 0; i < FILES; i++)
        tl_io_close(files[i]);
    if (counted)
        assert_true(open_descriptors() <= before + 1);
    tl_io_bound_files(io, 0);
    free(pages);
}

#define OVER(test)                                                                                 \
    {"uring: " #test, test, setup_uring, teardown, NULL},                                          \
        {"posix: " #test, test, setup_posix, teardown, NULL},                                      \
    {                                                                                              \
        "sim: " #test, test, setup_sim, teardown, NULL                                             \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER(what_is_written_is_read),
        OVER(batches_read_everything),
        OVER(commits_fly_while_others_read),
        OVER(direct_commits_and_the_page_cache_agree),
        OVER(names_are_kept),
        OVER(space_is_reserved_zeroed_and_cut),
        OVER(a_lock_has_one_holder),
        OVER(threads_share_an_io),
        OVER(direct_reads_are_reads),
        OVER(reads_in_flight_arrive),
        OVER(others_wait_for_a_flight),
        OVER(few_descriptors_serve_many_files),
        cmocka_unit_test_setup_teardown(a_denied_ring_becomes_posix, setup_uring, teardown),
        cmocka_unit_test_setup_teardown(the_default_is_uring, setup_uring, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
