/* SPDX-License-Identifier: MIT */
/* Known mistakes of drivers that unbind asynchronously, each tried here on the public functions. */
#include "placing.h"

static unbind_vma *vma_at(unbind_vm *vm, unbind_bo *bo, uint64_t address) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma = NULL;
    options.flags = UNBIND_VMA_FIXED;
    options.address = address;
    REQUIRE(unbind_vma_create(vm, bo, &options, &vma) == 0);
    return vma;
}

static void gpu_open_bare(struct gpu *gpu, uint32_t executor, uint32_t workers) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(gpu, executor, &allocator);
    options.flags = UNBIND_DEVICE_NO_SLABS;
    options.worker_count = workers;
    REQUIRE(unbind_device_open_software(&options, &gpu->device) == 0);
    REQUIRE(unbind_vm_create(gpu->device, NULL, &gpu->vm) == 0);
}

/* MARK: races */

struct race {
    struct gpu gpu;
    unbind_vma *vma;
    unbind_fence *user;
    pthread_barrier_t start;
};

static void *race_unref(void *argument) {
    struct race *race = (struct race *)argument;
    pthread_barrier_wait(&race->start);
    unbind_vma_unref(race->vma);
    return NULL;
}

static void *race_unbind(void *argument) {
    struct race *race = (struct race *)argument;
    unbind_fence *fence = NULL;
    pthread_barrier_wait(&race->start);
    CHECK_EQUAL(unbind_vma_unbind_async(race->vma, 0, &fence), 0);
    unbind_vma_unref(race->vma);
    CHECK_EQUAL(finish(fence), 0);
    return NULL;
}

static void *race_evict(void *argument) {
    struct race *race = (struct race *)argument;
    pthread_barrier_wait(&race->start);
    for (int i = 0; i < 3; i++) {
        int status = unbind_vm_evict_range(race->gpu.vm, 0x10000, PAGE, 0, i == 2 ? 0 : UNBIND_EVICT_ASYNC);
        CHECK_EQUAL(status, 0);
    }
    return NULL;
}

static void *race_signal(void *argument) {
    struct race *race = (struct race *)argument;
    pthread_barrier_wait(&race->start);
    if (race->user) CHECK_EQUAL(unbind_fence_signal(race->user, 0), 0);
    return NULL;
}

TEST(three_ways, "P5, M6: the last reference, the unbind and the eviction of a VMA come at once from three threads") {
    void *(*const bodies[])(void *) = {race_unref, race_unbind, race_evict, race_signal};
    unsigned rounds = getenv("UNDER_VALGRIND") ? 40 : 400;
    struct race race;
    memset(&race, 0, sizeof race);
    gpu_open_bare(&race.gpu, UNBIND_EXECUTOR_POOL, 2);
    REQUIRE(pthread_barrier_init(&race.start, NULL, 4) == 0);
    for (unsigned round = 0; round < rounds; round++) {
        pthread_t threads[4];
        race.vma = bind_new(&race.gpu, PAGE, 0x10000);
        race.user = round % 2 ? use(&race.gpu, race.vma) : NULL;
        CHECK(unbind_vma_ref(race.vma) == race.vma);
        for (int i = 0; i < 4; i++) REQUIRE(pthread_create(&threads[i], NULL, bodies[i], &race) == 0);
        for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
        unbind_fence_unref(race.user);
        settle(&race.gpu);
        CHECK_EQUAL(vm_stats(race.gpu.vm).bound, 0);
        CHECK_EQUAL(vm_stats(race.gpu.vm).pending, 0);
        CHECK_EQUAL(device_stats(race.gpu.device).system_bytes, 0);
    }
    pthread_barrier_destroy(&race.start);
    gpu_close(&race.gpu);
}

