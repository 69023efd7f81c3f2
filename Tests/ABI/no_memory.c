/* SPDX-License-Identifier: MIT */
/*
 * Every allocation of every call fails once. Without slabs each object is one
 * allocation, so the n-th call of the hook is the n-th thing the function needs.
 * Each time: -ENOMEM, nothing lost, and the same call works afterwards.
 */
#include "support.h"

enum { SHARING = 6 };

/* What the operations work on; they put what they make here. */
struct world {
    struct gpu gpu;
    unbind_vm *vm;
    unbind_bo *bo, *made_bo;
    unbind_vma *vma, *pending, *made_vma, *over, *placeless;
    unbind_queue *queue, *made_queue;
    unbind_fence *user, *made_fence;
    unbind_bo *shared, *other;     /* shared: with fences of its users */
    unbind_fence *users[SHARING];
    struct unbind_lock_context context;
    int fd;
};

typedef int (*operation)(struct world *world);

static char wrapped_memory[2 * 4096];

static int make_a_vm(struct world *w) { return unbind_vm_create(w->gpu.device, NULL, &w->vm); }
static int make_a_bo(struct world *w) { return unbind_bo_create(w->gpu.device, PAGE, 0, 0, &w->made_bo); }
static int make_a_local_bo(struct world *w) {
    return unbind_bo_create(w->gpu.device, PAGE, UNBIND_REGION_LOCAL, 0, &w->made_bo);
}
static int wrap_a_bo(struct world *w) {
    char *memory = wrapped_memory + (4096 - (uintptr_t)wrapped_memory % 4096) % 4096;
    return unbind_bo_wrap(w->gpu.device, memory, PAGE, NULL, NULL, &w->made_bo);
}
static int make_a_vma(struct world *w) { return unbind_vma_create(w->gpu.vm, w->bo, NULL, &w->made_vma); }
static int make_a_queue(struct world *w) { return unbind_queue_create(w->gpu.vm, 0, &w->made_queue); }
static int make_a_fence(struct world *w) { return unbind_fence_create(w->gpu.device, &w->made_fence); }
static int bind_it(struct world *w) { return unbind_vma_bind(w->vma, 0); }
static int bind_it_later(struct world *w) { return unbind_vma_bind_async(w->vma, 0, &w->made_fence); }
static int bind_it_suspended(struct world *w) {
    int status = unbind_vm_suspend(w->gpu.vm);
    if (status == 0) status = unbind_vma_bind(w->vma, 0);
    CHECK_EQUAL(unbind_vm_resume(w->gpu.vm), 0);
    return status;
}
static int get_an_eventfd(struct world *w) { return unbind_fence_get_eventfd(w->user, &w->fd); }
static int add_users(struct world *w) {
    int status = 0;
    for (int i = 0; i < 40 && status == 0; i++) {
        unbind_fence *fence = NULL;
        status = unbind_fence_create(w->gpu.device, &fence);
        if (status == 0) status = unbind_vma_add_user(w->pending, fence);
        if (fence) (void)unbind_fence_signal(fence, 0);
        unbind_fence_unref(fence);
    }
    return status;
}
static int submit_a_job(struct world *w) {
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    struct unbind_command commands[3] = {command_wait(w->user), command_fill(0x100000, 64, 1), command_delay(10)};
    struct unbind_submit_vma item = {w->pending, UNBIND_USE_WRITE, 0};
    job.commands = commands;
    job.command_count = 3;
    job.vmas = &item;
    job.vma_count = 1;
    job.wait_fences = &w->user;
    job.wait_fence_count = 1;
    return unbind_queue_submit(w->queue, &job, &w->made_fence);
}

