/* SPDX-License-Identifier: MIT */
/* Failures put in on purpose, limits, delays, schedules, and the lies that tests of the library must see through. */
#include <linux/sync_file.h>
#include <sched.h>

#include "i915_support.h"
#undef BATCH_VA
#define bo xe_buffer
#include "xe_support.h"
#undef bo

#define VA 0x200000000ull

TEST(injection, "the n-th call of a name fails with the errno, and a second try works") {
    machine("lnl", "FAIL", "XE_VM_CREATE:2:ENOMEM,XE_VM_BIND:1-2:EAGAIN,mmap:1:EPERM,open:2:EMFILE,GEM_CLOSE:*:EIO,"
                           "SYNCOBJ_CREATE:3+:ENOMEM", NULL);
    int fd = open_node(0);
    CHECK_EQUAL(clibdrm_open("/dev/dri/renderD128"), -EMFILE);
    struct unbind_drm_xe_vm_create vm = {.flags = 0};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_VM_CREATE, &vm), 0);
    uint32_t first = vm.vm_id;
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_VM_CREATE, &vm), -ENOMEM);
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_VM_CREATE, &vm), 0);
    CHECK_EQUAL(vm.vm_id, first + 1);
    struct unbind_drm_xe_vm_bind bind = {.vm_id = first, .num_binds = 1, .bind = xe_unmap_op(VA, PAGE)};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_VM_BIND, &bind), -EAGAIN);
    // libdrm's own loop goes on until it works.
    CHECK_EQUAL(clibdrm_ioctl(fd, UNBIND_DRM_IOCTL_XE_VM_BIND, &bind), 0);
    struct unbind_drm_xe_gem_create create = {.size = PAGE, .placement = 1, .cpu_caching = 1};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_GEM_CREATE, &create), 0);
    struct unbind_drm_xe_gem_mmap_offset offset = {.handle = create.handle};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_GEM_MMAP_OFFSET, &offset), 0);
    void *map;
    CHECK_EQUAL(clibdrm_map(fd, offset.offset, PAGE, &map), -EPERM);
    CHECK_EQUAL(clibdrm_map(fd, offset.offset, PAGE, &map), 0);
    for (int i = 0; i < 3; i++) CHECK_EQUAL(clibdrm_gem_close(fd, create.handle), -EIO);
    uint32_t syncobj;
    for (int i = 0; i < 5; i++) CHECK_EQUAL(clibdrm_syncobj_create(fd, 0, &syncobj), i < 2 ? 0 : -ENOMEM);
    CHECK(log_lines("ioctl XE_VM_BIND", "injected") >= 2);
}

TEST(every_errno, "each errno that the facts list can be put in, by name") {
    static const struct {
        const char *name;
        int error;
    } all[] = {{"EINTR", EINTR},   {"EAGAIN", EAGAIN}, {"ENOMEM", ENOMEM}, {"ENOBUFS", ENOBUFS},
               {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EBUSY", EBUSY},   {"ECANCELED", ECANCELED},
               {"ENODEV", ENODEV}, {"EPERM", EPERM},   {"EFAULT", EFAULT}, {"ENOENT", ENOENT}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "GET_CAP:1:%s", all[i].name);
        machine("lnl", "FAIL", text, NULL);
        int fd = open_node(0);
        struct unbind_drm_get_cap cap = {.capability = UNBIND_DRM_CAP_PRIME};
        CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_GET_CAP, &cap), -all[i].error);
        CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_GET_CAP, &cap), 0);
        close(fd);
    }
}

TEST(each_in_turn, "the name * counts every call, so that each one of a program can be failed in turn") {
    unsigned clean = 0;
    for (unsigned n = 1; n < 8; n++) {
        char text[32];
        snprintf(text, sizeof text, "*:%u:ENOMEM", n);
        machine("lnl", "FAIL", text, NULL);
        int fd = clibdrm_open("/dev/dri/renderD128"), failed = fd < 0;
        struct unbind_drm_xe_vm_create vm = {.flags = 0};
        struct unbind_drm_xe_gem_create create = {.size = PAGE, .placement = 1, .cpu_caching = 1};
        uint32_t syncobj;
        if (fd < 0) {
            CHECK_EQUAL(n, 1);
            continue;
        }
        failed += call(fd, UNBIND_DRM_IOCTL_XE_VM_CREATE, &vm) == -ENOMEM;
        failed += call(fd, UNBIND_DRM_IOCTL_XE_GEM_CREATE, &create) == -ENOMEM;
        failed += clibdrm_syncobj_create(fd, 0, &syncobj) == -ENOMEM;
        CHECK_EQUAL(failed, n <= 4);
        clean += !failed;
        close(fd);
    }
    CHECK_EQUAL(clean, 3);
}

