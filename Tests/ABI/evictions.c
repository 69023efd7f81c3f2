/* SPDX-License-Identifier: MIT */
/* Eviction: who has to make way, who may not be touched, and that nothing loses its pages by it. */
#include "placing.h"

enum { PAGES = 16 };

/* An address space full of one-page VMAs, in order of addresses. */
struct full {
    struct gpu gpu;
    unbind_vma *vmas[PAGES];
};

static void fill(struct full *full, uint32_t executor, int are_pinned) {
    struct unbind_vm_options options = small_vm(PAGES);
    gpu_open_small(&full->gpu, executor, &options);
    for (unsigned i = 0; i < PAGES; i++) {
        full->vmas[i] = new_vma(&full->gpu, 1, UNBIND_ADDRESS_NONE);
        CHECK_EQUAL(are_pinned ? unbind_vma_pin(full->vmas[i], NULL) : unbind_vma_bind(full->vmas[i], 0), 0);
        CHECK_EQUAL(unbind_vma_address(full->vmas[i]), i * PAGE);
    }
}

static void empty(struct full *full) {
    drop_vmas(full->vmas, PAGES);
    gpu_close(&full->gpu);
}

static uint64_t bound(struct full *full) { return vm_stats(full->gpu.vm).bound; }

static void unpin_all(struct full *full) {
    for (unsigned i = 0; i < PAGES; i++) CHECK_EQUAL(unbind_vma_unpin(full->vmas[i]), 0);
}

static int something(struct gpu *gpu, uint64_t size, uint32_t flags) {
    struct unbind_evict_request request = UNBIND_EVICT_REQUEST_INIT;
    request.size = size;
    request.flags = flags;
    return unbind_vm_evict_something(gpu->vm, &request);
}

TEST(selftest_16, "selftest 16: with all pinned nothing can be evicted; unpinned something is") {
    static const uint32_t flags[] = {0, UNBIND_EVICT_ASYNC, UNBIND_EVICT_NONBLOCK};
    for (unsigned i = 0; i < 3; i++) {
        struct full full;
        fill(&full, UNBIND_EXECUTOR_MANUAL, 1);
        CHECK_EQUAL(something(&full.gpu, PAGE, flags[i]), -ENOSPC);
        CHECK_EQUAL(bound(&full), PAGES);
        unpin_all(&full);
        CHECK_EQUAL(something(&full.gpu, PAGE, flags[i]), 0);
        CHECK_EQUAL(bound(&full), PAGES - 1);
        CHECK(is_unbound(full.vmas[0])); /* the least recently used */
        /* There is room now. */
        CHECK_EQUAL(something(&full.gpu, PAGE, flags[i]), 0);
        CHECK_EQUAL(bound(&full), PAGES - 1);
        empty(&full);
    }
}

TEST(selftest_17, "selftest 17: the first page with all pinned cannot be evicted for a node; unpinned it is") {
    struct full full;
    fill(&full, UNBIND_EXECUTOR_MANUAL, 1);
    CHECK_EQUAL(unbind_vm_evict_range(full.gpu.vm, 0, PAGE, 0, 0), -ENOSPC);
    unpin_all(&full);
    CHECK_EQUAL(unbind_vm_evict_range(full.gpu.vm, 0, PAGE, 0, 0), 0);
    CHECK(is_unbound(full.vmas[0]) && is_bound(full.vmas[1]));
    CHECK_EQUAL(bound(&full), PAGES - 1);
    empty(&full);
}

