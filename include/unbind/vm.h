/* SPDX-License-Identifier: MIT */
/*
 * unbind_vm: one GPU virtual address space (the kernel's i915_address_space).
 *
 * It hands out address ranges, knows which unbinds are still pending, and makes
 * each bind wait for the pending unbinds it overlaps.
 */
#ifndef UNBIND_VM_H
#define UNBIND_VM_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * What a bind waits for. The results are the same under every policy; only the
 * waiting differs.
 */
#define UNBIND_POLICY_RANGES 0u   /* the pending unbinds that overlap its range: exact */
#define UNBIND_POLICY_TIMELINE 1u /* all pending unbinds: unbinds finish in the order in which
                                     they were scheduled, as with one timeline per VM */
#define UNBIND_POLICY_SYNC 2u     /* nothing: every unbind waits for its own end instead, also
                                     unbind_vma_unbind_async. What drops or closes something
                                     does not wait (unbind_vma_unref, unbind_vm_close) */

/* Flags of unbind_vm_options. */
#define UNBIND_VM_CACHE_COLORING (1u << 0) /* neighbours of different color are kept one 4 KiB
                                              page apart, and binds wait for unbinds one page
                                              further on both sides */

#define UNBIND_VM_GLOBAL (1u << 1)         /* one that the whole device sees, as the GGTT of i915:
                                              what writes or clears its entries keeps the device
                                              awake, see struct unbind_power_callbacks */
#define UNBIND_VM_IPS (1u << 2)            /* 64 KiB pages as gen9 to gen12 have them (IPS): all of a
                                              page table, 2 MiB of addresses, has 4 KiB pages or all
                                              of it has 64 KiB pages. The latter while all that is
                                              bound in it is made of aligned 64 KiB pieces; a bind
                                              that changes that waits for every pending unbind in
                                              the table, also of other addresses. Needs page_sizes
                                              with UNBIND_PAGE_SIZE_64K. Without it both sizes mix
                                              freely in a table, as from DG2 on */

#define UNBIND_VM_NO_HISTORY (1u << 3)      /* remember no operations */

struct unbind_vm_options {
    uint32_t struct_size; /* sizeof(struct unbind_vm_options) */
    uint32_t flags;       /* UNBIND_VM_* */
    uint32_t policy;      /* UNBIND_POLICY_* */
    uint32_t reserved;    /* 0 */
    uint64_t size;        /* bytes, a multiple of 4 KiB, at most 2^48; 0 = 2^48, or what
                             the device has if that is less: see unbind_vm_size */
    uint64_t page_sizes;  /* mask, a subset of the device's; 0 = the device's. The smallest
                             is the alignment of every address and size in this VM */
    uint64_t mappable_size; /* what UNBIND_PIN_MAPPABLE means: the addresses below this one. A
                               multiple of 4 KiB, at most size; 0 = size */
    uint64_t guard;         /* bytes kept unmapped on both sides of every binding, a multiple of
                               the smallest page size; see unbind_vma_options */
    uint32_t history_records; /* operations remembered for lookups, fault reports and dumps, 32 bytes
                                 each, taken at creation and touched when first used; the
                                 oldest makes room for the newest. At most 2^20; 0 = 4096. Not
                                 together with NO_HISTORY */
    uint32_t reserved2;       /* 0 */
};
#define UNBIND_VM_OPTIONS_INIT { sizeof(struct unbind_vm_options), 0, 0, 0, 0, 0, 0, 0, 0, 0 }

