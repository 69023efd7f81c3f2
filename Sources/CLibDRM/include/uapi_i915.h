/* SPDX-License-Identifier: MIT */
/*
 * What libunbind uses of the i915 driver's interface, declared from its measured layout.
 *
 * Names: the kernel's, with unbind_ or UNBIND_ in front, so that a header of the system may be included
 * beside this one. Tests/Mock/check-uapi compares every line with the recorded layout.
 */
#ifndef UNBIND_UAPI_I915_H
#define UNBIND_UAPI_I915_H

#include <stdint.h>

#define UNBIND_DRM_IOCTL_I915_GEM_BUSY 0xc0086457ul
#define UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_CREATE 0xc008646dul
#define UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT 0xc010646dul
#define UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_DESTROY 0x4008646eul
#define UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_GETPARAM 0xc0186474ul
#define UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_SETPARAM 0xc0186475ul
#define UNBIND_DRM_IOCTL_I915_GEM_CREATE 0xc010645bul
#define UNBIND_DRM_IOCTL_I915_GEM_CREATE_EXT 0xc018647cul
#define UNBIND_DRM_IOCTL_I915_GEM_EXECBUFFER2 0x40406469ul
#define UNBIND_DRM_IOCTL_I915_GEM_EXECBUFFER2_WR 0xc0406469ul
#define UNBIND_DRM_IOCTL_I915_GEM_MMAP_OFFSET 0xc0206464ul
#define UNBIND_DRM_IOCTL_I915_GEM_SET_DOMAIN 0x400c645ful
#define UNBIND_DRM_IOCTL_I915_GEM_USERPTR 0xc0186473ul
#define UNBIND_DRM_IOCTL_I915_GEM_VM_CREATE 0xc010647aul
#define UNBIND_DRM_IOCTL_I915_GEM_VM_DESTROY 0x4010647bul
#define UNBIND_DRM_IOCTL_I915_GEM_WAIT 0xc010646cul
#define UNBIND_DRM_IOCTL_I915_GETPARAM 0xc0106446ul
#define UNBIND_DRM_IOCTL_I915_GET_RESET_STATS 0xc0186472ul
#define UNBIND_DRM_IOCTL_I915_QUERY 0xc0106479ul

/* drm_i915_getparam.param */
#define UNBIND_I915_PARAM_CHIPSET_ID 4u
#define UNBIND_I915_PARAM_HAS_BLT 11u
#define UNBIND_I915_PARAM_HAS_LLC 0x11u
#define UNBIND_I915_PARAM_HAS_ALIASING_PPGTT 0x12u
#define UNBIND_I915_PARAM_HAS_EXEC_NO_RELOC 0x19u
#define UNBIND_I915_PARAM_HAS_EXEC_HANDLE_LUT 0x1au
#define UNBIND_I915_PARAM_CMD_PARSER_VERSION 0x1cu
#define UNBIND_I915_PARAM_REVISION 0x20u
#define UNBIND_I915_PARAM_HAS_GPU_RESET 0x23u
#define UNBIND_I915_PARAM_HAS_EXEC_SOFTPIN 0x25u
#define UNBIND_I915_PARAM_MMAP_GTT_VERSION 0x28u
#define UNBIND_I915_PARAM_HAS_SCHEDULER 0x29u
#define UNBIND_I915_PARAM_HAS_EXEC_ASYNC 0x2bu
#define UNBIND_I915_PARAM_HAS_EXEC_FENCE 0x2cu
#define UNBIND_I915_PARAM_HAS_EXEC_CAPTURE 0x2du
#define UNBIND_I915_PARAM_HAS_EXEC_BATCH_FIRST 0x30u
#define UNBIND_I915_PARAM_HAS_EXEC_FENCE_ARRAY 0x31u
#define UNBIND_I915_PARAM_HAS_CONTEXT_ISOLATION 0x32u
#define UNBIND_I915_PARAM_HAS_EXEC_SUBMIT_FENCE 0x35u
#define UNBIND_I915_PARAM_HAS_EXEC_TIMELINE_FENCES 0x37u
#define UNBIND_I915_PARAM_HAS_USERPTR_PROBE 0x38u

