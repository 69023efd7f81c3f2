/* SPDX-License-Identifier: MIT */
/*
 * libdrm for Swift: its header, our declarations of the kernel's structures and
 * request numbers, and calls that return 0 or -errno where libdrm mixes three
 * ways of reporting an error. No logic.
 */
#ifndef UNBIND_CLIBDRM_H
#define UNBIND_CLIBDRM_H

/* First: errno, fcntl and others must belong to one module only, or Embedded Swift takes EINVAL for ours. */
#include "../../CSystem/include/csystem.h"

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <xf86drm.h>

#include "uapi_drm.h"
#include "uapi_i915.h"
#include "uapi_xe.h"

/* One ioctl, not repeated: also -EINTR and -EAGAIN come back. For EXEC and VM_BIND, whose EAGAIN means "later". */
static inline int clibdrm_ioctl_once(int fd, unsigned long request, void *argument) {
    return ioctl(fd, request, argument) < 0 ? -errno : 0;
}

/* drmIoctl: repeats on EINTR and EAGAIN for as long as the kernel says so. */
static inline int clibdrm_ioctl(int fd, unsigned long request, void *argument) {
    return drmIoctl(fd, request, argument) < 0 ? -errno : 0;
}

/* Opens a node for reading and writing, close-on-exec. A descriptor or -errno. */
static inline int clibdrm_open(const char *path) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static inline int clibdrm_close(int fd) { return close(fd) < 0 ? -errno : 0; }

/* The device number of an open node; 0 if the descriptor is no character device. */
static inline uint64_t clibdrm_node_number(int fd) {
    struct stat status;
    return fstat(fd, &status) == 0 && S_ISCHR(status.st_mode) ? status.st_rdev : 0;
}

/* Maps size bytes of a node at the offset that a MMAP_OFFSET ioctl gave, for reading and writing. */
static inline int clibdrm_map(int fd, uint64_t offset, uint64_t size, void **address) {
    void *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    if (mapping == MAP_FAILED) return -errno;
    *address = mapping;
    return 0;
}

static inline int clibdrm_unmap(void *address, uint64_t size) { return munmap(address, size) < 0 ? -errno : 0; }

static inline int clibdrm_get_cap(int fd, uint64_t capability, uint64_t *value) {
    return drmGetCap(fd, capability, value) < 0 ? -errno : 0;
}

static inline int clibdrm_syncobj_create(int fd, uint32_t flags, uint32_t *handle) {
    return drmSyncobjCreate(fd, flags, handle) < 0 ? -errno : 0;
}

static inline int clibdrm_syncobj_destroy(int fd, uint32_t handle) {
    return drmSyncobjDestroy(fd, handle) < 0 ? -errno : 0;
}

static inline int clibdrm_syncobj_to_fd(int fd, uint32_t handle, int *object_fd) {
    return drmSyncobjHandleToFD(fd, handle, object_fd) < 0 ? -errno : 0;
}

static inline int clibdrm_syncobj_from_fd(int fd, int object_fd, uint32_t *handle) {
    return drmSyncobjFDToHandle(fd, object_fd, handle) < 0 ? -errno : 0;
}

static inline int clibdrm_syncobj_import_sync_file(int fd, uint32_t handle, int sync_file_fd) {
    return drmSyncobjImportSyncFile(fd, handle, sync_file_fd) < 0 ? -errno : 0;
}

static inline int clibdrm_syncobj_export_sync_file(int fd, uint32_t handle, int *sync_file_fd) {
    return drmSyncobjExportSyncFile(fd, handle, sync_file_fd) < 0 ? -errno : 0;
}

/* The deadline is CLOCK_MONOTONIC in ns; these two report -errno by themselves. */
static inline int clibdrm_syncobj_wait(int fd, uint32_t *handles, uint32_t count, int64_t deadline_ns, uint32_t flags,
                                       uint32_t *first_signaled) {
    return drmSyncobjWait(fd, handles, count, deadline_ns, flags, first_signaled);
}

static inline int clibdrm_syncobj_timeline_wait(int fd, uint32_t *handles, uint64_t *points, uint32_t count,
                                                int64_t deadline_ns, uint32_t flags, uint32_t *first_signaled) {
    return drmSyncobjTimelineWait(fd, handles, points, count, deadline_ns, flags, first_signaled);
}

static inline int clibdrm_syncobj_reset(int fd, const uint32_t *handles, uint32_t count) {
    return drmSyncobjReset(fd, handles, count) < 0 ? -errno : 0;
}

static inline int clibdrm_syncobj_signal(int fd, const uint32_t *handles, uint32_t count) {
    return drmSyncobjSignal(fd, handles, count) < 0 ? -errno : 0;
}

static inline int clibdrm_syncobj_timeline_signal(int fd, const uint32_t *handles, uint64_t *points, uint32_t count) {
    return drmSyncobjTimelineSignal(fd, handles, points, count) < 0 ? -errno : 0;
}

/* flags: UNBIND_DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED or 0. */
static inline int clibdrm_syncobj_query(int fd, uint32_t *handles, uint64_t *points, uint32_t count, uint32_t flags) {
    return drmSyncobjQuery2(fd, handles, points, count, flags) < 0 ? -errno : 0;
}

static inline int clibdrm_syncobj_transfer(int fd, uint32_t to, uint64_t to_point, uint32_t from, uint64_t from_point,
                                           uint32_t flags) {
    return drmSyncobjTransfer(fd, to, to_point, from, from_point, flags) < 0 ? -errno : 0;
}

/* drmSyncobjEventfd came with libdrm 2.4.116; the kernel's call is there without it. -ENOTTY or -EINVAL: too old. */
static inline int clibdrm_syncobj_eventfd(int fd, uint32_t handle, uint64_t point, int event_fd, uint32_t flags) {
    struct unbind_drm_syncobj_eventfd request = {handle, flags, point, event_fd, 0};
    return drmIoctl(fd, UNBIND_DRM_IOCTL_SYNCOBJ_EVENTFD, &request) < 0 ? -errno : 0;
}

/* Exports with write access and close-on-exec. */
static inline int clibdrm_prime_to_fd(int fd, uint32_t handle, int *buffer_fd) {
    return drmPrimeHandleToFD(fd, handle, DRM_CLOEXEC | DRM_RDWR, buffer_fd) < 0 ? -errno : 0;
}

/* The same object gives the same handle and takes no further reference: count, and close once. */
static inline int clibdrm_prime_from_fd(int fd, int buffer_fd, uint32_t *handle) {
    return drmPrimeFDToHandle(fd, buffer_fd, handle) < 0 ? -errno : 0;
}

/* Bytes of a dma-buf, or -errno. */
static inline int64_t clibdrm_buffer_size(int buffer_fd) {
    off_t end = lseek(buffer_fd, 0, SEEK_END);
    return end < 0 ? -errno : end;
}

static inline int clibdrm_gem_close(int fd, uint32_t handle) {
    return drmCloseBufferHandle(fd, handle) < 0 ? -errno : 0;
}

#endif