TEST(vma_ends_vm, "P6: the last reference to an address space is that of a VMA, whose end ends it") {
    for (int kind = 0; kind < 4; kind++) {
        struct gpu gpu;
        unbind_fence *user = NULL, *unbound = NULL;
        gpu_open_bare(&gpu, kind % 2 ? UNBIND_EXECUTOR_POOL : UNBIND_EXECUTOR_MANUAL, 0);
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_vm *vm = NULL;
        REQUIRE(unbind_vm_create(gpu.device, NULL, &vm) == 0);
        unbind_vma *vma = vma_at(vm, bo, 0x10000);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        if (kind / 2) user = use(&gpu, vma);
        unbind_vm_unref(vm);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        if (user) signal_and_drop(user);
        CHECK_EQUAL(finish(unbound), 0);
        settle(&gpu);
        CHECK_EQUAL(device_stats(gpu.device).system_bytes, 0);
        gpu_close(&gpu);
    }
}

struct retire {
    struct unbind_fence_callback storage;
    unbind_vma *vma;
    unbind_bo *bo;
    unbind_vm *vm;
    int called;
};

static void retire_drops(unbind_fence *fence, void *user_data) {
    struct retire *retire = (struct retire *)user_data;
    (void)fence;
    unbind_vma_unref(retire->vma);
    unbind_bo_unref(retire->bo);
    unbind_vm_unref(retire->vm);
    __atomic_store_n(&retire->called, 1, __ATOMIC_RELEASE);
}

TEST(retire_window, "P7: VMA, buffer and address space go while the end of the last user is being told of") {
    for (int before = 0; before < 2; before++) { /* before the library is told, or after */
        for (int unbinds = 0; unbinds < 2; unbinds++) {
            struct gpu gpu;
            struct retire retire;
            unbind_fence *unbound = NULL;
            memset(&retire, 0, sizeof retire);
            gpu_open_bare(&gpu, UNBIND_EXECUTOR_MANUAL, 0);
            REQUIRE(unbind_vm_create(gpu.device, NULL, &retire.vm) == 0);
            retire.bo = make_bo(&gpu, PAGE);
            retire.vma = vma_at(retire.vm, retire.bo, 0x10000);
            REQUIRE(unbind_vma_bind(retire.vma, 0) == 0);
            unbind_fence *user = make_fence(&gpu);
            if (before) REQUIRE(unbind_fence_add_callback(user, &retire.storage, retire_drops, &retire) == 0);
            REQUIRE(unbind_vma_add_user(retire.vma, user) == 0);
            if (unbinds) REQUIRE(unbind_vma_unbind_async(retire.vma, 0, &unbound) == 0);
            if (!before) REQUIRE(unbind_fence_add_callback(user, &retire.storage, retire_drops, &retire) == 0);
            signal_and_drop(user);
            CHECK_EQUAL(retire.called, 1);
            if (unbinds) CHECK_EQUAL(finish(unbound), 0);
            settle(&gpu);
            CHECK_EQUAL(device_stats(gpu.device).system_bytes, 0);
            gpu_close(&gpu);
        }
    }
}

/* MARK: what a bind awaits */

