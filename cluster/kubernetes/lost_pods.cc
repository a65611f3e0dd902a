#include "cluster/kubernetes/lost_pods.h"

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/nodes.h"

namespace cluster {
namespace {

using base::Json;
using base::MonotonicTime;
using base::Result;

// Beyond a pod's grace period, for its kubelet to say that it ended.
constexpr base::Duration slack = std::chrono::seconds(1);

Result<> remove_from(ApiClient& api, const Placement& place, const std::string& node) {
  const auto path = pods_path(place);
  const HttpRequest request{
      .method = "DELETE",
      .target =
          fmt::format("{}?labelSelector={}&fieldSelector={}", path,
                      url_escape(environment_selector(place)), url_escape("spec.nodeName=" + node)),
      .content_type = "application/json",
      .body = R"({"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0})"};
  ASSIGN_OR_RETURN(const auto answer, api.request(request));
  if (answer.success() || answer.status == 404) return {};
  return std::unexpected(api_error("DELETE " + path, answer.status, answer.body));
}

}  // namespace

std::set<std::string> LostPods::overdue(const Json& pods, MonotonicTime now) {
  std::set<std::string> nodes;
  const auto& items = json_at(pods, {"items"});
  if (!items.is_array()) return nodes;
  for (const auto& pod : items) {
    if (text_at(pod, {"metadata", "deletionTimestamp"}).empty()) continue;
    const auto& grace = json_at(pod, {"metadata", "deletionGracePeriodSeconds"});
    const auto seconds = std::chrono::seconds(grace.is_number_integer() ? grace.get<int>() : 0);
    const auto since = deleted_since_.try_emplace(text_at(pod, {"metadata", "uid"}), now);
    if (now - since.first->second < seconds + slack) continue;
    const auto node = text_at(pod, {"spec", "nodeName"});
    if (!node.empty()) nodes.insert(node);
  }
  return nodes;
}

Result<> LostPods::remove(ApiClient& api) {
  ASSIGN_OR_RETURN(const auto pods, api.get(fmt::format("{}?labelSelector={}", pods_path(place_),
                                                        url_escape(environment_selector(place_)))));
  for (const auto& node : overdue(pods, base::monotonic_now())) {
    ASSIGN_OR_RETURN(const auto why, why_lost(api, node));
    if (why) RETURN_IF_ERROR(remove_from(api, place_, node));
  }
  return {};
}

}  // namespace cluster
