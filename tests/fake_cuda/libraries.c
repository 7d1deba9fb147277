// The driver as PyTorch and Triton ask for it, then cuBLAS, cuDNN and NCCL: as much as is asked.
// Functions that only say "done" are not here; build.py adds them.
#include "common.h"

X CUresult cuDriverGetVersion(int *v) { *v = CUDART_VERSION; DONE; }
X CUresult cuDeviceGetCount(int *n) { init(); *n = card.cards; DONE; }
X CUresult cuDeviceGet(CUdevice *d, int i) { *d = i; DONE; }
X CUresult cuDeviceGetName(char *s, int n, CUdevice d) { snprintf(s, n, "%s", card.name); DONE; }
X CUresult cuDeviceGetAttribute(int *v, CUdevice_attribute a, CUdevice d) {
    *v = attribute(a);
    DONE;
}
X CUresult cuDevicePrimaryCtxGetState(CUdevice d, unsigned *flags, int *active) {
    *flags = 0;
    *active = 1;
    DONE;
}
X CUresult cuDevicePrimaryCtxRetain(CUcontext *c, CUdevice d) { *c = (CUcontext)dummy; DONE; }
X CUresult cuCtxGetCurrent(CUcontext *c) { *c = (CUcontext)dummy; DONE; }
X CUresult cuCtxGetDevice(CUdevice *d) { *d = current; DONE; }
X CUresult cuCtxPopCurrent_v2(CUcontext *c) {
    if (c) *c = (CUcontext)dummy;
    DONE;
}
X CUresult cuCtxGetLimit(size_t *v, CUlimit limit) { *v = 1024; DONE; }
X CUresult cuGetErrorString(CUresult e, const char **s) { *s = "an error of the stand-in"; DONE; }
X CUresult cuModuleLoad(CUmodule *m, const char *file) { *m = (CUmodule)dummy; DONE; }
X CUresult cuModuleLoadData(CUmodule *m, const void *data) { *m = (CUmodule)dummy; DONE; }
X CUresult cuModuleLoadDataEx(CUmodule *m, const void *data, unsigned n, CUjit_option *o,
                              void **v) { *m = (CUmodule)dummy; DONE; }
X CUresult cuModuleGetFunction(CUfunction *f, CUmodule m, const char *name) {
    *f = (CUfunction)strdup(name);
    DONE;
}
X CUresult cuModuleGetGlobal_v2(CUdeviceptr *p, size_t *n, CUmodule m, const char *name) {
    *p = (CUdeviceptr)dummy;
    if (n) *n = 0;
    DONE;
}
X CUresult cuFuncGetAttribute(int *v, CUfunction_attribute a, CUfunction f) {
    *v = a == CU_FUNC_ATTRIBUTE_NUM_REGS ? 32
       : a == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? 1024 : 0;
    DONE;
}
static CUresult launch(CUfunction f) { note(TRITON, 0, (const char *)f); DONE; }
X CUresult cuLaunchKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz, unsigned bx,
                          unsigned by, unsigned bz, unsigned shared, CUstream s, void **p,
                          void **extra) { return launch(f); }
X CUresult cuLaunchKernelEx(const CUlaunchConfig *c, CUfunction f, void **p, void **extra) {
    return launch(f);
}
X CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned gx, unsigned gy, unsigned gz,
                                     unsigned bx, unsigned by, unsigned bz, unsigned shared,
                                     CUstream s, void **p) { return launch(f); }
X CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int *n, CUfunction f, int b, size_t s) {
    *n = 2;
    DONE;
}
X CUresult cuOccupancyMaxActiveClusters(int *n, CUfunction f, const CUlaunchConfig *c) {
    *n = 8;
    DONE;
}
X CUresult cuPointerGetAttribute(void *v, CUpointer_attribute a, CUdeviceptr p) {
    *(CUdeviceptr *)v = p;
    DONE;
}
X CUresult cuStreamSynchronize(CUstream s) { note(SYNC_STREAM, 0, "stream"); DONE; }
// ---- cuBLAS
struct algorithm { uint64_t it[8]; size_t workspace; int state; float waves; int reserved[4]; };
static int handle(void **h) { *h = malloc(64); DONE; }
static int drop(void *h) { free(h); DONE; }
X int cublasCreate_v2(void **h) { return handle(h); }
X int cublasGetMathMode(void *h, int *mode) { *mode = 0; DONE; }
X int cublasGetPointerMode_v2(void *h, int *mode) { *mode = 0; DONE; }
X int cublasLtMatmulAlgoGetHeuristic(void *h, void *d, void *a, void *b, void *c, void *e, void *p,
                                     int n, struct algorithm *result, int *found) {
    memset(result, 0, sizeof *result);
    *found = 1;
    DONE;
}
X int cublasLtMatmulDescCreate(void **h, int a, int b) { return handle(h); }
X int cublasLtMatmulPreferenceCreate(void **h) { return handle(h); }
X int cublasLtMatrixLayoutCreate(void **h, int t, uint64_t r, uint64_t c, int64_t l) {
    return handle(h);
}
X int cublasLtMatmulDescDestroy(void *h) { return drop(h); }
X int cublasLtMatmulPreferenceDestroy(void *h) { return drop(h); }
X int cublasLtMatrixLayoutDestroy(void *h) { return drop(h); }
X size_t cublasLtGetVersion(void) { return 130000; }

// ---- cuDNN. Its attention cannot be planned here: watch.py switches it off.
X int cudnnCreate(void **h) { return handle(h); }
X int cudnnGetStream(void *h, void **s) { *s = 0; DONE; }
X size_t cudnnGetVersion(void) { return 92400; }
X size_t cudnnGetCudartVersion(void) { return CUDART_VERSION; }
X const char *cudnnGetErrorString(int e) { return "an error of the stand-in"; }
X void cudnnGetLastErrorString(char *s, size_t n) { if (n) s[0] = 0; }
X int cudnnGetProperty(int which, int *v) { *v = which == 0 ? 9 : which == 1 ? 24 : 0; DONE; }
X int cudnnBackendCreateDescriptor(int type, void **d) {
    handle(d);
    *(int *)*d = type;
    DONE;
}
X int cudnnBackendExecute(void *h, void *plan, void *v) { note(DNN, 0, "cudnn graph"); DONE; }
X int cudnnBackendGetAttribute(void *d, int a, int type, int64_t want, int64_t *n, void *v) {
    int whole = type == 3 && want > 0 && v;      // a whole number: 0 bytes, engine 0
    if (whole) *(int64_t *)v = 0;
    if (n) *n = type == 15 || whole;             // 15: one engine, already made by the caller
    DONE;
}

// ---- NCCL: every process is alone and gets its own data back
static size_t bytes(size_t n, int type) {
    static const int width[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
    return n * width[type];
}
static int pass(const char *what, const void *from, void *to, size_t n) {
    note(NCCL, n, what);
    if (from != to) memmove(to, from, n);
    DONE;
}
X int ncclGetVersion(int *v) { *v = 23000; DONE; }
X int ncclGetUniqueId(void *id) { memset(id, 7, 128); DONE; }
X int ncclCommInitRank(void **c, int n, char id[128], int r) { return handle(c); }
X int ncclCommInitRankConfig(void **c, int n, char id[128], int r, void *config) {
    return handle(c);
}
X int ncclCommInitRankScalable(void **c, int n, int r, int k, void *id, void *config) {
    return handle(c);
}
X int ncclCommGetAsyncError(void *c, int *e) { *e = 0; DONE; }
X const char *ncclGetErrorString(int e) { return "an error of the stand-in"; }
X const char *ncclGetLastError(void *c) { return "none"; }
X int ncclAllReduce(const void *from, void *to, size_t n, int type, int op, void *c, void *s) {
    return pass("all reduce", from, to, bytes(n, type));
}
X int ncclBroadcast(const void *from, void *to, size_t n, int type, int root, void *c, void *s) {
    return pass("broadcast", from, to, bytes(n, type));
}
X int ncclBcast(void *p, size_t n, int type, int root, void *c, void *s) {
    return pass("broadcast", p, p, bytes(n, type));
}
X int ncclAllGather(const void *from, void *to, size_t n, int type, void *c, void *s) {
    char *world = getenv("WORLD_SIZE");
    for (int i = 0; i < (world ? atoi(world) : 1); i++)
        pass("all gather", from, (char *)to + i * bytes(n, type), bytes(n, type));
    DONE;
}
