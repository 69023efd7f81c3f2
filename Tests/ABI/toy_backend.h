/* SPDX-License-Identifier: MIT */
/*
 * A backend for tests: address spaces as arrays of pages, buffers that count who maps them. It checks all that
 * <unbind/backend.h> promises: no map over a mapped or stale page, unmaps of whole mappings, one update of a VM at a
 * time, sorted ranges, one copy at a time, to what nothing maps, no buffer destroyed while something maps or copies it.
 *
 * It does things at once, or begins them and has them completed before it returns, by a thread in random order, or by
 * the test (toy_complete). Any of its functions can be made to fail.
 */
#ifndef TESTS_ABI_TOY_BACKEND_H
#define TESTS_ABI_TOY_BACKEND_H

#include "support.h"

#define TOY_PAGES 32768u /* of every address space */
#define TOY_OPS 4096u    /* begun and not completed */

enum toy_mode { TOY_AT_ONCE, TOY_BEFORE_RETURN, TOY_BY_THREAD, TOY_BY_HAND };
enum toy_function { TOY_BO_CREATE, TOY_BO_WRAP, TOY_VM_CREATE, TOY_MAP, TOY_UNMAP, TOY_INVALIDATE,
                    TOY_QUEUE_CREATE, TOY_SUBMIT, TOY_COPY, TOY_FUNCTIONS };

struct toy_bo {
    uint64_t size;
    char *memory;
    bool is_wrapped;
    uint32_t region, copies; /* under way */
    int64_t mapped, stale; /* pages */
};

struct toy_page {
    struct toy_bo *bo;
    uint64_t offset;
    uint64_t mapping; /* which map put it there */
    struct toy_bo *stale; /* unmapped, and the TLB may remember it */
    uint32_t flags;
};

struct toy_vm {
    struct toy_page pages[TOY_PAGES];
    int busy;
};

struct toy_queue {
    struct toy_vm *vm;
    int busy;
};

struct toy_op {
    unbind_backend_token *token;
    struct toy_vm *vm;
    struct toy_queue *queue; /* NULL: no submit */
    const struct unbind_command *commands;
    struct unbind_backend_range *ranges; /* NULL: an invalidation */
    uint32_t count; /* of ranges or commands */
    uint64_t address, size;
    struct toy_bo *source, *target; /* of a copy */
    int error;
    struct unbind_backend_fault fault; /* of a submit that faulted */
};

struct toy {
    struct gpu gpu;
    struct unbind_backend_ops ops;
    enum toy_mode mode;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool has_thread, stops;
    struct toy_op begun[TOY_OPS];
    uint32_t begun_count;
    uint64_t random;
    uint64_t mappings;
    /* Made to fail: so many calls, after so many others, with this. */
    struct { int error; uint32_t skip, count; } fails[TOY_FUNCTIONS];
    uint64_t fail_address; /* a map that has this page fails; UINT64_MAX: none */
    int fail_address_error;
    uint32_t most_ranges; /* -ENOBUFS above it; 0: none */
    /* What was called. */
    uint32_t updates, maps, unmaps, ranges, largest, invalidations, calls[TOY_FUNCTIONS];
    uint32_t submits, commands, queue_flags;
    int32_t bos, vms, queues;
    uint32_t destroyed;
    int64_t mapped; /* pages, everywhere */
    bool is_lost;   /* what is mapped stays so */
    struct toy_vm *vm; /* made last */
    int copies; /* under way */
    uint64_t vm_id; /* of that */
    struct toy_bo null_bo; /* what null mappings show */
};

static inline int toy_fails(struct toy *toy, enum toy_function function) {
    toy->calls[function]++;
    if (toy->fails[function].skip > 0) {
        toy->fails[function].skip--;
        return 0;
    }
    if (toy->fails[function].count == 0) return 0;
    toy->fails[function].count--;
    return toy->fails[function].error;
}

