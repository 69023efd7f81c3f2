/* SPDX-License-Identifier: MIT */
/*
 * VM_BIND. The ioctl checks everything, changes the VM's list of mappings and
 * queues a job; the job changes the page tables, then invalidates the TLB, then
 * signals. Jobs of one queue run in order; a job also waits for earlier ones, of
 * any queue, that touch its ranges, and for nothing else but its in-fences. Only
 * a huge page that must be split makes it wait for all work in the VM.
 *
 * A user fence is written by a worker after that (xe_fence.c).
 */
#include "xe.h"

#define HUGE_PAGE (2ull << 20)

/* One change of the page tables. */
struct change {
    struct range range; /* holds a reference to its object */
    bool map;
    bool invalidate;
};

struct xe_bind_job {
    struct job job;
    struct xe_vm *vm;
    struct xe_queue *queue;   /* NULL: the VM's own */
    struct xe_bind_job *next; /* in vm->pending */
    struct change *changes;
    unsigned count, capacity;
    bool written;
    bool split; /* a huge page */
    struct fence *user_fence; /* NULL: none */
};

/* ---- the job */

static void write_pages(struct xe_bind_job *bind) {
    for (unsigned i = 0; i < bind->count; i++) {
        struct change *change = &bind->changes[i];
        if (change->map) range_map_set(&bind->vm->space.pages, change->range);
        else if (!lies(LIE_KEEP_PTE))
            range_map_clear(&bind->vm->space.pages, change->range.start, change->range.end);
    }
}

static void invalidate(struct xe_bind_job *bind) {
    uint64_t start = UINT64_MAX, end = 0;
    for (unsigned i = 0; i < bind->count; i++) {
        const struct change *change = &bind->changes[i];
        if (!change->invalidate) continue;
        if (change->range.start < start) start = change->range.start;
        if (change->range.end > end) end = change->range.end;
    }
    if (end == 0 || lies(LIE_NO_TLB_FLUSH)) return;
    space_flush(&bind->vm->space, start, end);
    log_line("tlb-flush vm=%u start=0x%llx end=0x%llx", bind->vm->space.id, (unsigned long long)start,
             (unsigned long long)end);
}

static enum job_result bind_run(struct job *job) {
    struct xe_bind_job *bind = (struct xe_bind_job *)job;
    if (!bind->written) {
        if (!bind->vm->closed) write_pages(bind);
        bind->written = true;
        return JOB_AGAIN; // batches may run between the entries and the invalidation
    }
    invalidate(bind);
    return JOB_DONE;
}

static void bind_destroy(struct job *job) {
    struct xe_bind_job *bind = (struct xe_bind_job *)job;
    struct xe_bind_job **place = &bind->vm->pending;
    while (*place && *place != bind) place = &(*place)->next;
    if (*place) *place = bind->next;
    for (unsigned i = 0; i < bind->count; i++) gem_put(bind->changes[i].range.object);
    free(bind->changes);
    fence_put(bind->user_fence);
    if (bind->queue) xe_queue_put(bind->queue);
    xe_vm_put(bind->vm);
    free(bind);
}

/* ---- what the kernel checks */

/* Which PAT indices exist, and which of them snoop the CPU's caches: of DG2 there are four, of PVC eight, of Xe2 more. */
static bool pat_exists(const struct gpu_model *model, unsigned index) {
    if (model->graphics_version < 2000) return index < (model->graphics_version == 1260 ? 8 : 4);
    if (index >= 32 || (index >= 16 && index <= 19)) return false;
    return model->graphics_version != 2001 || index < 28;
}
static bool pat_coherent(const struct gpu_model *model, unsigned index) {
    const uint32_t coherent = 1u << 1 | 1u << 2 | 1u << 4 | 1u << 5 | 1u << 7 | 1u << 22 | 1u << 23 | 1u << 26 |
                              1u << 27 | 1u << 30 | 1u << 31;
    if (model->graphics_version == 1260) return index == 3 || index == 5 || index == 7;
    return model->graphics_version < 2000 ? index == 0 : coherent >> index & 1;
}

static int check_target(struct drm_file *file, struct xe_vm *vm, const struct unbind_drm_xe_vm_bind_op *op) {
    if (!op->obj) return 0;
    struct gem_object *object = gem_lookup(file, op->obj);
    if (!object) return -ENOENT;
    if (object->private_space && object->private_space != vm->space.id) return -EINVAL;
    uint64_t page = object->may_be_vram ? file->device->model->vram_page : PAGE;
    if (op->addr % page || op->range % page || op->obj_offset % page) return -EINVAL;
    if (op->range > object->size || op->obj_offset > object->size - op->range) return -EINVAL;
    // Also of UNMAP_ALL, which has no use for it.
    bool cached = object->device != file->device || object->cpu_caching == UNBIND_DRM_XE_GEM_CPU_CACHING_WB;
    return cached && !pat_coherent(file->device->model, op->pat_index) ? -EINVAL : 0;
}

