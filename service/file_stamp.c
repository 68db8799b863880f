#include "service/file_stamp.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>

/* A file's identity, size and times as a short text. */

void file_stamp(const char *path, char out[FILE_STAMP_SIZE])
{
    struct stat st;

    if (!path)
        snprintf(out, FILE_STAMP_SIZE, "%s", "");
    else if (stat(path, &st) != 0)
        snprintf(out, FILE_STAMP_SIZE, "-");
    else
        snprintf(out, FILE_STAMP_SIZE, "%" PRIuMAX ".%" PRIuMAX ".%" PRIdMAX ".%" PRIdMAX ".%ld",
                 (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
                 st.st_mtim.tv_nsec);
}
