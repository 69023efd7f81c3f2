/* SPDX-License-Identifier: MIT */
/*
 * unbind_bo: a buffer object, memory that can be bound in address spaces (the
 * kernel's GEM object).
 *
 * The memory outlives everything that can still reach it: it is given back when
 * the last reference, the last VMA and the last pending unbind have gone.
 */
#ifndef UNBIND_BO_H
#define UNBIND_BO_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Memory regions. */
#define UNBIND_REGION_SYSTEM 0u
#define UNBIND_REGION_LOCAL 1u

/*
 * Makes a buffer of zeroed memory. It is one contiguous piece: aligned to 2 MiB
 * from 2 MiB on, to 64 KiB from 64 KiB on, else to 4 KiB, so that the GPU can
 * use large pages.
 *
 * size        bytes, not 0, a multiple of 4 KiB
 * region      UNBIND_REGION_*
 * flags       0
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM (also: the
 * region is full or too fragmented); -EIO (lost), -EOPNOTSUPP and others from a custom
 * backend. Since: 0.1
 */
int unbind_bo_create(unbind_device *device, uint64_t size, uint32_t region, uint32_t flags,
                     unbind_bo **out_bo);

/*
 * Called when nothing can reach wrapped memory any more, with no lock held. May
 * call every function that is marked "Blocks: no".
 */
typedef void (*unbind_release_fn)(void *user_data, void *memory);

/*
 * Makes a buffer of the caller's memory (userptr).
 *
 * memory      aligned to 4 KiB, ending below 2^52; must stay valid until release
 *             is called
 * size        bytes, not 0, a multiple of 4 KiB
 * release     may be NULL; not called when this function fails
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM; -EIO (lost), -EOPNOTSUPP
 * and others from a custom backend. Since: 0.1
 */
int unbind_bo_wrap(unbind_device *device, void *memory, uint64_t size,
                   unbind_release_fn release, void *user_data, unbind_bo **out_bo);

/* Adds a reference and returns the same buffer. Blocks: no. Since: 0.1 */
unbind_bo *unbind_bo_ref(unbind_bo *bo);

/* Drops a reference; VMAs and pending unbinds keep their own. Blocks: no. Since: 0.1 */
void unbind_bo_unref(unbind_bo *bo);

/*
 * Where the CPU sees the buffer, valid as long as the caller holds a reference
 * and the buffer is not moved by unbind_bo_migrate; NULL for NULL. The library
 * does not order CPU accesses against GPU work: see unbind_bo_wait.
 *
 * Blocks: no. Since: 0.1
 */
void *unbind_bo_cpu_pointer(const unbind_bo *bo);

/* Size in bytes; 0 for NULL. Blocks: no. Since: 0.1 */
uint64_t unbind_bo_size(const unbind_bo *bo);

/*
 * A number that names the buffer in faults, dumps and unbind_page: unique in its
 * device, counted from 1. 0 for NULL.
 *
 * Blocks: no. Since: 0.1
 */
uint64_t unbind_bo_id(const unbind_bo *bo);

/* Flags of unbind_bo_unbind, beside UNBIND_WAIT_INTERRUPTIBLE. */
#define UNBIND_BO_UNBIND_ACTIVE (1u << 8)      /* may wait for GPU work that uses the buffer */
#define UNBIND_BO_UNBIND_BARRIER (1u << 9)     /* goes on where a VM is just being closed */
#define UNBIND_BO_UNBIND_TEST (1u << 10)       /* unbinds nothing: -EBUSY if anything is bound */
#define UNBIND_BO_UNBIND_VM_TRYLOCK (1u << 11) /* -EBUSY where another thread works on the VM */
#define UNBIND_BO_UNBIND_ASYNC (1u << 12)      /* schedules the unbinds and does not wait for
                                                  them: unbind_bo_wait does */

