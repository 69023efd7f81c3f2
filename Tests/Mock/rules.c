/* SPDX-License-Identifier: MIT */
/*
 * The rules of xe's ioctls: every reserved field, padding and unknown flag that is
 * not zero is refused, and so are wrong sizes, addresses and combinations. Each
 * byte that must be zero is tried by itself, on a call that works without it.
 */
#include "xe_support.h"

#define VA 0x200000000ull

#define ZERO(request, good, type, member)                                                                    \
    must_be_zero(xe.fd, request, &(good), sizeof(good), offsetof(struct type, member),                       \
                 offsetof(struct type, member) + sizeof((good).member), #type "." #member)

TEST(reserved, "every reserved byte of every xe ioctl is looked at") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct unbind_drm_xe_device_query query = {.query = 0};
    ZERO(UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, query, unbind_drm_xe_device_query, extensions);
    ZERO(UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, query, unbind_drm_xe_device_query, reserved);

    struct unbind_drm_xe_gem_create create = {.size = PAGE, .placement = 1, .cpu_caching = 1};
    ZERO(UNBIND_DRM_IOCTL_XE_GEM_CREATE, create, unbind_drm_xe_gem_create, extensions);
    ZERO(UNBIND_DRM_IOCTL_XE_GEM_CREATE, create, unbind_drm_xe_gem_create, handle);
    ZERO(UNBIND_DRM_IOCTL_XE_GEM_CREATE, create, unbind_drm_xe_gem_create, pad);
    ZERO(UNBIND_DRM_IOCTL_XE_GEM_CREATE, create, unbind_drm_xe_gem_create, reserved);

    struct unbind_drm_xe_gem_mmap_offset offset = {.handle = xe.batch_bo};
    ZERO(UNBIND_DRM_IOCTL_XE_GEM_MMAP_OFFSET, offset, unbind_drm_xe_gem_mmap_offset, extensions);
    ZERO(UNBIND_DRM_IOCTL_XE_GEM_MMAP_OFFSET, offset, unbind_drm_xe_gem_mmap_offset, reserved);

    struct unbind_drm_xe_vm_create vm = {.flags = 0};
    ZERO(UNBIND_DRM_IOCTL_XE_VM_CREATE, vm, unbind_drm_xe_vm_create, extensions);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_CREATE, vm, unbind_drm_xe_vm_create, reserved);
    struct unbind_drm_xe_vm_destroy destroy = {.vm_id = xe.vm};
    ZERO(UNBIND_DRM_IOCTL_XE_VM_DESTROY, destroy, unbind_drm_xe_vm_destroy, pad);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_DESTROY, destroy, unbind_drm_xe_vm_destroy, reserved);

    struct unbind_drm_xe_engine_class_instance engine = {.engine_class = UNBIND_DRM_XE_ENGINE_CLASS_COPY};
    struct unbind_drm_xe_exec_queue_create queue = {.width = 1, .num_placements = 1, .vm_id = xe.vm,
                                                    .instances = (uintptr_t)&engine};
    ZERO(UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_CREATE, queue, unbind_drm_xe_exec_queue_create, reserved);
    struct unbind_drm_xe_exec_queue_destroy gone = {.exec_queue_id = xe.queue};
    ZERO(UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, gone, unbind_drm_xe_exec_queue_destroy, pad);
    ZERO(UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, gone, unbind_drm_xe_exec_queue_destroy, reserved);
    struct unbind_drm_xe_exec_queue_get_property get = {.exec_queue_id = xe.queue};
    ZERO(UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, get, unbind_drm_xe_exec_queue_get_property, extensions);
    ZERO(UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY, get, unbind_drm_xe_exec_queue_get_property, reserved);

    struct unbind_drm_xe_exec exec = {.exec_queue_id = xe.queue};
    ZERO(UNBIND_DRM_IOCTL_XE_EXEC, exec, unbind_drm_xe_exec, extensions);
    ZERO(UNBIND_DRM_IOCTL_XE_EXEC, exec, unbind_drm_xe_exec, pad);
    ZERO(UNBIND_DRM_IOCTL_XE_EXEC, exec, unbind_drm_xe_exec, reserved);

    uint64_t word = 0;
    struct unbind_drm_xe_wait_user_fence wait = {.addr = (uintptr_t)&word, .mask = ~0ull};
    ZERO(UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, wait, unbind_drm_xe_wait_user_fence, extensions);
    ZERO(UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, wait, unbind_drm_xe_wait_user_fence, pad);
    ZERO(UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, wait, unbind_drm_xe_wait_user_fence, pad2);
    ZERO(UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, wait, unbind_drm_xe_wait_user_fence, reserved);
}

