/* SPDX-License-Identifier: MIT */
/* unbind_bo_unbind: every VMA of a buffer, with one errno for each reason why not. */
#include "support.h"

#define ACTIVE UNBIND_BO_UNBIND_ACTIVE
#define BARRIER UNBIND_BO_UNBIND_BARRIER
#define ONLY_TEST UNBIND_BO_UNBIND_TEST
#define TRYLOCK UNBIND_BO_UNBIND_VM_TRYLOCK
#define ASYNC UNBIND_BO_UNBIND_ASYNC

struct spread {
    struct gpu gpu;
    unbind_vm *vms[3];
    unbind_bo *bo;
    unbind_vma *vmas[3];
};

/* One buffer bound in three address spaces, and unbound in the first once more. */
static void spread_open(struct spread *spread, uint32_t executor) {
    gpu_open(&spread->gpu, executor);
    spread->bo = make_bo(&spread->gpu, 2 * PAGE);
    for (int i = 0; i < 3; i++) {
        REQUIRE(unbind_vm_create(spread->gpu.device, NULL, &spread->vms[i]) == 0);
        REQUIRE(unbind_vma_create(spread->vms[i], spread->bo, NULL, &spread->vmas[i]) == 0);
        REQUIRE(unbind_vma_bind(spread->vmas[i], 0) == 0);
    }
}

static void spread_close(struct spread *spread) {
    for (int i = 0; i < 3; i++) {
        unbind_vma_unref(spread->vmas[i]);
        unbind_vm_unref(spread->vms[i]);
    }
    unbind_bo_unref(spread->bo);
    gpu_close(&spread->gpu);
}

static int bound_count(struct spread *spread) {
    int count = 0;
    for (int i = 0; i < 3; i++) count += unbind_vma_state(spread->vmas[i]) == UNBIND_VMA_BOUND;
    return count;
}

TEST(everywhere, "P11: a buffer bound in three address spaces is unbound in all, and waited for in all") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED};
    for (int kind = 0; kind < 3; kind++) {
        struct spread spread;
        unbind_fence *users[3];
        spread_open(&spread, executors[kind]);
        CHECK_EQUAL(unbind_bo_unbind(spread.bo, ONLY_TEST), -EBUSY);
        CHECK_EQUAL(unbind_bo_unbind(spread.bo, 0), 0);
        CHECK_EQUAL(bound_count(&spread), 0);
        CHECK_EQUAL(unbind_bo_unbind(spread.bo, ONLY_TEST), 0);
        CHECK_EQUAL(unbind_bo_unbind(spread.bo, 0), 0);
        for (int i = 0; i < 3; i++) {
            REQUIRE(unbind_vma_bind(spread.vmas[i], 0) == 0);
            users[i] = make_fence(&spread.gpu);
            REQUIRE(unbind_vma_add_user(spread.vmas[i], users[i]) == 0);
        }
        CHECK_EQUAL(unbind_bo_unbind(spread.bo, ASYNC), 0);
        CHECK_EQUAL(bound_count(&spread), 0);
        for (int i = 0; i < 3; i++) {
            if (executors[kind] == UNBIND_EXECUTOR_POOL) CHECK_EQUAL(unbind_bo_wait(spread.bo, 0, 0), -ETIME);
            signal_and_drop(users[i]);
        }
        CHECK_EQUAL(unbind_bo_wait(spread.bo, FOREVER, 0), 0);
        for (int i = 0; i < 3; i++) CHECK_EQUAL(vm_stats(spread.vms[i]).pending, 0);
        spread_close(&spread);
    }
}

static void *signal_later(void *fence) {
    sleep_ms(20);
    CHECK_EQUAL(unbind_fence_signal((unbind_fence *)fence, 0), 0);
    return NULL;
}

TEST(active, "GPU work in the way is -EBUSY without ACTIVE, and waited for with it") {
    struct spread spread;
    pthread_t thread;
    spread_open(&spread, UNBIND_EXECUTOR_POOL);
    unbind_fence *user = make_fence(&spread.gpu);
    REQUIRE(unbind_vma_add_user(spread.vmas[0], user) == 0);
    CHECK_EQUAL(unbind_bo_unbind(spread.bo, 0), -EBUSY);
    CHECK_EQUAL(unbind_vma_state(spread.vmas[0]), UNBIND_VMA_BOUND);
    REQUIRE(pthread_create(&thread, NULL, signal_later, user) == 0);
    CHECK_EQUAL(unbind_bo_unbind(spread.bo, ACTIVE), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(user), 1);
    CHECK_EQUAL(bound_count(&spread), 0);
    pthread_join(thread, NULL);
    unbind_fence_unref(user);
    spread_close(&spread);
}

