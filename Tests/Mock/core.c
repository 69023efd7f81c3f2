/* SPDX-License-Identifier: MIT */
/* The DRM core of the mock: capabilities, sync objects and their descriptors, prime, sized requests. */
#include <signal.h>
#include <sys/eventfd.h>

#include "xe_support.h"

static const uint32_t for_submit = UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT;
static const uint32_t wait_all = UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL;

static int only_node(void) {
    machine("lnl", NULL);
    return open_node(0);
}

TEST(caps, "capabilities are there, unknown ones are not, unknown ioctls neither") {
    int fd = only_node();
    uint64_t value = 0;
    CHECK_EQUAL(clibdrm_get_cap(fd, UNBIND_DRM_CAP_SYNCOBJ_TIMELINE, &value), 0);
    CHECK_EQUAL(value, 1);
    CHECK_EQUAL(clibdrm_get_cap(fd, 999, &value), -EINVAL);
    uint64_t room[16] = {0};
    CHECK_EQUAL(call(fd, 0xc0406499, room), -EINVAL);
    CHECK_EQUAL(call(fd, 0xc0107799, room), -ENOTTY);
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_GETPARAM, room), -EINVAL); // another struct of xe's
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_VERSION, NULL), -EFAULT);
}

TEST(binary, "binary sync objects: signal, reset, wait for one and for all, timeouts") {
    int fd = only_node();
    uint32_t both[2] = {make_syncobj(fd), make_syncobj(fd)}, first = 99;
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, 0, 0, &first), -EINVAL);
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, 0, for_submit, &first), -ETIME);
    uint64_t start = now_ns();
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, (int64_t)start + 20000000, for_submit, &first), -ETIME);
    CHECK(now_ns() - start >= 20000000);
    CHECK_EQUAL(clibdrm_syncobj_signal(fd, &both[1], 1), 0);
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, 0, for_submit, &first), 0);
    CHECK_EQUAL(first, 1);
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, 0, for_submit | wait_all, &first), -ETIME);
    CHECK_EQUAL(clibdrm_syncobj_signal(fd, both, 2), 0);
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, 0, wait_all, &first), 0);
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, -5, wait_all, &first), 0);
    CHECK_EQUAL(clibdrm_syncobj_reset(fd, both, 1), 0);
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, 0, wait_all, &first), -EINVAL);
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, 0, 1u << 30, &first), -EINVAL);
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 0, 0, 0, &first), -EINVAL);
    CHECK_EQUAL(clibdrm_syncobj_destroy(fd, both[1]), 0);
    CHECK_EQUAL(clibdrm_syncobj_destroy(fd, both[1]), -EINVAL);
    CHECK_EQUAL(clibdrm_syncobj_wait(fd, both, 2, 0, 0, &first), -ENOENT);
    uint32_t signalled;
    CHECK_EQUAL(clibdrm_syncobj_create(fd, UNBIND_DRM_SYNCOBJ_CREATE_SIGNALED, &signalled), 0);
    CHECK(signals(fd, signalled, 0));
    CHECK_EQUAL(clibdrm_syncobj_create(fd, 2, &signalled), -EINVAL);
}

static uint64_t reached(int fd, uint32_t syncobj, uint32_t flags) {
    uint64_t point = 99;
    CHECK_EQUAL(clibdrm_syncobj_query(fd, &syncobj, &point, 1, flags), 0);
    return point;
}

