/* SPDX-License-Identifier: MIT */
/*
 * What the ABI tests share: an allocator that counts, checks sizes and can
 * fail; a device with one address space; short ways to make buffers and jobs.
 * Everything goes through the public functions.
 */
#ifndef UNBIND_TESTS_SUPPORT_H
#define UNBIND_TESTS_SUPPORT_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <unbind/unbind.h>

#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>

#define PAGE UINT64_C(4096)
#define MIB UINT64_C(0x100000)
#define FOREVER UNBIND_TIMEOUT_INFINITE

/* A handle that no function may read or replace. */
#define UNTOUCHED(type) ((type *)(uintptr_t)0x5a5a)

/* The allocator under test: a prefix before each block remembers its size. */
struct hooks {
    uint64_t calls;   /* of allocate */
    uint64_t failed;  /* of them, made to fail */
    int64_t blocks;   /* now */
    int64_t bytes;    /* now */
    uint64_t fail_at; /* this call fails, counted from 1; 0: none */
    uint64_t fail_every; /* each call fails whose number is a multiple; 0: none */
};

static inline void *hooks_allocate(void *user_data, size_t size, size_t alignment) {
    struct hooks *hooks = (struct hooks *)user_data;
    uint64_t call = __atomic_add_fetch(&hooks->calls, 1, __ATOMIC_RELAXED);
    void *raw = NULL;
    CHECK(alignment >= 16 && (alignment & (alignment - 1)) == 0);
    CHECK(size > 0);
    uint64_t every = __atomic_load_n(&hooks->fail_every, __ATOMIC_RELAXED);
    if (call == __atomic_load_n(&hooks->fail_at, __ATOMIC_RELAXED) || (every && call % every == 0)) {
        __atomic_add_fetch(&hooks->failed, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    if (posix_memalign(&raw, alignment, alignment + size) != 0) return NULL;
    size_t *prefix = (size_t *)((char *)raw + alignment) - 2;
    prefix[0] = size;
    prefix[1] = alignment;
    memset((char *)raw + alignment, 0xa5, size);
    __atomic_add_fetch(&hooks->blocks, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&hooks->bytes, (int64_t)size, __ATOMIC_RELAXED);
    return (char *)raw + alignment;
}

static inline void hooks_deallocate(void *user_data, void *memory, size_t size) {
    struct hooks *hooks = (struct hooks *)user_data;
    size_t *prefix = (size_t *)memory - 2;
    REQUIRE(memory != NULL);
    CHECK_EQUAL(size, prefix[0]);
    __atomic_sub_fetch(&hooks->blocks, 1, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&hooks->bytes, (int64_t)prefix[0], __ATOMIC_RELAXED);
    size_t offset = prefix[1];
    memset(memory, 0xdd, prefix[0]);
    free((char *)memory - offset);
}

static inline struct unbind_allocator hooks_allocator(struct hooks *hooks) {
    struct unbind_allocator allocator = UNBIND_ALLOCATOR_INIT;
    memset(hooks, 0, sizeof *hooks);
    allocator.user_data = hooks;
    allocator.allocate = hooks_allocate;
    allocator.deallocate = hooks_deallocate;
    return allocator;
}

/* A device with an address space, and what it told its callbacks. */
struct gpu {
    unbind_device *device;
    unbind_vm *vm;
    struct hooks hooks;
    uint32_t faults;
    struct unbind_fault fault; /* the last one */
    uint32_t messages;
};

static inline void gpu_fault(void *user_data, const struct unbind_fault *fault) {
    struct gpu *gpu = (struct gpu *)user_data;
    memcpy(&gpu->fault, fault, fault->struct_size < sizeof gpu->fault ? fault->struct_size : sizeof gpu->fault);
    __atomic_add_fetch(&gpu->faults, 1, __ATOMIC_RELEASE);
}

static inline void gpu_log(void *user_data, uint32_t level, const char *message) {
    struct gpu *gpu = (struct gpu *)user_data;
    CHECK(level <= UNBIND_LOG_INFO && message != NULL);
    __atomic_add_fetch(&gpu->messages, 1, __ATOMIC_RELAXED);
}

/* The options every test starts from; `allocator` must live until the device is open. */
static inline struct unbind_device_options gpu_options(struct gpu *gpu, uint32_t executor,
                                                       struct unbind_allocator *allocator) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    memset(gpu, 0, sizeof *gpu);
    *allocator = hooks_allocator(&gpu->hooks);
    options.executor = executor;
    options.seed = 1;
    options.local_memory_bytes = 64 * MIB;
    options.allocator = allocator;
    options.log = gpu_log;
    options.log_data = gpu;
    options.fault = gpu_fault;
    options.fault_data = gpu;
    return options;
}

static inline void gpu_open_policy(struct gpu *gpu, uint32_t executor, uint32_t policy) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(gpu, executor, &allocator);
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    vm_options.policy = policy;
    REQUIRE(unbind_device_open_software(&options, &gpu->device) == 0);
    REQUIRE(unbind_vm_create(gpu->device, &vm_options, &gpu->vm) == 0);
}

