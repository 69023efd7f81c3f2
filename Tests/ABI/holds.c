/* SPDX-License-Identifier: MIT */
/* Holds: a binding that somebody looks at keeps its memory and delays its unbind, and nothing else. */
#include "support.h"

static unbind_hold *hold_of(unbind_vma *vma) {
    unbind_hold *hold = NULL;
    REQUIRE(unbind_vma_hold(vma, &hold) == 0);
    return hold;
}

static struct unbind_hold_info info_of(unbind_hold *hold) {
    struct unbind_hold_info info = UNBIND_HOLD_INFO_INIT;
    CHECK_EQUAL(unbind_hold_get_info(hold, &info), 0);
    return info;
}

TEST(tells_what_it_holds, "a hold tells range, buffer and region, and reads the memory") {
    struct gpu gpu;
    unbind_bo *bo = NULL;
    unbind_vma *vma;
    unbind_hold *hold, *same;
    uint32_t word = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    REQUIRE(unbind_bo_create(gpu.device, 3 * PAGE, UNBIND_REGION_LOCAL, 0, &bo) == 0);
    memset(unbind_bo_cpu_pointer(bo), 0x11, 3 * PAGE);
    memset((char *)unbind_bo_cpu_pointer(bo) + PAGE, 0x22, PAGE);
    vma = make_vma(&gpu, bo, 0x40000);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    hold = hold_of(vma);
    same = unbind_hold_ref(hold);
    CHECK(same == hold);
    struct unbind_hold_info info = info_of(hold);
    CHECK_EQUAL(info.address, 0x40000);
    CHECK_EQUAL(info.size, 3 * PAGE);
    CHECK_EQUAL(info.bo_id, unbind_bo_id(bo));
    CHECK_EQUAL(info.flags, UNBIND_HOLD_LOCAL);
    CHECK_EQUAL(unbind_hold_read(hold, PAGE - 2, &word, 4), 0);
    CHECK_EQUAL(word, 0x22221111);
    CHECK_EQUAL(unbind_hold_read(hold, 3 * PAGE, &word, 0), 0);
    CHECK_EQUAL(unbind_hold_read(hold, 3 * PAGE - 3, &word, 4), -EINVAL);
    CHECK_EQUAL(unbind_hold_read(hold, UINT64_MAX, &word, 4), -EINVAL);
    unbind_hold_unref(same);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
    CHECK_EQUAL(info_of(hold).flags, UNBIND_HOLD_LOCAL | UNBIND_HOLD_UNBINDING);
    unbind_hold_unref(hold);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

static void *drop_later(void *hold) {
    sleep_ms(20);
    unbind_hold_unref((unbind_hold *)hold);
    return NULL;
}

TEST(delays_the_signal, "P19: a hold taken before the unbind delays its fence until it ends, on another thread too") {
    struct gpu gpu;
    unbind_fence *unbound = NULL, *bound = NULL;
    pthread_t thread;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_vma *vma = bind_new(&gpu, 2 * PAGE, 0x10000);
    unbind_fence *user = make_fence(&gpu);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    unbind_hold *hold = hold_of(vma);
    REQUIRE(unbind_vma_unbind_async(vma, 0, &unbound) == 0);
    signal_and_drop(user);
    REQUIRE(unbind_device_wait_idle(gpu.device, FOREVER, 0) == 0);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 1);
    /* It stays among the pending unbinds: who overlaps waits for the holder. */
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *over = make_vma(&gpu, bo, 0x11000), *beside = make_vma(&gpu, bo, 0x12000);
    REQUIRE(unbind_vma_bind_async(over, 0, &bound) == 0);
    CHECK_EQUAL(unbind_vma_bind(beside, 0), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(bound), 0);
    REQUIRE(pthread_create(&thread, NULL, drop_later, hold) == 0);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK_EQUAL(finish(bound), 0);
    pthread_join(thread, NULL);
    unbind_vma_unref(over);
    unbind_vma_unref(beside);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(every_moment, "M2: a hold is had while the unbind waits and after its work ended, and refused once it is over") {
    struct gpu gpu;
    unbind_hold *waiting = NULL, *cleared = NULL, *late = UNTOUCHED(unbind_hold);
    unbind_fence *unbound = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000);
    unbind_fence *user = make_fence(&gpu);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    REQUIRE(unbind_vma_unbind_async(vma, 0, &unbound) == 0);
    CHECK_EQUAL(unbind_vma_hold(vma, &late), -EINVAL);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x10fff, &waiting), 0);
    signal_and_drop(user);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x10000, &cleared), 0);
    unbind_hold_unref(waiting);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 0);
    unbind_hold_unref(cleared);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 1);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x10000, &late), -ENOENT);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x11000, &late), -ENOENT);
    CHECK(late == UNTOUCHED(unbind_hold));
    unbind_fence_unref(unbound);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(finds_what_the_gpu_finds, "holding an address gives the binding whose entries are there") {
    struct gpu gpu;
    unbind_hold *hold = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *old = bind_new(&gpu, PAGE, 0x10000);
    unbind_fence *user = make_fence(&gpu);
    REQUIRE(unbind_vma_add_user(old, user) == 0);
    struct unbind_page page = UNBIND_PAGE_INIT;
    REQUIRE(unbind_vm_find_page(gpu.vm, 0x10000, &page) == 0);
    REQUIRE(unbind_vma_unbind_async(old, 0, NULL) == 0);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *successor = make_vma(&gpu, bo, 0x10000);
    REQUIRE(unbind_vma_bind_async(successor, 0, NULL) == 0);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x10000, &hold), 0);
    CHECK_EQUAL(info_of(hold).bo_id, page.bo_id);
    CHECK_EQUAL(info_of(hold).flags, UNBIND_HOLD_UNBINDING);
    unbind_hold_unref(hold);
    signal_and_drop(user);
    REQUIRE(unbind_device_wait_idle(gpu.device, FOREVER, 0) == 0);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x10000, &hold), 0);
    CHECK_EQUAL(info_of(hold).bo_id, unbind_bo_id(bo));
    unbind_hold_unref(hold);
    unbind_vma_unref(successor);
    unbind_vma_unref(old);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(immediate, "an immediate unbind that is held delays nobody but who waits for the buffer") {
    struct gpu gpu;
    unbind_fence *unbound = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x10000);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    unbind_hold *hold = hold_of(vma);
    REQUIRE(unbind_vma_unbind_async(vma, 0, &unbound) == 0);
    CHECK_EQUAL(vm_stats(gpu.vm).unbinds_immediate, 1);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 0);
    CHECK_EQUAL(unbind_bo_wait(bo, 0, 0), -ETIME);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).binds_waited, 0);
    unbind_hold_unref(hold);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 1);
    CHECK_EQUAL(unbind_bo_wait(bo, 0, 0), 0);
    unbind_fence_unref(unbound);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(own_hold, "a synchronous unbind of what its own thread holds is a deadlock in a simulation, and over with the hold") {
    const uint32_t policies[] = {UNBIND_POLICY_RANGES, UNBIND_POLICY_TIMELINE, UNBIND_POLICY_SYNC};
    for (int i = 0; i < 3; i++) {
        for (int call = 0; call < 3; call++) {
            struct gpu gpu;
            unbind_fence *fence = UNTOUCHED(unbind_fence);
            gpu_open_policy(&gpu, UNBIND_EXECUTOR_SIMULATED, policies[i]);
            unbind_bo *bo = make_bo(&gpu, PAGE);
            unbind_vma *vma = make_vma(&gpu, bo, 0x10000);
            REQUIRE(unbind_vma_bind(vma, 0) == 0);
            unbind_hold *hold = hold_of(vma);
            if (call == 0) CHECK_EQUAL(unbind_vma_unbind(vma, 0), -EDEADLK);
            if (call == 1) CHECK_EQUAL(unbind_bo_unbind(bo, 0), -EDEADLK);
            if (call == 2 && policies[i] == UNBIND_POLICY_SYNC) {
                CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fence), -EDEADLK);
                CHECK(fence == UNTOUCHED(unbind_fence));
            } else if (call == 2) {
                CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
            }
            CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_UNBOUND);
            CHECK_EQUAL(vm_stats(gpu.vm).pending, 1);
            CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0); /* there is nothing more to unbind */
            CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
            unbind_hold_unref(hold);
            CHECK_EQUAL(vm_stats(gpu.vm).pending, 0);
            CHECK_EQUAL(unbind_bo_wait(bo, 0, 0), 0);
            CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
            unbind_vma_unref(vma);
            unbind_bo_unref(bo);
            gpu_close(&gpu);
        }
    }
}

