// Who announces load balancers' addresses by BGP in a cluster: which of those we know is there, and
// the objects by which it is told of pools, peers and announcements. What these objects hold is
// data (charts/bgp); here they are found, written and taken away.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/scalar.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/manifests.h"
#include "cluster/kubernetes/rights.h"

namespace cluster {

enum class AnnouncerKind {
  metallb,  // its IPAddressPools, BGPPeers, BGPAdvertisements, Communities
  cilium,   // its CiliumLoadBalancerIPPools and CiliumBGP* objects
};

// One that is there. Of each of its kinds the version its server prefers.
struct Announcer {
  struct Resource {
    std::string api_version;  // "metallb.io/v1beta2"
    std::string path;         // of its collection: "/apis/metallb.io/v1beta2/.../bgppeers"
  };

  AnnouncerKind kind = AnnouncerKind::metallb;
  std::string in_namespace = {};  // of its objects; empty: they are in none
  std::map<std::string, Resource, std::less<>> resources = {};  // by kind: "BGPPeer"

  // The API group it is told by: "metallb.io".
  [[nodiscard]] std::string_view group() const;
  // Errors: missing (its version has no such kind).
  [[nodiscard]] base::Result<const Resource*> find(std::string_view kind) const;
};

// The ones whose definitions the cluster has, MetalLB first: nobody installs it without need of it,
// and Cilium brings its definitions wherever it is the network. Errors: as ApiClient::find().
[[nodiscard]] base::Result<std::vector<Announcer>> find_announcers(ApiClient& api);

// All objects of a kind, whoever made them. Errors: as Announcer::find() and ApiClient::get().
[[nodiscard]] base::Result<std::vector<base::Json>> announcer_objects(ApiClient& api,
                                                                      const Announcer& announcer,
                                                                      std::string_view kind);

// Writes an object (its kind, metadata, spec) as a run's own; `owner`: its annotation. Errors: as
// Announcer::find() and ApiClient::apply().
[[nodiscard]] base::Result<> write_announcer_object(ApiClient& api, const Announcer& announcer,
                                                    const std::string& run,
                                                    const std::string& owner,
                                                    const base::Json& object);

// An object that some run of ours made.
struct AnnouncerLeftover {
  std::string path;
  std::string what;  // "IPAddressPool stackbench-abcdefgh of metallb"
  std::string run;
  std::string owner;
};
// Of every announcer that is there; of kinds we may not list: none. Errors: as ApiClient::get().
[[nodiscard]] base::Result<std::vector<AnnouncerLeftover>> announcer_leftovers(ApiClient& api);
// Removes a run's. Idempotent; goes on after an error and returns the first. Errors: as
// ApiClient::remove().
[[nodiscard]] base::Result<> remove_announcer_objects(ApiClient& api, const Announcer& announcer,
                                                      std::string_view run);

// What is asked of a cluster to do that.
[[nodiscard]] std::vector<Right> rights_to_announce(const Announcer& announcer);

}  // namespace cluster

template <>
struct base::EnumNames<cluster::AnnouncerKind> {
  static constexpr std::array names{
      std::pair{cluster::AnnouncerKind::metallb, std::string_view("metallb")},
      std::pair{cluster::AnnouncerKind::cilium, std::string_view("cilium")}};
};