TEST(selftest_18, "selftest 18: an abutting neighbour is in the way exactly if its color is another") {
    struct gpu gpu;
    unbind_vma *neighbour, *middle, *far;
    struct unbind_vm_options options = small_vm(PAGES);
    options.flags = UNBIND_VM_CACHE_COLORING;
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    neighbour = colored_vma(&gpu, 1, PAGE, 1);
    middle = colored_vma(&gpu, 1, 2 * PAGE, 1);
    CHECK_EQUAL(unbind_vma_pin(neighbour, NULL), 0);
    CHECK_EQUAL(unbind_vma_bind(middle, 0), 0);
    CHECK_EQUAL(unbind_vm_evict_range(gpu.vm, 2 * PAGE, PAGE, 2, 0), -ENOSPC);
    CHECK(is_bound(middle));
    CHECK_EQUAL(unbind_vm_evict_range(gpu.vm, 2 * PAGE, PAGE, 1, 0), 0);
    CHECK(is_unbound(middle) && is_bound(neighbour));
    CHECK_EQUAL(unbind_vma_unpin(neighbour), 0);
    /* One page between them is enough. */
    CHECK_EQUAL(unbind_vm_evict_range(gpu.vm, 3 * PAGE, PAGE, 2, 0), 0);
    CHECK(is_bound(neighbour));
    CHECK_EQUAL(unbind_vm_evict_range(gpu.vm, 2 * PAGE, PAGE, 2, 0), 0);
    CHECK(is_unbound(neighbour));
    /* The same by a bind that needs the place. */
    CHECK_EQUAL(unbind_vma_bind(neighbour, 0), 0);
    far = colored_vma(&gpu, 1, 2 * PAGE, 2);
    CHECK_EQUAL(unbind_vma_bind(far, 0), -ENOSPC);
    CHECK_EQUAL(unbind_vma_bind(far, UNBIND_BIND_EVICT), 0);
    CHECK(is_unbound(neighbour) && is_bound(far));
    /* P12: at both ends of the space. */
    CHECK_EQUAL(unbind_vm_evict_range(gpu.vm, 0, PAGE, 3, 0), 0);
    CHECK_EQUAL(unbind_vm_evict_range(gpu.vm, (PAGES - 1) * PAGE, PAGE, 3, 0), 0);
    CHECK(is_bound(far));
    unbind_vma_unref(neighbour);
    unbind_vma_unref(middle);
    unbind_vma_unref(far);
    gpu_close(&gpu);
}

TEST(selftest_19, "selftest 19: evicting all moves nothing that is pinned and everything that is not") {
    struct full full;
    fill(&full, UNBIND_EXECUTOR_MANUAL, 1);
    CHECK_EQUAL(unbind_vm_evict_all(full.gpu.vm, 0), 0);
    for (unsigned i = 0; i < PAGES; i++) CHECK(is_bound(full.vmas[i]) && unbind_vma_address(full.vmas[i]) == i * PAGE);
    unpin_all(&full);
    CHECK_EQUAL(unbind_vm_evict_all(full.gpu.vm, 0), 0);
    CHECK_EQUAL(bound(&full), 0);
    CHECK_EQUAL(vm_stats(full.gpu.vm).pending, 0);
    CHECK_EQUAL(unbind_vm_evict_all(full.gpu.vm, 0), 0);
    empty(&full);
}

TEST(selftest_31, "selftest 31: re-reserving at odd slots evicts the two that are there, at the exact offset") {
    enum { SLOTS = 16, COUNT = SLOTS / 2 };
    struct gpu gpu;
    unbind_vma *even[COUNT], *odd[COUNT];
    uint64_t random = 7;
    struct unbind_vm_options options = small_vm(SLOTS + 2);
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    for (unsigned i = 0; i < COUNT; i++) {
        even[i] = new_vma(&gpu, 2, UNBIND_ADDRESS_NONE);
        CHECK_EQUAL(pin(even[i], UNBIND_PIN_FIXED, 2 * i * PAGE, 0), 0);
        CHECK_EQUAL(unbind_vma_unpin(even[i]), 0);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        odd[i] = new_vma(&gpu, 2, UNBIND_ADDRESS_NONE);
        CHECK_EQUAL(pin(odd[i], UNBIND_PIN_FIXED | UNBIND_PIN_EVICT, (2 * i + 1) * PAGE, 0), 0);
        CHECK_EQUAL(unbind_vma_address(odd[i]), (2 * i + 1) * PAGE);
        CHECK_EQUAL(unbind_vma_unpin(odd[i]), 0);
        CHECK(is_unbound(even[i]) && (i + 1 == COUNT || is_unbound(even[i + 1])));
    }
    for (unsigned i = 0; i < 100; i++) {
        unbind_vma *vma = odd[i % COUNT];
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
        uint64_t address = (random >> 33) % (SLOTS + 1) * PAGE;
        CHECK_EQUAL(pin(vma, UNBIND_PIN_FIXED | UNBIND_PIN_EVICT, address, 0), 0);
        CHECK(is_bound(vma) && unbind_vma_address(vma) == address);
        CHECK_EQUAL(unbind_vma_unpin(vma), 0);
    }
    drop_vmas(even, COUNT);
    drop_vmas(odd, COUNT);
    gpu_close(&gpu);
}

