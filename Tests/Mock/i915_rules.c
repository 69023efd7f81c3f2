/* SPDX-License-Identifier: MIT */
/* The rules of i915's ioctls on the mock: execbuffers, objects, contexts. */
#include "i915_support.h"

#define VA 0x200000000ull

typedef struct unbind_drm_i915_gem_exec_object2 object;
typedef struct unbind_drm_i915_gem_execbuffer2 execbuffer;

static int exec_one(struct i915 *i915, object entry, execbuffer *args) {
    struct batch_text batch = {.count = 0};
    batch_end(&batch);
    object list[2] = {entry};
    execbuffer plain = {.flags = BLT};
    return i915_exec(i915, list, 2, &batch, args ? args : &plain);
}

TEST(objects, "what a listed object may say: addresses, alignment, flags, size") {
    machine("adl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo bo = i915_bo(&i915, 4 * PAGE);
    const object good = i915_at(bo.handle, VA);
    const uint64_t wide = UNBIND_EXEC_OBJECT_SUPPORTS_48B_ADDRESS, pinned = UNBIND_EXEC_OBJECT_PINNED;
#define WITH(member, value_) ({ object changed = good; changed.member = value_; changed; })
#define AT(address, flags_) ({ object changed = good; changed.offset = address; changed.flags = flags_; changed; })
    const struct {
        object entry;
        int result;
    } cases[] = {
        {good, 0},
        {WITH(offset, VA + 8), -EINVAL},
        {WITH(offset, 0x0000800000000000), -EINVAL}, /* not canonical */
        {WITH(offset, 0xffff800000000000), 0},
        {WITH(offset, 0xffff000000000000), -EINVAL},
        {WITH(offset, canonical((1ull << 48) - 4 * PAGE)), 0},
        {WITH(offset, canonical((1ull << 48) - 3 * PAGE)), -EINVAL},
        {AT(0xfffff000ull - 4 * PAGE, pinned), 0},
        {AT(0xfffff000ull - 3 * PAGE, pinned), -EINVAL}, /* the last page below 4 GiB is not for this one */
        {AT(0x100000000ull, pinned), -EINVAL},
        {AT(0, pinned), 0},
        {WITH(alignment, 3 * PAGE), -EINVAL},
        {WITH(alignment, MIB), 0},
        {WITH(alignment, 1ull << 34), -EINVAL},
        {WITH(flags, wide | pinned | 1ull << 8), -EINVAL},
        {WITH(flags, wide | pinned | UNBIND_EXEC_OBJECT_CAPTURE), 0},
        {WITH(handle, 999), -ENOENT},
        {WITH(relocation_count, 1), -EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int before = check_failures;
        CHECK_EQUAL(exec_one(&i915, cases[i].entry, NULL), cases[i].result);
        if (before != check_failures) printf("    case %zu\n", i);
    }
    // Padding takes its place: the next object may not lie in it.
    struct bo next = i915_bo(&i915, PAGE);
    object list[3] = {WITH(flags, wide | pinned | UNBIND_EXEC_OBJECT_PAD_TO_SIZE), i915_at(next.handle, VA + 6 * PAGE)};
    list[0].pad_to_size = 8 * PAGE;
    CHECK_EQUAL(i915_store(&i915, list, 2, VA, 1), -EINVAL);
    list[0].pad_to_size = 6 * PAGE;
    CHECK_EQUAL(i915_store(&i915, list, 2, VA, 1), 0);
    list[0].pad_to_size = 100;
    CHECK_EQUAL(i915_store(&i915, list, 2, VA, 1), -EINVAL);
    list[1] = good;
    list[0] = good;
    CHECK_EQUAL(i915_store(&i915, list, 2, VA, 1), -EINVAL); // twice
}

TEST(calls, "what an execbuffer may say: flags, batch place, engines, fences") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo bo = i915_bo(&i915, PAGE);
    const object good = i915_at(bo.handle, VA);
#define CALL(result, ...)                                                                \
    do {                                                                                 \
        execbuffer args = {.flags = BLT};                                                \
        __VA_ARGS__;                                                                     \
        CHECK_EQUAL(exec_one(&i915, good, &args), result);                               \
    } while (0)
    CALL(0, (void)args);
    CALL(-EINVAL, args.flags |= 1ull << 22);
    CALL(-EINVAL, args.flags |= 1ull << 63);
    CALL(-EINVAL, args.DR1 = 1);
    CALL(-EINVAL, args.DR4 = 1);
    CALL(-EINVAL, args.batch_start_offset = 4);
    CALL(-EINVAL, args.batch_len = 4);
    CALL(0, args.batch_len = 8);
    CALL(-EINVAL, args.batch_len = 8192);
    CALL(-EINVAL, args.batch_start_offset = 4096);
    CALL(-EINVAL, args.num_cliprects = 1);
    CALL(-EINVAL, args.flags = 3);
    CALL(-EINVAL, args.flags |= UNBIND_I915_EXEC_FENCE_ARRAY | UNBIND_I915_EXEC_USE_EXTENSIONS);
    CALL(-EINVAL, args.flags |= UNBIND_I915_EXEC_FENCE_IN, args.rsvd2 = 0);
    uint32_t syncobj = make_syncobj(i915.fd);
    struct unbind_drm_i915_gem_exec_fence fence = {syncobj, UNBIND_I915_EXEC_FENCE_WAIT};
#define FENCE args.flags |= UNBIND_I915_EXEC_FENCE_ARRAY, args.num_cliprects = 1, args.cliprects_ptr = (uintptr_t)&fence
    CALL(-EINVAL, FENCE);
    fence.flags = 4;
    CALL(-EINVAL, FENCE);
    fence.flags = UNBIND_I915_EXEC_FENCE_SIGNAL;
    CALL(0, FENCE);
    fence.flags = UNBIND_I915_EXEC_FENCE_WAIT;
    CALL(0, FENCE);
    fence.handle = 99;
    CALL(-ENOENT, FENCE);
    fence.handle = syncobj;
    uint64_t point = 3;
    struct unbind_drm_i915_gem_execbuffer_ext_timeline_fences timeline = {
        .fence_count = 1, .handles_ptr = (uintptr_t)&fence, .values_ptr = (uintptr_t)&point};
#define TIMELINE args.flags |= UNBIND_I915_EXEC_USE_EXTENSIONS, args.cliprects_ptr = (uintptr_t)&timeline
    CALL(-EINVAL, TIMELINE); // a point that nobody submitted
    fence.flags = UNBIND_I915_EXEC_FENCE_SIGNAL | UNBIND_I915_EXEC_FENCE_WAIT;
    CALL(-EINVAL, TIMELINE);
    fence.flags = UNBIND_I915_EXEC_FENCE_SIGNAL;
    CALL(0, TIMELINE);
    fence.flags = UNBIND_I915_EXEC_FENCE_WAIT;
    CALL(0, TIMELINE);
    timeline.base.rsvd[3] = 1;
    CALL(-EINVAL, TIMELINE);
    timeline.base.rsvd[3] = 0, timeline.base.name = 7;
    CALL(-EINVAL, TIMELINE);
    i915.context = 99;
    CALL(-ENOENT, (void)args);
}

TEST(discrete, "DG2: only fixed mappings, regions once, CPU access only beside system memory") {
    machine("dg2", NULL);
    struct i915 i915 = i915_open(true);
    struct unbind_drm_i915_gem_create create = {.size = 100};
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_CREATE, &create), 0);
    CHECK_EQUAL(create.size, PAGE);
    create.size = 0;
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_CREATE, &create), -EINVAL);
    for (uint64_t flags = 0; flags < 6; flags++) {
        struct unbind_drm_i915_gem_mmap_offset offset = {.handle = create.handle, .flags = flags};
        CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_MMAP_OFFSET, &offset),
                    flags == UNBIND_I915_MMAP_OFFSET_FIXED ? 0 : flags == 5 ? -EINVAL : -ENODEV);
    }
    struct unbind_drm_i915_gem_memory_class_instance regions[2] = {{1, 0}, {1, 0}};
    struct unbind_drm_i915_gem_create_ext_memory_regions list = {.num_regions = 2, .regions = (uintptr_t)regions};
    struct unbind_drm_i915_gem_create_ext ext = {.size = PAGE, .extensions = (uintptr_t)&list};
