/* SPDX-License-Identifier: MIT */
/*
 * Intel GPUs as devices, and what crosses the border of the process: fences as
 * the kernel's sync objects and sync_files, buffers as dma-bufs.
 *
 * The kernel's driver does the work. xe is told what to map and unmap, and does so in the
 * background; what it can wait for by itself it is told to: an unbind of what
 * its jobs or imported fences still use, a job that waits for an imported fence or for a
 * bind, are handed over at once. i915 knows no such calls: an empty batch that lists a buffer
 * binds it, one that lists a dummy in its place unbinds it, and the library
 * does all the waiting. Both tell by timeline sync objects what has ended: one thread of
 * the library's, also with the manual executor, sleeps until it hears of that, and what
 * follows is run by the executor, so by unbind_device_run with the manual one.
 *
 * None of this has been tried on hardware yet: it is tested on a model of the
 * drivers.
 */
#ifndef UNBIND_INTEL_H
#define UNBIND_INTEL_H

#include "base.h"
#include "device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of unbind_intel_options. */
#define UNBIND_INTEL_SCRATCH (1u << 0)     /* GPU access to what is not mapped reads zero and writes
                                              nothing; else it ends the job, whose fence says so. With
                                              i915 it is always so */
#define UNBIND_INTEL_LAZY_UNBIND (1u << 1) /* i915: an unbind leaves the mapping to the kernel, which
                                              drops it when its place is wanted or the buffer is
                                              gone: without an ioctl, and without
                                              UNBIND_CAP_EXPLICIT_UNBIND. No effect with xe */
#define UNBIND_INTEL_LONG_RUNNING (1u << 2) /* xe: address spaces for jobs that take as long as they
                                              like; see below. Refused with -EOPNOTSUPP with i915, and
                                              where the kernel makes no such spaces */
#define UNBIND_INTEL_FAULT_MODE (1u << 3)  /* address spaces whose page faults are served. Refused
                                              with -EOPNOTSUPP; whether the kernel has them is told */

/*
 * Long-running address spaces. In an ordinary one the kernel kills a job that has taken
 * some seconds; in a long-running one it lets jobs run, such as a batch of the caller's
 * that ends when the CPU says so (UNBIND_COMMAND_BATCH). Memory is the kernel's all the same:
 * when it is short, or pages of memory that was wrapped change, it stops the queues of the space
 * for a moment (preempt fences), moves what it has to, and lets them go on, where in ordinary
 * spaces it waits for the end of a job. A batch that cannot be stopped is killed then.
 * For the program everything is as in ordinary spaces, but for what it costs:
 *
 *  - a thread for each address space and one for each queue (-EAGAIN if none can be started): the
 *    kernel tells what has ended by words in memory, for which a thread can wait one at a time;
 *  - nothing is left to the kernel to wait for but imported fences that a job awaits: an unbind
 *    behind jobs, a job behind a bind is handed over when those have ended, a few wake-ups later;
 *  - what was bound a moment ago may be busy (-EBUSY) to the kernel although it has told that it is bound:
 *    the library tries again, so that an unbind may take that much longer, and the end of a queue or an
 *    address space, which without that waits for nothing, a moment;
 *  - whoever closes the device waits for jobs in flight, as ever, and nobody kills them. The kernel's own address
 *    space goes after its queues, whatever the order in which a program drops its handles.
 *
 * All address spaces of the device are of that kind. The one in which unbind_bo_migrate copies is not:
 * a copy that takes too long is killed, and the CPU copies.
 */

struct unbind_intel_options {
    uint32_t struct_size; /* sizeof(struct unbind_intel_options) */
    uint32_t flags;       /* UNBIND_INTEL_* */
    int32_t fd;           /* an open node of the GPU, which stays the caller's and has to stay open
                             until the device has been freed; -1: the render node is opened */
    uint32_t reserved;    /* 0 */
};
#define UNBIND_INTEL_OPTIONS_INIT { sizeof(struct unbind_intel_options), 0, -1, 0 }

/*
 * Opens an Intel GPU. Buffers are objects of the kernel's that the CPU has mapped,
 * and unbind_bo_wrap shows the GPU the caller's own memory. What it can do is told
 * by unbind_device_capabilities.
 *
 * A job that faults or hangs ends with -EFAULT, or with -EIO on i915, where nothing
 * faults; where it was, the kernel does not tell. Sizes in local memory are multiples
 * of the page size that it has (64 KiB on some GPUs; 2 MiB with i915 from graphics 12.50
 * on), and so are the addresses at which such buffers are bound.
 *
 * i915 has a buffer at one address of an address space, as a whole, for reading and
 * writing; a second VMA of it that is bound there gets -EOPNOTSUPP. Memory that has been
 * unbound may be a page shared with others for stray accesses: they do not fault.
 *
 * selector    as for unbind_probe_find; NULL: the first GPU. NULL with fd
 * intel       NULL for the defaults
 * options     as for unbind_device_open_software, but that the simulated executor is
 *             refused; page_sizes, cost_model and seed do not concern it, and
 *             local_memory_bytes is a limit, 0 for all there is. The log callback
 *             is told why a device cannot be opened
 *
 * Blocks: yes: reads files, and may wait for a sleeping GPU to wake up.
 * Errors: -EINVAL (malformed selector, unknown flag), -ENODEV (no such GPU, or fd is
 * none of one), -EACCES (no permission to open its node), -ENOENT (it has no node),
 * -EOPNOTSUPP (simulated executor; FAULT_MODE; LONG_RUNNING where there is none; no driver
 * that can be used; a kernel without timeline sync objects), -EIO or what else its driver refused
 * with, -E2BIG, -ENOMEM, -EAGAIN (no thread could be started), -EMFILE, -ENFILE. Since: 0.1
 */
