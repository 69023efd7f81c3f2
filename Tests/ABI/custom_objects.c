/* SPDX-License-Identifier: MIT */
/* A backend of the program's own: what it makes and cannot do, policies and eviction on it, many threads at once. */
#include "toy_backend.h"

static void open_manual(struct toy *toy, uint64_t without) {
    toy_init(toy, TOY_AT_ONCE);
    toy->ops.capabilities &= ~without;
    toy_open(toy, UNBIND_EXECUTOR_MANUAL);
}

TEST(refused_calls, "what a custom backend does not have is refused and changes nothing") {
    struct toy toy;
    struct unbind_page page = UNBIND_PAGE_INIT;
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    unbind_vm *vm = UNTOUCHED(unbind_vm);
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    unbind_queue *queue = UNTOUCHED(unbind_queue);
    toy_init(&toy, TOY_AT_ONCE);
    toy.ops.queue_create = NULL;
    toy.ops.queue_destroy = NULL;
    toy.ops.submit = NULL;
    toy.ops.copy = NULL;
    toy.ops.capabilities &= ~UNBIND_CAP_EXPLICIT_UNBIND;
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&toy.gpu, PAGE);
    unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY), 0);
    CHECK_EQUAL(toy.vm->pages[0x10].flags, UNBIND_BACKEND_READ_ONLY);
    CHECK(!(unbind_device_capabilities(toy.gpu.device) & (UNBIND_CAP_MIGRATION | UNBIND_CAP_SUSPEND)));
    CHECK_EQUAL(toy.gpu.messages, 0);
    CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_vm_find_page(toy.gpu.vm, 0, &page), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, &fence), -EOPNOTSUPP);
    CHECK_EQUAL(toy.gpu.messages, 3); /* each of these says why */
    CHECK_EQUAL(unbind_vma_bind(vma, 0), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &fence), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_device_fail_next(toy.gpu.device, UNBIND_FAIL_COPY, 1), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_queue_create(toy.gpu.vm, 0, &queue), -EOPNOTSUPP);
    options.flags = UNBIND_VM_GLOBAL;
    CHECK_EQUAL(unbind_vm_create(toy.gpu.device, &options, &vm), -EOPNOTSUPP);
    options.flags = UNBIND_VM_IPS;
    CHECK(unbind_vm_create(toy.gpu.device, &options, &vm) < 0);
    options.flags = 0;
    options.size = (TOY_PAGES + 1) * PAGE;
    CHECK_EQUAL(unbind_vm_create(toy.gpu.device, &options, &vm), -EINVAL);
    options.size = 0;
    options.page_sizes = UNBIND_PAGE_SIZE_64K;
    CHECK_EQUAL(unbind_vm_create(toy.gpu.device, &options, &vm), -EINVAL);
    CHECK(vm == UNTOUCHED(unbind_vm) && fence == UNTOUCHED(unbind_fence) && queue == UNTOUCHED(unbind_queue));
    CHECK(toy.updates == 1 && toy.vms == 1 && toy.mapped == 1);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    toy_close(&toy);
}

TEST(without_capabilities, "without a capability the functions that need it refuse") {
    struct toy toy;
    unbind_bo *bo = UNTOUCHED(unbind_bo);
    void *memory = NULL;
    REQUIRE(posix_memalign(&memory, PAGE, PAGE) == 0);
    open_manual(&toy, UNBIND_CAP_READ_ONLY | UNBIND_CAP_USER_MEMORY | UNBIND_CAP_LOCAL_MEMORY);
    CHECK_EQUAL(unbind_bo_create(toy.gpu.device, PAGE, UNBIND_REGION_LOCAL, 0, &bo), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_bo_wrap(toy.gpu.device, memory, PAGE, NULL, NULL, &bo), -EOPNOTSUPP);
    CHECK(bo == UNTOUCHED(unbind_bo) && toy.bos == 0);
    bo = make_bo(&toy.gpu, PAGE);
    unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_vma_bind_async(vma, UNBIND_BIND_READ_ONLY, NULL), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    toy_close(&toy);
    free(memory);
}

