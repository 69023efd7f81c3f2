/* SPDX-License-Identifier: MIT */
/* The fuzz test: opening, running, asking and closing a device. */
#ifndef TESTS_ABI_FUZZ_DEVICES_H
#define TESTS_ABI_FUZZ_DEVICES_H

#include "fuzz_looking.h"

static void open_device(void) {
    union room room, cost_room, allocator_room, power_room;
    struct unbind_power_callbacks power = UNBIND_POWER_CALLBACKS_INIT;
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_cost_model costs = UNBIND_COST_MODEL_INIT;
    struct unbind_allocator allocator = UNBIND_ALLOCATOR_INIT;
    unbind_device *device = UNTOUCHED(unbind_device);
    int index = 0;
    while (index < 2 && (fuzz.slots[DEVICE][index].handle || fuzz.hooks[index].blocks)) index++;
    if (index == 2 || fuzz.depth) return;
    for (unsigned kind = VM; kind < KINDS; kind++) { /* an earlier device of this number is not quite gone */
        for (unsigned i = 0; i < SLOTS; i++) {
            if (fuzz.slots[kind][i].handle && fuzz.slots[kind][i].device == index) return;
        }
    }
    allocator.user_data = &fuzz.hooks[index];
    allocator.allocate = allocate;
    allocator.deallocate = hooks_deallocate;
    if (one_in(2)) {
        costs.pte_ps = one_in(8) ? any_word() : below(100000);
        costs.tlb_flush_ns = one_in(8) ? any_word() : below(3) * 10000;
        costs.byte_ps = one_in(8) ? any_word() : below(100);
        costs.command_ns = one_in(8) ? any_word() : below(2000);
        if (fuzz.executor == UNBIND_EXECUTOR_MANUAL) {
            costs.pte_ps %= 1000, costs.tlb_flush_ns %= 10000, costs.byte_ps = 0, costs.command_ns %= 1000;
        }
        options.cost_model = (struct unbind_cost_model *)resize(&cost_room, &costs, sizeof costs, 8);
    }
    options.flags = flags_of(UNBIND_DEVICE_NO_SLABS);
    options.executor = one_in(40) ? (uint32_t)any() | 4 : fuzz.executor;
    options.worker_count = one_in(40) ? 1 : 0;
    options.seed = any();
    options.system_memory_bytes = one_in(8) ? below(64) * PAGE : 16 * MIB;
    options.local_memory_bytes = one_in(16) ? any_word() % (64 * MIB) : 4 * MIB;
    options.page_sizes = one_in(16) ? below(8) * PAGE : one_in(24) ? any_word() : 0;
    options.allocator = (struct unbind_allocator *)resize(&allocator_room, &allocator, sizeof allocator, sizeof allocator);
    power.user_data = &fuzz.power[index];
    power.get = one_in(40) ? NULL : fuzz_power_get;
    power.get_if_in_use = fuzz_power_ask;
    power.put = fuzz_power_put;
    if (one_in(2)) options.power = (struct unbind_power_callbacks *)resize(&power_room, &power, sizeof power, sizeof power);
    options.log = one_in(4) ? NULL : fuzz_log;
    options.fault = one_in(4) ? NULL : fuzz_fault;
    options.binding = one_in(2) ? NULL : fuzz_binding;
    trace("open device %d, costs %llu %llu %llu %llu", index, (unsigned long long)costs.pte_ps,
          (unsigned long long)costs.tlb_flush_ns, (unsigned long long)costs.byte_ps, (unsigned long long)costs.command_ns);
    if (status("unbind_device_open_software",
               unbind_device_open_software((struct unbind_device_options *)resize(&room, &options, sizeof options,
                                                                                 offsetof(struct unbind_device_options, log)),
                                           one_in(40) ? NULL : &device),
               -EINVAL, -E2BIG, -ENOMEM, -EAGAIN, 0) == 0) {
        fuzz.is_closed[index] = 0;
        fuzz.abandoned[index] = 0;
        fuzz.timed[index] = 0;
        fuzz.slots[DEVICE][index].handle = device;
        fuzz.slots[DEVICE][index].references = 1;
        fuzz.slots[DEVICE][index].device = index;
    } else if (device != UNTOUCHED(unbind_device)) {
        fuzz_failed("a failed open wrote its out-parameter", 0);
    } else if (fuzz.hooks[index].blocks) {
        fuzz_failed("a failed open keeps memory", fuzz.hooks[index].blocks);
    }
}