struct unbind_vm_stats {
    uint32_t struct_size;             /* sizeof(struct unbind_vm_stats) */
    uint32_t reserved;
    uint64_t binds;                   /* binds that succeeded */
    uint64_t binds_waited;            /* of them, with at least one unbind awaited */
    uint64_t unbinds;                 /* unbinds scheduled, of both kinds (neighbours that a batch unmaps
                                         may be one): */
    uint64_t unbinds_immediate;       /*   nothing to wait for: done within the call */
    uint64_t unbinds_deferred;        /*   done by the executor, when what they await is done */
    uint64_t unbinds_completed;       /* their fences have signalled */
    uint64_t unbinds_skipped_ptes;    /* finished without a PTE clear: the VM was closed, or the
                                         entries were lost by a suspend */
    uint64_t awaited;                 /* unbinds awaited by binds, summed over the binds */
    uint64_t awaited_not_overlapping; /* of them, unbinds that did not overlap the bind, nor were in
                                         its way by their color or by a page table's mode */
    uint64_t bind_wait_ns;            /* device time from a bind's call to its last dependency,
                                         summed over the binds, also asynchronous ones whose
                                         waits pass at the same time */
    uint64_t pending;                 /* unbinds scheduled and not finished, now */
    uint64_t pending_peak;            /* the most of them at any time; an unbind that the caller
                                         waits for counts while it is under way */
    uint64_t bound;                   /* bound VMAs, now */
    uint64_t bound_bytes;             /* bytes of address space they take, guards and padding
                                         included */
    uint64_t unbind_batches;          /* groups in which ready unbinds went to the backend */
    uint64_t backend_calls;           /* updates of page tables that the binds and unbinds came to: many in
                                         one if they were ready together */
    uint64_t backend_ranges;          /* ranges in them; a custom backend gets neighbours as one */
    uint64_t backend_invalidations;   /* TLB invalidations that followed */
};
#define UNBIND_VM_STATS_INIT { sizeof(struct unbind_vm_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/* Flags of struct unbind_page. */
#define UNBIND_PAGE_WRITABLE (1u << 0)
#define UNBIND_PAGE_LOCAL (1u << 1) /* in the device's local memory */
#define UNBIND_PAGE_NULL (1u << 2)  /* nothing is behind it (UNBIND_OP_MAP_NULL): reads give zero, writes
                                       vanish; bo_id is 0 */

/* One leaf entry of the page tables. */
struct unbind_page {
    uint32_t struct_size; /* sizeof(struct unbind_page) */
    uint32_t flags;       /* UNBIND_PAGE_* */
    uint64_t address;     /* GPU virtual address of its first byte */
    uint64_t size;        /* 4 KiB, 64 KiB or 2 MiB */
    uint64_t bo_id;       /* unbind_bo_id of the buffer whose bound VMA put it there; 0 if the
                             VMA was unbound and the entry waits to be cleared */
    uint64_t bo_offset;   /* byte of the buffer at address; 0 if bo_id is 0 */
};
#define UNBIND_PAGE_INIT { sizeof(struct unbind_page), 0, 0, 0, 0, 0 }

/*
 * Makes an address space from 0 to options->size. 0 is an address like any other,
 * and automatic placement gives it out: keep it taken with a fixed VMA if a GPU
 * address of 0 means "none" to you.
 *
 * options     NULL for the defaults
 *
 * Blocks: no. Errors: -EINVAL, -E2BIG, -ENOENT (device closed), -ENOMEM, -EOPNOTSUPP
 * and others from a custom backend. Since: 0.1
 */
int unbind_vm_create(unbind_device *device, const struct unbind_vm_options *options,
                     unbind_vm **out_vm);

/*
 * Closes the address space: every bound VMA is unbound asynchronously, later
 * binds and submits return -ENOENT. Pending unbinds are not lost: each waits for
 * its GPU work as before and its fence signals; page-table entries are no longer
 * cleared once no job can walk them. Closing twice returns -ENOENT.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT. Since: 0.1
 */
int unbind_vm_close(unbind_vm *vm);