TEST(timeline, "a point signals when all before it have; queries tell what signalled and what was submitted") {
    machine("lnl", NULL);
    struct xe xe = xe_open(0);
    int fd = xe.fd;
    uint32_t line = make_syncobj(fd);
    struct bo word = xe_bo(fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(word.handle, 0, PAGE, PAGE)), 0);
    struct batch_text batch = {.count = 0};
    batch_wait(&batch, PAGE, 1);
    batch_end(&batch);
    struct unbind_drm_xe_sync sync = {.type = UNBIND_DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ, .flags = 1, .handle = line,
                                      .timeline_value = 10};
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, &sync, 1), 0);
    uint64_t point = 20, ten = 10, fifteen = 15, thirty = 30;
    CHECK_EQUAL(clibdrm_syncobj_timeline_signal(fd, &line, &point, 1), 0);
    CHECK_EQUAL(reached(fd, line, 0), 0);
    CHECK_EQUAL(reached(fd, line, UNBIND_DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED), 20);
    CHECK_EQUAL(clibdrm_syncobj_timeline_wait(fd, &line, &point, 1, 0, 0, NULL), -ETIME);
    CHECK_EQUAL(clibdrm_syncobj_timeline_wait(fd, &line, &thirty, 1, 0, 0, NULL), -EINVAL);
    CHECK_EQUAL(clibdrm_syncobj_timeline_wait(fd, &line, &thirty, 1, 0, for_submit, NULL), -ETIME);
    CHECK_EQUAL(clibdrm_syncobj_timeline_wait(fd, &line, &point, 1, 0,
                                              UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE, NULL), 0);
    // A point between two is the later one.
    CHECK_EQUAL(clibdrm_syncobj_timeline_wait(fd, &line, &fifteen, 1, 0, 0, NULL), -ETIME);
    uint32_t binary = make_syncobj(fd);
    CHECK_EQUAL(clibdrm_syncobj_transfer(fd, binary, 0, line, 10, 0), 0);
    CHECK(!signals(fd, binary, 0));
    __atomic_store_n(&word.map[0], 1, __ATOMIC_SEQ_CST);
    CHECK_EQUAL(clibdrm_syncobj_timeline_wait(fd, &line, &point, 1, INT64_MAX, 0, NULL), 0);
    CHECK_EQUAL(reached(fd, line, 0), 20);
    CHECK(signals(fd, binary, 0));
    CHECK_EQUAL(clibdrm_syncobj_timeline_wait(fd, &line, &ten, 1, 0, 0, NULL), 0);
    CHECK_EQUAL(clibdrm_syncobj_transfer(fd, line, 30, binary, 0, 0), 0);
    CHECK_EQUAL(reached(fd, line, 0), 30);
    CHECK_EQUAL(clibdrm_syncobj_transfer(fd, line, 40, make_syncobj(fd), 0, 0), -EINVAL);
}

static void *signal_later(void *argument) {
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
    uint32_t *what = argument;
    uint64_t point = 5;
    CHECK_EQUAL(clibdrm_syncobj_timeline_signal((int)what[0], &what[1], &point, 1), 0);
    return NULL;
}

TEST(waiting, "a wait for what is not submitted yet ends when another thread submits it") {
    int fd = only_node();
    uint32_t what[2] = {(uint32_t)fd, make_syncobj(fd)};
    uint64_t point = 5;
    pthread_t thread;
    pthread_create(&thread, NULL, signal_later, what);
    CHECK_EQUAL(clibdrm_syncobj_timeline_wait(fd, &what[1], &point, 1, INT64_MAX, for_submit, NULL), 0);
    pthread_join(thread, NULL);
}

TEST(long_line, "twenty thousand points wait for the first without a deep stack") {
    machine("lnl", "HANG_MS", "100000", NULL);
    struct xe xe = xe_open(0);
    struct bo word = xe_bo(xe.fd, PAGE, 1);
    CHECK_EQUAL(xe_bind_now(&xe, xe_map_op(word.handle, 0, PAGE, PAGE)), 0);
    uint32_t line = make_syncobj(xe.fd);
    struct batch_text batch = {.count = 0};
    batch_wait(&batch, PAGE, 1);
    batch_end(&batch);
    struct unbind_drm_xe_sync sync = {.type = UNBIND_DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ, .flags = 1, .handle = line,
                                      .timeline_value = 1};
    CHECK_EQUAL(xe_exec(&xe, xe.queue, &batch, &sync, 1), 0);
    uint64_t last = 20000;
    for (uint64_t point = 2; point <= last; point++)
        CHECK_EQUAL(clibdrm_syncobj_timeline_signal(xe.fd, &line, &point, 1), 0);
    CHECK_EQUAL(reached(xe.fd, line, 0), 0);
    __atomic_store_n(&word.map[0], 1, __ATOMIC_SEQ_CST);
    CHECK_EQUAL(clibdrm_syncobj_timeline_wait(xe.fd, &line, &last, 1, INT64_MAX, 0, NULL), 0);
    CHECK_EQUAL(reached(xe.fd, line, 0), last);
}

