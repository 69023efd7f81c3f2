/* SPDX-License-Identifier: MIT */
/*
 * Operations whose cost must not depend on how many objects of their kind there are: each program does one n times,
 * with up to n there. run.sh counts the instructions at two n, and fails when an operation costs more at the larger.
 * Manual executor, cost model of zero.
 *
 *     growth PROGRAM N      for callgrind; N may be 0
 *     growth --list         the programs
 *
 * Not among them is what costs as much as what it meets by its nature: a bind over k pending unbinds awaits k.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unbind/unbind.h>

enum { PAGE = 4096, MOST = 4096 };
#define BASE UINT64_C(0x10000000)

#define TRY(call)                                                                      \
    do {                                                                               \
        int status_ = (call);                                                          \
        if (status_ < 0) {                                                             \
            fprintf(stderr, "growth: %s: %s\n", #call, unbind_status_string(status_)); \
            exit(1);                                                                   \
        }                                                                              \
    } while (0)

static unbind_device *device;
static unbind_vm *vm;
static unbind_vma *vmas[2 * MOST];
static unbind_fence *fences[MOST], *others[MOST];

static uint64_t place(unsigned index) { return BASE + (uint64_t)index * PAGE; }

/* All of 0 to n - 1, in no order; n is a power of two. */
static unsigned shuffled(unsigned index, unsigned n) { return index * 1237 % n; }

static unbind_bo *new_bo(uint64_t pages) {
    unbind_bo *bo;
    TRY(unbind_bo_create(device, pages * PAGE, UNBIND_REGION_SYSTEM, 0, &bo));
    return bo;
}

static unbind_fence *new_fence(void) {
    unbind_fence *fence;
    TRY(unbind_fence_create(device, &fence));
    return fence;
}

/* Of a page of its own. */
static unbind_vma *new_vma(uint64_t address) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_vma *vma;
    unbind_bo *bo = new_bo(1);
    options.flags = UNBIND_VMA_FIXED;
    options.address = address;
    TRY(unbind_vma_create(vm, bo, &options, &vma));
    unbind_bo_unref(bo);
    return vma;
}

static struct unbind_view page_of(unsigned index) {
    struct unbind_view view = UNBIND_VIEW_INIT;
    view.type = UNBIND_VIEW_PARTIAL;
    view.offset = (uint64_t)index * PAGE;
    view.size = PAGE;
    return view;
}

static unbind_vma *new_view(unbind_bo *bo, unsigned index) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    struct unbind_view view = page_of(index);
    unbind_vma *vma;
    options.flags = UNBIND_VMA_FIXED;
    options.address = place(index);
    options.view = &view;
    TRY(unbind_vma_create(vm, bo, &options, &vma));
    return vma;
}

static void signal_and_drop(unbind_fence *fence) {
    TRY(unbind_fence_signal(fence, 0));
    unbind_fence_unref(fence);
}

static void finish(void) { TRY(unbind_device_wait_idle(device, UNBIND_TIMEOUT_INFINITE, 0)); }

static void drop_vmas(unsigned n) {
    for (unsigned i = 0; i < n; i++) unbind_vma_unref(vmas[i]);
}

/* The programs. */

static void bindings(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        vmas[i] = new_vma(place(shuffled(i, n)));
        TRY(unbind_vma_bind(vmas[i], 0));
    }
    for (unsigned i = 0; i < n; i++) TRY(unbind_vma_unbind(vmas[i], 0));
    drop_vmas(n);
}

static void views_of_one_buffer(unsigned n) {
    unbind_bo *bo = new_bo(n + 1);
    for (unsigned i = 0; i < n; i++) {
        vmas[i] = new_view(bo, i);
        TRY(unbind_vma_bind(vmas[i], 0));
    }
    drop_vmas(n);
    unbind_bo_unref(bo);
}

