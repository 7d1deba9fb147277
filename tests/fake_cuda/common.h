// What the parts of the stand-in share: the counters, and what card it plays.
#pragma once
#define _GNU_SOURCE
#include <cuda.h>
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#undef cudaGetDeviceProperties
#define X __attribute__((visibility("default")))
#define DONE return 0

// in the order of `kinds` in watch.py
enum kind { LAUNCH, BLAS, DNN, NCCL, SYNC_STREAM, SYNC_DEVICE, SYNC_EVENT, H2D, D2H, D2D,
            H2D_BYTES, D2H_BYTES, D2D_BYTES, MALLOC, HOSTALLOC, TRITON, MEMSET, QUERY, N_KINDS };
void note(int kind, int64_t bytes, const char *what);
void add(int kind, int64_t n);

struct card {
    const char *name;
    int major, minor, processors, threads;   // compute capability, multiprocessors, threads of one
    size_t memory, shared;                   // bytes: of the card, of a block at most
    int cards;
};
extern struct card card;
void init(void);                             // read FAKE_CC, FAKE_COUNT, FAKE_MEM_GIB
int attribute(int number);                   // of the card, by the number of the CUDA headers
extern __thread int current;                 // the card that this thread is on
extern void *dummy[4096];                    // what every handle points to
