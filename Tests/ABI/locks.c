/* SPDX-License-Identifier: MIT */
/* The lock of a buffer, lock contexts, and locking many (kernel selftest 43, drm_exec). */
#include "locking.h"

TEST(lock, "selftest 43, lock: a buffer that is locked is so for everybody else, until the context ends") {
    struct scene scene;
    struct unbind_lock_context context;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &context);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), 0);
    CHECK_EQUAL(unbind_lock_context_is_wounded(&context), 0);
    CHECK(is_locked(scene.bos[0]));
    CHECK(!is_locked(scene.bos[1]));
    unbind_lock_context_fini(&context);
    CHECK(!is_locked(scene.bos[0]));
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), -EINVAL); /* has ended */
    scene_close(&scene);
}

TEST(unlock, "selftest 43, lock and unlock: only who has a lock drops it, and it can be taken again") {
    struct scene scene;
    struct unbind_lock_context context, other;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &context);
    begin(&scene, &other);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, UNBIND_WAIT_INTERRUPTIBLE), 0);
        CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], &other), -EINVAL);
        CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], NULL), -EINVAL);
        CHECK(is_locked(scene.bos[0]));
        CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], &context), 0);
        CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], &context), -EINVAL);
        CHECK(!is_locked(scene.bos[0]));
    }
    unbind_lock_context_fini(&other);
    unbind_lock_context_fini(&context);
    scene_close(&scene);
}

TEST(duplicates, "selftest 43, duplicates: the second lock of a buffer tells so, and a list may name it often") {
    struct scene scene;
    struct unbind_lock_context context;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    unbind_bo *list[5] = {scene.bos[0], scene.bos[1], scene.bos[0], scene.bos[0], scene.bos[2]};
    begin(&scene, &context);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), 0);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), -EALREADY);
    CHECK_EQUAL(unbind_bo_trylock(scene.bos[0], &context), -EALREADY);
    CHECK_EQUAL(unbind_lock_context_retry(&context, 0), 0); /* not a reason to begin again */
    CHECK_EQUAL(unbind_bo_lock_array(list, 5, 0, &context, 0), 0);
    CHECK(is_locked(list[0]) && is_locked(list[1]) && is_locked(list[4]));
    unbind_lock_context_unlock_all(&context);
    CHECK(!is_locked(list[0]) && !is_locked(list[1]) && !is_locked(list[4]));
    CHECK_EQUAL(unbind_bo_lock_array(NULL, 0, 0, &context, 0), 0);
    unbind_lock_context_fini(&context);
    scene_close(&scene);
}

TEST(prepare, "selftest 43, prepare: slots are reserved with the lock, in a list for each time a buffer is named") {
    struct scene scene;
    struct unbind_lock_context context;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    unbind_bo *list[3] = {scene.bos[0], scene.bos[1], scene.bos[0]};
    unbind_fence *fence = make_fence(&scene.gpu);
    begin(&scene, &context);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), 0);
    CHECK_EQUAL(unbind_bo_reserve_fences(scene.bos[0], &context, 1), 0);
    CHECK_EQUAL(unbind_bo_lock_array(list, 3, 2, &context, 0), 0);
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(unbind_bo_add_fence(scene.bos[0], &context, fence, UNBIND_USAGE_READ), 0);
    }
    CHECK_EQUAL(unbind_bo_add_fence(scene.bos[0], &context, fence, UNBIND_USAGE_READ), -ENOSPC);
    CHECK_EQUAL(unbind_bo_unreserve_fences(scene.bos[1], &context, 3), -EINVAL);
    CHECK_EQUAL(unbind_bo_unreserve_fences(scene.bos[1], &context, 2), 0);
    CHECK_EQUAL(unbind_bo_add_fence(scene.bos[1], &context, fence, UNBIND_USAGE_READ), -ENOSPC);
    unbind_lock_context_fini(&context);
    signal_and_drop(fence);
    scene_close(&scene);
}

