/* SPDX-License-Identifier: MIT */
/*
 * The xe driver of the mock. A VM has a list of mappings, changed in the ioctl,
 * and page tables, changed by the job that the ioctl queues. Lock held everywhere.
 */
#ifndef MOCK_XE_H
#define MOCK_XE_H

#include "../../../Sources/CLibDRM/include/uapi_xe.h"
#include "scheduler.h"
#include "space.h"
#include "syncobj.h"

struct xe_bind_job;

struct xe_vm {
    int references;
    struct drm_device *device;
    struct space space;
    struct range_map mappings;
    struct job_queue binds;        /* the default bind queue */
    struct job_queue workers;      /* write user fences */
    struct xe_bind_job *pending;   /* of all bind queues, oldest first */
    struct fence **work;           /* of batches that may still run in the VM */
    unsigned work_count, work_capacity;
    unsigned user_queues;          /* exec queues that exist */
    bool long_running, fault_mode, closed;
};

struct xe_queue {
    int references;
    struct xe_vm *vm;
    struct job_queue jobs;
    unsigned class, width;
    bool banned;
    bool gone; /* destroyed: what has not run is cancelled */
};

struct xe_vm *xe_vm_get(struct xe_vm *vm);
void xe_vm_put(struct xe_vm *vm);
/* NULL and *error -ENOENT. */
struct xe_vm *xe_vm_lookup(struct drm_file *file, uint32_t id, int *error);
void xe_vm_note_work(struct xe_vm *vm, struct fence *fence);
struct xe_queue *xe_queue_get(struct xe_queue *queue);
void xe_queue_put(struct xe_queue *queue);
/* What the handle's end does: no new work, page tables gone (VM); what has not run is cancelled (queue). Drops the
 * handle's reference. */
void xe_vm_close(struct xe_vm *vm);
void xe_queue_close(struct xe_queue *queue);

/* ---- the syncs of one call (xe_sync.c) */

struct xe_sync {
    uint32_t type;
    bool signal;
    struct syncobj *syncobj;
    uint64_t point;
    struct fence *wait;
    uint64_t address, value; /* a user fence */
};

struct xe_syncs {
    struct xe_sync *list;
    unsigned count;
    struct xe_sync *user; /* the one user fence, or NULL */
};

/* Checks and resolves the syncs; long_running VMs refuse syncobjs to signal. */
int xe_syncs_read(struct drm_file *file, struct xe_syncs *syncs, uint64_t address, uint32_t count,
                  bool long_running, bool for_bind);
/* In-fences to the job, out-fences into their sync objects. */
void xe_syncs_attach(struct xe_syncs *syncs, struct job *job);
void xe_syncs_free(struct xe_syncs *syncs);

/* Writes a word of the process when a fence has signalled. A fence, with a reference, that signals a moment after that. */
struct fence *xe_fence_write(struct xe_vm *vm, struct fence *after, uint64_t address, uint64_t value);

/* ---- ioctls */

int xe_query_ioctl(struct drm_file *file, void *data);
int xe_gem_create_ioctl(struct drm_file *file, void *data);
int xe_gem_mmap_offset_ioctl(struct drm_file *file, void *data);
int xe_vm_create_ioctl(struct drm_file *file, void *data);
int xe_vm_destroy_ioctl(struct drm_file *file, void *data);
int xe_vm_get_property_ioctl(struct drm_file *file, void *data);
int xe_vm_bind_ioctl(struct drm_file *file, void *data);
int xe_queue_create_ioctl(struct drm_file *file, void *data);
int xe_queue_destroy_ioctl(struct drm_file *file, void *data);
int xe_queue_get_property_ioctl(struct drm_file *file, void *data);
int xe_queue_set_property_ioctl(struct drm_file *file, void *data);
int xe_exec_ioctl(struct drm_file *file, void *data);
int xe_wait_user_fence_ioctl(struct drm_file *file, void *data);

#endif