/* values of PARAM_HAS_ALIASING_PPGTT */
#define UNBIND_I915_GEM_PPGTT_NONE 0u
#define UNBIND_I915_GEM_PPGTT_ALIASING 1u
#define UNBIND_I915_GEM_PPGTT_FULL 2u

/* drm_i915_query_item.query_id */
#define UNBIND_DRM_I915_QUERY_ENGINE_INFO 2u
#define UNBIND_DRM_I915_QUERY_MEMORY_REGIONS 4u

/* engine classes */
#define UNBIND_I915_ENGINE_CLASS_INVALID (-1)
#define UNBIND_I915_ENGINE_CLASS_RENDER 0u
#define UNBIND_I915_ENGINE_CLASS_COPY 1u
#define UNBIND_I915_ENGINE_CLASS_VIDEO 2u
#define UNBIND_I915_ENGINE_CLASS_VIDEO_ENHANCE 3u
#define UNBIND_I915_ENGINE_CLASS_COMPUTE 4u

/* drm_i915_engine_info.flags */
#define UNBIND_I915_ENGINE_INFO_HAS_LOGICAL_INSTANCE 1u

/* memory classes */
#define UNBIND_I915_MEMORY_CLASS_SYSTEM 0u
#define UNBIND_I915_MEMORY_CLASS_DEVICE 1u

/* drm_i915_gem_create_ext.flags */
#define UNBIND_I915_GEM_CREATE_EXT_FLAG_NEEDS_CPU_ACCESS 1u

/* extensions of GEM_CREATE_EXT */
#define UNBIND_I915_GEM_CREATE_EXT_MEMORY_REGIONS 0u

/* drm_i915_gem_mmap_offset.flags */
#define UNBIND_I915_MMAP_OFFSET_GTT 0u
#define UNBIND_I915_MMAP_OFFSET_WC 1u
#define UNBIND_I915_MMAP_OFFSET_WB 2u
#define UNBIND_I915_MMAP_OFFSET_UC 3u
#define UNBIND_I915_MMAP_OFFSET_FIXED 4u

/* drm_i915_gem_userptr.flags */
#define UNBIND_I915_USERPTR_READ_ONLY 1u
#define UNBIND_I915_USERPTR_PROBE 2u
#define UNBIND_I915_USERPTR_UNSYNCHRONIZED 0x80000000u

/* domains of SET_DOMAIN */
#define UNBIND_I915_GEM_DOMAIN_CPU 1u
#define UNBIND_I915_GEM_DOMAIN_RENDER 2u
#define UNBIND_I915_GEM_DOMAIN_SAMPLER 4u
#define UNBIND_I915_GEM_DOMAIN_COMMAND 8u
#define UNBIND_I915_GEM_DOMAIN_INSTRUCTION 0x10u
#define UNBIND_I915_GEM_DOMAIN_VERTEX 0x20u
#define UNBIND_I915_GEM_DOMAIN_GTT 0x40u
#define UNBIND_I915_GEM_DOMAIN_WC 0x80u

/* drm_i915_gem_context_create_ext.flags */
#define UNBIND_I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS 1u
#define UNBIND_I915_CONTEXT_CREATE_FLAGS_SINGLE_TIMELINE 2u

/* extensions of CONTEXT_CREATE_EXT */
#define UNBIND_I915_CONTEXT_CREATE_EXT_SETPARAM 0u
#define UNBIND_I915_CONTEXT_CREATE_EXT_CLONE 1u

/* drm_i915_gem_context_param.param */
#define UNBIND_I915_CONTEXT_PARAM_GTT_SIZE 3u
#define UNBIND_I915_CONTEXT_PARAM_BANNABLE 5u
#define UNBIND_I915_CONTEXT_PARAM_PRIORITY 6u
#define UNBIND_I915_CONTEXT_PARAM_RECOVERABLE 8u
#define UNBIND_I915_CONTEXT_PARAM_VM 9u
#define UNBIND_I915_CONTEXT_PARAM_ENGINES 10u
#define UNBIND_I915_CONTEXT_PARAM_PERSISTENCE 11u

