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
// what the node's own processes send. ICMP errors about translated packets are translated with what
// they quote, but for the transport checksum inside, which nobody verifies.

// clang-format off: the kernel's types come first
#include "vmlinux.h"
// clang-format on

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "cluster/lab/datapath/connection_table.bpf.h"
#include "cluster/lab/datapath/service_map.bpf.h"

#define AF_INET 2
#define AF_INET6 10
#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define IPV4_FRAGMENT_MASK 0x3fff  // more fragments, or an offset
#define IPV4_OFFSET_MASK 0x1fff
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6 58

#define TCP_FLAGS_OFFSET 13
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#define ICMP_DEST_UNREACH 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMP_PORT_UNREACH 3
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMPROB 4
#define ICMPV6_PORT_UNREACH 4
#define ICMP_HEADER 8

#define TTL 64

enum Hook { from_pod, to_pod, from_uplink, to_uplink };

// What a program says of a packet: the next program's business, or dropped here.
enum { next = TCX_NEXT, dropped = TCX_DROP };

enum ConnectionFlags {
  through_node = 1,  // the backend is shown the node's address and answers to it
  client_outside = 2,
};

// The node's addresses in IPv6 form.
const volatile struct {
  __u8 ipv4[16];
  __u8 ipv6[16];
} own = {};

struct Packet {
  struct ConnectionTuple tuple;  // of an ICMP error: of the answer to the packet it quotes
  __u32 transport;               // where the transport header starts
  __u32 quoted;                  // of an ICMP error: where the packet it quotes starts; else 0
  __u32 ipv4;
  __u32 tcp_flags;
  __u32 ttl;       // of IPv4, like the next
  __u32 checksum;  // the header's
};

enum Parsed { not_ours, ours, icmp };

static __always_inline void map_ipv4(__u8 *address, __be32 ipv4) {
  __u32 *words = (__u32 *)address;
  words[0] = 0;
  words[1] = 0;
  words[2] = bpf_htonl(0xffff);
  words[3] = ipv4;
}

// Reads a pointer out of the context as the verifier wants it: at a constant offset from the
// context itself, which the compiler would otherwise compute beforehand.
#define CONTEXT_POINTER(skb, field)                                             \
  ({                                                                            \
    void *pointer_;                                                             \
    asm volatile("%0 = *(u32 *)(%1 + %2)"                                       \
                 : "=r"(pointer_)                                               \
                 : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, field))); \
    pointer_;                                                                   \
  })

static __always_inline enum Parsed parse(struct __sk_buff *skb, struct Packet *packet,
                                         enum Hook hook) {
  const __u32 ports_end = ETH_HLEN + sizeof(struct iphdr) + 8;
  if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6)) {
    return not_ours;
  }
  if (CONTEXT_POINTER(skb, data) + ports_end > CONTEXT_POINTER(skb, data_end)) {
    // Not all of the headers are in the first piece.
    const __u32 wanted = ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct tcphdr);
    if (bpf_skb_pull_data(skb, skb->len < wanted ? skb->len : wanted) != 0) return not_ours;
  }
  void *data = CONTEXT_POINTER(skb, data);
  void *end = CONTEXT_POINTER(skb, data_end);
  packet->quoted = 0;
  packet->tcp_flags = 0;
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    struct iphdr *header = data + ETH_HLEN;
    if ((void *)(header + 1) > end) return not_ours;
    packet->ipv4 = 1;
    packet->tuple.protocol = header->protocol;
    packet->ttl = header->ttl;
    packet->checksum = header->check;
    packet->transport = ETH_HLEN + (__u32)header->ihl * 4;
    map_ipv4(packet->tuple.source, header->saddr);
    map_ipv4(packet->tuple.destination, header->daddr);
    if (header->frag_off & bpf_htons(IPV4_FRAGMENT_MASK)) {
      if (hook == from_pod || hook == from_uplink) COUNT_CONNECTIONS(fragments);
      return not_ours;
    }
    if (header->protocol == IPPROTO_ICMP) return icmp;
  } else {
    struct ipv6hdr *header = data + ETH_HLEN;
    if ((void *)(header + 1) > end) return not_ours;
    packet->ipv4 = 0;
    packet->tuple.protocol = header->nexthdr;
    packet->transport = ETH_HLEN + sizeof(*header);
    __builtin_memcpy(packet->tuple.source, &header->saddr, 16);
    __builtin_memcpy(packet->tuple.destination, &header->daddr, 16);
    if (header->nexthdr == IPPROTO_FRAGMENT) {
      if (hook == from_pod || hook == from_uplink) COUNT_CONNECTIONS(fragments);
      return not_ours;
    }
    if (header->nexthdr == IPPROTO_ICMPV6) return icmp;
  }
  if (packet->tuple.protocol != IPPROTO_TCP && packet->tuple.protocol != IPPROTO_UDP) {
    return not_ours;
  }
  const __u32 transport = packet->transport & 0x7f;
  __u16 *ports = data + transport;
  if ((void *)(ports + 2) > end) return not_ours;
  packet->tuple.source_port = ports[0];
  packet->tuple.destination_port = ports[1];
  if (packet->tuple.protocol == IPPROTO_TCP) {
    __u8 *flags = data + transport + TCP_FLAGS_OFFSET;
    if ((void *)(flags + 1) > end) return not_ours;
    packet->tcp_flags = *flags;
  }
  return ours;
}

