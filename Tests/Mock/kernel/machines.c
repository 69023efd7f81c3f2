/* SPDX-License-Identifier: MIT */
/* The machines, as tables. Addresses, ids and classes are those of real ones; sizes of local memory too. */
#include "machines.h"

#include "host.h"

#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { RENDER, COPY, VIDEO, ENHANCE, COMPUTE };

static const struct engine_model engines_gen12[] = {
    {RENDER, 0, 0}, {COPY, 0, 0}, {VIDEO, 0, 0}, {VIDEO, 1, 0}, {ENHANCE, 0, 0},
};
static const struct engine_model engines_dg2[] = {
    {RENDER, 0, 0}, {COPY, 0, 0},    {VIDEO, 0, 0},   {VIDEO, 1, 0},   {ENHANCE, 0, 0},
    {ENHANCE, 1, 0}, {COMPUTE, 0, 0}, {COMPUTE, 1, 0}, {COMPUTE, 2, 0}, {COMPUTE, 3, 0},
};
static const struct engine_model engines_lnl[] = {
    {RENDER, 0, 0}, {COPY, 0, 0}, {COMPUTE, 0, 0}, {VIDEO, 0, 1}, {ENHANCE, 0, 1},
};
static const struct engine_model engines_bmg[] = {
    {RENDER, 0, 0}, {COPY, 0, 0}, {COMPUTE, 0, 0}, {VIDEO, 0, 1}, {VIDEO, 1, 1}, {ENHANCE, 0, 1}, {ENHANCE, 1, 1},
};

