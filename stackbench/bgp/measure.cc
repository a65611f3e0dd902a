#include "stackbench/bgp/measure.h"

#include <limits>
#include <mutex>
#include <thread>

#include <poll.h>
#include <sys/eventfd.h>

#include "cluster/lab/layout.h"
#include "cluster/lab/wiring.h"

namespace stackbench::bgp {
namespace {

using base::ErrorKind;
using base::MonotonicTime;
using base::Result;
using bgp_peer::Prefix;
using cluster::EnvironmentHandle;

// What was not seen by then is judged as never.
constexpr auto patience = std::chrono::seconds(2);
constexpr auto look_again = std::chrono::milliseconds(1);
// After the edge, so that some probes lie behind it.
constexpr auto afterwards = std::chrono::milliseconds(30);

std::string capture_file(const std::string& directory, int node) {
  return fmt::format("{}/capture-node{}.pcap", directory, node);
}

}  // namespace

struct Site::State {
  cluster::LabTarget& target;
  cluster::EnvironmentPlan plan;
  const base::Interrupt& interrupt;
  EnvironmentHandle environment = {};
  std::unique_ptr<Speakers> speakers = {};
  std::vector<Responder> responders = {};
  std::map<std::string, bgp_peer::Prefix> prefixes = {};

  std::mutex mutex = {};
  Seen seen = {};
  std::map<Prefix, std::vector<base::IpAddress>> kernel = {};  // now, as the monitor told
  Result<> trouble = {};                                       // what a thread of ours met

  // The watch's thread and the one that keeps its routes.
  std::mutex fib_mutex = {};
  std::optional<bgp_peer::Fib> fib = {};
  std::optional<bgp_peer::RouteMonitor> monitor = {};
  base::UniqueFd end = {};
  std::thread monitoring = {};
  std::thread keeping = {};
  std::vector<bgp_peer::Capture> captures = {};
  std::optional<bgp_peer::Watch> watch = {};
  std::optional<ProbeStream> probes = {};

  [[nodiscard]] int netns(std::string_view place) const {
    return target.environment(environment.name)->netns(place);
  }

  void note(base::Error error) {
    const std::lock_guard lock(mutex);
    if (trouble) trouble = std::unexpected(std::move(error));
  }

  void take(const bgp_peer::Event& event) {
    if (event.kind == bgp_peer::Event::Kind::ended) {
      note(event.error);
      return;
    }
    if (event.kind == bgp_peer::Event::Kind::paths) {
      const std::lock_guard lock(fib_mutex);
      if (auto applied = fib->apply(event.paths); !applied) note(std::move(applied).error());
    }
    const std::lock_guard lock(mutex);
    seen.events.push_back(event);
  }

  // The kernel drops routes with their link, and nobody else puts them back. Not on the monitor's
  // thread, whose stamps must wait for nothing.
  void keep_routes() {
    std::array<pollfd, 2> watched{{{.fd = fib->fd(), .events = POLLIN, .revents = 0},
                                   {.fd = end.get(), .events = POLLIN, .revents = 0}}};
    while (::poll(watched.data(), watched.size(), -1) >= 0 || errno == EINTR) {
      if (watched[1].revents != 0) return;
      const std::lock_guard lock(fib_mutex);
      if (auto kept = fib->reconcile(); !kept) {
        note(std::move(kept).error());
        return;
      }
    }
  }

  void follow_kernel() {
    std::array<pollfd, 2> watched{{{.fd = monitor->fd(), .events = POLLIN, .revents = 0},
                                   {.fd = end.get(), .events = POLLIN, .revents = 0}}};
    while (::poll(watched.data(), watched.size(), -1) >= 0 || errno == EINTR) {
      if (watched[1].revents != 0) return;
      auto changes = monitor->take();
      if (!changes) {
        note(std::move(changes).error());
        return;
      }
      const std::lock_guard lock(mutex);
      for (auto& change : *changes) {
        // Others' routes to the same prefix stand beside ours, by other metrics.
        if (change.protocol != bgp_peer::route_protocol) continue;
        if (change.removed) {
          kernel.erase(change.route.prefix);
        } else {
          kernel[change.route.prefix] = change.route.next_hops;
        }
        seen.routes.push_back(std::move(change));
      }
    }
  }