// An ICMP error: the tuple becomes that of the answer to the packet it quotes, which is where the
// error goes.
__noinline int parse_error(struct __sk_buff *skb, struct Packet *packet) {
  if (!packet) return not_ours;
  __u8 type = 0;
  if (bpf_skb_load_bytes(skb, packet->transport, &type, 1) < 0) return not_ours;
  packet->quoted = packet->transport + ICMP_HEADER;
  __u32 transport = packet->quoted;
  __u8 protocol = 0;
  if (packet->ipv4) {
    if (type != ICMP_DEST_UNREACH && type != ICMP_TIME_EXCEEDED && type != ICMP_PARAMETERPROB) {
      return not_ours;
    }
    struct iphdr header;
    if (bpf_skb_load_bytes(skb, packet->quoted, &header, sizeof(header)) < 0) return not_ours;
    if (header.frag_off & bpf_htons(IPV4_OFFSET_MASK)) return not_ours;
    map_ipv4(packet->tuple.source, header.daddr);
    map_ipv4(packet->tuple.destination, header.saddr);
    protocol = header.protocol;
    transport += (__u32)header.ihl * 4;
  } else {
    if (type < ICMPV6_DEST_UNREACH || type > ICMPV6_PARAMPROB) return not_ours;
    struct ipv6hdr header;
    if (bpf_skb_load_bytes(skb, packet->quoted, &header, sizeof(header)) < 0) return not_ours;
    __builtin_memcpy(packet->tuple.source, &header.daddr, 16);
    __builtin_memcpy(packet->tuple.destination, &header.saddr, 16);
    protocol = header.nexthdr;
    transport += sizeof(header);
  }
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) return not_ours;
  __u16 ports[2];
  if (bpf_skb_load_bytes(skb, transport, ports, sizeof(ports)) < 0) return not_ours;
  packet->tuple.protocol = protocol;
  packet->tuple.source_port = ports[1];
  packet->tuple.destination_port = ports[0];
  return icmp;
}

// Sums for Internet checksums (RFC 1624): what is to be added where `before` becomes `after`.
static __always_inline __u64 difference(__u32 before, __u32 after) {
  return (__u64)(__u32)~before + after;
}

static __always_inline __u64 difference16(__u16 before, __u16 after) {
  return (__u64)(__u16)~before + after;
}

static __always_inline __u32 fold32(__u64 sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  return (__u32)((sum & 0xffffffff) + (sum >> 32));
}

static __always_inline __u16 fold16(__u64 sum) {
  __u32 folded = fold32(sum);
  folded = (folded & 0xffff) + (folded >> 16);
  folded = (folded & 0xffff) + (folded >> 16);
  return (__u16)folded;
}

