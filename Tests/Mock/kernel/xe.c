/* SPDX-License-Identifier: MIT */
/* The xe driver of the mock: its table of ioctls, GEM objects, waiting on user fences, end of an open file. */
#include "xe.h"

/* MADVISE, VM_QUERY_MEM_RANGE_ATTRS and OBSERVATION are not modelled: -EINVAL, as on a kernel without them. */
const struct ioctl_entry xe_ioctls[] = {
    {"XE_DEVICE_QUERY", UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, xe_query_ioctl},
    {"XE_GEM_CREATE", UNBIND_DRM_IOCTL_XE_GEM_CREATE, xe_gem_create_ioctl},
    {"XE_GEM_MMAP_OFFSET", UNBIND_DRM_IOCTL_XE_GEM_MMAP_OFFSET, xe_gem_mmap_offset_ioctl},
    {"XE_VM_CREATE", UNBIND_DRM_IOCTL_XE_VM_CREATE, xe_vm_create_ioctl},
    {"XE_VM_DESTROY", UNBIND_DRM_IOCTL_XE_VM_DESTROY, xe_vm_destroy_ioctl},
    {"XE_VM_BIND", UNBIND_DRM_IOCTL_XE_VM_BIND, xe_vm_bind_ioctl},
    {"XE_EXEC_QUEUE_CREATE", UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_CREATE, xe_queue_create_ioctl},
    {"XE_EXEC_QUEUE_DESTROY", UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, xe_queue_destroy_ioctl},
    {"XE_EXEC_QUEUE_GET_PROPERTY", UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, xe_queue_get_property_ioctl},
    {"XE_EXEC_QUEUE_SET_PROPERTY", UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY, xe_queue_set_property_ioctl},
    {"XE_EXEC", UNBIND_DRM_IOCTL_XE_EXEC, xe_exec_ioctl},
    {"XE_WAIT_USER_FENCE", UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, xe_wait_user_fence_ioctl},
    {"XE_VM_GET_PROPERTY", UNBIND_DRM_IOCTL_XE_VM_GET_PROPERTY, xe_vm_get_property_ioctl},
    {0},
};

#define SYSTEM_BIT 1u
#define VRAM_BIT 2u

static int create_extensions(uint64_t next) {
    // The one extension there is sets a property for protected content, which is not modelled.
    return next ? -EINVAL : 0;
}

int xe_gem_create_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_gem_create *args = data;
    const struct gpu_model *model = file->device->model;
    const uint32_t flags = UNBIND_DRM_XE_GEM_CREATE_FLAG_DEFER_BACKING | 2u /* scanout */ |
                           UNBIND_DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM | 8u /* no compression */;
    uint32_t regions = SYSTEM_BIT | (model->vram ? VRAM_BIT : 0);
    bool vram = args->placement & VRAM_BIT;
    if (create_extensions(args->extensions)) return -EINVAL;
    if (!RESERVED_ZERO(args->pad) || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    if (!args->placement || (args->placement & ~regions) || (args->flags & ~flags) || args->handle) return -EINVAL;
    if (!args->size || args->size % PAGE || (vram && args->size % model->vram_page)) return -EINVAL;
    if (args->cpu_caching < 1 || args->cpu_caching > 2) return -EINVAL;
    bool combined = args->cpu_caching == UNBIND_DRM_XE_GEM_CPU_CACHING_WC;
    if ((vram || (args->flags & 2u)) && !combined) return -EINVAL;
    if ((args->flags & UNBIND_DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM) && !vram) return -EINVAL;
    int error = 0;
    struct xe_vm *vm = args->vm_id ? xe_vm_lookup(file, args->vm_id, &error) : NULL;
    if (error) return error;
    bool only = args->placement == VRAM_BIT;
    struct gem_object *object = gem_create(file->device, args->size, only ? args->size : 0, &error);
    if (!object) return error;
    object->cpu_caching = args->cpu_caching;
    object->may_be_vram = vram;
    object->vram_only = only;
    object->private_space = vm ? vm->space.id : 0;
    args->handle = gem_handle(file, object);
    gem_put(object);
    log_detail("size=0x%llx handle=%u", (unsigned long long)args->size, args->handle);
    return args->handle ? 0 : -ENOMEM;
}

