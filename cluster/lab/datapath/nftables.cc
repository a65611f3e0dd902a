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

// What makes up one family's table, chain by chain and element by element.
struct FamilyTable {
  std::string_view ip;            // "ip" or "ip6"
  std::string address_type;       // "ipv4_addr"
  std::string_view cluster_cidr;  // where pods are
  std::set<std::string> cluster_ips = {};
  std::set<std::string> service_ips = {};
  std::set<std::string> node_ports = {};
  std::set<std::string> no_endpoint_services = {};
  std::set<std::string> no_endpoint_node_ports = {};
  std::string affinity_sets = {};
  std::string chains = {};
};

std::string service_key(const ServiceEntry& entry, const base::IpAddress& address) {
  return fmt::format("{} . {} . {}", address, rule_protocol(entry.protocol), entry.cluster.port);
}

std::string node_port_key(const ServiceEntry& entry) {
  return fmt::format("{} . {}", rule_protocol(entry.protocol), entry.node_port);
}

// The rules that choose among these backends.
std::string choice_rules(const ServiceEntry& entry, const FamilyTable& table,
                         const std::vector<Backend>& backends) {
  std::string rules;
  std::vector<std::string> choices;
  for (std::size_t i = 0; i < backends.size(); ++i) {
    const std::string chain = nftables_endpoint_chain(entry, backends[i]);
    if (entry.affinity.count() > 0) {
      // Whoever was sent to a backend lately goes there again.
      rules += fmt::format("    {} saddr @{} goto {}\n", table.ip,
                           nftables_affinity_set(entry, backends[i]), chain);
    }
    choices.push_back(fmt::format("{} : goto {}", i, chain));
  }
  return rules + fmt::format("    numgen random mod {} vmap {{ {} }}\n", choices.size(),
                             fmt::join(choices, ", "));
}

// The chain that translates to one backend, and the set of clients that stay with it.
void add_endpoint(FamilyTable& table, const ServiceEntry& entry, const Backend& backend) {
  std::string remember;
  if (entry.affinity.count() > 0) {
    const std::string set = nftables_affinity_set(entry, backend);
    remember = fmt::format("    update @{} {{ {} saddr }}\n", set, table.ip);
    table.affinity_sets +=
        fmt::format("  set {} {{\n    type {}\n    flags dynamic,timeout\n    timeout {}s\n  }}\n",
                    set, table.address_type, entry.affinity.count());
  }
  // A pod that reaches itself through its Service must see another source than itself.
  table.chains += fmt::format(
      "  chain {} {{\n"
      "    {} saddr {} jump mark-for-masquerade\n"
      "{}"
      "    meta l4proto {} dnat to {}\n"
      "  }}\n",
      nftables_endpoint_chain(entry, backend), table.ip, backend.endpoint.address, remember,
      rule_protocol(entry.protocol), backend.endpoint);
}

// What comes to a NodePort or to a load balancer's address, and what becomes of it by
// externalTrafficPolicy.
void add_external(FamilyTable& table, const ServiceEntry& entry, const DatapathNode& node) {
  const auto local = backends_on(entry, node.name);
  const std::string cluster_chain = nftables_service_chain(entry);
  const std::string chain = nftables_external_chain(entry);
  const std::string verdict = "goto " + chain;
  for (const auto& address : entry.load_balancer_ips) {
    table.service_ips.insert(fmt::format("{} : {}", service_key(entry, address), verdict));
  }
  if (entry.node_port != 0) {
    table.node_ports.insert(fmt::format("{} : {}", node_port_key(entry), verdict));
  }
  std::string rules;
  if (!entry.external_local) {
    // The pod may be on another node, and its reply must come back by this one.
    rules = fmt::format("    jump mark-for-masquerade\n    goto {}\n", cluster_chain);
  } else {
    // Pods and the node itself are served as if they had gone out to the load balancer and back.
    rules = fmt::format(
        "    {} saddr {} goto {} comment \"short-circuit pod traffic\"\n"
        "    fib saddr type local jump mark-for-masquerade comment \"masquerade local traffic\"\n"
        "    fib saddr type local goto {} comment \"short-circuit local traffic\"\n",
        table.ip, table.cluster_cidr, cluster_chain, cluster_chain);
    if (!local.empty()) rules += fmt::format("    goto {}\n", nftables_local_chain(entry));
  }
  if (entry.external_local && !local.empty()) {
    table.chains += fmt::format("  chain {} {{\n{}  }}\n", nftables_local_chain(entry),
                                choice_rules(entry, table, local));
  }
  table.chains += fmt::format("  chain {} {{\n{}  }}\n", chain, rules);
  if (!entry.external_local || !local.empty()) return;
  const std::string dropped = fmt::format(" comment \"{}\" : drop", service_port_name(entry));
  for (const auto& address : entry.load_balancer_ips) {
    table.no_endpoint_services.insert(service_key(entry, address) + dropped);
  }
  if (entry.node_port != 0) table.no_endpoint_node_ports.insert(node_port_key(entry) + dropped);
}

