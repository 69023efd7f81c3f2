/* SPDX-License-Identifier: MIT */
/* A backend of the program's own: binds and unbinds, at once and later, merged, cut, refused and lost. */
#include "toy_backend.h"

static int bind_async(unbind_vma *vma) {
    unbind_fence *fence = NULL;
    int status = unbind_vma_bind_async(vma, 0, &fence);
    return status == 0 ? finish(fence) : status;
}

TEST(opening, "a device is not opened on functions that are missing or claims that are not kept") {
    struct toy toy;
    unbind_device *device = UNTOUCHED(unbind_device);
    struct unbind_backend_ops ops;
    toy_init(&toy, TOY_AT_ONCE);
#define REFUSED(change)                                                              \
    do {                                                                             \
        ops = toy.ops;                                                               \
        change;                                                                      \
        CHECK_EQUAL(unbind_device_open_custom(&ops, &toy, NULL, &device), -EINVAL);  \
    } while (0)
    CHECK_EQUAL(unbind_device_open_custom(NULL, &toy, NULL, &device), -EINVAL);
    CHECK_EQUAL(unbind_device_open_custom(&toy.ops, &toy, NULL, NULL), -EINVAL);
    REFUSED(ops.struct_size = 2);
    REFUSED(ops.bo_create = NULL);
    REFUSED(ops.bo_destroy = NULL);
    REFUSED(ops.vm_create = NULL);
    REFUSED(ops.vm_destroy = NULL);
    REFUSED(ops.update = NULL);
    REFUSED(ops.queue_create = NULL);
    REFUSED(ops.queue_destroy = NULL);
    REFUSED(ops.submit = NULL);
    REFUSED(ops.bo_wrap = NULL);
    REFUSED(ops.capabilities |= UNBIND_CAP_MIGRATION);
    REFUSED(ops.capabilities |= UINT64_C(1) << 60);
    REFUSED(ops.page_sizes = 0);
    REFUSED(ops.page_sizes = 8192);
    REFUSED(ops.address_limit = 100);
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    options.executor = 7;
    CHECK_EQUAL(unbind_device_open_custom(&toy.ops, &toy, &options, &device), -EINVAL);
    CHECK(device == UNTOUCHED(unbind_device));
    CHECK_EQUAL(toy.destroyed, 0);
    unbind_backend_complete(NULL, 0);
    CHECK_EQUAL(unbind_device_capabilities(NULL), 0);
}

