// NetworkPolicy at the interfaces of pods and nodes (tcx), whichever datapath translates Services.
//
// What is judged is the packet as it is between translation and translation back. A node's datapath
// translates somewhere between where a packet comes in and where it goes out, so packets are known
// where they come in (from a pod, or at the uplink) and judged where they go out (to a pod, or at
// the uplink). In between the packet's mark says whose it is: that of a pod is told by the
// interface it came from, and survives SNAT; a source outside is noted, and survives SNAT on this
// node. A client that another node hid behind its own address is judged as that address.
//
//   from_pod, from_uplink   an answer in a connection that is allowed? then it passes here and at
//                           the way out; of one that is no longer allowed? dropped. Else marked.
//   to_pod                  egress of the pod it comes from, where that is on this node, and
//   ingress
//                           of the pod it goes to
//   to_uplink               egress of the pod it comes from
//
// Whatever comes in is marked, read or not: the kernel finds IP packets in frames that are none
// here (those with two tags of VLAN 0), and what goes out without a mark is the node's own. A pod
// speaks from its own addresses alone, because others know it by them: a packet of it that shows
// another goes nowhere but to the node.
//
// These programs come before a datapath's own where packets come in: an answer is looked up as the
// reverse of what was judged on its way out.
//
// A connection is judged when it begins and again after each change of policies, by whichever of
// its packets comes first, in the sense of who began it. While it is denied its answers are dropped
// too, and never taken for connections of their own; what was cut may go on when it is allowed
// again. A TCP packet in mid-stream of a connection nobody saw begin (it is older than these
// programs) passes only where either end might have begun it, as far as its packets show: one
// through a Service may be cut where its client's egress is isolated.
//
// Never judged: what the pod's own node sends to it or receives from it (the kubelet's probes; the
// API excepts it from every policy), and what never leaves a pod. ICMP errors pass with the
// connection they are about, to whoever sent what they quote. An echo has no ports: rules that name
// some do not allow it. Of a fragmented datagram the later fragments pass where the first one did
// before them.

// clang-format off: the kernel's types come first
#include "vmlinux.h"
// clang-format on

#include "cluster/lab/policy/policy_packet.bpf.h"
#include "cluster/lab/policy/policy_rules.bpf.h"

// What the program says of a packet: the next program's business, or dropped here.
enum { pass = TCX_NEXT, drop = TCX_DROP };

// Datagram flows and echoes unused for so long are over (nf_conntrack_udp_timeout_stream).
#define IDLE_NS 120000000000ULL
#define FRAGMENTS_KEPT_NS 30000000000ULL

const volatile __u32 node_number = 0;
const volatile __u32 denials_kept = 1;  // a power of two
// The pods of this node: who sends to one of them directly is seen there as it is.
const volatile struct {
  __u8 ipv4[16];
  __u8 ipv6[16];
} pods_of_node = {};
const volatile __u32 pods_prefix_ipv4 = 0;  // in IPv6 form
const volatile __u32 pods_prefix_ipv6 = 0;

// The least recently used go first, so nothing need age: a TCP connection that is over is only
// judged anew when another one begins with its ports.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __type(key, struct ConnectionTuple);
  __type(value, struct PolicyConnection);
  __uint(max_entries, 1);
} policy_connections SEC(".maps");

// First fragments that passed, and when; the ports are the fragment's identifier.
struct {
  __uint(type, BPF_MAP_TYPE_LRU_HASH);
  __type(key, struct ConnectionTuple);
  __type(value, __u64);
  __uint(max_entries, 4096);
} policy_fragments SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __type(key, __u32);
  __type(value, struct PolicyDenial);
  __uint(max_entries, 1);
} policy_denials SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __type(key, __u32);
  __type(value, struct PolicyCounters);
  __uint(max_entries, 1);
} policy_counters SEC(".maps");

// Of this node alone: the pod behind an interface, and sources outside.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, __u32);
  __type(value, __u32);
  __uint(max_entries, 256);
} policy_interfaces SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __type(key, __u32);
  __type(value, struct PolicyOrigin);
  __uint(max_entries, POLICY_ORIGINS);
} policy_origins SEC(".maps");

#define COUNT(what)                                                                   \
  do {                                                                                \
    __u32 zero_ = 0;                                                                  \
    struct PolicyCounters *counters_ = bpf_map_lookup_elem(&policy_counters, &zero_); \
    if (counters_) ++counters_->what;                                                 \
  } while (0)

