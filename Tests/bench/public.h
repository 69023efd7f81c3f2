/* SPDX-License-Identifier: MIT */
/* What the benchmarks through the public functions share. */
#ifndef UNBIND_BENCH_PUBLIC_H
#define UNBIND_BENCH_PUBLIC_H

#include "bench.h"

#include <stdlib.h>
#include <unbind/unbind.h>

enum { PAGE = 4096 };

/* A call that fails ends the program: its row would be worth nothing. */
#define TRY(call)                                                                     \
    do {                                                                              \
        int status_ = (call);                                                         \
        if (status_ < 0) {                                                            \
            fprintf(stderr, "bench: %s: %s\n", #call, unbind_status_string(status_)); \
            exit(1);                                                                  \
        }                                                                             \
    } while (0)

/* A device with the manual executor, and one address space. */
struct space {
    unbind_device *device;
    unbind_vm *vm;
};

static inline struct space space_open(uint32_t page_sizes, uint32_t policy) {
    struct space space;
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    options.executor = UNBIND_EXECUTOR_MANUAL;
    options.page_sizes = page_sizes;
    vm_options.policy = policy;
    TRY(unbind_device_open_software(&options, &space.device));
    TRY(unbind_vm_create(space.device, &vm_options, &space.vm));
    return space;
}

static inline void space_close(struct space space) {
    unbind_vm_unref(space.vm);
    TRY(unbind_device_close(space.device, NULL));
    unbind_device_unref(space.device);
}

#endif