TEST(one_place, "without aliasing a buffer is at one place of a VM, also while its unbind is pending") {
    struct toy toy;
    open_manual(&toy, UNBIND_CAP_ALIASING);
    unbind_bo *bo = make_bo(&toy.gpu, PAGE);
    unbind_vma *first = make_vma(&toy.gpu, bo, 0x10000), *second = make_vma(&toy.gpu, bo, 0x40000);
    unbind_fence *work = make_fence(&toy.gpu), *bound = NULL;
    CHECK_EQUAL(unbind_vma_bind(first, 0), 0);
    CHECK_EQUAL(unbind_vma_bind(second, 0), -EOPNOTSUPP);
    CHECK_EQUAL(unbind_vma_add_user(first, work), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(first, 0, NULL), 0);
    REQUIRE(unbind_vma_bind_async(second, 0, &bound) == 0);
    toy_idle(&toy);
    CHECK(toy_look(toy.vm, 0x10000) && !toy_look(toy.vm, 0x40000));
    signal_and_drop(work);
    CHECK_EQUAL(finish(bound), 0);
    CHECK(!toy_look(toy.vm, 0x10000) && toy_look(toy.vm, 0x40000));
    /* Moved by a pin. */
    struct unbind_pin_options pin = UNBIND_PIN_OPTIONS_INIT;
    unbind_vma *moving = NULL;
    unbind_bo *other = make_bo(&toy.gpu, PAGE);
    REQUIRE(unbind_vma_create(toy.gpu.vm, other, NULL, &moving) == 0);
    CHECK_EQUAL(unbind_vma_bind(moving, 0), 0);
    CHECK_EQUAL(unbind_vma_address(moving), 0);
    pin.flags = UNBIND_PIN_FIXED;
    pin.address = 0x80000;
    CHECK_EQUAL(unbind_vma_pin(moving, &pin), 0);
    CHECK(toy_look(toy.vm, 0x80000) && !toy_look(toy.vm, 0));
    unbind_vma_unref(moving);
    unbind_bo_unref(other);
    unbind_vma_unref(first);
    unbind_vma_unref(second);
    unbind_bo_unref(bo);
    toy_close(&toy);
}

static int released;
static void note_release(void *user_data, void *memory) {
    CHECK(user_data == &released && memory != NULL);
    released++;
}

TEST(buffers, "a backend's buffers have the limits, errors and end that others have") {
    struct toy toy;
    unbind_bo *bo = UNTOUCHED(unbind_bo), *wrapped = NULL;
    void *memory = NULL;
    REQUIRE(posix_memalign(&memory, PAGE, PAGE) == 0);
    open_manual(&toy, 0);
    toy_fail(&toy, TOY_BO_CREATE, -ENOSPC, 1);
    CHECK_EQUAL(unbind_bo_create(toy.gpu.device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo), -ENOSPC);
    toy_fail(&toy, TOY_BO_WRAP, -ENOMEM, 1);
    CHECK_EQUAL(unbind_bo_wrap(toy.gpu.device, memory, PAGE, note_release, &released, &bo), -ENOMEM);
    CHECK_EQUAL(unbind_bo_create(toy.gpu.device, 65 * MIB, UNBIND_REGION_LOCAL, 0, &bo), -ENOMEM);
    CHECK_EQUAL(unbind_bo_create(toy.gpu.device, UINT64_C(1) << 40, UNBIND_REGION_SYSTEM, 0, &bo), -ENOMEM);
    CHECK(bo == UNTOUCHED(unbind_bo));
    REQUIRE(unbind_bo_create(toy.gpu.device, 63 * MIB, UNBIND_REGION_LOCAL, 0, &bo) == 0);
    CHECK_EQUAL(unbind_bo_region(bo), UNBIND_REGION_LOCAL);
    CHECK_EQUAL(*(char *)unbind_bo_cpu_pointer(bo), 0);
    CHECK_EQUAL(device_stats(toy.gpu.device).local_bytes, 63 * MIB);
    unbind_bo_unref(bo);
    CHECK_EQUAL(device_stats(toy.gpu.device).local_bytes, 0);
    REQUIRE(unbind_bo_wrap(toy.gpu.device, memory, PAGE, note_release, &released, &wrapped) == 0);
    CHECK(unbind_bo_cpu_pointer(wrapped) == memory);
    CHECK_EQUAL(device_stats(toy.gpu.device).system_bytes, 0);
    unbind_vma *vma = make_vma(&toy.gpu, wrapped, 0x10000);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    unbind_bo_unref(wrapped);
    unbind_vma_unref(vma);
    CHECK_EQUAL(released, 0);
    toy_idle(&toy);
    CHECK_EQUAL(released, 1);
    toy_close(&toy);
    free(memory);
}

