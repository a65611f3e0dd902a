// What lab tests stand on, and only tests: nameless network namespaces, a cgroup of one's own, and
// plain blocking sockets with deadlines. Everything here goes with its object, or with the process.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/fd.h"
#include "base/process.h"
#include "base/result.h"

namespace base::testing {

// Why no lab test can run here ("needs root: ..."), or nothing when they can.
[[nodiscard]] std::optional<std::string> no_lab_here();

// A network namespace that lives as long as a descriptor, socket or process is in it; its loopback
// is up.
class TestNetns {
 public:
  // Errors: not_permitted, system.
  static Result<TestNetns> make();

  [[nodiscard]] int fd() const { return fd_.get(); }
  // Runs `step` with the calling thread inside; sockets it opens stay there. Threads and processes
  // it starts are inside too.
  template <typename Step>
  auto inside(const Step& step) const {
    const Guard guard(fd_.get());
    return step();
  }
  // Runs a command line inside, its words split at blanks: "ip link set lo up". Errors: as
  // base::run_for_output.
  Result<std::string> run(std::string_view command_line, std::string_view input = {}) const;

 private:
  class Guard {
   public:
    explicit Guard(int target);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    UniqueFd before_;
  };

  UniqueFd fd_;
};

// Two namespaces and a veth pair between them: `host0` in the first and `pod0` in the second, both
// up with 10.244.77.1/24 and .2/24, fd00:244:77::1/64 and ::2/64 (no duplicate address detection),
// the pod's default routes by way of the host.
struct TestPair {
  TestNetns host;
  TestNetns pod;

  static Result<TestPair> make();
};

// The cgroup2 mount point, from /proc/mounts. Errors: missing.
[[nodiscard]] Result<std::string> cgroup2_mount();

// A cgroup2 directory of our own. The destructor moves the test process back to where it came from
// and removes the directory.
class TestCgroup {
 public:
  static Result<TestCgroup> make();
  TestCgroup(TestCgroup&& other) noexcept;
  TestCgroup& operator=(TestCgroup&&) = delete;
  ~TestCgroup();

  [[nodiscard]] const std::string& path() const { return path_; }
  // Moves this process in or back out: sockets made from then on belong there.
  [[nodiscard]] Result<> enter() const;
  [[nodiscard]] Result<> leave() const;

 private:
  TestCgroup(std::string path, std::string before)
      : path_(std::move(path)), before_(std::move(before)) {}
  std::string path_;
  std::string before_;
};

enum class Transport { tcp, udp };

// Sockets that give up after 5 s. `mapped` dials an IPv4 endpoint through an AF_INET6 socket.
[[nodiscard]] Result<UniqueFd> listen_at(const Endpoint& endpoint, Transport transport);
[[nodiscard]] Result<UniqueFd> open_socket(const Endpoint& peer, Transport transport,
                                           bool mapped = false);
[[nodiscard]] Result<UniqueFd> dial(const Endpoint& peer, Transport transport, bool mapped = false);
[[nodiscard]] Result<> send_to(int fd, const Endpoint& peer, std::string_view text,
                               bool mapped = false);
struct Datagram {
  std::string text;
  Endpoint from;
};
[[nodiscard]] Result<Datagram> receive_from(int fd);
// getpeername(2) and getsockname(2); a mapped address is given back as IPv4.
[[nodiscard]] Result<Endpoint> peer_of(int fd);
[[nodiscard]] Result<Endpoint> local_of(int fd);

// Answers every TCP connection and every datagram at its endpoints with its name, from a thread,
// until it goes. A TCP client may send lines and gets one answer to each.
class EchoServer {
 public:
  // `endpoints`: pairs of an endpoint and the name that is answered there. Call inside the
  // namespace to serve in.
  static Result<EchoServer> start(const std::vector<std::pair<Endpoint, std::string>>& endpoints,
                                  Transport transport);
  // The same at one endpoint with an answer made when asked, on the server's thread: a relay.
  static Result<EchoServer> relay(const Endpoint& endpoint, Transport transport,
                                  std::function<std::string()> answer);
  EchoServer(EchoServer&&) noexcept;
  EchoServer& operator=(EchoServer&&) = delete;
  ~EchoServer();

 private:
  struct State;
  explicit EchoServer(std::unique_ptr<State> state);
  template <typename Served>
  static Result<EchoServer> begin(std::vector<Served> served, Transport transport);
  std::unique_ptr<State> state_;
};

// One question and its answer over a connected socket, or to `peer` over an unconnected one.
[[nodiscard]] Result<std::string> ask(int fd);
// The client's address and port as the server at the other end of a connected socket sees them.
[[nodiscard]] Result<std::string> ask_where_from(int fd);
[[nodiscard]] Result<Datagram> ask_at(int fd, const Endpoint& peer, bool mapped = false);

// Polls `holds` every 2 ms for at most `within`; whether it came to hold.
[[nodiscard]] bool eventually(const std::function<bool()>& holds,
                              std::chrono::milliseconds within = std::chrono::seconds(5));

}  // namespace base::testing