#define EXT(result) CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_CREATE_EXT, &ext), result)
    EXT(-EINVAL);
    list.num_regions = 1, EXT(0);
    ext.flags = UNBIND_I915_GEM_CREATE_EXT_FLAG_NEEDS_CPU_ACCESS, EXT(-EINVAL);
    regions[1].memory_class = 0, list.num_regions = 2, EXT(0);
    ext.flags = 2, EXT(-EINVAL), ext.flags = 0;
    list.pad = 1, EXT(-EINVAL), list.pad = 0;
    list.base.flags = 1, EXT(-EINVAL), list.base.flags = 0;
    list.base.name = 9, EXT(-EINVAL), list.base.name = 0;
    regions[0].memory_class = 2, EXT(-EINVAL), regions[0].memory_class = 1;
    ext.size = 17ull << 30, list.num_regions = 1, EXT(-ENOSPC);
    ext.size = 1ull << 50, EXT(-E2BIG);
    struct unbind_drm_i915_gem_set_domain domain = {.handle = create.handle, .read_domains = 1};
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_SET_DOMAIN, &domain), -ENODEV);
}

TEST(params, "parameters and their limits; a set of VM or engines after creation is refused on DG2") {
    machine("tgl", NULL);
    int fd = open_node(0), value = -1;
    struct unbind_drm_i915_getparam get = {.param = UNBIND_I915_PARAM_CHIPSET_ID, .value = &value};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GETPARAM, &get), 0);
    CHECK_EQUAL(value, 0x9a49);
    get.param = UNBIND_I915_PARAM_HAS_ALIASING_PPGTT;
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GETPARAM, &get), 0);
    CHECK_EQUAL(value, 2);
    get.param = 9999;
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GETPARAM, &get), -EINVAL);
    struct unbind_drm_i915_gem_context_create_ext create = {.flags = 4};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, &create), -EINVAL);
    struct unbind_drm_i915_gem_context_create_ext_setparam set = {
        .param = {.param = UNBIND_I915_CONTEXT_PARAM_PRIORITY, .value = 2000}};
    create.flags = 1, create.extensions = (uintptr_t)&set;