static inline void gpu_open(struct gpu *gpu, uint32_t executor) {
    gpu_open_policy(gpu, executor, UNBIND_POLICY_RANGES);
}

/* Closes a device whose other handles have all been dropped: nothing may be left. */
static inline void device_close_clean(unbind_device *device, struct hooks *hooks) {
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
    CHECK_EQUAL(unbind_device_close(device, &report), 0);
    CHECK_EQUAL(report.vms, 0);
    CHECK_EQUAL(report.bos, 0);
    CHECK_EQUAL(report.vmas, 0);
    CHECK_EQUAL(report.queues, 0);
    CHECK_EQUAL(report.fences, 0);
    CHECK_EQUAL(report.timelines, 0);
    CHECK_EQUAL(report.locks, 0);
    CHECK_EQUAL(report.ranges, 0);
    CHECK_EQUAL(report.bo_bytes, 0);
    unbind_device_unref(device);
    if (hooks) {
        CHECK_EQUAL(hooks->blocks, 0);
        CHECK_EQUAL(hooks->bytes, 0);
    }
}

static inline void gpu_close(struct gpu *gpu) {
    unbind_vm_unref(gpu->vm);
    device_close_clean(gpu->device, &gpu->hooks);
}

static inline unbind_bo *make_bo(struct gpu *gpu, uint64_t size) {
    unbind_bo *bo = NULL;
    REQUIRE(unbind_bo_create(gpu->device, size, UNBIND_REGION_SYSTEM, 0, &bo) == 0);
    return bo;
}

static inline unbind_vma *make_vma(struct gpu *gpu, unbind_bo *bo, uint64_t address) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma = NULL;
    if (address != UNBIND_ADDRESS_NONE) {
        options.flags = UNBIND_VMA_FIXED;
        options.address = address;
    }
    REQUIRE(unbind_vma_create(gpu->vm, bo, &options, &vma) == 0);
    return vma;
}

/* A new buffer bound at an address; the VMA holds the only reference to the buffer. */
static inline unbind_vma *bind_new(struct gpu *gpu, uint64_t size, uint64_t address) {
    unbind_bo *bo = make_bo(gpu, size);
    unbind_vma *vma = make_vma(gpu, bo, address);
    unbind_bo_unref(bo);
    REQUIRE(unbind_vma_bind(vma, 0) == 0);
    return vma;
}

static inline unbind_fence *make_fence(struct gpu *gpu) {
    unbind_fence *fence = NULL;
    REQUIRE(unbind_fence_create(gpu->device, &fence) == 0);
    return fence;
}

static inline unbind_queue *make_queue(struct gpu *gpu) {
    unbind_queue *queue = NULL;
    REQUIRE(unbind_queue_create(gpu->vm, 0, &queue) == 0);
    return queue;
}

