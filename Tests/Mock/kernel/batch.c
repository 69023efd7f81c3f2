/* SPDX-License-Identifier: MIT */
#include "batch.h"

/* Commands in one go, before other work gets its turn. */
#define BUDGET 20000u
#define MOST_DWORDS 512u

enum { RENDER, COPY, VIDEO, ENHANCE, COMPUTE };

static uint64_t address_of(const uint32_t *dwords) { return dwords[0] | (uint64_t)dwords[1] << 32; }

static enum batch_status hang(const struct batch *batch, const char *why, uint32_t header) {
    log_line("hang vm=%u va=0x%llx %s 0x%08x", batch->space->id, (unsigned long long)batch->next, why, header);
    return BATCH_HANG;
}

static enum batch_status stored(bool good) { return good ? BATCH_DONE : BATCH_FAULT; }

static bool compare(unsigned operation, uint32_t memory, uint32_t value) {
    switch (operation) {
    case 0: return memory > value;
    case 1: return memory >= value;
    case 2: return memory < value;
    case 3: return memory <= value;
    case 4: return memory == value;
    default: return memory != value;
    }
}

static enum batch_status semaphore(struct batch *batch, const uint32_t *dwords) {
    uint32_t memory;
    if (dwords[0] & 1u << 22) return hang(batch, "global address", dwords[0]);
    if (!space_read(batch->space, address_of(&dwords[2]), &memory, sizeof memory)) return BATCH_FAULT;
    return compare(dwords[0] >> 12 & 7, memory, dwords[1]) ? BATCH_DONE : BATCH_BLOCKED;
}

/* The write that MI_FLUSH_DW and PIPE_CONTROL may end with; kind 0: none, 1: the immediate, 3: a time stamp. */
static enum batch_status post_write(struct batch *batch, unsigned kind, uint64_t address, const uint32_t *value,
                                    size_t size) {
    uint64_t now = monotonic_ns();
    if (kind == 0) return BATCH_DONE;
    if (kind == 3) return stored(space_write(batch->space, address & ~7ull, &now, sizeof now));
    return stored(space_write(batch->space, address & ~7ull, value, size));
}

static enum batch_status flush_dw(struct batch *batch, const uint32_t *dwords, unsigned count) {
    if (batch->class == RENDER || batch->class == COMPUTE) return hang(batch, "MI_FLUSH_DW on this engine", dwords[0]);
    if (dwords[0] & 1u << 18) space_flush_all(batch->space);
    if (count < 4) return hang(batch, "length", dwords[0]);
    if ((dwords[0] >> 14 & 3) && (dwords[1] & 4)) return hang(batch, "global address", dwords[0]);
    return post_write(batch, dwords[0] >> 14 & 3, address_of(&dwords[1]), &dwords[3], (count - 3) * 4);
}

static enum batch_status pipe_control(struct batch *batch, const uint32_t *dwords, unsigned count) {
    if (batch->class != RENDER && batch->class != COMPUTE)
        return hang(batch, "PIPE_CONTROL on this engine", dwords[0]);
    if (count != 6) return hang(batch, "length", dwords[0]);
    if (dwords[1] & 1u << 18) space_flush_all(batch->space);
    return post_write(batch, dwords[1] >> 14 & 3, address_of(&dwords[2]), &dwords[4], 8);
}

static enum batch_status memory_command(struct batch *batch, const uint32_t *dwords, unsigned count) {
    uint32_t word;
    switch (dwords[0] >> 23 & 0x3f) {
    case 0x20: // MI_STORE_DATA_IMM
        if (count < 4) return hang(batch, "length", dwords[0]);
        if (dwords[0] & 1u << 22) return hang(batch, "global address", dwords[0]);
        if ((dwords[0] & 1u << 21) && (count - 3) % 2) return hang(batch, "length", dwords[0]);
        return stored(space_write(batch->space, address_of(&dwords[1]) & ~3ull, &dwords[3], (count - 3) * 4));
    case 0x22: // MI_LOAD_REGISTER_IMM
        batch->last_value = dwords[count - 1];
        return BATCH_DONE;
    case 0x24: // MI_STORE_REGISTER_MEM
        if (count != 4) return hang(batch, "length", dwords[0]);
        word = (uint32_t)batch->last_value;
        return stored(space_write(batch->space, address_of(&dwords[2]) & ~3ull, &word, sizeof word));
    case 0x2e: // MI_COPY_MEM_MEM
        if (count != 5) return hang(batch, "length", dwords[0]);
        return stored(space_read(batch->space, address_of(&dwords[3]) & ~3ull, &word, sizeof word) &&
                      space_write(batch->space, address_of(&dwords[1]) & ~3ull, &word, sizeof word));
    case 0x26: return flush_dw(batch, dwords, count);
    case 0x1c: // MI_SEMAPHORE_WAIT
        return count < 4 ? hang(batch, "length", dwords[0]) : semaphore(batch, dwords);
    default: return hang(batch, "unknown command", dwords[0]);
    }
}

/* MI_BATCH_BUFFER_START; true if it was one and the batch goes on elsewhere. */
static bool jump(struct batch *batch, const uint32_t *dwords, unsigned count) {
    if (dwords[0] >> 23 != 0x31 || count != 3 || !(dwords[0] & 1u << 8)) return false;
    if (dwords[0] & 1u << 22) batch->back = batch->next + 12;
    batch->next = address_of(&dwords[1]) & ~3ull;
    return true;
}

static unsigned length_of(uint32_t header) {
    if (header >> 29 == 0 && (header >> 23 & 0x3f) < 0x10) return 1;
    return (header & 0xff) + 2;
}

static enum batch_status one(struct batch *batch, bool *over) {
    uint32_t dwords[MOST_DWORDS];
    *over = false;
    if (!space_read(batch->space, batch->next, dwords, 4)) return BATCH_FAULT;
    unsigned count = length_of(dwords[0]), client = dwords[0] >> 29;
    if (count > 1 && !space_read(batch->space, batch->next + 4, dwords + 1, (count - 1) * 4)) return BATCH_FAULT;
    if (jump(batch, dwords, count)) return BATCH_DONE;
    enum batch_status status = BATCH_DONE;
    if (client == 0 && count == 1) {
        switch (dwords[0] >> 23) {
        case 0x00: case 0x02: case 0x05: case 0x08: break; // NOOP, USER_INTERRUPT, ARB_CHECK, ARB_ON_OFF
        case 0x0a: // BATCH_BUFFER_END
            *over = !batch->back;
            batch->next = batch->back;
            batch->back = 0;
            return BATCH_DONE;
        default: return hang(batch, "unknown command", dwords[0]);
        }
    } else if (client == 0) {
        status = memory_command(batch, dwords, count);
    } else if (client == 2) {
        status = batch_copy(batch, dwords, count);
        if (status == BATCH_HANG) hang(batch, "copy command", dwords[0]);
    } else if (dwords[0] >> 16 == 0x7a00) {
        status = pipe_control(batch, dwords, count);
    } else {
        status = hang(batch, "unknown command", dwords[0]);
    }
    if (status == BATCH_DONE) batch->next += count * 4;
    return status;
}

enum batch_status batch_run(struct batch *batch) {
    for (unsigned i = 0; i < BUDGET; i++) {
        bool over;
        enum batch_status status = one(batch, &over);
        if (over) return BATCH_DONE;
        if (status == BATCH_BLOCKED) break;
        if (status != BATCH_DONE) return status;
    }
    if (monotonic_ns() < batch->deadline_ns) return BATCH_BLOCKED;
    return hang(batch, "took too long", 0);
}
