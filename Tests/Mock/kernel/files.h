/* SPDX-License-Identifier: MIT */
/* Descriptors of the mock, as the replaced functions of the C library need them. Each call takes the lock. */
#ifndef MOCK_FILES_H
#define MOCK_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

/* Opens a device node. A descriptor, or -1 and errno. */
int files_open_node(unsigned node, bool render, int flags);
/* The status of a descriptor that stands for a device node. */
bool files_stat_node(int fd, struct stat *status);
/* The descriptors are about to be closed. */
void files_close(int fd);
void files_close_range(unsigned first, unsigned last);
/* What a dup call made of one descriptor: passes the new one on. */
int files_duplicated(int from, int to);
/* 0 or -errno. */
int files_ioctl(int fd, unsigned long request, void *argument);
/* Which part of which file to map instead, or -errno. */
int files_find_mapping(int fd, uint64_t offset, size_t length, int protection, int flags, off_t *place, int *memory);

#endif
