/* SPDX-License-Identifier: MIT */
/*
 * unbind_backend: what stands behind a device. A program that has a GPU of its
 * own, or a model of one, gives the functions below and gets the whole library
 * on top of them: address spaces, asynchronous unbinding, fences, queues,
 * eviction, batches. The Intel backends are written against the same functions.
 *
 * The library decides what happens when: a range is mapped after every unmap
 * that overlaps it has been completed, an unmap after everything it awaits, a
 * submit after everything it awaits and after the jobs before it on its queue.
 * The backend does each of these when it is called, or begins it and says later
 * that it is done: nothing in here has to wait.
 *
 *     static int update(void *backend, void *vm, const struct unbind_backend_range *ranges,
 *                       uint32_t count, unbind_backend_token *token) {
 *         begin(backend, vm, ranges, count, token);
 *         return UNBIND_BACKEND_PENDING;
 *     }
 *     ... when the GPU is done:
 *     unbind_backend_complete(token, 0);
 */
#ifndef UNBIND_BACKEND_H
#define UNBIND_BACKEND_H

#include "base.h"
#include "device.h"
#include "queue.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What update, invalidate, submit and copy return when unbind_backend_complete will follow. */
#define UNBIND_BACKEND_PENDING 1

/* One thing begun and not completed; the library's. */
typedef struct unbind_backend_token unbind_backend_token;

/* What is to be done with a range. */
#define UNBIND_BACKEND_MAP 0u      /* shows a part of a buffer */
#define UNBIND_BACKEND_MAP_NULL 1u /* reads zero, and writes vanish */
#define UNBIND_BACKEND_UNMAP 2u    /* access faults, or does what the backend says */

/* Flags of a range that is mapped. */
#define UNBIND_BACKEND_READ_ONLY (1u << 0)
#define UNBIND_BACKEND_CAPTURE (1u << 1) /* is part of what a GPU hang's report shows */

/*
 * A range of one batch. The ranges of a batch are in the order of their addresses and do not overlap. An
 * unmap covers whole ranges that were mapped, unless the backend has UNBIND_CAP_PARTIAL_UNBIND; it may
 * cover several of them, and neighbours are one unmap. Neighbours that show neighbouring parts of a buffer
 * are one map, but only with UNBIND_CAP_PARTIAL_UNBIND: they may be unmapped one by one.
 */
struct unbind_backend_range {
    uint32_t op;          /* UNBIND_BACKEND_MAP, _MAP_NULL, _UNMAP */
    uint32_t flags;       /* MAP, MAP_NULL: UNBIND_BACKEND_READ_ONLY and so on; else 0 */
    uint64_t address;     /* GPU virtual address, a multiple of the VM's page size */
    uint64_t size;        /* bytes, not 0, a multiple of the VM's page size */
    void *bo;             /* MAP: as bo_create gave it; else NULL */
    uint64_t offset;      /* MAP: of the first byte in the buffer, a multiple of the VM's page size */
    uint32_t cache_level; /* MAP: UNBIND_CACHE_*; else 0 */
    uint32_t reserved;    /* 0 */
};

/* How the caller wants the GPU to see a mapping; a backend may treat all of them alike. */
#define UNBIND_CACHE_DEFAULT 0u       /* whatever is coherent with the CPU */
#define UNBIND_CACHE_NONE 1u          /* uncached */
#define UNBIND_CACHE_WRITE_COMBINE 2u
#define UNBIND_CACHE_WRITE_BACK 3u

/* What a device can do: see unbind_device_capabilities. */
#define UNBIND_CAP_EXPLICIT_UNBIND (UINT64_C(1) << 0) /* an unbound range faults, or reads as nothing, once the
                                                         fence has signalled; else it may still show the old
                                                         pages, which stay for as long */
#define UNBIND_CAP_PARTIAL_UNBIND (UINT64_C(1) << 1)  /* a part of a mapping can be unmapped or replaced */
#define UNBIND_CAP_ALIASING (UINT64_C(1) << 2)        /* one buffer at several addresses of a VM */
#define UNBIND_CAP_NULL_MAPPINGS (UINT64_C(1) << 3)   /* MAP_NULL */
#define UNBIND_CAP_READ_ONLY (UINT64_C(1) << 4)       /* read-only mappings: a write faults or vanishes */
#define UNBIND_CAP_USER_MEMORY (UINT64_C(1) << 5)     /* the caller's memory as a buffer: bo_wrap */
#define UNBIND_CAP_LOCAL_MEMORY (UINT64_C(1) << 6)    /* UNBIND_REGION_LOCAL */
#define UNBIND_CAP_FAULT_REPORTS (UINT64_C(1) << 7)   /* a bad access is told to the fault callback */
#define UNBIND_CAP_SUSPEND (UINT64_C(1) << 8)         /* unbind_vm_suspend: there with EXPLICIT_UNBIND */
#define UNBIND_CAP_MIGRATION (UINT64_C(1) << 9)       /* unbind_bo_migrate: there with LOCAL_MEMORY and a
                                                         function that copies */
