// The card: its properties, the counters, kernels (which do not run), streams and events.
#include "common.h"
#include <pthread.h>
#include <time.h>

static int64_t counts[N_KINDS];
static void (*hook)(int kind, int64_t bytes, const char *what);
X int64_t fakecuda_count(int kind) { return counts[kind]; }
X void fakecuda_hook(void *f) { hook = f; }
X void fakecuda_note(int kind, const char *what) { note(kind, 0, what); }
void add(int kind, int64_t n) { __sync_fetch_and_add(&counts[kind], n); }
void note(int kind, int64_t bytes, const char *what) {
    add(kind, 1);
    if (hook) hook(kind, bytes, what);
}

struct card card = {"stand-in for an H100", 9, 0, 132, 2048, 80ull << 30, 227 << 10, 1};
__thread int current = 0;
void *dummy[4096];
void init(void) {
    static int done;
    if (done) return;
    done = 1;
    char *cc = getenv("FAKE_CC"), *n = getenv("FAKE_COUNT"), *gib = getenv("FAKE_MEM_GIB");
    if (cc) sscanf(cc, "%d.%d", &card.major, &card.minor);
    if (card.major == 7) {
        card.name = "stand-in for a T4";
        card.processors = 40;
        card.threads = 1024;
        card.shared = 64 << 10;
        card.memory = (15ull << 30) - (100 << 20);
    } else if (card.major == 8) {
        card.name = "stand-in for an A100";
        card.processors = 108;
        card.shared = 163 << 10;
        card.memory = 40ull << 30;
    }
    if (n) card.cards = atoi(n);
    if (gib) card.memory = (size_t)(atof(gib) * (1 << 30));
}
int attribute(int number) {
    init();
    switch (number) {
    case cudaDevAttrMaxThreadsPerBlock: case cudaDevAttrMaxBlockDimX: case cudaDevAttrMaxBlockDimY:
        return 1024;
    case cudaDevAttrMaxBlockDimZ: return 64;
    case cudaDevAttrMaxGridDimX: return 2147483647;
    case cudaDevAttrMaxGridDimY: case cudaDevAttrMaxGridDimZ: return 65535;
    case cudaDevAttrMaxSharedMemoryPerBlock: return 49152;
    case cudaDevAttrTotalConstantMemory: return 65536;
    case cudaDevAttrWarpSize: return 32;
    case cudaDevAttrMaxRegistersPerBlock: case cudaDevAttrMaxRegistersPerMultiprocessor:
        return 65536;
    case cudaDevAttrClockRate: return 1980000;
    case cudaDevAttrMultiProcessorCount: return card.processors;
    case cudaDevAttrMemoryClockRate: return 2619000;
    case cudaDevAttrGlobalMemoryBusWidth: return 5120;
    case cudaDevAttrL2CacheSize: return 50 << 20;
    case cudaDevAttrMaxThreadsPerMultiProcessor: return card.threads;
    case cudaDevAttrComputeCapabilityMajor: return card.major;
    case cudaDevAttrComputeCapabilityMinor: return card.minor;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: return card.shared + 1024;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: return card.shared;
    case cudaDevAttrMaxBlocksPerMultiprocessor: return 32;
    case cudaDevAttrReservedSharedMemoryPerBlock: return 1024;
    case cudaDevAttrUnifiedAddressing: case cudaDevAttrManagedMemory:
    case cudaDevAttrConcurrentManagedAccess: case cudaDevAttrCooperativeLaunch: return 1;
    }
    return 0;
}
X cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int d) {
    *v = attribute(a);
    DONE;
}
X cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int d) {
    init();
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", card.name);
    p->uuid.bytes[0] = d + 1;
    p->totalGlobalMem = card.memory;
    p->sharedMemPerBlock = 49152;
    p->regsPerBlock = p->regsPerMultiprocessor = p->totalConstMem = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 2147483647;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->major = card.major;
    p->minor = card.minor;
    p->textureAlignment = 512;
    p->multiProcessorCount = card.processors;
    p->l2CacheSize = 50 << 20;
    p->maxThreadsPerMultiProcessor = card.threads;
    p->sharedMemPerMultiprocessor = card.shared + 1024;
    p->sharedMemPerBlockOptin = card.shared;
    p->maxBlocksPerMultiProcessor = 32;
    p->memoryBusWidth = 5120;
    p->asyncEngineCount = 3;
    p->unifiedAddressing = p->concurrentKernels = p->managedMemory = p->cooperativeLaunch = 1;
    DONE;
}
// CUDA 12's headers give the function the name of its second version, CUDA 13's do not
X cudaError_t cudaGetDeviceProperties_v2(struct cudaDeviceProp *p, int d) {
    return cudaGetDeviceProperties(p, d);
}
X cudaError_t cudaGetDeviceCount(int *n) { init(); *n = card.cards; DONE; }
X cudaError_t cudaGetDevice(int *d) { *d = current; DONE; }
X cudaError_t cudaSetDevice(int d) {
    init();
    if (d < 0 || d >= card.cards) return cudaErrorInvalidDevice;
    current = d;
    DONE;
}
X cudaError_t cudaDeviceGetPCIBusId(char *s, int n, int d) {
    snprintf(s, n, "0000:%02x:00.0", d);
    DONE;
}
X cudaError_t cudaDeviceGetStreamPriorityRange(int *low, int *high) {
    *low = 0;
    *high = -5;
    DONE;
}
X cudaError_t cudaDeviceCanAccessPeer(int *yes, int a, int b) { *yes = 1; DONE; }
X cudaError_t cudaDeviceSynchronize(void) { note(SYNC_DEVICE, 0, "device"); DONE; }
X cudaError_t cudaDriverGetVersion(int *v) { *v = CUDART_VERSION; DONE; }
X cudaError_t cudaRuntimeGetVersion(int *v) { *v = CUDART_VERSION; DONE; }
X const char *cudaGetErrorString(cudaError_t e) {
    return e == cudaErrorMemoryAllocation ? "out of memory" : "an error of the stand-in";
}
X const char *cudaGetErrorName(cudaError_t e) {
    return e == cudaErrorMemoryAllocation ? "cudaErrorMemoryAllocation" : "standInError";
}