static inline void toy_fail(struct toy *toy, enum toy_function function, int error, uint32_t count) {
    pthread_mutex_lock(&toy->lock);
    toy->fails[function].error = error;
    toy->fails[function].skip = 0;
    toy->fails[function].count = count;
    pthread_mutex_unlock(&toy->lock);
}

static inline void toy_destroy(void *backend) {
    struct toy *toy = (struct toy *)backend;
    CHECK_EQUAL(toy->bos, 0);
    CHECK_EQUAL(toy->vms, 0);
    CHECK_EQUAL(toy->queues, 0);
    toy->destroyed++;
}

static inline struct toy_bo *toy_new_bo(struct toy *toy, uint64_t size) {
    struct toy_bo *bo = (struct toy_bo *)calloc(1, sizeof *bo);
    REQUIRE(bo != NULL);
    bo->size = size;
    toy->bos++;
    return bo;
}

static inline int toy_bo_create(void *backend, uint64_t size, uint32_t region, void **out_bo, void **out_cpu) {
    struct toy *toy = (struct toy *)backend;
    pthread_mutex_lock(&toy->lock);
    int error = toy_fails(toy, TOY_BO_CREATE);
    if (error == 0) {
        struct toy_bo *bo = toy_new_bo(toy, size);
        CHECK(region <= UNBIND_REGION_LOCAL && size % PAGE == 0);
        bo->memory = (char *)calloc(1, size);
        bo->region = region;
        *out_bo = bo;
        *out_cpu = bo->memory;
    }
    pthread_mutex_unlock(&toy->lock);
    return error;
}

static inline int toy_bo_wrap(void *backend, void *memory, uint64_t size, void **out_bo) {
    struct toy *toy = (struct toy *)backend;
    pthread_mutex_lock(&toy->lock);
    int error = toy_fails(toy, TOY_BO_WRAP);
    CHECK((uintptr_t)memory % PAGE == 0);
    if (error == 0) {
        struct toy_bo *bo = toy_new_bo(toy, size);
        bo->memory = (char *)memory;
        bo->is_wrapped = true;
        *out_bo = bo;
    }
    pthread_mutex_unlock(&toy->lock);
    return error;
}

static inline void toy_bo_destroy(void *backend, void *handle) {
    struct toy *toy = (struct toy *)backend;
    struct toy_bo *bo = (struct toy_bo *)handle;
    pthread_mutex_lock(&toy->lock);
    for (uint32_t i = 0; toy->is_lost && i < TOY_PAGES; i++) {
        struct toy_page *page = &toy->vm->pages[i];
        if (page->bo == bo) page->bo = NULL, bo->mapped--;
        if (page->stale == bo) page->stale = NULL, bo->stale--;
    }
    CHECK_EQUAL(bo->mapped, 0);
    CHECK_EQUAL(bo->stale, 0);
    CHECK_EQUAL(bo->copies, 0);
    if (!bo->is_wrapped) free(bo->memory);
    free(bo);
    toy->bos--;
    pthread_mutex_unlock(&toy->lock);
}

static inline int toy_vm_create(void *backend, uint64_t id, uint64_t size, uint64_t page_sizes, uint32_t flags,
                                void **out_vm) {
    struct toy *toy = (struct toy *)backend;
    pthread_mutex_lock(&toy->lock);
    int error = toy_fails(toy, TOY_VM_CREATE);
    CHECK(id != 0 && size <= TOY_PAGES * PAGE && page_sizes == UNBIND_PAGE_SIZE_4K && flags == 0);
    if (error == 0) {
        struct toy_vm *vm = (struct toy_vm *)calloc(1, sizeof *vm);
        REQUIRE(vm != NULL);
        toy->vms++;
        toy->vm = vm;
        toy->vm_id = id;
        *out_vm = vm;
    }
    pthread_mutex_unlock(&toy->lock);
    return error;
}

