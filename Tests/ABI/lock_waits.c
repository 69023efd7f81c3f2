/* SPDX-License-Identifier: MIT */
/* Waiting for the lock of a buffer: who gets it next, what runs meanwhile, and signals that end the wait. */
#include "locking.h"

TEST(without_context, "a lock without a context keeps everybody out, and cannot be told to give way") {
    struct scene scene;
    struct unbind_lock_context context;
    pthread_t thread;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &context);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], NULL, 0), 0);
    CHECK_EQUAL(unbind_bo_trylock(scene.bos[0], NULL), -EBUSY);
    CHECK_EQUAL(unbind_bo_trylock(scene.bos[0], &context), -EBUSY);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], &context), -EINVAL);
    struct locker locker = {&scene, &context, 0, 1, 0, 0};
    REQUIRE(pthread_create(&thread, NULL, lock_one, &locker) == 0);
    until_asleep(&locker.thread);
    CHECK_EQUAL(__atomic_load_n(&locker.is_done, __ATOMIC_ACQUIRE), 0);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], NULL), 0);
    pthread_join(thread, NULL);
    CHECK_EQUAL(locker.status, 0);
    struct locker plain = {&scene, NULL, 0, 1, 0, 0};
    REQUIRE(pthread_create(&thread, NULL, lock_one, &plain) == 0);
    until_asleep(&plain.thread);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], &context), 0);
    pthread_join(thread, NULL);
    CHECK_EQUAL(plain.status, 0);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], &context), -EINVAL);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], NULL), 0);
    unbind_lock_context_fini(&context);
    scene_close(&scene);
}

struct queue_up {
    struct scene *scene;
    struct unbind_lock_context context;
    int number, *order, *next;
    pid_t thread; /* once it is about to lock */
};

static void *queue_up(void *argument) {
    struct queue_up *waiter = (struct queue_up *)argument;
    __atomic_store_n(&waiter->thread, gettid(), __ATOMIC_RELEASE);
    CHECK_EQUAL(unbind_bo_lock(waiter->scene->bos[0], &waiter->context, 0), 0);
    waiter->order[(*waiter->next)++] = waiter->number;
    CHECK_EQUAL(unbind_bo_unlock(waiter->scene->bos[0], &waiter->context), 0);
    return NULL;
}

TEST(in_order, "of those who wait for a lock the oldest gets it next, and nobody comes in between") {
    struct scene scene;
    struct queue_up waiters[6];
    pthread_t threads[6];
    int order[6], next = 0;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    for (int i = 0; i < 6; i++) {
        waiters[i].scene = &scene;
        waiters[i].number = i;
        waiters[i].order = order;
        waiters[i].next = &next;
        waiters[i].thread = 0;
        begin(&scene, &waiters[i].context);
    }
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], NULL, 0), 0);
    for (int i = 5; i >= 0; i--) { /* they come the youngest first */
        REQUIRE(pthread_create(&threads[i], NULL, queue_up, &waiters[i]) == 0);
        until_asleep(&waiters[i].thread);
    }
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], NULL), 0);
    for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 6; i++) {
        CHECK_EQUAL(order[i], i);
        unbind_lock_context_fini(&waiters[i].context);
    }
    scene_close(&scene);
}

struct unlocking {
    unbind_bo *bo;
    struct unbind_lock_context *context;
    int status;
};

static void unlock_it(unbind_fence *fence, void *user_data) {
    struct unlocking *unlocking = (struct unlocking *)user_data;
    (void)fence;
    unlocking->status = unbind_bo_unlock(unlocking->bo, unlocking->context);
}

