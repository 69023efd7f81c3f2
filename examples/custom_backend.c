/* SPDX-License-Identifier: MIT */
/*
 * A GPU of the program's own.
 *
 * A toy device in C: an address space is an array of pages, an update fills it in. The library
 * decides what happens when, and brings what is ready together: a hundred neighbouring unbinds
 * reach the toy as one range.
 *
 *     cc custom_backend.c $(pkg-config --cflags --libs unbind) && ./a.out
 */
#include <stdio.h>
#include <stdlib.h>
#include <unbind/unbind.h>

#define PAGE 4096
#define PAGES 1024

static unsigned updates, ranges;

static int make_buffer(void *toy, uint64_t size, uint32_t region, void **buffer, void **cpu) {
    (void)toy, (void)region;
    *buffer = *cpu = calloc(1, size);
    return *buffer ? 0 : -12 /* -ENOMEM */;
}

static void free_buffer(void *toy, void *buffer) {
    (void)toy;
    free(buffer);
}

static int make_space(void *toy, uint64_t id, uint64_t size, uint64_t page_sizes, uint32_t flags, void **space) {
    (void)toy, (void)id, (void)size, (void)page_sizes, (void)flags;
    *space = calloc(PAGES, sizeof(char *));
    return *space ? 0 : -12;
}

static void free_space(void *toy, void *space) {
    (void)toy;
    free(space);
}

/* The heart of it: what is behind each page. A real device would begin this, return UNBIND_BACKEND_PENDING,
 * and call unbind_backend_complete(token, 0) when the GPU has done it. */
static int update(void *toy, void *space, const struct unbind_backend_range *range, uint32_t count,
                  unbind_backend_token *token) {
    (void)toy, (void)token;
    updates++;
    for (; count > 0; count--, range++, ranges++) {
        for (uint64_t at = 0; at < range->size; at += PAGE) {
            ((char **)space)[(range->address + at) / PAGE] =
                range->op == UNBIND_BACKEND_MAP ? (char *)range->bo + range->offset + at : NULL;
        }
    }
    return 0;
}

int main(void) {
    struct unbind_backend_ops ops = UNBIND_BACKEND_OPS_INIT;
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    unbind_device *device;
    unbind_vm *vm;
    unbind_vma *vmas[100];
    unbind_fence *gpu_work;

    ops.capabilities = UNBIND_CAP_EXPLICIT_UNBIND | UNBIND_CAP_ALIASING;
    ops.page_sizes = UNBIND_PAGE_SIZE_4K;
    ops.address_limit = PAGES * PAGE;
    ops.bo_create = make_buffer;
    ops.bo_destroy = free_buffer;
    ops.vm_create = make_space;
    ops.vm_destroy = free_space;
    ops.update = update;
    options.executor = UNBIND_EXECUTOR_MANUAL;
    if (unbind_device_open_custom(&ops, NULL, &options, &device) != 0) return 1;
    if (unbind_vm_create(device, NULL, &vm) != 0 || unbind_fence_create(device, &gpu_work) != 0) return 1;

    /* A hundred buffers in a row, used by the same piece of GPU work. */
    for (int i = 0; i < 100; i++) {
        unbind_bo *bo;
        if (unbind_bo_create(device, PAGE, UNBIND_REGION_SYSTEM, 0, &bo) != 0) return 1;
        if (unbind_vma_create(vm, bo, NULL, &vmas[i]) != 0 || unbind_vma_bind_async(vmas[i], 0, NULL) != 0) return 1;
        if (unbind_vma_add_user(vmas[i], gpu_work) != 0) return 1;
        unbind_bo_unref(bo);
    }
    unbind_device_wait_idle(device, UNBIND_TIMEOUT_INFINITE, 0);
    printf("100 binds: %u update, %u ranges\n", updates, ranges);

    updates = ranges = 0;
    for (int i = 0; i < 100; i++) unbind_vma_unref(vmas[i]); /* unbinds, and waits for nobody */
    printf("while the GPU works: %u updates\n", updates);
    unbind_fence_signal(gpu_work, 0);
    unbind_device_wait_idle(device, UNBIND_TIMEOUT_INFINITE, 0);
    printf("100 unbinds: %u update, %u range\n", updates, ranges);

    unbind_fence_unref(gpu_work);
    unbind_vm_unref(vm);
    unbind_device_unref(device);
    return 0;
}
