/* SPDX-License-Identifier: MIT */
/*
 * What libunbind uses of the interface that all DRM drivers share: version, capabilities, handles, prime,
 * sync objects. The sizes are those of libdrm 2.4.114; newer kernels accept them.
 *
 * Names: the kernel's, with unbind_ or UNBIND_ in front, so that a header of the system may be included
 * beside this one. Tests/Mock/check-uapi compares every line with the recorded layout.
 */
#ifndef UNBIND_UAPI_DRM_H
#define UNBIND_UAPI_DRM_H

#include <stddef.h>
#include <stdint.h>

#define UNBIND_DRM_IOCTL_VERSION 0xc0406400ul
#define UNBIND_DRM_IOCTL_GET_CAP 0xc010640cul
#define UNBIND_DRM_IOCTL_GEM_CLOSE 0x40086409ul
#define UNBIND_DRM_IOCTL_PRIME_FD_TO_HANDLE 0xc00c642eul
#define UNBIND_DRM_IOCTL_PRIME_HANDLE_TO_FD 0xc00c642dul
#define UNBIND_DRM_IOCTL_SYNCOBJ_CREATE 0xc00864bful
#define UNBIND_DRM_IOCTL_SYNCOBJ_DESTROY 0xc00864c0ul
#define UNBIND_DRM_IOCTL_SYNCOBJ_EVENTFD 0xc01864cful
#define UNBIND_DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE 0xc01064c2ul
#define UNBIND_DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD 0xc01064c1ul
#define UNBIND_DRM_IOCTL_SYNCOBJ_QUERY 0xc01864cbul
#define UNBIND_DRM_IOCTL_SYNCOBJ_RESET 0xc01064c4ul
#define UNBIND_DRM_IOCTL_SYNCOBJ_SIGNAL 0xc01064c5ul
#define UNBIND_DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL 0xc01864cdul
#define UNBIND_DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT 0xc02864caul
#define UNBIND_DRM_IOCTL_SYNCOBJ_TRANSFER 0xc02064ccul
#define UNBIND_DRM_IOCTL_SYNCOBJ_WAIT 0xc02064c3ul

/* drm_get_cap.capability */
#define UNBIND_DRM_CAP_PRIME 5u
#define UNBIND_DRM_CAP_SYNCOBJ 0x13u
#define UNBIND_DRM_CAP_SYNCOBJ_TIMELINE 0x14u

/* drm_syncobj_create.flags */
#define UNBIND_DRM_SYNCOBJ_CREATE_SIGNALED 1u

/* drm_syncobj_handle.flags of HANDLE_TO_FD */
#define UNBIND_DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE 1u
#define UNBIND_DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_TIMELINE 2u

/* drm_syncobj_handle.flags of FD_TO_HANDLE */
#define UNBIND_DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE 1u
#define UNBIND_DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_TIMELINE 2u

/* flags of both waits */
#define UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL 1u
#define UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT 2u
#define UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE 4u
#define UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE 8u

/* drm_syncobj_timeline_array.flags of QUERY */
#define UNBIND_DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED 1u

struct unbind_drm_gem_close {
    uint32_t handle;
    uint32_t pad;
};

struct unbind_drm_prime_handle {
    uint32_t handle;
    uint32_t flags;
    int32_t fd;
};

struct unbind_drm_version {
    int version_major;
    int version_minor;
    int version_patchlevel;
    size_t name_len;
    char *name;
    size_t date_len;
    char *date;
    size_t desc_len;
    char *desc;
};

struct unbind_drm_get_cap {
    uint64_t capability;
    uint64_t value;
};

struct unbind_drm_syncobj_create {
    uint32_t handle;
    uint32_t flags;
};

struct unbind_drm_syncobj_destroy {
    uint32_t handle;
    uint32_t pad;
};

struct unbind_drm_syncobj_handle {
    uint32_t handle;
    uint32_t flags;
    int32_t fd;
    uint32_t pad;
};

struct unbind_drm_syncobj_wait {
    uint64_t handles;
    int64_t timeout_nsec;
    uint32_t count_handles;
    uint32_t flags;
    uint32_t first_signaled;
    uint32_t pad;
};

struct unbind_drm_syncobj_timeline_wait {
    uint64_t handles;
    uint64_t points;
    int64_t timeout_nsec;
    uint32_t count_handles;
    uint32_t flags;
    uint32_t first_signaled;
    uint32_t pad;
};

struct unbind_drm_syncobj_array {
    uint64_t handles;
    uint32_t count_handles;
    uint32_t pad;
};

struct unbind_drm_syncobj_timeline_array {
    uint64_t handles;
    uint64_t points;
    uint32_t count_handles;
    uint32_t flags;
};

struct unbind_drm_syncobj_transfer {
    uint32_t src_handle;
    uint32_t dst_handle;
    uint64_t src_point;
    uint64_t dst_point;
    uint32_t flags;
    uint32_t pad;
};

struct unbind_drm_syncobj_eventfd {
    uint32_t handle;
    uint32_t flags;
    uint64_t point;
    int32_t fd;
    uint32_t pad;
};

#endif
