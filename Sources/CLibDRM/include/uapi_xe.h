/* SPDX-License-Identifier: MIT */
/*
 * What libunbind uses of the xe driver's interface, declared from its measured layout. The newest kernel
 * interface is described; members that older kernels lack lie in what was reserved there, so they are
 * zero and ignored. Nothing here is taken from an installed header: Debian 12 has none for xe.
 *
 * Names: the kernel's, with unbind_ or UNBIND_ in front, so that a header of the system may be included
 * beside this one. Tests/Mock/check-uapi compares every line with the recorded layout.
 */
#ifndef UNBIND_UAPI_XE_H
#define UNBIND_UAPI_XE_H

#include <stdint.h>

#define UNBIND_DRM_IOCTL_XE_DEVICE_QUERY 0xc0286440ul
#define UNBIND_DRM_IOCTL_XE_GEM_CREATE 0xc0386441ul
#define UNBIND_DRM_IOCTL_XE_GEM_MMAP_OFFSET 0xc0286442ul
#define UNBIND_DRM_IOCTL_XE_VM_CREATE 0xc0206443ul
#define UNBIND_DRM_IOCTL_XE_VM_DESTROY 0x40186444ul
#define UNBIND_DRM_IOCTL_XE_VM_BIND 0x40886445ul
#define UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_CREATE 0xc0306446ul
#define UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_DESTROY 0x40186447ul
#define UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_GET_PROPERTY 0xc0286448ul
#define UNBIND_DRM_IOCTL_XE_EXEC 0x40386449ul
#define UNBIND_DRM_IOCTL_XE_WAIT_USER_FENCE 0xc048644aul
#define UNBIND_DRM_IOCTL_XE_EXEC_QUEUE_SET_PROPERTY 0x4028644eul
#define UNBIND_DRM_IOCTL_XE_VM_GET_PROPERTY 0xc038644ful

/* drm_xe_device_query.query */
#define UNBIND_DRM_XE_DEVICE_QUERY_ENGINES 0u
#define UNBIND_DRM_XE_DEVICE_QUERY_MEM_REGIONS 1u
#define UNBIND_DRM_XE_DEVICE_QUERY_CONFIG 2u
#define UNBIND_DRM_XE_DEVICE_QUERY_GT_LIST 3u
#define UNBIND_DRM_XE_DEVICE_QUERY_HWCONFIG 4u
#define UNBIND_DRM_XE_DEVICE_QUERY_GT_TOPOLOGY 5u
#define UNBIND_DRM_XE_DEVICE_QUERY_ENGINE_CYCLES 6u
#define UNBIND_DRM_XE_DEVICE_QUERY_UC_FW_VERSION 7u

/* engine classes; VM_BIND names a bind queue, not an engine */
#define UNBIND_DRM_XE_ENGINE_CLASS_RENDER 0u
#define UNBIND_DRM_XE_ENGINE_CLASS_COPY 1u
#define UNBIND_DRM_XE_ENGINE_CLASS_VIDEO_DECODE 2u
#define UNBIND_DRM_XE_ENGINE_CLASS_VIDEO_ENHANCE 3u
#define UNBIND_DRM_XE_ENGINE_CLASS_COMPUTE 4u
#define UNBIND_DRM_XE_ENGINE_CLASS_VM_BIND 5u

/* drm_xe_mem_region.mem_class */
#define UNBIND_DRM_XE_MEM_REGION_CLASS_SYSMEM 0u
#define UNBIND_DRM_XE_MEM_REGION_CLASS_VRAM 1u

/* bits of info[CONFIG_FLAGS] */
#define UNBIND_DRM_XE_QUERY_CONFIG_FLAG_HAS_VRAM 1u
#define UNBIND_DRM_XE_QUERY_CONFIG_FLAG_HAS_CPU_ADDR_MIRROR 4u

/* indices into drm_xe_query_config.info */
#define UNBIND_DRM_XE_QUERY_CONFIG_REV_AND_DEVICE_ID 0u
#define UNBIND_DRM_XE_QUERY_CONFIG_FLAGS 1u
#define UNBIND_DRM_XE_QUERY_CONFIG_MIN_ALIGNMENT 2u
#define UNBIND_DRM_XE_QUERY_CONFIG_VA_BITS 3u
#define UNBIND_DRM_XE_QUERY_CONFIG_MAX_EXEC_QUEUE_PRIORITY 4u

