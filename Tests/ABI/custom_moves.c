/* SPDX-License-Identifier: MIT */
/* Moving buffers on a backend of the program's own: what its copies wait for, and what waits for them. */
#include "toy_backend.h"

#define NO_CPU_COPY UNBIND_BO_MIGRATE_NO_CPU_COPY

static void fill_pattern(unbind_bo *bo, uint32_t seed) {
    uint32_t *words = (uint32_t *)unbind_bo_cpu_pointer(bo);
    for (uint64_t i = 0; i < unbind_bo_size(bo) / 4; i++) words[i] = seed + (uint32_t)i * 2654435761u;
}

static void check_pattern(unbind_bo *bo, uint32_t seed) {
    const uint32_t *words = (const uint32_t *)unbind_bo_cpu_pointer(bo);
    for (uint64_t i = 0; i < unbind_bo_size(bo) / 4; i++) {
        if (words[i] == seed + (uint32_t)i * 2654435761u) continue;
        CHECK_EQUAL(words[i], seed + (uint32_t)i * 2654435761u);
        return;
    }
}

static unbind_fence *move(unbind_bo *bo, uint32_t region, uint32_t flags) {
    unbind_fence *fence = NULL;
    CHECK_EQUAL(unbind_bo_migrate(bo, region, flags, &fence), 0);
    return fence;
}

TEST(keeps_bytes, "a backend copies what is moved, and the old memory goes; a bind shows the new one") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        uint64_t loaded = 0;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        CHECK(unbind_device_capabilities(toy.gpu.device) & UNBIND_CAP_MIGRATION);
        unbind_bo *bo = make_bo(&toy.gpu, 5 * PAGE);
        unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
        unbind_queue *queue = make_queue(&toy.gpu);
        fill_pattern(bo, 3);
        for (uint32_t hop = 1; hop <= 4; hop++) {
            unbind_fence *done = NULL;
            struct unbind_command load = command_load(0x10000 + 4 * PAGE, &loaded);
            REQUIRE(unbind_vma_bind(vma, 0) == 0);
            CHECK_EQUAL(finish(move(bo, hop % 2, 0)), 0);
            CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_UNBOUND);
            CHECK_EQUAL(unbind_bo_region(bo), hop % 2);
            CHECK_EQUAL(toy.calls[TOY_COPY], hop);
            check_pattern(bo, 3);
            toy_idle(&toy);
            CHECK_EQUAL(toy.bos, 1);
            CHECK_EQUAL(device_stats(toy.gpu.device).local_bytes, hop % 2 ? 5 * PAGE : 0);
            CHECK_EQUAL(device_stats(toy.gpu.device).system_bytes, hop % 2 ? 0 : 5 * PAGE);
            REQUIRE(unbind_vma_bind(vma, 0) == 0);
            CHECK(toy_look(toy.vm, 0x10000)->memory == unbind_bo_cpu_pointer(bo));
            REQUIRE(submit(queue, &load, 1, vma, NULL, &done) == 0);
            CHECK_EQUAL(finish(done), 0);
            CHECK_EQUAL(loaded, ((const uint64_t *)unbind_bo_cpu_pointer(bo))[4 * PAGE / 8]);
        }
        CHECK_EQUAL(finish(move(bo, UNBIND_REGION_SYSTEM, 0)), 0);
        CHECK_EQUAL(toy.calls[TOY_COPY], 4);
        unbind_queue_unref(queue);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        toy_close(&toy);
    }
}

