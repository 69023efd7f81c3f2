/* SPDX-License-Identifier: MIT */
#include "csystem.h"

#include "../../include/unbind/base.h"

static _Thread_local uint64_t held_ranks;
static _Thread_local uint32_t signalling_depth;
static _Thread_local void *running_device;
static _Thread_local void *relay;

uint64_t *csys_thread_held_ranks(void) { return &held_ranks; }
uint32_t *csys_thread_signalling_depth(void) { return &signalling_depth; }
void **csys_thread_running_device(void) { return &running_device; }
void **csys_thread_relay(void) { return &relay; }

const char *csys_version_string(void) { return UNBIND_VERSION_STRING; }

_Noreturn void csys_panic(const char *message, size_t length) {
    static const char prefix[] = "libunbind: broken invariant: ";
    ssize_t written = write(STDERR_FILENO, prefix, sizeof prefix - 1);
    written = write(STDERR_FILENO, message, length);
    written = write(STDERR_FILENO, "\n", 1);
    (void)written;
    abort();
}
