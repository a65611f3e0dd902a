#include "stackbench/bgp/fault_inject.h"

#include <algorithm>
#include <sstream>

#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/json.h"
#include "cluster/lab/addresses.h"
#include "cluster/lab/wiring.h"
#include "stackbench/bgp/fault_judge.h"

namespace stackbench::bgp {
namespace {

using base::ErrorKind;
using base::IpAddress;
using base::MonotonicTime;
using base::Result;
using bgp_peer::Prefix;

constexpr auto poll_every = std::chrono::milliseconds(2);
constexpr auto ask_every = std::chrono::milliseconds(100);
// Beyond what is predicted: what was not seen by then is judged as never.
constexpr auto longer = std::chrono::seconds(2);
// Until a speaker that was just started has connected, at the latest.
constexpr auto connects_within = std::chrono::seconds(15);
// The table of nftables in a node that drops its packets.
constexpr std::string_view silence_table = "stackbench_silence";

template <typename T>
bool has(const std::vector<T>& all, const T& one) {
  return std::ranges::find(all, one) != all.end();
}

// A counter of /proc/net/netstat, whose lines come in pairs: names, and their values.
Result<std::uint64_t> counter_of(const std::string& netstat, std::string_view group,
                                 std::string_view name) {
  std::istringstream lines(netstat);
  std::string names;
  std::string values;
  while (std::getline(lines, names) && std::getline(lines, values)) {
    if (!names.starts_with(group)) continue;
    std::istringstream its_names(names);
    std::istringstream its_values(values);
    std::string one;
    std::string value;
    while (its_names >> one && its_values >> value) {
      if (one == name) return std::stoull(value);
    }
  }
  return base::fail(ErrorKind::missing, "/proc/net/netstat: there is no {}", name);
}

// Whether a route of `ip -j route` leads over that interface: none of its next hops that are dead
// does.
bool is_used(const base::Json& routes, const std::string& interface) {
  const auto leads = [&](const base::Json& hop) {
    const auto flags = hop.value("flags", base::Json::array());
    return hop.value("dev", "") == interface && std::ranges::find(flags, "dead") == flags.end();
  };
  return std::ranges::any_of(routes, [&](const base::Json& route) {
    return leads(route) || std::ranges::any_of(route.value("nexthops", base::Json::array()), leads);
  });
}

// Where the calling thread is. Not by ip(8): starting it takes longer than what is measured.
Result<> set_down(const std::string& interface) {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return base::system_error(errno, "socket");
  ifreq request{};
  interface.copy(request.ifr_name, IFNAMSIZ - 1);
  if (::ioctl(socket.get(), SIOCGIFFLAGS, &request) < 0) {
    return base::system_error(errno, "flags of {}", interface);
  }
  request.ifr_flags = static_cast<short>(request.ifr_flags & ~IFF_UP);
  if (::ioctl(socket.get(), SIOCSIFFLAGS, &request) < 0) {
    return base::system_error(errno, "{} down", interface);
  }
  return {};
}

}  // namespace

std::string Injector::place_of(int node) const { return fmt::format("node{}", node); }

int Injector::netns(const std::string& place) const {
  return target_.environment(site_.environment().name)->netns(place);
}

std::optional<std::uint32_t> Injector::restart_time(const FaultSpec& fault) const {
  if (!is_graceful(fault.kind)) return std::nullopt;
  return fault.restart_time_s ? fault.restart_time_s : spec_.restart_time_s;
}

Result<bool> Injector::holds_within(base::Duration patience,
                                    const std::function<Result<bool>()>& condition) const {
  const auto give_up = base::monotonic_now() + patience;
  for (;;) {
    ASSIGN_OR_RETURN(const bool holds, condition());
    if (holds) return true;
    if (base::monotonic_now() > give_up) return false;
    RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + poll_every));
  }
}

FaultWindow Injector::window_of(const FaultSpec& fault) const {
  FaultWindow window{.router = cluster::addresses::router_ipv4(), .prefix = prefix_};
  const bool all = fault.kind == FaultKind::peer_restarted || is_of_pods(fault.kind);
  for (const auto& node : site_.environment().nodes) {
    const auto hop = node.address(family_);
    const bool announces = has(site_.next_hops_of(prefix_), hop);
    if (all || node.number == fault.node) {
      window.sessions.push_back(node.ipv4);
      if (announces) window.hops.push_back(hop);
    } else if (announces) {
      window.others.push_back(hop);
    }
  }
  return window;
}