TEST(twice, "selftest 43, loop twice: a context is used again and again, also after it gave everything up") {
    struct scene scene;
    struct unbind_lock_context context;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &context);
    for (int round = 0; round < 3; round++) {
        int again, passes = 0;
        do {
            passes++;
            for (int i = 0; i < MANY; i++) CHECK_EQUAL(unbind_bo_lock(scene.bos[i], &context, 0), 0);
        } while ((again = unbind_lock_context_retry(&context, 0)) > 0);
        CHECK_EQUAL(again, 0);
        CHECK_EQUAL(passes, 1);
        unbind_lock_context_unlock_all(&context);
        CHECK_EQUAL(unbind_bo_lock_array(scene.bos, MANY, 1, &context, 0), 0);
        unbind_lock_context_unlock_all(&context);
    }
    unbind_lock_context_fini(&context);
    scene_close(&scene);
}

/* MARK: giving way */

TEST(give_way, "a younger context that holds what an older one waits for is told so by its next lock, and gives way") {
    struct scene scene;
    struct unbind_lock_context older, younger;
    pthread_t thread;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &older);
    begin(&scene, &younger);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &younger, 0), 0);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[1], &younger, 0), 0);
    struct locker locker = {&scene, &older, 1, 1, 0, 0};
    REQUIRE(pthread_create(&thread, NULL, lock_one, &locker) == 0);
    until_wounded(&younger);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[2], &younger, 0), -EDEADLK); /* although nobody has it */
    CHECK(!is_locked(scene.bos[2]));
    CHECK_EQUAL(unbind_bo_lock_slow(scene.bos[2], &younger, 0), -EINVAL); /* not with locks in hand */
    CHECK_EQUAL(__atomic_load_n(&locker.is_done, __ATOMIC_ACQUIRE), 0);
    unbind_lock_context_unlock_all(&younger);
    pthread_join(thread, NULL);
    CHECK_EQUAL(locker.status, 0);
    CHECK_EQUAL(unbind_lock_context_is_wounded(&younger), 0);
    CHECK(!is_locked(scene.bos[0]) && is_locked(scene.bos[1]));
    CHECK_EQUAL(unbind_bo_lock_slow(scene.bos[2], &younger, 0), 0);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &younger, 0), 0);
    unbind_lock_context_fini(&younger);
    unbind_lock_context_fini(&older);
    scene_close(&scene);
}

/* Locks its two in a given order, and counts the rounds that takes. */
struct crossing {
    struct scene *scene;
    struct unbind_lock_context *context;
    pthread_barrier_t *barrier;
    int first, second, status, rounds;
};

static void *cross(void *argument) {
    struct crossing *crossing = (struct crossing *)argument;
    int again, is_first = 1;
    crossing->rounds = 0;
    do {
        crossing->rounds++;
        crossing->status = unbind_bo_lock(crossing->scene->bos[crossing->first], crossing->context, 0);
        if (is_first) pthread_barrier_wait(crossing->barrier);
        is_first = 0;
        if (crossing->status == 0) {
            crossing->status = unbind_bo_lock(crossing->scene->bos[crossing->second], crossing->context, 0);
        }
    } while ((again = unbind_lock_context_retry(crossing->context, 0)) > 0);
    if (again < 0) crossing->status = again;
    unbind_lock_context_unlock_all(crossing->context);
    return NULL;
}

static void cross_locks(uint32_t executor) {
    struct scene scene;
    struct unbind_lock_context contexts[2];
    pthread_barrier_t barrier;
    pthread_t thread;
    scene_open(&scene, executor);
    pthread_barrier_init(&barrier, NULL, 2);
    for (int round = 0; round < 200; round++) {
        begin(&scene, &contexts[0]);
        begin(&scene, &contexts[1]);
        struct crossing older = {&scene, &contexts[0], &barrier, 0, 1, 1, 0};
        struct crossing younger = {&scene, &contexts[1], &barrier, 1, 0, 1, 0};
        REQUIRE(pthread_create(&thread, NULL, cross, &older) == 0);
        cross(&younger);
        pthread_join(thread, NULL);
        CHECK_EQUAL(older.status, 0);
        CHECK_EQUAL(older.rounds, 1); /* the older one never gives way */
        CHECK_EQUAL(younger.status, 0);
        CHECK(younger.rounds == 2);
        unbind_lock_context_fini(&contexts[0]);
        unbind_lock_context_fini(&contexts[1]);
    }
    pthread_barrier_destroy(&barrier);
    scene_close(&scene);
}

