/* SPDX-License-Identifier: MIT */
#include "range_map.h"

size_t range_map_from(const struct range_map *map, uint64_t address) {
    size_t low = 0, high = map->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (map->ranges[middle].end > address) high = middle;
        else low = middle + 1;
    }
    return low;
}

const struct range *range_map_at(const struct range_map *map, uint64_t address) {
    size_t i = range_map_from(map, address);
    return i < map->count && map->ranges[i].start <= address ? &map->ranges[i] : NULL;
}

static void hold(const struct range *range) {
    if (range->object) gem_get(range->object);
    if (range->user_fence) fence_get(range->user_fence);
}

static void let_go(const struct range *range) {
    gem_put(range->object);
    fence_put(range->user_fence);
}

/* Makes room for one more at index i. */
static void open_gap(struct range_map *map, size_t i) {
    if (map->count == map->capacity) {
        map->capacity = map->capacity ? map->capacity * 2 : 16;
        map->ranges = realloc(map->ranges, map->capacity * sizeof *map->ranges);
        if (!map->ranges) abort();
    }
    memmove(&map->ranges[i + 1], &map->ranges[i], (map->count - i) * sizeof *map->ranges);
    map->count++;
}

bool range_map_clear(struct range_map *map, uint64_t start, uint64_t end) {
    size_t i = range_map_from(map, start);
    if (i == map->count || map->ranges[i].start >= end) return false;
    if (map->ranges[i].start < start && map->ranges[i].end > end) {
        // A hole in one range: two are left.
        open_gap(map, i);
        struct range *before = &map->ranges[i], *after = &map->ranges[i + 1];
        hold(before);
        before->end = start;
        after->offset += end - after->start;
        after->start = end;
        return true;
    }
    if (map->ranges[i].start < start) map->ranges[i++].end = start;
    size_t first = i;
    while (i < map->count && map->ranges[i].end <= end) let_go(&map->ranges[i++]);
    if (i < map->count && map->ranges[i].start < end) {
        map->ranges[i].offset += end - map->ranges[i].start;
        map->ranges[i].start = end;
    }
    memmove(&map->ranges[first], &map->ranges[i], (map->count - i) * sizeof *map->ranges);
    map->count -= i - first;
    return true;
}

void range_map_set(struct range_map *map, struct range range) {
    hold(&range);
    range_map_clear(map, range.start, range.end);
    size_t i = range_map_from(map, range.start);
    open_gap(map, i);
    map->ranges[i] = range;
}

void range_map_free(struct range_map *map) {
    for (size_t i = 0; i < map->count; i++) let_go(&map->ranges[i]);
    free(map->ranges);
    *map = (struct range_map){0};
}
