#include "cluster/kubernetes/live_objects.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::Json;
using base::Result;

// API groups that have kinds which hold for pods as NetworkPolicies do. Calico's second group is an
// extension server's view of the first.
constexpr std::array<std::string_view, 5> policy_groups{
    "cilium.io", "crd.projectcalico.org", "projectcalico.org", "policy.networking.k8s.io",
    "crd.antrea.io"};
constexpr std::string_view calico_stored = "crd.projectcalico.org";
constexpr std::string_view calico_served = "projectcalico.org";

struct Listed {
  std::string_view group;  // "/apis/apps/v1"
  std::string_view resource;
  std::string_view api_version;
  std::string_view kind;
};
constexpr std::array controller_kinds{
    Listed{"/apis/apps/v1", "replicasets", "apps/v1", "ReplicaSet"},
    Listed{"/apis/apps/v1", "statefulsets", "apps/v1", "StatefulSet"},
    Listed{"/apis/apps/v1", "daemonsets", "apps/v1", "DaemonSet"},
    Listed{"/api/v1", "replicationcontrollers", "v1", "ReplicationController"},
    Listed{"/apis/batch/v1", "jobs", "batch/v1", "Job"}};
constexpr Listed network_policies{"/apis/networking.k8s.io/v1", "networkpolicies",
                                  "networking.k8s.io/v1", "NetworkPolicy"};

// What a list's items leave out.
void add_items(const Json& list, std::string_view api_version, std::string_view kind,
               std::vector<Json>& into) {
  const auto& items = json_at(list, {"items"});
  if (!items.is_array()) return;
  for (Json item : items) {
    item["apiVersion"] = api_version;
    item["kind"] = kind;
    into.push_back(std::move(item));
  }
}

Result<> add_listed(ApiClient& api, const Listed& what, const std::string& in_namespace,
                    std::vector<Json>& into) {
  ASSIGN_OR_RETURN(const auto list, api.get(fmt::format("{}/namespaces/{}/{}", what.group,
                                                        in_namespace, what.resource)));
  add_items(list, what.api_version, what.kind, into);
  return {};
}

// A kind of policy in a group, as discovery tells it.
struct PolicyKind {
  std::string api_version;
  std::string resource;
  std::string kind;
  bool namespaced = true;
};

Result<std::vector<PolicyKind>> kinds_in(ApiClient& api, const std::string& api_version) {
  std::vector<PolicyKind> kinds;
  ASSIGN_OR_RETURN(const auto found, api.get("/apis/" + api_version));
  const auto& resources = json_at(found, {"resources"});
  if (!resources.is_array()) return kinds;
  for (const auto& one : resources) {
    const auto name = text_at(one, {"name"});
    const auto kind = text_at(one, {"kind"});
    const bool is_policy = kind.ends_with("NetworkPolicy") && name.find('/') == std::string::npos;
    // Staged ones are looked at by people and enforced by nobody.
    if (!is_policy || kind.starts_with("Staged")) continue;
    const auto& namespaced = json_at(one, {"namespaced"});
    kinds.push_back({.api_version = api_version,
                     .resource = name,
                     .kind = kind,
                     .namespaced = namespaced.is_boolean() && namespaced.get<bool>()});
  }
  return kinds;
}

// The groups there are, each at the version its server prefers.
Result<std::vector<std::string>> policy_api_versions(ApiClient& api) {
  ASSIGN_OR_RETURN(const auto found, api.get("/apis"));
  std::map<std::string, std::string> versions;
  const auto& groups = json_at(found, {"groups"});
  if (groups.is_array()) {
    for (const auto& group : groups) {
      const auto name = text_at(group, {"name"});
      if (std::ranges::find(policy_groups, name) == policy_groups.end()) continue;
      versions[name] = text_at(group, {"preferredVersion", "groupVersion"});
    }
  }
  if (versions.contains(std::string(calico_stored))) versions.erase(std::string(calico_served));
  std::vector<std::string> all;
  for (auto& [name, version] : versions) all.push_back(std::move(version));
  return all;
}

Result<> add_kind(ApiClient& api, const PolicyKind& kind,
                  const std::vector<std::string>& namespaces, LiveObjects& live) {
  std::vector<std::string> paths;
  if (kind.namespaced) {
    for (const auto& name : namespaces) {
      paths.push_back(
          fmt::format("/apis/{}/namespaces/{}/{}", kind.api_version, name, kind.resource));
    }
  } else {
    paths.push_back(fmt::format("/apis/{}/{}", kind.api_version, kind.resource));
  }
  for (const auto& path : paths) {
    const auto list = api.get(path);
    if (list) {
      add_items(*list, kind.api_version, kind.kind, live.others);
    } else if (list.error().kind == base::ErrorKind::not_permitted) {
      live.unseen.push_back({.kind = kind.kind, .why = list.error().message});
      return {};
    } else {
      return std::unexpected(list.error());
    }
  }
  return {};
}

// Of every kind that is not NetworkPolicy.
Result<> add_others(ApiClient& api, const std::vector<std::string>& namespaces, LiveObjects& live) {
  ASSIGN_OR_RETURN(const auto versions, policy_api_versions(api));
  for (const auto& version : versions) {
    ASSIGN_OR_RETURN(const auto kinds, kinds_in(api, version));
    for (const auto& kind : kinds) RETURN_IF_ERROR(add_kind(api, kind, namespaces, live));
  }
  return {};
}

}  // namespace

Result<LiveObjects> read_live_policies(ApiClient& api, const std::vector<std::string>& namespaces) {
  LiveObjects live;
  for (const auto& name : namespaces) {
    const auto listed = add_listed(api, network_policies, name, live.policies);
    if (listed) continue;
    if (listed.error().kind != base::ErrorKind::not_permitted) {
      return std::unexpected(listed.error());
    }
    live.unseen.push_back(
        {.kind = std::string(network_policies.kind), .why = listed.error().message});
    break;
  }
  RETURN_IF_ERROR(add_others(api, namespaces, live));
  return live;
}

Result<LiveObjects> read_live_objects(ApiClient& api, const std::vector<std::string>& namespaces,
                                      bool for_probes) {
  LiveObjects live;
  for (const auto& name : namespaces) {
    ASSIGN_OR_RETURN(auto found, api.find("/api/v1/namespaces/" + name));
    if (!found) {
      return base::fail_with_mend(base::ErrorKind::input,
                                  fmt::format("there is no namespace {}", name),
                                  "kubectl get namespaces lists them.");
    }
    live.namespaces.push_back(std::move(*found));
    RETURN_IF_ERROR(add_listed(api, {"/api/v1", "pods", "v1", "Pod"}, name, live.pods));
    RETURN_IF_ERROR(add_listed(api, network_policies, name, live.policies));
    if (!for_probes) continue;
    RETURN_IF_ERROR(add_listed(api, {"/api/v1", "services", "v1", "Service"}, name, live.services));
    for (const auto& kind : controller_kinds) {
      RETURN_IF_ERROR(add_listed(api, kind, name, live.controllers));
    }
  }
  if (const auto all = api.get("/api/v1/namespaces"); all) {
    add_items(*all, "v1", "Namespace", live.all_namespaces.emplace());
  } else if (all.error().kind != base::ErrorKind::not_permitted) {
    return std::unexpected(all.error());
  }
  RETURN_IF_ERROR(add_others(api, namespaces, live));
  return live;
}

}  // namespace cluster
