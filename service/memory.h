#ifndef SERVICE_MEMORY_H
#define SERVICE_MEMORY_H
/* How malloc keeps memory. */
#include <stddef.h>

#define MEMORY_LARGE (256 * 1024)       /* octets of a body that memory_trim is worth after */

void memory_setup(void);                /* before any thread is started */
void memory_trim(void);                 /* gives unused pages back to the kernel */
#endif
