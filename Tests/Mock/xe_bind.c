/* SPDX-License-Identifier: MIT */
/* What binds, unbinds and batches of xe do in the mock: the bytes prove it. */
#include "xe_support.h"

#define VA 0x200000000ull

TEST(store, "a batch stores through a mapping, on integrated and discrete") {
    static const char *const machines[] = {"lnl", "bmg"};
    for (int i = 0; i < 2; i++) {
        machine(machines[i], NULL);
        struct xe xe = xe_open(0);
        struct bo bo = xe_bo(xe.fd, 4 * PAGE, i ? 2 : 1);
        CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, PAGE, VA, 2 * PAGE)), 0);
        CHECK_EQUAL(xe_store(&xe, VA + 8, 0xabcd), 0);
        CHECK_EQUAL(bo.map[PAGE / 4 + 2], 0xabcd);
        // Bits above the address space do not count in commands.
        CHECK_EQUAL(xe_store(&xe, (VA + 12) | 0xffff000000000000, 0x1234), 0);
        CHECK_EQUAL(bo.map[PAGE / 4 + 3], 0x1234);
        CHECK(!xe_banned(&xe, xe.queue));
        close(xe.fd);
    }
}

TEST(copies, "both copy commands move the bytes") {
    machine("bmg", NULL);
    struct xe xe = xe_open(0);
    struct bo from = xe_bo(xe.fd, 8 * PAGE, 1), to = xe_bo(xe.fd, 8 * PAGE, 2);
    for (unsigned i = 0; i < 8 * 1024; i++) from.map[i] = i * 7 + 1;
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(from.handle, 0, VA, from.size)), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(to.handle, 0, VA + MIB, to.size)), 0);
    struct batch_text batch = {.count = 0};
    batch_fast_copy(&batch, VA + MIB, VA, 4);
    batch_add(&batch, 0x56800008 | 1u << 19); // MEM_COPY, 256 bytes a unit
    batch_add(&batch, 4 * 16 - 1);
    batch_add(&batch, 0), batch_add(&batch, 0), batch_add(&batch, 0);
    batch_address(&batch, VA + 4 * PAGE);
    batch_address(&batch, VA + MIB + 4 * PAGE);
    batch_add(&batch, 0);
    batch_end(&batch);
    CHECK_EQUAL(xe_run(&xe, &batch), 0);
    CHECK(memcmp(from.map, to.map, 8 * PAGE) == 0);
}

TEST(fills, "Xe2 fills with MEM_SET and XY_FAST_COLOR_BLT, and lacks the old blitter") {
    machine("lnl", "HANG_MS", "200", NULL);
    struct xe xe = xe_open(0);
    struct bo bo = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA, PAGE)), 0);
    struct batch_text batch = {.count = 0};
    static const uint32_t set[] = {0x56c00005, 11, 0, 0, VA & 0xffffffff, VA >> 32, 0x5au << 24 | 3 << 3};
    for (int i = 0; i < 7; i++) batch_add(&batch, set[i]);
    static const uint32_t color[16] = {0x5110000e,      255,       4,        2 << 16 | 6,
                                       VA & 0xffffffff, VA >> 32, 1u << 31, 0x11223344};
    for (int i = 0; i < 16; i++) batch_add(&batch, color[i]);
    batch_end(&batch);
    CHECK_EQUAL(xe_run(&xe, &batch), 0);
    for (unsigned i = 0; i < PAGE / 4; i++) {
        bool colored = i / 64 < 2 && i % 64 >= 4 && i % 64 < 6;
        CHECK_EQUAL(bo.map[i], i < 3 ? 0x5a5a5a5a : colored ? 0x11223344 : 0);
    }
    batch.count = 0;
    static const uint32_t old[] = {0x54300005, 0x03f00100, 4, 2 << 16 | 6, VA & 0xffffffff, VA >> 32, 1};
    for (int i = 0; i < 7; i++) batch_add(&batch, old[i]);
    batch_end(&batch);
    CHECK_EQUAL(xe_run(&xe, &batch), 0);
    CHECK(xe_banned(&xe, xe.queue));
    CHECK_EQUAL(bo.map[4], 0x11223344);
}

