#include "cluster/kubernetes/namespaces.h"

#include "cluster/kubernetes/watch.h"

namespace cluster {

constexpr base::Duration account_patience = std::chrono::seconds(30);

base::Result<> create_namespace(ApiClient& api, const Placement& place,
                                std::string_view pod_security) {
  const auto path = "/api/v1/namespaces/" + place.in_namespace;
  RETURN_IF_ERROR(api.apply(path, namespace_manifest(place, pod_security)));
  Watch accounts(api.options(),
                 {.path = path + "/serviceaccounts", .field_selector = "metadata.name=default"});
  auto there = accounts.until([](const Objects& all) -> base::Result<bool> { return !all.empty(); },
                              base::monotonic_now() + account_patience);
  if (there) return {};
  return base::in_context(std::move(there).error(),
                          "waiting for the default ServiceAccount of namespace {}",
                          place.in_namespace);
}

}  // namespace cluster
