/* SPDX-License-Identifier: MIT */
/* The i915 driver of the mock: its table of ioctls, parameters, chains of extensions, end of an open file. */
#include "i915.h"

#include "gem.h"

const struct ioctl_entry i915_ioctls[] = {
    {"I915_GETPARAM", UNBIND_DRM_IOCTL_I915_GETPARAM, i915_getparam_ioctl},
    {"I915_QUERY", UNBIND_DRM_IOCTL_I915_QUERY, i915_query_ioctl},
    {"I915_GEM_CREATE", UNBIND_DRM_IOCTL_I915_GEM_CREATE, i915_gem_create_ioctl},
    {"I915_GEM_CREATE_EXT", UNBIND_DRM_IOCTL_I915_GEM_CREATE_EXT, i915_gem_create_ext_ioctl},
    {"I915_GEM_MMAP_OFFSET", UNBIND_DRM_IOCTL_I915_GEM_MMAP_OFFSET, i915_gem_mmap_offset_ioctl},
    {"I915_GEM_USERPTR", UNBIND_DRM_IOCTL_I915_GEM_USERPTR, i915_gem_userptr_ioctl},
    {"I915_GEM_WAIT", UNBIND_DRM_IOCTL_I915_GEM_WAIT, i915_gem_wait_ioctl},
    {"I915_GEM_BUSY", UNBIND_DRM_IOCTL_I915_GEM_BUSY, i915_gem_busy_ioctl},
    {"I915_GEM_SET_DOMAIN", UNBIND_DRM_IOCTL_I915_GEM_SET_DOMAIN, i915_gem_set_domain_ioctl},
    {"I915_GEM_VM_CREATE", UNBIND_DRM_IOCTL_I915_GEM_VM_CREATE, i915_vm_create_ioctl},
    {"I915_GEM_VM_DESTROY", UNBIND_DRM_IOCTL_I915_GEM_VM_DESTROY, i915_vm_destroy_ioctl},
    {"I915_GEM_CONTEXT_CREATE", UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, i915_context_create_ioctl},
    {"I915_GEM_CONTEXT_DESTROY", UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_DESTROY, i915_context_destroy_ioctl},
    {"I915_GEM_CONTEXT_GETPARAM", UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, i915_context_getparam_ioctl},
    {"I915_GEM_CONTEXT_SETPARAM", UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, i915_context_setparam_ioctl},
    {"I915_GET_RESET_STATS", UNBIND_DRM_IOCTL_I915_GET_RESET_STATS, i915_reset_stats_ioctl},
    {"I915_GEM_EXECBUFFER2", UNBIND_DRM_IOCTL_I915_GEM_EXECBUFFER2_WR, i915_execbuffer_ioctl},
    {0},
};

int i915_getparam_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_getparam *args = data;
    const struct gpu_model *model = file->device->model;
    int value;
    log_detail("param=%d", args->param);
    switch (args->param) {
    case UNBIND_I915_PARAM_CHIPSET_ID: value = model->device; break;
    case UNBIND_I915_PARAM_REVISION: value = model->revision; break;
    case UNBIND_I915_PARAM_HAS_LLC: value = model->llc; break;
    case UNBIND_I915_PARAM_HAS_ALIASING_PPGTT: value = UNBIND_I915_GEM_PPGTT_FULL; break;
    case UNBIND_I915_PARAM_CMD_PARSER_VERSION: value = 0; break;
    case UNBIND_I915_PARAM_HAS_GPU_RESET: value = 2; break;
    case UNBIND_I915_PARAM_MMAP_GTT_VERSION: value = 4; break;
    case UNBIND_I915_PARAM_HAS_SCHEDULER: value = 0x1f; break;
    case UNBIND_I915_PARAM_HAS_CONTEXT_ISOLATION: value = 0x1f; break;
    case UNBIND_I915_PARAM_HAS_BLT:
    case UNBIND_I915_PARAM_HAS_EXEC_NO_RELOC:
    case UNBIND_I915_PARAM_HAS_EXEC_HANDLE_LUT:
    case UNBIND_I915_PARAM_HAS_EXEC_SOFTPIN:
    case UNBIND_I915_PARAM_HAS_EXEC_ASYNC:
    case UNBIND_I915_PARAM_HAS_EXEC_FENCE:
    case UNBIND_I915_PARAM_HAS_EXEC_CAPTURE:
    case UNBIND_I915_PARAM_HAS_EXEC_BATCH_FIRST:
    case UNBIND_I915_PARAM_HAS_EXEC_FENCE_ARRAY:
    case UNBIND_I915_PARAM_HAS_EXEC_SUBMIT_FENCE:
    case UNBIND_I915_PARAM_HAS_EXEC_TIMELINE_FENCES:
    case UNBIND_I915_PARAM_HAS_USERPTR_PROBE: value = 1; break;
    default: return -EINVAL;
    }
    return copy_to_user((uintptr_t)args->value, &value, sizeof value);
}

int i915_extensions(uint64_t next, size_t (*size_of)(uint32_t name),
                    int (*use)(const struct i915_extension *extension, void *context), void *context) {
    for (unsigned i = 0; next; i++) {
        struct i915_extension extension;
        if (i == 512) return -E2BIG;
        memset(&extension, 0, sizeof extension);
        int error = copy_from_user(&extension.base, next, sizeof extension.base);
        if (error) return error;
        if (extension.base.flags || !RESERVED_ZERO(extension.base.rsvd)) return -EINVAL;
        size_t size = size_of(extension.base.name);
        if (!size) return -EINVAL;
        error = copy_from_user(&extension, next, size);
        if (!error) error = use(&extension, context);
        if (error) return error;
        next = extension.base.next_extension;
    }
    return 0;
}

void i915_file_release(struct drm_file *file) {
    for (uint32_t i = 0; i < file->queues.capacity; i++) {
        struct i915_context *context = handles_remove(&file->queues, i + 1);
        if (!context) continue;
        if (!context->persistent) context->killed = true;
        i915_context_put(context);
    }
    if (file->context_zero) i915_context_put(file->context_zero);
    for (uint32_t i = 0; i < file->vms.capacity; i++) {
        struct i915_vm *vm = handles_remove(&file->vms, i + 1);
        if (vm) i915_vm_put(vm);
    }
    i915_vms_forget_file(file);
}
