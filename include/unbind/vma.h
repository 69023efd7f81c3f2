/* SPDX-License-Identifier: MIT */
/*
 * unbind_vma: one buffer at one place in one address space (the kernel's
 * i915_vma). It lives on over any number of binds and unbinds.
 *
 * Life of an asynchronous unbind: unbind_vma_unbind_async takes the range away
 * from the VMA, hands it back to the address space and returns. When all GPU
 * work that was attached to the VMA has finished, the page-table entries are
 * cleared, the TLB is invalidated, and the unbind fence signals. Until then a
 * bind that overlaps the range waits (unbind_vma_bind) or is queued
 * (unbind_vma_bind_async); the library never lets it write early.
 *
 * Everything an unbind needs is reserved when the VMA is bound and when work is
 * attached to it, so unbinding allocates nothing and does not fail for lack of
 * memory.
 */
#ifndef UNBIND_VMA_H
#define UNBIND_VMA_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What unbind_vma_address gives for a VMA that has no address. */
#define UNBIND_ADDRESS_NONE UINT64_MAX

/* Flags of unbind_vma_options. */
#define UNBIND_VMA_FIXED (1u << 0)     /* bind at options->address or not at all; not together
                                          with HIGH, AVOID_PENDING or an alignment */
#define UNBIND_VMA_HIGH (1u << 1)      /* automatic placement from the top down, not from the
                                          bottom up. Either way a range whose unbind is pending
                                          counts as free: a bind may be put there, and waits */
#define UNBIND_VMA_READ_ONLY (1u << 2) /* GPU writes fault */
#define UNBIND_VMA_AVOID_PENDING (1u << 3) /* automatic placement prefers a range that no pending
                                          unbind covers, so that the bind need not wait; where
                                          it goes then depends on what has finished */

struct unbind_vma_options {
    uint32_t struct_size; /* sizeof(struct unbind_vma_options) */
    uint32_t flags;       /* UNBIND_VMA_* */
    uint64_t address;     /* with FIXED: a multiple of the VM's page size. Else 0 */
    uint64_t alignment;   /* of an automatic address: a power of two; 0 = the largest page
                             size that fits the buffer */
    uint32_t color;       /* cache color; only with UNBIND_VM_CACHE_COLORING, else 0 */
    uint32_t reserved;    /* 0 */
};
#define UNBIND_VMA_OPTIONS_INIT { sizeof(struct unbind_vma_options), 0, 0, 0, 0, 0 }

/* States of a VMA. */
#define UNBIND_VMA_UNBOUND 0u /* has no range; unbinds of it may be pending */
#define UNBIND_VMA_BINDING 1u /* has a range; its entries are not written yet */
#define UNBIND_VMA_BOUND 2u   /* has a range; the GPU can use it */

/*
 * Makes an unbound VMA. It keeps a reference to the buffer and the VM.
 *
 * vm, bo      of the same device
 * options     NULL for automatic placement
 *
 * Blocks: no. Errors: -EINVAL (also: the buffer's size is not a multiple of the
 * VM's page size, a fixed range that passes 2^64), -E2BIG, -ENODEV (a fixed range
 * that leaves the address space, or a buffer larger than it), -ENOENT (closed), -ENOMEM. Since: 0.1
 */
int unbind_vma_create(unbind_vm *vm, unbind_bo *bo, const struct unbind_vma_options *options,
                      unbind_vma **out_vma);

/* Adds a reference and returns the same VMA. Blocks: no. Since: 0.1 */
unbind_vma *unbind_vma_ref(unbind_vma *vma);