static inline void toy_vm_destroy(void *backend, void *handle) {
    struct toy *toy = (struct toy *)backend;
    struct toy_vm *vm = (struct toy_vm *)handle;
    pthread_mutex_lock(&toy->lock);
    CHECK_EQUAL(vm->busy, 0);
    for (uint32_t i = 0; i < TOY_PAGES; i++) CHECK(vm->pages[i].bo == NULL && vm->pages[i].stale == NULL);
    free(vm);
    toy->vms--;
    pthread_mutex_unlock(&toy->lock);
}

static inline void toy_map(struct toy *toy, struct toy_vm *vm, const struct unbind_backend_range *range) {
    bool is_null = range->op == UNBIND_BACKEND_MAP_NULL;
    struct toy_bo *bo = is_null ? &toy->null_bo : (struct toy_bo *)range->bo;
    toy->mappings++;
    if (is_null) CHECK(range->bo == NULL && range->offset == 0 && (toy->ops.capabilities & UNBIND_CAP_NULL_MAPPINGS));
    else REQUIRE(bo != NULL && range->offset + range->size <= bo->size && range->offset % PAGE == 0);
    for (uint64_t at = 0; at < range->size; at += PAGE) {
        struct toy_page *page = &vm->pages[(range->address + at) / PAGE];
        CHECK(page->bo == NULL && page->stale == NULL);
        page->bo = bo;
        page->offset = range->offset + at;
        page->mapping = toy->mappings;
        page->flags = range->flags;
        bo->mapped++;
        toy->mapped++;
    }
}

static inline void toy_unmap(struct toy *toy, struct toy_vm *vm, const struct unbind_backend_range *range) {
    uint64_t first = range->address / PAGE, end = (range->address + range->size) / PAGE;
    CHECK(range->bo == NULL && range->offset == 0 && range->flags == 0);
    if (!(toy->ops.capabilities & UNBIND_CAP_PARTIAL_UNBIND)) {
        CHECK(first == 0 || vm->pages[first - 1].mapping != vm->pages[first].mapping);
        CHECK(end == TOY_PAGES || vm->pages[end].mapping != vm->pages[end - 1].mapping);
    }
    for (uint64_t i = first; i < end; i++) {
        struct toy_page *page = &vm->pages[i];
        CHECK(page->bo != NULL);
        if (page->bo == NULL) continue;
        page->bo->mapped--;
        toy->mapped--;
        if (toy->ops.invalidate) {
            page->stale = page->bo;
            page->stale->stale++;
        }
        page->bo = NULL;
        page->mapping = 0;
    }
}

static inline char *toy_byte(struct toy_vm *vm, uint64_t address, bool writes) {
    if (address / PAGE >= TOY_PAGES) return NULL;
    struct toy_page *page = &vm->pages[address / PAGE];
    if (page->bo == NULL || (writes && page->flags & UNBIND_BACKEND_READ_ONLY)) return NULL;
    return page->bo->memory + page->offset + address % PAGE;
}

/* What is in a batch, of which the toy has this form: an address and the 64 bits to store there. */
static inline struct unbind_command toy_batch(struct toy_vm *vm, const struct unbind_command *batch) {
    struct unbind_command store = command_of(UNBIND_COMMAND_STORE, 0);
    for (unsigned i = 0; batch->op == UNBIND_COMMAND_BATCH && i < 16; i++) {
        const char *byte = toy_byte(vm, batch->address + i, false);
        REQUIRE(byte != NULL);
        ((char *)(i < 8 ? &store.address : &store.value))[i % 8] = *byte;
    }
    return store;
}

