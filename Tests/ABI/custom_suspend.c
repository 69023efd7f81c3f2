/* SPDX-License-Identifier: MIT */
/* Suspending and resuming address spaces of a backend of the program's own. */
#include "toy_backend.h"

static int64_t toy_mapped(struct toy *toy) {
    pthread_mutex_lock(&toy->lock);
    int64_t mapped = toy->mapped;
    pthread_mutex_unlock(&toy->lock);
    return mapped;
}

static int state_of(unbind_vma *vma) { return (int)unbind_vma_state(vma); }

TEST(round_trip, "a suspend takes every mapping out of the backend, a resume puts them back; bindings stay") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        uint64_t loaded = 0;
        unbind_fence *job = UNTOUCHED(unbind_fence);
        struct unbind_view view = UNBIND_VIEW_INIT;
        struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
        unbind_vma *rotated = NULL;
        toy_init(&toy, mode);
        toy_open(&toy, executor);
        CHECK(unbind_device_capabilities(toy.gpu.device) & UNBIND_CAP_SUSPEND);
        unbind_queue *queue = make_queue(&toy.gpu);
        unbind_vma *vmas[20];
        for (unsigned i = 0; i < 20; i++) {
            vmas[i] = new_vma(&toy, 2 * PAGE, 0x10000 + i * 2 * PAGE);
            REQUIRE(unbind_vma_bind(vmas[i], i % 2 ? UNBIND_BIND_READ_ONLY : 0) == 0);
        }
        unbind_bo *bo = make_bo(&toy.gpu, 64 * PAGE);
        view.type = UNBIND_VIEW_ROTATED;
        view.plane_count = 1;
        view.planes[0].width = 8;
        view.planes[0].height = view.planes[0].src_stride = view.planes[0].dst_stride = 8;
        options.view = &view;
        REQUIRE(unbind_vma_create(toy.gpu.vm, bo, &options, &rotated) == 0);
        REQUIRE(unbind_vma_bind(rotated, 0) == 0);
        uint64_t at = unbind_vma_address(rotated);
        struct toy_page before[64];
        memcpy(before, &toy.vm->pages[at / PAGE], sizeof before);
        struct unbind_command store = command_store(0x10000 + PAGE, 77), load = command_load(0x10000 + PAGE, &loaded);
        unbind_fence *stored = NULL;
        REQUIRE(submit(queue, &store, 1, vmas[0], NULL, &stored) == 0);
        CHECK_EQUAL(finish(stored), 0);
        toy_idle(&toy);
        CHECK_EQUAL(toy.mapped, 104);
        uint32_t unmaps = toy.unmaps;
        CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
        CHECK_EQUAL(toy.mapped, 0);
        CHECK_EQUAL(toy.unmaps, unmaps + 1);
        CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), -EINVAL);
        CHECK_EQUAL(submit(queue, &load, 1, vmas[0], NULL, &job), -EAGAIN);
        CHECK(job == UNTOUCHED(unbind_fence) && state_of(vmas[0]) == UNBIND_VMA_BOUND);
        CHECK_EQUAL(unbind_vma_address(vmas[3]), 0x10000 + 6 * PAGE);
        /* Binding and unbinding go on, without the backend. */
        uint32_t updates = toy.updates;
        unbind_vma *late = new_vma(&toy, PAGE, 0x90000);
        CHECK_EQUAL(unbind_vma_bind(late, 0), 0);
        CHECK_EQUAL(unbind_vma_unbind(vmas[5], 0), 0);
        CHECK_EQUAL(unbind_vma_unbind(vmas[7], 0), 0);
        CHECK_EQUAL(unbind_vma_bind(vmas[7], 0), 0);
        CHECK_EQUAL(vm_stats(toy.gpu.vm).unbinds_skipped_ptes, 2);
        CHECK(toy.updates == updates && toy.mapped == 0);
        uint32_t maps = toy.maps;
        CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
        CHECK_EQUAL(toy.maps, maps + 1);
        CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), -EINVAL);
        CHECK_EQUAL(toy.mapped, 103);
        CHECK(toy_look(toy.vm, 0x10000 + 10 * PAGE) == NULL && toy_look(toy.vm, 0x90000) != NULL);
        CHECK_EQUAL(toy.vm->pages[0x12].flags, UNBIND_BACKEND_READ_ONLY);
        for (unsigned i = 0; i < 64; i++) {
            struct toy_page *page = &toy.vm->pages[at / PAGE + i];
            CHECK(page->bo == before[i].bo && page->offset == before[i].offset);
        }
        REQUIRE(submit(queue, &load, 1, vmas[0], NULL, &job) == 0);
        CHECK_EQUAL(finish(job), 0);
        CHECK_EQUAL(loaded, 77);
        CHECK_EQUAL(unbind_vma_unbind(vmas[0], 0), 0);
        CHECK_EQUAL(toy.mapped, 101);
        unbind_queue_unref(queue);
        for (unsigned i = 0; i < 20; i++) unbind_vma_unref(vmas[i]);
        unbind_vma_unref(late);
        unbind_vma_unref(rotated);
        unbind_bo_unref(bo);
        toy_close(&toy);
    }
}

