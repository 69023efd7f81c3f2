/* SPDX-License-Identifier: MIT */
/*
 * The reservation of a buffer: the lock that its users share, and the fences of
 * all that uses it (the kernel's dma_resv, ww_mutex and drm_exec).
 *
 * THE LOCK is for callers among themselves. The library never takes it: binding,
 * unbinding, submitting and waiting work, and cannot deadlock, whoever holds it,
 * and it may be held across every call. It is needed to reserve slots and to add
 * fences, so that nobody else's come in between.
 *
 * Whoever locks several buffers does so in a lock context, in any order. Contexts
 * are as old as their unbind_lock_context_init. When two want each other's locks
 * the older one waits, and the younger one gives way: its next lock gives
 * -EDEADLK, it drops all its locks and begins again. It keeps its age, so that in
 * the end it is the oldest and gets everything. Either
 *
 *     unbind_lock_context_init(&context, device);
 *     status = unbind_bo_lock_array(bos, count, 1, &context, 0);
 *     if (status == 0) ... unbind_bo_add_fence(bos[0], &context, fence, UNBIND_USAGE_WRITE);
 *     unbind_lock_context_fini(&context);
 *
 * or, when each lock tells what to lock next,
 *
 *     do {
 *         for (bo = first; bo; bo = next_of(bo)) {
 *             status = unbind_bo_lock(bo, &context, 0);
 *             if (status < 0 && status != -EALREADY) break;
 *         }
 *     } while ((again = unbind_lock_context_retry(&context, 0)) > 0);
 *
 * The lock is fair: of those who wait the oldest gets it next, and it is handed
 * over, so that nobody comes in between. One buffer by itself is locked without a
 * context (NULL); whoever has such a lock must not wait for another one.
 *
 * Closing the device does not touch the locks, but reports them: they can be
 * dropped, no longer taken, and who waits for one gets it when it is dropped. A
 * buffer is kept by a lock that a context has: when the last unbind_bo_unref comes
 * first, the buffer goes with the context's lock (unbind_lock_context_unlock_all,
 * _fini). A lock without a context is dropped by the last unbind_bo_unref.
 *
 * THE FENCES each have a usage; asking at one usage means that one and all
 * before it. The library adds those of jobs, moves and unbinds by itself (jobs
 * that write: WRITE, others: READ, unbind_vma_add_user: WRITE, moves: KERNEL,
 * unbinds: BOOKKEEP). A bind of the buffer waits for KERNEL, a move
 * (unbind_bo_migrate) for READ, whoever added them.
 */
#ifndef UNBIND_RESV_H
#define UNBIND_RESV_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Usages. */
#define UNBIND_USAGE_KERNEL 0u   /* moves and clears of the memory itself */
#define UNBIND_USAGE_WRITE 1u    /* writes what is in the buffer */
#define UNBIND_USAGE_READ 2u     /* reads it */
#define UNBIND_USAGE_BOOKKEEP 3u /* must only end before the memory goes */

/*
 * Storage for one lock context, owned by the caller, who keeps it in place until
 * unbind_lock_context_fini. Nothing in it is for the caller. One thread at a time
 * uses a context, and a callback does not while a call with it waits.
 */
struct unbind_lock_context {
    uint64_t reserved[10];
};

/*
 * Begins a lock context. It is younger than all that were begun before.
 *
 * context     need not be initialised; not one that has begun and not ended
 * device      an open device: that of all buffers to be locked. The context does
 *             not keep it
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed). Since: 0.1
 */
int unbind_lock_context_init(struct unbind_lock_context *context, unbind_device *device);

/*
 * Drops all locks and ends the context. NULL, or one that has ended, does nothing.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_lock_context_fini(struct unbind_lock_context *context);

/*
 * Drops all locks of the context, which keeps its age. NULL does nothing.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_lock_context_unlock_all(struct unbind_lock_context *context);

/*
 * Ends one round of locking. If a lock gave -EDEADLK since the last call: drops
 * all locks of the context, also those from before the round, waits for the one it
 * did not get, and returns 1: everything is to be locked again. The one waited for
 * is locked already, and its next lock gives 0, not -EALREADY. Otherwise returns 0
 * and does nothing.
 *
 * flags       0 or UNBIND_WAIT_INTERRUPTIBLE
 *
 * Blocks: yes. Errors: -EINVAL, -EINTR, -ENOENT (device closed), -EDEADLK
 * (simulated executor: nothing that could run is left); nothing is locked then, and
 * the call can be repeated. Since: 0.1
 */