TEST(no_memory, "opening, making and binding fail cleanly at each allocation") {
    for (uint64_t at = 1; at < 200; at++) {
        struct toy toy;
        struct unbind_allocator allocator;
        toy_init(&toy, TOY_AT_ONCE);
        struct unbind_device_options options = gpu_options(&toy.gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
        options.flags = UNBIND_DEVICE_NO_SLABS;
        toy.gpu.hooks.fail_at = at;
        int status = unbind_device_open_custom(&toy.ops, &toy, &options, &toy.gpu.device);
        CHECK(status == 0 || status == -ENOMEM);
        if (status == 0) {
            unbind_bo *bo = NULL;
            unbind_vma *vma = NULL;
            if (unbind_vm_create(toy.gpu.device, NULL, &toy.gpu.vm) == 0 &&
                unbind_bo_create(toy.gpu.device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo) == 0 &&
                unbind_vma_create(toy.gpu.vm, bo, NULL, &vma) == 0) {
                status = unbind_vma_bind(vma, 0);
                CHECK(status == 0 || status == -ENOMEM);
                CHECK_EQUAL(unbind_vma_state(vma), status == 0 ? UNBIND_VMA_BOUND : UNBIND_VMA_UNBOUND);
                if (status == 0 && toy.gpu.hooks.failed == 0) at = 1000;
            }
            unbind_vma_unref(vma);
            unbind_bo_unref(bo);
            unbind_vm_unref(toy.gpu.vm);
            device_close_clean(toy.gpu.device, &toy.gpu.hooks);
        }
        CHECK_EQUAL(toy.destroyed, status != 0 && toy.gpu.device == NULL ? 0 : 1);
        CHECK_EQUAL(toy.gpu.hooks.blocks, 0);
        CHECK_EQUAL(toy.bos + toy.vms, 0);
    }
}

TEST(capabilities, "a device tells what it can do") {
    struct toy toy;
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    uint64_t software = unbind_device_capabilities(gpu.device);
    CHECK(software & UNBIND_CAP_EXPLICIT_UNBIND && software & UNBIND_CAP_SUSPEND && software & UNBIND_CAP_MIGRATION);
    gpu_close(&gpu);
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    CHECK_EQUAL(unbind_device_capabilities(toy.gpu.device),
                TOY_CAPABILITIES | UNBIND_CAP_SUSPEND | UNBIND_CAP_MIGRATION);
    toy_close(&toy);
}

TEST(cycle, "a bind maps, an unbind unmaps, and the memory goes last, whoever completes it and when") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_vma *vma = new_vma(&toy, 4 * PAGE, 0x10000);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_BOUND);
        CHECK_EQUAL(toy.mapped, 4);
        CHECK(toy_look(toy.vm, 0x10000) && toy_look(toy.vm, 0x13000) && !toy_look(toy.vm, 0x14000));
        CHECK_EQUAL(finish(unbind_async(vma)), 0);
        CHECK_EQUAL(toy.mapped, 0);
        CHECK_EQUAL(bind_async(vma), 0);
        CHECK_EQUAL(toy.mapped, 4);
        CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
        CHECK_EQUAL(toy.updates, 4);
        CHECK_EQUAL(toy.invalidations, 2);
        struct unbind_vm_stats stats = vm_stats(toy.gpu.vm);
        CHECK(stats.binds == 2 && stats.unbinds == 2 && stats.pending == 0 && stats.unbinds_immediate == 0);
        CHECK(stats.backend_calls == 4 && stats.backend_ranges == 4 && stats.backend_invalidations == 2);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        unbind_vma_unref(vma);
        toy_close(&toy);
    }
}

TEST(overlap, "a bind over a pending unbind is mapped after that is complete") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_fence *work = make_fence(&toy.gpu), *bound = NULL;
        unbind_vma *first = new_vma(&toy, 4 * PAGE, 0x10000), *second = new_vma(&toy, 4 * PAGE, 0x12000);
        CHECK_EQUAL(unbind_vma_bind(first, 0), 0);
        CHECK_EQUAL(unbind_vma_add_user(first, work), 0);
        unbind_fence *unbound = unbind_async(first);
        REQUIRE(unbind_vma_bind_async(second, 0, &bound) == 0);
        toy_idle(&toy);
        CHECK(!unbind_fence_is_signaled(unbound) && !unbind_fence_is_signaled(bound));
        CHECK_EQUAL(toy.mapped, 4);
        signal_and_drop(work);
        CHECK_EQUAL(finish(bound), 0);
        CHECK(unbind_fence_is_signaled(unbound));
        unbind_fence_unref(unbound);
        unbind_vma_unref(first);
        unbind_vma_unref(second);
        toy_close(&toy);
    }
}

/* So many VMAs of a page each, in a row from an address on, that await one fence. */
static unbind_fence *row_bind(struct toy *toy, unbind_vma **vmas, unsigned count, uint64_t address) {
    unbind_fence *work = make_fence(&toy->gpu);
    for (unsigned i = 0; i < count; i++) {
        vmas[i] = new_vma(toy, PAGE, address + i * PAGE);
        REQUIRE(unbind_vma_bind(vmas[i], 0) == 0);
        REQUIRE(unbind_vma_add_user(vmas[i], work) == 0);
    }
    return work;
}

static void row_drop(unbind_vma **vmas, unsigned count) {
    for (unsigned i = 0; i < count; i++) unbind_vma_unref(vmas[i]);
}

