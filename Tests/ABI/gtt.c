/* SPDX-License-Identifier: MIT */
/*
 * The kernel's selftests of filling and walking an address space (i915_gem_gtt),
 * each range bound, found at its address by walking the page tables, and unbound.
 */
#include "placing.h"

static const uint64_t primes[] = {3, 5, 7, 11, 13, 17, 31, 61};
enum { PRIMES = sizeof primes / sizeof *primes };

static uint64_t next_random(uint64_t *state) {
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return *state >> 33;
}

static void shuffle(unsigned *order, unsigned count, uint64_t *state) {
    for (unsigned i = 0; i < count; i++) order[i] = i;
    for (unsigned i = count; i > 1; i--) {
        unsigned other = (unsigned)(next_random(state) % i), kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
}

static unbind_vma *vma_of(struct gpu *gpu, unbind_bo *bo) {
    unbind_vma *vma = NULL;
    REQUIRE(unbind_vma_create(gpu->vm, bo, NULL, &vma) == 0);
    return vma;
}

/* All its entries are there, of this buffer, and none beside it but those of others. */
static void check_mapped(struct gpu *gpu, unbind_vma *vma, unbind_bo *bo) {
    uint64_t start = unbind_vma_address(vma), end = start + unbind_bo_size(bo);
    for (uint64_t at = start; at < end;) {
        struct unbind_page page;
        REQUIRE(page_at(gpu, at, &page));
        CHECK_EQUAL(page.bo_id, unbind_bo_id(bo));
        CHECK_EQUAL(page.bo_offset, page.address - start);
        at = page.address + page.size;
        CHECK(page.address >= start && at <= end);
    }
}

static void check_unmapped(struct gpu *gpu) {
    struct unbind_page page = UNBIND_PAGE_INIT;
    CHECK_EQUAL(unbind_vm_find_page(gpu->vm, 0, &page), -ENOENT);
    CHECK_EQUAL(vm_stats(gpu->vm).bound, 0);
    CHECK_EQUAL(vm_stats(gpu->vm).pending, 0);
}

/* With an allocator that fails now and then a pin may be refused; it is repeated with one that does not. */
static unsigned refused;
static int insist(struct gpu *gpu, unbind_vma *vma, uint64_t address) {
    uint64_t every = gpu->hooks.fail_every;
    int status = pin(vma, UNBIND_PIN_FIXED, address, 0);
    if (every == 0 || status == 0) return status;
    CHECK_EQUAL(status, -ENOMEM);
    CHECK(is_unbound(vma));
    refused++;
    gpu->hooks.fail_every = 0;
    status = pin(vma, UNBIND_PIN_FIXED, address, 0);
    gpu->hooks.fail_every = every;
    return status;
}

static void pin_at(struct gpu *gpu, unbind_vma *vma, unbind_bo *bo, uint64_t address) {
    CHECK_EQUAL(insist(gpu, vma, address), 0);
    CHECK_EQUAL(unbind_vma_address(vma), address);
    check_mapped(gpu, vma, bo);
}

static void take_away(unbind_vma *vma) {
    CHECK_EQUAL(unbind_vma_unpin(vma), 0);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
}

/* MARK: 22 to 25 */

/* Ranges of one power of two at all places of a window, in a random order, and away in another. */
static void drunk(struct gpu *gpu, unsigned shift, uint64_t *state) {
    enum { COUNT = 24 };
    unsigned order[COUNT];
    unbind_vma *vmas[COUNT];
    uint64_t size = PAGE << shift, base = (next_random(state) % 1000) * size;
    unbind_bo *bo = make_bo(gpu, size);
    shuffle(order, COUNT, state);
    for (unsigned i = 0; i < COUNT; i++) vmas[i] = vma_of(gpu, bo);
    for (unsigned i = 0; i < COUNT; i++) pin_at(gpu, vmas[order[i]], bo, base + order[i] * size);
    for (unsigned i = 0; i < COUNT; i++) CHECK_EQUAL(unbind_vma_address(vmas[i]), base + i * size);
    shuffle(order, COUNT, state);
    for (unsigned i = 0; i < COUNT; i++) {
        check_mapped(gpu, vmas[order[i]], bo);
        take_away(vmas[order[i]]);
    }
    check_unmapped(gpu);
    drop_vmas(vmas, COUNT);
    unbind_bo_unref(bo);
}

TEST(selftest_22, "selftest 22, drunk: ranges of each power of two, bound in one random order and unbound in another") {
    struct gpu gpu;
    uint64_t state = 22;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    for (unsigned shift = 0; shift <= 10; shift++) drunk(&gpu, shift, &state);
    gpu_close(&gpu);
}

TEST(selftest_23, "selftest 23, walk: a VMA moves across the space in steps of a prime") {
    const uint64_t end = UINT64_C(1) << 48;
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    for (unsigned i = 0; i < PRIMES; i++) {
        uint64_t size = primes[i] * PAGE, step = (end / (40 * PAGE) | 1) * PAGE + primes[i] * PAGE;
        unbind_bo *bo = make_bo(&gpu, size);
        unbind_vma *vma = vma_of(&gpu, bo);
        for (uint64_t at = 0; at <= end - size; at += step) {
            pin_at(&gpu, vma, bo, at);
            take_away(vma);
        }
        pin_at(&gpu, vma, bo, end - size);
        take_away(vma);
        check_unmapped(&gpu);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
    }
    gpu_close(&gpu);
}

TEST(selftest_24, "selftest 24, pot: two pages across each boundary that is a power of two") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 2 * PAGE);
    unbind_vma *vma = vma_of(&gpu, bo);
    for (unsigned shift = 13; shift < 48; shift++) {
        for (unsigned multiple = 1; multiple <= 3 && (uint64_t)multiple << shift < UINT64_C(1) << 48; multiple++) {
            pin_at(&gpu, vma, bo, ((uint64_t)multiple << shift) - PAGE);
            take_away(vma);
        }
    }
    check_unmapped(&gpu);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* Ranges of prime^n pages, packed from one end, until the next has no room; away in this or the opposite order. */