int unbind_device_open_intel(const char *selector, const struct unbind_intel_options *intel,
                             const struct unbind_device_options *options, unbind_device **out_device);

/* Flags of unbind_intel_info. */
#define UNBIND_INTEL_INFO_SCRATCH (1u << 0)    /* every address space has scratch pages */
#define UNBIND_INTEL_INFO_FAULT_MODE (1u << 1) /* the kernel makes address spaces whose page faults
                                                  are served; see UNBIND_INTEL_FAULT_MODE */
#define UNBIND_INTEL_INFO_LONG_RUNNING (1u << 2) /* the kernel makes long-running address spaces; see
                                                    UNBIND_INTEL_LONG_RUNNING */

struct unbind_intel_info {
    uint32_t struct_size;   /* sizeof(struct unbind_intel_info) */
    uint32_t flags;         /* UNBIND_INTEL_INFO_* */
    uint32_t kernel_driver; /* UNBIND_KERNEL_DRIVER_I915 or _XE */
    uint32_t va_bits;       /* of the GPU; the library keeps the uppermost part for itself */
    uint16_t device_id;     /* PCI */
    uint16_t graphics_major;
    uint16_t graphics_minor;
    uint16_t reserved;
    char pci_address[24];   /* "0000:03:00.0" */
};
#define UNBIND_INTEL_INFO_INIT { sizeof(struct unbind_intel_info), 0, 0, 0, 0, 0, 0, 0, "" }

/*
 * What stands behind a device that unbind_device_open_intel has opened.
 *
 * Blocks: no. Errors: -EINVAL, -E2BIG, -ENOENT (closed), -EOPNOTSUPP (another kind of
 * device). Since: 0.1
 */
int unbind_device_get_intel_info(unbind_device *device, struct unbind_intel_info *info);

/*
 * A new sync object that signals when the fence does: a descriptor, close-on-exec, the
 * caller's to close. Until the fence has signalled there is no kernel fence in it:
 * wait for it with DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT. The fence's error does not get across.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (closed), -EOPNOTSUPP (not a device with a kernel behind
 * it), -ENOMEM, -EMFILE, -ENFILE. Since: 0.1
 */
int unbind_fence_export_syncobj(unbind_fence *fence, int *out_fd);

/*
 * Lets a sync object signal when the fence does: a point of a timeline, above those
 * it has, or (0) as a binary one. As unbind_fence_export_syncobj otherwise. The descriptor
 * may be closed after the call.
 *
 * Blocks: no. Errors: -EINVAL (also: no sync object), -ENOENT (closed), -EOPNOTSUPP, -ENOMEM. Since: 0.1
 */
int unbind_fence_signal_syncobj(unbind_fence *fence, int syncobj_fd, uint64_t point);

/*
 * A fence that signals with what is in a sync object now: its fence at a point of
 * a timeline, or (0) the one of a binary one. What is put there later does not count. If
 * the device is closed before, it signals with -ENOENT; but with xe the kernel may wait for it
 * on behalf of jobs and unbinds by then, and the close waits for those. An error of the kernel's
 * fence does not get across. The descriptor may be closed after the call.
 *
 * Blocks: no. Errors: -EINVAL (also: no sync object), -EAGAIN (there is no fence yet), -ENOENT (closed),
 * -EOPNOTSUPP, -ENOMEM. Since: 0.1
 */
int unbind_fence_import_syncobj(unbind_device *device, int syncobj_fd, uint64_t point, unbind_fence **out_fence);

/*
 * A sync_file of a fence that has signalled: a descriptor, close-on-exec, the caller's to
 * close. The kernel knows no sync_file of a fence that only this process can signal: wait
 * for it, or use a sync object.
 *
 * Blocks: no. Errors: -EINVAL, -EAGAIN (not signalled), -ENOENT (closed), -EOPNOTSUPP, -ENOMEM, -EMFILE,
 * -ENFILE. Since: 0.1
 */
int unbind_fence_export_sync_file(unbind_fence *fence, int *out_fd);

/*
 * A fence that signals with a sync_file. As unbind_fence_import_syncobj otherwise.
 *
 * Blocks: no. Errors: -EINVAL (also: no sync_file), -ENOENT (closed), -EOPNOTSUPP, -ENOMEM. Since: 0.1
 */
int unbind_fence_import_sync_file(unbind_device *device, int sync_file_fd, unbind_fence **out_fence);

/*
 * The memory of a buffer as a dma-buf: a descriptor, close-on-exec, for reading and
 * writing, the caller's to close.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (closed), -EOPNOTSUPP (also: the caller's own memory), -ENOMEM, -EMFILE,
 * -ENFILE. Since: 0.1
 */
int unbind_bo_export_dma_buf(unbind_bo *bo, int *out_fd);

/*
 * A buffer whose memory is a dma-buf's, of this or another device. The descriptor may be
 * closed after the call.
 *
 * Blocks: no. Errors: -EINVAL (also: no dma-buf), -EBADF, -ENOENT (closed), -EOPNOTSUPP, -ENOMEM. Since: 0.1
 */
int unbind_bo_import_dma_buf(unbind_device *device, int dma_buf_fd, unbind_bo **out_bo);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_INTEL_H */
