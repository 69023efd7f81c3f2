/* SPDX-License-Identifier: MIT */
/* Bad input: the documented errno, nothing changed, nothing leaked. */
#include "stage.h"

TEST(null_is_harmless, "dropping, referencing and asking about NULL does nothing") {
    CHECK(unbind_device_ref(NULL) == NULL);
    CHECK(unbind_vm_ref(NULL) == NULL);
    CHECK(unbind_bo_ref(NULL) == NULL);
    CHECK(unbind_vma_ref(NULL) == NULL);
    CHECK(unbind_queue_ref(NULL) == NULL);
    CHECK(unbind_fence_ref(NULL) == NULL);
    unbind_device_unref(NULL);
    unbind_vm_unref(NULL);
    unbind_bo_unref(NULL);
    unbind_vma_unref(NULL);
    unbind_queue_unref(NULL);
    unbind_fence_unref(NULL);
    CHECK_EQUAL(unbind_device_now(NULL), 0);
    CHECK_EQUAL(unbind_vm_id(NULL), 0);
    CHECK_EQUAL(unbind_vm_size(NULL), 0);
    CHECK_EQUAL(unbind_bo_id(NULL), 0);
    CHECK_EQUAL(unbind_bo_size(NULL), 0);
    CHECK(unbind_bo_cpu_pointer(NULL) == NULL);
    CHECK_EQUAL(unbind_queue_id(NULL), 0);
    CHECK_EQUAL(unbind_vma_address(NULL), UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(unbind_vma_size(NULL), 0);
    CHECK_EQUAL(unbind_vma_state(NULL), -EINVAL);
}

TEST(ref_gives_the_same_handle, "a reference is the same handle and is needed as often as it was taken") {
    struct stage value, *stage = &value;
    stage_open(stage);
    CHECK(unbind_device_ref(stage->gpu.device) == stage->gpu.device);
    CHECK(unbind_vm_ref(stage->gpu.vm) == stage->gpu.vm);
    CHECK(unbind_bo_ref(stage->bo) == stage->bo);
    CHECK(unbind_vma_ref(stage->bound) == stage->bound);
    CHECK(unbind_queue_ref(stage->queue) == stage->queue);
    CHECK(unbind_fence_ref(stage->fence) == stage->fence);
    unbind_device_unref(stage->gpu.device);
    unbind_vm_unref(stage->gpu.vm);
    unbind_bo_unref(stage->bo);
    unbind_vma_unref(stage->bound);
    unbind_queue_unref(stage->queue);
    unbind_fence_unref(stage->fence);
    CHECK_EQUAL(unbind_vma_state(stage->bound), UNBIND_VMA_BOUND);
    CHECK_EQUAL(unbind_fence_is_signaled(stage->fence), 0);
    CHECK(unbind_bo_id(stage->bo) >= 1 && unbind_queue_id(stage->queue) >= 1);
    CHECK(unbind_vm_id(stage->gpu.vm) != unbind_vm_id(stage->second_vm));
    stage_close(stage);
}

TEST(fences_refuse, "fence functions refuse every bad argument") {
    struct stage value, *stage = &value;
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    struct unbind_fence_callback callback;
    int number = 77;
    uint64_t time = 77;
    unbind_fence_callback_fn function = (unbind_fence_callback_fn)(void (*)(void))abort;
    stage_open(stage);
    memset(&callback, 0, sizeof callback);

    REFUSES(-EINVAL, unbind_fence_create(NULL, &fence));
    REFUSES(-EINVAL, unbind_fence_create(stage->gpu.device, NULL));
    REFUSES(-EINVAL, unbind_fence_create(WRONG(unbind_device, stage->fence), &fence));
    CHECK(fence == UNTOUCHED(unbind_fence));

    REFUSES(-EINVAL, unbind_fence_signal(NULL, 0));
    REFUSES(-EINVAL, unbind_fence_signal(WRONG(unbind_fence, stage->queue), 0));
    REFUSES(-EINVAL, unbind_fence_signal(stage->fence, 1));
    REFUSES(-EINVAL, unbind_fence_signal(stage->fence, -4096));
    REFUSES(-EINVAL, unbind_fence_signal(stage->signalled, 0));
    REFUSES(-EINVAL, unbind_fence_signal(stage->job, 0));

    REFUSES(-EINVAL, unbind_fence_wait(NULL, 0, 0));
    REFUSES(-EINVAL, unbind_fence_wait(WRONG(unbind_fence, stage->gpu.vm), 0, 0));
    REFUSES(-EINVAL, unbind_fence_wait(stage->fence, 0, 4));
    REFUSES(-EINVAL, unbind_fence_wait(stage->fence, 0, 1u << 31));
    REFUSES(-EINVAL, unbind_fence_wait(stage->signalled, 0, 1u << 31));
    REFUSES(-ETIME, unbind_fence_wait(stage->fence, 0, 0));

    REFUSES(-EINVAL, unbind_fence_is_signaled(NULL));
    REFUSES(-EINVAL, unbind_fence_is_signaled(WRONG(unbind_fence, stage->bo)));
    REFUSES(-EINVAL, unbind_fence_get_error(NULL, &number));
    REFUSES(-EINVAL, unbind_fence_get_error(stage->signalled, NULL));
    REFUSES(-EINVAL, unbind_fence_get_error(WRONG(unbind_fence, stage->bound), &number));
    REFUSES(-EAGAIN, unbind_fence_get_error(stage->fence, &number));
    REFUSES(-EINVAL, unbind_fence_get_timestamp(NULL, &time));
    REFUSES(-EINVAL, unbind_fence_get_timestamp(stage->signalled, NULL));
    REFUSES(-EAGAIN, unbind_fence_get_timestamp(stage->fence, &time));

    REFUSES(-EINVAL, unbind_fence_add_callback(NULL, &callback, function, NULL));
    REFUSES(-EINVAL, unbind_fence_add_callback(stage->fence, NULL, function, NULL));
    REFUSES(-EINVAL, unbind_fence_add_callback(stage->fence, &callback, NULL, NULL));
    REFUSES(-ENOENT, unbind_fence_add_callback(stage->signalled, &callback, function, NULL));
    REFUSES(-EINVAL, unbind_fence_remove_callback(NULL, &callback));
    REFUSES(-EINVAL, unbind_fence_remove_callback(stage->fence, NULL));
    REFUSES(-ENOENT, unbind_fence_remove_callback(stage->fence, &callback));
    REFUSES(-ENOENT, unbind_fence_remove_callback(stage->signalled, &callback));

    REFUSES(-EINVAL, unbind_fence_get_eventfd(NULL, &number));
    REFUSES(-EINVAL, unbind_fence_get_eventfd(stage->fence, NULL));
    CHECK_EQUAL(number, 77);
    CHECK_EQUAL(time, 77);
    CHECK_EQUAL(unbind_fence_is_signaled(stage->fence), 0);
    stage_close(stage);
}

static int open_with(struct unbind_device_options options) {
    unbind_device *device = UNTOUCHED(unbind_device);
    int status = unbind_device_open_software(&options, &device);
    if (status < 0) CHECK(device == UNTOUCHED(unbind_device));
    else device_close_clean(device, NULL);
    return status;
}

static void never_called(void *user_data) { CHECK(user_data == NULL && false); }
static int never_asked(void *user_data) { return CHECK(user_data == NULL && false), 1; }

TEST(open_refuses, "opening a device refuses every bad option") {
    struct unbind_device_options good = UNBIND_DEVICE_OPTIONS_INIT, bad;
    struct unbind_cost_model cost = UNBIND_COST_MODEL_INIT;
    struct unbind_allocator allocator = UNBIND_ALLOCATOR_INIT;
    struct unbind_power_callbacks power = UNBIND_POWER_CALLBACKS_INIT;
    struct hooks hooks;
    CHECK_EQUAL(unbind_device_open_software(&good, NULL), -EINVAL);
    CHECK_EQUAL(unbind_device_open_software(NULL, NULL), -EINVAL);
    good.executor = UNBIND_EXECUTOR_MANUAL;
    CHECK_EQUAL(open_with(good), 0);
    bad = good, bad.struct_size = 0, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.struct_size = 3, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.flags = 1u << 31, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.flags = 2, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.executor = 3, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.executor = UINT32_MAX, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.worker_count = 1, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.executor = UNBIND_EXECUTOR_SIMULATED, bad.worker_count = 1, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.executor = UNBIND_EXECUTOR_POOL, bad.worker_count = 65, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.page_sizes = UINT64_C(0x2000), CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.page_sizes = UNBIND_PAGE_SIZE_4K | 1, CHECK_EQUAL(open_with(bad), -EINVAL);
    bad = good, bad.page_sizes = UINT64_MAX, CHECK_EQUAL(open_with(bad), -EINVAL);

    bad = good, bad.cost_model = &cost;
    CHECK_EQUAL(open_with(bad), 0);
    cost.reserved = 1, CHECK_EQUAL(open_with(bad), -EINVAL), cost.reserved = 0;
    cost.struct_size = 0, CHECK_EQUAL(open_with(bad), -EINVAL);

    bad = good, bad.power = &power;
    CHECK_EQUAL(open_with(bad), 0); /* none of the functions is as good as all */
    power.get = power.put = never_called;
    CHECK_EQUAL(open_with(bad), -EINVAL);
    power.get_if_in_use = never_asked;
    CHECK_EQUAL(open_with(bad), 0);
    power.reserved = 1, CHECK_EQUAL(open_with(bad), -EINVAL), power.reserved = 0;
    power.get = NULL, CHECK_EQUAL(open_with(bad), -EINVAL), power.get = never_called;
    power.put = NULL, CHECK_EQUAL(open_with(bad), -EINVAL), power.put = never_called;
    power.struct_size = 0, CHECK_EQUAL(open_with(bad), -EINVAL);
    power.struct_size = 4100, CHECK_EQUAL(open_with(bad), -E2BIG);

    bad = good, bad.allocator = &allocator;
    CHECK_EQUAL(open_with(bad), -EINVAL); /* no functions */
    allocator = hooks_allocator(&hooks);
    CHECK_EQUAL(open_with(bad), 0);
    allocator.reserved = 1, CHECK_EQUAL(open_with(bad), -EINVAL);
    allocator = hooks_allocator(&hooks), allocator.deallocate = NULL, CHECK_EQUAL(open_with(bad), -EINVAL);
    allocator = hooks_allocator(&hooks), allocator.struct_size = 0, CHECK_EQUAL(open_with(bad), -EINVAL);
    CHECK_EQUAL(hooks.calls, 0);
}

TEST(devices_refuse, "device functions refuse every bad argument") {
    struct stage value, *stage = &value;
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
    struct unbind_device_stats stats = UNBIND_DEVICE_STATS_INIT;
    uint64_t time = 77;
    int fd = 77;
    uint32_t ran = 77;
    stage_open(stage);
    unbind_device *device = stage->gpu.device, *wrong = WRONG(unbind_device, stage->gpu.vm);

    REFUSES(-EINVAL, unbind_device_close(NULL, &report));
    REFUSES(-EINVAL, unbind_device_close(wrong, &report));
    report.struct_size = 0;
    REFUSES(-EINVAL, unbind_device_close(device, &report));
    REFUSES(-EINVAL, unbind_device_run(NULL, 0, &ran));
    REFUSES(-EINVAL, unbind_device_run(wrong, 0, &ran));
    REFUSES(-EINVAL, unbind_device_run_until(NULL, 0));
    REFUSES(-EINVAL, unbind_device_wait_idle(NULL, 0, 0));
    REFUSES(-EINVAL, unbind_device_wait_idle(device, 0, 4));
    REFUSES(-EINVAL, unbind_device_next_event(NULL, &time));
    REFUSES(-EINVAL, unbind_device_next_event(device, NULL));
    REFUSES(-EINVAL, unbind_device_get_eventfd(NULL, &fd));
    REFUSES(-EINVAL, unbind_device_get_eventfd(device, NULL));
    REFUSES(-EINVAL, unbind_device_get_stats(NULL, &stats));
    REFUSES(-EINVAL, unbind_device_get_stats(device, NULL));
    REFUSES(-EINVAL, unbind_device_get_stats(wrong, &stats));
    stats.struct_size = 0;
    REFUSES(-EINVAL, unbind_device_get_stats(device, &stats));
    REFUSES(-EINVAL, unbind_device_dump(NULL, NULL, NULL));
    REFUSES(-EINVAL, unbind_device_dump(device, NULL, NULL));
    CHECK(time == 77 && fd == 77 && ran == 77);
    stage_close(stage);
}

TEST(executors_refuse, "functions that belong to another executor give -EOPNOTSUPP") {
    struct gpu gpu;
    uint64_t time = 77;
    int fd = 77;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 0), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_device_next_event(gpu.device, &time), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_device_get_eventfd(gpu.device, &fd), -EOPNOTSUPP);
    gpu_close(&gpu);
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    CHECK_EQUAL(unbind_device_get_eventfd(gpu.device, &fd), -EOPNOTSUPP);
    gpu_close(&gpu);
    CHECK(time == 77 && fd == 77);
}

