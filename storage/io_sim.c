/*
 * storage/io_sim.c: a disk in memory that fails on demand.
 *
 * Every file has two views of its pages: `live`, what the machine sees, and `durable`, what is on
 * the platter. A change goes into `live` and, as whole sectors, into the file's journal; a sync
 * plays the journal onto `durable`; a reboot plays each sector of it by a die, then makes `live`
 * a copy of `durable`. Names work the same way with a list of pending changes.
 *
 * Invariants
 *   (1) durable plus its journal, all played, is live: pages and size (until a failed sync, which
 *       forgets a part of the journal).
 *   (2) Bytes of a view beyond its size are zero.
 *   (3) A page is NULL (a hole), zero_page (written zeros), or owned by one view.
 *   (4) used_pages is at least the number of pages of all named files that are no holes; it is
 *       counted anew before the disk is called full.
 */
#include "storage/io_sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/hash.h"
#include "storage/io_int.h"

enum {
    PAGE = TL_IO_PAGE_BYTES,
    SECTOR = TL_IO_SECTOR_BYTES,
    PAGE_SECTORS = PAGE / SECTOR,
};

static uint8_t zero_page[PAGE]; /* never written to */

struct view {
    uint8_t **pages;
    size_t page_count;
    uint64_t size;
};

enum change_kind { CHANGE_DATA, CHANGE_SIZE, CHANGE_TRUNCATE };

struct change {
    enum change_kind kind;
    uint64_t page;         /* DATA */
    uint32_t first, count; /* DATA: sectors within the page */
    size_t at;             /* DATA: in the journal's bytes; SIZE_MAX: zeros */
    uint64_t size;         /* SIZE: grow to; TRUNCATE: cut or grow to */
};

struct inode {
    uint32_t refs; /* names, pending changes of names, handles */
    bool dir;
    bool locked;
    struct view live, durable;
    struct change *journal;
    size_t journal_count, journal_room;
    uint8_t *bytes; /* of the journal */
    size_t bytes_size, bytes_room;
};

struct entry {
    char *name;
    struct inode *inode;
};

struct names {
    struct entry *entries; /* sorted */
    size_t count, room;
};

enum rename_kind { NAME_CREATE, NAME_RENAME, NAME_REMOVE };

struct name_change {
    enum rename_kind kind;
    char *from, *to; /* CREATE: to; REMOVE: from; RENAME: both */
    struct inode *inode;
};

struct tl_io_sim {
    struct tl_io base;
    pthread_mutex_t lock;
    uint64_t random;
    struct names live, durable;
    struct name_change *pending;
    size_t pending_count, pending_room;
    uint64_t epoch; /* of handles */
    uint64_t steps, syncs;
    uint64_t crash_at, fail_at, fail_sync;
    bool fail_for_ever, dead, short_transfers;
    uint64_t capacity_pages, used_pages;
    int survival;
};

struct sim_file {
    struct tl_file base;
    struct inode *inode;
    uint64_t epoch;
    bool lock;
};

static struct tl_io_sim *sim_of(struct tl_io *io)
{
    return (struct tl_io_sim *)(void *)io;
}

static struct sim_file *file_of(struct tl_file *file)
{
    return (struct sim_file *)(void *)file;
}

/* The sim is a tool of tests: where memory ends, so does the test. */
static void *grow(void *p, size_t size)
{
    void *q = realloc(p, size ? size : 1);
    tl_assert(q != NULL);
    return q;
}

static char *copy_text(const char *s)
{
    char *copy = strdup(s);
    tl_assert(copy != NULL);
    return copy;
}

/* splitmix64: the die is the sim's own, so that a test's draws do not depend on it. */
static uint64_t draw(struct tl_io_sim *sim)
{
    uint64_t z = sim->random += 0x9E3779B97F4A7C15U;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
    return z ^ (z >> 31);
}

static uint64_t draw_below(struct tl_io_sim *sim, uint64_t n)
{
    return n ? draw(sim) % n : 0;
}

/* ---- views ---- */

static void page_drop(uint8_t *page)
{
    if (page != zero_page)
        free(page);
}

static void view_clear(struct view *v)
{
    for (size_t i = 0; i < v->page_count; i++)
        page_drop(v->pages[i]);
    free(v->pages);
    *v = (struct view){0};
}

static void view_reach(struct view *v, size_t page_count)
{
    if (page_count <= v->page_count)
        return;
    v->pages = grow(v->pages, page_count * sizeof(*v->pages));
    memset(v->pages + v->page_count, 0, (page_count - v->page_count) * sizeof(*v->pages));
    v->page_count = page_count;
}

/* The page, made writable. */
static uint8_t *view_page(struct view *v, uint64_t page)
{
    view_reach(v, (size_t)page + 1);
    if (!v->pages[page] || v->pages[page] == zero_page) {
        v->pages[page] = calloc(1, PAGE);
        tl_assert(v->pages[page] != NULL);
    }
    return v->pages[page];
}

static void view_put(struct view *v, uint64_t page, size_t at, const uint8_t *data, size_t size)
{
    if (!data && size == PAGE) {
        view_reach(v, (size_t)page + 1);
        if (v->pages[page])
            page_drop(v->pages[page]);
        v->pages[page] = zero_page;
    } else if (data) {
        memcpy(view_page(v, page) + at, data, size);
    } else {
        memset(view_page(v, page) + at, 0, size);
    }
}

static void view_truncate(struct view *v, uint64_t size)
{
    size_t keep = (size_t)((size + PAGE - 1) / PAGE);
    for (size_t i = keep; i < v->page_count; i++)
        page_drop(v->pages[i]);
    if (keep < v->page_count)
        v->page_count = keep;
    if (size % PAGE && keep > 0 && keep <= v->page_count && v->pages[keep - 1] &&
        v->pages[keep - 1] != zero_page)
        memset(v->pages[keep - 1] + size % PAGE, 0, PAGE - (size_t)(size % PAGE));
    v->size = size;
}