static int check_operation(struct drm_file *file, struct xe_vm *vm, const struct unbind_drm_xe_vm_bind_op *op) {
    const uint32_t known = 0x7f; // up to MADVISE_AUTORESET
    uint64_t end = 1ull << file->device->model->va_bits;
    bool map = op->op == UNBIND_DRM_XE_VM_BIND_OP_MAP, all = op->op == UNBIND_DRM_XE_VM_BIND_OP_UNMAP_ALL;
    bool user = op->op == UNBIND_DRM_XE_VM_BIND_OP_MAP_USERPTR, prefetch = op->op == UNBIND_DRM_XE_VM_BIND_OP_PREFETCH;
    bool null = op->flags & UNBIND_DRM_XE_VM_BIND_FLAG_NULL;
    if (op->extensions || op->pad || op->pad2 || !RESERVED_ZERO(op->reserved)) return -EINVAL;
    if (op->op > UNBIND_DRM_XE_VM_BIND_OP_PREFETCH || (op->flags & ~known)) return -EINVAL;
    if (op->flags & UNBIND_DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR) return -EINVAL; // no shared virtual memory here
    if (op->flags & 0x10u /* CHECK_PXP */) return -ENOEXEC;
    if (!pat_exists(file->device->model, op->pat_index)) return -EINVAL;
    if (null && (!map || op->obj || op->obj_offset)) return -EINVAL;
    if ((map && !null && !op->obj) || (all && !op->obj)) return -EINVAL;
    if (op->obj && !map && !all) return -EINVAL;
    if (all ? op->addr || op->range : !op->range) return -EINVAL;
    if (user && !pat_coherent(file->device->model, op->pat_index)) return -EINVAL;
    if (op->prefetch_mem_region_instance > (file->device->model->vram && prefetch ? 1u : 0u)) return -EINVAL;
    if (op->obj_offset % PAGE || op->addr % PAGE || op->range % PAGE) return -EINVAL;
    if (op->addr > end || op->range > end - op->addr) return -EINVAL;
    if (user) {
        char byte;
        if (op->userptr + op->range < op->userptr) return -EINVAL;
        for (uint64_t at = 0; at < op->range; at += PAGE)
            if (copy_from_user(&byte, op->userptr + at, 1)) return -EFAULT;
    }
    return check_target(file, vm, op);
}

/* Mappings that were bound with a user fence stay as they are until it has signalled. */
static int check_busy(struct drm_file *file, struct xe_vm *vm, const struct unbind_drm_xe_vm_bind_op *op) {
    if (op->op == UNBIND_DRM_XE_VM_BIND_OP_PREFETCH) return 0;
    bool all = op->op == UNBIND_DRM_XE_VM_BIND_OP_UNMAP_ALL;
    struct gem_object *object = all ? gem_lookup(file, op->obj) : NULL;
    for (size_t i = all ? 0 : range_map_from(&vm->mappings, op->addr); i < vm->mappings.count; i++) {
        const struct range *range = &vm->mappings.ranges[i];
        if (!all && range->start >= op->addr + op->range) break;
        if (all && range->object != object) continue;
        if (range->user_fence && !range->user_fence->signalled) return -EBUSY;
    }
    return 0;
}

/* ---- PREFETCH: brings back what was evicted, takes the pages of the process; of what is not mapped it is nothing */

static int fetch_pages(const struct range *range, uint64_t start, uint64_t end) {
    uint64_t offset = range->offset - range->start + range->object->user_address;
    char byte;
    for (uint64_t at = start; at < end; at += PAGE)
        if (copy_from_user(&byte, offset + at, 1)) return -EFAULT;
    return 0;
}

static int fetch(struct xe_vm *vm, const struct unbind_drm_xe_vm_bind_op *op) {
    unsigned region = op->prefetch_mem_region_instance, mapped = 0, moved = 0;
    uint64_t end = op->addr + op->range;
    int error = 0;
    for (size_t i = range_map_from(&vm->mappings, op->addr); i < vm->mappings.count && !error; i++) {
        const struct range *range = &vm->mappings.ranges[i];
        struct gem_object *object = range->object;
        if (range->start >= end) break;
        mapped++;
        if (!object) continue;
        uint64_t from = range->start < op->addr ? op->addr : range->start, to = range->end < end ? range->end : end;
        if (object->user_address) error = fetch_pages(range, from, to);
        else if (region ? !object->may_be_vram : object->vram_only) error = -EINVAL;
        else if (region && object->evicted) error = gem_restore(object), moved += !error;
    }
    log_line("prefetch vm=%u start=0x%llx end=0x%llx region=%u mapped=%u moved=%u result=%d", vm->space.id,
             (unsigned long long)op->addr, (unsigned long long)end, region, mapped, moved, error);
    return error;
}

