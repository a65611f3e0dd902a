#include "bgp-peer/table.h"

#include <algorithm>
#include <ctime>
#include <ranges>
#include <set>

#include "base/units.h"

namespace bgp_peer {
namespace {

using Rows = std::vector<std::vector<std::string>>;

constexpr std::size_t most_changes = 10;
constexpr std::size_t most_shown = 30;  // neighbours, or prefixes, where there is no last line
constexpr auto silence = std::chrono::milliseconds(2500);
constexpr std::string_view gap = "  ";

tm broken_down(std::int64_t realtime_ns, bool utc) {
  const auto seconds = static_cast<time_t>(realtime_ns / 1'000'000'000);
  tm parts{};
  if (utc) {
    ::gmtime_r(&seconds, &parts);
  } else {
    ::localtime_r(&seconds, &parts);
  }
  return parts;
}

std::string iso_time(std::int64_t realtime_ns) {
  const auto parts = broken_down(realtime_ns, true);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     realtime_ns % 1'000'000'000);
}

std::string next_hops_text(const std::vector<Path>& paths) {
  std::vector<std::string> hops;
  for (const auto& path : paths) hops.push_back(path.next_hop.to_string());
  std::ranges::sort(hops);
  return fmt::format("{}", fmt::join(hops, ", "));
}

// The paths of each prefix that an event names; none: it was withdrawn.
std::map<Prefix, std::vector<Path>> by_prefix(const std::vector<Path>& paths) {
  std::map<Prefix, std::vector<Path>> all;
  for (const auto& path : paths) {
    auto& its = all[path.prefix];
    if (!path.withdrawn) its.push_back(path);
  }
  for (auto& [prefix, its] : all) std::ranges::sort(its, {}, &Path::next_hop);
  return all;
}

std::string communities_text(const std::vector<Community>& communities) {
  std::vector<std::string> words;
  for (const auto& community : communities) words.push_back(community.to_string());
  return fmt::format("{}", fmt::join(words, " "));
}

// "12 s", and ">12 s" where it was so before we looked.
std::string how_long(base::MonotonicTime since, base::MonotonicTime now, bool from_its_beginning) {
  const auto text = base::format_wait(std::max<std::int64_t>((now - since).count(), 0));
  return from_its_beginning ? text : ">" + text;
}

// Columns as wide as their widest cell, the last one unpadded.
std::string laid_out(const Rows& rows, std::size_t width) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], base::display_width(row[i]));
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      line += gap;
      line += i + 1 < row.size() ? base::pad_right(row[i], widths[i]) : row[i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += base::shorten(line, width) + "\n";
  }
  return text;
}

// A heading row and groups of rows in at most `lines` lines, with the number of groups that do not
// fit.
std::string block(const std::vector<std::string>& head, const std::vector<Rows>& groups,
                  std::size_t lines, std::size_t width) {
  if (groups.empty() || lines == 0) return "";
  std::size_t all = 1;
  for (const auto& group : groups) all += group.size();
  const bool fits = all <= lines;
  const auto room = fits ? all : lines - 1;  // else the last line says what is missing
  Rows rows{head};
  std::size_t shown = 0;
  for (const auto& group : groups) {
    // A group that does not even fit by itself is shown as far as it does.
    if (rows.size() + group.size() > room && shown > 0) break;
    for (const auto& row : group) {
      if (rows.size() < room) rows.push_back(row);
    }
    if (rows.size() >= room && !fits) {
      shown += rows.back() == group.back() ? 1 : 0;
      break;
    }
    ++shown;
  }
  std::string text = room > 1 ? laid_out(rows, width) : "";
  if (fits) return text;
  return text + base::shorten(fmt::format("{}and {} more", gap, groups.size() - shown), width) +
         "\n";
}

// How many lines each part gets of those there are, in the order of what is looked at: sessions,
// changes, and the rest to the routes.
struct Shares {
  std::size_t sessions = 0;
  std::size_t routes = 0;
  std::size_t changes = 0;
};

Shares divide(std::size_t lines, const Shares& wanted) {
  const auto rest = [&](std::size_t others) { return lines > others ? lines - others : 0; };
  Shares given;
  given.sessions =
      std::min(wanted.sessions, std::max(lines / 3, rest(wanted.routes + wanted.changes)));
  given.changes =
      std::min(wanted.changes, std::max(lines / 4, rest(wanted.routes + given.sessions)));
  given.routes = rest(given.sessions + given.changes);
  return given;
}

std::size_t lines_of(const std::vector<Rows>& groups) {
  if (groups.empty()) return 0;
  std::size_t lines = 1;
  for (const auto& group : groups) lines += group.size();
  return lines;
}

base::Json line_of(std::string_view type, const Event& event) {
  return {{"type", type},
          {"received_ns", event.received.ns},
          {"time", iso_time(event.received_realtime_ns)},
          {"initial", event.initial}};
}

}  // namespace

