/* SPDX-License-Identifier: MIT */
/*
 * unbind_timeline: one number that only grows, with a fence for each of its
 * values (the kernel's timeline syncobj and dma_fence_chain).
 *
 * A point is a number and a fence. It is reached when its fence has signalled
 * and all points before it have been reached: fences may signal in any order,
 * the timeline's value grows in order. Nothing is kept of a point that has been
 * reached.
 *
 * The fences of the points signal one after the other, in the order of their
 * numbers, one thread at a time. A call that makes a point ready while another
 * thread is signalling one before it, or from a callback of one before it, leaves
 * it to that thread.
 *
 * A point depends only on what was there before it, so that timelines cannot
 * wait for each other in a circle.
 */
#ifndef UNBIND_TIMELINE_H
#define UNBIND_TIMELINE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Makes a timeline without points; its value is 0.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_timeline_create(unbind_device *device, unbind_timeline **out_timeline);

/* Adds a reference and returns the same timeline. Blocks: no. Since: 0.1 */
unbind_timeline *unbind_timeline_ref(unbind_timeline *timeline);

/*
 * Drops a reference. Points that have not been reached keep the timeline's
 * memory, and their fences signal as before.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_timeline_unref(unbind_timeline *timeline);

/*
 * Adds a point. The fence of the point (unbind_timeline_get_point) will carry
 * the error of this fence; errors of earlier points are not carried on.
 *
 * seqno       greater than that of every point added so far; gaps are allowed
 * fence       of the same device; the timeline keeps a reference until it has
 *             signalled
 *
 * Blocks: no. Errors: -EINVAL (also: seqno does not grow), -ENOENT (device
 * closed), -ENOMEM. Since: 0.1
 */
int unbind_timeline_add_point(unbind_timeline *timeline, uint64_t seqno, unbind_fence *fence);

/*
 * Adds a point that has nothing of its own to wait for: it is reached when all
 * points before it are, if there are none within this call.
 *
 * seqno       as for unbind_timeline_add_point
 *
 * Blocks: no. Errors: -EINVAL (also: seqno does not grow), -ENOENT (device
 * closed), -ENOMEM (only if points are pending). Since: 0.1
 */
int unbind_timeline_signal(unbind_timeline *timeline, uint64_t seqno);

/*
 * Gives a fence that signals when the timeline's value is seqno or more: that
 * of the first point from seqno on. If that has been reached, the fence of
 * unbind_fence_get_stub. Works on a closed device, where every point has been
 * reached.
 *
 * Blocks: no. Errors: -EINVAL, -EAGAIN (no point from seqno on has been added).
 * Since: 0.1
 */
int unbind_timeline_get_point(unbind_timeline *timeline, uint64_t seqno, unbind_fence **out_fence);

/*
 * The number of the last point that has been reached, 0 at first. The fences up
 * to there have signalled, or are being signalled by another thread just now.
 *
 * Blocks: no. Errors: -EINVAL. Since: 0.1
 */
int unbind_timeline_value(unbind_timeline *timeline, uint64_t *out_value);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_TIMELINE_H */
