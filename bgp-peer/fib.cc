#include "bgp-peer/fib.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <span>
#include <thread>

#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/errno.h>
#include <netlink/netlink.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/freed.h"
#include "bgp-peer/next_hop_groups.h"
#include "bgp-peer/route_batch.h"

namespace bgp_peer {
namespace {

using base::ErrorKind;
using base::Freed;
using base::Result;

using Socket = std::unique_ptr<nl_sock, Freed<nl_socket_free>>;
using Address = std::unique_ptr<nl_addr, Freed<nl_addr_put>>;
using Route = std::unique_ptr<rtnl_route, Freed<rtnl_route_put>>;
using Cache = std::unique_ptr<nl_cache, Freed<nl_cache_free>>;

// libnl's codes are its own; those of the kernel's answers come mapped to them.
std::unexpected<base::Error> netlink_error(int code, std::string what) {
  const int positive = code < 0 ? -code : code;
  const auto kind = positive == NLE_PERM || positive == NLE_NOACCESS ? ErrorKind::not_permitted
                                                                     : ErrorKind::system;
  return base::fail(kind, "{}: {}", what, nl_geterror(positive));
}

// A socket of that namespace: a socket stays where it was opened, whoever uses it.
Result<Socket> open_in(int netns) {
  Result<Socket> opened = Socket();
  std::thread([&] {
    if (::setns(netns, CLONE_NEWNET) < 0) {
      opened = base::system_error(errno, "setns into the network namespace of the routes");
      return;
    }
    Socket socket(nl_socket_alloc());
    if (!socket) {
      opened = base::system_error(ENOMEM, "netlink socket");
      return;
    }
    if (const int code = nl_connect(socket.get(), NETLINK_ROUTE); code < 0) {
      opened = netlink_error(code, "netlink socket");
      return;
    }
    opened = std::move(socket);
  }).join();
  return opened;
}

Result<> refuse_own_namespace(int netns) {
  struct stat ours{};
  struct stat theirs{};
  if (::stat("/proc/self/ns/net", &ours) < 0) {
    return base::system_error(errno, "/proc/self/ns/net");
  }
  if (::fstat(netns, &theirs) < 0) return base::system_error(errno, "a network namespace");
  if (ours.st_dev == theirs.st_dev && ours.st_ino == theirs.st_ino) {
    return base::fail(ErrorKind::input,
                      "routes learnt by BGP are not put into the network namespace we run in");
  }
  return {};
}

Address address_of(const base::IpAddress& address, int length) {
  const std::size_t bytes = address.family == base::AddressFamily::ipv4 ? 4 : 16;
  Address made(nl_addr_build(address.af(), address.bytes.data(), bytes));
  if (made) nl_addr_set_prefixlen(made.get(), length);
  return made;
}

base::IpAddress address_of(nl_addr* address) {
  base::IpAddress read{.family = nl_addr_get_family(address) == AF_INET6
                                     ? base::AddressFamily::ipv6
                                     : base::AddressFamily::ipv4};
  std::memcpy(read.bytes.data(), nl_addr_get_binary_addr(address),
              std::min<std::size_t>(nl_addr_get_len(address), read.bytes.size()));
  return read;
}

// A default route has an address of no bytes.
KernelRoute route_of(rtnl_route* route) {
  auto* destination = rtnl_route_get_dst(route);
  KernelRoute read{
      .prefix = {address_of(destination), static_cast<int>(nl_addr_get_prefixlen(destination))},
      .next_hops = {}};
  if (rtnl_route_get_family(route) == AF_INET6) {
    read.prefix.address.family = base::AddressFamily::ipv6;
  }
  for (int i = 0; i < rtnl_route_get_nnexthops(route); ++i) {
    auto* hop = rtnl_route_nh_get_gateway(rtnl_route_nexthop_n(route, i));
    if (hop != nullptr) read.next_hops.push_back(address_of(hop));
  }
  std::ranges::sort(read.next_hops);
  return read;
}

Result<Route> message_of(const KernelRoute& wanted) {
  Route route(rtnl_route_alloc());
  const auto destination = address_of(wanted.prefix.address, wanted.prefix.length);
  if (!route || !destination) return base::system_error(ENOMEM, "netlink route");
  rtnl_route_set_family(route.get(), static_cast<std::uint8_t>(wanted.prefix.address.af()));
  rtnl_route_set_dst(route.get(), destination.get());
  rtnl_route_set_table(route.get(), RT_TABLE_MAIN);
  rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
  rtnl_route_set_type(route.get(), RTN_UNICAST);
  rtnl_route_set_protocol(route.get(), route_protocol);
  rtnl_route_set_priority(route.get(), route_metric);
  for (const auto& address : wanted.next_hops) {
    const auto gateway = address_of(address, address.host_prefix());
    auto* hop = rtnl_route_nh_alloc();
    if (hop == nullptr || !gateway) return base::system_error(ENOMEM, "netlink next hop");
    rtnl_route_nh_set_gateway(hop, gateway.get());
    rtnl_route_add_nexthop(route.get(), hop);  // which owns it from here
  }
  return route;
}

bool is_ours(rtnl_route* route) {
  return rtnl_route_get_protocol(route) == route_protocol &&
         rtnl_route_get_priority(route) == route_metric &&
         rtnl_route_get_table(route) == RT_TABLE_MAIN;
}

// The route of a message of rtnetlink, when it is one.
Route parsed(nl_msg* message) {
  auto* header = nlmsg_hdr(message);
  rtnl_route* route = nullptr;
  const bool is_one = header->nlmsg_type == RTM_NEWROUTE || header->nlmsg_type == RTM_DELROUTE;
  return Route(is_one && rtnl_route_parse(header, &route) >= 0 ? route : nullptr);
}

// A socket of that namespace which never waits and is told of these groups, each message given to
// `take` with `argument`.
Result<Socket> listen_in(int netns, const std::vector<int>& groups, nl_recvmsg_msg_cb_t take,
                         void* argument) {
  // Bytes: some ten thousand changes that come at once, and the kernel counts about 1 KiB for each.
  // Beyond what net.core.rmem_max allows to everybody, which is a few hundred.
  constexpr int receive_buffer = 16 << 20;
  ASSIGN_OR_RETURN(auto socket, open_in(netns));
  nl_socket_disable_seq_check(socket.get());
  nl_socket_modify_cb(socket.get(), NL_CB_VALID, NL_CB_CUSTOM, take, argument);
  int code = 0;
  for (const int group : groups) {
    if (code >= 0) code = nl_socket_add_membership(socket.get(), group);
  }
  if (code >= 0) code = nl_socket_set_nonblocking(socket.get());
  if (code >= 0 && ::setsockopt(nl_socket_get_fd(socket.get()), SOL_SOCKET, SO_RCVBUFFORCE,
                                &receive_buffer, sizeof(receive_buffer)) < 0) {
    code = nl_socket_set_buffer_size(socket.get(), receive_buffer, 0);
  }
  if (code < 0) return netlink_error(code, "watching the kernel's routes");
  return socket;
}

}  // namespace

std::map<Prefix, std::vector<base::IpAddress>> next_hops_of(const std::vector<Path>& paths) {
  std::map<Prefix, std::vector<base::IpAddress>> all;
  for (const auto& path : paths) {
    auto& hops = all[path.prefix];
    const bool is_own =
        std::ranges::all_of(path.next_hop.bytes, [](auto byte) { return byte == 0; });
    if (!path.withdrawn && !path.next_hop_invalid && !is_own) hops.push_back(path.next_hop);
  }
  for (auto& [prefix, hops] : all) {
    std::ranges::sort(hops);
    const auto repeated = std::ranges::unique(hops);
    hops.erase(repeated.begin(), repeated.end());
  }
  return all;
}

struct Fib::State {
  using Routes = std::map<Prefix, std::vector<base::IpAddress>>;