static void lookups_by_view(unsigned n) {
    unbind_bo *bo = new_bo(n + 1);
    for (unsigned i = 0; i < n; i++) vmas[i] = new_view(bo, i);
    for (unsigned i = 0; i < n; i++) {
        struct unbind_view view = page_of(shuffled(i, n));
        unbind_vma *found;
        TRY(unbind_vma_lookup(vm, bo, &view, &found));
        unbind_vma_unref(found);
    }
    drop_vmas(n);
    unbind_bo_unref(bo);
}

static void users_of_one_binding(unsigned n) {
    vmas[0] = new_vma(BASE);
    TRY(unbind_vma_bind(vmas[0], 0));
    for (unsigned i = 0; i < n; i++) {
        fences[i] = new_fence();
        TRY(unbind_vma_add_user(vmas[0], fences[i]));
    }
    TRY(unbind_vma_unbind_async(vmas[0], 0, NULL));
    for (unsigned i = 0; i < n; i++) signal_and_drop(fences[i]);
    finish();
    drop_vmas(1);
}

static void pending_unbinds(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        vmas[i] = new_vma(place(shuffled(i, n)));
        fences[i] = new_fence();
        TRY(unbind_vma_bind(vmas[i], 0));
        TRY(unbind_vma_add_user(vmas[i], fences[i]));
        TRY(unbind_vma_unbind_async(vmas[i], 0, NULL));
    }
    for (unsigned i = 0; i < n; i++) {
        signal_and_drop(fences[i]);
        TRY(unbind_device_run(device, 0, NULL));
    }
    drop_vmas(n);
}

static void closing_with_pending_unbinds(unsigned n) {
    unbind_fence *user = new_fence();
    for (unsigned i = 0; i < n; i++) {
        vmas[i] = new_vma(place(i));
        TRY(unbind_vma_bind(vmas[i], 0));
        TRY(unbind_vma_add_user(vmas[i], user));
    }
    TRY(unbind_vm_close(vm));
    signal_and_drop(user);
    finish();
    drop_vmas(n);
}

static void holds_of_one_binding(unsigned n) {
    static unbind_hold *holds[MOST];
    vmas[0] = new_vma(BASE);
    TRY(unbind_vma_bind(vmas[0], 0));
    for (unsigned i = 0; i < n; i++) TRY(unbind_vma_hold(vmas[0], &holds[i]));
    TRY(unbind_vma_unbind_async(vmas[0], 0, NULL));
    for (unsigned i = 0; i < n; i++) unbind_hold_unref(holds[i]);
    finish();
    drop_vmas(1);
}

/* Each bind of the second half takes the place of the least recently used. */
static void evictions(unsigned n) {
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    unbind_vm *whole = vm;
    options.size = (n + 1) * (uint64_t)PAGE;
    TRY(unbind_vm_create(device, &options, &vm));
    for (unsigned i = 0; i < 2 * n; i++) {
        struct unbind_vma_options anywhere = UNBIND_VMA_OPTIONS_INIT;
        unbind_bo *bo = new_bo(1);
        TRY(unbind_vma_create(vm, bo, &anywhere, &vmas[i]));
        unbind_bo_unref(bo);
        TRY(unbind_vma_bind(vmas[i], UNBIND_BIND_EVICT));
    }
    drop_vmas(2 * n);
    unbind_vm_unref(vm);
    vm = whole;
}

static void suspend_and_resume(unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        vmas[i] = new_vma(place(shuffled(i, n)));
        TRY(unbind_vma_bind(vmas[i], 0));
    }
    TRY(unbind_vm_suspend(vm));
    TRY(unbind_vm_resume(vm));
    TRY(unbind_vm_evict_all(vm, 0));
    drop_vmas(n);
}

static void moves(unsigned n) {
    unbind_bo *bo = new_bo(n + 1);
    for (unsigned i = 0; i < n; i++) {
        vmas[i] = new_view(bo, i);
        TRY(unbind_vma_bind(vmas[i], 0));
    }
    TRY(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, NULL));
    finish();
    drop_vmas(n);
    unbind_bo_unref(bo);
}

