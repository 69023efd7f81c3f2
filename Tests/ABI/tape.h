/* SPDX-License-Identifier: MIT */
/* A device whose binding events are kept, for the tests of their stream. */
#ifndef TESTS_ABI_TAPE_H
#define TESTS_ABI_TAPE_H

#include "support.h"

enum { MOST = 40000 };

/* What a device's callback was told. */
struct tape {
    struct unbind_binding_event *events;
    unsigned count;
    unsigned inside; /* calls at this moment */
    unbind_vm *vm;   /* if there is one: looked at from within the callback */
};

static inline void play(void *user_data, const struct unbind_binding_event *event) {
    struct tape *tape = (struct tape *)user_data;
    struct unbind_lookup found = UNBIND_LOOKUP_INIT;
    CHECK_EQUAL(__atomic_fetch_add(&tape->inside, 1, __ATOMIC_ACQ_REL), 0);
    REQUIRE(event->struct_size == sizeof *event && tape->count < MOST);
    tape->events[tape->count] = *event;
    __atomic_store_n(&tape->count, tape->count + 1, __ATOMIC_RELEASE);
    if (tape->vm) {
        CHECK_EQUAL(unbind_vm_lookup(tape->vm, event->address, &found), 0);
        CHECK(found.event_count >= event->number);
    }
    __atomic_fetch_sub(&tape->inside, 1, __ATOMIC_ACQ_REL);
}

static inline void open_with_tape(struct gpu *gpu, struct tape *tape, uint32_t executor,
                                  const struct unbind_vm_options *vm, uint32_t flags) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(gpu, executor, &allocator);
    memset(tape, 0, sizeof *tape);
    tape->events = (struct unbind_binding_event *)calloc(MOST, sizeof tape->events[0]);
    REQUIRE(tape->events != NULL);
    options.flags = flags;
    options.binding = play;
    options.binding_data = tape;
    REQUIRE(unbind_device_open_software(&options, &gpu->device) == 0);
    REQUIRE(unbind_vm_create(gpu->device, vm, &gpu->vm) == 0);
}

static inline void close_with_tape(struct gpu *gpu, struct tape *tape) {
    gpu_close(gpu);
    free(tape->events);
}

static inline uint64_t event_count(unbind_vm *vm) {
    struct unbind_lookup found = UNBIND_LOOKUP_INIT;
    CHECK_EQUAL(unbind_vm_lookup(vm, 0, &found), 0);
    return found.event_count;
}

#endif