TEST(oracle, "M1: of many pending unbinds a bind awaits exactly those that it overlaps, as counting them says") {
    enum { PENDING = 200, BINDS = 300, PAGES = 4000 };
    for (unsigned seed = 1; seed <= 4; seed++) {
        struct gpu gpu;
        uint64_t state = seed, starts[PENDING], ends[PENDING];
        unbind_fence *gate;
        unbind_vma *vmas[BINDS];
        gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
        gate = make_fence(&gpu);
        for (unsigned i = 0; i < PENDING; i++) {
            /* Each is unbound before the next is bound, over it perhaps. */
            state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
            uint64_t pages = 1 + (state >> 40) % (seed * 20), start = (state >> 20) % (PAGES - pages);
            unbind_vma *vma = new_vma(&gpu, pages, start * PAGE);
            REQUIRE(unbind_vma_bind_async(vma, 0, NULL) == 0);
            REQUIRE(unbind_vma_add_user(vma, gate) == 0);
            REQUIRE(unbind_vma_unbind_async(vma, 0, NULL) == 0);
            unbind_vma_unref(vma);
            starts[i] = start;
            ends[i] = start + pages;
        }
        CHECK_EQUAL(vm_stats(gpu.vm).pending, PENDING);
        for (unsigned i = 0; i < BINDS; i++) {
            state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
            uint64_t pages = 1 + (state >> 40) % 100, start = (state >> 20) % (PAGES - pages), expected = 0;
            for (unsigned j = 0; j < PENDING; j++) expected += starts[j] < start + pages && start < ends[j];
            struct unbind_vm_stats before = vm_stats(gpu.vm);
            vmas[i] = new_vma(&gpu, pages, start * PAGE);
            int status = unbind_vma_bind_async(vmas[i], 0, NULL);
            CHECK(status == 0 || status == -ENOSPC);
            if (status) continue;
            CHECK_EQUAL(vm_stats(gpu.vm).awaited - before.awaited, expected);
            CHECK_EQUAL(vm_stats(gpu.vm).awaited_not_overlapping, 0);
            CHECK_EQUAL(unbind_vma_state(vmas[i]), expected ? UNBIND_VMA_BINDING : UNBIND_VMA_BOUND);
        }
        signal_and_drop(gate);
        settle(&gpu);
        drop_vmas(vmas, BINDS);
        gpu_close(&gpu);
    }
}

TEST(colors, "M5, P12: with colors a bind awaits one page further, at 0, at 2^32 and at the top, and no further") {
    const uint64_t top = UINT64_C(1) << 48, places[] = {0, (UINT64_C(1) << 32) - PAGE, UINT64_C(1) << 32, top - PAGE};
    for (unsigned i = 0; i < 4; i++) {
        for (int distance = -3; distance <= 3; distance++) {
            struct gpu gpu;
            struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
            uint64_t other = places[i] + (uint64_t)(int64_t)distance * PAGE;
            if (other >= top) continue;
            options.flags = UNBIND_VM_CACHE_COLORING;
            gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
            unbind_vma *first = colored_vma(&gpu, 1, places[i], 1), *second = colored_vma(&gpu, 1, other, 2);
            REQUIRE(unbind_vma_bind(first, 0) == 0);
            unbind_fence *user = use(&gpu, first);
            REQUIRE(unbind_vma_unbind_async(first, 0, NULL) == 0);
            REQUIRE(unbind_vma_bind_async(second, 0, NULL) == 0);
            CHECK_EQUAL(vm_stats(gpu.vm).awaited, distance >= -1 && distance <= 1);
            signal_and_drop(user);
            settle(&gpu);
            CHECK(is_bound(second));
            unbind_vma_unref(first);
            unbind_vma_unref(second);
            gpu_close(&gpu);
        }
    }
}

struct waiter {
    struct gpu gpu;
    unbind_fence *users[5];
    unbind_vma *beside;
    int failed_here;
};

/* Uses the address space that somebody waits for, and only then lets that come to its end. */
static void *let_go(void *argument) {
    struct waiter *waiter = (struct waiter *)argument;
    sleep_ms(2);
    int status = unbind_vma_bind(waiter->beside, 0);
    if (status == -ENOMEM) { /* while the other waits, this may be the one to fail */
        waiter->failed_here = 1;
        status = unbind_vma_bind(waiter->beside, 0);
    }
    CHECK_EQUAL(status, 0);
    for (int i = 4; i >= 0; i--) CHECK_EQUAL(unbind_fence_signal(waiter->users[i], 0), 0);
    return NULL;
}