TEST(no_page, "an access that nothing maps bans the queue, and only the queue") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    CHECK_EQUAL(xe_store(&xe, VA, 1), 0);
    CHECK(xe_banned(&xe, xe.queue));
    CHECK_EQUAL(xe_store(&xe, VA, 1), -ECANCELED);
    xe.queue = xe_queue(xe.fd, xe.vm, UNBIND_DRM_XE_ENGINE_CLASS_COPY);
    struct bo bo = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA, PAGE)), 0);
    CHECK_EQUAL(xe_store(&xe, VA, 5), 0);
    CHECK_EQUAL(bo.map[0], 5);
}

TEST(scratch, "a VM with a scratch page takes stray writes and reads zero") {
    machine("lnl", NULL);
    struct xe xe = xe_open(UNBIND_DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE);
    struct bo bo = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_store(&xe, VA, 1), 0);
    CHECK(!xe_banned(&xe, xe.queue));
    // What the TLB remembers of scratch is forgotten before the next batch.
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA, PAGE)), 0);
    CHECK_EQUAL(xe_store(&xe, VA, 2), 0);
    CHECK_EQUAL(bo.map[0], 2);
}

TEST(split, "an unmap in the middle leaves both ends, with their offsets") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo bo = xe_bo(xe.fd, 3 * PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA, 3 * PAGE)), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_unmap_op(VA + PAGE, PAGE)), 0);
    CHECK_EQUAL(xe_store(&xe, VA, 1), 0);
    CHECK_EQUAL(xe_store(&xe, VA + 2 * PAGE, 3), 0);
    CHECK(!xe_banned(&xe, xe.queue));
    CHECK_EQUAL(bo.map[0], 1);
    CHECK_EQUAL(bo.map[2 * PAGE / 4], 3);
    CHECK_EQUAL(xe_store(&xe, VA + PAGE, 2), 0);
    CHECK(xe_banned(&xe, xe.queue));
    CHECK_EQUAL(bo.map[PAGE / 4], 0);
}

TEST(over, "a map over mappings replaces them, and cuts what reaches out") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo old = xe_bo(xe.fd, 4 * PAGE, 1), new = xe_bo(xe.fd, 2 * PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(old.handle, 0, VA, 4 * PAGE)), 0);
    for (int i = 0; i < 4; i++) CHECK_EQUAL(xe_store(&xe, VA + (unsigned)i * PAGE, 1), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(new.handle, 0, VA + PAGE, 2 * PAGE)), 0);
    for (int i = 0; i < 4; i++) CHECK_EQUAL(xe_store(&xe, VA + (unsigned)i * PAGE, 2), 0);
    for (unsigned i = 0; i < 4; i++) CHECK_EQUAL(old.map[i * PAGE / 4], i == 0 || i == 3 ? 2 : 1);
    CHECK_EQUAL(new.map[0], 2);
    CHECK_EQUAL(new.map[PAGE / 4], 2);
}

TEST(unmap_all, "UNMAP_ALL removes every mapping of an object and no other; unmapping nothing is fine") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo bo = xe_bo(xe.fd, PAGE, 1), other = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA, PAGE)), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(other.handle, 0, VA + PAGE, PAGE)), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA + 2 * PAGE, PAGE)), 0);
    struct unbind_drm_xe_vm_bind_op all = {.obj = bo.handle, .op = UNBIND_DRM_XE_VM_BIND_OP_UNMAP_ALL, .pat_index = 1};
    CHECK_EQUAL(xe_bind_now(&xe, all), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_unmap_op(VA, PAGE)), 0);
    CHECK_EQUAL(xe_store(&xe, VA + PAGE, 7), 0);
    CHECK_EQUAL(other.map[0], 7);
    CHECK_EQUAL(xe_store(&xe, VA + 2 * PAGE, 7), 0);
    CHECK(xe_banned(&xe, xe.queue));
    CHECK_EQUAL(bo.map[0], 0);
}

