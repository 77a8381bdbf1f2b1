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

/* slot is hist.Slot: units of 16 ns, eight slots for each octave. */
static __always_inline __u32 slot(__u64 ns)
{
	__u64 u = ns >> 4, v = u;
	__u32 e = 0, s;

	if (v >> 32) { e += 32; v >>= 32; }
	if (v >> 16) { e += 16; v >>= 16; }
	if (v >> 8) { e += 8; v >>= 8; }
	if (v >> 4) { e += 4; v >>= 4; }
	if (v >> 2) { e += 2; v >>= 2; }
	e += v >> 1;
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
