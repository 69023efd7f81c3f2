/* SPDX-License-Identifier: MIT */
/* Global address spaces that keep the device awake, and address spaces that are suspended and resumed. */
#include "support.h"

/* The power callbacks of a driver, with a count of what they gave and took. */
struct meter {
    int gets, asks, granted, puts;
    bool is_asleep; /* answers 0 */
};

static void meter_get(void *user_data) { __atomic_add_fetch(&((struct meter *)user_data)->gets, 1, __ATOMIC_SEQ_CST); }
static int meter_ask(void *user_data) {
    struct meter *meter = (struct meter *)user_data;
    __atomic_add_fetch(&meter->asks, 1, __ATOMIC_SEQ_CST);
    if (!meter->is_asleep) __atomic_add_fetch(&meter->granted, 1, __ATOMIC_SEQ_CST);
    return !meter->is_asleep;
}
static void meter_put(void *user_data) { __atomic_add_fetch(&((struct meter *)user_data)->puts, 1, __ATOMIC_SEQ_CST); }

static int held(const struct meter *meter) {
    return __atomic_load_n(&meter->gets, __ATOMIC_SEQ_CST) + __atomic_load_n(&meter->granted, __ATOMIC_SEQ_CST) -
           __atomic_load_n(&meter->puts, __ATOMIC_SEQ_CST);
}

static void open_metered(struct gpu *gpu, struct meter *meter, uint32_t executor, uint32_t vm_flags) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(gpu, executor, &allocator);
    struct unbind_power_callbacks power = UNBIND_POWER_CALLBACKS_INIT;
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    memset(meter, 0, sizeof *meter);
    power.user_data = meter;
    power.get = meter_get;
    power.get_if_in_use = meter_ask;
    power.put = meter_put;
    options.power = &power;
    vm_options.flags = vm_flags;
    REQUIRE(unbind_device_open_software(&options, &gpu->device) == 0);
    REQUIRE(unbind_vm_create(gpu->device, &vm_options, &gpu->vm) == 0);
}

static unsigned pages(unbind_vm *vm) {
    struct unbind_page page = UNBIND_PAGE_INIT;
    unsigned count = 0;
    while (unbind_vm_find_page(vm, page.address + page.size, &page) == 0) count++;
    return count;
}

TEST(power_balance, "P17: binds and unbinds of a global address space keep the device awake, and give all back") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        for (int is_asleep = 0; is_asleep < 2; is_asleep++) {
            struct gpu gpu;
            struct meter meter;
            unbind_fence *done = NULL, *bind = NULL;
            open_metered(&gpu, &meter, executor, UNBIND_VM_GLOBAL);
            meter.is_asleep = is_asleep;
            unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000);
            CHECK_EQUAL(meter.gets, 1);
            CHECK_EQUAL(held(&meter), 0);
            unbind_fence *user = make_fence(&gpu);
            CHECK_EQUAL(unbind_vma_add_user(vma, user), 0);
            CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &done), 0);
            CHECK_EQUAL(held(&meter), is_asleep ? 0 : 1);
            CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &bind), 0);
            CHECK_EQUAL(held(&meter), is_asleep ? 1 : 2);
            signal_and_drop(user);
            CHECK_EQUAL(finish(done), 0);
            CHECK_EQUAL(finish(bind), 0);
            CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
            CHECK_EQUAL(held(&meter), 0);
            CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
            CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
            CHECK_EQUAL(held(&meter), 0);
            CHECK_EQUAL(meter.asks, 2);
            unbind_vma_unref(vma);
            gpu_close(&gpu);
            CHECK_EQUAL(held(&meter), 0);
        }
    }
}

TEST(power_private, "a per-process address space never calls the power callbacks") {
    struct gpu gpu;
    struct meter meter;
    open_metered(&gpu, &meter, UNBIND_EXECUTOR_MANUAL, 0);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000);
    CHECK_EQUAL(unbind_vm_suspend(gpu.vm), 0);
    CHECK_EQUAL(unbind_vm_resume(gpu.vm), 0);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
    CHECK(meter.gets == 0 && meter.asks == 0 && meter.puts == 0);
}