static int lock_an_array(struct world *w) {
    unbind_bo *list[3] = {w->shared, w->other, w->bo};
    int status = unbind_bo_lock_array(list, 3, 20, &w->context, 0);
    if (status < 0) { /* all or none */
        for (int i = 0; i < 3; i++) CHECK_EQUAL(unbind_bo_unlock(list[i], &w->context), -EINVAL);
    }
    unbind_lock_context_unlock_all(&w->context);
    return status;
}
static int reserve_slots(struct world *w) {
    CHECK_EQUAL(unbind_bo_lock(w->shared, NULL, 0), 0);
    int status = unbind_bo_reserve_fences(w->shared, NULL, 20);
    for (int i = 0; i < 20; i++) {
        CHECK_EQUAL(unbind_bo_add_fence(w->shared, NULL, w->user, UNBIND_USAGE_READ), status < 0 ? -ENOSPC : 0);
    }
    CHECK_EQUAL(unbind_bo_unlock(w->shared, NULL), 0);
    return status;
}
static uint32_t fences_of(unbind_bo *bo) {
    uint32_t count = 0;
    CHECK_EQUAL(unbind_bo_get_fences(bo, UNBIND_USAGE_BOOKKEEP, NULL, 0, &count), 0);
    return count;
}
static int copy_fences(struct world *w) {
    CHECK_EQUAL(unbind_bo_lock(w->other, NULL, 0), 0);
    int status = unbind_bo_copy_fences(w->other, NULL, w->shared);
    if (w->gpu.hooks.failed == 0 || status == 0) w->gpu.hooks.fail_at = 0;
    CHECK_EQUAL(fences_of(w->other), status < 0 ? 0 : SHARING);
    CHECK_EQUAL(unbind_bo_unlock(w->other, NULL), 0);
    return status;
}
static int get_the_fences(struct world *w) {
    unbind_fence *fences[SHARING];
    uint32_t count = 77;
    int status = unbind_bo_get_fences(w->shared, UNBIND_USAGE_BOOKKEEP, fences, SHARING, &count);
    CHECK_EQUAL(count, status < 0 ? 77 : SHARING);
    if (status == 0) drop_fences(fences, SHARING);
    return status;
}
static int get_one_fence(struct world *w) {
    return unbind_bo_get_fence(w->shared, UNBIND_USAGE_BOOKKEEP, &w->made_fence);
}
static int get_leaves(struct world *w) {
    unbind_fence *leaves[SHARING], *array = NULL, *both[2];
    uint32_t count = 77;
    uint64_t fail_at = w->gpu.hooks.fail_at, calls = w->gpu.hooks.calls;
    w->gpu.hooks.fail_at = 0;
    both[0] = array_of(w->users, SHARING, 0);
    both[1] = array_of(w->users, SHARING / 2, 0);
    array = array_of(both, 2, 0);
    if (fail_at) w->gpu.hooks.fail_at = fail_at + w->gpu.hooks.calls - calls;
    int status = unbind_fence_get_leaves(array, leaves, SHARING, &count);
    CHECK_EQUAL(count, status < 0 ? 77 : SHARING);
    if (status == 0) drop_fences(leaves, SHARING);
    drop_fences(both, 2);
    unbind_fence_unref(array);
    return status;
}
static int make_a_timed_fence(struct world *w) {
    return unbind_fence_create_timed(w->gpu.device, unbind_device_now(w->gpu.device) + 200000, &w->made_fence);
}
static int make_a_deadline(struct world *w) {
    uint64_t hour = unbind_device_now(w->gpu.device) + UINT64_C(3600000000000);
    return unbind_fence_create_deadline(w->user, hour, &w->made_fence);
}