// What the table says of a connection.
enum { not_known = -1 };

// Judges a connection of the table under what is in force, once for each generation; a
// PolicyVerdict, or not_known. `seen`: its packet's ends on this node, where they are known.
__noinline int judge_known(struct ConnectionTuple *began, struct PolicyFlow *seen, __u64 now) {
  if (!began) return not_known;
  struct PolicyConnection *known = bpf_map_lookup_elem(&policy_connections, began);
  if (!known) return not_known;
  if (began->protocol != IPPROTO_TCP && now > known->used_ns && now - known->used_ns > IDLE_NS) {
    return not_known;
  }
  // Its ports are another's now.
  if (seen && (seen->source_pod != known->source_pod || seen->target_pod != known->target_pod)) {
    return not_known;
  }
  const __u32 generation = current_generation();
  const __u64 before = *(volatile __u64 *)&known->judged;
  int verdict = (int)(before & 3);
  if ((__u32)(before >> 2) != generation) {
    struct PolicyFlow flow = {
        .tuple = *began, .source_pod = known->source_pod, .target_pod = known->target_pod};
    __builtin_memcpy(flow.origin.bytes, known->origin, 16);
    verdict = evaluate(&flow, generation);
    *(volatile __u64 *)&known->judged = (__u64)generation << 2 | (__u64)(verdict & 3);
    COUNT(rejudged);
  }
  if (verdict == policy_allows && known->used_ns != now) known->used_ns = now;
  return verdict;
}

static __always_inline void compiler_barrier(void) { asm volatile("" ::: "memory"); }

// Notes a denial; `verdict` says which direction it was, `pod` whose.
__noinline int deny(struct ConnectionTuple *packet, __u32 pod, int verdict, __u32 reason) {
  if (!packet) return drop;
  COUNT(denied);
  if (reason == policy_unknown_fragment) COUNT(fragments);
  __u32 zero = 0;
  struct PolicySwitch *in_force = bpf_map_lookup_elem(&policy_switch, &zero);
  if (!in_force) return drop;
  const __u64 sequence = __sync_fetch_and_add(&in_force->denials, 1) + 1;
  __u32 place = (__u32)(sequence - 1) & (denials_kept - 1);
  struct PolicyDenial *denial = bpf_map_lookup_elem(&policy_denials, &place);
  if (!denial) return drop;
  *(volatile __u64 *)&denial->sequence = 0;
  compiler_barrier();
  denial->time_ns = bpf_ktime_get_ns();
  denial->packet = *packet;
  denial->generation = in_force->generation;
  denial->pod = pod;
  denial->egress = verdict == policy_denies_egress;
  denial->reason = (__u8)reason;
  denial->node = (__u8)node_number;
  compiler_barrier();
  *(volatile __u64 *)&denial->sequence = sequence;
  return drop;
}

static __always_inline int begin(struct __sk_buff *skb, struct PolicyPacket *packet) {
  __builtin_memset(packet, 0, sizeof(*packet));
  packet->tuple.reserved[0] = (__u8)node_number;
  return parse_packet(skb, packet) == judged;
}

static __always_inline __u32 pod_of(struct __sk_buff *skb) {
  __u32 index = skb->ifindex;
  const __u32 *pod = bpf_map_lookup_elem(&policy_interfaces, &index);
  return pod ? *pod : 0;
}

// Where a packet comes in. `mark` is what it is marked with unless it passes as an answer.
static __always_inline int come_in(struct __sk_buff *skb, struct PolicyPacket *packet, __u32 mark) {
  const __u64 now = bpf_ktime_get_coarse_ns();
  int verdict = not_known;
  struct ConnectionTuple began = {};
  if (packet->quoted) {
    began.reserved[0] = (__u8)node_number;
    if (parse_quoted(skb, packet, &began)) {
      verdict = judge_known(&began, 0, now);
      if (verdict == not_known) {
        struct ConnectionTuple other;
        reverse(&began, &other);
        began = other;
        verdict = judge_known(&began, 0, now);
      }
    }
  } else if (!packet->opens && packet->fragment != later_fragment) {
    reverse(&packet->tuple, &began);
    verdict = judge_known(&began, 0, now);
  }
  if (verdict > policy_allows) {
    struct PolicyConnection *known = bpf_map_lookup_elem(&policy_connections, &began);
    const __u32 pod = !known                            ? 0
                      : verdict == policy_denies_egress ? known->source_pod
                                                        : known->target_pod;
    return deny(&packet->tuple, pod, verdict, policy_revoked);
  }
  if (verdict == policy_allows) mark = policy_mark_passed;
  if (packet->fragment == first_fragment) mark |= policy_mark_first_fragment;
  skb->mark = mark;
  return pass;
}

