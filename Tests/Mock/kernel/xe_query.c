/* SPDX-License-Identifier: MIT */
/* DEVICE_QUERY: each answer is put together in a buffer; its size is what the first call tells. */
#include "xe.h"

#define MOST_BYTES 2048

struct answer {
    uint64_t words[MOST_BYTES / 8];
    size_t size;
};

static void engines(struct drm_file *file, struct answer *answer) {
    const struct gpu_model *model = file->device->model;
    struct unbind_drm_xe_query_engines *reply = (void *)answer->words;
    reply->num_engines = model->engine_count;
    for (unsigned i = 0; i < model->engine_count; i++) {
        reply->engines[i].instance.engine_class = model->engines[i].class;
        reply->engines[i].instance.engine_instance = model->engines[i].instance;
        reply->engines[i].instance.gt_id = model->engines[i].gt;
    }
    answer->size = sizeof *reply + model->engine_count * sizeof reply->engines[0];
}

static void regions(struct drm_file *file, struct answer *answer) {
    const struct gpu_model *model = file->device->model;
    struct unbind_drm_xe_query_mem_regions *reply = (void *)answer->words;
    reply->num_mem_regions = model->vram ? 2 : 1;
    struct unbind_drm_xe_mem_region *region = &reply->mem_regions[0];
    region->mem_class = UNBIND_DRM_XE_MEM_REGION_CLASS_SYSMEM;
    region->min_page_size = PAGE;
    region->total_size = config.system_memory;
    if (model->vram) {
        region = &reply->mem_regions[1];
        region->mem_class = UNBIND_DRM_XE_MEM_REGION_CLASS_VRAM;
        region->instance = 1;
        region->min_page_size = model->vram_page;
        region->total_size = model->vram;
        region->cpu_visible_size = config.small_bar ? model->small_bar : model->vram;
        // The figures of use are for CAP_PERFMON.
        if (config.privileged) region->used = region->cpu_visible_used = file->device->vram_used;
        if (region->cpu_visible_used > region->cpu_visible_size) region->cpu_visible_used = region->cpu_visible_size;
    }
    answer->size = sizeof *reply + reply->num_mem_regions * sizeof *region;
}

static void configuration(struct drm_file *file, struct answer *answer) {
    const struct gpu_model *model = file->device->model;
    struct unbind_drm_xe_query_config *reply = (void *)answer->words;
    reply->num_params = 5;
    reply->info[UNBIND_DRM_XE_QUERY_CONFIG_REV_AND_DEVICE_ID] = model->device | (uint64_t)model->revision << 16;
    reply->info[UNBIND_DRM_XE_QUERY_CONFIG_FLAGS] =
        (model->vram ? UNBIND_DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM : 0) | 2u /* low latency */;
    reply->info[UNBIND_DRM_XE_QUERY_CONFIG_MIN_ALIGNMENT] = model->vram_page ? model->vram_page : PAGE;
    reply->info[UNBIND_DRM_XE_QUERY_CONFIG_VA_BITS] = model->va_bits;
    reply->info[UNBIND_DRM_XE_QUERY_CONFIG_MAX_EXEC_QUEUE_PRIORITY] = 1;
    answer->size = sizeof *reply + 5 * sizeof reply->info[0];
}

static void gts(struct drm_file *file, struct answer *answer) {
    const struct gpu_model *model = file->device->model;
    struct unbind_drm_xe_query_gt_list *reply = (void *)answer->words;
    reply->num_gt = model->gt_count;
    for (unsigned i = 0; i < model->gt_count; i++) {
        struct unbind_drm_xe_gt *gt = &reply->gt_list[i];
        gt->type = i ? UNBIND_DRM_XE_QUERY_GT_TYPE_MEDIA : UNBIND_DRM_XE_QUERY_GT_TYPE_MAIN;
        gt->gt_id = (uint16_t)i;
        gt->reference_clock = 19200000;
        gt->near_mem_regions = model->vram ? 2 : 1;
        gt->far_mem_regions = model->vram ? 1 : 0;
        gt->ip_ver_major = (uint16_t)(model->graphics_version / 100);
        gt->ip_ver_minor = (uint16_t)(model->graphics_version % 100);
    }
    answer->size = sizeof *reply + model->gt_count * sizeof reply->gt_list[0];
}