TEST(null_and_user, "MAP_NULL swallows writes, MAP_USERPTR reaches the process's own memory") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct unbind_drm_xe_vm_bind_op null = xe_map_op(0, 0, VA, PAGE);
    null.flags = UNBIND_DRM_XE_VM_BIND_FLAG_NULL;
    CHECK_EQUAL(xe_bind_now(&xe, null), 0);
    CHECK_EQUAL(xe_store(&xe, VA, 1), 0);
    uint32_t *memory = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct unbind_drm_xe_vm_bind_op user = {.userptr = (uintptr_t)memory, .addr = VA + PAGE, .range = 2 * PAGE,
                                            .op = UNBIND_DRM_XE_VM_BIND_OP_MAP_USERPTR, .pat_index = 1};
    CHECK_EQUAL(xe_bind_now(&xe, user), 0);
    CHECK_EQUAL(xe_store(&xe, VA + 2 * PAGE, 9), 0);
    CHECK_EQUAL(memory[PAGE / 4], 9);
    CHECK(!xe_banned(&xe, xe.queue));
    user.addr = VA + 8 * PAGE;
    user.userptr = 0x1000;
    CHECK_EQUAL(xe_bind_now(&xe, user), -EFAULT);
}

TEST(read_only, "a read-only mapping can be read, and a write to it faults") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo bo = xe_bo(xe.fd, PAGE, 1), to = xe_bo(xe.fd, PAGE, 1);
    struct unbind_drm_xe_vm_bind_op op = xe_map_op(bo.handle, 0, VA, PAGE);
    op.flags = UNBIND_DRM_XE_VM_BIND_FLAG_READONLY;
    CHECK_EQUAL(xe_bind_now(&xe, op), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(to.handle, 0, VA + PAGE, PAGE)), 0);
    bo.map[0] = 77;
    struct batch_text batch = {.count = 0};
    batch_add(&batch, 0x17000003); // MI_COPY_MEM_MEM
    batch_address(&batch, VA + PAGE);
    batch_address(&batch, VA);
    batch_end(&batch);
    CHECK_EQUAL(xe_run(&xe, &batch), 0);
    CHECK_EQUAL(to.map[0], 77);
    CHECK_EQUAL(xe_store(&xe, VA, 1), 0);
    CHECK(xe_banned(&xe, xe.queue));
    CHECK_EQUAL(bo.map[0], 77);
}

TEST(handle_closed, "closing the handle leaves the mapping; destroying the VM does not") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo bo = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA, PAGE)), 0);
    CHECK_EQUAL(clibdrm_gem_close(xe.fd, bo.handle), 0);
    CHECK_EQUAL(xe_store(&xe, VA, 3), 0);
    CHECK_EQUAL(bo.map[0], 3);
    struct unbind_drm_xe_vm_destroy destroy = {.vm_id = xe.vm};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_DESTROY, &destroy), 0);
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_VM_DESTROY, &destroy), -ENOENT);
    CHECK_EQUAL(xe_store(&xe, VA, 4), -ECANCELED);
    CHECK_EQUAL(xe_bind_now(&xe, xe_unmap_op(VA, PAGE)), -ENOENT);
    CHECK_EQUAL(bo.map[0], 3);
}

