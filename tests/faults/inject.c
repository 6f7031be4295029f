// Preloaded into a program, stops it or gives it an error at one of its file operations.
//
//   INJECT_UNDER=FOLDER   operations on what lies below it are counted, from 1; needed
//   INJECT_AT=N           at the N-th; without it they are counted alone
//   INJECT_DO=kill        SIGKILL before it (the default)
//             torn        SIGKILL after half of a write; before any other operation
//             short       half of a write succeeds; any other operation goes on
//             NUMBER      the operation fails with this errno
//             full        this and all later operations that need space fail with ENOSPC
//   INJECT_LOG=FILE       receives a line "N operation path" for each
//
// Processes that the program starts are left alone. What glibc writes from its own buffers (stdio) is
// not seen, and neither are operations on descriptors of deleted files.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { kKill, kTorn, kShort, kError, kFull };
enum { kGoOn, kFail, kHalf };

static atomic_long count;
static long at;
static int what = kKill, error_number, log_fd = -1;
static char under[4096];
static size_t under_length;

__attribute__((constructor)) static void Start(void) {
  const char* text = getenv("INJECT_UNDER");
  if (text == NULL || realpath(text, under) == NULL) return;
  under_length = strlen(under);
  if ((text = getenv("INJECT_AT")) != NULL) at = atol(text);
  if ((text = getenv("INJECT_DO")) != NULL && strcmp(text, "kill") != 0) {
    what = strcmp(text, "torn") == 0    ? kTorn
           : strcmp(text, "short") == 0 ? kShort
           : strcmp(text, "full") == 0  ? kFull
                                        : kError;
    error_number = what == kFull ? ENOSPC : atoi(text);
  }
  if ((text = getenv("INJECT_LOG")) != NULL) {
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, text,
                          O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
  }
  unsetenv("LD_PRELOAD");
}

static void Die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

// Decides what becomes of an operation on `path` (absolute).
static int Meet(const char* operation, const char* path, int needs_space, int is_write) {
  if (under_length == 0 || strncmp(path, under, under_length) != 0 ||
      (path[under_length] != '/' && path[under_length] != '\0')) {
    return kGoOn;
  }
  const long number = atomic_fetch_add(&count, 1) + 1;
  if (log_fd >= 0) {
    char line[4400];
    const int length = snprintf(line, sizeof line, "%ld %s %s\n", number, operation, path);
    syscall(SYS_write, log_fd, line, (size_t)length);
  }
  if (at == 0 || number < at || (number > at && what != kFull)) return kGoOn;
  if (what == kKill || (what == kTorn && !is_write)) Die();
  if (what == kTorn || what == kShort) return is_write ? kHalf : kGoOn;
  if (what == kFull && !needs_space) return kGoOn;
  errno = error_number;
  return kFail;
}

static int MeetPath(const char* operation, int folder, const char* path, int needs_space) {
  char whole[8192], base[4096];
  if (under_length == 0 || path == NULL) return kGoOn;
  if (path[0] == '/') return Meet(operation, path, needs_space, 0);
  if (folder == AT_FDCWD) {
    if (getcwd(base, sizeof base) == NULL) return kGoOn;
  } else {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    const ssize_t length = readlink(link, base, sizeof base - 1);
    if (length < 0) return kGoOn;
    base[length] = '\0';
  }
  snprintf(whole, sizeof whole, "%s/%s", base, path);
  return Meet(operation, whole, needs_space, 0);
}

static int MeetFile(const char* operation, int fd, int needs_space, int is_write) {
  char link[64], path[4096];
  if (under_length == 0) return kGoOn;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const int saved = errno;
  const ssize_t length = readlink(link, path, sizeof path - 1);
  errno = saved;
  if (length < 0) return kGoOn;
  path[length] = '\0';
  return Meet(operation, path, needs_space, is_write);
}

// The function of this name that the program would have called.
#define NEXT(type, name, ...)                       \
  static type (*next)(__VA_ARGS__);                 \
  if (next == NULL) next = dlsym(RTLD_NEXT, #name)

#define OPEN(name)                                                                             \
  int name(const char* path, int flags, ...) {                                                 \
    NEXT(int, name, const char*, int, ...);                                                    \
    mode_t mode = 0;                                                                           \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                       \
      va_list list;                                                                            \
      va_start(list, flags);                                                                   \
      mode = va_arg(list, mode_t);                                                             \
      va_end(list);                                                                            \
    }                                                                                          \
    if ((flags & (O_CREAT | O_TRUNC)) && MeetPath("open", AT_FDCWD, path, 1) == kFail) return -1; \
    return next(path, flags, mode);                                                            \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                           \
  int name(int folder, const char* path, int flags, ...) {                                     \
    NEXT(int, name, int, const char*, int, ...);                                               \
    mode_t mode = 0;                                                                           \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                       \
      va_list list;                                                                            \
      va_start(list, flags);                                                                   \
      mode = va_arg(list, mode_t);                                                             \
      va_end(list);                                                                            \
    }                                                                                          \
    if ((flags & (O_CREAT | O_TRUNC)) && MeetPath("open", folder, path, 1) == kFail) return -1; \
    return next(folder, path, flags, mode);                                                    \
  }
OPENAT(openat)
OPENAT(openat64)

#define FOPEN(name)                                                                      \
  FILE* name(const char* path, const char* mode) {                                       \
    NEXT(FILE*, name, const char*, const char*);                                         \
    if (mode[0] != 'r' && MeetPath("open", AT_FDCWD, path, 1) == kFail) return NULL;     \
    return next(path, mode);                                                             \
  }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int fd, const void* bytes, size_t size) {
  NEXT(ssize_t, write, int, const void*, size_t);
  const int fate = MeetFile("write", fd, 1, 1);
  if (fate == kFail) return -1;
  if (fate == kGoOn || size < 2) return next(fd, bytes, size);
  const ssize_t written = next(fd, bytes, size / 2);
  if (what == kTorn) Die();
  return written;
}

