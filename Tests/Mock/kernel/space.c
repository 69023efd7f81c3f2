/* SPDX-License-Identifier: MIT */
#include "space.h"

static unsigned next_id;

void space_init(struct space *space, unsigned va_bits, bool scratch) {
    *space = (struct space){.id = ++next_id, .va_bits = va_bits, .scratch = scratch};
    space->tlb = calloc(TLB_ENTRIES, sizeof *space->tlb);
    if (!space->tlb) abort();
}

void space_free(struct space *space) {
    space_flush_all(space);
    range_map_free(&space->pages);
    free(space->tlb);
    space->tlb = NULL;
}

static void forget(struct tlb_entry *entry) {
    gem_put(entry->object);
    *entry = (struct tlb_entry){0};
}

void space_flush(struct space *space, uint64_t start, uint64_t end) {
    for (unsigned i = 0; i < TLB_ENTRIES; i++) {
        struct tlb_entry *entry = &space->tlb[i];
        if (entry->page && entry->page - 1 >= start / PAGE && entry->page - 1 < (end + PAGE - 1) / PAGE)
            forget(entry);
    }
}

void space_flush_all(struct space *space) {
    for (unsigned i = 0; i < TLB_ENTRIES; i++) forget(&space->tlb[i]);
}

static void note_fault(struct space *space, uint64_t address, bool write, const char *what) {
    log_line("fault vm=%u va=0x%llx %s %s", space->id, (unsigned long long)address, write ? "write" : "read", what);
    if (space->fault_count < sizeof space->faults / sizeof space->faults[0])
        space->faults[space->fault_count++] = (struct space_fault){address, write};
}

/* What the page tables say now. */
static struct tlb_entry walk(const struct space *space, uint64_t page, bool *present) {
    struct tlb_entry entry = {.page = page + 1};
    const struct range *range = range_map_at(&space->pages, page * PAGE);
    *present = range;
    if (range) {
        entry.object = range->object;
        entry.offset = range->offset + (page * PAGE - range->start);
        entry.flags = range->flags;
    } else {
        entry.flags = RANGE_NULL;
    }
    return entry;
}

/* The page's entry, or the one to replace: an empty one of its set if there is any. */
static struct tlb_entry *tlb_entry(struct space *space, uint64_t page) {
    uint64_t hash = page * 0x9e3779b97f4a7c15u >> 32;
    struct tlb_entry *set = &space->tlb[hash % TLB_SETS * TLB_WAYS], *empty = NULL;
    for (unsigned way = 0; way < TLB_WAYS; way++) {
        if (set[way].page == page + 1) return &set[way];
        if (!set[way].page && !empty) empty = &set[way];
    }
    return empty ? empty : &set[space->next_victim++ % TLB_WAYS];
}

/* The translation of a page: from the TLB if it is there, however old. NULL: a fault. */
static const struct tlb_entry *translate(struct space *space, uint64_t page, bool write) {
    struct tlb_entry *entry = tlb_entry(space, page);
    bool present;
    struct tlb_entry now = walk(space, page, &present);
    if (entry->page == page + 1) {
        if (entry->object != now.object || (entry->object && entry->offset != now.offset))
            log_line("stale vm=%u va=0x%llx %s", space->id, (unsigned long long)page * PAGE, write ? "write" : "read");
    } else {
        if (!present && !space->scratch) {
            note_fault(space, page * PAGE, write, "not mapped");
            return NULL;
        }
        forget(entry);
        *entry = now;
        if (now.object) gem_get(now.object);
    }
    if (write && (entry->flags & RANGE_READ_ONLY)) {
        note_fault(space, page * PAGE, write, "read-only");
        return NULL;
    }
    return entry;
}

static bool transfer(struct space *space, uint64_t address, uint8_t *bytes, size_t size, bool write) {
    while (size) {
        address &= (1ull << space->va_bits) - 1;
        size_t part = PAGE - address % PAGE;
        if (part > size) part = size;
        const struct tlb_entry *entry = translate(space, address / PAGE, write);
        if (!entry) return false;
        bool good = true;
        if (!entry->object) {
            if (!write) memset(bytes, 0, part);
        } else if (write) {
            good = gem_write(entry->object, entry->offset + address % PAGE, bytes, part);
        } else {
            good = gem_read(entry->object, entry->offset + address % PAGE, bytes, part);
        }
        if (!good) {
            note_fault(space, address, write, "pages gone");
            return false;
        }
        address += part, bytes += part, size -= part;
    }
    return true;
}

bool space_read(struct space *space, uint64_t address, void *to, size_t size) {
    return transfer(space, address, to, size, false);
}

bool space_write(struct space *space, uint64_t address, const void *from, size_t size) {
    if (lies(LIE_LOSE_WRITE)) return true;
    return transfer(space, address, (uint8_t *)(uintptr_t)from, size, true);
}

bool space_write_fence(struct space *space, uint64_t address, uint64_t value) {
    return transfer(space, address, (uint8_t *)&value, sizeof value, true);
}