/* bounds of the priority */
#define UNBIND_I915_CONTEXT_MIN_USER_PRIORITY (-1023)
#define UNBIND_I915_CONTEXT_DEFAULT_PRIORITY 0u
#define UNBIND_I915_CONTEXT_MAX_USER_PRIORITY 0x3ffu

/* drm_i915_gem_exec_object2.flags */
#define UNBIND_EXEC_OBJECT_NEEDS_FENCE 1u
#define UNBIND_EXEC_OBJECT_NEEDS_GTT 2u
#define UNBIND_EXEC_OBJECT_WRITE 4u
#define UNBIND_EXEC_OBJECT_SUPPORTS_48B_ADDRESS 8u
#define UNBIND_EXEC_OBJECT_PINNED 0x10u
#define UNBIND_EXEC_OBJECT_PAD_TO_SIZE 0x20u
#define UNBIND_EXEC_OBJECT_ASYNC 0x40u
#define UNBIND_EXEC_OBJECT_CAPTURE 0x80u

/* drm_i915_gem_exec_fence.flags */
#define UNBIND_I915_EXEC_FENCE_WAIT 1u
#define UNBIND_I915_EXEC_FENCE_SIGNAL 2u

/* extensions of EXECBUFFER2 */
#define UNBIND_DRM_I915_GEM_EXECBUFFER_EXT_TIMELINE_FENCES 0u

/* drm_i915_gem_execbuffer2.flags; the low six bits choose the engine */
#define UNBIND_I915_EXEC_DEFAULT 0u
#define UNBIND_I915_EXEC_RENDER 1u
#define UNBIND_I915_EXEC_BLT 3u
#define UNBIND_I915_EXEC_RING_MASK 0x3fu
#define UNBIND_I915_EXEC_NO_RELOC 0x800u
#define UNBIND_I915_EXEC_HANDLE_LUT 0x1000u
#define UNBIND_I915_EXEC_FENCE_IN 0x10000u
#define UNBIND_I915_EXEC_FENCE_OUT 0x20000u
#define UNBIND_I915_EXEC_BATCH_FIRST 0x40000u
#define UNBIND_I915_EXEC_FENCE_ARRAY 0x80000u
#define UNBIND_I915_EXEC_FENCE_SUBMIT 0x100000u
#define UNBIND_I915_EXEC_USE_EXTENSIONS 0x200000u
#define UNBIND_I915_EXEC_CONTEXT_ID_MASK 0xffffffffu

struct unbind_i915_user_extension {
    uint64_t next_extension;
    uint32_t name;
    uint32_t flags;
    uint32_t rsvd[4];
};

struct unbind_i915_engine_class_instance {
    uint16_t engine_class;
    uint16_t engine_instance;
};

struct unbind_drm_i915_getparam {
    int32_t param;
    int *value;
};

struct unbind_drm_i915_query {
    uint32_t num_items;
    uint32_t flags;
    uint64_t items_ptr;
};

struct unbind_drm_i915_query_item {
    uint64_t query_id;
    int32_t length;
    uint32_t flags;
    uint64_t data_ptr;
};

struct unbind_drm_i915_engine_info {
    struct unbind_i915_engine_class_instance engine;
    uint32_t rsvd0;
    uint64_t flags;
    uint64_t capabilities;
    uint16_t logical_instance;
    uint16_t rsvd1[3];
    uint64_t rsvd2[3];
};

struct unbind_drm_i915_query_engine_info {
    uint32_t num_engines;
    uint32_t rsvd[3];
    struct unbind_drm_i915_engine_info engines[];
};

struct unbind_drm_i915_gem_memory_class_instance {
    uint16_t memory_class;
    uint16_t memory_instance;
};