TEST(busy, "an address space with a job in flight is not suspended") {
    struct toy toy;
    unbind_fence *job = NULL;
    toy_init(&toy, TOY_BY_THREAD);
    toy_open(&toy, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&toy.gpu);
    unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
    unbind_fence *gate = make_fence(&toy.gpu);
    struct unbind_command commands[2] = {command_wait(gate), command_store(0x10000, 1)};
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    REQUIRE(submit(queue, commands, 2, vma, NULL, &job) == 0);
    CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), -EBUSY);
    CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), -EINVAL);
    signal_and_drop(gate);
    CHECK_EQUAL(finish(job), 0);
    CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
    CHECK_EQUAL(unbind_vm_close(toy.gpu.vm), 0);
    CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), -ENOENT);
    unbind_queue_unref(queue);
    unbind_vma_unref(vma);
    toy_close(&toy);
}

TEST(pending, "1.4: pending unbinds and binds end in order while suspended; what is unbound does not come back") {
    FOR_EACH_WAY(executor, mode) {
        for (int closes = 0; closes < 3; closes++) {
            struct toy toy;
            unbind_fence *done = NULL, *bind = NULL;
            unbind_hold *hold = NULL;
            toy_init(&toy, mode);
            toy_open(&toy, executor);
            unbind_vma *old = new_vma(&toy, PAGE, 0x5000), *over = new_vma(&toy, 2 * PAGE, 0x4000);
            unbind_vma *held = new_vma(&toy, PAGE, 0x20000);
            REQUIRE(unbind_vma_bind(old, 0) == 0 && unbind_vma_bind(held, 0) == 0);
            unbind_fence *user = make_fence(&toy.gpu), *gone = NULL;
            CHECK_EQUAL(unbind_vma_hold(held, &hold), 0);
            CHECK_EQUAL(unbind_vma_unbind_async(held, 0, &gone), 0);
            for (unsigned i = 0; i < 2000 && toy_mapped(&toy) != 1; i++) {
                toy_idle(&toy);
                sleep_ms(1);
            }
            CHECK_EQUAL(toy_mapped(&toy), 1); /* unmapped, and not finished */
            CHECK_EQUAL(unbind_vma_add_user(old, user), 0);
            CHECK_EQUAL(unbind_vma_unbind_async(old, 0, &done), 0);
            CHECK_EQUAL(unbind_vma_bind_async(over, 0, &bind), 0);
            CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
            CHECK_EQUAL(toy.mapped, 0);
            uint32_t updates = toy.updates;
            CHECK_EQUAL(unbind_fence_wait(bind, 0, 0), -ETIME);
            if (closes == 1) CHECK_EQUAL(unbind_vm_close(toy.gpu.vm), 0);
            /* Or a resume while both are to come. */
            if (closes == 2) CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
            CHECK_EQUAL(unbind_fence_is_signaled(done), 0);
            CHECK_EQUAL(toy.mapped, 0);
            signal_and_drop(user);
            CHECK_EQUAL(finish(done), 0);
            CHECK_EQUAL(finish(bind), 0);
            if (closes < 2) {
                CHECK_EQUAL(toy.updates, updates);
                CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), closes ? -ENOENT : 0);
            }
            CHECK_EQUAL(toy.mapped, closes == 1 ? 0 : 2);
            unbind_hold_unref(hold);
            CHECK_EQUAL(finish(gone), 0);
            unbind_vma_unref(old);
            unbind_vma_unref(over);
            unbind_vma_unref(held);
            toy_close(&toy);
        }
    }
}