/* 0 or -EFAULT; then says where. */
static inline int toy_run(struct toy_vm *vm, const struct unbind_command *command, struct unbind_backend_fault *fault) {
    const struct unbind_command batch = toy_batch(vm, command);
    if (command->op == UNBIND_COMMAND_BATCH) command = &batch;
    uint64_t size = command->op == UNBIND_COMMAND_STORE || command->op == UNBIND_COMMAND_LOAD ? 8 : command->size;
    CHECK(command->op < UNBIND_COMMAND_DELAY && command->fence == NULL && command->reserved == 0);
    for (uint64_t i = 0; i < size; i++) {
        char *at = toy_byte(vm, command->address + i, command->op != UNBIND_COMMAND_LOAD), *from = at;
        if (command->op == UNBIND_COMMAND_COPY) from = toy_byte(vm, command->source + i, false);
        if (at == NULL || from == NULL) {
            fault->address = (at == NULL ? command->address : command->source) + i;
            fault->access = at == NULL && command->op != UNBIND_COMMAND_LOAD ? UNBIND_ACCESS_WRITE : UNBIND_ACCESS_READ;
            fault->kind = fault->address / PAGE < TOY_PAGES && vm->pages[fault->address / PAGE].bo
                              ? UNBIND_FAULT_READ_ONLY : UNBIND_FAULT_UNMAPPED;
            return -EFAULT;
        }
        if (command->op == UNBIND_COMMAND_LOAD) ((char *)command->result)[i] = *at;
        else if (command->op == UNBIND_COMMAND_COPY) *at = *from;
        else *at = (char)(command->value >> 8 * (command->op == UNBIND_COMMAND_FILL ? i % 4 : i));
    }
    return 0;
}

/* Lock held. Does what was begun. */
static inline void toy_do(struct toy *toy, struct toy_op *op) {
    if (op->source) {
        toy->copies = 0;
        op->source->copies = op->target->copies = 0;
        CHECK_EQUAL(op->target->mapped, 0);
        if (op->error == 0) memcpy(op->target->memory, op->source->memory, op->size);
        return;
    }
    if (op->queue) {
        REQUIRE(op->queue->busy == 1);
        op->queue->busy = 0;
        for (uint32_t i = 0; i < op->count && op->error == 0; i++) {
            op->fault.command_index = i;
            op->error = toy_run(op->vm, &op->commands[i], &op->fault);
        }
        return;
    }
    REQUIRE(op->vm->busy == 1);
    op->vm->busy = 0;
    for (uint32_t i = 0; i < op->count && op->error == 0; i++) {
        if (op->ranges[i].op != UNBIND_BACKEND_UNMAP) toy_map(toy, op->vm, &op->ranges[i]);
        else toy_unmap(toy, op->vm, &op->ranges[i]);
    }
    for (uint64_t i = op->address / PAGE; op->error == 0 && i < (op->address + op->size) / PAGE; i++) {
        if (op->vm->pages[i].stale) op->vm->pages[i].stale->stale--;
        op->vm->pages[i].stale = NULL;
    }
    free(op->ranges);
    op->ranges = NULL;
}

/* Tells of a fault, before the submit is completed. */
static inline void toy_tell(struct toy *toy, struct toy_op *op) {
    if (!op->queue || op->error != -EFAULT || !(toy->ops.capabilities & UNBIND_CAP_FAULT_REPORTS)) return;
    op->fault.struct_size = sizeof op->fault;
    op->fault.token = op->token;
    CHECK_EQUAL(unbind_backend_report_fault(toy->gpu.device, &op->fault), 0);
}

/* Lock held, and released. */
static inline int toy_begin(struct toy *toy, struct toy_op op) {
    int *busy = op.source ? &toy->copies : op.queue ? &op.queue->busy : &op.vm->busy;
    CHECK_EQUAL(*busy, 0);
    *busy = 1;
    if (toy->mode == TOY_AT_ONCE || toy->mode == TOY_BEFORE_RETURN) {
        toy_do(toy, &op);
        pthread_mutex_unlock(&toy->lock);
        toy_tell(toy, &op);
        if (toy->mode == TOY_AT_ONCE) return op.error;
        unbind_backend_complete(op.token, op.error);
        return UNBIND_BACKEND_PENDING;
    }
    REQUIRE(toy->begun_count < TOY_OPS);
    toy->begun[toy->begun_count++] = op;
    pthread_cond_broadcast(&toy->changed);
    pthread_mutex_unlock(&toy->lock);
    return UNBIND_BACKEND_PENDING;
}

