/* SPDX-License-Identifier: MIT */
/*
 * Long-running address spaces of xe, in which the kernel signals no sync object:
 * what is asked of it there, and what may go wrong. The other programs run on
 * them, too (INTEL_LONG_RUNNING).
 */
#include "intel_support.h"

#define BASE UINT64_C(0x100000000)

static const char *name(void) { return machine_name("lnl"); }

static void open_long_running(struct gpu *gpu, uint32_t executor) {
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    intel.flags = UNBIND_INTEL_LONG_RUNNING;
    REQUIRE(intel_try_open(gpu, &intel, executor) == 0);
    REQUIRE(unbind_vm_create(gpu->device, NULL, &gpu->vm) == 0);
}

static char last_message[256];
static void keep_message(void *user_data, uint32_t level, const char *message) {
    (void)user_data, (void)level;
    snprintf(last_message, sizeof last_message, "%s", message);
}

static int open_with(uint32_t flags) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    unbind_device *device = NULL;
    options.log = keep_message;
    intel.flags = flags;
    last_message[0] = 0;
    int status = unbind_device_open_intel(NULL, &intel, &options, &device);
    if (status == 0) unbind_device_unref(device);
    else CHECK(device == NULL);
    return status;
}

TEST(told, "what the kernel has of long-running address spaces is told, and what it has not refused with a reason") {
    static const struct {
        const char *machine;
        uint32_t flags;
        int status;
    } machines[] = {
        {"lnl", UNBIND_INTEL_INFO_LONG_RUNNING | UNBIND_INTEL_INFO_FAULT_MODE, 0},
        {"pvc", UNBIND_INTEL_INFO_LONG_RUNNING | UNBIND_INTEL_INFO_FAULT_MODE, 0},
        {"dg2-xe", UNBIND_INTEL_INFO_LONG_RUNNING, 0},
        {"tgl", UNBIND_INTEL_INFO_SCRATCH, -EOPNOTSUPP},
    };
    for (unsigned i = 0; i < 4; i++) {
        struct gpu gpu;
        struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
        machine(machines[i].machine, NULL);
        intel_open(&gpu, UNBIND_EXECUTOR_POOL);
        CHECK_EQUAL(unbind_device_get_intel_info(gpu.device, &info), 0);
        CHECK_EQUAL(info.flags, machines[i].flags);
        intel_close(&gpu);
        CHECK_EQUAL(open_with(UNBIND_INTEL_LONG_RUNNING), machines[i].status);
        CHECK_EQUAL(strstr(last_message, "long-running") != NULL, machines[i].status != 0);
        for (uint32_t also = 0; also <= UNBIND_INTEL_LONG_RUNNING; also += UNBIND_INTEL_LONG_RUNNING) {
            CHECK_EQUAL(open_with(UNBIND_INTEL_FAULT_MODE | also), -EOPNOTSUPP);
            CHECK(strstr(last_message, "long-running") && strstr(last_message, "faults"));
        }
    }
    // The first space of all is made to see whether the kernel makes such.
    machine("lnl", "FAIL", "XE_VM_CREATE:1:EINVAL", NULL);
    CHECK_EQUAL(open_with(UNBIND_INTEL_LONG_RUNNING), -EOPNOTSUPP);
    CHECK(strstr(last_message, "long-running"));
    log_check_clean();
    unsetenv("UNBIND_MOCK_FAIL");
}

