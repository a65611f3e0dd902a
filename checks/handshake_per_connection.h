// The check `handshake_per_connection`: did every connection pass the proxies, and was each between
// two of them a handshake of its own? Proxies keep connections of theirs and resume TLS sessions,
// so what a handshake costs can be read from an arm's figures only where their own counts say that
// there were as many as connections, and how many of them were whole.
#pragma once

#include <cstdint>
#include <vector>

#include "checks/finding.h"

namespace checks {

// Of one invocation, from before its first connection to after its last.
struct HandshakeWindow {
  std::uint64_t connections = 0;        // that its client opened
  std::uint64_t client_handshakes = 0;  // by the proxy beside the client (ssl.handshake)
  std::uint64_t client_resumed = 0;     // ssl.session_reused: of those
  std::uint64_t server_handshakes = 0;  // by the proxies beside the servers
  std::uint64_t server_resumed = 0;
  std::uint64_t client_taken = 0;  // by the proxy beside the client, of the client
  std::uint64_t server_taken = 0;  // by the proxies beside the servers, of others
};

// What the mesh promises.
struct HandshakePromise {
  bool mutual_tls = true;  // else there must be none
  bool resumption = true;  // sessions may be resumed; else every handshake is whole
  // Proxies connect for themselves, as they do for HTTP: of handshakes nothing is promised.
  bool pooled = false;
};

// How far counts may be from the number of connections, whole ones: those that end with an
// invocation may be counted by one side alone.
inline constexpr double handshakes_tolerance = 0.01;
// From how many handshakes on some must have been resumed where that is on.
inline constexpr std::uint64_t enough_to_resume = 10;

// Judges every invocation by itself, and says of the worst. Pass: the proxies took as many
// connections as the client opened, within 1 %; on both sides the handshakes are as many, within
// 1 %, and resumed ones are there if and only if they may be. Where proxies pool connections, the
// first alone, of the client's. Invalid: anything else, as then the arm's figures are not the cost
// of proxies, or not of handshakes. Inconclusive: no invocation, or none that connected. `observed`
// is "whole", "resumed", "none" (there is no TLS) or "pooled".
[[nodiscard]] Finding handshake_per_connection(const HandshakePromise& promise,
                                               const std::vector<HandshakeWindow>& invocations);

}  // namespace checks