void add_service(FamilyTable& table, const ServiceEntry& entry, const DatapathNode& node) {
  for (const auto& backend : entry.backends) add_endpoint(table, entry, backend);
  table.chains += fmt::format(
      "  chain {} {{\n"
      "    {} daddr {} {} dport {} {} saddr != {} jump mark-for-masquerade\n"
      "{}"
      "  }}\n",
      nftables_service_chain(entry), table.ip, entry.cluster.address, rule_protocol(entry.protocol),
      entry.cluster.port, table.ip, table.cluster_cidr, choice_rules(entry, table, entry.backends));
  table.service_ips.insert(fmt::format("{} : goto {}", service_key(entry, entry.cluster.address),
                                       nftables_service_chain(entry)));
  if (is_external(entry)) add_external(table, entry, node);
}

// One Service port that nobody answers: refused wherever it is dialled.
void refuse_service(FamilyTable& table, const ServiceEntry& entry) {
  const std::string refused =
      fmt::format(" comment \"{}\" : goto reject-chain", service_port_name(entry));
  table.no_endpoint_services.insert(service_key(entry, entry.cluster.address) + refused);
  for (const auto& address : entry.load_balancer_ips) {
    table.no_endpoint_services.insert(service_key(entry, address) + refused);
  }
  if (entry.node_port != 0) table.no_endpoint_node_ports.insert(node_port_key(entry) + refused);
}

class NftablesDatapath : public Datapath {
 public:
  NftablesDatapath(std::vector<DatapathNode> nodes, std::string version)
      : sync_(std::move(nodes)), version_(std::move(version)) {}

  Result<> sync(const ServiceTable& table) override {
    return sync_.sync(table, [&](const DatapathNode& node) -> std::vector<RuleSync::Load> {
      return {{{"nft", "-f", "-"},
               nftables_rules(table, AddressFamily::ipv4, node) +
                   nftables_rules(table, AddressFamily::ipv6, node)}};
    });
  }

  [[nodiscard]] base::Json facts() const override {
    base::Json facts = {{"datapath", "nftables"},
                        {"nft", version_},
                        {"chains_per_node", sync_.count_lines("chain ")}};
    facts.update(sync_.cost());
    return facts;
  }

 private:
  RuleSync sync_;
  std::string version_;
};

}  // namespace

std::string nftables_rules(const ServiceTable& table, AddressFamily family,
                           const DatapathNode& node) {
  const bool ipv4 = family == AddressFamily::ipv4;
  FamilyTable text{.ip = ipv4 ? "ip" : "ip6",
                   .address_type = ipv4 ? "ipv4_addr" : "ipv6_addr",
                   .cluster_cidr = ipv4 ? node.cluster_cidr_ipv4 : node.cluster_cidr_ipv6};
  for (const auto& entry : table.entries) {
    if (entry.cluster.address.family != family) continue;
    text.cluster_ips.insert(entry.cluster.address.to_string());
    if (entry.backends.empty()) {
      refuse_service(text, entry);
    } else {
      add_service(text, entry, node);
    }
  }
  const std::string service_type = text.address_type + " . inet_proto . inet_service : verdict";
  const std::string_view node_port_type = "inet_proto . inet_service : verdict";
  const auto& node_address = ipv4 ? node.ipv4 : node.ipv6;
  const std::string_view service_cidr =
      ipv4 ? addresses::service_cidr_ipv4 : addresses::service_cidr_ipv6;
  // Adding first makes the deletion succeed where there is no such table yet.
  return fmt::format("add table {0} kube-proxy\ndelete table {0} kube-proxy\n", text.ip) +
         fmt::format("table {} kube-proxy {{\n  comment \"rules for kube-proxy\"\n", text.ip) +
         collection("set", "cluster-ips", text.address_type, text.cluster_ips) +
         collection("set", "nodeport-ips", text.address_type, {node_address.to_string()}) +
         collection("map", "no-endpoint-services", service_type, text.no_endpoint_services) +
         collection("map", "no-endpoint-nodeports", node_port_type, text.no_endpoint_node_ports) +
         collection("map", "firewall-ips", service_type, {}) +
         collection("map", "service-ips", service_type, text.service_ips) +
         collection("map", "service-nodeports", node_port_type, text.node_ports) +
         text.affinity_sets +
         replace_all(replace_all(std::string(fixed_chains), "@ip ", std::string(text.ip) + " "),
                     "@service-cidr", service_cidr) +
         text.chains + "}\n";
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