int unbind_lock_context_retry(struct unbind_lock_context *context, uint32_t flags);

/*
 * 1 if an older context waits for one of this context's locks, so that its next
 * lock will give -EDEADLK; 0 if not. For whoever may give way before that.
 *
 * Blocks: no. Errors: -EINVAL. Since: 0.1
 */
int unbind_lock_context_is_wounded(const struct unbind_lock_context *context);

/*
 * Locks a buffer. On the manual executor the waiting thread runs the device's work
 * meanwhile; on the simulated one it runs the simulation, and virtual time passes.
 *
 * context     of the buffer's device; NULL: for this buffer alone
 * flags       0 or UNBIND_WAIT_INTERRUPTIBLE
 *
 * Blocks: yes. Errors: -EINVAL, -EALREADY (this context has it), -EDEADLK (this
 * context has locks, and an older one waits for one of them: drop them all, and
 * begin with unbind_bo_lock_slow of this buffer, or unbind_lock_context_retry; and
 * on the simulated executor: nothing that could run is left, a dump goes to the
 * log), -EINTR, -ENOENT (device closed). Nothing changes then. Since: 0.1
 */
int unbind_bo_lock(unbind_bo *bo, struct unbind_lock_context *context, uint32_t flags);

/*
 * As unbind_bo_lock, for a context that has dropped all its locks after -EDEADLK:
 * waits for the one it did not get, and is not told to give way.
 *
 * context     without locks
 *
 * Blocks: yes. Errors: -EINVAL (also: the context has locks), -EINTR, -ENOENT
 * (device closed), -EDEADLK (simulated executor only). Since: 0.1
 */
int unbind_bo_lock_slow(unbind_bo *bo, struct unbind_lock_context *context, uint32_t flags);

/*
 * Locks a buffer if nobody has it.
 *
 * Blocks: no. Errors: -EINVAL, -EBUSY (somebody else has it), -EALREADY (this
 * context has it), -ENOENT (device closed). Since: 0.1
 */
int unbind_bo_trylock(unbind_bo *bo, struct unbind_lock_context *context);

/*
 * Drops a lock. Slots that were reserved under it and not filled go with it. A
 * callback may do it, too, and another thread than the one that locked; the context
 * is not used elsewhere meanwhile. Who waits may have the lock before this returns.
 *
 * context     as at the lock
 *
 * Blocks: no. Errors: -EINVAL (also: the context does not have it). Since: 0.1
 */
int unbind_bo_unlock(unbind_bo *bo, struct unbind_lock_context *context);

/*
 * Locks many buffers, all or none, and reserves slots in each. Locks that other
 * contexts have are waited for. Giving way to older contexts happens within the
 * call if the context had no lock before it, else the call gives -EDEADLK.
 *
 * bos         of the context's device; the same one may be there more than once,
 *             and may be locked by the context already
 * count       0 to 65,536
 * slots       fences to reserve in each buffer, for each time that it is there: 0
 *             to 65,536
 * context     not NULL
 * flags       0 or UNBIND_WAIT_INTERRUPTIBLE
 *
 * Blocks: yes. Errors: -EINVAL, -EDEADLK (as unbind_bo_lock), -EINTR, -ENOENT
 * (device closed), -ENOMEM. The context has the locks and the slots that it had
 * before then. Since: 0.1
 */
int unbind_bo_lock_array(unbind_bo *const *bos, uint32_t count, uint32_t slots,
                         struct unbind_lock_context *context, uint32_t flags);

/*
 * Reserves room for so many fences, so that adding them cannot fail. Reservations
 * add up, whoever made them, and end with the lock.
 *
 * context     has the buffer's lock; NULL: it was locked without a context
 * slots       0 to 65,536
 *
 * Blocks: no. Errors: -EINVAL (also: not locked so), -ENOENT (device closed),
 * -ENOMEM. Since: 0.1
 */
int unbind_bo_reserve_fences(unbind_bo *bo, const struct unbind_lock_context *context, uint32_t slots);