  Result<> begin(const SpeakersSpec& spec, const std::string& directory) {
    ASSIGN_OR_RETURN(environment, target.provision(plan));
    RETURN_IF_ERROR(start_responders());
    ASSIGN_OR_RETURN(auto opened, bgp_peer::RouteMonitor::open(netns("router")));
    monitor.emplace(std::move(opened));
    end.reset(::eventfd(0, EFD_CLOEXEC));
    if (!end) return base::system_error(errno, "eventfd");
    monitoring = std::thread([this] { follow_kernel(); });
    for (const auto& node : environment.nodes) {
      ASSIGN_OR_RETURN(auto capture,
                       bgp_peer::Capture::start({.netns = netns("router"),
                                                 .interface = fmt::format("node{}", node.number),
                                                 .file = capture_file(directory, node.number)},
                                                [this](const auto& update) {
                                                  const std::lock_guard lock(mutex);
                                                  seen.updates.push_back(update);
                                                }));
      captures.push_back(std::move(capture));
    }
    ASSIGN_OR_RETURN(speakers, Speakers::start(target, environment, spec, directory, interrupt));
    ASSIGN_OR_RETURN(auto installer, bgp_peer::Fib::open(netns("router")));
    fib.emplace(std::move(installer));
    keeping = std::thread([this] { keep_routes(); });
    ASSIGN_OR_RETURN(auto watching,
                     speakers->router().watch({}, [this](const auto& event) { take(event); }));
    watch.emplace(std::move(watching));
    return {};
  }

  Result<> start_responders() {
    for (const auto& port : plan.ports) {
      if (port.protocol != cluster::Protocol::UDP) continue;
      for (const auto& pod : environment.pods) {
        for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
          ASSIGN_OR_RETURN(
              auto responder,
              Responder::start(netns(pod.name), {pod.address(family), port.target_port}, pod.id));
          responders.push_back(std::move(responder));
        }
      }
    }
    return {};
  }

  // The endpoint outside clients dial.
  Result<base::Endpoint> endpoint_of(const Rounds& rounds) const {
    const auto service = environment.services.find(rounds.service);
    const auto port =
        std::ranges::find(plan.ports, cluster::Protocol::UDP, &cluster::ServicePort::protocol);
    if (service == environment.services.end() || port == plan.ports.end()) {
      return base::fail(ErrorKind::input, "bgp.service: there is no Service {} with a UDP port",
                        rounds.service);
    }
    for (const auto& address : service->second.load_balancer_addresses) {
      if (address.family == rounds.family) return base::Endpoint{address, port->port};
    }
    return base::fail(ErrorKind::input, "bgp.service: {} is no LoadBalancer", rounds.service);
  }

  Result<cluster::WriteStamps> write(const Rounds& rounds, bool present) const {
    if (rounds.write == Write::readiness) {
      std::map<std::string, cluster::Readiness> pods;
      const auto& group = environment.services.at(rounds.service).target;
      for (const auto& pod : environment.pods) {
        if (pod.group != group) continue;
        pods[pod.name] = present ? cluster::Readiness::ready : cluster::Readiness::unready;
      }
      return target.set_readiness(environment.name, rounds.family, pods);
    }
    if (!present) return target.remove(environment.name, "Service", rounds.service);
    ASSIGN_OR_RETURN(const auto layout, cluster::lay_out(plan));
    for (const auto& service : cluster::services_of(plan, layout)) {
      if (service.metadata.name == rounds.service) {
        return target.apply(environment.name, base::to_json(service));
      }
    }
    return base::fail(ErrorKind::input, "bgp.service: there is no Service {}", rounds.service);
  }

  // Whether what a transition leads to is there: the kernel's route, and an answer where one is
  // due.
  [[nodiscard]] bool reached(const Transition& transition) {
    std::vector<base::IpAddress> now;
    {
      const std::lock_guard lock(mutex);
      const auto found = kernel.find(transition.prefix);
      if (found != kernel.end()) now = found->second;
    }
    if (now != transition.next_hops) return false;
    if (transition.next_hops.empty() || !probes) return true;
    const auto all = probes->probes();
    const auto answered = [&](const Probe& probe) {
      return probe.sent >= transition.sent && probe.answered.has_value();
    };
    return std::ranges::find_if(all.rbegin(), all.rend(), answered) != all.rend();
  }

  Result<Transition> change(const Rounds& rounds, const Prefix& prefix, bool present) {
    const bool early = present && speakers->fault() == Fault::announced_early;
    if (early) {
      for (const auto& responder : responders) {
        responder.open_at({std::numeric_limits<std::int64_t>::max()});
      }
    }
    Transition transition{.announced = present, .prefix = prefix};
    if (!present) transition.speakers = announcing(rounds.family, prefix);
    ASSIGN_OR_RETURN(const auto stamps, write(rounds, present));
    transition.sent = {stamps.sent_ns};
    transition.acked = {stamps.acked_ns};
    if (stamps.programmed_ns) {
      transition.programmed = base::MonotonicTime{*stamps.programmed_ns};
    }
    if (early) {
      for (const auto& responder : responders) responder.open_at(speakers->announced() + early_by);
    }
    for (const auto& expected : speakers->expected(rounds.family)) {
      if (expected.prefix == prefix) transition.next_hops = expected.next_hops;
    }
    std::ranges::sort(transition.next_hops);
    // Else there would be nothing to wait for, and nothing to judge.
    if (present == transition.next_hops.empty()) {
      return base::fail(ErrorKind::input, "bgp.service: {} of Service {} {}", prefix.to_string(),
                        rounds.service,
                        present ? "is to be announced by no node: none has a ready endpoint"
                                : "is to be announced still after the write that withdraws it");
    }
    if (present) transition.speakers = announcing(rounds.family, prefix);
    const auto give_up = transition.sent + patience;
    while (!reached(transition) && base::monotonic_now() < give_up) {
      RETURN_IF_ERROR(interrupt.wait_until(base::monotonic_now() + look_again));
    }
    RETURN_IF_ERROR(interrupt.wait_until(base::monotonic_now() + afterwards));
    const std::lock_guard lock(mutex);
    RETURN_IF_ERROR(trouble);
    return transition;
  }