static int vm_with(struct stage *stage, struct unbind_vm_options options) {
    unbind_vm *vm = UNTOUCHED(unbind_vm);
    int status = unbind_vm_create(stage->gpu.device, &options, &vm);
    if (status < 0) CHECK(vm == UNTOUCHED(unbind_vm));
    else unbind_vm_unref(vm);
    return status;
}

TEST(vms_refuse, "address space functions refuse every bad argument") {
    struct stage value, *stage = &value;
    struct unbind_vm_options good = UNBIND_VM_OPTIONS_INIT, bad;
    struct unbind_vm_stats stats = UNBIND_VM_STATS_INIT;
    struct unbind_page page = UNBIND_PAGE_INIT;
    unbind_vm *vm = UNTOUCHED(unbind_vm);
    stage_open(stage);
    REFUSES(-EINVAL, unbind_vm_create(NULL, &good, &vm));
    REFUSES(-EINVAL, unbind_vm_create(stage->gpu.device, &good, NULL));
    REFUSES(-EINVAL, unbind_vm_create(WRONG(unbind_device, stage->bo), &good, &vm));
    bad = good, bad.struct_size = 0;
    REFUSES(-EINVAL, vm_with(stage, bad));
    bad = good, bad.flags = 1u << 31;
    REFUSES(-EINVAL, vm_with(stage, bad));
    bad = good, bad.flags = UNBIND_VM_IPS, bad.page_sizes = UNBIND_PAGE_SIZE_4K | UNBIND_PAGE_SIZE_2M;
    REFUSES(-EINVAL, vm_with(stage, bad));
    bad = good, bad.policy = 3;
    REFUSES(-EINVAL, vm_with(stage, bad));
    bad = good, bad.reserved = 1;
    REFUSES(-EINVAL, vm_with(stage, bad));
    bad = good, bad.size = 4097;
    REFUSES(-EINVAL, vm_with(stage, bad));
    bad = good, bad.size = (UINT64_C(1) << 48) + PAGE;
    REFUSES(-EINVAL, vm_with(stage, bad));
    bad = good, bad.size = UINT64_MAX - PAGE + 1;
    REFUSES(-EINVAL, vm_with(stage, bad));
    bad = good, bad.page_sizes = UINT64_C(0x4000);
    REFUSES(-EINVAL, vm_with(stage, bad));
    CHECK(vm == UNTOUCHED(unbind_vm));

    REFUSES(-EINVAL, unbind_vm_close(NULL));
    REFUSES(-EINVAL, unbind_vm_close(WRONG(unbind_vm, stage->fence)));
    REFUSES(-EINVAL, unbind_vm_suspend(NULL));
    REFUSES(-EINVAL, unbind_vm_suspend(WRONG(unbind_vm, stage->queue)));
    REFUSES(-EINVAL, unbind_vm_resume(NULL));
    REFUSES(-EINVAL, unbind_vm_resume(WRONG(unbind_vm, stage->bound)));
    REFUSES(-EINVAL, unbind_vm_resume(stage->gpu.vm)); /* not suspended */
    REFUSES(-EINVAL, unbind_vm_get_stats(NULL, &stats));
    REFUSES(-EINVAL, unbind_vm_get_stats(stage->gpu.vm, NULL));
    stats.struct_size = 0;
    REFUSES(-EINVAL, unbind_vm_get_stats(stage->gpu.vm, &stats));
    REFUSES(-EINVAL, unbind_vm_find_page(NULL, 0, &page));
    REFUSES(-EINVAL, unbind_vm_find_page(stage->gpu.vm, 0, NULL));
    REFUSES(-ENOENT, unbind_vm_find_page(stage->gpu.vm, 0x12000, &page));
    REFUSES(-ENOENT, unbind_vm_find_page(stage->gpu.vm, UINT64_MAX, &page));
    page.struct_size = 0;
    REFUSES(-EINVAL, unbind_vm_find_page(stage->gpu.vm, 0, &page));
    REFUSES(-EINVAL, unbind_vm_dump(NULL, NULL, NULL));
    REFUSES(-EINVAL, unbind_vm_dump(stage->gpu.vm, NULL, NULL));
    stage_close(stage);
}

