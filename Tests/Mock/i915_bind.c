/* SPDX-License-Identifier: MIT */
/* What execbuffers bind and unbind on the mock's i915: the bytes prove it. */
#include "i915_support.h"

#define VA 0x200000000ull

typedef struct unbind_drm_i915_gem_exec_object2 object;

TEST(store, "a batch stores through a pinned object, low and in the upper half, on all i915 machines") {
    static const char *const machines[] = {"tgl", "adl", "dg2"};
    for (int i = 0; i < 3; i++) {
        machine(machines[i], NULL);
        struct i915 i915 = i915_open(i == 2);
        struct bo bo = i915_bo(&i915, 2 * PAGE);
        object list[2] = {i915_at(bo.handle, 0)};
        CHECK_EQUAL(i915_store(&i915, list, 1, PAGE + 4, 11), 0);
        CHECK_EQUAL(bo.map[PAGE / 4 + 1], 11);
        list[0] = i915_at(bo.handle, 0xffffffc00000);
        CHECK_EQUAL(i915_store(&i915, list, 1, canonical(0xffffffc00008), 12), 0);
        CHECK_EQUAL(bo.map[2], 12);
        close(i915.fd);
    }
}

TEST(moved, "pinning an object elsewhere unbinds the old place; stray writes vanish without a fault") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo bo = i915_bo(&i915, PAGE);
    object list[2] = {i915_at(bo.handle, VA)};
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 1), 0);
    list[0] = i915_at(bo.handle, VA + MIB);
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 2), 0);
    CHECK_EQUAL(bo.map[0], 1);
    CHECK_EQUAL(i915_store(&i915, list, 1, VA + MIB, 3), 0);
    CHECK_EQUAL(bo.map[0], 3);
}

TEST(stays, "what is bound stays bound in batches that do not list it") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo bo = i915_bo(&i915, PAGE);
    object list[2] = {i915_at(bo.handle, VA)}, none[1];
    CHECK_EQUAL(i915_store(&i915, list, 1, 0, 0), 0);
    CHECK_EQUAL(i915_store(&i915, none, 0, VA, 4), 0);
    CHECK_EQUAL(bo.map[0], 4);
}

TEST(dummy, "pinning another object over it evicts the whole of what it overlaps") {
    machine("adl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo old = i915_bo(&i915, 4 * PAGE), new = i915_bo(&i915, PAGE);
    object list[2] = {i915_at(old.handle, VA)};
    CHECK_EQUAL(i915_store(&i915, list, 1, VA + 3 * PAGE, 1), 0);
    list[0] = i915_at(new.handle, VA);
    CHECK_EQUAL(i915_store(&i915, list, 1, VA + 3 * PAGE, 2), 0);
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 3), 0);
    CHECK_EQUAL(old.map[3 * PAGE / 4], 1);
    CHECK_EQUAL(old.map[0], 0);
    CHECK_EQUAL(new.map[0], 3);
}

TEST(swapped, "two objects may change places in one call") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo one = i915_bo(&i915, PAGE), two = i915_bo(&i915, PAGE);
    object list[3] = {i915_at(one.handle, VA), i915_at(two.handle, VA + PAGE)};
    CHECK_EQUAL(i915_store(&i915, list, 2, VA, 1), 0);
    list[0].offset = VA + PAGE, list[1].offset = VA;
    CHECK_EQUAL(i915_store(&i915, list, 2, VA, 2), 0);
    CHECK_EQUAL(one.map[0], 1);
    CHECK_EQUAL(two.map[0], 2);
}

/* A batch that runs until the first word of the object is 1, listed at this address. */
static struct bo gate(struct i915 *i915, uint64_t address, struct unbind_drm_i915_gem_execbuffer2 *args) {
    struct bo word = i915_bo(i915, PAGE);
    struct batch_text batch = {.count = 0};
    batch_wait(&batch, address, 1);
    batch_end(&batch);
    object list[2] = {i915_at(word.handle, address)};
    CHECK_EQUAL(i915_exec(i915, list, 2, &batch, args), 0);
    return word;
}
static void open_gate(struct bo *word) { __atomic_store_n(&word->map[0], 1, __ATOMIC_SEQ_CST); }

static void *open_later(void *word) {
    struct timespec pause = {0, 30000000};
    nanosleep(&pause, NULL);
    open_gate(word);
    return NULL;
}