static __always_inline __u64 address_difference(const __u8 *before, const __u8 *after, int ipv4) {
  const __u32 *x = (const __u32 *)before, *y = (const __u32 *)after;
  if (ipv4) return difference(x[3], y[3]);
  return difference(x[0], y[0]) + difference(x[1], y[1]) + difference(x[2], y[2]) +
         difference(x[3], y[3]);
}

static __always_inline int same_address(const __u8 *a, const __u8 *b) {
  const __u64 *x = (const __u64 *)a, *y = (const __u64 *)b;
  return x[0] == y[0] && x[1] == y[1];
}

// From an IPv4 header's time to live on, and where it has no options from there into what follows;
// likewise from an IPv6 header's source.
struct Ends4 {
  __u8 ttl;
  __u8 protocol;
  __u16 checksum;
  __u32 source;
  __u32 destination;
  __u16 ports[2];
};

struct Ends6 {
  __u8 source[16];
  __u8 destination[16];
  __u16 ports[2];
};

#define ENDS_OFFSET 8

static __always_inline void readdress(struct Ends4 *ends, const __u8 *source,
                                      const __u8 *destination) {
  const __u32 new_source = ((const __u32 *)source)[3];
  const __u32 new_destination = ((const __u32 *)destination)[3];
  ends->checksum = (__u16)~fold16((__u16)~ends->checksum + difference(ends->source, new_source) +
                                  difference(ends->destination, new_destination));
  ends->source = new_source;
  ends->destination = new_destination;
}

// Writes the addresses of the IP header at `at`, and of an IPv4 header the checksum.
static __always_inline int write_addresses(struct __sk_buff *skb, __u32 at, int ipv4,
                                           const __u8 *source, const __u8 *destination) {
  if (!ipv4) {
    struct Ends6 ends;
    __builtin_memcpy(ends.source, source, 16);
    __builtin_memcpy(ends.destination, destination, 16);
    return bpf_skb_store_bytes(skb, at + ENDS_OFFSET, &ends, 32, 0);
  }
  struct Ends4 ends = {};
  if (bpf_skb_load_bytes(skb, at + ENDS_OFFSET, &ends, 12) < 0) return -1;
  readdress(&ends, source, destination);
  return bpf_skb_store_bytes(skb, at + ENDS_OFFSET, &ends, 12, 0);
}

// Writes addresses and ports of a packet, in one go where they lie side by side.
static __always_inline int write_ends(struct __sk_buff *skb, const struct Packet *packet,
                                      const struct ConnectionTuple *answer) {
  const __u32 at = ETH_HLEN + ENDS_OFFSET;
  if (!packet->ipv4) {
    struct Ends6 ends = {.ports = {answer->destination_port, answer->source_port}};
    __builtin_memcpy(ends.source, answer->destination, 16);
    __builtin_memcpy(ends.destination, answer->source, 16);
    return bpf_skb_store_bytes(skb, at, &ends, sizeof(ends), 0);
  }
  struct Ends4 ends = {.ttl = (__u8)packet->ttl,
                       .protocol = packet->tuple.protocol,
                       .checksum = (__u16)packet->checksum,
                       .source = ((const __u32 *)packet->tuple.source)[3],
                       .destination = ((const __u32 *)packet->tuple.destination)[3],
                       .ports = {answer->destination_port, answer->source_port}};
  readdress(&ends, answer->destination, answer->source);
  if (packet->transport == ETH_HLEN + sizeof(struct iphdr)) {
    return bpf_skb_store_bytes(skb, at, &ends, sizeof(ends), 0);
  }
  if (bpf_skb_store_bytes(skb, at, &ends, 12, 0) != 0) return -1;
  return bpf_skb_store_bytes(skb, packet->transport, ends.ports, 4, 0);
}