static unsigned turns(void) { return getenv("UNDER_VALGRIND") ? 300 : 20000; }

static void *resumes(void *vm) {
    for (unsigned i = 0; i < turns(); i++) {
        int status = 0;
        while ((status = unbind_vm_resume((unbind_vm *)vm)) == -EINVAL || status == -EBUSY) {}
        CHECK_EQUAL(status, 0);
    }
    return NULL;
}

TEST(in_turns, "a resume that comes just as the work of the suspend goes to rest is not forgotten") {
    struct toy toy;
    pthread_t thread;
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_POOL);
    REQUIRE(pthread_create(&thread, NULL, resumes, toy.gpu.vm) == 0);
    for (unsigned i = 0; i < turns(); i++) {
        int status = 0;
        while ((status = unbind_vm_suspend(toy.gpu.vm)) == -EINVAL || status == -EBUSY) {}
        CHECK_EQUAL(status, 0);
    }
    pthread_join(thread, NULL);
    toy_close(&toy);
}

TEST(many, "what does not fit in one call takes several, also when the backend finds them too long") {
    enum { COUNT = 700 };
    FOR_EACH_WAY(executor, mode) {
        for (uint32_t most = 0; most < 8; most += 7) {
            struct toy toy;
            static unbind_vma *vmas[COUNT];
            toy_init(&toy, mode);
            toy.ops.max_ranges = most ? 0 : 100;
            toy_open(&toy, executor);
            for (unsigned i = 0; i < COUNT; i++) {
                vmas[i] = new_vma(&toy, PAGE, i * 2 * PAGE);
                REQUIRE(unbind_vma_bind_async(vmas[i], 0, NULL) == 0);
            }
            toy_idle(&toy);
            CHECK_EQUAL(unbind_device_wait_idle(toy.gpu.device, FOREVER, 0), 0);
            for (unsigned i = 0; i < COUNT; i++) CHECK_EQUAL(unbind_vma_bind(vmas[i], 0), 0);
            toy.most_ranges = most;
            CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
            CHECK_EQUAL(toy.mapped, 0);
            uint32_t maps = toy.maps;
            CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
            CHECK_EQUAL(toy.mapped, COUNT);
            if (most == 0) CHECK_EQUAL(toy.maps - maps, 7);
            for (unsigned i = 0; i < COUNT; i++) unbind_vma_unref(vmas[i]);
            toy_close(&toy);
        }
    }
}

TEST(failed_resume, "a resume that fails leaves the address space suspended, and can be repeated") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        unbind_vma *vmas[30];
        toy_init(&toy, mode);
        toy.ops.max_ranges = 4;
        toy_open(&toy, executor);
        for (unsigned i = 0; i < 30; i++) {
            vmas[i] = new_vma(&toy, PAGE, 0x10000 + i * 2 * PAGE);
            REQUIRE(unbind_vma_bind(vmas[i], 0) == 0);
        }
        CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
        toy.fail_address = 0x10000 + 40 * PAGE;
        toy.fail_address_error = -ENOSPC;
        CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), -ENOSPC);
        CHECK_EQUAL(toy.mapped, 0);
        CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), -EINVAL);
        CHECK_EQUAL(unbind_vma_unbind(vmas[1], 0), 0);
        CHECK_EQUAL(unbind_vma_unbind(vmas[29], 0), 0);
        toy.fail_address = UINT64_MAX;
        CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
        CHECK_EQUAL(toy.mapped, 28);
        for (unsigned i = 0; i < 30; i++) unbind_vma_unref(vmas[i]);
        toy_close(&toy);
    }
}

