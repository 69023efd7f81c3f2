/* SPDX-License-Identifier: MIT */
/*
 * unbind_fence: says when something has finished (the kernel's dma_fence).
 *
 * A fence signals exactly once and stays signalled. It may carry an error, which
 * is readable once it has signalled. Fences come from unbind_vma_unbind_async,
 * unbind_vma_bind_async and unbind_queue_submit, from unbind_fence_create_timed
 * for a time, and from unbind_fence_create for events of the caller's own. A fence
 * of the caller's own that is never signalled delays whatever awaits it, until its
 * device is closed.
 *
 * Fences can be made of fences: of several (unbind_fence_array_create,
 * unbind_fence_merge) and of points of a timeline (unbind_timeline_get_point).
 * Such a fence works wherever another does. It signals on the thread that
 * signalled the last thing it waited for, after that one's callbacks. They may
 * be made of each other to any depth.
 *
 * There are no circles, with one exception. Whatever waits for a fence by itself (an
 * array, a point, a job, a bind, an unbind) names it when it is made, and no function
 * adds one later: every fence waits only for older ones. What an unbind waits for was
 * attached before its fence existed, and a point of a timeline that is still to be
 * added has no fence. The exception is a fence of the caller's in the signal list of a
 * batch (unbind/batch.h), which may be older than what the batch waits for: if a job
 * awaits it, and the batch that job, neither ends before their device is closed
 * (simulated executor: waiting for them gives -EDEADLK).
 */
#ifndef UNBIND_FENCE_H
#define UNBIND_FENCE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* For a timeout: wait for ever. */
#define UNBIND_TIMEOUT_INFINITE UINT64_MAX

/* Flags of every waiting function. */
#define UNBIND_WAIT_ABSOLUTE (1u << 0)      /* the timeout is a time of unbind_device_now */
#define UNBIND_WAIT_INTERRUPTIBLE (1u << 1) /* a signal handler ends the wait: -EINTR */

/*
 * Called once when the fence signals, with no lock held, on the thread that
 * signals it: a worker, the thread inside unbind_device_run or a waiting
 * function, or the one inside unbind_fence_signal. The callback may call every
 * function that is marked "Blocks: no"; one that waits, or unbind_device_close,
 * could wait for itself.
 */
typedef void (*unbind_fence_callback_fn)(unbind_fence *fence, void *user_data);

/*
 * Storage for one callback, owned by the caller, who keeps it in place until
 * the callback has been called or removed, and does not add it again before. It
 * is free again when the callback begins. Nothing in it is for the caller.
 */
struct unbind_fence_callback {
    uint64_t reserved[6];
};

/*
 * Makes an unsignalled fence that the caller signals with unbind_fence_signal.
 *
 * device      an open device
 * out_fence   receives the only reference
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_fence_create(unbind_device *device, unbind_fence **out_fence);

/*
 * Signals a fence made by unbind_fence_create. Everything that awaits it goes
 * on: callbacks run before this function returns.
 *
 * error       0, or a negative errno (-4095..-1) that unbind_fence_get_error gives
 *
 * Blocks: no. Errors: -EINVAL (null, error out of range, already signalled, or
 * a fence that the library signals). Since: 0.1
 */
int unbind_fence_signal(unbind_fence *fence, int error);

/*
 * Waits until the fence has signalled. On the manual executor the waiting
 * thread runs the device's work meanwhile; on the simulated one it runs the
 * simulation, and virtual time passes.
 *
 * timeout_ns  relative, or with UNBIND_WAIT_ABSOLUTE a time of the device's
 *             clock; 0 asks without waiting; UNBIND_TIMEOUT_INFINITE, with
 *             either meaning, waits for ever
 * flags       UNBIND_WAIT_*
 *
 * Returns 0 when signalled, whatever error the fence carries.
 * Blocks: yes. Errors: -EINVAL, -ETIME (not signalled in time), -EINTR, -EDEADLK
 * (simulated executor, infinite timeout: no runnable work is left, so that
 * waiting cannot help; a dump goes to the log. With a finite timeout virtual time
 * passes and -ETIME is returned. The other executors cannot know, and wait for
 * ever for a fence that nobody signals). Since: 0.1
 */
int unbind_fence_wait(unbind_fence *fence, uint64_t timeout_ns, uint32_t flags);

/*
 * 1 if the fence has signalled, 0 if not.
 *
 * Blocks: no. Errors: -EINVAL. Since: 0.1
 */
int unbind_fence_is_signaled(const unbind_fence *fence);

/*
 * The error the fence carries: 0, or a negative errno such as -EFAULT (the job
 * hit a GPU page fault) or -ENOENT (cancelled because its device was closed).
 *
 * Blocks: no. Errors: -EINVAL, -EAGAIN (not signalled yet). Since: 0.1
 */
int unbind_fence_get_error(const unbind_fence *fence, int *out_error);