static inline void signal_and_drop(unbind_fence *fence) {
    CHECK_EQUAL(unbind_fence_signal(fence, 0), 0);
    unbind_fence_unref(fence);
}

/* Waits, drops the reference, and gives the error the fence carried. */
static inline int finish(unbind_fence *fence) {
    int error = 1;
    REQUIRE(fence != NULL);
    CHECK_EQUAL(unbind_fence_wait(fence, FOREVER, 0), 0);
    CHECK_EQUAL(unbind_fence_get_error(fence, &error), 0);
    unbind_fence_unref(fence);
    return error;
}

/* How long a chain of fences is made, to see that it needs no stack. */
static inline unsigned deep(void) { return getenv("UNDER_VALGRIND") ? 10000 : 100000; }

static inline unbind_fence *array_of(unbind_fence *const *fences, uint32_t count, uint32_t flags) {
    unbind_fence *array = NULL;
    REQUIRE(unbind_fence_array_create(fences, count, flags, &array) == 0);
    return array;
}

static inline unbind_fence *merge_of(unbind_fence *const *fences, uint32_t count) {
    unbind_fence *merged = NULL;
    REQUIRE(unbind_fence_merge(fences, count, &merged) == 0);
    return merged;
}

static inline unbind_fence *stub_of(struct gpu *gpu) {
    unbind_fence *stub = NULL;
    REQUIRE(unbind_fence_get_stub(gpu->device, &stub) == 0);
    return stub;
}

static inline unbind_timeline *make_timeline(struct gpu *gpu) {
    unbind_timeline *timeline = NULL;
    REQUIRE(unbind_timeline_create(gpu->device, &timeline) == 0);
    return timeline;
}

static inline unbind_fence *point_of(unbind_timeline *timeline, uint64_t seqno) {
    unbind_fence *fence = NULL;
    REQUIRE(unbind_timeline_get_point(timeline, seqno, &fence) == 0);
    return fence;
}

static inline uint64_t value_of(unbind_timeline *timeline) {
    uint64_t value = 77;
    CHECK_EQUAL(unbind_timeline_value(timeline, &value), 0);
    return value;
}

static inline void make_fences(struct gpu *gpu, unbind_fence **fences, unsigned count) {
    for (unsigned i = 0; i < count; i++) fences[i] = make_fence(gpu);
}

static inline void drop_fences(unbind_fence **fences, unsigned count) {
    for (unsigned i = 0; i < count; i++) unbind_fence_unref(fences[i]);
}

static inline struct unbind_command command_of(uint32_t op, uint64_t address) {
    struct unbind_command command;
    memset(&command, 0, sizeof command);
    command.op = op;
    command.address = address;
    return command;
}

static inline struct unbind_command command_fill(uint64_t address, uint64_t size, uint32_t pattern) {
    struct unbind_command command = command_of(UNBIND_COMMAND_FILL, address);
    command.size = size;
    command.value = pattern;
    return command;
}

static inline struct unbind_command command_copy(uint64_t to, uint64_t from, uint64_t size) {
    struct unbind_command command = command_of(UNBIND_COMMAND_COPY, to);
    command.source = from;
    command.size = size;
    return command;
}

static inline struct unbind_command command_store(uint64_t address, uint64_t value) {
    struct unbind_command command = command_of(UNBIND_COMMAND_STORE, address);
    command.value = value;
    return command;
}

static inline struct unbind_command command_load(uint64_t address, uint64_t *result) {
    struct unbind_command command = command_of(UNBIND_COMMAND_LOAD, address);
    command.result = result;
    return command;
}

static inline struct unbind_command command_delay(uint64_t nanoseconds) {
    struct unbind_command command = command_of(UNBIND_COMMAND_DELAY, 0);
    command.value = nanoseconds;
    return command;
}

static inline struct unbind_command command_wait(unbind_fence *fence) {
    struct unbind_command command = command_of(UNBIND_COMMAND_WAIT, 0);
    command.fence = fence;
    return command;
}

