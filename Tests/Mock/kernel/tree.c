/* SPDX-License-Identifier: MIT */
/*
 * The machine's sysfs entries and device nodes as real files in a temporary
 * directory, which paths.c puts in the place of /sys and /dev. Calls inside the
 * C library that no preload can see (scandir's, realpath's) work on it unchanged.
 *
 * The tree is made when the library is loaded and removed when the process that
 * made it ends, by exit or _exit; programs that this one starts use the same tree through
 * UNBIND_MOCK_TREE. A killed process leaves it behind: set TMPDIR to a directory
 * that is removed anyway.
 */
#include <ftw.h>
#include <stdarg.h>
#include <sys/sysmacros.h>

#include "host.h"
#include "machines.h"

static char root[256];
static pid_t maker;

/* Device and inode of the files that stand for nodes. */
static struct {
    dev_t device;
    ino_t inode;
} nodes[8][2];

const char *tree_root(void) { return root; }

static void make_directories(char *path) {
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = 0;
        mkdir(path, 0755);
        *slash = '/';
    }
}

__attribute__((format(printf, 2, 3))) static void make_file(const char *path, const char *format, ...) {
    char full[1024];
    snprintf(full, sizeof full, "%s%s", root, path);
    make_directories(full);
    FILE *file = real()->fopen(full, "w");
    if (!file) return;
    va_list arguments;
    va_start(arguments, format);
    vfprintf(file, format, arguments);
    va_end(arguments);
    fclose(file);
}

static void make_link(const char *path, const char *target) {
    char full[1024];
    snprintf(full, sizeof full, "%s%s", root, path);
    make_directories(full);
    if (symlink(target, full) != 0 && errno != EEXIST) perror("unbind mock: symlink");
}

static void store(uint8_t *bytes, unsigned offset, unsigned width, uint64_t value) {
    for (unsigned i = 0; i < width; i++) bytes[offset + i] = (uint8_t)(value >> 8 * i);
}

