/* SPDX-License-Identifier: MIT */
/* Structs of older and newer programs: short ones, long ones, and what is in the part not known. */
#include "support.h"

/* A newer program's struct: the one of today with members after it. */
#define NEWER(name)            \
    struct newer_##name {      \
        struct unbind_##name known; \
        uint64_t tail[2];      \
    }
NEWER(allocator);
NEWER(cost_model);
NEWER(power_callbacks);
NEWER(device_options);
NEWER(leak_report);
NEWER(device_stats);
NEWER(vm_options);
NEWER(vm_stats);
NEWER(page);
NEWER(hold_info);
NEWER(vma_options);
NEWER(submit);
NEWER(pin_options);
NEWER(evict_request);
NEWER(view);
NEWER(range_request);
NEWER(range_info);
NEWER(range_stats);

/* Fills one in: the known part as given, a tail of zeros, the size of the whole. */
#define SET_NEWER(whole, value)                             \
    do {                                                    \
        memset(&(whole), 0, sizeof(whole));                 \
        (whole).known = (value);                            \
        (whole).known.struct_size = (uint32_t)sizeof(whole); \
    } while (0)

TEST(newer_open, "a newer program's device options are taken when the unknown part is zero") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_cost_model cost = UNBIND_COST_MODEL_INIT;
    struct newer_device_options options;
    struct newer_allocator long_allocator;
    struct newer_cost_model long_cost;
    struct unbind_power_callbacks power = UNBIND_POWER_CALLBACKS_INIT;
    struct newer_power_callbacks long_power;
    unbind_device *device = UNTOUCHED(unbind_device);
    SET_NEWER(options, gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator));
    SET_NEWER(long_allocator, allocator);
    SET_NEWER(long_cost, cost);
    options.known.allocator = &long_allocator.known;
    SET_NEWER(long_power, power);
    options.known.cost_model = &long_cost.known;
    options.known.power = &long_power.known;
    options.tail[1] = 1;
    CHECK_EQUAL(unbind_device_open_software(&options.known, &device), -E2BIG);
    options.tail[1] = 0;
    long_allocator.tail[0] = 1;
    CHECK_EQUAL(unbind_device_open_software(&options.known, &device), -E2BIG);
    long_allocator.tail[0] = 0;
    long_cost.tail[1] = 1;
    CHECK_EQUAL(unbind_device_open_software(&options.known, &device), -E2BIG);
    long_cost.tail[1] = 0;
    long_power.tail[0] = 1;
    CHECK_EQUAL(unbind_device_open_software(&options.known, &device), -E2BIG);
    long_power.tail[0] = 0;
    CHECK(device == UNTOUCHED(unbind_device));
    CHECK_EQUAL(gpu.hooks.calls, 0);
    CHECK_EQUAL(unbind_device_open_software(&options.known, &device), 0);
    device_close_clean(device, &gpu.hooks);
}

TEST(newer_close, "a newer program's leak report is filled and its unknown part stays zero") {
    struct gpu gpu;
    struct newer_leak_report report;
    struct unbind_leak_report empty = UNBIND_LEAK_REPORT_INIT;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    SET_NEWER(report, empty);
    report.tail[0] = 1;
    CHECK_EQUAL(unbind_device_close(gpu.device, &report.known), -E2BIG);
    report.tail[0] = 0;
    CHECK_EQUAL(unbind_device_close(gpu.device, &report.known), 0);
    CHECK_EQUAL(report.known.vms, 1);
    CHECK(report.tail[0] == 0 && report.tail[1] == 0);
    unbind_vm_unref(gpu.vm);
    unbind_device_unref(gpu.device);
    CHECK_EQUAL(gpu.hooks.bytes, 0);
}

