/* SPDX-License-Identifier: MIT */
/* VMs and exec queues of xe: making them, their properties, their end. */
#include "xe.h"

struct xe_vm *xe_vm_get(struct xe_vm *vm) {
    vm->references++;
    return vm;
}

static void drop_work(struct xe_vm *vm) {
    for (unsigned i = 0; i < vm->work_count; i++) fence_put(vm->work[i]);
    free(vm->work);
}

void xe_vm_put(struct xe_vm *vm) {
    if (--vm->references) return;
    range_map_free(&vm->mappings);
    space_free(&vm->space);
    job_queue_remove(&vm->binds);
    job_queue_remove(&vm->workers);
    drop_work(vm);
    free(vm);
}

struct xe_vm *xe_vm_lookup(struct drm_file *file, uint32_t id, int *error) {
    struct xe_vm *vm = handles_get(&file->vms, id);
    *error = vm ? 0 : -ENOENT;
    return vm;
}

void xe_vm_note_work(struct xe_vm *vm, struct fence *fence) {
    unsigned kept = 0;
    for (unsigned i = 0; i < vm->work_count; i++) {
        if (vm->work[i]->signalled) fence_put(vm->work[i]);
        else vm->work[kept++] = vm->work[i];
    }
    vm->work_count = kept;
    if (kept == vm->work_capacity) {
        vm->work_capacity = kept ? kept * 2 : 16;
        vm->work = realloc(vm->work, vm->work_capacity * sizeof *vm->work);
        if (!vm->work) abort();
    }
    vm->work[vm->work_count++] = fence_get(fence);
}

int xe_vm_create_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_vm_create *args = data;
    const uint32_t known = UNBIND_DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE | UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE |
                           UNBIND_DRM_XE_VM_CREATE_FLAG_FAULT_MODE |
                           (config.next_kernel ? UNBIND_DRM_XE_VM_CREATE_FLAG_NO_VM_OVERCOMMIT : 0);
    if (args->extensions || !RESERVED_ZERO(args->reserved) || (args->flags & ~known)) return -EINVAL;
    bool long_running = args->flags & UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE;
    bool fault_mode = args->flags & UNBIND_DRM_XE_VM_CREATE_FLAG_FAULT_MODE;
    unsigned version = file->device->model->graphics_version;
    if (fault_mode && (!long_running || (version < 2000 && version != 1260))) return -EINVAL;
    // What drives DG2 works around its hardware with a scratch page in every VM.
    bool scratch = (args->flags & UNBIND_DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE) || version == 1255;
    struct xe_vm *vm = calloc(1, sizeof *vm);
    if (!vm) return -ENOMEM;
    vm->references = 1;
    vm->device = file->device;
    vm->long_running = long_running;
    vm->fault_mode = fault_mode;
    space_init(&vm->space, file->device->model->va_bits, scratch);
    job_queue_init(&vm->binds);
    job_queue_init(&vm->workers);
    args->vm_id = handles_add(&file->vms, vm);
    log_detail("vm=%u space=%u flags=%u", args->vm_id, vm->space.id, args->flags);
    if (args->vm_id) return 0;
    xe_vm_put(vm);
    return -ENOMEM;
}

void xe_vm_close(struct xe_vm *vm) {
    vm->closed = true;
    range_map_free(&vm->mappings);
    range_map_free(&vm->space.pages);
    space_flush_all(&vm->space);
    // What nobody waits for has not to be left when the process ends.
    job_queue_end(&vm->binds);
    job_queue_end(&vm->workers);
    xe_vm_put(vm);
}

int xe_vm_destroy_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_vm_destroy *args = data;
    int error;
    if (args->pad || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    struct xe_vm *vm = xe_vm_lookup(file, args->vm_id, &error);
    if (!vm) return error;
    if (vm->long_running && !vm->fault_mode && vm->user_queues) return -EBUSY;
    handles_remove(&file->vms, args->vm_id);
    xe_vm_close(vm);
    return 0;
}

int xe_vm_get_property_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_vm_get_property *args = data;
    int error;
    if (!config.next_kernel) return -EINVAL;
    if (args->extensions || args->pad || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    struct xe_vm *vm = xe_vm_lookup(file, args->vm_id, &error);
    if (!vm) return error;
    if (args->property != UNBIND_DRM_XE_VM_GET_PROPERTY_FAULTS) return -EINVAL;
    struct unbind_xe_vm_fault faults[50];
    memset(faults, 0, sizeof faults);
    for (unsigned i = 0; i < vm->space.fault_count; i++) {
        faults[i].address = vm->space.faults[i].address;
        faults[i].address_precision = PAGE;
        faults[i].access_type =
            vm->space.faults[i].write ? UNBIND_FAULT_ACCESS_TYPE_WRITE : UNBIND_FAULT_ACCESS_TYPE_READ;
    }
    uint32_t size = vm->space.fault_count * (uint32_t)sizeof faults[0];
    if (args->size == 0) {
        args->size = size;
        return 0;
    }
    return args->size > size ? -EINVAL : copy_to_user(args->data, faults, args->size);
}