TEST(calls, "one bind queue and user fences are asked for; only the threads that are there for it wait in the kernel") {
    struct gpu gpu;
    machine(name(), "DELAY", "exec:2000,bind:2000", NULL);
    open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
    CHECK_EQUAL(log_count("ioctl XE_VM_CREATE", "flags=2"), 2);
    CHECK_EQUAL(log_count("ioctl XE_EXEC_QUEUE_CREATE", "class=5"), 1);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    for (unsigned i = 0; i < 5; i++) CHECK_EQUAL(store(queue, buffer.vma, BASE, i), 0);
    CHECK_EQUAL(unbind_vma_unbind(buffer.vma, 0), 0);
    CHECK_EQUAL(log_count("result=0", "binds=1 syncs=1"), 3);
    CHECK_EQUAL(log_count("ioctl XE_EXEC ", "syncs=1"), 5);
    // The buffer's bind and unbind, that of the queue's buffer, and the jobs.
    CHECK(log_comes_to(8, "ioctl XE_WAIT_USER_FENCE", "result=0"));
    CHECK_EQUAL(log_count("waited=1", NULL), log_count("waited=1", "SYNCOBJ_TIMELINE_WAIT") +
                                                 log_count("waited=1", "XE_WAIT_USER_FENCE"));
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(endless, "unbinds and binds behind jobs that end when they are let to: no call waits, and all ends in order") {
    enum { COUNT = 20 };
    struct gpu gpu;
    struct binding buffers[COUNT];
    unbind_fence *unbound[COUNT], *bound[COUNT], *jobs[COUNT];
    unbind_vma *over[COUNT];
    machine(name(), "DELAY", "bind:~300", "HANG_MS", "20", NULL);
    open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_fence *gate = make_fence(&gpu);
    for (unsigned i = 0; i < COUNT; i++) {
        buffers[i] = bind_buffer(&gpu, 2 * PAGE, BASE + i * 2 * PAGE);
        struct unbind_command commands[] = {command_store(buffers[i].address, i + 1), command_wait(gate),
                                            command_store(buffers[i].address + PAGE, i + 2)};
        CHECK_EQUAL(submit(queue, commands, 3, buffers[i].vma, NULL, &jobs[i]), 0);
    }
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQUAL(unbind_vma_unbind_async(buffers[i].vma, 0, &unbound[i]), 0);
        over[i] = make_vma(&gpu, buffers[COUNT - 1 - i].bo, BASE + i * 2 * PAGE);
        CHECK_EQUAL(unbind_vma_bind_async(over[i], 0, &bound[i]), 0);
    }
    sleep_ms(50);
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQUAL(unbind_fence_is_signaled(jobs[i]), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(unbound[i]), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(bound[i]), 0);
    }
    CHECK_EQUAL(cpu_read(buffers[0].bo, 0), 1);
    CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "op=1"), 0);
    signal_and_drop(gate);
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQUAL(unbind_fence_wait(bound[i], FOREVER, 0), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(unbound[i]), 1);
        CHECK_EQUAL(unbind_fence_is_signaled(jobs[i]), 1);
        CHECK_EQUAL(finish(bound[i]), 0);
        CHECK_EQUAL(finish(unbound[i]), 0);
        CHECK_EQUAL(finish(jobs[i]), 0);
        CHECK_EQUAL(cpu_read(buffers[i].bo, PAGE), i + 2);
    }
    for (unsigned i = 0; i < COUNT; i++) CHECK_EQUAL(store(queue, over[i], BASE + i * 2 * PAGE, 100 + i), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQUAL(cpu_read(buffers[COUNT - 1 - i].bo, 0), 100 + i);
        unbind_vma_unref(over[i]);
        drop_binding(&buffers[i]);
    }
    CHECK_EQUAL(log_count("fault vm", NULL), 0);
    unbind_queue_unref(queue);
    intel_close(&gpu);
}

/* A batch of the caller's that tells that it has begun, ends when the CPU lets it, and tells that, too. */
#define BATCH (BASE + MIB)

struct endless {
    struct gpu gpu;
    struct binding data, batch;
    unbind_queue *queue;
    unbind_fence *job;
    volatile uint32_t *words; /* begun; over; 16: the CPU lets it end */
};