// ---- kernels: PyTorch registers them by name, so that a launch can say which it was
struct kernel { const void *f; const char *name; };
static struct kernel *kernels;
static size_t n_kernels, room;
static int sorted;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int compare(const void *a, const void *b) {
    const char *x = ((struct kernel *)a)->f, *y = ((struct kernel *)b)->f;
    return x < y ? -1 : x > y;
}
static cudaError_t launch(const void *f) {
    pthread_mutex_lock(&lock);
    if (!sorted) qsort(kernels, n_kernels, sizeof(struct kernel), compare);
    sorted = 1;
    struct kernel key = {f, 0};
    struct kernel *found = bsearch(&key, kernels, n_kernels, sizeof(struct kernel), compare);
    pthread_mutex_unlock(&lock);
    note(LAUNCH, 0, found ? found->name : "?");
    DONE;
}
X void **__cudaRegisterFatBinary(void *b) { return dummy; }
X void __cudaRegisterFatBinaryEnd(void **h) {}
X void __cudaUnregisterFatBinary(void **h) {}
X void __cudaRegisterVar(void **h, char *host, char *there, const char *name, int ext,
                         size_t size, int constant, int global) {}
X void __cudaRegisterFunction(void **h, const char *host, char *there, const char *name, int limit,
                              uint3 *t, uint3 *b, dim3 *bd, dim3 *gd, int *w) {
    pthread_mutex_lock(&lock);
    if (n_kernels == room) {
        room = room ? 2 * room : 1 << 17;
        kernels = realloc(kernels, room * sizeof(struct kernel));
    }
    kernels[n_kernels++] = (struct kernel){host, name};
    sorted = 0;
    pthread_mutex_unlock(&lock);
}
static __thread struct { dim3 grid, block; size_t shared; void *stream; } call;
X unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
    call.grid = grid;
    call.block = block;
    call.shared = shared;
    call.stream = stream;
    DONE;
}
X cudaError_t __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void *stream) {
    *grid = call.grid;
    *block = call.block;
    *shared = call.shared;
    *(void **)stream = call.stream;
    DONE;
}
X cudaError_t __cudaGetKernel(void **kernel, const void *f) { *kernel = (void *)f; DONE; }
X cudaError_t __cudaLaunchKernel(void *f, dim3 g, dim3 b, void **a, size_t s, cudaStream_t st) {
    return launch(f);
}
X cudaError_t cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **a, size_t s,
                               cudaStream_t st) { return launch(f); }
X cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **a) {
    return launch(f);
}
X cudaError_t cudaLaunchCooperativeKernel(const void *f, dim3 g, dim3 b, void **a, size_t s,
                                          cudaStream_t st) { return launch(f); }
X cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *data) { f(data); DONE; }
X cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) {
    init();
    memset(a, 0, sizeof *a);
    a->maxThreadsPerBlock = 1024;
    a->numRegs = 32;
    a->binaryVersion = a->ptxVersion = 10 * card.major + card.minor;
    a->maxDynamicSharedSizeBytes = card.shared;
    DONE;
}
X cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b,
                                                                     size_t s, unsigned flags) {
    *n = 2;
    DONE;
}
X cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int b,
                                                            size_t s) { *n = 2; DONE; }

// ---- streams are numbers; an event is the time of its recording, in milliseconds
static cudaError_t new_stream(cudaStream_t *s) {
    static long last = 16;
    *s = (cudaStream_t)(uintptr_t)__sync_add_and_fetch(&last, 16);
    DONE;
}
X cudaError_t cudaStreamCreate(cudaStream_t *s) { return new_stream(s); }
X cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned f) { return new_stream(s); }
X cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned f, int p) {
    return new_stream(s);
}
X cudaError_t cudaStreamQuery(cudaStream_t s) { note(QUERY, 0, "stream"); DONE; }
X cudaError_t cudaStreamGetPriority(cudaStream_t s, int *p) { *p = 0; DONE; }
X cudaError_t cudaStreamSynchronize(cudaStream_t s) { note(SYNC_STREAM, 0, "stream"); DONE; }
X cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *status) {
    *status = 0;
    DONE;
}
X cudaError_t cudaStreamAddCallback(cudaStream_t s, cudaStreamCallback_t f, void *d, unsigned n) {
    f(s, 0, d);
    DONE;
}
X cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
    *e = (cudaEvent_t)calloc(1, sizeof(double));
    DONE;
}
X cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, 0); }
X cudaError_t cudaEventDestroy(cudaEvent_t e) { free(e); DONE; }
X cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    *(double *)e = 1e3 * t.tv_sec + 1e-6 * t.tv_nsec;
    DONE;
}
X cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned flags) {
    return cudaEventRecord(e, s);
}
X cudaError_t cudaEventSynchronize(cudaEvent_t e) { note(SYNC_EVENT, 0, "event"); DONE; }
X cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t a, cudaEvent_t b) {
    *ms = (float)(*(double *)b - *(double *)a);
    DONE;
}
