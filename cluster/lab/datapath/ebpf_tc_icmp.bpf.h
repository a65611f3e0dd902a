// ICMP in a tcx program: errors about translated packets, translated with what they quote (but for
// the transport checksum inside, which nobody verifies), and the refusal of a packet. Included by
// eBPF programs alone, after the kernel's types.
#pragma once

#include "cluster/lab/datapath/ebpf_tc_packet.bpf.h"

#define IPV4_OFFSET_MASK 0x1fff
#define ICMP_DEST_UNREACH 3
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMP_PORT_UNREACH 3
#define ICMPV6_DEST_UNREACH 1
#define ICMPV6_PARAMPROB 4
#define ICMPV6_PORT_UNREACH 4
#define ICMP_HEADER 8
#define TTL 64

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
