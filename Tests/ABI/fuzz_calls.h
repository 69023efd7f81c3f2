/* SPDX-License-Identifier: MIT */
/* The fuzz test: one random call of each function, and what must hold after it. */
#ifndef TESTS_ABI_FUZZ_CALLS_H
#define TESTS_ABI_FUZZ_CALLS_H

#include "fuzz_devices.h"
#include "fuzz_holds.h"
#include "fuzz_looking.h"
#include "fuzz_ranges.h"
#include "fuzz_sharing.h"
#include "fuzz_world.h"

#include "fuzz_placing.h"

/* MARK: the calls */

static void use_vm(void) {
    union room room;
    unbind_device *device = PICK(unbind_device, DEVICE);
    unbind_vm *vm = UNTOUCHED(unbind_vm), *other = PICK(unbind_vm, VM);
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    struct unbind_vm_stats stats = UNBIND_VM_STATS_INIT;
    struct unbind_page page = UNBIND_PAGE_INIT;
    uint64_t address = 0;
    size_t total = 0;
    if (one_in(6)) {
        evict(other);
        return;
    }
    switch (below(7)) {
    case 0:
        options.flags = flags_of(UNBIND_VM_CACHE_COLORING | UNBIND_VM_GLOBAL | UNBIND_VM_IPS | UNBIND_VM_NO_HISTORY);
        options.policy = one_in(24) ? (uint32_t)any() : (uint32_t)below(3);
        options.size = one_in(3) ? below(64) * PAGE : one_in(16) ? any_word() : 0;
        options.page_sizes = one_in(8) ? below(8) * PAGE | below(2) * 0x10000 | below(2) * 2 * MIB : 0;
        options.mappable_size = one_in(4) ? below(64) * PAGE : one_in(40) ? any_word() : 0;
        options.guard = one_in(8) ? below(4) * PAGE : one_in(40) ? any_word() : 0;
        options.history_records = one_in(4) ? (uint32_t)below(300) : one_in(40) ? (uint32_t)any() : 0;
        trace("vm create policy %u size %llx", options.policy, (unsigned long long)options.size);
        if (status("unbind_vm_create",
                   unbind_vm_create(device, one_in(4) ? NULL : (struct unbind_vm_options *)SPOIL(&room, options),
                                    one_in(40) ? NULL : &vm),
                   -EINVAL, -E2BIG, -ENOENT, -ENOMEM, 0) == 0) {
            keep(VM, vm, device_of(DEVICE, device));
        } else if (vm != UNTOUCHED(unbind_vm)) {
            fuzz_failed("a failed vm_create wrote its out-parameter", 0);
        }
        break;
    case 1:
        if (!one_in(12)) break;
        trace("vm close");
        status("unbind_vm_close", unbind_vm_close(other), -EINVAL, -ENOENT, 0);
        break;
    case 2:
        trace("vm stats");
        status("unbind_vm_get_stats", unbind_vm_get_stats(other, (struct unbind_vm_stats *)SPOIL(&room, stats)), -EINVAL,
               -E2BIG, 0);
        break;
    case 3:
        trace("find pages");
        for (unsigned i = 0; i < 4; i++) {
            struct unbind_page *found = (struct unbind_page *)SPOIL(&room, page);
            if (status("unbind_vm_find_page", unbind_vm_find_page(other, one_in(8) ? any_word() : address, found), -EINVAL,
                       -E2BIG, -ENOENT, 0) < 0) {
                break;
            }
            address = found->address + found->size;
        }
        break;
    case 4:
        look_somewhere(other);
        trace("vm dump");
        status("unbind_vm_dump", unbind_vm_dump(other, one_in(16) ? NULL : fuzz_write, &total), -EINVAL, -ENOMEM, 0);
        break;
    case 5:
        trace("vm suspend or resume");
        if (one_in(3)) status("unbind_vm_suspend", unbind_vm_suspend(other), -EINVAL, -EBUSY, -ENOENT, 0);
        else status("unbind_vm_resume", unbind_vm_resume(other), -EINVAL, -ENOENT, 0);
        break;
    default: (void)(unbind_vm_id(other) + unbind_vm_size(other));
    }
}