// Rewrites a packet: from the answer's destination to the answer's source.
static __always_inline int rewrite_packet(struct __sk_buff *skb, const struct Packet *packet,
                                          const struct ConnectionTuple *answer) {
  const struct ConnectionTuple *tuple = &packet->tuple;
  const int tcp = tuple->protocol == IPPROTO_TCP;
  const __u32 checksum = packet->transport + (tcp ? 16 : 6);
  // A UDP packet may have none, which 0 says (RFC 768).
  const __u64 may_lack = tcp ? 0 : BPF_F_MARK_MANGLED_0;
  // Where the device is to finish the checksum (CHECKSUM_PARTIAL), the field holds the sum of the
  // pseudo header alone: with this flag the kernel keeps it right, without it the field stays.
  __u64 sum = address_difference(tuple->source, answer->destination, (int)packet->ipv4) +
              address_difference(tuple->destination, answer->source, (int)packet->ipv4);
  if (bpf_l4_csum_replace(skb, checksum, 0, fold32(sum), BPF_F_PSEUDO_HDR | may_lack) != 0) {
    return -1;
  }
  sum = difference16(tuple->source_port, answer->destination_port) +
        difference16(tuple->destination_port, answer->source_port);
  if (bpf_l4_csum_replace(skb, checksum, 0, fold32(sum), may_lack) != 0) return -1;
  return write_ends(skb, packet, answer);
}

// Rewrites an ICMP error and the packet it quotes, which went the other way.
__noinline int rewrite_error(struct __sk_buff *skb, struct Packet *packet,
                             struct ConnectionTuple *answer) {
  if (!packet || !answer) return -1;
  const struct ConnectionTuple *tuple = &packet->tuple;
  const int ipv4 = (int)packet->ipv4;
  struct {
    __u8 source[16];
    __u8 destination[16];
  } outer;
  if (ipv4) {
    __u32 addresses[2];
    if (bpf_skb_load_bytes(skb, ETH_HLEN + 12, addresses, sizeof(addresses)) < 0) return -1;
    map_ipv4(outer.source, addresses[0]);
    map_ipv4(outer.destination, addresses[1]);
  } else if (bpf_skb_load_bytes(skb, ETH_HLEN + 8, &outer, sizeof(outer)) < 0) {
    return -1;
  }
  // A router on the way speaks for itself.
  const __u8 *source = outer.source;
  if (same_address(outer.source, tuple->source)) source = answer->destination;

  __u32 transport = packet->quoted + sizeof(struct ipv6hdr);
  if (ipv4) {
    __u8 first = 0;
    if (bpf_skb_load_bytes(skb, packet->quoted, &first, 1) < 0) return -1;
    transport = packet->quoted + (__u32)(first & 0xf) * 4;
  }
  const __u16 ports[2] = {answer->source_port, answer->destination_port};
  __u64 sum = difference16(tuple->source_port, answer->destination_port) +
              difference16(tuple->destination_port, answer->source_port);
  const __u32 checksum = packet->transport + 2;
  if (!ipv4) {
    // The quoted addresses; an IPv4 header's own checksum makes up for them.
    sum += address_difference(tuple->source, answer->destination, 0) +
           address_difference(tuple->destination, answer->source, 0);
    const __u64 pseudo = address_difference(outer.source, source, 0) +
                         address_difference(outer.destination, answer->source, 0);
    if (bpf_l4_csum_replace(skb, checksum, 0, fold32(pseudo), BPF_F_PSEUDO_HDR) != 0) return -1;
  }
  if (bpf_l4_csum_replace(skb, checksum, 0, fold32(sum), 0) != 0) return -1;
  if (bpf_skb_store_bytes(skb, transport, ports, sizeof(ports), 0) != 0) return -1;
  if (write_addresses(skb, packet->quoted, ipv4, answer->source, answer->destination) != 0) {
    return -1;
  }
  return write_addresses(skb, ETH_HLEN, ipv4, source, answer->source);
}

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

