// A packet in a tcx program: read, and given other addresses and ports, with its checksums kept
// right. Included by eBPF programs alone, after the kernel's types.
#pragma once

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "cluster/lab/datapath/connection_table.bpf.h"

#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define IPV4_FRAGMENT_MASK 0x3fff  // more fragments, or an offset
#define IPPROTO_FRAGMENT 44
#define IPPROTO_ICMPV6 58

#define TCP_FLAGS_OFFSET 13
#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

enum Hook { from_pod, to_pod, from_uplink, to_uplink };

// What a program says of a packet: the next program's business, or dropped here.
enum { next = TCX_NEXT, dropped = TCX_DROP };

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