  Socket socket;                             // to ask
  Socket many;                               // to ask for many routes at a time
  std::optional<NextHopGroups> groups = {};  // of NextHopKind::resilient
  Socket told;                               // to listen
  Routes wanted;                             // what we were asked for
  Routes installed;                          // what the kernel has of ours, as far as we know
  bool doubtful = false;                     // it told something since, and may have dropped some
  // Where those two differ, kept up to date prefix by prefix: with ten thousand routes nobody is to
  // go through all of them for each.
  std::set<Prefix> differing;

  void want(const Prefix& prefix, std::vector<base::IpAddress> next_hops) {
    std::ranges::sort(next_hops);
    if (next_hops.empty()) {
      wanted.erase(prefix);
    } else {
      wanted[prefix] = std::move(next_hops);
    }
    compare(prefix);
  }

  void compare(const Prefix& prefix) {
    const auto wants = wanted.find(prefix);
    const auto has = installed.find(prefix);
    const bool same = wants == wanted.end()
                          ? has == installed.end()
                          : has != installed.end() && has->second == wants->second;
    if (same) {
      differing.erase(prefix);
    } else {
      differing.insert(prefix);
    }
  }

  void compare_all() {
    differing.clear();
    for (const auto& [prefix, hops] : wanted) compare(prefix);
    for (const auto& [prefix, hops] : installed) compare(prefix);
  }

  static int on_told(nl_msg* message, void* argument) {
    auto& state = *static_cast<State*>(argument);
    const auto* header = nlmsg_hdr(message);
    const bool of_routes = header->nlmsg_type == RTM_NEWROUTE || header->nlmsg_type == RTM_DELROUTE;
    if (of_routes) {
      const auto route = parsed(message);
      if (!route || !is_ours(route.get())) return NL_OK;
    }
    state.doubtful = true;
    return NL_OK;
  }