/* Three pages, or two planes of two by three pages with padding. */
static unbind_vma *view_vma(struct gpu *gpu, unbind_bo *bo, uint32_t type) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    struct unbind_view view = UNBIND_VIEW_INIT;
    unbind_vma *vma = NULL;
    view.type = type;
    if (type == UNBIND_VIEW_PARTIAL) {
        view.offset = 5 * PAGE;
        view.size = 3 * PAGE;
    } else {
        view.plane_count = 2;
        for (int i = 0; i < 2; i++) {
            view.planes[i].offset = i ? 9 : 1;
            view.planes[i].width = 2;
            view.planes[i].height = 3;
            view.planes[i].src_stride = 3;
            view.planes[i].dst_stride = 4 + (uint32_t)i;
        }
    }
    options.view = &view;
    REQUIRE(unbind_vma_create(gpu->vm, bo, &options, &vma) == 0);
    return vma;
}

TEST(views, "a hold of a view reads the bytes in the order in which the GPU sees them, padding as zero") {
    for (uint32_t type = UNBIND_VIEW_PARTIAL; type <= UNBIND_VIEW_REMAPPED; type++) {
        struct gpu gpu;
        uint64_t padding = 0;
        gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
        unbind_bo *bo = make_bo(&gpu, 24 * PAGE);
        uint32_t *words = (uint32_t *)unbind_bo_cpu_pointer(bo);
        for (uint32_t i = 0; i < 24 * PAGE / 4; i++) words[i] = 0x80000000u + i;
        unbind_vma *vma = view_vma(&gpu, bo, type);
        unbind_queue *queue = make_queue(&gpu);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        unbind_hold *hold = hold_of(vma);
        uint64_t size = unbind_vma_size(vma), start = unbind_vma_address(vma);
        CHECK_EQUAL(info_of(hold).size, size);
        for (uint64_t at = 0; at < size; at += PAGE) {
            struct unbind_page page = UNBIND_PAGE_INIT;
            uint64_t seen = 1, expected = 0;
            int there = unbind_vm_find_page(gpu.vm, start + at, &page) == 0 && page.address <= start + at;
            if (there) { /* as a job of the GPU sees it */
                struct unbind_command load = command_load(start + at + 8, &expected);
                unbind_fence *done = NULL;
                REQUIRE(submit(queue, &load, 1, vma, NULL, &done) == 0);
                CHECK_EQUAL(finish(done), 0);
                CHECK(expected != 0);
            }
            padding += !there;
            CHECK_EQUAL(unbind_hold_read(hold, at + 8, &seen, 8), 0);
            CHECK_EQUAL(seen, expected);
        }
        CHECK((padding > 0) == (type != UNBIND_VIEW_PARTIAL));
        /* In one piece, across pages that are not neighbours in the buffer, and at odd places. */
        unsigned char *whole = (unsigned char *)malloc(size), *odd = (unsigned char *)malloc(size);
        REQUIRE(whole && odd);
        memset(odd, 0xee, size);
        CHECK_EQUAL(unbind_hold_read(hold, 0, whole, size), 0);
        for (uint64_t at = 0; at < size; at += 997) {
            uint64_t count = size - at < 997 ? size - at : 997;
            CHECK_EQUAL(unbind_hold_read(hold, at, odd + at, count), 0);
        }
        CHECK(memcmp(whole, odd, size) == 0);
        CHECK_EQUAL(unbind_hold_read(hold, 1, odd, size), -EINVAL);
        free(whole);
        free(odd);
        unbind_hold_unref(hold);
        unbind_queue_unref(queue);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        gpu_close(&gpu);
    }
}