static void begin_endless(struct endless *endless) {
    static const uint64_t begun = BASE, over = BASE + 4, gate = BASE + 64;
    machine(name(), "HANG_MS", "30", NULL);
    open_long_running(&endless->gpu, UNBIND_EXECUTOR_POOL);
    endless->data = bind_buffer(&endless->gpu, PAGE, BASE);
    endless->batch = bind_buffer(&endless->gpu, PAGE, BATCH);
    endless->words = (volatile uint32_t *)unbind_bo_cpu_pointer(endless->data.bo);
    // MI_STORE_DATA_IMM, MI_SEMAPHORE_WAIT for equality, MI_STORE_DATA_IMM, MI_BATCH_BUFFER_END.
    const uint32_t commands[] = {0x10000002, (uint32_t)begun, begun >> 32, 1, 0x0e00c002, 1, (uint32_t)gate, gate >> 32,
                                 0x10000002, (uint32_t)over,  over >> 32,  2, 0x05000000};
    memcpy(unbind_bo_cpu_pointer(endless->batch.bo), commands, sizeof commands);
    REQUIRE(unbind_queue_create(endless->gpu.vm, UNBIND_QUEUE_COMPUTE, &endless->queue) == 0);
    struct unbind_command command = command_of(UNBIND_COMMAND_BATCH, BATCH);
    REQUIRE(submit(endless->queue, &command, 1, endless->data.vma, endless->batch.vma, &endless->job) == 0);
    for (unsigned tries = 0; tries < 5000 && endless->words[0] != 1; tries++) sleep_ms(1);
    CHECK_EQUAL(endless->words[0], 1);
}

static void *let_end(void *words) {
    sleep_ms(100);
    ((volatile uint32_t *)words)[16] = 1;
    return NULL;
}

TEST(endless_batch, "a batch that the kernel kills elsewhere runs until the CPU lets it end, and unbinds wait") {
    struct endless endless;
    unbind_fence *unbound[2] = {NULL, NULL}, *bound = NULL;
    begin_endless(&endless);
    CHECK_EQUAL(unbind_vma_unbind_async(endless.data.vma, 0, &unbound[0]), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(endless.batch.vma, 0, &unbound[1]), 0);
    unbind_bo *bo = make_bo(&endless.gpu, PAGE);
    unbind_vma *over = make_vma(&endless.gpu, bo, BASE);
    CHECK_EQUAL(unbind_vma_bind_async(over, 0, &bound), 0);
    // Others bind, work and unbind meanwhile.
    struct binding beside = bind_buffer(&endless.gpu, PAGE, 2 * BASE);
    unbind_queue *queue = make_queue(&endless.gpu);
    CHECK_EQUAL(store(queue, beside.vma, 2 * BASE, 6), 0);
    CHECK_EQUAL(unbind_vma_unbind(beside.vma, 0), 0);
    sleep_ms(120);
    CHECK_EQUAL(unbind_fence_is_signaled(endless.job), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound[0]), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(bound), 0);
    CHECK_EQUAL(endless.words[1], 0);
    endless.words[16] = 1;
    CHECK_EQUAL(finish(endless.job), 0);
    CHECK_EQUAL(endless.words[1], 2);
    for (unsigned i = 0; i < 2; i++) CHECK_EQUAL(finish(unbound[i]), 0);
    CHECK_EQUAL(finish(bound), 0);
    CHECK_EQUAL(store(queue, over, BASE, 7), 0);
    CHECK_EQUAL(cpu_read(bo, 0), 7);
    CHECK_EQUAL(log_count("hang vm", NULL) + log_count("fault vm", NULL), 0);
    unbind_queue_unref(queue);
    unbind_queue_unref(endless.queue);
    unbind_vma_unref(over);
    unbind_bo_unref(bo);
    drop_binding(&beside);
    drop_binding(&endless.data);
    drop_binding(&endless.batch);
    intel_close(&endless.gpu);
}