static void ignore_release(void *user_data, void *memory) {
    (void)memory;
    __atomic_fetch_add((int *)user_data, 1, __ATOMIC_RELEASE);
}

TEST(diverted, "P14: what cannot go async is -EBUSY, and goes with waiting where that is allowed or nothing is in the way") {
    struct gpu gpu;
    static char memory[4 * 4096];
    int released = 0;
    char *page = (char *)(((uintptr_t)memory + 4095) & ~(uintptr_t)4095);
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    /* Row by row: what may not outlive the call, what may, a policy that always waits, and a view (P10). */
    for (int row = 0; row < 4; row++) {
        unbind_bo *bo = NULL;
        unbind_vm *vm = NULL;
        unbind_vma *vma = NULL;
        pthread_t thread;
        struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
        bool is_diverted = row != 1;
        options.policy = row == 2 ? UNBIND_POLICY_SYNC : UNBIND_POLICY_RANGES;
        REQUIRE(unbind_bo_wrap(gpu.device, page, 2 * PAGE, row == 0 ? NULL : ignore_release, &released, &bo) == 0);
        REQUIRE(unbind_vm_create(gpu.device, &options, &vm) == 0);
        struct unbind_vma_options vma_options = UNBIND_VMA_OPTIONS_INIT;
        struct unbind_view view = UNBIND_VIEW_INIT;
        view.type = UNBIND_VIEW_PARTIAL;
        view.offset = view.size = PAGE;
        if (row == 3) vma_options.view = &view;
        REQUIRE(unbind_vma_create(vm, bo, &vma_options, &vma) == 0);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        unbind_fence *user = make_fence(&gpu);
        REQUIRE(unbind_vma_add_user(vma, user) == 0);
        CHECK_EQUAL(unbind_bo_unbind(bo, ASYNC), is_diverted ? -EBUSY : 0);
        CHECK_EQUAL(unbind_vma_state(vma), is_diverted ? UNBIND_VMA_BOUND : UNBIND_VMA_UNBOUND);
        REQUIRE(pthread_create(&thread, NULL, signal_later, user) == 0);
        CHECK_EQUAL(unbind_bo_unbind(bo, ASYNC | ACTIVE), 0);
        CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_UNBOUND);
        if (is_diverted) CHECK_EQUAL(unbind_bo_wait(bo, 0, 0), 0);
        pthread_join(thread, NULL);
        CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
        /* Idle: nothing has to be allowed. */
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        CHECK_EQUAL(unbind_bo_unbind(bo, ASYNC), 0);
        CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
        unbind_fence_unref(user);
        unbind_vma_unref(vma);
        unbind_vm_unref(vm);
        unbind_bo_unref(bo);
    }
    /* The work that unbound last may have to let go of it still. */
    for (int i = 0; i < 10000 && __atomic_load_n(&released, __ATOMIC_ACQUIRE) < 3; i++) sleep_ms(1);
    CHECK_EQUAL(__atomic_load_n(&released, __ATOMIC_ACQUIRE), 3);
    gpu_close(&gpu);
}

struct lock_rig {
    struct gpu gpu;
    int parked, passed; /* allocations of the other thread that began, and that may go on */
    bool done;
};

static __thread bool parks;

static void *parking_allocate(void *user_data, size_t size, size_t alignment) {
    struct lock_rig *rig = (struct lock_rig *)user_data;
    if (parks) {
        int number = __atomic_add_fetch(&rig->parked, 1, __ATOMIC_RELEASE);
        while (__atomic_load_n(&rig->passed, __ATOMIC_ACQUIRE) < number) sleep_ms(1);
    }
    return hooks_allocate(&rig->gpu.hooks, size, alignment);
}

static void parking_deallocate(void *user_data, void *memory, size_t size) {
    hooks_deallocate(&((struct lock_rig *)user_data)->gpu.hooks, memory, size);
}

/* Stops at each of its allocations; some of them, of page tables, are made under the VM's lock. */
static void *bind_elsewhere(void *argument) {
    struct lock_rig *rig = (struct lock_rig *)argument;
    unbind_bo *bo = make_bo(&rig->gpu, PAGE);
    unbind_vma *far_away = make_vma(&rig->gpu, bo, UINT64_C(0x700000000000));
    unbind_bo_unref(bo);
    parks = true;
    CHECK_EQUAL(unbind_vma_bind(far_away, 0), 0);
    parks = false;
    __atomic_store_n(&rig->done, true, __ATOMIC_RELEASE);
    return far_away;
}

