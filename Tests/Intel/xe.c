/* SPDX-License-Identifier: MIT */
/* What the xe backend asks of the kernel, seen in the mock's log; and what only xe does. */
#include "intel_support.h"

#define BASE UINT64_C(0x100000000)

static void unbind_all(struct binding *buffers, unsigned count) {
    unbind_fence **fences = (unbind_fence **)calloc(count, sizeof *fences);
    REQUIRE(fences != NULL);
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(unbind_vma_unbind_async(buffers[i].vma, 0, &fences[i]), 0);
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(finish(fences[i]), 0);
    free(fences);
}

/* Unbinds COUNT buffers, `stride` apart, that one job has used; gives the VM_BIND calls that took. */
static size_t binds_to_unbind(unsigned count, uint64_t stride, uint32_t executor) {
    struct gpu gpu;
    // A bind takes its time: what becomes ready meanwhile is unbound together.
    machine("lnl", "DELAY", executor == UNBIND_EXECUTOR_POOL ? "bind:5000" : "bind:0", NULL);
    intel_open(&gpu, executor);
    struct binding *buffers = (struct binding *)calloc(count, sizeof *buffers);
    REQUIRE(buffers != NULL);
    for (unsigned i = 0; i < count; i++) {
        buffers[i].bo = make_bo(&gpu, PAGE);
        buffers[i].vma = make_vma(&gpu, buffers[i].bo, BASE + i * stride);
        CHECK_EQUAL(unbind_vma_bind_async(buffers[i].vma, 0, NULL), 0);
    }
    // All become ready at once: when the fence that uses them signals.
    unbind_fence *user = make_fence(&gpu);
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(unbind_vma_add_user(buffers[i].vma, user), 0);
    unbind_fence **fences = (unbind_fence **)calloc(count, sizeof *fences);
    REQUIRE(fences != NULL);
    log_forget();
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(unbind_vma_unbind_async(buffers[i].vma, 0, &fences[i]), 0);
    CHECK_EQUAL(log_count("op=1", "XE_VM_BIND"), 0);
    signal_and_drop(user);
    for (unsigned i = 0; i < count; i++) CHECK_EQUAL(finish(fences[i]), 0);
    size_t binds = log_count("result=0", " op=1");
    // Only those threads wait that are there for it.
    CHECK_EQUAL(log_count("waited=1", NULL), log_count("waited=1", "SYNCOBJ_TIMELINE_WAIT") +
                                                 log_count("waited=1", "XE_WAIT_USER_FENCE"));
    CHECK_EQUAL(log_count("XE_VM_BIND", "waited=1"), 0);
    printf("    %u unbinds: %zu VM_BIND calls\n", count, binds);
    free(fences);
    for (unsigned i = 0; i < count; i++) drop_binding(&buffers[i]);
    free(buffers);
    intel_close(&gpu);
    return binds;
}

TEST(neighbours, "unbinding 1,000 neighbours takes a call or two if they are ready together, and none waits") {
    CHECK(binds_to_unbind(1000, PAGE, UNBIND_EXECUTOR_MANUAL) <= 2);
}

TEST(scattered, "unbinding 1,000 scattered buffers takes four calls of up to 256 ranges") {
    CHECK_EQUAL(binds_to_unbind(1000, 3 * PAGE, UNBIND_EXECUTOR_MANUAL), 4);
}

TEST(beside, "with workers beside the thread that sets them free it takes a handful") {
    CHECK(binds_to_unbind(1000, PAGE, UNBIND_EXECUTOR_POOL) <= 8);
    CHECK(binds_to_unbind(1000, 3 * PAGE, UNBIND_EXECUTOR_POOL) <= 12);
}

