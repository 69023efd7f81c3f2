/* SPDX-License-Identifier: MIT */
/* The fuzz test: lookups, and what is told of binds and unbinds. */
#ifndef TESTS_ABI_FUZZ_LOOKING_H
#define TESTS_ABI_FUZZ_LOOKING_H

#include "fuzz_world.h"

static void fuzz_binding(void *user_data, const struct unbind_binding_event *event) {
    (void)user_data;
    if (event->type > UNBIND_EVENT_UNBIND_DONE || event->number == 0 || event->size == 0 || event->vm_id == 0) {
        fuzz_failed("binding event", event->type);
    }
    from_within();
}

static void look_somewhere(unbind_vm *vm) {
    enum { ROOM_FOR = 3 };
    struct unbind_pending_unbind unbinds[ROOM_FOR];
    struct unbind_operation operations[ROOM_FOR];
    struct unbind_lookup lookup = UNBIND_LOOKUP_INIT;
    lookup.unbind_capacity = (uint32_t)below(ROOM_FOR + 1);
    lookup.operation_capacity = (uint32_t)below(ROOM_FOR + 1);
    if (!one_in(8)) lookup.unbinds = unbinds;
    if (!one_in(8)) lookup.operations = operations;
    lookup.struct_size = one_in(8) ? (uint32_t)below(sizeof lookup + 1) : (uint32_t)sizeof lookup;
    if (lookup.struct_size > 24 && lookup.struct_size < 32) lookup.struct_size = 24; /* an array without its capacity */
    if (lookup.struct_size > 8 && lookup.struct_size < 24) lookup.struct_size = 8;   /* nor half a pointer */
    trace("lookup");
    uint64_t address = one_in(8) ? any_word() : any_address();
    if (status("unbind_vm_lookup", unbind_vm_lookup(vm, address, one_in(40) ? NULL : &lookup), -EINVAL, -E2BIG, 0) < 0 ||
        lookup.struct_size < sizeof lookup) {
        return;
    }
    if (lookup.state > UNBIND_VMA_BOUND || (lookup.state == UNBIND_VMA_UNBOUND) != (lookup.size == 0)) {
        fuzz_failed("a lookup with a mapping of no size", (int)lookup.state);
    }
    for (uint32_t i = 0; i < lookup.unbind_count && i < lookup.unbind_capacity; i++) {
        if (unbinds[i].awaits > UNBIND_AWAITS_HOLDS || unbinds[i].size == 0) fuzz_failed("a pending unbind", (int)i);
    }
    for (uint32_t i = 0; i < lookup.operation_count && i < lookup.operation_capacity; i++) {
        if (operations[i].type > UNBIND_OPERATION_UNBIND_COMPLETED) fuzz_failed("an operation", (int)i);
    }
}

#endif