/* ---- carrying it out */

static void add_change(struct xe_bind_job *bind, struct change change) {
    if (bind->count == bind->capacity) {
        bind->capacity = bind->capacity ? bind->capacity * 2 : 4;
        bind->changes = realloc(bind->changes, bind->capacity * sizeof *bind->changes);
        if (!bind->changes) abort();
    }
    if (change.range.object) gem_get(change.range.object);
    bind->changes[bind->count++] = change;
}

/* A mapping is cut here: through a huge page? */
static bool cuts_huge_page(const struct range_map *map, uint64_t address) {
    const struct range *range = range_map_at(map, address);
    if (!range || range->start == address || !range->object) return false;
    uint64_t block = address & ~(HUGE_PAGE - 1);
    return block != address && block >= range->start && block + HUGE_PAGE <= range->end &&
           (range->offset + (block - range->start)) % HUGE_PAGE == 0;
}

/* What is left of a mapping that was cut here is busy until this call's user fence has signalled. */
static void take_over(struct xe_bind_job *bind, uint64_t address) {
    const struct range *range = range_map_at(&bind->vm->mappings, address);
    if (!bind->user_fence || !range) return;
    struct range left = *range;
    left.user_fence = bind->user_fence;
    range_map_set(&bind->vm->mappings, left);
}

static void clear(struct xe_bind_job *bind, uint64_t start, uint64_t end) {
    struct range_map *mappings = &bind->vm->mappings;
    const struct range *at_start = range_map_at(mappings, start), *at_end = range_map_at(mappings, end);
    bool cuts_start = at_start && at_start->start < start, cuts_end = at_end && at_end->start < end;
    if (cuts_huge_page(mappings, start) || cuts_huge_page(mappings, end)) bind->split = true;
    if (range_map_clear(mappings, start, end))
        add_change(bind, (struct change){.range = {.start = start, .end = end}, .invalidate = true});
    if (cuts_start) take_over(bind, start - 1);
    if (cuts_end) take_over(bind, end);
}

static void clear_all(struct xe_bind_job *bind, const struct gem_object *object) {
    struct range_map *mappings = &bind->vm->mappings;
    for (size_t i = 0; i < mappings->count;) {
        if (mappings->ranges[i].object == object) clear(bind, mappings->ranges[i].start, mappings->ranges[i].end);
        else i++;
    }
}

static void map(struct xe_bind_job *bind, const struct unbind_drm_xe_vm_bind_op *op, struct gem_object *object) {
    struct xe_vm *vm = bind->vm;
    struct range range = {.start = op->addr, .end = op->addr + op->range, .object = object,
                          .offset = op->op == UNBIND_DRM_XE_VM_BIND_OP_MAP ? op->obj_offset : 0};
    if (op->flags & UNBIND_DRM_XE_VM_BIND_FLAG_READONLY) range.flags |= RANGE_READ_ONLY;
    if (!object) range.flags |= RANGE_NULL;
    unsigned before = bind->count;
    clear(bind, range.start, range.end);
    bool over = bind->count != before;
    // The entries of what was there are overwritten, not cleared first.
    if (over) bind->count--;
    add_change(bind, (struct change){.range = range, .map = true,
                                     .invalidate = over || (vm->long_running && vm->space.scratch)});
    range.user_fence = bind->user_fence;
    range_map_set(&vm->mappings, range);
}

static void carry_out(struct drm_file *file, struct xe_bind_job *bind, const struct unbind_drm_xe_vm_bind_op *op) {
    struct gem_object *object = NULL;
    switch (op->op) {
    case UNBIND_DRM_XE_VM_BIND_OP_MAP:
        if (op->obj) object = gem_lookup(file, op->obj);
        map(bind, op, object);
        break;
    case UNBIND_DRM_XE_VM_BIND_OP_MAP_USERPTR:
        object = gem_create_user(file->device, op->userptr, op->range, false);
        if (!object) abort();
        map(bind, op, object);
        gem_put(object);
        break;
    case UNBIND_DRM_XE_VM_BIND_OP_UNMAP: clear(bind, op->addr, op->addr + op->range); break;
    case UNBIND_DRM_XE_VM_BIND_OP_UNMAP_ALL: clear_all(bind, gem_lookup(file, op->obj)); break;
    default: break;
    }
}