#define UNBIND_CAP_ASYNC_UPDATES (UINT64_C(1) << 10)  /* the GPU's driver itself maps and unmaps in the
                                                         background */
#define UNBIND_CAP_SHARED_FENCES (UINT64_C(1) << 11)  /* syncobjs and sync_files in and out */
#define UNBIND_CAP_BATCH_BUFFERS (UINT64_C(1) << 12)  /* UNBIND_COMMAND_BATCH */

/*
 * The functions of a backend. Each gets the pointer that was given to
 * unbind_device_open_custom first. Results are 0, UNBIND_BACKEND_PENDING where it says so,
 * or a negative errno, and then nothing was done.
 *
 * Threads: the functions may be called from any thread and several at the same
 * time, but for one VM only one update or invalidation is under way at a time (begun and not
 * completed), for one queue one submit, and for the device one copy. They are called with no lock of the library held,
 * except bo_destroy, which may be called with some: it must not call the library. The
 * others may call functions that are marked "Blocks: no". update,
 * invalidate, submit, copy and bo_destroy may be called while work waits for them to
 * end: they must not wait for GPU work, nor for anybody who does.
 *
 * A lost device: from then on nothing is updated, invalidated or submitted any more. Unbinds that
 * have not completed and binds under way signal with -EIO, calls that bind or submit return it;
 * what was created is destroyed as ever.
 */
struct unbind_backend_ops {
    uint32_t struct_size;      /* sizeof(struct unbind_backend_ops) */
    uint32_t max_ranges;       /* most ranges of one update; 0 = no limit */
    uint64_t capabilities;     /* UNBIND_CAP_*, of those that the functions here can give: EXPLICIT_UNBIND,
                                  PARTIAL_UNBIND, ALIASING, NULL_MAPPINGS, READ_ONLY, USER_MEMORY,
                                  LOCAL_MEMORY, FAULT_REPORTS, ASYNC_UPDATES, BATCH_BUFFERS */
    uint64_t page_sizes;       /* mask of UNBIND_PAGE_SIZE_* that VMs may be made with, not 0 */
    uint64_t address_limit;    /* largest size of a VM in bytes, at least 4096; 0 or more than that = 2^48 */

    /* The device has been freed, and calls nothing here any more. May be NULL. */
    void (*destroy)(void *backend);

    /*
     * Zeroed memory for a buffer. out_cpu: where the CPU sees it until bo_destroy.
     * region: UNBIND_REGION_SYSTEM or _LOCAL. Errors: -ENOMEM, -EOPNOTSUPP.
     */
    int (*bo_create)(void *backend, uint64_t size, uint32_t region, void **out_bo, void **out_cpu);
    /* The caller's memory as a buffer, which the CPU sees where it is. NULL: USER_MEMORY is not offered. */
    int (*bo_wrap)(void *backend, void *memory, uint64_t size, void **out_bo);
    /* Nothing maps it and no submit uses it any more. */
    void (*bo_destroy)(void *backend, void *bo);

    /*
     * An empty address space. id: as of unbind_vm_id; size: bytes; page_sizes: a subset of what is offered;
     * flags: 0 (those of unbind_vm_options that there are for such a device are the library's own affair).
     * Errors: -ENOMEM, -EOPNOTSUPP, -EINVAL.
     */
    int (*vm_create)(void *backend, uint64_t id, uint64_t size, uint64_t page_sizes, uint32_t flags, void **out_vm);
    /* Its queues are gone; what is still mapped goes with it. */
    void (*vm_destroy)(void *backend, void *vm);

    /*
     * Maps and unmaps, or begins to. The array is valid during the call only. It has up to max_ranges
     * elements, and never more than 256.
     *
     * A batch consists of maps alone or of unmaps alone. All or nothing: after an error, also one
     * that comes with the completion, no range has changed. -ENOBUFS of several ranges: too many at once,
     * and the library comes back with halves. -EINTR, -EAGAIN, -ENOMEM: it comes back a little
     * later for unmaps, which must not fail, for some ten seconds. Any other error of an unmap
     * means that the device is lost. Of maps that fail each bind is tried by itself; one that fails
     * again has that error in its fence.
     */
    int (*update)(void *backend, void *vm, const struct unbind_backend_range *ranges, uint32_t count,
                  unbind_backend_token *token);
    /*
     * Called once for all that was unmapped by one or more updates, when they are complete, with a range
     * that has all of it: when this is complete no engine uses an old translation. NULL: update itself does
     * that. Errors as for an update that unmaps.
     */
    int (*invalidate)(void *backend, void *vm, uint64_t address, uint64_t size, unbind_backend_token *token);

    /* A queue that runs jobs in order. flags: UNBIND_QUEUE_*; -EOPNOTSUPP: there is no such engine. NULL: the
       device has no queues (-EOPNOTSUPP). */
    int (*queue_create)(void *backend, void *vm, uint32_t flags, void **out_queue);
    /* None of its submits is under way. */
    void (*queue_destroy)(void *backend, void *queue);
    /*
     * Runs commands in order; complete when the last one has ended. WAIT and DELAY commands do not come here:
     * the library splits jobs at them, and calls again when their fences have signalled or their time
     * has passed. The array, and what LOAD's result points at, are valid until then. Errors: -EOPNOTSUPP for a command it
     * does not have, and any other: the job's fence carries it.
     */
    int (*submit)(void *backend, void *queue, const struct unbind_command *commands, uint32_t count,
                  unbind_backend_token *token);