/* Lock held, and released. */
static inline void toy_complete_at(struct toy *toy, uint32_t pick) {
    struct toy_op op = toy->begun[pick];
    toy->begun[pick] = toy->begun[--toy->begun_count];
    toy_do(toy, &op);
    pthread_mutex_unlock(&toy->lock);
    toy_tell(toy, &op);
    unbind_backend_complete(op.token, op.error);
}

/* Completes one thing that was begun, if there is any. */
static inline bool toy_complete(struct toy *toy) {
    pthread_mutex_lock(&toy->lock);
    if (toy->begun_count == 0) {
        pthread_mutex_unlock(&toy->lock);
        return false;
    }
    toy->random = toy->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    toy_complete_at(toy, (uint32_t)((toy->random >> 33) % toy->begun_count));
    return true;
}

/* Completes the one copy that was begun, or one thing that is none; if there is any. */
static inline bool toy_complete_kind(struct toy *toy, bool is_copy) {
    pthread_mutex_lock(&toy->lock);
    for (uint32_t i = 0; i < toy->begun_count; i++) {
        if ((toy->begun[i].source != NULL) != is_copy) continue;
        toy_complete_at(toy, i);
        return true;
    }
    pthread_mutex_unlock(&toy->lock);
    return false;
}

static inline void *toy_thread(void *argument) {
    struct toy *toy = (struct toy *)argument;
    for (;;) {
        pthread_mutex_lock(&toy->lock);
        while (toy->begun_count == 0 && !toy->stops) pthread_cond_wait(&toy->changed, &toy->lock);
        bool stops = toy->stops && toy->begun_count == 0;
        pthread_mutex_unlock(&toy->lock);
        if (stops) return NULL;
        toy_complete(toy);
    }
}

static inline int toy_update(void *backend, void *handle, const struct unbind_backend_range *ranges, uint32_t count,
                             unbind_backend_token *token) {
    struct toy *toy = (struct toy *)backend;
    struct toy_op op;
    memset(&op, 0, sizeof op);
    op.token = token;
    op.vm = (struct toy_vm *)handle;
    op.count = count;
    pthread_mutex_lock(&toy->lock);
    REQUIRE(count > 0 && (toy->ops.max_ranges == 0 || count <= toy->ops.max_ranges) && count <= 256);
    toy->updates++;
    toy->ranges += count;
    if (count > toy->largest) toy->largest = count;
    bool unmaps = ranges[0].op == UNBIND_BACKEND_UNMAP;
    if (unmaps) toy->unmaps++;
    else toy->maps++;
    bool has_address = false;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t end = ranges[i].address + ranges[i].size;
        CHECK((ranges[i].op == UNBIND_BACKEND_UNMAP) == unmaps);
        CHECK(ranges[i].size > 0 && (ranges[i].address | ranges[i].size) % PAGE == 0);
        CHECK(ranges[i].reserved == 0 && ranges[i].cache_level == 0 && end <= TOY_PAGES * PAGE);
        CHECK(i == 0 || ranges[i].address >= ranges[i - 1].address + ranges[i - 1].size);
        has_address |= ranges[i].address <= toy->fail_address && toy->fail_address < end;
    }
    op.error = toy_fails(toy, unmaps ? TOY_UNMAP : TOY_MAP);
    if (op.error == 0 && has_address && !unmaps) op.error = toy->fail_address_error;
    if (op.error == 0 && toy->most_ranges && count > toy->most_ranges) op.error = -ENOBUFS;
    op.ranges = (struct unbind_backend_range *)malloc(count * sizeof *ranges);
    REQUIRE(op.ranges != NULL);
    memcpy(op.ranges, ranges, count * sizeof *ranges);
    return toy_begin(toy, op);
}

