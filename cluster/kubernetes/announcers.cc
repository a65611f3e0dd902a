#include "cluster/kubernetes/announcers.h"

#include <set>
#include <utility>

#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

// What tells one from another: its API group, and the kinds its objects are of.
struct Known {
  AnnouncerKind kind;
  std::string_view group;
  std::string_view told_by;  // without this kind it announces nothing
  std::set<std::string, std::less<>> kinds;
};

const std::array<Known, 2>& all_known() {
  static const std::array<Known, 2> known{
      Known{AnnouncerKind::metallb,
            "metallb.io",
            "BGPAdvertisement",
            {"IPAddressPool", "BGPPeer", "BGPAdvertisement", "Community"}},
      Known{AnnouncerKind::cilium,
            "cilium.io",
            "CiliumBGPAdvertisement",
            {"CiliumLoadBalancerIPPool", "CiliumBGPClusterConfig", "CiliumBGPPeerConfig",
             "CiliumBGPAdvertisement"}}};
  return known;
}

const Known& known_of(AnnouncerKind kind) {
  return *std::ranges::find(all_known(), kind, &Known::kind);
}

// Its manifests, its chart and a cluster of processes label its speakers so.
constexpr std::array speaker_labels{"app=metallb,component=speaker",
                                    "app.kubernetes.io/name=metallb"};
constexpr std::string_view usual_namespace = "metallb-system";

// MetalLB minds the objects of one namespace: that of its speakers.
Result<std::string> metallb_namespace(ApiClient& api) {
  for (const auto* labels : speaker_labels) {
    const auto pods = api.get(std::string("/api/v1/pods?labelSelector=") + url_escape(labels));
    // Who may not look there takes it for the usual one.
    if (!pods && pods.error().kind == ErrorKind::not_permitted) break;
    if (!pods) return std::unexpected(pods.error());
    for (const auto& pod : json_at(*pods, {"items"})) {
      return text_at(pod, {"metadata", "namespace"});
    }
  }
  return std::string(usual_namespace);
}

Result<> add_resources(ApiClient& api, const std::string& api_version, const Known& known,
                       Announcer& announcer) {
  ASSIGN_OR_RETURN(const auto listing, api.get("/apis/" + api_version));
  for (const auto& resource : json_at(listing, {"resources"})) {
    const auto kind = text_at(resource, {"kind"});
    const auto name = text_at(resource, {"name"});
    if (!known.kinds.contains(kind) || name.find('/') != std::string::npos) continue;
    const auto& namespaced = json_at(resource, {"namespaced"});
    const bool in_one = namespaced.is_boolean() && namespaced.get<bool>();
    if (in_one && announcer.in_namespace.empty()) {
      ASSIGN_OR_RETURN(announcer.in_namespace, metallb_namespace(api));
    }
    const auto where = in_one ? fmt::format("/namespaces/{}", announcer.in_namespace) : "";
    // The versions come in the order of the server's preference.
    announcer.resources.try_emplace(
        kind, Announcer::Resource{.api_version = api_version,
                                  .path = fmt::format("/apis/{}{}/{}", api_version, where, name)});
  }
  return {};
}

std::string ours(std::string_view run) {
  return fmt::format(
      "?labelSelector={}",
      url_escape(run.empty() ? fmt::format("{}=stackbench,{}", managed_by_label, run_label)
                             : fmt::format("{}={}", run_label, run)));
}

// What of a collection is of a run of ours, or of any.
Result<std::vector<AnnouncerLeftover>> ours_in(ApiClient& api, const Announcer& announcer,
                                               const std::string& kind, std::string_view run) {
  const auto& path = announcer.resources.at(kind).path;
  ASSIGN_OR_RETURN(const auto list, api.get(path + ours(run)));
  std::vector<AnnouncerLeftover> all;
  for (const auto& item : json_at(list, {"items"})) {
    const auto name = text_at(item, {"metadata", "name"});
    all.push_back({.path = fmt::format("{}/{}", path, name),
                   .what = fmt::format("{} {} of {}", kind, name, base::enum_name(announcer.kind)),
                   .run = text_at(item, {"metadata", "labels", run_label}),
                   .owner = text_at(item, {"metadata", "annotations", owner_annotation})});
  }
  return all;
}

}  // namespace