std::string clock_time(std::int64_t realtime_ns) {
  const auto parts = broken_down(realtime_ns, false);
  return fmt::format("{:02}:{:02}:{:02}.{:03}", parts.tm_hour, parts.tm_min, parts.tm_sec,
                     realtime_ns / 1'000'000 % 1000);
}

std::vector<std::string> WatchedTable::apply(const Event& event) {
  std::vector<std::string> lines;
  if (event.kind == Event::Kind::peer) lines = apply_peer(event);
  if (event.kind == Event::Kind::paths) lines = apply_paths(event);
  other_families_ += event.other_families;
  for (const auto& line : lines) {
    changes_.push_front({event.received_realtime_ns, line});
    if (changes_.size() > most_changes) changes_.pop_back();
  }
  return lines;
}

std::vector<std::string> WatchedTable::apply_peer(const Event& event) {
  const auto& told = event.peer;
  const auto found = peers_.find(told.address);
  if (found == peers_.end()) {
    peers_[told.address] = {told, event.received, event.received, !event.initial};
    return {fmt::format("{} (AS {}) is {}", told.address, told.asn.number,
                        base::enum_name(told.state))};
  }
  auto& seen = found->second;
  seen.told = event.received;
  const auto before = seen.peer.state;
  if (told.asn.number != 0) seen.peer.asn = told.asn;
  seen.peer.admin = told.admin;
  if (told.router_id) seen.peer.router_id = told.router_id;
  if (before == told.state) return {};
  seen.peer.state = told.state;
  seen.since = event.received;
  seen.seen_change = true;
  return {fmt::format("{} (AS {}) is {}, was {}", told.address, seen.peer.asn.number,
                      base::enum_name(told.state), base::enum_name(before))};
}

std::vector<std::string> WatchedTable::apply_paths(const Event& event) {
  std::vector<std::string> lines;
  for (auto& [prefix, paths] : by_prefix(event.paths)) {
    const auto found = routes_.find(prefix);
    if (paths.empty()) {
      if (found == routes_.end()) continue;
      lines.push_back(fmt::format("{} withdrawn, was via {}", prefix.to_string(),
                                  next_hops_text(found->second.paths)));
      routes_.erase(found);
      continue;
    }
    if (found == routes_.end()) {
      lines.push_back(fmt::format("{} via {}", prefix.to_string(), next_hops_text(paths)));
      routes_[prefix] = {paths, event.received, !event.initial};
    } else if (found->second.paths != paths) {
      const auto before = next_hops_text(found->second.paths);
      const auto now = next_hops_text(paths);
      lines.push_back(before == now
                          ? fmt::format("{} via {}, with other attributes", prefix.to_string(), now)
                          : fmt::format("{} via {}, was via {}", prefix.to_string(), now, before));
      found->second = {paths, event.received, true};
    }
  }
  return lines;
}

void WatchedTable::refresh(const std::vector<Peer>& peers, base::MonotonicTime asked) {
  std::map<base::IpAddress, SeenPeer> known;
  for (const auto& [address, seen] : peers_) {
    if (seen.told > asked) known[address] = seen;
  }
  for (const auto& peer : peers) {
    const auto found = peers_.find(peer.address);
    // Its state is what the events tell: a listing may be ahead of them.
    if (found == peers_.end()) continue;
    auto& seen = known[peer.address] = found->second;
    const auto state = seen.peer.state;
    seen.peer = peer;
    seen.peer.state = state;
  }
  peers_ = std::move(known);
}

void WatchedTable::refresh_stale(const std::vector<Path>& listed) {
  const auto key = [](const Path& path) {
    return std::tuple(path.prefix, path.neighbor, path.next_hop);
  };
  std::set<std::tuple<Prefix, std::optional<base::IpAddress>, base::IpAddress>> stale;
  for (const auto& path : listed) {
    if (path.stale) stale.insert(key(path));
  }
  for (auto& [prefix, seen] : routes_) {
    for (auto& path : seen.paths) path.stale = stale.contains(key(path));
  }
}

bool WatchedTable::may_be_stale() const {
  const auto may_be = [this](const Path& path) {
    if (path.stale || !path.neighbor) return path.stale;
    const auto from = peers_.find(*path.neighbor);
    return from == peers_.end() || from->second.peer.state != SessionState::established;
  };
  return std::ranges::any_of(
      routes_, [&](const auto& route) { return std::ranges::any_of(route.second.paths, may_be); });
}

std::vector<Rows> WatchedTable::session_rows(base::MonotonicTime now) const {
  std::vector<Rows> groups;
  for (const auto& [address, seen] : peers_) {
    const auto& peer = seen.peer;
    const bool up = peer.state == SessionState::established;
    const auto& restart = peer.remote.graceful_restart;
    groups.push_back(
        {{address.to_string(), std::to_string(peer.asn.number),
          peer.admin == AdminState::up
              ? std::string(base::enum_name(peer.state))
              : fmt::format("{} ({})", base::enum_name(peer.state), base::enum_name(peer.admin)),
          how_long(seen.since, now, seen.seen_change),
          up ? fmt::format("{} s", peer.negotiated_hold_time_s) : "-",
          up ? fmt::format("{} s", peer.keepalive_interval_s) : "-",
          up ? std::to_string(peer.prefixes_accepted) : "-",
          restart ? fmt::format("{} s", restart->restart_time_s) : "-"}});
  }
  return groups;
}

