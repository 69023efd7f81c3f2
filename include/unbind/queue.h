/* SPDX-License-Identifier: MIT */
/*
 * unbind_queue: runs jobs in order; queues run in parallel to each other (an
 * engine with its ring in i915, an exec queue in xe).
 *
 * A job is a list of commands that reach memory through the page tables and the
 * queue's TLB. The library delays the unbind of a VMA only for jobs that listed
 * it: a job that uses an address it did not list may find it gone, and faults.
 */
#ifndef UNBIND_QUEUE_H
#define UNBIND_QUEUE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Commands, with the members of struct unbind_command that each uses. */
#define UNBIND_COMMAND_FILL 0u  /* address, size (both multiples of 4), value: 32-bit pattern */
#define UNBIND_COMMAND_COPY 1u  /* address (destination), source, size: of any
                                   alignment; must not overlap */
#define UNBIND_COMMAND_STORE 2u /* address (multiple of 8), value: 64 bits written */
#define UNBIND_COMMAND_LOAD 3u  /* address (multiple of 8), result: receives 64 bits */
#define UNBIND_COMMAND_DELAY 4u /* value: nanoseconds that the queue is busy, beside the time
                                   that the cost model gives every command */
#define UNBIND_COMMAND_WAIT 5u  /* fence: the queue stops until it has signalled */
#define UNBIND_COMMAND_BATCH 6u /* address (multiple of 8): the engine runs the caller's own commands
                                   there, in the form that the GPU has them, until they end. With
                                   UNBIND_CAP_BATCH_BUFFERS alone; see below */

/* Members that a command does not use must be 0. */
struct unbind_command {
    uint32_t op;       /* UNBIND_COMMAND_* */
    uint32_t reserved; /* 0 */
    uint64_t address;  /* GPU virtual address that is written (LOAD: read) */
    uint64_t source;   /* COPY: GPU virtual address that is read */
    uint64_t size;     /* FILL, COPY: bytes, not 0 */
    uint64_t value;
    uint64_t *result;  /* LOAD: must stay valid until the job's fence has signalled */
    unbind_fence *fence;
};

/*
 * A BATCH is called: it ends with the GPU's own end of a batch (Intel:
 * MI_BATCH_BUFFER_END), after which the job's next command runs; it may jump, but
 * call no other batch. What it wrote is seen by the commands after it and, once the
 * job's fence has signalled, by everybody. The library does not look into it. It
 * reaches what the job lists, which has to have the batch itself, too: what it
 * touches beside that may be gone, and with i915 is never there. One that faults, is
 * no good, or goes on for longer than the driver allows ends the job with -EFAULT or
 * -EIO.
 */

/* How a job uses a VMA it lists. */
#define UNBIND_USE_READ (1u << 0)
#define UNBIND_USE_WRITE (1u << 1)

struct unbind_submit_vma {
    unbind_vma *vma;   /* of the queue's VM; bound, or its asynchronous bind under way */
    uint32_t use;      /* UNBIND_USE_*, at least one */
    uint32_t reserved; /* 0 */
};

struct unbind_submit {
    uint32_t struct_size;                   /* sizeof(struct unbind_submit) */
    uint32_t flags;                         /* 0 */
    const struct unbind_command *commands;  /* copied */
    const struct unbind_submit_vma *vmas;   /* what the commands use */
    unbind_fence *const *wait_fences;       /* all must signal before the job starts */
    uint32_t command_count;                 /* up to 65,536; 0 is a job that only waits */
    uint32_t vma_count;                     /* up to 65,536 */
    uint32_t wait_fence_count;              /* up to 65,536 */
    uint32_t reserved;                      /* 0 */
};
#define UNBIND_SUBMIT_INIT { sizeof(struct unbind_submit), 0, NULL, NULL, NULL, 0, 0, 0, 0 }

/*
 * Which engines of the GPU a queue's jobs run on, one of these. Those of the
 * software GPU are all alike. On an Intel GPU all but the copy engines lack FILL and
 * COPY: such a job's fence carries -EOPNOTSUPP. With i915 the copy engines of
 * graphics version 9 lack BATCH, as the driver lets no batch jump to another buffer
 * there.
 */
#define UNBIND_QUEUE_COPY 0u          /* any one of the copy engines */
#define UNBIND_QUEUE_RENDER 1u
#define UNBIND_QUEUE_COMPUTE 2u
#define UNBIND_QUEUE_VIDEO 3u         /* decoding and encoding */
#define UNBIND_QUEUE_VIDEO_ENHANCE 4u

/*
 * Makes a queue that runs jobs in an address space.
 *
 * flags       UNBIND_QUEUE_*
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (closed), -ENOMEM; -EOPNOTSUPP (the GPU has no such
 * engine); -EIO (lost) and others from a custom backend. Since: 0.1
 */
int unbind_queue_create(unbind_vm *vm, uint32_t flags, unbind_queue **out_queue);

/* Adds a reference and returns the same queue. Blocks: no. Since: 0.1 */
unbind_queue *unbind_queue_ref(unbind_queue *queue);

/* Drops a reference; submitted jobs still run. Blocks: no. Since: 0.1 */
void unbind_queue_unref(unbind_queue *queue);

/*
 * A number that names the queue in faults and dumps: unique in its device,
 * counted from 1. 0 for NULL.
 *
 * Blocks: no. Since: 0.1
 */
uint64_t unbind_queue_id(const unbind_queue *queue);

/*
 * Appends a job. It starts when the queue's earlier jobs have ended, its
 * wait_fences have signalled and the binds of its VMAs are done; its fence
 * signals when its last command has, with -EFAULT if a command faulted. An error
 * carried by a fence it waited for is carried on: the commands are skipped and
 * the job's fence has that error. The same goes for the fence of a WAIT command:
 * what ran before it stays, the rest is skipped. The job's fence is attached to
 * every VMA listed.
 *
 * out_fence   receives a reference to the job's fence; may be NULL
 *
 * Blocks: no. Errors: -EINVAL (also: a listed VMA is unbound or of another VM),
 * -E2BIG, -ENOENT (closed), -EAGAIN (the address space is suspended), -ENOMEM,
 * -EIO (the device is lost), -EOPNOTSUPP (BATCH without UNBIND_CAP_BATCH_BUFFERS).
 * Since: 0.1
 */
int unbind_queue_submit(unbind_queue *queue, const struct unbind_submit *submit,
                        unbind_fence **out_fence);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_QUEUE_H */
