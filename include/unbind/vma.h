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

/* Types of unbind_view. */
#define UNBIND_VIEW_NORMAL 0u   /* the whole buffer as it is */
#define UNBIND_VIEW_PARTIAL 1u  /* a part of it */
#define UNBIND_VIEW_ROTATED 2u  /* rectangles of pages, each turned by a quarter: column after
                                   column, each from its last row to its first */
#define UNBIND_VIEW_REMAPPED 3u /* rectangles of pages, row after row, with another stride */

/* A rectangle of pages in a buffer. Everything in pages of 4 KiB. */
struct unbind_view_plane {
    uint32_t offset;     /* of its first page in the buffer */
    uint32_t width;      /* pages in a row */
    uint32_t height;     /* rows */
    uint32_t src_stride; /* from row to row in the buffer, at least width */
    uint32_t dst_stride; /* from row to row in the view, at least width; ROTATED: from column to
                            column, at least height */
    uint32_t reserved;   /* 0 */
};

/*
 * Which pages of a buffer a VMA shows, and in what order. The planes follow each
 * other in the view. Where a stride leaves room there is padding: address space
 * without entries, where GPU access faults.
 */
struct unbind_view {
    uint32_t struct_size; /* sizeof(struct unbind_view) */
    uint32_t type;        /* UNBIND_VIEW_* */
    uint64_t offset;      /* PARTIAL: first byte, a multiple of the VM's page size; else 0 */
    uint64_t size;        /* PARTIAL: bytes, a multiple of the VM's page size; else 0 */
    uint32_t plane_count; /* ROTATED, REMAPPED: 1 to 4, in a VM with pages of 4 KiB and without
                             UNBIND_VM_IPS; else 0 */
    uint32_t reserved;    /* 0 */
    struct unbind_view_plane planes[4]; /* the first plane_count of them */
};
#define UNBIND_VIEW_INIT { sizeof(struct unbind_view), 0, 0, 0, 0, 0, \
    { { 0, 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0, 0 } } }

struct unbind_vma_options {
    uint32_t struct_size; /* sizeof(struct unbind_vma_options) */
    uint32_t flags;       /* UNBIND_VMA_* */
    uint64_t address;     /* with FIXED: a multiple of the VM's page size. Else 0 */
    uint64_t alignment;   /* of an automatic address: a power of two; 0 = the largest page
                             size that fits the buffer */
    uint32_t color;       /* cache color; only with UNBIND_VM_CACHE_COLORING, else 0 */
    uint32_t reserved;    /* 0 */
    uint64_t guard;       /* bytes of address space on both sides that belong to the binding and
                             stay unmapped; a multiple of the VM's page size. The larger of this
                             and the VM's own. Automatic placement rounds it up to the alignment */
    const struct unbind_view *view; /* NULL: the whole buffer as it is. Copied */
};
#define UNBIND_VMA_OPTIONS_INIT { sizeof(struct unbind_vma_options), 0, 0, 0, 0, 0, 0, NULL }

/* Flags of unbind_vma_bind and unbind_vma_bind_async. */
#define UNBIND_BIND_READ_ONLY (1u << 8) /* GPU writes fault, until a later bind of the bound VMA
                                           without this flag adds write access: to the same
                                           binding at the same address, for which nothing is
                                           unbound. With what is there already nothing changes.
                                           A VMA made READ_ONLY stays so */
#define UNBIND_BIND_EVICT (1u << 9)     /* if there is no room, others make way: VMAs that are
                                           not pinned and not held, those that no GPU work uses
                                           before the others, and among either the least
                                           recently used first. They are unbound asynchronously
                                           at once; this bind waits for their unbinds, and so
                                           for the GPU work that uses them. A bind that fails
                                           has unbound nobody */
#define UNBIND_BIND_NONBLOCK (1u << 10) /* with EVICT: only VMAs that no GPU work uses; those in use
                                           are passed one by one, see unbind/vm.h */