/* The waiting thread itself runs the work whose callback drops the lock. */
static void wait_runs_work(uint32_t executor) {
    struct scene scene;
    struct unbind_lock_context holder, context;
    struct unbind_fence_callback callback;
    scene_open(&scene, executor);
    begin(&scene, &holder);
    begin(&scene, &context);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &holder, 0), 0);
    struct unlocking unlocking = {scene.bos[0], &holder, 1};
    uint64_t time;
    unbind_fence *timer = timed_calling(scene.gpu.device, &callback, unlock_it, &unlocking, &time);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), 0);
    /* The lock is handed over before the call that drops it has returned, and that call uses the context. */
    CHECK_EQUAL(unbind_device_wait_idle(scene.gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(unlocking.status, 0);
    if (executor == UNBIND_EXECUTOR_SIMULATED) CHECK_EQUAL(unbind_device_now(scene.gpu.device), time);
    else CHECK(unbind_device_now(scene.gpu.device) >= time);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], &holder), -EINVAL);
    unbind_lock_context_fini(&holder);
    unbind_lock_context_fini(&context);
    CHECK(!is_locked(scene.bos[0]));
    unbind_fence_unref(timer);
    scene_close(&scene);
}

TEST(wait_manual, "on the manual executor the thread that waits for a lock runs the device's work") {
    wait_runs_work(UNBIND_EXECUTOR_MANUAL);
}
TEST(wait_simulated, "on the simulated executor waiting for a lock passes virtual time until it is dropped") {
    wait_runs_work(UNBIND_EXECUTOR_SIMULATED);
}
TEST(wait_pool, "on the pool a callback of a worker may drop the lock that another thread waits for") {
    wait_runs_work(UNBIND_EXECUTOR_POOL);
}

TEST(simulated_deadlock, "in a simulation waiting for a lock that nothing can drop is a deadlock, with a dump") {
    struct scene scene;
    struct unbind_lock_context first, second;
    scene_open(&scene, UNBIND_EXECUTOR_SIMULATED);
    begin(&scene, &first);
    begin(&scene, &second);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &first, 0), 0);
    uint32_t messages = scene.gpu.messages;
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &second, 0), -EDEADLK);
    CHECK(scene.gpu.messages > messages);
    CHECK_EQUAL(unbind_lock_context_is_wounded(&first), 0); /* it is the older one */
    CHECK_EQUAL(unbind_lock_context_retry(&second, 0), -EDEADLK);
    CHECK_EQUAL(unbind_lock_context_retry(&second, 0), -EDEADLK);
    CHECK_EQUAL(unbind_bo_lock_slow(scene.bos[0], &second, 0), -EDEADLK);
    CHECK_EQUAL(unbind_bo_lock_array(scene.bos, 2, 1, &second, 0), -EDEADLK);
    CHECK(!is_locked(scene.bos[1]));
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], NULL, 0), -EDEADLK);
    CHECK_EQUAL(unbind_bo_trylock(scene.bos[0], &second), -EBUSY);
    /* An older context leaves its mark even so. */
    unbind_lock_context_unlock_all(&first);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &second, 0), 0);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &first, 0), -EDEADLK);
    CHECK_EQUAL(unbind_lock_context_is_wounded(&second), 1);
    messages = scene.gpu.messages;
    CHECK_EQUAL(unbind_bo_lock(scene.bos[1], &second, 0), -EDEADLK); /* gives way: no wait, and no dump */
    CHECK_EQUAL(scene.gpu.messages, messages);
    unbind_lock_context_fini(&second);
    unbind_lock_context_fini(&first);
    scene_close(&scene);
}

/* MARK: M10 */

enum wait_kind { WAIT_LOCK, WAIT_PLAIN, WAIT_SLOW, WAIT_ARRAY, WAIT_RETRY, WAIT_KINDS };

struct interrupted {
    struct scene *scene;
    struct unbind_lock_context *context;
    enum wait_kind kind;
    int status;
};