struct unbind_drm_i915_memory_region_info {
    struct unbind_drm_i915_gem_memory_class_instance region;
    uint32_t rsvd0;
    uint64_t probed_size;
    uint64_t unallocated_size;
    union {
        uint64_t rsvd1[8];
        struct {
            uint64_t probed_cpu_visible_size;
            uint64_t unallocated_cpu_visible_size;
        };
    };
};

struct unbind_drm_i915_query_memory_regions {
    uint32_t num_regions;
    uint32_t rsvd[3];
    struct unbind_drm_i915_memory_region_info regions[];
};

struct unbind_drm_i915_gem_create {
    uint64_t size;
    uint32_t handle;
    uint32_t pad;
};

struct unbind_drm_i915_gem_create_ext {
    uint64_t size;
    uint32_t handle;
    uint32_t flags;
    uint64_t extensions;
};

struct unbind_drm_i915_gem_create_ext_memory_regions {
    struct unbind_i915_user_extension base;
    uint32_t pad;
    uint32_t num_regions;
    uint64_t regions;
};

struct unbind_drm_i915_gem_mmap_offset {
    uint32_t handle;
    uint32_t pad;
    uint64_t offset;
    uint64_t flags;
    uint64_t extensions;
};

struct unbind_drm_i915_gem_set_domain {
    uint32_t handle;
    uint32_t read_domains;
    uint32_t write_domain;
};

struct unbind_drm_i915_gem_userptr {
    uint64_t user_ptr;
    uint64_t user_size;
    uint32_t flags;
    uint32_t handle;
};

struct unbind_drm_i915_gem_wait {
    uint32_t bo_handle;
    uint32_t flags;
    int64_t timeout_ns;
};

struct unbind_drm_i915_gem_busy {
    uint32_t handle;
    uint32_t busy;
};

struct unbind_drm_i915_gem_vm_control {
    uint64_t extensions;
    uint32_t flags;
    uint32_t vm_id;
};

struct unbind_drm_i915_gem_context_create {
    uint32_t ctx_id;
    uint32_t pad;
};

struct unbind_drm_i915_gem_context_create_ext {
    uint32_t ctx_id;
    uint32_t flags;
    uint64_t extensions;
};

struct unbind_drm_i915_gem_context_param {
    uint32_t ctx_id;
    uint32_t size;
    uint64_t param;
    uint64_t value;
};

struct unbind_drm_i915_gem_context_create_ext_setparam {
    struct unbind_i915_user_extension base;
    struct unbind_drm_i915_gem_context_param param;
};

struct unbind_drm_i915_gem_context_destroy {
    uint32_t ctx_id;
    uint32_t pad;
};

struct unbind_i915_context_param_engines {
    uint64_t extensions;
    struct unbind_i915_engine_class_instance engines[];
};

struct unbind_drm_i915_gem_exec_object2 {
    uint32_t handle;
    uint32_t relocation_count;
    uint64_t relocs_ptr;
    uint64_t alignment;
    uint64_t offset;
    uint64_t flags;
    union {
        uint64_t rsvd1;
        uint64_t pad_to_size;
    };
    uint64_t rsvd2;
};

struct unbind_drm_i915_gem_execbuffer2 {
    uint64_t buffers_ptr;
    uint32_t buffer_count;
    uint32_t batch_start_offset;
    uint32_t batch_len;
    uint32_t DR1;
    uint32_t DR4;
    uint32_t num_cliprects;
    uint64_t cliprects_ptr;
    uint64_t flags;
    uint64_t rsvd1;
    uint64_t rsvd2;
};

struct unbind_drm_i915_gem_exec_fence {
    uint32_t handle;
    uint32_t flags;
};

struct unbind_drm_i915_gem_execbuffer_ext_timeline_fences {
    struct unbind_i915_user_extension base;
    uint64_t fence_count;
    uint64_t handles_ptr;
    uint64_t values_ptr;
};

struct unbind_drm_i915_reset_stats {
    uint32_t ctx_id;
    uint32_t flags;
    uint32_t reset_count;
    uint32_t batch_active;
    uint32_t batch_pending;
    uint32_t pad;
};

#endif