/* What this program holds of a device. */
static uint32_t held(int device, enum kind kind, uint64_t *bytes, uint64_t *unsignalled) {
    uint32_t count = 0;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &fuzz.slots[kind][i];
        if (!slot->handle || slot->device != device) continue;
        count += kind == FENCE ? slot->references : 1;
        if (bytes) *bytes += slot->bytes;
        if (unsignalled) *unsignalled += (uint64_t)is_unsignalled(slot);
    }
    return count;
}

static void close_device(struct slot *slot) {
    union room room;
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT, *sent;
    unbind_device *device = slot ? (unbind_device *)slot->handle : PICK(unbind_device, DEVICE);
    int index = device_of(DEVICE, device), was_closed = index < 0 || fuzz.is_closed[index], got;
    int is_asked = slot || !one_in(4);
    uint64_t bytes = 0, unsignalled = 0;
    uint32_t vms, bos, vmas, queues, fences, holds, ranges;
    if (index >= 0) {
        vms = held(index, VM, NULL, NULL);
        bos = held(index, BO, &bytes, NULL);
        vmas = held(index, VMA, NULL, NULL);
        queues = held(index, QUEUE, NULL, NULL);
        fences = held(index, FENCE, NULL, &unsignalled);
        holds = held(index, HOLD, NULL, NULL);
        ranges = held(index, ZONES, NULL, NULL) + held(index, TRACKER, NULL, NULL);
    } else {
        vms = bos = vmas = queues = fences = holds = ranges = 0;
    }
    if (slot) memcpy(&room, &report, sizeof report);
    else resize(&room, &report, sizeof report, 8);
    sent = (struct unbind_leak_report *)&room;
    trace("close device %p", (void *)device);
    if (fuzz.is_traced && index >= 0) unbind_device_dump(device, print_text, NULL);
    fuzz.is_quiet++; /* so that what is held does not change */
    got = status("unbind_device_close", unbind_device_close(device, is_asked ? sent : NULL), -EINVAL, -E2BIG,
                 -ENOENT, 0);
    fuzz.is_quiet--;
    if (slot && !was_closed && got != 0) fuzz_failed("close of an open device", got);
    if (got != 0) return;
    if (was_closed) fuzz_failed("a device was closed twice", 0);
    if (index < 0) return;
    fuzz.is_closed[index] = 1;
    if (fuzz.power[index]) fuzz_failed("power references after a close", fuzz.power[index]);
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *fence = &fuzz.slots[FENCE][i];
        if (fence->handle && fence->device == index && unbind_fence_is_signaled((unbind_fence *)fence->handle) != 1) {
            fuzz_failed("a fence has not signalled after the close of its device", 0);
        }
    }
    if (!is_asked || sent->struct_size < sizeof report) return;
    memcpy(&report, sent, sizeof report);
    if (report.vms != vms) fuzz_failed("VMs in the report", (long long)report.vms - vms);
    if (report.bos != bos) fuzz_failed("buffers in the report", (long long)report.bos - bos);
    if (report.vmas != vmas) fuzz_failed("VMAs in the report", (long long)report.vmas - vmas);
    if (report.queues != queues) fuzz_failed("queues in the report", (long long)report.queues - queues);
    if (report.fences != fences) fuzz_failed("fences in the report", (long long)report.fences - fences);
    if (report.holds != holds) fuzz_failed("holds in the report", (long long)report.holds - holds);
    if (report.ranges != ranges) fuzz_failed("range objects in the report", (long long)report.ranges - ranges);
    if (report.bo_bytes != bytes) fuzz_failed("bytes in the report", (long long)(report.bo_bytes - bytes));
    if (report.fences_cancelled < unsignalled ||
        report.fences_cancelled > unsignalled + fuzz.abandoned[index] + fuzz.timed[index]) {
        fuzz_failed("fences cancelled", (long long)report.fences_cancelled);
    }
}