static void use_bo(void) {
    unbind_device *device = PICK(unbind_device, DEVICE);
    unbind_bo *bo = UNTOUCHED(unbind_bo), *other = PICK(unbind_bo, BO);
    uint64_t size = one_in(16) ? any_word() : (1 + below(8)) * PAGE;
    uint32_t flags = flags_of(UNBIND_WAIT_ABSOLUTE | UNBIND_WAIT_INTERRUPTIBLE);
    struct slot *slot = NULL;
    int got;
    switch (below(5)) {
    case 0:
    case 1:
        if (one_in(16)) size = 2 * MIB;
        trace("bo create %llx", (unsigned long long)size);
        got = status("unbind_bo_create",
                     unbind_bo_create(device, size, one_in(32) ? (uint32_t)any() : (uint32_t)below(2), no_flags(),
                                      one_in(40) ? NULL : &bo),
                     -EINVAL, -ENOENT, -ENOMEM, 0);
        if (got == 0) slot = keep(BO, bo, device_of(DEVICE, device));
        if (slot) slot->bytes = size;
        if (got < 0 && bo != UNTOUCHED(unbind_bo)) fuzz_failed("a failed bo_create wrote its out-parameter", got);
        break;
    case 2:
        size = one_in(16) ? any_word() % WRAP_SIZE : (1 + below(8)) * PAGE;
        trace("bo wrap %llx", (unsigned long long)size);
        fuzz.wrapped++; /* before: the library may be given and give back at once */
        got = status("unbind_bo_wrap",
                     unbind_bo_wrap(device, one_in(32) ? NULL : fuzz.memory + below(8) * PAGE + (one_in(32) ? 8 : 0), size,
                                    fuzz_release, &fuzz, one_in(40) ? NULL : &bo),
                     -EINVAL, -ENOENT, -ENOMEM, 0);
        if (got == 0) slot = keep(BO, bo, device_of(DEVICE, device));
        if (slot) slot->bytes = size;
        if (got < 0) fuzz.wrapped--;
        break;
    case 3: {
        uint64_t timeout = any_timeout((unbind_device *)fuzz.slots[DEVICE][0].handle, flags);
        if (timeout == FOREVER && !may_wait()) break;
        if (fuzz.depth) break;
        trace("bo wait %llu %x", (unsigned long long)timeout, flags);
        status("unbind_bo_wait", unbind_bo_wait(other, timeout, flags), -EINVAL, -ETIME, -EINTR, -EDEADLK, 0);
        break;
    }
    default:
        (void)unbind_bo_id(other);
        slot = slot_of(BO, other);
        if (unbind_bo_size(other) != (slot ? slot->bytes : 0)) fuzz_failed("size of a buffer", 0);
        if ((unbind_bo_cpu_pointer(other) != NULL) != (slot != NULL)) fuzz_failed("CPU pointer of a buffer", 0);
    }
}

static void keep_fence(unbind_fence *fence, int got, int device) {
    if (got == 0 && fence && fence != UNTOUCHED(unbind_fence)) keep(FENCE, fence, device);
    if (got < 0 && fence != UNTOUCHED(unbind_fence)) fuzz_failed("a failed call wrote its fence", got);
}