TEST(trying_again, "a suspend comes back to a backend that is out of memory, and finds out that a device is lost") {
    static const int errors[3] = {-EAGAIN, -ENOMEM, -EIO};
    FOR_EACH_WAY(executor, mode) {
        for (unsigned i = 0; i < 3; i++) {
            struct toy toy;
            unbind_fence *done = NULL;
            bool is_lost = errors[i] == -EIO;
            toy_init(&toy, mode);
            toy_open(&toy, executor);
            unbind_vma *vma = new_vma(&toy, PAGE, 0x10000), *other = new_vma(&toy, PAGE, 0x20000);
            REQUIRE(unbind_vma_bind(vma, 0) == 0 && unbind_vma_bind(other, 0) == 0);
            toy_fail(&toy, TOY_UNMAP, errors[i], 3);
            toy.is_lost = is_lost;
            CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), is_lost ? -EIO : 0);
            CHECK_EQUAL(toy.mapped, is_lost ? 2 : 0);
            CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &done), 0);
            CHECK_EQUAL(finish(done), is_lost ? -EIO : 0);
            CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), is_lost ? -EINVAL : 0);
            unbind_vma_unref(vma);
            unbind_vma_unref(other);
            toy_idle(&toy);
            for (uint32_t page = 0; is_lost && page < TOY_PAGES; page++) toy.vm->pages[page].bo = NULL;
            toy_close(&toy);
        }
    }
}

static int batch(struct toy *toy, uint32_t kind, unbind_bo *bo, uint64_t address, uint64_t size, unbind_fence **out) {
    struct unbind_batch options = UNBIND_BATCH_INIT;
    struct unbind_op op;
    memset(&op, 0, sizeof op);
    op.op = kind;
    op.bo = bo;
    op.address = address;
    op.size = size;
    options.mode = UNBIND_BATCH_ASYNC;
    options.out_fence = out;
    return unbind_vm_submit(toy->gpu.vm, &op, 1, &options);
}

TEST(batches, "mappings of batches are suspended, split meanwhile, and resumed; not while a split is to come") {
    FOR_EACH_WAY(executor, mode) {
        struct toy toy;
        unbind_fence *fence = NULL, *done = NULL;
        toy_init(&toy, mode);
        toy.ops.capabilities |= UNBIND_CAP_PARTIAL_UNBIND | UNBIND_CAP_NULL_MAPPINGS;
        toy_open(&toy, executor);
        unbind_bo *bo = make_bo(&toy.gpu, 16 * PAGE);
        REQUIRE(batch(&toy, UNBIND_OP_MAP, bo, 0x10000, 16 * PAGE, &fence) == 0);
        CHECK_EQUAL(finish(fence), 0);
        REQUIRE(batch(&toy, UNBIND_OP_MAP_NULL, NULL, 0x40000, 8 * PAGE, &fence) == 0);
        CHECK_EQUAL(finish(fence), 0);
        CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
        CHECK_EQUAL(toy.mapped, 0);
        /* A hole in the middle. */
        REQUIRE(batch(&toy, UNBIND_OP_UNMAP, NULL, 0x14000, 4 * PAGE, &fence) == 0);
        CHECK_EQUAL(finish(fence), 0);
        CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
        CHECK_EQUAL(toy.mapped, 20);
        CHECK(toy_look(toy.vm, 0x13000) && !toy_look(toy.vm, 0x14000) && toy_look(toy.vm, 0x18000));
        CHECK_EQUAL(toy.vm->pages[0x18].offset, 8 * PAGE);
        CHECK(toy_look(toy.vm, 0x40000) == &toy.null_bo);
        /* A mapping that waits for an unbind, and is to be split when it is there. */
        unbind_vma *vma = new_vma(&toy, PAGE, 0x60000);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        unbind_fence *user = make_fence(&toy.gpu), *mapped = NULL;
        REQUIRE(unbind_vma_add_user(vma, user) == 0);
        REQUIRE(unbind_vma_unbind_async(vma, 0, &done) == 0);
        REQUIRE(batch(&toy, UNBIND_OP_MAP, bo, 0x60000, 4 * PAGE, &mapped) == 0);
        REQUIRE(batch(&toy, UNBIND_OP_UNMAP, NULL, 0x61000, PAGE, &fence) == 0);
        CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), -EBUSY);
        CHECK_EQUAL(toy.mapped, 21);
        signal_and_drop(user);
        CHECK_EQUAL(finish(done), 0);
        CHECK_EQUAL(finish(mapped), 0);
        CHECK_EQUAL(finish(fence), 0);
        toy_idle(&toy);
        CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
        CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
        CHECK_EQUAL(toy.mapped, 23);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        toy_close(&toy);
    }
}