TEST(files, "sync files can be polled; sync objects pass between open files; eventfds ring") {
    int fd = only_node(), other = open_node(0), file, shared;
    uint32_t syncobj = make_syncobj(fd), imported;
    CHECK_EQUAL(clibdrm_syncobj_export_sync_file(fd, syncobj, &file), -EINVAL);
    int event = eventfd(0, EFD_NONBLOCK);
    CHECK_EQUAL(clibdrm_syncobj_eventfd(fd, 0, 0, event, 0), -ENOENT);
    CHECK_EQUAL(clibdrm_syncobj_eventfd(fd, syncobj, 0, event, 0), 0);
    struct pollfd ready = {.fd = event, .events = POLLIN};
    CHECK_EQUAL(poll(&ready, 1, 0), 0);
    CHECK_EQUAL(clibdrm_syncobj_to_fd(fd, syncobj, &shared), 0);
    CHECK_EQUAL(clibdrm_syncobj_from_fd(other, shared, &imported), 0);
    CHECK_EQUAL(clibdrm_syncobj_signal(other, &imported, 1), 0);
    CHECK(signals(fd, syncobj, 0));
    CHECK_EQUAL(poll(&ready, 1, 0), 1);
    CHECK_EQUAL(clibdrm_syncobj_export_sync_file(fd, syncobj, &file), 0);
    ready.fd = file;
    CHECK_EQUAL(poll(&ready, 1, 0), 1);
    uint32_t third = make_syncobj(fd);
    CHECK_EQUAL(clibdrm_syncobj_import_sync_file(fd, third, file), 0);
    CHECK(signals(fd, third, 0));
    CHECK_EQUAL(clibdrm_syncobj_import_sync_file(fd, third, event), -EINVAL);
    CHECK_EQUAL(clibdrm_syncobj_from_fd(fd, file, &imported), -EINVAL);
}

TEST(prime, "a buffer goes to another GPU and back: same bytes, same handle") {
    machine("two", NULL);
    int one = open_node(1), two = open_node(0), file, readable;
    struct bo bo = xe_bo(one, 2 * PAGE, 1);
    CHECK_EQUAL(clibdrm_prime_to_fd(one, bo.handle, &file), 0);
    CHECK_EQUAL(lseek(file, 0, SEEK_END), 2 * PAGE);
    uint32_t there = 0, back = 0, again = 0;
    CHECK_EQUAL(clibdrm_prime_from_fd(two, file, &there), 0);
    CHECK_EQUAL(clibdrm_prime_from_fd(two, file, &again), 0);
    CHECK_EQUAL(there, again);
    CHECK_EQUAL(clibdrm_prime_from_fd(one, file, &back), 0);
    CHECK_EQUAL(back, bo.handle);
    uint32_t *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, PAGE);
    REQUIRE(map != MAP_FAILED);
    bo.map[PAGE / 4] = 321;
    CHECK_EQUAL(map[0], 321);
    CHECK_EQUAL(drmPrimeHandleToFD(one, bo.handle, DRM_CLOEXEC, &readable), 0);
    CHECK(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, readable, 0) == MAP_FAILED);
    CHECK(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, readable, 0) != MAP_FAILED);
    CHECK_EQUAL(clibdrm_gem_close(one, bo.handle), 0);
    CHECK_EQUAL(clibdrm_gem_close(one, bo.handle), -EINVAL);
    CHECK_EQUAL(map[0], 321);
    CHECK_EQUAL(clibdrm_prime_to_fd(one, bo.handle, &readable), -ENOENT);
    CHECK_EQUAL(clibdrm_prime_from_fd(one, one, &back), -EINVAL);
    CHECK_EQUAL(clibdrm_prime_from_fd(one, 0, &back), -EBADF);
}

