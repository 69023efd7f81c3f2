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
 * region is full or too fragmented). Since: 0.1
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
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_bo_wrap(unbind_device *device, void *memory, uint64_t size,
                   unbind_release_fn release, void *user_data, unbind_bo **out_bo);

/* Adds a reference and returns the same buffer. Blocks: no. Since: 0.1 */
unbind_bo *unbind_bo_ref(unbind_bo *bo);

/* Drops a reference; VMAs and pending unbinds keep their own. Blocks: no. Since: 0.1 */
void unbind_bo_unref(unbind_bo *bo);

/*
 * Where the CPU sees the buffer, valid as long as the caller holds a reference;
 * NULL for NULL. The library does not order CPU accesses against GPU work: see
 * unbind_bo_wait.
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

/*
 * Waits until all that the library knows to use the buffer has finished: jobs
 * that listed its VMAs, fences added to its VMAs, pending unbinds of its VMAs.
 *
 * timeout_ns, flags   as for unbind_fence_wait
 *
 * Blocks: yes. Errors: -EINVAL, -ETIME, -EINTR, -EDEADLK. Since: 0.1
 */
int unbind_bo_wait(unbind_bo *bo, uint64_t timeout_ns, uint32_t flags);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_BO_H */