/*
 * Unbinds every VMA of the buffer. Without ASYNC each unbind is waited for. With
 * ASYNC, VMAs that cannot be unbound asynchronously are unbound as without it:
 * of wrapped memory without a release function, which nobody would keep, views
 * of a part or in another order, and in a VM with UNBIND_POLICY_SYNC.
 *
 * Stops at the first VMA that fails; those before it stay unbound, those after
 * it stay bound. VMAs that other threads bind meanwhile may be missed.
 *
 * flags       UNBIND_BO_UNBIND_*, UNBIND_WAIT_INTERRUPTIBLE
 *
 * Blocks: yes; with ASYNC only for VMAs that are unbound as without it. Errors:
 * -EINVAL, -EBUSY (TEST: something is bound; without ACTIVE: GPU work uses the
 * buffer; VM_TRYLOCK: a VM is busy), -EAGAIN (a VMA is pinned; without BARRIER:
 * its VM is being closed), -EINTR, -EDEADLK. Since: 0.1
 */
int unbind_bo_unbind(unbind_bo *bo, uint32_t flags);

/*
 * Waits until all that the library knows to use the buffer has finished: jobs
 * that listed its VMAs, fences added to its VMAs, pending unbinds of its VMAs.
 *
 * timeout_ns, flags   as for unbind_fence_wait
 *
 * Blocks: yes. Errors: -EINVAL, -ETIME, -EINTR, -EDEADLK. Since: 0.1
 */
int unbind_bo_wait(unbind_bo *bo, uint64_t timeout_ns, uint32_t flags);

/*
 * UNBIND_REGION_*: where the buffer is, or is being moved to. System for NULL.
 *
 * Blocks: no. Since: 0.1
 */
uint32_t unbind_bo_region(const unbind_bo *bo);

/* Flags of unbind_bo_migrate, beside UNBIND_WAIT_INTERRUPTIBLE. */
#define UNBIND_BO_MIGRATE_NO_CPU_COPY (1u << 8)  /* if the copy queue fails, the buffer is lost */
#define UNBIND_BO_MIGRATE_AFTER_UNBIND (1u << 9) /* the copy waits for the unbinds too, as the
                                                    i915 driver's does: to compare with */

/*
 * Moves the buffer to another memory region. Its VMAs are unbound asynchronously
 * and it gets new memory at once; a copy queue copies the contents when the GPU
 * work that uses the buffer has finished, without waiting for the unbinds. The
 * old memory is given back when both are done. Binds of the buffer, which may
 * follow at once, wait for the copy, and GPU work that lists them with them. The
 * buffer may be moved again while nothing of that has happened yet.
 *
 * The buffer's CPU address changes: ask unbind_bo_cpu_pointer again, and wait for
 * out_fence or unbind_bo_wait before using it.
 *
 * If the copy fails the CPU copies instead. With NO_CPU_COPY the buffer is lost:
 * out_fence and the fences of binds carry -EIO, later binds and moves return it.
 *
 * region      UNBIND_REGION_*; nothing happens if the buffer is there, but that xe brings back what it
 *             has taken away of it, for what is bound
 * out_fence   signals when the copy and all unbinds that this and earlier moves
 *             scheduled have finished. May be NULL
 *
 * Blocks: no, but for this: if there is memory for the buffer but none for the
 * move's bookkeeping, and NO_CPU_COPY is not given, it waits for all that uses the
 * buffer, the unbinds too, and copies within the call (from a callback: it fails with
 * -ENOMEM). Errors: -EINVAL, -ENOENT (device closed), -ENOMEM (also: the region is
 * full), -EAGAIN (a VMA is pinned), -EBUSY (a batch has mapped it), -EIO (the buffer
 * is lost), -EOPNOTSUPP (wrapped memory; memory that was imported or exported as a
 * dma-buf, for others would not see it move; no UNBIND_CAP_MIGRATION; the log tells
 * which), those of unbind_bo_create from a backend (i915: -EINVAL, a size that local
 * memory is not given out in); -EINTR and -EDEADLK from the wait just named: the
 * buffer is where it was, VMAs of it may be unbound, try again; so they may be after an
 * -EIO that this wait brought to light. Since: 0.1
 */
int unbind_bo_migrate(unbind_bo *bo, uint32_t region, uint32_t flags, unbind_fence **out_fence);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_BO_H */