static const struct gpu_model tgl = {
    .name = "Tiger Lake", .driver = DRIVER_I915, .device = 0x9a49, .revision = 1, .graphics_version = 1200,
    .va_bits = 48, .llc = true, .gt_count = 1, .engines = engines_gen12, .engine_count = COUNT(engines_gen12),
};
static const struct gpu_model adl = {
    .name = "Alder Lake", .driver = DRIVER_I915, .device = 0x46a6, .revision = 0x0c, .graphics_version = 1200,
    .va_bits = 48, .llc = true, .gt_count = 1, .engines = engines_gen12, .engine_count = COUNT(engines_gen12),
};
/* DG2 as Linux 6.1 drives it: objects of local memory are pinned at multiples of 2 MiB. */
static const struct gpu_model dg2 = {
    .name = "DG2", .driver = DRIVER_I915, .device = 0x56a0, .revision = 8, .graphics_version = 1255, .va_bits = 48,
    .vram = GIB(16), .small_bar = MIB(256), .vram_page = 65536, .pin_alignment = MIB(2), .gt_count = 1,
    .engines = engines_dg2, .engine_count = COUNT(engines_dg2),
};
/* The same as Linux 7.0 drives it. */
static const struct gpu_model dg2_later = {
    .name = "DG2", .driver = DRIVER_I915, .device = 0x56a0, .revision = 8, .graphics_version = 1255, .va_bits = 48,
    .vram = GIB(16), .small_bar = MIB(256), .vram_page = 65536, .pin_alignment = 65536, .gt_count = 1,
    .engines = engines_dg2, .engine_count = COUNT(engines_dg2),
};
/* The same driven by xe, as a module parameter can ask for: what is special there is 64 KiB in local memory. */
static const struct gpu_model dg2_xe = {
    .name = "DG2", .driver = DRIVER_XE, .device = 0x56a0, .revision = 8, .graphics_version = 1255, .va_bits = 48,
    .vram = GIB(16), .small_bar = MIB(256), .vram_page = 65536, .gt_count = 1,
    .engines = engines_dg2, .engine_count = COUNT(engines_dg2),
};
/* A data centre GPU: its PCI class says display, not VGA. */
static const struct gpu_model atsm = {
    .name = "Arctic Sound-M", .driver = DRIVER_I915, .device = 0x56c0, .revision = 8, .graphics_version = 1255,
    .va_bits = 48, .vram = GIB(16), .small_bar = MIB(256), .vram_page = 65536, .pin_alignment = MIB(2), .gt_count = 1,
    .engines = engines_dg2, .engine_count = COUNT(engines_dg2),
};
static const struct gpu_model lnl = {
    .name = "Lunar Lake", .driver = DRIVER_XE, .device = 0x64a0, .revision = 4, .graphics_version = 2004,
    .va_bits = 48, .gt_count = 2, .engines = engines_lnl, .engine_count = COUNT(engines_lnl),
};
static const struct gpu_model bmg = {
    .name = "Battlemage", .driver = DRIVER_XE, .device = 0xe20b, .revision = 0, .graphics_version = 2001,
    .va_bits = 48, .vram = GIB(12), .small_bar = MIB(256), .vram_page = 4096, .gt_count = 2,
    .engines = engines_bmg, .engine_count = COUNT(engines_bmg),
};
/* An id from the future on a driver that knows it: what it is otherwise is Lunar Lake. */
static const struct gpu_model unknown = {
    .name = "unknown", .driver = DRIVER_XE, .device = 0xfff0, .revision = 0, .graphics_version = 2004, .va_bits = 48,
    .gt_count = 2, .engines = engines_lnl, .engine_count = COUNT(engines_lnl),
};
/* Ponte Vecchio as xe drives it when asked to: no render engine, many that copy, addresses of 57 bits. */
static const struct engine_model engines_pvc[] = {
    {COPY, 0, 0},    {COPY, 1, 0},    {COPY, 2, 0},    {COPY, 3, 0},    {COPY, 4, 0},  {COPY, 5, 0},  {COPY, 6, 0},
    {COPY, 7, 0},    {COMPUTE, 0, 0}, {COMPUTE, 1, 0}, {COMPUTE, 2, 0}, {COMPUTE, 3, 0}, {VIDEO, 0, 0}, {VIDEO, 1, 0},
};
static const struct gpu_model pvc = {
    .name = "Ponte Vecchio", .driver = DRIVER_XE, .device = 0x0bd5, .revision = 0x2f, .graphics_version = 1260,
    .va_bits = 57, .vram = GIB(64), .small_bar = MIB(256), .vram_page = 65536, .gt_count = 1,
    .engines = engines_pvc, .engine_count = COUNT(engines_pvc),
};
/* Neither a shared cache nor the old blitter's commands. */
static const struct engine_model engines_mtl[] = {
    {RENDER, 0, 0}, {COPY, 0, 0}, {COMPUTE, 0, 0}, {VIDEO, 0, 0}, {VIDEO, 1, 0}, {ENHANCE, 0, 0},
};
static const struct gpu_model mtl = {
    .name = "Meteor Lake", .driver = DRIVER_I915, .device = 0x7d55, .revision = 8, .graphics_version = 1270,
    .va_bits = 48, .gt_count = 2, .engines = engines_mtl, .engine_count = COUNT(engines_mtl),
};
/* The driver parses what its copy engine runs. */
static const struct gpu_model skl = {
    .name = "Skylake", .driver = DRIVER_I915, .device = 0x1916, .revision = 7, .graphics_version = 900, .va_bits = 48,
    .llc = true, .gt_count = 1, .engines = engines_gen12, .engine_count = COUNT(engines_gen12),
};
static const struct gpu_model radeon = {.name = "another vendor's", .driver = DRIVER_OTHER, .device = 0x73bf};

#define FLAGS_MMIO 0x140204 /* 64-bit memory */
#define FLAGS_PREFETCH 0x14220c
#define FLAGS_IO 0x40101

#define HOST_BRIDGE {.parent = -1, .vendor = 0x8086, .device = 0x9a14, .subvendor = 0x8086, .class = 0x060000}
#define ISA_BRIDGE                                                                                                \
    {.slot = 0x1f, .parent = -1, .vendor = 0x8086, .device = 0xa082, .subvendor = 0x8086, .class = 0x060100}