  // The sessions' addresses of the nodes that must announce it now.
  [[nodiscard]] std::vector<base::IpAddress> announcing(base::AddressFamily family,
                                                        const Prefix& prefix) const {
    std::vector<base::IpAddress> sessions;
    for (const auto& expected : speakers->expected(family)) {
      if (expected.prefix != prefix) continue;
      for (const auto& hop : expected.next_hops) {
        const auto node = std::ranges::find_if(
            environment.nodes, [&](const auto& one) { return one.address(family) == hop; });
        sessions.push_back(node->ipv4);
      }
    }
    return sessions;
  }

  // Whether the sessions held to the end, and the captures are whole: an UPDATE they lack would be
  // one that never came.
  Result<> judge_afterwards(Outcome& outcome) const {
    ASSIGN_OR_RETURN(const auto peers, speakers->router().peers());
    auto finding = checks::bgp_session_established(speakers->expected_sessions(), peers);
    auto& kept = outcome.findings["bgp_session_established"];
    if (kept.verdict != base::Verdict::fail) kept = std::move(finding);
    for (const auto& capture : captures) {
      ASSIGN_OR_RETURN(const auto lost, capture.dropped());
      if (lost == 0) continue;
      return base::fail(ErrorKind::system,
                        "the capture of a BGP session lost {}: its times would not be whole",
                        base::format_count(lost, "packet"));
    }
    return {};
  }

  // What the router has learnt, against what it must have; what failed first is kept, else what was
  // announced.
  Result<> judge_table(base::AddressFamily family, bool present, Outcome& outcome) const {
    const auto its = family == base::AddressFamily::ipv4 ? bgp_peer::Family::ipv4_unicast
                                                         : bgp_peer::Family::ipv6_unicast;
    ASSIGN_OR_RETURN(
        const auto pool,
        Prefix::parse(family == base::AddressFamily::ipv4 ? "172.20.0.0/16" : "fd00:172:20::/64"));
    ASSIGN_OR_RETURN(const auto paths, speakers->router().paths(its));
    auto finding = checks::bgp_announces_lb_ip(speakers->expected(family), pool, paths);
    auto& kept = outcome.findings["bgp_announces_lb_ip"];
    const bool failed = finding.verdict == base::Verdict::fail;
    if (kept.verdict != base::Verdict::fail && (present || failed)) kept = std::move(finding);
    return {};
  }
};

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
  std::unique_ptr<Site> site(new Site(
      std::unique_ptr<State>(new State{.target = target, .plan = plan, .interrupt = interrupt})));
  RETURN_IF_ERROR(site->state_->begin(spec, directory));
  return site;
}

void Site::plant(Fault fault) {
  for (const auto& responder : state_->responders) responder.open_at({0});
  state_->speakers->plant(fault);
}

Result<Outcome> Site::measure(const Rounds& rounds) {
  auto& state = *state_;
  ASSIGN_OR_RETURN(const auto endpoint, state.endpoint_of(rounds));
  const auto prefix = Prefix::host(endpoint.address);
  Outcome outcome;
  ASSIGN_OR_RETURN(const auto peers, state.speakers->router().peers());
  outcome.findings["bgp_session_established"] =
      checks::bgp_session_established(state.speakers->expected_sessions(), peers);
  // So that every round begins with nothing announced, whatever is planted.
  const auto fault = state.speakers->fault();
  state.speakers->plant(Fault::none);
  auto existing = rounds;
  existing.write = Write::service;
  if (rounds.write == Write::readiness) RETURN_IF_ERROR(state.write(existing, true));
  RETURN_IF_ERROR(state.change(rounds, prefix, false));
  state.speakers->plant(fault);
  std::vector<Transition> transitions;
  ASSIGN_OR_RETURN(auto probes,
                   ProbeStream::start(state.netns(cluster::external_client), endpoint));
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
    state.speakers->plant(Fault::none);
    RETURN_IF_ERROR(state.write(rounds, true));
    state.speakers->plant(fault);
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
