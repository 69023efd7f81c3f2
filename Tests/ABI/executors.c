/* SPDX-License-Identifier: MIT */
/* One program, three executors: the same result, and what is particular to each. */
#include "support.h"

#include <sys/resource.h>

enum { PAIRS = 8 };

/* Buffers change places while jobs use them; the result is a hash of all bytes. */
static uint64_t little_program(struct gpu *gpu) {
    unbind_bo *bo[PAIRS];
    unbind_vma *vma[PAIRS];
    unbind_queue *queue[2] = {make_queue(gpu), make_queue(gpu)};
    unbind_fence *last[2] = {NULL, NULL};
    uint64_t hash = 1469598103934665603u, loaded[PAIRS];
    for (unsigned i = 0; i < PAIRS; i++) {
        bo[i] = make_bo(gpu, 2 * PAGE);
        vma[i] = make_vma(gpu, bo[i], 0x100000 + (i / 2) * 2 * PAGE); /* two share each place */
        loaded[i] = 0;
    }
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < PAIRS; i++) {
            uint64_t at = unbind_vma_address(vma[i]);
            CHECK_EQUAL(unbind_vma_bind_async(vma[i], 0, NULL), 0);
            struct unbind_command commands[4] = {command_delay(1000 * (i + 1)), command_fill(at, PAGE, round * 16 + i),
                                                 command_copy(at + PAGE, at, PAGE), command_load(at + PAGE, &loaded[i])};
            unbind_fence_unref(last[i % 2]);
            last[i % 2] = NULL;
            CHECK_EQUAL(submit(queue[i % 2], commands, 4, vma[i], NULL, &last[i % 2]), 0);
            CHECK_EQUAL(unbind_vma_unbind_async(vma[i], 0, NULL), 0);
        }
    }
    CHECK_EQUAL(finish(last[0]), 0);
    CHECK_EQUAL(finish(last[1]), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu->device, FOREVER, 0), 0);
    CHECK_EQUAL(vm_stats(gpu->vm).pending, 0);
    CHECK_EQUAL(vm_stats(gpu->vm).unbinds_completed, 6 * PAIRS);
    CHECK_EQUAL(device_stats(gpu->device).jobs, 6 * PAIRS);
    for (unsigned i = 0; i < PAIRS; i++) {
        const unsigned char *bytes = (const unsigned char *)unbind_bo_cpu_pointer(bo[i]);
        for (uint64_t at = 0; at < 2 * PAGE; at++) hash = (hash ^ bytes[at]) * 1099511628211u;
        CHECK_EQUAL(loaded[i] & 0xffffffff, 5 * 16 + i);
        unbind_vma_unref(vma[i]);
        unbind_bo_unref(bo[i]);
    }
    unbind_queue_unref(queue[0]);
    unbind_queue_unref(queue[1]);
    return hash;
}

TEST(same_result, "the same program gives the same bytes on every executor and under every policy") {
    uint64_t first = 0;
    for (uint32_t executor = 0; executor < 3; executor++) {
        for (uint32_t policy = 0; policy < 3; policy++) {
            struct gpu gpu;
            gpu_open_policy(&gpu, executor, policy);
            uint64_t hash = little_program(&gpu);
            if (!first) first = hash;
            CHECK(hash == first);
            CHECK_EQUAL(gpu.faults, 0);
            struct unbind_vm_stats stats = vm_stats(gpu.vm);
            if (policy != UNBIND_POLICY_TIMELINE) CHECK_EQUAL(stats.awaited_not_overlapping, 0);
            if (policy == UNBIND_POLICY_SYNC) CHECK(stats.awaited == 0);
            gpu_close(&gpu);
        }
    }
}