TEST(selftest_32, "selftest 32: invalid inserts find no space, a full space is the only hole's, evictions make room") {
    struct gpu gpu;
    unbind_vma *vmas[PAGES], *extra;
    struct unbind_vm_options options = small_vm(PAGES);
    options.mappable_size = 8 * PAGE;
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    extra = new_vma(&gpu, 1, UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(pin(extra, UNBIND_PIN_EVICT, 0, (PAGES + 1) * PAGE), -ENOSPC);
    CHECK_EQUAL(pin(extra, UNBIND_PIN_EVICT, 0, UINT64_MAX - PAGE + 1), -ENOSPC);
    CHECK_EQUAL(pin(extra, UNBIND_PIN_EVICT | UNBIND_PIN_MAPPABLE, 0, 9 * PAGE), -ENOSPC);
    CHECK_EQUAL(pin(extra, UNBIND_PIN_EVICT | UNBIND_PIN_BIAS, PAGES * PAGE, 0), -ENOSPC);
    CHECK_EQUAL(pin(extra, UNBIND_PIN_EVICT | UNBIND_PIN_BIAS, (PAGES - 1) * PAGE, 2 * PAGE), -ENOSPC);
    CHECK(is_unbound(extra));
    for (unsigned i = 0; i < PAGES; i++) {
        vmas[i] = new_vma(&gpu, 1, UNBIND_ADDRESS_NONE);
        CHECK_EQUAL(pin(vmas[i], UNBIND_PIN_EVICT, 0, 0), 0);
    }
    CHECK_EQUAL(pin(extra, UNBIND_PIN_EVICT, 0, 0), -ENOSPC);
    for (unsigned i = 0; i < PAGES; i++) {
        CHECK_EQUAL(unbind_vma_address(vmas[i]), i * PAGE);
        CHECK_EQUAL(unbind_vma_unpin(vmas[i]), 0);
        CHECK_EQUAL(unbind_vma_unbind(vmas[i], 0), 0);
        CHECK_EQUAL(unbind_vma_pin(vmas[i], NULL), 0);
        CHECK_EQUAL(unbind_vma_address(vmas[i]), i * PAGE);
    }
    for (unsigned i = 0; i < PAGES; i++) CHECK_EQUAL(unbind_vma_unpin(vmas[i]), 0);
    for (unsigned i = 0; i < PAGES; i++) {
        unbind_vma *pair = new_vma(&gpu, 2, UNBIND_ADDRESS_NONE);
        CHECK_EQUAL(pin(pair, UNBIND_PIN_EVICT, 0, 0), 0);
        CHECK(is_bound(pair));
        unbind_vma_unref(pair);
    }
    drop_vmas(vmas, PAGES);
    unbind_vma_unref(extra);
    gpu_close(&gpu);
}

TEST(order_of_use, "the least recently used goes first: bind, jobs and add_user count as use, and the idle go before the used") {
    struct full full;
    unbind_queue *queue;
    unbind_fence *user;
    fill(&full, UNBIND_EXECUTOR_MANUAL, 0);
    queue = make_queue(&full.gpu);
    CHECK_EQUAL(submit(queue, NULL, 0, full.vmas[0], NULL, NULL), 0);
    user = use(&full.gpu, full.vmas[1]);
    settle(&full.gpu);
    CHECK_EQUAL(something(&full.gpu, PAGE, UNBIND_EVICT_ASYNC), 0);
    CHECK(is_unbound(full.vmas[2]));
    /* All the others before 1, which is in use; 0 last of the idle. */
    for (unsigned i = 3; i <= PAGES; i++) {
        unbind_vma *next = full.vmas[i == PAGES ? 0 : i];
        CHECK_EQUAL(unbind_vma_bind(full.vmas[2], UNBIND_BIND_EVICT), 0);
        CHECK(is_bound(next));
        CHECK_EQUAL(pin(full.vmas[2], 0, 0, 0), 0);
        CHECK_EQUAL(something(&full.gpu, PAGE, UNBIND_EVICT_ASYNC), 0);
        CHECK(is_unbound(next));
        CHECK_EQUAL(unbind_vma_unpin(full.vmas[2]), 0);
        CHECK_EQUAL(unbind_vma_unbind(full.vmas[2], 0), 0);
        CHECK_EQUAL(pin(full.vmas[2], UNBIND_PIN_FIXED, unbind_vma_address(full.vmas[2]) == 0 ? 0 : 2 * PAGE, 0), 0);
        CHECK_EQUAL(unbind_vma_unpin(full.vmas[2]), 0);
        if (i < PAGES) { /* the room is filled again, and what fills it is never chosen */
            unbind_vma *filler = new_vma(&full.gpu, 1, UNBIND_ADDRESS_NONE);
            CHECK_EQUAL(unbind_vma_pin(filler, NULL), 0);
            unbind_vma_unref(full.vmas[i]);
            full.vmas[i] = filler;
        }
    }
    CHECK(is_bound(full.vmas[1]));
    signal_and_drop(user);
    unbind_queue_unref(queue);
    empty(&full);
}

TEST(nonblock, "NONBLOCK spares what GPU work uses; without it the work is waited for, or its end awaited") {
    struct full full;
    unbind_fence *users[PAGES];
    fill(&full, UNBIND_EXECUTOR_SIMULATED, 0);
    for (unsigned i = 0; i < PAGES; i++) users[i] = use(&full.gpu, full.vmas[i]);
    CHECK_EQUAL(something(&full.gpu, PAGE, UNBIND_EVICT_NONBLOCK), -ENOSPC);
    CHECK_EQUAL(unbind_vm_evict_range(full.gpu.vm, 0, PAGE, 0, UNBIND_EVICT_NONBLOCK), -ENOSPC);
    CHECK_EQUAL(unbind_vm_evict_range(full.gpu.vm, 0, PAGE, 0, UNBIND_EVICT_NONBLOCK | UNBIND_EVICT_ASYNC), -ENOSPC);
    CHECK_EQUAL(unbind_vm_evict_all(full.gpu.vm, UNBIND_EVICT_NONBLOCK), 0);
    CHECK_EQUAL(bound(&full), PAGES);
    /* Nobody will signal them while this waits. */
    CHECK_EQUAL(something(&full.gpu, PAGE, 0), -EDEADLK);
    CHECK_EQUAL(unbind_vm_evict_all(full.gpu.vm, 0), -EDEADLK);
    CHECK_EQUAL(unbind_vm_evict_range(full.gpu.vm, 0, PAGE, 0, 0), -EDEADLK);
    CHECK_EQUAL(bound(&full), PAGES);
    CHECK_EQUAL(unbind_vm_evict_all(full.gpu.vm, UNBIND_EVICT_ASYNC), 0);
    CHECK_EQUAL(bound(&full), 0);
    CHECK_EQUAL(vm_stats(full.gpu.vm).pending, PAGES);
    for (unsigned i = 0; i < PAGES; i++) signal_and_drop(users[i]);
    settle(&full.gpu);
    CHECK_EQUAL(vm_stats(full.gpu.vm).pending, 0);
    empty(&full);
}

TEST(compute_runtime_973, "compute-runtime#973: eviction takes nothing from under GPU work, and a failed bind unbinds nobody") {
    struct full full;
    struct unbind_command commands[3];
    struct unbind_page page;
    unbind_queue *queue;
    unbind_vma *large, *whole;
    unbind_fence *gate, *job = NULL, *bind = NULL;
    uint64_t loaded = 0;
    fill(&full, UNBIND_EXECUTOR_SIMULATED, 0);
    queue = make_queue(&full.gpu);
    gate = make_fence(&full.gpu);

    /* A bind that cannot succeed, as one of two pages in the only run is pinned: nobody is unbound. */
    CHECK_EQUAL(unbind_vma_pin(full.vmas[PAGES / 2], NULL), 0);
    whole = new_vma(&full.gpu, PAGES, UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(unbind_vma_bind_async(whole, UNBIND_BIND_EVICT, NULL), -ENOSPC);
    CHECK_EQUAL(unbind_vma_bind(whole, UNBIND_BIND_EVICT), -ENOSPC);
    CHECK_EQUAL(bound(&full), PAGES);
    CHECK_EQUAL(vm_stats(full.gpu.vm).unbinds, 0);
    CHECK_EQUAL(unbind_vma_unpin(full.vmas[PAGES / 2]), 0);

    /* A dispatch with a private surface, under way; then a bind takes the room of everybody. */
    commands[0] = command_wait(gate);
    commands[1] = command_store(8, 0x973);
    commands[2] = command_load(8, &loaded);
    CHECK_EQUAL(submit(queue, commands, 3, full.vmas[0], NULL, &job), 0);
    large = new_vma(&full.gpu, PAGES, UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(unbind_vma_bind_async(large, UNBIND_BIND_EVICT, &bind), 0);
    CHECK_EQUAL(unbind_vma_address(large), 0);
    CHECK_EQUAL(bound(&full), 1);
    for (unsigned i = 0; i < PAGES; i++) CHECK(is_unbound(full.vmas[i]));
    /* Its entries stay until it has ended, and the new ones come after that. */
    CHECK_EQUAL(unbind_device_run(full.gpu.device, 0, NULL), 0);
    CHECK(page_at(&full.gpu, 0, &page) && page.bo_id == 0);
    CHECK_EQUAL(unbind_fence_is_signaled(bind), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(job), 0);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(loaded, 0x973);
    CHECK_EQUAL(full.gpu.faults, 0);
    CHECK_EQUAL(finish(bind), 0);
    CHECK(page_at(&full.gpu, 0, &page) && page.bo_id != 0 && page.bo_offset == 0);
    /* What was evicted is never used silently: the next dispatch that lists it is refused. */
    CHECK_EQUAL(submit(queue, commands + 1, 1, full.vmas[0], NULL, NULL), -EINVAL);
    unbind_vma_unref(large);
    unbind_vma_unref(whole);
    unbind_queue_unref(queue);
    empty(&full);
}

TEST(waits_for_work, "a bind that evicts waits for the work of those it takes, and takes no more than it needs") {
    struct full full;
    unbind_queue *queue;
    unbind_vma *vma;
    struct unbind_command delay = command_delay(1000);
    fill(&full, UNBIND_EXECUTOR_SIMULATED, 0);
    queue = make_queue(&full.gpu);
    for (unsigned i = 0; i < PAGES; i++) CHECK_EQUAL(submit(queue, &delay, 1, full.vmas[i], NULL, NULL), 0);
    vma = new_vma(&full.gpu, 3, UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_EVICT | UNBIND_BIND_NONBLOCK), -ENOSPC);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_EVICT), 0);
    CHECK(is_bound(vma));
    CHECK_EQUAL(bound(&full), PAGES - 3 + 1);
    CHECK(unbind_device_now(full.gpu.device) >= 1000);
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    empty(&full);
}