/* A batch that waits until the first word of a buffer, mapped at this address, is 1. */
static uint32_t gate(struct xe *xe, struct bo *word, uint64_t address) {
    *word = xe_bo(xe->fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(xe, xe_map_op(word->handle, 0, address, PAGE)), 0);
    uint32_t done = make_syncobj(xe->fd);
    struct batch_text batch = {.count = 0};
    batch_wait(&batch, address, 1);
    batch_end(&batch);
    struct unbind_drm_xe_sync sync = xe_signal(done);
    CHECK_EQUAL(xe_exec(xe, xe->queue, &batch, &sync, 1), 0);
    return done;
}
static void open_gate(struct bo *word) { __atomic_store_n(&word->map[0], 1, __ATOMIC_SEQ_CST); }

TEST(fenced_unmap, "an unmap waits for its in-fence, a bind over its range for the unmap, others for nothing") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo word, old = xe_bo(xe.fd, PAGE, 1), new = xe_bo(xe.fd, PAGE, 1);
    uint32_t second = xe_queue(xe.fd, xe.vm, UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND);
    uint32_t third = xe_queue(xe.fd, xe.vm, UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(old.handle, 0, VA, PAGE)), 0);
    uint32_t work = gate(&xe, &word, VA + MIB), unmapped = make_syncobj(xe.fd);
    uint32_t mapped = make_syncobj(xe.fd), elsewhere = make_syncobj(xe.fd);
    struct unbind_drm_xe_vm_bind_op op = xe_unmap_op(VA, PAGE);
    struct unbind_drm_xe_sync syncs[] = {xe_wait(work), xe_signal(unmapped)};
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 2), 0);
    op = xe_map_op(new.handle, 0, VA, PAGE);
    struct unbind_drm_xe_sync sync = xe_signal(mapped);
    CHECK_EQUAL(xe_bind(&xe, second, &op, 1, &sync, 1), 0);
    op = xe_map_op(new.handle, 0, VA + 2 * MIB, PAGE);
    sync = xe_signal(elsewhere);
    CHECK_EQUAL(xe_bind(&xe, third, &op, 1, &sync, 1), 0);
    CHECK(signals(xe.fd, elsewhere, 5000));
    CHECK(!signals(xe.fd, unmapped, 30));
    CHECK(!signals(xe.fd, mapped, 0));
    open_gate(&word);
    CHECK(signals(xe.fd, mapped, 5000));
    CHECK(signals(xe.fd, unmapped, 0));
    CHECK_EQUAL(xe_store(&xe, VA, 6), 0);
    CHECK_EQUAL(new.map[0], 6);
    CHECK_EQUAL(old.map[0], 0);
}

TEST(one_queue, "binds of one queue run in order behind one that waits") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo word, bo = xe_bo(xe.fd, PAGE, 1);
    uint32_t work = gate(&xe, &word, VA + MIB), first = make_syncobj(xe.fd), second = make_syncobj(xe.fd);
    struct unbind_drm_xe_vm_bind_op op = xe_map_op(bo.handle, 0, VA, PAGE);
    struct unbind_drm_xe_sync syncs[] = {xe_wait(work), xe_signal(first)};
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 2), 0);
    op = xe_map_op(bo.handle, 0, VA + 2 * MIB, PAGE);
    struct unbind_drm_xe_sync sync = xe_signal(second);
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, &sync, 1), 0);
    CHECK(!signals(xe.fd, second, 30));
    open_gate(&word);
    CHECK(signals(xe.fd, second, 5000));
    CHECK(signals(xe.fd, first, 0));
}

TEST(no_binds, "a call without binds chains fences") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo word;
    uint32_t work = gate(&xe, &word, VA), out = make_syncobj(xe.fd);
    struct unbind_drm_xe_sync syncs[] = {xe_wait(work), xe_signal(out)};
    CHECK_EQUAL(xe_bind(&xe, 0, NULL, 0, syncs, 2), 0);
    CHECK(!signals(xe.fd, out, 20));
    open_gate(&word);
    CHECK(signals(xe.fd, out, 5000));
    uint64_t fence = 0;
    struct unbind_drm_xe_sync user = {.type = UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE, .flags = 1,
                                      .addr = (uintptr_t)&fence, .timeline_value = 1};
    CHECK_EQUAL(xe_bind(&xe, 0, NULL, 0, &user, 1), -EOPNOTSUPP);
}

