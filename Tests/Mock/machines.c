/* SPDX-License-Identifier: MIT */
/* What libpciaccess and libdrm see of each machine that the mock can be. */
#include <pciaccess.h>

#include "mock.h"

static const struct expectation {
    const char *machine;
    int init;         /* of pci_system_init */
    unsigned gpus;    /* display devices */
    int drm;          /* what drmGetDevices2 gives */
    uint16_t device;  /* of the last GPU of Intel's */
    const char *driver;
    uint64_t vram;    /* size of BAR 2 of the last one */
} expectations[] = {
    {"tgl", 0, 1, 1, 0x9a49, "i915", 256 * MIB},
    {"adl", 0, 1, 1, 0x46a6, "i915", 256 * MIB},
    {"mtl", 0, 1, 1, 0x7d55, "i915", 256 * MIB},
    {"dg2", 0, 1, 1, 0x56a0, "i915", 16384 * MIB},
    {"dg2-later", 0, 1, 1, 0x56a0, "i915", 16384 * MIB},
    {"dg2-xe", 0, 1, 1, 0x56a0, "xe", 16384 * MIB},
    {"ats-m", 0, 1, 1, 0x56c0, "i915", 16384 * MIB},
    {"lnl", 0, 1, 1, 0x64a0, "xe", 256 * MIB},
    {"bmg", 0, 1, 1, 0xe20b, "xe", 16384 * MIB},
    {"pvc", 0, 1, 1, 0x0bd5, "xe", 65536 * MIB},
    {"two", 0, 2, 2, 0xe20b, "xe", 16384 * MIB},
    /* libdrm 2.4.114 reads four digits of a PCI domain, and so leaves this one out. */
    {"wide-domain", 0, 1, 0, 0xe20b, NULL, 16384 * MIB},
    {"none", 0, 0, -ENOENT, 0, NULL, 0},
    {"no-pci", ENOENT, 0, -ENOENT, 0, NULL, 0},
    {"other-vendor", 0, 1, 1, 0, NULL, 2 * MIB},
    {"mixed", 0, 2, 2, 0x46a6, "i915", 2 * MIB},
    {"unreadable", EACCES, 0, 1, 0x9a49, "i915", 0},
    {"config-unreadable", 0, 1, 1, 0x9a49, "i915", 0},
    {"unknown-id", 0, 1, 1, 0xfff0, "xe", 256 * MIB},
    {"no-driver", 0, 1, -ENOENT, 0x9a49, NULL, 256 * MIB},
};

static void look_at_pci(const struct expectation *expected) {
    CHECK_EQUAL(pci_system_init(), expected->init);
    struct pci_device_iterator *iterator = pci_slot_match_iterator_create(NULL);
    unsigned gpus = 0;
    uint64_t bar2 = 0;
    for (struct pci_device *device; iterator && (device = pci_device_next(iterator)) != NULL;) {
        int probed = pci_device_probe(device);
        if (device->device_class >> 16 != 3) continue;
        gpus++;
        bar2 = device->regions[2].size;
        if (strcmp(expected->machine, "config-unreadable") == 0) CHECK_EQUAL(probed, EACCES);
        if (strcmp(expected->machine, "wide-domain") == 0) CHECK_EQUAL(device->domain, 0x10000);
        if (bar2) CHECK(device->regions[0].size && device->regions[0].is_64);
        CHECK_EQUAL(pci_device_has_kernel_driver(device), strcmp(expected->machine, "no-driver") != 0);
        if (device->bus == 3) {
            struct pci_device *bridge = pci_device_get_parent_bridge(device);
            CHECK(bridge && bridge->bus == 2 && bridge->dev == 1);
        }
    }
    CHECK_EQUAL(gpus, expected->gpus);
    CHECK_EQUAL(bar2, expected->vram);
    pci_iterator_destroy(iterator);
    pci_system_cleanup();
}