/* ---- queues */

struct xe_queue *xe_queue_get(struct xe_queue *queue) {
    queue->references++;
    return queue;
}

void xe_queue_put(struct xe_queue *queue) {
    if (--queue->references) return;
    job_queue_remove(&queue->jobs);
    xe_vm_put(queue->vm);
    free(queue);
}

void xe_queue_close(struct xe_queue *queue) {
    queue->gone = true;
    if (queue->jobs.length) log_line("queue-destroyed vm=%u jobs=%u", queue->vm->space.id, queue->jobs.length);
    if (queue->class != UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND) queue->vm->user_queues--;
    xe_queue_put(queue);
    kernel_changed();
}

static int set_property(uint64_t property, uint64_t value) {
    switch (property) {
    case UNBIND_DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY: return value > 2 ? -EINVAL : value > 1 ? -EPERM : 0;
    case UNBIND_DRM_XE_EXEC_QUEUE_SET_PROPERTY_TIMESLICE: return value < 1 || value > 10000000 ? -EINVAL : 0;
    default: return -EINVAL;
    }
}

static int extensions(uint64_t next) {
    for (unsigned i = 0; next; i++) {
        struct unbind_drm_xe_ext_set_property set;
        if (i == 16) return -E2BIG;
        int error = copy_from_user(&set, next, sizeof set);
        if (error) return error;
        if (set.base.pad || set.pad || !RESERVED_ZERO(set.reserved)) return -EINVAL;
        if (set.base.name != UNBIND_DRM_XE_EXEC_QUEUE_EXTENSION_SET_PROPERTY) return -EINVAL;
        error = set_property(set.property, set.value);
        if (error) return error;
        next = set.base.next_extension;
    }
    return 0;
}

static bool engine_exists(const struct gpu_model *model, const struct unbind_drm_xe_engine_class_instance *engine) {
    for (unsigned i = 0; i < model->engine_count; i++)
        if (model->engines[i].class == engine->engine_class && model->engines[i].instance == engine->engine_instance &&
            model->engines[i].gt == engine->gt_id)
            return true;
    return false;
}

/* All of one class and GT, and there; a bind queue is alone and is instance 0. */
static int check_engines(const struct gpu_model *model, const struct unbind_drm_xe_engine_class_instance *engines,
                         unsigned count) {
    bool bind = engines[0].engine_class == UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND;
    if (bind) return count == 1 && !engines[0].engine_instance && !engines[0].pad ? 0 : -EINVAL;
    for (unsigned i = 0; i < count; i++) {
        if (engines[i].pad || !engine_exists(model, &engines[i])) return -EINVAL;
        if (engines[i].engine_class != engines[0].engine_class || engines[i].gt_id != engines[0].gt_id) return -EINVAL;
    }
    return 0;
}

int xe_queue_create_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_exec_queue_create *args = data;
    struct unbind_drm_xe_engine_class_instance engines[9];
    unsigned count = (unsigned)args->width * args->num_placements;
    if (!RESERVED_ZERO(args->reserved) || (args->flags & ~1u /* low latency */) || count < 1 || count > 9)
        return -EINVAL;
    int error = copy_from_user(engines, args->instances, count * sizeof engines[0]);
    if (!error) error = check_engines(file->device->model, engines, count);
    if (!error) error = extensions(args->extensions);
    if (error) return error;
    struct xe_vm *vm = xe_vm_lookup(file, args->vm_id, &error);
    if (!vm) return error;
    struct xe_queue *queue = calloc(1, sizeof *queue);
    if (!queue) return -ENOMEM;
    queue->references = 1;
    queue->vm = xe_vm_get(vm);
    queue->class = engines[0].engine_class;
    queue->width = args->width;
    job_queue_init(&queue->jobs);
    args->exec_queue_id = handles_add(&file->queues, queue);
    if (!args->exec_queue_id) {
        xe_queue_put(queue);
        return -ENOMEM;
    }
    if (queue->class != UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND) vm->user_queues++;
    log_detail("queue=%u vm=%u class=%u placements=%u", args->exec_queue_id, args->vm_id, queue->class,
               args->num_placements);
    return 0;
}

int xe_queue_destroy_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_exec_queue_destroy *args = data;
    if (args->pad || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    struct xe_queue *queue = handles_remove(&file->queues, args->exec_queue_id);
    if (!queue) return -ENOENT;
    xe_queue_close(queue);
    return 0;
}

int xe_queue_get_property_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_exec_queue_get_property *args = data;
    if (args->extensions || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    struct xe_queue *queue = handles_get(&file->queues, args->exec_queue_id);
    if (!queue) return -ENOENT;
    if (args->property != UNBIND_DRM_XE_EXEC_QUEUE_GET_PROPERTY_BAN) return -EINVAL;
    args->value = queue->banned;
    return 0;
}

/* What it sets in Linux 7.0 is for groups of queues, which are not modelled. */
int xe_queue_set_property_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_exec_queue_set_property *args = data;
    if (args->extensions || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    return handles_get(&file->queues, args->exec_queue_id) ? -EINVAL : -ENOENT;
}
