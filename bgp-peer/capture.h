// What goes over a session's link: BGP's packets by libpcap, with the kernel's times, kept in a
// file that tshark reads, and the UPDATEs among them.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "bgp-peer/wire.h"

namespace bgp_peer {

// An UPDATE as it passed. `passed` is the kernel's time of its last packet (CLOCK_REALTIME), put
// onto CLOCK_MONOTONIC when it was read, some milliseconds later: the kernel gathers packets for
// 5 ms.
struct CapturedUpdate {
  Update update = {};
  base::IpAddress from = {};
  base::IpAddress to = {};
  base::MonotonicTime passed = {};
};

// A segment of a session as it passed, UPDATEs' contents left out: how a session was opened, kept
// up and ended.
struct CapturedSegment {
  base::Endpoint from = {};
  base::Endpoint to = {};
  bool syn = false;
  bool ack = false;
  bool fin = false;
  bool rst = false;
  std::vector<MessageType> messages = {};  // that it completed
  std::optional<Open> open = {};
  std::optional<Notification> notification = {};
  base::MonotonicTime passed = {};  // as CapturedUpdate's
};

// Captures TCP port 179 on an interface, from a thread of its own.
class Capture {
 public:
  struct Options {
    int netns = -1;  // where the interface is
    std::string interface = {};
    std::string file = {};  // a pcap file, replaced; empty: none is kept
    // Told of every segment, on the capture's thread; empty: nobody is.
    std::function<void(const CapturedSegment&)> on_segment = {};
  };
  // The handler runs on the capture's thread. Errors: not_permitted, missing (the interface),
  // system.
  static base::Result<Capture> start(const Options& options,
                                     std::function<void(const CapturedUpdate&)> handler);

  Capture(Capture&&) noexcept;
  Capture& operator=(Capture&&) = delete;
  // Ends it; the file is whole then.
  ~Capture();

  // Packets the kernel could not keep for us. Errors: system, also where it sees none any more.
  [[nodiscard]] base::Result<unsigned> dropped() const;

 private:
  struct State;
  explicit Capture(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bgp_peer
