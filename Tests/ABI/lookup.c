/* SPDX-License-Identifier: MIT */
/* Looking at an address: the mapping, the pending unbinds, the last operations; and the history behind them. */
#include "support.h"

enum { ROOM = 8 };

/* A lookup with room for some of everything. */
struct look {
    struct unbind_lookup at;
    struct unbind_pending_unbind unbinds[ROOM];
    struct unbind_operation operations[ROOM];
};

static void look(unbind_vm *vm, uint64_t address, struct look *look) {
    struct unbind_lookup empty = UNBIND_LOOKUP_INIT;
    memset(look, 0xee, sizeof *look);
    look->at = empty;
    look->at.unbinds = look->unbinds;
    look->at.operations = look->operations;
    look->at.unbind_capacity = look->at.operation_capacity = ROOM;
    CHECK_EQUAL(unbind_vm_lookup(vm, address, &look->at), 0);
}

static void check_nothing_bound(const struct look *look) {
    CHECK_EQUAL(look->at.state, UNBIND_VMA_UNBOUND);
    CHECK_EQUAL(look->at.pins | look->at.holds, 0);
    CHECK(look->at.start == 0 && look->at.size == 0 && look->at.bo_id == 0 && look->at.bo_offset == 0);
}

/* The operations, newest first, are these, all of one mapping. */
static void check_operations(const struct look *look, unsigned count, const uint32_t *types, uint64_t start,
                             uint64_t size, uint64_t bo_id) {
    CHECK_EQUAL(look->at.operation_count, count);
    for (unsigned i = 0; i < count && i < look->at.operation_count; i++) {
        const struct unbind_operation *operation = &look->operations[i];
        CHECK_EQUAL(operation->type, types[i]);
        CHECK_EQUAL(operation->reserved, 0);
        CHECK(operation->start == start && operation->size == size && operation->bo_id == bo_id);
        if (i) CHECK(operation->time_ns <= look->operations[i - 1].time_ns);
    }
}

