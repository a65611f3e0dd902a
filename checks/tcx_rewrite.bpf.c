// For the lab test of translated_at: a rival at the very interface the probe watches. It points
// IPv4 datagrams for one address and port at another on their way in, as a per-packet load balancer
// at a veth does. If the probe saw packets after it, it would take them for translated in the pod.
// clang-format off: the kernel's types come first
#include "vmlinux.h"
// clang-format on

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_HLEN 14
#define TCX_NEXT -1

const volatile __u32 from_address = 0;  // network order
const volatile __u32 to_address = 0;
const volatile __u16 from_port = 0;  // network order
const volatile __u16 to_port = 0;

__u64 rewritten = 0;

SEC("tc")
int rewrite(struct __sk_buff *skb) {
  struct iphdr header;
  __be16 port;
  const int ports = ETH_HLEN + sizeof(header);
  if (bpf_skb_load_bytes(skb, ETH_HLEN, &header, sizeof(header)) < 0) return TCX_NEXT;
  if (bpf_skb_load_bytes(skb, ports + 2, &port, sizeof(port)) < 0) return TCX_NEXT;
  if (skb->protocol != bpf_htons(0x0800) || header.protocol != IPPROTO_UDP) return TCX_NEXT;
  if (header.daddr != from_address || port != from_port) return TCX_NEXT;

  const __u32 address = to_address;
  const __be16 new_port = to_port;
  const __be16 no_checksum = 0;  // an IPv4 datagram need not have one
  bpf_l3_csum_replace(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, check), from_address,
                      to_address, sizeof(__u32));
  bpf_skb_store_bytes(skb, ETH_HLEN + __builtin_offsetof(struct iphdr, daddr), &address,
                      sizeof(address), 0);
  bpf_skb_store_bytes(skb, ports + 2, &new_port, sizeof(new_port), 0);
  bpf_skb_store_bytes(skb, ports + 6, &no_checksum, sizeof(no_checksum), 0);
  __sync_fetch_and_add(&rewritten, 1);
  return TCX_NEXT;
}

char LICENSE[] SEC("license") = "GPL";