TEST(newer_objects, "a newer program's option structs are taken when the unknown part is zero") {
    struct gpu gpu;
    struct unbind_vm_options vm_default = UNBIND_VM_OPTIONS_INIT;
    struct unbind_vma_options vma_default = UNBIND_VMA_OPTIONS_INIT;
    struct unbind_submit job_default = UNBIND_SUBMIT_INIT;
    struct newer_vm_options vm_options;
    struct newer_vma_options vma_options;
    struct newer_submit job;
    unbind_vm *vm = UNTOUCHED(unbind_vm);
    unbind_vma *vma = UNTOUCHED(unbind_vma);
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_queue *queue = make_queue(&gpu);
    SET_NEWER(vm_options, vm_default);
    SET_NEWER(vma_options, vma_default);
    SET_NEWER(job, job_default);
    vm_options.tail[0] = vma_options.tail[1] = job.tail[0] = 1;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &vm_options.known, &vm), -E2BIG);
    CHECK_EQUAL(unbind_vma_create(gpu.vm, bo, &vma_options.known, &vma), -E2BIG);
    CHECK_EQUAL(unbind_queue_submit(queue, &job.known, &fence), -E2BIG);
    CHECK(vm == UNTOUCHED(unbind_vm) && vma == UNTOUCHED(unbind_vma) && fence == UNTOUCHED(unbind_fence));
    vm_options.tail[0] = vma_options.tail[1] = job.tail[0] = 0;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &vm_options.known, &vm), 0);
    CHECK_EQUAL(unbind_vma_create(gpu.vm, bo, &vma_options.known, &vma), 0);
    CHECK_EQUAL(unbind_queue_submit(queue, &job.known, &fence), 0);
    CHECK_EQUAL(finish(fence), 0);
    unbind_vma_unref(vma);
    unbind_vm_unref(vm);
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(newer_placing, "a newer program's pins, evictions and views are taken when the unknown part is zero") {
    struct gpu gpu;
    struct unbind_pin_options pin_default = UNBIND_PIN_OPTIONS_INIT;
    struct unbind_evict_request evict_default = UNBIND_EVICT_REQUEST_INIT;
    struct unbind_view view_default = UNBIND_VIEW_INIT;
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    struct newer_pin_options pin;
    struct newer_evict_request evict;
    struct newer_view view;
    unbind_vma *vma = NULL, *part = UNTOUCHED(unbind_vma);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 2 * PAGE);
    REQUIRE(unbind_vma_create(gpu.vm, bo, NULL, &vma) == 0);
    view_default.type = UNBIND_VIEW_PARTIAL;
    view_default.size = PAGE;
    evict_default.size = PAGE;
    SET_NEWER(pin, pin_default);
    SET_NEWER(evict, evict_default);
    SET_NEWER(view, view_default);
    options.view = &view.known;
    pin.tail[0] = evict.tail[1] = view.tail[0] = 1;
    CHECK_EQUAL(unbind_vma_pin(vma, &pin.known), -E2BIG);
    CHECK_EQUAL(unbind_vm_evict_something(gpu.vm, &evict.known), -E2BIG);
    CHECK_EQUAL(unbind_vma_create(gpu.vm, bo, &options, &part), -E2BIG);
    CHECK(part == UNTOUCHED(unbind_vma));
    CHECK_EQUAL(unbind_vma_pin_count(vma), 0);
    pin.tail[0] = evict.tail[1] = view.tail[0] = 0;
    CHECK_EQUAL(unbind_vma_pin(vma, &pin.known), 0);
    CHECK_EQUAL(unbind_vm_evict_something(gpu.vm, &evict.known), 0);
    CHECK_EQUAL(unbind_vma_create(gpu.vm, bo, &options, &part), 0);
    CHECK_EQUAL(unbind_vma_size(part), PAGE);
    unbind_vma_unref(part);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(newer_stats, "a newer program's stats are filled and their unknown part stays zero") {
    struct gpu gpu;
    struct unbind_device_stats device_default = UNBIND_DEVICE_STATS_INIT;
    struct unbind_vm_stats vm_default = UNBIND_VM_STATS_INIT;
    struct unbind_page page_default = UNBIND_PAGE_INIT;
    struct newer_device_stats device;
    struct newer_vm_stats vm;
    struct newer_page page;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x7000);
    SET_NEWER(device, device_default);
    SET_NEWER(vm, vm_default);
    SET_NEWER(page, page_default);
    device.tail[0] = vm.tail[1] = page.tail[0] = 1;
    CHECK_EQUAL(unbind_device_get_stats(gpu.device, &device.known), -E2BIG);
    CHECK_EQUAL(unbind_vm_get_stats(gpu.vm, &vm.known), -E2BIG);
    CHECK_EQUAL(unbind_vm_find_page(gpu.vm, 0, &page.known), -E2BIG);
    CHECK(device.known.allocations == 0 && vm.known.bound == 0 && page.known.address == 0);
    device.tail[0] = vm.tail[1] = page.tail[0] = 0;
    CHECK_EQUAL(unbind_device_get_stats(gpu.device, &device.known), 0);
    CHECK_EQUAL(unbind_vm_get_stats(gpu.vm, &vm.known), 0);
    CHECK_EQUAL(unbind_vm_find_page(gpu.vm, 0, &page.known), 0);
    CHECK(device.known.allocations > 0 && vm.known.bound == 1 && page.known.address == 0x7000);
    CHECK_EQUAL(device.tail[0] | vm.tail[0] | page.tail[0], 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(newer_ranges, "a newer program's requests for a range are taken, and what it asks is filled as far as both go") {
    struct gpu gpu;
    struct unbind_range_zone zone = {0, 16 * PAGE, 0, 0};
    struct unbind_range_request request_default = UNBIND_RANGE_REQUEST_INIT;
    struct unbind_range_info info_default = UNBIND_RANGE_INFO_INIT, older;
    struct unbind_range_stats stats_default = UNBIND_RANGE_STATS_INIT;
    struct newer_range_request request;
    struct newer_range_info info;
    struct newer_range_stats stats;
    unbind_range_allocator *allocator = NULL;
    uint64_t address = 77;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    REQUIRE(unbind_range_allocator_create(gpu.device, &zone, 1, &allocator) == 0);
    request_default.size = PAGE;
    request_default.placement = UNBIND_RANGE_LOW;
    SET_NEWER(request, request_default);
    SET_NEWER(info, info_default);
    SET_NEWER(stats, stats_default);
    request.tail[0] = info.tail[1] = stats.tail[0] = 1;
    CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &request.known, &address, NULL), -E2BIG);
    CHECK_EQUAL(unbind_range_allocator_lookup(allocator, 0, &info.known), -E2BIG);
    CHECK_EQUAL(unbind_range_allocator_get_stats(allocator, 0, &stats.known), -E2BIG);
    CHECK(address == 77 && info.known.size == 0 && stats.known.size == 0);
    request.tail[0] = info.tail[1] = stats.tail[0] = 0;
    CHECK_EQUAL(unbind_range_allocator_reserve(allocator, &request.known, &address, NULL), 0);
    CHECK_EQUAL(unbind_range_allocator_lookup(allocator, 0, &info.known), 0);
    CHECK_EQUAL(unbind_range_allocator_get_stats(allocator, 0, &stats.known), 0);
    CHECK(info.known.size == PAGE && stats.known.used == 1 && info.known.struct_size == sizeof info);
    CHECK_EQUAL(info.tail[0] | info.tail[1] | stats.tail[0] | stats.tail[1], 0);
    memset(&older, 0xee, sizeof older);
    older.struct_size = offsetof(struct unbind_range_info, size);
    CHECK_EQUAL(unbind_range_allocator_lookup(allocator, 0, &older), 0);
    CHECK(older.state == UNBIND_RANGE_USED && older.size == UINT64_C(0xeeeeeeeeeeeeeeee));
    unbind_range_allocator_unref(allocator);
    gpu_close(&gpu);
}

