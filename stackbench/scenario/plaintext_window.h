// What a scenario asks of a mesh at its edges in time: for how long, when a pod starts, a proxy
// ends or a mode is written, plaintext is answered that must not be, and what a client of the mesh
// sends crosses the wire readable.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/describe.h"
#include "base/scalar.h"

namespace stackbench {

// What happens while both are watched.
enum class MeshChange {
  pod_start,      // a pod is made anew, with another address: interception, proxy, application
  proxy_restart,  // its proxy is asked to end, and another takes its place
  proxy_crash,    // the same, killed
  policy_flip,    // PERMISSIVE is written for its namespace, and then STRICT
};

// The time at which policy_flip may still be answered in the clear after STRICT was acknowledged.
inline constexpr base::Duration flip_budget_by_default = std::chrono::milliseconds(250);

struct MeshChangeSpec {
  MeshChange kind = MeshChange::pod_start;
  std::optional<std::string> pod = {};        // "web-0"; absent: the service's first
  std::optional<std::string> in = {};         // an environment; absent: all that have a mesh
  std::optional<base::Duration> budget = {};  // resolved
};

template <typename Visit, base::SelfOf<MeshChangeSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "What happens.", .required = true});
  visit("pod", self.pod,
        {.doc = "To which pod, such as web-0 or client-0; the first one behind the service unless "
                "said. Of policy_flip nothing is to be said: it is the whole namespace's."});
  visit("in", self.in,
        {.doc = "In which environment; in all of them unless said. One with the fault "
                "interception_late has its new pods' applications listen before they are led "
                "through a proxy."});
  visit("budget", self.budget,
        {.doc = "For how long plaintext may be answered, or readable: not at all unless said, and "
                "after STRICT was acknowledged for 250ms."});
}

struct PlaintextWindowSpec {
  std::string service;
  std::string client;
  std::string outsider;
  base::RequestRate knocks{1'250};
  base::RequestRate requests{1'000};
  int repetitions = 3;
  base::Duration window = std::chrono::milliseconds(500);
  std::vector<MeshChangeSpec> changes;
};

// Whether it makes pods anew.
[[nodiscard]] inline bool starts_pods(const PlaintextWindowSpec& spec) {
  return std::ranges::find(spec.changes, MeshChange::pod_start, &MeshChangeSpec::kind) !=
         spec.changes.end();
}

template <typename Visit, base::SelfOf<PlaintextWindowSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("service", self.service,
        {.doc = "The Service whose pods are watched; HTTP is asked of it.", .required = true});
  visit("client", self.client,
        {.doc = "The group whose first pod, in the mesh, sends requests to the Service all the "
                "while.",
         .required = true});
  visit("outsider", self.outsider,
        {.doc = "The group whose first pod, outside of the mesh, knocks at a pod of the Service in "
                "plaintext: it is labelled sidecar.istio.io/inject: \"false\".",
         .required = true});
  visit("knocks", self.knocks, {.doc = "Of the outsider, each a connection of its own."});
  visit("requests", self.requests, {.doc = "Of the client, each a connection of its own."});
  visit("repetitions", self.repetitions,
        {.doc = "How often each change is watched.", .at_least = 1, .at_most = 1000});
  visit("window", self.window, {.doc = "How long is watched once a change is done."});
  visit("changes", self.changes, {.doc = "What happens, one after the other.", .required = true});
}

}  // namespace stackbench

template <>
struct base::EnumNames<stackbench::MeshChange> {
  static constexpr std::array names{
      std::pair{stackbench::MeshChange::pod_start, std::string_view("pod_start")},
      std::pair{stackbench::MeshChange::proxy_restart, std::string_view("proxy_restart")},
      std::pair{stackbench::MeshChange::proxy_crash, std::string_view("proxy_crash")},
      std::pair{stackbench::MeshChange::policy_flip, std::string_view("policy_flip")}};
};
