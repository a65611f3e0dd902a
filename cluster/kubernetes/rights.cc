#include "cluster/kubernetes/rights.h"

#include <charconv>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/bulk.h"

namespace cluster {
namespace {

using base::Json;
using base::Result;

constexpr std::string_view discovery = "discovery.k8s.io";
constexpr std::string_view networking = "networking.k8s.io";
// Opening a WebSocket was a GET and no more before.
constexpr int exec_takes_create_since = 35;

// 33 of "v1.33.13-gke.1"; 0 of what is no version.
int minor_of(const std::string& version) {
  int minor = 0;
  const auto dot = version.find('.');
  if (dot == std::string::npos) return 0;
  std::from_chars(version.data() + dot + 1, version.data() + version.size(), minor);
  return minor;
}

void add(std::vector<Right>& rights, const std::string& resource, std::string_view group,
         const std::string& in_namespace, std::initializer_list<std::string_view> verbs) {
  for (const auto verb : verbs) {
    rights.push_back({.verb = std::string(verb),
                      .resource = resource,
                      .group = std::string(group),
                      .in_namespace = in_namespace});
  }
}

Json review_of(const Right& right) {
  const auto slash = right.resource.find('/');
  Json asked = {
      {"verb", right.verb}, {"group", right.group}, {"resource", right.resource.substr(0, slash)}};
  if (slash != std::string::npos) asked["subresource"] = right.resource.substr(slash + 1);
  if (!right.name.empty()) asked["name"] = right.name;
  if (!right.in_namespace.empty()) asked["namespace"] = right.in_namespace;
  return {{"apiVersion", "authorization.k8s.io/v1"},
          {"kind", "SelfSubjectAccessReview"},
          {"spec", {{"resourceAttributes", std::move(asked)}}}};
}

// Whether the server says that it is refused.
Result<bool> refused(ApiClient& api, const Right& right) {
  ASSIGN_OR_RETURN(const auto answer,
                   api.request({.method = "POST",
                                .target = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                                .content_type = "application/json",
                                .body = base::dump_json(review_of(right))}));
  const auto& allowed = json_at(answer.body, {"status", "allowed"});
  return answer.success() && allowed.is_boolean() && !allowed.get<bool>();
}

}  // namespace

std::string Right::to_string() const {
  if (group.empty()) return fmt::format("{} {}", verb, resource);
  return fmt::format("{} {}.{}", verb, resource, group);
}

std::vector<Right> rights_of_run(const std::string& in_namespace, const std::string& version) {
  std::vector<Right> rights;
  add(rights, "nodes", "", "", {"list"});
  if (in_namespace.empty()) {
    add(rights, "namespaces", "", "", {"create", "patch", "delete", "list", "watch"});
    for (const auto* verb : {"list", "watch"}) {
      rights.push_back({.verb = verb, .resource = "serviceaccounts", .name = "default"});
    }
  }
  // An object that is applied is patched, and created where there is none.
  add(rights, "pods", "", in_namespace, {"create", "patch", "list", "watch"});
  add(rights, "pods/status", "", in_namespace, {"patch"});
  const auto exec = rights_to_exec(in_namespace, version);
  rights.insert(rights.end(), exec.begin(), exec.end());
  add(rights, "services", "", in_namespace, {"create", "patch", "list", "watch"});
  add(rights, "endpointslices", discovery, in_namespace, {"list", "watch"});
  // Sooner than their namespace's end would take them; those of a node that is gone, by force.
  add(rights, "pods", "", in_namespace, {"deletecollection"});
  if (!in_namespace.empty()) {
    // A namespace of its own takes all in it with it.
    add(rights, "services", "", in_namespace, {"deletecollection"});
    add(rights, "endpointslices", discovery, in_namespace, {"deletecollection"});
  }
  return rights;
}

std::vector<Right> rights_to_exec(const std::string& in_namespace, const std::string& version) {
  std::vector<Right> rights;
  add(rights, "pods/exec", "", in_namespace, {"get"});
  if (minor_of(version) >= exec_takes_create_since) {
    add(rights, "pods/exec", "", in_namespace, {"create"});
  }
  return rights;
}

std::vector<Right> rights_for_fillers(const std::string& in_namespace) {
  std::vector<Right> rights;
  add(rights, "endpointslices", discovery, in_namespace, {"create", "patch"});
  return rights;
}

std::vector<Right> rights_to_replace(const std::string& in_namespace) {
  std::vector<Right> rights;
  add(rights, "pods", "", in_namespace, {"delete"});
  return rights;
}

std::vector<Right> rights_for_generators(const std::string& in_namespace) {
  std::vector<Right> rights;
  add(rights, "jobs", "batch", in_namespace, {"create", "patch"});
  if (!in_namespace.empty())
    add(rights, "jobs", "batch", in_namespace, {"list", "deletecollection"});
  return rights;
}

std::vector<Right> rights_for_meshes(const MeshSpec& spec) {
  std::vector<Right> rights;
  add(rights, "serviceaccounts", "", "", {"create", "patch"});
  add(rights, "peerauthentications", "security.istio.io", "", {"create", "patch"});
  if (!spec.objects.empty()) {
    for (const auto* resource : {"authorizationpolicies", "requestauthentications"}) {
      add(rights, resource, "security.istio.io", "", {"create", "patch"});
    }
  }
  for (const auto* resource : {"destinationrules", "envoyfilters"}) {
    add(rights, resource, "networking.istio.io", "", {"create", "patch"});
  }
  add(rights, "pods/proxy", "", "", {"get"});
  return rights;
}

std::vector<Right> rights_for_policies(const std::string& in_namespace) {
  std::vector<Right> rights;
  add(rights, "networkpolicies", networking, in_namespace, {"create", "patch", "delete", "list"});
  if (!in_namespace.empty()) {
    add(rights, "networkpolicies", networking, in_namespace, {"deletecollection"});
  }
  return rights;
}

Result<std::vector<std::string>> missing_rights(const ApiOptions& api,
                                                const std::vector<Right>& rights) {
  std::vector<char> missing(rights.size(), 0);  // not bool: threads write next to each other
  RETURN_IF_ERROR(
      for_each_request(api, rights.size(), [&](ApiClient& client, std::size_t index) -> Result<> {
        ASSIGN_OR_RETURN(const bool no, refused(client, rights[index]));
        if (no) missing[index] = 1;
        return {};
      }));
  std::vector<std::string> names;
  for (std::size_t index = 0; index < rights.size(); ++index) {
    if (missing[index] != 0) names.push_back(rights[index].to_string());
  }
  return names;
}

Result<> check_rights(const ApiOptions& api, const std::vector<Right>& rights) {
  ASSIGN_OR_RETURN(const auto names, missing_rights(api, rights));
  if (names.empty()) return {};
  const auto& where = rights.back().in_namespace;
  return base::fail_with_mend(
      base::ErrorKind::not_permitted,
      fmt::format("these credentials lack rights that a run needs{}: {}",
                  where.empty() ? " in all namespaces" : " in namespace " + where,
                  fmt::join(names, ", ")),
      "The chart charts/stackbench grants them and no others; --namespace NAME needs none outside "
      "of "
      "that namespace but to list nodes.");
}

}  // namespace cluster