TEST(await_fails, "P18, M3: memory to await each of five unbinds fails: the bind waits with no lock held, or is refused") {
    for (int async = 0; async < 2; async++) {
        unsigned failures = 0, done_without = 0, tries = 0;
        for (uint64_t n = 1;; n++) {
            struct waiter waiter;
            pthread_t thread;
            unbind_fence *bound = NULL;
            REQUIRE(n < 200 && tries++ < 2000);
            waiter.failed_here = 0;
            gpu_open_bare(&waiter.gpu, UNBIND_EXECUTOR_POOL, 1);
            unbind_bo *bo = make_bo(&waiter.gpu, 5 * PAGE);
            unbind_vma *over = make_vma(&waiter.gpu, bo, 0x10000), *old[5];
            waiter.beside = make_vma(&waiter.gpu, bo, 0x12000000);
            for (unsigned i = 0; i < 5; i++) {
                old[i] = bind_new(&waiter.gpu, PAGE, 0x10000 + i * PAGE);
                waiter.users[i] = use(&waiter.gpu, old[i]);
                REQUIRE(unbind_vma_unbind_async(old[i], 0, NULL) == 0);
            }
            waiter.gpu.hooks.fail_at = waiter.gpu.hooks.calls + n;
            REQUIRE(pthread_create(&thread, NULL, let_go, &waiter) == 0);
            int status = async ? unbind_vma_bind_async(over, 0, &bound) : unbind_vma_bind(over, 0);
            pthread_join(thread, NULL);
            waiter.gpu.hooks.fail_at = 0;
            uint64_t failed = waiter.gpu.hooks.failed - (uint64_t)waiter.failed_here;
            CHECK(status == 0 || (status == -ENOMEM && failed));
            failures += failed != 0;
            done_without += failed && status == 0;
            if (status) CHECK_EQUAL(unbind_vma_bind(over, 0), 0);
            if (bound) CHECK_EQUAL(finish(bound), 0);
            CHECK(is_bound(over));
            uint64_t awaited = vm_stats(waiter.gpu.vm).awaited;
            unbind_vma_unref(over);
            unbind_vma_unref(waiter.beside);
            drop_vmas(old, 5);
            drop_fences(waiter.users, 5);
            unbind_bo_unref(bo);
            gpu_close(&waiter.gpu);
            if (waiter.gpu.hooks.failed != 0) continue;
            /* Nothing fails any more; or it came so late that the unbinds were over. */
            if (awaited == 5) break;
            n--;
        }
        CHECK(failures >= 5);
        if (async) CHECK(done_without >= 5);
    }
}

TEST(one_worker, "P31: one worker, 600 unbinds that became ready, and a bind that waits for all of them") {
    enum { COUNT = 600 };
    struct gpu gpu;
    unbind_vma *vmas[COUNT];
    gpu_open_bare(&gpu, UNBIND_EXECUTOR_POOL, 1);
    unbind_fence *user = make_fence(&gpu);
    for (unsigned i = 0; i < COUNT; i++) {
        vmas[i] = bind_new(&gpu, PAGE, i * PAGE);
        REQUIRE(unbind_vma_add_user(vmas[i], user) == 0);
    }
    for (unsigned i = 0; i < COUNT; i++) CHECK_EQUAL(unbind_vma_unbind_async(vmas[i], 0, NULL), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, COUNT);
    unbind_vma *over = new_vma(&gpu, COUNT, 0);
    signal_and_drop(user);
    CHECK_EQUAL(unbind_vma_bind(over, 0), 0);
    CHECK(is_bound(over));
    unbind_vma_unref(over);
    drop_vmas(vmas, COUNT);
    gpu_close(&gpu);
}

/* MARK: what other drivers got wrong */

