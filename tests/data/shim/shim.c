/*
 * Stands between the daemon and the C library, loaded with LD_PRELOAD: records what is done to the files below one
 * directory, makes the n-th of these operations fail, and shifts the wall clock.
 *
 *   HOOKWHEEL_SHIM_ROOT   the directory; without it no file operation is looked at
 *   HOOKWHEEL_SHIM_LOG    the recording is appended to this file, which lies outside of it
 *   HOOKWHEEL_SHIM_FAIL   "N:kind": the N-th (from 1) fails; kind is eio, enospc (and all after it that take space),
 *                         short (a write of half), or sync (the N-th sync, counted apart)
 *   HOOKWHEEL_SHIM_CLOCK  a file of 8 bytes (big-endian), mapped: milliseconds that the wall clock is ahead, changed at will
 *
 * An operation and its record are one step: a lock is held over both, and the record is written last. So who has seen
 * an effect of an operation finds it in the recording. An operation that it cannot record ends the process.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum op { START = 1, CREATE, MKDIR, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, RMDIR, FAILED_SYNC, FAULT };

struct record {
    uint32_t op, path, other, pid;
    uint64_t offset, bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_length;
static int log_fd = -1;
static volatile int64_t *clock_ahead;
static long fail_at, operations, syncs;
static enum { NEVER, EIO_ONCE, NO_SPACE, SHORT, BAD_SYNC } fail_kind;

#define REAL(name) static __typeof__(name) *real; if (!real) real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static void die(const char *what) {
    dprintf(2, "shim: %s\n", what);
    _exit(97);
}

static void put(const void *bytes, size_t length) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    while (length > 0) {
        ssize_t done = real(log_fd, bytes, length);
        if (done <= 0) die("cannot write the recording");
        bytes = (const char *)bytes + done;
        length -= (size_t)done;
    }
}

/* The lock is held. A kill may tear the last record: a reader knows it by its length. */
static void note(enum op op, const char *path, const char *other, uint64_t offset, const void *bytes, uint64_t length) {
    if (log_fd < 0) return;
    int saved = errno;
    size_t a = path ? strlen(path) : 0, b = other ? strlen(other) : 0;
    struct record head = {
        htobe32(op), htobe32((uint32_t)a), htobe32((uint32_t)b), htobe32((uint32_t)getpid()),
        htobe64(offset), htobe64(bytes ? length : 0),
    };
    struct iovec parts[4] = { { &head, sizeof head }, { (void *)path, a }, { (void *)other, b }, { (void *)bytes, bytes ? length : 0 } };
    for (int i = 0; i < 4; i++) put(parts[i].iov_base, parts[i].iov_len);
    errno = saved;
}

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("HOOKWHEEL_SHIM_CLOCK");
    REAL(open64);
    if (text) {
        int fd = real(text, O_RDONLY | O_CLOEXEC);
        void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
        if (map == MAP_FAILED) die("cannot map HOOKWHEEL_SHIM_CLOCK");
        clock_ahead = map;
        close(fd);
    }
    text = getenv("HOOKWHEEL_SHIM_ROOT");
    if (!text) return;
    if (!realpath(text, root)) die("HOOKWHEEL_SHIM_ROOT does not exist");
    root_length = strlen(root);
    if ((text = getenv("HOOKWHEEL_SHIM_LOG"))) {
        log_fd = real(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (log_fd < 0) die("cannot open HOOKWHEEL_SHIM_LOG");
    }
    if ((text = getenv("HOOKWHEEL_SHIM_FAIL"))) {
        char *kind;
        fail_at = strtol(text, &kind, 10);
        fail_kind = !strcmp(kind, ":eio") ? EIO_ONCE : !strcmp(kind, ":enospc") ? NO_SPACE
            : !strcmp(kind, ":short") ? SHORT : !strcmp(kind, ":sync") ? BAD_SYNC : NEVER;
        if (fail_kind == NEVER || fail_at < 1) die("HOOKWHEEL_SHIM_FAIL is not N:eio, N:enospc, N:short or N:sync");
    }
    note(START, NULL, NULL, 0, NULL, 0);
}