  // Makes `installed` what the kernel has, which costs nothing unless it told of something.
  Result<> look() {
    for (;;) {
      const int code = nl_recvmsgs_default(told.get());
      if (code == -NLE_AGAIN) break;
      // It had more to tell than it could keep.
      if (code == -NLE_NOMEM) doubtful = true;
      if (code < 0 && code != -NLE_NOMEM) {
        return netlink_error(code, "watching the kernel's routes");
      }
    }
    if (!doubtful) return {};
    ASSIGN_OR_RETURN(auto routes, read());
    installed.clear();
    for (auto& route : routes) installed[route.prefix] = std::move(route.next_hops);
    doubtful = false;
    compare_all();
    return {};
  }

  // Makes the kernel reach these prefixes as wanted, but for those it reaches so. What was made
  // goes behind `made`; the first error is returned after all were tried.
  Result<> bring(std::span<const Prefix> prefixes, std::vector<FibChange>& made) {
    Result<> outcome;
    std::vector<KernelRoute> routes;
    const auto change_them = [&] {
      auto changed = change(routes, made);
      if (!changed && outcome) outcome = std::move(changed);
      routes.clear();
    };
    for (const auto& prefix : prefixes) {
      if (!differing.contains(prefix)) continue;
      const auto wants = wanted.find(prefix);
      routes.push_back(
          {prefix, wants == wanted.end() ? std::vector<base::IpAddress>() : wants->second});
      if (routes.size() == routes_a_batch) change_them();
    }
    if (!routes.empty()) change_them();
    return outcome;
  }

  // A route to remove that was not there is no error, and none that was made.
  Result<> change(const std::vector<KernelRoute>& routes, std::vector<FibChange>& made) {
    const auto sent = base::monotonic_now();
    ASSIGN_OR_RETURN(const auto codes, tell(routes));
    const auto acked = base::monotonic_now();
    Result<> outcome;
    for (std::size_t i = 0; i < routes.size(); ++i) {
      const auto& route = routes[i];
      const bool was_gone = route.next_hops.empty() && codes[i] == -NLE_OBJ_NOTFOUND;
      if (codes[i] < 0 && !was_gone) {
        if (!outcome) continue;
        outcome = netlink_error(codes[i], fmt::format("route {} via {}", route.prefix.to_string(),
                                                      fmt::join(route.next_hops, ", ")));
        continue;
      }
      if (route.next_hops.empty()) {
        installed.erase(route.prefix);
      } else {
        installed[route.prefix] = route.next_hops;
      }
      compare(route.prefix);
      if (!was_gone) made.push_back({.route = route, .sent = sent, .acked = acked});
    }
    return outcome;
  }

  // What became of each: 0, or libnl's code, below 0.
  Result<std::vector<int>> tell(const std::vector<KernelRoute>& routes) {
    RouteBatch batch(many.get());
    std::vector<int> codes;
    for (const auto& route : routes) {
      if (groups && !route.next_hops.empty()) {
        codes.push_back(
            groups->set(route.prefix, route.next_hops, installed.contains(route.prefix)));
        continue;
      }
      ASSIGN_OR_RETURN(const auto message, message_of(route));
      if (groups) {
        codes.push_back(rtnl_route_delete(socket.get(), message.get(), 0));
        groups->remove(route.prefix);
      } else {
        RETURN_IF_ERROR(batch.add(message.get(), route.next_hops.empty()));
      }
    }
    return groups ? Result<std::vector<int>>(std::move(codes)) : batch.send();
  }

