/* SPDX-License-Identifier: MIT */
/*
 * unbind_range_tracker: which unfinished work concerns which addresses, usable
 * alone: the dependency tracker for programs that keep their own page tables.
 *
 * Whoever begins something that is not over at once (clearing the entries of a
 * range, say) inserts the range with the fence that says when it is. Whoever
 * wants to touch a range asks for the fences of all that overlaps it, and waits
 * for these and no others, or has the GPU wait. The tracker itself never waits,
 * and what has signalled is forgotten without anybody's doing.
 *
 * The order between asking and inserting is the caller's: who asks, begins its
 * own work and inserts that, must not let another thread do the same for the
 * same range in between.
 *
 * Fences belong to a device, and so a tracker does, too; of a GPU it uses
 * nothing: see <unbind/range_allocator.h>.
 *
 * Addresses and sizes are multiples of 4096, below 2^48. All functions may be
 * called from any thread at any time, and from callbacks.
 */
#ifndef UNBIND_RANGE_TRACKER_H
#define UNBIND_RANGE_TRACKER_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Makes a tracker that knows of nothing.
 *
 * device      an open device; the tracker keeps a reference
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_range_tracker_create(unbind_device *device, unbind_range_tracker **out_tracker);

/* Adds a reference and returns the same tracker. Blocks: no. Since: 0.1 */
unbind_range_tracker *unbind_range_tracker_ref(unbind_range_tracker *tracker);

/*
 * Drops a reference. With the last one all fences are let go of, and need never
 * signal.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_range_tracker_unref(unbind_range_tracker *tracker);

/*
 * Adds a range and the fence that says when what concerns it is over. Ranges may
 * overlap and be equal, and have the same fence. One that has signalled is not
 * added.
 *
 * start, size multiples of 4096, size not 0
 * fence       of the same device; a reference is kept until a call to the
 *             tracker finds that it has signalled
 *
 * Blocks: no. Errors: -EINVAL, -ENODEV (beyond 2^48), -ENOENT (device closed),
 * -ENOMEM. Since: 0.1
 */
int unbind_range_tracker_insert(unbind_range_tracker *tracker, uint64_t start, uint64_t size,
                                unbind_fence *fence);

/*
 * Gives the fences that have not signalled of all that overlaps a range, as it
 * is at one moment: each once, and of those of one queue or timeline only the
 * latest.
 *
 * start, size multiples of 4096, size not 0
 * fences      receives a reference to each; may be NULL if capacity is 0
 * capacity    room in fences. If there are more than that none is given
 * out_count   how many there are
 *
 * Blocks: no. Errors: -EINVAL, -ENODEV (beyond 2^48), -ENOMEM. Since: 0.1
 */
int unbind_range_tracker_get_fences(unbind_range_tracker *tracker, uint64_t start, uint64_t size,
                                    unbind_fence **fences, uint32_t capacity, uint32_t *out_count);

/*
 * Gives one fence for all of them, made as by unbind_fence_merge; if there are
 * none, that of unbind_fence_get_stub.
 *
 * start, size multiples of 4096, size not 0
 *
 * Blocks: no. Errors: -EINVAL, -ENODEV (beyond 2^48), -ENOENT (device closed),
 * -ENOMEM. Since: 0.1
 */
int unbind_range_tracker_get_fence(unbind_range_tracker *tracker, uint64_t start, uint64_t size,
                                   unbind_fence **out_fence);

/*
 * How many ranges were inserted whose fences have not signalled. Looks at each.
 *
 * Blocks: no. Errors: -EINVAL. Since: 0.1
 */
int unbind_range_tracker_get_count(unbind_range_tracker *tracker, uint64_t *out_count);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_RANGE_TRACKER_H */
