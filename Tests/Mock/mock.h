/* SPDX-License-Identifier: MIT */
/* What the tests of the mock kernel share: choosing a machine, opening its nodes, small wrappers that check. */
#ifndef TESTS_MOCK_H
#define TESTS_MOCK_H

#include <clibdrm.h>
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#include "../ABI/check.h"

#define PAGE 4096ull
#define MIB (1024 * 1024ull)

/* Makes the machine anew with these variables: NAME, VALUE pairs without UNBIND_MOCK_, then NULL. */
__attribute__((sentinel)) static inline void machine(const char *name, ...) {
    void (*restart)(void) = NULL;
    *(void **)&restart = dlsym(RTLD_DEFAULT, "unbind_mock_restart");
    if (!restart) {
        printf("    the mock is not loaded: run Tests/Mock/run\n");
        exit(1);
    }
    setenv("UNBIND_MOCK_MACHINE", name, 1);
    va_list list;
    va_start(list, name);
    for (const char *variable; (variable = va_arg(list, const char *)) != NULL;) {
        char full[64];
        snprintf(full, sizeof full, "UNBIND_MOCK_%s", variable);
        setenv(full, va_arg(list, const char *), 1);
    }
    va_end(list);
    restart();
}

static inline int open_node(unsigned number) {
    char path[32];
    snprintf(path, sizeof path, "/dev/dri/renderD%u", 128 + number);
    int fd = clibdrm_open(path);
    REQUIRE(fd >= 0);
    return fd;
}

static inline uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* One ioctl, not repeated: 0 or -errno. */
static inline int call(int fd, unsigned long request, void *argument) {
    return clibdrm_ioctl_once(fd, request, argument);
}

static inline uint32_t make_syncobj(int fd) {
    uint32_t handle = 0;
    REQUIRE(clibdrm_syncobj_create(fd, 0, &handle) == 0);
    return handle;
}

/* Whether the sync object signals within this many milliseconds; 0 only looks. */
static inline bool signals(int fd, uint32_t syncobj, unsigned ms) {
    int64_t deadline = ms ? (int64_t)(now_ns() + ms * 1000000ull) : 0;
    int result = clibdrm_syncobj_wait(fd, &syncobj, 1, deadline, UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, NULL);
    if (result && result != -ETIME) CHECK_EQUAL(result, 0);
    return result == 0;
}

/* Bytes [from, to) of a struct must be zero: a call that works (or gives this) with all zero refuses each one. */
static inline void must_be_zero(int fd, unsigned long request, const void *good, size_t size, size_t from, size_t to,
                         const char *what) {
    uint8_t copy[256];
    for (size_t i = from; i < to; i++) {
        memcpy(copy, good, size);
        copy[i] = 1;
        int result = call(fd, request, copy);
        if (result == -EINVAL) continue;
        printf("    %s: byte %zu may be 1: %d\n", what, i, result);
        check_failed(__FILE__, __LINE__, what, "");
    }
}

/* ---- the log */

/* How many lines of the log, which UNBIND_MOCK_LOG names, contain both texts. */
static inline unsigned log_lines(const char *one, const char *other) {
    FILE *file = fopen(getenv("UNBIND_MOCK_LOG"), "r");
    char line[512];
    unsigned count = 0;
    while (file && fgets(line, sizeof line, file)) count += strstr(line, one) && strstr(line, other);
    if (file) fclose(file);
    return count;
}

/* ---- batches */

struct batch_text {
    uint32_t dwords[64];
    unsigned count;
};

static inline void batch_add(struct batch_text *batch, uint32_t dword) { batch->dwords[batch->count++] = dword; }

static inline void batch_address(struct batch_text *batch, uint64_t address) {
    batch_add(batch, (uint32_t)address);
    batch_add(batch, (uint32_t)(address >> 32));
}

static inline void batch_store(struct batch_text *batch, uint64_t address, uint32_t value) {
    batch_add(batch, 0x10000002);
    batch_address(batch, address);
    batch_add(batch, value);
}

/* Goes on when the word at the address equals the value. */
static inline void batch_wait(struct batch_text *batch, uint64_t address, uint32_t value) {
    batch_add(batch, 0x0e000002 | 1u << 15 | 4u << 12);
    batch_add(batch, value);
    batch_address(batch, address);
}

static inline void batch_end(struct batch_text *batch) {
    batch_add(batch, 0x05000000);
    if (batch->count % 2) batch_add(batch, 0);
}

/* Linear copy of whole pages with XY_FAST_COPY_BLT. */
static inline void batch_fast_copy(struct batch_text *batch, uint64_t to, uint64_t from, uint32_t pages) {
    batch_add(batch, 0x50800008);
    batch_add(batch, 3u << 24 | 4096);
    batch_add(batch, 0);
    batch_add(batch, pages << 16 | 1024);
    batch_address(batch, to);
    batch_add(batch, 0);
    batch_add(batch, 4096);
    batch_address(batch, from);
}

#endif