static void use_vma(void) {
    union room room;
    struct unbind_view view = any_view();
    unbind_vm *vm = PICK(unbind_vm, VM);
    unbind_bo *bo = PICK(unbind_bo, BO);
    unbind_vma *vma = UNTOUCHED(unbind_vma), *other = PICK(unbind_vma, VMA);
    unbind_fence *fence = UNTOUCHED(unbind_fence), **out = one_in(3) ? NULL : &fence;
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    uint32_t wait_flags = flags_of(UNBIND_WAIT_INTERRUPTIBLE);
    struct slot *slot = NULL;
    int device = device_of(VMA, other), got;
    uint32_t bind_flags = one_in(2) ? 0 : flags_of(UNBIND_BIND_READ_ONLY | UNBIND_BIND_EVICT | UNBIND_BIND_NONBLOCK);
    if (one_in(4)) {
        pin(other, out);
        return;
    }
    if (one_in(16)) {
        got = status("unbind_vma_lookup",
                     unbind_vma_lookup(vm, bo, one_in(2) ? NULL : &view, one_in(40) ? NULL : &vma), -EINVAL, -E2BIG, -ENODEV,
                     -ENOENT, 0);
        if (got == 0 && !slot_of(VMA, vma)) fuzz_failed("a VMA was found that nobody has", 0);
        if (got == 0) unbind_vma_unref(vma);
        return;
    }
    switch (below(8)) {
    case 0:
    case 1:
        options.guard = one_in(6) ? below(4) * PAGE : one_in(40) ? any_word() : 0;
        if (one_in(3)) options.view = &view;
        options.flags = flags_of(one_in(3) ? UNBIND_VMA_FIXED | UNBIND_VMA_HIGH | UNBIND_VMA_READ_ONLY : UNBIND_VMA_FIXED);
        if (options.flags & UNBIND_VMA_FIXED && !one_in(16)) options.flags &= ~(uint32_t)UNBIND_VMA_HIGH;
        if (options.flags & UNBIND_VMA_FIXED || one_in(32)) options.address = any_address() & (one_in(8) ? UINT64_MAX : ~UINT64_C(4095));
        if (!options.address && one_in(8)) options.alignment = one_in(4) ? any_word() : UINT64_C(1) << below(64);
        options.color = one_in(12) ? (uint32_t)below(3) : 0;
        trace("vma create flags %x at %llx", options.flags, (unsigned long long)options.address);
        got = status("unbind_vma_create",
                     unbind_vma_create(vm, bo, one_in(3) ? NULL : (struct unbind_vma_options *)resize(&room, &options, sizeof options, 8),
                                       one_in(40) ? NULL : &vma),
                     -EINVAL, -E2BIG, -ENODEV, -ENOENT, -ENOMEM, 0);
        if (got == 0) slot = keep(VMA, vma, device_of(VM, vm));
        if (slot) slot->vm = vm;
        if (got < 0 && vma != UNTOUCHED(unbind_vma)) fuzz_failed("a failed vma_create wrote its out-parameter", got);
        break;
    case 2:
        if (!may_wait()) break;
        trace("bind %p", (void *)other);
        got = status("unbind_vma_bind", unbind_vma_bind(other, wait_flags | bind_flags), -EINVAL, -ENOENT, -ENOSPC, -ENOMEM, -EINTR,
                     -EDEADLK, -EIO, 0);
        if (got == 0 && fuzz.is_quiet && unbind_vma_state(other) != (int)UNBIND_VMA_BOUND) {
            fuzz_failed("bound and not bound", unbind_vma_state(other));
        }
        break;
    case 3:
        /* Without memory to await the unbinds in its way it waits for them itself. */
        if (fuzz.fail_one_in && !may_wait()) break;
        trace("bind async %p", (void *)other);
        got = status("unbind_vma_bind_async", unbind_vma_bind_async(other, no_flags() | bind_flags, out), -EINVAL, -ENOENT, -ENOSPC,
                     -ENOMEM, -EIO, fuzz.fail_one_in ? -EDEADLK : -EINVAL, 0);
        keep_fence(fence, got, device);
        break;
    case 4:
        if (!may_wait()) break;
        trace("unbind %p", (void *)other);
        got = unbind_vma_state(other);
        if (status("unbind_vma_unbind", unbind_vma_unbind(other, wait_flags), -EINVAL, -EAGAIN, -EINTR, -EDEADLK, 0) < 0) {
            /* Work done meanwhile may call back, and that may do anything. */
            if (fuzz.is_quiet && !live(HOLD) && got != unbind_vma_state(other) && got == (int)UNBIND_VMA_BOUND) {
                fuzz_failed("a failed unbind unbound", unbind_vma_state(other));
            }
        }
        break;
    case 5:
        if (!may_wait()) { /* under UNBIND_POLICY_SYNC it waits; which policy, this program has forgotten */
            if (slot_of(VMA, other)) drop(VMA, slot_of(VMA, other));
            break;
        }
        trace("unbind async %p", (void *)other);
        got = status("unbind_vma_unbind_async", unbind_vma_unbind_async(other, no_flags(), out), -EINVAL, -EAGAIN, -EBUSY, -EDEADLK, 0);
        keep_fence(fence, got, device);
        break;
    case 6:
        trace("add user %p", (void *)other);
        status("unbind_vma_add_user", unbind_vma_add_user(other, PICK(unbind_fence, FENCE)), -EINVAL, -ENOENT, -ENOMEM, 0);
        break;
    default:
        (void)unbind_vma_address(other);
        if ((unbind_vma_size(other) != 0) != (device >= 0)) fuzz_failed("size of a VMA", 0);
        got = status("unbind_vma_state", unbind_vma_state(other), -EINVAL, 0);
        if (got > (int)UNBIND_VMA_BOUND) fuzz_failed("state of a VMA", got);
    }
}