/*
 * Suspends the address space: the contents of its page tables and of the TLBs are
 * gone, as when a GPU loses its power, and nothing is written to them until
 * unbind_vm_resume. Everything that is bound stays bound, at its address.
 *
 * Binds and unbinds go on as ever, in time and in order, but touch no entry: what
 * is bound meanwhile, asynchronous binds under way included, gets its entries
 * from the resume, so that a bind fence may signal before (nothing can use the
 * VMA until then); what is unbound, or was and is not finished, is not written
 * again. unbind_vm_find_page finds nothing. Submits return -EAGAIN. Closing the VM
 * or its device works.
 *
 * No job may be in flight on the VM's queues: wait for their fences first.
 *
 * On a backend, a custom one or an Intel GPU's, all that is mapped is unmapped, also what pending unbinds still have
 * mapped (what xe was told already to unmap after something else is left to it), in as few calls as it takes. The
 * machine going to sleep is not what this is for: the kernel's drivers bring page tables back by themselves when it
 * wakes, and to a program nothing has happened. It is for a backend whose hardware loses them, and for taking a
 * program's memory out of a GPU's reach for a while.
 *
 * Blocks: on a backend, until that has unmapped (from a callback: -EDEADLK); else no. Errors: -EINVAL (also:
 * suspended already), -EBUSY (a job is in flight; on a backend also: a mapping is being split that is itself still to
 * be mapped: wait for the fence of its batch), -ENOENT (closed), -EOPNOTSUPP (no UNBIND_CAP_SUSPEND, which the log
 * tells); on a backend -ENOMEM, -EIO (the device is lost), -EDEADLK (on the simulated executor also: the
 * backend completes nothing; the suspend goes on when it does). Since: 0.1
 */
int unbind_vm_suspend(unbind_vm *vm);

/*
 * Ends a suspend: writes the entries of all that is bound. The page tables then
 * are what they were, but for what was bound and unbound since. Needs no memory but on a backend: the page
 * tables themselves were kept.
 *
 * On a backend all that is bound is mapped again, in as few calls as it takes. If that fails nothing is mapped, the
 * VM stays suspended, and the call can be repeated.
 *
 * Blocks: on a backend, until that has mapped (from a callback: -EDEADLK); else no, but it writes all entries with the
 * VM's lock held. Errors: -EINVAL (also: not suspended), -ENOENT (closed), -EOPNOTSUPP; on a backend -EBUSY (as above;
 * another thread suspends or resumes), -ENOMEM, -EIO (lost), -EDEADLK as above, and the error with which it could
 * not map. Since: 0.1
 */
int unbind_vm_resume(unbind_vm *vm);

/* Adds a reference and returns the same VM. Blocks: no. Since: 0.1 */
unbind_vm *unbind_vm_ref(unbind_vm *vm);

/*
 * Drops a reference; the last one closes the VM as unbind_vm_close does. Its
 * memory goes when the last VMA, queue and pending unbind have gone.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_vm_unref(unbind_vm *vm);

/*
 * A number that names the VM in faults, dumps and logs: unique in its device,
 * counted from 1. 0 for NULL.
 *
 * Blocks: no. Since: 0.1
 */
uint64_t unbind_vm_id(const unbind_vm *vm);

/*
 * Bytes of the address space, from address 0 on: what unbind_vm_options asked for, or all that the
 * device has. 0 for NULL.
 *
 * Blocks: no. Since: 0.1
 */
uint64_t unbind_vm_size(const unbind_vm *vm);

/*
 * Fills stats (struct_size set by the caller).
 *
 * Blocks: no. Errors: -EINVAL, -E2BIG. Since: 0.1
 */
int unbind_vm_get_stats(unbind_vm *vm, struct unbind_vm_stats *stats);

/*
 * Eviction: taking the ranges of bound VMAs. Pinned VMAs and those that somebody
 * holds are never touched. Of the others those that no GPU work uses go before
 * those that are used, and among either the least recently used first: used by a
 * bind, by a job that lists the VMA, by unbind_vma_add_user.
 *
 * Without ASYNC the functions wait, with no lock held, for the GPU work that uses
 * what they chose, and for the unbinds. With ASYNC they unbind as
 * unbind_vma_unbind_async does (views too): the range can be bound again at once,
 * and a bind that overlaps waits for those unbinds. So nothing loses its pages
 * while GPU work uses them, and a job that lists an evicted VMA is refused, as of
 * any VMA that is not bound. A call that fails has evicted nobody.
 *
 * VMAs that must stay are passed one by one: the pinned and the held, and those in
 * use while idle ones are looked for. A call costs as much as there are of them among
 * the less recently used, also with NONBLOCK, and also a bind or pin that evicts.
 */
