/* Preloaded into a process: the FAULT_AT-th call that changes something under FAULT_FOLDER fails with FAULT_ERRNO, or,
 * when that is 0, the process dies there. With FAULT_STAYS every later one fails too, as on a disk that stays full.
 * The call is named in the file FAULT_MARK, which is written by no call that is looked at; with FAULT_AT 0 each is named
 * and none fails. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int calls;

static void mark(const char *what, const char *path)
{
    const char *file = getenv("FAULT_MARK");
    char line[PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s %s\n", what, path);
    int fd = (int)syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd < 0 || length < 0)
        return;
    (void)!syscall(SYS_write, fd, line, (size_t)length);
    syscall(SYS_close, fd);
}

static int fails(const char *what, const char *path)
{
    const char *folder = getenv("FAULT_FOLDER"), *at = getenv("FAULT_AT"), *number = getenv("FAULT_ERRNO");
    if (folder == NULL || at == NULL || number == NULL || path == NULL || strncmp(path, folder, strlen(folder)) != 0)
        return 0;
    calls++;
    if (atoi(at) == 0) {
        mark(what, path);
        return 0;
    }
    if (calls != atoi(at) && !(getenv("FAULT_STAYS") != NULL && calls > atoi(at)))
        return 0;
    mark(what, path);
    if (atoi(number) == 0)
        syscall(SYS_kill, getpid(), SIGKILL);
    errno = atoi(number);
    return 1;
}

static int fails_fd(const char *what, int fd)
{
    char link[64], path[PATH_MAX];
    if (getenv("FAULT_AT") == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = '\0';
    return fails(what, path);
}

#define ON_FD(type, name, parameters, arguments)                      \
    type name parameters                                              \
    {                                                                 \
        static type(*real) parameters;                                \
        if (real == NULL)                                             \
            real = (type(*) parameters)dlsym(RTLD_NEXT, #name);       \
        return fails_fd(#name, fd) ? (type)-1 : real arguments;       \
    }
#define ON_PATH(name, parameters, arguments)                          \
    int name parameters                                               \
    {                                                                 \
        static int(*real) parameters;                                 \
        if (real == NULL)                                             \
            real = (int(*) parameters)dlsym(RTLD_NEXT, #name);        \
        return fails(#name, path) ? -1 : real arguments;              \
    }
#define OPENS(name)                                                                \
    int name(const char *path, int flags, ...)                                     \
    {                                                                              \
        static int (*real)(const char *, int, ...);                                \
        va_list more;                                                              \
        va_start(more, flags);                                                     \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;  \
        va_end(more);                                                              \
        if (real == NULL)                                                          \
            real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name);       \
        return (flags & O_CREAT) && fails(#name, path) ? -1 : real(path, flags, mode); \
    }
#define OPENS_AT(name)                                                             \
    int name(int at, const char *path, int flags, ...)                             \
    {                                                                              \
        static int (*real)(int, const char *, int, ...);                           \
        va_list more;                                                              \
        va_start(more, flags);                                                     \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(more, mode_t) : 0;  \
        va_end(more);                                                              \
        if (real == NULL)                                                          \
            real = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name);  \
        return (flags & O_CREAT) && fails(#name, path) ? -1 : real(at, path, flags, mode); \
    }

ON_FD(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at))
ON_FD(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at))
ON_FD(int, fsync, (int fd), (fd))
ON_FD(int, fdatasync, (int fd), (fd))
ON_FD(int, ftruncate, (int fd, off_t size), (fd, size))
ON_FD(int, ftruncate64, (int fd, off64_t size), (fd, size))
ON_PATH(link, (const char *from, const char *path), (from, path))
ON_PATH(linkat, (int from_at, const char *from, int at, const char *path, int flags), (from_at, from, at, path, flags))
ON_PATH(rename, (const char *from, const char *path), (from, path))
ON_PATH(unlink, (const char *path), (path))
ON_PATH(unlinkat, (int at, const char *path, int flags), (at, path, flags))
ON_PATH(mkdir, (const char *path, mode_t mode), (path, mode))
ON_PATH(mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)