static void view_copy(struct view *to, const struct view *from)
{
    view_clear(to);
    view_reach(to, from->page_count);
    to->size = from->size;
    for (size_t i = 0; i < from->page_count; i++) {
        if (!from->pages[i] || from->pages[i] == zero_page) {
            to->pages[i] = from->pages[i];
        } else {
            to->pages[i] = grow(NULL, PAGE);
            memcpy(to->pages[i], from->pages[i], PAGE);
        }
    }
}

/* Up to `size` bytes from one page; returns how many. */
static size_t view_get(const struct view *v, uint64_t offset, uint8_t *out, size_t size)
{
    uint64_t page = offset / PAGE;
    size_t at = (size_t)(offset % PAGE);
    if (offset >= v->size)
        return 0;
    if (size > v->size - offset)
        size = (size_t)(v->size - offset);
    if (size > PAGE - at)
        size = PAGE - at;
    if (page < v->page_count && v->pages[page])
        memcpy(out, v->pages[page] + at, size);
    else
        memset(out, 0, size);
    return size;
}

static uint64_t view_pages_used(const struct view *v)
{
    uint64_t n = 0;
    for (size_t i = 0; i < v->page_count; i++)
        n += v->pages[i] != NULL;
    return n;
}

/* ---- inodes and their journals ---- */

static struct inode *inode_new(bool dir)
{
    struct inode *n = calloc(1, sizeof(*n));
    tl_assert(n != NULL);
    n->dir = dir;
    return n;
}

static void journal_clear(struct inode *n)
{
    n->journal_count = 0;
    n->bytes_size = 0;
}

static void inode_unref(struct tl_io_sim *sim, struct inode *n)
{
    tl_assert(n->refs > 0);
    (void)sim;
    if (--n->refs > 0)
        return;
    view_clear(&n->live);
    view_clear(&n->durable);
    free(n->journal);
    free(n->bytes);
    free(n);
}

static struct change *journal_add(struct inode *n, enum change_kind kind)
{
    if (n->journal_count == n->journal_room) {
        n->journal_room = n->journal_room ? n->journal_room * 2 : 16;
        n->journal = grow(n->journal, n->journal_room * sizeof(*n->journal));
    }
    struct change *c = &n->journal[n->journal_count++];
    *c = (struct change){.kind = kind, .at = SIZE_MAX};
    return c;
}

/* Notes the sectors of a page, as they are in `live` now: a disk writes whole sectors, so one that
 * survives brings along what earlier writes put into it. */
static void journal_sectors(struct inode *n, uint64_t page, size_t at, size_t size)
{
    struct change *c = journal_add(n, CHANGE_DATA);
    c->page = page;
    c->first = (uint32_t)(at / SECTOR);
    c->count = (uint32_t)((at + size + SECTOR - 1) / SECTOR) - c->first;
    if (n->live.pages[page] == zero_page)
        return;
    size_t bytes = (size_t)c->count * SECTOR;
    if (n->bytes_size + bytes > n->bytes_room) {
        n->bytes_room = (n->bytes_size + bytes) * 2;
        n->bytes = grow(n->bytes, n->bytes_room);
    }
    c->at = n->bytes_size;
    memcpy(n->bytes + c->at, n->live.pages[page] + (size_t)c->first * SECTOR, bytes);
    n->bytes_size += bytes;
}

static bool survives(struct tl_io_sim *sim, int in_256)
{
    return (int)(draw(sim) & 255) < in_256;
}

/* Plays the journal onto durable, each sector and size with the odds given, and forgets it. */
static void journal_play(struct tl_io_sim *sim, struct inode *n, int in_256)
{
    for (size_t i = 0; i < n->journal_count; i++) {
        const struct change *c = &n->journal[i];
        if (c->kind == CHANGE_DATA && in_256 >= 256) {
            view_put(&n->durable, c->page, (size_t)c->first * SECTOR,
                     c->at == SIZE_MAX ? NULL : n->bytes + c->at, (size_t)c->count * SECTOR);
            continue;
        }
        if (c->kind == CHANGE_DATA) {
            for (uint32_t s = 0; s < c->count; s++)
                if (survives(sim, in_256))
                    view_put(&n->durable, c->page, (size_t)(c->first + s) * SECTOR,
                             c->at == SIZE_MAX ? NULL : n->bytes + c->at + (size_t)s * SECTOR,
                             SECTOR);
            continue;
        }
        if (!survives(sim, in_256))
            continue;
        if (c->kind == CHANGE_TRUNCATE)
            view_truncate(&n->durable, c->size);
        else if (n->durable.size < c->size)
            n->durable.size = c->size;
    }
    journal_clear(n);
    /* A sector may have survived without the size that shows it. */
    view_truncate(&n->durable, n->durable.size);
}

/* A failed sync: some sectors reach the platter, the others are forgotten, as pages are that a
 * kernel marks clean when their writing failed. The size is metadata: it stays to be synced. */
static void journal_fail(struct tl_io_sim *sim, struct inode *n)
{
    uint64_t size = n->live.size;
    bool resized = false;
    for (size_t i = 0; i < n->journal_count; i++)
        resized |= n->journal[i].kind != CHANGE_DATA;
    journal_play(sim, n, 128);
    if (resized)
        journal_add(n, size < n->durable.size ? CHANGE_TRUNCATE : CHANGE_SIZE)->size = size;
}

/* ---- names ---- */