TEST(limits, "more binds than fit: ENOBUFS; more jobs than fit: EAGAIN until some are done") {
    machine("lnl", "BIND_LIMIT", "4", "QUEUE_LIMIT", "2", NULL);
    struct xe xe = xe_open(0);
    struct unbind_drm_xe_vm_bind_op ops[5];
    for (unsigned i = 0; i < 5; i++) ops[i] = xe_unmap_op(VA + i * PAGE, PAGE);
    CHECK_EQUAL(xe_bind(&xe, 0, ops, 5, NULL, 0), -ENOBUFS);
    CHECK_EQUAL(xe_bind(&xe, 0, ops, 4, NULL, 0), 0);
    struct xe_buffer word = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(word.handle, 0, VA, PAGE)), 0);
    struct batch_text batch = {.count = 0};
    batch_wait(&batch, VA, 1);
    batch_end(&batch);
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, NULL, 0), 0);
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, NULL, 0), 0);
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, NULL, 0), -EAGAIN);
    __atomic_store_n(&word.map[0], 1, __ATOMIC_SEQ_CST);
    int result;
    while ((result = xe_exec(&xe, xe.queue, &batch, NULL, 0)) == -EAGAIN) sched_yield();
    CHECK_EQUAL(result, 0);
}

TEST(delays, "GPU work and binds take as long as they are told") {
    machine("lnl", "DELAY", "exec:30000", NULL);
    struct xe xe = xe_open(0);
    struct xe_buffer target = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(target.handle, 0, VA, PAGE)), 0);
    uint64_t start = now_ns();
    CHECK_EQUAL(xe_store(&xe, VA, 1), 0);
    CHECK(now_ns() - start >= 30000000);
    close(xe.fd);
    machine("lnl", "DELAY", "bind:30000", NULL);
    start = now_ns();
    xe = xe_open(0);
    CHECK(now_ns() - start >= 30000000);
}

TEST(hangs, "a batch that does not end is killed, its queue banned, its fence signals") {
    machine("lnl", "HANG_MS", "30", NULL);
    struct xe xe = xe_open(0);
    struct batch_text batch = {.count = 0};
    batch_add(&batch, 0x18800101);
    batch_address(&batch, BATCH_VA);
    CHECK_EQUAL(xe_run(&xe, &batch), 0);
    CHECK(xe_banned(&xe, xe.queue));
    uint64_t word = 0;
    struct unbind_drm_xe_wait_user_fence wait = {.addr = (uintptr_t)&word, .value = 1, .mask = ~0ull, .timeout = -1,
                                                 .exec_queue_id = xe.queue};
    CHECK_EQUAL(call(xe.fd, UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE, &wait), -EIO);
}

