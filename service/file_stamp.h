#ifndef SERVICE_FILE_STAMP_H
#define SERVICE_FILE_STAMP_H
/* Tells whether a file was changed: the one a path leads to, so that a symlink that is turned (as Kubernetes does with
 * secrets) is a change too. */

#define FILE_STAMP_SIZE 96

void file_stamp(const char *path, char out[FILE_STAMP_SIZE]);   /* "": no path; "-": no such file, or out of reach */
#endif