static size_t names_find(const struct names *names, const char *name, bool *found)
{
    size_t lo = 0, hi = names->count;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        int order = strcmp(names->entries[mid].name, name);
        if (order == 0) {
            *found = true;
            return mid;
        }
        if (order < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    *found = false;
    return lo;
}

static struct inode *names_get(const struct names *names, const char *name)
{
    bool found;
    size_t i = names_find(names, name, &found);
    return found ? names->entries[i].inode : NULL;
}

static void names_remove(struct tl_io_sim *sim, struct names *names, const char *name)
{
    bool found;
    size_t i = names_find(names, name, &found);
    if (!found)
        return;
    struct entry gone = names->entries[i];
    memmove(names->entries + i, names->entries + i + 1,
            (names->count - i - 1) * sizeof(*names->entries));
    names->count--;
    free(gone.name);
    inode_unref(sim, gone.inode);
}

static void names_set(struct tl_io_sim *sim, struct names *names, const char *name,
                      struct inode *inode)
{
    bool found;
    size_t i = names_find(names, name, &found);
    inode->refs++;
    if (found) {
        inode_unref(sim, names->entries[i].inode);
        names->entries[i].inode = inode;
        return;
    }
    if (names->count == names->room) {
        names->room = names->room ? names->room * 2 : 16;
        names->entries = grow(names->entries, names->room * sizeof(*names->entries));
    }
    memmove(names->entries + i + 1, names->entries + i,
            (names->count - i) * sizeof(*names->entries));
    names->entries[i] = (struct entry){copy_text(name), inode};
    names->count++;
}

static void names_clear(struct tl_io_sim *sim, struct names *names)
{
    for (size_t i = 0; i < names->count; i++) {
        free(names->entries[i].name);
        inode_unref(sim, names->entries[i].inode);
    }
    free(names->entries);
    *names = (struct names){0};
}

static void names_copy(struct tl_io_sim *sim, struct names *to, const struct names *from)
{
    names_clear(sim, to);
    for (size_t i = 0; i < from->count; i++)
        names_set(sim, to, from->entries[i].name, from->entries[i].inode);
}

/* Whether the name lies in a directory of `names` ("" always exists). */
static bool parent_exists(const struct names *names, const char *name)
{
    const char *slash = strrchr(name, '/');
    if (!slash)
        return true;
    char parent[TL_IO_NAME_MAX + 1];
    memcpy(parent, name, (size_t)(slash - name));
    parent[slash - name] = '\0';
    const struct inode *n = names_get(names, parent);
    return n && n->dir;
}

static bool lies_in(const char *name, const char *dir)
{
    if (!name)
        return false;
    const char *slash = strrchr(name, '/');
    size_t size = slash ? (size_t)(slash - name) : 0;
    return strlen(dir) == size && memcmp(name, dir, size) == 0;
}

static void pending_add(struct tl_io_sim *sim, enum rename_kind kind, const char *from,
                        const char *to, struct inode *inode)
{
    if (sim->pending_count == sim->pending_room) {
        sim->pending_room = sim->pending_room ? sim->pending_room * 2 : 16;
        sim->pending = grow(sim->pending, sim->pending_room * sizeof(*sim->pending));
    }
    inode->refs++;
    sim->pending[sim->pending_count++] =
        (struct name_change){kind, from ? copy_text(from) : NULL, to ? copy_text(to) : NULL, inode};
}

static void pending_play(struct tl_io_sim *sim, struct name_change *c)
{
    if (c->kind != NAME_CREATE && names_get(&sim->durable, c->from) == c->inode)
        names_remove(sim, &sim->durable, c->from);
    if (c->kind != NAME_REMOVE)
        names_set(sim, &sim->durable, c->to, c->inode);
}

static void pending_forget(struct tl_io_sim *sim, struct name_change *c)
{
    free(c->from);
    free(c->to);
    inode_unref(sim, c->inode);
}

/* Plays the pending changes of one directory (NULL: of all) with the odds given. What does not
 * come through is forgotten, or stays pending. */
static void pending_play_dir(struct tl_io_sim *sim, const char *dir, int in_256, bool forget)
{
    size_t kept = 0;
    for (size_t i = 0; i < sim->pending_count; i++) {
        struct name_change *c = &sim->pending[i];
        bool meant = !dir || lies_in(c->from, dir) || lies_in(c->to, dir);
        bool plays = meant && (in_256 >= 256 || survives(sim, in_256));
        if (plays)
            pending_play(sim, c);
        if (plays || (meant && forget))
            pending_forget(sim, c);
        else
            sim->pending[kept++] = *c;
    }
    sim->pending_count = kept;
}

/* ---- the gate that every operation passes ---- */

enum fate { GO, FAIL, CUT /* the power goes now */, DEAD };

static enum fate step(struct tl_io_sim *sim)
{
    if (sim->dead)
        return DEAD;
    uint64_t n = sim->steps++;
    if (n >= sim->crash_at) {
        sim->dead = true;
        return CUT;
    }
    if (n == sim->fail_at || (n > sim->fail_at && sim->fail_for_ever))
        return FAIL;
    return GO;
}

static enum tl_code tell(enum fate fate, const char *what, const char *name, struct tl_status *st)
{
    if (fate == FAIL)
        return TL_FAIL_OS(st, TL_IO, EIO, "%s %s", what, name);
    return TL_FAIL(st, TL_CLOSED, "%s %s: the power is cut", what, name);
}

static enum fate step_file(struct tl_io_sim *sim, const struct sim_file *f)
{
    return f->epoch == sim->epoch ? step(sim) : DEAD;
}

/* ---- operations on files ---- */

static struct tl_file *handle_new(struct tl_io_sim *sim, struct inode *inode)
{
    struct sim_file *f = calloc(1, sizeof(*f));
    tl_assert(f != NULL);
    inode->refs++;
    f->inode = inode;
    f->epoch = sim->epoch;
    return &f->base;
}

static enum tl_code open_locked(struct tl_io_sim *sim, const char *name, enum tl_io_mode mode,
                                struct tl_file **out, struct tl_status *st)
{
    enum fate fate = step(sim);
    if (fate == FAIL || fate == DEAD)
        return tell(fate, "opening", name, st);
    struct inode *n = names_get(&sim->live, name);
    if (mode == TL_IO_CREATE) {
        if (n)
            return TL_FAIL_OS(st, TL_EXISTS, EEXIST, "opening %s", name);
        if (!parent_exists(&sim->live, name))
            return TL_FAIL_OS(st, TL_NOT_FOUND, ENOENT, "opening %s", name);
        n = inode_new(false);
        names_set(sim, &sim->live, name, n);
        pending_add(sim, NAME_CREATE, NULL, name, n);
    }
    if (fate == CUT)
        return tell(fate, "opening", name, st);
    if (!n)
        return TL_FAIL_OS(st, TL_NOT_FOUND, ENOENT, "opening %s", name);
    if (n->dir)
        return TL_FAIL_OS(st, TL_IO, EISDIR, "opening %s", name);
    *out = handle_new(sim, n);
    (*out)->direct = mode == TL_IO_DIRECT;
    return TL_OK;
}

static enum tl_code sim_open(struct tl_io *io, const char *name, enum tl_io_mode mode,
                             struct tl_file **out, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(io);
    pthread_mutex_lock(&sim->lock);
    enum tl_code rc = open_locked(sim, name, mode, out, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static void sim_close(struct tl_file *file)
{
    struct tl_io_sim *sim = sim_of(file->io);
    struct sim_file *f = file_of(file);
    pthread_mutex_lock(&sim->lock);
    if (f->lock && f->epoch == sim->epoch)
        f->inode->locked = false;
    inode_unref(sim, f->inode);
    pthread_mutex_unlock(&sim->lock);
    free(f);
}

static enum tl_code sim_size(struct tl_file *file, uint64_t *out, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(file->io);
    pthread_mutex_lock(&sim->lock);
    enum fate fate = step_file(sim, file_of(file));
    enum tl_code rc = TL_OK;
    if (fate == GO)
        *out = file_of(file)->inode->live.size;
    else
        rc = tell(fate, "asking for the size of", file->name, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static void read_one(struct tl_io_sim *sim, struct tl_io_read *r)
{
    const struct sim_file *f = file_of(r->file);
    enum fate fate = step_file(sim, f);
    if (fate != GO) {
        r->code = fate == FAIL ? TL_IO : TL_CLOSED;
        r->os_error = fate == FAIL ? EIO : 0;
        return;
    }
    size_t left = tl__io_left(r);
    size_t page = f->base.direct ? TL_IO_PAGE_BYTES : 1;
    tl_assert((r->offset + r->got) % page == 0 && (uintptr_t)r->buffer % page == 0);
    if (sim->short_transfers)
        left = (1 + (size_t)draw_below(sim, left) + page - 1) / page * page;
    while (left > 0) {
        size_t n =
            view_get(&f->inode->live, r->offset + r->got, (uint8_t *)r->buffer + r->got, left);
        if (n == 0)
            break;
        r->got += n;
        left -= n;
    }
}

static void sim_read(struct tl_io *io, struct tl_io_read **reads, uint32_t count)
{
    struct tl_io_sim *sim = sim_of(io);
    pthread_mutex_lock(&sim->lock);
    for (uint32_t i = 0; i < count; i++)
        read_one(sim, reads[i]);
    pthread_mutex_unlock(&sim->lock);
}

static bool all_zero(const uint8_t *data, size_t size)
{
    return size == 0 || (data[0] == 0 && memcmp(data, data + 1, size - 1) == 0);
}

static void recount(struct tl_io_sim *sim)
{
    sim->used_pages = 0;
    for (size_t i = 0; i < sim->live.count; i++)
        sim->used_pages += view_pages_used(&sim->live.entries[i].inode->live);
}

static bool room_for_page(struct tl_io_sim *sim)
{
    if (!sim->capacity_pages || sim->used_pages < sim->capacity_pages)
        return true;
    recount(sim);
    return sim->used_pages < sim->capacity_pages;
}

/* One page's worth of a write; false when the disk is full. data NULL: zeros. */
static bool put_live(struct tl_io_sim *sim, struct inode *n, uint64_t offset, const uint8_t *data,
                     size_t size)
{
    uint64_t page = offset / PAGE;
    size_t at = (size_t)(offset % PAGE);
    view_reach(&n->live, (size_t)page + 1);
    if (!n->live.pages[page]) {
        if (!room_for_page(sim))
            return false;
        sim->used_pages++;
    }
    if (data && size == PAGE && all_zero(data, size))
        data = NULL;
    view_put(&n->live, page, at, data, size);
    if (n->live.size < offset + size) {
        n->live.size = offset + size;
        journal_add(n, CHANGE_SIZE)->size = n->live.size;
    }
    journal_sectors(n, page, at, size);
    return true;
}

/* Writes the first `limit` bytes of the slices; returns how many found room. */
static size_t put_slices(struct tl_io_sim *sim, struct inode *n, uint64_t offset,
                         const struct tl_slice *slices, uint32_t count, size_t limit)
{
    size_t moved = 0;
    for (uint32_t i = 0; i < count && moved < limit; i++) {
        size_t done = 0;
        while (done < slices[i].size && moved < limit) {
            size_t piece = PAGE - (size_t)((offset + moved) % PAGE);
            if (piece > slices[i].size - done)
                piece = slices[i].size - done;
            if (piece > limit - moved)
                piece = limit - moved;
            if (!put_live(sim, n, offset + moved, slices[i].data + done, piece))
                return moved;
            done += piece;
            moved += piece;
        }
    }
    return moved;
}

static enum tl_code write_locked(struct tl_io_sim *sim, struct tl_file *file, uint64_t offset,
                                 const struct tl_slice *slices, uint32_t count, size_t *out,
                                 struct tl_status *st)
{
    struct sim_file *f = file_of(file);
    enum fate fate = step_file(sim, f);
    size_t total = 0;
    for (uint32_t i = 0; i < count; i++)
        total += slices[i].size;
    size_t limit = total;
    if (fate == FAIL || fate == CUT)
        limit = (size_t)draw_below(sim, total + 1);
    else if (sim->short_transfers && total > 0)
        limit = 1 + (size_t)draw_below(sim, total);
    size_t moved = fate == DEAD ? 0 : put_slices(sim, f->inode, offset, slices, count, limit);
    if (fate != GO)
        return tell(fate, "writing", file->name, st);
    if (moved == 0 && total > 0)
        return TL_FAIL_OS(st, TL_FULL, ENOSPC, "writing %s", file->name);
    *out = moved;
    return TL_OK;
}

static enum tl_code sim_write(struct tl_file *file, uint64_t offset, const struct tl_slice *slices,
                              uint32_t count, size_t *moved, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(file->io);
    pthread_mutex_lock(&sim->lock);
    enum tl_code rc = write_locked(sim, file, offset, slices, count, moved, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static enum tl_code sync_locked(struct tl_io_sim *sim, struct tl_file *file, struct tl_status *st)
{
    struct sim_file *f = file_of(file);
    enum fate fate = step_file(sim, f);
    if (fate == GO && sim->syncs++ == sim->fail_sync)
        fate = FAIL;
    if (fate == GO || (fate == CUT && (draw(sim) & 1)))
        journal_play(sim, f->inode, 256);
    else if (fate == FAIL)
        journal_fail(sim, f->inode); /* the next sync lies */
    return fate == GO ? TL_OK : tell(fate, "syncing", file->name, st);
}

static enum tl_code sim_sync(struct tl_file *file, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(file->io);
    pthread_mutex_lock(&sim->lock);
    enum tl_code rc = sync_locked(sim, file, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static enum tl_code sim_commit_begin(struct tl_io_commit *c, struct tl_status *st)
{
    (void)c;
    (void)st;
    return TL_OK; /* the borrowed bytes are looked at in the wait, where callers expect it least */
}

/* The wait does it all, at once. */
static bool sim_commit_ready(struct tl_io_commit *c)
{
    (void)c;
    return true;
}

static void sim_commit_wait(struct tl_io_commit *c)
{
    struct tl_io_sim *sim = sim_of(c->file->io);
    pthread_mutex_lock(&sim->lock);
    enum tl_code rc =
        write_locked(sim, c->file, c->offset, c->slices, c->count, &c->moved, &c->failure);
    if (!rc && c->moved == c->total) {
        rc = sync_locked(sim, c->file, &c->failure);
        c->synced = rc == TL_OK;
    }
    pthread_mutex_unlock(&sim->lock);
}

static enum tl_code sim_preallocate(struct tl_file *file, uint64_t size, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(file->io);
    struct inode *n = file_of(file)->inode;
    pthread_mutex_lock(&sim->lock);
    enum fate fate = step_file(sim, file_of(file));
    enum tl_code rc = fate == GO ? TL_OK : tell(fate, "reserving space for", file->name, st);
    if (fate == GO || fate == CUT) {
        size_t pages = (size_t)((size + PAGE - 1) / PAGE);
        view_reach(&n->live, pages);
        for (size_t i = 0; i < pages && rc == TL_OK; i++) {
            if (n->live.pages[i])
                continue;
            if (!room_for_page(sim)) {
                rc = TL_FAIL_OS(st, TL_FULL, ENOSPC, "reserving space for %s", file->name);
                break;
            }
            n->live.pages[i] = zero_page;
            sim->used_pages++;
        }
        if (rc != TL_FULL && n->live.size < size) {
            n->live.size = size;
            journal_add(n, CHANGE_SIZE)->size = size;
        }
    }
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static enum tl_code sim_truncate(struct tl_file *file, uint64_t size, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(file->io);
    struct inode *n = file_of(file)->inode;
    pthread_mutex_lock(&sim->lock);
    enum fate fate = step_file(sim, file_of(file));
    if (fate == GO || fate == CUT) {
        view_truncate(&n->live, size);
        journal_add(n, CHANGE_TRUNCATE)->size = size;
    }
    pthread_mutex_unlock(&sim->lock);
    return fate == GO ? TL_OK : tell(fate, "truncating", file->name, st);
}

/* ---- operations on names ---- */

static enum tl_code rename_locked(struct tl_io_sim *sim, const char *from, const char *to,
                                  struct tl_status *st)
{
    enum fate fate = step(sim);
    if (fate == FAIL || fate == DEAD)
        return tell(fate, "renaming", from, st);
    struct inode *n = names_get(&sim->live, from);
    if (!n || !parent_exists(&sim->live, to))
        return TL_FAIL_OS(st, TL_NOT_FOUND, ENOENT, "renaming %s to %s", from, to);
    const struct inode *target = names_get(&sim->live, to);
    if (n->dir || (target && target->dir))
        return TL_FAIL_OS(st, TL_IO, EISDIR, "renaming %s to %s", from, to);
    if (target != n) {
        pending_add(sim, NAME_RENAME, from, to, n);
        names_set(sim, &sim->live, to, n);
        names_remove(sim, &sim->live, from);
    }
    return fate == GO ? TL_OK : tell(fate, "renaming", from, st);
}

static enum tl_code sim_rename(struct tl_io *io, const char *from, const char *to,
                               struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(io);
    pthread_mutex_lock(&sim->lock);
    enum tl_code rc = rename_locked(sim, from, to, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static enum tl_code remove_locked(struct tl_io_sim *sim, const char *name, struct tl_status *st)
{
    enum fate fate = step(sim);
    if (fate == FAIL || fate == DEAD)
        return tell(fate, "removing", name, st);
    struct inode *n = names_get(&sim->live, name);
    if (!n)
        return TL_FAIL_OS(st, TL_NOT_FOUND, ENOENT, "removing %s", name);
    if (n->dir)
        return TL_FAIL_OS(st, TL_IO, EISDIR, "removing %s", name);
    pending_add(sim, NAME_REMOVE, name, NULL, n);
    names_remove(sim, &sim->live, name);
    return fate == GO ? TL_OK : tell(fate, "removing", name, st);
}

static enum tl_code sim_remove(struct tl_io *io, const char *name, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(io);
    pthread_mutex_lock(&sim->lock);
    enum tl_code rc = remove_locked(sim, name, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static enum tl_code sim_exists(struct tl_io *io, const char *name, bool *out, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(io);
    pthread_mutex_lock(&sim->lock);
    enum fate fate = step(sim);
    if (fate == GO)
        *out = names_get(&sim->live, name) != NULL;
    pthread_mutex_unlock(&sim->lock);
    return fate == GO ? TL_OK : tell(fate, "looking for", name, st);
}

static enum tl_code mkdir_locked(struct tl_io_sim *sim, const char *name, struct tl_status *st)
{
    enum fate fate = step(sim);
    if (fate == FAIL || fate == DEAD)
        return tell(fate, "making the directory", name, st);
    if (names_get(&sim->live, name))
        return TL_FAIL_OS(st, TL_EXISTS, EEXIST, "making the directory %s", name);
    if (!parent_exists(&sim->live, name))
        return TL_FAIL_OS(st, TL_NOT_FOUND, ENOENT, "making the directory %s", name);
    struct inode *n = inode_new(true);
    names_set(sim, &sim->live, name, n);
    pending_add(sim, NAME_CREATE, NULL, name, n);
    return fate == GO ? TL_OK : tell(fate, "making the directory", name, st);
}

static enum tl_code sim_mkdir(struct tl_io *io, const char *name, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(io);
    pthread_mutex_lock(&sim->lock);
    enum tl_code rc = mkdir_locked(sim, name, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static bool dir_exists(const struct names *names, const char *dir)
{
    if (dir[0] == '\0')
        return true;
    const struct inode *n = names_get(names, dir);
    return n && n->dir;
}

static enum tl_code sim_sync_dir(struct tl_io *io, const char *dir, struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(io);
    pthread_mutex_lock(&sim->lock);
    enum fate fate = step(sim);
    enum tl_code rc = TL_OK;
    if (fate == GO && !dir_exists(&sim->live, dir))
        rc = TL_FAIL_OS(st, TL_NOT_FOUND, ENOENT, "syncing the directory \"%s\"", dir);
    else if (fate == GO || (fate == CUT && (draw(sim) & 1)))
        pending_play_dir(sim, dir, 256, true);
    else if (fate == FAIL)
        pending_play_dir(sim, dir, 128, false); /* names are journaled: the rest waits */
    if (fate != GO)
        rc = tell(fate, "syncing the directory", dir, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static enum tl_code sim_list(struct tl_io *io, const char *dir, struct tl_io_names *out,
                             struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(io);
    pthread_mutex_lock(&sim->lock);
    enum fate fate = step(sim);
    enum tl_code rc = TL_OK;
    if (fate != GO)
        rc = tell(fate, "listing the directory", dir, st);
    else if (!dir_exists(&sim->live, dir))
        rc = TL_FAIL_OS(st, TL_NOT_FOUND, ENOENT, "listing the directory \"%s\"", dir);
    size_t skip = dir[0] ? strlen(dir) + 1 : 0;
    for (size_t i = 0; rc == TL_OK && i < sim->live.count; i++)
        if (lies_in(sim->live.entries[i].name, dir))
            rc = tl__io_names_add(out, sim->live.entries[i].name + skip, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static enum tl_code lock_locked(struct tl_io_sim *sim, const char *name, struct tl_file **out,
                                struct tl_status *st)
{
    enum fate fate = step(sim);
    if (fate == FAIL || fate == DEAD)
        return tell(fate, "locking", name, st);
    struct inode *n = names_get(&sim->live, name);
    if (!n) {
        if (!parent_exists(&sim->live, name))
            return TL_FAIL_OS(st, TL_NOT_FOUND, ENOENT, "locking %s", name);
        n = inode_new(false);
        names_set(sim, &sim->live, name, n);
        pending_add(sim, NAME_CREATE, NULL, name, n);
    }
    if (fate == CUT)
        return tell(fate, "locking", name, st);
    if (n->locked)
        return TL_FAIL(st, TL_BUSY, "%s is held by process %ld", name, (long)getpid());
    n->locked = true;
    *out = handle_new(sim, n);
    file_of(*out)->lock = true;
    return TL_OK;
}

static enum tl_code sim_lock(struct tl_io *io, const char *name, struct tl_file **out,
                             struct tl_status *st)
{
    struct tl_io_sim *sim = sim_of(io);
    pthread_mutex_lock(&sim->lock);
    enum tl_code rc = lock_locked(sim, name, out, st);
    pthread_mutex_unlock(&sim->lock);
    return rc;
}

static void sim_free(struct tl_io *io)
{
    struct tl_io_sim *sim = sim_of(io);
    for (size_t i = 0; i < sim->pending_count; i++)
        pending_forget(sim, &sim->pending[i]);
    free(sim->pending);
    names_clear(sim, &sim->live);
    names_clear(sim, &sim->durable);
    pthread_mutex_destroy(&sim->lock);
    free(sim);
}

static const struct tl_io_vtable sim_vtable = {
    .maker = TL_IO_SIM,
    .free = sim_free,
    .open = sim_open,
    .close = sim_close,
    .size = sim_size,
    .read = sim_read,
    .write = sim_write,
    .sync = sim_sync,
    .commit_begin = sim_commit_begin,
    .commit_wait = sim_commit_wait,
    .commit_ready = sim_commit_ready,
    .preallocate = sim_preallocate,
    .truncate = sim_truncate,
    .rename = sim_rename,
    .remove = sim_remove,
    .exists = sim_exists,
    .mkdir = sim_mkdir,
    .sync_dir = sim_sync_dir,
    .list = sim_list,
    .lock = sim_lock,
};

/* ---- making, faults ---- */

static void heal(struct tl_io_sim *sim)
{
    sim->crash_at = UINT64_MAX;
    sim->fail_at = UINT64_MAX;
    sim->fail_sync = UINT64_MAX;
    sim->fail_for_ever = false;
    sim->capacity_pages = 0;
    sim->short_transfers = false;
}

enum tl_code tl_io_sim_new(uint64_t seed, struct tl_io_sim **out, struct tl_status *st)
{
    struct tl_io_sim *sim = calloc(1, sizeof(*sim));
    if (!sim)
        return TL_FAIL(st, TL_LIMIT, "no memory for a simulated disk");
    sim->base.vtab = &sim_vtable;
    sim->random = seed;
    sim->survival = -1;
    heal(sim);
    pthread_mutex_init(&sim->lock, NULL);
    *out = sim;
    return TL_OK;
}

struct tl_io *tl_io_sim_io(struct tl_io_sim *sim)
{
    return &sim->base;
}

uint64_t tl_io_sim_steps(struct tl_io_sim *sim)
{
    pthread_mutex_lock(&sim->lock);
    uint64_t n = sim->steps;
    pthread_mutex_unlock(&sim->lock);
    return n;
}

void tl_io_sim_crash_at(struct tl_io_sim *sim, uint64_t at)
{
    pthread_mutex_lock(&sim->lock);
    sim->crash_at = at;
    pthread_mutex_unlock(&sim->lock);
}

void tl_io_sim_fail_at(struct tl_io_sim *sim, uint64_t at, bool for_ever)
{
    pthread_mutex_lock(&sim->lock);
    sim->fail_at = at;
    sim->fail_for_ever = for_ever;
    pthread_mutex_unlock(&sim->lock);
}

void tl_io_sim_fail_sync(struct tl_io_sim *sim, uint64_t sync)
{
    pthread_mutex_lock(&sim->lock);
    sim->fail_sync = sync;
    pthread_mutex_unlock(&sim->lock);
}

void tl_io_sim_set_capacity(struct tl_io_sim *sim, uint64_t bytes)
{
    pthread_mutex_lock(&sim->lock);
    sim->capacity_pages = bytes ? (bytes + PAGE - 1) / PAGE : 0;
    pthread_mutex_unlock(&sim->lock);
}

void tl_io_sim_set_short(struct tl_io_sim *sim, bool on)
{
    pthread_mutex_lock(&sim->lock);
    sim->short_transfers = on;
    pthread_mutex_unlock(&sim->lock);
}

void tl_io_sim_heal(struct tl_io_sim *sim)
{
    pthread_mutex_lock(&sim->lock);
    heal(sim);
    pthread_mutex_unlock(&sim->lock);
}

void tl_io_sim_set_survival(struct tl_io_sim *sim, int in_256)
{
    pthread_mutex_lock(&sim->lock);
    sim->survival = in_256;
    pthread_mutex_unlock(&sim->lock);
}

/* Every inode is reachable from a name of either list, a pending change, or a stale handle; the
 * last kind alone is gone with the power. */
static void settle_inode(struct tl_io_sim *sim, struct inode *n, int odds)
{
    n->locked = false;
    if (n->dir)
        return;
    journal_play(sim, n, odds);
    view_copy(&n->live, &n->durable);
}

void tl_io_sim_reboot(struct tl_io_sim *sim)
{
    static const int choices[] = {0, 16, 128, 240, 256};
    pthread_mutex_lock(&sim->lock);
    int odds = sim->survival >= 0 ? sim->survival : choices[draw_below(sim, 5)];
    /* A file system with a journal keeps a prefix of the changes of names, another any of them. */
    if (draw(sim) & 1) {
        size_t keep = (size_t)draw_below(sim, sim->pending_count + 1);
        if (odds == 0 || odds >= 256)
            keep = odds ? sim->pending_count : 0;
        for (size_t i = 0; i < sim->pending_count; i++) {
            if (i < keep)
                pending_play(sim, &sim->pending[i]);
            pending_forget(sim, &sim->pending[i]);
        }
        sim->pending_count = 0;
    } else {
        pending_play_dir(sim, NULL, odds, true);
    }
    for (size_t i = 0; i < sim->durable.count;) { /* what lay in a directory that was lost */
        if (parent_exists(&sim->durable, sim->durable.entries[i].name)) {
            i++;
            continue;
        }
        char name[TL_IO_NAME_MAX + 1];
        memcpy(name, sim->durable.entries[i].name, strlen(sim->durable.entries[i].name) + 1);
        names_remove(sim, &sim->durable, name);
    }
    for (size_t i = 0; i < sim->durable.count; i++)
        settle_inode(sim, sim->durable.entries[i].inode, odds);
    names_copy(sim, &sim->live, &sim->durable);
    recount(sim);
    heal(sim);
    sim->dead = false;
    sim->epoch++;
    pthread_mutex_unlock(&sim->lock);
}

/* ---- looking and tampering ---- */

static struct inode *inode_clone(const struct inode *n)
{
    struct inode *copy = inode_new(n->dir);
    view_copy(&copy->live, &n->live);
    view_copy(&copy->durable, &n->durable);
    copy->journal_count = copy->journal_room = n->journal_count;
    copy->journal = grow(NULL, n->journal_count * sizeof(*n->journal));
    if (n->journal_count)
        memcpy(copy->journal, n->journal, n->journal_count * sizeof(*n->journal));
    copy->bytes_size = copy->bytes_room = n->bytes_size;
    copy->bytes = grow(NULL, n->bytes_size);
    if (n->bytes_size)
        memcpy(copy->bytes, n->bytes, n->bytes_size);
    return copy;
}

struct twins {
    const struct inode **from;
    struct inode **to;
    size_t count, room;
};

static struct inode *twin_of(struct twins *t, const struct inode *n)
{
    for (size_t i = 0; i < t->count; i++)
        if (t->from[i] == n)
            return t->to[i];
    if (t->count == t->room) {
        t->room = t->room ? t->room * 2 : 16;
        t->from = grow(t->from, t->room * sizeof(*t->from));
        t->to = grow(t->to, t->room * sizeof(*t->to));
    }
    t->from[t->count] = n;
    t->to[t->count] = inode_clone(n);
    return t->to[t->count++];
}

enum tl_code tl_io_sim_clone(struct tl_io_sim *sim, uint64_t seed, struct tl_io_sim **out,
                             struct tl_status *st)
{
    struct tl_io_sim *copy = NULL;
    enum tl_code rc = tl_io_sim_new(seed, &copy, st);
    if (rc)
        return rc;
    struct twins twins = {0};
    pthread_mutex_lock(&sim->lock);
    copy->survival = sim->survival;
    for (size_t i = 0; i < sim->live.count; i++)
        names_set(copy, &copy->live, sim->live.entries[i].name,
                  twin_of(&twins, sim->live.entries[i].inode));
    for (size_t i = 0; i < sim->durable.count; i++)
        names_set(copy, &copy->durable, sim->durable.entries[i].name,
                  twin_of(&twins, sim->durable.entries[i].inode));
    for (size_t i = 0; i < sim->pending_count; i++) {
        const struct name_change *c = &sim->pending[i];
        pending_add(copy, c->kind, c->from, c->to, twin_of(&twins, c->inode));
    }
    pthread_mutex_unlock(&sim->lock);
    recount(copy);
    free(twins.from);
    free(twins.to);
    *out = copy;
    return TL_OK;
}

static void put_dirs(struct tl_io_sim *sim, const char *name)
{
    char dir[TL_IO_NAME_MAX + 1];
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        memcpy(dir, name, (size_t)(slash - name));
        dir[slash - name] = '\0';
        if (names_get(&sim->live, dir))
            continue;
        struct inode *n = inode_new(true);
        names_set(sim, &sim->live, dir, n);
        names_set(sim, &sim->durable, dir, n);
    }
}

enum tl_code tl_io_sim_put(struct tl_io_sim *sim, const char *name, struct tl_slice bytes,
                           struct tl_status *st)
{
    if (strlen(name) > TL_IO_NAME_MAX)
        return TL_FAIL(st, TL_INVALID, "the file name %s is too long", name);
    pthread_mutex_lock(&sim->lock);
    put_dirs(sim, name);
    struct inode *n = inode_new(false);
    for (size_t at = 0; at < bytes.size; at += PAGE) {
        size_t size = bytes.size - at < PAGE ? bytes.size - at : PAGE;
        memcpy(view_page(&n->live, at / PAGE), bytes.data + at, size);
    }
    n->live.size = bytes.size;
    sim->used_pages += view_pages_used(&n->live);
    view_copy(&n->durable, &n->live);
    names_set(sim, &sim->live, name, n);
    names_set(sim, &sim->durable, name, n);
    pthread_mutex_unlock(&sim->lock);
    return TL_OK;
}

enum tl_code tl_io_sim_get(struct tl_io_sim *sim, const char *name, struct tl_buffer *out,
                           struct tl_status *st)
{
    pthread_mutex_lock(&sim->lock);
    const struct inode *n = names_get(&sim->live, name);
    enum tl_code rc = TL_OK;
    if (!n || n->dir)
        rc = TL_FAIL(st, TL_NOT_FOUND, "there is no file %s", name);
    for (uint64_t at = 0; rc == TL_OK && at < n->live.size;) {
        uint8_t page[PAGE];
        size_t size = view_get(&n->live, at, page, PAGE);
        tl_buffer_put(out, page, size);
        at += size;
    }
    pthread_mutex_unlock(&sim->lock);
    return rc ? rc : tl_buffer_check(out, st);
}

static void flip(struct view *v, uint64_t offset, uint8_t mask)
{
    if (offset < v->size)
        view_page(v, offset / PAGE)[offset % PAGE] ^= mask;
}

bool tl_io_sim_flip(struct tl_io_sim *sim, const char *name, uint64_t offset, uint8_t mask)
{
    pthread_mutex_lock(&sim->lock);
    struct inode *n = names_get(&sim->live, name);
    bool reached = n && !n->dir && offset < n->live.size;
    if (reached) {
        flip(&n->live, offset, mask);
        flip(&n->durable, offset, mask);
        recount(sim);
    }
    pthread_mutex_unlock(&sim->lock);
    return reached;
}

static enum tl_code compare_inodes(const char *name, const struct inode *a, const struct inode *b,
                                   struct tl_status *st)
{
    if (a->dir != b->dir)
        return TL_FAIL(st, TL_INVALID, "%s is a directory on one disk alone", name);
    if (a->live.size != b->live.size)
        return TL_FAIL(st, TL_INVALID, "%s has %llu bytes here and %llu there", name,
                       (unsigned long long)a->live.size, (unsigned long long)b->live.size);
    for (uint64_t at = 0; at < a->live.size; at += PAGE) {
        uint8_t left[PAGE], right[PAGE];
        size_t size = view_get(&a->live, at, left, PAGE);
        (void)view_get(&b->live, at, right, PAGE);
        for (size_t i = 0; i < size; i++)
            if (left[i] != right[i])
                return TL_FAIL(st, TL_INVALID, "%s differs at byte %llu", name,
                               (unsigned long long)(at + i));
    }
    return TL_OK;
}

enum tl_code tl_io_sim_compare(struct tl_io_sim *a, struct tl_io_sim *b, struct tl_status *st)
{
    tl_assert(a != b);
    struct tl_io_sim *first = a < b ? a : b, *second = a < b ? b : a; /* one lock order */
    pthread_mutex_lock(&first->lock);
    pthread_mutex_lock(&second->lock);
    enum tl_code rc = TL_OK;
    for (size_t i = 0; rc == TL_OK && (i < a->live.count || i < b->live.count); i++) {
        const char *left = i < a->live.count ? a->live.entries[i].name : "(nothing)";
        const char *right = i < b->live.count ? b->live.entries[i].name : "(nothing)";
        if (strcmp(left, right) != 0)
            rc = TL_FAIL(st, TL_INVALID, "one disk has %s where the other has %s", left, right);
        else
            rc = compare_inodes(left, a->live.entries[i].inode, b->live.entries[i].inode, st);
    }
    pthread_mutex_unlock(&second->lock);
    pthread_mutex_unlock(&first->lock);
    return rc;
}

uint64_t tl_io_sim_hash(struct tl_io_sim *sim)
{
    pthread_mutex_lock(&sim->lock);
    uint64_t hash = 0;
    for (size_t i = 0; i < sim->live.count; i++) {
        const struct entry *e = &sim->live.entries[i];
        hash = tl_hash64_seed(e->name, strlen(e->name) + 1, hash);
        for (uint64_t at = 0; at < e->inode->live.size; at += PAGE) {
            uint8_t page[PAGE];
            size_t size = view_get(&e->inode->live, at, page, PAGE);
            hash = tl_hash64_seed(page, size, hash);
        }
    }
    pthread_mutex_unlock(&sim->lock);
    return hash;
}
