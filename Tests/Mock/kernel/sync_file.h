/* SPDX-License-Identifier: MIT */
/* Sync files: a fence as a descriptor that poll can wait for. Lock held unless said otherwise. */
#ifndef MOCK_SYNC_FILE_H
#define MOCK_SYNC_FILE_H

#include "fence.h"

/* A new descriptor for the fence, close-on-exec, or -errno. */
int sync_file_create(struct fence *fence);
/* The fence behind a descriptor, borrowed; NULL if it is not a sync file. */
struct fence *sync_file_fence(int fd);
/* Takes the lock. */
int sync_file_ioctl(void *object, unsigned long request, void *argument);

#endif