TEST(policies_wait, "ranges awaits what overlaps, timeline awaits everything, sync has nothing left to await") {
    static const uint64_t awaited[] = {0, 1, 0};
    for (uint32_t policy = 0; policy < 3; policy++) {
        struct gpu gpu;
        gpu_open_policy(&gpu, UNBIND_EXECUTOR_SIMULATED, policy);
        unbind_queue *queue = make_queue(&gpu);
        unbind_vma *vma = bind_new(&gpu, PAGE, 0x100000), *beside;
        struct unbind_command delay = command_delay(1000000);
        REQUIRE(submit(queue, &delay, 1, vma, NULL, NULL) == 0);
        uint64_t start = unbind_device_now(gpu.device);
        CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
        CHECK_EQUAL(unbind_device_now(gpu.device) >= start + 1000000, policy == UNBIND_POLICY_SYNC);
        beside = bind_new(&gpu, PAGE, 0x300000);
        CHECK_EQUAL(unbind_device_now(gpu.device) >= start + 1000000, policy != UNBIND_POLICY_RANGES);
        CHECK_EQUAL(vm_stats(gpu.vm).awaited, awaited[policy]);
        CHECK_EQUAL(vm_stats(gpu.vm).awaited_not_overlapping, awaited[policy]);
        unbind_vma_unref(vma);
        unbind_vma_unref(beside);
        unbind_queue_unref(queue);
        gpu_close(&gpu);
    }
}

TEST(engines, "queues of every kind of engine are alike on the software GPU, and take no batch of the caller's") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    CHECK_EQUAL(unbind_device_capabilities(gpu.device) & UNBIND_CAP_BATCH_BUFFERS, 0);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x100000);
    for (uint32_t kind = UNBIND_QUEUE_COPY; kind <= UNBIND_QUEUE_VIDEO_ENHANCE; kind++) {
        unbind_queue *queue = NULL;
        unbind_fence *fence = NULL;
        uint64_t value = 0;
        REQUIRE(unbind_queue_create(gpu.vm, kind, &queue) == 0);
        struct unbind_command commands[] = {command_fill(0x100000, 64, 5 + kind), command_load(0x100000, &value)};
        REQUIRE(submit(queue, commands, 2, vma, NULL, &fence) == 0);
        CHECK_EQUAL(finish(fence), 0);
        CHECK_EQUAL(value, (UINT64_C(5) + kind) << 32 | (5 + kind));
        struct unbind_command batch = command_of(UNBIND_COMMAND_BATCH, 0x100000);
        fence = NULL;
        CHECK_EQUAL(submit(queue, &batch, 1, vma, NULL, &fence), -EOPNOTSUPP);
        CHECK(fence == NULL);
        unbind_queue_unref(queue);
    }
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(no_threads, "the manual and simulated executors start no thread, the pool as many as asked for") {
    for (uint32_t executor = 1; executor < 3; executor++) {
        struct gpu gpu;
        gpu_open(&gpu, executor);
        (void)little_program(&gpu);
        CHECK_EQUAL(thread_count(), 1);
        gpu_close(&gpu);
    }
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_POOL, &allocator);
    options.worker_count = 3;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    CHECK_EQUAL(thread_count(), 4);
    device_close_clean(gpu.device, &gpu.hooks);
    while (thread_count() > 1) sleep_ms(1); /* a joined thread leaves /proc a little later */
}

struct outcome {
    uint64_t digest, items, now, hash;
};

static struct outcome simulate(uint64_t seed) {
    struct gpu gpu;
    struct outcome outcome;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_SIMULATED, &allocator);
    options.seed = seed;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    CHECK_EQUAL(unbind_device_now(gpu.device), 0);
    outcome.hash = little_program(&gpu);
    outcome.digest = device_stats(gpu.device).schedule_digest;
    outcome.items = device_stats(gpu.device).work_items;
    outcome.now = unbind_device_now(gpu.device);
    gpu_close(&gpu);
    return outcome;
}

TEST(same_seed, "the same seed gives the same schedule, times and bytes; other seeds the same bytes") {
    struct outcome first = simulate(7);
    CHECK(first.digest != 0 && first.now > 0 && first.items > 0);
    unsigned different = 0;
    for (uint64_t seed = 7; seed < 27; seed++) {
        struct outcome once = simulate(seed), again = simulate(seed);
        CHECK(once.digest == again.digest && once.now == again.now && once.items == again.items);
        CHECK(once.hash == first.hash && again.hash == first.hash);
        different += once.digest != first.digest;
    }
    CHECK(different > 0);
}