static void use_fence(void) {
    unbind_device *device = PICK(unbind_device, DEVICE);
    unbind_fence *fence = UNTOUCHED(unbind_fence), *other = PICK(unbind_fence, FENCE);
    uint32_t flags = flags_of(UNBIND_WAIT_ABSOLUTE | UNBIND_WAIT_INTERRUPTIBLE);
    struct callback *callback = &fuzz.callbacks[below(CALLBACKS)];
    int *descriptor = &fuzz.descriptors[below(DESCRIPTORS)], error = 77, got;
    struct slot *slot = NULL;
    uint64_t time = 0xdead;
    switch (below(8)) {
    case 0:
        trace("fence create");
        got = status("unbind_fence_create", unbind_fence_create(device, one_in(40) ? NULL : &fence), -EINVAL, -ENOENT,
                     -ENOMEM, 0);
        if (got == 0) slot = keep(FENCE, fence, device_of(DEVICE, device));
        if (slot) slot->is_own = 1;
        if (got < 0 && fence != UNTOUCHED(unbind_fence)) fuzz_failed("a failed create wrote its fence", got);
        break;
    case 1:
    case 2:
        trace("signal %p", (void *)other);
        status("unbind_fence_signal", unbind_fence_signal(other, one_in(3) ? -(int)below(4100) : one_in(40) ? (int)any() : 0),
               -EINVAL, 0);
        break;
    case 3:
        time = any_timeout((unbind_device *)fuzz.slots[DEVICE][0].handle, flags);
        if ((time == FOREVER && !may_wait()) || fuzz.depth) break;
        trace("wait %p %llu %x", (void *)other, (unsigned long long)time, flags);
        got = status("unbind_fence_wait", unbind_fence_wait(other, time, flags), -EINVAL, -ETIME, -EINTR, -EDEADLK, 0);
        if (got == 0 && unbind_fence_is_signaled(other) != 1) fuzz_failed("waited for and not signalled", 0);
        break;
    case 4:
        trace("state of %p", (void *)other);
        got = status("unbind_fence_is_signaled", unbind_fence_is_signaled(other), -EINVAL, 0);
        if (got > 1) fuzz_failed("is_signaled", got);
        status("unbind_fence_get_error", unbind_fence_get_error(other, one_in(40) ? NULL : &error), -EINVAL, -EAGAIN, 0);
        status("unbind_fence_get_timestamp", unbind_fence_get_timestamp(other, one_in(40) ? NULL : &time), -EINVAL,
               -EAGAIN, 0);
        if (got != 1 && (error != 77 || time != 0xdead)) fuzz_failed("a failed call wrote its out-parameter", error);
        break;
    case 5:
        if (callback->fence) break;
        trace("add callback %p", (void *)other);
        callback->fence = other;
        got = status("unbind_fence_add_callback",
                     unbind_fence_add_callback(other, one_in(40) ? NULL : &callback->storage,
                                               one_in(40) ? NULL : fuzz_signalled, callback),
                     -EINVAL, -ENOENT, 0);
        if (got < 0) callback->fence = NULL;
        break;
    case 6:
        fence = one_in(2) && callback->fence ? callback->fence : other;
        /* The fence of a callback may be gone but for what awaits it: only a handle that is held is one. */
        if (fence && !slot_of(FENCE, fence)) break;
        trace("remove callback %p", (void *)fence);
        got = status("unbind_fence_remove_callback", unbind_fence_remove_callback(fence, &callback->storage), -EINVAL,
                     -ENOENT, 0);
        if (got == 0 && callback->fence != fence) fuzz_failed("a callback was removed from another fence", 0);
        if (fence && fence == callback->fence && got != 0) fuzz_failed("a callback could not be removed", got);
        if (got == 0) callback->fence = NULL;
        break;
    default:
        if (*descriptor >= 0) close(*descriptor);
        *descriptor = -1;
        trace("eventfd of %p", (void *)other);
        got = status("unbind_fence_get_eventfd", unbind_fence_get_eventfd(other, one_in(40) ? NULL : descriptor), -EINVAL,
                     -ENOMEM, -EMFILE, -ENFILE, 0);
        if ((got == 0) != (*descriptor >= 0)) fuzz_failed("descriptor", *descriptor);
    }
}