TEST(outlives_its_vm, "P16: a hold may outlive VMA, buffer and address space") {
    struct gpu gpu;
    unbind_vm *vm = NULL;
    uint64_t word = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &vm) == 0);
    unbind_vm *first = gpu.vm;
    gpu.vm = vm;
    for (int deferred = 0; deferred < 2; deferred++) {
        unbind_fence *user = NULL;
        unbind_bo *bo = make_bo(&gpu, PAGE);
        memset(unbind_bo_cpu_pointer(bo), 0x77, PAGE);
        unbind_vma *vma = make_vma(&gpu, bo, UNBIND_ADDRESS_NONE);
        unbind_bo_unref(bo);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        if (deferred) {
            user = make_fence(&gpu);
            REQUIRE(unbind_vma_add_user(vma, user) == 0);
        }
        unbind_hold *hold = hold_of(vma);
        unbind_vma_unref(vma);
        if (deferred) {
            unbind_vm_unref(vm);
            signal_and_drop(user);
        }
        CHECK_EQUAL(unbind_hold_read(hold, 0, &word, 8), 0);
        CHECK_EQUAL(word, 0x7777777777777777);
        unbind_hold_unref(hold);
    }
    gpu.vm = first;
    gpu_close(&gpu);
}

TEST(close_breaks_holds, "closing the device ends what forgotten holds delay, and reports them") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED};
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
        unbind_fence *unbound = NULL;
        uint32_t word = 0;
        gpu_open(&gpu, executors[kind]);
        unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000), *other = bind_new(&gpu, PAGE, 0x20000);
        unbind_hold *hold = hold_of(vma), *still_bound = hold_of(other);
        REQUIRE(unbind_vma_unbind_async(vma, 0, &unbound) == 0);
        CHECK_EQUAL(unbind_device_close(gpu.device, &report), 0);
        CHECK_EQUAL(report.holds, 2);
        CHECK_EQUAL(unbind_fence_is_signaled(unbound), 1);
        CHECK_EQUAL(info_of(hold).flags, UNBIND_HOLD_BROKEN);
        CHECK_EQUAL(info_of(still_bound).flags, UNBIND_HOLD_BROKEN);
        CHECK_EQUAL(unbind_hold_read(still_bound, 0, &word, 4), 0);
        CHECK_EQUAL(word, 0);
        CHECK_EQUAL(unbind_vma_hold(vma, &hold), -EINVAL);
        unbind_hold_unref(hold);
        unbind_hold_unref(still_bound);
        unbind_fence_unref(unbound);
        unbind_vma_unref(vma);
        unbind_vma_unref(other);
        unbind_vm_unref(gpu.vm);
        unbind_device_unref(gpu.device);
        CHECK_EQUAL(gpu.hooks.blocks, 0);
    }
}