TEST(vms, "an address space that the backend cannot make is not there") {
    static const int errors[3] = {-ENOMEM, -EOPNOTSUPP, -EINVAL};
    struct toy toy;
    unbind_vm *vm = UNTOUCHED(unbind_vm);
    open_manual(&toy, 0);
    for (unsigned i = 0; i < 3; i++) {
        toy_fail(&toy, TOY_VM_CREATE, errors[i], 1);
        CHECK_EQUAL(unbind_vm_create(toy.gpu.device, NULL, &vm), errors[i]);
    }
    CHECK(vm == UNTOUCHED(unbind_vm) && toy.vms == 1);
    toy_close(&toy);
}

TEST(holds, "a held binding of a backend's buffer can be read, and delays its unbind") {
    struct toy toy;
    unbind_hold *hold = NULL;
    char byte = 0;
    open_manual(&toy, 0);
    unbind_bo *bo = make_bo(&toy.gpu, PAGE);
    unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
    ((char *)unbind_bo_cpu_pointer(bo))[5] = 77;
    unbind_bo_unref(bo);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    REQUIRE(unbind_vma_hold(vma, &hold) == 0);
    unbind_fence *unbound = NULL;
    REQUIRE(unbind_vma_unbind_async(vma, 0, &unbound) == 0);
    toy_idle(&toy);
    CHECK(toy.mapped == 0 && !unbind_fence_is_signaled(unbound));
    CHECK_EQUAL(unbind_hold_read(hold, 5, &byte, 1), 0);
    CHECK_EQUAL(byte, 77);
    unbind_hold_unref(hold);
    CHECK_EQUAL(finish(unbound), 0);
    unbind_vma_unref(vma);
    toy_close(&toy);
}

TEST(policies, "every dependency policy works on a backend that completes later") {
    for (uint32_t policy = 0; policy < 3; policy++) {
        for (int pooled = 0; pooled < 2; pooled++) {
            struct toy toy;
            unbind_vma *vmas[16];
            toy_init(&toy, TOY_BY_THREAD);
            toy_open_policy(&toy, pooled ? UNBIND_EXECUTOR_POOL : UNBIND_EXECUTOR_MANUAL, policy);
            unbind_bo *bo = make_bo(&toy.gpu, 4 * PAGE);
            for (unsigned i = 0; i < 16; i++) vmas[i] = make_vma(&toy.gpu, bo, (i % 5) * 2 * PAGE);
            for (unsigned round = 0; round < 200; round++) {
                unbind_vma *vma = vmas[round * 7 % 16];
                int status = unbind_vma_bind_async(vma, 0, NULL);
                CHECK(status == 0 || status == -ENOSPC);
                if (round % 2) CHECK_EQUAL(unbind_vma_unbind_async(vmas[round * 5 % 16], 0, NULL), 0);
                if (status == -ENOSPC) CHECK_EQUAL(unbind_vm_evict_all(toy.gpu.vm, UNBIND_EVICT_ASYNC), 0);
            }
            for (unsigned i = 0; i < 16; i++) unbind_vma_unref(vmas[i]);
            unbind_bo_unref(bo);
            toy_close(&toy);
        }
    }
}

