#include "base/testing/lab.h"

#include <algorithm>
#include <array>
#include <memory>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "base/file.h"

namespace base::testing {
namespace {

Result<UniqueFd> current_netns() {
  UniqueFd fd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  if (!fd) return system_error(errno, "open /proc/thread-self/ns/net");
  return fd;
}

Endpoint to_mapped(const Endpoint& endpoint) {
  Endpoint mapped{.address = {.family = AddressFamily::ipv6}, .port = endpoint.port};
  mapped.address.bytes[10] = mapped.address.bytes[11] = 0xff;
  std::copy_n(endpoint.address.bytes.begin(), 4, mapped.address.bytes.begin() + 12);
  return mapped;
}

Endpoint unmapped(const Endpoint& endpoint) {
  const auto& bytes = endpoint.address.bytes;
  const bool is_mapped =
      endpoint.address.family == AddressFamily::ipv6 && bytes[10] == 0xff && bytes[11] == 0xff &&
      std::all_of(bytes.begin(), bytes.begin() + 10, [](auto byte) { return byte == 0; });
  if (!is_mapped) return endpoint;
  Endpoint plain{.address = {}, .port = endpoint.port};
  std::copy_n(bytes.begin() + 12, 4, plain.address.bytes.begin());
  return plain;
}

SocketAddress address_of(const Endpoint& peer, bool mapped) {
  return SocketAddress(mapped ? to_mapped(peer) : peer);
}

Result<UniqueFd> make_socket(int family, Transport transport) {
  const int type = transport == Transport::tcp ? SOCK_STREAM : SOCK_DGRAM;
  UniqueFd fd(::socket(family, type | SOCK_CLOEXEC, 0));
  if (!fd) return system_error(errno, "socket");
  const timeval deadline{.tv_sec = 5, .tv_usec = 0};
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    if (::setsockopt(fd.get(), SOL_SOCKET, option, &deadline, sizeof(deadline)) != 0) {
      return system_error(errno, "set a socket's deadline");
    }
  }
  return fd;
}

}  // namespace

std::optional<std::string> no_lab_here() {
  if (::geteuid() != 0) return "needs root: network namespaces, cgroups and eBPF";
  if (auto mount = cgroup2_mount(); !mount) return mount.error().message;
  return std::nullopt;
}

TestNetns::Guard::Guard(int target) {
  auto before = current_netns();
  if (before && ::setns(target, CLONE_NEWNET) == 0) before_ = std::move(*before);
  if (!before_) std::abort();  // a test must never go on in the wrong namespace
}

TestNetns::Guard::~Guard() {
  if (::setns(before_.get(), CLONE_NEWNET) != 0) std::abort();
}

Result<TestNetns> TestNetns::make() {
  ASSIGN_OR_RETURN(const auto before, current_netns());
  if (::unshare(CLONE_NEWNET) != 0) return system_error(errno, "make a network namespace");
  TestNetns made;
  auto fd = current_netns();
  if (::setns(before.get(), CLONE_NEWNET) != 0) std::abort();
  if (!fd) return std::unexpected(std::move(fd).error());
  made.fd_ = std::move(*fd);
  RETURN_IF_ERROR(made.run("ip link set lo up"));
  return made;
}

Result<std::string> TestNetns::run(std::string_view command_line, std::string_view input) const {
  std::vector<std::string> argv;
  std::istringstream words{std::string(command_line)};
  for (std::string word; words >> word;) argv.push_back(word);
  return inside([&] { return run_for_output(argv, {.stdin_text = std::string(input)}); });
}

Result<TestPair> TestPair::make() {
  ASSIGN_OR_RETURN(auto host, TestNetns::make());
  ASSIGN_OR_RETURN(auto pod, TestNetns::make());
  // A nameless namespace is named by the descriptor we hold of it.
  RETURN_IF_ERROR(host.run(fmt::format(
      "ip link add host0 type veth peer name pod0 netns /proc/{}/fd/{}", ::getpid(), pod.fd())));
  for (const auto* line :
       {"ip address add 10.244.77.1/24 dev host0",
        "ip address add fd00:244:77::1/64 dev host0 nodad", "ip link set host0 up"}) {
    RETURN_IF_ERROR(host.run(line));
  }
  for (const auto* line :
       {"ip address add 10.244.77.2/24 dev pod0", "ip address add fd00:244:77::2/64 dev pod0 nodad",
        "ip link set pod0 up", "ip route add default via 10.244.77.1",
        "ip -6 route add default via fd00:244:77::1"}) {
    RETURN_IF_ERROR(pod.run(line));
  }
  return TestPair{.host = std::move(host), .pod = std::move(pod)};
}

