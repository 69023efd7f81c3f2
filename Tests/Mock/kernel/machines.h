/* SPDX-License-Identifier: MIT */
/* The machines that the mock kernel can be: their PCI devices, and what kind of GPU each one is. */
#ifndef MOCK_MACHINES_H
#define MOCK_MACHINES_H

#include <stdbool.h>
#include <stdint.h>

enum driver { DRIVER_NONE, DRIVER_I915, DRIVER_XE, DRIVER_OTHER };

/* Engine classes are the same numbers in both drivers. */
struct engine_model {
    uint16_t class, instance, gt;
};

struct gpu_model {
    const char *name;
    enum driver driver;
    uint16_t device, revision;
    unsigned graphics_version; /* 1200, 1255, 2001, 2004 */
    unsigned va_bits;
    uint64_t vram;             /* 0: integrated */
    uint64_t small_bar;        /* the CPU-visible part when the BAR is small */
    uint32_t vram_page;        /* smallest page of local memory */
    uint64_t pin_alignment;    /* i915: alignment demanded of a pinned object in local memory */
    bool llc;
    unsigned gt_count;
    const struct engine_model *engines;
    unsigned engine_count;
};

struct bar_model {
    uint64_t base, size, flags;
};

struct pci_model {
    uint32_t domain;
    uint8_t bus, slot, function;
    int parent; /* index of the bridge above in the machine's list, -1 on the root bus */
    uint16_t vendor, device, subvendor, subdevice;
    uint32_t class;
    uint8_t revision;
    uint8_t secondary_bus; /* of a bridge */
    const char *driver;    /* the name that the link shows; NULL: none is bound */
    const struct gpu_model *gpu;
    bool unreadable;       /* every file of its directory gives EACCES */
    bool config_unreadable;
    struct bar_model bars[6];
};

struct machine {
    const char *name;
    bool no_pci; /* not even /sys/bus/pci */
    struct pci_model devices[8];
    unsigned count;
};

/* The machine that the environment names. */
const struct machine *machine_get(void);
/* The n-th device that has a DRM node, NULL past the last. Its minors are n and 128 + n. */
const struct pci_model *machine_node(unsigned index);

#endif