TEST(policies, "under every policy the same are evicted") {
    static const uint32_t policies[] = {UNBIND_POLICY_RANGES, UNBIND_POLICY_TIMELINE, UNBIND_POLICY_SYNC};
    for (unsigned i = 0; i < 3; i++) {
        struct gpu gpu;
        unbind_vma *vmas[4], *vma;
        unbind_fence *user, *bind = NULL;
        struct unbind_vm_options options = small_vm(4);
        options.policy = policies[i];
        gpu_open_small(&gpu, UNBIND_EXECUTOR_SIMULATED, &options);
        for (unsigned j = 0; j < 4; j++) {
            vmas[j] = new_vma(&gpu, 1, UNBIND_ADDRESS_NONE);
            CHECK_EQUAL(unbind_vma_bind(vmas[j], 0), 0);
        }
        user = use(&gpu, vmas[1]);
        vma = new_vma(&gpu, 2, UNBIND_ADDRESS_NONE);
        CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_EVICT), 0); /* 2 and 3 are idle neighbours */
        CHECK(is_unbound(vmas[2]) && is_unbound(vmas[3]) && is_bound(vmas[0]) && is_bound(vmas[1]));
        CHECK_EQUAL(unbind_vma_unpin(vma), -EINVAL);
        CHECK_EQUAL(unbind_vma_pin(vma, NULL), 0);
        CHECK_EQUAL(unbind_vma_bind_async(vmas[2], UNBIND_BIND_EVICT, NULL), 0);
        CHECK(is_unbound(vmas[0]));
        CHECK_EQUAL(unbind_vma_pin(vmas[2], NULL), 0);
        CHECK_EQUAL(unbind_vma_bind_async(vmas[3], UNBIND_BIND_EVICT, &bind), 0);
        CHECK(is_unbound(vmas[1]) && unbind_vma_address(vmas[3]) == PAGE);
        CHECK_EQUAL(unbind_fence_is_signaled(bind), 0);
        signal_and_drop(user);
        CHECK_EQUAL(finish(bind), 0);
        unbind_vma_unref(vma);
        drop_vmas(vmas, 4);
        gpu_close(&gpu);
    }
}

