/* SPDX-License-Identifier: MIT */
/*
 * A driver with page tables of its own.
 *
 * It takes addresses from a range allocator, and before it changes entries it
 * asks a range tracker which work concerns them: GPU jobs that use them, changes
 * that still wait. It waits for nothing: a change runs when that work is over.
 * The device is there for its fences; the GPU here is the program itself.
 */
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

enum { PAGE = 4096, PAGES = 8 };

static unbind_device *device;
static unbind_range_allocator *addresses;
static unbind_range_tracker *tracker;
static char entries[PAGES]; /* the page table: what each page shows, or a dot */

static struct change {
    struct unbind_fence_callback callback;
    uint64_t page, count;
    char value;
    unbind_fence *done;
} changes[16];
static unsigned change_count;

static void make_change(unbind_fence *before, void *data) {
    struct change *change = data;
    (void)before;
    for (uint64_t i = 0; i < change->count; i++) entries[change->page + i] = change->value;
    unbind_fence_signal(change->done, 0); /* a real driver: once the TLB is invalidated */
    unbind_fence_unref(change->done);
}

/* Writes entries once nothing that concerns them is left: not before, and not behind anything else. */
static int change(uint64_t page, uint64_t count, char value) {
    struct change *change = &changes[change_count++];
    unbind_fence *before;
    change->page = page, change->count = count, change->value = value;
    TRY(unbind_range_tracker_get_fence(tracker, page * PAGE, count * PAGE, &before));
    TRY(unbind_fence_create(device, &change->done));
    TRY(unbind_range_tracker_insert(tracker, page * PAGE, count * PAGE, change->done));
    if (unbind_fence_add_callback(before, &change->callback, make_change, change) < 0) make_change(before, change);
    unbind_fence_unref(before);
    return 0;
}

/* A GPU job that uses a range of pages, and is over when its fence is signalled. */
static int submit(uint64_t page, uint64_t count, unbind_fence **job) {
    TRY(unbind_fence_create(device, job));
    return unbind_range_tracker_insert(tracker, page * PAGE, count * PAGE, *job);
}

static void show(const char *what) { printf("%-38s %.*s\n", what, PAGES, entries); }

int main(void) {
    struct unbind_device_options options = UNBIND_DEVICE_OPTIONS_INIT;
    struct unbind_range_zone zone = {.start = 0, .size = PAGES * PAGE};
    struct unbind_range_request request = UNBIND_RANGE_REQUEST_INIT;
    unbind_fence *jobs[2], *all, *free_at;
    uint64_t address;

    for (int i = 0; i < PAGES; i++) entries[i] = '.';
    options.executor = UNBIND_EXECUTOR_MANUAL; /* no threads */
    TRY(unbind_device_open_software(&options, &device));
    TRY(unbind_range_allocator_create(device, &zone, 1, &addresses));
    TRY(unbind_range_tracker_create(device, &tracker));
    request.size = PAGES * PAGE;
    TRY(unbind_range_allocator_reserve(addresses, &request, &address, NULL));
    if (change(0, 4, 'a')) return 1;
    show("buffer a is mapped");
    if (submit(0, 2, &jobs[0]) || submit(2, 2, &jobs[1])) return 1; /* two jobs, two pages of it each */
    if (change(1, 2, '.') || change(1, 1, 'b') || change(4, 2, 'c')) return 1;
    show("unmap two pages, map b there, c beside");
    unbind_fence_signal(jobs[0], 0);
    show("the first job is over");
    TRY(unbind_range_tracker_get_fence(tracker, 0, PAGES * PAGE, &all)); /* the whole goes, after all of it */
    TRY(unbind_range_allocator_release_after(addresses, address, all, UNBIND_RANGE_REUSE));
    TRY(unbind_range_allocator_reserve(addresses, &request, &address, &free_at));
    printf("%-38s %s\n", "released, reserved again, to be used", free_at ? "after a fence" : "at once");
    unbind_fence_signal(jobs[1], 0);
    show("the second job is over");
    printf("%-38s %s\n", "the fence of the new owner", unbind_fence_is_signaled(free_at) == 1 ? "signalled" : "no");
    for (int i = 0; i < 2; i++) unbind_fence_unref(jobs[i]);
    unbind_fence_unref(all), unbind_fence_unref(free_at), unbind_range_tracker_unref(tracker);
    unbind_range_allocator_unref(addresses), unbind_device_unref(device);
    return 0;
}
