/* SPDX-License-Identifier: MIT */
/*
 * The DRM core of the mock: devices, open files, handles, and the table of
 * ioctls. A handler runs with the kernel lock held and gives 0 or -errno.
 */
#ifndef MOCK_DRM_H
#define MOCK_DRM_H

#include "../../../Sources/CLibDRM/include/uapi_drm.h"
#include "host.h"
#include "machines.h"

struct gem_object;
struct syncobj;

struct drm_device {
    unsigned index;
    const struct gpu_model *model;
    uint64_t vram_used;
    uint64_t open_files;
};

/* Handles of one kind: small numbers from 1 up, the lowest free one first. */
struct handles {
    void **entries;
    uint32_t capacity;
};
/* The new handle, or 0 without memory. */
uint32_t handles_add(struct handles *handles, void *entry);
void *handles_get(const struct handles *handles, uint32_t handle);
void *handles_remove(struct handles *handles, uint32_t handle);
void handles_free(struct handles *handles);

/* What one open of a node owns. */
struct drm_file {
    struct drm_device *device;
    bool render;
    struct handles objects;  /* struct gem_object: GEM handles */
    struct handles syncobjs; /* struct syncobj */
    struct handles vms;      /* xe: struct xe_vm; i915: struct i915_vm */
    struct handles queues;   /* xe: struct xe_queue; i915: struct i915_context */
    void *context_zero;      /* i915: the default context, made at the first use */
};

typedef int (*ioctl_handler)(struct drm_file *file, void *data);

struct ioctl_entry {
    const char *name; /* as in logs and in UNBIND_MOCK_FAIL */
    unsigned long request;
    ioctl_handler handler;
};

extern const struct ioctl_entry drm_ioctls[], syncobj_ioctls[], xe_ioctls[], i915_ioctls[];

/* Makes what open gives, and takes it apart again. Lock held. */
struct drm_file *drm_file_open(unsigned node, bool render);
void drm_file_release(void *file);
void drm_restart(void);
unsigned drm_open_files(void);
/* Drivers' part of the release. */
void xe_file_release(struct drm_file *file);
void i915_file_release(struct drm_file *file);

/* The ioctls of a DRM file: takes the lock. -errno or 0. */
int drm_dispatch(struct drm_file *file, int fd, unsigned long request, void *argument);

/* User memory: checked, so that a bad pointer is -EFAULT and not a crash. */
int copy_from_user(void *to, uint64_t from, size_t size);
int copy_to_user(uint64_t to, const void *from, size_t size);
/* A copy of an array of user memory that free() takes; NULL with *error set. count 0 gives NULL and no error. */
void *copy_array(uint64_t from, size_t count, size_t size, int *error);

static inline bool all_zero(const void *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (((const uint8_t *)bytes)[i]) return false;
    return true;
}
#define RESERVED_ZERO(array) all_zero(&(array), sizeof(array))

#endif
