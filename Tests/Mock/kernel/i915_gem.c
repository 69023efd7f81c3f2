/* SPDX-License-Identifier: MIT */
/* GEM objects of i915: making them, mapping them, waiting for them. */
#include "gem.h"
#include "i915.h"

static uint64_t round_up(uint64_t size, uint64_t to) { return (size + to - 1) / to * to; }

struct placement {
    bool system, device, device_first;
};

static int make(struct drm_file *file, uint64_t *size, struct placement placement, uint32_t *handle) {
    const struct gpu_model *model = file->device->model;
    if (*size == 0) return -EINVAL;
    if (*size > 1ull << 40) return -E2BIG;
    *size = round_up(*size, placement.device ? model->vram_page : PAGE);
    int error;
    bool only = placement.device && !placement.system;
    struct gem_object *object = gem_create(file->device, *size, only ? *size : 0, &error);
    if (!object) return error;
    object->may_be_vram = placement.device;
    object->vram_only = only;
    if (placement.device_first) object->page = model->pin_alignment;
    *handle = gem_handle(file, object);
    gem_put(object);
    log_detail("size=0x%llx handle=%u", (unsigned long long)*size, *handle);
    return *handle ? 0 : -ENOMEM;
}

int i915_gem_create_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_create *args = data;
    return make(file, &args->size, (struct placement){.system = true}, &args->handle);
}

static size_t create_extension_size(uint32_t name) {
    return name == UNBIND_I915_GEM_CREATE_EXT_MEMORY_REGIONS
               ? sizeof(struct unbind_drm_i915_gem_create_ext_memory_regions)
               : 0;
}

struct regions {
    const struct gpu_model *model;
    struct placement placement;
    unsigned count;
};

static int read_regions(const struct i915_extension *extension, void *context) {
    const struct unbind_drm_i915_gem_create_ext_memory_regions *list = (const void *)extension;
    struct regions *regions = context;
    struct unbind_drm_i915_gem_memory_class_instance region;
    if (regions->count || list->pad || !list->num_regions || list->num_regions > 2) return -EINVAL;
    for (uint32_t i = 0; i < list->num_regions; i++) {
        int error = copy_from_user(&region, list->regions + i * sizeof region, sizeof region);
        if (error) return error;
        bool device = region.memory_class == UNBIND_I915_MEMORY_CLASS_DEVICE;
        bool *there = device ? &regions->placement.device : &regions->placement.system;
        if (region.memory_instance || region.memory_class > 1 || (device && !regions->model->vram) || *there)
            return -EINVAL;
        *there = true;
        if (i == 0) regions->placement.device_first = device;
        regions->count++;
    }
    return 0;
}

int i915_gem_create_ext_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_create_ext *args = data;
    struct regions regions = {.model = file->device->model};
    if (args->flags & ~UNBIND_I915_GEM_CREATE_EXT_FLAG_NEEDS_CPU_ACCESS) return -EINVAL;
    int error = i915_extensions(args->extensions, create_extension_size, read_regions, &regions);
    if (error) return error;
    if (args->flags && !(regions.count >= 2 && regions.placement.system)) return -EINVAL;
    if (!regions.count) regions.placement.system = true;
    return make(file, &args->size, regions.placement, &args->handle);
}

int i915_gem_mmap_offset_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_mmap_offset *args = data;
    if (args->extensions) return -EINVAL;
    bool discrete = file->device->model->vram;
    if (args->flags > UNBIND_I915_MMAP_OFFSET_FIXED) return -EINVAL;
    if (discrete != (args->flags == UNBIND_I915_MMAP_OFFSET_FIXED)) return -ENODEV;
    struct gem_object *object = gem_lookup(file, args->handle);
    if (!object) return -ENOENT;
    if (object->user_address) return -ENODEV;
    args->offset = gem_mmap_offset(object);
    return 0;
}

int i915_gem_userptr_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_userptr *args = data;
    if (args->flags & ~(UNBIND_I915_USERPTR_READ_ONLY | UNBIND_I915_USERPTR_PROBE | UNBIND_I915_USERPTR_UNSYNCHRONIZED))
        return -EINVAL;
    if (!args->user_size || args->user_ptr % PAGE || args->user_size % PAGE) return -EINVAL;
    if (args->flags & (UNBIND_I915_USERPTR_UNSYNCHRONIZED | UNBIND_I915_USERPTR_READ_ONLY)) return -ENODEV;
    if (args->flags & UNBIND_I915_USERPTR_PROBE) {
        char byte;
        for (uint64_t at = 0; at < args->user_size; at += PAGE)
            if (copy_from_user(&byte, args->user_ptr + at, 1)) return -EFAULT;
    }
    struct gem_object *object = gem_create_user(file->device, args->user_ptr, args->user_size, false);
    if (!object) return -ENOMEM;
    args->handle = gem_handle(file, object);
    gem_put(object);
    return args->handle ? 0 : -ENOMEM;
}

/* ---- waiting */

static struct fence *busy(struct gem_object *object, bool readers) {
    if (object->writer && !object->writer->signalled) return object->writer;
    for (unsigned i = 0; readers && i < object->reader_count; i++)
        if (!object->readers[i]->signalled) return object->readers[i];
    return NULL;
}

static int wait_idle(struct gem_object *object, bool readers, uint64_t deadline_ns) {
    int error = 0;
    gem_get(object);
    for (struct fence *fence; !error && (fence = busy(object, readers)) != NULL;)
        error = fence_wait(fence, deadline_ns);
    gem_put(object);
    return error;
}

int i915_gem_wait_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_wait *args = data;
    if (args->flags) return -EINVAL;
    struct gem_object *object = gem_lookup(file, args->bo_handle);
    if (!object) return -ENOENT;
    uint64_t start = monotonic_ns();
    uint64_t deadline = args->timeout_ns < 0 ? UINT64_MAX : start + (uint64_t)args->timeout_ns;
    if (args->timeout_ns == 0) scheduler_step(0);
    int error = args->timeout_ns == 0 && busy(object, true) ? -ETIME : wait_idle(object, true, deadline);
    if (args->timeout_ns > 0) {
        uint64_t now = monotonic_ns();
        args->timeout_ns = now >= deadline ? 0 : (int64_t)(deadline - now);
    }
    return error;
}

int i915_gem_busy_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_busy *args = data;
    struct gem_object *object = gem_lookup(file, args->handle);
    if (!object) return -ENOENT;
    args->busy = 0;
    if (object->writer && !object->writer->signalled)
        args->busy |= (object->writer_class + 1) | 1u << (16 + object->writer_class);
    for (unsigned i = 0; i < object->reader_count; i++)
        if (!object->readers[i]->signalled) args->busy |= 1u << (16 + object->reader_classes[i]);
    return 0;
}

int i915_gem_set_domain_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_set_domain *args = data;
    const uint32_t cpu = UNBIND_I915_GEM_DOMAIN_CPU | UNBIND_I915_GEM_DOMAIN_GTT | UNBIND_I915_GEM_DOMAIN_WC;
    if (file->device->model->vram) return -ENODEV;
    if ((args->read_domains | args->write_domain) & ~cpu) return -EINVAL;
    if (args->write_domain && args->read_domains != args->write_domain) return -EINVAL;
    struct gem_object *object = gem_lookup(file, args->handle);
    if (!object) return -ENOENT;
    return wait_idle(object, args->write_domain, UINT64_MAX);
}