/* Flags of unbind_pin_options. */
#define UNBIND_PIN_LOW (1u << 0)        /* place it from the bottom up */
#define UNBIND_PIN_HIGH (1u << 1)       /* from the top down */
#define UNBIND_PIN_MAPPABLE (1u << 2)   /* wholly below the VM's mappable_size */
#define UNBIND_PIN_BIAS (1u << 3)       /* not below address */
#define UNBIND_PIN_FIXED (1u << 4)      /* exactly at address; not with LOW, HIGH or BIAS */
#define UNBIND_PIN_READ_ONLY (1u << 8)  /* as UNBIND_BIND_READ_ONLY */
#define UNBIND_PIN_EVICT (1u << 9)      /* as UNBIND_BIND_EVICT */
#define UNBIND_PIN_NONBLOCK (1u << 10)  /* as UNBIND_BIND_NONBLOCK */
#define UNBIND_PIN_ASYNC (1u << 11)     /* do not wait, as unbind_vma_bind_async */
#define UNBIND_PIN_INTERRUPTIBLE (1u << 12) /* as UNBIND_WAIT_INTERRUPTIBLE; not with ASYNC */

/* The most pins a VMA can have at a time. */
#define UNBIND_VMA_PIN_LIMIT 65535u

struct unbind_pin_options {
    uint32_t struct_size;     /* sizeof(struct unbind_pin_options) */
    uint32_t flags;           /* UNBIND_PIN_* */
    uint64_t address;         /* with BIAS or FIXED, a multiple of the VM's page size; else 0 */
    uint64_t size;            /* address space from its address on, at least; a multiple of the
                                 VM's page size. What lies behind the VMA stays unmapped. 0 = the
                                 VMA's own size */
    uint64_t alignment;       /* at least; a power of two; 0 = the VMA's own */
    unbind_fence **out_fence; /* with ASYNC: as of unbind_vma_bind_async, may be NULL. Else NULL */
};
#define UNBIND_PIN_OPTIONS_INIT { sizeof(struct unbind_pin_options), 0, 0, 0, 0, NULL }

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
 * Blocks: no. Errors: -EINVAL (also: the buffer's size, or the address of wrapped
 * memory, is not a multiple of the VM's page size; a fixed range that passes 2^64),
 * -E2BIG, -ENODEV (a fixed range that leaves the address space, or a buffer larger
 * than it), -ENOENT (closed), -ENOMEM. Since: 0.1
 */
int unbind_vma_create(unbind_vm *vm, unbind_bo *bo, const struct unbind_vma_options *options,
                      unbind_vma **out_vma);

/*
 * Finds the VMA of a buffer in an address space that shows this view; of several
 * the one made last. It comes with a reference.
 *
 * view        NULL: the whole buffer as it is
 *
 * Blocks: no. Errors: -EINVAL, -E2BIG, -ENODEV as unbind_vma_create for the view,
 * -ENOENT (there is none). Since: 0.1
 */
int unbind_vma_lookup(unbind_vm *vm, unbind_bo *bo, const struct unbind_view *view,
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
 * flags       UNBIND_BIND_*, UNBIND_WAIT_INTERRUPTIBLE
 *
 * Blocks: for overlapping pending unbinds; with UNBIND_BIND_EVICT also for the
 * GPU work of those that make way. Errors: -EINVAL, -ENOENT (closed), -ENOSPC (no
 * room; the fixed range is taken), -ENOMEM, -EIO (a move has lost the buffer, or
 * the device is lost), -EOPNOTSUPP and others from a custom backend,
 * -EINTR and -EDEADLK (while waiting; nothing is bound or evicted, try again).
 * Since: 0.1
 */
int unbind_vma_bind(unbind_vma *vma, uint32_t flags);

/*
 * As unbind_vma_bind, but does not wait: the entries are written when the
 * pending unbinds it depends on are done. Jobs that list the VMA wait for that
 * by themselves.
 *
 * flags       UNBIND_BIND_*
 * out_fence   signals when the VMA is bound: has signalled if it is already. May
 *             be NULL. The address is known when this returns
 *
 * Blocks: no, but for this: if memory to await a pending unbind cannot be had,
 * it waits for that unbind instead of failing (from a callback: it fails with
 * -ENOMEM). Errors: -EINVAL, -ENOENT, -ENOSPC, -EIO, -ENOMEM as unbind_vma_bind
 * (also: no memory to await those that would be evicted, or to make a binding
 * writable); -EOPNOTSUPP on a backend (write access added to a binding; without
 * UNBIND_CAP_ALIASING a second address for the buffer; READ_ONLY without
 * UNBIND_CAP_READ_ONLY); -EDEADLK only from the wait just named. Since: 0.1
 */
int unbind_vma_bind_async(unbind_vma *vma, uint32_t flags, unbind_fence **out_fence);

/*
 * Pins the VMA: binds it if it is not bound, as unbind_vma_bind does, and keeps it
 * bound where it is until unbind_vma_unpin has been called as often. A pinned VMA
 * is unbound by its last unbind_vma_unref and by the close of its VM or device
 * only; then its pins are gone.
 *
 * A VMA that is bound, but not as the options say (misplaced), is moved: unbound
 * asynchronously and bound anew at once, which waits for that unbind if the two
 * places overlap. LOW and HIGH alone do not move it. If it is pinned already, or
 * without ASYNC while somebody holds it (unbind_vma_hold), it cannot be: -EBUSY.
 *
 * options     NULL: no more than what the VMA was made with
 *
 * Blocks: as unbind_vma_bind; a move also for the GPU work that uses the VMA. With
 * ASYNC: no, as unbind_vma_bind_async. Errors: -EINVAL (also: FIXED past the end
 * of the VM, or of the mappable part with MAPPABLE; FIXED elsewhere than the VMA
 * itself is), -ENOSPC (larger than the VM or the part of it that was asked for;
 * no room), -EBUSY (pinned or held, and misplaced), -EAGAIN (UNBIND_VMA_PIN_LIMIT pins),
 * -ENOENT (closed), -ENOMEM, -EIO, -EINTR, -EDEADLK as unbind_vma_bind, -EOPNOTSUPP
 * as unbind_vma_bind_async, without ASYNC others from a custom backend. Since: 0.1
 */
int unbind_vma_pin(unbind_vma *vma, const struct unbind_pin_options *options);

/*
 * Takes one pin back. The VMA stays bound.
 *
 * Blocks: no. Errors: -EINVAL (also: not pinned), -ENOENT (its pins went with the
 * close of its VM). Since: 0.1
 */
int unbind_vma_unpin(unbind_vma *vma);

/*
 * How many pins the VMA has; 0 for NULL.
 *
 * Blocks: no. Since: 0.1
 */
uint32_t unbind_vma_pin_count(const unbind_vma *vma);

/*
 * Unbinds the VMA and waits until that is done: the GPU work attached to it
 * first. An unbound VMA stays as it is and 0 is returned.
 *
 * flags       0 or UNBIND_WAIT_INTERRUPTIBLE
 *
 * Blocks: yes; also while somebody holds the binding (unbind_vma_hold). Errors:
 * -EINVAL, -EAGAIN (pinned), -EINTR and -EDEADLK (while waiting for GPU work: the
 * VMA is still bound, try again; -EDEADLK also while waiting for a hold: then the
 * VMA is unbound, and the unbind ends with the hold). Since: 0.1
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
 * -EINVAL, -EAGAIN (pinned), -EBUSY (a view other than of the whole buffer cannot
 * be unbound asynchronously: use unbind_vma_unbind); under UNBIND_POLICY_SYNC also
 * -EDEADLK, as unbind_vma_unbind. Since: 0.1
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