TEST(thousand_neighbours, "a thousand neighbouring unbinds are a handful of calls and few invalidations") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        unbind_vma *vmas[1000];
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_fence *work = row_bind(&toy, vmas, 1000, 0x100000), *last = NULL;
        for (unsigned i = 0; i < 1000; i++) {
            /* In an order that is not that of the addresses. */
            unbind_fence_unref(last);
            last = unbind_async(vmas[i * 367 % 1000]);
        }
        uint32_t before = toy.updates;
        signal_and_drop(work);
        CHECK_EQUAL(finish(last), 0);
        toy_idle(&toy);
        for (unsigned i = 0; i < 1000; i++) CHECK_EQUAL(unbind_vma_unbind(vmas[i], 0), 0);
        row_drop(vmas, 1000);
        toy_close(&toy);
        CHECK(toy.updates - before >= 1);
        /* On the pool some are ready while others are under way: 2 to 10, more if the signaller stands still. */
        CHECK(toy.updates - before <= (executor == UNBIND_EXECUTOR_POOL ? 200u : 1u));
        CHECK(toy.invalidations <= (executor == UNBIND_EXECUTOR_POOL ? 200u : 1u));
        CHECK_EQUAL(toy.mapped, 0);
    }
}

/* Parts of one buffer in a row, bound by one call of the executor. Returns the maps and ranges it took. */
static void bind_parts(uint64_t capabilities, uint32_t *maps, uint32_t *unmaps, uint32_t *ranges) {
    struct toy toy;
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    struct unbind_view view = UNBIND_VIEW_INIT;
    unbind_vma *parts[20];
    toy_init(&toy, TOY_AT_ONCE);
    toy.ops.capabilities |= capabilities;
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&toy.gpu, 20 * PAGE);
    view.type = UNBIND_VIEW_PARTIAL;
    view.size = PAGE;
    options.flags = UNBIND_VMA_FIXED;
    options.view = &view;
    for (unsigned i = 0; i < 20; i++) {
        view.offset = i * PAGE;
        options.address = 0x40000 + i * PAGE;
        REQUIRE(unbind_vma_create(toy.gpu.vm, bo, &options, &parts[i]) == 0);
        REQUIRE(unbind_vma_bind_async(parts[i], 0, NULL) == 0);
    }
    toy_idle(&toy);
    CHECK_EQUAL(toy.mapped, 20);
    *maps = toy.maps;
    *ranges = toy.ranges;
    CHECK_EQUAL(unbind_vma_unbind(parts[7], 0), 0);
    row_drop(parts, 20);
    unbind_bo_unref(bo);
    toy_idle(&toy);
    *unmaps = toy.unmaps;
    toy_close(&toy);
}

TEST(merging_maps, "neighbouring parts of a buffer become one map only if a part of a mapping can be unmapped") {
    uint32_t maps = 0, unmaps = 0, ranges = 0;
    bind_parts(0, &maps, &unmaps, &ranges);
    CHECK(maps == 1 && ranges == 20 && unmaps == 2);
    bind_parts(UNBIND_CAP_PARTIAL_UNBIND, &maps, &unmaps, &ranges);
    CHECK(maps == 1 && ranges == 1 && unmaps == 2);
}

/* Every second page of a row is unbound at once. */
static void unbind_scattered(struct toy *toy, uint32_t count) {
    unbind_vma *vmas[500];
    unbind_fence *work = row_bind(toy, vmas, 2 * count, 0x200000);
    uint32_t before = toy->unmaps;
    for (unsigned i = 0; i < 2 * count; i += 2) unbind_fence_unref(unbind_async(vmas[i]));
    toy->largest = 0;
    signal_and_drop(work);
    toy_idle(toy);
    CHECK_EQUAL(toy->mapped, count);
    CHECK(toy->unmaps > before);
    row_drop(vmas, 2 * count);
}

