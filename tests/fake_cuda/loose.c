// Functions whose arguments differ between CUDA's versions: without its headers, as far as needed.
#define _GNU_SOURCE
#include <dlfcn.h>

int cudaStreamGetCaptureInfo(void *stream, int *status, unsigned long long *id) {
    *status = 0;
    if (id) *id = 0;
    return 0;
}
int cudaStreamGetCaptureInfo_v2(void *stream, int *status, unsigned long long *id) {
    return cudaStreamGetCaptureInfo(stream, status, id);
}
static int anything(void) { return 0; }
int cuGetProcAddress_v2(const char *name, void **p, int version, unsigned long long flags,
                        int *status) {
    void *found = dlsym(RTLD_DEFAULT, name);
    *p = found ? found : (void *)anything;
    if (status) *status = 0;
    return 0;
}
int cudaGetDriverEntryPoint(const char *name, void **p, unsigned long long flags, int *status) {
    return cuGetProcAddress_v2(name, p, 0, flags, status);
}
int cudaGetDriverEntryPointByVersion(const char *name, void **p, unsigned version,
                                     unsigned long long flags, int *status) {
    return cuGetProcAddress_v2(name, p, version, flags, status);
}