TEST(huge_split, "splitting a huge page waits for all work in the VM; small pages do not") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo word, huge = xe_bo(xe.fd, 2 * MIB, 1), small = xe_bo(xe.fd, 4 * PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(huge.handle, 0, VA, 2 * MIB)), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(small.handle, 0, VA + 4 * MIB, 4 * PAGE)), 0);
    gate(&xe, &word, VA + 8 * MIB);
    CHECK_EQUAL(xe_bind_now(&xe, xe_unmap_op(VA + 4 * MIB, PAGE)), 0);
    uint32_t done = make_syncobj(xe.fd);
    struct unbind_drm_xe_vm_bind_op op = xe_unmap_op(VA + PAGE, PAGE);
    struct unbind_drm_xe_sync sync = xe_signal(done);
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, &sync, 1), 0);
    CHECK(!signals(xe.fd, done, 30));
    open_gate(&word);
    CHECK(signals(xe.fd, done, 5000));
}

static int wait_for_word(struct xe *xe, const void *word, uint64_t value, uint32_t queue, int64_t timeout) {
    struct unbind_drm_xe_wait_user_fence wait = {.addr = (uintptr_t)word, .value = value, .mask = ~0ull,
                                                 .op = UNBIND_DRM_XE_UFENCE_WAIT_OP_GTE, .timeout = timeout,
                                                 .exec_queue_id = queue};
    return call(xe->fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait);
}

/* The kernel takes a user fence for signalled a moment after its word was written: until then (-EBUSY) look again. */
static void let_time_pass(struct xe *xe) {
    uint64_t never = 0;
    CHECK_EQUAL(wait_for_word(xe, &never, 1, 0, 1000000), -ETIME);
}

TEST(user_fences, "a mapping bound with a user fence stays until the fence has signalled") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo word, bo = xe_bo(xe.fd, 4 * PAGE, 1);
    uint32_t work = gate(&xe, &word, VA + MIB);
    uint64_t fence = 0;
    struct unbind_drm_xe_vm_bind_op op = xe_map_op(bo.handle, 0, VA, 4 * PAGE);
    struct unbind_drm_xe_sync syncs[] = {
        xe_wait(work),
        {.type = UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE, .flags = 1, .addr = (uintptr_t)&fence, .timeline_value = 42}};
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 2), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_unmap_op(VA, PAGE)), -EBUSY);
    CHECK_EQUAL(xe_bind_now(&xe, op), -EBUSY);
    CHECK_EQUAL(xe_bind_now(&xe, (struct unbind_drm_xe_vm_bind_op){.obj = bo.handle, .op = 3, .pat_index = 1}),
                -EBUSY);
    struct unbind_drm_xe_wait_user_fence wait = {.addr = (uintptr_t)&fence, .value = 42, .mask = ~0ull,
                                                 .timeout = 20000000};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait), -ETIME);
    CHECK_EQUAL(wait.timeout, 0);
    open_gate(&word);
    wait.timeout = 5000000000;
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait), 0);
    CHECK(wait.timeout > 0 && wait.timeout < 5000000000);
    CHECK_EQUAL(__atomic_load_n(&fence, __ATOMIC_SEQ_CST), 42);
    int result;
    while ((result = xe_bind_now(&xe, xe_unmap_op(VA, 4 * PAGE))) == -EBUSY) let_time_pass(&xe);
    CHECK_EQUAL(result, 0);
}