/*
 * When the fence signalled, on the clock of unbind_device_now.
 *
 * Blocks: no. Errors: -EINVAL, -EAGAIN (not signalled yet). Since: 0.1
 */
int unbind_fence_get_timestamp(const unbind_fence *fence, uint64_t *out_time_ns);

/*
 * Calls function(fence, user_data) once the fence signals. The fence stays alive
 * for it, even when the caller drops every reference: one of the caller's own that
 * nobody signals then calls when its device is closed.
 *
 * callback    storage of the caller's, untouched until called or removed; need
 *             not be initialised
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (already signalled: not added, will not
 * be called). Since: 0.1
 */
int unbind_fence_add_callback(unbind_fence *fence, struct unbind_fence_callback *callback,
                              unbind_fence_callback_fn function, void *user_data);

/*
 * Takes back a callback that has not started yet.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (it was called, is being called or was
 * never added to this fence). Since: 0.1
 */
int unbind_fence_remove_callback(unbind_fence *fence, struct unbind_fence_callback *callback);

/*
 * Makes an eventfd that becomes readable when the fence signals (at once if it
 * has): for poll, epoll and every event loop. Non-blocking, close-on-exec. The
 * caller closes it, at any time.
 *
 * Blocks: no. Errors: -EINVAL, -ENOMEM, -EMFILE, -ENFILE. Since: 0.1
 */
int unbind_fence_get_eventfd(unbind_fence *fence, int *out_fd);

/*
 * Gives a fence that has signalled, at time 0 and without error: for whoever
 * must have a fence and has nothing to wait for. Allocates nothing.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed). Since: 0.1
 */
int unbind_fence_get_stub(unbind_device *device, unbind_fence **out_fence);

/* Flags of unbind_fence_array_create. */
#define UNBIND_FENCE_ARRAY_ALL 0u         /* signals when all have */
#define UNBIND_FENCE_ARRAY_ANY (1u << 0) /* signals when the first has */

/*
 * Makes one fence for many. It carries the error of the first that signalled
 * with one (ALL), or that of the one that made it signal (ANY); of those that
 * have signalled already, the first in the list counts as the first. Only the
 * library signals it. It keeps references to the fences, until it has signalled.
 *
 * fences      all of one device; the same one may be there more than once
 * count       1 to 65,536
 * flags       UNBIND_FENCE_ARRAY_*
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_fence_array_create(unbind_fence *const *fences, uint32_t count, uint32_t flags,
                              unbind_fence **out_fence);

/*
 * Gives a fence that signals when all of the list have, made of as few as
 * possible: arrays (ALL) and timeline points are replaced by what they still
 * wait for, fences that have signalled are dropped, and of the fences of one
 * queue or timeline only the latest stays. What remains is given as it is if it
 * is one, else as an array; if nothing does, the result is that of
 * unbind_fence_get_stub.
 *
 * A fence that is dropped takes its error along: use unbind_fence_array_create
 * if the errors matter.
 *
 * fences      all of one device
 * count       1 to 65,536
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_fence_merge(unbind_fence *const *fences, uint32_t count, unbind_fence **out_fence);

/*
 * Gives the fences that a fence still waits for in the end: arrays (ALL) and
 * timeline points are replaced by what they wait for, through any depth. Each once;
 * none that has signalled. A fence that is not made of others is its own.
 *
 * leaves      receives a reference to each; may be NULL if capacity is 0
 * capacity    room in leaves. If there are more than that none is given
 * out_count   how many there are
 *
 * Blocks: no. Errors: -EINVAL, -ENOMEM. Since: 0.1
 */
int unbind_fence_get_leaves(unbind_fence *fence, unbind_fence **leaves, uint32_t capacity,
                            uint32_t *out_count);

/*
 * Makes a fence that signals by itself at a time of the device's clock, never
 * early, and within this call if that time has come. Until then it is work that
 * unbind_device_wait_idle waits for. Closing the device cancels it with -ENOENT.
 *
 * time_ns     a time of unbind_device_now; UINT64_MAX: only when the device is
 *             closed
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_fence_create_timed(unbind_device *device, uint64_t time_ns, unbind_fence **out_fence);

/*
 * Makes a fence that follows another, but signals with the error -ETIME if that has
 * not signalled by a time: for whoever must not wait for it for ever. It carries
 * the error of the fence that it follows, and that one goes on by itself. For one
 * that has signalled, or without a time, it is as good as the fence itself.
 *
 * deadline_ns a time of unbind_device_now, never taken for early; UINT64_MAX: none
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_fence_create_deadline(unbind_fence *fence, uint64_t deadline_ns, unbind_fence **out_fence);

/* Adds a reference and returns the same fence. Blocks: no. Since: 0.1 */
unbind_fence *unbind_fence_ref(unbind_fence *fence);

/*
 * Drops a reference. Work that awaits the fence keeps its own reference, and so
 * does a callback; a fence of the caller's that nobody can signal any more is
 * cancelled when its device is closed.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_fence_unref(unbind_fence *fence);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_FENCE_H */
