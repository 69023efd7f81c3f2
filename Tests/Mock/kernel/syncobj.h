/* SPDX-License-Identifier: MIT */
/*
 * Sync objects: a place for a fence (binary), or a line of points of which each
 * one signals when its fence and all points before it have. Lock held everywhere.
 */
#ifndef MOCK_SYNCOBJ_H
#define MOCK_SYNCOBJ_H

#include "drm.h"
#include "fence.h"

struct syncobj_point {
    uint64_t value;
    struct fence *fence; /* of this point and all before it */
};

struct syncobj_waiter; /* an eventfd to be written */

struct syncobj {
    int references;
    struct fence *fence; /* the newest, NULL: none */
    bool timeline;       /* it is a point's */
    struct syncobj_point *points;
    unsigned first, count, capacity; /* points[first ..< count] have not all signalled */
    uint64_t signalled;  /* the newest point that has */
    struct syncobj_waiter *waiters;
};

struct syncobj *syncobj_lookup(struct drm_file *file, uint32_t handle);
struct syncobj *syncobj_get(struct syncobj *syncobj);
void syncobj_put(struct syncobj *syncobj);
/* A new reference to the fence to wait for; point 0: the newest. NULL: nothing was submitted. */
struct fence *syncobj_find(struct syncobj *syncobj, uint64_t point);
void syncobj_replace(struct syncobj *syncobj, struct fence *fence);
void syncobj_add_point(struct syncobj *syncobj, struct fence *fence, uint64_t point);
/* The newest point that has signalled, or (submitted) that has a fence; 0 for a binary one. */
uint64_t syncobj_reached(struct syncobj *syncobj, bool submitted);

/* The ioctls that take an array of handles (syncobj_array.c). */
int syncobj_wait_ioctl(struct drm_file *file, void *data);
int syncobj_timeline_wait_ioctl(struct drm_file *file, void *data);
int syncobj_reset_ioctl(struct drm_file *file, void *data);
int syncobj_signal_ioctl(struct drm_file *file, void *data);
int syncobj_timeline_signal_ioctl(struct drm_file *file, void *data);
int syncobj_query_ioctl(struct drm_file *file, void *data);

#endif
