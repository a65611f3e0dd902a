// What is knocked at from where, what policies say of it, and what came of it: pure functions. Who
// knocks is in stackbench/verify/probing.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/scalar.h"
#include "bench/reach/reach.h"
#include "checks/policy/oracle.h"
#include "stackbench/verify/probe_plan.h"

namespace stackbench {

// Who knocks and is knocked at.
struct ProbeEnd {
  std::string name;     // "shop/Deployment web", "elsewhere on node n1"
  std::size_t pod = 0;  // in the world; what is outside is none
  ProbeRole role = ProbeRole::workload;
  std::vector<base::IpAddress> addresses = {};  // of what is outside, which calls from the first
  std::uint32_t server_id = 0;                  // from 1
  std::vector<checks::NamedPort> ports = {};    // it listens at
  // Its node was seen to get to it, which no policy forbids; or nobody can be asked.
  bool has_network = true;
};

// An address that is none of ours.
struct ProbeOutside {
  std::string name;  // "external 192.0.2.7:443", "DNS kube-system/coredns-x"
  base::Endpoint endpoint;
  std::optional<std::size_t> pod = {};  // in the world, where it is a pod
};

enum class CellKind {
  own_server,      // control: a pod's server, asked by itself: no policy forbids that
  elsewhere,       // control: two that no policy is about
  outside_open,    // control: an address that is none of ours, from a pod no policy is about
  between,         // two workloads
  from_elsewhere,  // somebody of another namespace knocks at a workload
  to_elsewhere,    // a workload knocks at another namespace
  to_outside,      // a workload knocks at what is none of ours, or stands outside
  from_outside,    // somebody outside knocks at a workload
  to_dns,          // a workload knocks at the cluster's DNS
};

struct ProbeCell {
  CellKind kind = CellKind::between;
  std::size_t source = 0;  // in the ends
  std::string source_name = {};
  std::string destination;             // its name
  std::optional<std::size_t> to = {};  // in the ends, where it is one of them
  bench::ReachTarget target;
  checks::Allowance expected = checks::Allowance::allowed;
  std::string why = {};  // by the oracle; empty of controls
};

[[nodiscard]] constexpr bool is_control(CellKind kind) {
  return kind == CellKind::own_server || kind == CellKind::elsewhere ||
         kind == CellKind::outside_open;
}

// All that is to be known of these ends, at every port each listens at and in every family both
// have. `outside`: knocked at by TCP.
[[nodiscard]] std::vector<ProbeCell> probe_cells(const checks::PolicyWorld& world,
                                                 const std::vector<ProbeEnd>& ends,
                                                 const std::vector<ProbeOutside>& outside);

enum class CellVerdict {
  as_policies_say,
  open_though_denied,     // nobody enforces it: the leak this is about
  closed_though_allowed,  // no leak; told, and not failed
  unknown,                // policies of kinds that are not modelled decide
  not_judged,             // a control says that silence there means nothing
};

struct JudgedCell {
  ProbeCell cell;
  bench::ReachOutcome seen = bench::ReachOutcome::failed;
  CellVerdict verdict = CellVerdict::not_judged;
  std::string note;  // why it is not judged
};

// Judges the cells by what was seen of each, and controls for what they stand for.
[[nodiscard]] std::vector<JudgedCell> judge(const checks::PolicyWorld& world,
                                            const std::vector<ProbeEnd>& ends,
                                            const std::vector<ProbeCell>& cells,
                                            const std::vector<bench::ReachOutcome>& seen);

}  // namespace stackbench

template <>
struct base::EnumNames<stackbench::CellVerdict> {
  static constexpr std::array names{
      std::pair{stackbench::CellVerdict::as_policies_say, std::string_view("as_policies_say")},
      std::pair{stackbench::CellVerdict::open_though_denied,
                std::string_view("open_though_denied")},
      std::pair{stackbench::CellVerdict::closed_though_allowed,
                std::string_view("closed_though_allowed")},
      std::pair{stackbench::CellVerdict::unknown, std::string_view("unknown")},
      std::pair{stackbench::CellVerdict::not_judged, std::string_view("not_judged")}};
};