/* Masks of what is there: 8 bytes for each of five kinds, GT by GT. */
static void topology(struct drm_file *file, struct answer *answer) {
    uint8_t *at = (uint8_t *)answer->words;
    for (unsigned gt = 0; gt < file->device->model->gt_count; gt++) {
        for (uint16_t kind = 1; kind <= 5; kind++) {
            struct unbind_drm_xe_query_topology_mask *mask = (void *)at;
            mask->gt_id = (uint16_t)gt;
            mask->type = kind;
            mask->num_bytes = 8;
            if (gt == 0) memset(mask->mask, 0xff, 1);
            at += sizeof *mask + 8;
        }
    }
    answer->size = (size_t)(at - (uint8_t *)answer->words);
}

static int cycles(struct drm_file *file, struct unbind_drm_xe_device_query *args) {
    struct unbind_drm_xe_query_engine_cycles reply;
    if (args->size == 0) {
        args->size = sizeof reply;
        return 0;
    }
    if (args->size != sizeof reply) return -EINVAL;
    int error = copy_from_user(&reply, args->data, sizeof reply);
    if (error) return error;
    struct timespec now;
    bool found = false;
    for (unsigned i = 0; i < file->device->model->engine_count; i++) {
        const struct engine_model *engine = &file->device->model->engines[i];
        found = found || (engine->class == reply.eci.engine_class && engine->instance == reply.eci.engine_instance &&
                          engine->gt == reply.eci.gt_id);
    }
    if (!found || clock_gettime(reply.clockid, &now) != 0) return -EINVAL;
    reply.width = 36;
    reply.cpu_timestamp = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    reply.engine_cycles = monotonic_ns() / 52 & ((1ull << 36) - 1);
    reply.cpu_delta = 1;
    return copy_to_user(args->data, &reply, sizeof reply);
}

static int firmware(struct unbind_drm_xe_device_query *args) {
    struct unbind_drm_xe_query_uc_fw_version reply;
    if (args->size == 0) {
        args->size = sizeof reply;
        return 0;
    }
    if (args->size != sizeof reply) return -EINVAL;
    int error = copy_from_user(&reply, args->data, sizeof reply);
    if (error) return error;
    if (reply.uc_type > 1 || reply.pad || reply.pad2 || reply.reserved) return -EINVAL;
    if (reply.uc_type == 1) return -ENODEV;
    reply.major_ver = 1;
    reply.minor_ver = 20;
    reply.patch_ver = 0;
    return copy_to_user(args->data, &reply, sizeof reply);
}

int xe_query_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_xe_device_query *args = data;
    static void (*const queries[])(struct drm_file *, struct answer *) = {
        [UNBIND_DRM_XE_DEVICE_QUERY_ENGINES] = engines,
        [UNBIND_DRM_XE_DEVICE_QUERY_MEM_REGIONS] = regions,
        [UNBIND_DRM_XE_DEVICE_QUERY_CONFIG] = configuration,
        [UNBIND_DRM_XE_DEVICE_QUERY_GT_LIST] = gts,
        [UNBIND_DRM_XE_DEVICE_QUERY_GT_TOPOLOGY] = topology,
    };
    if (args->extensions || !RESERVED_ZERO(args->reserved)) return -EINVAL;
    log_detail("query=%u", args->query);
    if (args->query == UNBIND_DRM_XE_DEVICE_QUERY_ENGINE_CYCLES) return cycles(file, args);
    if (args->query == UNBIND_DRM_XE_DEVICE_QUERY_UC_FW_VERSION) return firmware(args);
    if (args->query == UNBIND_DRM_XE_DEVICE_QUERY_HWCONFIG) {
        // An empty table: its size is 0 in the first call and in the second.
        if (args->size) return -EINVAL;
        return 0;
    }
    if (args->query >= sizeof queries / sizeof queries[0] || !queries[args->query]) return -EINVAL;
    struct answer answer = {{0}, 0};
    queries[args->query](file, &answer);
    if (args->size == 0) {
        args->size = (uint32_t)answer.size;
        return 0;
    }
    if (args->size != answer.size) return -EINVAL;
    return copy_to_user(args->data, answer.words, answer.size);
}
