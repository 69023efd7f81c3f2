/* SPDX-License-Identifier: MIT */
/*
 * The functions of the C library that take a descriptor, replaced.
 *
 * This file, paths.c and host_real.c are not built with a sanitizer: a sanitizer's
 * own run-time calls them, also before it is ready, when only system calls work.
 */
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <linux/close_range.h>

#include "files.h"
#include "host.h"

/* Shells end like this. */
void _exit(int status) {
    if (real_ready() && config.enabled) tree_remove();
    for (;;) syscall(SYS_exit_group, status);
}

int close(int fd) {
    if (!real_ready()) return (int)syscall(SYS_close, fd);
    if (config.enabled && file_ours(fd)) files_close(fd);
    return real()->close(fd);
}

int close_range(unsigned first, unsigned last, int flags) {
    if (config.enabled && !(flags & CLOSE_RANGE_CLOEXEC)) files_close_range(first, last);
    return real()->close_range(first, last, flags);
}

static int duplicated(int from, int to) { return config.enabled ? files_duplicated(from, to) : to; }

int dup(int fd) { return duplicated(fd, real()->dup(fd)); }
int dup2(int from, int to) { return duplicated(from, real()->dup2(from, to)); }
int dup3(int from, int to, int flags) { return duplicated(from, real()->dup3(from, to, flags)); }

static int fcntl_common(int fd, int command, void *argument) {
    if (!real_ready()) return (int)syscall(SYS_fcntl, fd, command, argument);
    int result = real()->fcntl(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? duplicated(fd, result) : result;
}

#define ONE_ARGUMENT(after)                     \
    va_list arguments;                          \
    va_start(arguments, after);                 \
    void *argument = va_arg(arguments, void *); \
    va_end(arguments)

int fcntl(int fd, int command, ...) {
    ONE_ARGUMENT(command);
    return fcntl_common(fd, command, argument);
}
int fcntl64(int fd, int command, ...) {
    ONE_ARGUMENT(command);
    return fcntl_common(fd, command, argument);
}

int ioctl(int fd, unsigned long request, ...) {
    ONE_ARGUMENT(request);
    if (!config.enabled || !file_ours(fd)) return real()->ioctl(fd, request, argument);
    int result = files_ioctl(fd, request, argument);
    if (result >= 0) return result;
    errno = -result;
    return -1;
}

static void *mmap_common(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    if (!real_ready()) return (void *)syscall(SYS_mmap, address, length, protection, flags, fd, offset);
    if (!config.enabled || (flags & MAP_ANONYMOUS) || !file_ours(fd))
        return real()->mmap(address, length, protection, flags, fd, offset);
    off_t place;
    int memory, error = files_find_mapping(fd, (uint64_t)offset, length, protection, flags, &place, &memory);
    if (!error) return real()->mmap(address, length, protection, flags, memory, place);
    errno = -error;
    return MAP_FAILED;
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap_common(address, length, protection, flags, fd, offset);
}
void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    return mmap_common(address, length, protection, flags, fd, offset);
}
