/* SPDX-License-Identifier: MIT */
/*
 * Unbinding without waiting.
 *
 * The GPU is busy with a buffer when the program takes that buffer's address
 * away. The call returns at once with a fence; the library waits for the GPU,
 * clears the page tables, and then the fence signals. Nobody stood still.
 *
 *     cc async_unbind.c $(pkg-config --cflags --libs unbind) && ./a.out
 */
#include <stdio.h>
#include <unbind/unbind.h>

/* Ends the program with the reason when a call fails. */
#define TRY(call)                                                                    \
    do {                                                                             \
        int status = (call);                                                         \
        if (status < 0) {                                                            \
            fprintf(stderr, "%s: %s\n", unbind_status_name(status), unbind_status_string(status)); \
            return 1;                                                                \
        }                                                                            \
    } while (0)

int main(void) {
    unbind_device *device;
    unbind_vm *vm;
    unbind_queue *queue;
    unbind_bo *bo;
    unbind_vma *vma;

    /* A software GPU, one address space of it, and a queue that runs work in that space. */
    TRY(unbind_device_open_software(NULL, &device));
    TRY(unbind_vm_create(device, NULL, &vm));
    TRY(unbind_queue_create(vm, 0, &queue));

    /* Memory, and a place for it that the library chooses. */
    TRY(unbind_bo_create(device, 65536, UNBIND_REGION_SYSTEM, 0, &bo));
    TRY(unbind_vma_create(vm, bo, NULL, &vma));
    TRY(unbind_vma_bind(vma, 0));

    /* Work for the GPU: 200 milliseconds of something else, then a store. The job lists the VMA,
     * so the library knows that the address is in use until the job has ended. */
    struct unbind_command commands[2] = {
        {.op = UNBIND_COMMAND_DELAY, .value = 200 * 1000 * 1000},
        {.op = UNBIND_COMMAND_STORE, .address = unbind_vma_address(vma), .value = 42},
    };
    struct unbind_submit_vma used = {.vma = vma, .use = UNBIND_USE_WRITE};
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    job.commands = commands;
    job.command_count = 2;
    job.vmas = &used;
    job.vma_count = 1;
    TRY(unbind_queue_submit(queue, &job, NULL));

    /* Take the address away while the GPU is still using it. */
    unbind_fence *unbound;
    uint64_t start = unbind_device_now(device);
    TRY(unbind_vma_unbind_async(vma, 0, &unbound));
    uint64_t returned = unbind_device_now(device);
    printf("after the call: %s\n", unbind_fence_is_signaled(unbound) ? "unbound" : "still pending");

    /* Here the program would do something useful. This one has nothing else to do. */
    TRY(unbind_fence_wait(unbound, UNBIND_TIMEOUT_INFINITE, 0));
    uint64_t finished;
    TRY(unbind_fence_get_timestamp(unbound, &finished));
    uint64_t stored = *(uint64_t *)unbind_bo_cpu_pointer(bo);
    printf("after the fence: unbound, the GPU stored %llu\n", (unsigned long long)stored);

    int quick = returned - start < (finished - start) / 2;
    printf("the call returned %s the GPU was done\n", quick ? "long before" : "only when");

    /* Drop everything; the report counts what was forgotten. */
    struct unbind_leak_report report = UNBIND_LEAK_REPORT_INIT;
    unbind_fence_unref(unbound);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    unbind_vm_unref(vm);
    TRY(unbind_device_close(device, &report));
    unbind_device_unref(device);
    return stored == 42 && quick && report.vmas + report.bos + report.fences == 0 ? 0 : 1;
}
