/* SPDX-License-Identifier: MIT */
/*
 * Being told about a use after unbind.
 *
 * The program frees an address while a job that it forgot to list still uses
 * it: on hardware a GPU hang with little to go on. The software GPU calls back
 * with the queue, the address, and what was mapped there and until when.
 */
#include <errno.h>
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

static unsigned reports;

static void on_fault(void *user_data, const struct unbind_fault *fault) {
    static const char *const kinds[] = {"nothing is mapped at", "a write to read-only", "a stale translation of"};
    (void)user_data;
    reports++;
    printf("fault: queue %llu, job %llu, command %u: %s %#llx (%s)\n", (unsigned long long)fault->queue_id,
           (unsigned long long)fault->job_seqno, fault->command_index, kinds[fault->kind % 3],
           (unsigned long long)fault->address, fault->access == UNBIND_ACCESS_WRITE ? "write" : "read");
    printf("  last there: buffer %llu at %#llx, %llu bytes, bound at %llu us, unbound at %llu us, fault at %llu us\n",
           (unsigned long long)fault->last_bo_id, (unsigned long long)fault->last_start,
           (unsigned long long)fault->last_size, (unsigned long long)fault->last_bound_ns / 1000,
           (unsigned long long)fault->last_unbound_ns / 1000, (unsigned long long)fault->time_ns / 1000);
}

int main(void) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_vma_options place = UNBIND_VMA_OPTIONS_INIT;
    struct unbind_cost_model costs = UNBIND_COST_MODEL_INIT; /* all 0: round numbers below */
    unbind_device *device;
    unbind_vm *vm;
    unbind_queue *queue;
    unbind_bo *bo;
    unbind_vma *vma;
    unbind_fence *done;
    int error = 0;

    options.executor = UNBIND_EXECUTOR_SIMULATED; /* virtual time: the same report at every run */
    options.cost_model = &costs;
    options.fault = on_fault;
    TRY(unbind_device_open_software(&options, &device));
    TRY(unbind_vm_create(device, NULL, &vm));
    TRY(unbind_queue_create(vm, 0, &queue));
    TRY(unbind_bo_create(device, 8192, UNBIND_REGION_SYSTEM, 0, &bo));
    place.flags = UNBIND_VMA_FIXED;
    place.address = 0x200000;
    TRY(unbind_vma_create(vm, bo, &place, &vma));
    TRY(unbind_device_run_until(device, 50 * 1000));
    TRY(unbind_vma_bind(vma, 0));

    /* The mistake: the job stores through the address after 1 ms but does not list the VMA. */
    struct unbind_command commands[2] = {
        {.op = UNBIND_COMMAND_DELAY, .value = 1000 * 1000},
        {.op = UNBIND_COMMAND_STORE, .address = 0x201000, .value = 42},
    };
    struct unbind_submit job = UNBIND_SUBMIT_INIT;
    job.commands = commands;
    job.command_count = 2;
    TRY(unbind_queue_submit(queue, &job, &done));
    TRY(unbind_device_run_until(device, 250 * 1000));
    TRY(unbind_vma_unbind_async(vma, 0, NULL));

    TRY(unbind_fence_wait(done, UNBIND_TIMEOUT_INFINITE, 0));
    TRY(unbind_fence_get_error(done, &error));
    uint64_t word = *(uint64_t *)((char *)unbind_bo_cpu_pointer(bo) + 4096);
    printf("the job's fence carries %s, the buffer was %s\n", unbind_status_name(error),
           word ? "written" : "not touched");

    unbind_fence_unref(done);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    unbind_queue_unref(queue);
    unbind_vm_unref(vm);
    unbind_device_unref(device);
    return reports == 1 && error == -EFAULT && word == 0 ? 0 : 1;
}