static void *wait_interrupted(void *argument) {
    struct interrupted *wait = (struct interrupted *)argument;
    struct unbind_lock_context *context = wait->context;
    unbind_bo *bo = wait->scene->bos[0];
    switch (wait->kind) {
    case WAIT_LOCK: wait->status = unbind_bo_lock(bo, context, UNBIND_WAIT_INTERRUPTIBLE); break;
    case WAIT_PLAIN: wait->status = unbind_bo_lock(bo, NULL, UNBIND_WAIT_INTERRUPTIBLE); break;
    case WAIT_SLOW: wait->status = unbind_bo_lock_slow(bo, context, UNBIND_WAIT_INTERRUPTIBLE); break;
    case WAIT_ARRAY: {
        unbind_bo *list[3] = {wait->scene->bos[1], bo, wait->scene->bos[2]};
        wait->status = unbind_bo_lock_array(list, 3, 2, context, UNBIND_WAIT_INTERRUPTIBLE);
        break;
    }
    default: wait->status = unbind_lock_context_retry(context, UNBIND_WAIT_INTERRUPTIBLE);
    }
    return NULL;
}

static void interrupt_waits(uint32_t executor) {
    struct scene scene;
    take_signals(0);
    scene_open(&scene, executor);
    for (int kind = 0; kind < WAIT_KINDS; kind++) {
        struct unbind_lock_context older, context;
        pthread_t waiter, loser;
        struct interrupted wait = {&scene, &context, (enum wait_kind)kind, 1};
        begin(&scene, &older);
        begin(&scene, &context);
        struct locker elder = {&scene, &older, 3, 1, 0, 0};
        if (kind == WAIT_RETRY) { /* told to give way when it asked for the first buffer */
            CHECK_EQUAL(unbind_bo_lock(scene.bos[3], &context, 0), 0);
            REQUIRE(pthread_create(&loser, NULL, lock_one, &elder) == 0);
            until_wounded(&context);
            CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), -EDEADLK);
        }
        CHECK_EQUAL(unbind_bo_lock(scene.bos[0], NULL, 0), 0);
        REQUIRE(pthread_create(&waiter, NULL, wait_interrupted, &wait) == 0);
        interrupt_until_over(waiter);
        CHECK_EQUAL(wait.status, -EINTR);
        if (kind == WAIT_RETRY) CHECK_EQUAL(unbind_lock_context_is_wounded(&context), 0);
        if (kind == WAIT_RETRY) pthread_join(loser, NULL);
        for (int i = 1; i < 3; i++) CHECK(!is_locked(scene.bos[i]));
        CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], NULL), 0);
        CHECK(!is_locked(scene.bos[0]));
        if (kind == WAIT_RETRY) CHECK_EQUAL(unbind_lock_context_retry(&context, 0), 1); /* can be repeated */
        CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), 0);
        unbind_lock_context_fini(&context);
        unbind_lock_context_fini(&older);
    }
    scene_close(&scene);
}

TEST(interrupted_pool, "M10: each wait for a lock may be interrupted, has changed nothing then, and can be repeated") {
    interrupt_waits(UNBIND_EXECUTOR_POOL);
}
TEST(interrupted_manual, "M10: so may the waits for locks on the manual executor") {
    interrupt_waits(UNBIND_EXECUTOR_MANUAL);
}

/* MARK: what a call that failed leaves */

/* The context, younger than the other, is told to give way when it asks for the second buffer. */
static void told_to_give_way(struct scene *scene, struct unbind_lock_context *context,
                             struct unbind_lock_context *older) {
    pthread_t loser;
    struct locker elder = {scene, older, 3, 1, 0, 0};
    CHECK_EQUAL(unbind_bo_lock(scene->bos[3], context, 0), 0);
    REQUIRE(pthread_create(&loser, NULL, lock_one, &elder) == 0);
    until_wounded(context);
    CHECK_EQUAL(unbind_bo_lock(scene->bos[1], context, 0), -EDEADLK);
    unbind_lock_context_unlock_all(context);
    pthread_join(loser, NULL);
    unbind_lock_context_unlock_all(older);
}