static struct unbind_command any_command(void) {
    struct unbind_command command;
    memset(&command, 0, sizeof command);
    command.op = one_in(400) ? (uint32_t)any() : (uint32_t)below(6);
    switch (command.op) {
    case UNBIND_COMMAND_FILL:
        command.address = any_address();
        command.size = one_in(40) ? any_word() : (1 + below(1024)) * 4;
        command.value = (uint32_t)any();
        break;
    case UNBIND_COMMAND_COPY:
        command.address = any_address() + below(2) * below(64);
        command.source = any_address() + below(2) * below(64);
        command.size = one_in(40) ? any_word() : 1 + below(5000);
        break;
    case UNBIND_COMMAND_STORE:
        command.address = any_address();
        command.value = any();
        break;
    case UNBIND_COMMAND_LOAD:
        command.address = any_address();
        command.result = &fuzz.results[below(16)];
        break;
    case UNBIND_COMMAND_DELAY:
        command.value = fuzz.executor == UNBIND_EXECUTOR_MANUAL ? below(20000) : one_in(40) ? any_word() : below(200000);
        break;
    case UNBIND_COMMAND_WAIT: command.fence = PICK(unbind_fence, FENCE); break;
    default: break;
    }
    if (one_in(400)) command.reserved = 1;
    if (one_in(400)) command.value = any();
    if (fuzz.executor == UNBIND_EXECUTOR_MANUAL && command.op == UNBIND_COMMAND_DELAY) command.value %= 20000;
    return command;
}

