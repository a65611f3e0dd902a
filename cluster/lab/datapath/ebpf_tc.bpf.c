// Services translated packet by packet, as Cilium's bpf_lxc.c and bpf_host.c do it: programs on
// both sides of every pod's interface and of the node's uplink (tcx), with a connection table
// beside them (connection_table.h). Netfilter sees nothing of it and tracks nothing.
//
// A client in a pod: its packet is pointed at a backend as it leaves the pod, before the node
// routes it; the answer is given the Service's address again as it enters the pod. A client
// outside: its packet is pointed at a backend as it enters the node. A backend on this node answers
// through this node, which gives the Service's address back as the answer leaves it. A backend
// elsewhere must be made to answer through this node: it is shown the node's address, with a port
// from the table. The node's own routing would refuse such a packet as a martian, one that comes
// from outside in the node's own name, so it is sent on from here (bpf_redirect_neigh), and its
// answer likewise.
//
// What is not translated passes: fragments, which are counted; IPv6 packets with extension headers;
// what the node's own processes send.

// clang-format off: the kernel's types come first
#include "vmlinux.h"
// clang-format on

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "cluster/lab/datapath/connection_table.bpf.h"
#include "cluster/lab/datapath/ebpf_tc_icmp.bpf.h"
#include "cluster/lab/datapath/ebpf_tc_packet.bpf.h"
#include "cluster/lab/datapath/service_map.bpf.h"

#define AF_INET 2
#define AF_INET6 10

enum ConnectionFlags {
  through_node = 1,  // the backend is shown the node's address and answers to it
  client_outside = 2,
};

// The node's addresses in IPv6 form.
const volatile struct {
  __u8 ipv4[16];
  __u8 ipv6[16];
} own = {};

// Sends a rewritten packet on, past the node's own routing of what comes in.
__noinline int send_on(struct __sk_buff *skb, struct ConnectionTuple *answer) {
  if (!answer) return dropped;
  struct bpf_fib_lookup route = {.ifindex = skb->ifindex, .l4_protocol = answer->protocol};
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    route.family = AF_INET;
    __builtin_memcpy(&route.ipv4_src, answer->destination + 12, 4);
    __builtin_memcpy(&route.ipv4_dst, answer->source + 12, 4);
  } else {
    route.family = AF_INET6;
    __builtin_memcpy(route.ipv6_src, answer->destination, 16);
    __builtin_memcpy(route.ipv6_dst, answer->source, 16);
  }
  if (bpf_fib_lookup(skb, &route, sizeof(route), BPF_FIB_LOOKUP_SKIP_NEIGH) !=
      BPF_FIB_LKUP_RET_SUCCESS) {
    return dropped;
  }
  return (int)bpf_redirect_neigh(route.ifindex, 0, 0, 0);
}

static __always_inline const volatile __u8 *own_address(const struct Packet *packet) {
  return packet->ipv4 ? own.ipv4 : own.ipv6;
}

static __always_inline void copy_own_address(const struct Packet *packet, __u8 *address) {
  const volatile __u64 *words = (const volatile __u64 *)own_address(packet);
  ((__u64 *)address)[0] = words[0];
  ((__u64 *)address)[1] = words[1];
}

// A packet to the node itself, at a port that only the table gives away.
static __always_inline int is_lost_reply(const struct Packet *packet) {
  __u8 address[16] __attribute__((aligned(8)));
  copy_own_address(packet, address);
  const __u32 port = bpf_ntohs(packet->tuple.destination_port);
  return same_address(packet->tuple.destination, address) && port >= first_source_port &&
         port - first_source_port < source_ports && !(packet->tcp_flags & TCP_SYN);
}

// A client that turns to a pod itself, from a port it reached that pod through a Service with: what
// the pod answers must not be taken for the Service's any more. Of TCP that is so once the earlier
// connection is over, which its client, having the port again, knows best; of datagrams at once.
__noinline int make_way_for_itself(struct Packet *packet, __u64 now) {
  if (!packet) return 0;
  const int tcp = packet->tuple.protocol == IPPROTO_TCP;
  if (tcp && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN) return 0;
  struct ConnectionTuple answer = {.source_port = packet->tuple.destination_port,
                                   .destination_port = packet->tuple.source_port,
                                   .protocol = packet->tuple.protocol};
  __builtin_memcpy(answer.source, packet->tuple.destination, 16);
  __builtin_memcpy(answer.destination, packet->tuple.source, 16);
  if (tcp) return make_way(&answer, now);
  struct FoundConnection found;
  if (!find_connection(&answer, &found) || !found.is_reply) return 0;
  if (end_connection(found.slot, found.version)) COUNT_CONNECTIONS(moved);
  return 1;
}

