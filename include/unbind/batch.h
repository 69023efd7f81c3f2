/* SPDX-License-Identifier: MIT */
/*
 * Batches: lists of map and unmap operations on one address space that take
 * effect together or not at all (VM_BIND of xe and nouveau, drm_gpuvm).
 *
 * A mapping shows a part of a buffer at an address. It has no handle: a later
 * batch names it by its addresses, and may unmap or replace any part of it, which
 * splits it. VMAs (unbind/vma.h) live in the same address space and share its
 * ranges, but only the caller's own calls change them: a batch that would map or
 * unmap where a VMA is bound is refused.
 *
 * The contract of unbind_vm_submit:
 *
 *  - An error means that nothing happened: mappings, page tables and timelines are
 *    as they were. Two exceptions: with UNBIND_BATCH_SPLIT the pieces that took
 *    effect before it (out_done) stay, and a buffer that a PREFETCH has moved stays
 *    where it is.
 *  - 0 means that it will happen. Nothing fails from there on but with the device:
 *    the out fence carries no error of a fence that was waited for, only -EIO when
 *    a buffer's memory was lost on its way (unbind_bo_migrate).
 *  - The address space changes within the call: a later batch, bind or lookup
 *    sees the new mappings, in the order of the calls. What the GPU sees follows when
 *    what was waited for has finished. Work that waits for the out fence sees all
 *    of the batch; work that has ended when the wait list signalled saw nothing of it.
 *  - Nobody waits for anything but the wait list, the batches before it on its bind queue,
 *    and overlapping work that has not finished.
 *  - What a batch unmaps stays where it is, with its memory, until its TLB
 *    invalidation is over: the library keeps the buffers.
 */
#ifndef UNBIND_BATCH_H
#define UNBIND_BATCH_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct unbind_bind_queue unbind_bind_queue;

/*
 * Operations, with the members of struct unbind_op that each uses. They apply in order:
 * a later one sees what an earlier one of the same batch has done.
 */
#define UNBIND_OP_MAP 0u       /* address, size, bo, offset, flags, cache_level */
#define UNBIND_OP_MAP_NULL 1u  /* address, size; flags: NO_REPLACE. Reads give zero, writes vanish,
                                  nothing faults */
#define UNBIND_OP_MAP_USER 2u  /* address, size, memory, flags, cache_level: the caller's memory
                                  without a buffer handle. It must stay valid until the fence of the batch
                                  that takes the last of it away has signalled */
#define UNBIND_OP_UNMAP 3u     /* address, size: whatever part of mappings is there; what is not mapped
                                  stays so */
#define UNBIND_OP_UNMAP_ALL 4u /* bo: all mappings of it that batches made in this address space,
                                  earlier operations of this batch included */
#define UNBIND_OP_PREFETCH 5u  /* bo, region: moves it there, as unbind_bo_migrate, before anything of
                                  the batch is mapped; nothing happens if it is there, but that a kernel
                                  that takes local memory away when it is short (xe) brings it back
                                  for what is bound in this address space, and takes the pages of the caller's
                                  memory (UNBIND_REGION_SYSTEM). A buffer that
                                  is mapped by batches already and would have to move: -EBUSY */
#define UNBIND_OP_SYNC_ONLY 6u /* nothing: for the wait list, signal list and out fence alone */

/* Flags of struct unbind_op. */
#define UNBIND_OP_READ_ONLY (1u << 0)  /* MAP, MAP_USER: GPU writes fault */
#define UNBIND_OP_CAPTURE (1u << 1)    /* MAP, MAP_USER: part of what a hang's report shows */
#define UNBIND_OP_NO_REPLACE (1u << 2) /* MAP*: -EEXIST if any of the range is mapped; without it
                                          the part of other mappings that is in the way is unmapped */

/* How the GPU sees a mapping. The software GPU is coherent: there they are only remembered. */
#ifndef UNBIND_CACHE_DEFAULT
#define UNBIND_CACHE_DEFAULT 0u       /* whatever is coherent with the CPU */
#define UNBIND_CACHE_NONE 1u          /* uncached */
#define UNBIND_CACHE_WRITE_COMBINE 2u
#define UNBIND_CACHE_WRITE_BACK 3u
#endif

/* Members that an operation does not use must be 0. */
struct unbind_op {
    uint32_t op;          /* UNBIND_OP_* */
    uint32_t flags;       /* UNBIND_OP_READ_ONLY and so on */
    uint64_t address;     /* GPU virtual address, a multiple of the VM's page size */
    uint64_t size;        /* bytes, not 0, a multiple of the VM's page size */
    unbind_bo *bo;        /* of the VM's device */
    uint64_t offset;      /* first byte of the buffer, a multiple of the VM's page size;
                             offset + size must lie in the buffer */
    void *memory;         /* MAP_USER: a multiple of the VM's page size */
    uint32_t cache_level; /* UNBIND_CACHE_* */
    uint32_t region;      /* PREFETCH: UNBIND_REGION_* */
};