TEST(device_page_sizes_bind, "an address space cannot have a page size that its device lacks") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    options.page_sizes = UNBIND_PAGE_SIZE_4K;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    vm_options.page_sizes = UNBIND_PAGE_SIZE_4K | UNBIND_PAGE_SIZE_2M;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &vm_options, &gpu.vm), -EINVAL);
    CHECK(gpu.vm == NULL);
    device_close_clean(gpu.device, &gpu.hooks);
}

TEST(bos_refuse, "buffer functions refuse every bad argument") {
    struct stage value, *stage = &value;
    unbind_bo *bo = UNTOUCHED(unbind_bo);
    static char memory[3 * 4096];
    char *aligned = memory + (4096 - (uintptr_t)memory % 4096) % 4096;
    stage_open(stage);
    unbind_device *device = stage->gpu.device;
    REFUSES(-EINVAL, unbind_bo_create(NULL, PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
    REFUSES(-EINVAL, unbind_bo_create(WRONG(unbind_device, stage->bo), PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
    REFUSES(-EINVAL, unbind_bo_create(device, 0, UNBIND_REGION_SYSTEM, 0, &bo));
    REFUSES(-EINVAL, unbind_bo_create(device, 4097, UNBIND_REGION_SYSTEM, 0, &bo));
    REFUSES(-EINVAL, unbind_bo_create(device, UINT64_MAX, UNBIND_REGION_SYSTEM, 0, &bo));
    REFUSES(-EINVAL, unbind_bo_create(device, PAGE, 2, 0, &bo));
    REFUSES(-EINVAL, unbind_bo_create(device, PAGE, UNBIND_REGION_SYSTEM, 1, &bo));
    REFUSES(-EINVAL, unbind_bo_create(device, PAGE, UNBIND_REGION_SYSTEM, 0, NULL));
    CHECK_EQUAL(unbind_bo_create(device, 0 - PAGE, UNBIND_REGION_SYSTEM, 0, &bo), -ENOMEM);
    CHECK_EQUAL(unbind_bo_create(device, 128 * MIB, UNBIND_REGION_LOCAL, 0, &bo), -ENOMEM);

    REFUSES(-EINVAL, unbind_bo_wrap(NULL, aligned, PAGE, NULL, NULL, &bo));
    REFUSES(-EINVAL, unbind_bo_wrap(device, NULL, PAGE, NULL, NULL, &bo));
    REFUSES(-EINVAL, unbind_bo_wrap(device, aligned + 8, PAGE, NULL, NULL, &bo));
    REFUSES(-EINVAL, unbind_bo_wrap(device, aligned, 0, NULL, NULL, &bo));
    REFUSES(-EINVAL, unbind_bo_wrap(device, aligned, 100, NULL, NULL, &bo));
    REFUSES(-EINVAL, unbind_bo_wrap(device, aligned, 0 - PAGE, NULL, NULL, &bo));
    REFUSES(-EINVAL, unbind_bo_wrap(device, aligned, PAGE, NULL, NULL, NULL));
    CHECK(bo == UNTOUCHED(unbind_bo));
    REFUSES(-EINVAL, unbind_bo_wait(NULL, 0, 0));
    REFUSES(-EINVAL, unbind_bo_wait(stage->bo, 0, 4));
    REFUSES(-EINVAL, unbind_bo_wait(WRONG(unbind_bo, stage->gpu.vm), 0, 0));
    stage_close(stage);
}

static int vma_with(struct stage *stage, unbind_bo *bo, struct unbind_vma_options options) {
    unbind_vma *vma = UNTOUCHED(unbind_vma);
    int status = unbind_vma_create(stage->gpu.vm, bo, &options, &vma);
    if (status < 0) CHECK(vma == UNTOUCHED(unbind_vma));
    else unbind_vma_unref(vma);
    return status;
}

TEST(vma_create_refuses, "creating a VMA refuses every bad argument") {
    struct stage value, *stage = &value;
    struct unbind_vma_options good = UNBIND_VMA_OPTIONS_INIT, bad, fixed = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma = UNTOUCHED(unbind_vma);
    stage_open(stage);
    unbind_vm *vm = stage->gpu.vm;
    REFUSES(-EINVAL, unbind_vma_create(NULL, stage->bo, NULL, &vma));
    REFUSES(-EINVAL, unbind_vma_create(vm, NULL, NULL, &vma));
    REFUSES(-EINVAL, unbind_vma_create(vm, stage->bo, NULL, NULL));
    REFUSES(-EINVAL, unbind_vma_create(vm, stage->other_bo, NULL, &vma));
    REFUSES(-EINVAL, unbind_vma_create(vm, WRONG(unbind_bo, vm), NULL, &vma));
    REFUSES(-EINVAL, unbind_vma_create(WRONG(unbind_vm, stage->bo), stage->bo, NULL, &vma));
    CHECK(vma == UNTOUCHED(unbind_vma));
    bad = good, bad.struct_size = 0;
    REFUSES(-EINVAL, vma_with(stage, stage->bo, bad));
    bad = good, bad.flags = 16;
    REFUSES(-EINVAL, vma_with(stage, stage->bo, bad));
    bad = good, bad.reserved = 1;
    REFUSES(-EINVAL, vma_with(stage, stage->bo, bad));
    bad = good, bad.address = PAGE;
    REFUSES(-EINVAL, vma_with(stage, stage->bo, bad));
    bad = good, bad.alignment = 3 * PAGE;
    REFUSES(-EINVAL, vma_with(stage, stage->bo, bad));
    bad = good, bad.color = 1;
    REFUSES(-EINVAL, vma_with(stage, stage->bo, bad));
    fixed.flags = UNBIND_VMA_FIXED;
    bad = fixed, bad.address = 0x1800;
    REFUSES(-EINVAL, vma_with(stage, stage->bo, bad));
    bad = fixed, bad.address = 0 - PAGE; /* two pages: beyond 2^64 */
    REFUSES(-EINVAL, vma_with(stage, stage->bo, bad));
    bad = fixed, bad.address = UINT64_C(1) << 48;
    REFUSES(-ENODEV, vma_with(stage, stage->bo, bad));
    bad = fixed, bad.address = (UINT64_C(1) << 48) - PAGE; /* its second page is outside */
    REFUSES(-ENODEV, vma_with(stage, stage->bo, bad));
    bad = fixed, bad.address = (UINT64_C(1) << 48) - 2 * PAGE;
    CHECK_EQUAL(vma_with(stage, stage->bo, bad), 0);
    stage_close(stage);
}

TEST(vma_create_small_vm, "a buffer larger than the address space, or not of its page size, cannot have a VMA") {
    struct stage value, *stage = &value;
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    unbind_vm *vm = NULL;
    unbind_vma *vma = UNTOUCHED(unbind_vma);
    stage_open(stage);
    options.size = PAGE;
    REQUIRE(unbind_vm_create(stage->gpu.device, &options, &vm) == 0);
    REFUSES(-ENODEV, unbind_vma_create(vm, stage->bo, NULL, &vma));
    unbind_vm_unref(vm);
    options.size = 0;
    options.page_sizes = UNBIND_PAGE_SIZE_64K;
    REQUIRE(unbind_vm_create(stage->gpu.device, &options, &vm) == 0);
    REFUSES(-EINVAL, unbind_vma_create(vm, stage->bo, NULL, &vma));
    unbind_vm_unref(vm);
    CHECK(vma == UNTOUCHED(unbind_vma));
    stage_close(stage);
}

TEST(vmas_refuse, "binding and unbinding refuse every bad argument") {
    struct stage value, *stage = &value;
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    stage_open(stage);
    unbind_vma *wrong = WRONG(unbind_vma, stage->queue);
    REFUSES(-EINVAL, unbind_vma_bind(NULL, 0));
    REFUSES(-EINVAL, unbind_vma_bind(wrong, 0));
    REFUSES(-EINVAL, unbind_vma_bind(stage->unbound, UNBIND_WAIT_ABSOLUTE));
    REFUSES(-EINVAL, unbind_vma_bind(stage->unbound, 1u << 31));
    REFUSES(-EINVAL, unbind_vma_bind(stage->bound, 1u << 31));
    CHECK_EQUAL(unbind_vma_bind(stage->taken, 0), -ENOSPC);
    REFUSES(-EINVAL, unbind_vma_bind_async(NULL, 0, &fence));
    REFUSES(-EINVAL, unbind_vma_bind_async(wrong, 0, &fence));
    REFUSES(-EINVAL, unbind_vma_bind_async(stage->unbound, 1, &fence));
    CHECK_EQUAL(unbind_vma_bind_async(stage->taken, 0, &fence), -ENOSPC);
    CHECK_EQUAL(unbind_vma_state(stage->taken), UNBIND_VMA_UNBOUND);
    CHECK_EQUAL(unbind_vma_state(stage->unbound), UNBIND_VMA_UNBOUND);
    REFUSES(-EINVAL, unbind_vma_unbind(NULL, 0));
    REFUSES(-EINVAL, unbind_vma_unbind(wrong, 0));
    REFUSES(-EINVAL, unbind_vma_unbind(stage->bound, UNBIND_WAIT_ABSOLUTE));
    REFUSES(-EINVAL, unbind_vma_unbind(stage->unbound, 1u << 31));
    REFUSES(-EINVAL, unbind_vma_unbind_async(NULL, 0, &fence));
    REFUSES(-EINVAL, unbind_vma_unbind_async(wrong, 0, &fence));
    REFUSES(-EINVAL, unbind_vma_unbind_async(stage->bound, 1, &fence));
    REFUSES(-EINVAL, unbind_vma_unbind_async(stage->bound, UNBIND_WAIT_INTERRUPTIBLE, &fence));
    CHECK(fence == UNTOUCHED(unbind_fence));
    REFUSES(-EINVAL, unbind_vma_add_user(NULL, stage->fence));
    REFUSES(-EINVAL, unbind_vma_add_user(wrong, stage->fence));
    REFUSES(-EINVAL, unbind_vma_add_user(stage->bound, NULL));
    REFUSES(-EINVAL, unbind_vma_add_user(stage->bound, WRONG(unbind_fence, stage->bo)));
    REFUSES(-EINVAL, unbind_vma_add_user(stage->bound, stage->other_fence));
    REFUSES(-EINVAL, unbind_vma_add_user(stage->unbound, stage->fence));
    CHECK_EQUAL(unbind_vma_state(stage->bound), UNBIND_VMA_BOUND);
    CHECK_EQUAL(unbind_vma_state(wrong), -EINVAL);
    stage_close(stage);
}

TEST(closed_vm_refuses, "a closed address space gives -ENOENT") {
    struct stage value, *stage = &value;
    struct unbind_page page = UNBIND_PAGE_INIT;
    unbind_vma *vma = UNTOUCHED(unbind_vma);
    unbind_queue *queue = UNTOUCHED(unbind_queue);
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    stage_open(stage);
    CHECK_EQUAL(unbind_vm_close(stage->gpu.vm), 0);
    REQUIRE(unbind_device_wait_idle(stage->gpu.device, FOREVER, 0) == 0);
    REFUSES(-ENOENT, unbind_vm_close(stage->gpu.vm));
    REFUSES(-ENOENT, unbind_vm_suspend(stage->gpu.vm));
    REFUSES(-ENOENT, unbind_vm_resume(stage->gpu.vm));
    REFUSES(-ENOENT, unbind_vma_create(stage->gpu.vm, stage->bo, NULL, &vma));
    REFUSES(-ENOENT, unbind_vma_bind(stage->unbound, 0));
    REFUSES(-ENOENT, unbind_vma_bind_async(stage->unbound, 0, &fence));
    REFUSES(-ENOENT, unbind_vma_add_user(stage->bound, stage->fence));
    REFUSES(-ENOENT, unbind_queue_create(stage->gpu.vm, 0, &queue));
    REFUSES(-ENOENT, unbind_queue_submit(stage->queue, &job, &fence));
    REFUSES(-ENOENT, unbind_vm_find_page(stage->gpu.vm, 0, &page));
    CHECK_EQUAL(unbind_vma_state(stage->bound), UNBIND_VMA_UNBOUND);
    CHECK(vma == UNTOUCHED(unbind_vma) && queue == UNTOUCHED(unbind_queue) && fence == UNTOUCHED(unbind_fence));
    stage_close(stage);
}

TEST(locks_refuse, "locks and lock contexts refuse every bad argument") {
    struct stage value, *stage = &value;
    struct unbind_lock_context context, other, none;
    stage_open(stage);
    memset(&none, 0, sizeof none);
    unbind_bo *bo = stage->bo, *wrong = WRONG(unbind_bo, stage->fence);
    unbind_bo *with_null[2] = {bo, NULL}, *with_wrong[2] = {bo, wrong}, *with_foreign[2] = {bo, stage->other_bo};
    struct unbind_lock_context *odd = (struct unbind_lock_context *)(void *)((char *)&none + 4);
    CHECK_EQUAL(unbind_lock_context_init(&context, stage->gpu.device), 0);
    CHECK_EQUAL(unbind_lock_context_init(&other, stage->other.device), 0);
    REFUSES(-EINVAL, unbind_lock_context_init(NULL, stage->gpu.device));
    REFUSES(-EINVAL, unbind_lock_context_init(odd, stage->gpu.device));
    REFUSES(-EINVAL, unbind_lock_context_init(&none, NULL));
    REFUSES(-EINVAL, unbind_lock_context_init(&none, WRONG(unbind_device, bo)));
    struct unbind_lock_context *bad[3] = {&none, odd, &other};
    for (int i = 0; i < 3; i++) {
        REFUSES(-EINVAL, unbind_bo_lock(bo, bad[i], 0));
        REFUSES(-EINVAL, unbind_bo_lock_slow(bo, bad[i], 0));
        REFUSES(-EINVAL, unbind_bo_trylock(bo, bad[i]));
        REFUSES(-EINVAL, unbind_bo_unlock(bo, bad[i]));
        REFUSES(-EINVAL, unbind_bo_lock_array(&bo, 1, 0, bad[i], 0));
        REFUSES(-EINVAL, unbind_bo_reserve_fences(bo, bad[i], 1));
    }
    for (int i = 0; i < 2; i++) {
        unbind_bo *handle = i ? wrong : NULL;
        REFUSES(-EINVAL, unbind_bo_lock(handle, &context, 0));
        REFUSES(-EINVAL, unbind_bo_lock_slow(handle, &context, 0));
        REFUSES(-EINVAL, unbind_bo_trylock(handle, &context));
        REFUSES(-EINVAL, unbind_bo_unlock(handle, &context));
    }
    REFUSES(-EINVAL, unbind_bo_lock(bo, &context, UNBIND_WAIT_ABSOLUTE));
    REFUSES(-EINVAL, unbind_bo_lock_slow(bo, &context, 1u << 31));
    REFUSES(-EINVAL, unbind_bo_lock_slow(bo, NULL, 0));
    REFUSES(-EINVAL, unbind_bo_lock_array(&bo, 1, 0, &context, UNBIND_WAIT_ABSOLUTE));
    REFUSES(-EINVAL, unbind_bo_lock_array(&bo, 1, 0, NULL, 0));
    REFUSES(-EINVAL, unbind_bo_lock_array(NULL, 1, 0, &context, 0));
    REFUSES(-EINVAL, unbind_bo_lock_array(&bo, 65537, 0, &context, 0));
    REFUSES(-EINVAL, unbind_bo_lock_array(&bo, 1, 65537, &context, 0));
    REFUSES(-EINVAL, unbind_bo_lock_array(with_null, 2, 0, &context, 0));
    REFUSES(-EINVAL, unbind_bo_lock_array(with_wrong, 2, 0, &context, 0));
    REFUSES(-EINVAL, unbind_bo_lock_array(with_foreign, 2, 0, &context, 0));
    REFUSES(-EINVAL, unbind_lock_context_retry(NULL, 0));
    REFUSES(-EINVAL, unbind_lock_context_retry(&none, 0));
    REFUSES(-EINVAL, unbind_lock_context_retry(&context, UNBIND_WAIT_ABSOLUTE));
    REFUSES(-EINVAL, unbind_lock_context_is_wounded(NULL));
    REFUSES(-EINVAL, unbind_lock_context_is_wounded(&none));
    unbind_lock_context_unlock_all(NULL);
    unbind_lock_context_unlock_all(&none);
    unbind_lock_context_fini(NULL);
    unbind_lock_context_fini(&none);
    CHECK_EQUAL(unbind_bo_trylock(bo, NULL), 0); /* nothing has locked it */
    CHECK_EQUAL(unbind_bo_unlock(bo, NULL), 0);
    unbind_lock_context_fini(&context);
    unbind_lock_context_fini(&context); /* has ended */
    unbind_lock_context_fini(&other);
    stage_close(stage);
}

TEST(reservations_refuse, "the fences of a buffer refuse every bad argument") {
    struct stage value, *stage = &value;
    struct unbind_fence_cursor cursor, none;
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    uint32_t count = 0xdead;
    stage_open(stage);
    memset(&none, 0, sizeof none);
    unbind_bo *bo = stage->bo, *wrong = WRONG(unbind_bo, stage->fence);
    REFUSES(-EINVAL, unbind_bo_add_fence(bo, NULL, stage->fence, UNBIND_USAGE_READ)); /* not locked */
    CHECK_EQUAL(unbind_bo_lock(bo, NULL, 0), 0);
    CHECK_EQUAL(unbind_bo_reserve_fences(bo, NULL, 2), 0);
    REFUSES(-EINVAL, unbind_bo_reserve_fences(bo, NULL, 65537));
    REFUSES(-EINVAL, unbind_bo_unreserve_fences(bo, NULL, 65537));
    REFUSES(-EINVAL, unbind_bo_unreserve_fences(bo, NULL, 3));
    REFUSES(-EINVAL, unbind_bo_add_fence(bo, NULL, NULL, UNBIND_USAGE_READ));
    REFUSES(-EINVAL, unbind_bo_add_fence(bo, NULL, WRONG(unbind_fence, bo), UNBIND_USAGE_READ));
    REFUSES(-EINVAL, unbind_bo_add_fence(bo, NULL, stage->other_fence, UNBIND_USAGE_READ));
    REFUSES(-EINVAL, unbind_bo_add_fence(bo, NULL, stage->fence, 4));
    REFUSES(-EINVAL, unbind_bo_copy_fences(bo, NULL, NULL));
    REFUSES(-EINVAL, unbind_bo_copy_fences(bo, NULL, stage->other_bo));
    for (int i = 0; i < 2; i++) {
        unbind_bo *handle = i ? wrong : NULL;
        REFUSES(-EINVAL, unbind_bo_reserve_fences(handle, NULL, 1));
        REFUSES(-EINVAL, unbind_bo_unreserve_fences(handle, NULL, 1));
        REFUSES(-EINVAL, unbind_bo_add_fence(handle, NULL, stage->fence, UNBIND_USAGE_READ));
        REFUSES(-EINVAL, unbind_bo_copy_fences(handle, NULL, bo));
        REFUSES(-EINVAL, unbind_bo_is_signaled(handle, UNBIND_USAGE_READ));
        REFUSES(-EINVAL, unbind_bo_wait_usage(handle, UNBIND_USAGE_READ, 0, 0));
        REFUSES(-EINVAL, unbind_bo_get_fences(handle, UNBIND_USAGE_READ, NULL, 0, &count));
        REFUSES(-EINVAL, unbind_bo_get_fence(handle, UNBIND_USAGE_READ, &fence));
        REFUSES(-EINVAL, unbind_fence_cursor_init(&cursor, handle, UNBIND_USAGE_READ));
    }
    REFUSES(-EINVAL, unbind_bo_is_signaled(bo, 4));
    REFUSES(-EINVAL, unbind_bo_wait_usage(bo, UINT32_MAX, 0, 0));
    REFUSES(-EINVAL, unbind_bo_wait_usage(bo, UNBIND_USAGE_READ, 0, 1u << 31));
    REFUSES(-EINVAL, unbind_bo_get_fences(bo, 256, NULL, 0, &count)); /* not taken for 0 */
    REFUSES(-EINVAL, unbind_bo_get_fences(bo, UNBIND_USAGE_READ, NULL, 1, &count));
    REFUSES(-EINVAL, unbind_bo_get_fences(bo, UNBIND_USAGE_READ, &fence, 1, NULL));
    REFUSES(-EINVAL, unbind_bo_get_fence(bo, 4, &fence));
    REFUSES(-EINVAL, unbind_bo_get_fence(bo, UNBIND_USAGE_READ, NULL));
    REFUSES(-EINVAL, unbind_fence_cursor_init(NULL, bo, UNBIND_USAGE_READ));
    REFUSES(-EINVAL, unbind_fence_cursor_init(&cursor, bo, 4));
    REFUSES(-EINVAL, unbind_fence_cursor_next(&none, bo, &fence, &count)); /* not begun */
    CHECK_EQUAL(unbind_fence_cursor_init(&cursor, bo, UNBIND_USAGE_READ), 0);
    REFUSES(-EINVAL, unbind_fence_cursor_next(NULL, bo, &fence, &count));
    REFUSES(-EINVAL, unbind_fence_cursor_next(&cursor, NULL, &fence, &count));
    REFUSES(-EINVAL, unbind_fence_cursor_next(&cursor, bo, NULL, &count));
    CHECK_EQUAL(unbind_bo_unlock(bo, NULL), 0);
    REFUSES(-EINVAL, unbind_fence_get_leaves(NULL, &fence, 1, &count));
    REFUSES(-EINVAL, unbind_fence_get_leaves(stage->fence, NULL, 1, &count));
    REFUSES(-EINVAL, unbind_fence_get_leaves(stage->fence, &fence, 1, NULL));
    REFUSES(-EINVAL, unbind_fence_create_timed(NULL, 0, &fence));
    REFUSES(-EINVAL, unbind_fence_create_timed(stage->gpu.device, 0, NULL));
    REFUSES(-EINVAL, unbind_fence_create_deadline(NULL, 0, &fence));
    REFUSES(-EINVAL, unbind_fence_create_deadline(WRONG(unbind_fence, bo), 0, &fence));
    REFUSES(-EINVAL, unbind_fence_create_deadline(stage->fence, 0, NULL));
    CHECK(fence == UNTOUCHED(unbind_fence) && count == 0xdead);
    stage_close(stage);
}
