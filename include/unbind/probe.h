/* SPDX-License-Identifier: MIT */
/*
 * The Intel GPUs of this machine: what they are, where their device nodes are,
 * and what their kernel driver says of them. No device has to be open.
 *
 * Names come from a table of PCI ids, the rest from the PCI bus (libpciaccess),
 * from sysfs, and from the driver (i915 or xe, through libdrm). None of it needs
 * privileges. What one source does not tell is left out and the rest is given:
 * a machine without PCI or without DRM, a device that no driver has, or a node
 * that may not be opened is an answer, not an error.
 *
 * libpciaccess has one state for the whole process. If the host program has it
 * open (pci_system_init), it is used as it is and left open; otherwise it is
 * opened and closed within the call. Calls of this library may be made from any
 * threads; calls of pci_system_init and pci_system_cleanup by others must not
 * run at the same time.
 */
#ifndef UNBIND_PROBE_H
#define UNBIND_PROBE_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Flags of the functions below. */
#define UNBIND_PROBE_NO_OPEN (1u << 0) /* open no device node, so that no sleeping GPU wakes up;
                                          what only the driver knows stays unknown */

/* Where a GPU's memory is: unbind_gpu_info.type. */
#define UNBIND_GPU_TYPE_UNKNOWN 0u
#define UNBIND_GPU_TYPE_INTEGRATED 1u /* shares the system's */
#define UNBIND_GPU_TYPE_DISCRETE 2u   /* has its own */

/* unbind_gpu_info.kernel_driver */
#define UNBIND_KERNEL_DRIVER_NONE 0u
#define UNBIND_KERNEL_DRIVER_I915 1u
#define UNBIND_KERNEL_DRIVER_XE 2u
#define UNBIND_KERNEL_DRIVER_OTHER 3u /* such as vfio-pci; driver_name has its name */

/* What a PCI region (BAR) is: unbind_gpu_info.bar_kinds. */
#define UNBIND_BAR_NONE 0u
#define UNBIND_BAR_REGISTERS 1u  /* registers; since generation 4 the global page table too */
#define UNBIND_BAR_APERTURE 2u   /* the CPU's window on what the global page table maps */
#define UNBIND_BAR_LOCAL 3u      /* the GPU's memory, or the part of it that the CPU reaches */
#define UNBIND_BAR_STOLEN 4u     /* system memory that the firmware set aside for the GPU */
#define UNBIND_BAR_PAGE_TABLE 5u /* the global page table alone */
#define UNBIND_BAR_PORTS 6u      /* I/O ports */
#define UNBIND_BAR_OTHER 7u      /* not known */

/* Flags of unbind_gpu_info. */
#define UNBIND_GPU_KNOWN (1u << 0)          /* its PCI id is in the table; else platform, codename and
                                               family are empty */
#define UNBIND_GPU_ADDRESS_SPACES (1u << 1) /* its driver gives a program address spaces of its own, in which
                                               the program chooses the addresses: what an unbind_vm needs */

/* unbind_gpu_info.open_status and query_status: not tried, because of UNBIND_PROBE_NO_OPEN. */
#define UNBIND_PROBE_NOT_TRIED 1

