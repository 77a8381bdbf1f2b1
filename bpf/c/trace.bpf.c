/* Programs on the probe points of a belay process. docs/TRACING.md describes points and maps. */
#include "types.h"

/* The registers of the C calling convention, by the names that bpf_tracing.h expects. */
#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di;
	unsigned long orig_ax, ip, cs, flags, sp, ss;
};
#define ARG1(ctx) ((ctx)->di)
#define ARG2(ctx) ((ctx)->si)
#define ARG3(ctx) ((ctx)->dx)
#define ARG4(ctx) ((ctx)->cx)
#define ARG5(ctx) ((ctx)->r8)
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	unsigned long regs[31], sp, pc, pstate;
};
#define ARG1(ctx) ((ctx)->regs[0])
#define ARG2(ctx) ((ctx)->regs[1])
#define ARG3(ctx) ((ctx)->regs[2])
#define ARG4(ctx) ((ctx)->regs[3])
#define ARG5(ctx) ((ctx)->regs[4])
#else
#error "no registers known for this architecture"
#endif

/* probe.Request */
struct request {
	__u64 looked, taken, handed, completed, settled, published;
	__u64 device;
	__u64 sector;
	__u64 epoch;
	__u32 bytes;
	__u16 queue;
	__u8 type;
	__u8 status;
};

enum size_class { SIZE_NONE, SIZE_4K, SIZE_16K, SIZE_64K, SIZE_256K, SIZE_MORE };

struct parts_key {
	__u16 queue;
	__u8 type;
	__u8 size;
};

/* What requests of one key took, in all and in parts. A queue has one thread, so that plain
 * additions lose nothing. */
struct parts {
	__u64 requests, bytes, errors;
	struct histogram total, ring, store, device, publication;
	__u64 ns[5]; /* sums, in this order */
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 512);
	__type(key, struct parts_key);
	__type(value, struct parts);
} io_parts SEC(".maps");

struct queue_count {
	__u64 kicks, notifications, batches;
	__u64 inflight; /* when the newest batch was published */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, struct queue_count);
} io_queues SEC(".maps");

/* What could not be counted. */
struct lost {
	__u64 events;  /* the ring buffer was full */
	__u64 records; /* unreadable, or more keys than io_parts has room for */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct lost);
} io_lost SEC(".maps");

enum event_kind {
	EVENT_OUTLIER,
	EVENT_CHECKPOINT_START,
	EVENT_CHECKPOINT_SEALED,
	EVENT_CHECKPOINT_RETIRED,
	EVENT_ROLLBACK,
	EVENT_FLUSH,
	EVENT_RESUBMIT,
	EVENT_MIRROR_SEND,
	EVENT_MIRROR_ACK,
};

struct event {
	__u64 at;
	__u32 kind;
	__u32 queue;
	__u64 epoch;
	__u64 ns;
	__u64 data_ns, journal_ns; /* of a flush round */
	__u64 count;               /* who waited for the round; requests taken up again */
	struct request request;    /* of an outlier */
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

/* Records but the first are copied here in chunks. An element per queue, not per processor: a program may be
 * preempted, and then another queue's may run on the same processor. */
#define CHUNK 8
#define MAX_BATCH 4096

struct scratch {
	struct request records[CHUNK];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, QUEUES);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

struct parts empty; /* in .bss: what a new key begins with; too large for the stack */

static __always_inline struct config *wanted(__u64 volume)
{
	struct config *c = configuration();

	if (!c || c->volume != volume)
		return 0;
	if (!c->tgid)
		c->tgid = bpf_get_current_pid_tgid() >> 32;
	return c;
}

static __always_inline void lose(__u64 events, __u64 records)
{
	__u32 zero = 0;
	struct lost *l = bpf_map_lookup_elem(&io_lost, &zero);

	if (!l)
		return;
	__sync_fetch_and_add(&l->events, events);
	__sync_fetch_and_add(&l->records, records);
}

static __always_inline struct event *new_event(__u32 kind, __u64 epoch, __u64 ns)
{
	struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);

