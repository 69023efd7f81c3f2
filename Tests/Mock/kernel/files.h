/* SPDX-License-Identifier: MIT */
/* Descriptors of the mock, as the path functions need them. */
#ifndef MOCK_FILES_H
#define MOCK_FILES_H

#include <stdbool.h>
#include <sys/stat.h>

/* Opens a device node. A descriptor, or -1 and errno. Takes the lock. */
int files_open_node(unsigned node, bool render, int flags);
/* The status of a descriptor that stands for a device node. Takes the lock. */
bool files_stat_node(int fd, struct stat *status);

#endif