int xe_gem_mmap_offset_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_gem_mmap_offset *args = data;
    if (args->extensions || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    if (args->flags & ~UNBIND_DRM_XE_MMAP_OFFSET_FLAG_PCI_BARRIER) return -EINVAL;
    if (args->flags) {
        if (args->handle || !file->device->model->vram) return -EINVAL;
        args->offset = GEM_BARRIER_OFFSET;
        return 0;
    }
    struct gem_object *object = gem_lookup(file, args->handle);
    if (!object) return -ENOENT;
    args->offset = gem_mmap_offset(object);
    return 0;
}

/* A control of the tests': local memory is short for a moment, and all objects that are in it go to system memory. */
void unbind_mock_evict(void);
void unbind_mock_evict(void) {
    unsigned count = 0;
    kernel_lock();
    for (struct gem_object *object = gem_first(); object; object = object->next) {
        if (object->device->model->driver != DRIVER_XE || !object->may_be_vram || object->evicted) continue;
        object->evicted = true;
        object->device->vram_used -= object->vram_charged;
        count++;
    }
    log_line("evicted objects=%u", count);
    kernel_unlock();
}

/* ---- user fences */

static bool holds(unsigned operation, uint64_t memory, uint64_t value) {
    switch (operation) {
    case UNBIND_DRM_XE_UFENCE_WAIT_OP_EQ: return memory == value;
    case UNBIND_DRM_XE_UFENCE_WAIT_OP_NEQ: return memory != value;
    case UNBIND_DRM_XE_UFENCE_WAIT_OP_GT: return memory > value;
    case UNBIND_DRM_XE_UFENCE_WAIT_OP_GTE: return memory >= value;
    case UNBIND_DRM_XE_UFENCE_WAIT_OP_LT: return memory < value;
    default: return memory <= value;
    }
}

/* The program may change the word without any call: look again this often. */
#define LOOK_AGAIN_NS 1000000u

int xe_wait_user_fence_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_wait_user_fence *args = data;
    if (args->extensions || args->pad || args->pad2 || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    if (args->flags & ~UNBIND_DRM_XE_UFENCE_WAIT_FLAG_ABSTIME) return -EINVAL;
    if (args->op > UNBIND_DRM_XE_UFENCE_WAIT_OP_LTE || args->addr % 8) return -EINVAL;
    struct xe_queue *queue = NULL;
    if (args->exec_queue_id) {
        queue = handles_get(&file->queues, args->exec_queue_id);
        if (!queue) return -ENOENT;
        xe_queue_get(queue);
    }
    bool absolute = args->flags;
    uint64_t now = monotonic_ns(), deadline = UINT64_MAX;
    if (args->timeout >= 0) {
        deadline = (uint64_t)args->timeout + (absolute ? 0 : now);
        if (deadline == UINT64_MAX) deadline--;
    }
    int result;
    for (;;) {
        uint64_t memory;
        result = copy_from_user(&memory, args->addr, sizeof memory);
        if (result) break;
        if (holds(args->op, memory & args->mask, args->value & args->mask)) break;
        now = monotonic_ns();
        result = queue && (queue->banned || queue->gone) ? -EIO : now >= deadline ? -ETIME : 0;
        if (result) break;
        if (!scheduler_step(deadline) &&
            kernel_wait(deadline - now < LOOK_AGAIN_NS ? deadline : now + LOOK_AGAIN_NS) == WAIT_INTERRUPTED) {
            result = -EINTR;
            break;
        }
    }
    now = monotonic_ns();
    if (!absolute && args->timeout > 0) args->timeout = now >= deadline ? 0 : (int64_t)(deadline - now);
    if (queue) xe_queue_put(queue);
    return result;
}

/* ---- end */

void xe_file_release(struct drm_file *file) {
    for (uint32_t i = 0; i < file->queues.capacity; i++) {
        struct xe_queue *queue = handles_remove(&file->queues, i + 1);
        if (queue) xe_queue_close(queue);
    }
    for (uint32_t i = 0; i < file->vms.capacity; i++) {
        struct xe_vm *vm = handles_remove(&file->vms, i + 1);
        if (vm) xe_vm_close(vm);
    }
}
