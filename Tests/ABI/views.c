/* SPDX-License-Identifier: MIT */
/* Views: parts and rearrangements of a buffer, page by page; and guards, what stays unmapped around a binding. */
#include "placing.h"

enum { LIMIT = 256 };
#define PADDING UINT32_MAX

static struct unbind_view_plane plane(uint32_t offset, uint32_t width, uint32_t height, uint32_t src, uint32_t dst) {
    struct unbind_view_plane result;
    memset(&result, 0, sizeof result);
    result.offset = offset;
    result.width = width;
    result.height = height;
    result.src_stride = src;
    result.dst_stride = dst;
    return result;
}

static struct unbind_view view_of(uint32_t type, const struct unbind_view_plane *planes, uint32_t count) {
    struct unbind_view view = UNBIND_VIEW_INIT;
    view.type = type;
    view.plane_count = count;
    for (uint32_t i = 0; i < count && i < 4; i++) view.planes[i] = planes[i];
    return view;
}

static struct unbind_view part(uint64_t offset, uint64_t size) {
    struct unbind_view view = UNBIND_VIEW_INIT;
    view.type = UNBIND_VIEW_PARTIAL;
    view.offset = offset;
    view.size = size;
    return view;
}

/* The formula, written down another way: which page of the buffer each page of the view shows. */
static unsigned expected_pages(const struct unbind_view *view, uint32_t *pages) {
    unsigned count = 0;
    for (uint32_t p = 0; p < view->plane_count; p++) {
        const struct unbind_view_plane *plane = &view->planes[p];
        int turned = view->type == UNBIND_VIEW_ROTATED;
        uint32_t lines = turned ? plane->width : plane->height;
        for (uint32_t line = 0; line < lines; line++) {
            for (uint32_t place = 0; place < plane->dst_stride; place++) {
                uint32_t row = turned ? plane->height - 1 - place : line, column = turned ? line : place;
                int inside = place < (turned ? plane->height : plane->width);
                REQUIRE(count < LIMIT * 4);
                pages[count++] = inside ? plane->offset + row * plane->src_stride + column : PADDING;
            }
        }
    }
    return count;
}

static int create(struct gpu *gpu, unbind_bo *bo, const struct unbind_view *view, unbind_vma **vma) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    options.view = view;
    return unbind_vma_create(gpu->vm, bo, &options, vma);
}

/* Every entry of the bound view, against the formula. */
static void check_pages(struct gpu *gpu, unbind_vma *vma, unbind_bo *bo, const uint32_t *pages, unsigned count) {
    uint64_t start = unbind_vma_address(vma);
    CHECK_EQUAL(unbind_vma_size(vma), count * PAGE);
    for (unsigned i = 0; i < count; i++) {
        struct unbind_page page;
        int there = page_at(gpu, start + i * PAGE, &page);
        CHECK_EQUAL(there, pages[i] != PADDING);
        if (!there) continue;
        CHECK_EQUAL(page.bo_id, unbind_bo_id(bo));
        CHECK_EQUAL(page.bo_offset + (start + i * PAGE - page.address), pages[i] * PAGE);
    }
}

static void check_view(struct gpu *gpu, unbind_bo *bo, const struct unbind_view *view) {
    uint32_t pages[LIMIT * 4];
    unsigned count = expected_pages(view, pages);
    unbind_vma *vma = NULL;
    unbind_fence *fence = UNTOUCHED(unbind_fence);
    REQUIRE(create(gpu, bo, view, &vma) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0); /* there is nothing to unbind */
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    check_pages(gpu, vma, bo, pages, count);
    /* P10: its pages are not the buffer's own list. */
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fence), -EBUSY);
    CHECK(is_bound(vma) && fence == UNTOUCHED(unbind_fence));
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    CHECK(is_unbound(vma));
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    unbind_vma_unref(vma);
    CHECK_EQUAL(vm_stats(gpu->vm).bound, 0);
}

