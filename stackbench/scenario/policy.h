// What a scenario asks of NetworkPolicies: which are in force, between which ports every pod is
// probed, what changes while packets are watched, and what must hold then.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/describe.h"
#include "base/kube/network_policy.h"
#include "base/protocol.h"
#include "base/scalar.h"

namespace stackbench {

// A port every pod listens at. Its name is one that policies may call it by.
struct ProbePort {
  base::Protocol protocol = base::Protocol::TCP;
  std::uint16_t port = 0;

  bool operator==(const ProbePort&) const = default;
};

template <typename Visit, base::SelfOf<ProbePort> Self>
void describe(Visit& visit, Self& self) {
  visit("protocol", self.protocol, {.doc = "TCP or UDP."});
  visit("port", self.port,
        {.doc = "Its number at every pod.", .required = true, .at_least = 1, .at_most = 65535});
}

// New labels of a pod or a namespace, in place of those it has.
struct LabelChange {
  std::string name;  // of the pod, "web-0", or of the namespace as the scenario calls it
  std::map<std::string, std::string> labels;
};

template <typename Visit, base::SelfOf<LabelChange> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "Whose labels.", .required = true});
  visit("labels", self.labels, {.doc = "All it has from then on.", .required = true});
}

// Something that is done and undone while packets are watched. Exactly one of the fields beside
// `name`.
struct ChangeSpec {
  std::string name;
  std::optional<base::kube::NetworkPolicy> create = {};  // a NetworkPolicy that was not there
  std::optional<base::kube::NetworkPolicy> update =
      {};                                  // one of policy.objects as it is to be instead
  std::optional<std::string> remove = {};  // the name of one of policy.objects
  std::optional<LabelChange> label_pod = {};
  std::optional<LabelChange> label_namespace = {};
  std::optional<std::string> restart_pod = {};  // by name; nothing undoes it
};

template <typename Visit, base::SelfOf<ChangeSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What the report calls it.", .required = true});
  visit("create", self.create, {.doc = "A NetworkPolicy that is written, and deleted to undo it."});
  visit("update", self.update,
        {.doc = "A NetworkPolicy of policy.objects as it is to be instead, and as it was to undo "
                "it."});
  visit("delete", self.remove,
        {.doc = "A NetworkPolicy of policy.objects, NAME or NAMESPACE/NAME, that is deleted, and "
                "written to undo it."});
  visit("label_pod", self.label_pod, {.doc = "A pod's labels, as they were to undo it."});
  visit("label_namespace", self.label_namespace,
        {.doc = "A namespace's labels, as they were to undo it."});
  visit("restart_pod", self.restart_pod,
        {.doc = "A pod, such as web-0, that is made anew with another address. Watched is what "
                "policies allow and deny it at the new one from its first instant, and that "
                "nothing comes to the old one any more. Nothing undoes it."});
}

// How the matrix of all pairs is probed.
struct MatrixSpec {
  base::Duration timeout = std::chrono::milliseconds(250);
  base::Duration deadline = std::chrono::seconds(10);
  base::Duration grace = std::chrono::seconds(1);
};

template <typename Visit, base::SelfOf<MatrixSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("timeout", self.timeout, {.doc = "After which a probe nothing answers counts as dropped."});
  visit("deadline", self.deadline,
        {.doc = "Sweeps are repeated until two in a row agree with each other, at most so long."});
  visit("grace", self.grace,
        {.doc = "Sweeps that agree on something else than what is specified are not believed "
                "before the network says that it has the policies, or, where it does not say, so "
                "long after the last of them was acknowledged."});
}

// What is done with policies that a generator makes, beside those of the scenario.
enum class GeneratedCases {
  none,
  systematic,  // one for each feature of the API and each direction
};

// What becomes of a flow that was established before a change that forbids it.
enum class FlowFate {
  killed,     // an end is told: reset
  stalled,    // nothing gets through any more, and nobody is told
  surviving,  // it goes on
};

// What is expected of them; what is absent is reported and not judged.
struct EstablishedSpec {
  std::optional<FlowFate> busy_tcp = {};
  std::optional<FlowFate> idle_tcp = {};
  std::optional<FlowFate> udp = {};
};

template <typename Visit, base::SelfOf<EstablishedSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("busy_tcp", self.busy_tcp, {.doc = "A connection with traffic."});
  visit("idle_tcp", self.idle_tcp, {.doc = "A connection that was silent during the change."});
  visit("udp", self.udp, {.doc = "Datagrams with replies, on one 5-tuple."});
}

