// NetworkPolicy enforced in a lab: policy.bpf.c at the interfaces of pods and nodes, beside
// whichever datapath the environment has. compile.h says what policies mean, policy.bpf.c what is
// judged where.
//
// What is written takes force for all nodes at one instant: a generation is loaded beside the one
// in force (prepare) and put in its place by one store to memory the programs share (commit). Each
// connection is then judged again, by the next of its packets.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "cluster/lab/datapath/datapath.h"
#include "cluster/lab/policy/compile.h"

namespace cluster {

struct PolicySettings {
  // Of all nodes. Where more are in use, those used least recently are forgotten; a forgotten one
  // is judged anew, in mid-stream.
  std::uint32_t connections = 131'072;
  std::uint32_t denials = 16'384;  // remembered, the latest; a power of two
};

enum class DenialReason {
  no_rule_allows,      // the pod is isolated, and no rule allows it
  revoked,             // its connection was allowed and is no more
  unknown_connection,  // in mid-stream, of a connection nobody saw begin
  unknown_fragment,    // a fragment whose first one did not pass before it
  foreign_source,      // it comes from a pod, and from an address that is not the pod's
  unreadable,          // it is no IP packet, or has no whole header of one
};

// A packet that was dropped.
struct Denial {
  std::int64_t at_ns = 0;  // CLOCK_MONOTONIC
  // As it went between translation and translation back: to the pod behind a Service, from the
  // source SNAT gave it. Ports are 0 where the protocol has none; of an echo (ICMP) the identifier.
  base::Endpoint from;
  base::Endpoint to;
  std::uint8_t protocol = 0;  // IPPROTO_*
  std::string pod;            // whose isolation it was; empty where its connection is forgotten
  bool egress = false;        // the pod's egress; else its ingress
  std::uint32_t generation = 0;
  DenialReason reason = DenialReason::no_rule_allows;
  int node = 0;  // where
};

struct RecentDenials {
  std::vector<Denial> denials;  // by time
  std::uint64_t total = 0;      // since the programs are there
  std::uint64_t lost = 0;       // of those, no longer remembered, or overwritten while read
};

// Calls come from one thread, the controller's, but for recent_denials(), which any one may call.
// Everything ends with it, or with the process: kill -9 leaves nothing.
class PolicyEnforcement {
 public:
  // Loads the programs for every node and puts them at its uplink and its pods' interfaces, before
  // whatever is there where packets come in and after it where they go out, with no policy in
  // force: they know connections from now on. Pods are found by name. Errors: input (an interface
  // or a pod that is not there), missing (the kernel refuses a program, or has no tcx),
  // not_permitted, system.
  static base::Result<std::unique_ptr<PolicyEnforcement>> attach(
      const std::vector<DatapathNode>& nodes, const std::vector<PolicyPod>& pods,
      const PolicySettings& settings = {});

  virtual ~PolicyEnforcement() = default;

  // Loads the next generation, which is not yet in force; one prepared and not committed is
  // forgotten. Takes an RCU grace period, some milliseconds. Errors: system.
  virtual base::Result<> prepare(const PolicyTables& tables) = 0;
  // Puts the generation prepared last in force and returns when. A packet that was in a program at
  // that moment is judged by the one before.
  virtual base::MonotonicTime commit() = 0;
  // What was denied, the latest; what is overwritten while this reads is counted as lost.
  [[nodiscard]] virtual RecentDenials recent_denials() const = 0;
  // "generation", "policies", "identities", "classes", "rule_sets", "rules" (pairs of a rule set
  // and a class with what it allows), "spans" of addresses, "table_bytes" and "load_ns" of the
  // generation in force, "connections" (their capacity), the counts of policy_table.h, "denials",
  // and "hooks": each program's run-time statistics over all nodes, as a datapath's. Never fails.
  [[nodiscard]] virtual base::Json facts() const = 0;
};

}  // namespace cluster

template <>
struct base::EnumNames<cluster::DenialReason> {
  static constexpr std::array names{
      std::pair{cluster::DenialReason::no_rule_allows, std::string_view("no_rule_allows")},
      std::pair{cluster::DenialReason::revoked, std::string_view("revoked")},
      std::pair{cluster::DenialReason::unknown_connection, std::string_view("unknown_connection")},
      std::pair{cluster::DenialReason::unknown_fragment, std::string_view("unknown_fragment")},
      std::pair{cluster::DenialReason::foreign_source, std::string_view("foreign_source")},
      std::pair{cluster::DenialReason::unreadable, std::string_view("unreadable")}};
};