static int pin_it(struct world *w) { return unbind_vma_pin(w->vma, NULL); }
/* Over a part of where it is: the new binding awaits the end of the old one. */
static int move_it(struct world *w) {
    struct unbind_pin_options options = UNBIND_PIN_OPTIONS_INIT;
    options.flags = UNBIND_PIN_FIXED | UNBIND_PIN_ASYNC;
    options.address = 0x206000;
    options.out_fence = &w->made_fence;
    int status = unbind_vma_pin(w->placeless, &options);
    CHECK_EQUAL(unbind_vma_address(w->placeless), status ? 0x204000 : 0x206000);
    return status;
}
/* Takes the place of one that is used. */
static int bind_evicting(struct world *w) {
    int status = unbind_vma_bind_async(w->over, UNBIND_BIND_EVICT, &w->made_fence);
    CHECK_EQUAL(unbind_vma_state(w->pending), status ? UNBIND_VMA_BOUND : UNBIND_VMA_UNBOUND);
    return status;
}
static int evict_range(struct world *w) {
    int status = unbind_vm_evict_range(w->gpu.vm, 0x100000, 0x1000, 0, UNBIND_EVICT_ASYNC);
    CHECK_EQUAL(unbind_vma_state(w->pending), status ? UNBIND_VMA_BOUND : UNBIND_VMA_UNBOUND);
    return status;
}
static int evict_all(struct world *w) {
    int status = unbind_vm_evict_all(w->gpu.vm, 0);
    CHECK_EQUAL(unbind_vma_state(w->pending), status ? UNBIND_VMA_BOUND : UNBIND_VMA_UNBOUND);
    return status;
}
static int evict_something(struct world *w) {
    struct unbind_evict_request request = UNBIND_EVICT_REQUEST_INIT;
    request.size = PAGE;
    request.start = 0x100000;
    request.end = 0x101000;
    int status = unbind_vm_evict_something(w->gpu.vm, &request);
    CHECK_EQUAL(unbind_vma_state(w->pending), status ? UNBIND_VMA_BOUND : UNBIND_VMA_UNBOUND);
    return status;
}
static void count_text(void *user_data, const char *text, size_t length) {
    *(size_t *)user_data += text && length;
}
static int dump_vm(struct world *w) {
    size_t pieces = 0;
    return unbind_vm_dump(w->gpu.vm, count_text, &pieces);
}
static int dump_device(struct world *w) {
    size_t pieces = 0;
    return unbind_device_dump(w->gpu.device, count_text, &pieces);
}
static int hold_it(struct world *w) {
    unbind_hold *hold = UNTOUCHED(unbind_hold);
    int status = unbind_vma_hold(w->pending, &hold);
    CHECK((hold == UNTOUCHED(unbind_hold)) == (status != 0));
    if (status == 0) unbind_hold_unref(hold);
    return status;
}
static int hold_an_address(struct world *w) {
    unbind_hold *hold = UNTOUCHED(unbind_hold);
    int status = unbind_vm_hold(w->gpu.vm, 0x100fff, &hold);
    CHECK((hold == UNTOUCHED(unbind_hold)) == (status != 0));
    if (status == 0) unbind_hold_unref(hold);
    return status;
}
static int make_a_view(struct world *w) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    struct unbind_view view = UNBIND_VIEW_INIT;
    view.type = UNBIND_VIEW_ROTATED;
    view.plane_count = 1;
    view.planes[0].width = view.planes[0].height = view.planes[0].src_stride = view.planes[0].dst_stride = 2;
    options.view = &view;
    return unbind_vma_create(w->gpu.vm, w->bo, &options, &w->made_vma);
}
static int bind_a_view(struct world *w) {
    if (!w->made_vma && make_a_view(w) != 0) return -ENOMEM;
    return unbind_vma_bind(w->made_vma, 0);
}
/* While its read-only bind is under way. */
static int upgrade_it(struct world *w) { return unbind_vma_bind_async(w->vma, 0, NULL); }

enum setting { PLAIN, OVER_PENDING, IN_USE, READ_ONLY, AUTOMATIC };

static struct unbind_device_options bare_options(struct gpu *gpu, struct unbind_allocator *allocator) {
    struct unbind_device_options options = gpu_options(gpu, UNBIND_EXECUTOR_MANUAL, allocator);
    options.flags = UNBIND_DEVICE_NO_SLABS;
    return options;
}

static void world_open(struct world *w, enum setting setting) {
    struct unbind_allocator allocator;
    memset(w, 0, sizeof *w);
    struct unbind_device_options options = bare_options(&w->gpu, &allocator);
    w->fd = -1;
    REQUIRE(unbind_device_open_software(&options, &w->gpu.device) == 0);
    REQUIRE(unbind_vm_create(w->gpu.device, NULL, &w->gpu.vm) == 0);
    w->queue = make_queue(&w->gpu);
    w->bo = make_bo(&w->gpu, 4 * PAGE);
    w->user = make_fence(&w->gpu);
    w->shared = make_bo(&w->gpu, PAGE);
    w->other = make_bo(&w->gpu, PAGE);
    make_fences(&w->gpu, w->users, SHARING);
    REQUIRE(unbind_lock_context_init(&w->context, w->gpu.device) == 0);
    REQUIRE(unbind_bo_lock_array(&w->shared, 1, SHARING, &w->context, 0) == 0);
    for (uint32_t i = 0; i < SHARING; i++) {
        REQUIRE(unbind_bo_add_fence(w->shared, &w->context, w->users[i], i % 4) == 0);
    }
    unbind_lock_context_unlock_all(&w->context);
    w->pending = make_vma(&w->gpu, w->bo, 0x100000);
    int is_over = setting == OVER_PENDING || setting == READ_ONLY;
    w->vma = make_vma(&w->gpu, w->bo, is_over ? UINT64_C(0x101000) : UINT64_C(0x40000000));
    w->over = make_vma(&w->gpu, w->bo, 0x102000);
    w->placeless = make_vma(&w->gpu, w->bo, UNBIND_ADDRESS_NONE);
    REQUIRE(unbind_vma_bind(w->pending, 0) == 0);
    if (setting == IN_USE) REQUIRE(unbind_vma_add_user(w->pending, w->user) == 0);
    if (setting == AUTOMATIC) {
        struct unbind_pin_options options = UNBIND_PIN_OPTIONS_INIT;
        options.flags = UNBIND_PIN_FIXED;
        options.address = 0x204000;
        REQUIRE(unbind_vma_pin(w->placeless, &options) == 0 && unbind_vma_unpin(w->placeless) == 0);
        REQUIRE(unbind_vma_add_user(w->placeless, w->user) == 0);
    }
    if (is_over) {
        struct unbind_command delay = command_delay(200000);
        REQUIRE(submit(w->queue, &delay, 1, w->pending, NULL, NULL) == 0);
        REQUIRE(unbind_vma_unbind_async(w->pending, 0, NULL) == 0);
    }
    if (setting == READ_ONLY) REQUIRE(unbind_vma_bind_async(w->vma, UNBIND_BIND_READ_ONLY, NULL) == 0);
}