TEST(max_ranges, "an update has as many ranges as the backend takes, and no more than 256") {
    static const uint32_t limits[] = {0, 1, 3, 50, 249, 250, 1000};
    for (unsigned i = 0; i < 7; i++) {
        struct toy toy;
        toy_init(&toy, TOY_BEFORE_RETURN);
        toy.ops.max_ranges = limits[i];
        toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
        unbind_scattered(&toy, 250);
        CHECK_EQUAL(toy.largest, limits[i] == 0 || limits[i] > 250 ? 250 : limits[i]);
        toy_close(&toy);
        CHECK_EQUAL(toy.invalidations, 2);
    }
}

TEST(halving, "a backend that has no room for so many ranges gets halves, of maps and of unmaps") {
    struct toy toy;
    unbind_vma *vmas[100];
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    toy.most_ranges = 7;
    for (unsigned i = 0; i < 100; i++) {
        vmas[i] = new_vma(&toy, PAGE, 0x100000 + 2 * i * PAGE);
        REQUIRE(unbind_vma_bind_async(vmas[i], 0, NULL) == 0);
    }
    toy_idle(&toy);
    CHECK_EQUAL(toy.mapped, 100);
    CHECK(toy.maps < 30);
    row_drop(vmas, 100);
    toy_idle(&toy);
    CHECK_EQUAL(toy.mapped, 0);
    CHECK(toy.unmaps < 30);
    toy_close(&toy);
    CHECK_EQUAL(toy.gpu.messages, 0);
}

TEST(retries, "an unmap or an invalidation that cannot be done now is done a little later") {
    static const int errors[3] = {-EINTR, -EAGAIN, -ENOMEM};
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        for (unsigned i = 0; i < 3; i++) {
            unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
            CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
            toy_fail(&toy, TOY_UNMAP, errors[i], 3 + i);
            toy_fail(&toy, TOY_INVALIDATE, errors[i], 2);
            CHECK_EQUAL(finish(unbind_async(vma)), 0);
            CHECK_EQUAL(toy.mapped, 0);
            unbind_vma_unref(vma);
        }
        toy_close(&toy);
        CHECK_EQUAL(toy.unmaps, 3 + 3 + 4 + 5);
        CHECK_EQUAL(toy.invalidations, 9);
        CHECK_EQUAL(toy.gpu.messages, 0);
    }
}

TEST(endless_retries, "a backend that never gets memory again is lost after some ten seconds") {
    struct toy toy;
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_SIMULATED);
    unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    toy_fail(&toy, TOY_UNMAP, -ENOMEM, UINT32_MAX);
    toy.is_lost = true;
    CHECK_EQUAL(finish(unbind_async(vma)), -EIO);
    CHECK(unbind_device_now(toy.gpu.device) > UINT64_C(5000000000));
    CHECK(unbind_device_now(toy.gpu.device) < UINT64_C(20000000000));
    CHECK_EQUAL(toy.gpu.messages, 1);
    unbind_vma_unref(vma);
    toy_close(&toy);
}

TEST(failed_bind, "a bind that the backend refuses leaves the VMA unbound, and can be tried again") {
    static const int errors[5] = {-ENOMEM, -EINVAL, -EINTR, -ENOBUFS, -EIO};
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_vma *vma = new_vma(&toy, 2 * PAGE, 0x10000);
        for (unsigned i = 0; i < 5; i++) {
            struct unbind_pin_options pin = UNBIND_PIN_OPTIONS_INIT;
            toy_fail(&toy, TOY_MAP, errors[i], 1);
            CHECK_EQUAL(unbind_vma_bind(vma, 0), errors[i]);
            CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_UNBOUND);
            toy_fail(&toy, TOY_MAP, errors[i], 1);
            CHECK_EQUAL(unbind_vma_pin(vma, &pin), errors[i]);
            CHECK_EQUAL(unbind_vma_pin_count(vma), 0);
        }
        toy_idle(&toy);
        CHECK_EQUAL(toy.unmaps, 0);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        CHECK_EQUAL(toy.mapped, 2);
        unbind_vma_unref(vma);
        toy_close(&toy);
        CHECK_EQUAL(toy.gpu.messages, 0);
    }
}

