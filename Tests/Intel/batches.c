/* SPDX-License-Identifier: MIT */
/* Batch buffers of the caller's, in the GPU's own commands, on engines of each class. */
#include "intel_support.h"

#define BASE UINT64_C(0x100000000)
#define BATCH (BASE + 0x10000)

/* A buffer for results, at BASE, and one for a batch, at BATCH. */
struct scene {
    struct gpu gpu;
    struct binding data, batch;
    uint32_t *words;
    unsigned count;
};

static void scene_open(struct scene *scene) {
    intel_open(&scene->gpu, UNBIND_EXECUTOR_POOL);
    scene->data = bind_buffer(&scene->gpu, PAGE, BASE);
    scene->batch = bind_buffer(&scene->gpu, PAGE, BATCH);
    scene->words = (uint32_t *)unbind_bo_cpu_pointer(scene->batch.bo);
    scene->count = 0;
}

static void scene_close(struct scene *scene) {
    drop_binding(&scene->data);
    drop_binding(&scene->batch);
    gpu_close(&scene->gpu);
}

static void put(struct scene *scene, uint32_t word) { scene->words[scene->count++] = word; }

static void put_address(struct scene *scene, uint64_t address) {
    put(scene, (uint32_t)address);
    put(scene, (uint32_t)(address >> 32));
}

/* MI_STORE_DATA_IMM. */
static void put_store(struct scene *scene, uint64_t address, uint32_t value) {
    put(scene, 0x10000002);
    put_address(scene, address);
    put(scene, value);
}

/* MI_SEMAPHORE_WAIT: polls until the memory is the value. */
static void put_wait(struct scene *scene, uint64_t address, uint32_t value) {
    put(scene, 0x0e00c002);
    put(scene, value);
    put_address(scene, address);
}

/* MI_BATCH_BUFFER_END. */
static void put_end(struct scene *scene) { put(scene, 0x05000000); }

static struct unbind_command command_batch(uint64_t address) { return command_of(UNBIND_COMMAND_BATCH, address); }

/* A job that uses both buffers. */
static unbind_fence *begin(struct scene *scene, unbind_queue *queue, const struct unbind_command *commands,
                           uint32_t count) {
    const uint32_t both = UNBIND_USE_READ | UNBIND_USE_WRITE;
    struct unbind_submit_vma uses[] = {{scene->data.vma, both, 0}, {scene->batch.vma, UNBIND_USE_READ, 0}};
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    unbind_fence *fence = NULL;
    job.commands = commands;
    job.command_count = count;
    job.vmas = uses;
    job.vma_count = 2;
    REQUIRE(unbind_queue_submit(queue, &job, &fence) == 0);
    return fence;
}

static uint32_t data_word(struct scene *scene, unsigned index) {
    return ((uint32_t *)unbind_bo_cpu_pointer(scene->data.bo))[index];
}

static const struct engines {
    const char *machine;
    uint32_t mask; /* of UNBIND_QUEUE_* */
} engines[] = {{"lnl", 0x1f}, {"bmg", 0x1f}, {"pvc", 0x0d}, {"tgl", 0x1b}, {"dg2", 0x1f}, {"mtl", 0x1f}};
enum { MACHINES = sizeof engines / sizeof *engines };

TEST(classes, "a batch runs on engines of each class that there are, between commands of the library's") {
    for (unsigned i = 0; i < MACHINES; i++) {
        struct scene scene;
        machine(engines[i].machine, NULL);
        scene_open(&scene);
        CHECK(unbind_device_capabilities(scene.gpu.device) & UNBIND_CAP_BATCH_BUFFERS);
        for (uint32_t kind = UNBIND_QUEUE_COPY; kind <= UNBIND_QUEUE_VIDEO_ENHANCE; kind++) {
            unbind_queue *queue = NULL;
            int status = unbind_queue_create(scene.gpu.vm, kind, &queue);
            CHECK_EQUAL(status, engines[i].mask >> kind & 1 ? 0 : -EOPNOTSUPP);
            if (status != 0) continue;
            scene.count = 0;
            put_store(&scene, BASE, 0xabc0 + kind);
            put_store(&scene, BASE + 4, 0xdef0 + kind);
            put_end(&scene);
            uint64_t seen = 0;
            struct unbind_command commands[] = {command_store(BASE, 7), command_store(BASE + 8, 8),
                                                command_batch(BATCH), command_load(BASE, &seen),
                                                command_store(BASE + 16, 9), command_batch(BATCH)};
            CHECK_EQUAL(finish(begin(&scene, queue, commands, 6)), 0);
            CHECK_EQUAL(seen, (UINT64_C(0xdef0) + kind) << 32 | (0xabc0 + kind));
            CHECK_EQUAL(data_word(&scene, 2), 8);
            CHECK_EQUAL(data_word(&scene, 4), 9);
            unbind_queue_unref(queue);
        }
        scene_close(&scene);
        log_check_clean();
    }
}

TEST(copies, "engines that are not for copies refuse FILL and COPY, and say so, and take the next job") {
    const char *const machines[] = {"lnl", "tgl"};
    for (unsigned i = 0; i < 2; i++) {
        struct scene scene;
        unbind_queue *queue = NULL;
        machine(machines[i], NULL);
        scene_open(&scene);
        REQUIRE(unbind_queue_create(scene.gpu.vm, UNBIND_QUEUE_RENDER, &queue) == 0);
        struct unbind_command fill = command_fill(BASE, PAGE, 1), copy = command_copy(BASE, BATCH, 64);
        CHECK_EQUAL(finish(begin(&scene, queue, &fill, 1)), -EOPNOTSUPP);
        CHECK_EQUAL(finish(begin(&scene, queue, &copy, 1)), -EOPNOTSUPP);
        CHECK_EQUAL(store(queue, scene.data.vma, BASE, 5), 0);
        CHECK_EQUAL(data_word(&scene, 0), 5);
        unbind_queue_unref(queue);
        scene_close(&scene);
        log_check_clean();
    }
}

