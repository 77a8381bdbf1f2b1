/* The always-on counters: no program, only maps whose memory the daemon itself writes, one element
 * for each queue. They are maps so that bpftool prints them with names. */
#include "types.h"

struct kind_count {
	__u64 requests, bytes, errors, ns;
};

struct io_count {
	struct kind_count read, write, flush, discard, write_zeroes, get_id, other;
	__u64 malformed;
};

struct io_latency {
	struct histogram read, write, flush, discard, write_zeroes, get_id, other;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct io_count);
} io_count SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct io_latency);
} io_latency SEC(".maps");