TEST(within_limits, "room is made within the limits and at the alignment that were asked for") {
    struct full full;
    struct unbind_evict_request request = UNBIND_EVICT_REQUEST_INIT;
    fill(&full, UNBIND_EXECUTOR_MANUAL, 0);
    request.size = 2 * PAGE;
    request.start = 5 * PAGE;
    request.end = 9 * PAGE;
    request.alignment = 2 * PAGE;
    CHECK_EQUAL(unbind_vm_evict_something(full.gpu.vm, &request), 0);
    CHECK(is_unbound(full.vmas[6]) && is_unbound(full.vmas[7]));
    CHECK_EQUAL(bound(&full), PAGES - 2);
    request.start = 10 * PAGE;
    request.end = 11 * PAGE;
    CHECK_EQUAL(unbind_vm_evict_something(full.gpu.vm, &request), -ENOSPC);
    request.end = 0;
    request.flags = UNBIND_EVICT_HIGH;
    request.size = 4 * PAGE;
    CHECK_EQUAL(unbind_vm_evict_something(full.gpu.vm, &request), 0);
    CHECK_EQUAL(bound(&full), PAGES - 6);
    empty(&full);
}

TEST(nothing_there, "an empty address space has room for what fits it") {
    struct gpu gpu;
    struct unbind_vm_options options = small_vm(PAGES);
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    CHECK_EQUAL(something(&gpu, PAGES * PAGE, 0), 0);
    CHECK_EQUAL(something(&gpu, (PAGES + 1) * PAGE, 0), -ENOSPC);
    CHECK_EQUAL(unbind_vm_evict_range(gpu.vm, 0, PAGES * PAGE, 0, 0), 0);
    CHECK_EQUAL(unbind_vm_evict_all(gpu.vm, 0), 0);
    gpu_close(&gpu);
}

