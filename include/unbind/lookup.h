/* SPDX-License-Identifier: MIT */
/*
 * Looking at an address of an address space: what is bound there now, which
 * pending unbinds still cover it, what happened there lately; and being told
 * of every bind and unbind.
 */
#ifndef UNBIND_LOOKUP_H
#define UNBIND_LOOKUP_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A byte that lies in no buffer: padding of a view. */
#define UNBIND_OFFSET_NONE UINT64_MAX

/*
 * The steps of a mapping's life. A bind or unbind that is over within its call
 * leaves only its last step.
 */
#define UNBIND_OPERATION_BIND_SCHEDULED 0u
#define UNBIND_OPERATION_BOUND 1u            /* its page-table entries are written */
#define UNBIND_OPERATION_UNBIND_SCHEDULED 2u
#define UNBIND_OPERATION_UNBIND_STARTED 3u   /* all that it awaited is done */
#define UNBIND_OPERATION_UNBIND_COMPLETED 4u /* entries cleared, TLB invalidated, holds gone */

/*
 * One record of an address space's history, which keeps the last ones and
 * forgets the older: struct unbind_vm_options, history_records.
 */
struct unbind_operation {
    uint32_t type;     /* UNBIND_OPERATION_* */
    uint32_t reserved;
    uint64_t time_ns;  /* when; of a bind that was over within its call, and of the beginning of an
                          unbind, it may be some milliseconds back */
    uint64_t start;    /* of the mapping */
    uint64_t size;
    uint64_t bo_id;    /* unbind_bo_id of its buffer */
};

/* What a pending unbind still awaits. */
#define UNBIND_AWAITS_WORK 0u     /* GPU work that uses the binding, its own asynchronous bind, or
                                     what its VM's policy puts before it */
#define UNBIND_AWAITS_CLEARING 1u /* nothing any more: its entries are being cleared and the TLB
                                     invalidated, or it is about to be its turn */
#define UNBIND_AWAITS_HOLDS 2u    /* the end of holds; entries and TLB are done */

/*
 * An unbind that is scheduled and not finished: a bind that overlaps it waits.
 * One whose entries were cleared within its call, and which only a hold keeps
 * from signalling, is none: nothing waits for it.
 */
struct unbind_pending_unbind {
    uint32_t awaits;  /* UNBIND_AWAITS_* */
    uint32_t count;   /* so many fences (WORK) or holds (HOLDS) */
    uint64_t order;   /* unbinds of a VM that were scheduled later have a higher one */
    uint64_t start;   /* of the mapping */
    uint64_t size;
    uint64_t bo_id;   /* unbind_bo_id of its buffer */
};

/* Flags of struct unbind_lookup. */
#define UNBIND_LOOKUP_READ_ONLY (1u << 0) /* GPU writes to the mapping fault */
#define UNBIND_LOOKUP_LOCAL (1u << 1)     /* the buffer is in the device's local memory */
#define UNBIND_LOOKUP_VIEW (1u << 2)      /* a view: not the whole buffer as it is */
#define UNBIND_LOOKUP_GUARD (1u << 3)     /* no mapping, but kept free as a guard or padding of one */
#define UNBIND_LOOKUP_BATCH (1u << 4)     /* made by a batch (batch.h), as a whole or part of what one made */
#define UNBIND_LOOKUP_NULL (1u << 5)      /* without memory, UNBIND_OP_MAP_NULL: state says that it is
                                             there, bo_id is 0 */

/*
 * In: the arrays and their capacities. Out: all else. Of a mapping is told only
 * if there is one: state is UNBIND_VMA_UNBOUND otherwise, and the rest 0.
 */