struct unbind_gpu_info {
    uint32_t struct_size;  /* sizeof(struct unbind_gpu_info) */
    uint32_t flags;        /* UNBIND_GPU_* */
    uint32_t pci_domain;   /* all 32 bits */
    uint8_t pci_bus;
    uint8_t pci_device;
    uint8_t pci_function;
    uint8_t revision;      /* of the PCI device */
    uint16_t vendor_id;    /* 0x8086 */
    uint16_t device_id;
    uint16_t subvendor_id; /* who made the board, and which one it is; 0 if not known */
    uint16_t subdevice_id;
    uint32_t pci_class;    /* class << 16 | subclass << 8 | interface */
    uint32_t type;         /* UNBIND_GPU_TYPE_* */
    uint16_t graphics_major; /* version of the graphics part: 9.0 (Skylake), 12.55 (Alchemist), 20.1 is */
    uint16_t graphics_minor; /* written 20.01; from the driver if it tells, else the table; 0.0 if unknown */
    uint32_t kernel_driver;  /* UNBIND_KERNEL_DRIVER_* */
    int32_t open_status;   /* 0: this process may open the render node; a negative errno: why not
                              (-ENOENT: there is none, -EACCES: no permission); or NOT_TRIED */
    int32_t query_status;  /* 0: the driver was asked and has answered; else as open_status, or what
                              the driver refused with. If not 0, all until local_visible_bytes is 0
                              or incomplete */
    int32_t driver_major;  /* version of the driver */
    int32_t driver_minor;
    int32_t driver_patch;
    uint32_t va_bits;      /* an address space has 2 to the power of this many bytes */
    uint64_t local_memory_bytes;  /* memory of the GPU's own */
    uint64_t local_visible_bytes; /* of them, what the CPU can reach */
    uint64_t bar_sizes[6]; /* bytes; 0: no such region, or it has no address */
    uint32_t bar_kinds[6]; /* UNBIND_BAR_* */
    char pci_address[24];  /* "0000:03:00.0" */
    char platform[16];     /* "DG2" */
    char codename[40];     /* "Alchemist" */
    char family[16];       /* "Xe-HPG" */
    char name[96];         /* what it is sold as, "Intel Arc A770 Graphics"; empty if not known */
    char driver_name[32];  /* "i915"; empty if no driver has the device */
    char render_node[64];  /* "/dev/dri/renderD128"; empty if there is none */
    char primary_node[64]; /* "/dev/dri/card0"; empty if there is none */
};
#define UNBIND_GPU_INFO_INIT \
    { sizeof(struct unbind_gpu_info), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
      { 0, 0, 0, 0, 0, 0 }, { 0, 0, 0, 0, 0, 0 }, "", "", "", "", "", "", "", "" }

/*
 * All Intel GPUs, in the order of their PCI addresses: display devices, and what
 * the table knows for a GPU. Those with an unknown id, without a driver, or with
 * a node that may not be opened are among them.
 *
 * infos is an array of capacity structs. The struct_size of the first is the size
 * of each; the others need not be initialised. As many are filled as there are
 * GPUs and room; the rest stays as it is. May be NULL if capacity is 0.
 * *count becomes the number of GPUs, which may exceed capacity.
 *
 * Only render nodes are opened, and closed again.
 *
 * Blocks: yes: reads files, and may wait for a sleeping GPU to wake up.
 * Errors: -EINVAL (count is NULL, infos is NULL with capacity not 0, wrong
 * struct_size, unknown flag), -E2BIG, -ENOMEM. Since: 0.1
 */
int unbind_probe(uint32_t flags, struct unbind_gpu_info *infos, uint32_t capacity, uint32_t *count);

/*
 * The first Intel GPU, in the order of unbind_probe, that a selection string
 * means. Only that GPU's node is opened (and, for a type, the nodes of those
 * whose id is unknown). The strings:
 *
 *   NULL                  any GPU
 *   "0000:03:00.0"        the one at a PCI address; domain of one to eight digits
 *   "03:00.0"             the same in domain 0
 *   "/dev/dri/renderD128" the one that a device node belongs to; any path, also a
 *                         link such as /dev/dri/by-path/..., of either kind of node
 *   "pci:vendor=8086,device=56a0,card=1"
 *                         those with these ids (hexadecimal, 0x or not), and of
 *                         them the one with this number, from 0, which is also
 *                         the default; each part at most once, one at least
 *   "discrete"            the first with memory of its own
 *   "integrated"          the first that shares the system's
 *
 * error_offset may be NULL. If the string is malformed, and only then, it becomes
 * the offset of the first character that does not fit: strlen(selector) if the
 * string ends too early.
 *
 * Blocks: yes, as unbind_probe.
 * Errors: -ENODEV (no GPU matches), -EINVAL (malformed string, info is NULL, wrong
 * struct_size, unknown flag), -E2BIG, -ENOMEM. Since: 0.1
 */
int unbind_probe_find(const char *selector, uint32_t flags, struct unbind_gpu_info *info, uint32_t *error_offset);

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_PROBE_H */