#define CREATE(result) CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, &create), result)
    CREATE(-EINVAL);
    set.param.value = (uint64_t)-5ll, CREATE(0);
    set.param.ctx_id = 1, CREATE(-EINVAL), set.param.ctx_id = 0;
    set.param.size = 8, CREATE(-EINVAL), set.param.size = 0;
    set.param.param = UNBIND_I915_CONTEXT_PARAM_VM, set.param.value = 77, CREATE(-ENOENT);
    set.base.name = UNBIND_I915_CONTEXT_CREATE_EXT_CLONE, CREATE(-EINVAL), set.base.name = 0;
    struct unbind_drm_i915_gem_vm_control control = {.flags = 1};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GEM_VM_CREATE, &control), -EINVAL);
    // Up to gen12 a context takes a VM until its first use.
    set.param.param = UNBIND_I915_CONTEXT_PARAM_PRIORITY, set.param.value = 0, CREATE(0);
    struct unbind_drm_i915_gem_context_param param = {.ctx_id = create.ctx_id,
                                                      .param = UNBIND_I915_CONTEXT_PARAM_VM, .value = i915_vm(fd)};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, &param), 0);
    param.param = UNBIND_I915_CONTEXT_PARAM_GTT_SIZE;
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &param), 0);
    param = (struct unbind_drm_i915_gem_context_param){.ctx_id = create.ctx_id,
                                                       .param = UNBIND_I915_CONTEXT_PARAM_VM, .value = i915_vm(fd)};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, &param), -EINVAL);
}