static void fill(struct gpu *gpu, uint64_t pages, uint64_t prime, int from_top, int backwards) {
    enum { MOST = 64 };
    unbind_bo *bos[MOST];
    unbind_vma *vmas[MOST];
    unsigned count = 0;
    uint64_t used = 0;
    for (uint64_t size = 1; used + size <= pages && count < MOST;) {
        bos[count] = make_bo(gpu, size * PAGE);
        vmas[count] = vma_of(gpu, bos[count]);
        pin_at(gpu, vmas[count], bos[count], (from_top ? pages - used - size : used) * PAGE);
        used += size;
        size = size * prime > pages / 3 ? 1 : size * prime;
        count++;
    }
    CHECK_EQUAL(vm_stats(gpu->vm).bound_bytes, used * PAGE);
    for (unsigned i = 0; i < count; i++) {
        unsigned which = backwards ? count - 1 - i : i;
        check_mapped(gpu, vmas[which], bos[which]);
        take_away(vmas[which]);
        unbind_vma_unref(vmas[which]);
        unbind_bo_unref(bos[which]);
    }
    check_unmapped(gpu);
}

TEST(selftest_25, "selftest 25, fill: ranges of the powers of a prime, packed from either end, unbound in either order") {
    struct gpu gpu;
    struct unbind_vm_options options = small_vm(1500);
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    for (unsigned i = 0; i < PRIMES; i++) {
        for (int way = 0; way < 4; way++) fill(&gpu, 1500, primes[i], way & 1, way >> 1);
    }
    gpu_close(&gpu);
}

/* MARK: 27 to 30: page tables and memory */

/* What page tables take: all of it comes back when nothing is bound. */
TEST(selftest_27, "selftest 27, alloc: page tables grow at once and piece by piece, by four each, and go again") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options device_options = gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    device_options.flags = UNBIND_DEVICE_NO_SLABS;
    options.page_sizes = PAGE;
    REQUIRE(unbind_device_open_software(&device_options, &gpu.device) == 0);
    REQUIRE(unbind_vm_create(gpu.device, &options, &gpu.vm) == 0);
    for (int piecewise = 0; piecewise < 2; piecewise++) {
        unbind_bo *bos[8];
        unbind_vma *vmas[8];
        unsigned count = 0;
        uint64_t tables = 0;
        int64_t bytes = gpu.hooks.bytes;
        for (uint64_t end = PAGE, start = 0; end <= 16 * MIB; end *= 4, count++) {
            bos[count] = make_bo(&gpu, end - start);
            vmas[count] = vma_of(&gpu, bos[count]);
            pin_at(&gpu, vmas[count], bos[count], start);
            tables = device_stats(gpu.device).ptes_written;
            if (piecewise) start = end;
            else take_away(vmas[count]);
        }
        CHECK(tables >= 4096);
        CHECK(gpu.hooks.bytes > bytes);
        for (unsigned i = 0; i < count; i++) {
            if (piecewise) {
                check_mapped(&gpu, vmas[i], bos[i]);
                take_away(vmas[i]);
            }
            unbind_vma_unref(vmas[i]);
            unbind_bo_unref(bos[i]);
        }
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        check_unmapped(&gpu);
        CHECK_EQUAL(device_stats(gpu.device).ptes_written, device_stats(gpu.device).ptes_cleared);
    }
    gpu_close(&gpu);
}

