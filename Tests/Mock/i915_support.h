/* SPDX-License-Identifier: MIT */
/* The tests of the mock's i915: a context with its own VM, batches in an object of their own, short ways to exec. */
#ifndef TESTS_MOCK_I915_SUPPORT_H
#define TESTS_MOCK_I915_SUPPORT_H

#include "mock.h"

#define BATCH_VA 0x100000000ull
#define BLT 1 /* index in the engine map below */

struct i915 {
    int fd;
    uint32_t vm, context;
    bool discrete;
};

struct bo {
    uint32_t handle;
    uint64_t size;
    uint32_t *map;
};

static inline uint64_t canonical(uint64_t address) { return (uint64_t)((int64_t)(address << 16) >> 16); }

static inline struct bo i915_map(const struct i915 *i915, uint32_t handle, uint64_t size) {
    struct unbind_drm_i915_gem_mmap_offset offset = {
        .handle = handle, .flags = i915->discrete ? UNBIND_I915_MMAP_OFFSET_FIXED : UNBIND_I915_MMAP_OFFSET_WB};
    REQUIRE(call(i915->fd, UNBIND_DRM_IOCTL_I915_GEM_MMAP_OFFSET, &offset) == 0);
    void *map = NULL;
    REQUIRE(clibdrm_map(i915->fd, offset.offset, size, &map) == 0);
    return (struct bo){handle, size, map};
}

static inline struct bo i915_bo(const struct i915 *i915, uint64_t size) {
    struct unbind_drm_i915_gem_create create = {.size = size};
    REQUIRE(call(i915->fd, UNBIND_DRM_IOCTL_I915_GEM_CREATE, &create) == 0);
    return i915_map(i915, create.handle, create.size);
}

/* In these regions, by class, in this order. */
static inline struct bo i915_bo_in(const struct i915 *i915, uint64_t size, uint16_t first, int second, uint32_t flags) {
    struct unbind_drm_i915_gem_memory_class_instance regions[2] = {{first, 0}, {(uint16_t)second, 0}};
    struct unbind_drm_i915_gem_create_ext_memory_regions list = {.num_regions = second < 0 ? 1 : 2,
                                                                 .regions = (uintptr_t)regions};
    struct unbind_drm_i915_gem_create_ext create = {.size = size, .flags = flags, .extensions = (uintptr_t)&list};
    REQUIRE(call(i915->fd, UNBIND_DRM_IOCTL_I915_GEM_CREATE_EXT, &create) == 0);
    return i915_map(i915, create.handle, create.size);
}

static inline uint32_t i915_vm(int fd) {
    struct unbind_drm_i915_gem_vm_control control = {.flags = 0};
    REQUIRE(call(fd, UNBIND_DRM_IOCTL_I915_GEM_VM_CREATE, &control) == 0);
    return control.vm_id;
}

/* Engines: 0 render, 1 copy, 2 copy again, on a timeline of its own. */
static inline uint32_t i915_context(int fd, uint32_t vm, bool recoverable) {
    struct {
        uint64_t extensions;
        struct unbind_i915_engine_class_instance engines[3];
    } map = {0, {{0, 0}, {1, 0}, {1, 0}}};
    struct unbind_drm_i915_gem_context_create_ext_setparam recover = {
        .param = {.param = UNBIND_I915_CONTEXT_PARAM_RECOVERABLE, .value = recoverable}};
    struct unbind_drm_i915_gem_context_create_ext_setparam engines = {
        .base.next_extension = (uintptr_t)&recover,
        .param = {.param = UNBIND_I915_CONTEXT_PARAM_ENGINES, .size = 8 + 3 * 4, .value = (uintptr_t)&map}};
    struct unbind_drm_i915_gem_context_create_ext_setparam set_vm = {
        .base.next_extension = (uintptr_t)&engines,
        .param = {.param = UNBIND_I915_CONTEXT_PARAM_VM, .value = vm}};
    struct unbind_drm_i915_gem_context_create_ext create = {
        .flags = UNBIND_I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS, .extensions = (uintptr_t)&set_vm};
    REQUIRE(call(fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, &create) == 0);
    return create.ctx_id;
}

static inline struct i915 i915_open(bool discrete) {
    struct i915 i915 = {.fd = open_node(0), .discrete = discrete};
    i915.vm = i915_vm(i915.fd);
    i915.context = i915_context(i915.fd, i915.vm, true);
    return i915;
}

static inline struct unbind_drm_i915_gem_exec_object2 i915_at(uint32_t handle, uint64_t address) {
    return (struct unbind_drm_i915_gem_exec_object2){
        .handle = handle, .offset = canonical(address),
        .flags = UNBIND_EXEC_OBJECT_PINNED | UNBIND_EXEC_OBJECT_SUPPORTS_48B_ADDRESS};
}

/* Objects 0..<count - 1 are the caller's; the last one is a fresh object with the batch. */
static inline int i915_exec(struct i915 *i915, struct unbind_drm_i915_gem_exec_object2 *objects, uint32_t count,
                            const struct batch_text *batch, struct unbind_drm_i915_gem_execbuffer2 *args) {
    static unsigned place;
    struct unbind_drm_i915_gem_execbuffer2 plain = {.flags = BLT};
    struct bo bo = i915_bo(i915, PAGE);
    memcpy(bo.map, batch->dwords, batch->count * 4);
    objects[count - 1] = i915_at(bo.handle, BATCH_VA + place++ % 4096 * 2 * MIB);
    if (!args) args = &plain;
    args->buffers_ptr = (uintptr_t)objects;
    args->buffer_count = count;
    args->rsvd1 = i915->context;
    args->flags |= UNBIND_I915_EXEC_NO_RELOC;
    int result = call(i915->fd, UNBIND_DRM_IOCTL_I915_GEM_EXECBUFFER2_WR, args);
    munmap(bo.map, PAGE);
    return result;
}

static inline int i915_wait(struct i915 *i915, uint32_t handle, int64_t timeout) {
    struct unbind_drm_i915_gem_wait wait = {.bo_handle = handle, .timeout_ns = timeout};
    return call(i915->fd, UNBIND_DRM_IOCTL_I915_GEM_WAIT, &wait);
}

/* Stores with these objects listed, and waits for the batch. objects has room for one more at the end. */
static inline int i915_store(struct i915 *i915, struct unbind_drm_i915_gem_exec_object2 *objects, uint32_t count,
                             uint64_t address, uint32_t value) {
    struct batch_text batch = {.count = 0};
    if (address) batch_store(&batch, address, value);
    batch_end(&batch);
    int result = i915_exec(i915, objects, count + 1, &batch, NULL);
    if (result == 0) CHECK_EQUAL(i915_wait(i915, objects[count].handle, 5000000000), 0);
    return result;
}

#endif
