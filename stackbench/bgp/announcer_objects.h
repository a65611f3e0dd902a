// What a cluster's announcer is told for a run, made from data (charts/bgp), and what of it is
// there already. Pure functions.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "bgp-peer/route.h"
#include "cluster/kubernetes/announcers.h"
#include "stackbench/bgp/speakers.h"

namespace stackbench::bgp {

// What is told.
struct Telling {
  std::string run;
  bgp_peer::Prefix pool = {};
  base::IpAddress router = {};  // where nodes find it
  SpeakersSpec speakers = {};
  std::vector<std::string> nodes = {};  // their labels kubernetes.io/hostname
};

// Sessions with the router that others configured.
struct Peering {
  bool there = false;
  std::vector<std::string> names = {};                           // of their objects
  std::map<std::string, std::string> advertisement_labels = {};  // by which they choose (Cilium)
};

// Looks for it among all objects of the kinds that configure sessions (peering_kinds()). Errors:
// input (it is there with other AS numbers, or what is there leaves no room for another).
[[nodiscard]] base::Result<Peering> find_peering(
    cluster::AnnouncerKind kind,
    const std::map<std::string, std::vector<base::Json>, std::less<>>& objects,
    const Telling& telling);
[[nodiscard]] std::vector<std::string_view> peering_kinds(cluster::AnnouncerKind kind);

// Whether no pool of others holds an address of it. Errors: input, naming the pool that does.
[[nodiscard]] base::Result<> check_pool(cluster::AnnouncerKind kind,
                                        const std::vector<base::Json>& pools,
                                        const bgp_peer::Prefix& pool);
[[nodiscard]] std::string_view pool_kind(cluster::AnnouncerKind kind);

// The objects, in the order in which they are written, without apiVersion and our labels.
[[nodiscard]] base::Result<std::vector<base::Json>> told_objects(cluster::AnnouncerKind kind,
                                                                 const Telling& telling,
                                                                 const Peering& peering);

// Annotations of the run's LoadBalancers; of one that is to have this address.
[[nodiscard]] base::Result<std::map<std::string, std::string>> service_annotations(
    cluster::AnnouncerKind kind, const Telling& telling,
    const std::optional<base::IpAddress>& address = {});

}  // namespace stackbench::bgp