TEST(simulated_deadlock, "waiting in a simulation with nothing left to run gives -EDEADLK and tells the log") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000);
    unbind_fence *user = make_fence(&gpu);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    CHECK_EQUAL(unbind_fence_wait(user, FOREVER, 0), -EDEADLK);
    CHECK(gpu.messages > 0);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), -EDEADLK);
    CHECK_EQUAL(unbind_vma_state(vma), UNBIND_VMA_BOUND);
    CHECK_EQUAL(unbind_bo_wait(NULL, FOREVER, 0), -EINVAL);
    signal_and_drop(user);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(bind_deadlock, "a bind that cannot go on in a simulation gives -EDEADLK, binds nothing and can be repeated") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000);
    unbind_fence *user = make_fence(&gpu);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *over = make_vma(&gpu, bo, 0x5000);
    REQUIRE(unbind_vma_add_user(vma, user) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
    CHECK_EQUAL(unbind_vma_bind(over, 0), -EDEADLK);
    CHECK_EQUAL(unbind_vma_state(over), UNBIND_VMA_UNBOUND);
    CHECK_EQUAL(unbind_vma_bind(over, 0), -EDEADLK);
    signal_and_drop(user);
    CHECK_EQUAL(unbind_vma_bind(over, 0), 0);
    unbind_vma_unref(vma);
    unbind_vma_unref(over);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

static bool readable(int fd) {
    struct pollfd item = {fd, POLLIN, 0};
    return poll(&item, 1, 0) == 1;
}

/* False: the machine had so much else to do that the time was over before it could be looked at. */
static bool pump_by_hand(uint64_t delay) {
    struct gpu gpu;
    unbind_fence *job = NULL;
    int fd = -1;
    uint32_t ran = 0;
    uint64_t next = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000);
    REQUIRE(unbind_device_get_eventfd(gpu.device, &fd) == 0);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK(!readable(fd));
    CHECK_EQUAL(unbind_device_next_event(gpu.device, &next), 0);
    CHECK(next == UINT64_MAX);

    struct unbind_command commands[2] = {command_delay(delay), command_store(0x5000, 9)};
    uint64_t start = unbind_device_now(gpu.device);
    REQUIRE(submit(queue, commands, 2, vma, NULL, &job) == 0);
    CHECK(readable(fd));
    CHECK_EQUAL(unbind_device_next_event(gpu.device, &next), 0);
    CHECK(next <= unbind_device_now(gpu.device));
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, &ran), 0);
    CHECK(ran >= 1);
    bool is_readable = readable(fd);
    CHECK_EQUAL(unbind_device_next_event(gpu.device, &next), 0);
    bool in_time = unbind_device_now(gpu.device) < start + delay;
    if (in_time) {
        CHECK(!is_readable && next >= start + delay && next < UINT64_MAX);
        CHECK_EQUAL(unbind_fence_is_signaled(job), 0);
        CHECK_EQUAL(unbind_device_run_until(gpu.device, next), 0);
        CHECK(unbind_device_now(gpu.device) >= next);
        CHECK_EQUAL(unbind_device_run(gpu.device, 0, &ran), 0);
        CHECK_EQUAL(unbind_fence_is_signaled(job), 1);
    } else {
        CHECK_EQUAL(unbind_fence_wait(job, FOREVER, 0), 0);
    }
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, 0, 0), 0);
    unbind_fence_unref(job);
    unbind_vma_unref(vma);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
    return in_time;
}

TEST(manual_pump, "the manual executor runs when it is pumped and only then, and says when to come back") {
    for (uint64_t delay = 20000000; !pump_by_hand(delay); delay *= 4) {}
}

static struct {
    struct gpu *gpu;
    unbind_queue *queue;
    bool runs_until;
    uint64_t delay;
} helper;