TEST(bad_evictions, "bad arguments of the three functions are refused") {
    struct full full;
    struct unbind_evict_request good = UNBIND_EVICT_REQUEST_INIT, bad;
    unbind_vm *vm;
    fill(&full, UNBIND_EXECUTOR_MANUAL, 0);
    vm = full.gpu.vm;
    good.size = PAGE;
#define BAD(member, value, error)                             \
    bad = good;                                               \
    bad.member = value;                                       \
    CHECK_EQUAL(unbind_vm_evict_something(vm, &bad), error)
    BAD(size, 0, -EINVAL);
    BAD(size, 100, -EINVAL);
    BAD(size, UINT64_MAX - PAGE + 1, -ENOSPC);
    BAD(alignment, 3, -EINVAL);
    BAD(alignment, UINT64_C(1) << 63, 0); /* address 0 is aligned to anything */
    BAD(start, 7, -EINVAL);
    BAD(start, UINT64_MAX - PAGE + 1, -ENOSPC);
    BAD(end, 7, -EINVAL);
    bad.start = 2 * PAGE;
    bad.end = PAGE;
    CHECK_EQUAL(unbind_vm_evict_something(vm, &bad), -EINVAL);
    BAD(color, 1, -EINVAL);
    BAD(reserved, 1, -EINVAL);
    BAD(flags, 1u << 30, -EINVAL);
    BAD(flags, UNBIND_EVICT_ASYNC | UNBIND_WAIT_INTERRUPTIBLE, -EINVAL);
    BAD(struct_size, 2, -EINVAL);
    BAD(struct_size, 5000, -E2BIG);
    CHECK_EQUAL(unbind_vm_evict_something(vm, NULL), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_something(NULL, &good), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_range(NULL, 0, PAGE, 0, 0), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_range(vm, 0, 0, 0, 0), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_range(vm, 5, PAGE, 0, 0), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_range(vm, 0, 5, 0, 0), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_range(vm, UINT64_MAX - PAGE + 1, 2 * PAGE, 0, 0), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_range(vm, PAGES * PAGE, PAGE, 0, 0), -ENODEV);
    CHECK_EQUAL(unbind_vm_evict_range(vm, 0, PAGE, 1, 0), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_range(vm, 0, PAGE, 0, UNBIND_EVICT_HIGH), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_all(vm, 1), -EINVAL);
    CHECK_EQUAL(unbind_vm_evict_all(NULL, 0), -EINVAL);
    CHECK_EQUAL(unbind_vma_bind(full.vmas[1], UNBIND_BIND_NONBLOCK), -EINVAL);
    CHECK_EQUAL(bound(&full), PAGES - 1);
    CHECK_EQUAL(unbind_vm_close(vm), 0);
    CHECK_EQUAL(unbind_vm_evict_something(vm, &good), -ENOENT);
    CHECK_EQUAL(unbind_vm_evict_range(vm, 0, PAGE, 0, 0), -ENOENT);
    CHECK_EQUAL(unbind_vm_evict_all(vm, 0), -ENOENT);
    empty(&full);
}