TEST(exec_user_fence, "a batch's user fence is written through the VM") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo bo = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA, PAGE)), 0);
    struct batch_text batch = {.count = 0};
    batch_end(&batch);
    struct unbind_drm_xe_sync user = {.type = UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE, .flags = 1, .addr = VA + 64,
                                      .timeline_value = 17};
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, &user, 1), 0);
    struct unbind_drm_xe_wait_user_fence wait = {.addr = (uintptr_t)&bo.map[16], .value = 17, .mask = ~0ull,
                                                 .timeout = -1, .exec_queue_id = xe.queue};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait), 0);
}

TEST(many, "an unmap of 1,000 neighbours is one call and one invalidation, and does not wait") {
    machine("bmg", NULL);
    struct xe xe = xe_open(0);
    struct bo word;
    static struct unbind_drm_xe_vm_bind_op ops[1000];
    for (unsigned i = 0; i < 1000; i++)
        ops[i] = xe_map_op(xe_bo(xe.fd, PAGE, 2).handle, 0, VA + i * PAGE, PAGE);
    uint32_t done = make_syncobj(xe.fd);
    struct unbind_drm_xe_sync sync = xe_signal(done);
    CHECK_EQUAL(xe_bind(&xe, 0, ops, 1000, &sync, 1), 0);
    CHECK(signals(xe.fd, done, 5000));
    uint32_t work = gate(&xe, &word, VA + 64 * MIB);
    unsigned binds = log_lines("ioctl XE_VM_BIND", ""), flushes = log_lines("tlb-flush", "");
    for (unsigned i = 0; i < 1000; i++) ops[i] = xe_unmap_op(VA + i * PAGE, PAGE);
    struct unbind_drm_xe_sync syncs[] = {xe_wait(work), xe_signal(done)};
    CHECK_EQUAL(xe_bind(&xe, 0, ops, 1000, syncs, 2), 0);
    CHECK(!signals(xe.fd, done, 0));
    open_gate(&word);
    CHECK(signals(xe.fd, done, 5000));
    CHECK_EQUAL(log_lines("ioctl XE_VM_BIND", "") - binds, 1);
    CHECK_EQUAL(log_lines("tlb-flush", "") - flushes, 1);
    CHECK_EQUAL(log_lines("ioctl XE_VM_BIND", "waited=1"), 0);
    CHECK_EQUAL(log_lines("binds=1000", ""), 2);
}

TEST(parallel, "a queue of width two runs two batches; a call without batches chains fences") {
    machine("bmg", NULL);
    struct xe xe = xe_open(0);
    struct bo bo = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA, PAGE)), 0);
    struct unbind_drm_xe_engine_class_instance engines[2] = {{.engine_class = 2, .gt_id = 1},
                                                             {.engine_class = 2, .engine_instance = 1, .gt_id = 1}};
    struct unbind_drm_xe_exec_queue_create create = {.width = 2, .num_placements = 1, .vm_id = xe.vm,
                                                     .instances = (uintptr_t)engines};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_CREATE, &create), 0);
    uint64_t addresses[2];
    for (uint32_t i = 0; i < 2; i++) {
        struct batch_text batch = {.count = 0};
        batch_store(&batch, VA + 4 * i, 50 + i);
        batch_end(&batch);
        addresses[i] = xe_place(&xe, &batch);
    }
    uint32_t done = make_syncobj(xe.fd), chained = make_syncobj(xe.fd);
    struct unbind_drm_xe_sync syncs[2] = {xe_signal(done)};
    struct unbind_drm_xe_exec exec = {.exec_queue_id = create.exec_queue_id, .num_syncs = 1,
                                      .syncs = (uintptr_t)syncs, .address = (uintptr_t)addresses,
                                      .num_batch_buffer = 2};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC, &exec), 0);
    syncs[0] = xe_wait(done), syncs[1] = xe_signal(chained);
    exec = (struct unbind_drm_xe_exec){.exec_queue_id = xe.queue, .num_syncs = 2, .syncs = (uintptr_t)syncs};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC, &exec), 0);
    CHECK(signals(xe.fd, chained, 5000));
    CHECK_EQUAL(bo.map[0], 50);
    CHECK_EQUAL(bo.map[1], 51);
}