TEST(evict_waits, "evicting an object that is in use waits inside the call until it is idle") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo word = gate(&i915, VA, NULL), new = i915_bo(&i915, PAGE);
    pthread_t thread;
    CHECK_EQUAL(i915_wait(&i915, word.handle, 0), -ETIME);
    struct unbind_drm_i915_gem_busy busy = {.handle = word.handle};
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_BUSY, &busy), 0);
    CHECK_EQUAL(busy.busy, 1u << (16 + UNBIND_I915_ENGINE_CLASS_COPY));
    uint64_t start = now_ns();
    pthread_create(&thread, NULL, open_later, &word);
    object list[2] = {i915_at(new.handle, VA)};
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 9), 0);
    CHECK(now_ns() - start >= 25000000);
    pthread_join(thread, NULL);
    CHECK_EQUAL(new.map[0], 9);
    CHECK_EQUAL(word.map[0], 1);
    CHECK(log_lines("EXECBUFFER2", "waited=1") > 0);
    CHECK_EQUAL(i915_wait(&i915, word.handle, 0), 0);
}

TEST(idle_close, "closing the handle unbinds once nothing runs, and not before") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo bo = i915_bo(&i915, PAGE);
    object list[2] = {i915_at(bo.handle, VA)}, none[1];
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 1), 0);
    struct bo word = gate(&i915, VA + MIB, NULL);
    CHECK_EQUAL(clibdrm_gem_close(i915.fd, bo.handle), 0);
    struct unbind_drm_i915_gem_execbuffer2 args = {.flags = 0};
    struct batch_text batch = {.count = 0};
    batch_store(&batch, VA, 2);
    batch_end(&batch);
    CHECK_EQUAL(i915_exec(&i915, none, 1, &batch, &args), 0);
    CHECK_EQUAL(i915_wait(&i915, none[0].handle, -1), 0);
    CHECK_EQUAL(bo.map[0], 2);
    open_gate(&word);
    CHECK_EQUAL(i915_wait(&i915, word.handle, -1), 0);
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
    CHECK_EQUAL(i915_store(&i915, none, 0, VA, 3), 0);
    CHECK_EQUAL(bo.map[0], 2);
}

TEST(implicit, "a writer waits for readers of an object unless it is listed as ASYNC") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo word = gate(&i915, VA, NULL);
    struct unbind_drm_i915_gem_execbuffer2 args = {.flags = 2};
    struct batch_text batch = {.count = 0};
    batch_store(&batch, VA + 64, 5);
    batch_end(&batch);
    object list[2] = {i915_at(word.handle, VA)};
    list[0].flags |= UNBIND_EXEC_OBJECT_WRITE | UNBIND_EXEC_OBJECT_ASYNC;
    CHECK_EQUAL(i915_exec(&i915, list, 2, &batch, &args), 0);
    CHECK_EQUAL(i915_wait(&i915, list[1].handle, 1000000000), 0);
    CHECK_EQUAL(word.map[16], 5);
    batch.dwords[3] = 6;
    list[0] = i915_at(word.handle, VA);
    list[0].flags |= UNBIND_EXEC_OBJECT_WRITE;
    CHECK_EQUAL(i915_exec(&i915, list, 2, &batch, &args), 0);
    CHECK_EQUAL(i915_wait(&i915, list[1].handle, 30000000), -ETIME);
    CHECK_EQUAL(word.map[16], 5);
    open_gate(&word);
    CHECK_EQUAL(i915_wait(&i915, list[1].handle, 5000000000), 0);
    CHECK_EQUAL(word.map[16], 6);
}

