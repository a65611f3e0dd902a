#include "checks/handshake_per_connection.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

#include "base/units.h"

namespace checks {
namespace {

struct Side {
  std::string_view name;
  std::uint64_t handshakes;
  std::uint64_t resumed;
  std::uint64_t taken;
};

std::uint64_t allowed_difference(std::uint64_t connections) {
  return static_cast<std::uint64_t>(
      std::floor(static_cast<double>(connections) * handshakes_tolerance));
}

std::uint64_t difference(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : b - a; }

struct Trouble {
  std::string text;
  std::uint64_t far;  // how far from what was promised
};

// Fewer than the client's: some went by another way.
std::optional<Trouble> went_round(std::uint64_t connections, const Side& side) {
  if (side.taken + allowed_difference(connections) >= connections) return std::nullopt;
  return Trouble{fmt::format("{} of {} did not pass the {}'s proxy", connections - side.taken,
                             base::format_count(connections, "connection"), side.name),
                 connections - side.taken};
}

// What is wrong with the handshakes of one side of one invocation; nothing where all is as
// promised.
std::optional<std::string> miscounted(const HandshakePromise& promise, std::uint64_t connections,
                                      const Side& side) {
  const auto said = fmt::format("the {}'s proxy counted {} for {}", side.name,
                                base::format_count(side.handshakes, "handshake"),
                                base::format_count(connections, "connection"));
  if (!promise.mutual_tls) {
    return side.handshakes == 0 ? std::nullopt : std::optional(said + ", where there is no TLS");
  }
  if (difference(side.handshakes, connections) > allowed_difference(connections)) return said;
  if (!promise.resumption && side.resumed > 0) {
    return fmt::format("{}, of which {} resumed a session, where that is off", said, side.resumed);
  }
  if (promise.resumption && side.resumed == 0 && side.handshakes >= enough_to_resume) {
    return fmt::format("{}, of which none resumed a session, where that is on", said);
  }
  return std::nullopt;
}

// The worst of an invocation.
std::optional<Trouble> trouble_of(const HandshakePromise& promise, const HandshakeWindow& one) {
  std::optional<Trouble> worst;
  const auto add = [&](std::optional<Trouble> more) {
    if (more && (!worst || more->far > worst->far)) worst = std::move(more);
  };
  const Side client{"client", one.client_handshakes, one.client_resumed, one.client_taken};
  const Side server{"server", one.server_handshakes, one.server_resumed, one.server_taken};
  add(went_round(one.connections, client));
  if (promise.pooled) return worst;
  add(went_round(one.connections, server));
  for (const auto& side : {client, server}) {
    if (auto text = miscounted(promise, one.connections, side)) {
      add(Trouble{*std::move(text),
                  difference(side.handshakes, promise.mutual_tls ? one.connections : 0)});
    }
  }
  return worst;
}

}  // namespace

Finding handshake_per_connection(const HandshakePromise& promise,
                                 const std::vector<HandshakeWindow>& invocations) {
  Finding finding;
  HandshakeWindow all;
  std::size_t wrong = 0;
  std::optional<Trouble> worst;
  for (const auto& one : invocations) {
    all.connections += one.connections;
    all.client_handshakes += one.client_handshakes;
    all.client_resumed += one.client_resumed;
    all.server_handshakes += one.server_handshakes;
    all.server_resumed += one.server_resumed;
    all.client_taken += one.client_taken;
    all.server_taken += one.server_taken;
    auto trouble = trouble_of(promise, one);
    if (!trouble) continue;
    ++wrong;
    if (!worst || trouble->far > worst->far) worst = std::move(trouble);
  }
  finding.evidence = {
      {"invocations", invocations.size()},    {"invocations_wrong", wrong},
      {"connections", all.connections},       {"client_handshakes", all.client_handshakes},
      {"client_resumed", all.client_resumed}, {"server_handshakes", all.server_handshakes},
      {"server_resumed", all.server_resumed}, {"client_taken", all.client_taken},
      {"server_taken", all.server_taken}};
  if (all.connections == 0) {
    finding.sentence = "cannot tell: nothing was connected";
    return finding;
  }
  if (wrong > 0) {
    finding.verdict = base::Verdict::invalid;
    finding.observed = "miscounted";
    finding.sentence =
        fmt::format("{}, in {} of {}: the figures are not the cost of {}", worst->text, wrong,
                    base::format_count(invocations.size(), "invocation"),
                    promise.pooled || !promise.mutual_tls ? "proxies" : "handshakes");
    return finding;
  }
  finding.verdict = base::Verdict::pass;
  if (promise.pooled) {
    finding.observed = "pooled";
    finding.sentence = fmt::format(
        "{} passed the client's proxy, which keeps its own to the servers: {} in {}, so the "
        "figures "
        "say little of what a handshake costs",
        base::format_count(all.connections, "connection"),
        base::format_count(all.client_handshakes, "handshake"),
        base::format_count(invocations.size(), "invocation"));
    return finding;
  }
  if (!promise.mutual_tls) {
    finding.observed = "none";
    finding.sentence = fmt::format("no handshake for {}, as there is no TLS",
                                   base::format_count(all.connections, "connection"));
    return finding;
  }
  const auto resumed =
      static_cast<double>(all.client_resumed) / static_cast<double>(all.client_handshakes);
  finding.observed = all.client_resumed > 0 ? "resumed" : "whole";
  finding.sentence =
      fmt::format("{} for {} in {}, {:.0f} % of them resumed sessions",
                  base::format_count(all.client_handshakes, "handshake"),
                  base::format_count(all.connections, "connection"),
                  base::format_count(invocations.size(), "invocation"), 100 * resumed);
  return finding;
}

}  // namespace checks