TEST(selftest_13, "selftest 13, P10: rotated and remapped planes of many sizes show the pages of the formula, and refuse async unbind") {
    static const uint32_t sizes[][4] = {{1, 1, 1, 0}, {4, 4, 4, 1}, {4, 6, 8, 0}, {6, 4, 6, 3}, {4, 4, 6, 2}};
    static const uint32_t offsets[] = {0, 2, 17, 61};
    struct gpu gpu;
    unbind_bo *bo;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    bo = make_bo(&gpu, LIMIT * PAGE);
    for (uint32_t type = UNBIND_VIEW_ROTATED; type <= UNBIND_VIEW_REMAPPED; type++) {
        for (unsigned a = 0; a < 5; a++) {
            for (unsigned b = 0; b < 5; b++) {
                for (unsigned o = 0; o < 4; o++) {
                    struct unbind_view_plane planes[2];
                    struct unbind_view view;
                    const uint32_t *sets[2] = {sizes[a], sizes[b]};
                    for (unsigned i = 0; i < 2; i++) {
                        uint32_t line = type == UNBIND_VIEW_ROTATED ? sets[i][1] : sets[i][0];
                        planes[i] = plane(offsets[i ? 3 - o : o], sets[i][0], sets[i][1], sets[i][2], line + sets[i][3]);
                    }
                    view = view_of(type, planes, 1 + (a + b) % 2);
                    check_view(&gpu, bo, &view);
                }
            }
        }
    }
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(selftest_14, "selftest 14: each part is made once and found again; the whole is the buffer's own pages") {
    enum { PAGES = 13 };
    struct gpu gpu;
    unbind_bo *bo;
    unbind_vma *vmas[PAGES * PAGES], *found = NULL, *whole = NULL;
    struct unbind_view view = part(0, PAGES * PAGE);
    unsigned made = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    bo = make_bo(&gpu, PAGES * PAGE);
    for (unsigned phase = 0; phase < 2; phase++) {
        unsigned next = 0;
        for (uint64_t size = 1; size < PAGES; size++) {
            for (uint64_t offset = 0; offset + size <= PAGES; offset += 3, next++) {
                struct unbind_page page;
                view = part(offset * PAGE, size * PAGE);
                CHECK_EQUAL(unbind_vma_lookup(gpu.vm, bo, &view, &found), phase ? 0 : -ENOENT);
                if (phase == 0) {
                    REQUIRE(create(&gpu, bo, &view, &vmas[next]) == 0);
                    made++;
                    CHECK_EQUAL(unbind_vma_pin(vmas[next], NULL), 0);
                    CHECK_EQUAL(unbind_vma_size(vmas[next]), size * PAGE);
                    CHECK(page_at(&gpu, unbind_vma_address(vmas[next]), &page) && page.bo_offset == offset * PAGE);
                    CHECK(page_at(&gpu, unbind_vma_address(vmas[next]) + (size - 1) * PAGE, &page));
                    CHECK_EQUAL(page.bo_offset + (unbind_vma_address(vmas[next]) + (size - 1) * PAGE - page.address),
                                (offset + size - 1) * PAGE);
                    CHECK_EQUAL(unbind_vma_unpin(vmas[next]), 0);
                    CHECK_EQUAL(unbind_vma_unbind_async(vmas[next], 0, NULL), -EBUSY);
                } else {
                    CHECK(found == vmas[next]);
                    unbind_vma_unref(found);
                }
            }
        }
        CHECK_EQUAL(next, made);
    }
    CHECK_EQUAL(vm_stats(gpu.vm).bound, made);
    /* A part that is the whole can be unbound asynchronously, and is found as the whole. */
    view = part(0, PAGES * PAGE);
    REQUIRE(create(&gpu, bo, &view, &whole) == 0);
    CHECK_EQUAL(unbind_vma_lookup(gpu.vm, bo, NULL, &found), 0);
    CHECK(found == whole);
    unbind_vma_unref(found);
    CHECK_EQUAL(unbind_vma_bind(whole, 0), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(whole, 0, NULL), 0);
    unbind_vma_unref(whole);
    drop_vmas(vmas, made);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(found_again, "of many views in many address spaces each is found, of equal ones the newest that has a handle") {
    enum { MOST = 300, SPACES = 3, SHOWN = 14, STEPS = 20000 };
    struct { unbind_vma *vma; unsigned space, shown; } model[MOST];
    struct gpu gpu;
    unbind_vm *spaces[SPACES];
    struct unbind_view views[SHOWN];
    uint64_t random = 7;
    unsigned count = 0;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    unbind_bo *bo = make_bo(&gpu, LIMIT * PAGE);
    for (unsigned i = 0; i < SPACES; i++) REQUIRE(unbind_vm_create(gpu.device, NULL, &spaces[i]) == 0);
    views[0] = part(0, LIMIT * PAGE);
    for (unsigned i = 1; i < SHOWN; i++) {
        /* Parts of three offsets and two sizes; planes that differ in one number, the first or the second of two. */
        struct unbind_view_plane planes[2] = {plane(1, 4, 4, 4, 4), plane(17, 4, 2, 4, 4)};
        planes[0].offset += i == 10;
        planes[1].height += i == 8;
        planes[1].src_stride += i == 11;
        planes[1].dst_stride += i == 9;
        views[i] = view_of(i % 2 ? UNBIND_VIEW_REMAPPED : UNBIND_VIEW_ROTATED, planes, i >= 12 ? 1 : 2);
        if (i < 7) views[i] = part(i % 3 * PAGE, (i < 4 ? 2 : 5) * PAGE);
    }
    for (unsigned step = 0; step < STEPS; step++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        unsigned draw = (unsigned)(random >> 33), what = draw / 1024 % 4;
        unsigned space = draw % SPACES, shown = draw / 8 % SHOWN;
        if (what == 0 && count < MOST) {
            struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
            options.view = &views[shown];
            REQUIRE(unbind_vma_create(spaces[space], bo, &options, &model[count].vma) == 0);
            model[count].space = space;
            model[count++].shown = shown;
        } else if (what == 1 && count > 0) {
            unsigned gone = draw / 4096 % count;
            unbind_vma_unref(model[gone].vma);
            memmove(&model[gone], &model[gone + 1], (--count - gone) * sizeof *model);
        } else {
            unbind_vma *found = NULL, *expected = NULL;
            for (unsigned i = 0; i < count; i++)
                if (model[i].space == space && model[i].shown == shown) expected = model[i].vma;
            CHECK_EQUAL(unbind_vma_lookup(spaces[space], bo, &views[shown], &found), expected ? 0 : -ENOENT);
            REQUIRE(found == expected);
            unbind_vma_unref(found);
        }
    }
    for (unsigned i = 0; i < count; i++) unbind_vma_unref(model[i].vma);
    for (unsigned i = 0; i < SPACES; i++) unbind_vm_unref(spaces[i]);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(selftest_15, "selftest 15: what is written through a remapped or rotated view is read where it belongs") {
    struct gpu gpu;
    unbind_queue *queue;
    unbind_bo *bo;
    const uint64_t *words;
    gpu_open(&gpu, UNBIND_EXECUTOR_SIMULATED);
    queue = make_queue(&gpu);
    bo = make_bo(&gpu, 64 * PAGE);
    words = (const uint64_t *)unbind_bo_cpu_pointer(bo);
    for (uint32_t type = UNBIND_VIEW_ROTATED; type <= UNBIND_VIEW_REMAPPED; type++) {
        struct unbind_view_plane planes[2];
        struct unbind_view view;
        uint32_t pages[LIMIT * 4];
        unsigned count;
        unbind_vma *vma = NULL, *normal = NULL;
        planes[0] = plane(3, 4, 5, 7, 8);
        planes[1] = plane(40, 3, 3, 5, 3);
        view = view_of(type, planes, 2);
        count = expected_pages(&view, pages);
        memset(unbind_bo_cpu_pointer(bo), 0, 64 * PAGE);
        REQUIRE(create(&gpu, bo, &view, &vma) == 0);
        REQUIRE(create(&gpu, bo, NULL, &normal) == 0);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        CHECK_EQUAL(unbind_vma_bind(normal, 0), 0);
        for (unsigned i = 0; i < count; i++) {
            struct unbind_command store = command_store(unbind_vma_address(vma) + i * PAGE + 8 * i, i + 1);
            unbind_fence *job = NULL;
            CHECK_EQUAL(submit(queue, &store, 1, vma, NULL, &job), 0);
            CHECK_EQUAL(finish(job), pages[i] == PADDING ? -EFAULT : 0);
            if (pages[i] == PADDING) CHECK_EQUAL(gpu.fault.kind, UNBIND_FAULT_UNMAPPED);
        }
        for (unsigned i = 0; i < count; i++) {
            uint64_t loaded = 0;
            struct unbind_command load;
            unbind_fence *job = NULL;
            if (pages[i] == PADDING) continue;
            load = command_load(unbind_vma_address(normal) + pages[i] * PAGE + 8 * i, &loaded);
            CHECK_EQUAL(submit(queue, &load, 1, normal, NULL, &job), 0);
            CHECK_EQUAL(finish(job), 0);
            CHECK_EQUAL(loaded, i + 1);
            CHECK_EQUAL(words[(pages[i] * PAGE + 8 * i) / 8], i + 1);
        }
        unbind_vma_unref(vma);
        unbind_vma_unref(normal);
    }
    unbind_queue_unref(queue);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(runs, "pages of a view that are neighbours in the buffer form one piece, with pages as large as they fit") {
    struct gpu gpu;
    struct unbind_page page;
    unbind_bo *bo;
    unbind_vma *vma = NULL;
    struct unbind_view_plane one = plane(512, 512, 2, 512, 512);
    struct unbind_view view = view_of(UNBIND_VIEW_REMAPPED, &one, 1);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    bo = make_bo(&gpu, 6 * MIB);
    REQUIRE(create(&gpu, bo, &view, &vma) == 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK(page_at(&gpu, unbind_vma_address(vma), &page));
    CHECK_EQUAL(page.size, 2 * MIB);
    CHECK_EQUAL(page.bo_offset, 2 * MIB);
    CHECK_EQUAL(device_stats(gpu.device).ptes_written, 2);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

static int released;
static void count_release(void *user_data, void *memory) {
    (void)user_data;
    (void)memory;
    released++;
}

TEST(keeps_pages, "a view keeps the buffer's memory until its unbind is over, whoever drops it") {
    struct gpu gpu;
    struct unbind_view_plane one = plane(1, 2, 3, 4, 3);
    struct unbind_view views[2];
    void *memory = NULL;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    REQUIRE(posix_memalign(&memory, PAGE, 16 * PAGE) == 0);
    views[0] = view_of(UNBIND_VIEW_ROTATED, &one, 1);
    views[1] = part(4 * PAGE, 5 * PAGE);
    for (unsigned i = 0; i < 2; i++) {
        unbind_bo *bo = NULL;
        unbind_vma *vma = NULL;
        unbind_fence *user;
        released = 0;
        REQUIRE(unbind_bo_wrap(gpu.device, memory, 16 * PAGE, count_release, NULL, &bo) == 0);
        REQUIRE(create(&gpu, bo, &views[i], &vma) == 0);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        user = use(&gpu, vma);
        unbind_bo_unref(bo);
        unbind_vma_unref(vma); /* does not wait */
        CHECK_EQUAL(released, 0);
        CHECK_EQUAL(vm_stats(gpu.vm).pending, 1);
        CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
        CHECK_EQUAL(released, 0);
        signal_and_drop(user);
        settle(&gpu);
        CHECK_EQUAL(released, 1);
    }
    free(memory);
    gpu_close(&gpu);
}

TEST(bad_views, "views that are none, or none of this buffer, are refused") {
    struct gpu gpu;
    unbind_bo *bo;
    unbind_vm *large_pages = NULL;
    unbind_vma *vma = UNTOUCHED(unbind_vma);
    struct unbind_vm_options options = UNBIND_VM_OPTIONS_INIT;
    struct unbind_vma_options vma_options = UNBIND_VMA_OPTIONS_INIT;
    struct unbind_view_plane good = plane(0, 4, 4, 4, 4), bad[2];
    struct unbind_view view;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    bo = make_bo(&gpu, 16 * PAGE);
#define REFUSED(view_, status)                             \
    view = view_;                                          \
    CHECK_EQUAL(create(&gpu, bo, &view, &vma), status);    \
    CHECK_EQUAL(unbind_vma_lookup(gpu.vm, bo, &view, &vma), status)
    REFUSED(part(0, 0), -EINVAL);
    REFUSED(part(0, 17 * PAGE), -EINVAL);
    REFUSED(part(PAGE, 16 * PAGE), -EINVAL);
    REFUSED(part(UINT64_MAX - PAGE + 1, 2 * PAGE), -EINVAL);
    REFUSED(part(1, PAGE), -EINVAL);
    REFUSED(part(0, 1), -EINVAL);
    for (uint32_t type = UNBIND_VIEW_ROTATED; type <= UNBIND_VIEW_REMAPPED; type++) {
        REFUSED(view_of(type, &good, 0), -EINVAL);
        REFUSED(view_of(type, &good, 5), -EINVAL);
#define PLANE(member, value)                   \
    bad[0] = good, bad[1] = good;              \
    bad[1].member = value;                     \
    REFUSED(view_of(type, bad, 2), -EINVAL)
        PLANE(width, 0);
        PLANE(height, 0);
        PLANE(width, 5);
        PLANE(height, 5);
        PLANE(offset, 1);
        PLANE(offset, UINT32_MAX);
        PLANE(height, UINT32_MAX);
        PLANE(src_stride, 3);
        PLANE(src_stride, UINT32_MAX);
        PLANE(dst_stride, 3);
        PLANE(reserved, 1);
        bad[0] = good;
        bad[0].dst_stride = UINT32_MAX;
        bad[1] = bad[0];
        REFUSED(view_of(type, bad, 2), 0);
        unbind_vma_unref(vma); /* of the lookup */
        unbind_vma_unref(vma);
        vma = UNTOUCHED(unbind_vma);
        view = view_of(type, &good, 1);
        view.offset = PAGE;
        CHECK_EQUAL(create(&gpu, bo, &view, &vma), -EINVAL);
    }
    view = view_of(4, &good, 1);
    CHECK_EQUAL(create(&gpu, bo, &view, &vma), -EINVAL);
    view = view_of(UNBIND_VIEW_NORMAL, &good, 1);
    CHECK_EQUAL(create(&gpu, bo, &view, &vma), -EINVAL);
    view = part(0, PAGE);
    view.struct_size = 3;
    CHECK_EQUAL(create(&gpu, bo, &view, &vma), -EINVAL);
    view.struct_size = 5000;
    CHECK_EQUAL(create(&gpu, bo, &view, &vma), -E2BIG);
    /* Planes need pages of 4 KiB. */
    options.page_sizes = 0x10000;
    REQUIRE(unbind_vm_create(gpu.device, &options, &large_pages) == 0);
    view = view_of(UNBIND_VIEW_REMAPPED, &good, 1);
    vma_options.view = &view;
    CHECK_EQUAL(unbind_vma_create(large_pages, bo, &vma_options, &vma), -EINVAL);
    view = part(0, PAGE);
    CHECK_EQUAL(unbind_vma_create(large_pages, bo, &vma_options, &vma), -EINVAL);
    CHECK_EQUAL(unbind_vma_lookup(NULL, bo, NULL, &vma), -EINVAL);
    CHECK_EQUAL(unbind_vma_lookup(gpu.vm, NULL, NULL, &vma), -EINVAL);
    CHECK_EQUAL(unbind_vma_lookup(gpu.vm, bo, NULL, NULL), -EINVAL);
    CHECK(vma == UNTOUCHED(unbind_vma));
    unbind_vm_unref(large_pages);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

/* MARK: guards */

static unbind_vma *guarded(struct gpu *gpu, uint64_t pages, uint64_t address, uint64_t guard) {
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unbind_bo *bo = make_bo(gpu, pages * PAGE);
    unbind_vma *vma = NULL;
    options.guard = guard;
    if (address != UNBIND_ADDRESS_NONE) options.flags = UNBIND_VMA_FIXED, options.address = address;
    REQUIRE(unbind_vma_create(gpu->vm, bo, &options, &vma) == 0);
    unbind_bo_unref(bo);
    return vma;
}

TEST(guards, "guards belong to the binding, stay unmapped, and are waited for like the rest of it") {
    struct gpu gpu;
    struct unbind_page page;
    unbind_vma *vma, *beside, *behind;
    unbind_fence *user, *bound = NULL;
    struct unbind_vm_options options = small_vm(16);
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &options);
    vma = guarded(&gpu, 2, 4 * PAGE, 2 * PAGE);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(unbind_vma_address(vma), 4 * PAGE);
    CHECK_EQUAL(vm_stats(gpu.vm).bound_bytes, 6 * PAGE);
    CHECK(!page_at(&gpu, 3 * PAGE, &page) && page_at(&gpu, 4 * PAGE, &page) && page.bo_offset == 0);
    CHECK(page_at(&gpu, 5 * PAGE, &page) && !page_at(&gpu, 6 * PAGE, &page));
    beside = new_vma(&gpu, 1, 3 * PAGE);
    behind = new_vma(&gpu, 1, 7 * PAGE);
    CHECK_EQUAL(unbind_vma_bind(beside, 0), -ENOSPC);
    CHECK_EQUAL(unbind_vma_bind(behind, 0), -ENOSPC);
    user = use(&gpu, vma);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
    CHECK_EQUAL(unbind_vma_bind_async(behind, 0, &bound), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(bound), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).awaited, 1);
    signal_and_drop(user);
    CHECK_EQUAL(finish(bound), 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), -ENOSPC);
    CHECK_EQUAL(unbind_vma_bind(vma, UNBIND_BIND_EVICT), 0);
    CHECK(is_unbound(behind));
    unbind_vma_unref(vma);
    unbind_vma_unref(beside);
    unbind_vma_unref(behind);
    gpu_close(&gpu);
}

TEST(guard_limits, "P12: guards at both ends of the space, and those that cannot be had") {
    struct gpu gpu;
    unbind_bo *bo;
    unbind_vma *vma, *none = UNTOUCHED(unbind_vma);
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    struct unbind_vm_options vm_options = small_vm(16);
    vm_options.guard = PAGE;
    gpu_open_small(&gpu, UNBIND_EXECUTOR_MANUAL, &vm_options);
    bo = make_bo(&gpu, PAGE);
    vma = guarded(&gpu, 14, UNBIND_ADDRESS_NONE, 0); /* the VM's own */
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(unbind_vma_address(vma), PAGE);
    CHECK_EQUAL(vm_stats(gpu.vm).bound_bytes, 16 * PAGE);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    /* A pin with nothing to spare. */
    CHECK_EQUAL(pin(vma, 0, 0, 15 * PAGE), -ENOSPC);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_FIXED, 0, 0), -ENOSPC);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_FIXED | UNBIND_PIN_EVICT, 2 * PAGE, 0), -ENOSPC);
    CHECK_EQUAL(pin(vma, UNBIND_PIN_FIXED, PAGE, 0), 0);
    CHECK_EQUAL(unbind_vma_address(vma), PAGE);
    options.flags = UNBIND_VMA_FIXED;
    options.address = 0;
    CHECK_EQUAL(unbind_vma_create(gpu.vm, bo, &options, &none), -ENODEV);
    options.address = 15 * PAGE;
    CHECK_EQUAL(unbind_vma_create(gpu.vm, bo, &options, &none), -ENODEV);
    options.address = 2 * PAGE;
    options.guard = 3 * PAGE;
    CHECK_EQUAL(unbind_vma_create(gpu.vm, bo, &options, &none), -ENODEV);
    options.guard = 5;
    CHECK_EQUAL(unbind_vma_create(gpu.vm, bo, &options, &none), -EINVAL);
    options.flags = 0;
    options.address = 0;
    options.guard = UINT64_MAX - PAGE + 1;
    CHECK_EQUAL(unbind_vma_create(gpu.vm, bo, &options, &none), -ENODEV);
    CHECK(none == UNTOUCHED(unbind_vma));
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}