TEST(hold_info, "a newer program's and an older one's hold info are filled as far as both go") {
    struct gpu gpu;
    struct unbind_hold_info empty = UNBIND_HOLD_INFO_INIT, older;
    struct newer_hold_info info;
    unbind_hold *hold = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x7000);
    REQUIRE(unbind_vma_hold(vma, &hold) == 0);
    SET_NEWER(info, empty);
    info.tail[1] = 1;
    CHECK_EQUAL(unbind_hold_get_info(hold, &info.known), -E2BIG);
    CHECK_EQUAL(info.known.address, 0);
    info.tail[1] = 0;
    CHECK_EQUAL(unbind_hold_get_info(hold, &info.known), 0);
    CHECK(info.known.address == 0x7000 && info.known.bo_id != 0 && info.known.struct_size == sizeof info);
    CHECK(info.tail[0] == 0 && info.tail[1] == 0);
    memset(&older, 0xee, sizeof older);
    older.struct_size = offsetof(struct unbind_hold_info, size);
    CHECK_EQUAL(unbind_hold_get_info(hold, &older), 0);
    CHECK(older.address == 0x7000 && older.size == UINT64_C(0xeeeeeeeeeeeeeeee));
    unbind_hold_unref(hold);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(older_stats, "an older program's short stats struct is filled as far as it goes and no further") {
    struct gpu gpu;
    struct unbind_vm_stats stats;
    struct unbind_device_stats device;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x7000);
    memset(&stats, 0xee, sizeof stats);
    stats.struct_size = offsetof(struct unbind_vm_stats, unbinds);
    CHECK_EQUAL(unbind_vm_get_stats(gpu.vm, &stats), 0);
    CHECK_EQUAL(stats.binds, 1);
    CHECK_EQUAL(stats.binds_waited, 0);
    CHECK(stats.unbinds == UINT64_C(0xeeeeeeeeeeeeeeee));
    CHECK_EQUAL(stats.struct_size, offsetof(struct unbind_vm_stats, unbinds));
    memset(&device, 0xee, sizeof device);
    device.struct_size = offsetof(struct unbind_device_stats, slab_allocations);
    CHECK_EQUAL(unbind_device_get_stats(gpu.device, &device), 0);
    CHECK(device.allocations > 0 && device.slab_allocations == UINT64_C(0xeeeeeeeeeeeeeeee));
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(older_options, "members that an older program's short struct lacks count as zero") {
    struct gpu gpu;
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    unbind_vm *vm = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    options.struct_size = offsetof(struct unbind_vm_options, size);
    options.size = 4097; /* not part of the struct as sent */
    options.page_sizes = 3;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &vm), 0);
    unbind_vm_unref(vm);
    gpu_close(&gpu);
}

TEST(stats_keep_size, "filling a struct leaves its size as the caller set it") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    CHECK_EQUAL(device_stats(gpu.device).struct_size, sizeof(struct unbind_device_stats));
    CHECK_EQUAL(vm_stats(gpu.vm).struct_size, sizeof(struct unbind_vm_stats));
    gpu_close(&gpu);
}
