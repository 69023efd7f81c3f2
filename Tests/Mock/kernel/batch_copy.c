/* SPDX-License-Identifier: MIT */
/*
 * The commands of the copy engines, each on the platforms that have it:
 * XY_SRC_COPY_BLT, XY_FAST_COPY_BLT, XY_BLOCK_COPY_BLT, MEM_COPY; XY_COLOR_BLT,
 * XY_FAST_COLOR_BLT, MEM_SET. Surfaces are linear. What the hardware leaves
 * undefined (bases that are not aligned, pitches that are odd) hangs.
 */
#include "batch.h"

enum { COPY = 1 };

struct rows {
    uint64_t source, destination;
    uint64_t source_pitch, destination_pitch;
    uint64_t width; /* bytes */
    uint64_t count;
};

/* What is written again and again. */
struct pattern {
    uint8_t bytes[16];
    unsigned size; /* a power of two */
};

static uint64_t address_of(const uint32_t *dwords) { return dwords[0] | (uint64_t)dwords[1] << 32; }
static uint32_t x_of(uint32_t corner) { return corner & 0xffff; }
static uint32_t y_of(uint32_t corner) { return corner >> 16; }

static enum batch_status copy(struct space *space, const struct rows *rows) {
    uint8_t bytes[PAGE];
    for (uint64_t row = 0; row < rows->count; row++) {
        uint64_t from = rows->source + row * rows->source_pitch, to = rows->destination + row * rows->destination_pitch;
        for (uint64_t left = rows->width; left;) {
            size_t part = left < sizeof bytes ? (size_t)left : sizeof bytes;
            if (!space_read(space, from, bytes, part) || !space_write(space, to, bytes, part)) return BATCH_FAULT;
            from += part, to += part, left -= part;
        }
    }
    return BATCH_DONE;
}

/* Writes the pattern to the destinations of the rows. */
static enum batch_status fill(struct space *space, const struct rows *rows, const struct pattern *pattern) {
    uint8_t bytes[PAGE];
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = pattern->bytes[i % pattern->size];
    for (uint64_t row = 0; row < rows->count; row++) {
        uint64_t to = rows->destination + row * rows->destination_pitch;
        for (uint64_t left = rows->width; left;) {
            size_t part = left < sizeof bytes ? (size_t)left : sizeof bytes;
            if (!space_write(space, to, bytes, part)) return BATCH_FAULT;
            to += part, left -= part;
        }
    }
    return BATCH_DONE;
}

/* The rectangle that two corners of the destination give; false: it is none. */
static bool rectangle(struct rows *rows, uint64_t base, uint32_t from, uint32_t until, uint32_t pitch, unsigned pixel) {
    if (x_of(until) <= x_of(from) || y_of(until) <= y_of(from) || pitch == 0) return false;
    rows->destination = base + (uint64_t)y_of(from) * pitch + (uint64_t)x_of(from) * pixel;
    rows->destination_pitch = pitch;
    rows->width = (uint64_t)(x_of(until) - x_of(from)) * pixel;
    rows->count = y_of(until) - y_of(from);
    return true;
}

static void source(struct rows *rows, uint64_t base, uint32_t from, uint32_t pitch, unsigned pixel) {
    rows->source = base + (uint64_t)y_of(from) * pitch + (uint64_t)x_of(from) * pixel;
    rows->source_pitch = pitch;
}

/* XY_SRC_COPY_BLT and XY_FAST_COPY_BLT have the same layout. */
static enum batch_status old_copy(struct batch *batch, const uint32_t *dwords, bool fast) {
    static const unsigned sizes[] = {1, 2, 2, 4}, fast_sizes[] = {1, 2, 0, 4, 8, 16, 0, 0};
    unsigned pixel = fast ? fast_sizes[dwords[1] >> 24 & 7] : sizes[dwords[1] >> 24 & 3];
    uint32_t pitch = dwords[1] & 0xffff, source_pitch = dwords[7] & 0xffff;
    uint64_t bases = address_of(&dwords[4]) | address_of(&dwords[8]);
    if (pixel == 0 || bases % 64 || (pitch | source_pitch) % (fast ? 16 : 4)) return BATCH_HANG;
    if (!fast && (dwords[1] >> 16 & 0xff) != 0xcc) return BATCH_HANG;
    if (fast && (x_of(dwords[2]) | x_of(dwords[6])) * pixel % 16) return BATCH_HANG;
    struct rows rows;
    if (!rectangle(&rows, address_of(&dwords[4]), dwords[2], dwords[3], pitch, pixel)) return BATCH_HANG;
    source(&rows, address_of(&dwords[8]), dwords[6], source_pitch, pixel);
    return copy(batch->space, &rows);
}

/* Whether a surface's description holds the rectangle that ends here. */
static bool holds(uint32_t surface, uint32_t x, uint32_t y) {
    return surface >> 29 == 1 && (surface >> 14 & 0x3fff) + 1 >= x && (surface & 0x3fff) + 1 >= y;
}