TEST(reserved_bind, "every reserved byte of VM_BIND, of its operations and of its syncs is looked at") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct unbind_drm_xe_vm_bind bind = {.vm_id = xe.vm, .num_binds = 1, .bind = xe_unmap_op(VA, PAGE)};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_BIND, &bind), 0);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, extensions);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, pad);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, pad2);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, reserved);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, bind.extensions);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, bind.obj);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, bind.pad);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, bind.prefetch_mem_region_instance);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, bind.pad2);
    ZERO(UNBIND_DRM_IOCTL_XE_VM_BIND, bind, unbind_drm_xe_vm_bind, bind.reserved);

    struct unbind_drm_xe_sync sync = xe_signal(make_syncobj(xe.fd));
    for (size_t i = 0; i < sizeof sync; i++) {
        if (i >= 8 && i < 32) continue; // type, flags, handle (its upper half is not looked at), value
        struct unbind_drm_xe_sync copy = sync;
        ((uint8_t *)&copy)[i] = 1;
        bind.num_syncs = 1;
        bind.syncs = (uintptr_t)&copy;
        CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_BIND, &bind), -EINVAL);
    }
}

TEST(create_rules, "what GEM_CREATE takes and refuses") {
    machine("bmg", NULL);
    int fd = open_node(0);
    static const struct {
        uint64_t size;
        uint32_t placement, flags;
        uint16_t caching;
        int result;
    } cases[] = {
        {PAGE, 1, 0, 1, 0},        {PAGE, 1, 0, 2, 0},       {PAGE, 2, 0, 2, 0},        {PAGE, 3, 0, 2, 0},
        {PAGE, 2, 4, 2, 0},        {PAGE, 1, 1, 1, 0},       {0, 1, 0, 1, -EINVAL},     {100, 1, 0, 1, -EINVAL},
        {PAGE, 0, 0, 1, -EINVAL},  {PAGE, 4, 0, 1, -EINVAL}, {PAGE, 2, 0, 1, -EINVAL},  {PAGE, 1, 0, 0, -EINVAL},
        {PAGE, 1, 0, 3, -EINVAL},  {PAGE, 1, 4, 2, -EINVAL}, {PAGE, 1, 2, 1, -EINVAL},  {PAGE, 1, 16, 1, -EINVAL},
        {13ull << 30, 2, 0, 2, -ENOSPC},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct unbind_drm_xe_gem_create create = {.size = cases[i].size, .placement = cases[i].placement,
                                                  .flags = cases[i].flags, .cpu_caching = cases[i].caching};
        CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_GEM_CREATE, &create), cases[i].result);
    }
    struct unbind_drm_xe_gem_create create = {.size = PAGE, .placement = 1, .cpu_caching = 1, .vm_id = 7};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_GEM_CREATE, &create), -ENOENT);
}

TEST(private, "an object of one VM is not bound in another and not exported") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct unbind_drm_xe_gem_create create = {.size = PAGE, .placement = 1, .cpu_caching = 1, .vm_id = xe.vm};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_GEM_CREATE, &create), 0);
    int file;
    CHECK_EQUAL(clibdrm_prime_to_fd(xe.fd, create.handle, &file), -EPERM);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(create.handle, 0, VA, PAGE)), 0);
    struct unbind_drm_xe_vm_create vm = {.flags = 0};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_CREATE, &vm), 0);
    xe.vm = vm.vm_id;
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(create.handle, 0, VA, PAGE)), -EINVAL);
}