TEST(held, "what somebody holds is not evicted, and goes when the hold has ended") {
    struct full full;
    unbind_hold *hold = NULL;
    unbind_vma *whole;
    fill(&full, UNBIND_EXECUTOR_MANUAL, 0);
    whole = new_vma(&full.gpu, PAGES, UNBIND_ADDRESS_NONE);
    REQUIRE(unbind_vma_hold(full.vmas[3], &hold) == 0);
    CHECK_EQUAL(unbind_vm_evict_range(full.gpu.vm, 3 * PAGE, PAGE, 0, UNBIND_EVICT_ASYNC), -ENOSPC);
    CHECK_EQUAL(unbind_vma_bind_async(whole, UNBIND_BIND_EVICT, NULL), -ENOSPC);
    CHECK_EQUAL(bound(&full), PAGES);
    CHECK_EQUAL(unbind_vm_evict_all(full.gpu.vm, 0), 0);
    CHECK(is_bound(full.vmas[3]));
    CHECK_EQUAL(bound(&full), 1);
    unbind_hold_unref(hold);
    CHECK_EQUAL(unbind_vma_bind_async(whole, UNBIND_BIND_EVICT, NULL), 0);
    CHECK(is_unbound(full.vmas[3]) && is_bound(whole));
    unbind_vma_unref(whole);
    empty(&full);
}

