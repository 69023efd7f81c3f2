/* SPDX-License-Identifier: MIT */
/* Opening and closing an Intel GPU, binding and unbinding on it, jobs: what holds for every driver. */
#include "intel_support.h"

#define BASE UINT64_C(0x100000000)

TEST(store_and_read, "a job stores through a mapping, and the CPU reads it") {
    struct gpu gpu;
    machine(machine_name("lnl"), NULL);
    intel_open(&gpu, UNBIND_EXECUTOR_POOL);
    struct binding buffer = bind_buffer(&gpu, 2 * PAGE, BASE);
    unbind_queue *queue = make_queue(&gpu);
    CHECK_EQUAL(store(queue, buffer.vma, BASE + PAGE + 8, UINT64_C(0x1122334455667788)), 0);
    CHECK_EQUAL(cpu_read(buffer.bo, PAGE + 8), UINT64_C(0x1122334455667788));
    unbind_queue_unref(queue);
    drop_binding(&buffer);
    intel_close(&gpu);
}
