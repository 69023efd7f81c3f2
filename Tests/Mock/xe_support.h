/* SPDX-License-Identifier: MIT */
/* The tests of the mock's xe: a VM with a batch buffer, a copy engine's queue, and short ways to bind and run. */
#ifndef TESTS_MOCK_XE_SUPPORT_H
#define TESTS_MOCK_XE_SUPPORT_H

#include "mock.h"

#define BATCH_VA 0x100000000ull /* 16 pages for batches */

struct xe {
    int fd;
    uint32_t vm, queue;
    uint32_t batch_bo, *batch_map;
    unsigned next_batch;
};

struct bo {
    uint32_t handle;
    uint64_t size;
    uint32_t *map;
};

/* placement 1: system, 2: local. WB needs a coherent PAT index. */
static inline struct bo xe_bo(int fd, uint64_t size, uint32_t placement) {
    struct unbind_drm_xe_gem_create create = {.size = size, .placement = placement,
                                              .cpu_caching = placement & 2 ? 2 : 1};
    REQUIRE(call(fd, UNBIND_DRM_IOCTL_XE_GEM_CREATE, &create) == 0);
    struct unbind_drm_xe_gem_mmap_offset offset = {.handle = create.handle};
    REQUIRE(call(fd, UNBIND_DRM_IOCTL_XE_GEM_MMAP_OFFSET, &offset) == 0);
    void *map = NULL;
    REQUIRE(clibdrm_map(fd, offset.offset, size, &map) == 0);
    return (struct bo){create.handle, size, map};
}

static inline struct unbind_drm_xe_vm_bind_op xe_map_op(uint32_t bo, uint64_t offset, uint64_t address, uint64_t size) {
    return (struct unbind_drm_xe_vm_bind_op){.obj = bo, .obj_offset = offset, .addr = address, .range = size,
                                             .op = UNBIND_DRM_XE_VM_BIND_OP_MAP, .pat_index = 1};
}
static inline struct unbind_drm_xe_vm_bind_op xe_unmap_op(uint64_t address, uint64_t size) {
    return (struct unbind_drm_xe_vm_bind_op){.addr = address, .range = size, .op = UNBIND_DRM_XE_VM_BIND_OP_UNMAP};
}

/* A binary sync object to wait for, or to signal. */
static inline struct unbind_drm_xe_sync xe_wait(uint32_t syncobj) {
    return (struct unbind_drm_xe_sync){.type = UNBIND_DRM_XE_SYNC_TYPE_SYNCOBJ, .handle = syncobj};
}
static inline struct unbind_drm_xe_sync xe_signal(uint32_t syncobj) {
    return (struct unbind_drm_xe_sync){.type = UNBIND_DRM_XE_SYNC_TYPE_SYNCOBJ, .handle = syncobj,
                                       .flags = UNBIND_DRM_XE_SYNC_FLAG_SIGNAL};
}

static inline int xe_bind(struct xe *xe, uint32_t queue, struct unbind_drm_xe_vm_bind_op *ops, uint32_t count,
                          struct unbind_drm_xe_sync *syncs, uint32_t sync_count) {
    struct unbind_drm_xe_vm_bind bind = {.vm_id = xe->vm, .exec_queue_id = queue, .num_binds = count,
                                         .num_syncs = sync_count, .syncs = (uintptr_t)syncs};
    if (count == 1) bind.bind = *ops;
    else bind.vector_of_binds = (uintptr_t)ops;
    return call(xe->fd, UNBIND_DRM_IOCTL_XE_VM_BIND, &bind);
}

/* One operation, waited for. */
static inline int xe_bind_now(struct xe *xe, struct unbind_drm_xe_vm_bind_op op) {
    uint32_t done = make_syncobj(xe->fd);
    struct unbind_drm_xe_sync sync = xe_signal(done);
    int result = xe_bind(xe, 0, &op, 1, &sync, 1);
    if (result == 0) CHECK(signals(xe->fd, done, 5000));
    clibdrm_syncobj_destroy(xe->fd, done);
    return result;
}

static inline uint32_t xe_queue(int fd, uint32_t vm, uint16_t class) {
    struct unbind_drm_xe_engine_class_instance engine = {.engine_class = class};
    struct unbind_drm_xe_exec_queue_create create = {.width = 1, .num_placements = 1, .vm_id = vm,
                                                     .instances = (uintptr_t)&engine};
    REQUIRE(call(fd, UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_CREATE, &create) == 0);
    return create.exec_queue_id;
}

static inline struct xe xe_open(uint32_t vm_flags) {
    struct xe xe = {.fd = open_node(0)};
    struct unbind_drm_xe_vm_create vm = {.flags = vm_flags};
    REQUIRE(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_CREATE, &vm) == 0);
    xe.vm = vm.vm_id;
    xe.queue = xe_queue(xe.fd, xe.vm, UNBIND_DRM_XE_ENGINE_CLASS_COPY);
    struct bo batches = xe_bo(xe.fd, 16 * PAGE, 1);
    xe.batch_bo = batches.handle;
    xe.batch_map = batches.map;
    if (!(vm_flags & UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE)) {
        CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(xe.batch_bo, 0, BATCH_VA, 16 * PAGE)), 0);
    }
    return xe;
}

/* Puts a batch into the buffer; its address. Places are used in turn. */
static inline uint64_t xe_place(struct xe *xe, const struct batch_text *batch) {
    unsigned place = xe->next_batch++ % 64;
    memcpy(xe->batch_map + place * 256, batch->dwords, batch->count * 4);
    return BATCH_VA + place * 1024;
}

static inline int xe_exec(struct xe *xe, uint32_t queue, const struct batch_text *batch,
                          struct unbind_drm_xe_sync *syncs, uint32_t count) {
    struct unbind_drm_xe_exec exec = {.exec_queue_id = queue, .num_syncs = count, .syncs = (uintptr_t)syncs,
                                      .address = xe_place(xe, batch), .num_batch_buffer = 1};
    return call(xe->fd, UNBIND_DRM_IOCTL_XE_EXEC, &exec);
}

/* Runs the batch and waits for it. */
static inline int xe_run(struct xe *xe, const struct batch_text *batch) {
    uint32_t done = make_syncobj(xe->fd);
    struct unbind_drm_xe_sync sync = xe_signal(done);
    int result = xe_exec(xe, xe->queue, batch, &sync, 1);
    if (result == 0) CHECK(signals(xe->fd, done, 5000));
    clibdrm_syncobj_destroy(xe->fd, done);
    return result;
}

static inline int xe_store(struct xe *xe, uint64_t address, uint32_t value) {
    struct batch_text batch = {.count = 0};
    batch_store(&batch, address, value);
    batch_end(&batch);
    return xe_run(xe, &batch);
}

static inline bool xe_banned(struct xe *xe, uint32_t queue) {
    struct unbind_drm_xe_exec_queue_get_property get = {.exec_queue_id = queue,
                                                        .property = UNBIND_DRM_XE_EXEC_QUEUE_GET_PROPERTY_BAN};
    CHECK_EQUAL(call(xe->fd, UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, &get), 0);
    return get.value;
}

#endif