/* drm_xe_gt.type */
#define UNBIND_DRM_XE_QUERY_GT_TYPE_MAIN 0u
#define UNBIND_DRM_XE_QUERY_GT_TYPE_MEDIA 1u

/* drm_xe_gem_create.flags */
#define UNBIND_DRM_XE_GEM_CREATE_FLAG_DEFER_BACKING 1u
#define UNBIND_DRM_XE_GEM_CREATE_FLAG_NEEDS_VISIBLE_VRAM 4u

/* drm_xe_gem_create.cpu_caching */
#define UNBIND_DRM_XE_GEM_CPU_CACHING_WB 1u
#define UNBIND_DRM_XE_GEM_CPU_CACHING_WC 2u

/* extensions of GEM_CREATE */
#define UNBIND_DRM_XE_GEM_CREATE_EXTENSION_SET_PROPERTY 0u

/* drm_xe_gem_mmap_offset.flags */
#define UNBIND_DRM_XE_MMAP_OFFSET_FLAG_PCI_BARRIER 1u

/* drm_xe_vm_create.flags */
#define UNBIND_DRM_XE_VM_CREATE_FLAG_SCRATCH_PAGE 1u
#define UNBIND_DRM_XE_VM_CREATE_FLAG_LR_MODE 2u
#define UNBIND_DRM_XE_VM_CREATE_FLAG_FAULT_MODE 4u
#define UNBIND_DRM_XE_VM_CREATE_FLAG_NO_VM_OVERCOMMIT 8u

/* drm_xe_vm_bind_op.op */
#define UNBIND_DRM_XE_VM_BIND_OP_MAP 0u
#define UNBIND_DRM_XE_VM_BIND_OP_UNMAP 1u
#define UNBIND_DRM_XE_VM_BIND_OP_MAP_USERPTR 2u
#define UNBIND_DRM_XE_VM_BIND_OP_UNMAP_ALL 3u
#define UNBIND_DRM_XE_VM_BIND_OP_PREFETCH 4u

/* drm_xe_vm_bind_op.flags */
#define UNBIND_DRM_XE_VM_BIND_FLAG_READONLY 1u
#define UNBIND_DRM_XE_VM_BIND_FLAG_IMMEDIATE 2u
#define UNBIND_DRM_XE_VM_BIND_FLAG_NULL 4u
#define UNBIND_DRM_XE_VM_BIND_FLAG_DUMPABLE 8u
#define UNBIND_DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR 0x20u
#define UNBIND_DRM_XE_VM_BIND_FLAG_DECOMPRESS 0x80u

/* drm_xe_sync.type */
#define UNBIND_DRM_XE_SYNC_TYPE_SYNCOBJ 0u
#define UNBIND_DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ 1u
#define UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE 2u

/* drm_xe_sync.flags; clear means wait */
#define UNBIND_DRM_XE_SYNC_FLAG_SIGNAL 1u

/* most syncs of one EXEC or VM_BIND */
#define UNBIND_DRM_XE_MAX_SYNCS 0x400u

/* extensions of EXEC_QUEUE_CREATE */
#define UNBIND_DRM_XE_EXEC_QUEUE_EXTENSION_SET_PROPERTY 0u

/* queue properties */
#define UNBIND_DRM_XE_EXEC_QUEUE_SET_PROPERTY_PRIORITY 0u
#define UNBIND_DRM_XE_EXEC_QUEUE_SET_PROPERTY_TIMESLICE 1u

/* what EXEC_QUEUE_GET_PROPERTY tells */
#define UNBIND_DRM_XE_EXEC_QUEUE_GET_PROPERTY_BAN 0u

/* drm_xe_wait_user_fence.op */
#define UNBIND_DRM_XE_UFENCE_WAIT_OP_EQ 0u
#define UNBIND_DRM_XE_UFENCE_WAIT_OP_NEQ 1u
#define UNBIND_DRM_XE_UFENCE_WAIT_OP_GT 2u
#define UNBIND_DRM_XE_UFENCE_WAIT_OP_GTE 3u
#define UNBIND_DRM_XE_UFENCE_WAIT_OP_LT 4u
#define UNBIND_DRM_XE_UFENCE_WAIT_OP_LTE 5u