TEST(bind_limit, "a kernel that takes few binds at once gets them in smaller arrays") {
    enum { COUNT = 100 };
    struct gpu gpu;
    machine(machine_name("lnl"), "BIND_LIMIT", "5", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffers[COUNT];
    unbind_fence *user = make_fence(&gpu), *fences[COUNT];
    for (unsigned i = 0; i < COUNT; i++) {
        buffers[i] = bind_buffer(&gpu, PAGE, BASE + i * 2 * PAGE);
        CHECK_EQUAL(unbind_vma_add_user(buffers[i].vma, user), 0);
    }
    for (unsigned i = 0; i < COUNT; i++) CHECK_EQUAL(unbind_vma_unbind_async(buffers[i].vma, 0, &fences[i]), 0);
    signal_and_drop(user);
    for (unsigned i = 0; i < COUNT; i++) CHECK_EQUAL(finish(fences[i]), 0);
    CHECK(log_count("XE_VM_BIND", "result=-105") > 0);
    for (unsigned i = 0; i < COUNT; i++) drop_binding(&buffers[i]);
    intel_close(&gpu);
}

TEST(bound_in_kernel, "a job on what is being bound is handed over before the bind is done, and runs after it") {
    struct gpu gpu;
    machine(machine_name("lnl"), "DELAY", "bind:100000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    // So that the first job's wait for the queue's own buffer is over.
    struct binding other = bind_buffer(&gpu, PAGE, 2 * BASE);
    CHECK_EQUAL(store(queue, other.vma, 2 * BASE, 1), 0);
    for (unsigned round = 0; round < 3; round++) {
        unbind_bo *bo = make_bo(&gpu, PAGE);
        unbind_vma *vma = make_vma(&gpu, bo, BASE);
        unbind_fence *bound = NULL, *done = NULL;
        log_forget();
        CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &bound), 0);
        CHECK(log_comes_to(1, "ioctl XE_VM_BIND", "op=0"));
        struct unbind_command command = command_store(BASE, 7 + round);
        CHECK_EQUAL(submit(queue, &command, 1, vma, NULL, &done), 0);
        CHECK(log_comes_to(1, "ioctl XE_EXEC ", "syncs=2"));
        CHECK_EQUAL(finish(done), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(bound), 1);
        unbind_fence_unref(bound);
        CHECK_EQUAL(cpu_read(bo, 0), 7 + round);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
    }
    unbind_queue_unref(queue);
    drop_binding(&other);
    intel_close(&gpu);
}

/* So many buffers, each used by a job on a queue of its own that the kernel works on. */
enum { WORKERS = 6 };
struct workers {
    struct binding buffers[WORKERS];
    unbind_queue *queues[WORKERS];
    unbind_fence *jobs[WORKERS];
};

static void set_to_work(struct gpu *gpu, struct workers *workers) {
    for (unsigned i = 0; i < WORKERS; i++) {
        workers->buffers[i] = bind_buffer(gpu, PAGE, BASE + i * 2 * PAGE);
        workers->queues[i] = make_queue(gpu);
    }
    log_forget();
    for (unsigned i = 0; i < WORKERS; i++) {
        struct unbind_command command = command_store(workers->buffers[i].address, 1 + i);
        workers->jobs[i] = NULL;
        CHECK_EQUAL(submit(workers->queues[i], &command, 1, workers->buffers[i].vma, NULL, &workers->jobs[i]), 0);
    }
    CHECK(log_comes_to(WORKERS, "ioctl XE_EXEC ", "result=0"));
}

static void end_work(struct workers *workers) {
    for (unsigned i = 0; i < WORKERS; i++) {
        CHECK_EQUAL(finish(workers->jobs[i]), 0);
        CHECK_EQUAL(cpu_read(workers->buffers[i].bo, 0), 1 + i);
        unbind_queue_unref(workers->queues[i]);
        drop_binding(&workers->buffers[i]);
    }
}