/* A fence, or a point of a timeline; exactly one of fence and timeline is set. */
struct unbind_sync {
    unbind_fence *fence;       /* signal list: one of unbind_fence_create, which the batch signals */
    unbind_timeline *timeline; /* wait list: as unbind_timeline_get_point, -EAGAIN if there is no such
                                  point yet; signal list: as unbind_timeline_add_point */
    uint64_t point;            /* with timeline; else 0 */
};

/* Modes. They differ in who waits; the mappings are the same after all of them. */
#define UNBIND_BATCH_SYNC 0u          /* the caller: for the wait list before anything is changed,
                                         and then for the end. What is unmapped goes at once: GPU work that
                                         still uses it faults */
#define UNBIND_BATCH_ASYNC 1u         /* the GPU: for the wait list. GPU work that is not in it and
                                         still uses what is unmapped may fault */
#define UNBIND_BATCH_DEFER_TO_IDLE 2u /* the GPU: for the wait list and all jobs that have been
                                         submitted on the address space so far: none of them faults. The
                                         library picks the moment; jobs that come later are not waited for */

/* Flags of struct unbind_batch. */
#define UNBIND_BATCH_SPLIT (1u << 8) /* a list that is too large may be cut into pieces that take effect
                                        one after the other, each as a whole, in order */
#define UNBIND_BATCH_EVICT (1u << 9) /* when memory is short idle VMAs that are neither pinned nor held may
                                        be unbound: see below */
#define UNBIND_BATCH_NO_WAIT (1u << 10) /* when memory is short: -ENOMEM instead of waiting. Not with SYNC */
/* UNBIND_WAIT_INTERRUPTIBLE (unbind/fence.h) may be given, too: a signal handler ends the waits
   that come before anything is changed. */

/*
 * When memory is short. All that a batch needs is reserved before anything is
 * changed: page tables, records of what will be unbound later, fences. If that fails,
 * everything reserved is given back, and then, each step only if the one before was
 * not enough:
 *
 *  1. with EVICT: idle VMAs of the address space are unbound, and the batch is tried again;
 *  2. unless NO_WAIT, or within a callback: the wait list and the pending unbinds of the
 *     address space are waited for, so that they need not be awaited and have given back
 *     what they hold, and the batch is tried again;
 *  3. with SPLIT: the list is cut in halves, down to single operations;
 *  4. -ENOMEM.
 *
 * struct unbind_batch_stats counts the steps.
 */

/* The most operations that one call takes as one piece; more need SPLIT, or are refused with -ENOBUFS. */
#define UNBIND_BATCH_LIMIT 65536u

struct unbind_batch {
    uint32_t struct_size;             /* sizeof(struct unbind_batch) */
    uint32_t flags;                   /* UNBIND_BATCH_SPLIT and so on, UNBIND_WAIT_INTERRUPTIBLE */
    uint32_t mode;                    /* UNBIND_BATCH_SYNC, _ASYNC, _DEFER_TO_IDLE */
    uint32_t limit;                   /* the most operations of one piece; 0 and whatever is more than the
                                         device can do: as many as it can */
    unbind_bind_queue *queue;         /* of this VM; NULL: none, the batch is ordered with nothing but what overlaps */
    const struct unbind_sync *waits;
    const struct unbind_sync *signals; /* signal, or are reached, when the out fence signals */
    uint32_t wait_count;              /* up to 65,536 */
    uint32_t signal_count;            /* up to 65,536 */
    unbind_fence **out_fence;         /* receives a reference to the batch's fence: all that is
                                         unmapped is cleared and invalidated, all that is mapped is
                                         written. After an error: of the pieces before, if there are
                                         any; else it is not touched. May be NULL */
    uint32_t *out_done;               /* receives how many operations took effect: count or, after an
                                         error, 0, or with SPLIT those of the pieces before. May be NULL */
};
#define UNBIND_BATCH_INIT { sizeof(struct unbind_batch), 0, UNBIND_BATCH_SYNC, 0, NULL, NULL, NULL, 0, 0, NULL, NULL }