static void *submit_and_run(void *nothing) {
    struct unbind_command delay = command_delay(helper.delay);
    unbind_device *device = helper.gpu->device;
    REQUIRE(submit(helper.queue, &delay, 1, NULL, NULL, NULL) == 0);
    if (helper.runs_until) CHECK_EQUAL(unbind_device_run_until(device, unbind_device_now(device)), 0);
    else CHECK_EQUAL(unbind_device_run(device, 0, NULL), 0);
    return nothing;
}

/* False: as of pump_by_hand. */
static bool pump_in_two_ways(bool in_thread, bool runs_until, uint64_t delay) {
    struct gpu gpu;
    uint64_t next = 0, start;
    int fd = -1;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    helper.gpu = &gpu;
    helper.queue = make_queue(&gpu);
    helper.runs_until = runs_until;
    helper.delay = delay;
    REQUIRE(unbind_device_get_eventfd(gpu.device, &fd) == 0);
    CHECK_EQUAL(unbind_device_next_event(gpu.device, &next), 0);
    CHECK(next == UINT64_MAX && !readable(fd));
    start = unbind_device_now(gpu.device);
    if (in_thread) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, submit_and_run, NULL) == 0);
        pthread_join(thread, NULL);
        CHECK(readable(fd));
        CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    } else {
        submit_and_run(NULL); /* the loop itself: it asks before it polls */
    }
    bool is_readable = readable(fd);
    CHECK_EQUAL(unbind_device_next_event(gpu.device, &next), 0);
    bool in_time = unbind_device_now(gpu.device) < start + delay;
    if (in_time) CHECK(!is_readable && next < UINT64_MAX);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    unbind_queue_unref(helper.queue);
    gpu_close(&gpu);
    return in_time;
}

TEST(two_pumps, "an event loop that polls is told of a timer that came up while another thread ran the device's work") {
    for (unsigned way = 0; way < 4; way++) {
        for (uint64_t delay = 20000000; !pump_in_two_ways(way < 2, way % 2, delay); delay *= 4) {}
    }
}

TEST(run_limited, "pumping stops after the number of pieces asked for") {
    struct gpu gpu;
    uint32_t ran = 9, total = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_queue *queue[3] = {make_queue(&gpu), make_queue(&gpu), make_queue(&gpu)};
    struct unbind_command delay = command_delay(0);
    for (int i = 0; i < 3; i++) REQUIRE(submit(queue[i], &delay, 1, NULL, NULL, NULL) == 0);
    do {
        CHECK_EQUAL(unbind_device_run(gpu.device, 1, &ran), 0);
        CHECK(ran <= 1);
        total += ran;
    } while (ran == 1 && total < 100);
    CHECK(total >= 3 && ran == 0);
    CHECK_EQUAL(device_stats(gpu.device).jobs, 3);
    for (int i = 0; i < 3; i++) unbind_queue_unref(queue[i]);
    gpu_close(&gpu);
}

static struct {
    unbind_device *device;
    uint32_t calls, ran;
    int in_run, in_run_until;
} nested;

static void run_inside(unbind_fence *fence, void *user_data) {
    uint32_t ran = 9;
    (void)fence, (void)user_data;
    nested.calls++;
    nested.in_run |= unbind_device_run(nested.device, 0, &ran);
    nested.ran += ran;
    nested.in_run_until = unbind_device_run_until(nested.device, unbind_device_now(nested.device));
}

TEST(run_inside_run, "a callback that runs the device's work runs none, so any number that are due need no stack") {
    enum { COUNT = 40000 };
    for (uint32_t executor = UNBIND_EXECUTOR_MANUAL; executor <= UNBIND_EXECUTOR_SIMULATED; executor++) {
        struct gpu gpu;
        struct unbind_fence_callback *callbacks = (struct unbind_fence_callback *)calloc(COUNT, sizeof *callbacks);
        unbind_fence *last = NULL;
        uint32_t added = 0;
        gpu_open(&gpu, executor);
        memset(&nested, 0, sizeof nested);
        nested.device = gpu.device;
        uint64_t time = unbind_device_now(gpu.device) + 200000000;
        for (uint32_t i = 0; i < COUNT; i++) {
            unbind_fence_unref(last);
            REQUIRE(unbind_fence_create_timed(gpu.device, time, &last) == 0);
            added += unbind_fence_add_callback(last, &callbacks[i], run_inside, NULL) == 0;
        }
        CHECK_EQUAL(unbind_fence_wait(last, FOREVER, 0), 0);
        CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
        CHECK(added > 0);
        CHECK_EQUAL(nested.calls, added);
        CHECK_EQUAL(nested.ran, 0);
        CHECK_EQUAL(nested.in_run, 0);
        CHECK_EQUAL(nested.in_run_until, -EDEADLK);
        unbind_fence_unref(last);
        gpu_close(&gpu);
        free(callbacks);
    }
}

