/* SPDX-License-Identifier: MIT */
/*
 * A GPU address space as the hardware sees it: page tables, and a TLB that keeps
 * what it has once looked up until it is told to forget. Lock held everywhere.
 */
#ifndef MOCK_SPACE_H
#define MOCK_SPACE_H

#include "range_map.h"

#define TLB_SETS 256u
#define TLB_WAYS 8u
#define TLB_ENTRIES (TLB_SETS * TLB_WAYS)

struct tlb_entry {
    uint64_t page; /* address / 4096, plus 1; 0: empty */
    struct gem_object *object;
    uint64_t offset;
    unsigned flags;
};

struct space_fault {
    uint64_t address;
    bool write;
};

struct space {
    unsigned id; /* for the log */
    unsigned va_bits;
    bool scratch; /* what is not mapped reads zero and takes writes; otherwise it faults */
    struct range_map pages;
    struct tlb_entry *tlb;
    unsigned next_victim;
    struct space_fault faults[50];
    unsigned fault_count;
};

void space_init(struct space *space, unsigned va_bits, bool scratch);
void space_free(struct space *space);
/* Forgets translations of start..<end. */
void space_flush(struct space *space, uint64_t start, uint64_t end);
void space_flush_all(struct space *space);
/* Through the TLB, page by page; bits above va_bits do not count. false: a fault, which is noted. */
bool space_read(struct space *space, uint64_t address, void *to, size_t size);
bool space_write(struct space *space, uint64_t address, const void *from, size_t size);
/* The same of what the kernel has an engine write: a fence. No lie is about that. */
bool space_write_fence(struct space *space, uint64_t address, uint64_t value);

#endif