TEST(destroyed, "destroying a queue cancels its batches: they signal, and leave no trace") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    struct bo word, bo = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(bo.handle, 0, VA + MIB, PAGE)), 0);
    uint32_t first = gate(&xe, &word, VA), second = make_syncobj(xe.fd);
    struct batch_text batch = {.count = 0};
    batch_store(&batch, VA + MIB, 1);
    batch_end(&batch);
    struct unbind_drm_xe_sync sync = xe_signal(second);
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, &sync, 1), 0);
    struct unbind_drm_xe_exec_queue_destroy gone = {.exec_queue_id = xe.queue};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, &gone), 0);
    CHECK(signals(xe.fd, first, 5000));
    CHECK(signals(xe.fd, second, 5000));
    CHECK_EQUAL(bo.map[0], 0);
    CHECK(log_lines("queue-destroyed", "jobs=2") == 1);
}

TEST(long_running, "a long-running VM: user fences order a bind and a batch, scratch translations are invalidated") {
    machine("lnl", NULL);
    struct xe xe = xe_open(UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE | UNBIND_DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE);
    struct bo bo = xe_bo(xe.fd, PAGE, 1);
    uint64_t fence = 0;
    struct unbind_drm_xe_sync user = {.type = UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE, .flags = 1,
                                      .addr = (uintptr_t)&fence, .timeline_value = 1};
    struct unbind_drm_xe_wait_user_fence wait = {.addr = (uintptr_t)&fence, .value = 1, .mask = ~0ull,
                                                 .op = UNBIND_DRM_XE_UFENCE_WAIT_OP_GTE, .timeout = 5000000000};
    struct unbind_drm_xe_vm_bind_op ops[2] = {xe_map_op(xe.batch_bo, 0, BATCH_VA, 16 * PAGE),
                                              xe_map_op(bo.handle, 0, VA, PAGE)};
    CHECK_EQUAL(xe_bind(&xe, 0, ops, 2, &user, 1), 0);
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait), 0);
    // A stray store first: the TLB remembers scratch for that page.
    struct batch_text batch = {.count = 0};
    batch_store(&batch, VA + MIB, 1);
    batch_store(&batch, VA, 2);
    batch_end(&batch);
    user.addr = VA + 64;
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, &user, 1), 0);
    wait.addr = (uintptr_t)&bo.map[16];
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait), 0);
    CHECK_EQUAL(bo.map[0], 2);
    struct bo late = xe_bo(xe.fd, PAGE, 1);
    ops[0] = xe_map_op(late.handle, 0, VA + MIB, PAGE);
    user.addr = (uintptr_t)&fence, user.timeline_value = 2;
    CHECK_EQUAL(xe_bind(&xe, 0, ops, 1, &user, 1), 0);
    wait.addr = (uintptr_t)&fence, wait.value = 2, wait.timeout = 5000000000;
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait), 0);
    user.addr = VA + 64, user.timeline_value = 3;
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, &user, 1), 0);
    wait.addr = (uintptr_t)&bo.map[16], wait.value = 3, wait.timeout = 5000000000;
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait), 0);
    CHECK_EQUAL(late.map[0], 1);
}

/* A long-running VM with its batches bound, and the word that its user fences are written to. */
static struct xe open_long_running(uint64_t *fence) {
    struct xe xe = xe_open(UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE);
    struct unbind_drm_xe_sync user = {.type = UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE, .flags = 1,
                                      .addr = (uintptr_t)fence, .timeline_value = 1};
    struct unbind_drm_xe_vm_bind_op op = xe_map_op(xe.batch_bo, 0, BATCH_VA, 16 * PAGE);
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, &user, 1), 0);
    return xe;
}