static uint32_t draw(uint64_t *random, uint32_t below) {
    *random = *random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*random >> 33) % below;
}

TEST(random_programs, "whatever is bound, unbound and fails in between, what is mapped is what is bound, or nothing") {
    enum { COUNT = 40, SLOT = 16 };
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct toy toy;
        unbind_vma *vmas[COUNT];
        uint64_t random = seed, sizes[COUNT], bound[COUNT] = {0};
        bool is_suspended = false;
        toy_init(&toy, toy_modes[seed % 3]);
        toy.ops.max_ranges = draw(&random, 2) ? 0 : 1 + draw(&random, 20);
        if (draw(&random, 2)) toy.ops.capabilities |= UNBIND_CAP_PARTIAL_UNBIND;
        if (draw(&random, 2)) toy.ops.invalidate = NULL;
        toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
        for (unsigned i = 0; i < COUNT; i++) {
            struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
            struct unbind_view view = UNBIND_VIEW_INIT;
            unbind_bo *bo = make_bo(&toy.gpu, SLOT * PAGE);
            options.flags = UNBIND_VMA_FIXED;
            options.address = i * SLOT * PAGE;
            options.view = &view;
            view.type = i % 3 ? UNBIND_VIEW_PARTIAL : UNBIND_VIEW_ROTATED;
            if (i % 3) view.offset = draw(&random, 4) * PAGE, view.size = (1 + draw(&random, 12)) * PAGE;
            else view.plane_count = 1, view.planes[0].width = view.planes[0].height = view.planes[0].src_stride = 3;
            view.planes[0].dst_stride = i % 3 ? 0 : 4; /* with padding */
            if (i % 3) memset(&view.planes[0], 0, sizeof view.planes[0]);
            REQUIRE(unbind_vma_create(toy.gpu.vm, bo, &options, &vmas[i]) == 0);
            sizes[i] = i % 3 ? view.size / PAGE : 9;
            unbind_bo_unref(bo);
        }
        for (unsigned step = 0; step < 80; step++) {
            unsigned i = draw(&random, COUNT), what = draw(&random, 8);
            uint64_t expected = 0;
            if (what < 4) {
                CHECK_EQUAL(unbind_vma_bind_async(vmas[i], 0, NULL), 0);
                bound[i] = sizes[i];
            } else if (what < 6) {
                CHECK_EQUAL(unbind_vma_unbind(vmas[i], 0), 0);
                bound[i] = 0;
            } else if (!is_suspended) {
                CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
                is_suspended = true;
            } else {
                uint64_t fails = draw(&random, 2) ? draw(&random, COUNT) : (uint64_t)COUNT;
                toy.fail_address = fails * SLOT * PAGE;
                toy.fail_address_error = -EINVAL;
                toy.most_ranges = draw(&random, 3);
                int status = unbind_vm_resume(toy.gpu.vm);
                CHECK_EQUAL(status, fails < COUNT && bound[fails] ? -EINVAL : 0);
                toy.fail_address = UINT64_MAX;
                toy.most_ranges = 0;
                is_suspended = status != 0;
            }
            for (unsigned spin = 0; spin < 2000; spin++) {
                for (unsigned k = expected = 0; k < COUNT; k++) expected += is_suspended ? 0 : bound[k];
                toy_idle(&toy);
                if (toy_mapped(&toy) == (int64_t)expected) break;
                sleep_ms(1);
            }
            CHECK_EQUAL(toy_mapped(&toy), expected);
            if (check_failures) printf("    seed %u, step %u\n", (unsigned)seed, step);
            REQUIRE(!check_failures);
        }
        for (unsigned k = 0; k < COUNT; k++)
            CHECK_EQUAL(toy_look(toy.vm, k * SLOT * PAGE) != NULL, !is_suspended && bound[k]);
        for (unsigned k = 0; k < COUNT; k++) unbind_vma_unref(vmas[k]);
        toy_close(&toy);
    }
}

