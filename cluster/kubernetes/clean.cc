#include "cluster/kubernetes/clean.h"

#include <map>
#include <utility>

#include "cluster/kubernetes/announcers.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/cleanup.h"
#include "cluster/kubernetes/owner.h"

namespace cluster {
namespace {

using base::Json;
using base::Result;

// What one run left in one place.
struct Leftover {
  Placement place;
  std::string what;
};
using Leftovers = std::map<std::string, Leftover>;  // by namespace, run and environment

std::string ours() { return fmt::format("{}=stackbench,{}", managed_by_label, run_label); }

Placement place_of(const Json& object) {
  const auto label = [&](std::string_view name) {
    return text_at(object, {"metadata", "labels", name});
  };
  return {.run = label(run_label),
          .environment = label(environment_label),
          .owner = text_at(object, {"metadata", "annotations", owner_annotation}),
          .in_namespace = text_at(object, {"metadata", "namespace"}),
          .own_namespace = false};
}

Result<> add_namespaces(ApiClient& api, Leftovers& found) {
  ASSIGN_OR_RETURN(const auto list,
                   api.get("/api/v1/namespaces?labelSelector=" + url_escape(ours())));
  for (const auto& item : json_at(list, {"items"})) {
    auto place = place_of(item);
    place.in_namespace = text_at(item, {"metadata", "name"});
    place.own_namespace = true;
    auto what = fmt::format("namespace {}", place.in_namespace);
    auto key = place.in_namespace;
    found.emplace(std::move(key), Leftover{std::move(place), std::move(what)});
  }
  return {};
}

Result<> add_objects(ApiClient& api, const std::string& path, Leftovers& found,
                     bool Placement::* made = nullptr) {
  ASSIGN_OR_RETURN(const auto list, api.get(path + "?labelSelector=" + url_escape(ours())));
  for (const auto& item : json_at(list, {"items"})) {
    auto place = place_of(item);
    // Goes with its namespace.
    if (found.contains(place.in_namespace)) continue;
    auto key = fmt::format("{}/{}/{}", place.in_namespace, place.run, place.environment);
    auto what = fmt::format("objects of run {} in namespace {}", place.run, place.in_namespace);
    auto& leftover = found.try_emplace(std::move(key), Leftover{std::move(place), std::move(what)})
                         .first->second;
    if (made != nullptr) leftover.place.*made = true;
  }
  return {};
}

Result<Leftovers> find_leftovers(ApiClient& api, const std::string& in_namespace) {
  Leftovers found;
  const bool everywhere = in_namespace.empty();
  if (everywhere) RETURN_IF_ERROR(add_namespaces(api, found));
  const auto where = everywhere ? std::string() : fmt::format("/namespaces/{}", in_namespace);
  // Whoever may not look at Jobs, or at policies, has made none.
  const auto add_rare = [&](std::string_view path, bool Placement::* made) -> Result<> {
    auto added = add_objects(api, fmt::format(fmt::runtime(path), where), found, made);
    if (!added && added.error().kind == base::ErrorKind::not_permitted) return {};
    return added;
  };
  RETURN_IF_ERROR(add_rare("/apis/batch/v1{}/jobs", &Placement::has_jobs));
  RETURN_IF_ERROR(
      add_rare("/apis/networking.k8s.io/v1{}/networkpolicies", &Placement::has_policies));
  RETURN_IF_ERROR(add_objects(api, fmt::format("/api/v1{}/pods", where), found));
  RETURN_IF_ERROR(add_objects(api, fmt::format("/api/v1{}/services", where), found));
  RETURN_IF_ERROR(
      add_objects(api, fmt::format("/apis/discovery.k8s.io/v1{}/endpointslices", where), found));
  return found;
}

}  // namespace

Result<Cleaned> clean_kubernetes(const KubernetesOptions& cluster, const CleanOptions& options) {
  Cleaned cleaned;
  ASSIGN_OR_RETURN(cleaned.removed, clean_proxies(options.dry_run));
  ASSIGN_OR_RETURN(auto proxy, KubectlProxy::start({.kubectl = cluster.kubectl,
                                                    .kubeconfig = cluster.kubeconfig,
                                                    .context = cluster.context},
                                                   cluster.interrupt));
  ApiClient api({.socket = proxy.socket(),
                 .timeout = cluster.request_timeout,
                 .interrupt = cluster.interrupt});
  auto found = find_leftovers(api, cluster.in_namespace);
  if (!found) return std::unexpected(proxy.explain(std::move(found).error()));
  std::vector<AnnouncerLeftover> told;
  if (cluster.in_namespace.empty()) {
    auto objects = announcer_leftovers(api);
    if (!objects) return std::unexpected(proxy.explain(std::move(objects).error()));
    told = std::move(*objects);
  }
  std::vector<Placement> deleted;
  Result<> outcome;
  const auto note = [&](Result<> done) {
    if (outcome) outcome = std::move(done);
  };
  // Whether it is to go now; says so, or why not.
  const auto goes = [&](const std::string& owner, const std::string& what) {
    const auto life = life_of(owner);
    if (life == OwnerLife::alive) return false;
    if (life == OwnerLife::unknown && !options.of_other_machines) {
      cleaned.left_alone.push_back(
          fmt::format("{}, made on {}, where its run may be alive", what, machine_of(owner)));
      return false;
    }
    cleaned.removed.push_back(what);
    return !options.dry_run;
  };
  for (const auto& [key, leftover] : *found) {
    if (!goes(leftover.place.owner, leftover.what)) continue;
    note(delete_objects(api, leftover.place));
    deleted.push_back(leftover.place);
  }
  const auto deadline = removal_deadline();
  for (const auto& place : deleted) note(await_removal(api.options(), place, deadline));
  // After the Services that hold addresses of theirs.
  for (const auto& object : told) {
    if (!goes(object.owner, object.what)) continue;
    const auto removed = api.remove(object.path);
    if (!removed) note(std::unexpected(removed.error()));
  }
  if (!outcome) return std::unexpected(std::move(outcome).error());
  return cleaned;
}

}  // namespace cluster