Result<std::string> cgroup2_mount() {
  ASSIGN_OR_RETURN(const auto mounts, read_file("/proc/mounts"));
  std::istringstream lines(mounts);
  for (std::string device, place, kind, rest; lines >> device >> place >> kind;) {
    std::getline(lines, rest);
    if (kind == "cgroup2") return place;
  }
  return fail(ErrorKind::missing, "no cgroup2 hierarchy is mounted");
}

Result<TestCgroup> TestCgroup::make() {
  static int made = 0;
  ASSIGN_OR_RETURN(const auto mount, cgroup2_mount());
  ASSIGN_OR_RETURN(const auto groups, read_file("/proc/self/cgroup"));
  std::string before;
  std::istringstream lines(groups);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("0::")) before = mount + line.substr(3);
  }
  auto path = fmt::format("{}/stackbench-test-{}-{}", mount, ::getpid(), ++made);
  if (::mkdir(path.c_str(), 0755) != 0) return system_error(errno, "mkdir {}", path);
  return TestCgroup(std::move(path), std::move(before));
}

TestCgroup::TestCgroup(TestCgroup&& other) noexcept
    : path_(std::exchange(other.path_, {})), before_(std::move(other.before_)) {}

TestCgroup::~TestCgroup() {
  if (path_.empty()) return;
  if (!leave() || ::rmdir(path_.c_str()) != 0) {
    fmt::print(stderr, "left behind: {}\n", path_);
  }
}

