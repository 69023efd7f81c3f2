/* SPDX-License-Identifier: MIT */
/* The i915 driver of the mock: its ioctls. */
#include "gem.h"

const struct ioctl_entry i915_ioctls[] = {{0}};

void i915_file_release(struct drm_file *file) { (void)file; }

void i915_handle_closed(struct drm_file *file, struct gem_object *object) { (void)file, (void)object; }
