/* SPDX-License-Identifier: MIT */
/*
 * libpciaccess, and what it leaves to be read from sysfs: the calls of the C
 * library that Swift cannot import by itself. No logic.
 */
#ifndef UNBIND_CPCIACCESS_H
#define UNBIND_CPCIACCESS_H

/* First: errno, fcntl and others must belong to one module only, or Embedded Swift takes EINVAL for ours. */
#include "../../CSystem/include/csystem.h"

#include <dirent.h>
#include <pciaccess.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* A descriptor, close-on-exec, or -errno. */
static inline int cpci_open_read(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* The next name in a directory, or NULL. */
static inline const char *cpci_next_name(DIR *directory) {
    struct dirent *entry = readdir(directory);
    return entry ? entry->d_name : NULL;
}

/* The device number of a character device; 0 if the path is none. */
static inline uint64_t cpci_node_number(const char *path) {
    struct stat status;
    return stat(path, &status) == 0 && S_ISCHR(status.st_mode) ? status.st_rdev : 0;
}
static inline uint32_t cpci_major(uint64_t number) { return major(number); }
static inline uint32_t cpci_minor(uint64_t number) { return minor(number); }

#endif /* UNBIND_CPCIACCESS_H */