namespace {
// cgroup.procs takes one write(2) of a pid, 0 for the writer; it cannot be replaced like a file.
Result<> move_here(const std::string& cgroup) {
  const UniqueFd procs(::open((cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
  if (!procs || ::write(procs.get(), "0", 1) != 1) {
    return system_error(errno, "move into {}", cgroup);
  }
  return {};
}
}  // namespace

Result<> TestCgroup::enter() const { return move_here(path_); }
Result<> TestCgroup::leave() const { return move_here(before_); }

Result<UniqueFd> listen_at(const Endpoint& endpoint, Transport transport) {
  ASSIGN_OR_RETURN(auto fd, make_socket(endpoint.address.af(), transport));
  const int yes = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const SocketAddress address(endpoint);
  if (::bind(fd.get(), address.get(), address.size()) != 0) {
    return system_error(errno, "bind {}", endpoint);
  }
  if (transport == Transport::tcp && ::listen(fd.get(), 512) != 0) {
    return system_error(errno, "listen {}", endpoint);
  }
  return fd;
}

Result<UniqueFd> open_socket(const Endpoint& peer, Transport transport, bool mapped) {
  return make_socket(mapped ? AF_INET6 : peer.address.af(), transport);
}

Result<UniqueFd> dial(const Endpoint& peer, Transport transport, bool mapped) {
  ASSIGN_OR_RETURN(auto fd, open_socket(peer, transport, mapped));
  const auto address = address_of(peer, mapped);
  if (::connect(fd.get(), address.get(), address.size()) != 0) {
    return system_error(errno, "connect {}", peer);
  }
  return fd;
}

Result<> send_to(int fd, const Endpoint& peer, std::string_view text, bool mapped) {
  const auto address = address_of(peer, mapped);
  if (::sendto(fd, text.data(), text.size(), 0, address.get(), address.size()) < 0) {
    return system_error(errno, "sendto {}", peer);
  }
  return {};
}

Result<Datagram> receive_from(int fd) {
  std::array<char, 256> buffer{};
  SocketAddress from;
  const auto got = ::recvfrom(fd, buffer.data(), buffer.size(), 0, from.get(), from.capacity());
  if (got < 0) return system_error(errno, "recvfrom");
  ASSIGN_OR_RETURN(const auto endpoint, from.endpoint());
  return Datagram{.text = std::string(buffer.data(), static_cast<std::size_t>(got)),
                  .from = unmapped(endpoint)};
}

Result<Endpoint> peer_of(int fd) {
  SocketAddress address;
  if (::getpeername(fd, address.get(), address.capacity()) != 0) {
    return system_error(errno, "getpeername");
  }
  ASSIGN_OR_RETURN(const auto endpoint, address.endpoint());
  return unmapped(endpoint);
}

Result<Endpoint> local_of(int fd) {
  SocketAddress address;
  if (::getsockname(fd, address.get(), address.capacity()) != 0) {
    return system_error(errno, "getsockname");
  }
  ASSIGN_OR_RETURN(const auto endpoint, address.endpoint());
  return unmapped(endpoint);
}

namespace {
// The question that is answered with the client's own address.
constexpr char where_from = '@';
}  // namespace

struct EchoServer::State {
  struct Served {
    UniqueFd fd;
    std::function<std::string()> answer;
    bool listener = false;
  };
  Transport transport = Transport::tcp;
  UniqueFd stop;
  std::vector<Served> served;
  std::thread thread;

  void serve();
  static std::string answer_to(char question, const Served& one, const SocketAddress& peer);
  // False when the connection is over.
  bool answer(const Served& one) const;
};

void EchoServer::State::serve() {
  while (true) {
    std::vector<pollfd> polled{{.fd = stop.get(), .events = POLLIN, .revents = 0}};
    for (const auto& one : served)
      polled.push_back({.fd = one.fd.get(), .events = POLLIN, .revents = 0});
    if (::poll(polled.data(), polled.size(), -1) < 0) return;
    if (polled[0].revents != 0) return;
    std::vector<Served> accepted;
    for (std::size_t i = 0; i < served.size(); ++i) {
      if (polled[i + 1].revents == 0) continue;
      auto& one = served[i];
      if (one.listener) {
        UniqueFd connection(::accept4(one.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (connection) accepted.push_back({std::move(connection), one.answer, false});
      } else if (!answer(one)) {
        one.fd.reset();
      }
    }
    std::erase_if(served, [](const Served& one) { return !one.fd; });
    std::ranges::move(accepted, std::back_inserter(served));
  }
}

std::string EchoServer::State::answer_to(char question, const Served& one,
                                         const SocketAddress& peer) {
  if (question != where_from) return one.answer();
  const auto endpoint = peer.endpoint();
  return endpoint ? endpoint->to_string() : describe_error(endpoint.error());
}

bool EchoServer::State::answer(const Served& one) const {
  std::array<char, 256> buffer{};
  if (transport == Transport::udp) {
    SocketAddress from;
    const auto got =
        ::recvfrom(one.fd.get(), buffer.data(), buffer.size(), 0, from.get(), from.capacity());
    if (got < 0) return true;
    const auto text = answer_to(buffer[0], one, from);
    ::sendto(one.fd.get(), text.data(), text.size(), 0, from.get(), from.size());
    return true;
  }
  const auto got = ::recv(one.fd.get(), buffer.data(), buffer.size(), 0);
  if (got <= 0) return false;
  SocketAddress peer;
  if (::getpeername(one.fd.get(), peer.get(), peer.capacity()) < 0) return false;
  const auto text = answer_to(buffer[0], one, peer);
  return ::send(one.fd.get(), text.data(), text.size(), MSG_NOSIGNAL) > 0;
}

EchoServer::EchoServer(std::unique_ptr<State> state) : state_(std::move(state)) {}
EchoServer::EchoServer(EchoServer&&) noexcept = default;

template <typename Served>
Result<EchoServer> EchoServer::begin(std::vector<Served> served, Transport transport) {
  auto state = std::make_unique<State>();
  state->transport = transport;
  state->served = std::move(served);
  state->stop.reset(::eventfd(0, EFD_CLOEXEC));
  if (!state->stop) return system_error(errno, "eventfd");
  state->thread = std::thread([raw = state.get()] { raw->serve(); });
  return EchoServer(std::move(state));
}

Result<EchoServer> EchoServer::start(const std::vector<std::pair<Endpoint, std::string>>& endpoints,
                                     Transport transport) {
  std::vector<State::Served> served;
  for (const auto& [endpoint, name] : endpoints) {
    ASSIGN_OR_RETURN(auto fd, listen_at(endpoint, transport));
    served.push_back(
        {std::move(fd), [answer = name] { return answer; }, transport == Transport::tcp});
  }
  return begin(std::move(served), transport);
}

Result<EchoServer> EchoServer::relay(const Endpoint& endpoint, Transport transport,
                                     std::function<std::string()> answer) {
  std::vector<State::Served> served;
  ASSIGN_OR_RETURN(auto fd, listen_at(endpoint, transport));
  served.push_back({std::move(fd), std::move(answer), transport == Transport::tcp});
  return begin(std::move(served), transport);
}

EchoServer::~EchoServer() {
  if (!state_) return;
  ::eventfd_write(state_->stop.get(), 1);
  state_->thread.join();
}

namespace {

Result<std::string> ask_for(int fd, char question) {
  if (::send(fd, &question, 1, MSG_NOSIGNAL) < 0) return system_error(errno, "send");
  std::array<char, 256> buffer{};
  const auto got = ::recv(fd, buffer.data(), buffer.size(), 0);
  if (got < 0) return system_error(errno, "recv");
  return std::string(buffer.data(), static_cast<std::size_t>(got));
}

}  // namespace

Result<std::string> ask(int fd) { return ask_for(fd, '?'); }

Result<std::string> ask_where_from(int fd) { return ask_for(fd, where_from); }

Result<Datagram> ask_at(int fd, const Endpoint& peer, bool mapped) {
  RETURN_IF_ERROR(send_to(fd, peer, "?", mapped));
  return receive_from(fd);
}

bool eventually(const std::function<bool()>& holds, std::chrono::milliseconds within) {
  const auto deadline = std::chrono::steady_clock::now() + within;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace base::testing