struct unbind_lookup {
    uint32_t struct_size;        /* sizeof(struct unbind_lookup) */
    uint32_t flags;              /* out: UNBIND_LOOKUP_* */
    struct unbind_pending_unbind *unbinds; /* in: receives them, in no order that means anything;
                                    NULL if unbind_capacity is 0 */
    struct unbind_operation *operations;   /* in: receives them, newest first; NULL if
                                    operation_capacity is 0 */
    uint32_t unbind_capacity;    /* in */
    uint32_t operation_capacity; /* in; 0: the history is not read, which takes much longer than all
                                    the rest */
    uint32_t unbind_count;       /* out: pending unbinds that cover the address, also those for which
                                    there was no room */
    uint32_t operation_count;    /* out: remembered operations that touched the address, also those
                                    for which there was no room */
    uint32_t state;              /* out: UNBIND_VMA_UNBOUND, _BINDING, _BOUND */
    uint32_t pins;               /* out: of the mapping */
    uint32_t holds;              /* out: of the mapping */
    uint32_t reserved;
    uint64_t start;              /* out: of the mapping, without guards */
    uint64_t size;
    uint64_t bo_id;              /* out: unbind_bo_id of its buffer */
    uint64_t bo_offset;          /* out: byte of the buffer at the address; UNBIND_OFFSET_NONE in the
                                    padding of a view */
    uint64_t event_count;        /* out: binding events of the VM made so far: the mapping is what
                                    the BIND and UNBIND events up to that number say; 0 without a
                                    callback for them */
};
#define UNBIND_LOOKUP_INIT \
    { sizeof(struct unbind_lookup), 0, NULL, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/*
 * Tells about an address: the mapping, the pending unbinds that cover it, and the
 * last operations that touched it. Mapping and unbinds are of one moment; the
 * operations may include one that came just after it. An address outside the VM
 * has nothing; a closed VM has its history still, and what is pending.
 *
 * address     any byte
 *
 * Blocks: no. Errors: -EINVAL (also: no array for a capacity), -E2BIG. Since: 0.1
 */
int unbind_vm_lookup(unbind_vm *vm, uint64_t address, struct unbind_lookup *lookup);

/* Types of binding events. */
#define UNBIND_EVENT_BIND 0u        /* the range now belongs to the buffer */
#define UNBIND_EVENT_BIND_DONE 1u   /* of a PENDING bind: it has ended, error says how */
#define UNBIND_EVENT_UNBIND 2u      /* the range was taken from the buffer, others may be bound there */
#define UNBIND_EVENT_UNBIND_DONE 3u /* of a PENDING unbind: it has finished */

/* Flags of binding events. */
#define UNBIND_EVENT_PENDING (1u << 0)  /* BIND: its entries are written later, when what is in its
                                           way has gone. UNBIND: they are there until the GPU work
                                           is done. A DONE event follows, once */
#define UNBIND_EVENT_INTERNAL (1u << 1) /* nobody asked for it: a VMA makes way (eviction), or moves with
                                           its buffer or by a pin; a mapping of which a batch takes a
                                           part becomes several: it is unbound, and they are bound,
                                           those to be unbound too, and nothing touches the entries
                                           of what stays; neighbours that become one likewise */

struct unbind_binding_event {
    uint32_t struct_size; /* sizeof in the library: do not copy more than this */
    uint32_t type;        /* UNBIND_EVENT_BIND, _BIND_DONE, _UNBIND, _UNBIND_DONE */
    uint32_t flags;       /* UNBIND_EVENT_PENDING, _INTERNAL */
    int32_t error;        /* BIND_DONE: 0, or why the entries were not written */
    uint64_t time_ns;     /* when it happened, on the device's clock; never before the event before */
    uint64_t vm_id;       /* unbind_vm_id of the address space */
    uint64_t number;      /* of the events of this VM, from 1, without a gap */
    uint64_t address;     /* of the mapping, without guards */
    uint64_t size;
    uint64_t bo_id;       /* unbind_bo_id of its buffer; 0: a null mapping */
};

/*
 * Receives the binding events of all address spaces of a device: struct
 * unbind_device_options, binding. (VK_EXT_device_address_binding_report has this
 * shape.)
 *
 * Called by a piece of the device's own work, with no lock held: on a worker of
 * the pool, or where the manual or simulated executor runs work, which is also
 * within calls that wait or, on the simulated one, take time. The events of one VM come one by one
 * in the order of their numbers, which is the order in which the ranges changed
 * hands; those of different VMs may come at the same time on different
 * threads. A DONE event belongs to the oldest pending bind (or unbind) of that
 * range and buffer, and gets its number before the fence of that bind (or unbind)
 * signals. All have come when unbind_device_close returns.
 *
 * The struct is valid during the call only. May call every function that is
 * marked "Blocks: no". With this callback a bind allocates a little more, and
 * the simulated executor has other work to choose from: its schedule is
 * another than without.
 */
typedef void (*unbind_binding_fn)(void *user_data, const struct unbind_binding_event *event);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_LOOKUP_H */