TEST(unbound_in_kernel, "unbinds behind one job that the kernel works on are handed over together, and end after it") {
    enum { COUNT = 200 };
    struct gpu gpu;
    struct binding buffers[COUNT];
    struct unbind_submit_vma uses[COUNT];
    struct unbind_command commands[COUNT];
    unbind_fence *unbound[COUNT], *done = NULL;
    machine(machine_name("lnl"), "DELAY", "exec:200000", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *queue = make_queue(&gpu);
    for (unsigned i = 0; i < COUNT; i++) {
        buffers[i] = bind_buffer(&gpu, PAGE, BASE + i * 2 * PAGE);
        uses[i] = (struct unbind_submit_vma){buffers[i].vma, UNBIND_USE_WRITE, 0};
        commands[i] = command_store(buffers[i].address, 1 + i);
    }
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    job.commands = commands, job.command_count = COUNT, job.vmas = uses, job.vma_count = COUNT;
    log_forget();
    CHECK_EQUAL(unbind_queue_submit(queue, &job, &done), 0);
    CHECK(log_comes_to(1, "ioctl XE_EXEC ", "result=0"));
    for (unsigned i = 0; i < COUNT; i++) CHECK_EQUAL(unbind_vma_unbind_async(buffers[i].vma, 0, &unbound[i]), 0);
    CHECK(log_comes_to(1, "ioctl XE_VM_BIND", "syncs=2 op=1"));
    CHECK_EQUAL(unbind_fence_is_signaled(done), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQUAL(unbind_fence_wait(unbound[i], FOREVER, 0), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(done), 1);
    }
    size_t early = log_count("ioctl XE_VM_BIND", "syncs=2 op=1"), all = log_count("ioctl XE_VM_BIND", "op=1");
    printf("    %d unbinds: %zu VM_BIND calls, %zu of them handed over\n", COUNT, all, early);
    CHECK(early > 0 && all <= COUNT / 4);
    CHECK_EQUAL(log_count("fault vm", NULL), 0);
    CHECK_EQUAL(finish(done), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        CHECK_EQUAL(finish(unbound[i]), 0);
        CHECK_EQUAL(cpu_read(buffers[i].bo, 0), 1 + i);
        drop_binding(&buffers[i]);
    }
    unbind_queue_unref(queue);
    intel_close(&gpu);
}

/* One that has not ended when the calls that follow it have been made. */
static const char *long_job(void) { return getenv("UNDER_VALGRIND") ? "exec:2000000" : "exec:150000"; }

TEST(lanes, "what the kernel waits for delays nothing that has nothing to do with it") {
    struct gpu gpu;
    struct workers workers;
    unbind_fence *unbound[WORKERS];
    machine(machine_name("lnl"), "DELAY", long_job(), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding beside = bind_buffer(&gpu, PAGE, 3 * BASE);
    set_to_work(&gpu, &workers);
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK_EQUAL(unbind_vma_unbind_async(workers.buffers[i].vma, 0, &unbound[i]), 0);
    CHECK(log_comes_to(3, "ioctl XE_VM_BIND", "syncs=2 op=1"));
    // Others come and go meanwhile, also at the ends of what is pending.
    for (unsigned i = 0; i < 5; i++) {
        CHECK_EQUAL(unbind_vma_unbind(beside.vma, 0), 0);
        CHECK_EQUAL(unbind_vma_bind(beside.vma, 0), 0);
    }
    CHECK_EQUAL(unbind_fence_is_signaled(unbound[WORKERS - 1]), 0);
    // There are three bind queues for this: what is left waits here.
    CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "syncs=2 op=1"), 3);
    for (unsigned i = 0; i < WORKERS; i++) CHECK_EQUAL(finish(unbound[i]), 0);
    CHECK_EQUAL(log_count("fault vm", NULL), 0);
    end_work(&workers);
    drop_binding(&beside);
    intel_close(&gpu);
}

