// What a site consists of, and what its threads do with it. Nobody but measure.cc has a look.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>
#include <sys/eventfd.h>

#include "stackbench/bgp/lab_ground.h"
#include "stackbench/bgp/measure.h"
#include "stackbench/scenario/scenario.h"  // names of address families

namespace stackbench::bgp {

inline constexpr auto look_again = std::chrono::milliseconds(1);
// After the edge, so that some probes lie behind it.
inline constexpr auto afterwards = std::chrono::milliseconds(30);

struct Site::State {
  std::unique_ptr<Ground> ground;
  const base::Interrupt& interrupt;
  LabGround* lab = nullptr;  // the ground, where that is a lab

  std::mutex mutex = {};
  Seen seen = {};
  std::map<bgp_peer::Prefix, std::vector<base::IpAddress>> kernel = {};  // now, as the monitor told
  base::Result<> trouble = {};             // what a thread of ours met
  bool ends_on_purpose = false;            // the router's daemon does
  std::atomic<bool> keeps_routes = false;  // planted: route_kept
  Announcers announcers = {};              // of a router out of reach

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

  void note(base::Error error) {
    const std::lock_guard lock(mutex);
    if (trouble) trouble = std::unexpected(std::move(error));
  }

  // All that has come meanwhile: of a prefix the last word counts, as it replaces those before.
  void take(std::vector<bgp_peer::Event> events) {
    std::map<bgp_peer::Prefix, std::vector<base::IpAddress>> wanted;
    for (const auto& event : events) {
      const bool paths = event.kind == bgp_peer::Event::Kind::paths;
      if (!paths || !fib || (keeps_routes && takes_away(event))) continue;
      for (auto& [prefix, hops] : bgp_peer::next_hops_of(event.paths)) {
        wanted[prefix] = std::move(hops);
      }
    }
    if (!wanted.empty()) install(std::move(wanted));
    std::optional<bgp_peer::Event> last;
    if (events.back().kind == bgp_peer::Event::Kind::ended) {
      last = std::move(events.back());
      events.pop_back();
    }
    {
      const std::lock_guard lock(mutex);
      for (auto& event : events) {
        if (event.kind == bgp_peer::Event::Kind::paths && !fib) stand_in(event);
        seen.events.push_back(std::move(event));
      }
    }
    if (last) take_end(*last);
  }

  void install(std::map<bgp_peer::Prefix, std::vector<base::IpAddress>> wanted) {
    const std::lock_guard lock(fib_mutex);
    std::vector<bgp_peer::FibChange> made;
    if (auto applied = fib->apply(std::move(wanted), made); !applied) {
      note(std::move(applied).error());
    }
  }

  // Nobody knows any more which routes are right.
  void take_end(const bgp_peer::Event& event) {
    {
      const std::lock_guard lock(mutex);
      if (!ends_on_purpose) {
        if (trouble) trouble = std::unexpected(event.error);
        return;
      }
      seen.events.push_back(event);
    }
    if (keeps_routes || !fib) return;
    const std::lock_guard lock(fib_mutex);
    if (auto cleared = fib->clear(); !cleared) note(std::move(cleared).error());
  }

  // Whether some next hop would go.
  bool takes_away(const bgp_peer::Event& event) {
    const std::lock_guard lock(mutex);
    return std::ranges::any_of(bgp_peer::next_hops_of(event.paths), [&](const auto& one) {
      const auto has = kernel.find(one.first);
      return has != kernel.end() && !std::ranges::includes(one.second, has->second);
    });
  }

  // Under the lock.
  void stand_in(const bgp_peer::Event& event) {
    auto its = stands_for(event, announcers);
    std::ranges::move(its.updates, std::back_inserter(seen.updates));
    for (auto& change : its.routes) take_route(std::move(change));
  }