TEST(vm_rules, "VM flags: fault mode needs long-running mode; an LR queue keeps its VM; LR refuses sync objects") {
    machine("lnl", NULL);
    int fd = open_node(0);
    static const int results[16] = {0, 0, 0, 0, -EINVAL, -EINVAL, 0, 0, -EINVAL, -EINVAL, -EINVAL,
                                    -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL};
    for (uint32_t flags = 0; flags < 16; flags++) {
        struct unbind_drm_xe_vm_create vm = {.flags = flags};
        CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_VM_CREATE, &vm), results[flags]);
    }
    struct xe xe = xe_open(UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE);
    struct unbind_drm_xe_vm_destroy destroy = {.vm_id = xe.vm};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_DESTROY, &destroy), -EBUSY);
    struct unbind_drm_xe_vm_bind_op op = xe_map_op(xe.batch_bo, 0, VA, PAGE);
    uint32_t syncobj = make_syncobj(xe.fd);
    struct unbind_drm_xe_sync sync = xe_signal(syncobj);
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, &sync, 1), -EOPNOTSUPP);
    uint64_t fence = 0;
    sync = (struct unbind_drm_xe_sync){.type = UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE, .flags = 1,
                                       .addr = (uintptr_t)&fence, .timeline_value = 3};
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, &sync, 1), 0);
    struct unbind_drm_xe_wait_user_fence wait = {.addr = (uintptr_t)&fence, .value = 3, .mask = ~0ull, .timeout = -1};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait), 0);
    struct unbind_drm_xe_exec_queue_destroy gone = {.exec_queue_id = xe.queue};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, &gone), 0);
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_DESTROY, &destroy), 0);
}

TEST(bind_rules, "operations that VM_BIND refuses, one by one; a refused array changes nothing") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo bo = xe_bo(xe.fd, 4 * PAGE, 1);
    typedef struct unbind_drm_xe_vm_bind_op operation;
    const operation map = xe_map_op(bo.handle, 0, VA, 4 * PAGE), unmap = xe_unmap_op(VA, PAGE);
    const operation user = {.userptr = (uintptr_t)bo.map, .addr = VA, .range = PAGE, .op = 2, .pat_index = 1};
    const operation all = {.obj = bo.handle, .op = UNBIND_DRM_XE_VM_BIND_OP_UNMAP_ALL, .pat_index = 1};
#define WITH(good, member, value_) ({ operation changed = good; changed.member = value_; changed; })
    const struct {
        operation op;
        int result;
    } cases[] = {
        {map, 0},
        {user, 0},
        {all, 0},
        {WITH(all, pat_index, 0), -EINVAL},
        {WITH(map, range, 0), -EINVAL},
        {WITH(map, range, 100), -EINVAL},
        {WITH(map, addr, VA + 1), -EINVAL},
        {WITH(map, obj_offset, 1), -EINVAL},
        {WITH(map, obj_offset, PAGE), -EINVAL},
        {WITH(map, obj_offset, 0xfffffffffffff000), -EINVAL},
        {WITH(map, range, 5 * PAGE), -EINVAL},
        {WITH(map, addr, (1ull << 48) - 4 * PAGE), 0},
        {WITH(map, addr, (1ull << 48) - 3 * PAGE), -EINVAL},
        {WITH(map, addr, 0xffffffffffffc000), -EINVAL},
        {WITH(map, obj, 0), -EINVAL},
        {WITH(map, obj, 999), -ENOENT},
        {WITH(map, op, 9), -EINVAL},
        {WITH(map, flags, UNBIND_DRM_XE_VM_BIND_FLAG_NULL), -EINVAL},
        {WITH(map, flags, UNBIND_DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR), -EINVAL},
        {WITH(map, flags, UNBIND_DRM_XE_VM_BIND_FLAG_DECOMPRESS), -EINVAL},
        {WITH(map, flags, 1u << 20), -EINVAL},
        {WITH(map, pat_index, 0), -EINVAL}, /* cached by the CPU, and not snooped */
        {WITH(map, pat_index, 16), -EINVAL},
        {WITH(map, pat_index, 32), -EINVAL},
        {WITH(map, pat_index, 2), 0},
        {WITH(unmap, obj, bo.handle), -EINVAL},
        {WITH(unmap, range, 0), -EINVAL},
        {WITH(unmap, flags, UNBIND_DRM_XE_VM_BIND_FLAG_NULL), -EINVAL},
        {WITH(unmap, pat_index, 17), -EINVAL},
        {WITH(user, obj, bo.handle), -EINVAL},
        {WITH(user, pat_index, 0), -EINVAL},
        {WITH(user, userptr, (uintptr_t)bo.map + 8), -EINVAL},
        {WITH(all, range, PAGE), -EINVAL},
        {WITH(all, addr, PAGE), -EINVAL},
        {WITH(all, obj, 0), -EINVAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int before = check_failures;
        CHECK_EQUAL(xe_bind_now(&xe, cases[i].op), cases[i].result);
        if (before != check_failures) printf("    case %zu\n", i);
    }
    CHECK_EQUAL(xe_bind_now(&xe, map), 0);
    operation array[3] = {unmap, unmap, WITH(map, range, 1)};
    CHECK_EQUAL(xe_bind(&xe, 0, array, 3, NULL, 0), -EINVAL);
    CHECK_EQUAL(xe_store(&xe, VA, 5), 0);
    CHECK_EQUAL(bo.map[0], 5);
    // Uncached memory may be bound without snooping.
    struct unbind_drm_xe_gem_create create = {.size = PAGE, .placement = 1, .cpu_caching = 2};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_GEM_CREATE, &create), 0);
    operation uncached = xe_map_op(create.handle, 0, VA, PAGE);
    CHECK_EQUAL(xe_bind_now(&xe, WITH(uncached, pat_index, 0)), 0);
}

