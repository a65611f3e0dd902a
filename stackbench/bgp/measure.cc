#include "stackbench/bgp/measure.h"

#include "stackbench/bgp/site_state.h"

namespace stackbench::bgp {

using base::ErrorKind;
using base::MonotonicTime;
using base::Result;
using bgp_peer::Prefix;

Site::Site(std::unique_ptr<State> state) : state_(std::move(state)) {}

Site::~Site() {
  auto& state = *state_;
  state.probes.reset();
  state.watch.reset();
  state.captures.clear();
  if (state.end) ::eventfd_write(state.end.get(), 1);
  for (auto* thread : {&state.monitoring, &state.keeping}) {
    if (thread->joinable()) thread->join();
  }
}

Result<std::unique_ptr<Site>> Site::start(cluster::LabTarget& target,
                                          const cluster::EnvironmentPlan& plan,
                                          const SpeakersSpec& spec, const std::string& directory,
                                          const base::Interrupt& interrupt) {
  ASSIGN_OR_RETURN(auto ground, LabGround::make(target, plan, spec));
  auto* const lab = ground.get();
  std::unique_ptr<Site> site(new Site(std::unique_ptr<State>(
      new State{.ground = std::move(ground), .interrupt = interrupt, .lab = lab})));
  RETURN_IF_ERROR(site->state_->begin(directory));
  return site;
}

Result<std::unique_ptr<Site>> Site::start(std::unique_ptr<Ground> ground,
                                          const std::string& directory,
                                          const base::Interrupt& interrupt) {
  std::unique_ptr<Site> site(new Site(
      std::unique_ptr<State>(new State{.ground = std::move(ground), .interrupt = interrupt})));
  RETURN_IF_ERROR(site->state_->begin(directory));
  return site;
}

const Ground& Site::ground() const { return *state_->ground; }

void Site::plant(Fault fault) {
  state_->ground->plant(fault);
  state_->keeps_routes = fault == Fault::route_kept;
}

cluster::LabTarget& Site::target() { return state_->lab->target(); }

const cluster::EnvironmentPlan& Site::plan() const { return state_->ground->plan(); }

const cluster::EnvironmentHandle& Site::environment() const {
  return state_->ground->environment();
}

Speakers& Site::speakers() { return state_->lab->speakers(); }

Result<Seen> Site::take_seen() {
  const std::lock_guard lock(state_->mutex);
  RETURN_IF_ERROR(state_->trouble);
  return std::exchange(state_->seen, {});
}

bool Site::routes_are(std::size_t count, const std::vector<base::IpAddress>& next_hops) const {
  const std::lock_guard lock(state_->mutex);
  if (next_hops.empty()) return state_->kernel.empty();
  return state_->kernel.size() == count &&
         std::ranges::all_of(state_->kernel,
                             [&](const auto& route) { return route.second == next_hops; });
}

std::vector<base::IpAddress> Site::next_hops_of(const Prefix& prefix) const {
  return state_->kernel_next_hops(prefix);
}

Result<> Site::use(bgp_peer::NextHopKind next_hops) {
  const std::lock_guard lock(state_->fib_mutex);
  return state_->fib->use(next_hops);
}

Result<std::uint64_t> Site::lost_by_captures() const { return state_->lost_by_captures(); }

Result<base::Endpoint> Site::endpoint_of(const std::string& service,
                                         base::AddressFamily family) const {
  return state_->endpoint_of(service, family);
}

Result<Seen> Site::seen_since(MonotonicTime since) const {
  const std::lock_guard lock(state_->mutex);
  RETURN_IF_ERROR(state_->trouble);
  return between_writes(state_->seen, since, std::nullopt);
}

Result<> Site::kill_router() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->ends_on_purpose = true;
  }
  return state_->lab->speakers().router_daemon().kill();
}

Result<> Site::restart_router() {
  state_->watch.reset();
  if (!state_->keeps_routes) {
    const std::lock_guard lock(state_->fib_mutex);
    RETURN_IF_ERROR(state_->fib->clear());
  }
  RETURN_IF_ERROR(state_->lab->speakers().restart_router());
  {
    const std::lock_guard lock(state_->mutex);
    state_->ends_on_purpose = false;
  }
  return state_->follow_router();
}

Result<> Site::captures_are_whole() const { return state_->captures_are_whole(); }

Result<Outcome> Site::measure(const Rounds& rounds) {
  auto& state = *state_;
  ASSIGN_OR_RETURN(const auto endpoint, state.endpoint_of(rounds.service, rounds.family));
  const auto prefix = Prefix::host(endpoint.address);
  Outcome outcome;
  if (state.ground->router_netns() < 0) outcome.seen_at = SeenAt::peer_table;
  ASSIGN_OR_RETURN(const auto peers, state.ground->router().peers());
  outcome.findings["bgp_session_established"] =
      checks::bgp_session_established(state.ground->expected_sessions(), peers);
  // So that every round begins with nothing announced, whatever is planted.
  const auto fault = state.ground->fault();
  state.ground->plant(Fault::none);
  auto existing = rounds;
  existing.write = Write::service;
  if (rounds.write == Write::readiness) RETURN_IF_ERROR(state.ground->write(existing, true));
  RETURN_IF_ERROR(state.change(rounds, prefix, false));
  state.ground->plant(fault);
  std::vector<Transition> transitions;
  ASSIGN_OR_RETURN(auto probes, ProbeStream::start(state.ground->client_netns(), endpoint));
  state.probes.emplace(std::move(probes));
  const auto all_rounds = [&]() -> Result<> {
    for (int round = 0; round < rounds.rounds; ++round) {
      std::vector<Transition> its;
      for (const bool present : {true, false}) {
        ASSIGN_OR_RETURN(auto transition, state.change(rounds, prefix, present));
        RETURN_IF_ERROR(state.judge_table(rounds.family, present, outcome));
        its.push_back(std::move(transition));
      }
      std::ranges::move(its, std::back_inserter(transitions));
    }
    return state.judge_afterwards(outcome);
  };
  auto ended = all_rounds();
  if (!ended) {
    // A Ctrl-C reaches the daemons, too, so that it may show as any error.
    if (!state.interrupt.requested()) return std::unexpected(std::move(ended).error());
    if (transitions.empty()) {
      return base::fail(ErrorKind::interrupted,
                        "interrupted before the first round was whole; no report was written");
    }
    outcome.interrupted = true;
  }
  Seen seen;
  {
    const std::lock_guard lock(state.mutex);
    seen = state.seen;
  }
  seen.probes = state.probes->probes();
  state.probes.reset();
  if (!outcome.interrupted) {
    // As it was, and sound.
    state.ground->plant(Fault::none);
    RETURN_IF_ERROR(state.ground->write(rounds, true));
    state.ground->plant(fault);
  }
  for (std::size_t i = 0; i < transitions.size(); ++i) {
    const auto next =
        i + 1 < transitions.size() ? std::optional(transitions[i + 1].sent) : std::nullopt;
    outcome.convergences.push_back(
        analyse(transitions[i], between_writes(seen, transitions[i].sent, next)));
  }
  outcome.findings["bgp_announced_in_time"] =
      announced_in_time(outcome.convergences, rounds.budget);
  outcome.findings["bgp_withdrawn_in_time"] =
      withdrawn_in_time(outcome.convergences, rounds.budget);
  outcome.findings["bgp_not_announced_early"] =
      not_announced_early(outcome.convergences, rounds.budget);
  return outcome;
}

}  // namespace stackbench::bgp