std::vector<Rows> WatchedTable::route_rows(base::MonotonicTime now) const {
  std::vector<Rows> groups;
  for (const auto& [prefix, seen] : routes_) {
    auto& rows = groups.emplace_back();
    for (const auto& path : seen.paths) {
      const bool first = rows.empty();
      rows.push_back({first ? prefix.to_string() : "",
                      path.next_hop.to_string() + (path.stale ? " (stale)" : ""),
                      path.as_path.empty() ? "-" : as_path_text(path.as_path),
                      std::string(base::enum_name(path.origin)),
                      path.communities.empty() ? "-" : communities_text(path.communities),
                      first ? how_long(seen.since, now, seen.seen_change) : ""});
    }
  }
  return groups;
}

std::string WatchedTable::heading(base::MonotonicTime now) const {
  const auto who = global_ ? fmt::format("gobgpd at {}: AS {}, router ID {}", address_,
                                         global_->asn.number, global_->router_id)
                           : fmt::format("gobgpd at {}: BGP has not been started", address_);
  if (!answered_ || now - *answered_ < silence) return who;
  return fmt::format("{} - no answer for {}", who, base::format_wait((now - *answered_).count()));
}

std::string WatchedTable::routes_heading() const {
  auto text = fmt::format("Routes: {}", routes_.size());
  if (other_families_ > 0) {
    text += fmt::format(", and {} changes of other families, not shown", other_families_);
  }
  return text;
}

std::string WatchedTable::render(const base::Terminal& terminal, base::MonotonicTime now,
                                 std::size_t rows) const {
  const auto width = static_cast<std::size_t>(std::max(terminal.width, 1));
  const auto bold = [&](const std::string& text) {
    return base::painted(base::shorten(text, width), base::Paint::bold, terminal.colour) + "\n";
  };
  const auto sessions = session_rows(now);
  const auto routes = route_rows(now);
  Shares lines{.sessions = 1 + most_shown, .routes = 1 + most_shown, .changes = changes_.size()};
  if (rows > 0) {
    // The headings, the empty lines before them, and the line of the cursor.
    const std::size_t taken = changes_.empty() ? 6 : 8;
    lines = divide(rows > taken ? rows - taken : 0,
                   {lines_of(sessions), lines_of(routes), changes_.size()});
  }
  std::string text = bold(heading(now));
  text += "\n" + bold(fmt::format("Sessions: {}", peers_.size()));
  text += block({"neighbor", "AS", "state", "for", "hold", "keepalive", "prefixes", "restart"},
                sessions, lines.sessions, width);
  text += "\n" + bold(routes_heading());
  text += block({"prefix", "next hop", "AS path", "origin", "communities", "for"}, routes,
                lines.routes, width);
  if (!changes_.empty()) {
    text += "\n" + bold("Last changes");
    for (const auto& change : changes_ | std::views::take(lines.changes)) {
      text += base::shorten(
                  fmt::format("{}{}{}{}", gap, clock_time(change.realtime_ns), gap, change.text),
                  width) +
              "\n";
    }
  }
  // A terminal of a few lines has not even room for the headings.
  std::size_t end = 0;
  for (std::size_t line = 1; rows > 0 && line < rows && end != std::string::npos; ++line) {
    end = text.find('\n', end == 0 ? 0 : end + 1);
  }
  return rows > 1 && end != std::string::npos ? text.substr(0, end + 1) : text;
}

std::vector<base::Json> event_lines(const Event& event) {
  std::vector<base::Json> lines;
  if (event.kind == Event::Kind::peer) {
    auto line = line_of("session", event);
    line["neighbor"] = event.peer.address.to_string();
    line["asn"] = event.peer.asn.number;
    line["state"] = base::enum_name(event.peer.state);
    line["admin"] = base::enum_name(event.peer.admin);
    if (event.peer.router_id) line["router_id"] = event.peer.router_id->to_string();
    lines.push_back(std::move(line));
  } else if (event.kind == Event::Kind::paths) {
    for (const auto& [prefix, paths] : by_prefix(event.paths)) {
      auto line = line_of("route", event);
      line["prefix"] = prefix.to_string();
      line["paths"] = base::to_json(paths);
      lines.push_back(std::move(line));
    }
    if (event.other_families > 0) {
      auto line = line_of("other_families", event);
      line["paths"] = event.other_families;
      lines.push_back(std::move(line));
    }
  } else if (event.kind == Event::Kind::ended) {
    auto line = line_of("ended", event);
    line["error"] = event.error.message;
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace bgp_peer