// Whether an address is of a pod of this node.
static __always_inline int is_own_pod(const __u8 *address) {
  const int ipv4 = is_ipv4(address);
  const volatile __u64 *own =
      (const volatile __u64 *)(ipv4 ? pods_of_node.ipv4 : pods_of_node.ipv6);
  const __u32 prefix = ipv4 ? pods_prefix_ipv4 : pods_prefix_ipv6;
  const __u64 *words = (const __u64 *)address;
  const __u64 high = bpf_be64_to_cpu(words[0] ^ own[0]);
  const __u64 low = bpf_be64_to_cpu(words[1] ^ own[1]);
  if (prefix <= 64) return prefix == 0 || high >> (64 - prefix) == 0;
  return high == 0 && low >> ((128 - prefix) & 63) == 0;
}

// Notes where a packet comes from, for after its source may have been rewritten.
__noinline __u32 note_origin(struct ConnectionTuple *packet) {
  if (!packet) return policy_mark_outside;
  const __u64 now = bpf_ktime_get_coarse_ns();
  const __u64 *words = (const __u64 *)packet->source;
  const __u32 hash = policy_hash(words[0] * 31 + words[1]);
  for (__u32 i = 0; i < POLICY_ORIGIN_PROBES; ++i) {
    __u32 place = (hash + i) % POLICY_ORIGINS;
    struct PolicyOrigin *origin = bpf_map_lookup_elem(&policy_origins, &place);
    if (!origin) break;
    __u64 *there = (__u64 *)origin->address;
    const int same = there[0] == words[0] && there[1] == words[1];
    // Another's packet is long out of this node.
    const int over = now - origin->used_ns > POLICY_ORIGIN_KEPT_NS;
    if (!same && !over) continue;
    origin->used_ns = now;
    if (!same) {
      there[0] = words[0];
      there[1] = words[1];
    }
    return place << policy_mark_shift | policy_mark_hidden;
  }
  COUNT(crowded);
  return policy_mark_outside;
}

static __always_inline struct ConnectionTuple fragment_key(const struct PolicyPacket *packet) {
  struct ConnectionTuple key = packet->tuple;
  key.source_port = (__u16)packet->fragment_id;
  key.destination_port = (__u16)(packet->fragment_id >> 16);
  return key;
}

static __always_inline int let_out(const struct PolicyPacket *packet, __u64 now) {
  if (packet->fragment == first_fragment) {
    const struct ConnectionTuple key = fragment_key(packet);
    bpf_map_update_elem(&policy_fragments, &key, &now, BPF_ANY);
  }
  return pass;
}

// Whether a packet in mid-stream might belong to a connection that either end began.
__noinline int evaluate_both_ways(struct PolicyFlow *flow, __u32 generation) {
  if (!flow) return policy_denies_ingress;
  const int verdict = evaluate(flow, generation);
  if (verdict != policy_allows) return verdict;
  struct PolicyFlow other = {.source_pod = flow->target_pod, .target_pod = flow->source_pod};
  reverse(&flow->tuple, &other.tuple);
  __builtin_memcpy(other.origin.bytes, flow->tuple.destination, 16);
  // So that a denial names the pod that denies it.
  flow->source_pod = other.source_pod;
  flow->target_pod = other.target_pod;
  return evaluate(&other, generation);
}

// A packet that no connection of the table stands for.
static __always_inline int judge_anew(struct PolicyPacket *packet, struct PolicyFlow *flow,
                                      __u64 now, __u32 *reason) {
  const __u32 generation = current_generation();
  if (packet->tuple.protocol == IPPROTO_TCP && !packet->opens) {
    COUNT(unknown);
    *reason = policy_unknown_connection;
    return evaluate_both_ways(flow, generation);
  }
  COUNT(judged);
  const int verdict = evaluate(flow, generation);
  if (verdict != policy_allows || packet->quoted) return verdict;
  if (packet->opens) {
    // Whoever had these ports the other way round has them no more.
    struct ConnectionTuple other;
    reverse(&packet->tuple, &other);
    bpf_map_delete_elem(&policy_connections, &other);
  }
  struct PolicyConnection fresh = {.used_ns = now,
                                   .judged = (__u64)generation << 2,
                                   .source_pod = flow->source_pod,
                                   .target_pod = flow->target_pod};
  __builtin_memcpy(fresh.origin, flow->origin.bytes, 16);
  bpf_map_update_elem(&policy_connections, &packet->tuple, &fresh, BPF_ANY);
  return verdict;
}

