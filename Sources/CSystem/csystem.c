/* SPDX-License-Identifier: MIT */
#include "csystem.h"

#include "../../include/unbind/base.h"

_Thread_local uint64_t csys_held_ranks;
_Thread_local uint32_t csys_signalling_depth;
_Thread_local void *csys_running_device;
_Thread_local void *csys_relay;
_Thread_local uint32_t csys_stripe;

const char *csys_version_string(void) { return UNBIND_VERSION_STRING; }

_Noreturn void csys_panic(const char *message, size_t length) {
    static const char prefix[] = "libunbind: broken invariant: ";
    ssize_t written = write(STDERR_FILENO, prefix, sizeof prefix - 1);
    written = write(STDERR_FILENO, message, length);
    written = write(STDERR_FILENO, "\n", 1);
    (void)written;
    abort();
}
