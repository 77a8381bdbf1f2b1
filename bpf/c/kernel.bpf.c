/* Programs on the kernel's tracepoints for io_uring and block requests of one process. Each of
 * them can be missing: the others still count. */
#include "types.h"
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct io_cqe {
	__s32 res;
};

struct io_kiocb {
	__u8 opcode;
	struct io_cqe cqe;
};

struct request {
	__u32 cmd_flags;
	__u32 __data_len;
};
#pragma clang attribute pop

/* Whether the current thread is one of the traced process; its io_uring workers are. */
static __always_inline int ours(void)
{
	struct config *c = configuration();

	return c && c->tgid && c->tgid == bpf_get_current_pid_tgid() >> 32;
}

static __always_inline __u64 since(__u64 from, __u64 to)
{
	return to > from ? to - from : 0;
}

static __always_inline void add(struct histogram *h, __u64 ns)
{
	__sync_fetch_and_add(&h->slots[slot(ns)], 1);
}

#define OPCODES 128

struct uring_op {
	__u64 submitted, completed, errors;
	__u64 punted; /* went to a worker thread of the kernel */
	__u64 ns;
	struct histogram latency;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, OPCODES);
	__type(key, __u32);
	__type(value, struct uring_op);
} uring_ops SEC(".maps");

struct uring_begun {
	__u64 at;
	__u64 opcode;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct uring_begun);
} uring_pending SEC(".maps");

static __always_inline struct uring_op *uring_op(__u32 opcode)
{
	opcode &= OPCODES - 1;
	return bpf_map_lookup_elem(&uring_ops, &opcode);
}

SEC("tp_btf/io_uring_submit_req")
int io_uring_submit_req(__u64 *ctx)
{
	struct io_kiocb *req = (void *)ctx[0];
	struct uring_begun begun = {};
	struct uring_op *op;
	__u64 key = ctx[0];

	if (!ours())
		return 0;
	begun.opcode = req->opcode;
	begun.at = bpf_ktime_get_ns();
	bpf_map_update_elem(&uring_pending, &key, &begun, 0);
	op = uring_op(begun.opcode);
	if (op)
		__sync_fetch_and_add(&op->submitted, 1);
	return 0;
}

SEC("tp_btf/io_uring_queue_async_work")
int io_uring_queue_async_work(__u64 *ctx)
{
	struct io_kiocb *req = (void *)ctx[0];
	__u64 key = ctx[0];
	struct uring_op *op;

	if (!bpf_map_lookup_elem(&uring_pending, &key))
		return 0;
	op = uring_op(req->opcode);
	if (op)
		__sync_fetch_and_add(&op->punted, 1);
	return 0;
}

SEC("tp_btf/io_uring_complete")
int io_uring_complete(__u64 *ctx)
{
	__u64 key = ctx[1], ns;
	struct uring_begun *begun = bpf_map_lookup_elem(&uring_pending, &key);
	struct io_kiocb *req = (void *)key;
	struct uring_op *op;

	if (!begun)
		return 0;
	ns = since(begun->at, bpf_ktime_get_ns());
	op = uring_op(begun->opcode);
	bpf_map_delete_elem(&uring_pending, &key);
	if (!op)
		return 0;
	__sync_fetch_and_add(&op->completed, 1);
	__sync_fetch_and_add(&op->ns, ns);
	if (BPF_CORE_READ(req, cqe.res) < 0)
		__sync_fetch_and_add(&op->errors, 1);
	add(&op->latency, ns);
	return 0;
}

/* REQ_OP_* and REQ_PREFLUSH of linux/blk_types.h */
#define OP_MASK 0xff
#define OP_READ 0
#define OP_WRITE 1
#define OP_FLUSH 2
#define OP_DISCARD 3
#define OP_WRITE_ZEROES 9
#define PREFLUSH (1U << 18)

enum block_kind { BLOCK_READ, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_DISCARD, BLOCK_ZEROES, BLOCK_OTHER, BLOCK_KINDS };

/* queue is the time until a request was given to the device's driver, device the time after. */
struct block_op {
	__u64 requests, bytes, errors;
	__u64 queue_ns, device_ns;
	struct histogram queue, device;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BLOCK_KINDS);
	__type(key, __u32);
	__type(value, struct block_op);
} block_ops SEC(".maps");

struct block_begun {
	__u64 at, issued;
	__u32 kind, bytes;
};

/* Requests that begun in the traced process, whoever issues and completes them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct block_begun);
} block_pending SEC(".maps");

static __always_inline __u32 block_kind(__u32 flags, __u32 bytes)
{
	switch (flags & OP_MASK) {
	case OP_READ:
		return BLOCK_READ;
	case OP_WRITE:
		return !bytes && (flags & PREFLUSH) ? BLOCK_FLUSH : BLOCK_WRITE;
	case OP_FLUSH:
		return BLOCK_FLUSH;
	case OP_DISCARD:
		return BLOCK_DISCARD;
	case OP_WRITE_ZEROES:
		return BLOCK_ZEROES;
	}
	return BLOCK_OTHER;
}

static __always_inline void begin(struct request *rq, __u64 issued)
{
	struct block_begun begun = {.issued = issued};
	__u64 key = (__u64)rq;

	begun.bytes = rq->__data_len;
	begun.kind = block_kind(rq->cmd_flags, begun.bytes);
	begun.at = bpf_ktime_get_ns();
	bpf_map_update_elem(&block_pending, &key, &begun, 0);
}

SEC("tp_btf/block_io_start")
int block_io_start(__u64 *ctx)
{
	if (ours())
		begin((struct request *)ctx[0], 0);
	return 0;
}

/* Kernels before 6.5 have no block_io_start: what our own threads issue is seen here. */
SEC("tp_btf/block_rq_issue")
int block_rq_issue(__u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	__u64 key = ctx[0], now = bpf_ktime_get_ns();
	struct block_begun *begun = bpf_map_lookup_elem(&block_pending, &key);

	if (begun) {
		begun->issued = now;
		begun->bytes = rq->__data_len; /* more than at first, if others were merged into it */
	} else if (ours()) {
		begin(rq, now);
	}
	return 0;
}

/* A request that became part of another one will not be heard of again. */
SEC("tp_btf/block_rq_merge")
int block_rq_merge(__u64 *ctx)
{
	__u64 key = ctx[0];

	bpf_map_delete_elem(&block_pending, &key);
	return 0;
}

SEC("tp_btf/block_rq_complete")
int block_rq_complete(__u64 *ctx)
{
	struct request *rq = (void *)ctx[0];
	__u64 key = ctx[0], now, issued, queue, device;
	struct block_begun *begun = bpf_map_lookup_elem(&block_pending, &key);
	__u32 kind, bytes;
	struct block_op *op;

	if (!begun || (__u32)ctx[2] < rq->__data_len) /* a part of it */
		return 0;
	now = bpf_ktime_get_ns();
	issued = begun->issued ? begun->issued : begun->at; /* flushes are issued by another name */
	queue = since(begun->at, issued);
	device = since(issued, now);
	bytes = begun->bytes;
	kind = begun->kind;
	bpf_map_delete_elem(&block_pending, &key);
	op = bpf_map_lookup_elem(&block_ops, &kind);
	if (!op)
		return 0;
	__sync_fetch_and_add(&op->requests, 1);
	__sync_fetch_and_add(&op->bytes, bytes);
	if ((__u8)ctx[1])
		__sync_fetch_and_add(&op->errors, 1);
	__sync_fetch_and_add(&op->queue_ns, queue);
	__sync_fetch_and_add(&op->device_ns, device);
	add(&op->queue, queue);
	add(&op->device, device);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
