/* SPDX-License-Identifier: MIT */
/* VMs of i915 and the places of objects in them. */
#include "i915.h"

#include "gem.h"

static struct i915_vm *all;
static void reap(void);

struct i915_vm *i915_vm_new(struct drm_file *file) {
    struct i915_vm *vm = calloc(1, sizeof *vm);
    if (!vm) abort();
    vm->references = 1;
    vm->file = file;
    // Entries that are not in use lead to a scratch page: no access faults.
    space_init(&vm->space, file->device->model->va_bits, true);
    job_queue_init(&vm->binds);
    vm->next = all;
    all = vm;
    scheduler_when_idle(reap);
    return vm;
}

struct i915_vm *i915_vm_get(struct i915_vm *vm) {
    vm->references++;
    return vm;
}

void i915_vm_put(struct i915_vm *vm) {
    if (--vm->references) return;
    struct i915_vm **place = &all;
    while (*place != vm) place = &(*place)->next;
    *place = vm->next;
    // Nothing can run in it any more: the tables go as a whole, no entry is rewritten.
    while (vm->count) i915_vma_unbind(vm->nodes[vm->count - 1]);
    space_free(&vm->space);
    job_queue_remove(&vm->binds);
    free(vm->nodes);
    free(vm);
}

void i915_vms_forget_file(struct drm_file *file) {
    for (struct i915_vm *vm = all; vm; vm = vm->next)
        if (vm->file == file) vm->file = NULL;
}

int i915_vm_create_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_vm_control *args = data;
    if (args->flags || args->extensions) return -EINVAL;
    struct i915_vm *vm = i915_vm_new(file);
    args->vm_id = handles_add(&file->vms, vm);
    log_detail("vm=%u space=%u", args->vm_id, vm->space.id);
    if (args->vm_id) return 0;
    i915_vm_put(vm);
    return -ENOMEM;
}

int i915_vm_destroy_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_vm_control *args = data;
    if (args->flags || args->extensions) return -EINVAL;
    struct i915_vm *vm = handles_remove(&file->vms, args->vm_id);
    if (!vm) return -ENOENT;
    i915_vm_put(vm);
    return 0;
}

/* ---- VMAs */

size_t i915_vm_first(const struct i915_vm *vm, uint64_t start) {
    size_t low = 0, high = vm->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (vm->nodes[middle]->end > start) high = middle;
        else low = middle + 1;
    }
    return low;
}

struct i915_vma *i915_vma_find(const struct i915_vm *vm, const struct gem_object *object) {
    struct i915_vma *vma = object->vmas;
    while (vma && vma->vm != vm) vma = vma->next;
    return vma;
}

struct bind_job {
    struct job job;
    struct i915_vm *vm;
    struct range range;
};

/* A VMA that goes before its entries are written is waited for, so the object is there. */
static enum job_result bind_run(struct job *job) {
    struct bind_job *bind = (struct bind_job *)job;
    range_map_set(&bind->vm->space.pages, bind->range);
    return JOB_DONE;
}

static void bind_destroy(struct job *job) {
    struct bind_job *bind = (struct bind_job *)job;
    gem_put(bind->range.object);
    i915_vm_put(bind->vm);
    free(bind);
}

struct i915_vma *i915_vma_bind(struct i915_vm *vm, struct gem_object *object, uint64_t start, uint64_t size) {
    struct i915_vma *vma = calloc(1, sizeof *vma);
    struct bind_job *bind = calloc(1, sizeof *bind);
    if (!vma || !bind) abort();
    bind->job = (struct job){.run = bind_run, .destroy = bind_destroy, .done = fence_new()};
    bind->vm = i915_vm_get(vm);
    bind->range = (struct range){.start = start, .end = start + object->size, .object = gem_get(object)};
    *vma = (struct i915_vma){.next = object->vmas, .vm = vm, .object = gem_get(object), .start = start,
                             .end = start + size, .bound = fence_get(bind->job.done)};
    object->vmas = vma;
    if (vm->count == vm->capacity) {
        vm->capacity = vm->capacity ? vm->capacity * 2 : 16;
        vm->nodes = realloc(vm->nodes, vm->capacity * sizeof *vm->nodes);
        if (!vm->nodes) abort();
    }
    size_t i = i915_vm_first(vm, start);
    memmove(&vm->nodes[i + 1], &vm->nodes[i], (vm->count - i) * sizeof *vm->nodes);
    vm->nodes[i] = vma;
    vm->count++;
    log_line("bind vm=%u start=0x%llx end=0x%llx", vm->space.id, (unsigned long long)start,
             (unsigned long long)vma->end);
    job_submit(&bind->job, &vm->binds, config.bind_delay_ns);
    return vma;
}

void i915_vma_unbind(struct i915_vma *vma) {
    struct i915_vm *vm = vma->vm;
    size_t i = i915_vm_first(vm, vma->start);
    memmove(&vm->nodes[i], &vm->nodes[i + 1], (vm->count - i - 1) * sizeof *vm->nodes);
    vm->count--;
    struct i915_vma **place = &vma->object->vmas;
    while (*place != vma) place = &(*place)->next;
    *place = vma->next;
    if (!lies(LIE_KEEP_PTE)) range_map_clear(&vm->space.pages, vma->start, vma->end);
    // Pages may go back to the system now: the TLB first. Batches flush in their preamble anyway.
    if (!lies(LIE_NO_TLB_FLUSH)) space_flush(&vm->space, vma->start, vma->end);
    log_line("unbind vm=%u start=0x%llx end=0x%llx", vm->space.id, (unsigned long long)vma->start,
             (unsigned long long)vma->end);
    for (unsigned k = 0; k < vma->use_count; k++) fence_put(vma->uses[k]);
    free(vma->uses);
    fence_put(vma->bound);
    gem_put(vma->object);
    free(vma);
}

struct fence *i915_vma_busy(struct i915_vma *vma) {
    if (!vma->bound->signalled) return vma->bound;
    for (unsigned i = 0; i < vma->use_count; i++)
        if (!vma->uses[i]->signalled) return vma->uses[i];
    return NULL;
}

void i915_vma_use(struct i915_vma *vma, struct fence *fence) {
    unsigned kept = 0;
    for (unsigned i = 0; i < vma->use_count; i++) {
        if (vma->uses[i]->signalled) fence_put(vma->uses[i]);
        else vma->uses[kept++] = vma->uses[i];
    }
    vma->use_count = kept;
    if (kept == vma->use_capacity) {
        vma->use_capacity = kept ? kept * 2 : 4;
        vma->uses = realloc(vma->uses, vma->use_capacity * sizeof *vma->uses);
        if (!vma->uses) abort();
    }
    vma->uses[vma->use_count++] = fence_get(fence);
    vma->closed = false; // listed again: it lives on
}

/* ---- closing */

void i915_handle_closed(struct drm_file *file, struct gem_object *object) {
    for (struct i915_vma *vma = object->vmas; vma; vma = vma->next)
        if (vma->vm->file == file) vma->closed = true;
    scheduler_nudge();
}

/* Nothing runs any more: what was closed is unbound now; when memory is short, everything is. */
static void reap(void) {
    for (struct i915_vm *vm = all; vm; vm = vm->next)
        for (size_t i = vm->count; i-- > 0;) {
            struct i915_vma *vma = vm->nodes[i];
            if ((vma->closed || config.pressure) && !i915_vma_busy(vma)) i915_vma_unbind(vma);
        }
}
