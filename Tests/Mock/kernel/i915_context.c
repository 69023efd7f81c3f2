/* SPDX-License-Identifier: MIT */
/* Contexts of i915: engine maps, parameters, what a hang does to them. */
#include "i915.h"

/* So many hangs ban a recoverable context. */
#define HANGS_OF_CONTEXT 3u

static struct i915_context *context_new(struct drm_file *file) {
    struct i915_context *context = calloc(1, sizeof *context);
    if (!context) return NULL;
    *context = (struct i915_context){.references = 1, .file = file, .recoverable = true, .bannable = true,
                                     .persistent = true};
    // Without a map the ring bits name: default, render, video, copy, video enhancement.
    static const uint16_t rings[] = {0, 0, 2, 1, 3};
    memcpy(context->classes, rings, sizeof rings);
    context->engine_count = 5;
    return context;
}

/* A context that was given no VM has one of its own. */
static struct i915_context *with_vm(struct i915_context *context, struct drm_file *file) {
    if (!context->vm) context->vm = i915_vm_new(file);
    return context;
}

struct i915_context *i915_context_get(struct i915_context *context) {
    context->references++;
    return context;
}

void i915_context_put(struct i915_context *context) {
    if (--context->references) return;
    for (unsigned i = 0; i < MOST_ENGINES; i++) {
        if (!context->queues[i]) continue;
        job_queue_remove(context->queues[i]);
        free(context->queues[i]);
    }
    if (context->vm) i915_vm_put(context->vm);
    free(context);
}

struct i915_context *i915_context_lookup(struct drm_file *file, uint32_t id) {
    if (id) return handles_get(&file->queues, id);
    if (!file->context_zero) {
        struct i915_context *context = context_new(file);
        if (context) file->context_zero = with_vm(context, file);
    }
    return file->context_zero;
}

struct job_queue *i915_context_queue(struct i915_context *context, unsigned ring, unsigned *class) {
    if (ring >= context->engine_count || context->classes[ring] == 0xffff) return NULL;
    *class = context->classes[ring];
    unsigned index = context->single_timeline ? 0 : ring;
    if (!context->queues[index]) {
        context->queues[index] = calloc(1, sizeof *context->queues[index]);
        if (!context->queues[index]) abort();
        job_queue_init(context->queues[index]);
    }
    return context->queues[index];
}

void i915_context_hang(struct i915_context *context) {
    context->guilty++;
    if (context->recoverable && !(context->bannable && context->guilty >= HANGS_OF_CONTEXT)) return;
    context->banned = true;
    log_line("ban vm=%u", context->vm->space.id);
}

/* ---- parameters */

static int set_engines(struct drm_file *file, struct i915_context *context, uint64_t address, uint32_t size) {
    const struct gpu_model *model = file->device->model;
    struct unbind_i915_engine_class_instance engines[MOST_ENGINES];
    uint64_t extensions;
    if (size < sizeof extensions || (size - 8) % 4 || (size - 8) / 4 > MOST_ENGINES) return -EINVAL;
    unsigned count = (size - 8) / 4;
    int error = copy_from_user(&extensions, address, sizeof extensions);
    if (!error) error = copy_from_user(engines, address + 8, count * 4);
    if (error) return error;
    if (extensions) return -EINVAL; // load balancing and parallel submission are not modelled
    for (unsigned i = 0; i < count; i++) {
        bool found = engines[i].engine_class == 0xffff && engines[i].engine_instance == 0xffff;
        for (unsigned k = 0; k < model->engine_count && !found; k++)
            found = model->engines[k].class == engines[i].engine_class &&
                    model->engines[k].instance == engines[i].engine_instance;
        if (!found) return -ENOENT;
    }
    for (unsigned i = 0; i < count; i++) context->classes[i] = engines[i].engine_class;
    context->engine_count = count;
    return 0;
}