/* A buffer bound at two addresses of one VM and used there, moved; a bind of it in a second VM follows at once. */
TEST(order, "a copy awaits the GPU's users and not the unbinds; binds await the copy; the old memory goes after both") {
    for (int copy_first = 0; copy_first < 2; copy_first++) {
        struct toy toy;
        unbind_vm *other = NULL;
        unbind_vma *elsewhere = NULL;
        unbind_fence *bound = NULL;
        struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
        toy_init(&toy, TOY_AT_ONCE);
        toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
        struct toy_vm *pages = toy.vm;
        REQUIRE(unbind_vm_create(toy.gpu.device, NULL, &other) == 0);
        unbind_bo *bo = make_bo(&toy.gpu, 2 * PAGE);
        unbind_vma *one = make_vma(&toy.gpu, bo, 0x10000), *two = make_vma(&toy.gpu, bo, 0x20000);
        options.flags = UNBIND_VMA_FIXED;
        options.address = 0x30000;
        REQUIRE(unbind_vma_create(other, bo, &options, &elsewhere) == 0);
        fill_pattern(bo, 8);
        REQUIRE(unbind_vma_bind(one, 0) == 0 && unbind_vma_bind(two, 0) == 0);
        unbind_fence *user = make_fence(&toy.gpu);
        REQUIRE(unbind_vma_add_user(one, user) == 0);
        toy.mode = TOY_BY_HAND;
        unbind_fence *moved = move(bo, UNBIND_REGION_LOCAL, NO_CPU_COPY);
        REQUIRE(unbind_vma_bind_async(elsewhere, 0, &bound) == 0);
        toy_idle(&toy);
        /* Only the VMA that nobody uses is being unbound. */
        CHECK_EQUAL(toy.calls[TOY_COPY], 0);
        CHECK_EQUAL(toy.begun_count, 1);
        signal_and_drop(user);
        toy_idle(&toy);
        CHECK_EQUAL(toy.calls[TOY_COPY], 1);
        CHECK(toy.begun_count == 2 && pages->busy && toy.copies && !toy.vm->busy);
        if (copy_first) {
            REQUIRE(toy_complete_kind(&toy, true));
            toy_idle(&toy);
            CHECK(toy.vm->busy && pages->busy);
            while (toy.vm->busy) {
                /* The bind's map, and not the unmaps of the other VM. */
                for (uint32_t i = 0; i < toy.begun_count; i++) {
                    if (toy.begun[i].vm != toy.vm) continue;
                    pthread_mutex_lock(&toy.lock);
                    toy_complete_at(&toy, i);
                    break;
                }
            }
            toy_idle(&toy);
            CHECK_EQUAL(unbind_fence_is_signaled(bound), 1);
            CHECK_EQUAL(unbind_fence_is_signaled(moved), 0);
            CHECK(toy_look(toy.vm, 0x30000)->memory == unbind_bo_cpu_pointer(bo));
            check_pattern(bo, 8);
            CHECK_EQUAL(toy.bos, 2);
        } else {
            while (toy_complete_kind(&toy, false)) toy_idle(&toy);
            CHECK_EQUAL(toy.mapped, 0);
            CHECK_EQUAL(toy.begun_count, 1);
            CHECK_EQUAL(unbind_fence_is_signaled(bound), 0);
            CHECK_EQUAL(unbind_fence_is_signaled(moved), 0);
            CHECK_EQUAL(toy.bos, 2);
        }
        while (toy_complete(&toy)) toy_idle(&toy);
        CHECK_EQUAL(finish(moved), 0);
        CHECK_EQUAL(finish(bound), 0);
        check_pattern(bo, 8);
        CHECK_EQUAL(toy.bos, 1);
        CHECK_EQUAL(toy.mapped, 2);
        toy.mode = TOY_AT_ONCE;
        unbind_vma_unref(one);
        unbind_vma_unref(two);
        unbind_vma_unref(elsewhere);
        unbind_bo_unref(bo);
        unbind_vm_unref(other);
        toy_close(&toy);
    }
}

TEST(hops, "a buffer moves again and again while nothing of that has begun") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        unbind_fence *moved[6];
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        unbind_bo *bo = make_bo(&toy.gpu, 8 * PAGE);
        unbind_vma *vma = make_vma(&toy.gpu, bo, 0x40000);
        unbind_queue *queue = make_queue(&toy.gpu);
        unbind_fence *spinner = make_fence(&toy.gpu);
        memset(unbind_bo_cpu_pointer(bo), 0xaa, 8 * PAGE);
        for (uint32_t hop = 0; hop < 6; hop++) {
            struct unbind_command commands[2] = {command_wait(spinner),
                                                 command_fill(0x40000 + hop * PAGE, PAGE, hop + 1)};
            REQUIRE(unbind_vma_bind_async(vma, 0, NULL) == 0);
            REQUIRE(submit(queue, commands, 2, vma, NULL, NULL) == 0);
            moved[hop] = move(bo, (hop + 1) % 2, 0);
        }
        CHECK_EQUAL(toy.calls[TOY_COPY], 0);
        signal_and_drop(spinner);
        for (uint32_t hop = 0; hop < 6; hop++) CHECK_EQUAL(finish(moved[hop]), 0);
        const uint32_t *words = (const uint32_t *)unbind_bo_cpu_pointer(bo);
        for (uint32_t hop = 0; hop < 6; hop++) CHECK_EQUAL(words[hop * 1024 + 1023], hop + 1);
        CHECK_EQUAL(words[6 * 1024], 0xaaaaaaaa);
        CHECK_EQUAL(toy.calls[TOY_COPY], 6);
        unbind_queue_unref(queue);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        toy_close(&toy);
    }
}