TEST(mapping, "a lookup tells the mapping at every byte of it, and nothing beside it") {
    struct gpu gpu;
    struct look found;
    unbind_hold *hold = NULL;
    struct unbind_pin_options pin = UNBIND_PIN_OPTIONS_INIT;
    static const uint32_t steps[] = {UNBIND_OPERATION_BOUND};
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
    look(gpu.vm, 0x40000, &found);
    check_nothing_bound(&found);
    CHECK_EQUAL(found.at.operation_count | found.at.unbind_count | found.at.flags, 0);
    CHECK_EQUAL(unbind_vma_pin(vma, &pin), 0);
    CHECK_EQUAL(unbind_vma_pin(vma, &pin), 0);
    REQUIRE(unbind_vma_hold(vma, &hold) == 0);
    static const uint64_t inside[] = {0x40000, 0x40001, 0x42345, 0x43fff};
    for (unsigned i = 0; i < 4; i++) {
        look(gpu.vm, inside[i], &found);
        CHECK_EQUAL(found.at.struct_size, sizeof found.at);
        CHECK_EQUAL(found.at.state, UNBIND_VMA_BOUND);
        CHECK(found.at.start == 0x40000 && found.at.size == 4 * PAGE && found.at.bo_id == unbind_bo_id(bo));
        CHECK_EQUAL(found.at.bo_offset, inside[i] - 0x40000);
        CHECK_EQUAL(found.at.pins, 2);
        CHECK_EQUAL(found.at.holds, 1);
        CHECK_EQUAL(found.at.flags, 0);
        CHECK_EQUAL(found.at.unbind_count, 0);
        CHECK_EQUAL(found.at.event_count, 0);
        check_operations(&found, 1, steps, 0x40000, 4 * PAGE, unbind_bo_id(bo));
    }
    static const uint64_t outside[] = {0, 0x3ffff, 0x44000, UINT64_C(1) << 48, UINT64_MAX};
    for (unsigned i = 0; i < 5; i++) {
        look(gpu.vm, outside[i], &found);
        check_nothing_bound(&found);
        CHECK_EQUAL(found.at.operation_count | found.at.unbind_count | found.at.flags, 0);
    }
    unbind_hold_unref(hold);
    CHECK_EQUAL(unbind_vma_unpin(vma), 0);
    look(gpu.vm, 0x40000, &found);
    CHECK(found.at.pins == 1 && found.at.holds == 0);
    CHECK_EQUAL(unbind_vma_unpin(vma), 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(flags, "a lookup tells read-only, local, views with their padding, and guards") {
    struct gpu gpu;
    struct look found;
    struct unbind_view view = UNBIND_VIEW_INIT;
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_bo *bo = NULL;
    unbind_vma *part = NULL, *turned = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    REQUIRE(unbind_bo_create(gpu.device, 4 * PAGE, UNBIND_REGION_LOCAL, 0, &bo) == 0);
    view.type = UNBIND_VIEW_PARTIAL;
    view.offset = PAGE;
    view.size = 2 * PAGE;
    options.flags = UNBIND_VMA_FIXED | UNBIND_VMA_READ_ONLY;
    options.address = 0x40000;
    options.guard = 2 * PAGE;
    options.view = &view;
    REQUIRE(unbind_vma_create(gpu.vm, bo, &options, &part) == 0);
    REQUIRE(unbind_vma_bind(part, 0) == 0);
    look(gpu.vm, 0x41008, &found);
    CHECK_EQUAL(found.at.flags, UNBIND_LOOKUP_READ_ONLY | UNBIND_LOOKUP_LOCAL | UNBIND_LOOKUP_VIEW);
    CHECK(found.at.start == 0x40000 && found.at.size == 2 * PAGE);
    CHECK_EQUAL(found.at.bo_offset, 2 * PAGE + 8);
    static const uint64_t guards[] = {0x3e000, 0x3ffff, 0x42000, 0x43fff};
    for (unsigned i = 0; i < 4; i++) {
        look(gpu.vm, guards[i], &found);
        CHECK_EQUAL(found.at.flags, UNBIND_LOOKUP_GUARD);
        check_nothing_bound(&found);
        CHECK_EQUAL(found.at.operation_count, 0);
    }
    look(gpu.vm, 0x3dfff, &found);
    CHECK_EQUAL(found.at.flags, 0);
    view.type = UNBIND_VIEW_REMAPPED;
    view.offset = view.size = 0;
    view.plane_count = 1;
    view.planes[0].width = 1;
    view.planes[0].height = 2;
    view.planes[0].src_stride = 2;
    view.planes[0].dst_stride = 2;
    options.flags = UNBIND_VMA_FIXED;
    options.address = 0x80000;
    options.guard = 0;
    REQUIRE(unbind_vma_create(gpu.vm, bo, &options, &turned) == 0);
    REQUIRE(unbind_vma_bind(turned, 0) == 0);
    look(gpu.vm, 0x80010, &found);
    CHECK_EQUAL(found.at.flags, UNBIND_LOOKUP_LOCAL | UNBIND_LOOKUP_VIEW);
    CHECK_EQUAL(found.at.bo_offset, 0x10);
    look(gpu.vm, 0x81010, &found);
    CHECK(found.at.bo_offset == UNBIND_OFFSET_NONE && found.at.bo_id == unbind_bo_id(bo));
    look(gpu.vm, 0x82010, &found);
    CHECK_EQUAL(found.at.bo_offset, 2 * PAGE + 0x10);
    unbind_vma_unref(part);
    unbind_vma_unref(turned);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(pending, "a lookup follows an unbind from waiting for work over clearing to waiting for holds") {
    struct gpu gpu;
    struct look found;
    unbind_hold *hold = NULL;
    unbind_fence *unbound = NULL, *bound = NULL;
    static const uint32_t before[] = {UNBIND_OPERATION_UNBIND_SCHEDULED, UNBIND_OPERATION_BOUND};
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_vma *vma = bind_new(&gpu, 2 * PAGE, 0x40000);
    unbind_vma *other = NULL;
    unbind_bo *bo = make_bo(&gpu, PAGE);
    look(gpu.vm, 0x40000, &found);
    uint64_t first_id = found.at.bo_id;
    unbind_fence *users[2] = {make_fence(&gpu), make_fence(&gpu)};
    CHECK_EQUAL(unbind_vma_add_user(vma, users[0]), 0);
    CHECK_EQUAL(unbind_vma_add_user(vma, users[1]), 0);
    REQUIRE(unbind_vma_hold(vma, &hold) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
    other = make_vma(&gpu, bo, 0x41000);
    CHECK_EQUAL(unbind_vma_bind_async(other, 0, &bound), 0);
    look(gpu.vm, 0x40fff, &found);
    check_nothing_bound(&found);
    check_operations(&found, 2, before, 0x40000, 2 * PAGE, first_id);
    look(gpu.vm, 0x41000, &found); /* both: the new mapping, and the unbind that it waits for */
    CHECK_EQUAL(found.at.state, UNBIND_VMA_BINDING);
    CHECK(found.at.bo_id == unbind_bo_id(bo) && found.at.bo_offset == 0);
    CHECK_EQUAL(found.at.operation_count, 3);
    CHECK_EQUAL(found.operations[0].type, UNBIND_OPERATION_BIND_SCHEDULED);
    CHECK_EQUAL(found.operations[0].bo_id, unbind_bo_id(bo));
    CHECK_EQUAL(found.at.unbind_count, 1);
    CHECK_EQUAL(found.unbinds[0].awaits, UNBIND_AWAITS_WORK);
    CHECK_EQUAL(found.unbinds[0].count, 2);
    CHECK(found.unbinds[0].start == 0x40000 && found.unbinds[0].size == 2 * PAGE);
    CHECK_EQUAL(found.unbinds[0].bo_id, first_id);
    signal_and_drop(users[1]);
    look(gpu.vm, 0x41000, &found);
    CHECK(found.unbinds[0].awaits == UNBIND_AWAITS_WORK && found.unbinds[0].count == 1);
    signal_and_drop(users[0]);
    look(gpu.vm, 0x41000, &found);
    CHECK_EQUAL(found.at.unbind_count, 1);
    CHECK(found.unbinds[0].awaits == UNBIND_AWAITS_CLEARING && found.unbinds[0].count == 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    look(gpu.vm, 0x41000, &found);
    CHECK_EQUAL(found.at.state, UNBIND_VMA_BINDING);
    CHECK_EQUAL(found.at.unbind_count, 1);
    CHECK(found.unbinds[0].awaits == UNBIND_AWAITS_HOLDS && found.unbinds[0].count == 1);
    unbind_hold_unref(hold);
    CHECK_EQUAL(finish(bound), 0);
    look(gpu.vm, 0x41000, &found);
    CHECK_EQUAL(found.at.state, UNBIND_VMA_BOUND);
    CHECK_EQUAL(found.at.unbind_count, 0);
    CHECK_EQUAL(finish(unbound), 0);
    unbind_vma_unref(vma);
    unbind_vma_unref(other);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(many, "arrays that are too short are filled and the counts tell how many there are") {
    enum { TIMES = 20 };
    struct gpu gpu;
    struct look found;
    unbind_vma *vmas[TIMES];
    unbind_fence *users[TIMES];
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    for (unsigned i = 0; i < TIMES; i++) {
        unbind_bo *bo = make_bo(&gpu, PAGE);
        vmas[i] = make_vma(&gpu, bo, 0x40000);
        users[i] = make_fence(&gpu);
        unbind_bo_unref(bo);
        CHECK_EQUAL(unbind_vma_bind_async(vmas[i], 0, NULL), 0);
        CHECK_EQUAL(unbind_vma_add_user(vmas[i], users[i]), 0);
        CHECK_EQUAL(unbind_vma_unbind_async(vmas[i], 0, NULL), 0);
    }
    look(gpu.vm, 0x40000, &found);
    CHECK_EQUAL(found.at.unbind_count, TIMES);
    CHECK_EQUAL(found.at.operation_count, 2 * TIMES);
    for (unsigned i = 0; i < ROOM; i++) {
        for (unsigned j = 0; j < i; j++) CHECK(found.unbinds[i].order != found.unbinds[j].order);
        CHECK(found.unbinds[i].start == 0x40000 && found.unbinds[i].size == PAGE);
    }
    found.at.unbind_capacity = 2;
    found.at.operation_capacity = 3;
    memset(found.unbinds, 0xee, sizeof found.unbinds);
    memset(found.operations, 0xee, sizeof found.operations);
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x40000, &found.at), 0);
    CHECK(found.at.unbind_count == TIMES && found.at.operation_count == 2 * TIMES);
    CHECK(found.unbinds[1].start == 0x40000 && found.unbinds[2].start == UINT64_C(0xeeeeeeeeeeeeeeee));
    CHECK(found.operations[2].start == 0x40000 && found.operations[3].start == UINT64_C(0xeeeeeeeeeeeeeeee));
    found.at.unbinds = NULL;
    found.at.operations = NULL;
    found.at.unbind_capacity = found.at.operation_capacity = 0;
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x40000, &found.at), 0);
    CHECK_EQUAL(found.at.unbind_count, TIMES);
    CHECK_EQUAL(found.at.operation_count, 0); /* the history was not read */
    for (unsigned i = 0; i < TIMES; i++) signal_and_drop(users[i]);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    look(gpu.vm, 0x40000, &found);
    CHECK_EQUAL(found.at.unbind_count, 0);
    for (unsigned i = 0; i < TIMES; i++) unbind_vma_unref(vmas[i]);
    gpu_close(&gpu);
}

TEST(refused, "a lookup refuses bad arguments and changes nothing then") {
    struct gpu gpu;
    struct unbind_lookup found = UNBIND_LOOKUP_INIT;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x40000);
    CHECK_EQUAL(unbind_vm_lookup(NULL, 0x40000, &found), -EINVAL);
    CHECK_EQUAL(unbind_vm_lookup((unbind_vm *)(void *)vma, 0x40000, &found), -EINVAL);
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x40000, NULL), -EINVAL);
    found.unbind_capacity = 1;
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x40000, &found), -EINVAL);
    found.unbind_capacity = 0;
    found.operation_capacity = 1;
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x40000, &found), -EINVAL);
    found.operation_capacity = 0;
    found.struct_size = 2;
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x40000, &found), -EINVAL);
    found.struct_size = 8192;
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x40000, &found), -E2BIG);
    CHECK_EQUAL(found.bo_id, 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(closed, "a closed address space has its history still") {
    struct gpu gpu;
    struct look found;
    static const uint32_t steps[] = {UNBIND_OPERATION_UNBIND_COMPLETED, UNBIND_OPERATION_BOUND};
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    CHECK_EQUAL(unbind_vm_close(gpu.vm), 0);
    look(gpu.vm, 0x40000, &found);
    check_nothing_bound(&found);
    check_operations(&found, 2, steps, 0x40000, PAGE, unbind_bo_id(bo));
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

static unbind_vm *vm_with_history(struct gpu *gpu, uint32_t flags, uint32_t records) {
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    unbind_vm *vm = NULL;
    options.flags = flags;
    options.history_records = records;
    REQUIRE(unbind_vm_create(gpu->device, &options, &vm) == 0);
    return vm;
}

TEST(history_size, "a history remembers as many operations as it was made for, the newest ones") {
    static const uint32_t sizes[] = {1, 2, 5, 64, 300};
    struct unbind_operation operations[400];
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    for (unsigned s = 0; s < 5; s++) {
        unbind_vm *vm = vm_with_history(&gpu, 0, sizes[s]), *first = gpu.vm;
        struct unbind_lookup found = UNBIND_LOOKUP_INIT;
        gpu.vm = vm;
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
        found.operations = operations;
        found.operation_capacity = 400;
        for (unsigned i = 0; i < 180; i++) { /* two operations each */
            CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
            CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
            if (i % 16 && i < 170) continue;
            uint32_t made = 2 * (i + 1), expected = made < sizes[s] ? made : sizes[s];
            CHECK_EQUAL(unbind_vm_lookup(vm, 0x40000, &found), 0);
            CHECK_EQUAL(found.operation_count, expected);
            for (uint32_t n = 0; n < found.operation_count; n++) {
                uint32_t type = n % 2 ? UNBIND_OPERATION_BOUND : UNBIND_OPERATION_UNBIND_COMPLETED;
                CHECK_EQUAL(operations[n].type, type);
                if (n) CHECK(operations[n].time_ns <= operations[n - 1].time_ns);
            }
        }
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        unbind_vm_unref(vm);
        gpu.vm = first;
    }
    gpu_close(&gpu);
}

TEST(history_memory, "the size of a history is what it takes of the allocator, and none takes next to nothing") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    uint64_t before = device_stats(gpu.device).bytes_allocated;
    unbind_vm *none = vm_with_history(&gpu, UNBIND_VM_NO_HISTORY, 0);
    uint64_t bare = device_stats(gpu.device).bytes_allocated - before;
    before = device_stats(gpu.device).bytes_allocated;
    unbind_vm *standard = vm_with_history(&gpu, 0, 0);
    CHECK_EQUAL(device_stats(gpu.device).bytes_allocated - before - bare, 4095 * 32);
    before = device_stats(gpu.device).bytes_allocated;
    unbind_vm *large = vm_with_history(&gpu, 0, 1u << 20);
    CHECK_EQUAL(device_stats(gpu.device).bytes_allocated - before - bare, ((1u << 20) - 1) * 32);
    unbind_vm_unref(none);
    unbind_vm_unref(standard);
    unbind_vm_unref(large);
    gpu_close(&gpu);
}

struct text {
    char bytes[8192];
    size_t length;
};

static void collect(void *user_data, const char *piece, size_t length) {
    struct text *text = (struct text *)user_data;
    REQUIRE(text->length + length < sizeof text->bytes);
    memcpy(text->bytes + text->length, piece, length);
    text->length += length;
    text->bytes[text->length] = 0;
}

TEST(no_history, "an address space without a history has all but operations, also in faults and dumps") {
    struct gpu gpu;
    struct look found;
    struct text text = {"", 0};
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vm *first = gpu.vm;
    gpu.vm = vm_with_history(&gpu, UNBIND_VM_NO_HISTORY, 0);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x40000);
    look(gpu.vm, 0x40008, &found);
    CHECK(found.at.state == UNBIND_VMA_BOUND && found.at.bo_offset == 8);
    CHECK_EQUAL(found.at.operation_count, 0);
    CHECK_EQUAL(unbind_vm_dump(gpu.vm, collect, &text), 0);
    CHECK(strstr(text.bytes, "0x40000..0x41000") && strstr(text.bytes, "no history"));
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    uint64_t value;
    struct unbind_command load = command_load(0x40000, &value);
    unbind_fence *fence = NULL;
    REQUIRE(submit(queue, &load, 1, NULL, NULL, &fence) == 0);
    CHECK_EQUAL(finish(fence), -EFAULT);
    CHECK(gpu.fault.last_bo_id == 0 && gpu.fault.operation_count == 0);
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    unbind_vm_unref(gpu.vm);
    gpu.vm = first;
    gpu_close(&gpu);
}

