/* SPDX-License-Identifier: MIT */
/* The fences of an EXECBUFFER2: sync file, fence array, timeline fences. */
#include "i915_exec.h"
#include "sync_file.h"

static int read_one(struct drm_file *file, struct exec_fences *fences,
                    const struct unbind_drm_i915_gem_exec_fence *from, uint64_t point) {
    const uint32_t wait = UNBIND_I915_EXEC_FENCE_WAIT, signal = UNBIND_I915_EXEC_FENCE_SIGNAL;
    struct exec_fence *fence = &fences->list[fences->count];
    if (from->flags & ~(wait | signal)) return -EINVAL;
    struct syncobj *syncobj = syncobj_lookup(file, from->handle);
    if (!syncobj) return -ENOENT;
    if (point && (from->flags & wait) && (from->flags & signal)) return -EINVAL;
    if (from->flags & wait) {
        fence->wait = syncobj_find(syncobj, point);
        if (!fence->wait) return -EINVAL;
    }
    if (from->flags & signal) fence->signal = syncobj_get(syncobj);
    fence->point = point;
    fences->count++;
    return 0;
}

static int read_array(struct drm_file *file, struct exec_fences *fences, uint64_t handles, uint64_t points,
                      uint64_t count) {
    int error;
    if (count > 1u << 20) return -EINVAL;
    struct unbind_drm_i915_gem_exec_fence *from = copy_array(handles, count, sizeof *from, &error);
    uint64_t *values = !error && points ? copy_array(points, count, sizeof *values, &error) : NULL;
    if (!error) {
        fences->list = calloc(count + 1, sizeof *fences->list);
        if (!fences->list) error = -ENOMEM;
    }
    for (uint64_t i = 0; i < count && !error; i++) error = read_one(file, fences, &from[i], values ? values[i] : 0);
    free(from);
    free(values);
    return error;
}

struct chain {
    struct drm_file *file;
    struct exec_fences *fences;
    bool seen;
};

static size_t extension_size(uint32_t name) {
    return name == UNBIND_DRM_I915_GEM_EXECBUFFER_EXT_TIMELINE_FENCES
               ? sizeof(struct unbind_drm_i915_gem_execbuffer_ext_timeline_fences)
               : 0;
}

static int use_extension(const struct i915_extension *extension, void *context) {
    const struct unbind_drm_i915_gem_execbuffer_ext_timeline_fences *timeline = (const void *)extension;
    struct chain *chain = context;
    if (chain->seen) return -EINVAL;
    chain->seen = true;
    return read_array(chain->file, chain->fences, timeline->handles_ptr, timeline->values_ptr, timeline->fence_count);
}

int exec_fences_read(struct drm_file *file, struct exec_fences *fences,
                     const struct unbind_drm_i915_gem_execbuffer2 *args) {
    if (args->flags & (UNBIND_I915_EXEC_FENCE_IN | UNBIND_I915_EXEC_FENCE_SUBMIT)) {
        struct fence *in = sync_file_fence((int)(uint32_t)args->rsvd2);
        if (!in) return -EINVAL;
        // FENCE_SUBMIT would wait until the other job starts; nothing here starts a job without the rest of it.
        if (args->flags & UNBIND_I915_EXEC_FENCE_IN) fences->in = fence_get(in);
    }
    if (args->flags & UNBIND_I915_EXEC_FENCE_ARRAY)
        return read_array(file, fences, args->cliprects_ptr, 0, args->num_cliprects);
    if (!(args->flags & UNBIND_I915_EXEC_USE_EXTENSIONS)) return 0;
    if (args->num_cliprects) return -EINVAL;
    struct chain chain = {.file = file, .fences = fences};
    return i915_extensions(args->cliprects_ptr, extension_size, use_extension, &chain);
}

void exec_fences_attach(struct exec_fences *fences, struct job *job) {
    if (lies(LIE_SIGNAL_EARLY)) fences->early = fence_new_signalled();
    if (!lies(LIE_IGNORE_IN_FENCE)) {
        job_await(job, fences->in);
        for (unsigned i = 0; i < fences->count; i++) job_await(job, fences->list[i].wait);
    }
    struct fence *out = fences->early ? fences->early : job->done;
    for (unsigned i = 0; i < fences->count; i++) {
        const struct exec_fence *fence = &fences->list[i];
        if (!fence->signal) continue;
        if (fence->point) syncobj_add_point(fence->signal, out, fence->point);
        else syncobj_replace(fence->signal, out);
    }
}

void exec_fences_free(struct exec_fences *fences) {
    for (unsigned i = 0; i < fences->count; i++) {
        fence_put(fences->list[i].wait);
        if (fences->list[i].signal) syncobj_put(fences->list[i].signal);
    }
    free(fences->list);
    fence_put(fences->in);
    fence_put(fences->early);
}