struct race {
    struct gpu gpu;
    unbind_vma *vma;
    int stop;
};

static void *hold_and_drop(void *argument) {
    struct race *race = (struct race *)argument;
    while (!__atomic_load_n(&race->stop, __ATOMIC_RELAXED)) {
        unbind_hold *hold = NULL;
        uint64_t word;
        int status = unbind_vm_hold(race->gpu.vm, 0x10000, &hold);
        CHECK(status == 0 || status == -ENOENT);
        if (status) continue;
        CHECK_EQUAL(unbind_hold_read(hold, 0, &word, 8), 0);
        unbind_hold_unref(hold);
    }
    return NULL;
}

TEST(races, "M2: binds and unbinds against threads that hold and let go") {
    struct race race;
    pthread_t threads[3];
    unsigned rounds = getenv("UNDER_VALGRIND") ? 100 : 3000;
    memset(&race, 0, sizeof race);
    gpu_open(&race.gpu, UNBIND_EXECUTOR_POOL);
    race.vma = bind_new(&race.gpu, PAGE, 0x10000);
    for (int i = 0; i < 3; i++) REQUIRE(pthread_create(&threads[i], NULL, hold_and_drop, &race) == 0);
    for (unsigned i = 0; i < rounds; i++) {
        unbind_fence *unbound = NULL, *user = NULL;
        if (i % 2) {
            user = make_fence(&race.gpu);
            CHECK_EQUAL(unbind_vma_add_user(race.vma, user), 0);
        }
        CHECK_EQUAL(unbind_vma_unbind_async(race.vma, 0, &unbound), 0);
        if (user) signal_and_drop(user);
        CHECK_EQUAL(finish(unbound), 0);
        CHECK_EQUAL(unbind_vma_bind(race.vma, 0), 0);
    }
    __atomic_store_n(&race.stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    unbind_vma_unref(race.vma);
    gpu_close(&race.gpu);
}

TEST(bad_input, "holds: bad input is refused and changes nothing") {
    struct gpu gpu;
    struct unbind_hold_info info = UNBIND_HOLD_INFO_INIT;
    unbind_hold *hold = UNTOUCHED(unbind_hold);
    char byte;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x10000);
    CHECK_EQUAL(unbind_vma_hold(NULL, &hold), -EINVAL);
    CHECK_EQUAL(unbind_vma_hold((unbind_vma *)(void *)gpu.vm, &hold), -EINVAL);
    CHECK_EQUAL(unbind_vma_hold(vma, NULL), -EINVAL);
    CHECK_EQUAL(unbind_vm_hold(NULL, 0, &hold), -EINVAL);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x10000, NULL), -EINVAL);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, UINT64_MAX, &hold), -ENOENT);
    CHECK(hold == UNTOUCHED(unbind_hold));
    CHECK(unbind_hold_ref(NULL) == NULL);
    unbind_hold_unref(NULL);
    CHECK_EQUAL(unbind_hold_get_info(NULL, &info), -EINVAL);
    CHECK_EQUAL(unbind_hold_read(NULL, 0, &byte, 1), -EINVAL);
    hold = hold_of(vma);
    CHECK_EQUAL(unbind_hold_get_info(hold, NULL), -EINVAL);
    info.struct_size = 3;
    CHECK_EQUAL(unbind_hold_get_info(hold, &info), -EINVAL);
    CHECK_EQUAL(unbind_hold_read(hold, 0, NULL, 1), -EINVAL);
    unbind_hold_unref(hold);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(stays_put, "a pin that waits does not move a VMA that somebody holds: -EBUSY, and nothing has changed") {
    const uint32_t executors[] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED};
    for (int kind = 0; kind < 3; kind++) {
        struct gpu gpu;
        struct unbind_pin_options options = UNBIND_PIN_OPTIONS_INIT;
        unbind_fence *moved = NULL;
        gpu_open(&gpu, executors[kind]);
        unbind_vma *vma = bind_new(&gpu, 4 * PAGE, UNBIND_ADDRESS_NONE);
        uint64_t address = unbind_vma_address(vma);
        unbind_hold *hold = hold_of(vma);
        options.flags = UNBIND_PIN_FIXED;
        options.address = address + PAGE;
        CHECK_EQUAL(unbind_vma_pin(vma, &options), -EBUSY);
        CHECK_EQUAL(unbind_vma_address(vma), address);
        CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_BOUND);
        CHECK_EQUAL(unbind_vma_pin_count(vma), 0);
        /* Without waiting it goes, and the hold delays the old place's unbind. */
        options.flags |= UNBIND_PIN_ASYNC;
        options.out_fence = &moved;
        CHECK_EQUAL(unbind_vma_pin(vma, &options), 0);
        CHECK_EQUAL(unbind_vma_address(vma), address + PAGE);
        unbind_hold_unref(hold);
        CHECK_EQUAL(finish(moved), 0);
        CHECK_EQUAL(unbind_vma_unpin(vma), 0);
        unbind_vma_unref(vma);
        gpu_close(&gpu);
    }
}