// Makes of a packet the ICMP error that says its port is not there, in place, and sends it back
// where it came from. It comes from the address that was dialled, and quotes the headers and
// nothing behind them.
__noinline int refuse(struct __sk_buff *skb, struct Packet *packet) {
  if (!packet) return dropped;
  COUNT_CONNECTIONS(refused);
  const int tcp = packet->tuple.protocol == IPPROTO_TCP;
  const __u32 transport = tcp ? sizeof(struct tcphdr) : sizeof(struct udphdr);
  const __u32 network = packet->ipv4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
  // With IPv4 options it is not answered.
  if (packet->transport != ETH_HLEN + network) return dropped;
  const __u32 quoted = network + transport;
  struct {
    __u8 destination[6];
    __u8 source[6];
  } link;
  if (bpf_skb_load_bytes(skb, 0, &link, sizeof(link)) < 0 ||
      bpf_skb_change_tail(skb, ETH_HLEN + quoted, 0) != 0) {
    return dropped;
  }
  // All lengths are multiples of 4. What is not quoted is zero and adds nothing.
  __u32 quote[15] = {};
  const long loaded = packet->ipv4 ? (tcp ? bpf_skb_load_bytes(skb, ETH_HLEN, quote, 40)
                                          : bpf_skb_load_bytes(skb, ETH_HLEN, quote, 28))
                                   : (tcp ? bpf_skb_load_bytes(skb, ETH_HLEN, quote, 60)
                                          : bpf_skb_load_bytes(skb, ETH_HLEN, quote, 48));
  if (loaded < 0) return dropped;
  __u64 sum = 0;
  for (__u32 i = 0; i < 15; ++i) sum += quote[i];
  if (bpf_skb_adjust_room(skb, (__s32)(network + ICMP_HEADER), BPF_ADJ_ROOM_MAC, 0) != 0) {
    return dropped;
  }
  const __u16 type = (__u16)skb->protocol;
  struct {
    __u8 destination[6];
    __u8 source[6];
    __u16 type;
  } ethernet = {.type = type};
  __builtin_memcpy(ethernet.destination, link.source, 6);
  __builtin_memcpy(ethernet.source, link.destination, 6);
  if (bpf_skb_store_bytes(skb, 0, &ethernet, sizeof(ethernet), 0) != 0) return dropped;
  const __u32 *source = (const __u32 *)packet->tuple.destination;
  const __u32 *destination = (const __u32 *)packet->tuple.source;
  if (packet->ipv4) {
    __u32 header[] = {bpf_htonl(0x45000000 | (sizeof(struct iphdr) + ICMP_HEADER + quoted)),
                      0,
                      bpf_htonl(TTL << 24 | IPPROTO_ICMP << 16),
                      source[3],
                      destination[3],
                      bpf_htonl(ICMP_DEST_UNREACH << 24 | ICMP_PORT_UNREACH << 16),
                      0};
    sum += header[5];
    __u64 of_ip = 0;
    for (__u32 i = 0; i < 5; ++i) of_ip += header[i];
    // The checksums are the last two bytes of their words, whose value is in network order.
    header[2] |= bpf_htonl(bpf_ntohs((__u16)~fold16(of_ip)));
    header[5] |= bpf_htonl(bpf_ntohs((__u16)~fold16(sum)));
    if (bpf_skb_store_bytes(skb, ETH_HLEN, header, sizeof(header), 0) != 0) return dropped;
  } else {
    __u32 header[] = {bpf_htonl(6U << 28),
                      bpf_htonl((ICMP_HEADER + quoted) << 16 | IPPROTO_ICMPV6 << 8 | TTL),
                      source[0],
                      source[1],
                      source[2],
                      source[3],
                      destination[0],
                      destination[1],
                      destination[2],
                      destination[3],
                      bpf_htonl(ICMPV6_DEST_UNREACH << 24 | ICMPV6_PORT_UNREACH << 16),
                      0};
    // The pseudo header: the addresses, the length and the protocol (RFC 8200, 8.1).
    for (__u32 i = 2; i < 11; ++i) sum += header[i];
    sum += bpf_htonl(ICMP_HEADER + quoted);
    sum += bpf_htonl(IPPROTO_ICMPV6);
    header[10] |= bpf_htonl(bpf_ntohs((__u16)~fold16(sum)));
    if (bpf_skb_store_bytes(skb, ETH_HLEN, header, sizeof(header), 0) != 0) return dropped;
  }
  return (int)bpf_redirect(skb->ifindex, 0);
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
