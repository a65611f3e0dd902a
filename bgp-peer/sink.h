// A BGP neighbour that takes everything and does nothing with it: no table, no policy, no route.
// How fast speakers are towards it is what they are by themselves, against which a real peer can be
// judged.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/result.h"
#include "bgp-peer/route.h"
#include "bgp-peer/wire.h"

namespace bgp_peer {

struct SinkSpec {
  int netns = -1;                 // where it listens; -1: where we are
  base::IpAddress address = {};   // at which neighbours find it
  std::uint16_t port = bgp_port;  // 0: any that is free
  Asn asn = {};
  base::IpAddress router_id = {};  // an IPv4 address
  std::uint16_t hold_time_s = 90;
  std::string password = {};                    // of TCP MD5 signatures (RFC 2385); empty: none
  std::vector<base::IpAddress> neighbors = {};  // who sign with it
};

// Takes sessions of IPv4 and IPv6 unicast from whoever connects, on a thread of its own: it answers
// an OPEN, and every KEEPALIVE with one (RFC 4271, 4.2 and 4.4), and reads on.
class Sink {
 public:
  // Errors: input (a password too long); not_permitted; system, when the port is taken.
  static base::Result<Sink> start(const SinkSpec& spec);
  Sink(Sink&&) noexcept;
  Sink& operator=(Sink&&) = delete;
  // Closes every session.
  ~Sink();

  [[nodiscard]] std::uint16_t port() const;
  // Sessions on which both sides have said OPEN and KEEPALIVE, and that were not closed since.
  [[nodiscard]] std::size_t established() const;
  // UPDATEs read so far, of all sessions.
  [[nodiscard]] std::uint64_t updates() const;

 private:
  struct State;
  explicit Sink(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bgp_peer