enum { TOGETHER = 50 };
static struct together {
    unbind_fence *unbinds[TOGETHER];
    unbind_hold *holds[TOGETHER];
    bool is_held[TOGETHER];
    int told, late, early;
    pthread_barrier_t barrier;
} together;

/* The unbind of this number has ended: so have those before it that nobody holds, and none after it. */
static void look_around(unbind_fence *fence, void *user_data) {
    const int number = *(const int *)user_data;
    CHECK(fence == together.unbinds[number]);
    for (int i = 0; i < TOGETHER; i++) {
        if (together.is_held[i]) continue;
        int has_ended = unbind_fence_is_signaled(together.unbinds[i]);
        if (i < number && !has_ended) together.late++;
        if (i > number && has_ended) together.early++;
    }
    together.told++;
}

static void look_away(unbind_fence *fence, void *user_data) {
    (void)fence;
    (void)user_data;
}

static void *drop_held(void *nothing) {
    pthread_barrier_wait(&together.barrier);
    for (int i = 0; i < TOGETHER; i++)
        if (together.is_held[i]) unbind_hold_unref(together.holds[i]);
    return nothing;
}

/* Many unbinds that wait for one fence, so that they end together; some of them held, some with a callback. */
static void unbind_together(struct gpu *gpu, struct unbind_fence_callback *callbacks, unbind_fence_callback_fn look,
                            int *numbers) {
    unbind_fence *user = make_fence(gpu);
    memset(together.is_held, 0, sizeof together.is_held);
    together.told = together.late = together.early = 0;
    /* The users of a fence are told in the order in which they came. */
    for (int i = 0; i < TOGETHER; i++) {
        unbind_vma *vma = bind_new(gpu, PAGE << (i % 3), 0x100000 + (uint64_t)i * 0x10000);
        REQUIRE(unbind_vma_add_user(vma, user) == 0);
        together.is_held[i] = i % 9 == 4 || i == TOGETHER - 1;
        if (together.is_held[i]) together.holds[i] = hold_of(vma);
        REQUIRE(unbind_vma_unbind_async(vma, 0, &together.unbinds[i]) == 0);
        numbers[i] = i;
        if (i % 7 == 3 && !together.is_held[i])
            REQUIRE(unbind_fence_add_callback(together.unbinds[i], &callbacks[i], look, &numbers[i]) == 0);
        unbind_vma_unref(vma);
    }
    signal_and_drop(user);
}