static void use_queue(void) {
    union room room;
    unbind_vm *vm = PICK(unbind_vm, VM);
    unbind_queue *queue = UNTOUCHED(unbind_queue), *other = PICK(unbind_queue, QUEUE);
    unbind_fence *fence = UNTOUCHED(unbind_fence), *waits[3];
    struct unbind_command commands[6];
    struct unbind_submit_vma uses[3];
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    struct slot *slot = slot_of(QUEUE, other);
    uint64_t used = 0;
    int got;
    if (!slot || one_in(8)) {
        slot = NULL;
        trace("queue create");
        got = status("unbind_queue_create", unbind_queue_create(vm, no_flags(), one_in(40) ? NULL : &queue), -EINVAL,
                     -ENOENT, -ENOMEM, 0);
        if (got == 0) slot = keep(QUEUE, queue, device_of(VM, vm));
        if (slot) slot->vm = vm;
        if (got < 0 && queue != UNTOUCHED(unbind_queue)) fuzz_failed("a failed queue_create wrote its out-parameter", got);
        (void)unbind_queue_id(other);
        return;
    }
    memset(uses, 0, sizeof uses);
    job.commands = one_in(200) ? NULL : commands;
    job.vmas = one_in(200) ? NULL : uses;
    job.wait_fences = one_in(200) ? NULL : waits;
    job.command_count = (uint32_t)below(7);
    job.vma_count = (uint32_t)below(4);
    job.wait_fence_count = one_in(4) ? (uint32_t)below(4) : 0;
    for (unsigned i = 0; i < 3; i++) {
        uses[i].vma = pick_bound(slot);
        uses[i].use = one_in(200) ? (uint32_t)any() : 1 + (uint32_t)below(3);
        uses[i].reserved = one_in(400) ? 1 : 0;
        waits[i] = PICK(unbind_fence, FENCE);
    }
    used = one_in(4) || !slot_of(VMA, uses[0].vma) ? UNBIND_ADDRESS_NONE : unbind_vma_address(uses[0].vma);
    for (unsigned i = 0; i < 6; i++) {
        commands[i] = any_command();
        if (used == UNBIND_ADDRESS_NONE || !one_in(2)) continue;
        if (commands[i].op <= UNBIND_COMMAND_LOAD) commands[i].address = used + commands[i].address % PAGE;
    }
    if (one_in(200)) job.flags = 1;
    if (one_in(200)) job.command_count = 65537 + (uint32_t)below(9);
    if (one_in(200)) job.vma_count = UINT32_MAX;
    trace("submit %u commands, %u vmas, %u waits", job.command_count, job.vma_count, job.wait_fence_count);
    for (unsigned i = 0; i < job.command_count && i < 6; i++) {
        trace("  command %u address %llx source %llx size %llx value %llx fence %p", commands[i].op,
              (unsigned long long)commands[i].address, (unsigned long long)commands[i].source,
              (unsigned long long)commands[i].size, (unsigned long long)commands[i].value, (void *)commands[i].fence);
    }
    for (unsigned i = 0; i < job.vma_count && i < 3; i++) trace("  uses %p", (void *)uses[i].vma);
    for (unsigned i = 0; i < job.wait_fence_count && i < 3; i++) trace("  waits for %p", (void *)waits[i]);
    got = status("unbind_queue_submit",
                 unbind_queue_submit(other, (struct unbind_submit *)resize(&room, &job, sizeof job, 8),
                                     one_in(3) ? NULL : &fence),
                 -EINVAL, -E2BIG, -ENOENT, -EAGAIN, -ENOMEM, 0);
    keep_fence(fence, got, device_of(QUEUE, other));
}

static void use_references(void) {
    enum kind kind = (enum kind)below(KINDS), wrong = (enum kind)below(KINDS);
    struct slot *slot = live(kind);
    if (one_in(8)) handle_unref(kind, NULL);
    if (one_in(8) && handle_ref(kind, NULL) != NULL) fuzz_failed("a reference to nothing", kind);
    if (!slot) return;
    if (wrong != kind) {
        handle_unref(wrong, slot->handle);
        if (handle_ref(wrong, slot->handle) != NULL) fuzz_failed("a reference of the wrong kind", wrong);
    }
    if (one_in(3)) {
        trace("ref %d %p", kind, slot->handle);
        if (handle_ref(kind, slot->handle) == slot->handle) slot->references++;
        else fuzz_failed("a reference to something else", kind);
    } else if (kind != DEVICE || fuzz.is_closed[slot->device] || slot->references > 1) {
        drop(kind, slot);
    }
}

static void step(void) {
    if (!fuzz.depth) fuzz.step++;
    fuzz.here = one_in(12);
    switch (below(33)) {
    case 0:
        open_device();
        break;
    case 1:
        if (!fuzz.depth && one_in(40)) close_device(NULL);
        break;
    case 2:
    case 3: run_device(); break;
    case 4:
    case 5: use_vm(); break;
    case 6:
    case 7: use_bo(); break;
    case 8:
    case 9:
    case 10:
    case 11:
    case 12: use_vma(); break;
    case 13:
    case 14:
    case 15: use_queue(); break;
    case 16:
    case 17:
    case 18: use_fence(); break;
    case 19: use_context(); break;
    case 20:
    case 21: use_lock(); break;
    case 22:
    case 23: add_to_buffer(); break;
    case 24: ask_buffer(); break;
    case 25:
    case 26: make_fence_of_fences(); break;
    case 27: use_hold(); break;
    case 30:
    case 31: use_ranges(); break;
    case 28:
    case 29: move_buffer(); break;
    default:
        use_references();
        if (!fuzz.depth && one_in(8)) fuzz.fail_one_in = one_in(2) ? 0 : 1 + (unsigned)below(30);
    }
}

#endif /* TESTS_ABI_FUZZ_CALLS_H */
