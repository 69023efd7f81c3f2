/* SPDX-License-Identifier: MIT */
/* QUERY of i915: engines and memory regions. An item's error is its negative length; the call itself succeeds. */
#include "gem.h"
#include "i915.h"

#define MOST_BYTES 2048

static size_t engines(struct drm_file *file, void *reply) {
    const struct gpu_model *model = file->device->model;
    struct unbind_drm_i915_query_engine_info *info = reply;
    info->num_engines = model->engine_count;
    for (unsigned i = 0; i < model->engine_count; i++) {
        info->engines[i].engine.engine_class = model->engines[i].class;
        info->engines[i].engine.engine_instance = model->engines[i].instance;
        info->engines[i].flags = UNBIND_I915_ENGINE_INFO_HAS_LOGICAL_INSTANCE;
        info->engines[i].logical_instance = model->engines[i].instance;
    }
    return sizeof *info + model->engine_count * sizeof info->engines[0];
}

static size_t regions(struct drm_file *file, void *reply) {
    const struct gpu_model *model = file->device->model;
    struct unbind_drm_i915_query_memory_regions *info = reply;
    info->num_regions = model->vram ? 2 : 1;
    info->regions[0].region.memory_class = UNBIND_I915_MEMORY_CLASS_SYSTEM;
    info->regions[0].probed_size = info->regions[0].unallocated_size = config.system_memory;
    if (model->vram) {
        struct unbind_drm_i915_memory_region_info *local = &info->regions[1];
        uint64_t used = config.privileged ? file->device->vram_used : 0;
        local->region.memory_class = UNBIND_I915_MEMORY_CLASS_DEVICE;
        local->probed_size = model->vram;
        local->unallocated_size = model->vram - used;
        local->probed_cpu_visible_size = config.small_bar ? model->small_bar : model->vram;
        local->unallocated_cpu_visible_size =
            used < local->probed_cpu_visible_size ? local->probed_cpu_visible_size - used : 0;
    }
    return sizeof *info + info->num_regions * sizeof info->regions[0];
}

static int32_t one(struct drm_file *file, const struct unbind_drm_i915_query_item *item) {
    uint64_t reply[MOST_BYTES / 8] = {0}, header[2];
    size_t size;
    if (item->flags) return -EINVAL;
    if (item->query_id == UNBIND_DRM_I915_QUERY_ENGINE_INFO) size = engines(file, reply);
    else if (item->query_id == UNBIND_DRM_I915_QUERY_MEMORY_REGIONS) size = regions(file, reply);
    else return -EINVAL;
    if (item->length == 0) return (int32_t)size;
    if ((size_t)item->length < size) return -EINVAL;
    // The caller's buffer must be zero where the answer's head goes.
    if (copy_from_user(header, item->data_ptr, sizeof header)) return -EFAULT;
    if (!RESERVED_ZERO(header)) return -EINVAL;
    return copy_to_user(item->data_ptr, reply, size) ? -EFAULT : (int32_t)size;
}

int i915_query_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_query *args = data;
    if (args->flags) return -EINVAL;
    for (uint32_t i = 0; i < args->num_items; i++) {
        struct unbind_drm_i915_query_item item;
        uint64_t at = args->items_ptr + i * sizeof item;
        int error = copy_from_user(&item, at, sizeof item);
        if (error) return error;
        if (item.query_id == 0) return -EINVAL;
        item.length = one(file, &item);
        log_detail("query=%u length=%d", (unsigned)item.query_id, item.length);
        error = copy_to_user(at, &item, sizeof item);
        if (error) return error;
    }
    return 0;
}