#define ZERO(request, good, type, member)                                                           \
    must_be_zero(fd, request, &(good), sizeof(good), offsetof(struct type, member),                 \
                 offsetof(struct type, member) + sizeof((good).member), #type "." #member)

TEST(reserved, "reserved bytes of i915's ioctls are looked at, where the real driver looks at them") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    int fd = i915.fd;
    struct bo bo = i915_bo(&i915, PAGE);
    struct unbind_drm_i915_gem_wait wait = {.bo_handle = bo.handle};
    ZERO(UNBIND_DRM_IOCTL_I915_GEM_WAIT, wait, unbind_drm_i915_gem_wait, flags);
    struct unbind_drm_i915_reset_stats stats = {.ctx_id = i915.context};
    ZERO(UNBIND_DRM_IOCTL_I915_GET_RESET_STATS, stats, unbind_drm_i915_reset_stats, flags);
    ZERO(UNBIND_DRM_IOCTL_I915_GET_RESET_STATS, stats, unbind_drm_i915_reset_stats, pad);
    struct unbind_drm_i915_gem_context_destroy destroy = {.ctx_id = i915.context};
    ZERO(UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_DESTROY, destroy, unbind_drm_i915_gem_context_destroy, pad);
    struct unbind_drm_i915_gem_vm_control control = {.vm_id = i915.vm};
    ZERO(UNBIND_DRM_IOCTL_I915_GEM_VM_CREATE, control, unbind_drm_i915_gem_vm_control, extensions);
    ZERO(UNBIND_DRM_IOCTL_I915_GEM_VM_CREATE, control, unbind_drm_i915_gem_vm_control, flags);
    ZERO(UNBIND_DRM_IOCTL_I915_GEM_VM_DESTROY, control, unbind_drm_i915_gem_vm_control, extensions);
    ZERO(UNBIND_DRM_IOCTL_I915_GEM_VM_DESTROY, control, unbind_drm_i915_gem_vm_control, flags);
    struct unbind_drm_i915_query query = {.num_items = 0};
    ZERO(UNBIND_DRM_IOCTL_I915_QUERY, query, unbind_drm_i915_query, flags);
    struct unbind_drm_i915_gem_mmap_offset offset = {.handle = bo.handle, .flags = UNBIND_I915_MMAP_OFFSET_WC};
    ZERO(UNBIND_DRM_IOCTL_I915_GEM_MMAP_OFFSET, offset, unbind_drm_i915_gem_mmap_offset, extensions);
    struct unbind_drm_i915_query_item item = {.query_id = 0};
    query.num_items = 1, query.items_ptr = (uintptr_t)&item;
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_QUERY, &query), -EINVAL);
    item.query_id = UNBIND_DRM_I915_QUERY_ENGINE_INFO, item.flags = 1;
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_QUERY, &query), 0);
    CHECK_EQUAL(item.length, -EINVAL);

    struct unbind_drm_syncobj_destroy gone = {.handle = make_syncobj(fd)};
    ZERO(UNBIND_DRM_IOCTL_SYNCOBJ_DESTROY, gone, unbind_drm_syncobj_destroy, pad);
    struct unbind_drm_syncobj_handle export = {.handle = gone.handle};
    ZERO(UNBIND_DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, export, unbind_drm_syncobj_handle, pad);
    ZERO(UNBIND_DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, export, unbind_drm_syncobj_handle, pad);
    struct unbind_drm_syncobj_array array = {.handles = (uintptr_t)&gone.handle, .count_handles = 1};
    ZERO(UNBIND_DRM_IOCTL_SYNCOBJ_RESET, array, unbind_drm_syncobj_array, pad);
    ZERO(UNBIND_DRM_IOCTL_SYNCOBJ_SIGNAL, array, unbind_drm_syncobj_array, pad);
    struct unbind_drm_syncobj_transfer transfer = {.src_handle = gone.handle, .dst_handle = gone.handle};
    ZERO(UNBIND_DRM_IOCTL_SYNCOBJ_TRANSFER, transfer, unbind_drm_syncobj_transfer, pad);
    uint64_t point = 1;
    struct unbind_drm_syncobj_timeline_array line = {.handles = (uintptr_t)&gone.handle, .count_handles = 1,
                                                     .points = (uintptr_t)&point};
    ZERO(UNBIND_DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, line, unbind_drm_syncobj_timeline_array, flags);
}
