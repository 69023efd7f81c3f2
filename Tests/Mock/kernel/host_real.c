/* SPDX-License-Identifier: MIT */
/* Finds the C library's functions behind the ones that the mock kernel replaces. */
#include <dlfcn.h>

#include "host.h"

static struct real_calls calls;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Atomic bool ready;

static void *find(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (!function) {
        static const char text[] = "unbind mock: the C library lacks a function that the mock replaces\n";
        if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(126);
        _exit(126);
    }
    return function;
}

/* A function pointer from an object pointer, which ISO C does not convert. */
#define FIND(member, name) *(void **)&calls.member = find(name)

static void find_all(void) {
    FIND(open, "open64");
    FIND(openat, "openat64");
    FIND(fopen, "fopen64");
    FIND(stat, "stat");
    FIND(lstat, "lstat");
    FIND(fstat, "fstat");
    FIND(fstatat, "fstatat");
    FIND(statx, "statx");
    FIND(access, "access");
    FIND(faccessat, "faccessat");
    FIND(readlink, "readlink");
    FIND(readlinkat, "readlinkat");
    FIND(realpath, "realpath");
    FIND(opendir, "opendir");
    FIND(scandir, "scandir");
    FIND(close, "close");
    FIND(close_range, "close_range");
    FIND(dup, "dup");
    FIND(dup2, "dup2");
    FIND(dup3, "dup3");
    FIND(fcntl, "fcntl64");
    FIND(ioctl, "ioctl");
    FIND(mmap, "mmap64");
    ready = true;
}

bool real_ready(void) { return ready; }

const struct real_calls *real(void) {
    pthread_once(&once, find_all);
    return &calls;
}