TEST(end_together, "unbinds that become ready together end in that order, held ones and awaited ones among them") {
    struct gpu gpu;
    struct unbind_fence_callback callbacks[TOGETHER];
    int numbers[TOGETHER], held = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_together(&gpu, callbacks, look_around, numbers);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, TOGETHER);
    REQUIRE(unbind_device_run(gpu.device, 0, NULL) == 0);
    CHECK_EQUAL(together.told, 6);
    CHECK_EQUAL(together.late, 0);
    CHECK_EQUAL(together.early, 0);
    for (int i = 0; i < TOGETHER; i++) {
        held += together.is_held[i];
        CHECK_EQUAL(unbind_fence_is_signaled(together.unbinds[i]), !together.is_held[i]);
    }
    CHECK_EQUAL(vm_stats(gpu.vm).pending, held);
    CHECK_EQUAL(vm_stats(gpu.vm).unbinds_completed, TOGETHER - held);
    pthread_barrier_init(&together.barrier, NULL, 1);
    drop_held(NULL);
    pthread_barrier_destroy(&together.barrier);
    CHECK_EQUAL(vm_stats(gpu.vm).pending, 0);
    CHECK_EQUAL(vm_stats(gpu.vm).unbinds_completed, TOGETHER);
    for (int i = 0; i < TOGETHER; i++) {
        CHECK_EQUAL(unbind_fence_is_signaled(together.unbinds[i]), 1);
        unbind_fence_unref(together.unbinds[i]);
    }
    gpu_close(&gpu);
}

TEST(end_apart, "the last holds end while the other unbinds do, and the address space goes with whichever is the last") {
    for (int round = 0; round < 30; round++) {
        struct gpu gpu;
        struct unbind_fence_callback callbacks[TOGETHER];
        int numbers[TOGETHER];
        pthread_t thread;
        gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
        pthread_barrier_init(&together.barrier, NULL, 2);
        REQUIRE(pthread_create(&thread, NULL, drop_held, NULL) == 0);
        unbind_together(&gpu, callbacks, look_away, numbers);
        unbind_vm_unref(gpu.vm);
        pthread_barrier_wait(&together.barrier);
        for (int i = 0; i < TOGETHER; i++) {
            CHECK_EQUAL(unbind_fence_wait(together.unbinds[i], FOREVER, 0), 0);
            unbind_fence_unref(together.unbinds[i]);
        }
        pthread_join(thread, NULL);
        pthread_barrier_destroy(&together.barrier);
        REQUIRE(unbind_device_wait_idle(gpu.device, FOREVER, 0) == 0);
        device_close_clean(gpu.device, &gpu.hooks);
    }
}