TEST(one_behind_several, "an unbind behind the jobs of several queues is handed over with all of them to wait for") {
    enum { QUEUES = 3 };
    struct gpu gpu;
    unbind_queue *queues[QUEUES];
    unbind_fence *jobs[QUEUES], *unbound = NULL, *rebound = NULL;
    machine(machine_name("lnl"), "DELAY", long_job(), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    for (unsigned i = 0; i < QUEUES; i++) queues[i] = make_queue(&gpu);
    log_forget();
    for (unsigned i = 0; i < QUEUES; i++) {
        struct unbind_command command = command_store(BASE + 8 * i, 4 + i);
        jobs[i] = NULL;
        CHECK_EQUAL(submit(queues[i], &command, 1, buffer.vma, NULL, &jobs[i]), 0);
    }
    CHECK(log_comes_to(QUEUES, "ioctl XE_EXEC ", "result=0"));
    CHECK_EQUAL(unbind_vma_unbind_async(buffer.vma, 0, &unbound), 0);
    CHECK(log_comes_to(1, "ioctl XE_VM_BIND", "syncs=4 op=1"));
    // A bind over it waits, and shows the new pages.
    unbind_bo *other = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, other, BASE);
    CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &rebound), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(rebound), 0);
    CHECK_EQUAL(finish(rebound), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 1);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK_EQUAL(store(queues[0], vma, BASE, 9), 0);
    CHECK_EQUAL(cpu_read(other, 0), 9);
    for (unsigned i = 0; i < QUEUES; i++) {
        CHECK_EQUAL(finish(jobs[i]), 0);
        CHECK_EQUAL(cpu_read(buffer.bo, 8 * i), 4 + i);
        unbind_queue_unref(queues[i]);
    }
    unbind_vma_unref(vma);
    unbind_bo_unref(other);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(handing_over_fails, "an unbind that the kernel does not take early is unbound when its time has come") {
    struct gpu gpu;
    struct workers workers;
    unbind_fence *unbound[WORKERS];
    // After a bind for each buffer and one for each queue.
    machine(machine_name("lnl"), "DELAY", "exec:50000", "FAIL", "XE_VM_BIND:13-15:ENOMEM", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    set_to_work(&gpu, &workers);
    CHECK_EQUAL(log_count("ioctl XE_VM_BIND", NULL), 0);
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK_EQUAL(unbind_vma_unbind_async(workers.buffers[i].vma, 0, &unbound[i]), 0);
    for (unsigned i = 0; i < WORKERS; i++) CHECK_EQUAL(finish(unbound[i]), 0);
    CHECK_EQUAL(log_count("ioctl XE_VM_BIND", "injected"), 3);
    end_work(&workers);
    intel_close(&gpu);
}

TEST(faults, "a job that uses what is not bound fails, changes nothing there, and the queue goes on") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding gone = bind_buffer(&gpu, PAGE, BASE), kept = bind_buffer(&gpu, PAGE, 2 * BASE);
    unbind_queue *queue = make_queue(&gpu);
    CHECK_EQUAL(store(queue, gone.vma, BASE, 1), 0);
    CHECK_EQUAL(unbind_vma_unbind(gone.vma, 0), 0);
    CHECK_EQUAL(store(queue, NULL, BASE, 2), -EFAULT);
    CHECK_EQUAL(cpu_read(gone.bo, 0), 1);
    CHECK_EQUAL(log_count("ban vm", NULL), 1);
    for (unsigned i = 0; i < 3; i++) CHECK_EQUAL(store(queue, kept.vma, 2 * BASE, 3 + i), 0);
    CHECK_EQUAL(cpu_read(kept.bo, 0), 5);
    unbind_queue_unref(queue);
    drop_binding(&gone);
    drop_binding(&kept);
    intel_close(&gpu);
}