    /*
     * Copies all bytes of a buffer to another one, which is to take its place: both as bo_create gave them, of the
     * same size, one in each region. Called when the GPU work that used the source has ended; what still
     * maps the source may be unmapped meanwhile, and nothing maps the target before this is complete. Both stay until
     * then. One at a time for a device, in the order of the moves. A backend with address spaces and queues does it in
     * an address space of its own.
     *
     * After -EINTR, -EAGAIN or -ENOMEM the library comes back a little later, a few times. Any other error: the CPU
     * copies instead, or the buffer is lost if the caller did not want that. NULL: no buffer is moved (-EOPNOTSUPP).
     */
    int (*copy)(void *backend, void *source, void *target, uint64_t size, unbind_backend_token *token);
};
#define UNBIND_BACKEND_OPS_INIT \
    { sizeof(struct unbind_backend_ops), 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
      NULL }

/*
 * What was begun has ended: error 0, or what the function would have returned; for a
 * submit -EFAULT if a command faulted. Exactly once for each UNBIND_BACKEND_PENDING, from any
 * thread, also before the function that returns it has returned. With the manual executor
 * the work that it sets off is run by unbind_device_run. What has begun and not completed is nothing
 * that unbind_device_wait_idle waits for; unbind_device_close does.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_backend_complete(unbind_backend_token *token, int error);

/* A GPU page fault, as a backend learns of it. */
struct unbind_backend_fault {
    uint32_t struct_size;   /* sizeof(struct unbind_backend_fault) */
    uint32_t kind;          /* UNBIND_FAULT_* */
    uint32_t access;        /* UNBIND_ACCESS_* */
    uint32_t command_index; /* which command of the submit; 0 if that is not known, and without a token */
    uint64_t vm_id;         /* as vm_create got it; with a token: its queue's, or 0 */
    uint64_t address;       /* the first faulting byte; plain, not sign-extended */
    unbind_backend_token *token; /* of the submit that faulted, which has not been completed; NULL if unknown */
};
#define UNBIND_BACKEND_FAULT_INIT { sizeof(struct unbind_backend_fault), 0, 0, 0, 0, 0, NULL }

/*
 * Tells the library of a GPU page fault, for a backend with UNBIND_CAP_FAULT_REPORTS: the device's fault
 * callback is called, on this thread, with what is bound at the address, what was, and which unbinds
 * are pending there; with a token also with the queue and its job. It changes nothing for the job: complete its
 * submit with -EFAULT, after this. Without a callback the fault is only counted.
 *
 * device      that was opened on the backend
 *
 * Blocks: no; calls back. Errors: -EINVAL (also: the token is not of a submit, no VM has that id), -E2BIG,
 * -EOPNOTSUPP (no UNBIND_CAP_FAULT_REPORTS). Since: 0.1
 */
int unbind_backend_report_fault(unbind_device *device, const struct unbind_backend_fault *fault);

/*
 * Opens a device on a backend of the caller's. The struct is copied. After an error nothing
 * of the backend has been called, not even destroy.
 *
 * What such a device does not have: unbind_vm_find_page, UNBIND_VM_GLOBAL and UNBIND_VM_IPS, adding write access
 * to what was bound read-only; and what the capabilities leave out. Each is refused with -EOPNOTSUPP.
 *
 * A bind is never done within its call: unbind_vma_bind waits for the backend. If a map fails, it returns
 * the backend's error, and the VMA is unbound. After unbind_vma_bind_async the fence carries the
 * error, and the VMA is bound in name: it has its range, with nothing mapped there, later binds of it
 * find that error, and jobs that list it are skipped; unbind it and bind it anew.
 *
 * backend     passed to every function; may be NULL
 * options     as for unbind_device_open_software; page_sizes and cost_model do not
 *             concern the backend; local_memory_bytes is the limit for its buffers in local memory.
 *             On the simulated executor what a backend begins must be completed within
 *             work that the executor runs, else whoever waits for it gets -EDEADLK
 *
 * Blocks: no. Errors: -EINVAL (also: a required function is NULL: all but destroy, bo_wrap,
 * invalidate, copy and the queue functions, of which there are all or none; USER_MEMORY without bo_wrap),
 * -E2BIG, -ENOMEM, -EAGAIN, -EMFILE, -ENFILE. Since: 0.1
 */
int unbind_device_open_custom(const struct unbind_backend_ops *ops, void *backend,
                              const struct unbind_device_options *options, unbind_device **out_device);

/*
 * What the device can do: a mask of UNBIND_CAP_*. 0 for NULL. What is not there is refused with
 * -EOPNOTSUPP by the functions that need it.
 *
 * Blocks: no. Since: 0.1
 */
uint64_t unbind_device_capabilities(const unbind_device *device);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_BACKEND_H */
