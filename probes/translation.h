// Where is a Service address translated? Counts, at one interface, the packets a pod sends that are
// still addressed to the Service against those already addressed to one of its backends, and notes
// the source ports they carry: a proxy's packets leave with ports its client never had.
//
// The part above __cplusplus is the wire format between kernel and user space: fixed width, no
// holes, sizes asserted in translation.cc.
#pragma once

#ifndef __bpf__
#include <linux/types.h>
#endif

// An address and a port as the map of endpoints holds them. An IPv4 address is held as its
// IPv4-mapped IPv6 form (RFC 4291, 2.5.5.2), so that one map serves both families.
struct TranslationEndpoint {
  __u8 address[16];  // network order
  __u16 port;        // host order
  __u16 reserved;    // zero
};

// What a known endpoint is, and where a source port was seen: a set of these bits.
enum TranslationClass {
  translation_service = 1,
  translation_backend = 2,
};

// One per CPU.
struct TranslationCounters {
  __u64 packets;     // every packet that passed
  __u64 to_service;  // of the job's protocol, to a Service endpoint
  __u64 to_backend;  // of the job's protocol, to a backend
  __u64 to_other;    // of the job's protocol, to one of those ports at another address
  __u64 unparsed;    // might have been one of these, but its ports cannot be read
  __u64 lost;        // carried a new source port when the map of source ports was full
};

#ifdef __cplusplus

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/bpf/bpf.h"
#include "base/describe.h"
#include "base/fd.h"
#include "base/protocol.h"
#include "base/result.h"
#include "base/scalar.h"

struct translation_bpf;  // libbpf's skeleton

namespace probes {

// What to count, and where.
struct TranslationJob {
  std::string interface;                 // the pod's host-side interface, in our network namespace
  std::vector<base::Endpoint> service;   // the Service's endpoints: address and Service port
  std::vector<base::Endpoint> backends;  // the pods behind it: address and target port
  base::Protocol protocol = base::Protocol::TCP;
};

template <typename Visit, base::SelfOf<TranslationJob> Self>
void describe(Visit& visit, Self& self) {
  visit("interface", self.interface, {.doc = "The pod's host-side interface.", .required = true});
  visit("service", self.service, {.doc = "The Service's addresses and ports.", .required = true});
  visit("backends", self.backends, {.doc = "The pods behind it.", .required = true});
  visit("protocol", self.protocol, {.doc = "TCP or UDP.", .required = true});
}

// What passed the interface since the probe was attached, in the direction pod -> node only.
// A packet is an skb: with segmentation offload one of them may carry up to 64 KiB, so the counts
// tell zero from non-zero and their ratio, not segments on a wire.
struct TranslationCounts {
  std::uint64_t packets = 0;
  std::uint64_t to_service = 0;
  std::uint64_t to_backend = 0;
  std::uint64_t to_other = 0;
  std::uint64_t unparsed = 0;
  std::vector<std::uint16_t> service_source_ports;  // sorted; TCP: of SYNs, UDP: of datagrams
  std::vector<std::uint16_t> backend_source_ports;
  std::uint64_t lost = 0;  // attempts whose source port is missing above: the set was full
  std::optional<std::uint64_t> connection_tracking_entries;
  std::optional<std::uint64_t> run_count;  // the probe's own cost, absent where not permitted
  std::optional<std::uint64_t> run_time_ns;
};

template <typename Visit, base::SelfOf<TranslationCounts> Self>
void describe(Visit& visit, Self& self) {
  visit("packets", self.packets, {.doc = "Every packet the pod sent.", .required = true});
  visit("to_service", self.to_service,
        {.doc = "Packets still addressed to the Service.", .required = true});
  visit("to_backend", self.to_backend,
        {.doc = "Packets already addressed to a backend.", .required = true});
  visit("to_other", self.to_other,
        {.doc = "Packets to one of those ports at any other address.", .required = true});
  visit("unparsed", self.unparsed,
        {.doc = "Packets of the protocol whose ports could not be read: later fragments, too many "
                "or unfinished extension headers, cut headers.",
         .required = true});
  visit("service_source_ports", self.service_source_ports,
        {.doc = "Source ports of connection attempts to the Service."});
  visit("backend_source_ports", self.backend_source_ports,
        {.doc = "Source ports of connection attempts to a backend."});
  visit("lost", self.lost,
        {.doc = "Attempts whose source port is not in those lists because they were full."});
  visit("connection_tracking_entries", self.connection_tracking_entries,
        {.doc = "nf_conntrack_count of the network namespace; absent without connection "
                "tracking."});
  visit("run_count", self.run_count, {.doc = "Times the probe ran while statistics were on."});
  visit("run_time_ns", self.run_time_ns, {.doc = "Time it took in all, by the kernel's count."});
}

// A counter at one interface of the network namespace it was attached in. It observes without
// taking part: an AF_PACKET tap whose filter keeps nothing. The kernel runs taps before tc and tcx
// ingress programs, before a bridge and before netfilter (net/core/dev.c,
// __netif_receive_skb_core: ptype_all precedes sch_handle_ingress and rx_handler), so what another
// program there rewrites is counted as the pod sent it. Two exceptions are stated, not hidden: an
// XDP program at this interface runs earlier, and netkit runs its programs in the peer's transmit.
// It ends with its descriptors: kill -9 leaves nothing.
class TranslationProbe {
 public:
  // Loads and attaches; counts from here on. Call it in the network namespace of the interface.
  // Errors: input (no such interface, no endpoints, the same endpoint as Service and backend, more
  // than 65536 of them), not_permitted (CAP_BPF, CAP_NET_RAW), missing (the kernel refuses the
  // program: the verifier's last words), system.
  static base::Result<TranslationProbe> attach(const TranslationJob& job);

  // In the .cc, where the skeleton is a complete type.
  TranslationProbe(TranslationProbe&&) noexcept;
  TranslationProbe& operator=(TranslationProbe&&) noexcept;
  ~TranslationProbe();

  // The counts so far, consistent per counter, not across them; call it after traffic ended for
  // totals that agree. Any thread in the same network namespace, one at a time. Errors: system.
  [[nodiscard]] base::Result<TranslationCounts> read() const;

 private:
  TranslationProbe();

  base::UniqueSkeleton<translation_bpf> skeleton_;
  base::UniqueFd tap_;
  base::UniqueFd statistics_;
};

}  // namespace probes

#endif  // __cplusplus
