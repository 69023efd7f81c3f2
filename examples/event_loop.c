/* SPDX-License-Identifier: MIT */
/*
 * libunbind in a program that already has an event loop.
 *
 * The manual executor starts no threads: work is done when the loop calls
 * unbind_device_run. The loop sleeps in poll on two descriptors, the device's
 * (work is ready) and a fence's (the unbind is done), and no longer than until
 * the next thing that becomes ready by the clock.
 */
#include <poll.h>
#include <stdio.h>
#include <unistd.h>
#include <unbind/unbind.h>

#define TRY(call)                                                                    \
    do {                                                                             \
        int status = (call);                                                         \
        if (status < 0) {                                                            \
            fprintf(stderr, "%s: %s\n", unbind_status_name(status), unbind_status_string(status)); \
            return 1;                                                                \
        }                                                                            \
    } while (0)

/* How long poll may sleep, in its milliseconds: rounded up, -1 for ever. */
static int poll_timeout(unbind_device *device) {
    uint64_t next, now = unbind_device_now(device);
    if (unbind_device_next_event(device, &next) < 0 || next == UINT64_MAX) return -1;
    if (next <= now) return 0;
    uint64_t milliseconds = (next - now + 999999) / 1000000;
    return milliseconds > 60000 ? 60000 : (int)milliseconds;
}

int main(void) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    unbind_device *device;
    unbind_vm *vm;
    unbind_queue *queue;
    unbind_bo *bo;
    unbind_vma *vma;
    unbind_fence *unbound;
    int device_fd, fence_fd;

    options.executor = UNBIND_EXECUTOR_MANUAL;
    TRY(unbind_device_open_software(&options, &device));
    TRY(unbind_device_get_eventfd(device, &device_fd)); /* the device's own: not ours to close */
    TRY(unbind_vm_create(device, NULL, &vm));
    TRY(unbind_queue_create(vm, 0, &queue));
    TRY(unbind_bo_create(device, 4096, UNBIND_REGION_SYSTEM, 0, &bo));
    TRY(unbind_vma_create(vm, bo, NULL, &vma));
    TRY(unbind_vma_bind(vma, 0));

    /* A job of 10 milliseconds, and an unbind that has to wait for it. */
    struct unbind_command commands[2] = {
        {.op = UNBIND_COMMAND_DELAY, .value = 10 * 1000 * 1000},
        {.op = UNBIND_COMMAND_STORE, .address = unbind_vma_address(vma), .value = 7},
    };
    struct unbind_submit_vma used = {.vma = vma, .use = UNBIND_USE_WRITE};
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    job.commands = commands, job.command_count = 2;
    job.vmas = &used, job.vma_count = 1;
    uint64_t start = unbind_device_now(device);
    TRY(unbind_queue_submit(queue, &job, NULL));
    TRY(unbind_vma_unbind_async(vma, 0, &unbound));
    TRY(unbind_fence_get_eventfd(unbound, &fence_fd));

    /* The loop. A real one has more descriptors in it. */
    int rounds = 0, done = 0;
    while (!done && rounds < 1000) {
        struct pollfd watched[2] = {{device_fd, POLLIN, 0}, {fence_fd, POLLIN, 0}};
        if (poll(watched, 2, poll_timeout(device)) < 0) continue;
        TRY(unbind_device_run(device, 0, NULL));
        done = (watched[1].revents & POLLIN) != 0;
        rounds++;
    }
    uint64_t took = (unbind_device_now(device) - start) / 1000000;
    printf("the unbind was done after 10 ms or more: %s\n", took >= 10 ? "yes" : "no");
    printf("the loop slept instead of spinning: %s\n", rounds < 20 ? "yes" : "no");
    int right = done && took >= 10 && rounds < 20 && *(uint64_t *)unbind_bo_cpu_pointer(bo) == 7;

    close(fence_fd); /* this one is ours */
    unbind_fence_unref(unbound);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    unbind_vm_unref(vm);
    unbind_device_unref(device);
    return right ? 0 : 1;
}