/* drm_xe_wait_user_fence.flags */
#define UNBIND_DRM_XE_UFENCE_WAIT_FLAG_ABSTIME 1u

/* what VM_GET_PROPERTY tells (7.1) */
#define UNBIND_DRM_XE_VM_GET_PROPERTY_FAULTS 0u

/* xe_vm_fault.access_type */
#define UNBIND_FAULT_ACCESS_TYPE_READ 0u
#define UNBIND_FAULT_ACCESS_TYPE_WRITE 1u
#define UNBIND_FAULT_ACCESS_TYPE_ATOMIC 2u

/* xe_vm_fault.fault_type */
#define UNBIND_FAULT_TYPE_NOT_PRESENT 0u
#define UNBIND_FAULT_TYPE_WRITE_ACCESS 1u

/* xe_vm_fault.fault_level */
#define UNBIND_FAULT_LEVEL_PTE 0u
#define UNBIND_FAULT_LEVEL_PDE 1u
#define UNBIND_FAULT_LEVEL_PDP 2u
#define UNBIND_FAULT_LEVEL_PML4 3u
#define UNBIND_FAULT_LEVEL_PML5 4u

struct unbind_drm_xe_user_extension {
    uint64_t next_extension;
    uint32_t name;
    uint32_t pad;
};

struct unbind_drm_xe_ext_set_property {
    struct unbind_drm_xe_user_extension base;
    uint32_t property;
    uint32_t pad;
    union {
        uint64_t value;
        uint64_t ptr;
    };
    uint64_t reserved[2];
};

struct unbind_drm_xe_engine_class_instance {
    uint16_t engine_class;
    uint16_t engine_instance;
    uint16_t gt_id;
    uint16_t pad;
};

struct unbind_drm_xe_engine {
    struct unbind_drm_xe_engine_class_instance instance;
    uint64_t reserved[3];
};

struct unbind_drm_xe_query_engines {
    uint32_t num_engines;
    uint32_t pad;
    struct unbind_drm_xe_engine engines[];
};

struct unbind_drm_xe_mem_region {
    uint16_t mem_class;
    uint16_t instance;
    uint32_t min_page_size;
    uint64_t total_size;
    uint64_t used;
    uint64_t cpu_visible_size;
    uint64_t cpu_visible_used;
    uint64_t reserved[6];
};

struct unbind_drm_xe_query_mem_regions {
    uint32_t num_mem_regions;
    uint32_t pad;
    struct unbind_drm_xe_mem_region mem_regions[];
};

struct unbind_drm_xe_query_config {
    uint32_t num_params;
    uint32_t pad;
    uint64_t info[];
};

struct unbind_drm_xe_gt {
    uint16_t type;
    uint16_t tile_id;
    uint16_t gt_id;
    uint16_t pad[3];
    uint32_t reference_clock;
    uint64_t near_mem_regions;
    uint64_t far_mem_regions;
    uint16_t ip_ver_major;
    uint16_t ip_ver_minor;
    uint16_t ip_ver_rev;
    uint16_t pad2;
    uint64_t reserved[7];
};

struct unbind_drm_xe_query_gt_list {
    uint32_t num_gt;
    uint32_t pad;
    struct unbind_drm_xe_gt gt_list[];
};

struct unbind_drm_xe_query_topology_mask {
    uint16_t gt_id;
    uint16_t type;
    uint32_t num_bytes;
    uint8_t mask[];
};

struct unbind_drm_xe_query_engine_cycles {
    struct unbind_drm_xe_engine_class_instance eci;
    int32_t clockid;
    uint32_t width;
    uint64_t engine_cycles;
    uint64_t cpu_timestamp;
    uint64_t cpu_delta;
};

struct unbind_drm_xe_query_uc_fw_version {
    uint16_t uc_type;
    uint16_t pad;
    uint32_t branch_ver;
    uint32_t major_ver;
    uint32_t minor_ver;
    uint32_t patch_ver;
    uint32_t pad2;
    uint64_t reserved;
};