TEST(failed_async_bind, "an asynchronous bind that is refused is bound in name, until it is unbound") {
    struct toy toy;
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = new_vma(&toy, 2 * PAGE, 0x10000);
    toy_fail(&toy, TOY_MAP, -E2BIG, 1);
    CHECK_EQUAL(bind_async(vma), -E2BIG);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), -E2BIG);
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, NULL), -E2BIG);
    CHECK_EQUAL(finish(unbind_async(vma)), 0);
    CHECK(toy.maps == 1 && toy.unmaps == 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    unbind_vma_unref(vma);
    toy_close(&toy);
}

TEST(failed_neighbours, "of many binds in one update the one that cannot be mapped fails alone") {
    for (int by_thread = 0; by_thread < 2; by_thread++) {
        struct toy toy;
        unbind_vma *vmas[40];
        unbind_fence *fences[40];
        toy_init(&toy, by_thread ? TOY_BY_THREAD : TOY_AT_ONCE);
        toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
        toy.fail_address = 0x100000 + 17 * PAGE;
        toy.fail_address_error = -EINVAL;
        for (unsigned i = 0; i < 40; i++) {
            vmas[i] = new_vma(&toy, PAGE, 0x100000 + i * PAGE);
            REQUIRE(unbind_vma_bind_async(vmas[i], 0, &fences[i]) == 0);
        }
        for (unsigned i = 0; i < 40; i++) CHECK_EQUAL(finish(fences[i]), i == 17 ? -EINVAL : 0);
        CHECK_EQUAL(toy.mapped, 39);
        CHECK_EQUAL(toy.maps, 41);
        row_drop(vmas, 40);
        toy_close(&toy);
    }
}

TEST(failed_pieces, "a bind in pieces that fails half-way has its first pieces unmapped again") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
        struct unbind_view view = UNBIND_VIEW_INIT;
        unbind_vma *vma = NULL;
        toy_init(&toy, mode);
        toy.ops.max_ranges = 2;
        toy_open(&toy, executor);
        unbind_bo *bo = make_bo(&toy.gpu, 64 * PAGE);
        view.type = UNBIND_VIEW_ROTATED;
        view.plane_count = 1;
        view.planes[0].width = 8;
        view.planes[0].height = view.planes[0].dst_stride = 8;
        view.planes[0].src_stride = 8;
        options.flags = UNBIND_VMA_FIXED;
        options.address = 0x10000;
        options.view = &view;
        REQUIRE(unbind_vma_create(toy.gpu.vm, bo, &options, &vma) == 0);
        toy.fail_address = 0x10000 + 33 * PAGE;
        toy.fail_address_error = -EINVAL;
        toy_fail(&toy, TOY_UNMAP, -ENOMEM, 1);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), -EINVAL);
        CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_UNBOUND);
        CHECK_EQUAL(toy.mapped, 0);
        toy.fail_address = UINT64_MAX;
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        CHECK_EQUAL(toy.mapped, 64);
        CHECK(toy.largest <= 2);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        toy_close(&toy);
    }
}