	if (!e) {
		lose(1, 0);
		return 0;
	}
	__builtin_memset(e, 0, sizeof(*e));
	e->at = bpf_ktime_get_ns();
	e->kind = kind;
	e->epoch = epoch;
	e->ns = ns;
	return e;
}

static __always_inline __u8 size_class(__u32 bytes)
{
	if (!bytes)
		return SIZE_NONE;
	if (bytes <= 4 << 10)
		return SIZE_4K;
	if (bytes <= 16 << 10)
		return SIZE_16K;
	if (bytes <= 64 << 10)
		return SIZE_64K;
	if (bytes <= 256 << 10)
		return SIZE_256K;
	return SIZE_MORE;
}

static __always_inline struct parts *parts_of(struct request *r)
{
	struct parts_key key = {.queue = r->queue, .type = r->type, .size = size_class(r->bytes)};
	struct parts *p = bpf_map_lookup_elem(&io_parts, &key);

	if (p)
		return p;
	bpf_map_update_elem(&io_parts, &key, &empty, BPF_NOEXIST);
	return bpf_map_lookup_elem(&io_parts, &key);
}

static __always_inline __u64 since(__u64 from, __u64 to)
{
	return to > from ? to - from : 0;
}

static __always_inline void outlier(struct request *r, __u64 total)
{
	struct event *e = new_event(EVENT_OUTLIER, r->epoch, total);

	if (!e)
		return;
	e->queue = r->queue;
	e->request = *r;
	bpf_ringbuf_submit(e, 0);
}

static __always_inline void count(struct parts *p, struct request *r, __u64 total)
{
	__u64 ring = since(r->looked, r->taken);
	__u64 publication = since(r->settled, r->published);
	__u64 store = since(ring + publication + r->device, total);

	p->requests++;
	p->bytes += r->bytes;
	p->errors += r->status != 0;
	p->total.slots[slot(total)]++;
	p->ring.slots[slot(ring)]++;
	p->store.slots[slot(store)]++;
	p->device.slots[slot(r->device)]++;
	p->publication.slots[slot(publication)]++;
	p->ns[0] += total;
	p->ns[1] += ring;
	p->ns[2] += store;
	p->ns[3] += r->device;
	p->ns[4] += publication;
}

static __always_inline int tally(struct request *r, __u64 outlier_ns)
{
	__u64 total = since(r->looked, r->published);
	struct parts *p = parts_of(r);

	if (!p) {
		lose(0, 1);
		return 0;
	}
	count(p, r, total);
	if (outlier_ns && total >= outlier_ns)
		outlier(r, total);
	return 0;
}

struct batch {
	struct request *next; /* in the process */
	__u64 outlier_ns;
	__u32 left;
	__u32 queue;
};

static long one_chunk(__u32 i, struct batch *b)
{
	__u32 queue = b->queue, n = b->left;
	struct scratch *s = bpf_map_lookup_elem(&scratch, &queue);

	if (!s || !n)
		return 1;
	if (n > CHUNK)
		n = CHUNK;
	if (bpf_probe_read_user(s, n * sizeof(struct request), b->next)) {
		lose(0, n);
	} else {
		/* bpf_loop would cost a call for each record; the verifier walks this loop
		 * through, so the chunk is short. */
#pragma clang loop unroll(disable)
		for (i = 0; i < CHUNK && i < n; i++)
			tally(&s->records[i], b->outlier_ns);
	}
	b->next += n;
	b->left -= n;
	return 0;
}

static __always_inline void note_batch(__u32 queue, __u64 inflight)
{
	struct queue_count *q = bpf_map_lookup_elem(&io_queues, &queue);

	if (!q)
		return;
	__sync_fetch_and_add(&q->batches, 1);
	q->inflight = inflight;
}