TEST(scratch, "with scratch pages a job that uses what is not bound writes nothing and succeeds") {
    struct gpu gpu;
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
    machine(machine_name("lnl"), NULL);
    intel.flags = UNBIND_INTEL_SCRATCH | (is_long_running() ? UNBIND_INTEL_LONG_RUNNING : 0);
    REQUIRE(intel_try_open(&gpu, &intel, UNBIND_EXECUTOR_POOL) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    CHECK_EQUAL(unbind_device_get_intel_info(gpu.device, &info), 0);
    CHECK_EQUAL(info.flags & UNBIND_INTEL_INFO_SCRATCH, UNBIND_INTEL_INFO_SCRATCH);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    CHECK_EQUAL(store(queue, buffer.vma, BASE, 1), 0);
    CHECK_EQUAL(unbind_vma_unbind(buffer.vma, 0), 0);
    CHECK_EQUAL(store(queue, NULL, BASE, 2), 0);
    CHECK_EQUAL(cpu_read(buffer.bo, 0), 1);
    CHECK_EQUAL(log_count("fault vm", NULL), 0);
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(read_only, "a job that writes to a read-only mapping fails and changes nothing") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, BASE);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_READ_ONLY), 0);
    unbind_queue *queue = make_queue(&gpu);
    struct unbind_command command = command_store(BASE, 1);
    unbind_fence *fence = NULL;
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    job.commands = &command;
    job.command_count = 1;
    REQUIRE(unbind_queue_submit(queue, &job, &fence) == 0);
    CHECK_EQUAL(finish(fence), -EFAULT);
    CHECK_EQUAL(cpu_read(bo, 0), 0);
    unbind_queue_unref(queue);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    intel_close(&gpu);
}

static int make_local(struct gpu *gpu, uint64_t size, unbind_bo **bo) {
    return unbind_bo_create(gpu->device, size, UNBIND_REGION_LOCAL, 0, bo);
}

TEST(local_memory, "buffers in local memory are bound in its pages") {
    static const char *const machines[] = {"bmg", "dg2-xe"};
    for (unsigned i = 0; i < 2; i++) {
        struct gpu gpu;
        unbind_bo *bo = NULL;
        uint64_t page = i == 0 ? PAGE : 16 * PAGE;
        machine(machines[i], "SMALL_BAR", "1", NULL);
        intel_open(&gpu, UNBIND_EXECUTOR_POOL);
        if (i == 1) CHECK_EQUAL(make_local(&gpu, PAGE, &bo), -EINVAL);
        REQUIRE(make_local(&gpu, 3 * page, &bo) == 0);
        unbind_vma *vma = make_vma(&gpu, bo, UNBIND_ADDRESS_NONE);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        uint64_t address = unbind_vma_address(vma);
        CHECK_EQUAL(address % page, 0);
        unbind_queue *queue = make_queue(&gpu);
        CHECK_EQUAL(store(queue, vma, address + 2 * page, 9), 0);
        CHECK_EQUAL(cpu_read(bo, 2 * page), 9);
        unbind_queue_unref(queue);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        intel_close(&gpu);
    }
    struct gpu gpu;
    unbind_bo *bo = NULL;
    machine("lnl", "SMALL_BAR", "0", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    CHECK_EQUAL(make_local(&gpu, PAGE, &bo), -EOPNOTSUPP);
    intel_close(&gpu);
}

TEST(selection, "of two GPUs the one that is selected is opened") {
    unbind_device *device = NULL;
    struct unbind_intel_info info = UNBIND_INTEL_INFO_INIT;
    machine("two", NULL);
    REQUIRE(unbind_device_open_intel("discrete", NULL, NULL, &device) == 0);
    CHECK_EQUAL(unbind_device_get_intel_info(device, &info), 0);
    CHECK_EQUAL(info.device_id, 0xe20b);
    CHECK_EQUAL(info.kernel_driver, UNBIND_KERNEL_DRIVER_XE);
    unbind_device_unref(device);
    log_check_clean();
}

TEST(queues, "queues of one address space run beside each other, and their places are used again") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
    for (unsigned round = 0; round < 3; round++) {
        unbind_queue *queues[20];
        unbind_fence *fences[20];
        for (unsigned i = 0; i < 20; i++) {
            struct unbind_command command = command_store(BASE + i * 8, round * 100 + i + 1);
            queues[i] = make_queue(&gpu);
            CHECK_EQUAL(submit(queues[i], &command, 1, buffer.vma, NULL, &fences[i]), 0);
        }
        for (unsigned i = 0; i < 20; i++) {
            CHECK_EQUAL(finish(fences[i]), 0);
            CHECK_EQUAL(cpu_read(buffer.bo, i * 8), round * 100 + i + 1);
            unbind_queue_unref(queues[i]);
        }
    }
    drop_binding(&buffer);
    intel_close(&gpu);
}

