// A packet as the policy programs read it. Included by eBPF programs alone, after the kernel's
// types.
#pragma once

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "cluster/lab/policy/policy_table.h"

#define ETH_HLEN 14
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define IPPROTO_HOP_BY_HOP 0
#define IPPROTO_ROUTE_HEADER 43
#define IPPROTO_FRAGMENT_HEADER 44
#define IPPROTO_ICMP6 58
#define IPPROTO_DESTINATION_OPTIONS 60
#define IPV6_HEADERS_AT_MOST 6
#define TCP_FLAGS_AT 13
#define TCP_SYN_FLAG 0x02
#define TCP_ACK_FLAG 0x10
#define ICMP_HEADER_BYTES 8
#define HOP_LIMIT_OF_NEIGHBOURS 255

enum FragmentKind { whole, first_fragment, later_fragment };

struct PolicyPacket {
  // Of an echo the identifier is the port of who asks, and 1 that of who answers; without ports 0.
  struct ConnectionTuple tuple;
  __u32 opens;     // the first packet of a TCP connection: SYN without ACK
  __u32 fragment;  // FragmentKind
  __u32 fragment_id;
  __u32 quoted;  // of an ICMP error: where the packet it quotes starts; else 0
};

// not_judged: no IP, or what links need to work at all (neighbour discovery, which no router passes
// on: RFC 4861 has its receivers take it with a hop limit of 255 alone).
enum PolicyParsed { not_judged, judged };

static __always_inline void put_ipv4(__u8 *address, __be32 ipv4) {
  __u32 *words = (__u32 *)address;
  words[0] = 0;
  words[1] = 0;
  words[2] = bpf_htonl(0xffff);
  words[3] = ipv4;
}

