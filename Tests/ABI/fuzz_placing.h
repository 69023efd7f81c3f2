/* SPDX-License-Identifier: MIT */
/* The fuzz test: random views, pins and evictions. */
#ifndef TESTS_ABI_FUZZ_PLACING_H
#define TESTS_ABI_FUZZ_PLACING_H

#include "fuzz_world.h"

static struct unbind_view any_view(void) {
    struct unbind_view view = UNBIND_VIEW_INIT;
    view.type = one_in(40) ? (uint32_t)any() : (uint32_t)below(4);
    if (view.type == UNBIND_VIEW_PARTIAL || one_in(40)) {
        view.offset = below(8) * PAGE;
        view.size = one_in(16) ? any_word() : (1 + below(8)) * PAGE;
    }
    if (view.type >= UNBIND_VIEW_ROTATED) view.plane_count = one_in(24) ? (uint32_t)any() : 1 + (uint32_t)below(3);
    for (unsigned i = 0; i < 4; i++) {
        struct unbind_view_plane *plane = &view.planes[i];
        plane->offset = one_in(24) ? (uint32_t)any() : (uint32_t)below(4);
        plane->width = one_in(24) ? (uint32_t)any() : 1 + (uint32_t)below(2);
        plane->height = one_in(24) ? (uint32_t)any() : 1 + (uint32_t)below(2);
        plane->src_stride = plane->width + (uint32_t)below(2);
        plane->dst_stride = one_in(24) ? (uint32_t)any() : 2 + (uint32_t)below(4);
    }
    return view;
}

static void pin(unbind_vma *vma, unbind_fence **out) {
    union room room;
    struct unbind_pin_options options = UNBIND_PIN_OPTIONS_INIT;
    int device = device_of(VMA, vma), got;
    uint32_t pins = unbind_vma_pin_count(vma);
    if (one_in(3)) {
        trace("unpin %p", (void *)vma);
        got = status("unbind_vma_unpin", unbind_vma_unpin(vma), -EINVAL, -ENOENT, 0);
        if (fuzz.is_quiet && unbind_vma_pin_count(vma) != pins - (got == 0)) fuzz_failed("pins after an unpin", pins);
        return;
    }
    options.flags = flags_of(UNBIND_PIN_LOW | UNBIND_PIN_MAPPABLE | UNBIND_PIN_READ_ONLY | UNBIND_PIN_EVICT | UNBIND_PIN_NONBLOCK);
    if (one_in(3)) options.flags |= one_in(2) ? UNBIND_PIN_FIXED : UNBIND_PIN_BIAS;
    if (options.flags & (UNBIND_PIN_FIXED | UNBIND_PIN_BIAS)) options.address = any_address() & (one_in(8) ? UINT64_MAX : ~UINT64_C(4095));
    if (options.flags & UNBIND_PIN_FIXED) options.flags &= ~(uint32_t)UNBIND_PIN_LOW;
    if (!(options.flags & UNBIND_PIN_EVICT)) options.flags &= ~(uint32_t)UNBIND_PIN_NONBLOCK;
    options.size = one_in(8) ? below(16) * PAGE : one_in(40) ? any_word() : 0;
    options.alignment = one_in(8) ? UINT64_C(1) << below(64) : 0;
    if (!may_wait() || one_in(2)) options.flags |= UNBIND_PIN_ASYNC, options.flags &= ~(uint32_t)UNBIND_PIN_INTERRUPTIBLE;
    options.out_fence = options.flags & UNBIND_PIN_ASYNC ? out : NULL;
    if (fuzz.fail_one_in && !may_wait()) return;
    trace("pin %p flags %x address %llx size %llx", (void *)vma, options.flags, (unsigned long long)options.address,
          (unsigned long long)options.size);
    /* Shortened it would lose its fence, but not its flags. */
    got = status("unbind_vma_pin",
                 unbind_vma_pin(vma, one_in(16) && may_wait() ? NULL : (struct unbind_pin_options *)resize(&room, &options, sizeof options, 8)),
                 -EINVAL, -E2BIG, -ENOSPC, -EBUSY, -EAGAIN, -ENOENT, -ENOMEM, -EINTR, -EDEADLK, -EIO, 0);
    if (out && *out != UNTOUCHED(unbind_fence)) keep_fence(*out, got, device);
}

static void evict(unbind_vm *vm) {
    union room room;
    struct unbind_evict_request request = UNBIND_EVICT_REQUEST_INIT;
    uint32_t flags = flags_of(UNBIND_EVICT_NONBLOCK | UNBIND_WAIT_INTERRUPTIBLE | UNBIND_EVICT_ASYNC);
    if (flags & UNBIND_EVICT_ASYNC && !one_in(16)) flags &= ~(uint32_t)UNBIND_WAIT_INTERRUPTIBLE;
    /* With NONBLOCK as well: a bind that is under way may be behind a hold. */
    if (!(flags & UNBIND_EVICT_ASYNC) && !may_wait()) flags |= UNBIND_EVICT_ASYNC;
    if (fuzz.depth) flags |= UNBIND_EVICT_ASYNC, flags &= ~(uint32_t)UNBIND_WAIT_INTERRUPTIBLE;
    trace("evict flags %x", flags);
    switch (below(3)) {
    case 0:
        request.flags = flags | flags_of(UNBIND_EVICT_HIGH);
        request.size = one_in(16) ? any_word() : (1 + below(32)) * PAGE;
        request.alignment = one_in(4) ? UINT64_C(1) << below(64) : 0;
        request.start = one_in(4) ? any_address() & ~UINT64_C(4095) : 0;
        request.end = one_in(4) ? any_address() & ~UINT64_C(4095) : 0;
        request.color = one_in(12) ? (uint32_t)below(3) : 0;
        if (fuzz.depth) { /* no flag may be lost to chance here */
            status("unbind_vm_evict_something", unbind_vm_evict_something(vm, &request), -EINVAL, -ENOSPC, -ENOENT, -ENOMEM, 0);
            break;
        }
        status("unbind_vm_evict_something",
               unbind_vm_evict_something(vm, one_in(40) ? NULL : (struct unbind_evict_request *)resize(&room, &request, sizeof request, 16)),
               -EINVAL, -E2BIG, -ENOSPC, -ENOENT, -ENOMEM, -EINTR, -EDEADLK, 0);
        break;
    case 1:
        status("unbind_vm_evict_range",
               unbind_vm_evict_range(vm, any_address() & (one_in(8) ? UINT64_MAX : ~UINT64_C(4095)),
                                     one_in(16) ? any_word() : (1 + below(32)) * PAGE, one_in(12) ? (uint32_t)below(3) : 0, flags),
               -EINVAL, -ENODEV, -ENOSPC, -ENOENT, -ENOMEM, -EINTR, -EDEADLK, 0);
        break;
    default:
        if (one_in(3)) status("unbind_vm_evict_all", unbind_vm_evict_all(vm, flags), -EINVAL, -ENOENT, -ENOMEM, -EINTR, -EDEADLK, 0);
    }
}

#endif /* TESTS_ABI_FUZZ_PLACING_H */
