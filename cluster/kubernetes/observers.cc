#include "cluster/kubernetes/observers.h"

#include <utility>

#include "cluster/kubernetes/namespaces.h"
#include "cluster/kubernetes/pod_network.h"
#include "cluster/kubernetes/pod_state.h"
#include "cluster/kubernetes/watch.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;

constexpr base::Duration start_patience = std::chrono::minutes(1);

}  // namespace

Result<> Observers::start(const std::string& name, const std::string& node,
                          const base::Json& manifest) {
  if (running_.contains(name)) return {};
  if (const bool first = !std::exchange(begun_, true); first && place_.own_namespace) {
    RETURN_IF_ERROR(create_namespace(*api_, place_, "privileged"));
  }
  RETURN_IF_ERROR(api_->apply(fmt::format("{}/{}", pods_path(place_), name), manifest));
  Watch pods(api_->options(),
             {.path = pods_path(place_), .field_selector = "metadata.name=" + name});
  std::string stage;
  auto runs = pods.until(
      [&](const Objects& all) -> Result<bool> {
        if (all.empty()) return base::fail(ErrorKind::system, "it was deleted by somebody");
        stage = pod_stage(all.begin()->second);
        return pod_runs(all.begin()->second);
      },
      base::monotonic_now() + start_patience);
  if (!runs) return base::in_context(std::move(runs).error(), "observer on {}: {}", node, stage);
  running_.insert(name);
  return {};
}

Result<std::string> Observers::host_interface(const Observed& pod, const std::string& observer) {
  ASSIGN_OR_RETURN(const auto inside, read_pod_network(*agents_, pod.in_namespace, pod.pod));
  const auto* own = inside.first_link();
  if (own == nullptr) {
    return base::fail(ErrorKind::missing, "pod {} has no interface but loopback", pod.pod);
  }
  ASSIGN_OR_RETURN(const auto outside, read_pod_network(*agents_, place_.in_namespace, observer));
  const auto* other = outside.link_at(own->peer_index);
  // Each must name the other: of a macvlan the node's own card is named, which names nobody.
  if (other != nullptr && other->peer_index == own->index) return other->name;
  return base::fail(ErrorKind::missing,
                    "the interface {} of pod {} has no other end on node {}: its network plugin "
                    "does not use pairs of them",
                    own->name, pod.pod, pod.node);
}

Result<AgentStreams> Observers::meter(const std::string& node, uid_t user) {
  const auto name = place_.name(fmt::format("meter.{}", node));
  RETURN_IF_ERROR(start(name, node, meter_manifest(place_, name, node, image_)));
  return agents_->start(place_.in_namespace, name, {"usage", "--user", std::to_string(user)});
}

Result<Observer> Observers::observe(const Observed& pod) {
  // One each: an agent serves one controller at a time.
  const auto name = place_.name(fmt::format("{}.{}", pod.in_namespace, pod.pod));
  RETURN_IF_ERROR(start(name, pod.node, observer_manifest(place_, name, pod.node, image_)));
  ASSIGN_OR_RETURN(auto interface, host_interface(pod, name));
  ASSIGN_OR_RETURN(auto streams, agents_->attach(place_.in_namespace, name, pod.node));
  return Observer{.streams = std::move(streams), .interface = std::move(interface)};
}

}  // namespace cluster