static int bind_with_fence(struct xe *xe, struct unbind_drm_xe_vm_bind_op op, uint64_t *fence, uint64_t value) {
    struct unbind_drm_xe_sync user = {.type = UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE, .flags = 1,
                                      .addr = (uintptr_t)fence, .timeline_value = value};
    return xe_bind(xe, 0, &op, 1, &user, 1);
}

TEST(never_killed, "a batch of a long-running VM runs for longer than others may, and its queue's end ends it") {
    machine("lnl", "HANG_MS", "30", NULL);
    unsigned hangs = log_lines("hang vm", "");
    uint64_t fence = 0;
    struct xe xe = open_long_running(&fence);
    struct bo word = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(bind_with_fence(&xe, xe_map_op(word.handle, 0, VA, PAGE), &fence, 2), 0);
    CHECK_EQUAL(wait_for_word(&xe, &fence, 2, 0, -1), 0);
    for (unsigned round = 0; round < 2; round++) {
        uint32_t queue = xe_queue(xe.fd, xe.vm, UNBIND_DRM_XE_ENGINE_CLASS_COPY);
        struct unbind_drm_xe_sync user = {.type = UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE, .flags = 1, .addr = VA + 64,
                                          .timeline_value = 1 + round};
        struct batch_text batch = {.count = 0};
        batch_wait(&batch, VA, 1 + round);
        batch_end(&batch);
        CHECK_EQUAL(xe_exec(&xe, queue, &batch, &user, 1), 0);
        CHECK_EQUAL(wait_for_word(&xe, &word.map[16], 1 + round, queue, 90000000), -ETIME);
        CHECK(!xe_banned(&xe, queue));
        if (round == 0) open_gate(&word);
        struct unbind_drm_xe_exec_queue_destroy gone = {.exec_queue_id = queue};
        if (round == 1) CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_DESTROY, &gone), 0);
        CHECK_EQUAL(wait_for_word(&xe, &word.map[16], 1 + round, round ? 0 : queue, 50000000), round ? -ETIME : 0);
    }
    CHECK_EQUAL(log_lines("hang vm", ""), hangs);
}

TEST(cut_busy, "what is left of a mapping that an unmap with a user fence cut is busy until that has signalled") {
    machine("lnl", "FENCE_LAG", "40000", NULL);
    uint64_t fence = 0;
    struct xe xe = open_long_running(&fence);
    struct bo bo = xe_bo(xe.fd, 4 * PAGE, 1);
    CHECK_EQUAL(bind_with_fence(&xe, xe_map_op(bo.handle, 0, VA, 4 * PAGE), &fence, 2), 0);
    CHECK_EQUAL(wait_for_word(&xe, &fence, 2, 0, -1), 0);
    // The word is there, and the fence has not signalled.
    CHECK_EQUAL(bind_with_fence(&xe, xe_unmap_op(VA + PAGE, PAGE), &fence, 3), -EBUSY);
    int result;
    while ((result = bind_with_fence(&xe, xe_unmap_op(VA + PAGE, PAGE), &fence, 3)) == -EBUSY) let_time_pass(&xe);
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(wait_for_word(&xe, &fence, 3, 0, -1), 0);
    CHECK_EQUAL(bind_with_fence(&xe, xe_unmap_op(VA, PAGE), &fence, 4), -EBUSY);
    CHECK_EQUAL(bind_with_fence(&xe, xe_unmap_op(VA + 2 * PAGE, PAGE), &fence, 4), -EBUSY);
    // Where nothing is there is nothing busy.
    CHECK_EQUAL(bind_with_fence(&xe, xe_unmap_op(VA + PAGE, PAGE), &fence, 4), 0);
    while ((result = bind_with_fence(&xe, xe_unmap_op(VA, 4 * PAGE), &fence, 5)) == -EBUSY) let_time_pass(&xe);
    CHECK_EQUAL(result, 0);
    CHECK_EQUAL(wait_for_word(&xe, &fence, 5, 0, -1), 0);
}
