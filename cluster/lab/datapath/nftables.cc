#include "cluster/lab/datapath/nftables.h"

#include <iterator>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "cluster/lab/addresses.h"
#include "cluster/lab/datapath/kube_proxy_names.h"
#include "cluster/lab/datapath/rule_sync.h"

namespace cluster {
namespace {

using base::AddressFamily;
using base::Result;

// The chains that do not depend on Services, with @ip for `ip` or `ip6` and @service-cidr for where
// ClusterIPs are.
constexpr std::string_view fixed_chains = R"(
  chain reject-chain {
    reject
  }
  chain mark-for-masquerade {
    mark set mark or 0x4000
  }
  chain masquerading {
    mark and 0x4000 == 0 return
    mark set mark xor 0x4000
    masquerade fully-random
  }
  chain firewall-check {
    @ip daddr . meta l4proto . th dport vmap @firewall-ips
  }
  chain nodeport-endpoints-check {
    @ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
  }
  chain service-endpoints-check {
    @ip daddr . meta l4proto . th dport vmap @no-endpoint-services
  }
  chain cluster-ips-check {
    @ip daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"
    @ip daddr { @service-cidr } drop comment "Drop traffic to unallocated ClusterIPs"
  }
  chain services {
    @ip daddr . meta l4proto . th dport vmap @service-ips
    @ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }
  chain filter-prerouting-pre-dnat {
    type filter hook prerouting priority -110;
    ct state new jump firewall-check
  }
  chain filter-output-pre-dnat {
    type filter hook output priority -110;
    ct state new jump firewall-check
  }
  chain filter-input {
    type filter hook input priority 0;
    ct state new jump nodeport-endpoints-check
    ct state new jump service-endpoints-check
  }
  chain filter-forward {
    type filter hook forward priority 0;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain filter-output {
    type filter hook output priority 0;
    ct state new jump service-endpoints-check
    ct state new jump cluster-ips-check
  }
  chain nat-prerouting {
    type nat hook prerouting priority -100;
    jump services
  }
  chain nat-output {
    type nat hook output priority -100;
    jump services
  }
  chain nat-postrouting {
    type nat hook postrouting priority 100;
    jump masquerading
  }
)";

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

// A set or map with its elements, one a line; an empty one has no `elements`.
std::string collection(std::string_view kind, std::string_view name, std::string_view type,
                       const std::set<std::string>& elements) {
  std::string text = fmt::format("  {} {} {{\n    type {}\n", kind, name, type);
  if (!elements.empty()) {
    text += fmt::format("    elements = {{\n      {}\n    }}\n", fmt::join(elements, ",\n      "));
  }
  return text + "  }\n";
}

std::string service_chains(const ServiceEntry& entry, std::string_view ip,
                           std::string_view cluster_cidr) {
  const auto protocol = rule_protocol(entry.protocol);
  std::string text;
  std::vector<std::string> choices;
  for (std::size_t i = 0; i < entry.backends.size(); ++i) {
    const auto& backend = entry.backends[i];
    const std::string chain = nftables_endpoint_chain(entry, backend);
    // A pod that reaches itself through its Service must see another source than itself.
    text += fmt::format(
        "  chain {} {{\n"
        "    {} saddr {} jump mark-for-masquerade\n"
        "    meta l4proto {} dnat to {}\n"
        "  }}\n",
        chain, ip, backend.endpoint.address, protocol, backend.endpoint);
    choices.push_back(fmt::format("{} : goto {}", i, chain));
  }
  return text + fmt::format(
                    "  chain {} {{\n"
                    "    {} daddr {} {} dport {} {} saddr != {} jump mark-for-masquerade\n"
                    "    numgen random mod {} vmap {{ {} }}\n"
                    "  }}\n",
                    nftables_service_chain(entry), ip, entry.cluster.address, protocol,
                    entry.cluster.port, ip, cluster_cidr, choices.size(), fmt::join(choices, ", "));
}

class NftablesDatapath : public Datapath {
 public:
  NftablesDatapath(std::vector<DatapathNode> nodes, std::string version)
      : sync_(std::move(nodes)), version_(std::move(version)) {}