// A part of the matrix: what is absent means all.
struct OnlySpec {
  std::optional<std::string> from = {};
  std::optional<std::string> to = {};
  std::optional<std::string> port = {};
};

template <typename Visit, base::SelfOf<OnlySpec> Self>
void describe(Visit& visit, Self& self) {
  visit("from", self.from, {.doc = "The pod that dials, such as web-0."});
  visit("to", self.to, {.doc = "The pod that is dialled."});
  visit("port", self.port, {.doc = "One of policy.ports, by name."});
}

struct PolicySpec {
  std::vector<base::kube::NetworkPolicy> objects;
  std::map<std::string, ProbePort> ports;
  MatrixSpec matrix = {};
  GeneratedCases cases = GeneratedCases::none;
  int random_cases = 0;
  std::vector<ChangeSpec> changes;
  int repetitions = 10;
  int watched_flows = 4;
  base::Duration window = std::chrono::milliseconds(400);
  base::Duration budget = std::chrono::milliseconds(200);
  std::optional<EstablishedSpec> established = {};
  std::vector<std::string> new_pods;
  std::optional<OnlySpec> only = {};
  std::vector<std::string> closed = {};
};

// Whether it makes pods anew.
[[nodiscard]] inline bool restarts_pods(const PolicySpec& policy) {
  const auto restarts = [](const ChangeSpec& change) { return change.restart_pod.has_value(); };
  return !policy.new_pods.empty() || std::ranges::any_of(policy.changes, restarts);
}

template <typename Visit, base::SelfOf<PolicySpec> Self>
void describe(Visit& visit, Self& self) {
  visit("objects", self.objects,
        {.doc = "NetworkPolicies in force from the beginning, as manifests. Their namespace is one "
                "as the scenario calls it."});
  visit("ports", self.ports,
        {.doc = "Where every pod listens, by name: http, admin and metrics over TCP and, as "
                "http-udp and so on, over UDP, unless said."});
  visit("matrix", self.matrix, {.doc = "How every pod probes every other."});
  visit("cases", self.cases,
        {.doc = "Policies made for the purpose, one set after the other in place of objects, each "
                "compared with the specification in every pair."});
  visit("random_cases", self.random_cases,
        {.doc = "How many more, at random from `seed`.", .at_least = 0, .at_most = 10'000});
  visit("changes", self.changes,
        {.doc = "What is done, and undone, while packets are watched: how long forbidden ones "
                "still pass, and allowed ones do not."});
  visit("repetitions", self.repetitions,
        {.doc = "How often each change is done and undone.", .at_least = 1, .at_most = 1000});
  visit("watched_flows", self.watched_flows,
        {.doc = "Pairs watched during a change: of those it forbids or allows, and one that it "
                "leaves as it is. On two cores more than 8 cannot be probed every millisecond.",
         .at_least = 2,
         .at_most = 8});
  visit("window", self.window, {.doc = "How long they are watched after each write."});
  visit("budget", self.budget,
        {.doc = "Check leak_window: how long after a write packets may contradict it."});
  visit("established", self.established,
        {.doc = "Flows that are open while changes forbid them: what is to become of them."});
  visit("closed", self.closed,
        {.doc = "Check default_deny_holds: the namespaces it is claimed of, as the scenario calls "
                "them; all that have a policy of objects unless said."});
  visit("new_pods", self.new_pods,
        {.doc = "Pods that are made anew, with other addresses, `repetitions` times each, while "
                "forbidden packets are sent from them and to them."});
  visit("only", self.only,
        {.doc = "Probe a part of the matrix and nothing else, to look at one pair again."});
}

}  // namespace stackbench

template <>
struct base::EnumNames<stackbench::GeneratedCases> {
  static constexpr std::array names{
      std::pair{stackbench::GeneratedCases::none, std::string_view("none")},
      std::pair{stackbench::GeneratedCases::systematic, std::string_view("systematic")}};
};

template <>
struct base::EnumNames<stackbench::FlowFate> {
  static constexpr std::array names{
      std::pair{stackbench::FlowFate::killed, std::string_view("killed")},
      std::pair{stackbench::FlowFate::stalled, std::string_view("stalled")},
      std::pair{stackbench::FlowFate::surviving, std::string_view("surviving")}};
};
