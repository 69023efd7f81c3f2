/* SPDX-License-Identifier: MIT */
/*
 * A cache of buffers that frees without waiting.
 *
 * Each frame takes three buffers from the cache, has the GPU use them, and gives
 * them back at once, while the GPU has not even begun. Giving one back unbinds
 * it asynchronously: its address can be bound over at once, its memory is taken
 * again as soon as the GPU is done with it. No list of zombies, no sweep.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unbind/unbind.h>

#define TRY(call)                                                                    \
    do {                                                                             \
        int status = (call);                                                         \
        if (status < 0) {                                                            \
            fprintf(stderr, "%s: %s\n", unbind_status_name(status), unbind_status_string(status)); \
            return 1;                                                                \
        }                                                                            \
    } while (0)

enum { SIZE = 65536, EACH = 3, FRAMES = 100, AHEAD = 3 };

struct buffer {
    unbind_bo *bo;
    unbind_vma *vma;
    struct buffer *next;
};
static unbind_device *device;
static unbind_vm *vm;
static struct buffer *first, **last = &first; /* given back; the longest ago first */
static unsigned made;

/* A buffer that no GPU work uses any more, bound where there is room; a new one if there is none. */
static int cache_get(struct buffer **out) {
    struct buffer *buffer = first;
    if (buffer && unbind_bo_is_signaled(buffer->bo, UNBIND_USAGE_BOOKKEEP) == 1) {
        if (!(first = buffer->next)) last = &first;
    } else {
        if (!(buffer = calloc(1, sizeof *buffer))) return 1;
        TRY(unbind_bo_create(device, SIZE, UNBIND_REGION_SYSTEM, 0, &buffer->bo));
        TRY(unbind_vma_create(vm, buffer->bo, NULL, &buffer->vma));
        made++;
    }
    TRY(unbind_vma_bind_async(buffer->vma, 0, NULL));
    *out = buffer;
    return 0;
}

/* The GPU may be busy with it, or have it before itself. */
static int cache_put(struct buffer *buffer) {
    TRY(unbind_vma_unbind_async(buffer->vma, 0, NULL));
    buffer->next = NULL, *last = buffer, last = &buffer->next;
    return 0;
}

int main(void) {
    struct unbind_vm_options space = UNBIND_VM_OPTIONS_INIT;
    unbind_queue *queue;
    unbind_fence *start, *done[FRAMES];
    TRY(unbind_device_open_software(NULL, &device));
    space.size = EACH * SIZE; /* addresses for one frame only */
    TRY(unbind_vm_create(device, &space, &vm));
    TRY(unbind_queue_create(vm, 0, &queue));
    TRY(unbind_fence_create(device, &start)); /* what the GPU does before the first frame */
    for (int frame = 0; frame < FRAMES; frame++) {
        struct unbind_command work = {.op = UNBIND_COMMAND_DELAY, .value = 200000};
        struct unbind_submit job = UNBIND_SUBMIT_INIT;
        struct unbind_submit_vma used[EACH];
        struct buffer *buffers[EACH];
        if (frame == AHEAD) {
            printf("%d frames ahead, and the GPU has %s\n", frame,
                   unbind_fence_is_signaled(done[0]) ? "begun" : "not begun: nobody has waited for it");
            TRY(unbind_fence_signal(start, 0));
        }
        /* The pace of the program, not of the cache: so many frames ahead of the GPU and no more. */
        if (frame >= AHEAD) {
            struct buffer *oldest = first;
            for (int i = 0; i < EACH; i++, oldest = oldest->next) {
                TRY(unbind_bo_wait(oldest->bo, UNBIND_TIMEOUT_INFINITE, 0));
            }
        }
        for (int i = 0; i < EACH; i++) {
            if (cache_get(&buffers[i])) return 1;
            used[i] = (struct unbind_submit_vma){.vma = buffers[i]->vma, .use = UNBIND_USE_WRITE};
        }
        job.commands = &work, job.command_count = 1, job.vmas = used, job.vma_count = EACH;
        if (frame == 0) job.wait_fences = &start, job.wait_fence_count = 1;
        TRY(unbind_queue_submit(queue, &job, &done[frame]));
        for (int i = 0; i < EACH; i++) if (cache_put(buffers[i])) return 1;
    }
    TRY(unbind_fence_wait(done[FRAMES - 1], UNBIND_TIMEOUT_INFINITE, 0));
    printf("%d frames of GPU work, with %d buffers taken and given back\n", FRAMES, FRAMES * EACH);
    printf("buffers made: %u, in an address space that has room for %d\n", made, EACH);
    for (struct buffer *buffer = first, *next; buffer; buffer = next) {
        next = buffer->next;
        unbind_vma_unref(buffer->vma), unbind_bo_unref(buffer->bo), free(buffer);
    }
    for (int frame = 0; frame < FRAMES; frame++) unbind_fence_unref(done[frame]);
    unbind_fence_unref(start), unbind_queue_unref(queue), unbind_vm_unref(vm), unbind_device_unref(device);
    return made == AHEAD * EACH ? 0 : 1;
}
