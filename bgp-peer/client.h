// A client of gobgpd's gRPC API (GoBGP 3; its messages are in proto/gobgp.proto): sessions and
// routes read, changed and watched. gRPC and protobuf stay behind this header.
//
// An event's time is when we received it (CLOCK_MONOTONIC): GoBGP's own times are whole seconds. It
// is taken by a thread that does nothing but receive, whatever handlers do meanwhile. What is in it
// beyond the way from the daemon: gRPC's parsing of the message, which grows with its routes.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "bgp-peer/route.h"

namespace bgp_peer {

// Where gobgpd's API listens when nothing else is said.
inline constexpr std::uint16_t default_api_port = 50051;

// An address as the user writes it, in the form gRPC takes: `10.0.0.1` and `10.0.0.1:50051`,
// `[fd00::1]:50051`, `router.example:50051`, `unix:/run/gobgpd.sock`. Errors: input.
[[nodiscard]] base::Result<std::string> api_address(std::string_view text);

// How BGP runs in a daemon.
struct Global {
  Asn asn = {};
  base::IpAddress router_id = {};                      // an IPv4 address, whatever the families
  std::int32_t port = 179;                             // -1: it does not listen
  std::vector<base::IpAddress> listen_addresses = {};  // none: all
  bool multipath = false;                              // whether equal paths are chosen together
};

// A neighbour for add_peer(); Daemon's configuration (config.h) has the rest.
struct NewPeer {
  base::IpAddress address = {};
  Asn asn = {};
  std::string password = {};          // of TCP MD5 signatures (RFC 2385); empty: none
  std::uint64_t hold_time_s = 0;      // 0: GoBGP's 90
  std::uint64_t connect_retry_s = 0;  // 0: GoBGP's 120; it waits no less than 5
  bool passive = false;               // waits for the neighbour to connect
  std::vector<Family> families = {Family::ipv4_unicast};
};

enum class Table : std::uint8_t {
  global,   // all paths, the best of each prefix marked
  adj_in,   // what a neighbour announced (Adj-RIB-In)
  adj_out,  // what it is told (Adj-RIB-Out)
};

// How much may wait for whoever takes events: that many sessions and paths, or one event of more.
inline constexpr std::size_t most_waiting = 200'000;

struct WatchOptions {
  bool peers = true;
  bool paths = true;
  // Paths as a neighbour announced them (Adj-RIB-In), one by one and whether chosen or not; else
  // for every prefix that changed all of its chosen ones.
  bool as_received = false;
  std::size_t most_waiting = bgp_peer::most_waiting;
};

// A stream of events. The handler runs on a thread of its own, one event at a time, the first while
// watch() may not have returned yet; the last is `ended`, unless the watch is destroyed before. A
// handler that falls behind by more than WatchOptions::most_waiting ends the stream, as it says.
class Watch {
 public:
  Watch(Watch&&) noexcept;
  Watch& operator=(Watch&&) = delete;
  // Ends the stream and waits for the handler to return; what it has not been told by then, it
  // never is. Not to be called from the handler.
  ~Watch();