TEST(suspend_keeps_bindings, "1.11: a suspend empties the page tables, a resume fills them again; nothing is unbound") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        struct gpu gpu;
        struct meter meter;
        unbind_fence *job = NULL;
        uint64_t seen = 0;
        open_metered(&gpu, &meter, executor, executor == 1 ? UNBIND_VM_GLOBAL : 0);
        unbind_queue *queue = make_queue(&gpu);
        unbind_vma *vma = bind_new(&gpu, 4 * MIB, UNBIND_ADDRESS_NONE), *small = bind_new(&gpu, 3 * PAGE, 0x7000000);
        uint64_t address = unbind_vma_address(vma);
        struct unbind_command store = command_store(address + 8, 77), load = command_load(address + 8, &seen);
        unsigned before = pages(gpu.vm);
        REQUIRE(submit(queue, &store, 1, vma, NULL, &job) == 0);
        int status = unbind_vm_suspend(gpu.vm); /* a worker may have been as fast */
        CHECK(status == -EBUSY || (status == 0 && executor == UNBIND_EXECUTOR_POOL));
        CHECK_EQUAL(finish(job), 0);
        if (status != 0) CHECK_EQUAL(unbind_vm_suspend(gpu.vm), 0);
        CHECK_EQUAL(unbind_vm_suspend(gpu.vm), -EINVAL);
        CHECK_EQUAL(pages(gpu.vm), 0);
        CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_BOUND);
        CHECK_EQUAL(unbind_vma_address(vma), address);
        job = UNTOUCHED(unbind_fence);
        CHECK_EQUAL(submit(queue, &load, 1, vma, NULL, &job), -EAGAIN);
        CHECK(job == UNTOUCHED(unbind_fence));
        CHECK_EQUAL(unbind_vma_unbind(small, 0), 0);
        CHECK_EQUAL(unbind_vm_resume(gpu.vm), 0);
        CHECK_EQUAL(unbind_vm_resume(gpu.vm), -EINVAL);
        CHECK_EQUAL(pages(gpu.vm), before - 3);
        REQUIRE(submit(queue, &load, 1, vma, NULL, &job) == 0);
        CHECK_EQUAL(finish(job), 0);
        CHECK_EQUAL(seen, 77);
        CHECK_EQUAL(vm_stats(gpu.vm).unbinds_skipped_ptes, 1);
        unbind_queue_unref(queue);
        unbind_vma_unref(vma);
        unbind_vma_unref(small);
        gpu_close(&gpu);
        CHECK_EQUAL(held(&meter), 0);
    }
}

TEST(suspend_pending, "1.4: pending unbinds and binds end in order while suspended, and close works then") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        for (int closes = 0; closes < 2; closes++) {
            struct gpu gpu;
            struct meter meter;
            unbind_fence *done = NULL, *bind = NULL;
            open_metered(&gpu, &meter, executor, UNBIND_VM_GLOBAL);
            unbind_vma *old = bind_new(&gpu, PAGE, 0x5000);
            unbind_bo *bo = make_bo(&gpu, 2 * PAGE);
            unbind_vma *over = make_vma(&gpu, bo, 0x4000);
            unbind_fence *user = make_fence(&gpu);
            CHECK_EQUAL(unbind_vma_add_user(old, user), 0);
            CHECK_EQUAL(unbind_vma_unbind_async(old, 0, &done), 0);
            CHECK_EQUAL(unbind_vma_bind_async(over, 0, &bind), 0);
            CHECK_EQUAL(unbind_vm_suspend(gpu.vm), 0);
            CHECK_EQUAL(unbind_fence_wait(bind, 0, 0), -ETIME);
            if (closes) CHECK_EQUAL(unbind_vm_close(gpu.vm), 0);
            CHECK_EQUAL(unbind_fence_is_signaled(done), 0);
            signal_and_drop(user);
            CHECK_EQUAL(finish(done), 0);
            CHECK_EQUAL(finish(bind), 0);
            CHECK_EQUAL(unbind_vm_resume(gpu.vm), closes ? -ENOENT : 0);
            CHECK_EQUAL(pages(gpu.vm), closes ? 0 : 2);
            unbind_vma_unref(old);
            unbind_vma_unref(over);
            unbind_bo_unref(bo);
            gpu_close(&gpu);
            CHECK_EQUAL(held(&meter), 0);
        }
    }
}