#define PWRITE(name)                                                    \
  ssize_t name(int fd, const void* bytes, size_t size, off_t offset) {  \
    NEXT(ssize_t, name, int, const void*, size_t, off_t);               \
    const int fate = MeetFile("write", fd, 1, 1);                       \
    if (fate == kFail) return -1;                                       \
    if (fate == kGoOn || size < 2) return next(fd, bytes, size, offset);\
    const ssize_t written = next(fd, bytes, size / 2, offset);          \
    if (what == kTorn) Die();                                           \
    return written;                                                     \
  }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec* parts, int number) {
  NEXT(ssize_t, writev, int, const struct iovec*, int);
  const int fate = MeetFile("write", fd, 1, 1);
  if (fate == kFail) return -1;
  if (fate == kGoOn) return next(fd, parts, number);
  const ssize_t written = next(fd, parts, 1);
  if (what == kTorn) Die();
  return written;
}

#define OF_FILE(name, operation, needs_space, parameters, arguments, ...)    \
  int name parameters {                                                      \
    NEXT(int, name, __VA_ARGS__);                                            \
    if (MeetFile(operation, fd, needs_space, 0) == kFail) return -1;         \
    return next arguments;                                                   \
  }
OF_FILE(ftruncate, "truncate", 1, (int fd, off_t size), (fd, size), int, off_t)
OF_FILE(ftruncate64, "truncate", 1, (int fd, off64_t size), (fd, size), int, off64_t)
OF_FILE(fallocate, "allocate", 1, (int fd, int mode, off_t from, off_t size),
        (fd, mode, from, size), int, int, off_t, off_t)
OF_FILE(fallocate64, "allocate", 1, (int fd, int mode, off64_t from, off64_t size),
        (fd, mode, from, size), int, int, off64_t, off64_t)
OF_FILE(fsync, "sync", 1, (int fd), (fd), int)
OF_FILE(fdatasync, "sync", 1, (int fd), (fd), int)

// A file open for reading alone has nothing to lose. The descriptor is gone even if close fails.
int close(int fd) {
  NEXT(int, close, int);
  const int flags = under_length == 0 ? -1 : fcntl(fd, F_GETFL);
  if (flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && MeetFile("close", fd, 0, 0) == kFail) {
    const int error = errno;
    next(fd);
    errno = error;
    return -1;
  }
  return next(fd);
}

#define OF_PATH(name, operation, folder, path, needs_space, parameters, arguments, ...)  \
  int name parameters {                                                                  \
    NEXT(int, name, __VA_ARGS__);                                                        \
    if (MeetPath(operation, folder, path, needs_space) == kFail) return -1;              \
    return next arguments;                                                               \
  }
// A name that is there already takes no more space.
OF_PATH(rename, "rename", AT_FDCWD, to, faccessat(AT_FDCWD, to, F_OK, 0) != 0,
        (const char* from, const char* to), (from, to), const char*, const char*)
OF_PATH(renameat, "rename", in, to, faccessat(in, to, F_OK, 0) != 0, (int of, const char* from, int in, const char* to),
        (of, from, in, to), int, const char*, int, const char*)
OF_PATH(renameat2, "rename", in, to, faccessat(in, to, F_OK, 0) != 0,
        (int of, const char* from, int in, const char* to, unsigned flags),
        (of, from, in, to, flags), int, const char*, int, const char*, unsigned)
OF_PATH(link, "link", AT_FDCWD, to, 1, (const char* from, const char* to), (from, to), const char*,
        const char*)
OF_PATH(symlink, "link", AT_FDCWD, to, 1, (const char* from, const char* to), (from, to),
        const char*, const char*)
OF_PATH(unlink, "remove", AT_FDCWD, path, 0, (const char* path), (path), const char*)
OF_PATH(unlinkat, "remove", folder, path, 0, (int folder, const char* path, int flags),
        (folder, path, flags), int, const char*, int)
OF_PATH(remove, "remove", AT_FDCWD, path, 0, (const char* path), (path), const char*)
OF_PATH(rmdir, "remove", AT_FDCWD, path, 0, (const char* path), (path), const char*)
OF_PATH(mkdir, "folder", AT_FDCWD, path, 1, (const char* path, mode_t mode), (path, mode),
        const char*, mode_t)
OF_PATH(mkdirat, "folder", folder, path, 1, (int folder, const char* path, mode_t mode),
        (folder, path, mode), int, const char*, mode_t)
OF_PATH(truncate, "truncate", AT_FDCWD, path, 1, (const char* path, off_t size), (path, size),
        const char*, off_t)
OF_PATH(truncate64, "truncate", AT_FDCWD, path, 1, (const char* path, off64_t size), (path, size),
        const char*, off64_t)

ssize_t sendfile(int to, int from, off_t* offset, size_t size) {
  NEXT(ssize_t, sendfile, int, int, off_t*, size_t);
  if (MeetFile("copy", to, 1, 0) == kFail) return -1;
  return next(to, from, offset, size);
}

ssize_t copy_file_range(int from, off64_t* from_offset, int to, off64_t* to_offset, size_t size,
                        unsigned flags) {
  NEXT(ssize_t, copy_file_range, int, off64_t*, int, off64_t*, size_t, unsigned);
  if (MeetFile("copy", to, 1, 0) == kFail) return -1;
  return next(from, from_offset, to, to_offset, size, flags);
}