static void jobs(unsigned n) {
    struct unbind_command store;
    struct unbind_submit submit = UNBIND_SUBMIT_INIT;
    unbind_queue *queue;
    memset(&store, 0, sizeof store);
    store.op = UNBIND_COMMAND_STORE;
    store.address = BASE;
    submit.commands = &store;
    submit.command_count = 1;
    vmas[0] = new_vma(BASE);
    TRY(unbind_vma_bind(vmas[0], 0));
    TRY(unbind_queue_create(vm, 0, &queue));
    for (unsigned i = 0; i < n; i++) {
        unbind_fence *done;
        TRY(unbind_queue_submit(queue, &submit, &done));
        TRY(unbind_vma_add_user(vmas[0], done));
        unbind_fence_unref(done);
    }
    finish();
    unbind_queue_unref(queue);
    drop_vmas(1);
}

static void queues(unsigned n) {
    static unbind_queue *all[MOST];
    for (unsigned i = 0; i < n; i++) TRY(unbind_queue_create(vm, 0, &all[i]));
    for (unsigned i = 0; i < n; i++) unbind_queue_unref(all[i]);
}

static void submit_op(uint32_t op, unbind_bo *bo, uint64_t offset, unsigned first, uint64_t pages,
                      unbind_fence *gate) {
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    struct unbind_sync wait = {gate, NULL, 0};
    struct unbind_op one;
    memset(&one, 0, sizeof one);
    one.op = op;
    one.bo = bo;
    one.offset = offset;
    one.address = place(first);
    one.size = pages * PAGE;
    batch.mode = UNBIND_BATCH_ASYNC;
    batch.waits = &wait;
    batch.wait_count = gate != NULL;
    TRY(unbind_vm_submit(vm, &one, 1, &batch));
}

/* Neighbours that are joined, one after the other. */
static void mappings_joined(unsigned n) {
    unbind_bo *bo = new_bo(n + 1);
    for (unsigned i = 0; i < n; i++) submit_op(UNBIND_OP_MAP, bo, (uint64_t)i * PAGE, i, 1, NULL);
    submit_op(UNBIND_OP_UNMAP, NULL, 0, 0, n + 1, NULL);
    unbind_bo_unref(bo);
}

/* One mapping, unmapped page by page: every other one, then the rest. */
static void mappings_split(unsigned n) {
    unbind_bo *bo = new_bo(n + 1);
    submit_op(UNBIND_OP_MAP, bo, 0, 0, n + 1, NULL);
    for (unsigned i = 0; i < n; i++) submit_op(UNBIND_OP_UNMAP, NULL, 0, i * 2 % n + i * 2 / n, 1, NULL);
    submit_op(UNBIND_OP_UNMAP, NULL, 0, 0, n + 1, NULL);
    unbind_bo_unref(bo);
}

/* The same with all the batches behind one fence. */
static void mappings_split_later(unsigned n) {
    unbind_bo *bo = new_bo(n + 1);
    unbind_fence *gate = new_fence();
    submit_op(UNBIND_OP_MAP, bo, 0, 0, n + 1, NULL);
    for (unsigned i = 0; i < n; i += 2) submit_op(UNBIND_OP_UNMAP, NULL, 0, i, 1, gate);
    signal_and_drop(gate);
    finish();
    unbind_bo_unref(bo);
}

static void operations_of_one_batch(unsigned n) {
    static struct unbind_op ops[MOST];
    unbind_bo *bo = new_bo(n + 1);
    memset(ops, 0, sizeof ops);
    for (unsigned i = 0; i < n; i++) {
        unsigned page = shuffled(i, n);
        ops[i].op = UNBIND_OP_MAP;
        ops[i].bo = bo;
        ops[i].address = place(page);
        ops[i].offset = (uint64_t)(n - 1 - page) * PAGE;
        ops[i].size = PAGE;
    }
    if (n > 0) TRY(unbind_vm_submit(vm, ops, n, NULL));
    submit_op(UNBIND_OP_UNMAP, NULL, 0, 0, n + 1, NULL);
    unbind_bo_unref(bo);
}

