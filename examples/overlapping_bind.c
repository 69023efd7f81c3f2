/* SPDX-License-Identifier: MIT */
/*
 * Using a range again at once.
 *
 * A buffer is unbound while the GPU is busy with it, and two others are bound:
 * one over the same range, one beside it. The one beside it can be used while the
 * GPU is busy; the one over it waits for the unbind, and jobs that use it wait with
 * it. The program itself does not.
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

enum { SIZE = 16384, ADDRESS = 0x100000 };

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

/* A job that fills the VMA's buffer with a pattern, once `after` has signalled. */
static int fill(unbind_queue *queue, unbind_vma *vma, unbind_fence *after, uint32_t pattern, unbind_fence **done) {
    struct unbind_command command = {
        .op = UNBIND_COMMAND_FILL, .address = unbind_vma_address(vma), .size = SIZE, .value = pattern};
    struct unbind_submit_vma used = {.vma = vma, .use = UNBIND_USE_WRITE};
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    job.commands = &command, job.command_count = 1;
    job.vmas = &used, job.vma_count = 1;
    if (after) job.wait_fences = &after, job.wait_fence_count = 1;
    TRY(unbind_queue_submit(queue, &job, done));
    return 0;
}

static const char *state(unbind_fence *fence) { return unbind_fence_is_signaled(fence) == 1 ? "done" : "pending"; }

/* 1 if a fence signalled no later than another one. */
static int in_order(unbind_fence *first, unbind_fence *second) {
    uint64_t one = 0, two = 0;
    TRY(unbind_fence_get_timestamp(first, &one));
    TRY(unbind_fence_get_timestamp(second, &two));
    return one <= two;
}

int main(void) {
    unbind_bo *bo[3];
    unbind_vma *vma[3];
    unbind_queue *queue[3];
    unbind_fence *work, *unbound, *bound[2], *filled[3];

    TRY(unbind_device_open_software(NULL, &device));
    TRY(unbind_vm_create(device, NULL, &vm));
    for (int i = 0; i < 3; i++) TRY(unbind_queue_create(vm, 0, &queue[i]));

    /* The first buffer: bound, used by a job that goes on for as long as `work` does, unbound in the middle of that. */
    TRY(unbind_fence_create(device, &work));
    if (place(ADDRESS, &bo[0], &vma[0])) return 1;
    TRY(unbind_vma_bind(vma[0], 0));
    if (fill(queue[0], vma[0], work, 0x11111111, &filled[0])) return 1;
    TRY(unbind_vma_unbind_async(vma[0], 0, &unbound));

    /* The range is free for the next ones: one right over it, one just after it. */
    for (int i = 0; i < 2; i++) {
        if (place(ADDRESS + (uint64_t)i * SIZE, &bo[i + 1], &vma[i + 1])) return 1;
        TRY(unbind_vma_bind_async(vma[i + 1], 0, &bound[i]));
        if (fill(queue[i + 1], vma[i + 1], NULL, 0x22222222, &filled[i + 1])) return 1;
    }

    TRY(unbind_fence_wait(filled[2], UNBIND_TIMEOUT_INFINITE, 0));
    printf("while the GPU is busy:\n");
    printf("  unbind                  %s\n", state(unbound));
    printf("  bind over the range     %s\n", state(bound[0]));
    printf("  bind beside the range   %s, and the buffer is filled\n", state(bound[1]));
    int right = !unbind_fence_is_signaled(unbound) && !unbind_fence_is_signaled(bound[0]);

    TRY(unbind_fence_signal(work, 0));
    TRY(unbind_fence_wait(filled[1], UNBIND_TIMEOUT_INFINITE, 0));
    int ordered = in_order(filled[0], unbound) && in_order(unbound, bound[0]) && in_order(bound[0], filled[1]);
    printf("then: job, unbind, bind, job %s\n", ordered ? "in this order" : "in another order");
    right &= ordered;
    for (int i = 0; i < 3; i++) {
        uint32_t word = ((uint32_t *)unbind_bo_cpu_pointer(bo[i]))[SIZE / 4 - 1];
        printf("buffer %d ends with %08x\n", i, word);
        right &= word == (i ? 0x22222222 : 0x11111111);
        unbind_vma_unref(vma[i]), unbind_bo_unref(bo[i]), unbind_queue_unref(queue[i]), unbind_fence_unref(filled[i]);
    }
    unbind_fence_unref(bound[0]), unbind_fence_unref(bound[1]), unbind_fence_unref(unbound), unbind_fence_unref(work);
    unbind_vm_unref(vm), unbind_device_unref(device);
    return right ? 0 : 1;
}
