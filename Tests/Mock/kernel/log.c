/* SPDX-License-Identifier: MIT */
/*
 * The mock's log: whole lines appended to the file that UNBIND_MOCK_LOG names.
 * strace sees none of the mock's ioctls, since they never reach the real kernel:
 * this log stands in for it.
 */
#include <stdarg.h>

#include "host.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int log_fd = -1;
static _Thread_local char detail[256];
static _Thread_local size_t detail_length;

static void open_log(void) {
    const char *path = getenv("UNBIND_MOCK_LOG");
    if (!path || !*path) return;
    int fd = real()->open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return;
    // Out of the way: programs that count or close low descriptors do not meet it.
    log_fd = real()->fcntl(fd, F_DUPFD_CLOEXEC, 900);
    if (log_fd < 0) log_fd = fd;
    else real()->close(fd);
}

void log_line(const char *format, ...) {
    pthread_once(&once, open_log);
    if (log_fd < 0) return;
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length < 0) return;
    if ((size_t)length > sizeof line - 2) length = sizeof line - 2;
    line[length++] = '\n';
    if (write(log_fd, line, (size_t)length) < 0) log_fd = -1;
}

void log_detail(const char *format, ...) {
    if (detail_length >= sizeof detail - 1) return;
    va_list arguments;
    va_start(arguments, format);
    detail[detail_length] = ' ';
    int length = vsnprintf(detail + detail_length + 1, sizeof detail - detail_length - 1, format, arguments);
    va_end(arguments);
    if (length > 0) detail_length += (size_t)length + 1;
    if (detail_length > sizeof detail - 1) detail_length = sizeof detail - 1;
}

const char *log_take_detail(void) {
    detail[detail_length] = 0;
    detail_length = 0;
    return detail;
}
