#include "stackbench/verify/cluster_dns.h"

#include <algorithm>
#include <utility>

#include "base/kube/network_policy.h"
#include "cluster/kubernetes/api_error.h"
#include "stackbench/verify/live_world.h"
#include "stackbench/verify/probe_plan.h"

namespace stackbench {

using base::ErrorKind;
using base::Json;
using cluster::json_at;
using cluster::text_at;

base::Result<std::vector<ProbeOutside>> dns_of(const DnsObjects& objects, bool looked_at,
                                               checks::PolicyWorld& world) {
  const auto& items = json_at(objects.pods, {"items"});
  if (!items.is_array() || items.empty()) {
    return base::fail(ErrorKind::missing, "no pod of {} has the label {}={}", system_namespace,
                      dns_label, dns_app);
  }
  world.namespaces[std::string(system_namespace)] = cluster::object_labels(objects.space);
  if (const auto& all = json_at(objects.policies, {"items"}); all.is_array() && !looked_at) {
    for (const auto& one : all) {
      Json object = one;
      object["apiVersion"] = base::kube::network_policy_api_version;
      object["kind"] = base::kube::network_policy_kind;
      ASSIGN_OR_RETURN(auto policy, base::kube::read_network_policy(object));
      world.policies.push_back(std::move(policy));
    }
  }
  // One that has ended, or is about to, is nobody to ask.
  const auto running = std::find_if(items.begin(), items.end(), [](const Json& one) {
    return text_at(one, {"status", "phase"}) == "Running" &&
           text_at(one, {"metadata", "deletionTimestamp"}).empty() &&
           !policy_pod(one).addresses.empty();
  });
  if (running == items.end()) {
    return base::fail(ErrorKind::missing, "no pod of {} with the label {}={} runs",
                      system_namespace, dns_label, dns_app);
  }
  const auto pod = policy_pod(*running);
  const auto there = checks::find_pod(world, pod.in_namespace, pod.name);
  if (!there) world.pods.push_back(pod);
  std::vector<ProbeOutside> found;
  for (const auto& address : pod.addresses) {
    found.push_back({.name = fmt::format("DNS {}/{}", pod.in_namespace, pod.name),
                     .endpoint = {address, dns_port},
                     .pod = there.value_or(world.pods.size() - 1)});
  }
  return found;
}

}  // namespace stackbench