/*
 * Drops a reference. The last one of a bound VMA unbinds it asynchronously
 * first.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_vma_unref(unbind_vma *vma);

/*
 * Binds the VMA: waits for the pending unbinds that the VM's policy names, takes
 * a range, writes the page tables. (Another thread may take the range during the
 * wait: then this goes on with another one, or fails if it is fixed.) A bound VMA stays as it is and 0 is
 * returned; one whose asynchronous bind is under way is waited for.
 *
 * flags       0 or UNBIND_WAIT_INTERRUPTIBLE
 *
 * Blocks: for overlapping pending unbinds. Errors: -EINVAL, -ENOENT (closed),
 * -ENOSPC (no room; the fixed range is taken), -ENOMEM, -EINTR and -EDEADLK
 * (while waiting; nothing is bound, try again). Since: 0.1
 */
int unbind_vma_bind(unbind_vma *vma, uint32_t flags);

/*
 * As unbind_vma_bind, but does not wait: the entries are written when the
 * pending unbinds it depends on are done. Jobs that list the VMA wait for that
 * by themselves.
 *
 * flags       0
 * out_fence   signals when the VMA is bound: has signalled if it is already. May
 *             be NULL. The address is known when this returns
 *
 * Blocks: no, but for this: if memory to await a pending unbind cannot be had,
 * it waits for that unbind instead of failing (from a callback: it fails with
 * -ENOMEM). Errors: -EINVAL, -ENOENT, -ENOSPC, -ENOMEM as unbind_vma_bind;
 * -EDEADLK only from the wait just named. Since: 0.1
 */
int unbind_vma_bind_async(unbind_vma *vma, uint32_t flags, unbind_fence **out_fence);

/*
 * Unbinds the VMA and waits until that is done: the GPU work attached to it
 * first. An unbound VMA stays as it is and 0 is returned.
 *
 * flags       0 or UNBIND_WAIT_INTERRUPTIBLE
 *
 * Blocks: yes. Errors: -EINVAL, -EINTR and -EDEADLK (while waiting for GPU work:
 * the VMA is still bound, try again). Since: 0.1
 */
int unbind_vma_unbind(unbind_vma *vma, uint32_t flags);

/*
 * Unbinds the VMA without waiting: its range can be bound again when this
 * returns. With nothing to wait for the unbind is done within the call: no GPU
 * work attached, and a TLB invalidation that takes no time (tlb_flush_ns of the
 * cost model is 0). Allocates nothing.
 *
 * flags       0
 * out_fence   receives a reference to the unbind fence: signals after the GPU
 *             work attached to the VMA, the clearing of the entries and the TLB
 *             invalidation. For an unbound VMA a fence that signalled at time 0.
 *             May be NULL
 *
 * Blocks: no (under UNBIND_POLICY_SYNC: yes, as unbind_vma_unbind). Errors:
 * -EINVAL; under UNBIND_POLICY_SYNC also -EDEADLK, the VMA is still bound then.
 * Since: 0.1
 */
int unbind_vma_unbind_async(unbind_vma *vma, uint32_t flags, unbind_fence **out_fence);

/*
 * Attaches a fence to the VMA's present binding: an unbind waits for it. For GPU
 * work that the library does not submit; unbind_queue_submit does this by itself
 * for the VMAs it is given.
 *
 * fence       of the same device
 *
 * Blocks: no. Errors: -EINVAL (also: not bound and no bind under way), -ENOENT (closed), -ENOMEM.
 * Since: 0.1
 */
int unbind_vma_add_user(unbind_vma *vma, unbind_fence *fence);

/*
 * The GPU virtual address: of the present binding, of the next one if it is
 * fixed, else UNBIND_ADDRESS_NONE; that too for NULL.
 *
 * Blocks: no. Since: 0.1
 */
uint64_t unbind_vma_address(const unbind_vma *vma);

/* Bytes of address space that it takes; 0 for NULL. Blocks: no. Since: 0.1 */
uint64_t unbind_vma_size(const unbind_vma *vma);

/*
 * UNBIND_VMA_UNBOUND, _BINDING or _BOUND.
 *
 * Blocks: no. Errors: -EINVAL. Since: 0.1
 */
int unbind_vma_state(const unbind_vma *vma);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_VMA_H */