std::string_view Announcer::group() const { return known_of(kind).group; }

Result<const Announcer::Resource*> Announcer::find(std::string_view wanted) const {
  const auto found = resources.find(wanted);
  if (found != resources.end()) return &found->second;
  return base::fail(ErrorKind::missing, "the cluster's {} has no {}", base::enum_name(kind),
                    wanted);
}

Result<std::vector<Announcer>> find_announcers(ApiClient& api) {
  std::vector<Announcer> all;
  for (const auto& known : all_known()) {
    ASSIGN_OR_RETURN(const auto group, api.find(fmt::format("/apis/{}", known.group)));
    if (!group) continue;
    Announcer announcer{.kind = known.kind};
    for (const auto& version : json_at(*group, {"versions"})) {
      RETURN_IF_ERROR(add_resources(api, text_at(version, {"groupVersion"}), known, announcer));
    }
    if (announcer.resources.contains(known.told_by)) all.push_back(std::move(announcer));
  }
  return all;
}

Result<std::vector<Json>> announcer_objects(ApiClient& api, const Announcer& announcer,
                                            std::string_view kind) {
  ASSIGN_OR_RETURN(const auto* resource, announcer.find(kind));
  ASSIGN_OR_RETURN(const auto list, api.get(resource->path));
  const auto& items = json_at(list, {"items"});
  return items.is_array() ? items.get<std::vector<Json>>() : std::vector<Json>();
}

Result<> write_announcer_object(ApiClient& api, const Announcer& announcer, const std::string& run,
                                const std::string& owner, const Json& object) {
  const auto kind = text_at(object, {"kind"});
  const auto name = text_at(object, {"metadata", "name"});
  ASSIGN_OR_RETURN(const auto* resource, announcer.find(kind));
  auto own = object;
  own["apiVersion"] = resource->api_version;
  auto& metadata = own["metadata"];
  if (!announcer.in_namespace.empty()) metadata["namespace"] = announcer.in_namespace;
  metadata["labels"][std::string(managed_by_label)] = "stackbench";
  metadata["labels"][std::string(run_label)] = run;
  metadata["annotations"][std::string(owner_annotation)] = owner;
  RETURN_IF_ERROR(api.apply(fmt::format("{}/{}", resource->path, name), own));
  return {};
}

Result<std::vector<AnnouncerLeftover>> announcer_leftovers(ApiClient& api) {
  std::vector<AnnouncerLeftover> all;
  ASSIGN_OR_RETURN(const auto announcers, find_announcers(api));
  for (const auto& announcer : announcers) {
    for (const auto& [kind, resource] : announcer.resources) {
      auto its = ours_in(api, announcer, kind, "");
      // Whoever may not look at them has made none.
      if (!its && its.error().kind == ErrorKind::not_permitted) continue;
      if (!its) return std::unexpected(std::move(its).error());
      std::ranges::move(*its, std::back_inserter(all));
    }
  }
  return all;
}

Result<> remove_announcer_objects(ApiClient& api, const Announcer& announcer,
                                  std::string_view run) {
  Result<> outcome;
  const auto note = [&](Result<> done) {
    if (outcome) outcome = std::move(done);
  };
  for (const auto& [kind, resource] : announcer.resources) {
    const auto its = ours_in(api, announcer, kind, run);
    if (!its) {
      note(std::unexpected(its.error()));
      continue;
    }
    for (const auto& one : *its) {
      const auto removed = api.remove(one.path);
      if (!removed) note(std::unexpected(removed.error()));
    }
  }
  return outcome;
}

std::vector<Right> rights_to_announce(const Announcer& announcer) {
  std::vector<Right> rights;
  for (const auto& [kind, resource] : announcer.resources) {
    const auto name = resource.path.substr(resource.path.rfind('/') + 1);
    // An object that is applied is patched, and created where there is none.
    for (const auto* verb : {"list", "create", "patch", "delete"}) {
      rights.push_back({.verb = verb,
                        .resource = name,
                        .group = std::string(announcer.group()),
                        .in_namespace = announcer.in_namespace});
    }
  }
  return rights;
}

}  // namespace cluster