TEST(fences, "fence arrays, timeline points and sync files order batches of different engines") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    uint32_t first = make_syncobj(i915.fd), line = make_syncobj(i915.fd), last = make_syncobj(i915.fd);
    struct unbind_drm_i915_gem_exec_fence fence = {first, UNBIND_I915_EXEC_FENCE_SIGNAL};
    struct unbind_drm_i915_gem_execbuffer2 args = {.flags = BLT | UNBIND_I915_EXEC_FENCE_ARRAY, .num_cliprects = 1,
                                                   .cliprects_ptr = (uintptr_t)&fence};
    struct bo word = gate(&i915, VA, &args), bo = i915_bo(&i915, PAGE);

    struct unbind_drm_i915_gem_exec_fence both[2] = {{first, UNBIND_I915_EXEC_FENCE_WAIT},
                                                     {line, UNBIND_I915_EXEC_FENCE_SIGNAL}};
    uint64_t points[2] = {0, 7};
    struct unbind_drm_i915_gem_execbuffer_ext_timeline_fences timeline = {
        .fence_count = 2, .handles_ptr = (uintptr_t)both, .values_ptr = (uintptr_t)points};
    args = (struct unbind_drm_i915_gem_execbuffer2){
        .flags = 0 | UNBIND_I915_EXEC_USE_EXTENSIONS | UNBIND_I915_EXEC_FENCE_OUT,
        .cliprects_ptr = (uintptr_t)&timeline};
    struct batch_text batch = {.count = 0};
    batch_store(&batch, VA + MIB, 1);
    batch_end(&batch);
    object list[2] = {i915_at(bo.handle, VA + MIB)};
    CHECK_EQUAL(i915_exec(&i915, list, 2, &batch, &args), 0);
    int file = (int)(args.rsvd2 >> 32);
    struct pollfd poll_file = {.fd = file, .events = POLLIN};
    CHECK_EQUAL(poll(&poll_file, 1, 20), 0);

    args = (struct unbind_drm_i915_gem_execbuffer2){
        .flags = 2 | UNBIND_I915_EXEC_FENCE_IN | UNBIND_I915_EXEC_FENCE_ARRAY, .num_cliprects = 1,
        .cliprects_ptr = (uintptr_t)&fence, .rsvd2 = (uint32_t)file};
    fence.handle = last;
    batch.dwords[3] = 2;
    CHECK_EQUAL(i915_exec(&i915, list, 2, &batch, &args), 0);
    CHECK_EQUAL(bo.map[0], 0);
    CHECK(!signals(i915.fd, last, 10));
    open_gate(&word);
    CHECK(signals(i915.fd, last, 5000));
    CHECK_EQUAL(bo.map[0], 2);
    CHECK_EQUAL(poll(&poll_file, 1, 1000), 1);
    uint64_t reached = 0;
    CHECK_EQUAL(clibdrm_syncobj_query(i915.fd, &line, &reached, 1, 0), 0);
    CHECK_EQUAL(reached, 7);
    CHECK_EQUAL(close(file), 0);
}

TEST(local_memory, "DG2: local objects are rounded to 64 KiB and pinned at 2 MiB; Linux 7.0 asks for 64 KiB only") {
    for (int later = 0; later < 2; later++) {
        machine(later ? "dg2-later" : "dg2", NULL);
        struct i915 i915 = i915_open(true);
        struct bo local = i915_bo_in(&i915, PAGE, 1, -1, 0), mixed = i915_bo_in(&i915, PAGE, 0, 1, 1);
        CHECK_EQUAL(local.size, 65536);
        CHECK_EQUAL(mixed.size, 65536);
        object list[3] = {i915_at(local.handle, VA + 65536)};
        CHECK_EQUAL(i915_store(&i915, list, 1, VA + 65536, 1), later ? 0 : -EINVAL);
        list[0] = i915_at(local.handle, VA);
        CHECK_EQUAL(i915_store(&i915, list, 1, VA, 1), 0);
        CHECK_EQUAL(local.map[0], 1);
        // The reservation is rounded up too.
        list[1] = i915_at(mixed.handle, VA + 65536);
        CHECK_EQUAL(i915_store(&i915, list, 2, VA, 2), later ? 0 : -EINVAL);
        list[1] = i915_at(mixed.handle, VA + 2 * MIB + PAGE);
        CHECK_EQUAL(i915_store(&i915, list, 2, VA, 3), 0);
        close(i915.fd);
    }
}

TEST(unpinned, "the kernel chooses addresses and tells them") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    struct bo one = i915_bo(&i915, 4 * PAGE), two = i915_bo(&i915, PAGE);
    object list[3] = {{.handle = one.handle}, {.handle = two.handle, .alignment = 65536}};
    CHECK_EQUAL(i915_store(&i915, list, 2, 0, 0), 0);
    uint64_t first = list[0].offset, second = list[1].offset;
    CHECK(first >= 256 * 1024 && first % PAGE == 0 && second % 65536 == 0 && second >= 256 * 1024 && second != first);
    CHECK_EQUAL(i915_store(&i915, list, 2, second, 8), 0);
    CHECK_EQUAL(list[0].offset, first);
    CHECK_EQUAL(two.map[0], 8);
}