TEST(failing, "after a copy that failed the CPU copies; where that was forbidden the buffer is lost") {
    static const int errors[3] = {-EIO, -EOPNOTSUPP, -ENOSPC};
    FOR_EACH_WAY(executor, mode) {
        for (unsigned i = 0; i < 3; i++) {
            for (int forbidden = 0; forbidden < 2; forbidden++) {
                struct toy toy;
                toy_init(&toy, mode);
                toy_open(&toy, executor);
                unbind_bo *bo = make_bo(&toy.gpu, 3 * PAGE);
                unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
                fill_pattern(bo, i);
                REQUIRE(unbind_vma_bind(vma, 0) == 0);
                toy_fail(&toy, TOY_COPY, errors[i], 1);
                CHECK_EQUAL(finish(move(bo, UNBIND_REGION_LOCAL, forbidden ? NO_CPU_COPY : 0)), forbidden ? -EIO : 0);
                CHECK_EQUAL(unbind_bo_region(bo), UNBIND_REGION_LOCAL);
                CHECK_EQUAL(toy.calls[TOY_COPY], 1);
                CHECK_EQUAL(unbind_vma_bind(vma, 0), forbidden ? -EIO : 0);
                CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_SYSTEM, 0, NULL), forbidden ? -EIO : 0);
                CHECK_EQUAL(unbind_bo_wait(bo, FOREVER, 0), 0);
                if (!forbidden) check_pattern(bo, i);
                CHECK_EQUAL(toy.gpu.messages, forbidden ? 1 : 0);
                unbind_vma_unref(vma);
                unbind_bo_unref(bo);
                toy_close(&toy);
            }
        }
    }
}

TEST(trying_again, "a backend that cannot copy just now is asked again, a few times") {
    static const int errors[3] = {-EAGAIN, -EINTR, -ENOMEM};
    FOR_EACH_WAY(executor, mode) {
        for (unsigned i = 0; i < 3; i++) {
            struct toy toy;
            toy_init(&toy, mode);
            toy_open(&toy, executor);
            unbind_bo *bo = make_bo(&toy.gpu, PAGE);
            fill_pattern(bo, 1);
            toy_fail(&toy, TOY_COPY, errors[i], 8);
            CHECK_EQUAL(finish(move(bo, UNBIND_REGION_LOCAL, NO_CPU_COPY)), 0);
            CHECK_EQUAL(toy.calls[TOY_COPY], 9);
            toy_fail(&toy, TOY_COPY, errors[i], 1000);
            CHECK_EQUAL(finish(move(bo, UNBIND_REGION_SYSTEM, 0)), 0);
            CHECK_EQUAL(toy.calls[TOY_COPY], 18);
            check_pattern(bo, 1);
            unbind_bo_unref(bo);
            toy_close(&toy);
        }
    }
}

TEST(made_to_fail, "unbind_device_fail_next fails a backend's copies without asking it") {
    struct toy toy;
    toy_init(&toy, TOY_BY_THREAD);
    toy_open(&toy, UNBIND_EXECUTOR_POOL);
    unbind_bo *bo = make_bo(&toy.gpu, PAGE);
    fill_pattern(bo, 1);
    CHECK_EQUAL(unbind_device_fail_next(toy.gpu.device, UNBIND_FAIL_COPY, 1), 0);
    CHECK_EQUAL(finish(move(bo, UNBIND_REGION_LOCAL, 0)), 0);
    CHECK_EQUAL(toy.calls[TOY_COPY], 0);
    check_pattern(bo, 1);
    CHECK_EQUAL(finish(move(bo, UNBIND_REGION_SYSTEM, 0)), 0);
    CHECK_EQUAL(toy.calls[TOY_COPY], 1);
    check_pattern(bo, 1);
    unbind_bo_unref(bo);
    toy_close(&toy);
}