// The kernel's routes first, which cost the daemon nothing: it is asked when they are as wanted,
// and seldom, as a daemon asked hundreds of times a second came to answer no more.
Result<> Injector::await_sound(base::Duration patience) const {
  std::string missing;
  MonotonicTime ask_again;
  const auto is_sound = [&]() -> Result<bool> {
    RETURN_IF_ERROR(site_.seen_since(base::monotonic_now()));
    missing = missing_route();
    if (!missing.empty() || base::monotonic_now() < ask_again) return false;
    ask_again = base::monotonic_now() + ask_every;
    ASSIGN_OR_RETURN(missing, missing_session());
    return missing.empty();
  };
  ASSIGN_OR_RETURN(const bool sound, holds_within(patience, is_sound));
  if (sound) return {};
  return base::fail(ErrorKind::timed_out, "not as before after {} s: {}",
                    std::chrono::duration_cast<std::chrono::seconds>(patience).count(), missing);
}

std::string Injector::missing_route() const {
  std::vector<IpAddress> wanted;
  for (const auto& expected : site_.speakers().expected(family_)) {
    if (expected.prefix == prefix_) wanted = expected.next_hops;
  }
  std::ranges::sort(wanted);
  const auto has_now = site_.next_hops_of(prefix_);
  if (has_now == wanted) return {};
  return fmt::format("the router's kernel reaches {} by {}, expected {}", prefix_.to_string(),
                     fmt::join(has_now, ", "), fmt::join(wanted, ", "));
}

Result<std::string> Injector::missing_session() const {
  ASSIGN_OR_RETURN(const auto peers, site_.speakers().router().peers());
  for (const auto& node : site_.environment().nodes) {
    const auto its = std::ranges::find(peers, node.ipv4, &bgp_peer::Peer::address);
    if (its != peers.end() && its->state == bgp_peer::SessionState::established) continue;
    return fmt::format("the session of node {} is not established", node.number);
  }
  ASSIGN_OR_RETURN(const auto paths,
                   site_.speakers().router().paths(bgp_peer::family_of(prefix_.address)));
  if (!std::ranges::any_of(paths, &bgp_peer::Path::stale)) return std::string();
  return std::string("the router keeps stale routes");
}

Result<> Injector::prepare(const FaultSpec& fault) {
  const auto wanted = restart_time(fault);
  const auto is = graceful_.find(fault.node);
  if (wanted ? is != graceful_.end() && is->second == *wanted : is == graceful_.end()) return {};
  RETURN_IF_ERROR(site_.speakers().node_daemon(fault.node).stop());
  return start_again(fault);
}

// As the fault has it, and as it was before it.
Result<> Injector::start_again(const FaultSpec& fault) {
  const auto wanted = restart_time(fault);
  if (wanted) {
    graceful_[fault.node] = *wanted;
  } else {
    graceful_.erase(fault.node);
  }
  return site_.speakers().restart_node(fault.node, {.restart_time_s = wanted});
}

Result<FaultTimes> Injector::times_so_far(const FaultWindow& window) const {
  ASSIGN_OR_RETURN(const auto seen, site_.seen_since(window.begun));
  return analyse_fault(window, seen);
}

Result<> Injector::await_times(const FaultWindow& window, base::Duration patience,
                               const std::function<bool(const FaultTimes&)>& condition) const {
  RETURN_IF_ERROR(holds_within(patience, [&]() -> Result<bool> {
    ASSIGN_OR_RETURN(const auto times, times_so_far(window));
    return condition(times);
  }));
  return {};
}

Result<> Injector::await_gone(const FaultWindow& window, base::Duration patience) const {
  RETURN_IF_ERROR(holds_within(patience, [&]() -> Result<bool> {
    const auto now = site_.next_hops_of(prefix_);
    return std::ranges::none_of(window.hops, [&](const auto& hop) { return has(now, hop); });
  }));
  return {};
}

Result<> Injector::inject(const FaultSpec& fault, FaultWindow& window) {
  auto& speakers = site_.speakers();
  const int node = fault.node;
  auto gone_within = base::Duration(longer);
  window.begun = base::monotonic_now();
  switch (fault.kind) {
    case FaultKind::speaker_killed:
      RETURN_IF_ERROR(speakers.node_daemon(node).kill());
      break;
    case FaultKind::speaker_lost:
      RETURN_IF_ERROR(speakers.node_daemon(node).kill());
      gone_within += std::chrono::seconds(restart_time(fault).value_or(0));
      break;
    case FaultKind::speaker_restarted:
      RETURN_IF_ERROR(speakers.node_daemon(node).kill());
      return restart_speaker(fault, window);
    case FaultKind::speaker_shutdown:
      RETURN_IF_ERROR(speakers.node_daemon(node).stop());
      break;
    case FaultKind::speaker_silent:
      RETURN_IF_ERROR(speakers.node_daemon(node).freeze());
      gone_within += hold_time();
      break;
    case FaultKind::node_silent:
      RETURN_IF_ERROR(drop_packets(node));
      gone_within += hold_time();
      break;
    case FaultKind::tcp_reset:
      RETURN_IF_ERROR(reset_connection(node));
      break;
    case FaultKind::session_flap:
      RETURN_IF_ERROR(speakers.node_daemon(node).client().disable_peer(window.router));
      break;
    case FaultKind::link_down:
      return take_link_down(fault, window);
    case FaultKind::peer_restarted:
      RETURN_IF_ERROR(site_.kill_router());
      break;
    case FaultKind::node_drained:
      RETURN_IF_ERROR(speakers.take_out(node));
      break;
    case FaultKind::readiness_flap:
      return flap_readiness(1);
    case FaultKind::rollout:
      return flap_readiness(site_.environment().pods.size());
    case FaultKind::wrong_asn:
    case FaultKind::wrong_password:
    case FaultKind::max_prefix_exceeded:
      return refuse(fault, window);
  }
  return await_gone(window, gone_within);
}

