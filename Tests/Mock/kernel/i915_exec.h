/* SPDX-License-Identifier: MIT */
/* The parts of one EXECBUFFER2: the objects it lists and the fences it names. */
#ifndef MOCK_I915_EXEC_H
#define MOCK_I915_EXEC_H

#include "i915.h"

struct exec_entry {
    struct unbind_drm_i915_gem_exec_object2 given;
    struct gem_object *object;
    struct i915_vma *vma;
    uint64_t start, size; /* in the VM, with padding; start is plain, not canonical */
    uint64_t limit;       /* where it must end */
    bool pinned, placed;
};

struct exec_list {
    struct exec_entry *entries;
    uint32_t count;
    bool held; /* the entries hold their objects */
};

struct exec_fence {
    struct fence *wait;
    struct syncobj *signal;
    uint64_t point;
};

struct exec_fences {
    struct exec_fence *list;
    unsigned count;
    struct fence *in;    /* a sync file */
    struct fence *early; /* for the lie that signals early */
};

int exec_fences_read(struct drm_file *file, struct exec_fences *fences,
                     const struct unbind_drm_i915_gem_execbuffer2 *args);
void exec_fences_attach(struct exec_fences *fences, struct job *job);
void exec_fences_free(struct exec_fences *fences);

#endif