TEST(closed_over, "closing a device waits for its batches, however long they take, and ends the unbinds behind them") {
    struct endless endless;
    unbind_fence *unbound[2] = {NULL, NULL};
    pthread_t thread;
    begin_endless(&endless);
    CHECK_EQUAL(unbind_vma_unbind_async(endless.data.vma, 0, &unbound[0]), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(endless.batch.vma, 0, &unbound[1]), 0);
    REQUIRE(pthread_create(&thread, NULL, let_end, (void *)endless.words) == 0);
    CHECK_EQUAL(unbind_device_close(endless.gpu.device, NULL), 0);
    pthread_join(thread, NULL);
    CHECK_EQUAL(endless.words[1], 2);
    CHECK_EQUAL(finish(endless.job), 0);
    for (unsigned i = 0; i < 2; i++) CHECK_EQUAL(finish(unbound[i]), 0);
    unbind_queue_unref(endless.queue);
    drop_binding(&endless.data);
    drop_binding(&endless.batch);
    unbind_vm_unref(endless.gpu.vm);
    unbind_device_unref(endless.gpu.device);
    CHECK_EQUAL(endless.gpu.hooks.blocks, 0);
    log_check_clean();
}

TEST(early_job, "making a queue waits for nothing, and a job that comes before its buffer is bound runs after that") {
    enum { COUNT = 2 };
    struct gpu gpu;
    unbind_queue *queues[COUNT];
    unbind_fence *jobs[COUNT];
    machine(name(), "DELAY", "bind:100000", NULL);
    open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    for (unsigned i = 0; i < COUNT; i++) {
        struct unbind_command command = command_store(BASE + 8 * i, 7 + i);
        queues[i] = make_queue(&gpu);
        REQUIRE(submit(queues[i], &command, 1, buffer.vma, NULL, &jobs[i]) == 0);
    }
    CHECK_EQUAL(log_count("ioctl XE_EXEC ", NULL), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQUAL(finish(jobs[i]), 0);
        CHECK_EQUAL(cpu_read(buffer.bo, 8 * i), 7 + i);
        CHECK_EQUAL(store(queues[i], buffer.vma, BASE + 8 * i, 70 + i), 0);
        CHECK_EQUAL(cpu_read(buffer.bo, 8 * i), 70 + i);
    }
    CHECK_EQUAL(log_count("fault vm", NULL), 0);
    for (unsigned i = 0; i < COUNT; i++) unbind_queue_unref(queues[i]);
    drop_binding(&buffer);
    intel_close(&gpu);
    // What nobody waits for: the unbinds of the queues' buffers.
    sleep_ms(250);
}

/* What the kernel's workers are late with is over. */
static void let_workers_end(void) { sleep_ms(30); }

TEST(short_life, "a queue or a space that goes at once waits for the word that the kernel still writes") {
    struct gpu gpu;
    // A busy kernel comes to it later than one call to unbind waits.
    machine(name(), "DELAY", "bind:10000", "FENCE_LAG", "20000", NULL);
    open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
    for (unsigned i = 0; i < 5; i++) unbind_queue_unref(make_queue(&gpu));
    // Each has ended, and was unbound again.
    CHECK_EQUAL(log_count("ioctl XE_WAIT_USER_FENCE", "result=0"), 5);
    CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "result=0"), 10);
    unbind_vm *vm = NULL;
    REQUIRE(unbind_vm_create(gpu.device, NULL, &vm) == 0);
    unbind_vm_unref(vm);
    intel_close(&gpu);
    let_workers_end();
}