static void look_at_drm(const struct expectation *expected) {
    drmDevicePtr devices[4];
    int count = drmGetDevices2(DRM_DEVICE_GET_PCI_REVISION, devices, 4), intel = 0, found = 0;
    CHECK_EQUAL(count, expected->drm);
    for (int i = 0; i < count; i++) {
        CHECK_EQUAL(devices[i]->available_nodes, 1 << DRM_NODE_PRIMARY | 1 << DRM_NODE_RENDER);
        CHECK_EQUAL(devices[i]->bustype, DRM_BUS_PCI);
        int fd = clibdrm_open(devices[i]->nodes[DRM_NODE_RENDER]);
        CHECK(fd >= 0);
        CHECK_EQUAL(drmGetNodeTypeFromFd(fd), DRM_NODE_RENDER);
        drmDevicePtr same;
        CHECK_EQUAL(drmGetDevice2(fd, 0, &same), 0);
        CHECK(drmDevicesEqual(same, devices[i]));
        drmFreeDevice(&same);
        if (devices[i]->deviceinfo.pci->vendor_id == 0x8086) {
            drmVersionPtr version = drmGetVersion(fd);
            CHECK(version != NULL);
            intel++;
            if (devices[i]->deviceinfo.pci->device_id == expected->device) {
                found++;
                CHECK(version && strcmp(version->name, expected->driver) == 0);
            }
            drmFreeVersion(version);
        }
        close(fd);
    }
    CHECK_EQUAL(found, intel > 0); /* in which order they come is the file system's */
    if (count > 0) drmFreeDevices(devices, count);
}

TEST(all, "each machine is seen by both libraries as it should be") {
    for (size_t i = 0; i < sizeof expectations / sizeof expectations[0]; i++) {
        int before = check_failures;
        machine(expectations[i].machine, NULL);
        look_at_pci(&expectations[i]);
        look_at_drm(&expectations[i]);
        if (check_failures != before) printf("    on machine %s\n", expectations[i].machine);
    }
}

TEST(permissions, "access: config space cut short, nodes denied, nodes missing") {
    uint32_t value = 0;
    for (int whole = 0; whole < 2; whole++) {
        machine("bmg", "ACCESS", whole ? "" : "unprivileged", NULL);
        CHECK_EQUAL(pci_system_init(), 0);
        struct pci_device *device = pci_device_find_by_slot(0, 3, 0, 0);
        REQUIRE(device != NULL);
        CHECK_EQUAL(pci_device_probe(device), 0);
        CHECK_EQUAL(device->regions[2].size, 16384 * MIB);
        CHECK_EQUAL(pci_device_cfg_read_u32(device, &value, 0x40), whole ? 0 : ENXIO);
        pci_system_cleanup();
    }
    machine("bmg", "ACCESS", "denied", NULL);
    CHECK_EQUAL(clibdrm_open("/dev/dri/renderD128"), -EACCES);
    CHECK_EQUAL(access("/dev/dri/renderD128", R_OK | W_OK), -1);
    CHECK_EQUAL(access("/dev/dri/renderD128", F_OK), 0);
    CHECK_EQUAL(drmGetDevices2(0, NULL, 0), 1);
    machine("bmg", "ACCESS", "missing", NULL);
    CHECK_EQUAL(drmGetDevices2(0, NULL, 0), -ENOENT);
    CHECK_EQUAL(access("/sys/class/drm/card0", F_OK), 0);
}

TEST(small_bar, "a small BAR shows in PCI and in the driver's answer") {
    machine("dg2", "SMALL_BAR", "1", NULL);
    CHECK_EQUAL(pci_system_init(), 0);
    struct pci_device *device = pci_device_find_by_slot(0, 3, 0, 0);
    CHECK_EQUAL(pci_device_probe(device), 0);
    CHECK_EQUAL(device->regions[2].size, 256 * MIB);
    pci_system_cleanup();
    int fd = open_node(0);
    uint64_t reply[64] = {0};
    struct unbind_drm_i915_query_item item = {.query_id = UNBIND_DRM_I915_QUERY_MEMORY_REGIONS,
                                              .data_ptr = (uintptr_t)reply};
    struct unbind_drm_i915_query query = {.num_items = 1, .items_ptr = (uintptr_t)&item};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_QUERY, &query), 0);
    CHECK_EQUAL(item.length, 16 + 2 * 88);
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_QUERY, &query), 0);
    struct unbind_drm_i915_query_memory_regions *regions = (void *)reply;
    CHECK_EQUAL(regions->num_regions, 2);
    CHECK_EQUAL(regions->regions[1].probed_size, 16384 * MIB);
    CHECK_EQUAL(regions->regions[1].probed_cpu_visible_size, 256 * MIB);
    // A buffer that is not zero is refused, in the item.
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_I915_QUERY, &query), 0);
    CHECK_EQUAL(item.length, -EINVAL);
}