static bool overlap(const struct xe_bind_job *one, const struct xe_bind_job *other) {
    for (unsigned i = 0; i < one->count; i++)
        for (unsigned k = 0; k < other->count; k++)
            if (one->changes[i].range.start < other->changes[k].range.end &&
                other->changes[k].range.start < one->changes[i].range.end)
                return true;
    return false;
}

/* Waits for earlier jobs on its ranges; joins the list of those that later ones look at. */
static void order(struct xe_bind_job *bind) {
    struct xe_bind_job **place = &bind->vm->pending;
    for (; *place; place = &(*place)->next)
        if (bind->split || overlap(bind, *place)) job_await(&bind->job, (*place)->job.done);
    *place = bind;
    if (!bind->split) return;
    log_line("split vm=%u", bind->vm->space.id);
    for (unsigned i = 0; i < bind->vm->work_count; i++) job_await(&bind->job, bind->vm->work[i]);
}

/* The operations of a call: the one in it, or its array. NULL with *error 0: none. */
static struct unbind_drm_xe_vm_bind_op *operations(const struct unbind_drm_xe_vm_bind *args, int *error) {
    *error = 0;
    if (args->num_binds != 1) return copy_array(args->vector_of_binds, args->num_binds, sizeof args->bind, error);
    struct unbind_drm_xe_vm_bind_op *ops = malloc(sizeof *ops);
    if (ops) *ops = args->bind;
    else *error = -ENOMEM;
    return ops;
}

static void submit(struct drm_file *file, struct xe_vm *vm, struct xe_queue *queue, struct xe_syncs *syncs,
                   const struct unbind_drm_xe_vm_bind_op *ops, unsigned count) {
    struct xe_bind_job *bind = calloc(1, sizeof *bind);
    if (!bind) abort();
    bind->job = (struct job){.run = bind_run, .destroy = bind_destroy, .done = fence_new()};
    bind->vm = xe_vm_get(vm);
    if (queue) bind->queue = xe_queue_get(queue);
    if (syncs->user) bind->user_fence = xe_fence_write(vm, bind->job.done, syncs->user->address, syncs->user->value);
    for (unsigned i = 0; i < count; i++) carry_out(file, bind, &ops[i]);
    order(bind);
    xe_syncs_attach(syncs, &bind->job);
    job_submit(&bind->job, queue ? &queue->jobs : &vm->binds, config.bind_delay_ns);
}

int xe_vm_bind_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_vm_bind *args = data;
    int error;
    if (args->extensions || args->pad || args->pad2 || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    if (args->num_binds > 1 && !args->vector_of_binds) return -EINVAL;
    struct unbind_drm_xe_vm_bind_op *ops = operations(args, &error);
    if (error) return error;
    struct xe_vm *vm = xe_vm_lookup(file, args->vm_id, &error);
    struct xe_queue *queue = NULL;
    if (!error && args->exec_queue_id) {
        queue = handles_get(&file->queues, args->exec_queue_id);
        if (!queue) error = -ENOENT;
        else if (queue->class != UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND || queue->vm != vm) error = -EINVAL;
    }
    for (uint32_t i = 0; i < args->num_binds && !error; i++) error = check_operation(file, vm, &ops[i]);
    for (uint32_t i = 0; i < args->num_binds && !error; i++) error = check_busy(file, vm, &ops[i]);
    struct xe_syncs syncs = {0};
    if (!error) error = xe_syncs_read(file, &syncs, args->syncs, args->num_syncs, vm->long_running, true);
    if (!error && args->num_binds == 0 && syncs.user) error = -EOPNOTSUPP;
    if (!error && config.bind_limit && args->num_binds > config.bind_limit) error = -ENOBUFS;
    for (uint32_t i = 0; i < args->num_binds && !error; i++)
        if (ops[i].op == UNBIND_DRM_XE_VM_BIND_OP_PREFETCH) error = fetch(vm, &ops[i]);
    if (!error) submit(file, vm, queue, &syncs, ops, args->num_binds);
    log_detail("vm=%u queue=%u binds=%u syncs=%u op=%u flags=%u pat=%u", args->vm_id, args->exec_queue_id,
               args->num_binds, args->num_syncs, ops ? ops[0].op : 0, ops ? ops[0].flags : 0,
               ops ? ops[0].pat_index : 0);
    xe_syncs_free(&syncs);
    free(ops);
    return error;
}