  Result<> sync(const ServiceTable& table) override {
    return sync_.sync(table, [&](const DatapathNode& node) -> std::vector<RuleSync::Load> {
      return {{{"nft", "-f", "-"},
               nftables_rules(table, AddressFamily::ipv4, node.cluster_cidr_ipv4, node.ipv4) +
                   nftables_rules(table, AddressFamily::ipv6, node.cluster_cidr_ipv6, node.ipv6)}};
    });
  }

  [[nodiscard]] base::Json facts() const override {
    return {{"datapath", "nftables"},
            {"nft", version_},
            {"chains_per_node", sync_.count_lines("chain ")}};
  }

 private:
  RuleSync sync_;
  std::string version_;
};

}  // namespace

std::string nftables_rules(const ServiceTable& table, AddressFamily family,
                           std::string_view cluster_cidr, const base::IpAddress& node_address) {
  const bool ipv4 = family == AddressFamily::ipv4;
  const std::string_view ip = ipv4 ? "ip" : "ip6";
  const std::string address = ipv4 ? "ipv4_addr" : "ipv6_addr";
  const std::string service_key = address + " . inet_proto . inet_service : verdict";
  const std::string_view service_cidr =
      ipv4 ? addresses::service_cidr_ipv4 : addresses::service_cidr_ipv6;
  const std::string node_port_key = "inet_proto . inet_service : verdict";

  std::string chains;
  std::set<std::string> cluster_ips, service_ips, no_endpoints;
  for (const auto& entry : table.entries) {
    if (entry.cluster.address.family != family) continue;
    cluster_ips.insert(entry.cluster.address.to_string());
    const std::string key = fmt::format("{} . {} . {}", entry.cluster.address,
                                        rule_protocol(entry.protocol), entry.cluster.port);
    if (entry.backends.empty()) {
      no_endpoints.insert(
          fmt::format("{} comment \"{}\" : goto reject-chain", key, service_port_name(entry)));
      continue;
    }
    chains += service_chains(entry, ip, cluster_cidr);
    service_ips.insert(fmt::format("{} : goto {}", key, nftables_service_chain(entry)));
  }
  // Adding first makes the deletion succeed where there is no such table yet.
  return fmt::format("add table {0} kube-proxy\ndelete table {0} kube-proxy\n", ip) +
         fmt::format("table {} kube-proxy {{\n  comment \"rules for kube-proxy\"\n", ip) +
         collection("set", "cluster-ips", address, cluster_ips) +
         collection("set", "nodeport-ips", address, {node_address.to_string()}) +
         collection("map", "no-endpoint-services", service_key, no_endpoints) +
         collection("map", "no-endpoint-nodeports", node_port_key, {}) +
         collection("map", "firewall-ips", service_key, {}) +
         collection("map", "service-ips", service_key, service_ips) +
         collection("map", "service-nodeports", node_port_key, {}) +
         replace_all(replace_all(std::string(fixed_chains), "@ip ", std::string(ip) + " "),
                     "@service-cidr", service_cidr) +
         chains + "}\n";
}

Result<std::unique_ptr<Datapath>> make_nftables_datapath(const std::vector<DatapathNode>& nodes) {
  if (nodes.empty()) return base::fail(base::ErrorKind::input, "a datapath without nodes");
  ASSIGN_OR_RETURN(std::string version, nodes.front().run({"nft", "--version"}, ""));
  while (!version.empty() && version.back() == '\n') version.pop_back();
  auto datapath = std::make_unique<NftablesDatapath>(nodes, std::move(version));
  RETURN_IF_ERROR(datapath->sync({}));
  return datapath;
}

}  // namespace cluster