static void world_close(struct world *w) {
    if (w->fd >= 0) close(w->fd);
    CHECK_EQUAL(unbind_fence_signal(w->user, 0), 0);
    for (int i = 0; i < SHARING; i++) signal_and_drop(w->users[i]);
    unbind_lock_context_fini(&w->context);
    if (w->made_fence && unbind_fence_is_signaled(w->made_fence) == 0) {
        if (unbind_fence_signal(w->made_fence, 0) < 0) CHECK_EQUAL(unbind_fence_wait(w->made_fence, FOREVER, 0), 0);
    }
    unbind_fence_unref(w->made_fence);
    unbind_fence_unref(w->user);
    unbind_queue_unref(w->made_queue);
    unbind_queue_unref(w->queue);
    unbind_vma_unref(w->made_vma);
    unbind_vma_unref(w->over);
    unbind_vma_unref(w->placeless);
    unbind_vma_unref(w->vma);
    unbind_vma_unref(w->pending);
    unbind_bo_unref(w->made_bo);
    unbind_bo_unref(w->shared);
    unbind_bo_unref(w->other);
    unbind_bo_unref(w->bo);
    unbind_vm_unref(w->vm);
    gpu_close(&w->gpu);
}

/* may_wait: the call may do without the memory, by waiting (bind_async says so). */
static void every_allocation_fails(operation call, enum setting setting, bool may_wait) {
    unsigned n = 1, refused = 0;
    for (;; n++) {
        struct world world;
        REQUIRE(n < 500);
        world_open(&world, setting);
        int64_t bytes = world.gpu.hooks.bytes;
        world.gpu.hooks.fail_at = world.gpu.hooks.calls + n;
        int status = call(&world);
        bool failed = world.gpu.hooks.failed != 0;
        world.gpu.hooks.fail_at = 0;
        if (failed && status != 0) {
            CHECK_EQUAL(status, -ENOMEM);
            /* A list that has grown for what came after stays so, and a VMA that was made. */
            bool grows = call == add_users || call == lock_an_array || call == bind_a_view;
            if (!grows && setting == PLAIN) CHECK_EQUAL(world.gpu.hooks.bytes, bytes);
            refused++;
            CHECK_EQUAL(call(&world), 0);
        } else {
            CHECK_EQUAL(status, 0);
            CHECK(!failed || may_wait);
        }
        world_close(&world);
        if (!failed) break;
    }
    CHECK(n > 1); /* the call does allocate */
    CHECK(refused > 0 || may_wait);
}

TEST(open_fails, "opening a device survives the failure of each of its allocations") {
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct gpu gpu;
        struct unbind_allocator allocator;
        struct unbind_device_options options = bare_options(&gpu, &allocator);
        unbind_device *device = UNTOUCHED(unbind_device);
        gpu.hooks.fail_at = n;
        int status = unbind_device_open_software(&options, &device);
        failed = gpu.hooks.failed != 0;
        CHECK_EQUAL(status, failed ? -ENOMEM : 0);
        if (failed) CHECK(device == UNTOUCHED(unbind_device));
        else device_close_clean(device, NULL);
        CHECK_EQUAL(gpu.hooks.bytes, 0);
        CHECK_EQUAL(gpu.hooks.blocks, 0);
        REQUIRE(n < 500);
    }
}

