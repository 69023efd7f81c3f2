/* SPDX-License-Identifier: MIT */
/*
 * unbind_range_allocator: who has which addresses, usable alone: for programs
 * that keep their own page tables, or bind through a driver of their own.
 *
 * Addresses come from zones. A range is reserved in one of them, and named by
 * its first address from then on. It is given back at once, or when a fence has
 * signalled (unbind_range_allocator_release_after): what a list of zombies does
 * in most drivers, without a sweep, and whatever the order in which the fences
 * signal. With UNBIND_RANGE_REUSE it may even be reserved again at once, and
 * its new owner is given the fence to wait for, and no other. A range that is
 * reused again and again while nothing signals costs as much each time as it has
 * former owners whose fences have not signalled: all of them go into its fence.
 *
 * What releasing will need is taken when a range is reserved: releasing never
 * allocates, never waits, and cannot fail for a range that is reserved.
 *
 * Fences belong to a device, and so an allocator does, too. It uses nothing of
 * a GPU: without one, open the software device with the manual executor, which
 * starts no thread.
 *
 * All functions may be called from any thread at any time, and from callbacks.
 */
#ifndef UNBIND_RANGE_ALLOCATOR_H
#define UNBIND_RANGE_ALLOCATOR_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* One zone: addresses start to start + size - 1. */
struct unbind_range_zone {
    uint64_t start;     /* a multiple of alignment */
    uint64_t size;      /* not 0, a multiple of alignment; start + size at most 2^48 */
    uint64_t alignment; /* of all addresses and sizes in it: a power of two, at least 4096; 0: 4096 */
    uint64_t reserved;  /* 0 */
};

/* The most zones that an allocator may have. */
#define UNBIND_RANGE_ZONE_LIMIT 64u

/*
 * Makes an allocator in which everything is free.
 *
 * device      an open device; the allocator keeps a reference
 * zones       which do not overlap; known by their index in this list
 * zone_count  1 to UNBIND_RANGE_ZONE_LIMIT
 *
 * Blocks: no. Errors: -EINVAL, -ENOENT (device closed), -ENOMEM. Since: 0.1
 */
int unbind_range_allocator_create(unbind_device *device, const struct unbind_range_zone *zones,
                                  uint32_t zone_count, unbind_range_allocator **out_allocator);

/* Adds a reference and returns the same allocator. Blocks: no. Since: 0.1 */
unbind_range_allocator *unbind_range_allocator_ref(unbind_range_allocator *allocator);

/*
 * Drops a reference. With the last one everything is forgotten: ranges that are
 * reserved, and those that wait for a fence, which is let go of and need never
 * signal.
 *
 * Blocks: no. Since: 0.1
 */
void unbind_range_allocator_unref(unbind_range_allocator *allocator);

/* Where in the zone: unbind_range_request.placement. */
#define UNBIND_RANGE_BEST 0u /* in the smallest hole that fits, more or less */
#define UNBIND_RANGE_LOW 1u  /* at the lowest address that fits */
#define UNBIND_RANGE_HIGH 2u /* at the highest address that fits */

/* Flags of unbind_range_request. */
#define UNBIND_RANGE_FIXED (1u << 0) /* at `address`, and nowhere else */

struct unbind_range_request {
    uint32_t struct_size; /* sizeof(struct unbind_range_request) */
    uint32_t flags;       /* UNBIND_RANGE_FIXED */
    uint64_t size;        /* not 0, a multiple of the zone's alignment */
    uint64_t alignment;   /* of the address: 0, or a power of two; the zone's at least */
    uint64_t address;     /* with UNBIND_RANGE_FIXED, a multiple of both alignments; else 0 */
    uint64_t tag;         /* the caller's own, given back by unbind_range_allocator_lookup */
    uint32_t zone;        /* index of the zone */
    uint32_t placement;   /* UNBIND_RANGE_BEST, _LOW or _HIGH; no matter with UNBIND_RANGE_FIXED */
};
#define UNBIND_RANGE_REQUEST_INIT { sizeof(struct unbind_range_request), 0, 0, 0, 0, 0, 0, 0 }

/*
 * Reserves a range.
 *
 * out_address receives its first address
 * out_fence   receives a fence to wait for before the range is used, or NULL if
 *             there is nothing to wait for. It signals when all that former owners
 *             of any part of the range released with UNBIND_RANGE_REUSE is free. May
 *             be NULL where nobody uses that flag
 *
 * When it gives -ENOSPC, ranges that wait for a fence may be in the way:
 * unbind_range_allocator_get_fence gives what to wait for before trying again.
 *
 * Blocks: no. Errors: -EINVAL (also: no such zone), -ENODEV (the fixed range is not
 * inside the zone), -ENOSPC (no room, or the fixed range is taken), -EBUSY (there is
 * a fence to wait for, and out_fence is NULL), -ENOENT (device closed), -ENOMEM.
 * Since: 0.1
 */
