#include "cluster/lab/datapath/iptables.h"

#include <iterator>
#include <utility>

#include <fmt/format.h>

#include "cluster/lab/datapath/kube_proxy_names.h"
#include "cluster/lab/datapath/rule_sync.h"

namespace cluster {
namespace {

using base::AddressFamily;
using base::Result;

// One table of iptables-restore's input: chains come before rules.
struct RestoreTable {
  std::string chains;
  std::string rules;

  template <typename... Args>
  void rule(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(rules), format, std::forward<Args>(args)...);
    rules += '\n';
  }
};

constexpr std::string_view filter_start =
    ":INPUT ACCEPT [0:0]\n"
    ":FORWARD ACCEPT [0:0]\n"
    ":OUTPUT ACCEPT [0:0]\n"
    ":KUBE-FIREWALL - [0:0]\n"
    ":KUBE-SERVICES - [0:0]\n"
    ":KUBE-EXTERNAL-SERVICES - [0:0]\n"
    ":KUBE-FORWARD - [0:0]\n"
    ":KUBE-NODEPORTS - [0:0]\n"
    ":KUBE-PROXY-FIREWALL - [0:0]\n";

// The jumps from the kernel's chains, kube-proxy's iptablesJumpChains and, before them,
// iptablesKubeletJumpChains. kube-proxy puts each jump first, so they stand here in reverse order
// of its lists.
constexpr std::string_view filter_jumps =
    "-A INPUT -j KUBE-FIREWALL\n"
    "-A INPUT -m conntrack --ctstate NEW -m comment --comment "
    "\"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL\n"
    "-A INPUT -m comment --comment \"kubernetes health check service ports\" -j KUBE-NODEPORTS\n"
    "-A INPUT -m conntrack --ctstate NEW -m comment --comment "
    "\"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES\n"
    "-A FORWARD -m conntrack --ctstate NEW -m comment --comment "
    "\"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL\n"
    "-A FORWARD -m comment --comment \"kubernetes forwarding rules\" -j KUBE-FORWARD\n"
    "-A FORWARD -m conntrack --ctstate NEW -m comment --comment "
    "\"kubernetes service portals\" -j KUBE-SERVICES\n"
    "-A FORWARD -m conntrack --ctstate NEW -m comment --comment "
    "\"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES\n"
    "-A OUTPUT -j KUBE-FIREWALL\n"
    "-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "
    "\"kubernetes load balancer firewall\" -j KUBE-PROXY-FIREWALL\n"
    "-A OUTPUT -m conntrack --ctstate NEW -m comment --comment "
    "\"kubernetes service portals\" -j KUBE-SERVICES\n"
    "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP\n"
    "-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding rules\" "
    "-m mark --mark 0x4000/0x4000 -j ACCEPT\n"
    "-A KUBE-FORWARD -m comment --comment \"kubernetes forwarding conntrack rule\" "
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n";

// NodePorts at 127.0.0.1 need route_localnet, which lets neighbours reach what listens on loopback;
// this closes it again. IPv6 has no such setting, so there the chain is empty.
constexpr std::string_view localnet_firewall =
    "-A KUBE-FIREWALL -m comment --comment \"block incoming localnet connections\" "
    "-d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n";

constexpr std::string_view nat_start =
    ":PREROUTING ACCEPT [0:0]\n"
    ":INPUT ACCEPT [0:0]\n"
    ":OUTPUT ACCEPT [0:0]\n"
    ":POSTROUTING ACCEPT [0:0]\n"
    ":KUBE-SERVICES - [0:0]\n"
    ":KUBE-NODEPORTS - [0:0]\n"
    ":KUBE-POSTROUTING - [0:0]\n"
    ":KUBE-MARK-MASQ - [0:0]\n";

constexpr std::string_view nat_jumps =
    "-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
    "-A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
    "-A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n"
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n"
    "-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000\n"
    "-A KUBE-POSTROUTING -m comment --comment "
    "\"kubernetes service traffic requiring SNAT\" -j MASQUERADE --random-fully\n"
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n";

// The end of KUBE-SERVICES. NodePorts never work at ::1, so IPv6 leaves it out.
std::string nodeports_jump(AddressFamily family) {
  return fmt::format(
      "-A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be "
      "the last rule in this chain\" -m addrtype --dst-type LOCAL{} -j KUBE-NODEPORTS\n",
      family == AddressFamily::ipv6 ? " ! -d ::1/128" : "");
}

// The match every rule of a Service port has in common: its protocol and the port dialled.
std::string match_of(const ServiceEntry& entry, std::uint16_t port) {
  const auto protocol = rule_protocol(entry.protocol);
  return fmt::format("-m {} -p {} --dport {}", protocol, protocol, port);
}

// The same with the address dialled, in the order kube-proxy writes it.
std::string match_of(const ServiceEntry& entry, const base::IpAddress& address) {
  const auto protocol = rule_protocol(entry.protocol);
  return fmt::format("-m {} -p {} -d {}/{} --dport {}", protocol, protocol, address,
                     address.host_prefix(), entry.cluster.port);
}

// A chain that chooses among these backends.
void add_choice(RestoreTable& nat, const ServiceEntry& entry, const std::string& chain,
                const std::vector<Backend>& backends) {
  const std::string name = service_port_name(entry);
  if (entry.affinity.count() > 0) {
    // Whoever was sent to a backend lately goes there again.
    for (const auto& backend : backends) {
      const std::string endpoint_chain = iptables_endpoint_chain(entry, backend);
      nat.rule(
          "-A {} -m comment --comment \"{} -> {}\" -m recent --name {} --rcheck --seconds {} "
          "--reap -j {}",
          chain, name, backend.endpoint, endpoint_chain, entry.affinity.count(), endpoint_chain);
    }
  }
  for (std::size_t i = 0; i < backends.size(); ++i) {
    const std::size_t left = backends.size() - i;
    // The k-th is taken with probability 1/(n-k+1) of what got so far; the last takes the rest.
    const std::string chance =
        left == 1 ? ""
                  : fmt::format(" -m statistic --mode random --probability {:.10f}",
                                1.0 / static_cast<double>(left));
    nat.rule("-A {} -m comment --comment \"{} -> {}\"{} -j {}", chain, name, backends[i].endpoint,
             chance, iptables_endpoint_chain(entry, backends[i]));
  }
}

// The chain that translates to one backend.
void add_endpoint(RestoreTable& nat, const ServiceEntry& entry, const Backend& backend) {
  const std::string chain = iptables_endpoint_chain(entry, backend);
  const std::string name = service_port_name(entry);
  const auto protocol = rule_protocol(entry.protocol);
  nat.chains += fmt::format(":{} - [0:0]\n", chain);
  // A pod that reaches itself through its Service must see another source than itself.
  nat.rule("-A {} -m comment --comment \"{}\" -s {}/{} -j KUBE-MARK-MASQ", chain, name,
           backend.endpoint.address, backend.endpoint.address.host_prefix());
  const std::string remember =
      entry.affinity.count() > 0 ? fmt::format(" -m recent --name {} --set", chain) : "";
  nat.rule("-A {} -m comment --comment \"{}\"{} -m {} -p {} -j DNAT --to-destination {}", chain,
           name, remember, protocol, protocol, backend.endpoint);
}

// What comes to a NodePort or to a load balancer's address, and what becomes of it by
// externalTrafficPolicy.
void add_external(RestoreTable& nat, RestoreTable& filter, const ServiceEntry& entry,
                  const DatapathNode& node, std::string_view cluster_cidr) {
  const std::string name = service_port_name(entry);
  const std::string cluster_chain = iptables_service_chain(entry);
  const std::string external_chain = iptables_external_chain(entry);
  const auto local = backends_on(entry, node.name);
  nat.chains += fmt::format(":{} - [0:0]\n", external_chain);
  for (const auto& address : entry.load_balancer_ips) {
    nat.rule("-A KUBE-SERVICES -m comment --comment \"{} loadbalancer IP\" {} -j {}", name,
             match_of(entry, address), external_chain);
  }
  if (entry.node_port != 0) {
    nat.rule("-A KUBE-NODEPORTS -m comment --comment \"{}\" {} -j {}", name,
             match_of(entry, entry.node_port), external_chain);
  }
  if (!entry.external_local) {
    // The pod may be on another node, and its reply must come back by this one.
    nat.rule(
        "-A {} -m comment --comment \"masquerade traffic for {} external destinations\" "
        "-j KUBE-MARK-MASQ",
        external_chain, name);
    nat.rule("-A {} -j {}", external_chain, cluster_chain);
    return;
  }
  // Pods and the node itself are served as if they had gone out to the load balancer and back.
  nat.rule("-A {} -m comment --comment \"pod traffic for {} external destinations\" -s {} -j {}",
           external_chain, name, cluster_cidr, cluster_chain);
  nat.rule(
      "-A {} -m comment --comment \"masquerade LOCAL traffic for {} external destinations\" "
      "-m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
      external_chain, name);
  nat.rule(
      "-A {} -m comment --comment \"route LOCAL traffic for {} external destinations\" "
      "-m addrtype --src-type LOCAL -j {}",
      external_chain, name, cluster_chain);
  if (!local.empty()) {
    const std::string local_chain = iptables_local_chain(entry);
    nat.rule("-A {} -j {}", external_chain, local_chain);
    nat.chains += fmt::format(":{} - [0:0]\n", local_chain);
    add_choice(nat, entry, local_chain, local);
    return;
  }
  for (const auto& address : entry.load_balancer_ips) {
    filter.rule(
        "-A KUBE-EXTERNAL-SERVICES -m comment --comment \"{} has no local endpoints\" {} -j DROP",
        name, match_of(entry, address));
  }
  if (entry.node_port != 0) {
    filter.rule(
        "-A KUBE-EXTERNAL-SERVICES -m comment --comment \"{} has no local endpoints\" "
        "-m addrtype --dst-type LOCAL {} -j DROP",
        name, match_of(entry, entry.node_port));
  }
}

// One Service port with backends: the way from KUBE-SERVICES to a translated destination.
void add_service(RestoreTable& nat, RestoreTable& filter, const ServiceEntry& entry,
                 const DatapathNode& node, std::string_view cluster_cidr) {
  const std::string chain = iptables_service_chain(entry);
  const std::string name = service_port_name(entry);
  nat.chains += fmt::format(":{} - [0:0]\n", chain);
  nat.rule("-A KUBE-SERVICES -m comment --comment \"{} cluster IP\" {} -j {}", name,
           match_of(entry, entry.cluster.address), chain);
  if (is_external(entry)) add_external(nat, filter, entry, node, cluster_cidr);
  nat.rule("-A {} -m comment --comment \"{} cluster IP\" {} ! -s {} -j KUBE-MARK-MASQ", chain, name,
           match_of(entry, entry.cluster.address), cluster_cidr);
  add_choice(nat, entry, chain, entry.backends);
  for (const auto& backend : entry.backends) add_endpoint(nat, entry, backend);
}

// One Service port that nobody answers: refused wherever it is dialled.
void refuse_service(RestoreTable& filter, const ServiceEntry& entry) {
  const std::string name = service_port_name(entry);
  filter.rule("-A KUBE-SERVICES -m comment --comment \"{} has no endpoints\" {} -j REJECT", name,
              match_of(entry, entry.cluster.address));
  for (const auto& address : entry.load_balancer_ips) {
    filter.rule(
        "-A KUBE-EXTERNAL-SERVICES -m comment --comment \"{} has no endpoints\" {} -j REJECT", name,
        match_of(entry, address));
  }
  if (entry.node_port == 0) return;
  filter.rule(
      "-A KUBE-EXTERNAL-SERVICES -m comment --comment \"{} has no endpoints\" "
      "-m addrtype --dst-type LOCAL {} -j REJECT",
      name, match_of(entry, entry.node_port));
}

class IptablesDatapath : public Datapath {
 public:
  IptablesDatapath(std::vector<DatapathNode> nodes, std::string version)
      : sync_(std::move(nodes)), version_(std::move(version)) {}