static void awake(void *user_data) { (void)user_data; }
static int is_awake(void *user_data) { return (void)user_data, 1; }

TEST(open_power_fails, "opening a device with power callbacks survives the failure of each of its allocations") {
    struct unbind_power_callbacks power = UNBIND_POWER_CALLBACKS_INIT;
    bool failed = true;
    uint64_t plain = 0;
    power.get = power.put = awake;
    power.get_if_in_use = is_awake;
    for (int with_power = 0; with_power < 2; with_power++, failed = true) {
        uint64_t n = 1;
        for (; failed; n++) {
            struct gpu gpu;
            struct unbind_allocator allocator;
            struct unbind_device_options options = bare_options(&gpu, &allocator);
            unbind_device *device = NULL;
            options.power = with_power ? &power : NULL;
            gpu.hooks.fail_at = n;
            int status = unbind_device_open_software(&options, &device);
            failed = gpu.hooks.failed != 0;
            CHECK_EQUAL(status, failed ? -ENOMEM : 0);
            if (device) device_close_clean(device, NULL);
            CHECK_EQUAL(gpu.hooks.bytes, 0);
            REQUIRE(n < 500);
        }
        if (with_power) CHECK(n == plain + 1); /* the callbacks take one more */
        plain = n;
    }
}

TEST(suspend_allocates_nothing, "suspending and resuming need no memory, whatever is bound, pending or under way") {
    struct world world;
    world_open(&world, OVER_PENDING);
    REQUIRE(unbind_device_wait_idle(world.gpu.device, FOREVER, 0) == 0);
    REQUIRE(unbind_vma_bind(world.pending, 0) == 0);
    REQUIRE(unbind_vma_add_user(world.pending, world.user) == 0);
    REQUIRE(unbind_vma_unbind_async(world.pending, 0, NULL) == 0);
    REQUIRE(bind_it_later(&world) == 0);
    uint64_t calls = world.gpu.hooks.calls;
    for (int round = 0; round < 3; round++) {
        CHECK_EQUAL(unbind_vm_suspend(world.gpu.vm), 0);
        CHECK_EQUAL(unbind_vm_resume(world.gpu.vm), 0);
    }
    CHECK_EQUAL(world.gpu.hooks.calls, calls);
    world_close(&world);
}

TEST(suspended_bind_fails, "binding in a suspended address space survives the failure of each allocation") {
    every_allocation_fails(bind_it_suspended, PLAIN, false);
}

TEST(open_pool_fails, "opening a device with worker threads survives the failure of each of its allocations") {
    bool failed = true;
    for (uint64_t n = 1; failed; n++) {
        struct gpu gpu;
        struct unbind_allocator allocator;
        struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_POOL, &allocator);
        unbind_device *device = NULL;
        options.worker_count = 4;
        gpu.hooks.fail_at = n;
        int status = unbind_device_open_software(&options, &device);
        failed = gpu.hooks.failed != 0;
        CHECK_EQUAL(status, failed ? -ENOMEM : 0);
        if (device) device_close_clean(device, NULL);
        CHECK_EQUAL(gpu.hooks.bytes, 0);
        REQUIRE(n < 500);
    }
}

TEST(vm_fails, "creating an address space survives the failure of each allocation") {
    every_allocation_fails(make_a_vm, PLAIN, false);
}
TEST(bo_fails, "creating a buffer survives the failure of each allocation") {
    every_allocation_fails(make_a_bo, PLAIN, false);
}
TEST(local_bo_fails, "creating a buffer in local memory survives the failure of each allocation") {
    every_allocation_fails(make_a_local_bo, PLAIN, false);
}
TEST(wrap_fails, "wrapping memory survives the failure of each allocation") {
    every_allocation_fails(wrap_a_bo, PLAIN, false);
}
TEST(vma_fails, "creating a VMA survives the failure of each allocation") {
    every_allocation_fails(make_a_vma, PLAIN, false);
}
TEST(queue_fails, "creating a queue survives the failure of each allocation") {
    every_allocation_fails(make_a_queue, PLAIN, false);
}
TEST(fence_fails, "creating a fence survives the failure of each allocation") {
    every_allocation_fails(make_a_fence, PLAIN, false);
}
TEST(bind_fails, "P3: binding survives the failure of each allocation, and tells of each") {
    every_allocation_fails(bind_it, PLAIN, false);
}
TEST(bind_over_fails, "binding over a pending unbind survives the failure of each allocation") {
    every_allocation_fails(bind_it, OVER_PENDING, true);
}
TEST(bind_async_fails, "binding asynchronously survives the failure of each allocation") {
    every_allocation_fails(bind_it_later, PLAIN, false);
}
TEST(bind_async_over_fails, "binding asynchronously over a pending unbind waits instead of failing for lack of memory") {
    every_allocation_fails(bind_it_later, OVER_PENDING, true);
}
TEST(submit_fails, "submitting a job survives the failure of each allocation") {
    every_allocation_fails(submit_a_job, PLAIN, false);
}
TEST(add_user_fails, "attaching forty fences survives the failure of each allocation") {
    every_allocation_fails(add_users, PLAIN, false);
}