TEST(crossing_pool, "two threads lock two buffers in opposite orders: the younger gives way once, the older never") {
    cross_locks(UNBIND_EXECUTOR_POOL);
}

TEST(crossing_manual, "so do two threads on the manual executor") { cross_locks(UNBIND_EXECUTOR_MANUAL); }

TEST(prelocked, "after giving way the buffer that was not to be had is locked first, and its lock then tells success") {
    struct scene scene;
    struct unbind_lock_context older, younger;
    pthread_t thread;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &older);
    begin(&scene, &younger);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &younger, 0), 0);
    struct locker locker = {&scene, &older, 0, 1, 0, 0};
    REQUIRE(pthread_create(&thread, NULL, lock_one, &locker) == 0);
    until_wounded(&younger);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[3], &younger, 0), -EDEADLK);
    CHECK_EQUAL(unbind_lock_context_retry(&younger, 0), 1);
    pthread_join(thread, NULL);
    CHECK(is_locked(scene.bos[3]));
    CHECK_EQUAL(unbind_bo_lock(scene.bos[3], &younger, 0), 0);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[3], &younger, 0), -EALREADY);
    CHECK_EQUAL(unbind_lock_context_retry(&younger, 0), 0);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[3], &younger), 0);
    unbind_lock_context_fini(&younger);
    unbind_lock_context_fini(&older);
    scene_close(&scene);
}

TEST(array_gives_way, "a list gives way by itself if nothing was locked before it, else the caller has to") {
    struct scene scene;
    struct unbind_lock_context older, younger;
    pthread_t thread;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    unbind_fence *fence = make_fence(&scene.gpu);
    begin(&scene, &older);
    begin(&scene, &younger);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &younger, 0), 0);
    CHECK_EQUAL(unbind_bo_reserve_fences(scene.bos[0], &younger, 1), 0);
    struct locker locker = {&scene, &older, 0, 1, 0, 0};
    REQUIRE(pthread_create(&thread, NULL, lock_one, &locker) == 0);
    until_wounded(&younger);
    unbind_bo *list[3] = {scene.bos[0], scene.bos[1], scene.bos[2]};
    CHECK_EQUAL(unbind_bo_lock_array(list, 3, 4, &younger, 0), -EDEADLK);
    CHECK(is_locked(scene.bos[0]) && !is_locked(scene.bos[1]) && !is_locked(scene.bos[2]));
    CHECK_EQUAL(unbind_bo_unreserve_fences(scene.bos[0], &younger, 2), -EINVAL); /* what it had before */
    CHECK_EQUAL(unbind_bo_add_fence(scene.bos[0], &younger, fence, UNBIND_USAGE_KERNEL), 0);
    unbind_lock_context_unlock_all(&younger);
    pthread_join(thread, NULL);
    unbind_lock_context_unlock_all(&older);
    CHECK_EQUAL(unbind_bo_lock_array(list, 3, 4, &younger, 0), 0);
    unbind_lock_context_fini(&younger);
    unbind_lock_context_fini(&older);
    signal_and_drop(fence);
    scene_close(&scene);
}

/* MARK: the rest of the library */