/* Index 2 is the first GPU or the first bridge of a discrete one. */
#define INTEGRATED(model, driver_name)                                                                            \
    {.slot = 2, .parent = -1, .vendor = 0x8086, .device = (model).device, .subvendor = 0x1028,                    \
     .subdevice = 0x0a20, .class = 0x030000, .revision = (uint8_t)(model).revision, .driver = driver_name,        \
     .gpu = &(model),                                                                                             \
     .bars = {{0x6000000000, MIB(16), FLAGS_MMIO}, {0, 0, 0}, {0x4000000000, MIB(256), FLAGS_PREFETCH},           \
              {0, 0, 0}, {0x3000, 64, FLAGS_IO}}}
#define PORT(domain_, bus_, slot_, parent_, device_, secondary)                                                   \
    {.domain = domain_, .bus = bus_, .slot = slot_, .parent = parent_, .vendor = 0x8086, .device = device_,       \
     .class = 0x060400, .secondary_bus = secondary, .driver = "pcieport"}
#define DISCRETE(domain_, class_, model, driver_name, parent_, bar2)                                              \
    {.domain = domain_, .bus = 3, .parent = parent_, .vendor = 0x8086, .device = (model).device,                  \
     .subvendor = 0x8086, .subdevice = 0x1020, .class = class_, .revision = (uint8_t)(model).revision,          \
     .driver = driver_name, .gpu = &(model),                                                                      \
     .bars = {{0x6001000000, MIB(16), FLAGS_MMIO}, {0, 0, 0}, {0x6400000000, bar2, FLAGS_PREFETCH}}}
#define RADEON                                                                                                    \
    {.bus = 0x0b, .parent = -1, .vendor = 0x1002, .device = 0x73bf, .subvendor = 0x1002, .subdevice = 0x0e3a,     \
     .class = 0x030000, .revision = 0xc1, .driver = "amdgpu", .gpu = &radeon,                                     \
     .bars = {{0x7000000000, GIB(16), FLAGS_PREFETCH}, {0, 0, 0}, {0x7400000000, MIB(2), FLAGS_PREFETCH}}}
#define NVME                                                                                                      \
    {.bus = 0x0c, .parent = -1, .vendor = 0x144d, .device = 0xa808, .class = 0x010802, .driver = "nvme"}
#define NVME_UNREADABLE                                                                                           \
    {.bus = 0x0c, .parent = -1, .vendor = 0x144d, .device = 0xa808, .class = 0x010802, .unreadable = true}

#define DISCRETE_MACHINE(name_, domain, class, model, driver_name, bar2, up, down)                                \
    {.name = name_,                                                                                               \
     .devices = {HOST_BRIDGE, ISA_BRIDGE, PORT(domain, 0, 1, -1, 0x4c01, 1), PORT(domain, 1, 0, 2, up, 2),        \
                 PORT(domain, 2, 1, 3, down, 3), DISCRETE(domain, class, model, driver_name, 4, bar2), NVME},     \
     .count = 7}