TEST(no_descriptor, "opening a manual device without a file descriptor left says that") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    struct rlimit all, none;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &all) == 0);
    none = all;
    none.rlim_cur = 0;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    gpu.device = UNTOUCHED(unbind_device);
    CHECK_EQUAL(unbind_device_open_software(&options, &gpu.device), -EMFILE);
    CHECK(gpu.device == UNTOUCHED(unbind_device));
    CHECK_EQUAL(gpu.hooks.blocks, 0);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &all) == 0);
    CHECK_EQUAL(unbind_device_open_software(&options, &gpu.device), 0);
    device_close_clean(gpu.device, &gpu.hooks);
}

TEST(virtual_time, "virtual time moves as far as asked and never back") {
    struct gpu gpu;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 5000000), 0);
    CHECK_EQUAL(unbind_device_now(gpu.device), 5000000);
    CHECK_EQUAL(unbind_device_run_until(gpu.device, 1000), 0);
    CHECK_EQUAL(unbind_device_now(gpu.device), 5000000);
    unbind_queue *queue = make_queue(&gpu);
    unbind_fence *job = NULL;
    struct unbind_command delay = command_delay(UINT64_C(3600) * 1000000000);
    REQUIRE(submit(queue, &delay, 1, NULL, NULL, &job) == 0);
    CHECK_EQUAL(unbind_fence_wait(job, 1000000, 0), -ETIME);
    CHECK_EQUAL(unbind_device_now(gpu.device), 6000000);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, 1000, 0), -ETIME);
    CHECK_EQUAL(finish(job), 0); /* an hour, in no time */
    CHECK(unbind_device_now(gpu.device) >= UINT64_C(3600) * 1000000000);
    unbind_queue_unref(queue);
    gpu_close(&gpu);
}

TEST(gpu_waits_for_fence, "a WAIT command stops its queue, not the others, until the fence signals") {
    struct gpu gpu;
    unbind_fence *waiting = NULL, *other = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_POOL);
    unbind_queue *one = make_queue(&gpu), *two = make_queue(&gpu);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x5000);
    unbind_fence *gate = make_fence(&gpu);
    uint64_t value = 0;
    struct unbind_command commands[2] = {command_wait(gate), command_load(0x5000, &value)};
    struct unbind_command store = command_store(0x5000, 77);
    REQUIRE(submit(one, commands, 2, vma, NULL, &waiting) == 0);
    REQUIRE(submit(two, &store, 1, vma, NULL, &other) == 0);
    CHECK_EQUAL(finish(other), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(waiting), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, UINT64_C(5000000000), 0), 0);
    CHECK_EQUAL(unbind_fence_signal(gate, 0), 0);
    CHECK_EQUAL(finish(waiting), 0);
    CHECK_EQUAL(value, 77);
    unbind_fence_unref(gate);
    unbind_vma_unref(vma);
    unbind_queue_unref(one);
    unbind_queue_unref(two);
    gpu_close(&gpu);
}

TEST(end_of_time, "when virtual time has come to its end, waits still end and the device closes") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_SIMULATED, &allocator);
    struct unbind_cost_model costs = UNBIND_COST_MODEL_INIT;
    costs.tlb_flush_ns = UINT64_MAX;
    options.cost_model = &costs;
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x1000);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    CHECK(unbind_device_now(gpu.device) == UINT64_MAX);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}