TEST(no_memory, "suspending and resuming survive the failure of each allocation") {
    bool is_over = false;
    for (uint64_t n = 1; !is_over && n < 20; n++) {
        struct toy toy;
        static unbind_vma *vmas[200]; /* more than the first attempt has room for */
        toy_init(&toy, TOY_BEFORE_RETURN);
        toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
        for (unsigned i = 0; i < 200; i++) {
            vmas[i] = new_vma(&toy, PAGE, i * PAGE);
            REQUIRE(unbind_vma_bind(vmas[i], 0) == 0);
        }
        toy.gpu.hooks.fail_at = toy.gpu.hooks.calls + n;
        int status = unbind_vm_suspend(toy.gpu.vm);
        CHECK(status == 0 || status == -ENOMEM);
        CHECK_EQUAL(toy.mapped, status == 0 ? 0 : 200);
        if (status != 0) CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
        status = unbind_vm_resume(toy.gpu.vm);
        toy.gpu.hooks.fail_at = 0;
        is_over = toy.gpu.hooks.failed == 0;
        CHECK(status == 0 || status == -ENOMEM);
        CHECK_EQUAL(toy.mapped, status == 0 ? 200 : 0);
        if (status != 0) CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
        CHECK_EQUAL(toy.mapped, 200);
        for (unsigned i = 0; i < 200; i++) unbind_vma_unref(vmas[i]);
        toy_close(&toy);
    }
    CHECK(is_over);
}

TEST(not_completed, "a suspend that nothing can finish just now is told so, and finishes when the backend does") {
    struct toy toy;
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_SIMULATED);
    static unbind_vma *vmas[100];
    for (unsigned i = 0; i < 100; i++) {
        vmas[i] = new_vma(&toy, PAGE, i * PAGE);
        REQUIRE(unbind_vma_bind(vmas[i], 0) == 0);
    }
    toy.mode = TOY_BY_HAND;
    CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), -EDEADLK);
    CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), -EINVAL);
    CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), -EBUSY);
    while (toy_complete(&toy)) toy_idle(&toy);
    CHECK_EQUAL(toy.mapped, 0);
    CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), -EINVAL);
    toy.mode = TOY_AT_ONCE;
    CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
    CHECK_EQUAL(toy.mapped, 100);
    for (unsigned i = 0; i < 100; i++) unbind_vma_unref(vmas[i]);
    toy_close(&toy);
}

static void suspend_in_callback(unbind_fence *fence, void *user_data) {
    struct toy *toy = (struct toy *)user_data;
    (void)fence;
    CHECK_EQUAL(unbind_vm_suspend(toy->gpu.vm), -EDEADLK);
    CHECK_EQUAL(unbind_vm_resume(toy->gpu.vm), -EDEADLK);
}