/* belay_requests(records, count, volume, inflight); all records are of one queue */
SEC("uprobe/belay_requests")
int requests(struct pt_regs *ctx)
{
	struct batch b = {.next = (void *)ARG1(ctx), .left = ARG2(ctx)};
	struct config *c = wanted(ARG3(ctx));
	struct request first;

	if (!c || !b.left)
		return 0;
	if (bpf_probe_read_user(&first, sizeof(first), b.next) || first.queue >= QUEUES ||
	    b.left > MAX_BATCH) {
		lose(0, b.left);
		return 0;
	}
	b.queue = first.queue;
	b.outlier_ns = c->outlier_ns;
	note_batch(b.queue, ARG4(ctx));
	tally(&first, b.outlier_ns);
	b.next++;
	b.left--;
	if (b.left)
		bpf_loop((b.left + CHUNK - 1) / CHUNK, one_chunk, &b, 0);
	return 0;
}

/* belay_kick(volume, queue) */
SEC("uprobe/belay_kick")
int kick(struct pt_regs *ctx)
{
	__u32 queue = ARG2(ctx);
	struct queue_count *q = bpf_map_lookup_elem(&io_queues, &queue);

	if (wanted(ARG1(ctx)) && q)
		__sync_fetch_and_add(&q->kicks, 1);
	return 0;
}

/* belay_notify(volume, queue) */
SEC("uprobe/belay_notify")
int notify(struct pt_regs *ctx)
{
	__u32 queue = ARG2(ctx);
	struct queue_count *q = bpf_map_lookup_elem(&io_queues, &queue);

	if (wanted(ARG1(ctx)) && q)
		__sync_fetch_and_add(&q->notifications, 1);
	return 0;
}

/* belay_flush(volume, epoch, data_ns, journal_ns, waiters) */
SEC("uprobe/belay_flush")
int flush(struct pt_regs *ctx)
{
	struct event *e;

	if (!wanted(ARG1(ctx)))
		return 0;
	e = new_event(EVENT_FLUSH, ARG2(ctx), ARG3(ctx) + ARG4(ctx));
	if (!e)
		return 0;
	e->data_ns = ARG3(ctx);
	e->journal_ns = ARG4(ctx);
	e->count = ARG5(ctx);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* POINT is a program for a point with the arguments (volume, epoch, ns). */
#define POINT(name, kind)                                                 \
	SEC("uprobe/belay_" #name)                                        \
	int name(struct pt_regs *ctx)                                     \
	{                                                                 \
		struct event *e;                                          \
									  \
		if (!wanted(ARG1(ctx)))                                   \
			return 0;                                         \
		e = new_event(kind, ARG2(ctx), ARG3(ctx));                \
		if (e)                                                    \
			bpf_ringbuf_submit(e, 0);                         \
		return 0;                                                 \
	}

POINT(checkpoint_start, EVENT_CHECKPOINT_START)
POINT(checkpoint_sealed, EVENT_CHECKPOINT_SEALED)
POINT(checkpoint_retired, EVENT_CHECKPOINT_RETIRED)
POINT(rollback, EVENT_ROLLBACK)
POINT(mirror_ack, EVENT_MIRROR_ACK)

/* belay_mirror_send(volume, epoch, bytes) */
SEC("uprobe/belay_mirror_send")
int mirror_send(struct pt_regs *ctx)
{
	struct event *e;

	if (!wanted(ARG1(ctx)))
		return 0;
	e = new_event(EVENT_MIRROR_SEND, ARG2(ctx), 0);
	if (!e)
		return 0;
	e->count = ARG3(ctx);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* belay_resubmit(volume, queue, count) */
SEC("uprobe/belay_resubmit")
int resubmit(struct pt_regs *ctx)
{
	struct event *e;

	if (!wanted(ARG1(ctx)))
		return 0;
	e = new_event(EVENT_RESUBMIT, 0, 0);
	if (!e)
		return 0;
	e->queue = ARG2(ctx);
	e->count = ARG3(ctx);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

char _license[] SEC("license") = "Dual MIT/GPL";