 private:
  friend class Client;
  struct State;
  explicit Watch(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// A connection to one daemon. Calls may come from several threads. They return errors of kind
//   missing     nobody listens, or it is no GoBGP 3 (said with the version that is needed)
//   peer_lost   the daemon went away
//   timed_out   it did not answer within the deadline
//   input       the daemon refused what was asked, in its words
//   interrupted the descriptor that says so became readable
//   system      the answer was too large
class Client {
 public:
  // Connects and asks for its settings, so that a client that exists has spoken to a GoBGP 3.
  // `address` is as api_address() takes it; `deadline` is each later call's, too, and so is
  // `interrupt_fd` (base/interrupt.h): once that is readable, no call waits any longer.
  static base::Result<Client> connect(std::string_view address,
                                      base::Duration deadline = std::chrono::seconds(5),
                                      int interrupt_fd = -1);

  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  // The address as gRPC takes it.
  [[nodiscard]] const std::string& address() const;

  // BGP's settings; nothing while it has not been started.
  [[nodiscard]] base::Result<std::optional<Global>> global() const;
  // Starts BGP in a daemon that runs without a configuration file.
  [[nodiscard]] base::Result<> start(const Global& global) const;
  // Ends every session with a NOTIFICATION and forgets all of it.
  [[nodiscard]] base::Result<> stop() const;

  // Every neighbour, in the order of their addresses. Dynamic ones appear once they connect.
  [[nodiscard]] base::Result<std::vector<Peer>> peers() const;
  // The networks from which unknown neighbours are taken.
  [[nodiscard]] base::Result<std::vector<Prefix>> dynamic_neighbors() const;
  [[nodiscard]] base::Result<> add_peer(const NewPeer& peer) const;
  [[nodiscard]] base::Result<> remove_peer(const base::IpAddress& address) const;
  // Ends the session with a NOTIFICATION (cease); it comes back after the idle hold time.
  [[nodiscard]] base::Result<> reset_peer(const base::IpAddress& address) const;
  // Ends it until it is enabled again.
  [[nodiscard]] base::Result<> disable_peer(const base::IpAddress& address) const;
  [[nodiscard]] base::Result<> enable_peer(const base::IpAddress& address) const;

  // The paths of a table, in the order of their prefixes. `neighbor`: whose, for adj_in and
  // adj_out.
  [[nodiscard]] base::Result<std::vector<Path>> paths(
      Family family, Table table = Table::global,
      const std::optional<base::IpAddress>& neighbor = {}) const;
  // Announces a path of the daemon's own. What counts of it: prefix, next_hop, as_path, origin,
  // med, local_preference and communities.
  [[nodiscard]] base::Result<> add_path(const Path& path) const;
  // The same for many at once, over one stream; those marked `withdrawn` are withdrawn instead.
  [[nodiscard]] base::Result<> add_paths(const std::vector<Path>& paths) const;
  // Withdraws it. What counts of it: as add_path().
  [[nodiscard]] base::Result<> remove_path(const Path& path) const;

  // Starts to watch: what there is, then what changes. Paths of one prefix come together: those in
  // an event replace all that were told of it before, and a withdrawn one alone leaves none.
  // Returns once the daemon has begun: what changes from then on is told as a change. A daemon that
  // falls silent without a word (a host that is gone, a process that is stopped) ends the stream
  // after five to six minutes: it allows no more frequent pings. Errors: as above; input, when
  // nothing is watched.
  [[nodiscard]] base::Result<Watch> watch(const WatchOptions& options,
                                          std::function<void(Event)> handler) const;
  // The same for a handler that takes all that has come by the time it is called, in order, and not
  // empty: who works off many at once is not called for each.
  [[nodiscard]] base::Result<Watch> watch_all(
      const WatchOptions& options, std::function<void(std::vector<Event>)> handler) const;

 private:
  [[nodiscard]] base::Result<Watch> begin(const WatchOptions& options, std::size_t most_at_once,
                                          std::function<void(std::vector<Event>)> handler) const;
  struct State;
  explicit Client(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Events from a handler to another thread: `fd()` is readable while there are any. When more than
// `limit` would wait (as most_waiting counts), `ended` stands in place of what no longer fits, and
// nothing follows.
class EventQueue {
 public:
  // Errors: system.
  static base::Result<EventQueue> make(std::size_t limit = most_waiting);
  // For Client::watch(); it may outlive this.
  [[nodiscard]] std::function<void(Event)> handler() const;
  // For poll(2). Ownership stays here.
  [[nodiscard]] int fd() const;
  // What has come since the last call, in order; does not wait.
  [[nodiscard]] std::vector<Event> take() const;

 private:
  struct State;
  explicit EventQueue(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

}  // namespace bgp_peer