// Back at once, with its routes and the R and F bits; or, planted, without them.
Result<> Injector::restart_speaker(const FaultSpec& fault, FaultWindow& window) {
  const bool forgets = planted() == Fault::restart_forgets_routes;
  const auto patience = std::chrono::seconds(restart_time(fault).value_or(0)) + longer;
  if (planted() == Fault::never_restarted) return await_gone(window, patience);
  window.healed = base::monotonic_now();
  RETURN_IF_ERROR(site_.speakers().restart_node(
      fault.node,
      {.restart_time_s = restart_time(fault), .restarting = !forgets, .announces = !forgets}));
  // What is stale goes when its routes are whole (RFC 4724, 4.2), or as the time is over.
  return await_times(window, patience, [](const auto& times) {
    return times.gone_ns || (times.up_ns && times.end_of_rib);
  });
}

// At the router, too: a node whose datapath is eBPF sends packets on before netfilter sees them.
Result<> Injector::drop_packets(int node) const {
  const auto of_node = fmt::format(
      "table inet {0} {{\n"
      "  chain in {{ type filter hook prerouting priority -400; iifname {1} drop; }}\n"
      "  chain out {{ type filter hook postrouting priority 400; oifname {1} drop; }}\n"
      "}}\n",
      silence_table, cluster::child_interface);
  const auto of_router = fmt::format(
      "table inet {} {{\n"
      "  chain out {{ type filter hook postrouting priority 400; oifname {} drop; }}\n"
      "}}\n",
      silence_table, cluster::node_interface(node));
  for (const auto& [place, rules] :
       {std::pair(std::string("router"), of_router), std::pair(place_of(node), of_node)}) {
    RETURN_IF_ERROR(target_.sandbox()->run({.netns = netns(place)}, {"nft", "-f", "-"}, rules));
  }
  return {};
}

// SOCK_DESTROY (linux/sock_diag.h) at the node: its side gets ECONNABORTED, the router's a RST. A
// kernel without CONFIG_INET_DIAG_DESTROY does nothing, and then no session comes down.
Result<> Injector::reset_connection(int node) const {
  RETURN_IF_ERROR(target_.sandbox()->run({.netns = netns(place_of(node))},
                                         {"ss", "-K", "-t", "-n", "state", "established", "dport",
                                          "=", fmt::format(":{}", bgp_peer::bgp_port)}));
  return {};
}

Result<> Injector::take_link_down(const FaultSpec& fault, FaultWindow& window) const {
  const cluster::Place router{.netns = netns("router")};
  const auto interface = cluster::node_interface(fault.node);
  base::MonotonicTime after;
  RETURN_IF_ERROR(target_.sandbox()->inside(router.netns, [&] {
    window.begun = base::monotonic_now();
    auto done = set_down(interface);
    after = base::monotonic_now();
    return done;
  }));
  // Asked, as it tells nobody: a next hop without its link is marked, or its route is gone.
  ASSIGN_OR_RETURN(const auto text, target_.sandbox()->run(router, {"ip", "-j", "route", "show",
                                                                    prefix_.to_string()}));
  ASSIGN_OR_RETURN(const auto routes, base::parse_json(text));
  if (!is_used(routes, interface)) window.dead = after;
  return await_times(window, hold_time() + longer,
                     [](const auto& times) { return times.down_ns.has_value(); });
}

Result<> Injector::flap_readiness(std::size_t pods) const {
  const auto& group = site_.environment().services.at(spec_.service).target;
  for (const auto& pod : site_.environment().pods) {
    if (pod.group != group || pods-- == 0) continue;
    for (const auto readiness : {cluster::Readiness::unready, cluster::Readiness::ready}) {
      RETURN_IF_ERROR(
          target_.set_readiness(site_.environment().name, family_, {{pod.name, readiness}}));
    }
    if (pods == 0) break;
  }
  return {};
}