static enum batch_status block_copy(struct batch *batch, const uint32_t *dwords) {
    static const unsigned sizes[] = {1, 2, 4, 8, 0, 16, 0, 0};
    const uint32_t special = 3u << 30 | 1u << 29 | 1u << 28 | 7u << 18; // tiles, compression
    unsigned pixel = sizes[dwords[0] >> 19 & 7];
    if (pixel == 0 || ((dwords[1] | dwords[8]) & special)) return BATCH_HANG;
    struct rows rows;
    if (!rectangle(&rows, address_of(&dwords[4]), dwords[2], dwords[3], (dwords[1] & 0x3ffff) + 1, pixel))
        return BATCH_HANG;
    source(&rows, address_of(&dwords[9]), dwords[7], (dwords[8] & 0x3ffff) + 1, pixel);
    uint32_t x = x_of(dwords[3]) - x_of(dwords[2]) + x_of(dwords[7]);
    uint32_t y = y_of(dwords[3]) - y_of(dwords[2]) + y_of(dwords[7]);
    if (!holds(dwords[16], x_of(dwords[3]), y_of(dwords[3])) || !holds(dwords[19], x, y)) return BATCH_HANG;
    return copy(batch->space, &rows);
}

/* Linear: the width alone counts. Matrix: rows, whose pitches are bytes. Page mode: the width is in 256 bytes. */
static enum batch_status mem_copy(struct batch *batch, const uint32_t *dwords) {
    bool matrix = dwords[0] & 1u << 17, pages = dwords[0] & 1u << 19;
    struct rows rows = {
        .source = address_of(&dwords[5]),
        .destination = address_of(&dwords[7]),
        .source_pitch = (dwords[3] & 0x3ffff) + 1ull,
        .destination_pitch = (dwords[4] & 0x3ffff) + 1ull,
        .width = ((dwords[1] & 0xffffff) + 1ull) * (pages ? 256 : 1),
        .count = matrix ? (dwords[2] & 0x3ffff) + 1ull : 1,
    };
    return copy(batch->space, &rows);
}

static enum batch_status mem_set(struct batch *batch, const uint32_t *dwords) {
    bool matrix = dwords[0] & 1u << 17;
    struct rows rows = {
        .destination = address_of(&dwords[4]),
        .destination_pitch = (dwords[3] & 0x3ffff) + 1ull,
        .width = (dwords[1] & 0xffffff) + 1ull,
        .count = matrix ? (dwords[2] & 0x3ffff) + 1ull : 1,
    };
    struct pattern pattern = {.bytes = {(uint8_t)(dwords[6] >> 24)}, .size = 1};
    return fill(batch->space, &rows, &pattern);
}

static enum batch_status old_color(struct batch *batch, const uint32_t *dwords) {
    uint32_t pitch = dwords[1] & 0xffff;
    struct pattern pattern = {.size = 4};
    struct rows rows;
    memcpy(pattern.bytes, &dwords[6], 4);
    if (dwords[1] >> 16 != 0x03f0 || pitch % 4 || address_of(&dwords[4]) % 64) return BATCH_HANG;
    if (!rectangle(&rows, address_of(&dwords[4]), dwords[2], dwords[3], pitch, 4)) return BATCH_HANG;
    return fill(batch->space, &rows, &pattern);
}

/* The short form ends with the colour, the long one with the surface. */
static enum batch_status fast_color(struct batch *batch, const uint32_t *dwords, unsigned count) {
    static const unsigned sizes[] = {1, 2, 4, 8, 0, 16, 0, 0};
    struct pattern pattern = {.size = sizes[dwords[0] >> 19 & 7]};
    struct rows rows;
    if (pattern.size == 0 || dwords[1] >> 30) return BATCH_HANG;
    memcpy(pattern.bytes, &dwords[7], sizeof pattern.bytes);
    if (!rectangle(&rows, address_of(&dwords[4]), dwords[2], dwords[3], (dwords[1] & 0x3ffff) + 1, pattern.size))
        return BATCH_HANG;
    // The kernel itself leaves it out.
    if (count == 16 && dwords[13] && !holds(dwords[13], x_of(dwords[3]), y_of(dwords[3]))) return BATCH_HANG;
    return fill(batch->space, &rows, &pattern);
}

enum batch_status batch_copy(struct batch *batch, const uint32_t *dwords, unsigned count) {
    unsigned version = batch->version;
    bool bytes = version >= 2000 || version == 1260, old = version < 1270 && !bytes;
    if (batch->class != COPY) return BATCH_HANG;
    switch ((dwords[0] >> 22 & 0x7f) << 8 | count) {
    case 0x530a: return old ? old_copy(batch, dwords, false) : BATCH_HANG;
    case 0x420a: return version >= 900 ? old_copy(batch, dwords, true) : BATCH_HANG;
    case 0x4116: return version >= 1255 ? block_copy(batch, dwords) : BATCH_HANG;
    case 0x5a0a: return bytes ? mem_copy(batch, dwords) : BATCH_HANG;
    case 0x5b07: return bytes ? mem_set(batch, dwords) : BATCH_HANG;
    case 0x5007: return old ? old_color(batch, dwords) : BATCH_HANG;
    case 0x440b: return version >= 1200 && version < 1250 ? fast_color(batch, dwords, count) : BATCH_HANG;
    case 0x4410: return version >= 1250 ? fast_color(batch, dwords, count) : BATCH_HANG;
    default: return BATCH_HANG;
    }
}