/* The order in which binds of two queues, all ready at once, are carried out: as bits, 1 for the second queue. */
static unsigned order(const char *schedule, const char *seed) {
    machine("lnl", "SCHEDULE", schedule, "SEED", seed, NULL);
    struct xe xe = xe_open(0);
    struct xe_buffer words = xe_bo(xe.fd, PAGE, 1);
    uint32_t queues[2] = {xe_queue(xe.fd, xe.vm, 5), xe_queue(xe.fd, xe.vm, 5)}, all[16], count = 0;
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(words.handle, 0, VA, PAGE)), 0);
    uint32_t start = make_syncobj(xe.fd), go = make_syncobj(xe.fd);
    struct batch_text batch = {.count = 0};
    batch_wait(&batch, VA, 1);
    batch_end(&batch);
    struct unbind_drm_xe_sync sync = xe_signal(go);
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, &sync, 1), 0);
    for (unsigned i = 0; i < 16; i++) {
        struct unbind_drm_xe_vm_bind_op op = xe_map_op(words.handle, 0, VA + MIB + i * PAGE, PAGE);
        all[count] = make_syncobj(xe.fd);
        struct unbind_drm_xe_sync syncs[2] = {xe_wait(go), xe_signal(all[count++])};
        CHECK_EQUAL(xe_bind(&xe, queues[i % 2], &op, 1, syncs, 2), 0);
    }
    __atomic_store_n(&words.map[0], 1, __ATOMIC_SEQ_CST);
    CHECK_EQUAL(clibdrm_syncobj_wait(xe.fd, all, 16, INT64_MAX, UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL, NULL), 0);
    (void)start;
    // When each one signalled is in its sync file.
    uint64_t times[16];
    for (unsigned i = 0; i < 16; i++) {
        int file;
        struct sync_fence_info fence = {.status = 0};
        struct sync_file_info info = {.num_fences = 1, .sync_fence_info = (uintptr_t)&fence};
        CHECK_EQUAL(clibdrm_syncobj_export_sync_file(xe.fd, all[i], &file), 0);
        CHECK_EQUAL(call(file, SYNC_IOC_FILE_INFO, &info), 0);
        CHECK_EQUAL(info.status, 1);
        times[i] = fence.timestamp_ns;
        close(file);
    }
    unsigned result = 0;
    for (unsigned rank = 0; rank < 16; rank++) {
        unsigned earliest = 0;
        for (unsigned i = 0; i < 16; i++)
            if (times[i] < times[earliest]) earliest = i;
        times[earliest] = UINT64_MAX;
        result |= (earliest % 2) << rank;
        // Within a queue the order holds.
        for (unsigned i = earliest % 2; i < earliest; i += 2) CHECK_EQUAL(times[i], UINT64_MAX);
    }
    close(xe.fd);
    return result;
}

TEST(schedules, "between queues binds are reordered, within a queue never; the same seed gives the same order") {
    unsigned first = order("step", "1"), seen = 0;
    CHECK_EQUAL(order("step", "1"), first);
    for (char seed[2] = "2"; seed[0] < '9'; seed[0]++) seen += order("step", seed) != first;
    CHECK(seen > 0);
    CHECK_EQUAL(order("newest", "1") >> 0 & 1, 1); // the younger queue goes first
    order("random", "3");
}

/* ---- lies: each one is visible in bytes or in time */

static uint32_t xe_write_after_unmap(const char *lie) {
    machine("lnl", "LIE", lie, NULL);
    struct xe xe = xe_open(0);
    struct xe_buffer target = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(target.handle, 0, VA, PAGE)), 0);
    CHECK_EQUAL(xe_store(&xe, VA, 1), 0);
    CHECK_EQUAL(xe_bind_now(&xe, xe_unmap_op(VA, PAGE)), 0);
    xe_store(&xe, VA, 2);
    uint32_t value = target.map[0];
    close(xe.fd);
    return value;
}

TEST(lies_xe, "xe: a dropped invalidation or a kept entry shows in an object that was unmapped") {
    CHECK_EQUAL(xe_write_after_unmap(""), 1);
    CHECK_EQUAL(xe_write_after_unmap("no-tlb-flush"), 2);
    CHECK(log_lines("stale vm=", "write") > 0);
    CHECK_EQUAL(xe_write_after_unmap("keep-pte"), 2);
}

static uint32_t i915_write_after_move(const char *lie) {
    machine("tgl", "LIE", lie, NULL);
    struct i915 i915 = i915_open(false);
    struct bo target = i915_bo(&i915, PAGE);
    struct unbind_drm_i915_gem_exec_object2 list[2] = {i915_at(target.handle, VA)};
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 1), 0);
    list[0] = i915_at(target.handle, VA + MIB);
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 2), 0);
    uint32_t value = target.map[0];
    close(i915.fd);
    return value;
}

TEST(lies_i915, "i915: a dropped flush or a kept entry shows in an object that was moved") {
    CHECK_EQUAL(i915_write_after_move(""), 1);
    CHECK_EQUAL(i915_write_after_move("no-tlb-flush"), 2);
    CHECK_EQUAL(i915_write_after_move("keep-pte"), 2);
}