TEST(descriptors, "a node's descriptor can be copied, looked at and closed like any other") {
    struct stat status;
    struct statx more;
    machine("two", NULL);
    int fd = open_node(1), copy = dup(fd), third = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    CHECK(third >= 100);
    CHECK_EQUAL(fstat(copy, &status), 0);
    CHECK(S_ISCHR(status.st_mode));
    CHECK_EQUAL(status.st_rdev, makedev(226, 129));
    CHECK_EQUAL(statx(AT_FDCWD, "/dev/dri/card1", 0, STATX_BASIC_STATS, &more), 0);
    CHECK_EQUAL(more.stx_rdev_major, 226);
    CHECK_EQUAL(more.stx_rdev_minor, 1);
    uint32_t syncobj = make_syncobj(fd);
    close(fd);
    CHECK_EQUAL(clibdrm_syncobj_destroy(copy, syncobj), 0);
    close(copy);
    CHECK_EQUAL(clibdrm_syncobj_create(third, 0, &syncobj), 0);
    close(third);
    CHECK_EQUAL(clibdrm_syncobj_create(third, 0, &syncobj), -EBADF);
    int other = open_node(1);
    CHECK_EQUAL(clibdrm_syncobj_destroy(other, syncobj), -EINVAL);
    // A number that was a node's may become something else.
    int file = open("/dev/null", O_RDWR);
    CHECK_EQUAL(dup2(file, other), other);
    CHECK_EQUAL(clibdrm_syncobj_create(other, 0, &syncobj), -ENOTTY);
}

TEST(queries, "xe's queries have their sizes; a wrong size is refused") {
    static const uint32_t sizes[] = {8 + 7 * 32, 8 + 2 * 88, 8 + 5 * 8, 8 + 2 * 96, 0, 2 * 5 * 16, 40, 32};
    machine("bmg", NULL);
    int fd = open_node(0);
    uint64_t reply[128] = {0};
    for (uint32_t i = 0; i < 8; i++) {
        struct unbind_drm_xe_device_query query = {.query = i};
        CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, &query), 0);
        CHECK_EQUAL(query.size, sizes[i]);
        if (!query.size) continue;
        memset(reply, 0, sizeof reply);
        query.data = (uintptr_t)reply;
        CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, &query), 0);
        query.size += 8;
        CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, &query), -EINVAL);
        query.size -= 8;
        query.data = 8;
        CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, &query), -EFAULT);
    }
    struct unbind_drm_xe_device_query query = {.query = UNBIND_DRM_XE_DEVICE_QUERY_CONFIG, .size = 48,
                                               .data = (uintptr_t)reply};
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, &query), 0);
    struct unbind_drm_xe_query_config *config = (void *)reply;
    CHECK_EQUAL(config->info[UNBIND_DRM_XE_QUERY_CONFIG_REV_AND_DEVICE_ID], 0xe20b);
    CHECK_EQUAL(config->info[UNBIND_DRM_XE_QUERY_CONFIG_VA_BITS], 48);
    CHECK(config->info[UNBIND_DRM_XE_QUERY_CONFIG_FLAGS] & UNBIND_DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM);
    query.query = 99;
    CHECK_EQUAL(call(fd, UNBIND_DRM_IOCTL_XE_DEVICE_QUERY, &query), -EINVAL);
}
