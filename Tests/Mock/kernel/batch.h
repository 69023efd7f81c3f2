/* SPDX-License-Identifier: MIT */
/*
 * Carries out a batch buffer: the commands that DESIGN and the facts name, through
 * an address space. A command that is not known, or that the engine or the
 * platform lacks, hangs the engine, as it does in hardware.
 */
#ifndef MOCK_BATCH_H
#define MOCK_BATCH_H

#include "space.h"

enum batch_status {
    BATCH_DONE,
    BATCH_BLOCKED, /* a semaphore is closed, or it has run long enough for now */
    BATCH_FAULT,   /* an access was refused */
    BATCH_HANG,    /* no such command, or no end */
};

struct batch {
    struct space *space;
    uint64_t next;       /* address of the next command */
    unsigned class;      /* of the engine */
    unsigned version;    /* of the graphics */
    uint64_t deadline_ns; /* after this it hangs */
    uint64_t back;       /* return address of a second-level batch, 0: none */
    uint64_t last_value; /* what LOAD_REGISTER_IMM wrote last: all registers are one */
};

enum batch_status batch_run(struct batch *batch);

/* A command of the copy engines, its dwords read already (batch_copy.c). */
enum batch_status batch_copy(struct batch *batch, const uint32_t *dwords, unsigned count);

#endif