TEST(busy, "what was bound a moment ago is busy to the kernel still: unbinding it is tried again until it is not") {
    // One moment that the call itself waits for, and one after which the library comes back.
    static const char *const lags[] = {"4000", "60000"};
    for (unsigned i = 0; i < 2; i++) {
        struct gpu gpu;
        machine(name(), "FENCE_LAG", lags[i], NULL);
        open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
        struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
        // A busy machine may come too late for it.
        unsigned rounds = 0;
        do {
            CHECK_EQUAL(unbind_vma_unbind(buffer.vma, 0), 0);
            CHECK_EQUAL(unbind_vma_bind(buffer.vma, 0), 0);
        } while (++rounds < 100 && log_count("ioctl XE_VM_BIND", "result=-16") == 0);
        CHECK(log_count("ioctl XE_VM_BIND", "result=-16") > 0);
        drop_binding(&buffer);
        CHECK_EQUAL(gpu.messages, 0);
        intel_close(&gpu);
        let_workers_end();
    }
    unsetenv("UNBIND_MOCK_FENCE_LAG");
}

TEST(refused_waits, "a wait that the kernel refuses is tried again, and nobody is told") {
    static const char *const errors[] = {"ENOMEM", "EIO", "EFAULT", "EINTR", "ENOENT"};
    for (unsigned i = 0; i < 5; i++) {
        for (unsigned first = 1; first < 5; first++) {
            struct gpu gpu;
            char fail[64];
            snprintf(fail, sizeof fail, "XE_WAIT_USER_FENCE:%u-%u:%s", first, first + 2, errors[i]);
            machine(name(), "FAIL", fail, "DELAY", "exec:1000,bind:1000", NULL);
            open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
            struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
            unbind_queue *queue = make_queue(&gpu);
            for (unsigned k = 0; k < 3; k++) {
                CHECK_EQUAL(store(queue, buffer.vma, BASE, k + 1), 0);
                CHECK_EQUAL(cpu_read(buffer.bo, 0), k + 1);
            }
            CHECK_EQUAL(unbind_vma_unbind(buffer.vma, 0), 0);
            CHECK_EQUAL(log_count("ioctl XE_WAIT_USER_FENCE", "injected"), 3);
            unbind_queue_unref(queue);
            drop_binding(&buffer);
            intel_close(&gpu);
        }
    }
    unsetenv("UNBIND_MOCK_FAIL");
}

TEST(lost, "a kernel that waits for no user fence any more loses the device: every fence signals, all can go") {
    for (unsigned first = 1; first < 6; first++) {
        struct gpu gpu;
        char fail[64];
        snprintf(fail, sizeof fail, "XE_WAIT_USER_FENCE:%u+:EIO", first);
        machine(name(), "FAIL", fail, "DELAY", "exec:500,bind:500", NULL);
        open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
        struct binding buffer = {make_bo(&gpu, PAGE), NULL, BASE};
        buffer.vma = make_vma(&gpu, buffer.bo, BASE);
        unbind_queue *queue = NULL;
        unbind_fence *unbound = NULL;
        int status = unbind_vma_bind(buffer.vma, 0);
        CHECK(status == 0 || status == -EIO);
        int made = unbind_queue_create(gpu.vm, 0, &queue);
        CHECK(made == 0 || made == -EIO);
        for (unsigned i = 0; made == 0 && status == 0 && i < 4; i++) {
            unbind_fence *done = NULL;
            struct unbind_command command = command_store(BASE, i);
            int submitted = submit(queue, &command, 1, buffer.vma, NULL, &done);
            if (submitted == 0) submitted = finish(done);
            CHECK(submitted == 0 || submitted == -EIO);
        }
        if (status == 0) {
            CHECK_EQUAL(unbind_vma_unbind_async(buffer.vma, 0, &unbound), 0);
            CHECK_EQUAL(finish(unbound), -EIO);
        }
        if (queue) unbind_queue_unref(queue);
        drop_binding(&buffer);
        unbind_vm_unref(gpu.vm);
        unbind_device_close(gpu.device, NULL);
        unbind_device_unref(gpu.device);
        CHECK_EQUAL(gpu.hooks.blocks, 0);
        CHECK_EQUAL(log_count("close node", "objects=0 syncobjs=0 vms=0 queues=0"), log_count("close node", NULL));
    }
    unsetenv("UNBIND_MOCK_FAIL");
}

