// The kernel side of the drop probe: a BTF tracepoint at kfree_skb, which the kernel calls for a
// packet it drops and not for one it delivered (that is consume_skb).

// clang-format off: the kernel's types come first
#include "vmlinux.h"
// clang-format on

#include "probes/drops.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define IPV4_OFFSET_MASK 0x1fff

// Some thousands of drops; what finds it full is counted as lost.
#define BUFFER_BYTES (1 << 18)

// The reason that is none for us: what a socket still held when it was closed.
const volatile __u32 purged = ~0U;

struct DropEndpoint {
  __u8 address[16];
  __u16 port;  // host order
  __u16 reserved;
};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, struct DropEndpoint);
  __type(value, __u32);
  __uint(max_entries, 1);
} endpoints SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, BUFFER_BYTES);
} records SEC(".maps");

__u64 lost = 0;
__u64 unparsed = 0;

static __always_inline bool is_ours(const __u8 *address, __u16 port) {
  struct DropEndpoint key = {};
  __builtin_memcpy(key.address, address, sizeof(key.address));
  key.port = port;
  return bpf_map_lookup_elem(&endpoints, &key) != NULL;
}

enum Parsed { not_ours, parsed, unreadable };

// Fills addresses, protocol and ports from the packet's headers. Later fragments have no ports, and
// extension headers are nobody's ordinary traffic here.
static __always_inline enum Parsed parse(struct sk_buff *skb, struct DropRecord *record) {
  const unsigned char *head = BPF_CORE_READ(skb, head);
  const __u16 offset = BPF_CORE_READ(skb, network_header);
  // Unset: dropped before anyone looked at it.
  if (offset == 0) return unreadable;
  const unsigned char *network = head + offset;
  __u8 version = 0;
  if (bpf_probe_read_kernel(&version, 1, network) < 0) return unreadable;
  const unsigned char *transport;
  if (version >> 4 == 4) {
    struct iphdr header;
    if (bpf_probe_read_kernel(&header, sizeof(header), network) < 0) return unreadable;
    record->protocol = header.protocol;
    record->source[10] = record->source[11] = 0xff;
    record->destination[10] = record->destination[11] = 0xff;
    __builtin_memcpy(record->source + 12, &header.saddr, 4);
    __builtin_memcpy(record->destination + 12, &header.daddr, 4);
    if (bpf_ntohs(header.frag_off) & IPV4_OFFSET_MASK) return unreadable;
    transport = network + (__u32)header.ihl * 4;
  } else if (version >> 4 == 6) {
    struct ipv6hdr header;
    if (bpf_probe_read_kernel(&header, sizeof(header), network) < 0) return unreadable;
    record->protocol = header.nexthdr;
    __builtin_memcpy(record->source, &header.saddr, 16);
    __builtin_memcpy(record->destination, &header.daddr, 16);
    transport = network + sizeof(header);
  } else {
    return not_ours;
  }
  if (record->protocol != IPPROTO_TCP && record->protocol != IPPROTO_UDP) return not_ours;
  __be16 ports[2];
  if (bpf_probe_read_kernel(ports, sizeof(ports), transport) < 0) return unreadable;
  record->source_port = bpf_ntohs(ports[0]);
  record->destination_port = bpf_ntohs(ports[1]);
  return parsed;
}

// The namespace of the device it was at, or of the socket it belongs to.
static __always_inline __u32 netns_of(struct sk_buff *skb) {
  struct net_device *device = BPF_CORE_READ(skb, dev);
  if (device) return BPF_CORE_READ(device, nd_net.net, ns.inum);
  struct sock *socket = BPF_CORE_READ(skb, sk);
  if (socket) return BPF_CORE_READ(socket, __sk_common.skc_net.net, ns.inum);
  return 0;
}

SEC("tp_btf/kfree_skb")
int BPF_PROG(note_drop, struct sk_buff *skb, void *location, enum skb_drop_reason reason) {
  if ((__u32)reason == purged) return 0;
  struct DropRecord record = {};
  const enum Parsed what = parse(skb, &record);
  if (what == unreadable) __sync_fetch_and_add(&unparsed, 1);
  if (what != parsed) return 0;
  if (!is_ours(record.source, record.source_port) &&
      !is_ours(record.destination, record.destination_port)) {
    return 0;
  }
  record.time_ns = bpf_ktime_get_ns();
  record.location = (__u64)location;
  record.reason = reason;
  record.netns = netns_of(skb);
  if (bpf_ringbuf_output(&records, &record, sizeof(record), BPF_RB_NO_WAKEUP) < 0) {
    __sync_fetch_and_add(&lost, 1);
  }
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