/* before: the context has not been used, so that its VM and engines may still be chosen. */
static int set_param(struct drm_file *file, struct i915_context *context,
                     const struct unbind_drm_i915_gem_context_param *param, bool before) {
    bool value = param->value;
    if (param->param == UNBIND_I915_CONTEXT_PARAM_ENGINES)
        return before ? set_engines(file, context, param->value, param->size) : -EINVAL;
    if (param->size) return -EINVAL;
    switch (param->param) {
    case UNBIND_I915_CONTEXT_PARAM_VM: {
        struct i915_vm *vm = handles_get(&file->vms, (uint32_t)param->value);
        if (!before || param->value >> 32) return -EINVAL;
        if (!vm) return -ENOENT;
        if (context->vm) i915_vm_put(context->vm);
        context->vm = i915_vm_get(vm);
        return 0;
    }
    case UNBIND_I915_CONTEXT_PARAM_PRIORITY: {
        int64_t priority = (int64_t)param->value;
        if (priority < UNBIND_I915_CONTEXT_MIN_USER_PRIORITY || priority > UNBIND_I915_CONTEXT_MAX_USER_PRIORITY)
            return -EINVAL;
        if (priority > 0 && !config.privileged) return -EPERM;
        context->priority = (int)priority;
        return 0;
    }
    case UNBIND_I915_CONTEXT_PARAM_RECOVERABLE: context->recoverable = value; return 0;
    case UNBIND_I915_CONTEXT_PARAM_PERSISTENCE: context->persistent = value; return 0;
    case UNBIND_I915_CONTEXT_PARAM_BANNABLE:
        if (!value && !config.privileged) return -EPERM;
        context->bannable = value;
        return 0;
    default: return -EINVAL;
    }
}

static size_t create_extension_size(uint32_t name) {
    return name == UNBIND_I915_CONTEXT_CREATE_EXT_SETPARAM
               ? sizeof(struct unbind_drm_i915_gem_context_create_ext_setparam)
               : 0;
}

static int create_extension(const struct i915_extension *extension, void *data) {
    const struct unbind_drm_i915_gem_context_create_ext_setparam *set = (const void *)extension;
    struct i915_context *context = data;
    return set->param.ctx_id ? -EINVAL : set_param(context->file, context, &set->param, true);
}

int i915_context_create_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_context_create_ext *args = data;
    const uint32_t known = UNBIND_I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS |
                           UNBIND_I915_CONTEXT_CREATE_FLAGS_SINGLE_TIMELINE;
    if (args->flags & ~known) return -EINVAL;
    struct i915_context *context = context_new(file);
    if (!context) return -ENOMEM;
    context->single_timeline = args->flags & UNBIND_I915_CONTEXT_CREATE_FLAGS_SINGLE_TIMELINE;
    int error = 0;
    if (args->flags & UNBIND_I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS)
        error = i915_extensions(args->extensions, create_extension_size, create_extension, context);
    if (!error) args->ctx_id = handles_add(&file->queues, with_vm(context, file));
    if (!error && args->ctx_id) {
        log_detail("context=%u space=%u", args->ctx_id, context->vm->space.id);
        return 0;
    }
    i915_context_put(context);
    return error ? error : -ENOMEM;
}

int i915_context_destroy_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_context_destroy *args = data;
    if (args->pad) return -EINVAL;
    if (args->ctx_id == 0) return -ENOENT;
    struct i915_context *context = handles_remove(&file->queues, args->ctx_id);
    if (!context) return -ENOENT;
    if (!context->persistent) context->killed = true;
    i915_context_put(context);
    return 0;
}

int i915_context_getparam_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_context_param *args = data;
    struct i915_context *context = i915_context_lookup(file, args->ctx_id);
    if (!context) return -ENOENT;
    context->used = true;
    args->size = 0;
    switch (args->param) {
    case UNBIND_I915_CONTEXT_PARAM_GTT_SIZE: args->value = 1ull << context->vm->space.va_bits; return 0;
    case UNBIND_I915_CONTEXT_PARAM_RECOVERABLE: args->value = context->recoverable; return 0;
    case UNBIND_I915_CONTEXT_PARAM_BANNABLE: args->value = context->bannable; return 0;
    case UNBIND_I915_CONTEXT_PARAM_PERSISTENCE: args->value = context->persistent; return 0;
    case UNBIND_I915_CONTEXT_PARAM_PRIORITY: args->value = (uint64_t)(int64_t)context->priority; return 0;
    case UNBIND_I915_CONTEXT_PARAM_VM:
        args->value = handles_add(&file->vms, context->vm);
        if (!args->value) return -ENOMEM;
        i915_vm_get(context->vm);
        return 0;
    default: return -EINVAL;
    }
}

int i915_context_setparam_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_context_param *args = data;
    struct i915_context *context = i915_context_lookup(file, args->ctx_id);
    if (!context) return -ENOENT;
    // Up to gen12 a context takes shape at its first use; on DG2 and later it has its shape from the start.
    bool before = !context->used && args->ctx_id && file->device->model->graphics_version < 1250;
    return set_param(file, context, args, before);
}

int i915_reset_stats_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_reset_stats *args = data;
    if (args->flags || args->pad) return -EINVAL;
    struct i915_context *context = i915_context_lookup(file, args->ctx_id);
    if (!context) return -ENOENT;
    args->reset_count = 0;
    args->batch_active = context->guilty;
    args->batch_pending = context->innocent;
    return 0;
}
