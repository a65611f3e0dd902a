#include "stackbench/bgp/fault_times.h"

#include <algorithm>
#include <map>

namespace stackbench::bgp {
namespace {

using base::IpAddress;
using base::MonotonicTime;

bool is_in(const std::vector<IpAddress>& all, const IpAddress& one) {
  return std::ranges::find(all, one) != all.end();
}

// Nobody looked any more.
bool is_after(const FaultWindow& window, MonotonicTime time) {
  return window.ended != MonotonicTime() && time > window.ended;
}

struct Since {
  MonotonicTime begun;
  [[nodiscard]] std::int64_t operator()(MonotonicTime time) const { return (time - begun).count(); }
};

void take_wire(const FaultWindow& window, const Seen& seen, FaultTimes& times) {
  const Since since{window.begun};
  for (const auto& segment : seen.segments) {
    const bool from_node = is_in(window.sessions, segment.from.address);
    if (!from_node && !is_in(window.sessions, segment.to.address)) continue;
    const auto at = since(segment.passed);
    const bool ends = segment.fin || segment.rst || segment.notification;
    if (from_node && !segment.messages.empty() && !times.wire_end_ns && !ends) {
      times.last_message_ns = at;
    }
    if (at < 0) continue;
    if (ends && !times.wire_end_ns) {
      times.wire_end_ns = at;
      times.reset = segment.rst;
    }
    if (segment.notification && !times.notification) {
      times.notification = segment.notification;
      times.notified_by_router = !from_node;
    }
    if (segment.notification && !from_node && !times.refusal) times.refusal = segment.notification;
    if (segment.open && from_node) {
      times.open = segment.open;
      times.end_of_rib = false;
    }
    // Once it is mended, they are answered.
    if (window.healed != MonotonicTime() && segment.passed >= window.healed) continue;
    if (from_node && segment.syn) ++times.syns;
    if (!from_node && segment.syn && segment.ack) ++times.syn_acks;
  }
}

// An UPDATE without prefixes, of a node whose last OPEN was before it.
bool saw_end_of_rib(const FaultWindow& window, const Seen& seen) {
  std::optional<MonotonicTime> opened;
  for (const auto& segment : seen.segments) {
    const bool is_its = segment.passed >= window.begun && segment.open;
    if (is_its && is_in(window.sessions, segment.from.address)) opened = segment.passed;
  }
  return opened && std::ranges::any_of(seen.updates, [&](const auto& one) {
           return one.passed > *opened && is_in(window.sessions, one.from) &&
                  one.update == bgp_peer::Update();
         });
}

void take_session(const FaultWindow& window, const Seen& seen, FaultTimes& times) {
  const Since since{window.begun};
  std::map<IpAddress, std::int64_t> up;
  for (const auto& event : seen.events) {
    const auto at = since(event.received);
    if (at < 0 || is_after(window, event.received)) continue;
    if (event.kind == bgp_peer::Event::Kind::ended && !times.down_ns) times.down_ns = at;
    if (event.kind != bgp_peer::Event::Kind::peer) continue;
    if (!is_in(window.sessions, event.peer.address)) continue;
    const bool established = event.peer.state == bgp_peer::SessionState::established;
    if (!established && !times.down_ns && !event.initial) times.down_ns = at;
    // One that came down once more was not back yet.
    if (!established) up.erase(event.peer.address);
    if (established && times.down_ns) up.emplace(event.peer.address, at);
  }
  if (up.size() < window.sessions.size()) return;
  for (const auto& [session, at] : up) times.up_ns = std::max(times.up_ns.value_or(at), at);
}

void take_route(const FaultWindow& window, const Seen& seen, FaultTimes& times) {
  const Since since{window.begun};
  if (window.dead) times.gone_ns = since(*window.dead);
  for (const auto& change : seen.routes) {
    const auto at = since(change.received);
    if (at < 0 || is_after(window, change.received)) continue;
    if (change.route.prefix != window.prefix) continue;
    const auto has = change.removed ? std::vector<IpAddress>() : change.route.next_hops;
    const auto used = [&](const IpAddress& hop) { return is_in(has, hop); };
    if (!times.gone_ns && std::ranges::none_of(window.hops, used)) times.gone_ns = at;
    if (times.gone_ns && !times.back_ns && std::ranges::all_of(window.hops, used)) {
      times.back_ns = at;
    }
    if (!times.others_gone_ns && !std::ranges::all_of(window.others, used)) {
      times.others_gone_ns = at;
    }
  }
}

void take_losses(const FaultWindow& window, const Seen& seen, FaultTimes& times) {
  const auto first = std::ranges::lower_bound(seen.probes, window.begun, {}, &Probe::sent);
  const auto last =
      std::ranges::lower_bound(first, seen.probes.end(), window.ended, {}, &Probe::sent);
  const auto losses = losses_of({first, last});
  times.probes = static_cast<std::uint64_t>(last - first);
  times.lost = losses.lost;
  times.loss_ns = losses.ns;
  times.outages = losses.outages;
}

}  // namespace

FaultTimes analyse_fault(const FaultWindow& window, const Seen& seen) {
  const Since since{window.begun};
  FaultTimes times{.healed_ns = since(window.healed), .ended_ns = since(window.ended)};
  take_wire(window, seen, times);
  times.end_of_rib = saw_end_of_rib(window, seen);
  take_session(window, seen, times);
  take_route(window, seen, times);
  take_losses(window, seen, times);
  return times;
}

}  // namespace stackbench::bgp
