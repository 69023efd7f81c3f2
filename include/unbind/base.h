/* SPDX-License-Identifier: MIT */
/* Version, status texts, and the callbacks a host program can install. */
#ifndef UNBIND_BASE_H
#define UNBIND_BASE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define UNBIND_VERSION_MAJOR 0
#define UNBIND_VERSION_MINOR 1
#define UNBIND_VERSION_PATCH 0
#define UNBIND_VERSION_STRING "0.1.0"

/* One number that orders versions; what unbind_version() returns. */
#define UNBIND_VERSION_NUMBER(major, minor, patch) \
    (((uint32_t)(major) << 20) | ((uint32_t)(minor) << 10) | (uint32_t)(patch))
#define UNBIND_VERSION \
    UNBIND_VERSION_NUMBER(UNBIND_VERSION_MAJOR, UNBIND_VERSION_MINOR, UNBIND_VERSION_PATCH)

/* True when the header in use is at least this version. */
#define UNBIND_VERSION_AT_LEAST(major, minor, patch) \
    (UNBIND_VERSION >= UNBIND_VERSION_NUMBER(major, minor, patch))

typedef struct unbind_device unbind_device;
typedef struct unbind_vm unbind_vm;
typedef struct unbind_bo unbind_bo;
typedef struct unbind_vma unbind_vma;
typedef struct unbind_queue unbind_queue;
typedef struct unbind_fence unbind_fence;
typedef struct unbind_timeline unbind_timeline;
typedef struct unbind_hold unbind_hold;
typedef struct unbind_range_allocator unbind_range_allocator;
typedef struct unbind_range_tracker unbind_range_tracker;

/*
 * The version of the library that is running, to compare with UNBIND_VERSION
 * (the header) or UNBIND_VERSION_NUMBER(1, 2, 3).
 *
 * Blocks: no. Since: 0.1
 */
uint32_t unbind_version(void);

/*
 * The running library's version as text, "0.1.0". Static storage.
 *
 * Blocks: no. Since: 0.1
 */
const char *unbind_version_string(void);

/*
 * The name of a status: "0" for 0 and every positive value, "-EBUSY" for
 * -EBUSY, "unknown" for a number the library never returns. Static storage.
 *
 * Blocks: no. Since: 0.1
 */
const char *unbind_status_name(int status);

/*
 * One sentence about a status: what it means here and what to do next.
 * Static storage, English, no final newline.
 *
 * Blocks: no. Since: 0.1
 */
const char *unbind_status_string(int status);

/* Log levels, most severe first. */
#define UNBIND_LOG_ERROR 0u   /* something was lost or is wrong */
#define UNBIND_LOG_WARNING 1u /* legal, but probably not what was meant */
#define UNBIND_LOG_INFO 2u    /* rare events of interest */

/*
 * Receives one message, without a final newline, valid during the call only.
 * Called with no lock held, on the thread where the event happened. May call
 * every function that is marked "Blocks: no".
 */
typedef void (*unbind_log_fn)(void *user_data, uint32_t level, const char *message);

/*
 * Receives a piece of a dump; the pieces in order make the text. Not
 * terminated: length counts. Called with no lock held, and may call every
 * function that is marked "Blocks: no".
 */
typedef void (*unbind_write_fn)(void *user_data, const char *text, size_t length);

/*
 * Memory for everything the library allocates itself (not for the system and
 * local memory of the software GPU's buffers when it is mapped by mmap).
 * allocate returns NULL when there is none, else size bytes aligned to
 * alignment, a power of two of at least 16. deallocate gets the same size back.
 * Both may be called from any thread, with internal locks held: they must not
 * call the library.
 */
struct unbind_allocator {
    uint32_t struct_size; /* sizeof(struct unbind_allocator) */
    uint32_t reserved;    /* 0 */
    void *user_data;      /* passed to both functions */
    void *(*allocate)(void *user_data, size_t size, size_t alignment);
    void (*deallocate)(void *user_data, void *memory, size_t size);
};
#define UNBIND_ALLOCATOR_INIT { sizeof(struct unbind_allocator), 0, NULL, NULL, NULL }

#ifdef __cplusplus
}
#endif

#endif /* UNBIND_BASE_H */