/* The first 256 bytes of configuration space; the rest of it is not modelled. */
static void make_config(const char *directory, const struct pci_model *device) {
    uint8_t bytes[256] = {0};
    store(bytes, 0x00, 2, device->vendor);
    store(bytes, 0x02, 2, device->device);
    store(bytes, 0x04, 2, 0x0407);
    store(bytes, 0x06, 2, 0x0010);
    store(bytes, 0x08, 1, device->revision);
    store(bytes, 0x09, 3, device->class);
    if (device->secondary_bus) {
        store(bytes, 0x0e, 1, 1);
        store(bytes, 0x18, 1, device->bus);
        store(bytes, 0x19, 1, device->secondary_bus);
        store(bytes, 0x1a, 1, 3);
    } else {
        for (unsigned i = 0; i < 6; i++) {
            const struct bar_model *bar = &device->bars[i];
            if (!bar->size) continue;
            bool io = bar->flags & 0x100;
            store(bytes, 0x10 + 4 * i, io || i == 5 ? 4 : 8, bar->base | (io ? 1 : bar->flags & 0xf));
        }
        store(bytes, 0x2c, 2, device->subvendor);
        store(bytes, 0x2e, 2, device->subdevice);
    }
    store(bytes, 0x34, 1, 0x40);
    store(bytes, 0x3c, 1, 11);
    store(bytes, 0x3d, 1, 1);
    char full[1024];
    snprintf(full, sizeof full, "%s%s/config", root, directory);
    int fd = real()->open(full, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return;
    // Without CAP_SYS_ADMIN the kernel gives out the standard header alone.
    ssize_t written = write(fd, bytes, config.privileged ? sizeof bytes : 64);
    (void)written;
    real()->close(fd);
}

static void device_path(const struct machine *machine, int index, char *path, size_t size) {
    const struct pci_model *device = &machine->devices[index];
    char above[512];
    if (device->parent >= 0) device_path(machine, device->parent, above, sizeof above);
    else snprintf(above, sizeof above, "/sys/devices/pci%04x:%02x", device->domain, device->bus);
    snprintf(path, size, "%s/%04x:%02x:%02x.%u", above, device->domain, device->bus, device->slot, device->function);
}

/* Relative, as the kernel's links are: up to /sys from a directory of this depth. */
static void up(const char *directory, char *text) {
    *text = 0;
    for (const char *slash = directory + strlen("/sys/"); (slash = strchr(slash, '/')) != NULL; slash++)
        strcat(text, "../");
}

static void make_node(const char *device_directory, const struct pci_model *device, unsigned minor, const char *name) {
    char directory[700], path[1024], target[1024], back[128];
    snprintf(directory, sizeof directory, "%s/drm/%s", device_directory, name);
    snprintf(path, sizeof path, "%s/dev", directory);
    make_file(path, "226:%u\n", minor);
    snprintf(path, sizeof path, "%s/uevent", directory);
    make_file(path, "MAJOR=226\nMINOR=%u\nDEVNAME=dri/%s\nDEVTYPE=drm_minor\n", minor, name);
    snprintf(path, sizeof path, "%s/device", directory);
    snprintf(target, sizeof target, "../../../%s", strrchr(device_directory, '/') + 1);
    make_link(path, target);
    up(directory, back);
    snprintf(path, sizeof path, "%s/subsystem", directory);
    snprintf(target, sizeof target, "../%sclass/drm", back);
    make_link(path, target);
    snprintf(path, sizeof path, "/sys/dev/char/226:%u", minor);
    snprintf(target, sizeof target, "../..%s", directory + strlen("/sys"));
    make_link(path, target);
    snprintf(path, sizeof path, "/sys/class/drm/%s", name);
    make_link(path, target);
    if (config.nodes_missing) return;
    snprintf(path, sizeof path, "/dev/dri/%s", name);
    make_file(path, "%s", "");
    snprintf(path, sizeof path, "/dev/dri/by-path/pci-%04x:%02x:%02x.%u-%s", device->domain, device->bus,
             device->slot, device->function, minor >= 128 ? "render" : "card");
    snprintf(target, sizeof target, "../%s", name);
    make_link(path, target);
}

static void make_device(const struct machine *machine, unsigned index, unsigned *node) {
    const struct pci_model *device = &machine->devices[index];
    char directory[600], path[1024], target[1024], back[128];
    device_path(machine, (int)index, directory, sizeof directory);
    const char *slot = strrchr(directory, '/') + 1;
    up(directory, back);

#define VALUE(name, ...) (snprintf(path, sizeof path, "%s/" name, directory), make_file(path, __VA_ARGS__))
    VALUE("vendor", "0x%04x\n", device->vendor);
    VALUE("device", "0x%04x\n", device->device);
    VALUE("subsystem_vendor", "0x%04x\n", device->subvendor);
    VALUE("subsystem_device", "0x%04x\n", device->subdevice);
    VALUE("class", "0x%06x\n", device->class);
    VALUE("revision", "0x%02x\n", device->revision);
    VALUE("irq", "%d\n", 11);
    VALUE("enable", "%d\n", 1);
    if (device->class >> 8 == 0x0300) VALUE("boot_vga", "%d\n", *node == 0);
    VALUE("uevent", "%s%s%sPCI_CLASS=%X\nPCI_ID=%04X:%04X\nPCI_SUBSYS_ID=%04X:%04X\nPCI_SLOT_NAME=%s\n",
          device->driver ? "DRIVER=" : "", device->driver ? device->driver : "", device->driver ? "\n" : "",
          device->class, device->vendor, device->device, device->subvendor, device->subdevice, slot);
    char resource[1024];
    int length = 0;
    for (unsigned i = 0; i < 13; i++) {
        struct bar_model bar = {0, 0, 0};
        if (i < 6) bar = device->bars[i];
        if (i == 2 && config.small_bar && device->gpu && device->gpu->vram) bar.size = device->gpu->small_bar;
        length += snprintf(resource + length, sizeof resource - (size_t)length, "0x%016llx 0x%016llx 0x%016llx\n",
                           (unsigned long long)bar.base,
                           bar.size ? (unsigned long long)(bar.base + bar.size - 1) : 0ull,
                           (unsigned long long)bar.flags);
    }
    VALUE("resource", "%s", resource);
#undef VALUE
    make_config(directory, device);

    snprintf(path, sizeof path, "%s/subsystem", directory);
    snprintf(target, sizeof target, "../%sbus/pci", back);
    make_link(path, target);
    if (device->driver) {
        snprintf(path, sizeof path, "/sys/bus/pci/drivers/%s/bind", device->driver);
        make_file(path, "%s", "");
        snprintf(path, sizeof path, "%s/driver", directory);
        snprintf(target, sizeof target, "../%sbus/pci/drivers/%s", back, device->driver);
        make_link(path, target);
    }
    snprintf(path, sizeof path, "/sys/bus/pci/devices/%s", slot);
    snprintf(target, sizeof target, "../../..%s", directory + strlen("/sys"));
    make_link(path, target);
    if (device->gpu) {
        char name[32];
        snprintf(name, sizeof name, "card%u", *node);
        make_node(directory, device, *node, name);
        snprintf(name, sizeof name, "renderD%u", 128 + *node);
        make_node(directory, device, 128 + *node, name);
        ++*node;
    }
}

/* Notes which files stand for nodes, whether this process made them or not. */
static void find_nodes(void) {
    for (unsigned i = 0; i < 8 && machine_node(i); i++) {
        for (unsigned render = 0; render < 2; render++) {
            char path[512];
            struct stat status;
            snprintf(path, sizeof path, render ? "%s/dev/dri/renderD%u" : "%s/dev/dri/card%u", root,
                     render ? 128 + i : i);
            if (real()->stat(path, &status) != 0) continue;
            nodes[i][render].device = status.st_dev;
            nodes[i][render].inode = status.st_ino;
        }
    }
}

/* What the tree depends on; a program that was started with other settings makes one of its own. */
static void describe(char *text, size_t size) {
    snprintf(text, size, "%s %d %d %d;", config.machine, config.privileged, config.nodes_missing, config.small_bar);
}

static bool inherited(const char *given) {
    char path[512], here[64], there[64] = "";
    int owner = 0;
    if (!given || strlen(given) >= sizeof root) return false;
    snprintf(path, sizeof path, "%s/settings", given);
    FILE *file = real()->fopen(path, "r");
    if (!file) return false;
    bool same = fgets(there, sizeof there, file) != NULL && fscanf(file, "%d", &owner) == 1;
    fclose(file);
    describe(here, sizeof here);
    if (!same || strncmp(here, there, strlen(here)) != 0) return false;
    // The program that made it has become this one by exec.
    if (owner == getpid()) maker = getpid();
    return true;
}

void tree_make(void) {
    const struct machine *machine = machine_get();
    const char *given = getenv("UNBIND_MOCK_TREE"), *directory = getenv("TMPDIR");
    if (inherited(given)) {
        strcpy(root, given);
        find_nodes();
        return;
    }
    snprintf(root, sizeof root, "%s/unbind-mock.XXXXXX", directory && *directory ? directory : "/tmp");
    if (!mkdtemp(root) || chmod(root, 0755) != 0) {
        perror("unbind mock: cannot make a temporary directory");
        _exit(125);
    }
    maker = getpid();
    memset(nodes, 0, sizeof nodes);
    setenv("UNBIND_MOCK_TREE", root, 1);
    mode_t mask = umask(022);
    unsigned node = 0;
    char settings[64];
    describe(settings, sizeof settings);
    make_file("/settings", "%s\n%d\n", settings, (int)getpid());
    for (unsigned i = 0; i < machine->count; i++) make_device(machine, i, &node);
    umask(mask);
    find_nodes();
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *position) {
    (void)status, (void)kind, (void)position;
    return remove(path);
}

void tree_remove(void) {
    if (maker == getpid()) nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    maker = 0;
}

int tree_node_of(const struct stat *status, bool *render) {
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 2; k++) {
            if (!nodes[i][k].inode || nodes[i][k].inode != status->st_ino || nodes[i][k].device != status->st_dev)
                continue;
            if (render) *render = k;
            return i;
        }
    }
    return -1;
}

void tree_patch(struct stat *status) {
    bool render;
    int node = tree_node_of(status, &render);
    if (node < 0) return;
    status->st_mode = S_IFCHR | 0660;
    status->st_rdev = makedev(226, (unsigned)node + (render ? 128 : 0));
    status->st_size = 0;
}
