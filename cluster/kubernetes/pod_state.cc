#include "cluster/kubernetes/pod_state.h"

#include <algorithm>
#include <array>

#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::Error;
using base::ErrorKind;
using base::Json;
using base::Result;

// Of the first container, which is the only one of ours.
const Json& first_container(const Json& pod) {
  static const Json nothing;
  const auto& all = json_at(pod, {"status", "containerStatuses"});
  return all.is_array() && !all.empty() ? all.front() : nothing;
}

std::string image_of(const Json& pod) {
  const auto& containers = json_at(pod, {"spec", "containers"});
  return containers.is_array() && !containers.empty() ? text_at(containers.front(), {"image"})
                                                      : std::string();
}

std::string node_of(const Json& pod) { return text_at(pod, {"spec", "nodeName"}); }

// A waiting container that will not get further by itself.
Result<> check_waiting(const Json& pod, const Json& waiting) {
  const auto reason = text_at(waiting, {"reason"});
  const auto words = text_at(waiting, {"message"});
  const auto what = fmt::format("pod {} on {}: {}: {}", text_at(pod, {"metadata", "name"}),
                                node_of(pod), reason, words);
  if (reason == "ErrImageNeverPull" || reason == "ImagePullBackOff") {
    return base::fail_with_mend(
        ErrorKind::missing, what,
        fmt::format("The nodes need the image {}: push it to a registry they can pull from and "
                    "name it with --agent-image, or load it onto every node.",
                    image_of(pod)));
  }
  if (reason == "InvalidImageName") {
    return base::fail_with_mend(ErrorKind::input, what, "Name an image with --agent-image.");
  }
  constexpr std::array hopeless{
      std::string_view("CreateContainerConfigError"), std::string_view("CreateContainerError"),
      std::string_view("RunContainerError"), std::string_view("CrashLoopBackOff")};
  if (std::ranges::find(hopeless, reason) != hopeless.end()) {
    return base::fail(ErrorKind::system, "{}", what);
  }
  return {};
}

// The scheduler's own condition, where it is not fulfilled.
const Json& not_scheduled(const Json& pod) {
  static const Json nothing;
  const auto& conditions = json_at(pod, {"status", "conditions"});
  if (!conditions.is_array()) return nothing;
  for (const auto& condition : conditions) {
    if (text_at(condition, {"type"}) == "PodScheduled" &&
        text_at(condition, {"status"}) == "False") {
      return condition;
    }
  }
  return nothing;
}

}  // namespace

Result<bool> pod_runs(const Json& pod) {
  const auto name = text_at(pod, {"metadata", "name"});
  const auto phase = text_at(pod, {"status", "phase"});
  const auto& state = json_at(first_container(pod), {"state"});
  if (phase == "Failed" || phase == "Succeeded") {
    const auto& ended = json_at(state, {"terminated"});
    const auto& code = json_at(ended, {"exitCode"});
    return base::fail(ErrorKind::system, "pod {} on {} ended: {}{}{}", name, node_of(pod),
                      code.is_number_integer() ? fmt::format("exit code {} ", code.get<int>()) : "",
                      text_at(pod, {"status", "reason"}), text_at(pod, {"status", "message"}));
  }
  RETURN_IF_ERROR(check_waiting(pod, json_at(state, {"waiting"})));
  return phase == "Running" && !json_at(state, {"running"}).is_null() &&
         !text_at(pod, {"status", "podIP"}).empty();
}

std::string pod_stage(const Json& pod) {
  if (const auto& condition = not_scheduled(pod); !condition.is_null()) {
    return fmt::format("not scheduled: {}", text_at(condition, {"message"}));
  }
  const auto& waiting = json_at(first_container(pod), {"state", "waiting"});
  if (!waiting.is_null()) {
    return fmt::format("its container is {} {}", text_at(waiting, {"reason"}),
                       text_at(waiting, {"message"}));
  }
  return text_at(pod, {"status", "phase"});
}

bool is_unschedulable(const Json& pod) {
  return text_at(not_scheduled(pod), {"reason"}) == "Unschedulable";
}

void read_pod_addresses(const Json& pod, PodHandle& handle) {
  const auto& addresses = json_at(pod, {"status", "podIPs"});
  if (!addresses.is_array()) return;
  for (const auto& entry : addresses) {
    const auto address = base::IpAddress::parse(text_at(entry, {"ip"}));
    if (!address) continue;
    (address->family == base::AddressFamily::ipv4 ? handle.ipv4 : handle.ipv6) = *address;
  }
}

}  // namespace cluster