/*
 * Applies a list of operations to an address space, all or nothing.
 *
 * A mapping that loses a part is split: what is left keeps its page-table entries, but for
 * large pages that are cut, which are written anew in smaller pages without a moment
 * in which the GPU would miss them. Mapping what is mapped there already,
 * from the same place of the same buffer with the same flags, keeps it as it is. Operations of a
 * batch that follow each other at neighbouring addresses with neighbouring parts of a buffer, and
 * equal flags, make one mapping; so do neighbours of older batches, if they and the new one are bound
 * and idle when the batch is submitted, and nobody holds them.
 *
 * Idle mappings of one buffer that lie side by side, and that an unmap takes away as a whole, may go as
 * one: then they are one unbind in struct unbind_vm_stats, in the history and to unbind_vm_lookup, and a hold on any
 * of them delays all of them. struct unbind_batch_stats counts each.
 *
 * A buffer that batches have mapped stays where it is: unbind_bo_migrate returns -EBUSY, and
 * its mappings count as pinned: eviction leaves them alone, unbind_bo_unbind returns -EAGAIN. They end
 * with the address space, or by a batch.
 *
 * ops         count of them; not read if count is 0, which is as SYNC_ONLY
 * batch       NULL: as UNBIND_BATCH_INIT
 *
 * Blocks: with SYNC yes, and under UNBIND_POLICY_SYNC. Else no, but for this: when
 * memory is short (see above) it waits, unless NO_WAIT is given; and PREFETCH as
 * unbind_bo_migrate. Errors: -EINVAL (also: an address, size or offset that is not a
 * multiple of the page size or wraps, or, on GPUs with larger pages in local memory
 * (DG2: 64 KiB), would map or leave a part of it that is none of these; a range that leaves the buffer; a handle of
 * another device or VM; a timeline point that does not grow; a fence to signal that
 * is not one of unbind_fence_create, or has signalled), -E2BIG, -ENODEV (a range that
 * leaves the address space), -EEXIST (NO_REPLACE), -EBUSY (a VMA is bound in a range,
 * with its guards; a mapping that would be split is held (unbind_vm_hold);
 * PREFETCH), -EAGAIN (a wait point that has not been added; PREFETCH of a pinned
 * buffer), -ENOBUFS (too many operations without SPLIT), -ENOENT (closed), -ENOMEM,
 * -EIO (a move has lost the buffer), -EFAULT (PREFETCH of the caller's memory, whose pages are
 * gone), -EOPNOTSUPP (PREFETCH of the caller's memory to local memory; an
 * address space made with UNBIND_VM_GLOBAL, _CACHE_COLORING, _IPS or a guard; on a
 * custom backend also what its capabilities leave out: UNBIND_CAP_ALIASING for any batch,
 * _PARTIAL_UNBIND for a mapping that would be split, _NULL_MAPPINGS, _READ_ONLY,
 * _USER_MEMORY), -EIO also when the device is lost; -EINTR and -EDEADLK from waiting for the
 * wait list: nothing has changed. -EDEADLK may also come from waiting for the end, and in mode
 * SYNC the error of a map that a custom backend could not do (as every error that out_fence
 * carries then): out_done is count, and out_fence is there. Since: 0.1
 */
int unbind_vm_submit(unbind_vm *vm, const struct unbind_op *ops, uint32_t count,
                     const struct unbind_batch *batch);

/*
 * Makes a bind queue: batches on it take effect for the GPU, and their fences signal, in the order of their
 * calls. Different queues, and batches without one, do not wait for each other unless their ranges overlap.
 *
 * flags       0
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (closed), -ENOMEM. Since: 0.1
 */
int unbind_bind_queue_create(unbind_vm *vm, uint32_t flags, unbind_bind_queue **out_queue);

/* Adds a reference and returns the same queue. Blocks: no. Since: 0.1 */
unbind_bind_queue *unbind_bind_queue_ref(unbind_bind_queue *queue);

/* Drops a reference; submitted batches still take effect. Blocks: no. Since: 0.1 */
void unbind_bind_queue_unref(unbind_bind_queue *queue);

/* Numbers of one address space since it was made; mappings is as of now. */
struct unbind_batch_stats {
    uint32_t struct_size;      /* sizeof(struct unbind_batch_stats) */
    uint32_t reserved;
    uint64_t batches;          /* that succeeded; each piece of one that was cut counts */
    uint64_t failed;           /* that did not, their arguments being right */
    uint64_t operations;       /* of those that succeeded */
    uint64_t maps;             /* mappings made, those that are left of a split not counted */
    uint64_t unmaps;           /* parts of mappings unbound, also those that went as one */
    uint64_t kept;             /* parts of mappings that a MAP found as it wanted them */
    uint64_t splits;           /* mappings that lost a part, and some was left */
    uint64_t merges;           /* mappings that were joined to a neighbour */
    uint64_t mappings;         /* there now */
    uint64_t evictions;        /* step 1 when memory was short */
    uint64_t waits;            /* step 2 */
    uint64_t cuts;             /* step 3, and lists cut because they were too large */
    uint64_t entries_written;  /* page-table entries, by whomever */
    uint64_t entries_cleared;
    uint64_t invalidations;    /* TLB invalidations */
};
#define UNBIND_BATCH_STATS_INIT \
    { sizeof(struct unbind_batch_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Fills stats. Blocks: no. Errors: -EINVAL, -E2BIG. Since: 0.1 */
int unbind_vm_get_batch_stats(unbind_vm *vm, struct unbind_batch_stats *stats);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_BATCH_H */