TEST(lost, "a device whose backend cannot unmap is lost: what is pending ends with -EIO, the rest is refused") {
    for (int at_invalidation = 0; at_invalidation < 2; at_invalidation++) {
        FOR_EACH_WAY(executor, mode) {
            struct toy toy;
            unbind_vma *vmas[6];
            unbind_fence *fences[4];
            unbind_bo *bo = UNTOUCHED(unbind_bo);
            unbind_vm *vm = UNTOUCHED(unbind_vm);
            toy_init(&toy, mode);
            toy.ops.max_ranges = 1;
            toy_open(&toy, executor);
            unbind_fence *work = make_fence(&toy.gpu);
            for (unsigned i = 0; i < 6; i++) vmas[i] = new_vma(&toy, PAGE, 0x100000 + 2 * i * PAGE);
            for (unsigned i = 0; i < 4; i++) {
                CHECK_EQUAL(unbind_vma_bind(vmas[i], 0), 0);
                CHECK_EQUAL(unbind_vma_add_user(vmas[i], work), 0);
                fences[i] = unbind_async(vmas[i]);
            }
            CHECK_EQUAL(unbind_vma_bind(vmas[4], 0), 0);
            toy.is_lost = true;
            toy_fail(&toy, at_invalidation ? TOY_INVALIDATE : TOY_UNMAP, -EINVAL, 1);
            signal_and_drop(work);
            for (unsigned i = 0; i < 4; i++) CHECK_EQUAL(finish(fences[i]), -EIO);
            CHECK_EQUAL(toy.gpu.messages, 1);
            CHECK_EQUAL(unbind_vma_bind(vmas[5], 0), -EIO);
            CHECK_EQUAL(unbind_vma_bind_async(vmas[0], 0, NULL), -EIO);
            CHECK_EQUAL(unbind_bo_create(toy.gpu.device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo), -EIO);
            CHECK_EQUAL(unbind_vm_create(toy.gpu.device, NULL, &vm), -EIO);
            uint32_t before = toy.updates;
            CHECK_EQUAL(finish(unbind_async(vmas[4])), -EIO);
            CHECK_EQUAL(toy.updates, before);
            row_drop(vmas, 6);
            toy_close(&toy);
        }
    }
}

TEST(closing, "closing a device completes what a backend has begun, however late it says so") {
    for (int executor = 0; executor < 2; executor++) {
        struct toy toy;
        unbind_vma *vmas[50];
        struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
        toy_init(&toy, TOY_BY_THREAD);
        toy_open(&toy, toy_executors[executor]);
        for (unsigned i = 0; i < 50; i++) {
            vmas[i] = new_vma(&toy, PAGE, 0x100000 + i * PAGE);
            CHECK_EQUAL(unbind_vma_bind_async(vmas[i], 0, NULL), 0);
            if (i % 3 == 0) unbind_fence_unref(unbind_async(vmas[i]));
        }
        CHECK_EQUAL(unbind_device_close(toy.gpu.device, &report), 0);
        CHECK_EQUAL(report.vmas, 50);
        CHECK_EQUAL(toy.mapped, 0);
        row_drop(vmas, 50);
        unbind_vm_unref(toy.gpu.vm);
        unbind_device_unref(toy.gpu.device);
        toy_end(&toy);
    }
}

TEST(by_hand, "an unbind that has begun holds up a bind of its range, and nothing else") {
    struct toy toy;
    unbind_fence *second_bound = NULL;
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *first = new_vma(&toy, PAGE, 0x10000), *second = new_vma(&toy, PAGE, 0x10000);
    CHECK_EQUAL(unbind_vma_bind(first, 0), 0);
    toy.mode = TOY_BY_HAND;
    unbind_fence *unbound = unbind_async(first);
    toy_idle(&toy);
    CHECK_EQUAL(toy.begun_count, 1);
    REQUIRE(unbind_vma_bind_async(second, 0, &second_bound) == 0);
    CHECK_EQUAL(unbind_vma_state(second), UNBIND_VMA_BINDING);
    CHECK(!unbind_fence_is_signaled(unbound));
    CHECK(toy_complete(&toy)); /* the unmap */
    CHECK(!toy_complete(&toy));
    toy_idle(&toy);
    CHECK(!unbind_fence_is_signaled(unbound));
    CHECK(toy_complete(&toy)); /* the invalidation */
    toy_idle(&toy);
    CHECK(unbind_fence_is_signaled(unbound) && !unbind_fence_is_signaled(second_bound));
    CHECK(toy_complete(&toy)); /* the map */
    CHECK_EQUAL(finish(second_bound), 0);
    toy.mode = TOY_AT_ONCE;
    unbind_fence_unref(unbound);
    unbind_vma_unref(first);
    unbind_vma_unref(second);
    toy_close(&toy);
}
