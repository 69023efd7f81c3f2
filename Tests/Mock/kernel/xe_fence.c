/* SPDX-License-Identifier: MIT */
/*
 * The user fences of VM_BIND: when the bind is done a worker writes the word in
 * the process, and takes the fence for signalled a moment later. What was bound
 * with it is busy until then, although the program may have seen the word.
 */
#include "xe.h"

struct worker {
    struct job job; /* done: the user fence has signalled */
    struct xe_vm *vm;
    uint64_t address, value;
    bool told;
    uint64_t told_ns;
};

/* The process may have unmapped the place meanwhile. */
static void tell(struct worker *worker) {
    uint64_t probe;
    if (copy_from_user(&probe, worker->address, sizeof probe) == 0)
        __atomic_store_n((uint64_t *)(uintptr_t)worker->address, worker->value, __ATOMIC_RELEASE);
    worker->told = true;
    worker->told_ns = monotonic_ns();
    kernel_changed();
}

static enum job_result worker_run(struct job *job) {
    struct worker *worker = (struct worker *)job;
    if (!worker->told) {
        tell(worker);
        return JOB_AGAIN; // others may run before it has signalled
    }
    // When the VM is gone there is nothing that could be busy.
    bool early = monotonic_ns() < worker->told_ns + config.fence_lag_ns && !worker->vm->closed;
    return early ? JOB_BLOCKED : JOB_DONE;
}

static void worker_destroy(struct job *job) {
    struct worker *worker = (struct worker *)job;
    xe_vm_put(worker->vm);
    free(worker);
}

struct fence *xe_fence_write(struct xe_vm *vm, struct fence *after, uint64_t address, uint64_t value) {
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker) abort();
    *worker = (struct worker){.job = {.run = worker_run, .destroy = worker_destroy, .done = fence_new()},
                              .vm = xe_vm_get(vm), .address = address, .value = value};
    struct fence *signalled = fence_get(worker->job.done);
    if (lies(LIE_SIGNAL_EARLY)) tell(worker);
    job_await(&worker->job, after);
    job_submit(&worker->job, &vm->workers, 0);
    return signalled;
}