/* The eventfd itself is the kernel's; only what stands behind it is ours. */
TEST(eventfd_fails, "making an eventfd survives the failure of each allocation") {
    every_allocation_fails(get_an_eventfd, PLAIN, false);
}

TEST(lock_array_fails, "locking buffers and reserving in them survives the failure of each allocation") {
    every_allocation_fails(lock_an_array, PLAIN, false);
}
TEST(reserve_fails, "reserving room for fences survives the failure of each allocation") {
    every_allocation_fails(reserve_slots, PLAIN, false);
}
TEST(copy_fails, "copying fences survives the failure of each allocation") {
    every_allocation_fails(copy_fences, PLAIN, false);
}
TEST(get_fences_fails, "listing the fences of a buffer survives the failure of each allocation") {
    every_allocation_fails(get_the_fences, PLAIN, false);
}
TEST(get_fence_fails, "merging the fences of a buffer survives the failure of each allocation") {
    every_allocation_fails(get_one_fence, PLAIN, false);
}
TEST(leaves_fails, "listing the leaves of a fence survives the failure of each allocation") {
    every_allocation_fails(get_leaves, PLAIN, false);
}
TEST(timed_fails, "making a fence for a time survives the failure of each allocation") {
    every_allocation_fails(make_a_timed_fence, PLAIN, false);
}
TEST(deadline_fails, "giving a fence a deadline survives the failure of each allocation") {
    every_allocation_fails(make_a_deadline, PLAIN, false);
}

TEST(pin_fails, "pinning survives the failure of each allocation") { every_allocation_fails(pin_it, PLAIN, false); }
TEST(move_fails, "moving a misplaced VMA that is in use survives the failure of each allocation, and stays bound") {
    every_allocation_fails(move_it, AUTOMATIC, false);
}
TEST(evicting_bind_fails, "a bind that would evict what is in use, and has no memory for it, evicts nobody") {
    every_allocation_fails(bind_evicting, IN_USE, false);
}
TEST(evict_range_fails, "evicting a range without memory evicts nobody") {
    every_allocation_fails(evict_range, IN_USE, false);
}
TEST(evict_all_fails, "evicting all without memory evicts nobody") { every_allocation_fails(evict_all, PLAIN, false); }
TEST(evict_something_fails, "making room without memory evicts nobody") {
    every_allocation_fails(evict_something, PLAIN, false);
}
TEST(dump_fails, "dumping a device and an address space survives the failure of each allocation") {
    every_allocation_fails(dump_vm, OVER_PENDING, false);
    every_allocation_fails(dump_device, OVER_PENDING, false);
}
TEST(hold_fails, "holding a VMA survives the failure of each allocation") {
    every_allocation_fails(hold_it, PLAIN, false);
}
TEST(hold_address_fails, "holding an address survives the failure of each allocation, bound there or pending") {
    every_allocation_fails(hold_an_address, PLAIN, false);
    every_allocation_fails(hold_an_address, OVER_PENDING, false);
}
TEST(view_fails, "creating a VMA of a view survives the failure of each allocation") {
    every_allocation_fails(make_a_view, PLAIN, false);
}
TEST(bind_view_fails, "binding a view survives the failure of each allocation") {
    every_allocation_fails(bind_a_view, PLAIN, false);
}
TEST(upgrade_fails, "P13: adding write access survives the failure of each allocation, and the binding stays") {
    every_allocation_fails(upgrade_it, READ_ONLY, false);
}