static void hold_across(uint32_t executor) {
    struct scene scene;
    struct unbind_lock_context context;
    unbind_fence *fences[3] = {NULL, NULL, NULL};
    scene_open(&scene, executor);
    unbind_queue *queue = make_queue(&scene.gpu);
    unbind_vma *vma = make_vma(&scene.gpu, scene.bos[0], 0x10000), *other = make_vma(&scene.gpu, scene.bos[1], 0x10000);
    struct unbind_command fill = command_fill(0x10000, 64, 7);
    begin(&scene, &context);
    CHECK_EQUAL(unbind_bo_lock_array(scene.bos, MANY, 1, &context, 0), 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(submit(queue, &fill, 1, vma, NULL, &fences[0]), 0);
    CHECK_EQUAL(unbind_bo_add_fence(scene.bos[0], &context, fences[0], UNBIND_USAGE_WRITE), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fences[1]), 0);
    CHECK_EQUAL(unbind_vma_bind_async(other, 0, &fences[2]), 0);
    CHECK_EQUAL(unbind_bo_wait(scene.bos[0], FOREVER, 0), 0);
    for (int i = 0; i < 3; i++) CHECK_EQUAL(finish(fences[i]), 0);
    CHECK_EQUAL(unbind_vma_unbind(other, 0), 0);
    CHECK(is_locked(scene.bos[0]) && is_locked(scene.bos[7]));
    unbind_lock_context_fini(&context);
    unbind_vma_unref(vma);
    unbind_vma_unref(other);
    unbind_queue_unref(queue);
    scene_close(&scene);
}

TEST(across, "a buffer is bound, used, waited for and unbound while its lock is held, under every executor") {
    hold_across(UNBIND_EXECUTOR_POOL);
    hold_across(UNBIND_EXECUTOR_MANUAL);
    hold_across(UNBIND_EXECUTOR_SIMULATED);
}

TEST(freed_locked, "a buffer that is dropped while it is locked goes with the lock of its context") {
    struct scene scene;
    struct unbind_lock_context context;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &context);
    uint64_t before = device_stats(scene.gpu.device).system_bytes;
    unbind_bo *bo = make_bo(&scene.gpu, 16 * PAGE), *plain = make_bo(&scene.gpu, 16 * PAGE);
    CHECK_EQUAL(unbind_bo_lock(bo, &context, 0), 0);
    CHECK_EQUAL(unbind_bo_reserve_fences(bo, &context, 3), 0);
    unbind_bo_unref(bo);
    CHECK_EQUAL(device_stats(scene.gpu.device).system_bytes, before + 32 * PAGE);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), 0);
    unbind_lock_context_unlock_all(&context);
    CHECK_EQUAL(device_stats(scene.gpu.device).system_bytes, before + 16 * PAGE);
    CHECK_EQUAL(unbind_bo_lock(plain, NULL, 0), 0);
    CHECK_EQUAL(unbind_bo_reserve_fences(plain, NULL, 3), 0);
    unbind_bo_unref(plain); /* without a context nobody could unlock it any more */
    CHECK_EQUAL(device_stats(scene.gpu.device).system_bytes, before);
    unbind_lock_context_fini(&context);
    scene_close(&scene);
}

TEST(closed, "locks can be dropped after the device was closed, not taken, and who waits for one still gets it") {
    struct scene scene;
    struct unbind_lock_context context, waiting;
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
    pthread_t thread;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &context);
    begin(&scene, &waiting);
    unbind_fence *fence = make_fence(&scene.gpu);
    CHECK_EQUAL(unbind_bo_lock_array(scene.bos, 2, 2, &context, 0), 0);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[2], NULL, 0), 0);
    CHECK_EQUAL(unbind_bo_add_fence(scene.bos[0], &context, fence, UNBIND_USAGE_READ), 0);
    struct locker locker = {&scene, &waiting, 1, 1, 0, 0};
    REQUIRE(pthread_create(&thread, NULL, lock_one, &locker) == 0);
    until_asleep(&locker.thread);
    unbind_vm_unref(scene.gpu.vm);
    CHECK_EQUAL(unbind_device_close(scene.gpu.device, &report), 0);
    CHECK_EQUAL(report.bos, MANY);
    CHECK_EQUAL(report.fences_cancelled, 1);
    CHECK_EQUAL(report.locks, 2); /* the plain one goes with its buffer */
    CHECK_EQUAL(unbind_bo_is_signaled(scene.bos[0], UNBIND_USAGE_BOOKKEEP), 1);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[3], &context, 0), -ENOENT);
    CHECK_EQUAL(unbind_bo_trylock(scene.bos[3], NULL), -ENOENT);
    CHECK_EQUAL(unbind_bo_lock_array(&scene.bos[3], 2, 0, &context, 0), -ENOENT);
    CHECK_EQUAL(unbind_bo_reserve_fences(scene.bos[0], &context, 1), -ENOENT);
    CHECK_EQUAL(unbind_bo_add_fence(scene.bos[0], &context, fence, UNBIND_USAGE_READ), -ENOENT);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[1], &context), 0);
    pthread_join(thread, NULL);
    CHECK_EQUAL(locker.status, 0);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[2], NULL), 0);
    unbind_fence_unref(fence);
    for (int i = 0; i < MANY; i++) unbind_bo_unref(scene.bos[i]);
    unbind_device_unref(scene.gpu.device);
    CHECK(scene.gpu.hooks.blocks > 0); /* the two locks keep their buffers */
    unbind_lock_context_fini(&waiting);
    unbind_lock_context_fini(&context);
    CHECK_EQUAL(scene.gpu.hooks.blocks, 0);
    struct unbind_lock_context late;
    memset(&late, 0, sizeof late);
    CHECK_EQUAL(unbind_lock_context_retry(&late, 0), -EINVAL);
}