TEST(unbinding, "unbinding what a running batch uses returns at once, and waits for the batch") {
    const char *const machines[] = {"lnl", "bmg", "tgl", "dg2"};
    for (unsigned i = 0; i < 4; i++) {
        struct scene scene;
        unbind_queue *queue = NULL;
        unbind_fence *unbound = NULL, *batch_unbound = NULL;
        machine(machines[i], NULL);
        scene_open(&scene);
        REQUIRE(unbind_queue_create(scene.gpu.vm, UNBIND_QUEUE_COMPUTE, &queue) == 0 ||
                unbind_queue_create(scene.gpu.vm, UNBIND_QUEUE_RENDER, &queue) == 0);
        put_store(&scene, BASE, 1);
        put_wait(&scene, BASE + 64, 1);
        put_store(&scene, BASE + 4, 2);
        put_end(&scene);
        struct unbind_command command = command_batch(BATCH);
        unbind_fence *job = begin(&scene, queue, &command, 1);
        volatile uint32_t *words = (volatile uint32_t *)unbind_bo_cpu_pointer(scene.data.bo);
        for (unsigned tries = 0; tries < 4000 && words[0] != 1; tries++) sleep_ms(1);
        CHECK_EQUAL(words[0], 1);
        CHECK_EQUAL(unbind_vma_unbind_async(scene.data.vma, 0, &unbound), 0);
        CHECK_EQUAL(unbind_vma_unbind_async(scene.batch.vma, 0, &batch_unbound), 0);
        sleep_ms(5);
        CHECK(!unbind_fence_is_signaled(job) && !unbind_fence_is_signaled(unbound));
        CHECK_EQUAL(words[1], 0);
        words[16] = 1;
        CHECK_EQUAL(finish(job), 0);
        CHECK_EQUAL(words[1], 2);
        CHECK_EQUAL(finish(unbound), 0);
        CHECK_EQUAL(finish(batch_unbound), 0);
        unbind_queue_unref(queue);
        scene_close(&scene);
        log_check_clean();
    }
}

TEST(faults, "a batch that faults, is no good or never ends fails its job, and not the next one") {
    const char *const machines[] = {"lnl", "tgl"};
    for (unsigned i = 0; i < 2; i++) {
        struct scene scene;
        unbind_queue *queue = NULL;
        machine(machines[i], "HANG_MS", "100", NULL);
        scene_open(&scene);
        REQUIRE(unbind_queue_create(scene.gpu.vm, UNBIND_QUEUE_RENDER, &queue) == 0);
        for (unsigned kind = 0; kind < 3; kind++) {
            scene.count = 0;
            if (kind == 0) put_store(&scene, BASE + UINT64_C(0x10000000), 1); // nothing is there
            if (kind == 1) put(&scene, 0x7fff0000);                            // no command
            if (kind == 2) put_wait(&scene, BASE + 64, 1);                     // never
            put_end(&scene);
            struct unbind_command command = command_batch(BATCH);
            int status = finish(begin(&scene, queue, &command, 1));
            // i915 has a scratch page where nothing is.
            if (kind == 0 && i == 1) CHECK_EQUAL(status, 0);
            else CHECK(status == -EFAULT || status == -EIO);
            scene.count = 0;
            put_store(&scene, BASE + 8, 70 + kind);
            put_end(&scene);
            CHECK_EQUAL(finish(begin(&scene, queue, &command, 1)), 0);
            CHECK_EQUAL(data_word(&scene, 2), 70 + kind);
        }
        unbind_queue_unref(queue);
        scene_close(&scene);
        CHECK_EQUAL(log_count("stale", NULL), 0);
        CHECK_EQUAL(log_count("hang vm", NULL), 2);
    }
}

TEST(listed, "i915 shows a batch what its job lists, also when it says nothing of it") {
    struct scene scene;
    unbind_queue *queue = NULL;
    machine(machine_name("tgl"), NULL);
    scene_open(&scene);
    struct binding other = bind_buffer(&scene.gpu, PAGE, BASE + 0x20000);
    REQUIRE(unbind_queue_create(scene.gpu.vm, UNBIND_QUEUE_RENDER, &queue) == 0);
    put_store(&scene, BASE, 3);
    put_end(&scene);
    struct unbind_command command = command_batch(BATCH);
    log_forget();
    CHECK_EQUAL(finish(begin(&scene, queue, &command, 1)), 0);
    CHECK_EQUAL(data_word(&scene, 0), 3);
    // The data, the caller's batch and the library's own, but not what is bound beside.
    CHECK_EQUAL(log_count("ioctl I915_GEM_EXECBUFFER2", "objects=3"), 1);
    unbind_queue_unref(queue);
    drop_binding(&other);
    scene_close(&scene);
    log_check_clean();
}

TEST(parsed, "the copy engines of version 9 call no batch, as their driver lets none be called") {
    struct scene scene;
    machine("skl", NULL);
    scene_open(&scene);
    unbind_queue *copy = make_queue(&scene.gpu), *render = NULL;
    REQUIRE(unbind_queue_create(scene.gpu.vm, UNBIND_QUEUE_RENDER, &render) == 0);
    put_end(&scene);
    struct unbind_command command = command_batch(BATCH);
    CHECK_EQUAL(finish(begin(&scene, copy, &command, 1)), -EOPNOTSUPP);
    CHECK_EQUAL(finish(begin(&scene, render, &command, 1)), 0);
    unbind_queue_unref(copy);
    unbind_queue_unref(render);
    scene_close(&scene);
    log_check_clean();
}
