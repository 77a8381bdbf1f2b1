/* What the programs need of the kernel's and libbpf's headers, and what they share. No vmlinux.h:
 * the few kernel structures are declared where they are used, and relocated when loaded. */
#ifndef BELAY_TYPES_H
#define BELAY_TYPES_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef signed char __s8;
typedef short __s16;
typedef int __s32;
typedef long long __s64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u32 __wsum;

#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_NOEXIST 1
#define BPF_F_MMAPABLE (1U << 10)

#include <bpf/bpf_helpers.h>

#define SLOTS 256
#define QUEUES 256 /* of a device: vhostuser.maxQueues */

/* A histogram of times: internal/hist says which slot is which. */
struct histogram {
	__u64 slots[SLOTS];
};

/* log2_of has the highest bit of a number by the hash of all bits up to it (a de Bruijn sequence):
 * BPF has no instruction for that, and times are too irregular for branches to be foreseen. */
static const __u8 log2_of[64] = {
	0, 47, 1, 56, 48, 27, 2, 60, 57, 49, 41, 37, 28, 16, 3, 61,
	54, 58, 35, 52, 50, 42, 21, 44, 38, 32, 29, 23, 17, 11, 4, 62,
	46, 55, 26, 59, 40, 36, 15, 53, 34, 51, 20, 43, 31, 22, 10, 45,
	25, 39, 14, 33, 19, 30, 9, 24, 13, 18, 8, 12, 7, 6, 5, 63,
};

static __always_inline __u32 log2(__u64 v)
{
	v |= v >> 1;
	v |= v >> 2;
	v |= v >> 4;
	v |= v >> 8;
	v |= v >> 16;
	v |= v >> 32;
	return log2_of[(v * 0x03f79d71b4cb0a89ULL) >> 58];
}

/* slot is hist.Slot: units of 16 ns, eight slots for each octave. */
static __always_inline __u32 slot(__u64 ns)
{
	__u64 u = ns >> 4;
	__u32 e = log2(u), s;

	if (e < 3)
		s = u;
	else if (e > 33)
		s = SLOTS - 1;
	else
		s = (e - 2) * 8 + ((u >> (e - 3)) & 7);
	/* The mask says nothing new, but the verifier does not know, and clang would see it. */
	asm volatile("" : "+r"(s));
	return s & (SLOTS - 1);
}

/* config is the only element of the array config: what userspace tells the programs. */
struct config {
	__u64 outlier_ns; /* requests that took at least this are events; 0: none are */
	__u64 volume;     /* the device of the process that is traced */
	__u32 tgid;       /* the process in the kernel's own numbers; 0 until its first batch */
	__u32 unused;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

static __always_inline struct config *configuration(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&config, &zero);
}

#endif