  // Under the lock.
  void take_route(bgp_peer::RouteMonitor::Change change) {
    if (change.removed) {
      kernel.erase(change.route.prefix);
    } else {
      kernel[change.route.prefix] = change.route.next_hops;
    }
    seen.routes.push_back(std::move(change));
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
        if (change.protocol == bgp_peer::route_protocol) take_route(std::move(change));
      }
    }
  }

  base::Result<> begin(const std::string& directory) {
    if (ground->router_netns() >= 0) RETURN_IF_ERROR(observe_router(directory));
    RETURN_IF_ERROR(ground->begin(directory, interrupt));
    if (ground->router_netns() >= 0) {
      ASSIGN_OR_RETURN(auto installer,
                       bgp_peer::Fib::open(ground->router_netns(), ground->next_hops()));
      fib.emplace(std::move(installer));
      keeping = std::thread([this] { keep_routes(); });
    }
    return follow_router();
  }

  base::Result<> follow_router() {
    ASSIGN_OR_RETURN(auto watching, ground->router().watch_all(
                                        {}, [this](auto events) { take(std::move(events)); }));
    watch.emplace(std::move(watching));
    return {};
  }

  base::Result<> observe_router(const std::string& directory) {
    ASSIGN_OR_RETURN(auto opened, bgp_peer::RouteMonitor::open(ground->router_netns()));
    monitor.emplace(std::move(opened));
    end.reset(::eventfd(0, EFD_CLOEXEC));
    if (!end) return base::system_error(errno, "eventfd");
    monitoring = std::thread([this] { follow_kernel(); });
    for (const auto& [name, interface] : ground->session_interfaces()) {
      ASSIGN_OR_RETURN(
          auto capture,
          bgp_peer::Capture::start({.netns = ground->router_netns(),
                                    .interface = interface,
                                    .file = fmt::format("{}/capture-{}.pcap", directory, name),
                                    .on_segment =
                                        [this](const auto& segment) {
                                          const std::lock_guard lock(mutex);
                                          seen.segments.push_back(segment);
                                        }},
                                   [this](const auto& update) {
                                     const std::lock_guard lock(mutex);
                                     seen.updates.push_back(update);
                                   }));
      captures.push_back(std::move(capture));
    }
    return {};
  }

  // The endpoint outside clients dial.
  base::Result<base::Endpoint> endpoint_of(const std::string& name,
                                           base::AddressFamily family) const {
    const auto& services = ground->environment().services;
    const auto& ports = ground->plan().ports;
    const auto service = services.find(name);
    const auto port =
        std::ranges::find(ports, cluster::Protocol::UDP, &cluster::ServicePort::protocol);
    if (service == services.end() || port == ports.end()) {
      return base::fail(base::ErrorKind::input,
                        "bgp.service: there is no Service {} with a UDP port", name);
    }
    for (const auto& address : service->second.load_balancer_addresses) {
      if (address.family == family) return base::Endpoint{address, port->port};
    }
    return base::fail(base::ErrorKind::input,
                      "bgp.service: {} has no address of {} to be reached by", name,
                      base::enum_name(family));
  }

  [[nodiscard]] std::vector<base::IpAddress> kernel_next_hops(const bgp_peer::Prefix& prefix) {
    const std::lock_guard lock(mutex);
    const auto found = kernel.find(prefix);
    return found == kernel.end() ? std::vector<base::IpAddress>() : found->second;
  }

  // Whether what a transition leads to is there: the kernel's route, and answers where they are
  // due.
  [[nodiscard]] bool reached(const Transition& transition) {
    if (kernel_next_hops(transition.prefix) != transition.next_hops) return false;
    if (transition.next_hops.empty() || !probes) return true;
    return answers_hold(probes->probes_since(transition.sent), transition.sent);
  }

  base::Result<Transition> change(const Rounds& rounds, const bgp_peer::Prefix& prefix,
                                  bool present) {
    if (present) ground->before_announcement();
    Transition transition{.announced = present, .prefix = prefix};
    if (!present) transition.speakers = announcing(rounds.family, prefix);
    ASSIGN_OR_RETURN(const auto stamps, ground->write(rounds, present));
    transition.sent = {stamps.sent_ns};
    transition.acked = {stamps.acked_ns};
    if (stamps.programmed_ns) {
      transition.programmed = base::MonotonicTime{*stamps.programmed_ns};
    }
    if (present) ground->after_announcement();
    for (const auto& expected : ground->expected(rounds.family)) {
      if (expected.prefix == prefix) transition.next_hops = expected.next_hops;
    }
    std::ranges::sort(transition.next_hops);
    // Else there would be nothing to wait for, and nothing to judge.
    if (present == transition.next_hops.empty()) {
      return base::fail(base::ErrorKind::input, "bgp.service: {} of Service {} {}",
                        prefix.to_string(), rounds.service,
                        present ? "is to be announced by no node: none has a ready endpoint"
                                : "is to be announced still after the write that withdraws it");
    }
    if (present) transition.speakers = announcing(rounds.family, prefix);
    const auto give_up = transition.sent + ground->patience();
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
                                                        const bgp_peer::Prefix& prefix) const {
    std::vector<base::IpAddress> sessions;
    for (const auto& expected : ground->expected(family)) {
      if (expected.prefix != prefix) continue;
      for (const auto& hop : expected.next_hops) {
        const auto node = std::ranges::find_if(ground->environment().nodes, [&](const auto& one) {
          return one.address(family) == hop;
        });
        sessions.push_back(node->ipv4);
      }
    }
    return sessions;
  }

  // Whether the sessions held to the end, and the captures are whole: an UPDATE they lack would be
  // one that never came.
  base::Result<> judge_afterwards(Outcome& outcome) const {
    ASSIGN_OR_RETURN(const auto peers, ground->router().peers());
    auto finding = checks::bgp_session_established(ground->expected_sessions(), peers);
    auto& kept = outcome.findings["bgp_session_established"];
    if (kept.verdict != base::Verdict::fail) kept = std::move(finding);
    return captures_are_whole();
  }

  [[nodiscard]] base::Result<> captures_are_whole() const {
    ASSIGN_OR_RETURN(const auto lost, lost_by_captures());
    if (lost == 0) return {};
    return base::fail(base::ErrorKind::system,
                      "the captures of BGP sessions lost {}: their times would not be whole",
                      base::format_count(lost, "packet"));
  }

  [[nodiscard]] base::Result<std::uint64_t> lost_by_captures() const {
    std::uint64_t all = 0;
    for (const auto& capture : captures) {
      ASSIGN_OR_RETURN(const auto lost, capture.dropped());
      all += lost;
    }
    return all;
  }

  // What the router has learnt, against what it must have; what failed first is kept, else what was
  // announced.
  base::Result<> judge_table(base::AddressFamily family, bool present, Outcome& outcome) const {
    const auto its = family == base::AddressFamily::ipv4 ? bgp_peer::Family::ipv4_unicast
                                                         : bgp_peer::Family::ipv6_unicast;
    ASSIGN_OR_RETURN(const auto paths, ground->router().paths(its));
    auto finding =
        checks::bgp_announces_lb_ip(ground->expected(family), ground->pool(family), paths);
    auto& kept = outcome.findings["bgp_announces_lb_ip"];
    const bool failed = finding.verdict == base::Verdict::fail;
    if (kept.verdict != base::Verdict::fail && (present || failed)) kept = std::move(finding);
    return {};
  }
};

}  // namespace stackbench::bgp
