/* SPDX-License-Identifier: MIT */
/*
 * The copy commands: XY_SRC_COPY_BLT, XY_FAST_COPY_BLT (linear, 32 bits a pixel)
 * and MEM_COPY, each on the platforms that have it, on copy engines only.
 */
#include "batch.h"

enum { COPY = 1 };

struct rows {
    uint64_t source, destination;
    uint64_t source_pitch, destination_pitch;
    uint64_t width; /* bytes */
    uint64_t count;
};

static uint64_t address_of(const uint32_t *dwords) { return dwords[0] | (uint64_t)dwords[1] << 32; }

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

/* XY_SRC_COPY_BLT and XY_FAST_COPY_BLT have the same layout. */
static enum batch_status rectangle(struct batch *batch, const uint32_t *dwords) {
    uint32_t x1 = dwords[2] & 0xffff, y1 = dwords[2] >> 16, x2 = dwords[3] & 0xffff, y2 = dwords[3] >> 16;
    uint32_t source_x = dwords[6] & 0xffff, source_y = dwords[6] >> 16;
    if ((dwords[1] >> 24 & 7) != 3 || x2 <= x1 || y2 <= y1) return BATCH_HANG;
    struct rows rows = {
        .source_pitch = dwords[7] & 0xffff,
        .destination_pitch = dwords[1] & 0xffff,
        .width = (uint64_t)(x2 - x1) * 4,
        .count = y2 - y1,
    };
    rows.destination = address_of(&dwords[4]) + y1 * rows.destination_pitch + x1 * 4ull;
    rows.source = address_of(&dwords[8]) + source_y * rows.source_pitch + source_x * 4ull;
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

enum batch_status batch_copy(struct batch *batch, const uint32_t *dwords, unsigned count) {
    if (batch->class != COPY || count != 10) return BATCH_HANG;
    switch (dwords[0] >> 22 & 0x7f) {
    case 0x53: return batch->version < 1270 && dwords[1] >> 16 == 0x03cc ? rectangle(batch, dwords) : BATCH_HANG;
    case 0x42: return rectangle(batch, dwords);
    case 0x5a: return batch->version >= 2000 ? mem_copy(batch, dwords) : BATCH_HANG;
    default: return BATCH_HANG;
    }
}
