/* SPDX-License-Identifier: MIT */
/*
 * What lies where in an address space: ranges that do not overlap, in order. It
 * serves twice: as the driver's list of mappings, and as page tables, where each
 * range stands for its pages with equal attributes. Entries hold a reference to
 * their object and to their user fence.
 */
#ifndef MOCK_RANGE_MAP_H
#define MOCK_RANGE_MAP_H

#include "fence.h"
#include "gem.h"

enum range_flag { RANGE_NULL = 1, RANGE_READ_ONLY = 2 };

struct range {
    uint64_t start, end;       /* end is not part of it */
    struct gem_object *object; /* NULL: reads zero, writes nothing */
    uint64_t offset;           /* of start in the object */
    unsigned flags;
    struct fence *user_fence;  /* xe: the range may not change before this has signalled */
};

struct range_map {
    struct range *ranges;
    size_t count, capacity;
};

/* The index of the first range that ends after this address; count if none does. */
size_t range_map_from(const struct range_map *map, uint64_t address);
/* The range that holds this address, or NULL. */
const struct range *range_map_at(const struct range_map *map, uint64_t address);
/* Clears start..<end; ranges that reach over an end keep the rest. true if anything was there. */
bool range_map_clear(struct range_map *map, uint64_t start, uint64_t end);
/* Clears the range's place and enters it. */
void range_map_set(struct range_map *map, struct range range);
void range_map_free(struct range_map *map);

#endif