TEST(trylock, "VM_TRYLOCK: another thread at work on the VM is -EBUSY, and nothing is unbound") {
    struct lock_rig rig;
    struct unbind_allocator allocator = UNBIND_ALLOCATOR_INIT;
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    pthread_t thread;
    void *far_away = NULL;
    int refused = 0;
    memset(&rig, 0, sizeof rig);
    allocator.user_data = &rig;
    allocator.allocate = parking_allocate;
    allocator.deallocate = parking_deallocate;
    options.allocator = &allocator;
    options.flags = UNBIND_DEVICE_NO_SLABS;
    REQUIRE(unbind_device_open_software(&options, &rig.gpu.device) == 0);
    REQUIRE(unbind_vm_create(rig.gpu.device, NULL, &rig.gpu.vm) == 0);
    unbind_bo *bo = make_bo(&rig.gpu, PAGE);
    unbind_vma *vma = make_vma(&rig.gpu, bo, 0x10000);
    REQUIRE(pthread_create(&thread, NULL, bind_elsewhere, &rig) == 0);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    for (int number = 1; !__atomic_load_n(&rig.done, __ATOMIC_ACQUIRE); number++) {
        while (__atomic_load_n(&rig.parked, __ATOMIC_ACQUIRE) < number && !__atomic_load_n(&rig.done, __ATOMIC_ACQUIRE)) {
            sleep_ms(1);
        }
        if (__atomic_load_n(&rig.done, __ATOMIC_ACQUIRE)) break;
        int status = unbind_bo_unbind(bo, TRYLOCK | (number % 2 ? ASYNC : 0));
        CHECK(status == 0 || status == -EBUSY);
        refused += status == -EBUSY;
        /* The lock is free: now, and not while the other thread may be on its way to it. */
        if (status == 0) CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        __atomic_store_n(&rig.passed, number, __ATOMIC_RELEASE);
    }
    CHECK(refused >= 2);
    pthread_join(thread, &far_away);
    CHECK_EQUAL(unbind_bo_unbind(bo, TRYLOCK), 0);
    unbind_vma_unref((unbind_vma *)far_away);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&rig.gpu);
}

TEST(interrupted, "M10: an interrupted object-wide unbind leaves the VMA bound and can be repeated") {
    struct spread spread;
    spread_open(&spread, UNBIND_EXECUTOR_SIMULATED);
    unbind_fence *user = make_fence(&spread.gpu);
    REQUIRE(unbind_vma_add_user(spread.vmas[2], user) == 0);
    /* The simulated executor has no signals; what it has instead is a wait that cannot end. */
    CHECK_EQUAL(unbind_bo_unbind(spread.bo, ACTIVE | UNBIND_WAIT_INTERRUPTIBLE), -EDEADLK);
    CHECK_EQUAL(unbind_vma_state(spread.vmas[2]), UNBIND_VMA_BOUND);
    CHECK_EQUAL(unbind_fence_signal(user, 0), 0);
    CHECK_EQUAL(unbind_bo_unbind(spread.bo, ACTIVE | UNBIND_WAIT_INTERRUPTIBLE), 0);
    CHECK_EQUAL(bound_count(&spread), 0);
    unbind_fence_unref(user);
    spread_close(&spread);
}

TEST(closed_vm, "a VMA of a closed VM is unbound: there is nothing to do") {
    struct spread spread;
    spread_open(&spread, UNBIND_EXECUTOR_POOL);
    CHECK_EQUAL(unbind_vm_close(spread.vms[1]), 0);
    CHECK_EQUAL(unbind_bo_unbind(spread.bo, BARRIER), 0);
    CHECK_EQUAL(unbind_bo_unbind(spread.bo, 0), 0);
    CHECK_EQUAL(bound_count(&spread), 0);
    spread_close(&spread);
}

TEST(bad_input, "unbind_bo_unbind refuses bad input") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    CHECK_EQUAL(unbind_bo_unbind(NULL, 0), -EINVAL);
    CHECK_EQUAL(unbind_bo_unbind((unbind_bo *)(void *)gpu.vm, 0), -EINVAL);
    CHECK_EQUAL(unbind_bo_unbind(bo, UNBIND_WAIT_ABSOLUTE), -EINVAL);
    CHECK_EQUAL(unbind_bo_unbind(bo, 1u << 13), -EINVAL);
    CHECK_EQUAL(unbind_bo_unbind(bo, ASYNC | ACTIVE | BARRIER | ONLY_TEST | TRYLOCK), 0);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}
