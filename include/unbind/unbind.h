/* SPDX-License-Identifier: MIT */
/*
 * libunbind: asynchronous GPU address-space unbinding for user space.
 *
 * Unbinding a range of a GPU's virtual address space never waits for the GPU.
 * The caller gets a fence that signals when the range is really unbound; the
 * range can be handed out again at once; a later bind waits for exactly the
 * pending unbinds it overlaps and for nothing else.
 *
 *     unbind_device   a GPU; here the software GPU        <unbind/device.h>
 *     unbind_vm       one GPU virtual address space       <unbind/vm.h>
 *     unbind_bo       a buffer object: memory             <unbind/bo.h>
 *     unbind_vma      one buffer at one place in one VM   <unbind/vma.h>
 *     unbind_queue    runs commands through a VM          <unbind/queue.h>
 *     unbind_fence    says when something has finished    <unbind/fence.h>
 *     unbind_timeline numbers that grow, with fences      <unbind/timeline.h>
 *     unbind_hold     keeps a binding to be looked at     <unbind/hold.h>
 *     (a buffer's)    lock, and fences of its users       <unbind/resv.h>
 *     unbind_probe    which Intel GPUs are in the machine <unbind/probe.h>
 *     unbind_backend  a device of the program's own       <unbind/backend.h>
 *     (an Intel GPU)  as a device; sharing with others    <unbind/intel.h>
 *
 * and alone, without address spaces of the library's own:
 *
 *     unbind_range_allocator  who has which addresses     <unbind/range_allocator.h>
 *     unbind_range_tracker    which fences concern them   <unbind/range_tracker.h>
 *
 * CONVENTIONS
 *
 * Status      A function that returns int returns 0 (or a documented value
 *             above 0) on success and a negative errno on failure; global errno
 *             is neither read nor set. A call that fails changes nothing and
 *             leaves its out-parameters as they were. One errno per cause:
 *
 *               -EINVAL      bad argument: null or wrong handle, unaligned or
 *                            overflowing range, unknown flag, reserved field
 *                            not zero, object of another device
 *               -E2BIG       a struct is larger than this library knows and
 *                            its unknown tail is not zero, or than 4096 bytes
 *               -ENOENT      the device, VM or queue is closed
 *               -ENOMEM      no memory
 *               -ENOSPC      no free address range, or the fixed one is taken; no
 *                            room is reserved for a fence
 *               -ENODEV      the range lies outside the address space; no such GPU
 *               -EAGAIN      not now: not signalled yet, no such point yet; retry
 *               -EBUSY       cannot be done while in use, or cannot go async
 *               -EINTR       the wait was interrupted by a signal
 *               -ETIME       the wait expired
 *               -EDEADLK     simulated executor: nothing left that could run; of a
 *                            lock context: give way to an older one
 *               -EEXIST      something is mapped there already (NO_REPLACE)
 *               -ENOBUFS     too many operations for one batch
 *               -EALREADY    the lock context has the lock already
 *               -EIO         the device is lost
 *               -EFAULT      fence error only: the job hit a GPU page fault
 *               -EOPNOTSUPP  this executor or backend cannot do that
 *               -EMFILE      this process has too many open files
 *               -ENFILE      the system has too many open files
 *               -EACCES      no permission to open the device node
 *               -EBADF       not an open file descriptor
 *
 * Handles     Objects are opaque and reference counted: a create function
 *             gives one reference, _ref adds one, _unref drops one. _ref of
 *             NULL gives NULL, _unref of NULL does nothing. A handle that was
 *             fully dropped must not be used again.
 *
 * Structs     The first member of every options, stats and report struct is
 *             struct_size, the caller's sizeof (4 to 4096, a multiple of 4,
 *             not ending inside a member; above 4096 is -E2BIG whatever the tail
 *             holds); use the *_INIT macros. Members a newer library knows and an
 *             older caller does not send are 0; members a newer caller knows and
 *             an older library does not must be 0, also in structs that it fills.
 *
 * Units       Addresses and sizes are uint64_t bytes; times are uint64_t
 *             nanoseconds of the device's clock (unbind_device_now).
 *
 * Threads     Every function may be called from any thread at any time, but
 *             for a device with the simulated executor, which belongs to one
 *             thread. No function holds a lock while it waits for the GPU or
 *             while it calls back. Functions marked "Blocks: no" never wait for
 *             the GPU or for another thread's GPU work.
 *
 * fork        A child process must not use objects made before the fork; all
 *             file descriptors are close-on-exec.
 *
 * Output      The library prints nothing and has no global state, but for one
 *             lock around libpciaccess; messages go to the log callback of the
 *             device. One exception: a broken internal invariant prints one
 *             line to stderr and aborts.
 */
#ifndef UNBIND_UNBIND_H
#define UNBIND_UNBIND_H

#include "base.h"
#include "fence.h"
#include "device.h"
#include "vm.h"
#include "lookup.h"
#include "bo.h"
#include "vma.h"
#include "queue.h"
#include "batch.h"
#include "timeline.h"
#include "hold.h"
#include "resv.h"
#include "probe.h"
#include "backend.h"
#include "intel.h"
#include "range_allocator.h"
#include "range_tracker.h"

#endif /* UNBIND_UNBIND_H */