static const struct machine machines[] = {
    {.name = "tgl", .devices = {HOST_BRIDGE, ISA_BRIDGE, INTEGRATED(tgl, "i915"), NVME}, .count = 4},
    {.name = "adl", .devices = {HOST_BRIDGE, ISA_BRIDGE, INTEGRATED(adl, "i915"), NVME}, .count = 4},
    {.name = "skl", .devices = {HOST_BRIDGE, ISA_BRIDGE, INTEGRATED(skl, "i915"), NVME}, .count = 4},
    {.name = "mtl", .devices = {HOST_BRIDGE, ISA_BRIDGE, INTEGRATED(mtl, "i915"), NVME}, .count = 4},
    DISCRETE_MACHINE("dg2", 0, 0x030000, dg2, "i915", GIB(16), 0x4fa1, 0x4fa4),
    DISCRETE_MACHINE("dg2-later", 0, 0x030000, dg2_later, "i915", GIB(16), 0x4fa1, 0x4fa4),
    DISCRETE_MACHINE("dg2-xe", 0, 0x030000, dg2_xe, "xe", GIB(16), 0x4fa1, 0x4fa4),
    DISCRETE_MACHINE("ats-m", 0, 0x038000, atsm, "i915", GIB(16), 0x4fa1, 0x4fa4),
    {.name = "lnl", .devices = {HOST_BRIDGE, ISA_BRIDGE, INTEGRATED(lnl, "xe"), NVME}, .count = 4},
    DISCRETE_MACHINE("bmg", 0, 0x030000, bmg, "xe", GIB(16), 0xe2ff, 0xe2f0),
    DISCRETE_MACHINE("pvc", 0, 0x038000, pvc, "xe", GIB(64), 0x4fa1, 0x4fa4),
    DISCRETE_MACHINE("wide-domain", 0x10000, 0x030000, bmg, "xe", GIB(16), 0xe2ff, 0xe2f0),
    {.name = "two",
     .devices = {HOST_BRIDGE, ISA_BRIDGE, PORT(0, 0, 1, -1, 0x4c01, 1), PORT(0, 1, 0, 2, 0xe2ff, 2),
                 PORT(0, 2, 1, 3, 0xe2f0, 3), INTEGRATED(adl, "i915"), DISCRETE(0, 0x030000, bmg, "xe", 4, GIB(16)), NVME},
     .count = 8},
    {.name = "none", .devices = {HOST_BRIDGE, ISA_BRIDGE, NVME}, .count = 3},
    {.name = "no-pci", .no_pci = true},
    {.name = "other-vendor", .devices = {HOST_BRIDGE, ISA_BRIDGE, RADEON, NVME}, .count = 4},
    {.name = "mixed", .devices = {HOST_BRIDGE, ISA_BRIDGE, RADEON, INTEGRATED(adl, "i915"), NVME}, .count = 5},
    {.name = "unreadable",
     .devices = {HOST_BRIDGE, ISA_BRIDGE, INTEGRATED(tgl, "i915"), NVME_UNREADABLE}, .count = 4},
    {.name = "unknown-id", .devices = {HOST_BRIDGE, ISA_BRIDGE, INTEGRATED(unknown, "xe"), NVME}, .count = 4},
    /* The same GPU as on tgl, but nothing drives it. */
    {.name = "no-driver",
     .devices = {HOST_BRIDGE, ISA_BRIDGE,
                 {.slot = 2, .parent = -1, .vendor = 0x8086, .device = 0x9a49, .class = 0x030000, .revision = 1,
                  .bars = {{0x6000000000, MIB(16), FLAGS_MMIO}, {0, 0, 0}, {0x4000000000, MIB(256), FLAGS_PREFETCH}}},
                 NVME},
     .count = 4},
    {.name = "config-unreadable",
     .devices = {HOST_BRIDGE, ISA_BRIDGE,
                 {.slot = 2, .parent = -1, .vendor = 0x8086, .device = 0x9a49, .subvendor = 0x1028,
                  .class = 0x030000, .revision = 1, .driver = "i915", .gpu = &tgl, .config_unreadable = true,
                  .bars = {{0x6000000000, MIB(16), FLAGS_MMIO}, {0, 0, 0}, {0x4000000000, MIB(256), FLAGS_PREFETCH}}},
                 NVME},
     .count = 4},
};

const struct machine *machine_get(void) {
    for (size_t i = 0; i < COUNT(machines); i++)
        if (strcmp(machines[i].name, config.machine) == 0) return &machines[i];
    fprintf(stderr, "unbind mock: UNBIND_MOCK_MACHINE: no machine \"%s\"; there are", config.machine);
    for (size_t i = 0; i < COUNT(machines); i++) fprintf(stderr, " %s", machines[i].name);
    fprintf(stderr, "\n");
    _exit(125);
}

const struct pci_model *machine_node(unsigned index) {
    const struct machine *machine = machine_get();
    for (unsigned i = 0; i < machine->count; i++)
        if (machine->devices[i].gpu && index-- == 0) return &machine->devices[i];
    return NULL;
}
