#include "stackbench/policy/pod_remake.h"

#include <algorithm>
#include <utility>

namespace stackbench {
namespace {

// Probes before the pod is made anew, so that none of its first instants is missed.
constexpr base::Duration watched_before = std::chrono::milliseconds(30);

// Since when the pod's own receiver misses nothing; nothing where none of the flows goes to it.
std::optional<std::int64_t> receives_from(const std::vector<ChosenFlow>& flows,
                                          const std::vector<SeenFlow>& seen, std::size_t pod) {
  for (std::size_t i = 0; i < flows.size(); ++i) {
    if (flows[i].cell.to == pod) return seen[i].received_from_ns;
  }
  return std::nullopt;
}

// When somebody first sent to the pod.
std::optional<std::int64_t> sent_to_from(const std::vector<ChosenFlow>& flows,
                                         const std::vector<SeenFlow>& seen, std::size_t pod) {
  std::optional<std::int64_t> first;
  for (std::size_t i = 0; i < flows.size(); ++i) {
    if (flows[i].cell.to != pod || flows[i].to_old_address || seen[i].sent.empty()) continue;
    const auto sent = seen[i].sent.front().before_ns;
    first = std::min(first.value_or(sent), sent);
  }
  return first;
}

class Remake {
 public:
  Remake(cluster::Target& target, Session& session, std::size_t environment, base::Duration window,
         std::size_t pod, const std::vector<ChosenFlow>& flows, PolicyWrites& writes,
         const base::Interrupt& interrupt)
      : target_(target),
        session_(session),
        environment_(environment),
        window_(window),
        pod_(pod),
        flows_(flows),
        writes_(writes),
        interrupt_(interrupt),
        name_(writes.grid().pods[pod].name) {}

  // Whose agent outlives it.
  base::Result<Remade> with_its_agent() {
    auto grid = writes_.grid();
    std::vector<base::IpAddress> used;
    for (const auto& other : grid.pods) {
      if (other.node == grid.pods[pod_].node) used.push_back(other.address(writes_.family()));
    }
    const auto before = grid.pods[pod_].address(writes_.family());
    const auto expected = next_address(used);
    (expected.family == base::AddressFamily::ipv4 ? grid.pods[pod_].ipv4 : grid.pods[pod_].ipv6) =
        expected;
    ASSIGN_OR_RETURN(auto watch,
                     FlowWatch::start(session_, environment_, std::move(grid), writes_.family(),
                                      flows_, {.old_address = before}));
    RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + watched_before));
    Remade remade;
    ASSIGN_OR_RETURN(remade.stamps, target_.restart_pod(writes_.environment(), name_, {}));
    RETURN_IF_ERROR(look_again());
    RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + window_));
    ASSIGN_OR_RETURN(remade.seen, watch.stop());
    remade.there_ns = remade.stamps.there_ns.value_or(remade.stamps.acked_ns);
    remade.elsewhere = writes_.grid().pods[pod_].address(writes_.family()) != expected;
    return remade;
  }

  // Whose agent ends with it.
  base::Result<Remade> with_another_agent() {
    ASSIGN_OR_RETURN(auto watch, FlowWatch::start(session_, environment_, writes_.grid(),
                                                  writes_.family(), flows_, {.away = pod_}));
    session_.let_go(environment_, name_);
    const auto family = writes_.family();
    const auto knock = [&](const cluster::PodHandle& pod) -> base::Result<> {
      const auto& address = pod.address(family);
      return address == base::IpAddress{} ? base::Result<>() : watch.pod_has(address);
    };
    Remade remade;
    ASSIGN_OR_RETURN(remade.stamps, target_.restart_pod(writes_.environment(), name_,
                                                        {.agent_plan = bench::to_text(watch.plan()),
                                                         .on_address = knock}));
    RETURN_IF_ERROR(look_again());
    ASSIGN_OR_RETURN(auto* const agent, session_.agent_of_plan(environment_, name_, watch.plan()));
    RETURN_IF_ERROR(watch.pod_is_there(*agent));
    RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + window_));
    ASSIGN_OR_RETURN(remade.seen, watch.stop());
    remade.there_ns = receives_from(flows_, remade.seen, pod_).value_or(remade.stamps.acked_ns);
    if (const auto sent = sent_to_from(flows_, remade.seen, pod_)) {
      remade.told_after = base::Duration(std::max<std::int64_t>(*sent - remade.there_ns, 0));
    }
    return remade;
  }

 private:
  base::Result<> look_again() {
    RETURN_IF_ERROR(session_.look_again(environment_));
    writes_.look_again(session_.environments()[environment_]);
    return {};
  }

  cluster::Target& target_;
  Session& session_;
  std::size_t environment_;
  base::Duration window_;
  std::size_t pod_;
  const std::vector<ChosenFlow>& flows_;
  PolicyWrites& writes_;
  const base::Interrupt& interrupt_;
  std::string name_;
};

}  // namespace

base::IpAddress next_address(const std::vector<base::IpAddress>& used) {
  auto next = *std::ranges::max_element(used, {}, &base::IpAddress::bytes);
  const std::size_t length = next.family == base::AddressFamily::ipv4 ? 4 : 16;
  for (std::size_t i = length; i > 0; --i) {
    if (++next.bytes[i - 1] != 0) break;
  }
  return next;
}

base::Result<Remade> remake_pod(cluster::Target& target, Session& session, std::size_t environment,
                                base::Duration window, std::size_t pod,
                                const std::vector<ChosenFlow>& flows, PolicyWrites& writes,
                                const base::Interrupt& interrupt) {
  Remake remake(target, session, environment, window, pod, flows, writes, interrupt);
  return session.agent_ends_with_pod() ? remake.with_another_agent() : remake.with_its_agent();
}

}  // namespace stackbench
