// Why was it dropped? Notes every packet the kernel drops that belongs to given endpoints: when,
// where in the kernel, and the reason it gives (tracepoint skb/kfree_skb; include/net/dropreason.h;
// reasons since Linux 5.17).
//
// The part above __cplusplus is the wire format between kernel and user space: fixed width, no
// holes, sizes asserted in drops.cc.
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#endif

// A dropped packet. Addresses are in IPv6 form, IPv4 ones mapped (RFC 4291, 2.5.5.2).
struct DropRecord {
  __u64 time_ns;   // CLOCK_MONOTONIC
  __u64 location;  // the kernel's code address
  __u8 source[16];
  __u8 destination[16];
  __u16 source_port;  // host order
  __u16 destination_port;
  __u32 reason;   // enum skb_drop_reason of the running kernel
  __u32 netns;    // inode number of the network namespace it was in; 0: not known
  __u8 protocol;  // IPPROTO_TCP or IPPROTO_UDP
  __u8 reserved[3];
};

#ifdef __cplusplus

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bpf/bpf.h"
#include "base/describe.h"
#include "base/json.h"
#include "base/protocol.h"
#include "base/result.h"
#include "base/scalar.h"

struct drops_bpf;  // libbpf's skeleton

namespace probes {

// Which packets: those from or to one of these endpoints, of either protocol.
struct DropsJob {
  std::vector<base::Endpoint> endpoints;
};

template <typename Visit, base::SelfOf<DropsJob> Self>
void describe(Visit& visit, Self& self) {
  visit("endpoints", self.endpoints,
        {.doc = "Addresses and ports of pods and Services.", .required = true});
}

struct Drop {
  std::int64_t time_ns = 0;  // CLOCK_MONOTONIC of the machine it happened on
  std::string reason;        // "NETFILTER_DROP"; a number where the kernel has no name for it
  std::string where;         // "nf_hook_slow"; empty where /proc/kallsyms shows no addresses
  base::Endpoint from;
  base::Endpoint to;
  base::Protocol protocol = base::Protocol::TCP;
  std::uint32_t netns = 0;

  bool operator==(const Drop&) const = default;
};

template <typename Visit, base::SelfOf<Drop> Self>
void describe(Visit& visit, Self& self) {
  visit("time_ns", self.time_ns, {.doc = "CLOCK_MONOTONIC.", .required = true});
  visit("reason", self.reason, {.doc = "As the kernel calls it.", .required = true});
  visit("where", self.where, {.doc = "The kernel's function."});
  visit("from", self.from, {.doc = "Its source.", .required = true});
  visit("to", self.to, {.doc = "Its destination.", .required = true});
  visit("protocol", self.protocol, {.doc = "TCP or UDP.", .required = true});
  visit("netns", self.netns, {.doc = "Inode number of its network namespace; 0: not known."});
}

// What was dropped since the probe was attached, in the order of time.
struct Drops {
  std::vector<Drop> drops;
  std::uint64_t lost = 0;      // drops that found the buffer full
  std::uint64_t unparsed = 0;  // packets whose headers could not be read: some may have been ours
};

template <typename Visit, base::SelfOf<Drops> Self>
void describe(Visit& visit, Self& self) {
  visit("drops", self.drops, {.doc = "In the order of time.", .required = true});
  visit("lost", self.lost, {.doc = "Drops that found the buffer full."});
  visit("unparsed", self.unparsed, {.doc = "Dropped packets whose headers could not be read."});
}

// A probe on the whole machine, whatever the network namespace: drops of others are looked at and
// left, and so is what a socket still held when it closed (QUEUE_PURGE), which no path lost. It
// costs nothing but where something is dropped. It ends with its descriptors.
class DropsProbe {
 public:
  // Errors: input (no endpoints, or more than 65536), not_permitted, missing (a kernel without
  // drop reasons, or one that refuses the program), system.
  static base::Result<DropsProbe> attach(const DropsJob& job);

  // In the .cc, where the skeleton is a complete type.
  DropsProbe(DropsProbe&&) noexcept;
  DropsProbe& operator=(DropsProbe&&) noexcept;
  ~DropsProbe();

  // Everything since the last call. One thread at a time. Errors: system.
  [[nodiscard]] base::Result<Drops> take();

 private:
  DropsProbe();

  base::UniqueSkeleton<drops_bpf> skeleton_;
  std::uint64_t lost_before_ = 0;
  std::uint64_t unparsed_before_ = 0;
};

}  // namespace probes

#endif  // __cplusplus
