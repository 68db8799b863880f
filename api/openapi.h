#ifndef API_OPENAPI_H
#define API_OPENAPI_H
/* The text of openapi.yaml, put in by the build. */
#include <stddef.h>

extern const char openapi_yaml[];
extern const size_t openapi_yaml_len;
#endif
