/* SPDX-License-Identifier: MIT */
/* The xe driver of the mock: its ioctls. */
#include "gem.h"

const struct ioctl_entry xe_ioctls[] = {{0}};

void xe_file_release(struct drm_file *file) { (void)file; }