// What connecting came to.
enum Connected { no_service, connected, refused_here, dropped_here };

static __always_inline struct ServiceEndpoint destination_of(const struct ConnectionTuple *tuple) {
  struct ServiceEndpoint endpoint = {.port = tuple->destination_port, .protocol = tuple->protocol};
  __builtin_memcpy(endpoint.address, tuple->destination, 16);
  return endpoint;
}

// The connection that a packet to a Service begins, or would have been in the midst of.
__noinline int connect_to_service(struct Packet *packet, __u64 now, __u32 outside) {
  if (!packet) return dropped_here;
  // Read before the table: a choice may be thought older than it is, never newer.
  const __u32 current = generation;
  void *table = current_table(outside ? services_outside : services_inside);
  if (!table) return no_service;
  __u32 state = connection_held;
  const struct ServiceEndpoint frontend = destination_of(&packet->tuple);
  struct ServiceMapEntry *service = find(table, &frontend);
  if (!service) {
    if (is_lost_reply(packet)) COUNT_CONNECTIONS(misses);
    return no_service;
  }
  if (service->count == 0) return refused_here;
  if (service->count == SERVICE_DROPS) return dropped_here;
  if (packet->tuple.protocol == IPPROTO_TCP &&
      (packet->tcp_flags & (TCP_SYN | TCP_ACK)) != TCP_SYN) {
    // Whose it was nobody knows. Another backend will answer that it knows no such connection, and
    // the client learns at once; the entry that takes is over from the beginning.
    COUNT_CONNECTIONS(misses);
    if (packet->tcp_flags & TCP_RST) return dropped_here;
    state |= connection_reset;
  }
  struct ServiceMapEntry *backend = draw_backend(table, service, bpf_get_prandom_u32());
  if (!backend) return dropped_here;
  struct ServiceClient client = {};
  __builtin_memcpy(client.client, packet->tuple.source, 16);
  backend = stay(&client, table, service, backend);

  struct NewConnection *wanted = begin_connection();
  if (!wanted) return dropped_here;
  wanted->now = now;
  wanted->state = state;
  wanted->generation = current;
  wanted->new_port = 0;
  wanted->forward = packet->tuple;
  wanted->reply = packet->tuple;
  __builtin_memcpy(wanted->reply.source, backend->endpoint.address, 16);
  wanted->reply.source_port = backend->endpoint.port;
  __builtin_memcpy(wanted->reply.destination, packet->tuple.source, 16);
  wanted->reply.destination_port = packet->tuple.source_port;
  wanted->flags = outside ? client_outside : 0;
  // A pod would take for its own what it is sent in its own name.
  const int itself = same_address(wanted->reply.source, wanted->reply.destination);
  if (itself || (outside && !(backend->count & BACKEND_IS_HERE))) {
    wanted->flags |= through_node;
    wanted->new_port = 1;
    copy_own_address(packet, wanted->reply.destination);
  }
  // Where it fails because another CPU was faster with this very client, there is a connection now.
  if (make_connection(wanted) == 0) return connected;
  struct ConnectionPlace *there = bpf_map_lookup_elem(&connection_keys, &packet->tuple);
  if (there) return connected;
  COUNT_CONNECTIONS(unplaced);
  return dropped_here;
}

// Whether the Service still has the backend of this connection; if so it is noted.
__noinline int still_serves(struct ConnectionTuple *forward, struct FoundConnection *found) {
  if (!forward || !found) return 0;
  const __u32 current = generation;
  void *table = current_table(found->flags & client_outside ? services_outside : services_inside);
  if (!table) return 0;
  const struct ServiceEndpoint frontend = destination_of(forward);
  struct ServiceMapEntry *service = find(table, &frontend);
  if (!service) return 0;
  struct ServiceEndpoint backend = {.port = found->other.source_port,
                                    .protocol = found->other.protocol};
  __builtin_memcpy(backend.address, found->other.source, 16);
  if (!find_backend(table, service, &backend)) return 0;
  struct Connection *connection = bpf_map_lookup_elem(&connections, &found->slot);
  if (connection) connection->generation = current;
  return 1;
}