TEST(selftest_28, "selftest 28, shrink: ranges come and go in random orders while every n-th allocation fails, n a prime") {
    for (unsigned i = 0; i < PRIMES; i++) {
        struct gpu gpu;
        struct unbind_allocator allocator;
        struct unbind_device_options device_options = gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
        struct unbind_vm_options options = small_vm(20000);
        uint64_t state = primes[i];
        unbind_bo *bo;
        unbind_vma *vmas[12];
        device_options.flags = UNBIND_DEVICE_NO_SLABS;
        REQUIRE(unbind_device_open_software(&device_options, &gpu.device) == 0);
        REQUIRE(unbind_vm_create(gpu.device, &options, &gpu.vm) == 0);
        bo = make_bo(&gpu, 5 * PAGE);
        for (unsigned j = 0; j < 12; j++) vmas[j] = vma_of(&gpu, bo);
        refused = 0;
        for (unsigned round = 0; round < 20; round++) {
            unsigned order[12];
            uint64_t base = next_random(&state) % 19000 * PAGE;
            gpu.hooks.fail_every = primes[i];
            shuffle(order, 12, &state);
            for (unsigned j = 0; j < 12; j++) pin_at(&gpu, vmas[order[j]], bo, base + order[j] * 5 * PAGE);
            shuffle(order, 12, &state);
            for (unsigned j = 0; j < 12; j++) take_away(vmas[order[j]]);
            check_unmapped(&gpu);
        }
        gpu.hooks.fail_every = 0;
        CHECK(refused > 0);
        CHECK(gpu.hooks.failed >= refused);
        drop_vmas(vmas, 12);
        unbind_bo_unref(bo);
        gpu_close(&gpu);
    }
}

struct purge {
    struct gpu gpu;
    int stop;
};

static void *purge_all(void *argument) {
    struct purge *purge = (struct purge *)argument;
    while (!__atomic_load_n(&purge->stop, __ATOMIC_RELAXED)) {
        int status = unbind_vm_evict_all(purge->gpu.vm, UNBIND_EVICT_ASYNC);
        CHECK(status == 0 || status == -ENOMEM);
    }
    return NULL;
}

TEST(selftest_29, "selftest 29, shrink_boom: everything is evicted while large pages are written and memory fails") {
    struct purge purge;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&purge.gpu, UNBIND_EXECUTOR_POOL, &allocator);
    const uint64_t sizes[] = {2 * MIB, 2 * MIB + PAGE, 4 * MIB + 0x10000, 0x10000};
    unsigned rounds = getenv("UNDER_VALGRIND") ? 10 : 150;
    pthread_t thread;
    options.flags = UNBIND_DEVICE_NO_SLABS;
    purge.stop = 0;
    REQUIRE(unbind_device_open_software(&options, &purge.gpu.device) == 0);
    REQUIRE(unbind_vm_create(purge.gpu.device, NULL, &purge.gpu.vm) == 0);
    unbind_bo *bos[4];
    unbind_vma *vmas[4];
    for (unsigned i = 0; i < 4; i++) {
        bos[i] = make_bo(&purge.gpu, sizes[i]);
        vmas[i] = make_vma(&purge.gpu, bos[i], 0x3fe00000 - PAGE + i * 8 * MIB);
    }
    REQUIRE(pthread_create(&thread, NULL, purge_all, &purge) == 0);
    for (unsigned round = 0; round < rounds; round++) {
        uint64_t calls = __atomic_load_n(&purge.gpu.hooks.calls, __ATOMIC_RELAXED);
        __atomic_store_n(&purge.gpu.hooks.fail_at, calls + round % 13, __ATOMIC_RELAXED);
        for (unsigned i = 0; i < 4; i++) {
            int status = unbind_vma_bind(vmas[(round + i) % 4], 0);
            CHECK(status == 0 || status == -ENOMEM);
        }
    }
    __atomic_store_n(&purge.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    __atomic_store_n(&purge.gpu.hooks.fail_at, 0, __ATOMIC_RELAXED);
    CHECK(__atomic_load_n(&purge.gpu.hooks.failed, __ATOMIC_RELAXED) > 0);
    CHECK_EQUAL(unbind_vm_evict_all(purge.gpu.vm, 0), 0);
    check_unmapped(&purge.gpu);
    for (unsigned i = 0; i < 4; i++) {
        CHECK_EQUAL(unbind_vma_bind(vmas[i], 0), 0);
        check_mapped(&purge.gpu, vmas[i], bos[i]);
        unbind_vma_unref(vmas[i]);
        unbind_bo_unref(bos[i]);
    }
    gpu_close(&purge.gpu);
}