static uint64_t any_timeout(unbind_device *device, uint32_t flags) {
    uint64_t base = flags & UNBIND_WAIT_ABSOLUTE ? unbind_device_now(device) : 0;
    if (one_in(4)) return 0;
    if (fuzz.executor == UNBIND_EXECUTOR_MANUAL) return may_wait() && one_in(2) ? FOREVER : base + below(20000);
    if (one_in(3)) return FOREVER;
    return one_in(16) ? any_word() : base + below(100000);
}

static void run_device(void) {
    unbind_device *device = PICK(unbind_device, DEVICE);
    uint32_t ran = 0xdead, flags = flags_of(UNBIND_WAIT_ABSOLUTE | UNBIND_WAIT_INTERRUPTIBLE);
    uint64_t time = 0xdead;
    int descriptor = -77;
    size_t total = 0;
    union room room;
    struct unbind_device_stats stats = UNBIND_DEVICE_STATS_INIT;
    switch (below(7)) {
    case 0:
    case 1:
        trace("run");
        if (status("unbind_device_run", unbind_device_run(device, (uint32_t)below(4), one_in(2) ? NULL : &ran), -EINVAL,
                   -ENOENT, -EOPNOTSUPP, 0) < 0 && ran != 0xdead) {
            fuzz_failed("a failed run wrote its out-parameter", ran);
        }
        break;
    case 2:
        if (fuzz.depth) break;
        time = fuzz.executor == UNBIND_EXECUTOR_SIMULATED && one_in(24) ? any_word()
                                                                        : unbind_device_now(device) + below(20000);
        trace("run until %llu", (unsigned long long)time);
        status("unbind_device_run_until", unbind_device_run_until(device, time), -EINVAL, -ENOENT, -EOPNOTSUPP, 0);
        break;
    case 3:
        if (fuzz.depth) break;
        time = any_timeout(device, flags);
        trace("wait idle %llu %x", (unsigned long long)time, flags);
        status("unbind_device_wait_idle", unbind_device_wait_idle(device, time, flags), -EINVAL, -ENOENT, -ETIME, -EINTR,
               0);
        break;
    case 4:
        trace("next event, descriptor");
        if (status("unbind_device_next_event", unbind_device_next_event(device, &time), -EINVAL, -ENOENT, -EOPNOTSUPP,
                   0) < 0 && time != 0xdead) {
            fuzz_failed("a failed next_event wrote its out-parameter", 0);
        }
        if (status("unbind_device_get_eventfd", unbind_device_get_eventfd(device, &descriptor), -EINVAL, -ENOENT,
                   -EOPNOTSUPP, 0) < 0 && descriptor != -77) {
            fuzz_failed("a failed get_eventfd wrote its out-parameter", descriptor);
        }
        break;
    case 5:
        trace("device stats");
        status("unbind_device_get_stats",
               unbind_device_get_stats(device, (struct unbind_device_stats *)SPOIL(&room, stats)), -EINVAL, -E2BIG, 0);
        break;
    default:
        trace("device dump");
        status("unbind_device_dump", unbind_device_dump(device, one_in(16) ? NULL : fuzz_write, &total), -EINVAL, -ENOMEM,
               0);
    }
}

#endif /* TESTS_ABI_FUZZ_DEVICES_H */