TEST(table_modes, "P9: a bind that evicts waits for the unbinds in the table whose mode its victims decided") {
    struct gpu gpu;
    unbind_vma *small, *large, *beside;
    unbind_fence *user, *bound = NULL;
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    options.flags = UNBIND_VM_IPS;
    options.page_sizes = 0x11000;
    gpu_open_small(&gpu, UNBIND_EXECUTOR_SIMULATED, &options);
    beside = new_vma(&gpu, 1, 0x100000);
    small = new_vma(&gpu, 1, 0x1000);
    CHECK_EQUAL(unbind_vma_bind(beside, 0), 0);
    CHECK_EQUAL(unbind_vma_bind(small, 0), 0);
    user = use(&gpu, beside);
    CHECK_EQUAL(unbind_vma_unbind_async(beside, 0, NULL), 0);
    /* With `small` gone, nothing keeps the table from being one of 64 KiB pages; but `beside` is still in use. */
    large = new_vma(&gpu, 16, 0);
    CHECK_EQUAL(unbind_vma_bind_async(large, UNBIND_BIND_EVICT, &bound), 0);
    CHECK(is_unbound(small));
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(bound), 0);
    signal_and_drop(user);
    CHECK_EQUAL(finish(bound), 0);
    CHECK_EQUAL(gpu.faults, 0);
    unbind_vma_unref(small);
    unbind_vma_unref(beside);
    unbind_vma_unref(large);
    gpu_close(&gpu);
}

/* Two buffers that fight for one place, while a third thread moves them between the memories. */
struct arena {
    struct gpu gpu;
    unbind_bo *bos[2];
    unbind_vma *vmas[2];
};

static void *fight(void *data) {
    struct arena *arena = (struct arena *)data;
    for (unsigned i = 0; i < 400; i++) {
        unbind_fence *fence = NULL;
        int status = i % 16 == 15 ? unbind_vm_evict_all(arena->gpu.vm, UNBIND_EVICT_ASYNC)
                                  : unbind_vma_bind_async(arena->vmas[i % 2], UNBIND_BIND_EVICT, &fence);
        CHECK_EQUAL(status, 0);
        unbind_fence_unref(fence);
    }
    return NULL;
}

static void *move_about(void *data) {
    struct arena *arena = (struct arena *)data;
    for (unsigned i = 0; i < 300; i++) {
        CHECK_EQUAL(unbind_bo_migrate(arena->bos[i % 2], i / 2 % 2 ? UNBIND_REGION_SYSTEM : UNBIND_REGION_LOCAL, 0, NULL), 0);
    }
    return NULL;
}

TEST(while_moving, "buffers whose VMAs are evicted while they move between memories keep their bytes") {
    struct arena arena;
    struct unbind_vm_options options = small_vm(4);
    pthread_t threads[3];
    memset(&arena, 0, sizeof arena);
    gpu_open_small(&arena.gpu, UNBIND_EXECUTOR_POOL, &options);
    for (unsigned i = 0; i < 2; i++) {
        arena.bos[i] = make_bo(&arena.gpu, 2 * PAGE);
        memset(unbind_bo_cpu_pointer(arena.bos[i]), 0x40 + (int)i, 2 * PAGE);
        arena.vmas[i] = make_vma(&arena.gpu, arena.bos[i], i * PAGE);
    }
    for (unsigned i = 0; i < 3; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, i < 2 ? fight : move_about, &arena) == 0);
    }
    for (unsigned i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    settle(&arena.gpu);
    for (unsigned i = 0; i < 2; i++) {
        const unsigned char *bytes = (const unsigned char *)unbind_bo_cpu_pointer(arena.bos[i]);
        CHECK(bytes[0] == 0x40 + i && bytes[2 * PAGE - 1] == 0x40 + i);
        unbind_vma_unref(arena.vmas[i]);
        unbind_bo_unref(arena.bos[i]);
    }
    gpu_close(&arena.gpu);
}
