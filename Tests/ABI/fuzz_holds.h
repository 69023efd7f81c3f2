/* SPDX-License-Identifier: MIT */
/* The fuzz test: holds of bindings, and buffers that are moved and unbound as a whole. */
#ifndef TESTS_ABI_FUZZ_HOLDS_H
#define TESTS_ABI_FUZZ_HOLDS_H

#include "fuzz_world.h"

static void keep_fence(unbind_fence *fence, int got, int device);

static void use_hold(void) {
    union room room;
    unsigned char bytes[64];
    struct unbind_hold_info info = UNBIND_HOLD_INFO_INIT, *sent;
    unbind_hold *hold = UNTOUCHED(unbind_hold), *other = PICK(unbind_hold, HOLD);
    uint64_t offset = one_in(8) ? any_word() : below(8 * PAGE), size = one_in(16) ? any_word() : below(sizeof bytes + 1);
    int device, got;
    switch (below(5)) {
    case 0:
    case 1: {
        unbind_vma *vma = PICK(unbind_vma, VMA);
        unbind_vm *vm = PICK(unbind_vm, VM);
        int of_vma = one_in(2);
        /* The call outside may wait for what this would hold, for ever in real time. */
        if (fuzz.depth && fuzz.executor != UNBIND_EXECUTOR_SIMULATED) break;
        device = of_vma ? device_of(VMA, vma) : device_of(VM, vm);
        trace("hold");
        got = of_vma ? status("unbind_vma_hold", unbind_vma_hold(vma, one_in(40) ? NULL : &hold), -EINVAL, -ENOENT, -ENOMEM, 0)
                     : status("unbind_vm_hold", unbind_vm_hold(vm, any_address(), one_in(40) ? NULL : &hold), -EINVAL,
                              -ENOENT, -ENOMEM, 0);
        if (got == 0) keep(HOLD, hold, device);
        if (got < 0 && hold != UNTOUCHED(unbind_hold)) fuzz_failed("a failed hold wrote its out-parameter", got);
        break;
    }
    case 2:
        sent = (struct unbind_hold_info *)SPOIL(&room, info);
        trace("hold info %p", (void *)other);
        got = status("unbind_hold_get_info", unbind_hold_get_info(other, sent), -EINVAL, -E2BIG, 0);
        if (got == 0 && sent->struct_size >= sizeof info && (sent->size == 0 || sent->bo_id == 0)) {
            fuzz_failed("a hold of nothing", 0);
        }
        break;
    case 3:
        if (size > sizeof bytes && offset < 64 * MIB) size = sizeof bytes; /* a large one must lie outside */
        trace("hold read %p at %llx, %llx bytes", (void *)other, (unsigned long long)offset, (unsigned long long)size);
        status("unbind_hold_read", unbind_hold_read(other, offset, one_in(40) ? NULL : bytes, size), -EINVAL, 0);
        break;
    default:
        if (slot_of(HOLD, other)) drop(HOLD, slot_of(HOLD, other));
    }
}

static void move_buffer(void) {
    unbind_device *device = PICK(unbind_device, DEVICE);
    unbind_bo *bo = PICK(unbind_bo, BO);
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    uint32_t flags = 0, region = unbind_bo_region(bo);
    int got;
    switch (below(3)) {
    case 0:
        flags = flags_of(UNBIND_BO_MIGRATE_NO_CPU_COPY | UNBIND_BO_MIGRATE_AFTER_UNBIND | UNBIND_WAIT_INTERRUPTIBLE);
        /* Without memory it may wait for the buffer's users, who may be this program. */
        if (fuzz.fail_one_in && !may_wait()) flags |= UNBIND_BO_MIGRATE_NO_CPU_COPY;
        trace("migrate %p flags %x", (void *)bo, flags);
        got = status("unbind_bo_migrate",
                     unbind_bo_migrate(bo, one_in(32) ? (uint32_t)any() : (uint32_t)below(2), flags, one_in(3) ? NULL : &fence),
                     -EINVAL, -ENOENT, -ENOMEM, -EAGAIN, -EIO, -EOPNOTSUPP, -EINTR, -EDEADLK, 0);
        if (fuzz.is_quiet && got < 0 && unbind_bo_region(bo) != region) fuzz_failed("a failed move moved", got);
        if (unbind_bo_region(bo) > UNBIND_REGION_LOCAL) fuzz_failed("a buffer is nowhere", unbind_bo_region(bo));
        keep_fence(fence, got, device_of(BO, bo));
        break;
    case 1:
        flags = flags_of(UNBIND_BO_UNBIND_ACTIVE | UNBIND_BO_UNBIND_BARRIER | UNBIND_BO_UNBIND_TEST |
                         UNBIND_BO_UNBIND_VM_TRYLOCK | UNBIND_BO_UNBIND_ASYNC | UNBIND_WAIT_INTERRUPTIBLE);
        /* Even with ASYNC: of views, and under UNBIND_POLICY_SYNC, it waits. */
        if (!may_wait() && one_in(2)) flags |= UNBIND_BO_UNBIND_TEST;
        else if (!may_wait()) break;
        trace("unbind everywhere %p flags %x", (void *)bo, flags);
        status("unbind_bo_unbind", unbind_bo_unbind(bo, flags), -EINVAL, -EBUSY, -EAGAIN, -EINTR, -EDEADLK, 0);
        break;
    default:
        trace("fail next");
        status("unbind_device_fail_next",
               unbind_device_fail_next(device, one_in(32) ? (uint32_t)any() : UNBIND_FAIL_COPY, (uint32_t)below(3)), -EINVAL, 0);
    }
}

#endif /* TESTS_ABI_FUZZ_HOLDS_H */
