#include "stackbench/bgp/announcer_objects.h"

#include <algorithm>
#include <utility>

#include "announcer_texts.h"
#include "cluster/kubernetes/api_error.h"
#include "stackbench/scenario/decode.h"
#include "stackbench/scenario/yaml.h"

namespace stackbench::bgp {
namespace {

using base::ErrorKind;
using base::IpAddress;
using base::Json;
using base::Result;
using cluster::AnnouncerKind;
using cluster::json_at;
using cluster::text_at;

Result<Json> data_of(AnnouncerKind kind) {
  const auto text = kind == AnnouncerKind::metallb ? metallb_text : cilium_text;
  const auto document = parse_yaml(text);
  if (!document.root || !document.faults.empty()) {
    return base::fail(ErrorKind::system, "charts/bgp/{}.yaml is no YAML", base::enum_name(kind));
  }
  return decode_json(*document.root);
}

// Values take the place of their names; a key whose value is none goes.
Result<Json> filled(const Json& data, const Json& values) {
  if (data.is_string()) {
    const auto& text = data.get_ref<const std::string&>();
    if (!text.starts_with('$')) return data;
    const auto value = values.find(text.substr(1));
    if (value != values.end()) return *value;
    return base::fail(ErrorKind::system, "charts/bgp: there is nothing to fill in for {}", text);
  }
  if (!data.is_structured()) return data;
  Json made = data.is_array() ? Json::array() : Json::object();
  for (const auto& [key, value] : data.items()) {
    ASSIGN_OR_RETURN(auto its, filled(value, values));
    if (its.is_null()) continue;
    if (data.is_array()) {
      made.push_back(std::move(its));
    } else {
      made[key] = std::move(its);
    }
  }
  return made;
}

Json values_of(const Telling& telling, const Peering& peering) {
  const auto name = "stackbench-" + telling.run;
  const auto& spec = telling.speakers;
  Json values = {{"name", name},
                 {"run", telling.run},
                 {"pool", telling.pool.to_string()},
                 {"router_address", telling.router.to_string()},
                 {"router_asn", spec.router_asn.number},
                 {"node_asn", spec.node_asn.number},
                 {"hold_time", fmt::format("{}s", spec.hold_time_s)},
                 {"hold_time_s", spec.hold_time_s},
                 {"keepalive_time_s", std::max(1U, spec.hold_time_s / 3)},
                 {"restarts_gracefully", spec.restart_time_s.has_value()},
                 {"graceful_restart", spec.restart_time_s ? Json(true) : Json()},
                 {"restart_time_s", spec.restart_time_s ? Json(*spec.restart_time_s) : Json()},
                 {"communities", Json::array()},
                 {"community_names", Json::array()},
                 {"named_communities", Json::array()},
                 {"nodes", telling.nodes},
                 {"peers", peering.there ? peering.names : std::vector{name}}};
  values["advertisement_labels"] = peering.there
                                       ? Json(peering.advertisement_labels)
                                       : Json{{std::string(cluster::run_label), telling.run}};
  for (const auto& community : spec.communities) {
    // Names are the cluster's, and no two objects may give the same.
    const auto its_name = fmt::format("{}-{}", name, values["community_names"].size() + 1);
    values["communities"].push_back(community.to_string());
    values["community_names"].push_back(its_name);
    values["named_communities"].push_back({{"name", its_name}, {"value", community.to_string()}});
  }
  return values;
}

// From the first address to the last.
using Range = std::pair<IpAddress, IpAddress>;

Range range_of(const bgp_peer::Prefix& prefix) {
  Range range{prefix.address, prefix.address};
  for (int bit = prefix.length; bit < prefix.address.host_prefix(); ++bit) {
    range.second.bytes[static_cast<std::size_t>(bit / 8)] |=
        static_cast<std::uint8_t>(1U << static_cast<unsigned>(7 - bit % 8));
  }
  return range;
}

// "10.0.0.0/24" or "10.0.0.1-10.0.0.9"; nothing of what is neither.
std::optional<Range> range_of(const std::string& text) {
  if (const auto dash = text.find('-'); dash != std::string::npos) {
    const auto first = IpAddress::parse(text.substr(0, dash));
    const auto last = IpAddress::parse(text.substr(dash + 1));
    if (first && last) return Range{*first, *last};
    return std::nullopt;
  }
  const auto prefix = bgp_peer::Prefix::parse(text);
  if (prefix) return range_of(*prefix);
  return std::nullopt;
}

std::vector<std::string> ranges_in(AnnouncerKind kind, const Json& pool) {
  std::vector<std::string> all;
  if (kind == AnnouncerKind::metallb) {
    for (const auto& one : json_at(pool, {"spec", "addresses"})) {
      if (one.is_string()) all.push_back(one.get<std::string>());
    }
    return all;
  }
  for (const auto& block : json_at(pool, {"spec", "blocks"})) {
    const auto start = text_at(block, {"start"});
    const auto stop = text_at(block, {"stop"});
    all.push_back(start.empty() ? text_at(block, {"cidr"})
                                : fmt::format("{}-{}", start, stop.empty() ? start : stop));
  }
  return all;
}

std::string name_of(const Json& object) { return text_at(object, {"metadata", "name"}); }

std::uint64_t number_at(const Json& json, std::string_view key) {
  const auto& value = json_at(json, {key});
  return value.is_number_integer() ? value.get<std::uint64_t>() : 0;
}

Result<> check_numbers(const std::string& object, std::uint64_t node_asn, std::uint64_t router_asn,
                       const SpeakersSpec& spec) {
  if (node_asn == spec.node_asn.number && router_asn == spec.router_asn.number) return {};
  return base::fail_with_mend(
      ErrorKind::input,
      fmt::format("{} leads to the peer from AS {} to AS {}, and the scenario says {} and {}",
                  object, node_asn, router_asn, spec.node_asn.number, spec.router_asn.number),
      fmt::format("Say --set bgp.node_asn={} --set bgp.router_asn={}, or have the peer at another "
                  "address (bgp.peer.address).",
                  node_asn, router_asn));
}

Result<Peering> find_metallb_peering(const std::vector<Json>& peers, const Telling& telling) {
  Peering peering;
  for (const auto& peer : peers) {
    const auto& spec = json_at(peer, {"spec"});
    if (text_at(spec, {"peerAddress"}) != telling.router.to_string()) continue;
    RETURN_IF_ERROR(check_numbers("BGPPeer " + name_of(peer), number_at(spec, "myASN"),
                                  number_at(spec, "peerASN"), telling.speakers));
    peering.there = true;
    peering.names.push_back(name_of(peer));
  }
  return peering;
}

// By which labels a CiliumBGPPeerConfig chooses advertisements.
std::map<std::string, std::string> labels_chosen_by(const std::string& peer_config,
                                                    const std::vector<Json>& peer_configs) {
  for (const auto& config : peer_configs) {
    if (name_of(config) != peer_config) continue;
    for (const auto& family : json_at(config, {"spec", "families"})) {
      const auto& labels = json_at(family, {"advertisements", "matchLabels"});
      if (labels.is_object()) return labels.get<std::map<std::string, std::string>>();
    }
  }
  return {};
}

Result<Peering> find_cilium_peering(const std::vector<Json>& configs,
                                    const std::vector<Json>& peer_configs, const Telling& telling) {
  Peering peering;
  for (const auto& config : configs) {
    for (const auto& instance : json_at(config, {"spec", "bgpInstances"})) {
      for (const auto& peer : json_at(instance, {"peers"})) {
        if (text_at(peer, {"peerAddress"}) != telling.router.to_string()) continue;
        const auto object = "CiliumBGPClusterConfig " + name_of(config);
        RETURN_IF_ERROR(check_numbers(object, number_at(instance, "localASN"),
                                      number_at(peer, "peerASN"), telling.speakers));
        peering.there = true;
        peering.names.push_back(name_of(config));
        peering.advertisement_labels =
            labels_chosen_by(text_at(peer, {"peerConfigRef", "name"}), peer_configs);
        if (!peering.advertisement_labels.empty()) continue;
        return base::fail(ErrorKind::input,
                          "{}: its peer at {} announces nothing that could be chosen by a label",
                          object, telling.router.to_string());
      }
    }
  }
  if (peering.there || configs.empty()) return peering;
  return base::fail_with_mend(
      ErrorKind::input,
      fmt::format("CiliumBGPClusterConfig {} is there already and has no peer at {}, and a second "
                  "one for the same nodes would conflict with it",
                  name_of(configs.front()), telling.router.to_string()),
      "Add such a peer to it, or say where its peer is (bgp.peer.address).");
}

}  // namespace

std::vector<std::string_view> peering_kinds(AnnouncerKind kind) {
  if (kind == AnnouncerKind::metallb) return {"BGPPeer"};
  return {"CiliumBGPClusterConfig", "CiliumBGPPeerConfig"};
}

std::string_view pool_kind(AnnouncerKind kind) {
  return kind == AnnouncerKind::metallb ? "IPAddressPool" : "CiliumLoadBalancerIPPool";
}

Result<Peering> find_peering(AnnouncerKind kind,
                             const std::map<std::string, std::vector<Json>, std::less<>>& objects,
                             const Telling& telling) {
  const auto all = [&](std::string_view of_kind) {
    const auto found = objects.find(of_kind);
    return found == objects.end() ? std::vector<Json>() : found->second;
  };
  if (kind == AnnouncerKind::metallb) return find_metallb_peering(all("BGPPeer"), telling);
  return find_cilium_peering(all("CiliumBGPClusterConfig"), all("CiliumBGPPeerConfig"), telling);
}

Result<> check_pool(AnnouncerKind kind, const std::vector<Json>& pools,
                    const bgp_peer::Prefix& pool) {
  const auto wanted = range_of(pool);
  for (const auto& other : pools) {
    for (const auto& text : ranges_in(kind, other)) {
      const auto its = range_of(text);
      if (!its || its->second < wanted.first || wanted.second < its->first) continue;
      return base::fail_with_mend(
          ErrorKind::input,
          fmt::format("bgp.pool: {} {} holds addresses of {}: {}", pool_kind(kind), name_of(other),
                      pool.to_string(), text),
          "Say --set bgp.pool=PREFIX with one that is nobody's.");
    }
  }
  return {};
}

Result<std::vector<Json>> told_objects(AnnouncerKind kind, const Telling& telling,
                                       const Peering& peering) {
  ASSIGN_OR_RETURN(const auto data, data_of(kind));
  const auto values = values_of(telling, peering);
  std::vector<Json> objects;
  for (const auto* part : {"peering", "announcing"}) {
    if (peering.there && std::string_view(part) == "peering") continue;
    for (const auto& one : json_at(data, {part})) {
      ASSIGN_OR_RETURN(auto object, filled(one, values));
      objects.push_back(std::move(object));
    }
  }
  return objects;
}

Result<std::map<std::string, std::string>> service_annotations(
    AnnouncerKind kind, const Telling& telling, const std::optional<IpAddress>& address) {
  ASSIGN_OR_RETURN(const auto data, data_of(kind));
  auto values = values_of(telling, {});
  ASSIGN_OR_RETURN(auto annotations, filled(json_at(data, {"service"}), values));
  if (address) {
    values["address"] = address->to_string();
    ASSIGN_OR_RETURN(const auto more, filled(json_at(data, {"service_at_address"}), values));
    annotations.update(more);
  }
  return annotations.get<std::map<std::string, std::string>>();
}

}  // namespace stackbench::bgp
