// That no two objects of a kind say where a host's requests go: Istio takes the older of two, or
// merges them, and neither is implemented here.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/kube/destination_rule.h"
#include "base/kube/virtual_service.h"
#include "base/result.h"

namespace cluster {

// The hosts an object is about, whole.
inline std::vector<std::string> hosts_of(const base::kube::VirtualService& service) {
  std::vector<std::string> all;
  for (const auto& host : service.spec.hosts) {
    all.push_back(base::kube::whole_host(host, service.metadata.in_namespace));
  }
  return all;
}

inline std::vector<std::string> hosts_of(const base::kube::DestinationRule& rule) {
  return {base::kube::whole_host(rule.spec.host, rule.metadata.in_namespace)};
}

// Whether an object may stand beside those there are, by namespace and name; the one of its own
// name it replaces. Errors: missing, naming both and the host.
template <typename Key, typename Object>
[[nodiscard]] base::Result<> check_only_of_its_hosts(const std::map<Key, Object>& objects,
                                                     const Object& object) {
  const Key key{object.metadata.in_namespace, object.metadata.name};
  const auto ours = hosts_of(object);
  for (const auto& [name, other] : objects) {
    if (name == key) continue;
    for (const auto& host : hosts_of(other)) {
      if (std::ranges::find(ours, host) == ours.end()) continue;
      return base::fail(base::ErrorKind::missing,
                        "{} {}/{}: {} {}/{} is about {}, too, and two about one host are not "
                        "implemented here",
                        object.kind, key.first, key.second, object.kind, name.first, name.second,
                        host);
    }
  }
  return {};
}

}  // namespace cluster
