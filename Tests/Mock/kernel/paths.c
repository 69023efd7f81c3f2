/* SPDX-License-Identifier: MIT */
/*
 * The functions of the C library that take a path, with /sys and /dev entries of
 * the mock's machine put in place of the real ones. Only these prefixes change:
 * /sys/bus/pci, /sys/devices/pci*, /sys/dev/char/226:*, /sys/class/drm, /dev/dri.
 */
#include <stdarg.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "files.h"
#include "host.h"
#include "machines.h"

static bool inside(const char *path, const char *prefix, bool whole) {
    size_t length = strlen(prefix);
    return strncmp(path, prefix, length) == 0 && (!whole || path[length] == 0 || path[length] == '/');
}

/* A device whose files cannot be read: the path names it and the file, the machine says so. */
static bool refused(const char *path) {
    const struct machine *machine = machine_get();
    for (unsigned i = 0; i < machine->count; i++) {
        const struct pci_model *device = &machine->devices[i];
        if (!device->unreadable && !device->config_unreadable) continue;
        char slot[32];
        snprintf(slot, sizeof slot, "/%04x:%02x:%02x.%u/", device->domain, device->bus, device->slot,
                 device->function);
        const char *file = strstr(path, slot);
        if (!file) continue;
        file += strlen(slot);
        if (device->unreadable || strcmp(file, "config") == 0) return true;
    }
    return false;
}

const char *path_map(const char *path, char buffer[4096], bool opening) {
    if (!config.enabled || !path || path[0] != '/') return path;
    if (!inside(path, "/sys/bus/pci", true) && !inside(path, "/sys/devices/pci", false) &&
        !inside(path, "/sys/dev/char/226:", false) && !inside(path, "/sys/class/drm", true) &&
        !inside(path, "/dev/dri", true))
        return path;
    if (opening && refused(path)) {
        errno = EACCES;
        return NULL;
    }
    if ((size_t)snprintf(buffer, 4096, "%s%s", tree_root(), path) >= 4096) {
        errno = ENAMETOOLONG;
        return NULL;
    }
    return buffer;
}

#define MAP(opening)                                   \
    char buffer[4096];                                 \
    const char *mapped = path_map(path, buffer, opening)

/* What open gave may be a file that stands for a node. */
static int opened(int fd, const char *mapped, const char *path, int directory, int flags) {
    if (fd < 0 || !config.enabled || (mapped == path && directory == AT_FDCWD)) return fd;
    struct stat status;
    bool render;
    int node = real()->fstat(fd, &status) == 0 ? tree_node_of(&status, &render) : -1;
    if (node < 0) return fd;
    real()->close(fd);
    return files_open_node((unsigned)node, render, flags);
}

static int open_common(int directory, const char *path, int flags, unsigned mode) {
    int failure = 0;
    if (!real_ready()) return (int)syscall(SYS_openat, directory, path, flags, mode);
    MAP(true);
    if (!mapped) return -1;
    if (mapped != path && (failure = config_failure("open")) != 0) {
        errno = failure;
        return -1;
    }
    return opened(real()->openat(directory, mapped, flags, mode), mapped, path, directory, flags);
}

#define MODE(flags)                                             \
    unsigned mode = 0;                                          \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                      \
        va_list arguments;                                      \
        va_start(arguments, flags);                             \
        mode = va_arg(arguments, unsigned);                     \
        va_end(arguments);                                      \
    }

