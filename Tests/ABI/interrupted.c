/* SPDX-License-Identifier: MIT */
/* M10: every wait may be interrupted. Nothing has changed then, and the call can be repeated. */
#include "support.h"

/* What is waited for, and what that is about. */
struct world {
    struct gpu gpu;
    unbind_bo *bo;
    unbind_vma *vma, *pending;
    unbind_fence *gate, *timer;
};

typedef int (*waiting)(struct world *world, uint32_t flags);

static int wait_fence(struct world *w, uint32_t flags) { return unbind_fence_wait(w->gate, FOREVER, flags); }
static int wait_bo(struct world *w, uint32_t flags) { return unbind_bo_wait(w->bo, FOREVER, flags); }
static int wait_usage(struct world *w, uint32_t flags) {
    return unbind_bo_wait_usage(w->bo, UNBIND_USAGE_WRITE, FOREVER, flags);
}
static int bind_over(struct world *w, uint32_t flags) { return unbind_vma_bind(w->vma, flags); }
static int pin_over(struct world *w, uint32_t flags) {
    struct unbind_pin_options options = UNBIND_PIN_OPTIONS_INIT;
    options.flags = flags ? UNBIND_PIN_INTERRUPTIBLE : 0;
    int status = unbind_vma_pin(w->vma, &options);
    CHECK_EQUAL(unbind_vma_pin_count(w->vma), status == 0);
    if (status == 0) CHECK_EQUAL(unbind_vma_unpin(w->vma), 0);
    return status;
}
static int evict_something(struct world *w, uint32_t flags) {
    struct unbind_evict_request request = UNBIND_EVICT_REQUEST_INIT;
    request.flags = flags;
    request.size = PAGE;
    request.start = 0x10000;
    request.end = 0x11000;
    return unbind_vm_evict_something(w->gpu.vm, &request);
}
static int evict_range(struct world *w, uint32_t flags) {
    return unbind_vm_evict_range(w->gpu.vm, 0x10000, PAGE, 0, flags);
}
static int evict_all(struct world *w, uint32_t flags) { return unbind_vm_evict_all(w->gpu.vm, flags); }
static int bind_evicting(struct world *w, uint32_t flags) {
    return unbind_vma_bind(w->pending, flags | UNBIND_BIND_EVICT);
}
static int unbind_used(struct world *w, uint32_t flags) { return unbind_vma_unbind(w->vma, flags); }
static int wait_idle(struct world *w, uint32_t flags) {
    return unbind_device_wait_idle(w->gpu.device, FOREVER, flags);
}

struct call {
    struct world *world;
    waiting wait;
    int status;
};

static void *make_call(void *argument) {
    struct call *call = (struct call *)argument;
    call->status = call->wait(call->world, UNBIND_WAIT_INTERRUPTIBLE);
    return NULL;
}

/* The range of vma is that of pending, whose unbind waits for the gate. */
static void world_open(struct world *w, uint32_t executor) {
    memset(w, 0, sizeof *w);
    gpu_open(&w->gpu, executor);
    w->gate = make_fence(&w->gpu);
    w->bo = make_bo(&w->gpu, PAGE);
    w->pending = make_vma(&w->gpu, w->bo, 0x10000);
    w->vma = make_vma(&w->gpu, w->bo, 0x10000);
    REQUIRE(unbind_vma_bind(w->pending, 0) == 0);
    REQUIRE(unbind_vma_add_user(w->pending, w->gate) == 0);
    REQUIRE(unbind_vma_unbind_async(w->pending, 0, NULL) == 0);
    uint64_t hour = unbind_device_now(w->gpu.device) + UINT64_C(3600000000000);
    REQUIRE(unbind_fence_create_deadline(w->gate, hour, &w->timer) == 0); /* what wait_idle waits for */
}

static void world_close(struct world *w) {
    unbind_fence_unref(w->timer);
    unbind_fence_unref(w->gate);
    unbind_vma_unref(w->vma);
    unbind_vma_unref(w->pending);
    unbind_bo_unref(w->bo);
    gpu_close(&w->gpu);
}

static void interrupt(uint32_t executor, waiting wait) {
    struct world world;
    pthread_t thread;
    take_signals(SA_RESTART);
    world_open(&world, executor);
    struct call call = {&world, wait, 1};
    struct unbind_vm_stats before = vm_stats(world.gpu.vm), after;
    REQUIRE(pthread_create(&thread, NULL, make_call, &call) == 0);
    interrupt_until_over(thread);
    CHECK_EQUAL(call.status, -EINTR);
    after = vm_stats(world.gpu.vm);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    CHECK_EQUAL(unbind_vma_state(world.vma), UNBIND_VMA_UNBOUND);
    CHECK_EQUAL(unbind_fence_is_signaled(world.gate), 0);
    CHECK_EQUAL(unbind_fence_signal(world.gate, 0), 0);
    CHECK_EQUAL(wait(&world, UNBIND_WAIT_INTERRUPTIBLE), 0);
    CHECK_EQUAL(unbind_vma_bind(world.vma, 0), 0);
    world_close(&world);
}

