// The kernel side of the translation probe: a socket filter on an AF_PACKET SOCK_DGRAM tap. It
// reads each packet's addresses and ports, counts, and keeps nothing (returns 0). The tap hands it
// the packet from the network header on, whatever the link layer. One VLAN tag is already out of
// the way there (__netif_receive_skb_core calls skb_vlan_untag before the taps), a second one is
// not.

// clang-format off: the kernel's types come first
#include "vmlinux.h"
// clang-format on

#include "probes/translation.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define ETH_P_8021Q 0x8100
#define ETH_P_8021AD 0x88A8

// IPv6 extension headers (RFC 8200, RFC 6275); vmlinux.h has the other protocol numbers.
#define IPPROTO_HOPOPTS 0
#define IPPROTO_ROUTING 43
#define IPPROTO_FRAGMENT 44
#define IPPROTO_DSTOPTS 60
#define IPPROTO_MH 135

#define IPV4_OFFSET_MASK 0x1fff
#define IPV6_OFFSET_MASK 0xfff8
#define TCP_FLAGS_OFFSET 13
#define TCP_SYN 0x02
#define TCP_ACK 0x10

// RFC 8200 asks that any number be accepted; more than this is nobody's ordinary traffic and is
// counted as unparsed.
#define EXTENSION_HEADERS_AT_MOST 8

const volatile __u8 job_protocol = IPPROTO_TCP;
// One bit per port (host order) that any known endpoint uses.
const volatile __u64 job_ports[1024] = {};

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, struct TranslationEndpoint);
  __type(value, __u32);  // enum TranslationClass
  __uint(max_entries, 1);
} endpoints SEC(".maps");

// Source port (host order) -> set of enum TranslationClass.
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __type(key, __u32);
  __type(value, __u32);
  __uint(max_entries, 1);
} source_ports SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __type(key, __u32);
  __type(value, struct TranslationCounters);
  __uint(max_entries, 1);
} counters SEC(".maps");

// Where the transport header starts and to whom the packet goes.
struct Packet {
  struct TranslationEndpoint destination;
  __u32 transport;
};

enum Parsed { not_ours, ours, unreadable };

static __always_inline enum Parsed parse_ipv4(struct __sk_buff *skb, struct Packet *packet) {
  struct iphdr header;
  if (bpf_skb_load_bytes(skb, 0, &header, sizeof(header)) < 0) return unreadable;
  if (header.protocol != job_protocol) return not_ours;
  packet->destination.address[10] = 0xff;
  packet->destination.address[11] = 0xff;
  __builtin_memcpy(packet->destination.address + 12, &header.daddr, 4);
  packet->transport = (__u32)header.ihl * 4;
  if (packet->transport < sizeof(header)) return unreadable;
  // Only the first fragment carries the ports.
  return header.frag_off & bpf_htons(IPV4_OFFSET_MASK) ? unreadable : ours;
}

static __always_inline enum Parsed parse_ipv6(struct __sk_buff *skb, struct Packet *packet) {
  struct ipv6hdr header;
  if (bpf_skb_load_bytes(skb, 0, &header, sizeof(header)) < 0) return unreadable;
  __builtin_memcpy(packet->destination.address, &header.daddr, 16);
  __u8 next = header.nexthdr;
  __u32 offset = sizeof(header);
  for (int i = 0; i <= EXTENSION_HEADERS_AT_MOST; ++i) {
    if (next == job_protocol) {
      packet->transport = offset;
      return ours;
    }
    // The start of every extension header (RFC 8200, 4): what follows, its length in 8 bytes
    // beyond the first 8, and two bytes that are a fragment's offset or, the second of them, a
    // routing header's segments left.
    struct {
      __u8 next;
      __u8 length;
      __u8 third;
      __u8 fourth;
    } extension;
    switch (next) {
      case IPPROTO_HOPOPTS:
      case IPPROTO_DSTOPTS:
      case IPPROTO_MH:
        if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension)) < 0) return unreadable;
        offset += ((__u32)extension.length + 1) * 8;
        break;
      case IPPROTO_ROUTING:
        if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension)) < 0) return unreadable;
        // With segments left the address in the header is a way-point, not the destination.
        if (extension.fourth != 0) return unreadable;
        offset += ((__u32)extension.length + 1) * 8;
        break;
      case IPPROTO_FRAGMENT:
        if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension)) < 0) return unreadable;
        if (((__u32)extension.third << 8 | extension.fourth) & IPV6_OFFSET_MASK) {
          return extension.next == job_protocol ? unreadable : not_ours;
        }
        offset += 8;
        break;
      case IPPROTO_AH:
        // Its length counts 4 bytes beyond the first 8 (RFC 4302, 2.2).
        if (bpf_skb_load_bytes(skb, offset, &extension, sizeof(extension)) < 0) return unreadable;
        offset += ((__u32)extension.length + 2) * 4;
        break;
      default:
        return not_ours;  // another protocol, ESP among them
    }
    next = extension.next;
  }
  return unreadable;
}

// Notes that a connection attempt with this source port went to an endpoint of this class.
static __always_inline void note_source_port(__u16 port, __u32 class,
                                             struct TranslationCounters *counter) {
  __u32 key = port;
  for (int attempt = 0; attempt < 2; ++attempt) {
    __u32 *seen = bpf_map_lookup_elem(&source_ports, &key);
    if (seen) {
      if ((*seen & class) == 0) __sync_fetch_and_or(seen, class);
      return;
    }
    // Another CPU may have added it since the lookup; then the second round finds it.
    if (bpf_map_update_elem(&source_ports, &key, &class, BPF_NOEXIST) == 0) return;
  }
  counter->lost += 1;
}

SEC("socket")
int count_translation(struct __sk_buff *skb) {
  __u32 zero = 0;
  struct TranslationCounters *counter = bpf_map_lookup_elem(&counters, &zero);
  if (!counter) return 0;
  counter->packets += 1;

  struct Packet packet = {};
  enum Parsed parsed = not_ours;
  if (skb->protocol == bpf_htons(ETH_P_IP)) {
    parsed = parse_ipv4(skb, &packet);
  } else if (skb->protocol == bpf_htons(ETH_P_IPV6)) {
    parsed = parse_ipv6(skb, &packet);
  } else if (skb->protocol == bpf_htons(ETH_P_8021Q) || skb->protocol == bpf_htons(ETH_P_8021AD)) {
    parsed = unreadable;
  }
  if (parsed == not_ours) return 0;

  __be16 ports[2];
  __u8 flags = TCP_SYN;  // a datagram counts as an attempt
  if (parsed == unreadable || bpf_skb_load_bytes(skb, packet.transport, ports, sizeof(ports)) < 0 ||
      (job_protocol == IPPROTO_TCP &&
       bpf_skb_load_bytes(skb, packet.transport + TCP_FLAGS_OFFSET, &flags, 1) < 0)) {
    counter->unparsed += 1;
    return 0;
  }
  __u16 port = bpf_ntohs(ports[1]);
  packet.destination.port = port;
  __u32 *class = bpf_map_lookup_elem(&endpoints, &packet.destination);
  if (!class) {
    if (job_ports[port >> 6] & 1ULL << (port & 63)) counter->to_other += 1;
    return 0;
  }
  if (*class == translation_service) {
    counter->to_service += 1;
  } else {
    counter->to_backend += 1;
  }

  if ((flags & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
    note_source_port(bpf_ntohs(ports[0]), *class, counter);
  }
  return 0;
}

char LICENSE[] SEC("license") = "GPL";
