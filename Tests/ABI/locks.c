/* SPDX-License-Identifier: MIT */
/* The lock of a buffer, lock contexts, and locking many (kernel selftest 43, drm_exec). */
#include "support.h"

enum { MANY = 8 };

/* A device with buffers to lock. */
struct scene {
    struct gpu gpu;
    unbind_bo *bos[MANY];
};

static void scene_open(struct scene *scene, uint32_t executor) {
    gpu_open(&scene->gpu, executor);
    for (int i = 0; i < MANY; i++) scene->bos[i] = make_bo(&scene->gpu, PAGE);
}

static void scene_close(struct scene *scene) {
    for (int i = 0; i < MANY; i++) unbind_bo_unref(scene->bos[i]);
    gpu_close(&scene->gpu);
}

static void begin(struct scene *scene, struct unbind_lock_context *context) {
    memset(context, 0xa5, sizeof *context); /* need not be initialised */
    REQUIRE(unbind_lock_context_init(context, scene->gpu.device) == 0);
}

/* 1 if somebody has the lock. */
static int is_locked(unbind_bo *bo) {
    int status = unbind_bo_trylock(bo, NULL);
    if (status == 0) CHECK_EQUAL(unbind_bo_unlock(bo, NULL), 0);
    else CHECK_EQUAL(status, -EBUSY);
    return status != 0;
}

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

struct locker {
    struct scene *scene;
    struct unbind_lock_context *context;
    int index, status, is_done;
};

static void *lock_one(void *argument) {
    struct locker *locker = (struct locker *)argument;
    locker->status = unbind_bo_lock(locker->scene->bos[locker->index], locker->context, 0);
    __atomic_store_n(&locker->is_done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void until_wounded(struct unbind_lock_context *context) {
    for (int i = 0; i < 10000 && unbind_lock_context_is_wounded(context) == 0; i++) sleep_ms(1);
    REQUIRE(unbind_lock_context_is_wounded(context) == 1);
}

TEST(give_way, "a younger context that holds what an older one waits for is told so by its next lock, and gives way") {
    struct scene scene;
    struct unbind_lock_context older, younger;
    pthread_t thread;
    scene_open(&scene, UNBIND_EXECUTOR_POOL);
    begin(&scene, &older);
    begin(&scene, &younger);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &younger, 0), 0);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[1], &younger, 0), 0);
    struct locker locker = {&scene, &older, 1, 1, 0};
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
    struct locker locker = {&scene, &older, 0, 1, 0};
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
    struct locker locker = {&scene, &older, 0, 1, 0};
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

/* MARK: waiting */

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
    struct locker locker = {&scene, &context, 0, 1, 0};
    REQUIRE(pthread_create(&thread, NULL, lock_one, &locker) == 0);
    sleep_ms(10);
    CHECK_EQUAL(__atomic_load_n(&locker.is_done, __ATOMIC_ACQUIRE), 0);
    CHECK_EQUAL(unbind_bo_unlock(scene.bos[0], NULL), 0);
    pthread_join(thread, NULL);
    CHECK_EQUAL(locker.status, 0);
    struct locker plain = {&scene, NULL, 0, 1, 0};
    REQUIRE(pthread_create(&thread, NULL, lock_one, &plain) == 0);
    sleep_ms(5);
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
};

static void *queue_up(void *argument) {
    struct queue_up *waiter = (struct queue_up *)argument;
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
        begin(&scene, &waiters[i].context);
    }
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], NULL, 0), 0);
    for (int i = 5; i >= 0; i--) { /* they come the youngest first */
        REQUIRE(pthread_create(&threads[i], NULL, queue_up, &waiters[i]) == 0);
        sleep_ms(20);
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
    unbind_fence *timer = NULL;
    scene_open(&scene, executor);
    begin(&scene, &holder);
    begin(&scene, &context);
    CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &holder, 0), 0);
    struct unlocking unlocking = {scene.bos[0], &holder, 1};
    uint64_t time = unbind_device_now(scene.gpu.device) + (getenv("UNDER_VALGRIND") ? 500000000 : 20000000);
    REQUIRE(unbind_fence_create_timed(scene.gpu.device, time, &timer) == 0);
    REQUIRE(unbind_fence_add_callback(timer, &callback, unlock_it, &unlocking) == 0);
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

static void on_signal(int number) { (void)number; }

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
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGUSR1, &action, NULL);
    scene_open(&scene, executor);
    for (int kind = 0; kind < WAIT_KINDS; kind++) {
        struct unbind_lock_context older, context;
        pthread_t waiter, loser;
        int is_over = 0;
        struct interrupted wait = {&scene, &context, (enum wait_kind)kind, 1};
        begin(&scene, &older);
        begin(&scene, &context);
        struct locker elder = {&scene, &older, 3, 1, 0};
        if (kind == WAIT_RETRY) { /* told to give way when it asked for the first buffer */
            CHECK_EQUAL(unbind_bo_lock(scene.bos[3], &context, 0), 0);
            REQUIRE(pthread_create(&loser, NULL, lock_one, &elder) == 0);
            until_wounded(&context);
            CHECK_EQUAL(unbind_bo_lock(scene.bos[0], &context, 0), -EDEADLK);
        }
        CHECK_EQUAL(unbind_bo_lock(scene.bos[0], NULL, 0), 0);
        REQUIRE(pthread_create(&waiter, NULL, wait_interrupted, &wait) == 0);
        for (int i = 0; i < 2000 && !is_over; i++) {
            sleep_ms(2);
            pthread_kill(waiter, SIGUSR1);
            is_over = pthread_tryjoin_np(waiter, NULL) == 0;
        }
        REQUIRE(is_over);
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
    struct locker locker = {&scene, &waiting, 1, 1, 0};
    REQUIRE(pthread_create(&thread, NULL, lock_one, &locker) == 0);
    sleep_ms(20);
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