TEST(destroy_awaits, "P25: dropping a bound VMA waits for its work, is among the buffer's fences, and a hold delays it") {
    struct gpu gpu;
    struct unbind_page page;
    unbind_hold *hold = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x10000);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    unbind_fence *user = use(&gpu, vma);
    REQUIRE(unbind_vma_hold(vma, &hold) == 0);
    unbind_vma_unref(vma);
    CHECK(page_at(&gpu, 0x10000, &page));
    signal_and_drop(user);
    /* The work has ended; what is left is the unbind, which is no more than BOOKKEEP. */
    settle(&gpu);
    CHECK_EQUAL(unbind_bo_is_signaled(bo, UNBIND_USAGE_READ), 1);
    CHECK_EQUAL(unbind_bo_is_signaled(bo, UNBIND_USAGE_BOOKKEEP), 0);
    CHECK_EQUAL(unbind_bo_wait(bo, 0, 0), -ETIME);
    unbind_hold_unref(hold);
    CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
    CHECK(!page_at(&gpu, 0x10000, &page));
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* A bind over an unbind that is pending, that has signalled but is still known, that ends meanwhile, and none. */
TEST(insert_outcomes, "P26: nothing is kept of an unbind that a bind found pending, signalled, ending or gone") {
    struct gpu gpu;
    int64_t blocks = 0;
    gpu_open_bare(&gpu, UNBIND_EXECUTOR_MANUAL, 0);
    for (int round = 0; round < 12; round++) {
        unbind_vma *old = bind_new(&gpu, PAGE, 0x10000);
        unbind_fence *user = make_fence(&gpu), *unbound = NULL, *bound = NULL;
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_vma *over = make_vma(&gpu, bo, 0x10000);
        if (round % 4 != 3) REQUIRE(unbind_vma_add_user(old, user) == 0);
        REQUIRE(unbind_vma_unbind_async(old, 0, &unbound) == 0);
        if (round % 4 == 1) { /* signalled, and in the index until the next lookup */
            CHECK_EQUAL(unbind_fence_signal(user, 0), 0);
            settle(&gpu);
            CHECK_EQUAL(unbind_fence_is_signaled(unbound), 1);
        }
        if (round % 4 == 2) CHECK_EQUAL(unbind_fence_signal(user, 0), 0); /* ready, and not yet run */
        uint64_t awaited = vm_stats(gpu.vm).awaited;
        REQUIRE(unbind_vma_bind_async(over, 0, &bound) == 0);
        CHECK_EQUAL(vm_stats(gpu.vm).awaited - awaited, round % 4 == 0 || round % 4 == 2);
        if (round % 4 == 0 || round % 4 == 3) CHECK_EQUAL(unbind_fence_signal(user, 0), 0);
        CHECK_EQUAL(finish(bound), 0);
        CHECK_EQUAL(finish(unbound), 0);
        unbind_fence_unref(user);
        unbind_vma_unref(old);
        unbind_vma_unref(over);
        unbind_bo_unref(bo);
        settle(&gpu);
        /* A next bind reaps; from then on each round costs nothing that stays. */
        unbind_vma *reaper = bind_new(&gpu, PAGE, 0x10000);
        unbind_vma_unref(reaper);
        settle(&gpu);
        if (round == 3) blocks = gpu.hooks.blocks;
        if (round > 3) CHECK_EQUAL(gpu.hooks.blocks, blocks);
    }
    gpu_close(&gpu);
}

TEST(close_of_shared, "P27: an address space closes with buffers that others share and have locked, and takes only its own") {
    struct gpu gpu;
    struct unbind_page page;
    struct unbind_lock_context context;
    unbind_vm *other = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *shared = make_bo(&gpu, PAGE), *lost = make_bo(&gpu, PAGE);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &other) == 0);
    unbind_vma *here = make_vma(&gpu, shared, 0x10000), *closing = vma_at(other, shared, 0x10000);
    unbind_vma *broken = vma_at(other, lost, 0x20000), *well = vma_at(other, shared, 0x30000);
    REQUIRE(unbind_vma_bind(here, 0) == 0 && unbind_vma_bind(closing, 0) == 0);
    /* A buffer whose memory is lost while it is bound again takes nobody else with it. */
    REQUIRE(unbind_device_fail_next(gpu.device, UNBIND_FAIL_COPY, 1) == 0);
    REQUIRE(unbind_bo_migrate(lost, UNBIND_REGION_LOCAL, UNBIND_BO_MIGRATE_NO_CPU_COPY, NULL) == 0);
    settle(&gpu);
    CHECK_EQUAL(unbind_vma_bind(broken, 0), -EIO);
    CHECK_EQUAL(unbind_vma_bind(well, 0), 0);
    CHECK(is_bound(closing) && is_bound(here));
    unbind_fence *user = use(&gpu, closing);
    REQUIRE(unbind_lock_context_init(&context, gpu.device) == 0);
    REQUIRE(unbind_bo_lock(shared, &context, 0) == 0);
    CHECK_EQUAL(unbind_vm_close(other), 0);
    unbind_vm_unref(other);
    CHECK(is_unbound(closing) && is_unbound(well) && is_bound(here));
    unbind_lock_context_fini(&context);
    CHECK_EQUAL(unbind_bo_wait(shared, 0, 0), -ETIME);
    signal_and_drop(user);
    CHECK_EQUAL(unbind_bo_wait(shared, FOREVER, 0), 0);
    CHECK(page_at(&gpu, 0x10000, &page) && page.bo_id == unbind_bo_id(shared));
    CHECK_EQUAL(unbind_bo_unbind(shared, 0), 0);
    CHECK(is_unbound(here));
    unbind_vma_unref(here);
    unbind_vma_unref(closing);
    unbind_vma_unref(broken);
    unbind_vma_unref(well);
    unbind_bo_unref(shared);
    unbind_bo_unref(lost);
    gpu_close(&gpu);
}