static inline int toy_invalidate(void *backend, void *handle, uint64_t address, uint64_t size,
                                 unbind_backend_token *token) {
    struct toy *toy = (struct toy *)backend;
    struct toy_op op;
    memset(&op, 0, sizeof op);
    op.token = token;
    op.vm = (struct toy_vm *)handle;
    op.address = address;
    op.size = size;
    pthread_mutex_lock(&toy->lock);
    CHECK(size > 0 && address + size <= TOY_PAGES * PAGE);
    toy->invalidations++;
    op.error = toy_fails(toy, TOY_INVALIDATE);
    return toy_begin(toy, op);
}

static inline int toy_queue_create(void *backend, void *vm, uint32_t flags, void **out_queue) {
    struct toy *toy = (struct toy *)backend;
    pthread_mutex_lock(&toy->lock);
    int error = toy_fails(toy, TOY_QUEUE_CREATE);
    toy->queue_flags = flags;
    if (error == 0) {
        struct toy_queue *queue = (struct toy_queue *)calloc(1, sizeof *queue);
        REQUIRE(queue != NULL);
        queue->vm = (struct toy_vm *)vm;
        toy->queues++;
        *out_queue = queue;
    }
    pthread_mutex_unlock(&toy->lock);
    return error;
}

static inline void toy_queue_destroy(void *backend, void *handle) {
    struct toy *toy = (struct toy *)backend;
    struct toy_queue *queue = (struct toy_queue *)handle;
    pthread_mutex_lock(&toy->lock);
    CHECK_EQUAL(queue->busy, 0);
    free(queue);
    toy->queues--;
    pthread_mutex_unlock(&toy->lock);
}

static inline int toy_submit(void *backend, void *handle, const struct unbind_command *commands, uint32_t count,
                             unbind_backend_token *token) {
    struct toy *toy = (struct toy *)backend;
    struct toy_op op;
    memset(&op, 0, sizeof op);
    op.token = token;
    op.queue = (struct toy_queue *)handle;
    op.vm = op.queue->vm;
    op.commands = commands;
    op.count = count;
    pthread_mutex_lock(&toy->lock);
    CHECK(count > 0);
    toy->submits++;
    toy->commands += count;
    op.error = toy_fails(toy, TOY_SUBMIT);
    return toy_begin(toy, op);
}

static inline int toy_copy(void *backend, void *source, void *target, uint64_t size, unbind_backend_token *token) {
    struct toy *toy = (struct toy *)backend;
    struct toy_op op;
    memset(&op, 0, sizeof op);
    op.token = token;
    op.source = (struct toy_bo *)source;
    op.target = (struct toy_bo *)target;
    op.size = size;
    pthread_mutex_lock(&toy->lock);
    CHECK(op.source->size == size && op.target->size == size && op.source->region != op.target->region);
    CHECK(!op.source->is_wrapped && !op.target->is_wrapped && op.target->mapped == 0);
    CHECK(op.source->copies == 0 && op.target->copies == 0);
    op.source->copies = op.target->copies = 1;
    op.error = toy_fails(toy, TOY_COPY);
    return toy_begin(toy, op);
}

#define TOY_CAPABILITIES (UNBIND_CAP_EXPLICIT_UNBIND | UNBIND_CAP_ALIASING | UNBIND_CAP_READ_ONLY | \
                          UNBIND_CAP_USER_MEMORY | UNBIND_CAP_LOCAL_MEMORY)

/* Before toy_open: the functions can still be changed. */
static inline void toy_init(struct toy *toy, enum toy_mode mode) {
    struct unbind_backend_ops ops = UNBIND_BACKEND_OPS_INIT;
    memset(toy, 0, sizeof *toy);
    pthread_mutex_init(&toy->lock, NULL);
    pthread_cond_init(&toy->changed, NULL);
    toy->mode = mode;
    toy->random = 1;
    toy->fail_address = UINT64_MAX;
    ops.capabilities = TOY_CAPABILITIES;
    ops.page_sizes = UNBIND_PAGE_SIZE_4K;
    ops.address_limit = TOY_PAGES * PAGE;
    ops.destroy = toy_destroy;
    ops.bo_create = toy_bo_create;
    ops.bo_wrap = toy_bo_wrap;
    ops.bo_destroy = toy_bo_destroy;
    ops.vm_create = toy_vm_create;
    ops.vm_destroy = toy_vm_destroy;
    ops.update = toy_update;
    ops.invalidate = toy_invalidate;
    ops.queue_create = toy_queue_create;
    ops.queue_destroy = toy_queue_destroy;
    ops.submit = toy_submit;
    ops.copy = toy_copy;
    toy->ops = ops;
}

