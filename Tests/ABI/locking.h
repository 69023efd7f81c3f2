/* SPDX-License-Identifier: MIT */
/* What the tests of buffers' locks share: a device with buffers to lock, and a thread that locks one. */
#ifndef TESTS_ABI_LOCKING_H
#define TESTS_ABI_LOCKING_H

#include "support.h"

enum { MANY = 8 };

/* A device with buffers to lock. */
struct scene {
    struct gpu gpu;
    unbind_bo *bos[MANY];
};

static inline void scene_open(struct scene *scene, uint32_t executor) {
    gpu_open(&scene->gpu, executor);
    for (int i = 0; i < MANY; i++) scene->bos[i] = make_bo(&scene->gpu, PAGE);
}

static inline void scene_close(struct scene *scene) {
    for (int i = 0; i < MANY; i++) unbind_bo_unref(scene->bos[i]);
    gpu_close(&scene->gpu);
}

static inline void begin(struct scene *scene, struct unbind_lock_context *context) {
    memset(context, 0xa5, sizeof *context); /* need not be initialised */
    REQUIRE(unbind_lock_context_init(context, scene->gpu.device) == 0);
}

/* 1 if somebody has the lock. */
static inline int is_locked(unbind_bo *bo) {
    int status = unbind_bo_trylock(bo, NULL);
    if (status == 0) CHECK_EQUAL(unbind_bo_unlock(bo, NULL), 0);
    else CHECK_EQUAL(status, -EBUSY);
    return status != 0;
}

struct locker {
    struct scene *scene;
    struct unbind_lock_context *context;
    int index, status, is_done;
    pid_t thread; /* once it is about to lock */
};

static inline void *lock_one(void *argument) {
    struct locker *locker = (struct locker *)argument;
    __atomic_store_n(&locker->thread, gettid(), __ATOMIC_RELEASE);
    locker->status = unbind_bo_lock(locker->scene->bos[locker->index], locker->context, 0);
    __atomic_store_n(&locker->is_done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static inline void until_wounded(struct unbind_lock_context *context) {
    while (unbind_lock_context_is_wounded(context) == 0) sleep_ms(1);
    CHECK_EQUAL(unbind_lock_context_is_wounded(context), 1);
}

#endif /* TESTS_ABI_LOCKING_H */
