/* SPDX-License-Identifier: MIT */
/*
 * The i915 driver of the mock. There is no bind call: an execbuffer binds what it
 * lists, and unbinds, within the call, what is in the way once that is idle. An
 * object has one place in a VM. Lock held everywhere.
 */
#ifndef MOCK_I915_H
#define MOCK_I915_H

#include "../../../Sources/CLibDRM/include/uapi_i915.h"
#include "batch.h"
#include "scheduler.h"
#include "syncobj.h"

struct i915_vm {
    struct i915_vm *next; /* of all */
    int references;
    struct drm_file *file; /* whose handles it serves */
    struct space space;
    struct job_queue binds;
    struct i915_vma **nodes; /* what is bound, by address */
    size_t count, capacity;
};

/* An object's place in a VM. It is bound from being made to being freed. */
struct i915_vma {
    struct i915_vma *next; /* of the object */
    struct i915_vm *vm;
    struct gem_object *object;
    uint64_t start, end; /* with padding */
    bool closed;         /* unbound as soon as nothing runs */
    struct fence *bound; /* the entries are written */
    struct fence **uses;
    unsigned use_count, use_capacity;
};

#define MOST_ENGINES 64u

struct i915_context {
    int references;
    struct i915_vm *vm;
    struct drm_file *file;
    uint16_t classes[MOST_ENGINES]; /* of the engine map */
    unsigned engine_count;
    struct job_queue *queues[MOST_ENGINES];
    bool recoverable, bannable, persistent, single_timeline;
    bool used, banned, killed;
    int priority;
    unsigned guilty, innocent;
};

/* ---- contexts (i915_context.c) */

struct i915_context *i915_context_lookup(struct drm_file *file, uint32_t id);
struct i915_context *i915_context_get(struct i915_context *context);
void i915_context_put(struct i915_context *context);
/* The queue of the engine that execbuffer's ring bits name, and its class; NULL: there is none. */
struct job_queue *i915_context_queue(struct i915_context *context, unsigned ring, unsigned *class);
/* A batch of the context has hung. */
void i915_context_hang(struct i915_context *context);
int i915_context_create_ioctl(struct drm_file *file, void *data);
int i915_context_destroy_ioctl(struct drm_file *file, void *data);
int i915_context_getparam_ioctl(struct drm_file *file, void *data);
int i915_context_setparam_ioctl(struct drm_file *file, void *data);
int i915_reset_stats_ioctl(struct drm_file *file, void *data);

/* ---- VMs and VMAs (i915_vm.c) */

struct i915_vm *i915_vm_new(struct drm_file *file);
struct i915_vm *i915_vm_get(struct i915_vm *vm);
void i915_vm_put(struct i915_vm *vm);
int i915_vm_create_ioctl(struct drm_file *file, void *data);
int i915_vm_destroy_ioctl(struct drm_file *file, void *data);
/* Where the object is bound in this VM, or NULL. */
struct i915_vma *i915_vma_find(const struct i915_vm *vm, const struct gem_object *object);
/* The first node that overlaps start..<end, or NULL; the next one comes after it in nodes. */
size_t i915_vm_first(const struct i915_vm *vm, uint64_t start);
/* Binds: the entries are written by a job. */
struct i915_vma *i915_vma_bind(struct i915_vm *vm, struct gem_object *object, uint64_t start, uint64_t size);
/* Unbinds an idle VMA now and frees it. */
void i915_vma_unbind(struct i915_vma *vma);
/* A fence that has not signalled and keeps it busy, or NULL. */
struct fence *i915_vma_busy(struct i915_vma *vma);
void i915_vma_use(struct i915_vma *vma, struct fence *fence);
void i915_vms_forget_file(struct drm_file *file);

/* ---- objects, queries, submission */

int i915_getparam_ioctl(struct drm_file *file, void *data);
int i915_query_ioctl(struct drm_file *file, void *data);
int i915_gem_create_ioctl(struct drm_file *file, void *data);
int i915_gem_create_ext_ioctl(struct drm_file *file, void *data);
int i915_gem_mmap_offset_ioctl(struct drm_file *file, void *data);
int i915_gem_userptr_ioctl(struct drm_file *file, void *data);
int i915_gem_wait_ioctl(struct drm_file *file, void *data);
int i915_gem_busy_ioctl(struct drm_file *file, void *data);
int i915_gem_set_domain_ioctl(struct drm_file *file, void *data);
int i915_execbuffer_ioctl(struct drm_file *file, void *data);

/* Calls use with each extension of a chain, whose head all begin with; the whole is at most size bytes. */
struct i915_extension {
    struct unbind_i915_user_extension base;
    uint8_t rest[64];
};
int i915_extensions(uint64_t next, size_t (*size_of)(uint32_t name),
                    int (*use)(const struct i915_extension *extension, void *context), void *context);

#endif