/* `fences`, as of GPU work that reads the buffer. */
static void add_readers(unbind_bo *bo, unsigned n) {
    for (unsigned i = 0; i < n; i++) {
        struct unbind_lock_context context;
        fences[i] = new_fence();
        TRY(unbind_lock_context_init(&context, device));
        TRY(unbind_bo_lock(bo, &context, 0));
        TRY(unbind_bo_reserve_fences(bo, &context, 1));
        TRY(unbind_bo_add_fence(bo, &context, fences[i], UNBIND_USAGE_READ));
        unbind_lock_context_unlock_all(&context);
        unbind_lock_context_fini(&context);
    }
}

static void fences_of_a_reservation(unsigned n) {
    unbind_bo *bo = new_bo(1);
    add_readers(bo, n);
    for (unsigned i = 0; i < n; i++) signal_and_drop(fences[i]);
    TRY(unbind_bo_wait(bo, UNBIND_TIMEOUT_INFINITE, 0));
    unbind_bo_unref(bo);
}

/* A bind asks for those of the strongest usage, of which there are none. */
static void binds_of_a_buffer_in_use(unsigned n) {
    unbind_bo *bo = new_bo(1);
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    TRY(unbind_vma_create(vm, bo, &options, &vmas[0]));
    add_readers(bo, n);
    for (unsigned i = 0; i < n; i++) {
        TRY(unbind_vma_bind(vmas[0], 0));
        TRY(unbind_vma_unbind_async(vmas[0], 0, NULL));
    }
    for (unsigned i = 0; i < n; i++) signal_and_drop(fences[i]);
    drop_vmas(1);
    unbind_bo_unref(bo);
}

/* There is room for one more than stays in use. */
static void users_beside_lasting_ones(unsigned n) {
    vmas[0] = new_vma(BASE);
    TRY(unbind_vma_bind(vmas[0], 0));
    for (unsigned i = 0; i + 2 < n; i++) {
        fences[i] = new_fence();
        TRY(unbind_vma_add_user(vmas[0], fences[i]));
    }
    for (unsigned i = 0; i < n; i++) {
        unbind_fence *brief = new_fence();
        TRY(unbind_vma_add_user(vmas[0], brief));
        signal_and_drop(brief);
    }
    for (unsigned i = 0; i + 2 < n; i++) signal_and_drop(fences[i]);
    drop_vmas(1);
}

static void buffers_locked_together(unsigned n) {
    static unbind_bo *bos[MOST];
    struct unbind_lock_context context;
    for (unsigned i = 0; i < n; i++) bos[i] = new_bo(1);
    TRY(unbind_lock_context_init(&context, device));
    TRY(unbind_bo_lock_array(bos, n, 1, &context, 0));
    unbind_lock_context_unlock_all(&context);
    unbind_lock_context_fini(&context);
    for (unsigned i = 0; i < n; i++) unbind_bo_unref(bos[i]);
}

/* Half of them are given up again while it is unsignalled, in another order. */
static void waiters_of_one_fence(unsigned n) {
    unbind_fence *fence = new_fence();
    for (unsigned i = 0; i < n; i++) TRY(unbind_fence_array_create(&fence, 1, 0, &others[i]));
    for (unsigned i = 0; i < n; i++)
        if (shuffled(i, n) % 2) unbind_fence_unref(others[shuffled(i, n)]);
    TRY(unbind_fence_signal(fence, 0));
    for (unsigned i = 0; i < n; i++)
        if (i % 2 == 0) unbind_fence_unref(others[i]);
    unbind_fence_unref(fence);
}