// Whether this packet's connection ended before it: it is then taken out of the table.
static __always_inline int is_over(struct Packet *packet, struct FoundConnection *found,
                                   __u64 now) {
  if (packet->quoted) return 0;
  const int tcp = packet->tuple.protocol == IPPROTO_TCP;
  const int opens = tcp && (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
  if (is_expired(found->state, packet->tuple.protocol, found->used_ns, now) ||
      (opens && !found->is_reply && is_closed(found->state))) {
    if (end_connection(found->slot, found->version)) COUNT_CONNECTIONS(aged);
    return 1;
  }
  // Established TCP connections keep their backend until they end; datagrams, and those who are
  // still knocking, go to one that is there.
  if (found->is_reply || found->generation == generation ||
      (tcp && found->state != connection_held)) {
    return 0;
  }
  if (still_serves(&packet->tuple, found)) return 0;
  if (end_connection(found->slot, found->version)) COUNT_CONNECTIONS(moved);
  return 1;
}

// Whether this hook is where the packet is rewritten: the first that meets it on its way to the
// backend; on its way back the last one, unless the node itself is what it is addressed to.
static __always_inline int is_for(enum Hook hook, const struct FoundConnection *found) {
  const int outside = (found->flags & client_outside) != 0;
  if (!found->is_reply) return hook == (outside ? from_uplink : from_pod);
  if (found->flags & through_node) return hook == from_pod || hook == from_uplink;
  return hook == (outside ? to_uplink : to_pod);
}

static __always_inline int translate(struct __sk_buff *skb, enum Hook hook) {
  struct Packet packet;
  __builtin_memset(&packet.tuple, 0, sizeof(packet.tuple));
  enum Parsed parsed = parse(skb, &packet, hook);
  if (parsed == icmp) parsed = parse_error(skb, &packet);
  if (parsed == not_ours) return next;

  const __u64 now = bpf_ktime_get_coarse_ns();
  const int entry = hook == from_pod || hook == from_uplink;
  struct FoundConnection found;
  int known = find_connection(&packet.tuple, &found);
  if (known && !is_for(hook, &found)) return next;
  if (known && is_over(&packet, &found, now)) {
    known = 0;
    if (found.is_reply) {
      COUNT_CONNECTIONS(misses);
      return next;
    }
  }
  if (!known) {
    if (!entry || parsed == icmp) return next;
    switch (connect_to_service(&packet, now, hook == from_uplink)) {
      case no_service:
        make_way_for_itself(&packet, now);
        return next;
      case refused_here:
        return refuse(skb, &packet);
      case connected:
        if (find_connection(&packet.tuple, &found)) break;
        COUNT_CONNECTIONS(unplaced);
        return dropped;
      default:
        return dropped;
    }
  }
  if (parsed == icmp) {
    if (rewrite_error(skb, &packet, &found.other) != 0) return dropped;
  } else {
    __u32 bits = found.is_reply ? connection_answered : 0;
    if (packet.tcp_flags & TCP_FIN) {
      bits |= found.is_reply ? connection_backend_finished : connection_client_finished;
    }
    if (packet.tcp_flags & TCP_RST) bits |= connection_reset;
    use_connection(&found, bits, now);
    if (rewrite_packet(skb, &packet, &found.other) != 0) return dropped;
  }
  return found.flags & through_node ? send_on(skb, &found.other) : next;
}

SEC("tc")
int from_pods(struct __sk_buff *skb) { return translate(skb, from_pod); }

SEC("tc")
int to_pods(struct __sk_buff *skb) { return translate(skb, to_pod); }

SEC("tc")
int from_outside(struct __sk_buff *skb) { return translate(skb, from_uplink); }

SEC("tc")
int to_outside(struct __sk_buff *skb) { return translate(skb, to_uplink); }

char LICENSE[] SEC("license") = "GPL";