TEST(eviction, "a bind that takes the room of others is mapped when they are unmapped") {
    struct toy toy;
    unbind_fence *bound = NULL;
    open_manual(&toy, 0);
    unbind_vma *first = bind_new(&toy.gpu, TOY_PAGES / 2 * PAGE, 0);
    unbind_vma *second = bind_new(&toy.gpu, TOY_PAGES / 2 * PAGE, TOY_PAGES / 2 * PAGE);
    unbind_bo *bo = make_bo(&toy.gpu, PAGE);
    unbind_vma *third = make_vma(&toy.gpu, bo, 0x10000);
    unbind_bo_unref(bo);
    toy.mode = TOY_BY_HAND;
    CHECK_EQUAL(unbind_vma_bind_async(third, 0, &bound), -ENOSPC);
    REQUIRE(unbind_vma_bind_async(third, UNBIND_BIND_EVICT, &bound) == 0);
    toy_idle(&toy);
    while (toy_complete(&toy)) toy_idle(&toy);
    CHECK_EQUAL(finish(bound), 0);
    CHECK_EQUAL(toy.mapped, TOY_PAGES / 2 + 1);
    CHECK_EQUAL(unbind_vma_state(first), UNBIND_VMA_UNBOUND);
    toy.mode = TOY_AT_ONCE;
    unbind_vma_unref(first);
    unbind_vma_unref(second);
    unbind_vma_unref(third);
    toy_close(&toy);
}

struct stressed {
    struct toy *toy;
    unsigned seed, rounds;
};

static void *stress(void *argument) {
    struct stressed *stressed = (struct stressed *)argument;
    struct toy *toy = stressed->toy;
    unsigned random = stressed->seed;
    unbind_bo *bo = make_bo(&toy->gpu, 8 * PAGE);
    for (unsigned round = 0; round < stressed->rounds; round++) {
        random = random * 1103515245u + 12345u;
        unbind_vma *vma = make_vma(&toy->gpu, bo, (random >> 16) % 64 * PAGE);
        int status = random & 256 ? unbind_vma_bind(vma, 0) : unbind_vma_bind_async(vma, 0, NULL);
        /* Taken by another thread, or one of the failures made below. */
        CHECK(status == 0 || status == -ENOSPC || status == -ENODATA);
        if (random & 512) {
            unbind_fence *fence = NULL;
            CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fence), 0);
            if (random & 1024) CHECK_EQUAL(finish(fence), 0);
            else unbind_fence_unref(fence);
        }
        unbind_vma_unref(vma);
        if (random & 2048) toy_fail(toy, TOY_UNMAP, -EAGAIN, 1);
        if ((random & 0xf000) == 0) toy_fail(toy, TOY_MAP, -ENODATA, 1);
    }
    unbind_bo_unref(bo);
    return NULL;
}

TEST(threads, "many threads bind and unbind overlapping ranges while others complete them") {
    static const enum toy_mode modes[3] = {TOY_AT_ONCE, TOY_BEFORE_RETURN, TOY_BY_THREAD};
    for (unsigned i = 0; i < 3; i++) {
        struct toy toy;
        pthread_t threads[4];
        struct stressed stressed[4];
        toy_init(&toy, modes[i]);
        if (i == 1) toy.ops.invalidate = NULL;
        toy.ops.max_ranges = i == 2 ? 3 : 0;
        toy_open(&toy, UNBIND_EXECUTOR_POOL);
        for (unsigned j = 0; j < 4; j++) {
            stressed[j].toy = &toy;
            stressed[j].seed = 17 * i + j;
            stressed[j].rounds = getenv("UNDER_VALGRIND") ? 50 : 1000;
            REQUIRE(pthread_create(&threads[j], NULL, stress, &stressed[j]) == 0);
        }
        for (unsigned j = 0; j < 4; j++) pthread_join(threads[j], NULL);
        toy_idle(&toy);
        toy_close(&toy);
        CHECK_EQUAL(toy.mapped, 0);
        CHECK_EQUAL(toy.gpu.messages, 0);
    }
}
