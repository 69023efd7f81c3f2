/* SPDX-License-Identifier: MIT */
/*
 * Prints all that unbind_probe says, or, for each argument, what unbind_probe_find
 * says: what Tests/Probe/run compares with Tests/Probe/expected. "passive" as the
 * first argument opens no node.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unbind/unbind.h>

#define MOST 8

static void print_gpu(const struct unbind_gpu_info *gpu) {
    static const char *const types[] = {"unknown", "integrated", "discrete"};
    static const char *const drivers[] = {"none", "i915", "xe", "other"};
    static const char *const kinds[] = {"none",   "registers", "aperture", "local memory", "stolen memory",
                                        "page table", "ports", "other"};
    printf("%s %04x:%02x:%02x.%x class %06x\n", gpu->pci_address, gpu->pci_domain, gpu->pci_bus, gpu->pci_device,
           gpu->pci_function, gpu->pci_class);
    printf("  ids %04x:%04x %04x:%04x revision %02x\n", gpu->vendor_id, gpu->device_id, gpu->subvendor_id,
           gpu->subdevice_id, gpu->revision);
    printf("  platform \"%s\" codename \"%s\" family \"%s\" name \"%s\"\n", gpu->platform, gpu->codename, gpu->family,
           gpu->name);
    printf("  %s, %s, graphics %u.%u%s\n", gpu->flags & UNBIND_GPU_KNOWN ? "known" : "not known", types[gpu->type],
           gpu->graphics_major, gpu->graphics_minor,
           gpu->flags & UNBIND_GPU_ADDRESS_SPACES ? ", address spaces" : "");
    printf("  driver %s \"%s\" %d.%d.%d\n", drivers[gpu->kernel_driver], gpu->driver_name, gpu->driver_major,
           gpu->driver_minor, gpu->driver_patch);
    printf("  render \"%s\" primary \"%s\" open %d query %d\n", gpu->render_node, gpu->primary_node, gpu->open_status,
           gpu->query_status);
    printf("  va %u bits, local %" PRIu64 " MiB, visible %" PRIu64 " MiB\n", gpu->va_bits,
           gpu->local_memory_bytes >> 20, gpu->local_visible_bytes >> 20);
    for (int i = 0; i < 6; i++) {
        if (gpu->bar_kinds[i] != UNBIND_BAR_NONE || gpu->bar_sizes[i] != 0)
            printf("  region %d %" PRIu64 " bytes %s\n", i, gpu->bar_sizes[i], kinds[gpu->bar_kinds[i]]);
    }
}

int main(int argc, char **argv) {
    struct unbind_gpu_info gpus[MOST] = {UNBIND_GPU_INFO_INIT};
    int passive = argc > 1 && strcmp(argv[1], "passive") == 0;
    uint32_t flags = passive ? UNBIND_PROBE_NO_OPEN : 0, count = 0;
    if (argc - passive > 1) {
        for (int i = 1 + passive; i < argc; i++) {
            int status = unbind_probe_find(argv[i], flags, &gpus[0], NULL);
            printf("%s: %s\n", argv[i], status == 0 ? gpus[0].pci_address : unbind_status_name(status));
        }
        return 0;
    }
    int status = unbind_probe(flags, gpus, MOST, &count);
    if (status != 0) {
        printf("%s\n", unbind_status_name(status));
        return 1;
    }
    printf("%u GPUs\n", count);
    for (uint32_t i = 0; i < count && i < MOST; i++) print_gpu(&gpus[i]);
    return 0;
}