TEST(several_spaces, "address spaces do not see each other") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct gpu second = gpu;
    REQUIRE(unbind_vm_create(gpu.device, NULL, &second.vm) == 0);
    struct binding here = bind_buffer(&gpu, PAGE, BASE), there = bind_buffer(&second, PAGE, BASE);
    unbind_queue *queue = make_queue(&second);
    CHECK_EQUAL(store(queue, there.vma, BASE, 4), 0);
    CHECK_EQUAL(cpu_read(here.bo, 0), 0);
    CHECK_EQUAL(cpu_read(there.bo, 0), 4);
    unbind_queue_unref(queue);
    drop_binding(&here);
    drop_binding(&there);
    unbind_vm_unref(second.vm);
    intel_close(&gpu);
}

TEST(many, "a thousand buffers are bound and unbound without waiting for any") {
    enum { COUNT = 1000 };
    struct gpu gpu;
    machine(machine_name("lnl"), "DELAY", "bind:~50", NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding *buffers = (struct binding *)calloc(COUNT, sizeof *buffers);
    REQUIRE(buffers != NULL);
    for (unsigned i = 0; i < COUNT; i++) {
        buffers[i].bo = make_bo(&gpu, PAGE);
        buffers[i].vma = make_vma(&gpu, buffers[i].bo, BASE + i * 2 * PAGE);
        CHECK_EQUAL(unbind_vma_bind_async(buffers[i].vma, 0, NULL), 0);
    }
    unbind_all(buffers, COUNT);
    for (unsigned i = 0; i < COUNT; i++) drop_binding(&buffers[i]);
    free(buffers);
    intel_close(&gpu);
}

TEST(banned, "an address space that the kernel has banned takes nothing else of the device with it") {
    struct gpu gpu;
    unbind_queue *another = NULL;
    unbind_vm *others[2];
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_vm *vm = gpu.vm;
    REQUIRE(unbind_vm_create(gpu.device, NULL, &others[0]) == 0);
    unbind_queue *queue = make_queue(&gpu);
    struct binding buffers[2];
    for (unsigned i = 0; i < 2; i++) buffers[i] = bind_buffer(&gpu, PAGE, BASE + i * 2 * PAGE);
    CHECK_EQUAL(store(queue, buffers[0].vma, BASE, 1), 0);
    fail_from_now_on("XE_VM_BIND:1:ENOENT");
    for (unsigned i = 0; i < 2; i++) CHECK_EQUAL(unbind_vma_unbind(buffers[i].vma, 0), 0);
    CHECK_EQUAL(log_count("XE_VM_BIND", "injected"), 1);
    CHECK_EQUAL(unbind_vma_bind(buffers[0].vma, 0), -EIO);
    CHECK_EQUAL(unbind_queue_create(vm, 0, &another), -EIO);
    CHECK_EQUAL(store(queue, NULL, BASE, 1), -EIO);
    unbind_queue_unref(queue);
    for (unsigned i = 0; i < 2; i++) drop_binding(&buffers[i]);
    CHECK_EQUAL(unbind_vm_create(gpu.device, NULL, &others[1]), 0);
    for (unsigned i = 0; i < 2; i++) {
        gpu.vm = others[i];
        struct binding buffer = bind_buffer(&gpu, PAGE, BASE);
        queue = make_queue(&gpu);
        CHECK_EQUAL(store(queue, buffer.vma, BASE, i + 2), 0);
        CHECK_EQUAL(cpu_read(buffer.bo, 0), i + 2);
        CHECK_EQUAL(unbind_vma_unbind(buffer.vma, 0), 0);
        unbind_queue_unref(queue);
        drop_binding(&buffer);
        unbind_vm_unref(others[i]);
    }
    gpu.vm = vm;
    intel_close(&gpu);
}