TEST(guard_alignment, "an automatic guard keeps the binding aligned, and a fixed one is as large as it was asked for") {
    struct gpu gpu;
    unbind_vma *vma;
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    vma = guarded(&gpu, 16, UNBIND_ADDRESS_NONE, PAGE); /* aligned to 64 KiB */
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(unbind_vma_address(vma), 0x10000);
    CHECK_EQUAL(vm_stats(gpu.vm).bound_bytes, 3 * 0x10000);
    unbind_vma_unref(vma);
    vma = guarded(&gpu, 16, 0x40000, PAGE);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(vm_stats(gpu.vm).bound_bytes, 18 * PAGE);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}

TEST(bad_vm_options, "mappable parts and guards that are none are refused") {
    struct gpu gpu;
    unbind_vm *vm = UNTOUCHED(unbind_vm);
    struct unbind_vm_options options = small_vm(16);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    options.mappable_size = 17 * PAGE;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &vm), -EINVAL);
    options.mappable_size = 5;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &vm), -EINVAL);
    options.mappable_size = 0;
    options.guard = 5;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &vm), -EINVAL);
    options.guard = 17 * PAGE;
    CHECK_EQUAL(unbind_vm_create(gpu.device, &options, &vm), -EINVAL);
    CHECK(vm == UNTOUCHED(unbind_vm));
    gpu_close(&gpu);
}

