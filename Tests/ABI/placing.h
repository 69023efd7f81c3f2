/* SPDX-License-Identifier: MIT */
/* What the tests of pins, views and eviction share: a small address space, and short ways to say what goes there. */
#ifndef TESTS_ABI_PLACING_H
#define TESTS_ABI_PLACING_H

#include "support.h"

static inline void gpu_open_small(struct gpu *gpu, uint32_t executor, const struct unbind_vm_options *vm_options) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(gpu, executor, &allocator);
    REQUIRE(unbind_device_open_software(&options, &gpu->device) == 0);
    REQUIRE(unbind_vm_create(gpu->device, vm_options, &gpu->vm) == 0);
}

/* A VM of so many pages of 4 KiB, for which nothing larger is used. */
static inline struct unbind_vm_options small_vm(uint64_t pages) {
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    options.size = pages * PAGE;
    options.page_sizes = PAGE;
    return options;
}

static inline int pin(unbind_vma *vma, uint32_t flags, uint64_t address, uint64_t size) {
    struct unbind_pin_options options = UNBIND_PIN_OPTIONS_INIT;
    options.flags = flags;
    options.address = address;
    options.size = size;
    return unbind_vma_pin(vma, &options);
}

/* A VMA of a new buffer of so many pages, which it alone keeps. */
static inline unbind_vma *new_vma(struct gpu *gpu, uint64_t pages, uint64_t address) {
    unbind_bo *bo = make_bo(gpu, pages * PAGE);
    unbind_vma *vma = make_vma(gpu, bo, address);
    unbind_bo_unref(bo);
    return vma;
}

static inline unbind_vma *colored_vma(struct gpu *gpu, uint64_t pages, uint64_t address, uint32_t color) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_bo *bo = make_bo(gpu, pages * PAGE);
    unbind_vma *vma = NULL;
    options.flags = UNBIND_VMA_FIXED;
    options.address = address;
    options.color = color;
    REQUIRE(unbind_vma_create(gpu->vm, bo, &options, &vma) == 0);
    unbind_bo_unref(bo);
    return vma;
}

/* Work that ends when the fence that this gives is signalled. */
static inline unbind_fence *use(struct gpu *gpu, unbind_vma *vma) {
    unbind_fence *fence = make_fence(gpu);
    REQUIRE(unbind_vma_add_user(vma, fence) == 0);
    return fence;
}

static inline int is_bound(const unbind_vma *vma) { return unbind_vma_state(vma) == (int)UNBIND_VMA_BOUND; }
static inline int is_unbound(const unbind_vma *vma) { return unbind_vma_state(vma) == (int)UNBIND_VMA_UNBOUND; }

static inline void drop_vmas(unbind_vma **vmas, unsigned count) {
    for (unsigned i = 0; i < count; i++) unbind_vma_unref(vmas[i]);
}

static inline void settle(struct gpu *gpu) { CHECK_EQUAL(unbind_device_wait_idle(gpu->device, FOREVER, 0), 0); }

/* The entry that covers the address: 1 if there is one, else all of it is 0. */
static inline int page_at(struct gpu *gpu, uint64_t address, struct unbind_page *page) {
    struct unbind_page found = UNBIND_PAGE_INIT;
    int there = unbind_vm_find_page(gpu->vm, address, &found) == 0 && found.address <= address;
    memset(page, 0, sizeof *page);
    if (there) *page = found;
    return there;
}

#endif