  Result<> sync(const ServiceTable& table) override {
    return sync_.sync(table, [&](const DatapathNode& node) -> std::vector<RuleSync::Load> {
      return {{{"iptables-restore"}, iptables_rules(table, AddressFamily::ipv4, node)},
              {{"ip6tables-restore"}, iptables_rules(table, AddressFamily::ipv6, node)}};
    });
  }

  [[nodiscard]] base::Json facts() const override {
    // "iptables v1.8.9 (nf_tables)"
    const auto open = version_.find('(');
    const auto close = version_.find(')');
    base::Json facts = {{"datapath", "iptables"}, {"iptables", version_}};
    if (open != std::string::npos && close != std::string::npos) {
      facts["backend"] = version_.substr(open + 1, close - open - 1);
    }
    facts["service_order"] = "by name";
    facts["rules_per_node"] = sync_.count_lines("-A ");
    facts.update(sync_.cost());
    return facts;
  }

 private:
  RuleSync sync_;
  std::string version_;
};

}  // namespace

std::string iptables_rules(const ServiceTable& table, AddressFamily family,
                           const DatapathNode& node) {
  const std::string_view cluster_cidr =
      family == AddressFamily::ipv4 ? node.cluster_cidr_ipv4 : node.cluster_cidr_ipv6;
  RestoreTable filter{.chains = std::string(filter_start), .rules = std::string(filter_jumps)};
  if (family == AddressFamily::ipv4) filter.rules += localnet_firewall;
  RestoreTable nat{.chains = std::string(nat_start), .rules = std::string(nat_jumps)};
  for (const auto& entry : table.entries) {
    if (entry.cluster.address.family != family) continue;
    if (entry.backends.empty()) {
      refuse_service(filter, entry);
    } else {
      add_service(nat, filter, entry, node, cluster_cidr);
    }
  }
  return fmt::format("*filter\n{}{}COMMIT\n*nat\n{}{}{}COMMIT\n", filter.chains, filter.rules,
                     nat.chains, nat.rules, nodeports_jump(family));
}

Result<std::unique_ptr<Datapath>> make_iptables_datapath(const std::vector<DatapathNode>& nodes) {
  if (nodes.empty()) return base::fail(base::ErrorKind::input, "a datapath without nodes");
  ASSIGN_OR_RETURN(std::string version, nodes.front().run({"iptables", "--version"}, ""));
  while (!version.empty() && version.back() == '\n') version.pop_back();
  auto datapath = std::make_unique<IptablesDatapath>(nodes, std::move(version));
  RETURN_IF_ERROR(datapath->sync({}));
  return datapath;
}

}  // namespace cluster