int open(const char *path, int flags, ...) {
    MODE(flags);
    return open_common(AT_FDCWD, path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE(flags);
    return open_common(AT_FDCWD, path, flags, mode);
}
int openat(int directory, const char *path, int flags, ...) {
    MODE(flags);
    return open_common(directory, path, flags, mode);
}
int openat64(int directory, const char *path, int flags, ...) {
    MODE(flags);
    return open_common(directory, path, flags, mode);
}
/* What programs call that were compiled with _FORTIFY_SOURCE. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);
int __open_2(const char *path, int flags) { return open_common(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return open_common(AT_FDCWD, path, flags, 0); }
int __openat_2(int directory, const char *path, int flags) { return open_common(directory, path, flags, 0); }
int __openat64_2(int directory, const char *path, int flags) { return open_common(directory, path, flags, 0); }

FILE *fopen(const char *path, const char *mode) {
    MAP(true);
    return mapped ? real()->fopen(mapped, mode) : NULL;
}
FILE *fopen64(const char *path, const char *mode) { return fopen(path, mode); }

static int patched(int result, struct stat *status) {
    if (result == 0 && config.enabled) tree_patch(status);
    return result;
}

int stat(const char *restrict path, struct stat *restrict status) {
    if (!real_ready()) return (int)syscall(SYS_newfstatat, AT_FDCWD, path, status, 0);
    MAP(false);
    return mapped ? patched(real()->stat(mapped, status), status) : -1;
}
int lstat(const char *restrict path, struct stat *restrict status) {
    if (!real_ready()) return (int)syscall(SYS_newfstatat, AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
    MAP(false);
    return mapped ? patched(real()->lstat(mapped, status), status) : -1;
}
int fstatat(int directory, const char *restrict path, struct stat *restrict status, int flags) {
    MAP(false);
    return mapped ? patched(real()->fstatat(directory, mapped, status, flags), status) : -1;
}
/* struct stat64 is struct stat on 64-bit Linux. */
int stat64(const char *restrict path, struct stat64 *restrict status) { return stat(path, (struct stat *)status); }
int lstat64(const char *restrict path, struct stat64 *restrict status) { return lstat(path, (struct stat *)status); }
int fstatat64(int directory, const char *restrict path, struct stat64 *restrict status, int flags) {
    return fstatat(directory, path, (struct stat *)status, flags);
}
int fstat(int fd, struct stat *status) {
    if (!real_ready()) return (int)syscall(SYS_newfstatat, fd, "", status, AT_EMPTY_PATH);
    if (config.enabled && files_stat_node(fd, status)) return 0;
    return patched(real()->fstat(fd, status), status);
}
int fstat64(int fd, struct stat64 *status) { return fstat(fd, (struct stat *)status); }

int statx(int directory, const char *restrict path, int flags, unsigned mask, struct statx *restrict status) {
    struct stat plain;
    MAP(false);
    if (!mapped) return -1;
    int result = real()->statx(directory, mapped, flags, mask, status);
    if (result != 0 || !config.enabled) return result;
    bool node = !*path && (flags & AT_EMPTY_PATH) && files_stat_node(directory, &plain);
    if (!node) {
        plain = (struct stat){.st_dev = makedev(status->stx_dev_major, status->stx_dev_minor),
                              .st_ino = status->stx_ino};
        tree_patch(&plain);
        node = S_ISCHR(plain.st_mode);
    }
    if (node) {
        status->stx_mode = (uint16_t)plain.st_mode;
        status->stx_rdev_major = major(plain.st_rdev);
        status->stx_rdev_minor = minor(plain.st_rdev);
        status->stx_size = 0;
    }
    return 0;
}

int access(const char *path, int mode) {
    return faccessat(AT_FDCWD, path, mode, 0);
}
int faccessat(int directory, const char *path, int mode, int flags) {
    struct stat status;
    MAP(mode & R_OK);
    if (!mapped) return -1;
    if (mapped != path && config.nodes_denied && mode != F_OK && real()->stat(mapped, &status) == 0 &&
        tree_node_of(&status, NULL) >= 0) {
        errno = EACCES;
        return -1;
    }
    return real()->faccessat(directory, mapped, mode, flags);
}
int eaccess(const char *path, int mode) { return faccessat(AT_FDCWD, path, mode, AT_EACCESS); }
int euidaccess(const char *path, int mode) { return faccessat(AT_FDCWD, path, mode, AT_EACCESS); }

ssize_t readlink(const char *restrict path, char *restrict target, size_t size) {
    if (!real_ready()) return syscall(SYS_readlinkat, AT_FDCWD, path, target, size);
    MAP(false);
    return mapped ? real()->readlink(mapped, target, size) : -1;
}
ssize_t readlinkat(int directory, const char *restrict path, char *restrict target, size_t size) {
    MAP(false);
    return mapped ? real()->readlinkat(directory, mapped, target, size) : -1;
}

/* The tree's own place is not to be seen: what lies in it is called by the name it stands for. */
char *realpath(const char *restrict path, char *restrict resolved) {
    MAP(false);
    if (!mapped) return NULL;
    char *result = real()->realpath(mapped, resolved);
    size_t length = strlen(tree_root());
    if (result && config.enabled && length && inside(result, tree_root(), true) && result[length] == '/')
        memmove(result, result + length, strlen(result + length) + 1);
    return result;
}
char *__realpath_chk(const char *path, char *resolved, size_t size);
char *__realpath_chk(const char *path, char *resolved, size_t size) {
    (void)size;
    return realpath(path, resolved);
}
char *canonicalize_file_name(const char *path) { return realpath(path, NULL); }

DIR *opendir(const char *path) {
    MAP(false);
    return mapped ? real()->opendir(mapped) : NULL;
}
int scandir(const char *restrict path, struct dirent ***restrict list, int (*select)(const struct dirent *),
            int (*compare)(const struct dirent **, const struct dirent **)) {
    MAP(false);
    return mapped ? real()->scandir(mapped, list, select, compare) : -1;
}
int scandir64(const char *restrict path, struct dirent64 ***restrict list, int (*select)(const struct dirent64 *),
              int (*compare)(const struct dirent64 **, const struct dirent64 **)) {
    return scandir(path, (struct dirent ***)list, (int (*)(const struct dirent *))(void *)select,
                   (int (*)(const struct dirent **, const struct dirent **))(void *)compare);
}