TEST(userptr, "a userptr object is the process's own memory, and goes with it") {
    machine("tgl", NULL);
    struct i915 i915 = i915_open(false);
    uint32_t *memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct unbind_drm_i915_gem_userptr user = {.user_ptr = (uintptr_t)memory, .user_size = PAGE,
                                               .flags = UNBIND_I915_USERPTR_PROBE};
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_USERPTR, &user), 0);
    object list[2] = {i915_at(user.handle, VA)};
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 21), 0);
    CHECK_EQUAL(memory[0], 21);
    mprotect(memory, PAGE, PROT_NONE);
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 22), -EFAULT);
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_USERPTR, &user), -EFAULT);
    user.flags = UNBIND_I915_USERPTR_READ_ONLY;
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_USERPTR, &user), -ENODEV);
}

TEST(hang, "a hang kills a context that cannot recover, and counts against one that can") {
    machine("tgl", "HANG_MS", "20", NULL);
    struct i915 i915 = i915_open(false);
    struct batch_text bad = {.count = 0};
    object none[1];
    batch_add(&bad, 0x7a000004); // PIPE_CONTROL on the copy engine
    for (int i = 0; i < 5; i++) batch_add(&bad, 0);
    batch_end(&bad);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(i915_exec(&i915, none, 1, &bad, NULL), 0);
        CHECK_EQUAL(i915_wait(&i915, none[0].handle, -1), 0);
    }
    CHECK_EQUAL(i915_exec(&i915, none, 1, &bad, NULL), -EIO);
    struct unbind_drm_i915_reset_stats stats = {.ctx_id = i915.context};
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GET_RESET_STATS, &stats), 0);
    CHECK_EQUAL(stats.batch_active, 3);
    i915.context = i915_context(i915.fd, i915.vm, false);
    struct bo word = gate(&i915, VA, NULL); // never opened: takes too long
    CHECK_EQUAL(i915_wait(&i915, word.handle, 2000000000), 0);
    CHECK_EQUAL(i915_exec(&i915, none, 1, &bad, NULL), -EIO);
}

TEST(contexts, "the VM's size, its id, and what may be set when") {
    machine("dg2", NULL);
    struct i915 i915 = i915_open(true);
    struct unbind_drm_i915_gem_context_param get = {.ctx_id = i915.context,
                                                    .param = UNBIND_I915_CONTEXT_PARAM_GTT_SIZE};
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &get), 0);
    CHECK_EQUAL(get.value, 1ll << 48);
    get.param = UNBIND_I915_CONTEXT_PARAM_VM;
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM, &get), 0);
    CHECK(get.value && get.value != i915.vm);
    struct unbind_drm_i915_gem_context_param set = {.ctx_id = i915.context, .param = UNBIND_I915_CONTEXT_PARAM_VM,
                                                    .value = get.value};
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM, &set), -EINVAL);
    struct unbind_drm_i915_gem_vm_control control = {.vm_id = (uint32_t)get.value};
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_VM_DESTROY, &control), 0);
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_VM_DESTROY, &control), -ENOENT);
    // The context keeps its VM when the id goes.
    control.vm_id = i915.vm;
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_VM_DESTROY, &control), 0);
    struct bo bo = i915_bo(&i915, PAGE);
    object list[2] = {i915_at(bo.handle, VA)};
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 1), 0);
    CHECK_EQUAL(bo.map[0], 1);
    struct unbind_drm_i915_gem_context_destroy destroy = {.ctx_id = i915.context};
    CHECK_EQUAL(call(i915.fd, UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_DESTROY, &destroy), 0);
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 2), -ENOENT);
    i915.context = 0; // the default one has a VM of its own, and engines by ring
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 3), 0);
    CHECK_EQUAL(bo.map[0], 3);
}

TEST(pressure, "when memory is short what is idle goes; the next batch that lists it has it back") {
    machine("tgl", "PRESSURE", "1", NULL);
    struct i915 i915 = i915_open(false);
    struct bo bo = i915_bo(&i915, PAGE);
    object list[2] = {i915_at(bo.handle, VA)}, none[1];
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 1), 0);
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
    CHECK_EQUAL(i915_store(&i915, none, 0, VA, 2), 0);
    CHECK_EQUAL(bo.map[0], 1);
    CHECK_EQUAL(i915_store(&i915, list, 1, VA, 3), 0);
    CHECK_EQUAL(bo.map[0], 3);
}