TEST(sizes, "a request of another size is cut or filled up, as drm_ioctl does") {
    int fd = only_node();
    uint32_t handle = make_syncobj(fd);
    struct {
        struct unbind_drm_syncobj_wait known;
        uint64_t deadline_hint;
    } wait = {{.handles = (uintptr_t)&handle, .count_handles = 1, .flags = for_submit}, 0};
    CHECK_EQUAL(call(fd, 0xc02864c3, &wait), -ETIME);
    CHECK_EQUAL(clibdrm_syncobj_signal(fd, &handle, 1), 0);
    CHECK_EQUAL(call(fd, 0xc02864c3, &wait), 0);
    struct unbind_drm_syncobj_create create = {0, UNBIND_DRM_SYNCOBJ_CREATE_SIGNALED};
    CHECK_EQUAL(call(fd, 0xc00464bf, &create), 0); // four bytes: the flags are not read
    CHECK(create.handle != 0);
    CHECK(!signals(fd, create.handle, 0));
}

TEST(map_rules, "mapping a node needs an object's offset, and no more than its bytes") {
    int fd = only_node();
    struct bo bo = xe_bo(fd, 2 * PAGE, 1);
    struct unbind_drm_xe_gem_mmap_offset offset = {.handle = bo.handle};
    void *map;
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_GEM_MMAP_OFFSET, &offset), 0);
    CHECK_EQUAL(clibdrm_map(fd, offset.offset, 3 * PAGE, &map), -EINVAL);
    CHECK_EQUAL(clibdrm_map(fd, offset.offset + PAGE, PAGE, &map), -EINVAL);
    CHECK_EQUAL(clibdrm_map(fd, 0, PAGE, &map), -EINVAL);
    bo.map[0] = 5;
    CHECK_EQUAL(clibdrm_gem_close(fd, bo.handle), 0);
    CHECK_EQUAL(bo.map[0], 5);
    CHECK_EQUAL(clibdrm_map(fd, offset.offset, PAGE, &map), -EINVAL);
    struct bo fresh = xe_bo(fd, 2 * PAGE, 1);
    CHECK_EQUAL(fresh.map[0], 0);
}

TEST(left_open, "the log tells what was left open when a node was closed") {
    int fd = only_node();
    xe_bo(fd, PAGE, 1);
    make_syncobj(fd);
    close(fd);
    CHECK_EQUAL(log_lines("close node=0 objects=1 syncobjs=1 vms=0 queues=0", ""), 1);
}

TEST(child, "a program that is started sees the same machine, or the one that it is told") {
    const char *preload = getenv("LD_PRELOAD");
    if (!preload || !*preload) return; // under a sanitizer the mock is part of this program alone
    machine("two", NULL);
    CHECK_EQUAL(system("test -e /dev/dri/renderD129"), 0);
    CHECK_EQUAL(system("UNBIND_MOCK_MACHINE=none /bin/ls /dev/dri >/dev/null 2>&1"), 2 << 8);
    CHECK_EQUAL(system("UNBIND_MOCK_MACHINE=lnl /bin/sh -c 'test -e /dev/dri/renderD129'"), 1 << 8);
}

static void on_signal(int number) { (void)number; }

static void *interrupt(void *thread) {
    struct timespec pause = {0, 20000000};
    nanosleep(&pause, NULL);
    pthread_kill(*(pthread_t *)thread, SIGUSR1);
    return NULL;
}

TEST(signals_interrupt, "a signal ends a wait; drmIoctl goes on") {
    int fd = only_node();
    uint32_t syncobj = make_syncobj(fd);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGUSR1, &action, NULL);
    pthread_t self = pthread_self(), thread;
    uint64_t start = now_ns();
    struct unbind_drm_syncobj_wait wait = {.handles = (uintptr_t)&syncobj, .count_handles = 1,
                                           .timeout_nsec = INT64_MAX, .flags = for_submit};
    pthread_create(&thread, NULL, interrupt, &self);
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_SYNCOBJ_WAIT, &wait), -EINTR);
    pthread_join(thread, NULL);
    wait.timeout_nsec = (int64_t)now_ns() + 60000000;
    pthread_create(&thread, NULL, interrupt, &self);
    CHECK_EQUAL(clibdrm_ioctl(fd, UNBIND_DRM_IOCTL_SYNCOBJ_WAIT, &wait), -ETIME);
    CHECK((int64_t)now_ns() >= wait.timeout_nsec);
    CHECK(now_ns() - start >= 80000000);
    pthread_join(thread, NULL);
}
