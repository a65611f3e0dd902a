// Whether the NetworkPolicies an environment is filled with are in force: the pods of its first arm
// dial each other at the ports that tell.
#include <algorithm>
#include <tuple>
#include <utility>

#include "cluster/filler_policy.h"
#include "stackbench/session.h"

namespace stackbench {
namespace {

// A pod that drops what it is sent answers nothing: long enough for two nodes of a busy machine.
constexpr base::Duration port_timeout = std::chrono::milliseconds(200);
constexpr PoliciesPatience patience{};
// Where nobody enforced those of an environment before, nobody is waited for again.
constexpr PoliciesPatience no_patience{.without_change = base::Duration(0)};

// Of so many policies the ports are dialled, spread over all of them: where each new connection is
// held against every one, as many again would keep whoever enforces them busy for a minute.
constexpr std::size_t most_told = 100;

std::vector<std::uint16_t> spread(const std::vector<std::uint16_t>& all) {
  if (all.size() <= most_told) return all;
  std::vector<std::uint16_t> some;
  for (std::size_t i = 0; i < most_told; ++i) {
    some.push_back(all[i * (all.size() - 1) / (most_told - 1)]);
  }
  return some;
}

// Listens at ports of a pod while it lives. The agent must outlive it.
class FillerListener {
 public:
  // Errors: as AgentClient::start_listener.
  static base::Result<FillerListener> start(bench::AgentClient& agent, std::uint32_t server_id,
                                            const std::vector<std::uint16_t>& ports) {
    bench::ListenJob job{.server_id = server_id, .ports = {}};
    for (const auto port : ports) job.ports.push_back({port, base::Protocol::TCP});
    ASSIGN_OR_RETURN(const auto running, agent.start_listener(job));
    return FillerListener(agent, running.id);
  }
  FillerListener(FillerListener&& other) noexcept
      : agent_(std::exchange(other.agent_, nullptr)), id_(other.id_) {}
  FillerListener& operator=(FillerListener&&) = delete;
  ~FillerListener() {
    if (agent_ != nullptr) std::ignore = agent_->stop_listener(id_);
  }

 private:
  FillerListener(bench::AgentClient& agent, bench::JobId id) : agent_(&agent), id_(id) {}

  bench::AgentClient* agent_;
  bench::JobId id_;
};

}  // namespace

base::Result<> Session::await_policies(std::size_t environment) {
  const auto& filler = plan_->environments[environment].filler;
  const auto arm = std::ranges::find(plan_->arms, environment, &PlannedArm::environment);
  if (filler.policies.value_or(0) == 0 || arm == plan_->arms.end()) return {};
  ASSIGN_OR_RETURN(const auto* const from, pod(environment, arm->from));
  ASSIGN_OR_RETURN(const auto* const to, pod(environment, arm->servers.front()));
  const auto& address = to->address(arm->family);
  // Then it is left out for that.
  if (address == base::IpAddress{} || from->address(arm->family) == base::IpAddress{}) return {};
  ASSIGN_OR_RETURN(auto* const client, agent(environment, from->name));
  ASSIGN_OR_RETURN(auto* const server, agent(environment, to->name));

  auto ports = spread(cluster::filler_ports(filler));
  const auto of = ports.size();
  ports.push_back(cluster::closed_filler_port);
  ASSIGN_OR_RETURN(const auto listener, FillerListener::start(*server, to->id, ports));
  // Those that are seen to be open are not asked again.
  const auto look = [&]() -> base::Result<PoliciesSight> {
    bench::ReachJob job{.targets = {}, .timeout = port_timeout};
    for (const auto port : ports) {
      job.targets.push_back(
          {.endpoint = {address, port}, .protocol = base::Protocol::TCP, .server_id = to->id});
    }
    ASSIGN_OR_RETURN(const auto result, client->reach(job));
    PoliciesSight seen{.isolated = true, .of = of};
    std::vector<std::uint16_t> again;
    for (std::size_t i = 0; i < ports.size() && i < result.cells.size(); ++i) {
      const bool answered = result.cells[i].outcome == bench::ReachOutcome::answered;
      const bool closed = ports[i] == cluster::closed_filler_port;
      if (closed && answered) seen.isolated = false;
      if (closed || !answered) again.push_back(ports[i]);
    }
    // While nobody is isolated, that a port is open tells nothing.
    if (seen.isolated) ports = std::move(again);
    seen.open = of + 1 - ports.size();
    return seen;
  };
  const bool any_enforced =
      policies_.empty() || std::ranges::any_of(policies_, [](const auto& of_one) {
        return of_one.second.seen.isolated;
      });
  ASSIGN_OR_RETURN(
      policies_[environment],
      stackbench::await_policies(look, any_enforced ? patience : no_patience, *interrupt_));
  return {};
}

base::Json Session::with_policies(base::Json facts) const {
  for (const auto& [environment, policies] : policies_) {
    auto& of_one = facts["environments"][environments_[environment].name]["network_policy"];
    of_one["seen_in_force"] = policies.seen.all();
    of_one["ports_told"] = policies.seen.of + 1;
    of_one["seen_after_ns"] = policies.after.count();
  }
  return facts;
}

}  // namespace stackbench