  [[nodiscard]] Result<std::vector<KernelRoute>> read() const {
    nl_cache* filled = nullptr;
    if (const int code = rtnl_route_alloc_cache(socket.get(), AF_UNSPEC, 0, &filled); code < 0) {
      return netlink_error(code, "reading the kernel's routes");
    }
    const Cache cache(filled);
    std::vector<KernelRoute> routes;
    for (auto* object = nl_cache_get_first(cache.get()); object != nullptr;
         object = nl_cache_get_next(object)) {
      auto* route = reinterpret_cast<rtnl_route*>(object);
      if (is_ours(route)) routes.push_back(route_of(route));
    }
    std::ranges::sort(routes);
    return routes;
  }
};

Fib::Fib(std::unique_ptr<State> state) : state_(std::move(state)) {}
Fib::Fib(Fib&&) noexcept = default;
Fib::~Fib() {
  // The namespace may be gone before us, and then all of its routes are.
  if (state_) (void)clear();
}

Result<Fib> Fib::open(int netns, NextHopKind kind) {
  RETURN_IF_ERROR(refuse_own_namespace(netns));
  auto state = std::make_unique<State>();
  ASSIGN_OR_RETURN(state->socket, open_in(netns));
  ASSIGN_OR_RETURN(state->many, open_in(netns));
  ASSIGN_OR_RETURN(state->told, listen_in(netns,
                                          {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                           RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE},
                                          &State::on_told, state.get()));
  RETURN_IF_ERROR(pass_over_asked_by(state->told.get(), state->socket.get(), state->many.get()));
  state->doubtful = true;  // one before may have left some
  Fib fib(std::move(state));
  RETURN_IF_ERROR(fib.use(kind));
  return fib;
}

Result<> Fib::use(NextHopKind kind) {
  RETURN_IF_ERROR(clear());
  state_->groups.reset();
  if (kind != NextHopKind::resilient) return {};
  state_->groups.emplace(state_->socket.get());
  if (const int code = state_->groups->clear(); code < 0) {
    state_->groups.reset();
    if (code == -NLE_OPNOTSUPP) {
      return base::fail(ErrorKind::missing,
                        "resilient next hops: this kernel has no nexthop objects (Linux 5.3)");
    }
    return netlink_error(code, "resilient next hops: nexthop objects of the kernel");
  }
  return {};
}

Result<std::vector<FibChange>> Fib::set(const Prefix& prefix,
                                        std::vector<base::IpAddress> next_hops) {
  std::vector<FibChange> made;
  std::map<Prefix, std::vector<base::IpAddress>> one;
  one.emplace(prefix, std::move(next_hops));
  RETURN_IF_ERROR(apply(std::move(one), made));
  return made;
}

Result<> Fib::apply(std::map<Prefix, std::vector<base::IpAddress>> next_hops,
                    std::vector<FibChange>& made) {
  std::vector<Prefix> prefixes;
  prefixes.reserve(next_hops.size());
  for (auto& [prefix, hops] : next_hops) {
    state_->want(prefix, std::move(hops));
    prefixes.push_back(prefix);
  }
  RETURN_IF_ERROR(state_->look());
  return state_->bring(prefixes, made);
}

Result<std::vector<FibChange>> Fib::apply(const std::vector<Path>& paths) {
  std::vector<FibChange> made;
  RETURN_IF_ERROR(apply(next_hops_of(paths), made));
  return made;
}

int Fib::fd() const { return nl_socket_get_fd(state_->told.get()); }

Result<std::vector<FibChange>> Fib::reconcile() {
  RETURN_IF_ERROR(state_->look());
  std::vector<FibChange> made;
  auto outcome = state_->bring(absent(), made);
  if (!outcome && outcome.error().kind == ErrorKind::not_permitted) {
    return std::unexpected(std::move(outcome).error());
  }
  return made;
}

std::vector<Prefix> Fib::absent() const {
  return {state_->differing.begin(), state_->differing.end()};
}

Result<> Fib::clear() {
  state_->wanted.clear();
  state_->compare_all();
  RETURN_IF_ERROR(state_->look());
  std::vector<FibChange> removed;
  auto outcome = state_->bring(absent(), removed);
  if (state_->groups) (void)state_->groups->clear();
  return outcome;
}

Result<std::vector<KernelRoute>> Fib::routes() const { return state_->read(); }

struct RouteMonitor::State {
  Socket socket;
  std::vector<Change> waiting;

  static int on_message(nl_msg* message, void* argument) {
    auto& state = *static_cast<State*>(argument);
    const auto received = base::monotonic_now();
    const auto route = parsed(message);
    if (!route || rtnl_route_get_table(route.get()) != RT_TABLE_MAIN) return NL_OK;
    state.waiting.push_back({.route = route_of(route.get()),
                             .protocol = rtnl_route_get_protocol(route.get()),
                             .removed = nlmsg_hdr(message)->nlmsg_type == RTM_DELROUTE,
                             .received = received});
    return NL_OK;
  }
};

RouteMonitor::RouteMonitor(std::unique_ptr<State> state) : state_(std::move(state)) {}
RouteMonitor::RouteMonitor(RouteMonitor&&) noexcept = default;
RouteMonitor::~RouteMonitor() = default;

Result<RouteMonitor> RouteMonitor::open(int netns) {
  auto state = std::make_unique<State>();
  ASSIGN_OR_RETURN(state->socket, listen_in(netns, {RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE},
                                            &State::on_message, state.get()));
  return RouteMonitor(std::move(state));
}

int RouteMonitor::fd() const { return nl_socket_get_fd(state_->socket.get()); }

Result<std::vector<RouteMonitor::Change>> RouteMonitor::take() {
  for (;;) {
    const int code = nl_recvmsgs_default(state_->socket.get());
    if (code == -NLE_AGAIN) return std::exchange(state_->waiting, {});
    if (code < 0) return netlink_error(code, "watching the kernel's routes");
  }
}

}  // namespace bgp_peer
