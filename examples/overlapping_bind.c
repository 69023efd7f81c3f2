/* SPDX-License-Identifier: MIT */
/*
 * Using a range again at once.
 *
 * A buffer is unbound while the GPU is busy with it, and two others are bound:
 * one over the same range, one beside it. The one beside it is ready at once;
 * the one over it waits for the unbind, and jobs that use it wait with it. The
 * program itself does not. The times are virtual: the same at every run.
 */
#include <stdio.h>
#include <unbind/unbind.h>

#define TRY(call)                                                                    \
    do {                                                                             \
        int status = (call);                                                         \
        if (status < 0) {                                                            \
            fprintf(stderr, "%s: %s\n", unbind_status_name(status), unbind_status_string(status)); \
            return 1;                                                                \
        }                                                                            \
    } while (0)

enum { SIZE = 16384, ADDRESS = 0x100000, MILLISECOND = 1000 * 1000 };

static unbind_device *device;
static unbind_vm *vm;

/* A VMA for a new buffer at a fixed address; the caller drops both. */
static int place(uint64_t address, unbind_bo **bo, unbind_vma **vma) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    options.flags = UNBIND_VMA_FIXED;
    options.address = address;
    TRY(unbind_bo_create(device, SIZE, UNBIND_REGION_SYSTEM, 0, bo));
    TRY(unbind_vma_create(vm, *bo, &options, vma));
    return 0;
}

/* A job that is busy for a while and then fills the VMA's buffer with a pattern. */
static int fill(unbind_queue *queue, unbind_vma *vma, uint64_t busy_ns, uint32_t pattern, unbind_fence **done) {
    struct unbind_command commands[2] = {
        {.op = UNBIND_COMMAND_DELAY, .value = busy_ns},
        {.op = UNBIND_COMMAND_FILL, .address = unbind_vma_address(vma), .size = SIZE, .value = pattern},
    };
    struct unbind_submit_vma used = {.vma = vma, .use = UNBIND_USE_WRITE};
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    job.commands = commands, job.command_count = 2;
    job.vmas = &used, job.vma_count = 1;
    TRY(unbind_queue_submit(queue, &job, done));
    return 0;
}

static unsigned long long milliseconds(unbind_fence *fence) {
    uint64_t time = 0;
    unbind_fence_get_timestamp(fence, &time);
    return time / MILLISECOND;
}

int main(void) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    unbind_bo *bo[3];
    unbind_vma *vma[3];
    unbind_queue *queue[3];
    unbind_fence *unbound, *bound[2], *filled[2];

    options.executor = UNBIND_EXECUTOR_SIMULATED;
    TRY(unbind_device_open_software(&options, &device));
    TRY(unbind_vm_create(device, NULL, &vm));
    for (int i = 0; i < 3; i++) TRY(unbind_queue_create(vm, 0, &queue[i]));

    /* The first buffer: bound, used for 10 ms, unbound in the middle of that. */
    if (place(ADDRESS, &bo[0], &vma[0])) return 1;
    TRY(unbind_vma_bind(vma[0], 0));
    if (fill(queue[0], vma[0], 10 * MILLISECOND, 0x11111111, NULL)) return 1;
    TRY(unbind_vma_unbind_async(vma[0], 0, &unbound));

    /* The range is free for the next ones: one right over it, one just after it. */
    for (int i = 0; i < 2; i++) {
        if (place(ADDRESS + (uint64_t)i * SIZE, &bo[i + 1], &vma[i + 1])) return 1;
        TRY(unbind_vma_bind_async(vma[i + 1], 0, &bound[i]));
        if (fill(queue[i + 1], vma[i + 1], 0, 0x22222222, &filled[i])) return 1;
    }

    /* Only now time passes. */
    for (int i = 0; i < 2; i++) TRY(unbind_fence_wait(filled[i], UNBIND_TIMEOUT_INFINITE, 0));
    printf("unbound after            %llu ms\n", milliseconds(unbound));
    printf("bound over the range     %llu ms\n", milliseconds(bound[0]));
    printf("bound beside the range   %llu ms\n", milliseconds(bound[1]));
    int right = milliseconds(bound[0]) >= 10 && milliseconds(bound[1]) == 0;
    for (int i = 0; i < 3; i++) {
        uint32_t word = ((uint32_t *)unbind_bo_cpu_pointer(bo[i]))[SIZE / 4 - 1];
        printf("buffer %d ends with       %08x\n", i, word);
        right &= word == (i ? 0x22222222 : 0x11111111);
        unbind_vma_unref(vma[i]), unbind_bo_unref(bo[i]), unbind_queue_unref(queue[i]);
    }
    for (int i = 0; i < 2; i++) unbind_fence_unref(bound[i]), unbind_fence_unref(filled[i]);
    unbind_fence_unref(unbound), unbind_vm_unref(vm), unbind_device_unref(device);
    return right ? 0 : 1;
}
