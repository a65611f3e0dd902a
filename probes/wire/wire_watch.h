// Frames in, a WireReport out. It holds no traffic but what waits for a segment before it, within a
// fixed amount of memory; what finds no room is counted.
#pragma once

#include <deque>
#include <memory>
#include <unordered_map>

#include "base/clock.h"
#include "base/packet.h"
#include "probes/wire/byte_stream.h"
#include "probes/wire/canary_search.h"
#include "probes/wire/tls.h"
#include "probes/wire/wire.h"

namespace probes {

// One thread.
class WireWatch {
 public:
  explicit WireWatch(const CaptureJob& job);
  ~WireWatch();
  WireWatch(const WireWatch&) = delete;
  WireWatch& operator=(const WireWatch&) = delete;

  // `size`: of the frame on the wire, where the capture cut it.
  void take(base::ByteSpan frame, std::size_t size, base::MonotonicTime at);

  // Looks for one more token, in what comes from here on, that is no canary of the job's: whether
  // it was found is asked by its number.
  std::size_t look_for(std::string token);
  [[nodiscard]] bool found(std::size_t token) const { return seen_[token] > 0; }
  // A connection that is a sample's: it is no traffic.
  void leave_out(const base::Endpoint& client) { left_out_.push_back(client); }

  // Everything until now; nothing may follow. What the capture knows is left to it: the interface,
  // its times, packets, losses, samples.
  [[nodiscard]] WireReport finish();

 private:
  struct Direction;
  struct Connection;
  struct Key {
    base::Endpoint a;
    base::Endpoint b;
    bool operator==(const Key&) const = default;
  };
  struct HashKey {
    std::size_t operator()(const Key& key) const;
  };

  void take_segment(const base::TcpSegment& segment);
  void sent_elsewhere(const base::Endpoint& to, std::string_view protocol, std::uint64_t bytes);
  [[nodiscard]] bool concerns_us(const base::TcpSegment& segment) const;
  [[nodiscard]] bool is_server(const base::Endpoint& endpoint) const;
  [[nodiscard]] bool is_client(const base::IpAddress& address) const;
  Connection* connection_of(const base::TcpSegment& segment);
  void make_room();
  void conclude(Connection& connection);
  void conclude_other(const Connection& connection);
  void conclude_tls(Connection& connection);
  void note_handshake(const ClientHello& client, const ServerHello& server, std::uint16_t port);
  void sighted(const Sighting& sighting, const Direction& direction, bool again);

  std::size_t room_;                        // for bytes that wait, of all streams
  std::vector<base::Endpoint> servers_;     // sorted
  std::vector<base::IpAddress> addresses_;  // theirs, sorted
  std::vector<base::IpAddress> clients_;    // sorted
  std::size_t job_tokens_;
  std::vector<std::string> names_;
  std::vector<std::string> tokens_;
  std::vector<std::uint64_t> seen_;  // by token
  std::vector<base::Endpoint> left_out_;
  std::unordered_map<Key, std::unique_ptr<Connection>, HashKey> connections_;
  std::deque<Key> ended_;  // connections that are over, oldest first
  base::MonotonicTime now_;
  WireReport report_;
};

}  // namespace probes