#define UNBIND_EVICT_ASYNC (1u << 8)    /* do not wait */
#define UNBIND_EVICT_NONBLOCK (1u << 9) /* only VMAs that no GPU work uses; without ASYNC the call
                                           still waits for binds under way and for the unbinds */
#define UNBIND_EVICT_HIGH (1u << 10)    /* unbind_vm_evict_something only: room as far up as the
                                           VMAs chosen allow, not where the fewest must go */

struct unbind_evict_request {
    uint32_t struct_size; /* sizeof(struct unbind_evict_request) */
    uint32_t flags;       /* UNBIND_EVICT_*, UNBIND_WAIT_INTERRUPTIBLE (not with ASYNC) */
    uint64_t size;        /* bytes of room to make: a multiple of the VM's page size, not 0 */
    uint64_t alignment;   /* of the room: a power of two; 0 = the VM's page size */
    uint64_t start;       /* the room lies at or above it */
    uint64_t end;         /* and ends at or below it; 0 = the end of the VM */
    uint32_t color;       /* of what is to go there; only with UNBIND_VM_CACHE_COLORING, else 0 */
    uint32_t reserved;    /* 0 */
};
#define UNBIND_EVICT_REQUEST_INIT { sizeof(struct unbind_evict_request), 0, 0, 0, 0, 0, 0, 0 }

/*
 * Makes room of a size, unless there is some.
 *
 * Blocks: for GPU work and unbinds; with ASYNC: no. Errors: -EINVAL, -E2BIG,
 * -ENOSPC (no room can be made: too large, or pinned and held VMAs, or with
 * NONBLOCK used ones, are in the way), -ENOENT (closed), -ENOMEM, -EINTR,
 * -EDEADLK. Since: 0.1
 */
int unbind_vm_evict_something(unbind_vm *vm, const struct unbind_evict_request *request);

/*
 * Evicts all that is in the way of a range of that color: what reaches into it,
 * and in a VM with colors neighbours of another color less than one page away.
 *
 * start, size  multiples of the VM's page size; size not 0
 * flags        UNBIND_EVICT_ASYNC, _NONBLOCK, UNBIND_WAIT_INTERRUPTIBLE (not with
 *              ASYNC)
 *
 * Blocks: for GPU work and unbinds; with ASYNC: no. Errors: -EINVAL, -ENODEV (the
 * range leaves the VM), -ENOSPC (something in the way may not be evicted),
 * -ENOENT (closed), -ENOMEM, -EINTR, -EDEADLK. Since: 0.1
 */
int unbind_vm_evict_range(unbind_vm *vm, uint64_t start, uint64_t size, uint32_t color,
                          uint32_t flags);

/*
 * Evicts every VMA that may be evicted; that there is none is no error.
 *
 * flags       as of unbind_vm_evict_range
 *
 * Blocks: for GPU work and unbinds; with ASYNC: no. Errors: -EINVAL, -ENOENT
 * (closed), -ENOMEM, -EINTR, -EDEADLK. Since: 0.1
 */
int unbind_vm_evict_all(unbind_vm *vm, uint32_t flags);

/*
 * Finds the first mapped page that ends after address, by walking the page
 * tables as the GPU would (no TLB). To see them all: begin at 0 and go on at
 * page.address + page.size.
 *
 * Blocks: no. Errors: -EINVAL, -E2BIG, -ENOENT (no mapped page ends after
 * address; always so once the VM is closed), -EOPNOTSUPP (a custom backend has
 * the page tables). Since: 0.1
 */
int unbind_vm_find_page(unbind_vm *vm, uint64_t address, struct unbind_page *page);

/*
 * Writes the state of the address space as text for a human: bound VMAs with
 * pins, holds and views, pending unbinds and what they await, the last operations
 * with their times. The format is not part of the interface.
 *
 * Blocks: no. Errors: -EINVAL, -ENOMEM. Since: 0.1
 */
int unbind_vm_dump(unbind_vm *vm, unbind_write_fn write, void *user_data);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_VM_H */