static __always_inline int has_ports(__u8 protocol) {
  return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

// Walks over extension headers (RFC 8200, 4); the protocol is the first that is none.
static __always_inline int walk_ipv6(struct __sk_buff *skb, struct PolicyPacket *packet,
                                     __u32 *transport, __u8 protocol) {
  for (int i = 0; i < IPV6_HEADERS_AT_MOST; ++i) {
    if (protocol == IPPROTO_FRAGMENT_HEADER) {
      struct {
        __u8 next;
        __u8 reserved;
        __be16 offset;
        __u32 id;
      } header;
      if (bpf_skb_load_bytes(skb, *transport, &header, sizeof(header)) < 0) return -1;
      const __u16 offset = bpf_ntohs(header.offset);
      if (offset & 0xfff8)
        packet->fragment = later_fragment;
      else if (offset & 1)
        packet->fragment = first_fragment;
      packet->fragment_id = header.id;
      *transport += sizeof(header);
      protocol = header.next;
      if (packet->fragment == later_fragment) break;
    } else if (protocol == IPPROTO_HOP_BY_HOP || protocol == IPPROTO_ROUTE_HEADER ||
               protocol == IPPROTO_DESTINATION_OPTIONS) {
      __u8 header[2];
      if (bpf_skb_load_bytes(skb, *transport, header, sizeof(header)) < 0) return -1;
      *transport += ((__u32)header[1] + 1) * 8;
      protocol = header[0];
    } else {
      break;
    }
  }
  packet->tuple.protocol = protocol;
  return 0;
}

static __always_inline int parse_icmp(struct __sk_buff *skb, struct PolicyPacket *packet,
                                      __u32 transport, __u8 hop_limit) {
  struct {
    __u8 type;
    __u8 code;
    __u16 checksum;
    __u16 id;
    __u16 rest;
  } header;
  if (bpf_skb_load_bytes(skb, transport, &header, sizeof(header)) < 0) return judged;
  const int ipv4 = packet->tuple.protocol == IPPROTO_ICMP;
  const __u8 type = header.type;
  if (type == (ipv4 ? 8 : 128)) {
    packet->tuple.source_port = header.id;
    packet->tuple.destination_port = bpf_htons(1);
  } else if (type == (ipv4 ? 0 : 129)) {
    packet->tuple.source_port = bpf_htons(1);
    packet->tuple.destination_port = header.id;
  } else if (ipv4 ? type == 3 || type == 11 || type == 12 : type >= 1 && type <= 4) {
    packet->quoted = transport + ICMP_HEADER_BYTES;
  } else if (!ipv4 && type >= 133 && type <= 137 && hop_limit == HOP_LIMIT_OF_NEIGHBOURS) {
    return not_judged;
  }
  return judged;
}

// The IP packet at an offset.
static __always_inline int parse_ip(struct __sk_buff *skb, struct PolicyPacket *packet, __u32 at,
                                    int ipv4) {
  __u32 transport = at;
  __u8 hop_limit = 0;
  if (ipv4) {
    struct iphdr header;
    if (bpf_skb_load_bytes(skb, at, &header, sizeof(header)) < 0) return not_judged;
    put_ipv4(packet->tuple.source, header.saddr);
    put_ipv4(packet->tuple.destination, header.daddr);
    packet->tuple.protocol = header.protocol;
    const __u16 offset = bpf_ntohs(header.frag_off);
    if (offset & 0x1fff)
      packet->fragment = later_fragment;
    else if (offset & 0x2000)
      packet->fragment = first_fragment;
    packet->fragment_id = header.id;
    transport += (__u32)header.ihl * 4;
  } else {
    struct ipv6hdr header;
    if (bpf_skb_load_bytes(skb, at, &header, sizeof(header)) < 0) return not_judged;
    __builtin_memcpy(packet->tuple.source, &header.saddr, 16);
    __builtin_memcpy(packet->tuple.destination, &header.daddr, 16);
    hop_limit = header.hop_limit;
    transport += sizeof(header);
    if (walk_ipv6(skb, packet, &transport, header.nexthdr) != 0) return judged;
  }
  if (packet->fragment == later_fragment) return judged;
  if (packet->tuple.protocol == IPPROTO_ICMP || packet->tuple.protocol == IPPROTO_ICMP6) {
    return parse_icmp(skb, packet, transport, hop_limit);
  }
  if (!has_ports(packet->tuple.protocol)) return judged;
  __u16 ports[2];
  if (bpf_skb_load_bytes(skb, transport, ports, sizeof(ports)) < 0) return judged;
  packet->tuple.source_port = ports[0];
  packet->tuple.destination_port = ports[1];
  if (packet->tuple.protocol == IPPROTO_TCP) {
    __u8 flags = 0;
    if (bpf_skb_load_bytes(skb, transport + TCP_FLAGS_AT, &flags, 1) < 0) return judged;
    packet->opens = (flags & (TCP_SYN_FLAG | TCP_ACK_FLAG)) == TCP_SYN_FLAG;
  }
  return judged;
}

__noinline int parse_packet(struct __sk_buff *skb, struct PolicyPacket *packet) {
  if (!packet) return not_judged;
  const int ipv4 = skb->protocol == bpf_htons(ETH_P_IP);
  if (!ipv4 && skb->protocol != bpf_htons(ETH_P_IPV6)) return not_judged;
  return parse_ip(skb, packet, ETH_HLEN, ipv4);
}

// The packet an ICMP error quotes, as it was sent; 0 where it cannot be told, or where the error
// does not go to whoever sent it (RFC 792, RFC 4443 2.2): that one is about nothing.
__noinline int parse_quoted(struct __sk_buff *skb, struct PolicyPacket *packet,
                            struct ConnectionTuple *quoted) {
  if (!packet || !quoted) return 0;
  struct PolicyPacket sent = {};
  if (parse_ip(skb, &sent, packet->quoted, packet->tuple.protocol == IPPROTO_ICMP) != judged) {
    return 0;
  }
  if (sent.fragment == later_fragment || (!sent.tuple.source_port && !sent.tuple.destination_port))
    return 0;
  const __u64 *to = (const __u64 *)packet->tuple.destination;
  const __u64 *sender = (const __u64 *)sent.tuple.source;
  if (to[0] != sender[0] || to[1] != sender[1]) return 0;
  __builtin_memcpy(sent.tuple.reserved, packet->tuple.reserved, sizeof(sent.tuple.reserved));
  *quoted = sent.tuple;
  return 1;
}

static __always_inline void reverse(const struct ConnectionTuple *packet,
                                    struct ConnectionTuple *answer) {
  __builtin_memcpy(answer->source, packet->destination, 16);
  __builtin_memcpy(answer->destination, packet->source, 16);
  answer->source_port = packet->destination_port;
  answer->destination_port = packet->source_port;
  answer->protocol = packet->protocol;
  __builtin_memcpy(answer->reserved, packet->reserved, sizeof(answer->reserved));
}
