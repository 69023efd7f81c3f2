/* SPDX-License-Identifier: MIT */
/*
 * unbind_device: a GPU, its clock, and who runs its work.
 *
 * The executor runs everything that happens by itself: queue commands, unbinds
 * that became ready, asynchronous binds.
 *
 *   pool        worker threads of the library's own; real time
 *   manual      no hidden thread: the caller's event loop calls
 *               unbind_device_run; waiting functions run work too; real time
 *   simulated   one thread, virtual time, a seeded choice among all the work
 *               that could run next: the same seed and the same calls give the
 *               same schedule and the same figures on every machine
 */
#ifndef UNBIND_DEVICE_H
#define UNBIND_DEVICE_H

#include "lookup.h"

#ifdef __cplusplus
extern "C" {
#endif

#define UNBIND_EXECUTOR_POOL 0u
#define UNBIND_EXECUTOR_MANUAL 1u
#define UNBIND_EXECUTOR_SIMULATED 2u

/* Page sizes; the value of each is the size itself, so that they form a mask. */
#define UNBIND_PAGE_SIZE_4K UINT64_C(0x1000)
#define UNBIND_PAGE_SIZE_64K UINT64_C(0x10000)
#define UNBIND_PAGE_SIZE_2M UINT64_C(0x200000)

/* Flags of unbind_device_options. */
#define UNBIND_DEVICE_NO_SLABS (1u << 0) /* every object is one allocation: for leak checkers
                                            and for making the n-th allocation fail */

/*
 * What the software GPU's work costs. A command or page-table operation ends no
 * sooner than its cost after it began. On the simulated executor nothing else
 * takes time.
 */
struct unbind_cost_model {
    uint32_t struct_size;  /* sizeof(struct unbind_cost_model) */
    uint32_t reserved;     /* 0 */
    uint64_t pte_ps;       /* picoseconds to write or clear one page-table entry */
    uint64_t tlb_flush_ns; /* nanoseconds for one TLB invalidation */
    uint64_t byte_ps;      /* picoseconds to fill or copy one byte */
    uint64_t command_ns;   /* nanoseconds to start a command */
};
#define UNBIND_COST_MODEL_INIT { sizeof(struct unbind_cost_model), 0, 0, 0, 0, 0 }

/* Kinds of GPU page fault. */
#define UNBIND_FAULT_UNMAPPED 0u  /* nothing is mapped at the address */
#define UNBIND_FAULT_READ_ONLY 1u /* a write to a read-only mapping */
#define UNBIND_FAULT_STALE 2u     /* the TLB still held a translation that the page tables no
                                     longer have: used after its unbind, before the TLB
                                     invalidation; nothing was read or written */

/* Kinds of access. */
#define UNBIND_ACCESS_READ 0u
#define UNBIND_ACCESS_WRITE 1u

/*
 * A GPU page fault. The command that hit it and the rest of its job are
 * skipped, the job's fence signals with -EFAULT, the queue goes on with its
 * next job.
 */
struct unbind_fault {
    uint32_t struct_size;     /* sizeof in the library: do not copy more than this */
    uint32_t kind;            /* UNBIND_FAULT_* */
    uint32_t access;          /* UNBIND_ACCESS_* */
    uint32_t command_index;   /* index in the submit's command array */
    uint64_t time_ns;         /* when */
    uint64_t queue_id;        /* unbind_queue_id of the queue */
    uint64_t vm_id;           /* unbind_vm_id of the address space */
    uint64_t job_seqno;       /* the queue's count of submits, from 1 */
    uint64_t address;         /* the first faulting byte */
    uint64_t last_bo_id;      /* what was last mapped there, 0 if nothing is remembered */
    uint64_t last_start;      /* start of that mapping */
    uint64_t last_size;       /* size of that mapping */
    uint64_t last_bound_ns;   /* when it was bound, 0 if no longer remembered
                                 (or at virtual time 0) */
    uint64_t last_unbound_ns; /* when its unbind was scheduled, 0 if still bound */
    uint64_t last_offset;     /* byte of that mapping at address; of the buffer too, unless it was
                                 bound through a view */
    /* The rest is as of the report, when the engine may be further on. */
    uint64_t bound_bo_id;     /* what is bound there now, 0 if nothing is */
    uint64_t bound_start;     /* start of that mapping */
    uint64_t bound_size;      /* size of that mapping */
    uint64_t bound_offset;    /* byte of the buffer at address; UNBIND_OFFSET_NONE in the padding
                                 of a view */
    uint32_t bound_state;     /* UNBIND_VMA_UNBOUND, _BINDING, _BOUND */
    uint32_t bound_flags;     /* UNBIND_LOOKUP_* */
    uint32_t pending_unbinds; /* unbinds that cover address and have not finished */
    uint32_t operation_count; /* entries of operations, at most 16 */
    const struct unbind_operation *operations; /* the last that touched address, newest first; valid
                                 during the call only */
};

/*
 * Receives faults, with no lock held, on the thread that runs the queue, before
 * the job's fence signals. The struct is valid during the call only. May call
 * every function that is marked "Blocks: no".
 */
typedef void (*unbind_fault_fn)(void *user_data, const struct unbind_fault *fault);

/*
 * Keeps the real device awake while page-table entries of a global address space
 * (UNBIND_VM_GLOBAL) are written or cleared; others never call these. All three
 * functions, or none. Each get, and each get_if_in_use that returned non-zero, is
 * followed by exactly one put, the last of them before the device has closed.
 *
 *   get            wakes the device: around each bind and each unbind_vma_unbind or
 *                  unbind_vma_unbind_async, and around suspend and resume; an
 *                  asynchronous bind puts when its entries are written
 *   get_if_in_use  takes a reference if the device is awake, and must not wake it:
 *                  when an unbind is scheduled, whatever it is that unbinds. At 0 the
 *                  unbind does without. Its put follows when the unbind has completed
 *
 * Called with no lock held, never between the end of GPU work and the signal of
 * what waits for it, on the caller's thread or on one that runs the device's
 * work. May sleep, and may call every function that is marked "Blocks: no".
 */
struct unbind_power_callbacks {
    uint32_t struct_size; /* sizeof(struct unbind_power_callbacks) */
    uint32_t reserved;    /* 0 */
    void *user_data;      /* passed to all three */
    void (*get)(void *user_data);
    int (*get_if_in_use)(void *user_data);
    void (*put)(void *user_data);
};
#define UNBIND_POWER_CALLBACKS_INIT { sizeof(struct unbind_power_callbacks), 0, NULL, NULL, NULL, NULL }

struct unbind_device_options {
    uint32_t struct_size;         /* sizeof(struct unbind_device_options) */
    uint32_t flags;               /* UNBIND_DEVICE_* */
    uint32_t executor;            /* UNBIND_EXECUTOR_* */
    uint32_t worker_count;        /* pool: threads, 1..64; 0 = 2. Others: 0 */
    uint64_t seed;                /* simulated: the schedule. Others: ignored */
    uint64_t system_memory_bytes; /* limit for buffers in system memory; 0 = 4 GiB */
    uint64_t local_memory_bytes;  /* size of local memory: a multiple of 4 KiB, at most 2^47, else
                                     -EINVAL; 0 = 256 MiB */
    uint64_t page_sizes;          /* mask of UNBIND_PAGE_SIZE_*; 0 = all three */
    const struct unbind_cost_model *cost_model; /* NULL: all costs 0 on real time; on the
                                     simulated executor 2 ns a PTE, 20 us a TLB invalidation,
                                     20 ps a byte (50 GB/s), 1 us a command */
    const struct unbind_allocator *allocator; /* NULL: malloc and free; copied */
    unbind_log_fn log;            /* may be NULL */
    void *log_data;
    unbind_fault_fn fault;        /* may be NULL */
    void *fault_data;
    const struct unbind_power_callbacks *power; /* NULL: none; copied */
    unbind_binding_fn binding;    /* may be NULL; see lookup.h */
    void *binding_data;
};
#define UNBIND_DEVICE_OPTIONS_INIT \
    { sizeof(struct unbind_device_options), 0, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL }

/* What was still alive when a device was closed: nothing, if vms to fences and timelines to locks are 0. */
struct unbind_leak_report {
    uint32_t struct_size;        /* sizeof(struct unbind_leak_report) */
    uint32_t vms;                /* objects with references not dropped: */
    uint32_t bos;
    uint32_t vmas;
    uint32_t queues;
    uint32_t fences;             /* references, not fences */
    uint64_t bo_bytes;           /* memory of those buffers */
    uint64_t unbinds_completed;  /* unbinds that were pending and were finished by the close */
    uint64_t fences_cancelled;   /* caller's and timed fences signalled with -ENOENT by the close */
    uint32_t timelines;          /* as vms to fences */
    uint32_t holds;              /* as vms to fences; what they delayed was finished by the close */
    uint32_t locks;              /* of buffers, that contexts still have: each keeps its buffer */
    uint32_t ranges;             /* allocators and trackers of ranges, as vms to fences */
};
#define UNBIND_LEAK_REPORT_INIT { sizeof(struct unbind_leak_report), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

struct unbind_device_stats {
    uint32_t struct_size;       /* sizeof(struct unbind_device_stats) */
    uint32_t reserved;
    uint64_t allocations;       /* calls of the allocator's allocate so far */
    uint64_t slab_allocations;  /* objects handed out by the slab caches so far */
    uint64_t bytes_allocated;   /* from the allocator, now */
    uint64_t system_bytes;      /* buffer memory in use in each region, now */
    uint64_t local_bytes;
    uint64_t work_items;        /* pieces of work the executor has run */
    uint64_t schedule_digest;   /* simulated: hash of what ran when; equal for equal schedules */
    uint64_t jobs;              /* queue jobs completed */
    uint64_t commands;          /* queue commands executed */
    uint64_t faults;            /* GPU page faults */
    uint64_t ptes_written;      /* page-table entries written */
    uint64_t ptes_cleared;      /* page-table entries cleared */
    uint64_t tlb_invalidations; /* TLB invalidations done */
    uint64_t tlb_hits;
    uint64_t tlb_misses;
};
#define UNBIND_DEVICE_STATS_INIT { sizeof(struct unbind_device_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/*
 * Opens a software GPU: page tables in memory, TLBs that keep stale entries
 * until invalidated, queues that run in parallel. Every open gives a new GPU.
 *
 * options     NULL for the defaults (worker pool)
 *
 * Blocks: no. Errors: -EINVAL, -E2BIG, -ENOMEM, -EAGAIN (no thread could be
 * started), -EMFILE and -ENFILE (manual executor: for its eventfd). Since: 0.1
 */
int unbind_device_open_software(const struct unbind_device_options *options,
                                unbind_device **out_device);

/*
 * Closes the device: its VMs are closed, fences made by unbind_fence_create that
 * have not signalled are cancelled with -ENOENT, all accepted work runs to its
 * end, worker threads stop. After that every fence of the device has signalled,
 * and functions on objects that are still alive return -ENOENT; they must still
 * be dropped with _unref. What is still alive goes to the report and, as a
 * warning, to the log. Closing twice returns -ENOENT. Not from a callback, nor from
 * a release, log or write function, which count as callbacks here and below: it
 * would wait for what has called back.
 *
 * out_report  may be NULL
 *
 * Blocks: until accepted GPU work has ended. Errors: -EINVAL, -E2BIG, -ENOENT,
 * -EDEADLK (called from a callback). Since: 0.1
 */
int unbind_device_close(unbind_device *device, struct unbind_leak_report *out_report);

/* Adds a reference and returns the same device. Blocks: no. Since: 0.1 */
unbind_device *unbind_device_ref(unbind_device *device);

/*
 * Drops a reference; the last one closes the device as unbind_device_close
 * does. The memory of the device goes when its last object has gone. Not the
 * last one from a callback: the device would be kept for ever, and the log says so.
 *
 * Blocks: as unbind_device_close. Since: 0.1
 */
void unbind_device_unref(unbind_device *device);

/*
 * The device's clock in nanoseconds: CLOCK_MONOTONIC, or the virtual time of the
 * simulated executor, which begins at 0. 0 for NULL.
 *
 * Blocks: no. Since: 0.1
 */
uint64_t unbind_device_now(const unbind_device *device);

/*
 * Manual and simulated executors: runs work that is ready, without waiting. On
 * the simulated executor virtual time moves on to each piece of work's time. From
 * a callback it runs nothing, and returns 0: what is ready stays so.
 *
 * max_items   stop after so many pieces; 0 = no limit
 * out_ran     pieces run; may be NULL
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT, -EOPNOTSUPP (pool). Since: 0.1
 */
int unbind_device_run(unbind_device *device, uint32_t max_items, uint32_t *out_ran);

/*
 * Manual and simulated executors: runs all work up to a time of the device's
 * clock. On the simulated executor the clock then shows that time (a time in the
 * past changes nothing); on the manual one the thread sleeps as needed.
 *
 * Blocks: manual: until time_ns. Errors: -EINVAL, -ENOENT, -EOPNOTSUPP (pool),
 * -EDEADLK (from a callback). Since: 0.1
 */
int unbind_device_run_until(unbind_device *device, uint64_t time_ns);

/*
 * Waits until no work is left that could run by itself: queues have no job that
 * could go on, no unbind or bind is ready. Work that waits for a fence of the
 * caller's own does not count, nor what a backend of the program's own
 * (unbind_device_open_custom) has begun and not completed.
 *
 * timeout_ns, flags   as for unbind_fence_wait
 *
 * Blocks: yes. Errors: -EINVAL, -ENOENT, -ETIME, -EINTR, -EDEADLK (from a
 * callback). Since: 0.1
 */
int unbind_device_wait_idle(unbind_device *device, uint64_t timeout_ns, uint32_t flags);

/*
 * When the next piece of work can run: a time not after unbind_device_now means
 * now, UINT64_MAX means that no work is known. For the timeout of poll.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT, -EOPNOTSUPP (pool). Since: 0.1
 */
int unbind_device_next_event(unbind_device *device, uint64_t *out_time_ns);

/*
 * Manual executor: an eventfd that is readable while work is ready that
 * unbind_device_run has not yet seen; work that becomes ready by the clock alone
 * does not make it readable: see unbind_device_next_event. If another thread than
 * the last that asked that runs work, it becomes readable also when a time is left
 * to wait for: look again then. It belongs to the device: do not read, write or close it.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT, -EOPNOTSUPP (not manual). Since: 0.1
 */
int unbind_device_get_eventfd(unbind_device *device, int *out_fd);

/*
 * Fills stats. Figures are exact when nothing runs.
 *
 * stats       struct_size set by the caller
 *
 * Blocks: no. Errors: -EINVAL, -E2BIG. Since: 0.1
 */
int unbind_device_get_stats(unbind_device *device, struct unbind_device_stats *stats);

/*
 * Writes the state of the device as text for a human: executor, memory, and each
 * address space as unbind_vm_dump does. The format is not part of the interface.
 *
 * Blocks: no. Errors: -EINVAL, -ENOMEM. Since: 0.1
 */
int unbind_device_dump(unbind_device *device, unbind_write_fn write, void *user_data);

/* What unbind_device_fail_next makes fail. */
#define UNBIND_FAIL_COPY 0u /* copies of unbind_bo_migrate by the copy queue */

/*
 * Makes the next count operations of a kind fail, to see what a program does
 * then. A later call replaces the count.
 *
 * Blocks: no. Errors: -EINVAL, -EOPNOTSUPP (no UNBIND_CAP_MIGRATION). Since: 0.1
 */
int unbind_device_fail_next(unbind_device *device, uint32_t what, uint32_t count);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_DEVICE_H */