// Where a packet goes out, to a pod or (0) beyond the uplink.
static __always_inline int go_out(struct __sk_buff *skb, __u32 target) {
  const __u32 mark = skb->mark;
  const __u32 kind = mark & policy_mark_kind;
  if (kind == 0) return pass;  // the node's own
  const __u32 number = mark >> policy_mark_shift;
  const int passed = kind == policy_mark_passed;
  if (passed && !(mark & policy_mark_first_fragment)) return pass;
  const int of_a_pod = kind == policy_mark_pod || kind == policy_mark_foreign;
  if (!target && !of_a_pod && !passed) return pass;  // it only crosses the node
  struct PolicyPacket packet;
  if (!begin(skb, &packet)) {
    return deny(&packet.tuple, target, policy_denies_ingress, policy_unreadable);
  }
  if (kind == policy_mark_foreign) {
    return deny(&packet.tuple, number, policy_denies_egress, policy_foreign_source);
  }
  const __u64 now = bpf_ktime_get_coarse_ns();
  if (passed) return let_out(&packet, now);

  struct PolicyFlow flow = {.tuple = packet.tuple,
                            .source_pod = kind == policy_mark_pod ? number : 0,
                            .target_pod = target};
  __builtin_memcpy(flow.origin.bytes, packet.tuple.source, 16);
  if (kind == policy_mark_hidden) {
    __u32 place = number;
    struct PolicyOrigin *origin = bpf_map_lookup_elem(&policy_origins, &place);
    if (origin) __builtin_memcpy(flow.origin.bytes, origin->address, 16);
  }
  __u32 reason = policy_no_rule_allows;
  int verdict = not_known;
  if (packet.fragment == later_fragment) {
    const struct ConnectionTuple key = fragment_key(&packet);
    const __u64 *passed_ns = bpf_map_lookup_elem(&policy_fragments, &key);
    if (passed_ns && now - *passed_ns < FRAGMENTS_KEPT_NS) return pass;
    reason = policy_unknown_fragment;
    verdict = evaluate(&flow, current_generation());
  } else if (!packet.opens && !packet.quoted) {
    verdict = judge_known(&packet.tuple, &flow, now);
    if (verdict > policy_allows) reason = policy_revoked;
  }
  if (verdict == not_known) verdict = judge_anew(&packet, &flow, now, &reason);
  if (verdict == policy_allows) return let_out(&packet, now);
  return deny(&packet.tuple, verdict == policy_denies_egress ? flow.source_pod : flow.target_pod,
              verdict, reason);
}

SEC("tc")
int policy_from_pod(struct __sk_buff *skb) {
  struct PolicyPacket packet;
  const __u32 pod = pod_of(skb);
  if (!pod) return pass;
  skb->mark = pod << policy_mark_shift | policy_mark_pod;
  if (!begin(skb, &packet)) return pass;
  struct PolicyAddress source;
  __builtin_memcpy(source.bytes, packet.tuple.source, 16);
  if (!has_address(current_generation(), pod, &source)) {
    skb->mark = pod << policy_mark_shift | policy_mark_foreign;
    return pass;
  }
  return come_in(skb, &packet, pod << policy_mark_shift | policy_mark_pod);
}

SEC("tc")
int policy_from_uplink(struct __sk_buff *skb) {
  struct PolicyPacket packet;
  skb->mark = policy_mark_outside;
  if (!begin(skb, &packet)) return pass;
  const __u32 mark =
      is_own_pod(packet.tuple.destination) ? policy_mark_outside : note_origin(&packet.tuple);
  return come_in(skb, &packet, mark);
}

SEC("tc")
int policy_to_pod(struct __sk_buff *skb) {
  const __u32 pod = pod_of(skb);
  return pod ? go_out(skb, pod) : pass;
}

SEC("tc")
int policy_to_uplink(struct __sk_buff *skb) { return go_out(skb, 0); }

char LICENSE[] SEC("license") = "GPL";