TEST(array_fails, "a list that cannot be locked leaves what was locked in advance so that its next lock gives 0") {
    struct scene scene;
    struct unbind_lock_context older, context;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&scene.gpu, UNBIND_EXECUTOR_POOL, &allocator);
    options.flags = UNBIND_DEVICE_NO_SLABS;
    REQUIRE(unbind_device_open_software(&options, &scene.gpu.device) == 0);
    REQUIRE(unbind_vm_create(scene.gpu.device, NULL, &scene.gpu.vm) == 0);
    for (int i = 0; i < MANY; i++) scene.bos[i] = make_bo(&scene.gpu, PAGE);
    begin(&scene, &older);
    begin(&scene, &context);
    for (int fails = 0; fails < 2; fails++) {
        told_to_give_way(&scene, &context, &older);
        CHECK_EQUAL(unbind_lock_context_retry(&context, 0), 1);
        unbind_bo *list[2] = {scene.bos[1], scene.bos[2]};
        scene.gpu.hooks.fail_every = (uint64_t)fails;
        CHECK_EQUAL(unbind_bo_lock_array(list, 2, 8, &context, 0), fails ? -ENOMEM : 0);
        scene.gpu.hooks.fail_every = 0;
        CHECK_EQUAL(unbind_bo_lock(scene.bos[1], &context, 0), fails ? 0 : -EALREADY);
        CHECK_EQUAL(unbind_bo_lock(scene.bos[1], &context, 0), -EALREADY);
        unbind_lock_context_unlock_all(&context);
        unbind_bo_unref(scene.bos[1]);
        scene.bos[1] = make_bo(&scene.gpu, PAGE); /* one without slots */
    }
    unbind_lock_context_fini(&context);
    unbind_lock_context_fini(&older);
    scene_close(&scene);
}

TEST(slow_interrupted, "a slow lock that was interrupted leaves to retry what that would wait for") {
    struct scene scene;
    struct unbind_lock_context older, context;
    pthread_t waiter;
    take_signals(0);
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &older);
    begin(&scene, &context);
    told_to_give_way(&scene, &context, &older);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], NULL, 0), 0);
    struct interrupted wait = {&scene, &context, WAIT_SLOW, 1};
    REQUIRE(pthread_create(&waiter, NULL, wait_interrupted, &wait) == 0);
    interrupt_until_over(waiter);
    CHECK_EQUAL(wait.status, -EINTR);
    CHECK_EQUAL(unbind_lock_context_retry(&context, 0), 1);
    CHECK(is_locked(scene.bos[1]) && !is_locked(scene.bos[3]));
    unbind_lock_context_unlock_all(&context);
    told_to_give_way(&scene, &context, &older);
    CHECK_EQUAL(unbind_bo_lock_slow(scene.bos[1], &context, 0), 0);
    CHECK_EQUAL(unbind_lock_context_retry(&context, 0), 0);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], NULL), 0);
    unbind_lock_context_fini(&context);
    unbind_lock_context_fini(&older);
    scene_close(&scene);
}

TEST(array_interrupted, "a list whose own retry was interrupted leaves the context nothing to wait for") {
    struct scene scene;
    struct unbind_lock_context older, context;
    pthread_t waiter, loser;
    take_signals(0);
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &older);
    begin(&scene, &context);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], NULL, 0), 0);
    /* It gets the first of the list and waits for the second, until the older one asks for the first. */
    struct interrupted wait = {&scene, &context, WAIT_ARRAY, 1};
    struct locker elder = {&scene, &older, 1, 1, 0, 0};
    REQUIRE(pthread_create(&waiter, NULL, wait_interrupted, &wait) == 0);
    while (!is_locked(scene.bos[1])) sleep_ms(1);
    REQUIRE(pthread_create(&loser, NULL, lock_one, &elder) == 0);
    pthread_join(loser, NULL); /* which has the first: the other waits for the second within its retry */
    CHECK_EQUAL(elder.status, 0);
    interrupt_until_over(waiter);
    CHECK_EQUAL(wait.status, -EINTR);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], NULL), 0);
    CHECK_EQUAL(unbind_lock_context_retry(&context, 0), 0);
    CHECK(!is_locked(scene.bos[0]) && is_locked(scene.bos[1]) && !is_locked(scene.bos[2]));
    unbind_lock_context_fini(&context);
    unbind_lock_context_fini(&older);
    scene_close(&scene);
}