// One more than the router takes, all of a network nobody else has (RFC 2544).
std::vector<Prefix> Injector::too_many() const {
  std::vector<Prefix> prefixes;
  for (std::uint32_t i = 0; i <= spec_.max_prefixes; ++i) {
    prefixes.push_back(
        Prefix::host(family_ == base::AddressFamily::ipv4
                         ? cluster::addresses::ipv4(198, 18, static_cast<int>(i >> 8),
                                                    static_cast<int>(i & 0xff))
                         : cluster::addresses::ipv6(0x198, 0x51, 0x100, static_cast<int>(i))));
  }
  return prefixes;
}

Result<> Injector::refuse(const FaultSpec& fault, const FaultWindow& window) {
  auto& speakers = site_.speakers();
  const auto refused = [](const auto& times) { return times.refusal.has_value(); };
  if (fault.kind == FaultKind::max_prefix_exceeded) {
    RETURN_IF_ERROR(speakers.announce_more(fault.node, too_many()));
    return await_times(window, longer, refused);
  }
  RETURN_IF_ERROR(speakers.node_daemon(fault.node).stop());
  NodeStart how{.announces = true};
  if (fault.kind == FaultKind::wrong_asn) {
    how.asn = bgp_peer::Asn{spec_.node_asn + 1};
    RETURN_IF_ERROR(speakers.restart_node(fault.node, how));
    return await_times(window, connects_within, refused);
  }
  how.password = spec_.password + "-wrong";
  ASSIGN_OR_RETURN(const auto before, bad_signatures());
  RETURN_IF_ERROR(speakers.restart_node(fault.node, how));
  RETURN_IF_ERROR(holds_within(connects_within, [&]() -> Result<bool> {
    ASSIGN_OR_RETURN(const auto times, times_so_far(window));
    if (times.syn_acks > 0) return true;
    if (times.syns == 0) return false;
    ASSIGN_OR_RETURN(const auto now, bad_signatures());
    return now > before;
  }));
  return {};
}

Result<> Injector::heal(const FaultSpec& fault, FaultWindow& window) {
  auto& speakers = site_.speakers();
  const int node = fault.node;
  const bool ended =
      fault.kind == FaultKind::speaker_killed || fault.kind == FaultKind::speaker_lost ||
      fault.kind == FaultKind::speaker_restarted || fault.kind == FaultKind::speaker_shutdown ||
      fault.kind == FaultKind::peer_restarted;
  if (ended && planted() == Fault::never_restarted) {
    window.healed = base::monotonic_now();
    const auto patience = std::max<base::Duration>(
        predict(fault.kind, {}).back_within, fault.budget.downtime.value_or(base::Duration(0)));
    RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + patience));
    window.ended = base::monotonic_now();
    if (fault.kind == FaultKind::speaker_restarted) return start_again(fault);
  }
  if (fault.kind != FaultKind::speaker_restarted && window.ended == MonotonicTime()) {
    window.healed = base::monotonic_now();
  }
  switch (fault.kind) {
    case FaultKind::speaker_killed:
    case FaultKind::speaker_lost:
    case FaultKind::speaker_shutdown:
    case FaultKind::wrong_asn:
    case FaultKind::wrong_password:
      return start_again(fault);
    case FaultKind::speaker_silent:
      return speakers.node_daemon(node).thaw();
    case FaultKind::node_silent:
      for (const auto& place : {std::string("router"), place_of(node)}) {
        RETURN_IF_ERROR(
            target_.sandbox()->run({.netns = netns(place)},
                                   {"nft", "delete", "table", "inet", std::string(silence_table)}));
      }
      return {};
    case FaultKind::session_flap:
      return speakers.node_daemon(node).client().enable_peer(window.router);
    case FaultKind::link_down:
      return target_.sandbox()->ip({.netns = netns("router")}, cluster::node_link_batch(node));
    case FaultKind::peer_restarted:
      return site_.restart_router();
    case FaultKind::node_drained:
      return speakers.put_back(node);
    case FaultKind::speaker_restarted:
      return planted() == Fault::restart_forgets_routes ? speakers.announce_again(node)
                                                        : Result<>();
    case FaultKind::max_prefix_exceeded:
      RETURN_IF_ERROR(speakers.withdraw_more(node, too_many()));
      // A neighbour taken from a network is forgotten, and begins anew.
      return spec_.password.empty() ? Result<>()
                                    : speakers.router().enable_peer(window.sessions.front());
    case FaultKind::tcp_reset:
    case FaultKind::readiness_flap:
    case FaultKind::rollout:
      return {};
  }
  return {};
}

Result<std::uint64_t> Injector::bad_signatures() const {
  ASSIGN_OR_RETURN(const auto text, target_.sandbox()->run({.netns = netns("router")},
                                                           {"cat", "/proc/net/netstat"}));
  return counter_of(text, "TcpExt:", "TCPMD5Failure");
}

}  // namespace stackbench::bgp