/* What takes a VMA in use away: it is bound before and after. */
static void interrupt_unbind(uint32_t executor, waiting wait) {
    struct world world;
    pthread_t thread;
    world_open(&world, executor);
    take_signals(SA_RESTART);
    CHECK_EQUAL(unbind_fence_signal(world.gate, 0), 0);
    CHECK_EQUAL(unbind_vma_bind(world.vma, 0), 0);
    unbind_fence *user = make_fence(&world.gpu);
    CHECK_EQUAL(unbind_vma_add_user(world.vma, user), 0);
    struct call call = {&world, wait, 1};
    struct unbind_vm_stats before = vm_stats(world.gpu.vm), after;
    REQUIRE(pthread_create(&thread, NULL, make_call, &call) == 0);
    interrupt_until_over(thread);
    CHECK_EQUAL(call.status, -EINTR);
    CHECK_EQUAL(unbind_vma_state(world.vma), UNBIND_VMA_BOUND);
    after = vm_stats(world.gpu.vm);
    CHECK(memcmp(&before, &after, sizeof before) == 0);
    signal_and_drop(user);
    CHECK_EQUAL(wait(&world, UNBIND_WAIT_INTERRUPTIBLE), 0);
    CHECK_EQUAL(unbind_vma_state(world.vma), UNBIND_VMA_UNBOUND);
    world_close(&world);
}

static const uint32_t kinds[2] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL};

TEST(fence, "M10: an interrupted wait for a fence") {
    for (int i = 0; i < 2; i++) interrupt(kinds[i], wait_fence);
}
TEST(bo, "M10: an interrupted wait for a buffer, and for a usage of it") {
    for (int i = 0; i < 2; i++) interrupt(kinds[i], wait_bo);
    for (int i = 0; i < 2; i++) interrupt(kinds[i], wait_usage);
}
TEST(bind, "M10, P24: an interrupted bind over a pending unbind leaves the address space as it was") {
    for (int i = 0; i < 2; i++) interrupt(kinds[i], bind_over);
}
TEST(unbind, "M10: an interrupted unbind leaves the VMA bound") {
    for (int i = 0; i < 2; i++) interrupt_unbind(kinds[i], unbind_used);
}
TEST(evict, "M10: an interrupted eviction, of each kind, evicts nobody") {
    for (int i = 0; i < 2; i++) {
        interrupt_unbind(kinds[i], evict_something);
        interrupt_unbind(kinds[i], evict_range);
        interrupt_unbind(kinds[i], evict_all);
    }
}
TEST(bind_evict, "M10, P24: an interrupted bind that would evict leaves who has its place bound") {
    for (int i = 0; i < 2; i++) interrupt_unbind(kinds[i], bind_evicting);
}
TEST(pin, "M10: an interrupted pin over a pending unbind pins and binds nothing") {
    for (int i = 0; i < 2; i++) interrupt(kinds[i], pin_over);
}
TEST(idle, "M10: an interrupted wait for the device") {
    for (int i = 0; i < 2; i++) interrupt(kinds[i], wait_idle);
}

struct move {
    struct gpu gpu;
    unbind_bo *bo;
    int status;
};

static void *make_move(void *argument) {
    struct move *move = (struct move *)argument;
    move->status = unbind_bo_migrate(move->bo, UNBIND_REGION_LOCAL, UNBIND_WAIT_INTERRUPTIBLE, NULL);
    return NULL;
}

TEST(migrate, "M10: a move that has no memory for its bookkeeping, and waits instead, can be interrupted and repeated") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL};
    take_signals(SA_RESTART);
    for (int kind = 0; kind < 2; kind++) {
        struct move move;
        struct unbind_allocator allocator;
        struct unbind_device_options options = gpu_options(&move.gpu, executors[kind], &allocator);
        pthread_t thread;
        options.flags = UNBIND_DEVICE_NO_SLABS;
        REQUIRE(unbind_device_open_software(&options, &move.gpu.device) == 0);
        REQUIRE(unbind_vm_create(move.gpu.device, NULL, &move.gpu.vm) == 0);
        move.bo = make_bo(&move.gpu, 2 * PAGE);
        memset(unbind_bo_cpu_pointer(move.bo), 0x44, 2 * PAGE);
        unbind_vma *vma = make_vma(&move.gpu, move.bo, 0x10000);
        unbind_fence *user = make_fence(&move.gpu);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        REQUIRE(unbind_vma_add_user(vma, user) == 0);
        /* The first two are for the new memory, without which it fails at once. */
        move.gpu.hooks.fail_at = move.gpu.hooks.calls + 3;
        REQUIRE(pthread_create(&thread, NULL, make_move, &move) == 0);
        interrupt_until_over(thread);
        CHECK_EQUAL(move.status, -EINTR);
        CHECK_EQUAL(move.gpu.hooks.failed, 1);
        CHECK_EQUAL(unbind_bo_region(move.bo), UNBIND_REGION_SYSTEM);
        CHECK_EQUAL(device_stats(move.gpu.device).local_bytes, 0);
        CHECK_EQUAL(*(unsigned char *)unbind_bo_cpu_pointer(move.bo), 0x44);
        signal_and_drop(user);
        CHECK_EQUAL(unbind_bo_migrate(move.bo, UNBIND_REGION_LOCAL, UNBIND_WAIT_INTERRUPTIBLE, NULL), 0);
        CHECK_EQUAL(unbind_bo_wait(move.bo, FOREVER, 0), 0);
        CHECK_EQUAL(unbind_bo_region(move.bo), UNBIND_REGION_LOCAL);
        CHECK_EQUAL(*(unsigned char *)unbind_bo_cpu_pointer(move.bo), 0x44);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        unbind_vma_unref(vma);
        unbind_bo_unref(move.bo);
        gpu_close(&move.gpu);
    }
}
