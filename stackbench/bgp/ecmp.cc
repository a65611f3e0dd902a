#include "stackbench/bgp/ecmp.h"

#include <algorithm>

#include "checks/bgp_ecmp.h"
#include "cluster/lab/layout.h"
#include "cluster/lab/wiring.h"
#include "stackbench/bgp/flows.h"

namespace stackbench::bgp {
namespace {

using base::ErrorKind;
using base::Result;
using bgp_peer::Prefix;

constexpr auto route_patience = std::chrono::seconds(5);
constexpr auto route_look = std::chrono::milliseconds(1);

constexpr std::array hash_policies{"net.ipv4.fib_multipath_hash_policy",
                                   "net.ipv6.fib_multipath_hash_policy"};

class FlowMeasure {
 public:
  FlowMeasure(Site& site, const FlowRounds& rounds, const base::Interrupt& interrupt)
      : site_(site), rounds_(rounds), interrupt_(interrupt) {}

  Result<Outcome> run() {
    Outcome outcome;
    RETURN_IF_ERROR(prepare());
    auto ended = all_trials();
    if (!ended) {
      if (!interrupt_.requested()) return std::unexpected(std::move(ended).error());
      if (trials_.empty()) {
        return base::fail(ErrorKind::interrupted,
                          "interrupted before the first node had left; no report was written");
      }
      outcome.interrupted = true;
    } else {
      ASSIGN_OR_RETURN(const auto peers, site_.speakers().router().peers());
      outcome.findings["bgp_session_established"] =
          checks::bgp_session_established(site_.speakers().expected_sessions(), peers);
    }
    auto& spread = outcome.findings["bgp_ecmp_distribution"];
    spread = checks::bgp_ecmp_distribution(rounds_.next_hops, spread_);
    spread.sentence += fmt::format("; {} = {}, {} next hops", hash_policy_name(), hash_policy_,
                                   base::enum_name(rounds_.next_hops));
    spread.evidence["hash_policy"] = hash_policy_;
    outcome.findings["bgp_flows_moved_as_predicted"] =
        checks::bgp_flows_moved_as_predicted(rounds_.next_hops, trials_);
    return outcome;
  }

 private:
  [[nodiscard]] std::string hash_policy_name() const {
    return hash_policies.at(rounds_.family == base::AddressFamily::ipv4 ? 0 : 1);
  }
  [[nodiscard]] int netns(std::string_view place) const {
    return site_.target().environment(site_.environment().name)->netns(place);
  }

  Result<> prepare() {
    const auto& environment = site_.environment();
    const auto service = environment.services.find(rounds_.service);
    if (service == environment.services.end()) {
      return base::fail(ErrorKind::input, "bgp.service: there is no Service {}", rounds_.service);
    }
    for (const auto& address : service->second.load_balancer_addresses) {
      if (address.family == rounds_.family) target_.address = address;
    }
    target_.port = site_.plan().ports.front().port;
    prefix_ = Prefix::host(target_.address);
    for (const auto& node : environment.nodes) {
      spread_.members.push_back(node.address(rounds_.family));
    }
    std::ranges::sort(spread_.members);
    spread_.flows.assign(spread_.members.size(), 0);
    ASSIGN_OR_RETURN(const auto layout, cluster::lay_out(site_.plan()));
    for (const auto& one : cluster::services_of(site_.plan(), layout)) {
      if (one.metadata.name == rounds_.service) object_ = base::to_json(one);
      // Others' addresses are nobody's question.
      RETURN_IF_ERROR(site_.target().remove(environment.name, "Service", one.metadata.name));
    }
    ASSIGN_OR_RETURN(auto tap,
                     FlowTap::open(netns("router"), static_cast<int>(environment.nodes.size())));
    tap_.emplace(std::move(tap));
    return site_.target().sandbox()->inside(netns("router"), [&]() -> Result<> {
      if (rounds_.fault == Fault::ports_not_hashed) {
        for (const auto* name : hash_policies) {
          RETURN_IF_ERROR(cluster::write_sysctls({{name, "0"}}));
        }
      }
      ASSIGN_OR_RETURN(hash_policy_, cluster::read_sysctl(hash_policy_name()));
      return {};
    });
  }

  Result<> all_trials() {
    std::uint64_t trial = 0;
    for (int round = 0; round < rounds_.rounds; ++round) {
      for (std::size_t leaves = 0; leaves < spread_.members.size(); ++leaves) {
        RETURN_IF_ERROR(one_trial(leaves, trial++));
      }
    }
    return {};
  }