TEST(banned, "a queue that the kernel bans ends its job, which has failed, and the next job has another queue") {
    struct gpu gpu;
    machine(name(), NULL);
    open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding kept = bind_buffer(&gpu, PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQUAL(store(queue, NULL, 2 * BASE, 1), -EFAULT);
        CHECK_EQUAL(store(queue, kept.vma, BASE, 5 + i), 0);
        CHECK_EQUAL(cpu_read(kept.bo, 0), 5 + i);
    }
    CHECK_EQUAL(log_count("ban vm", NULL), 3);
    CHECK_EQUAL(log_count("ioctl XE_WAIT_USER_FENCE", "result=-5"), 3);
    CHECK_EQUAL(log_count("ioctl XE_EXEC_QUEUE_CREATE", "class=1"), 4);
    unbind_queue_unref(queue);
    drop_binding(&kept);
    intel_close(&gpu);
}

TEST(moved, "moves have an ordinary space of their own, beside long-running ones") {
    struct gpu gpu;
    machine("bmg", NULL);
    open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    struct binding buffer = bind_buffer(&gpu, 16 * PAGE, BASE);
    for (uint32_t hop = 1; hop < 5; hop++) {
        unbind_fence *moved = NULL;
        CHECK_EQUAL(store(queue, buffer.vma, BASE + 8 * hop, hop), 0);
        REQUIRE(unbind_bo_migrate(buffer.bo, hop % 2, UNBIND_BO_MIGRATE_NO_CPU_COPY, &moved) == 0);
        CHECK_EQUAL(finish(moved), 0);
        for (uint32_t i = 1; i <= hop; i++) CHECK_EQUAL(cpu_read(buffer.bo, 8 * i), i);
        CHECK_EQUAL(unbind_vma_bind(buffer.vma, 0), 0);
    }
    // One to see that there are such, and one that is; one of another kind.
    CHECK_EQUAL(log_count("ioctl XE_VM_CREATE", "flags=2"), 2);
    CHECK_EQUAL(log_count("ioctl XE_VM_CREATE", "flags=0"), 1);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

/* As in i915.c: what was unbound is looked for, every byte and every job's end. */
static bool notices(const char *lie) {
    struct gpu gpu;
    machine(name(), "LIE", lie, "SCHEDULE", "fifo", "DELAY", "exec:30000,bind:2000", NULL);
    open_long_running(&gpu, UNBIND_EXECUTOR_POOL);
    bool wrong = false;
    struct binding one = bind_buffer(&gpu, PAGE, BASE), two = bind_buffer(&gpu, PAGE, BASE + MIB);
    unbind_queue *queue = make_queue(&gpu);
    wrong |= store(queue, one.vma, BASE, 1) != 0 || cpu_read(one.bo, 0) != 1;
    CHECK_EQUAL(unbind_vma_unbind(one.vma, 0), 0);
    wrong |= store(queue, two.vma, BASE, 2) != -EFAULT || cpu_read(one.bo, 0) != 1;
    struct binding three = bind_buffer(&gpu, PAGE, BASE);
    wrong |= store(queue, three.vma, BASE, 3) != 0 || cpu_read(three.bo, 0) != 3;
    unbind_queue_unref(queue);
    drop_binding(&one);
    drop_binding(&two);
    drop_binding(&three);
    gpu_close(&gpu);
    return wrong;
}

TEST(lies, "a kernel that keeps entries, does not flush, writes fences too early or loses writes is found out") {
    static const char *const lies[] = {"keep-pte", "no-tlb-flush", "signal-early", "lose-write"};
    CHECK(!notices(""));
    for (int i = 0; i < 4; i++)
        if (!notices(lies[i])) printf("    %s\n", lies[i]), CHECK(0);
    unsetenv("UNBIND_MOCK_LIE");
}