TEST(refused, "what cannot move is refused with a reason in the log, and stays as it is") {
    for (int lacks = 0; lacks < 3; lacks++) {
        struct toy toy;
        void *memory = NULL;
        unbind_bo *bo = NULL;
        unbind_fence *fence = UNTOUCHED(unbind_fence);
        REQUIRE(posix_memalign(&memory, PAGE, PAGE) == 0);
        toy_init(&toy, TOY_AT_ONCE);
        if (lacks == 0) toy.ops.copy = NULL;
        if (lacks == 1) toy.ops.capabilities &= ~UNBIND_CAP_LOCAL_MEMORY;
        toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
        CHECK(!(unbind_device_capabilities(toy.gpu.device) & UNBIND_CAP_MIGRATION) == (lacks < 2));
        if (lacks < 2) bo = make_bo(&toy.gpu, PAGE);
        else REQUIRE(unbind_bo_wrap(toy.gpu.device, memory, PAGE, NULL, NULL, &bo) == 0);
        unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, &fence), -EOPNOTSUPP);
        CHECK_EQUAL(toy.gpu.messages, 1);
        CHECK_EQUAL(unbind_device_fail_next(toy.gpu.device, UNBIND_FAIL_COPY, 0), lacks < 2 ? -EOPNOTSUPP : 0);
        CHECK(fence == UNTOUCHED(unbind_fence) && unbind_vma_state(vma) == UNBIND_VMA_BOUND && toy.bos == 1);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        toy_close(&toy);
        free(memory);
    }
}

TEST(full, "a move to memory that is full, or that the backend does not give, leaves the buffer where it was") {
    struct toy toy;
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *large = make_bo(&toy.gpu, 65 * MIB), *bo = make_bo(&toy.gpu, PAGE);
    CHECK_EQUAL(unbind_bo_migrate(large, UNBIND_REGION_LOCAL, 0, NULL), -ENOMEM);
    toy_fail(&toy, TOY_BO_CREATE, -ENOSPC, 1);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL), -ENOSPC);
    CHECK(unbind_bo_region(large) == UNBIND_REGION_SYSTEM && unbind_bo_region(bo) == UNBIND_REGION_SYSTEM);
    CHECK_EQUAL(device_stats(toy.gpu.device).local_bytes, 0);
    CHECK_EQUAL(finish(move(bo, UNBIND_REGION_LOCAL, 0)), 0);
    unbind_bo_unref(large);
    unbind_bo_unref(bo);
    toy_close(&toy);
}

TEST(no_memory, "a move on a backend survives the failure of each allocation") {
    bool is_over = false;
    for (uint64_t n = 1; !is_over && n < 100; n++) {
        struct toy toy;
        unbind_fence *fence = NULL;
        toy_init(&toy, TOY_BEFORE_RETURN);
        toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
        unbind_bo *bo = make_bo(&toy.gpu, PAGE);
        unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
        fill_pattern(bo, (uint32_t)n);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        toy.gpu.hooks.fail_at = toy.gpu.hooks.calls + n;
        int status = unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, &fence);
        toy.gpu.hooks.fail_at = 0;
        is_over = toy.gpu.hooks.failed == 0;
        CHECK(status == 0 || (status == -ENOMEM && !is_over));
        if (status == 0) CHECK_EQUAL(finish(fence), 0);
        CHECK_EQUAL(unbind_bo_region(bo), status == 0 ? UNBIND_REGION_LOCAL : UNBIND_REGION_SYSTEM);
        check_pattern(bo, (uint32_t)n);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        CHECK_EQUAL(finish(move(bo, UNBIND_REGION_SYSTEM, NO_CPU_COPY)), 0);
        check_pattern(bo, (uint32_t)n);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        toy_close(&toy);
    }
    CHECK(is_over);
}

TEST(closing, "closing a device ends the moves that are under way") {
    for (unsigned round = 0; round < 20; round++) {
        struct toy toy;
        unbind_bo *bos[8];
        unbind_vma *vmas[8];
        unbind_fence *moved[8];
        toy_init(&toy, TOY_BY_THREAD);
        toy_open(&toy, UNBIND_EXECUTOR_POOL);
        for (unsigned i = 0; i < 8; i++) {
            bos[i] = make_bo(&toy.gpu, PAGE);
            vmas[i] = make_vma(&toy.gpu, bos[i], 0x10000 + i * PAGE);
            fill_pattern(bos[i], i);
            REQUIRE(unbind_vma_bind_async(vmas[i], 0, NULL) == 0);
            moved[i] = move(bos[i], UNBIND_REGION_LOCAL, 0);
        }
        CHECK_EQUAL(unbind_device_close(toy.gpu.device, NULL), 0);
        for (unsigned i = 0; i < 8; i++) {
            CHECK_EQUAL(finish(moved[i]), 0);
            check_pattern(bos[i], i);
            unbind_vma_unref(vmas[i]);
            unbind_bo_unref(bos[i]);
        }
        unbind_vm_unref(toy.gpu.vm);
        unbind_device_unref(toy.gpu.device);
        toy_end(&toy);
    }
}