struct unbind_drm_xe_device_query {
    uint64_t extensions;
    uint32_t query;
    uint32_t size;
    uint64_t data;
    uint64_t reserved[2];
};

struct unbind_drm_xe_gem_create {
    uint64_t extensions;
    uint64_t size;
    uint32_t placement;
    uint32_t flags;
    uint32_t vm_id;
    uint32_t handle;
    uint16_t cpu_caching;
    uint16_t pad[3];
    uint64_t reserved[2];
};

struct unbind_drm_xe_gem_mmap_offset {
    uint64_t extensions;
    uint32_t handle;
    uint32_t flags;
    uint64_t offset;
    uint64_t reserved[2];
};

struct unbind_drm_xe_vm_create {
    uint64_t extensions;
    uint32_t flags;
    uint32_t vm_id;
    uint64_t reserved[2];
};

struct unbind_drm_xe_vm_destroy {
    uint32_t vm_id;
    uint32_t pad;
    uint64_t reserved[2];
};

struct unbind_drm_xe_vm_bind_op {
    uint64_t extensions;
    uint32_t obj;
    uint16_t pat_index;
    uint16_t pad;
    union {
        uint64_t obj_offset;
        uint64_t userptr;
        int64_t cpu_addr_mirror_offset;
    };
    uint64_t range;
    uint64_t addr;
    uint32_t op;
    uint32_t flags;
    uint32_t prefetch_mem_region_instance;
    uint32_t pad2;
    uint64_t reserved[3];
};

struct unbind_drm_xe_vm_bind {
    uint64_t extensions;
    uint32_t vm_id;
    uint32_t exec_queue_id;
    uint32_t pad;
    uint32_t num_binds;
    union {
        struct unbind_drm_xe_vm_bind_op bind;
        uint64_t vector_of_binds;
    };
    uint32_t pad2;
    uint32_t num_syncs;
    uint64_t syncs;
    uint64_t reserved[2];
};

struct unbind_xe_vm_fault {
    uint64_t address;
    uint32_t address_precision;
    uint8_t access_type;
    uint8_t fault_type;
    uint8_t fault_level;
    uint8_t pad;
    uint64_t reserved[4];
};

struct unbind_drm_xe_vm_get_property {
    uint64_t extensions;
    uint32_t vm_id;
    uint32_t property;
    uint32_t size;
    uint32_t pad;
    union {
        uint64_t data;
        uint64_t value;
    };
    uint64_t reserved[3];
};

struct unbind_drm_xe_exec_queue_create {
    uint64_t extensions;
    uint16_t width;
    uint16_t num_placements;
    uint32_t vm_id;
    uint32_t flags;
    uint32_t exec_queue_id;
    uint64_t instances;
    uint64_t reserved[2];
};

struct unbind_drm_xe_exec_queue_destroy {
    uint32_t exec_queue_id;
    uint32_t pad;
    uint64_t reserved[2];
};

struct unbind_drm_xe_exec_queue_get_property {
    uint64_t extensions;
    uint32_t exec_queue_id;
    uint32_t property;
    uint64_t value;
    uint64_t reserved[2];
};

struct unbind_drm_xe_sync {
    uint64_t extensions;
    uint32_t type;
    uint32_t flags;
    union {
        uint32_t handle;
        uint64_t addr;
    };
    uint64_t timeline_value;
    uint64_t reserved[2];
};

struct unbind_drm_xe_exec {
    uint64_t extensions;
    uint32_t exec_queue_id;
    uint32_t num_syncs;
    uint64_t syncs;
    uint64_t address;
    uint16_t num_batch_buffer;
    uint16_t pad[3];
    uint64_t reserved[2];
};

struct unbind_drm_xe_wait_user_fence {
    uint64_t extensions;
    uint64_t addr;
    uint16_t op;
    uint16_t flags;
    uint32_t pad;
    uint64_t value;
    uint64_t mask;
    int64_t timeout;
    uint32_t exec_queue_id;
    uint32_t pad2;
    uint64_t reserved[2];
};

struct unbind_drm_xe_exec_queue_set_property {
    uint64_t extensions;
    uint32_t exec_queue_id;
    uint32_t property;
    uint64_t value;
    uint64_t reserved[2];
};

#endif