TEST(held_views, "a held view is read in its own order, padding as zeros; nothing is held in a guard") {
    struct gpu gpu;
    unbind_hold *hold = NULL;
    unbind_vma *vma = NULL;
    unbind_bo *bo;
    uint64_t word = 1;
    uint32_t pages[LIMIT * 4];
    struct unbind_view_plane one = plane(1, 2, 3, 4, 4);
    struct unbind_view view = view_of(UNBIND_VIEW_ROTATED, &one, 1);
    struct unbind_vma_options options = UNBIND_VMA_OPTIONS_INIT;
    unsigned count = expected_pages(&view, pages);
    gpu_open(&gpu, UNBIND_EXECUTOR_MANUAL);
    bo = make_bo(&gpu, 12 * PAGE);
    for (uint64_t i = 0; i < 12; i++) ((uint64_t *)unbind_bo_cpu_pointer(bo))[i * PAGE / 8] = i + 100;
    options.flags = UNBIND_VMA_FIXED;
    options.address = 0x100000;
    options.guard = 0x2000;
    options.view = &view;
    REQUIRE(unbind_vma_create(gpu.vm, bo, &options, &vma) == 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    REQUIRE(unbind_vma_hold(vma, &hold) == 0);
    for (unsigned i = 0; i < count; i++) {
        CHECK_EQUAL(unbind_hold_read(hold, i * PAGE, &word, 8), 0);
        CHECK_EQUAL(word, pages[i] == PADDING ? 0 : pages[i] + 100);
    }
    CHECK_EQUAL(unbind_hold_read(hold, count * PAGE, &word, 8), -EINVAL);
    unbind_hold_unref(hold);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x100000 - PAGE, &hold), -ENOENT);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x100000 + count * PAGE, &hold), -ENOENT);
    CHECK_EQUAL(unbind_vm_hold(gpu.vm, 0x100000, &hold), 0);
    unbind_hold_unref(hold);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    gpu_close(&gpu);
}