TEST(in_callback, "a callback of the device's work cannot wait for a suspend") {
    struct toy toy;
    struct unbind_fence_callback callback;
    memset(&callback, 0, sizeof callback);
    unbind_fence *bound = NULL;
    toy_init(&toy, TOY_AT_ONCE);
    toy_open(&toy, UNBIND_EXECUTOR_MANUAL);
    unbind_vma *vma = new_vma(&toy, PAGE, 0);
    REQUIRE(unbind_vma_bind_async(vma, 0, &bound) == 0);
    REQUIRE(unbind_fence_add_callback(bound, &callback, suspend_in_callback, &toy) == 0);
    CHECK_EQUAL(finish(bound), 0);
    CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
    CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
    unbind_vma_unref(vma);
    toy_close(&toy);
}

/* Binds and unbinds a VMA of its own. */
static int stops;
static void *churn(void *argument) {
    unbind_vma *vma = (unbind_vma *)argument;
    while (!__atomic_load_n(&stops, __ATOMIC_ACQUIRE)) {
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
    }
    return NULL;
}

TEST(threads, "an address space is suspended and resumed while other threads bind and unbind in it") {
    struct toy toy;
    pthread_t threads[2];
    unbind_vma *vmas[2], *still[10];
    toy_init(&toy, TOY_BY_THREAD);
    toy_open(&toy, UNBIND_EXECUTOR_POOL);
    for (unsigned i = 0; i < 10; i++) {
        still[i] = new_vma(&toy, PAGE, 0x20000 + i * PAGE);
        REQUIRE(unbind_vma_bind(still[i], 0) == 0);
    }
    for (unsigned i = 0; i < 2; i++) {
        vmas[i] = new_vma(&toy, 3 * PAGE, 0x10000 + i * 3 * PAGE);
        REQUIRE(pthread_create(&threads[i], NULL, churn, vmas[i]) == 0);
    }
    for (unsigned round = 0; round < 200; round++) {
        CHECK_EQUAL(unbind_vm_suspend(toy.gpu.vm), 0);
        pthread_mutex_lock(&toy.lock);
        CHECK_EQUAL(toy.mapped, 0);
        pthread_mutex_unlock(&toy.lock);
        CHECK_EQUAL(unbind_vm_resume(toy.gpu.vm), 0);
    }
    __atomic_store_n(&stops, 1, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 2; i++) unbind_vma_unref(vmas[i]);
    toy_idle(&toy);
    for (unsigned i = 0; i < 10; i++) unbind_vma_unref(still[i]);
    toy_close(&toy);
}

static void *suspend_and_resume(void *argument) {
    struct toy *toy = (struct toy *)argument;
    for (;;) {
        int status = unbind_vm_suspend(toy->gpu.vm);
        if (status == 0) status = unbind_vm_resume(toy->gpu.vm);
        CHECK(status == 0 || status == -ENOENT);
        if (status != 0) return NULL;
    }
}

TEST(closing, "closing a device waits for a suspend and a resume that another thread is at") {
    for (unsigned round = 0; round < 50; round++) {
        struct toy toy;
        pthread_t thread;
        toy_init(&toy, TOY_BY_THREAD);
        toy_open(&toy, UNBIND_EXECUTOR_POOL);
        unbind_vma *vma = new_vma(&toy, PAGE, 0x10000);
        REQUIRE(unbind_vma_bind(vma, 0) == 0);
        REQUIRE(pthread_create(&thread, NULL, suspend_and_resume, &toy) == 0);
        if (round % 2) sleep_ms(1);
        CHECK_EQUAL(unbind_device_close(toy.gpu.device, NULL), 0);
        pthread_join(thread, NULL);
        unbind_vma_unref(vma);
        unbind_vm_unref(toy.gpu.vm);
        unbind_device_unref(toy.gpu.device);
        toy_end(&toy);
    }
}