static inline void toy_open_policy(struct toy *toy, uint32_t executor, uint32_t policy) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&toy->gpu, executor, &allocator);
    struct unbind_vm_options vm_options = UNBIND_VM_OPTIONS_INIT;
    vm_options.policy = policy;
    REQUIRE(unbind_device_open_custom(&toy->ops, toy, &options, &toy->gpu.device) == 0);
    REQUIRE(unbind_vm_create(toy->gpu.device, &vm_options, &toy->gpu.vm) == 0);
    if (toy->mode == TOY_BY_THREAD) {
        toy->has_thread = true;
        REQUIRE(pthread_create(&toy->thread, NULL, toy_thread, toy) == 0);
    }
}

static inline void toy_open(struct toy *toy, uint32_t executor) {
    toy_open_policy(toy, executor, UNBIND_POLICY_RANGES);
}

/* The device has been closed, and its handle dropped. */
static inline void toy_end(struct toy *toy) {
    CHECK_EQUAL(toy->destroyed, 1);
    CHECK_EQUAL(toy->gpu.hooks.blocks, 0);
    CHECK_EQUAL(toy->begun_count, 0);
    if (toy->has_thread) {
        pthread_mutex_lock(&toy->lock);
        toy->stops = true;
        pthread_cond_broadcast(&toy->changed);
        pthread_mutex_unlock(&toy->lock);
        pthread_join(toy->thread, NULL);
    }
    pthread_mutex_destroy(&toy->lock);
    pthread_cond_destroy(&toy->changed);
}

/* All handles but those of the gpu have been dropped. */
static inline void toy_close(struct toy *toy) {
    gpu_close(&toy->gpu);
    toy_end(toy);
}

/* The buffer that is mapped at an address, NULL for none. */
static inline struct toy_bo *toy_look(struct toy_vm *vm, uint64_t address) { return vm->pages[address / PAGE].bo; }

static inline void toy_idle(struct toy *toy) {
    CHECK_EQUAL(unbind_device_wait_idle(toy->gpu.device, FOREVER, 0), 0);
}

static inline unbind_vma *new_vma(struct toy *toy, uint64_t size, uint64_t address) {
    unbind_bo *bo = make_bo(&toy->gpu, size);
    unbind_vma *vma = make_vma(&toy->gpu, bo, address);
    unbind_bo_unref(bo);
    return vma;
}

static inline unbind_fence *unbind_async(unbind_vma *vma) {
    unbind_fence *fence = NULL;
    REQUIRE(unbind_vma_unbind_async(vma, 0, &fence) == 0);
    return fence;
}

static const uint32_t toy_executors[3] = {UNBIND_EXECUTOR_POOL, UNBIND_EXECUTOR_MANUAL, UNBIND_EXECUTOR_SIMULATED};
static const enum toy_mode toy_modes[3] = {TOY_AT_ONCE, TOY_BEFORE_RETURN, TOY_BY_THREAD};

/* A thread cannot complete anything within work that the simulated executor runs. */
#define FOR_EACH_WAY(executor, mode)                                                                        \
    for (unsigned way__ = 0; way__ < 8; way__++)                                                            \
        for (uint32_t executor = toy_executors[way__ < 3 ? 0 : way__ < 6 ? 1 : 2], once__ = 1; once__;)     \
            for (enum toy_mode mode = toy_modes[way__ < 6 ? way__ % 3 : way__ - 6]; once__; once__ = 0)

#endif