/* The part of an absolute path after the root, or NULL: not ours. The root itself is "". */
static const char *below(const char *path) {
    if (!root_length || strncmp(path, root, root_length)) return NULL;
    if (!path[root_length]) return path + root_length;
    return path[root_length] == '/' ? path + root_length + 1 : NULL;
}

static const char *of_fd(int fd, char *room) {
    char link[40];
    if (!root_length || fd <= 2 || fd == log_fd) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    int saved = errno;
    ssize_t length = readlink(link, room, PATH_MAX - 1);
    errno = saved;
    if (length <= 0 || room[0] != '/') return NULL;
    room[length] = 0;
    const char *gone = " (deleted)";
    size_t tail = strlen(gone);
    if ((size_t)length > tail && !strcmp(room + length - tail, gone)) return NULL;
    return below(room);
}

static const char *of_path(int directory, const char *path, char *room) {
    if (!root_length) return NULL;
    if (path[0] == '/') return below(path);
    if (directory == AT_FDCWD) {
        if (!getcwd(room, PATH_MAX)) return NULL;
    } else {
        char link[40];
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        ssize_t length = readlink(link, room, PATH_MAX - 1);
        if (length <= 0) return NULL;
        room[length] = 0;
    }
    size_t used = strlen(room);
    if (used + strlen(path) + 2 > PATH_MAX) return NULL;
    room[used] = '/';
    strcpy(room + used + 1, path);
    return below(room);
}

/* Room that files have beyond their ends: a write there, or over what is there, needs none on a full disk. */
static struct { char path[PATH_MAX]; uint64_t until; } rooms[256];
static int room_count;
static int in_room;

static uint64_t *room_of(const char *path) {
    for (int at = 0; at < room_count; at++) if (strcmp(rooms[at].path, path) == 0) return &rooms[at].until;
    if (room_count == 256) die("too many files with room");
    strcpy(rooms[room_count].path, path);
    rooms[room_count].until = 0;
    return &rooms[room_count++].until;
}

/* Whether bytes at an offset need no new blocks. The lock is held. */
static int has_room(int fd, const char *path, uint64_t offset, uint64_t length) {
    struct stat now;
    if (fstat(fd, &now) == 0 && offset + length <= (uint64_t)now.st_size) return 1;
    return offset + length <= *room_of(path);
}

/* Counts an operation that changes something; whether it is to fail. The lock is held. */
static int fails(enum op op, const char *path) {
    int here = 0, error = EIO;
    if (op == SYNC) here = ++syncs == fail_at && fail_kind == BAD_SYNC;
    else {
        operations++;
        int takes_space = op == CREATE || op == MKDIR || op == WRITE;
        if (fail_kind == EIO_ONCE) here = operations == fail_at;
        if (fail_kind == NO_SPACE) here = operations >= fail_at && takes_space && !in_room, error = ENOSPC;
        if (fail_kind == SHORT) here = operations == fail_at && op == WRITE;
    }
    if (here) {
        note(FAULT, path, NULL, op, NULL, 0);
        errno = error;
    }
    return here;
}

static int opened(int directory, const char *path, int flags, mode_t mode, int (*call)(int, const char *, int, mode_t)) {
    char room[PATH_MAX];
    const char *ours = of_path(directory, path, room);
    if (!ours || !(flags & (O_CREAT | O_TRUNC))) return call(directory, path, flags, mode);
    if ((flags & O_TMPFILE) == O_TMPFILE) die("O_TMPFILE cannot be recorded");
    pthread_mutex_lock(&lock);
    struct stat now;
    int there = fstatat(directory, path, &now, 0) == 0, fd = -1;
    enum op op = there ? TRUNCATE : CREATE;
    int changes = there ? (flags & O_TRUNC) && now.st_size > 0 : flags & O_CREAT;
    if (!changes || !fails(op, ours)) {
        fd = call(directory, path, flags, mode);
        if (fd >= 0 && changes) note(op, ours, NULL, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return fd;
}

static int call_openat(int directory, const char *path, int flags, mode_t mode) {
    REAL(openat64);
    return real(directory, path, flags, mode);
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode, call_openat); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode, call_openat); }
int openat(int directory, const char *path, int flags, ...) { MODE return opened(directory, path, flags, mode, call_openat); }
int openat64(int directory, const char *path, int flags, ...) { MODE return opened(directory, path, flags, mode, call_openat); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, call_openat); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode, call_openat); }

