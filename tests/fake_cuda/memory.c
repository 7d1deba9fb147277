// Memory of the card is the host's. A page that nobody writes costs nothing; copies are real.
#include "common.h"
#include <pthread.h>
#include <sys/mman.h>

enum place { PINNED = 1, ON_CARD = 2 };
struct range { char *start; size_t size; int place, card; };
static struct range ranges[1 << 16];
static int n_ranges;
static size_t in_use[16];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static cudaError_t take(void **p, size_t size, int place) {
    size_t bytes = size ? size : 1;
    pthread_mutex_lock(&lock);
    int full = n_ranges == 1 << 16 || (place == ON_CARD && in_use[current] + size > card.memory);
    *p = full ? MAP_FAILED : mmap(0, bytes, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (*p == MAP_FAILED) {
        *p = 0;
    } else {
        ranges[n_ranges++] = (struct range){*p, bytes, place, current};
        if (place == ON_CARD) in_use[current] += bytes;
    }
    pthread_mutex_unlock(&lock);
    return *p ? 0 : cudaErrorMemoryAllocation;
}
static cudaError_t give_back(void *p) {
    pthread_mutex_lock(&lock);
    for (int i = 0; p && i < n_ranges; i++) {
        if (ranges[i].start != p) continue;
        munmap(p, ranges[i].size);
        if (ranges[i].place == ON_CARD) in_use[ranges[i].card] -= ranges[i].size;
        ranges[i] = ranges[--n_ranges];
        break;
    }
    pthread_mutex_unlock(&lock);
    DONE;
}
static struct range find(const char *p) {
    struct range found = {0};
    pthread_mutex_lock(&lock);
    for (int i = 0; i < n_ranges && !found.start; i++)
        if (p >= ranges[i].start && p < ranges[i].start + ranges[i].size) found = ranges[i];
    pthread_mutex_unlock(&lock);
    return found;
}
X cudaError_t cudaMalloc(void **p, size_t n) {
    init();
    note(MALLOC, n, "cudaMalloc");
    return take(p, n, ON_CARD);
}
X cudaError_t cudaMallocAsync(void **p, size_t n, cudaStream_t s) { return cudaMalloc(p, n); }
X cudaError_t cudaFree(void *p) { return give_back(p); }
X cudaError_t cudaFreeAsync(void *p, cudaStream_t s) { return give_back(p); }
X cudaError_t cudaHostAlloc(void **p, size_t n, unsigned flags) {
    note(HOSTALLOC, n, "cudaHostAlloc");
    return take(p, n, PINNED);
}
X cudaError_t cudaFreeHost(void *p) { return give_back(p); }
X cudaError_t cudaMemGetInfo(size_t *unused, size_t *all) {
    init();
    *all = card.memory;
    *unused = card.memory - in_use[current];
    DONE;
}
X cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
    struct range r = find(p);
    memset(a, 0, sizeof *a);
    a->type = r.place == ON_CARD ? cudaMemoryTypeDevice
            : r.place == PINNED ? cudaMemoryTypeHost : cudaMemoryTypeUnregistered;
    a->device = r.card;
    a->devicePointer = (void *)p;
    a->hostPointer = r.place == ON_CARD ? 0 : (void *)p;
    DONE;
}
static cudaError_t copy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind) {
    if (kind == cudaMemcpyDefault) {
        int there = find(to).place == ON_CARD, here = find(from).place == ON_CARD;
        kind = there && here ? cudaMemcpyDeviceToDevice : there ? cudaMemcpyHostToDevice
             : here ? cudaMemcpyDeviceToHost : cudaMemcpyHostToHost;
    }
    int seen = kind == cudaMemcpyHostToDevice ? H2D : kind == cudaMemcpyDeviceToHost ? D2H : D2D;
    note(seen, n, "copy");
    add(seen - H2D + H2D_BYTES, n);
    int moves_pages = kind == cudaMemcpyDeviceToDevice && n >= 1 << 22;   // leave them untouched
    if (!moves_pages) memmove(to, from, n);
    DONE;
}
X cudaError_t cudaMemcpy(void *to, const void *from, size_t n, enum cudaMemcpyKind kind) {
    return copy(to, from, n, kind);
}
X cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, enum cudaMemcpyKind kind,
                              cudaStream_t s) { return copy(to, from, n, kind); }
X cudaError_t cudaMemcpyPeerAsync(void *to, int a, const void *from, int b, size_t n,
                                  cudaStream_t s) {
    return copy(to, from, n, cudaMemcpyDeviceToDevice);
}
X cudaError_t cudaGetSymbolAddress(void **p, const void *symbol) { *p = dummy; DONE; }
X cudaError_t cudaMemsetAsync(void *p, int value, size_t n, cudaStream_t s) {
    note(MEMSET, n, "memset");
    if (n < 1 << 22) memset(p, value, n);
    DONE;
}
X cudaError_t cudaMemset(void *p, int value, size_t n) { return cudaMemsetAsync(p, value, n, 0); }
X cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t *p, int d) { *p = (void *)dummy; DONE; }
X cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t p, enum cudaMemPoolAttr a, void *v) {
    *(uint64_t *)v = 0;
    DONE;
}
