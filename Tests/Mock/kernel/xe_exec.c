/* SPDX-License-Identifier: MIT */
/*
 * EXEC of xe: batches on a queue, with nothing but the VM's page tables and the
 * explicit fences. A batch that faults or hangs bans its queue.
 */
#include "batch.h"
#include "xe.h"

struct exec_job {
    struct job job;
    struct xe_queue *queue;
    struct batch batch;
    uint64_t addresses[9];
    unsigned count, current; /* batches, and the one that runs */
    bool started;
    bool user;
    uint64_t user_address, user_value;
};

static void start_batch(struct exec_job *exec) {
    struct xe_vm *vm = exec->queue->vm;
    // Jobs of a long-running VM may take for ever.
    uint64_t deadline = vm->long_running ? UINT64_MAX : monotonic_ns() + config.hang_ns;
    exec->batch = (struct batch){.space = &vm->space, .next = exec->addresses[exec->current],
                                 .class = exec->queue->class, .version = vm->device->model->graphics_version,
                                 .deadline_ns = deadline};
    exec->started = true;
}

static enum job_result failed(struct exec_job *exec) {
    exec->job.error = -ECANCELED;
    return JOB_DONE;
}

static enum job_result exec_run(struct job *job) {
    struct exec_job *exec = (struct exec_job *)job;
    struct xe_vm *vm = exec->queue->vm;
    if (exec->queue->banned || exec->queue->gone) return failed(exec);
    // The preamble of every job invalidates where scratch translations may be cached.
    if (!exec->started && vm->space.scratch && !vm->long_running && !lies(LIE_NO_TLB_FLUSH))
        space_flush_all(&vm->space);
    while (exec->current < exec->count) {
        if (!exec->started) start_batch(exec);
        switch (batch_run(&exec->batch)) {
        case BATCH_BLOCKED: return JOB_BLOCKED;
        case BATCH_DONE: exec->current++; exec->started = false; break;
        default:
            exec->queue->banned = true;
            log_line("ban vm=%u", vm->space.id);
            return failed(exec);
        }
    }
    if (exec->user && !space_write_fence(&vm->space, exec->user_address, exec->user_value)) {
        exec->queue->banned = true;
        return failed(exec);
    }
    if (exec->user) kernel_changed();
    return JOB_DONE;
}

static void exec_destroy(struct job *job) {
    struct exec_job *exec = (struct exec_job *)job;
    xe_queue_put(exec->queue);
    free(exec);
}

/* What was evicted and is mapped here has its memory again before the job. */
static int restore_all(struct xe_vm *vm) {
    for (size_t i = 0; i < vm->mappings.count; i++) {
        struct gem_object *object = vm->mappings.ranges[i].object;
        if (!object || !object->evicted) continue;
        int error = gem_restore(object);
        if (error) return error;
        log_line("restored vm=%u start=0x%llx", vm->space.id, (unsigned long long)vm->mappings.ranges[i].start);
    }
    return 0;
}

int xe_exec_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_exec *args = data;
    if (args->extensions || !RESERVED_ZERO(args->pad) || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    struct xe_queue *queue = handles_get(&file->queues, args->exec_queue_id);
    if (!queue) return -ENOENT;
    if (queue->class == UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND) return -EINVAL;
    if (args->num_batch_buffer && args->num_batch_buffer != queue->width) return -EINVAL;
    if (queue->banned) return -ECANCELED;
    struct xe_syncs syncs;
    int error = xe_syncs_read(file, &syncs, args->syncs, args->num_syncs, queue->vm->long_running, false);
    if (error) return error;
    uint64_t addresses[9] = {args->address};
    if (args->num_batch_buffer > 1) error = copy_from_user(addresses, args->address, queue->width * 8u);
    if (!error && queue->vm->closed) error = -ECANCELED;
    if (!error && config.queue_limit && queue->jobs.length >= config.queue_limit) {
        scheduler_step(UINT64_MAX); // a caller that tries again at once gets on, also without a thread
        error = -EAGAIN;
    }
    if (!error) error = restore_all(queue->vm);
    struct exec_job *exec = error ? NULL : calloc(1, sizeof *exec);
    if (!error && !exec) error = -ENOMEM;
    if (!error) {
        exec->job = (struct job){.run = exec_run, .destroy = exec_destroy, .done = fence_new()};
        exec->queue = xe_queue_get(queue);
        exec->count = args->num_batch_buffer;
        memcpy(exec->addresses, addresses, sizeof addresses);
        if (syncs.user) {
            exec->user = true;
            exec->user_address = syncs.user->address;
            exec->user_value = syncs.user->value;
        }
        xe_vm_note_work(queue->vm, exec->job.done);
        xe_syncs_attach(&syncs, &exec->job);
        if (exec->user && lies(LIE_SIGNAL_EARLY))
            space_write_fence(&queue->vm->space, exec->user_address, exec->user_value);
        job_submit(&exec->job, &queue->jobs, args->num_batch_buffer ? config.exec_delay_ns : 0);
    }
    log_detail("queue=%u batches=%u syncs=%u", args->exec_queue_id, args->num_batch_buffer, args->num_syncs);
    xe_syncs_free(&syncs);
    return error;
}
