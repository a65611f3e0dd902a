// The kernel's routes of one network namespace, as far as BGP makes them: GoBGP keeps a table (RIB)
// and programs nothing, so what it chose is put into the kernel here, several next hops as one
// multipath route. The routes are marked with a protocol number (rtnetlink(7), rtm_protocol) and a
// metric of ours: the kernel tells routes of one prefix apart by their metric alone, so that with
// one nobody else uses others' routes are neither replaced nor removed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "bgp-peer/route.h"

namespace bgp_peer {

// Marks our routes: RTPROT_BGP of linux/rtnetlink.h, `ip route show proto bgp`. In a namespace
// where we install nobody else does so under that number.
inline constexpr int route_protocol = 186;

// Their metric (RTA_PRIORITY): above what the kernel gives links' own routes (0, and 256 in IPv6)
// and those set by hand (0, and 1024), so that a speaker that announces a link's subnet diverts
// nobody from the link.
inline constexpr std::uint32_t route_metric = 20186;

// How several next hops of a route share its flows.
enum class NextHopKind : std::uint8_t {
  // One multipath route. A flow's hash falls into one of as many ranges as there are next hops, and
  // all ranges are cut anew when one leaves (net/ipv4/fib_semantics.c, fib_rebalance; RFC 2992).
  hash_threshold,
  // A nexthop object, one a prefix: the hash falls into one of `resilient_buckets`, and only those
  // of a next hop that leaves are given to others (net/ipv4/nexthop.c;
  // Documentation/networking/nexthop-group-resilient.rst).
  resilient,
};

inline constexpr int resilient_buckets = 256;
// How long a bucket must have carried nothing before a next hop that came may have it.
inline constexpr auto resilient_idle = std::chrono::seconds(60);

// A route as the kernel has it, or had it.
struct KernelRoute {
  Prefix prefix = {};
  std::vector<base::IpAddress> next_hops = {};  // in the order of their addresses

  auto operator<=>(const KernelRoute&) const = default;
};

// A change made in the kernel. It was so at `acked`, and was not before `sent`: a route that the
// kernel had dropped before we asked for its removal is no change.
struct FibChange {
  KernelRoute route = {};  // without next hops: it was removed
  base::MonotonicTime sent = {};
  base::MonotonicTime acked = {};
};

// One thread at a time.
//
// The kernel drops routes by itself, and for IPv4 without a word: when a link goes down, those by
// way of it are gone, and stay so when it comes back. So the kernel's word on links, addresses and
// our routes is listened to, and after any of it its routes are read again before we believe in
// them. Nobody but the caller acts on it: poll fd(), and call reconcile() when it is readable, or a
// link that was down for a moment loses its routes until BGP says something new of them.
class Fib {
 public:
  // Speaks to the kernel in the network namespace of this descriptor, and removes what an earlier
  // one left there. The namespace we run in ourselves is refused: it is a machine's. Errors: input,
  // missing (as use()), not_permitted, system.
  static base::Result<Fib> open(int netns, NextHopKind kind = NextHopKind::hash_threshold);

  Fib(Fib&&) noexcept;
  Fib& operator=(Fib&&) = delete;
  // Removes what it installed.
  ~Fib();

  // Removes every route of ours, wants none, and makes those to come of this kind. Errors: missing,
  // where the kernel has no such next hops, after which they are of hash_threshold; as set().
  base::Result<> use(NextHopKind kind);

  // Makes the kernel reach `prefix` by these next hops and no others; by none: removes the route.
  // Nothing when that is what it does already. What it refuses stays wanted, for reconcile().
  // Errors: not_permitted; system, with the kernel's reason: a next hop that is on no link.
  base::Result<std::vector<FibChange>> set(const Prefix& prefix,
                                           std::vector<base::IpAddress> next_hops);
  // set() for many at once, which the kernel is asked for in few calls; what was made is put behind
  // `made`, even when there is an error. The first error is returned after all were tried.
  base::Result<> apply(std::map<Prefix, std::vector<base::IpAddress>> next_hops,
                       std::vector<FibChange>& made);
  // The same for every prefix of an event's paths, by their usable next hops.
  base::Result<std::vector<FibChange>> apply(const std::vector<Path>& paths);

  // For poll(2): readable when the kernel has told of a link, an address or a route. Ownership
  // stays here.
  [[nodiscard]] int fd() const;
  // Puts back what is wanted and the kernel has no more, as far as it lets us: what it refuses,
  // because the link is down still, is tried again at the next call, and absent() until then.
  // Errors: not_permitted; system, when its routes cannot be read.
  base::Result<std::vector<FibChange>> reconcile();
  // The prefixes that the kernel did not reach as wanted when we last heard of it.
  [[nodiscard]] std::vector<Prefix> absent() const;

  // Removes every route of ours, and wants none. Errors: as set().
  base::Result<> clear();

  // What the kernel has of ours, asked anew, in the order of prefixes. Errors: system.
  [[nodiscard]] base::Result<std::vector<KernelRoute>> routes() const;

 private:
  struct State;
  explicit Fib(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The next hops by which an event's paths reach each of their prefixes: those that are neither
// withdrawn nor invalid, each once. A prefix without any is gone. Paths of the daemon's own have no
// next hop (0.0.0.0), and add none.
[[nodiscard]] std::map<Prefix, std::vector<base::IpAddress>> next_hops_of(
    const std::vector<Path>& paths);

// Changes of the main table's routes as the kernel tells them (rtnetlink's route groups), whoever
// made them. It says nothing of IPv4 routes that go with their link.
class RouteMonitor {
 public:
  struct Change {
    KernelRoute route = {};
    int protocol = 0;  // who made it (rtm_protocol)
    bool removed = false;
    // When take() read it. Poll fd() on a thread of its own, and that is when it was told.
    base::MonotonicTime received = {};
  };
  // Errors: not_permitted, system.
  static base::Result<RouteMonitor> open(int netns);
  RouteMonitor(RouteMonitor&&) noexcept;
  RouteMonitor& operator=(RouteMonitor&&) = delete;
  ~RouteMonitor();

  // For poll(2). Ownership stays here.
  [[nodiscard]] int fd() const;
  // What has come; does not wait. Errors: system; when the kernel had more to tell than it could
  // keep (ENOBUFS), that is an error, as what was lost cannot be told from what never was.
  base::Result<std::vector<Change>> take();

 private:
  struct State;
  explicit RouteMonitor(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bgp_peer

template <>
struct base::EnumNames<bgp_peer::NextHopKind> {
  static constexpr std::array names{
      std::pair{bgp_peer::NextHopKind::hash_threshold, std::string_view("hash_threshold")},
      std::pair{bgp_peer::NextHopKind::resilient, std::string_view("resilient")}};
};