TEST(history_options, "a history that is too large, or none of some size, is refused") {
    struct gpu gpu;
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    unbind_vm *vm = UNTOUCHED(unbind_vm);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    options.history_records = (1u << 20) + 1;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &vm), -EINVAL);
    options.history_records = 1;
    options.flags = UNBIND_VM_NO_HISTORY;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &vm), -EINVAL);
    options.flags = 0;
    options.reserved2 = 1;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &vm), -EINVAL);
    CHECK(vm == UNTOUCHED(unbind_vm));
    /* An older program's struct ends before the history: it gets the default, whatever lies behind. */
    options.struct_size = offsetof(struct unbind_vm_options, history_records);
    options.history_records = UINT32_MAX;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &vm), 0);
    unbind_vm_unref(vm);
    gpu_close(&gpu);
}

TEST(dump, "a dump tells pins, holds, views and what a pending unbind waits for") {
    struct gpu gpu;
    struct text text = {"", 0};
    unbind_hold *hold = NULL;
    struct unbind_view view = UNBIND_VIEW_INIT;
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *part = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
    CHECK_EQUAL(unbind_vma_pin(vma, NULL), 0);
    CHECK_EQUAL(unbind_vma_pin(vma, NULL), 0);
    REQUIRE(unbind_vma_hold(vma, &hold) == 0);
    view.type = UNBIND_VIEW_PARTIAL;
    view.size = PAGE;
    options.flags = UNBIND_VMA_FIXED | UNBIND_VMA_READ_ONLY;
    options.address = 0x80000;
    options.view = &view;
    REQUIRE(unbind_vma_create(gpu.vm, bo, &options, &part) == 0);
    REQUIRE(unbind_vma_bind(part, 0) == 0);
    unbind_vma *going = bind_new(&gpu, PAGE, 0xc0000);
    unbind_fence *user = make_fence(&gpu);
    CHECK_EQUAL(unbind_vma_add_user(going, user), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(going, 0, NULL), 0);
    CHECK_EQUAL(unbind_vm_dump(gpu.vm, collect, &text), 0);
    CHECK(strstr(text.bytes, "  bound 0x40000..0x44000 buffer 1, pins 2, holds 1\n"));
    CHECK(strstr(text.bytes, "  bound 0x80000..0x81000 buffer 1, view of a part, read-only\n"));
    CHECK(strstr(text.bytes, "  unbind waiting for GPU work 0xc0000..0xc1000 buffer 2, fences 1\n"));
    signal_and_drop(user);
    unbind_hold_unref(hold);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    unbind_vma_unref(vma);
    unbind_vma_unref(part);
    unbind_vma_unref(going);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* MARK: faults */

struct told {
    struct unbind_fault fault;
    struct unbind_operation operations[16];
    unsigned count;
};

static void tell(void *user_data, const struct unbind_fault *fault) {
    struct told *told = (struct told *)user_data;
    REQUIRE(fault->struct_size == sizeof *fault && fault->operation_count <= 16);
    told->fault = *fault;
    memcpy(told->operations, fault->operations, fault->operation_count * sizeof told->operations[0]);
    told->count++;
}

TEST(faults, "a fault tells what is bound there now, the offset in the buffer, and the last operations") {
    struct gpu gpu;
    struct told told;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    struct unbind_vma_options at = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma = NULL;
    unbind_fence *fence = NULL;
    memset(&told, 0, sizeof told);
    options.fault = tell;
    options.fault_data = &told;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    unbind_queue *queue = make_queue(&gpu);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    at.flags = UNBIND_VMA_FIXED | UNBIND_VMA_READ_ONLY;
    at.address = 0x40000;
    REQUIRE(unbind_vma_create(gpu.vm, bo, &at, &vma) == 0);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    struct unbind_command store = command_store(0x42010, 1);
    REQUIRE(submit(queue, &store, 1, vma, NULL, &fence) == 0);
    CHECK_EQUAL(finish(fence), -EFAULT);
    CHECK_EQUAL(told.count, 1);
    CHECK_EQUAL(told.fault.bound_bo_id, unbind_bo_id(bo));
    CHECK(told.fault.bound_start == 0x40000 && told.fault.bound_size == 4 * PAGE);
    CHECK_EQUAL(told.fault.bound_offset, 0x2010);
    CHECK_EQUAL(told.fault.last_offset, 0x2010);
    CHECK_EQUAL(told.fault.bound_state, UNBIND_VMA_BOUND);
    CHECK_EQUAL(told.fault.bound_flags, UNBIND_LOOKUP_READ_ONLY);
    CHECK_EQUAL(told.fault.pending_unbinds, 0);
    CHECK_EQUAL(told.fault.operation_count, 1);
    CHECK_EQUAL(told.operations[0].type, UNBIND_OPERATION_BOUND);
    for (unsigned i = 0; i < 20; i++) {
        CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
        if (i < 19) CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    }
    struct unbind_command load = command_load(0x41008, &told.fault.time_ns);
    REQUIRE(submit(queue, &load, 1, NULL, NULL, &fence) == 0);
    CHECK_EQUAL(finish(fence), -EFAULT);
    CHECK_EQUAL(told.count, 2);
    CHECK(told.fault.bound_bo_id == 0 && told.fault.bound_offset == 0 && told.fault.bound_flags == 0);
    CHECK_EQUAL(told.fault.bound_state, UNBIND_VMA_UNBOUND);
    CHECK_EQUAL(told.fault.last_offset, 0x1008);
    CHECK_EQUAL(told.fault.operation_count, 16);
    for (unsigned i = 0; i < 16; i++) {
        CHECK_EQUAL(told.operations[i].type, i % 2 ? UNBIND_OPERATION_BOUND : UNBIND_OPERATION_UNBIND_COMPLETED);
        CHECK_EQUAL(told.operations[i].bo_id, unbind_bo_id(bo));
    }
    /* An unbind that waits, and a job that does not list what it uses: no fault yet, one after it. */
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    unbind_fence *user = make_fence(&gpu), *gate = make_fence(&gpu);
    CHECK_EQUAL(unbind_vma_add_user(vma, user), 0);
    struct unbind_command write[2] = {command_wait(gate), command_store(0x40008, 1)};
    REQUIRE(submit(queue, write, 2, NULL, NULL, &fence) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(fence), -EFAULT); /* read-only still */
    CHECK_EQUAL(told.fault.kind, UNBIND_FAULT_READ_ONLY);
    CHECK_EQUAL(told.fault.pending_unbinds, 1);
    CHECK_EQUAL(told.fault.bound_bo_id, 0);
    CHECK_EQUAL(told.operations[0].type, UNBIND_OPERATION_UNBIND_SCHEDULED);
    signal_and_drop(user);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(sizes, "a newer program's and an older one's lookup are filled as far as both go") {
    struct gpu gpu;
    struct {
        struct unbind_lookup known;
        uint64_t tail[2];
    } newer;
    struct unbind_lookup empty = UNBIND_LOOKUP_INIT, older;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x7000);
    memset(&newer, 0, sizeof newer);
    newer.known = empty;
    newer.known.struct_size = sizeof newer;
    newer.tail[1] = 1;
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x7000, &newer.known), -E2BIG);
    CHECK_EQUAL(newer.known.bo_id, 0);
    newer.tail[1] = 0;
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x7000, &newer.known), 0);
    CHECK(newer.known.start == 0x7000 && newer.known.struct_size == sizeof newer);
    CHECK(newer.tail[0] == 0 && newer.tail[1] == 0);
    older = empty;
    older.struct_size = offsetof(struct unbind_lookup, size);
    older.size = older.bo_id = UINT64_C(0xeeeeeeeeeeeeeeee);
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x7000, &older), 0);
    CHECK(older.start == 0x7000 && older.state == UNBIND_VMA_BOUND);
    CHECK(older.size == UINT64_C(0xeeeeeeeeeeeeeeee) && older.bo_id == UINT64_C(0xeeeeeeeeeeeeeeee));
    older.struct_size = 4;
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0, &older), 0);
    CHECK_EQUAL(older.start, 0x7000);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}