TEST(sync_rules, "syncs that are refused: nothing to wait for, two user fences, unknown kinds, too many") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    uint32_t empty = make_syncobj(xe.fd);
    uint64_t word = 0;
    struct unbind_drm_xe_vm_bind_op op = xe_unmap_op(VA, PAGE);
    struct unbind_drm_xe_sync user = {.type = 2, .flags = 1, .addr = (uintptr_t)&word};
    struct unbind_drm_xe_sync syncs[2] = {xe_wait(empty)};
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 1), -EINVAL);
    syncs[0].handle = 999;
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 1), -ENOENT);
    syncs[0] = xe_signal(empty);
    syncs[0].type = 3;
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 1), -EINVAL);
    syncs[0] = xe_signal(empty);
    syncs[0].flags = 3;
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 1), -EINVAL);
    syncs[0] = xe_signal(empty);
    syncs[0].type = 1; // a timeline's point 0
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 1), -EINVAL);
    syncs[0] = syncs[1] = user;
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 2), -EINVAL);
    syncs[0].addr += 4;
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 1), -EINVAL);
    syncs[0].addr = 8;
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 1), -EFAULT);
    syncs[0] = user;
    syncs[0].flags = 0;
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 1), -EOPNOTSUPP);
    static struct unbind_drm_xe_sync many[1025];
    for (int i = 0; i < 1025; i++) many[i] = xe_signal(empty);
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, many, 1025), -EINVAL);
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, many, 1024), 0);
    CHECK_EQUAL(xe_bind(&xe, 99, &op, 1, NULL, 0), -ENOENT);
    CHECK_EQUAL(xe_bind(&xe, xe.queue, &op, 1, NULL, 0), -EINVAL); // not a bind queue
}

TEST(queue_rules, "queues: engines that exist, one class, priorities, and EXEC's own rules") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct unbind_drm_xe_engine_class_instance engines[2] = {{.engine_class = 1}, {.engine_class = 1}};
    struct unbind_drm_xe_exec_queue_create create = {.width = 1, .num_placements = 1, .vm_id = xe.vm,
                                                     .instances = (uintptr_t)engines};