/*
 * Gives reserved room back.
 *
 * Blocks: no. Errors: -EINVAL (also: not locked so, or not so much reserved).
 * Since: 0.1
 */
int unbind_bo_unreserve_fences(unbind_bo *bo, const struct unbind_lock_context *context, uint32_t slots);

/*
 * Adds a fence in reserved room. One of the same queue or timeline that is older
 * and of the same usage or a later one makes place for it; fences without a queue
 * or timeline never replace each other.
 *
 * context     has the buffer's lock; NULL: it was locked without a context
 * fence       of the same device
 * usage       UNBIND_USAGE_*
 *
 * Blocks: no. Errors: -EINVAL (also: not locked so), -ENOENT (device closed),
 * -ENOSPC (no room is reserved). Since: 0.1
 */
int unbind_bo_add_fence(unbind_bo *bo, const struct unbind_lock_context *context, unbind_fence *fence,
                        uint32_t usage);

/*
 * Adds the fences of another buffer that have not signalled, each at its usage, to
 * those that the buffer has. (dma_resv_copy_fences replaces them instead.)
 *
 * bo          locked by context; NULL: without a context. The room is found here
 * from        of the same device; need not be locked
 *
 * Blocks: no. Errors: -EINVAL (also: not locked so), -ENOENT (device closed),
 * -ENOMEM; nothing is added then. Since: 0.1
 */
int unbind_bo_copy_fences(unbind_bo *bo, const struct unbind_lock_context *context, unbind_bo *from);

/*
 * 1 if all fences at a usage have signalled, 0 if not.
 *
 * Blocks: no. Errors: -EINVAL. Since: 0.1
 */
int unbind_bo_is_signaled(unbind_bo *bo, uint32_t usage);

/*
 * Waits until all fences at a usage have signalled, also those that are added
 * meanwhile. At UNBIND_USAGE_BOOKKEEP this is unbind_bo_wait.
 *
 * timeout_ns, flags   as for unbind_fence_wait
 *
 * Blocks: yes. Errors: -EINVAL, -ETIME, -EINTR, -EDEADLK. Since: 0.1
 */
int unbind_bo_wait_usage(unbind_bo *bo, uint32_t usage, uint64_t timeout_ns, uint32_t flags);

/*
 * Gives all fences at a usage that have not signalled, as they are at one moment.
 *
 * fences      receives a reference to each; may be NULL if capacity is 0
 * capacity    room in fences. If there are more than that none is given
 * out_count   how many there are
 *
 * Blocks: no. Errors: -EINVAL, -ENOMEM. Since: 0.1
 */
int unbind_bo_get_fences(unbind_bo *bo, uint32_t usage, unbind_fence **fences, uint32_t capacity,
                         uint32_t *out_count);

/*
 * Gives one fence for all fences at a usage that have not signalled, made as by
 * unbind_fence_merge; if there are none, that of unbind_fence_get_stub.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_bo_get_fence(unbind_bo *bo, uint32_t usage, unbind_fence **out_fence);

/*
 * Storage for going through the fences of a buffer, owned by the caller. Nothing in
 * it is for the caller, and it keeps nothing: it may be forgotten at any time. One
 * buffer, one thread at a time.
 */
struct unbind_fence_cursor {
    uint64_t reserved[4];
};

/*
 * Begins to go through the fences of a buffer at a usage. No lock is needed.
 *
 * Blocks: no. Errors: -EINVAL. Since: 0.1
 */
int unbind_fence_cursor_init(struct unbind_fence_cursor *cursor, unbind_bo *bo, uint32_t usage);

/*
 * Gives the next fence that has not signalled and returns 1; returns 0 after the
 * last. When the list has changed since the beginning it returns -EAGAIN instead, and
 * begins again: what was given before may be out of date, forget it and go on. What
 * is given between the last -EAGAIN and 0 is the whole list of one moment, each
 * entry once, less what signalled meanwhile.
 *
 * bo          that of unbind_fence_cursor_init
 * out_fence   receives a reference
 * out_usage   receives its usage; may be NULL
 *
 * Blocks: no. Errors: -EINVAL, -EAGAIN. Since: 0.1
 */
int unbind_fence_cursor_next(struct unbind_fence_cursor *cursor, unbind_bo *bo, unbind_fence **out_fence,
                             uint32_t *out_usage);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_RESV_H */
