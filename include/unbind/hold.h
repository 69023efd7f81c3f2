/* SPDX-License-Identifier: MIT */
/*
 * unbind_hold: keeps what is bound at an address as it is, to be looked at (the
 * kernel holds a vma resource for GPU error capture).
 *
 * As long as a binding is held its memory stays, and so does its unbind: if the
 * binding is unbound meanwhile, the unbind fence signals only after the last
 * hold has gone. The range and the VMA are free for others as always; a bind
 * that overlaps waits for the held unbind, unless that was immediate, in which
 * case the entries were cleared before anybody could bind there.
 *
 * A hold is taken for a moment: it delays whoever waits for the unbind.
 */
#ifndef UNBIND_HOLD_H
#define UNBIND_HOLD_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of struct unbind_hold_info. */
#define UNBIND_HOLD_UNBINDING (1u << 0) /* the unbind has been scheduled, its fence has not signalled */
#define UNBIND_HOLD_LOCAL (1u << 1)     /* the memory is in the device's local memory */
#define UNBIND_HOLD_READ_ONLY (1u << 2) /* bound for reading */
#define UNBIND_HOLD_BROKEN (1u << 3)    /* the device was closed: the memory can still be read,
                                           the unbind fence has signalled */

struct unbind_hold_info {
    uint32_t struct_size; /* sizeof(struct unbind_hold_info) */
    uint32_t flags;       /* UNBIND_HOLD_* */
    uint64_t address;     /* GPU virtual address of the binding */
    uint64_t size;        /* bytes */
    uint64_t bo_id;       /* unbind_bo_id of the buffer */
};
#define UNBIND_HOLD_INFO_INIT { sizeof(struct unbind_hold_info), 0, 0, 0, 0 }

/*
 * Holds the present binding of a VMA.
 *
 * Blocks: no. Errors: -EINVAL (also: not bound and no bind under way), -ENOENT
 * (the device is closed), -ENOMEM. Since: 0.1
 */
int unbind_vma_hold(unbind_vma *vma, unbind_hold **out_hold);

/*
 * Holds what the GPU finds at an address: the binding there, or while its
 * successor still waits for it, the one whose unbind is pending. For what a
 * fault callback is told, say.
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (nothing is bound there and no unbind is
 * pending, or the device is closed), -ENOMEM. Since: 0.1
 */
int unbind_vm_hold(unbind_vm *vm, uint64_t address, unbind_hold **out_hold);

/* Adds a reference and returns the same hold. Blocks: no. Since: 0.1 */
unbind_hold *unbind_hold_ref(unbind_hold *hold);

/*
 * Drops a reference; the last one ends the hold. If it was the last hold of a
 * binding whose unbind had come to its end, that completes here: the unbind
 * fence signals and its callbacks run before this returns.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_hold_unref(unbind_hold *hold);

/*
 * Fills info (struct_size set by the caller).
 *
 * Blocks: no. Errors: -EINVAL, -E2BIG. Since: 0.1
 */
int unbind_hold_get_info(unbind_hold *hold, struct unbind_hold_info *info);

/*
 * Copies memory of the held binding. The GPU may be writing to it meanwhile.
 *
 * offset      bytes from the binding's address
 * buffer      receives size bytes
 *
 * Blocks: no. Errors: -EINVAL (also: the part lies outside the binding).
 * Since: 0.1
 */
int unbind_hold_read(unbind_hold *hold, uint64_t offset, void *buffer, uint64_t size);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_HOLD_H */
