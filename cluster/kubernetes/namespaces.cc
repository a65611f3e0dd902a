#include "cluster/kubernetes/namespaces.h"

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/watch.h"

namespace cluster {

constexpr base::Duration account_patience = std::chrono::seconds(30);

base::Result<std::map<std::string, std::string>> create_namespace(
    ApiClient& api, const Placement& place, std::string_view pod_security,
    const std::map<std::string, std::string>& labels, const std::string& called) {
  const auto path = "/api/v1/namespaces/" + place.in_namespace;
  ASSIGN_OR_RETURN(const auto answer,
                   api.apply(path, namespace_manifest(place, pod_security, labels, called)));
  Watch accounts(api.options(),
                 {.path = path + "/serviceaccounts", .field_selector = "metadata.name=default"});
  auto there = accounts.until([](const Objects& all) -> base::Result<bool> { return !all.empty(); },
                              base::monotonic_now() + account_patience);
  if (there) return object_labels(answer.body);
  return base::in_context(std::move(there).error(),
                          "waiting for the default ServiceAccount of namespace {}",
                          place.in_namespace);
}

}  // namespace cluster