static void points_of_a_timeline(unsigned n) {
    unbind_timeline *timeline;
    TRY(unbind_timeline_create(device, &timeline));
    for (unsigned i = 0; i < n; i++) {
        fences[i] = new_fence();
        TRY(unbind_timeline_add_point(timeline, i + 1, fences[i]));
    }
    for (unsigned i = 0; i < n; i++) TRY(unbind_timeline_get_point(timeline, shuffled(i, n) + 1, &others[i]));
    for (unsigned i = 0; i < n; i++) TRY(unbind_fence_signal(fences[shuffled(i, n)], 0));
    for (unsigned i = 0; i < n; i++) {
        unbind_fence_unref(fences[i]);
        unbind_fence_unref(others[i]);
    }
    unbind_timeline_unref(timeline);
}

static void fences_merged(unsigned n) {
    unbind_fence *merged = NULL;
    for (unsigned i = 0; i < n; i++) fences[i] = new_fence();
    if (n > 0) TRY(unbind_fence_merge(fences, n, &merged));
    for (unsigned i = 0; i < n; i++) signal_and_drop(fences[i]);
    unbind_fence_unref(merged);
}

static void timers(unsigned n) {
    uint64_t far = unbind_device_now(device) + UINT64_C(1000000000000);
    for (unsigned i = 0; i < n; i++) TRY(unbind_fence_create_timed(device, far + shuffled(i, n), &fences[i]));
    for (unsigned i = 0; i < n; i++) unbind_fence_unref(fences[shuffled(i, n)]);
}

static void ranges_of_a_tracker(unsigned n) {
    unbind_range_tracker *tracker;
    unbind_fence *fence = new_fence(), *found;
    TRY(unbind_range_tracker_create(device, &tracker));
    for (unsigned i = 0; i < n; i++) {
        TRY(unbind_range_tracker_insert(tracker, place(shuffled(i, n)), PAGE, fence));
        TRY(unbind_range_tracker_get_fence(tracker, place(shuffled(i, n)), PAGE, &found));
        unbind_fence_unref(found);
    }
    signal_and_drop(fence);
    unbind_range_tracker_unref(tracker);
}

static const struct {
    const char *name;
    void (*run)(unsigned n);
} programs[] = {
#define PROGRAM(name) {#name, name}
    PROGRAM(bindings), PROGRAM(views_of_one_buffer), PROGRAM(lookups_by_view), PROGRAM(users_of_one_binding),
    PROGRAM(pending_unbinds), PROGRAM(closing_with_pending_unbinds), PROGRAM(holds_of_one_binding),
    PROGRAM(evictions), PROGRAM(suspend_and_resume), PROGRAM(moves), PROGRAM(jobs), PROGRAM(queues),
    PROGRAM(mappings_joined), PROGRAM(mappings_split), PROGRAM(mappings_split_later),
    PROGRAM(operations_of_one_batch), PROGRAM(fences_of_a_reservation), PROGRAM(binds_of_a_buffer_in_use),
    PROGRAM(users_beside_lasting_ones), PROGRAM(buffers_locked_together),
    PROGRAM(waiters_of_one_fence), PROGRAM(points_of_a_timeline), PROGRAM(fences_merged), PROGRAM(timers),
    PROGRAM(ranges_of_a_tracker),
};

int main(int argc, char **argv) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    bool lists = argc == 2 && strcmp(argv[1], "--list") == 0, is_known = lists;
    unsigned n = argc == 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    for (unsigned i = 0; i < sizeof programs / sizeof *programs; i++) {
        if (lists) puts(programs[i].name);
        if (argc != 3 || strcmp(argv[1], programs[i].name) != 0 || n > MOST || (n & (n - 1)) != 0) continue;
        is_known = true;
        options.executor = UNBIND_EXECUTOR_MANUAL;
        TRY(unbind_device_open_software(&options, &device));
        TRY(unbind_vm_create(device, NULL, &vm));
        programs[i].run(n);
        unbind_vm_unref(vm);
        TRY(unbind_device_close(device, NULL));
        unbind_device_unref(device);
    }
    if (!is_known) fprintf(stderr, "growth: use: growth PROGRAM N, N a power of two up to %d, or growth --list\n", MOST);
    return is_known ? 0 : 2;
}