int unbind_range_allocator_reserve(unbind_range_allocator *allocator, const struct unbind_range_request *request,
                                   uint64_t *out_address, unbind_fence **out_fence);

/*
 * Gives a range back: it can be reserved again at once. On a closed device, too.
 *
 * address     the first of a range that is reserved
 *
 * Blocks: no. Errors: -EINVAL (no reserved range begins there). Since: 0.1
 */
int unbind_range_allocator_release(unbind_range_allocator *allocator, uint64_t address);

/* Flags of unbind_range_allocator_release_after. */
#define UNBIND_RANGE_REUSE (1u << 0) /* others may reserve it at once, and are given the fence */

/*
 * Gives a range back once a fence has signalled, whatever error it carries; at
 * once if it has. Until then the range is nobody's: it can be released no
 * more, and without UNBIND_RANGE_REUSE not be reserved either. Allocates nothing.
 *
 * address     the first of a range that is reserved
 * fence       of the same device; a reference is kept until a call to the
 *             allocator finds that it has signalled
 * flags       UNBIND_RANGE_REUSE
 *
 * Blocks: no. Errors: -EINVAL (also: no reserved range begins there). Since: 0.1
 */
int unbind_range_allocator_release_after(unbind_range_allocator *allocator, uint64_t address,
                                         unbind_fence *fence, uint32_t flags);

/* What an address is: unbind_range_info.state. */
#define UNBIND_RANGE_FREE 0u    /* nobody's: can be reserved */
#define UNBIND_RANGE_USED 1u    /* reserved */
#define UNBIND_RANGE_WAITING 2u /* released, not free before a fence has signalled */

struct unbind_range_info {
    uint32_t struct_size; /* sizeof(struct unbind_range_info) */
    uint32_t state;       /* UNBIND_RANGE_FREE, _USED or _WAITING */
    uint64_t start;       /* of the range, or of all that is free around the address */
    uint64_t size;
    uint64_t tag;         /* as it was reserved with; 0 if it is free */
    uint32_t zone;        /* index of the zone */
    uint32_t fences;      /* how many that have not signalled concern any part of it */
};
#define UNBIND_RANGE_INFO_INIT { sizeof(struct unbind_range_info), 0, 0, 0, 0, 0, 0 }

/*
 * Says what is at an address.
 *
 * Blocks: no. Errors: -EINVAL, -ENODEV (in none of the zones). Since: 0.1
 */
int unbind_range_allocator_lookup(unbind_range_allocator *allocator, uint64_t address,
                                  struct unbind_range_info *out_info);

/*
 * Gives one fence for all that have not signalled and concern any part of a range,
 * made as by unbind_fence_merge; if there are none, that of
 * unbind_fence_get_stub. Then what now waits there is free.
 *
 * start, size multiples of 4096, size not 0
 *
 * Blocks: no. Errors: -EINVAL, -ENODEV (beyond 2^48), -ENOENT (device closed),
 * -ENOMEM. Since: 0.1
 */
int unbind_range_allocator_get_fence(unbind_range_allocator *allocator, uint64_t start, uint64_t size,
                                     unbind_fence **out_fence);

/* For unbind_range_allocator_get_stats: the sums over all zones. */
#define UNBIND_RANGE_ALL_ZONES UINT32_MAX

/* size = used_bytes + waiting_bytes + free_bytes. */
struct unbind_range_stats {
    uint32_t struct_size;   /* sizeof(struct unbind_range_stats) */
    uint32_t reserved;
    uint64_t size;          /* of the zone */
    uint64_t used_bytes;    /* reserved */
    uint64_t waiting_bytes; /* released, not free before a fence has signalled */
    uint64_t free_bytes;
    uint64_t used;          /* ranges that are reserved */
    uint64_t waiting;       /* ranges that wait for a fence */
    uint64_t reusable;      /* fences that former owners of what is free or reserved again left to wait for */
};
#define UNBIND_RANGE_STATS_INIT { sizeof(struct unbind_range_stats), 0, 0, 0, 0, 0, 0, 0, 0 }

/*
 * How much of a zone is used, waits and is free.
 *
 * zone        index of the zone, or UNBIND_RANGE_ALL_ZONES
 *
 * Blocks: no. Errors: -EINVAL (also: no such zone). Since: 0.1
 */
int unbind_range_allocator_get_stats(unbind_range_allocator *allocator, uint32_t zone,
                                     struct unbind_range_stats *out_stats);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_RANGE_ALLOCATOR_H */