/* MARK: stress */

struct crowd {
    struct scene *scene;
    unsigned seed;
    int users[MANY], *shared;
    unsigned rounds, most;
};

static void *jostle(void *argument) {
    struct crowd *crowd = (struct crowd *)argument;
    unsigned seed = crowd->seed;
    for (unsigned round = 0; round < crowd->rounds; round++) {
        struct unbind_lock_context context;
        unbind_bo *list[5];
        int chosen[5], status, again;
        unsigned count = 1 + (unsigned)rand_r(&seed) % 5, passes = 0;
        for (unsigned i = 0; i < count; i++) {
            chosen[i] = rand_r(&seed) % MANY;
            list[i] = crowd->scene->bos[chosen[i]];
        }
        REQUIRE(unbind_lock_context_init(&context, crowd->scene->gpu.device) == 0);
        if (round % 2) {
            CHECK_EQUAL(unbind_bo_lock_array(list, count, 1, &context, 0), 0);
        } else {
            do {
                passes++;
                for (unsigned i = 0; i < count; i++) {
                    status = unbind_bo_lock(list[i], &context, 0);
                    CHECK(status == 0 || status == -EALREADY || status == -EDEADLK);
                    if (status == -EDEADLK) break;
                }
            } while ((again = unbind_lock_context_retry(&context, 0)) > 0);
            CHECK_EQUAL(again, 0);
        }
        if (passes > crowd->most) crowd->most = passes;
        /* Nobody else is at them now. */
        for (unsigned i = 0; i < count; i++) crowd->shared[chosen[i]]++;
        for (unsigned i = 0; i < count; i++) crowd->users[chosen[i]]++;
        unbind_lock_context_fini(&context);
    }
    return NULL;
}

TEST(stress, "four threads lock random buffers in random orders: each gets all it wants, alone, and soon") {
    struct scene scene;
    struct crowd crowds[4];
    pthread_t threads[4];
    int shared[MANY] = {0}, sums[MANY] = {0};
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    for (unsigned i = 0; i < 4; i++) {
        memset(&crowds[i], 0, sizeof crowds[i]);
        crowds[i].scene = &scene;
        crowds[i].seed = i + 1;
        crowds[i].shared = shared;
        crowds[i].rounds = getenv("UNDER_VALGRIND") ? 200 : 5000;
        REQUIRE(pthread_create(&threads[i], NULL, jostle, &crowds[i]) == 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        for (int bo = 0; bo < MANY; bo++) sums[bo] += crowds[i].users[bo];
        /* An older context that is through with its five cannot come back: there are at most three of them, and each
         * may itself have begun again because of those before it. */
        CHECK(crowds[i].most <= 1 + 5 + 5 * 6 + 5 * 36);
    }
    for (int bo = 0; bo < MANY; bo++) CHECK_EQUAL(shared[bo], sums[bo]);
    scene_close(&scene);
}