  Result<> one_trial(std::size_t leaves, std::uint64_t trial) {
    const auto& environment = site_.environment().name;
    const auto ports = draw_ports(rounds_.flows, rounds_.seed, trial);
    RETURN_IF_ERROR(await_routes({}));
    RETURN_IF_ERROR(site_.target().apply(environment, object_));
    RETURN_IF_ERROR(await_routes(spread_.members));
    RETURN_IF_ERROR(plant(spread_.members));
    ASSIGN_OR_RETURN(const auto before,
                     tap_->send(netns(cluster::external_client), target_, ports));
    const int node = node_of(spread_.members[leaves]);
    RETURN_IF_ERROR(site_.speakers().take_out(node));
    auto staying = spread_.members;
    staying.erase(staying.begin() + static_cast<std::ptrdiff_t>(leaves));
    RETURN_IF_ERROR(await_routes(staying));
    RETURN_IF_ERROR(plant_rebuilt(staying));
    ASSIGN_OR_RETURN(const auto after, tap_->send(netns(cluster::external_client), target_, ports));
    RETURN_IF_ERROR(unplant());
    count(before, ports.size());
    trials_.push_back(compare(before, after, leaves));
    RETURN_IF_ERROR(site_.target().remove(environment, "Service", rounds_.service));
    RETURN_IF_ERROR(site_.speakers().put_back(node));
    return {};
  }

  [[nodiscard]] int node_of(const base::IpAddress& member) const {
    const auto node = std::ranges::find_if(site_.environment().nodes, [&](const auto& one) {
      return one.address(rounds_.family) == member;
    });
    return node->number;
  }

  // The route of the address in question; the other family's comes and goes with it.
  Result<> await_routes(const std::vector<base::IpAddress>& next_hops) const {
    const auto give_up = base::monotonic_now() + route_patience;
    while (site_.next_hops_of(prefix_) != next_hops) {
      if (base::monotonic_now() > give_up) {
        return base::fail(ErrorKind::timed_out,
                          "the router's kernel does not reach {} by {} next hops after {} s",
                          prefix_.to_string(), next_hops.size(),
                          std::chrono::duration_cast<std::chrono::seconds>(route_patience).count());
      }
      RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + route_look));
    }
    return {};
  }

  void count(const FlowNodes& seen, std::size_t sent) {
    for (const auto& [port, node] : seen) {
      for (std::size_t i = 0; i < spread_.members.size(); ++i) {
        if (node_of(spread_.members[i]) == node) ++spread_.flows[i];
      }
    }
    spread_.nowhere += sent - seen.size();
  }

  [[nodiscard]] checks::MemberLeft compare(const FlowNodes& before, const FlowNodes& after,
                                           std::size_t leaves) const {
    checks::MemberLeft result{.members = spread_.members.size(), .left = leaves};
    const int left = node_of(spread_.members[leaves]);
    for (const auto& [port, node] : before) {
      const auto now = after.find(port);
      if (now == after.end()) continue;
      ++result.flows;
      if (node == left) {
        ++result.its;
        if (now->second == left) ++result.stuck;
      } else if (now->second != node) {
        ++result.others_moved;
      }
    }
    return result;
  }

  // Faults are routes of somebody else's, which are preferred to ours by their metric: our
  // installer, and the daemon, know nothing of them.
  Result<> plant(const std::vector<base::IpAddress>& members) {
    if (rounds_.fault == Fault::next_hops_unequal) return add_route(members, true);
    if (rounds_.fault == Fault::next_hop_missing) {
      return add_route({members.begin(), members.end() - 1}, false);
    }
    return {};
  }
  Result<> plant_rebuilt(std::vector<base::IpAddress> staying) {
    if (rounds_.fault != Fault::next_hops_rebuilt) return {};
    std::ranges::reverse(staying);
    return add_route(staying, false);
  }

  Result<> add_route(const std::vector<base::IpAddress>& members, bool first_doubled) {
    std::string line = fmt::format("route add {} proto static metric 1", prefix_.to_string());
    for (std::size_t i = 0; i < members.size(); ++i) {
      line += fmt::format(" nexthop via {} dev node{} weight {}", members[i], node_of(members[i]),
                          first_doubled && i == 0 ? 2 : 1);
    }
    planted_ = true;
    return site_.target().sandbox()->ip({.netns = netns("router")}, line + "\n");
  }
  Result<> unplant() {
    if (!std::exchange(planted_, false)) return {};
    return site_.target().sandbox()->ip(
        {.netns = netns("router")},
        fmt::format("route del {} proto static metric 1\n", prefix_.to_string()));
  }

  Site& site_;
  const FlowRounds& rounds_;
  const base::Interrupt& interrupt_;
  std::optional<FlowTap> tap_;
  base::Endpoint target_ = {};
  Prefix prefix_ = {};
  base::Json object_ = {};
  std::string hash_policy_ = {};
  bool planted_ = false;
  checks::SpreadFlows spread_ = {};
  std::vector<checks::MemberLeft> trials_ = {};
};

}  // namespace

Result<Outcome> measure_flows(Site& site, const FlowRounds& rounds,
                              const base::Interrupt& interrupt) {
  return FlowMeasure(site, rounds, interrupt).run();
}

}  // namespace stackbench::bgp