static ssize_t call_pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    REAL(pwrite64);
    return real(fd, bytes, length, offset);
}

static ssize_t written(int fd, const char *ours, const void *bytes, size_t length, off_t offset, int moves) {
    REAL(write);
    pthread_mutex_lock(&lock);
    ssize_t done = -1;
    off_t place = !moves ? offset : fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
    in_room = has_room(fd, ours, (uint64_t)place, length);
    int stop = fails(WRITE, ours);
    in_room = 0;
    if (stop && fail_kind == SHORT && length > 1) length /= 2, stop = 0;
    if (!stop) {
        offset = place;
        done = moves ? real(fd, bytes, length) : call_pwrite(fd, bytes, length, offset);
        if (done > 0) note(WRITE, ours, NULL, (uint64_t)offset, bytes, (uint64_t)done);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t write(int fd, const void *bytes, size_t length) {
    REAL(write);
    char room[PATH_MAX];
    const char *ours = of_fd(fd, room);
    return ours ? written(fd, ours, bytes, length, 0, 1) : real(fd, bytes, length);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t offset) {
    char room[PATH_MAX];
    const char *ours = of_fd(fd, room);
    return ours ? written(fd, ours, bytes, length, offset, 0) : call_pwrite(fd, bytes, length, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) { return pwrite64(fd, bytes, length, offset); }

/* What the daemon does not use: it must not come into use unseen. */
#define NOT_RECORDED(fd, name) do { char room[PATH_MAX]; if (of_fd(fd, room)) die(name " on a file cannot be recorded"); } while (0)

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    NOT_RECORDED(fd, "writev");
    return real(fd, parts, count);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) {
    REAL(pwritev64);
    NOT_RECORDED(fd, "pwritev");
    return real(fd, parts, count, offset);
}

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t length, unsigned flags) {
    REAL(copy_file_range);
    NOT_RECORDED(to, "copy_file_range");
    return real(from, at, to, there, length, flags);
}

int posix_fallocate64(int fd, off_t offset, off_t length) {
    REAL(posix_fallocate64);
    NOT_RECORDED(fd, "posix_fallocate");
    return real(fd, offset, length);
}

int fallocate64(int fd, int mode, off_t offset, off_t length) {
    REAL(fallocate64);
    char room[PATH_MAX];
    const char *ours = of_fd(fd, room);
    if (!ours) return real(fd, mode, offset, length);
    pthread_mutex_lock(&lock);
    int done = -1;
    struct stat before, after;
    fstat(fd, &before);
    /* It is no operation that is counted: nothing that is read depends on it. */
    if (fail_kind == NO_SPACE && operations >= fail_at && !has_room(fd, ours, (uint64_t)offset, (uint64_t)length)) {
        note(FAULT, ours, NULL, WRITE, NULL, 0);
        errno = ENOSPC;
    } else if ((done = real(fd, mode, offset, length)) == 0) {
        uint64_t *until = room_of(ours);
        if (*until < (uint64_t)(offset + length)) *until = (uint64_t)(offset + length);
        if (fstat(fd, &after) == 0 && after.st_size != before.st_size)
            note(TRUNCATE, ours, NULL, (uint64_t)after.st_size, NULL, 0);
    }
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

int linkat(int from, const char *path, int to, const char *other, int flags) {
    REAL(linkat);
    char room[PATH_MAX];
    if (of_path(to, other, room)) die("linkat cannot be recorded");
    return real(from, path, to, other, flags);
}

int ftruncate64(int fd, off_t length) {
    REAL(ftruncate64);
    char room[PATH_MAX];
    const char *ours = of_fd(fd, room);
    if (!ours) return real(fd, length);
    pthread_mutex_lock(&lock);
    int done = -1;
    struct stat now;
    /* A cut to the length that it has changes nothing, and is no operation. */
    int same = fstat(fd, &now) == 0 && now.st_size == length;
    if (same || !fails(TRUNCATE, ours)) {
        done = real(fd, length);
        if (done == 0) *room_of(ours) = 0;
        if (done == 0 && !same) note(TRUNCATE, ours, NULL, (uint64_t)length, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

static int synced(int fd, int (*call)(int)) {
    char room[PATH_MAX];
    const char *ours = of_fd(fd, room);
    if (!ours) return call(fd);
    pthread_mutex_lock(&lock);
    int done = -1;
    if (fails(SYNC, ours)) note(FAILED_SYNC, ours, NULL, 0, NULL, 0);
    else if ((done = getenv("HOOKWHEEL_SHIM_REALLY") ? call(fd) : 0) == 0) note(SYNC, ours, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

static int call_fsync(int fd) { REAL(fsync); return real(fd); }
static int call_fdatasync(int fd) { REAL(fdatasync); return real(fd); }
int fsync(int fd) { return synced(fd, call_fsync); }
int fdatasync(int fd) { return synced(fd, call_fdatasync); }

int rename(const char *from, const char *to) {
    REAL(rename);
    char room[PATH_MAX], other[PATH_MAX];
    const char *a = of_path(AT_FDCWD, from, room), *b = of_path(AT_FDCWD, to, other);
    if (!a && !b) return real(from, to);
    if (!a || !b) die("a rename over the root's border cannot be recorded");
    pthread_mutex_lock(&lock);
    int done = -1;
    if (!fails(RENAME, a) && (done = real(from, to)) == 0) note(RENAME, a, b, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return done;
}

static int removed(int directory, const char *path, int flags) {
    REAL(unlinkat);
    char room[PATH_MAX];
    const char *ours = of_path(directory, path, room);
    if (!ours) return real(directory, path, flags);
    pthread_mutex_lock(&lock);
    struct stat now;
    int done = -1;
    enum op op = flags & AT_REMOVEDIR ? RMDIR : UNLINK;
    /* What is not there is no operation. */
    if (fstatat(directory, path, &now, AT_SYMLINK_NOFOLLOW) != 0 || !fails(op, ours)) {
        done = real(directory, path, flags);
        if (done == 0) note(op, ours, NULL, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int directory, const char *path, int flags) { return removed(directory, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    char room[PATH_MAX];
    const char *ours = of_path(AT_FDCWD, path, room);
    if (!ours) return real(path, mode);
    pthread_mutex_lock(&lock);
    struct stat now;
    int done = -1;
    if (stat(path, &now) == 0 || !fails(MKDIR, ours)) {
        done = real(path, mode);
        if (done == 0) note(MKDIR, ours, NULL, 0, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    return done;
}

static int64_t ahead(void) { return clock_ahead ? (int64_t)be64toh((uint64_t)*clock_ahead) : 0; }

int clock_gettime(clockid_t clock, struct timespec *time) {
    REAL(clock_gettime);
    int done = real(clock, time);
    int64_t shift = ahead();
    if (done == 0 && shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t total = (int64_t)time->tv_sec * 1000 + shift, second = total / 1000;
        if (total % 1000 < 0) second--;
        time->tv_nsec += (total - second * 1000) * 1000000;
        time->tv_sec = second + time->tv_nsec / 1000000000;
        time->tv_nsec %= 1000000000;
    }
    return done;
}

int gettimeofday(struct timeval *restrict value, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int done = clock_gettime(CLOCK_REALTIME, &now);
    value->tv_sec = now.tv_sec;
    value->tv_usec = now.tv_nsec / 1000;
    return done;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