TEST(unbind_needs_no_vma, "P28: an unbind ends after VMA, buffer and the handle of its address space have gone") {
    struct gpu gpu;
    unbind_fence *unbound = NULL;
    unbind_vm *vm = NULL;
    gpu_open_bare(&gpu, UNBIND_EXECUTOR_MANUAL, 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &vm) == 0);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = vma_at(vm, bo, 0x10000);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    unbind_fence *user = use(&gpu, vma);
    REQUIRE(unbind_vma_unbind_async(vma, 0, &unbound) == 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_vm_unref(vm);
    CHECK_EQUAL(device_stats(gpu.device).system_bytes, PAGE);
    signal_and_drop(user);
    CHECK_EQUAL(finish(unbound), 0);
    settle(&gpu);
    CHECK_EQUAL(device_stats(gpu.device).system_bytes, 0);
    gpu_close(&gpu);
}

TEST(flush_without_memory, "P29: an unbind without any memory still invalidates, and its fence outlives what it stood for") {
    struct gpu gpu;
    uint64_t word = 0;
    gpu_open_bare(&gpu, UNBIND_EXECUTOR_MANUAL, 0);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000);
    struct unbind_command load = command_load(0x10000, &word);
    unbind_fence *job = NULL, *unbound = NULL, *user = use(&gpu, vma);
    REQUIRE(submit(queue, &load, 1, vma, NULL, &job) == 0);
    CHECK_EQUAL(finish(job), 0); /* a TLB knows the page now */
    unbind_timeline *timeline = make_timeline(&gpu);
    uint64_t flushes = device_stats(gpu.device).tlb_invalidations;
    gpu.hooks.fail_every = 1;
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
    CHECK_EQUAL(unbind_fence_signal(user, 0), 0);
    settle(&gpu);
    CHECK_EQUAL(gpu.hooks.failed, 0); /* nothing was even asked for */
    gpu.hooks.fail_every = 0;
    CHECK_EQUAL(device_stats(gpu.device).tlb_invalidations, flushes + 1);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 1);
    unbind_fence_unref(unbound);
    /* On a timeline, with later points over it and nobody else who has it. */
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    unbind_fence *second = use(&gpu, vma);
    REQUIRE(unbind_vma_unbind_async(vma, 0, &unbound) == 0);
    REQUIRE(unbind_timeline_add_point(timeline, 1, unbound) == 0);
    REQUIRE(unbind_timeline_signal(timeline, 2) == 0);
    unbind_fence_unref(unbound);
    unbind_vma_unref(vma);
    unbind_fence *point = point_of(timeline, 1);
    unbind_timeline_unref(timeline);
    CHECK_EQUAL(unbind_fence_is_signaled(point), 0);
    signal_and_drop(second);
    CHECK_EQUAL(finish(point), 0);
    unbind_fence_unref(user);
    unbind_queue_unref(queue);
    settle(&gpu);
    gpu_close(&gpu);
}
