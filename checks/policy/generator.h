// Policies to try an implementation with: a systematic list by what it is about, random ones that a
// seed repeats, and shrinking of a set that fails to the smallest that still does.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/kube/network_policy.h"
#include "base/scalar.h"
#include "checks/policy/oracle.h"

namespace checks {

using Policies = std::vector<base::kube::NetworkPolicy>;

// What policies are made for: the pods of a world, and what is probed at them.
struct PolicySpace {
  PolicyWorld world = {};  // its policies are left out
  std::vector<std::uint16_t> ports = {};
  std::vector<base::kube::Protocol> protocols = {};
  std::vector<base::AddressFamily> families = {base::AddressFamily::ipv4};
};

// Every cell of a space: pods to pods, themselves among them, at each port by each protocol over
// each family; in order of source, destination, port, protocol and family.
[[nodiscard]] std::vector<PolicyFlow> all_flows(const PolicySpace& space);

// What of the API a set of policies uses.
enum class PolicyFeature {
  ingress,
  egress,
  pod_selectors,        // of peers
  namespace_selectors,  // of peers
  match_expressions,
  ip_blocks,
  excepts,
  ports,
  named_ports,
  port_ranges,
  tcp,
  udp,
  sctp,
  default_types,      // policyTypes left out
  default_protocols,  // a port's protocol left out
  several_policies,   // at one time
  several_namespaces,
  updates,  // policies or labels that change
};

// Labels of a pod ("namespace/name") or of a namespace that are replaced.
struct Relabelling {
  std::string pod = {};
  std::string name_space = {};  // where `pod` is empty
  Labels labels = {};
};

// All the policies there are, and labels that change, at one time.
struct PolicyStep {
  Policies policies = {};
  std::vector<Relabelling> relabelled = {};
};

struct PolicyCase {
  std::string name;
  std::vector<PolicyStep> steps = {};  // one after another; labels stay as a step left them
};

// The features of a case, read off its policies.
[[nodiscard]] std::set<PolicyFeature> features_of(const PolicyCase& of);

// A world with a step's policies and labels.
[[nodiscard]] PolicyWorld after(PolicyWorld world, const PolicyStep& step);

// One case for each thing the API can say, in both directions: all of them where the world has two
// pods in one namespace and one in another, with addresses and a name for a port; without, those
// that need what is missing are left out. Their names are unique. Depends on the space alone.
[[nodiscard]] std::vector<PolicyCase> systematic_cases(const PolicySpace& space);

// The most a random set holds of anything.
struct RandomBounds {
  std::size_t policies = 4;  // from 1
  std::size_t rules = 2;     // of each direction
  std::size_t peers = 3;
  std::size_t ports = 2;
};

// Policies drawn by a seed: the same on every machine. They are valid, with defaults left out here
// and there; about pods, addresses, ports and names of the space, and some beside these. The
// space's world has a pod. Needs memory for one set.
[[nodiscard]] Policies random_policies(const PolicySpace& space, std::uint64_t seed,
                                       const RandomBounds& bounds = {});

// Whether a set of policies shows the failure that is looked into.
using StillFails = std::function<bool(const Policies&)>;

struct Shrunk {
  Policies policies = {};
  std::uint64_t tried = 0;
  // Nothing more can be left out. False where `most_tries` ended it.
  bool is_smallest = false;
};

// Leaves out what is not needed for `fails`, piece by piece, until leaving out any one piece makes
// it hold no more: policies, rules, peers, ports, excepts, selectors, labels, expressions, values,
// the end of a range, a type. Only sets the API server takes are tried. `policies` fails. Calls
// `fails` at most `most_tries` times.
[[nodiscard]] Shrunk shrink(Policies policies, const StillFails& fails,
                            std::uint64_t most_tries = 10'000);

// How many pieces policies are made of: what shrink() makes less.
[[nodiscard]] std::size_t pieces_of(const Policies& policies);

}  // namespace checks

template <>
struct base::EnumNames<checks::PolicyFeature> {
  static constexpr std::array names{
      std::pair{checks::PolicyFeature::ingress, std::string_view("ingress")},
      std::pair{checks::PolicyFeature::egress, std::string_view("egress")},
      std::pair{checks::PolicyFeature::pod_selectors, std::string_view("pod_selectors")},
      std::pair{checks::PolicyFeature::namespace_selectors,
                std::string_view("namespace_selectors")},
      std::pair{checks::PolicyFeature::match_expressions, std::string_view("match_expressions")},
      std::pair{checks::PolicyFeature::ip_blocks, std::string_view("ip_blocks")},
      std::pair{checks::PolicyFeature::excepts, std::string_view("excepts")},
      std::pair{checks::PolicyFeature::ports, std::string_view("ports")},
      std::pair{checks::PolicyFeature::named_ports, std::string_view("named_ports")},
      std::pair{checks::PolicyFeature::port_ranges, std::string_view("port_ranges")},
      std::pair{checks::PolicyFeature::tcp, std::string_view("tcp")},
      std::pair{checks::PolicyFeature::udp, std::string_view("udp")},
      std::pair{checks::PolicyFeature::sctp, std::string_view("sctp")},
      std::pair{checks::PolicyFeature::default_types, std::string_view("default_types")},
      std::pair{checks::PolicyFeature::default_protocols, std::string_view("default_protocols")},
      std::pair{checks::PolicyFeature::several_policies, std::string_view("several_policies")},
      std::pair{checks::PolicyFeature::several_namespaces, std::string_view("several_namespaces")},
      std::pair{checks::PolicyFeature::updates, std::string_view("updates")}};
};