#define CREATE(result) CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_CREATE, &create), result)
    CREATE(0);
    create.vm_id = 0, CREATE(-ENOENT), create.vm_id = xe.vm;
    create.width = 0, CREATE(-EINVAL), create.width = 10, CREATE(-EINVAL), create.width = 2, CREATE(0);
    engines[1].engine_class = 0, CREATE(-EINVAL), create.width = 1;
    engines[0].engine_instance = 3, CREATE(-EINVAL), engines[0].engine_instance = 0;
    engines[0].pad = 1, CREATE(-EINVAL), engines[0].pad = 0;
    create.flags = 2, CREATE(-EINVAL), create.flags = 0;
    create.instances = 8, CREATE(-EFAULT), create.instances = (uintptr_t)engines;
    struct unbind_drm_xe_ext_set_property set = {.property = UNBIND_DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY};
    create.extensions = (uintptr_t)&set;
    for (uint64_t i = 0; i < 4; i++) set.value = i, CREATE(i == 3 ? -EINVAL : i == 2 ? -EPERM : 0);
    set.value = 0, set.reserved[1] = 1, CREATE(-EINVAL);
    create.extensions = 0;
    engines[0].engine_class = UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND, CREATE(0);
    create.num_placements = 2, CREATE(-EINVAL);

    struct unbind_drm_xe_exec exec = {.exec_queue_id = xe.queue, .num_batch_buffer = 2};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC, &exec), -EINVAL);
    exec.exec_queue_id = 99;
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC, &exec), -ENOENT);
    exec.exec_queue_id = xe_queue(xe.fd, xe.vm, UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND);
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC, &exec), -EINVAL);
}

TEST(faults, "the next kernel tells a VM's faults") {
    machine("lnl", "NEXT_KERNEL", "1", NULL);
    struct xe xe = xe_open(0);
    xe_store(&xe, VA, 1);
    struct unbind_xe_vm_fault fault;
    struct unbind_drm_xe_vm_get_property get = {.vm_id = xe.vm};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_GET_PROPERTY, &get), 0);
    CHECK_EQUAL(get.size, sizeof fault);
    get.data = (uintptr_t)&fault;
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_GET_PROPERTY, &get), 0);
    CHECK_EQUAL(fault.address, VA);
    CHECK_EQUAL(fault.access_type, UNBIND_FAULT_ACCESS_TYPE_WRITE);
    close(xe.fd);
    machine("lnl", "NEXT_KERNEL", "0", NULL);
    xe = xe_open(0);
    get.vm_id = xe.vm;
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_GET_PROPERTY, &get), -EINVAL);
}

TEST(big_pages, "xe on DG2: 64 KiB in local memory, its own PAT table, a scratch page in every VM, no fault mode") {
    machine("dg2-xe", NULL);
    int fd = open_node(0);
    struct unbind_drm_xe_gem_create create = {.size = PAGE, .placement = 2, .cpu_caching = 2};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_GEM_CREATE, &create), -EINVAL);
    struct unbind_drm_xe_vm_create vm = {.flags = UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE |
                                                  UNBIND_DRM_XE_VM_CREATE_FLAG_FAULT_MODE};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_VM_CREATE, &vm), -EINVAL);
    vm.flags = 0;
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_VM_CREATE, &vm), 0);
    struct xe xe = {.fd = fd, .vm = vm.vm_id, .queue = xe_queue(fd, vm.vm_id, UNBIND_DRM_XE_ENGINE_CLASS_COPY)};
    struct bo local = xe_bo(fd, 16 * PAGE, 2), batches = xe_bo(fd, 16 * PAGE, 1);
    xe.batch_map = batches.map;
    struct unbind_drm_xe_vm_bind_op op = xe_map_op(batches.handle, 0, BATCH_VA, 16 * PAGE);
    CHECK_EQUAL(xe_bind_now(&xe, op), -EINVAL); // index 1 does not snoop here
    op.pat_index = 0;
    CHECK_EQUAL(xe_bind_now(&xe, op), 0);
    op = xe_map_op(local.handle, 0, VA + PAGE, 16 * PAGE);
    op.pat_index = 0;
    CHECK_EQUAL(xe_bind_now(&xe, op), -EINVAL);
    op.addr = VA, op.range = 8 * PAGE;
    CHECK_EQUAL(xe_bind_now(&xe, op), -EINVAL);
    op.range = 16 * PAGE;
    CHECK_EQUAL(xe_bind_now(&xe, op), 0);
    CHECK_EQUAL(xe_store(&xe, VA, 4), 0);
    CHECK_EQUAL(local.map[0], 4);
    CHECK_EQUAL(xe_store(&xe, VA + MIB, 5), 0);
    CHECK(!xe_banned(&xe, xe.queue));
    op.pat_index = 4;
    CHECK_EQUAL(xe_bind_now(&xe, op), -EINVAL);
}