TEST(selftest_30, "selftest 30, misaligned pin: where pages are of 64 KiB, places and sizes of 4 KiB are refused") {
    struct gpu gpu;
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    unbind_vma *small = UNTOUCHED(unbind_vma);
    options.page_sizes = UNBIND_PAGE_SIZE_64K;
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    unbind_bo *bo = make_bo(&gpu, 0x20000), *odd = make_bo(&gpu, PAGE);
    unbind_vma *vma = vma_of(&gpu, bo);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_FIXED, 0x11000, 0), -EINVAL);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_FIXED, 0x10000, 0x21000), -EINVAL);
    CHECK(is_unbound(vma));
    CHECK_EQUAL(unbind_vma_create(gpu.vm, odd, NULL, &small), -EINVAL);
    pin_at(&gpu, vma, bo, 0x10000);
    CHECK_EQUAL(vm_stats(gpu.vm).bound_bytes, 0x20000);
    take_away(vma);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_bo_unref(odd);
    gpu_close(&gpu);
}

/* MARK: 21 */

TEST(selftest_21, "selftest 21, contexts: a full space, queues that want more of it, and every job that was taken ends") {
    enum { PAGES = 64 };
    struct gpu gpu;
    struct unbind_vm_options options = small_vm(PAGES);
    unbind_vma *pinned[PAGES / 2], *used[PAGES];
    unbind_queue *queues[PAGES];
    unbind_fence *jobs[PAGES];
    unsigned count = 0;
    int status = 0;
    gpu_open_small(&gpu, UNBIND_EXECUTOR_POOL, &options);
    for (unsigned i = 0; i < PAGES / 2; i++) {
        pinned[i] = new_vma(&gpu, 1, UNBIND_ADDRESS_NONE);
        CHECK_EQUAL(unbind_vma_pin(pinned[i], NULL), 0);
    }
    unbind_fence *gate = make_fence(&gpu);
    /* New contexts, whose jobs keep what they use, until the space is full. */
    for (; count < PAGES; count++) {
        unbind_vma *vma = new_vma(&gpu, 1, UNBIND_ADDRESS_NONE);
        status = unbind_vma_bind_async(vma, UNBIND_BIND_EVICT | UNBIND_BIND_NONBLOCK, NULL);
        if (status < 0) {
            unbind_vma_unref(vma);
            break;
        }
        struct unbind_command commands[2] = {command_wait(gate), command_store(unbind_vma_address(vma), count + 1)};
        used[count] = vma;
        queues[count] = make_queue(&gpu);
        REQUIRE(submit(queues[count], commands, 2, vma, NULL, &jobs[count]) == 0);
    }
    CHECK_EQUAL(status, -ENOSPC);
    CHECK_EQUAL(count, PAGES / 2);
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(unbind_fence_is_signaled(jobs[i]), 0);
    signal_and_drop(gate);
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQUAL(finish(jobs[i]), 0);
        unbind_queue_unref(queues[i]);
        unbind_vma_unref(used[i]);
    }
    CHECK_EQUAL(gpu.faults, 0);
    drop_vmas(pinned, PAGES / 2);
    gpu_close(&gpu);
}