/* Whether an unmap behind a batch that does not end is told to be over: too early. */
static bool unmap_is_early(const char *lie) {
    machine("lnl", "LIE", lie, NULL);
    struct xe xe = xe_open(0);
    struct xe_buffer word = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(word.handle, 0, VA, PAGE)), 0);
    uint32_t work = make_syncobj(xe.fd), done = make_syncobj(xe.fd);
    struct batch_text batch = {.count = 0};
    batch_wait(&batch, VA, 1);
    batch_end(&batch);
    struct unbind_drm_xe_sync syncs[2] = {xe_signal(work)};
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, syncs, 1), 0);
    struct unbind_drm_xe_vm_bind_op op = xe_unmap_op(VA + MIB, PAGE);
    syncs[0] = xe_wait(work), syncs[1] = xe_signal(done);
    CHECK_EQUAL(xe_bind(&xe, 0, &op, 1, syncs, 2), 0);
    bool early = signals(xe.fd, done, 20);
    __atomic_store_n(&word.map[0], 1, __ATOMIC_SEQ_CST);
    CHECK(signals(xe.fd, done, 5000));
    close(xe.fd);
    return early;
}

TEST(lies_time, "an in-fence that is ignored and an out-fence that is early show in the order of things") {
    CHECK(!unmap_is_early(""));
    CHECK(unmap_is_early("ignore-in-fence"));
    CHECK(unmap_is_early("signal-early"));
}

TEST(lost_write, "a store that is lost shows in the object") {
    machine("lnl", "LIE", "lose-write", NULL);
    struct xe xe = xe_open(0);
    struct xe_buffer target = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(target.handle, 0, VA, PAGE)), 0);
    CHECK_EQUAL(xe_store(&xe, VA, 1), 0);
    CHECK_EQUAL(target.map[0], 0);
}

/* ---- threads */

#define WORKERS 4
struct worker {
    struct xe *xe;
    unsigned number;
};

static void *work(void *argument) {
    struct worker *worker = argument;
    struct xe *xe = worker->xe;
    uint64_t base = VA + worker->number * 64 * MIB;
    uint32_t queue = xe_queue(xe->fd, xe->vm, 5), copy = xe_queue(xe->fd, xe->vm, 1), done = make_syncobj(xe->fd);
    struct xe_buffer batches = xe_bo(xe->fd, PAGE, 1), target = xe_bo(xe->fd, PAGE, 1);
    struct unbind_drm_xe_sync sync = xe_signal(done);
    struct unbind_drm_xe_vm_bind_op op = xe_map_op(batches.handle, 0, base, PAGE);
    CHECK_EQUAL(xe_bind(xe, queue, &op, 1, &sync, 1), 0);
    CHECK(signals(xe->fd, done, 10000));
    for (uint32_t i = 1; i <= 30; i++) {
        uint64_t address = base + MIB + i * PAGE;
        struct batch_text batch = {.count = 0};
        batch_store(&batch, address, i);
        batch_end(&batch);
        memcpy(batches.map, batch.dwords, batch.count * 4);
        op = xe_map_op(target.handle, 0, address, PAGE);
        struct unbind_drm_xe_sync syncs[2] = {xe_signal(done)};
        CHECK_EQUAL(xe_bind(xe, queue, &op, 1, syncs, 1), 0);
        struct unbind_drm_xe_exec exec = {.exec_queue_id = copy, .num_syncs = 2, .syncs = (uintptr_t)syncs,
                                          .address = base, .num_batch_buffer = 1};
        syncs[0] = xe_wait(done), syncs[1] = xe_signal(done);
        CHECK_EQUAL(call(xe->fd, UNBIND_DRM_IOCTL_XE_EXEC, &exec), 0);
        op = xe_unmap_op(address, PAGE);
        CHECK_EQUAL(xe_bind(xe, queue, &op, 1, syncs, 2), 0);
        CHECK(signals(xe->fd, done, 10000));
        CHECK_EQUAL(target.map[0], i);
    }
    return NULL;
}

TEST(threads, "threads bind, run and unbind in one VM at once, each sees its own") {
    machine("bmg", "DELAY", "exec:~200", NULL);
    struct xe xe = xe_open(0);
    pthread_t threads[WORKERS];
    struct worker workers[WORKERS];
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){&xe, i};
        pthread_create(&threads[i], NULL, work, &workers[i]);
    }
    for (unsigned i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
    close(xe.fd);
}