/* One job that uses up to two VMAs, for reading and writing. */
static inline int submit(unbind_queue *queue, const struct unbind_command *commands, uint32_t count,
                         unbind_vma *first, unbind_vma *second, unbind_fence **out_fence) {
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    struct unbind_submit_vma vmas[2];
    memset(vmas, 0, sizeof vmas);
    vmas[0].vma = first;
    vmas[1].vma = second;
    vmas[0].use = vmas[1].use = UNBIND_USE_READ | UNBIND_USE_WRITE;
    job.commands = commands;
    job.command_count = count;
    job.vmas = vmas;
    job.vma_count = first && second ? 2 : first ? 1 : 0;
    return unbind_queue_submit(queue, &job, out_fence);
}

static inline struct unbind_device_stats device_stats(unbind_device *device) {
    struct unbind_device_stats stats = UNBIND_DEVICE_STATS_INIT;
    CHECK_EQUAL(unbind_device_get_stats(device, &stats), 0);
    return stats;
}

static inline struct unbind_vm_stats vm_stats(unbind_vm *vm) {
    struct unbind_vm_stats stats = UNBIND_VM_STATS_INIT;
    CHECK_EQUAL(unbind_vm_get_stats(vm, &stats), 0);
    return stats;
}

static inline unsigned thread_count(void) {
    DIR *directory = opendir("/proc/self/task");
    unsigned count = 0;
    REQUIRE(directory != NULL);
    for (struct dirent *entry = readdir(directory); entry; entry = readdir(directory)) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

/* A fence of a time that is to come, with a callback; the time is past at once on a machine with much else to do. */
static inline unbind_fence *timed_calling(unbind_device *device, struct unbind_fence_callback *callback,
                                          unbind_fence_callback_fn function, void *user_data, uint64_t *out_time) {
    unbind_fence *fence = NULL;
    for (uint64_t delay = 20000000;; delay *= 4) {
        *out_time = unbind_device_now(device) + delay;
        REQUIRE(unbind_fence_create_timed(device, *out_time, &fence) == 0);
        int status = unbind_fence_add_callback(fence, callback, function, user_data);
        if (status == 0) return fence;
        CHECK_EQUAL(status, -ENOENT);
        unbind_fence_unref(fence);
    }
}

static inline void sleep_ms(long milliseconds) {
    struct timespec pause = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&pause, NULL);
}

/* Until a thread that has told its number sleeps; for one that tells it right before it does. Who runs, or could, is
 * not asleep; under valgrind, which runs one thread at a time, it gets its turn between two looks. */
static inline void until_asleep(const pid_t *thread) {
    for (int seen = 0; seen < 3; sleep_ms(1)) {
        char name[64], text[256] = "";
        pid_t number = __atomic_load_n(thread, __ATOMIC_ACQUIRE);
        if (number == 0) continue;
        snprintf(name, sizeof name, "/proc/self/task/%d/stat", (int)number);
        FILE *file = fopen(name, "r");
        REQUIRE(file != NULL);
        REQUIRE(fgets(text, sizeof text, file) != NULL);
        fclose(file);
        REQUIRE(strrchr(text, ')') != NULL);
        seen = strncmp(strrchr(text, ')'), ") S", 3) == 0 ? seen + 1 : 0;
    }
}

static inline void on_signal(int number) { (void)number; }

/* SIGUSR1 ends what can be interrupted, and nothing else. */
static inline void take_signals(int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_flags = flags;
    action.sa_handler = on_signal;
    sigaction(SIGUSR1, &action, NULL);
}

/* Again and again, as the first signal may come before the wait has begun. What the thread returned. */
static inline void *interrupt_until_over(pthread_t thread) {
    void *result = NULL;
    do {
        sleep_ms(2);
        pthread_kill(thread, SIGUSR1);
    } while (pthread_tryjoin_np(thread, &result) != 0);
    return result;
}

#endif
